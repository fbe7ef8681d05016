"""What moves numbers: concatenation, slices, reshapes, permutations, and pixels that become channels or copies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from codelength.errors import FreezeError
from codelength.exact.operations import Concat, DepthToSpace, Permute, Reshape, Slice, Upsample
from codelength.freezing.emitter import STREAM_BITS, Emitter
from codelength.freezing.quantity import Quantity
from codelength.freezing.rules.registry import Call, NoRule, for_functions, for_modules


@for_functions("cat", "concat", "concatenate")
def concatenate(call: Call) -> Quantity:
    if call.argument(1, "dim", 0) != 1:
        raise NoRule
    return concatenated(call.emitter, list(call.args[0]), call.largest)


@for_functions("chunk")
def chunk(call: Call) -> list[Quantity]:
    x, parts, axis = call.args[0], call.argument(1, "chunks", 1), call.argument(2, "dim", 0)
    if axis != 1 or x.shape[0] % parts != 0:
        raise NoRule
    width = x.shape[0] // parts
    return [sliced(call.emitter, x, i * width, (i + 1) * width) for i in range(parts)]


@for_functions("getitem")
def getitem(call: Call) -> Any:
    x, places = call.args
    if isinstance(x, list | tuple):
        return x[places]
    if places == (slice(None), slice(None), None, None):
        return x  # a vector about to be spread over an image
    raise NoRule


@for_functions("reshape", "view", "flatten")
def reshape(call: Call) -> Any:
    """Parameters reshaped to (n, D, p) on the way out stay as they lie; vectors become images and back."""
    x = call.args[0]
    sizes = call.args[1] if len(call.args) == 2 and isinstance(call.args[1], tuple | list) else call.args[1:]
    if call.last and len(x.shape) == 1:
        return x
    if call.name == "flatten":
        return flat(call.emitter, x)
    shape = tuple(int(s) for s in sizes[1:] if isinstance(s, int))
    known = math.prod(s for s in shape if s > 0)
    shape = tuple(s if s > 0 else math.prod(x.shape) // known for s in shape)
    if len(shape) == 1 and len(x.shape) == 1:
        return x
    if math.prod(shape) != math.prod(x.shape) or len(shape) not in (1, 3):
        raise FreezeError(f"expected a reshape of {x.shape} to a vector or an image, got {shape}")
    return reshaped(call.emitter, x, shape)


@for_functions("permute")
def permute(call: Call) -> Quantity:
    x = call.args[0]
    axes = call.args[1] if isinstance(call.args[1], tuple | list) else call.args[1:]
    if len(x.shape) not in (2, 3) or axes[0] != 0:
        raise NoRule
    return permuted(call.emitter, x, tuple(axis - 1 for axis in axes[1:]))


@for_modules(nn.PixelShuffle)
def pixel_shuffle(emitter: Emitter, name: str, module: nn.PixelShuffle, x: Quantity) -> Quantity:
    f = module.upscale_factor
    shape = (x.shape[0] // f**2, x.shape[1] * f, x.shape[2] * f)
    x = emitter.narrow(x, STREAM_BITS)
    assert x.value is not None
    value = emitter.emit(DepthToSpace(x.value, f))
    return replace(x, value=value, shape=shape, fraction=np.full(1, x.scale), narrowed={})


@for_modules(nn.Upsample)
def upsample(emitter: Emitter, name: str, module: nn.Upsample, x: Quantity) -> Quantity:
    if module.mode != "nearest" or not module.scale_factor:
        raise FreezeError(f"expected {name} to repeat pixels a whole number of times, got {module}")
    f = int(module.scale_factor)  # type: ignore[arg-type]
    shape = (x.shape[0], x.shape[1] * f, x.shape[2] * f)
    assert x.value is not None
    return replace(x, value=emitter.emit(Upsample(x.value, f)), shape=shape, narrowed={})


@for_modules(nn.Flatten)
def flatten(emitter: Emitter, name: str, module: nn.Flatten, x: Quantity) -> Quantity:
    return flat(emitter, x)


@for_modules(nn.Unflatten)
def unflatten(emitter: Emitter, name: str, module: nn.Unflatten, x: Quantity) -> Quantity:
    if module.dim != 1:
        raise FreezeError(f"expected {name} to unflatten axis 1, got axis {module.dim}")
    return reshaped(emitter, x, tuple(module.unflattened_size))


def concatenated(emitter: Emitter, parts: list[Quantity], largest: float) -> Quantity:
    limit = (1 << (STREAM_BITS - 1)) - 1
    fraction = math.floor(math.log2(limit / max(largest, 1e-6)))
    same = [emitter.rescale(q, fraction, -limit, limit) for q in parts]
    values = tuple(q.value for q in same if q.value is not None)
    channels = sum(q.shape[0] for q in same)
    value = emitter.emit(Concat(values))
    fractions = np.concatenate([np.broadcast_to(q.fraction, q.shape[:1]) for q in same])
    return Quantity(
        value, fractions, min(q.low for q in same), max(q.high for q in same), (channels, *same[0].shape[1:]),
        largest=largest,
    )  # fmt: skip


def sliced(emitter: Emitter, x: Quantity, start: int, stop: int) -> Quantity:
    assert x.value is not None
    fraction = np.broadcast_to(x.fraction, x.shape[:1])[start:stop]
    value = emitter.emit(Slice(x.value, start, stop))
    return replace(x, value=value, fraction=fraction, shape=(stop - start, *x.shape[1:]), narrowed={})


def reshaped(emitter: Emitter, x: Quantity, shape: tuple[int, ...]) -> Quantity:
    q = emitter.narrow(x, STREAM_BITS)
    assert q.value is not None
    fraction = np.full(1, q.scale)
    return replace(q, value=emitter.emit(Reshape(q.value, shape)), shape=shape, fraction=fraction, narrowed={})


def permuted(emitter: Emitter, x: Quantity, axes: tuple[int, ...]) -> Quantity:
    if len(set(x.fraction.tolist())) > 1 or x.relu:
        x = emitter.narrow(x, STREAM_BITS)  # channels are about to move, so they need one scale
    assert x.value is not None
    shape = tuple(x.shape[axis] for axis in axes)
    value = emitter.emit(Permute(x.value, axes))
    return replace(x, value=value, shape=shape, fraction=np.full(1, x.scale), narrowed={})


def flat(emitter: Emitter, x: Quantity) -> Quantity:
    return x if len(x.shape) == 1 else reshaped(emitter, x, (math.prod(x.shape),))
