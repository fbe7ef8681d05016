"""Layers of learned weights: linear and convolutional ones, tables of rows, and the scale of an input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from codelength.errors import FreezeError
from codelength.exact.operations import Convolution, Linear, Offset, SumPool, Upsample
from codelength.freezing.emitter import ACTIVATION_BITS, STREAM_BITS, Emitter
from codelength.freezing.quantity import Quantity
from codelength.freezing.rules.registry import for_modules
from codelength.networks.convolution import CausalConv2d
from codelength.networks.masked import IndexBias, InputScale, MaskedLinear


@for_modules(nn.Linear)
def linear(emitter: Emitter, name: str, module: nn.Linear, x: Quantity) -> Quantity:
    weight = module.weight.detach().double().numpy()
    return emitter.layer(
        name,
        x,
        weight,
        _bias_of(module, len(weight)),
        lambda w, b, p, v: Linear(v, w, b, None, p),
        (len(weight),),
    )


@for_modules(MaskedLinear)
def masked_linear(emitter: Emitter, name: str, module: MaskedLinear, x: Quantity) -> Quantity:
    weight = module.masked_weight().detach().double().numpy()
    degrees = emitter.tensor("degrees", module.out_degrees.numpy())
    return emitter.layer(
        name,
        x,
        weight,
        _bias_of(module, len(weight)),
        lambda w, b, p, v: Linear(v, w, b, degrees, p),
        (len(weight),),
        module.mask.numpy(),
    )


@for_modules(CausalConv2d)
def causal(emitter: Emitter, name: str, module: CausalConv2d, x: Quantity) -> Quantity:
    weight = module.masked_weight().detach().double().numpy()
    degrees = emitter.tensor("degrees", module.out_degrees.numpy())
    return emitter.layer(
        name,
        x,
        weight,
        module.bias.detach().double().numpy(),
        lambda w, b, p, v: Convolution(v, w, b, module.offset, 1, degrees, p),
        (len(weight), *x.shape[1:]),
        module.mask.numpy(),
    )


@for_modules(nn.Conv2d)
def convolution(emitter: Emitter, name: str, module: nn.Conv2d, x: Quantity) -> Quantity:
    kernel, stride, padding = module.kernel_size, module.stride, module.padding
    plain = module.groups == 1 and tuple(module.dilation) == (1, 1) and module.padding_mode == "zeros"
    size = tuple(-(-s // stride[0]) for s in x.shape[1:])
    if not plain or stride[0] != stride[1] or isinstance(padding, str):
        raise FreezeError(f"expected a plain convolution with numeric padding, got {name} ({module})")
    got = tuple((s + 2 * p - k) // stride[0] + 1 for s, p, k in zip(x.shape[1:], padding, kernel))
    if got != size:
        raise FreezeError(f"expected {name} to give {size} pixels (its size over its stride), it gives {got}")
    weight = module.weight.detach().double().numpy()
    offset = (-int(padding[0]), -int(padding[1]))
    return emitter.layer(
        name,
        x,
        weight,
        _bias_of(module, len(weight)),
        lambda w, b, p, v: Convolution(v, w, b, offset, int(stride[0]), None, p),
        (len(weight), *size),
    )


@for_modules(nn.ConvTranspose2d)
def transposed(emitter: Emitter, name: str, module: nn.ConvTranspose2d, x: Quantity) -> Quantity:
    """Zeros between the pixels, then a convolution with the kernel turned around."""
    stride, kernel, padding = module.stride[0], module.kernel_size, [int(p) for p in module.padding]
    size = tuple(s * stride for s in x.shape[1:])
    got = tuple(
        (s - 1) * stride - 2 * p + k + o for s, p, k, o in zip(x.shape[1:], padding, kernel, module.output_padding)
    )
    if module.groups != 1 or tuple(module.dilation) != (1, 1) or got != size or module.stride[1] != stride:
        raise FreezeError(f"expected {name} to multiply the size by its stride {stride}, it gives {got} for {size}")
    x = emitter.narrow(x, ACTIVATION_BITS)
    assert x.value is not None
    wide = replace(x, value=emitter.emit(Upsample(x.value, stride, True)), shape=(x.shape[0], *size), narrowed={})
    weight = module.weight.detach().double().numpy().transpose(1, 0, 2, 3)[:, :, ::-1, ::-1].copy()
    offset = (padding[0] - (kernel[0] - 1), padding[1] - (kernel[1] - 1))
    return emitter.layer(
        name,
        wide,
        weight,
        _bias_of(module, len(weight)),
        lambda w, b, p, v: Convolution(v, w, b, offset, 1, None, p),
        (len(weight), *size),
    )


@for_modules(nn.AvgPool2d)
def average_pool(emitter: Emitter, name: str, module: nn.AvgPool2d, x: Quantity) -> Quantity:
    """Sums, whose scale absorbs a division by a power of two; by any other, a convolution of one channel each."""
    size, stride = (v if isinstance(v, tuple) else (v, v) for v in (module.kernel_size, module.stride))
    if size[0] != size[1] or stride != size or module.padding not in (0, (0, 0)) or module.divisor_override:
        raise FreezeError(f"expected {name} to average squares side by side (kernel = stride), got {module}")
    if any(s % size[0] for s in x.shape[1:]):
        raise FreezeError(f"expected {name} on sizes that {size[0]} divides, got {x.shape[1:]}")
    channels, k = x.shape[0], int(size[0])
    shape = (channels, *[s // k for s in x.shape[1:]])
    if k & (k - 1) == 0 and k <= 64:
        x = emitter.for_layer(x)
        assert x.value is not None
        value, fraction = emitter.emit(SumPool(x.value, k)), x.fraction + 2 * (k.bit_length() - 1)
        return replace(
            x, value=value, fraction=fraction, low=x.low * k * k, high=x.high * k * k, shape=shape, peaks=None,
            narrowed={},
        )  # fmt: skip
    weight = np.zeros((channels, channels, k, k))
    weight[np.arange(channels), np.arange(channels)] = 1 / k**2
    return emitter.layer(
        name,
        x,
        weight,
        np.zeros(channels),
        lambda w, b, p, v: Convolution(v, w, b, (0, 0), k, None, p),
        shape,
    )


@for_modules(IndexBias, nn.Embedding)
def embedding(emitter: Emitter, name: str, module: Any, x: Quantity) -> Quantity:
    """Rows of a table; whoever uses them chooses the scale."""
    if math.prod(x.shape) != 1 or x.value is None:
        raise FreezeError(f"expected {name} to embed a single index of each item, got values of shape {x.shape}")
    rows = module.table() if isinstance(module, IndexBias) else module.weight
    table = rows.detach().double().numpy()
    largest = float(np.abs(table).max(initial=1e-6))
    return Quantity(
        x.value, np.zeros(1, np.int64), 0, 0, (table.shape[1],), table=table, index=x.value, largest=largest
    )


@for_modules(InputScale)
def input_scale(emitter: Emitter, name: str, module: InputScale, x: Quantity) -> Quantity:
    """Of raw inputs no more than an offset; of values that have scales already (inputs put together), too."""
    if x.relu or x.table is not None or len(set(x.fraction.tolist())) > 1:
        x = emitter.narrow(x, STREAM_BITS)
    assert x.value is not None
    offset = module.offset * 2.0**x.scale
    if offset != int(offset):
        raise FreezeError(f"expected {name} to scale integers, got values in units of {2**-x.scale}; scale the inputs")
    value = emitter.emit(Offset(x.value, -int(offset))) if offset else x.value
    fraction = np.full(1, x.scale + module.scale_bits, np.int64)
    return replace(x, value=value, fraction=fraction, low=x.low - int(offset), high=x.high - int(offset), narrowed={})


def _bias_of(module: Any, outputs: int) -> np.ndarray:
    return np.zeros(outputs) if module.bias is None else module.bias.detach().double().numpy()
