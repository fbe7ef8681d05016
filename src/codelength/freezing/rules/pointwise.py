"""What is done number by number: sums, gates, relu, and functions of one variable by tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from codelength.errors import FreezeError
from codelength.exact.operations import Product, Spread, Table
from codelength.freezing.emitter import ACTIVATION_BITS, STREAM_BITS, TABLE_BITS, Emitter
from codelength.freezing.quantity import Quantity
from codelength.freezing.rules.registry import Call, for_functions, for_modules
from codelength.freezing.rules.shapes import sliced

#: Functions of one variable, by their names in torch and as methods of tensors.
POINTWISE: dict[str, Callable[..., Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "leaky_relu": functional.leaky_relu,
}


@for_modules(nn.Identity, nn.Dropout, nn.Dropout2d)
def identity(emitter: Emitter, name: str, module: nn.Module, x: Quantity) -> Quantity:
    return x


@for_functions("contiguous", "float", "clone", "detach", "dropout")
def same(call: Call) -> Any:
    return call.args[0]


@for_functions("long", "int")
def whole(call: Call) -> Quantity:
    """Of what is a whole number anyhow, as an index is."""
    x = call.args[0]
    if x.value is None or x.table is not None or x.fraction.any():
        raise FreezeError("expected whole numbers of the item or of the context to become integers, got others")
    return x


@for_modules(nn.ReLU)
def relu_module(emitter: Emitter, name: str, module: nn.ReLU, x: Quantity) -> Quantity:
    return replace(x, relu=True, narrowed={})


@for_functions("relu", "relu_")
def relu(call: Call) -> Quantity:
    return replace(call.args[0], relu=True, narrowed={})


@for_modules(nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus, nn.LeakyReLU)
def pointwise_module(emitter: Emitter, name: str, module: nn.Module, x: Quantity) -> Quantity:
    return table(emitter, x, module)


@for_functions(*POINTWISE)
def pointwise(call: Call) -> Quantity:
    kwargs = {name: value for name, value in call.kwargs.items() if name not in ("inplace", "input")}
    x = call.argument(0, "input", None)
    return table(call.emitter, x, lambda values: POINTWISE[call.name](values, *call.args[1:], **kwargs))


@for_functions("glu")
def glu(call: Call) -> Quantity:
    axis = call.argument(1, "dim", -1)
    return gated(call.emitter, call.args[0], axis, call.largest)


@for_modules(nn.GLU)
def glu_module(emitter: Emitter, name: str, module: nn.GLU, x: Quantity) -> Quantity:
    return gated(emitter, x, module.dim, x.largest)


def gated(emitter: Emitter, x: Quantity, axis: int, largest: float) -> Quantity:
    """The first half of the channels, each times the logistic function of its partner in the second half."""
    if axis % (len(x.shape) + 1) != 1 or x.shape[0] % 2:
        raise FreezeError(f"expected gates along an even number of channels (axis 1), got axis {axis} of {x.shape}")
    half = x.shape[0] // 2
    gate = table(emitter, sliced(emitter, x, half, 2 * half), torch.sigmoid)
    return product(emitter, sliced(emitter, x, 0, half), gate, largest)


def table(emitter: Emitter, x: Quantity, function: Callable[[Tensor], Tensor]) -> Quantity:
    """A function of one variable, by a table over 12-bit inputs."""
    q = emitter.narrow(x, TABLE_BITS, signed=not x.relu)
    fraction = q.scale
    inputs = np.arange(min(q.low, 0), q.high + 1) * 2.0**-fraction
    outputs = function(torch.from_numpy(inputs)).double().numpy()
    peak = max(float(np.abs(outputs).max()), 1e-6)
    out_fraction = math.floor(math.log2(((1 << ACTIVATION_BITS) - 1) / peak))
    table = np.round(outputs * 2.0**out_fraction).astype(np.int64)
    assert q.value is not None
    value = emitter.emit(Table(q.value, emitter.tensor("table", table), min(q.low, 0)))
    return Quantity(value, np.full(1, out_fraction), int(table.min()), int(table.max()), x.shape, largest=peak)


def product(emitter: Emitter, a: Quantity, b: Quantity, largest: float) -> Quantity:
    a, b = emitter.narrow(a, ACTIVATION_BITS), emitter.narrow(b, ACTIVATION_BITS)
    assert a.value is not None and b.value is not None
    if a.shape != b.shape:
        raise FreezeError(f"expected gates of one shape, got {a.shape} and {b.shape}")
    value = emitter.emit(Product(a.value, b.value))
    reach = a.reach * b.reach
    return Quantity(value, np.full(1, a.scale + b.scale), -reach, reach, a.shape, largest=largest)


def same_rank(emitter: Emitter, a: Quantity, b: Quantity) -> tuple[Quantity, Quantity]:
    """A vector added to an image is spread over it."""
    if len(a.shape) == len(b.shape):
        return a, b
    image, vector = (a, b) if len(a.shape) == 3 else (b, a)
    fraction = int(np.floor(np.log2((1 << (STREAM_BITS - 1)) / max(vector.largest, 1e-6))))
    vector = emitter.rescale(vector, fraction, -(1 << STREAM_BITS), 1 << STREAM_BITS)
    assert image.value is not None and vector.value is not None
    spread = emitter.emit(Spread(vector.value, image.value))
    return image, replace(vector, value=spread, shape=image.shape, narrowed={})
