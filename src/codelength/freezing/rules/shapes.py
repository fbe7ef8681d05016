"""What moves numbers: concatenation, slices, reshapes, permutations, and pixels that become channels or copies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from codelength.errors import FreezeError
from codelength.exact.operations import Concat, DepthToSpace, Permute, Reshape, Slice, SpaceToDepth, Upsample
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


@for_functions("split", "split_with_sizes")
def split(call: Call) -> list[Quantity]:
    x, axis = call.args[0], call.argument(2, "dim", 0)
    sizes = (
        call.args[1] if len(call.args) > 1 else call.kwargs.get("split_size_or_sizes", call.kwargs.get("split_size"))
    )
    if axis != 1 or sizes is None:
        raise NoRule
    channels = x.shape[0]
    edges = [0, *np.cumsum(sizes)] if isinstance(sizes, list | tuple) else [*range(0, channels, sizes), channels]
    return [sliced(call.emitter, x, int(start), int(stop)) for start, stop in zip(edges, edges[1:])]


@for_functions("getitem")
def getitem(call: Call) -> Any:
    x, places = call.args
    if isinstance(x, list | tuple):
        return x[places]
    if not isinstance(places, tuple) or len(places) < 2 or places[0] != slice(None):
        raise NoRule
    if places == (slice(None), slice(None), None, None):  # a vector about to be spread over an image
        return x if x.layout is None else replace(x, layout=(*x.layout, 1, 1))
    channels = places[1]
    if any(place != slice(None) and place is not Ellipsis for place in places[2:]):
        raise NoRule
    if isinstance(channels, slice):
        chosen = range(x.shape[0])[channels]
        if chosen.step == 1 and len(chosen):
            return sliced(call.emitter, x, chosen.start, chosen.stop)
        return gathered(call.emitter, x, np.array(chosen))
    return gathered(call.emitter, x, _index(channels))


@for_functions("index_select")
def index_select(call: Call) -> Quantity:
    if call.argument(1, "dim", 0) != 1:
        raise NoRule
    return gathered(call.emitter, call.args[0], _index(call.argument(2, "index", None)))


def _index(places: Any) -> np.ndarray:
    """Numbers of channels: those of a buffer, or a list of them."""
    if isinstance(places, Quantity) and places.table is not None and places.index is None:
        return places.table.reshape(-1).astype(np.int64)
    if not isinstance(places, list) or not all(isinstance(place, int) for place in places):
        raise NoRule
    return np.array(places, np.int64)


def gathered(emitter: Emitter, x: Quantity, index: np.ndarray) -> Quantity:
    """Channels ``index`` (k,) of x in this order: slices of neighbours, one after another."""
    if not len(index) or x.value is None or x.table is not None:
        raise NoRule
    index = np.where(index < 0, index + x.shape[0], index)
    if index.min() < 0 or index.max() >= x.shape[0]:
        raise FreezeError(f"expected channels within 0 .. {x.shape[0] - 1}, got {index.min()} .. {index.max()}")
    runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
    parts = tuple(emitter.emit(Slice(x.value, int(run[0]), int(run[-1]) + 1)) for run in runs)
    fraction = np.broadcast_to(x.fraction, x.shape[:1])[index]
    peaks = None if x.peaks is None else x.peaks[index]
    value = emitter.emit(Concat(parts)) if len(parts) > 1 else parts[0]
    return replace(x, value=value, fraction=fraction, peaks=peaks, shape=(len(index), *x.shape[1:]), narrowed={})


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


@for_modules(nn.PixelUnshuffle)
def pixel_unshuffle(emitter: Emitter, name: str, module: nn.PixelUnshuffle, x: Quantity) -> Quantity:
    f, (channels, rows, columns) = module.downscale_factor, x.shape
    if rows % f or columns % f:
        raise FreezeError(f"expected {name} on sizes that {f} divides, got {rows} x {columns}")
    x = emitter.narrow(x, STREAM_BITS)
    assert x.value is not None
    value = emitter.emit(SpaceToDepth(x.value, f))
    shape = (channels * f * f, rows // f, columns // f)
    return replace(x, value=value, shape=shape, fraction=np.full(1, x.scale), peaks=None, narrowed={})


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
    if x.table is not None:  # an embedding or a constant whose scale is still to be chosen
        return replace(x, table=x.table[:, start:stop], shape=(stop - start,), layout=None, narrowed={})
    assert x.value is not None
    fraction = np.broadcast_to(x.fraction, x.shape[:1])[start:stop]
    value = emitter.emit(Slice(x.value, start, stop))
    peaks = None if x.peaks is None else x.peaks[start:stop]
    return replace(x, value=value, fraction=fraction, peaks=peaks, shape=(stop - start, *x.shape[1:]), narrowed={})


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
