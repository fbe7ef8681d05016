"""Executors: the same integers by different means.

``NumpyArithmetic`` carries integers in float32, which is exact while every partial sum stays within 2^24 (the
validator has proved it), and in float64 beyond. ``ReferenceArithmetic`` is plain int64. A third executor on torch
lives in ``freezing`` and registers itself here. All give identical results, so an archive written by one is read by
any other.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel
from codelength.exact.operations import FLOAT32_EXACT


class ArithmeticFault(Exception):
    """A run-time check failed: this machine's fast arithmetic is not exact. The caller falls back to the reference."""


@kernel
def _requantise(x, scale, half, low, high, out):
    """out = clamp(floor(x * scale + half)), all (n, channels); whether every x was an integer."""
    whole = True
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = x[i, c]
            whole &= v == np.floor(v)
            out[i, c] = min(max(np.floor(v * scale[c] + half[c]), low), high)
    return whole


@kernel
def _unfold(x, rows, columns, stride, places, first, out):
    """out (m, taps * channels): what the taps of a kernel see, zero beyond the edges, from output pixel ``first`` on.

    x (n, height, width, channels); places (taps, 2) int64 are relative to ``stride`` times row and column of a pixel
    among the ``rows`` by ``columns`` of an item.
    """
    height, width, channels = x.shape[1], x.shape[2], x.shape[3]
    for i in range(out.shape[0]):
        item, pixel = divmod(first + i, rows * columns)
        row, column = divmod(pixel, columns)
        for k in range(places.shape[0]):
            a, b = row * stride + places[k, 0], column * stride + places[k, 1]
            at = k * channels
            if 0 <= a < height and 0 <= b < width:
                for c in range(channels):
                    out[i, at + c] = x[item, a, b, c]
            else:
                for c in range(channels):
                    out[i, at + c] = 0.0


class Rounding:
    """Division of channels by 2^shift, rounded and clamped, for floats of one kind."""

    def __init__(self, shift: np.ndarray, low: int, high: int, kind: Any) -> None:
        self.numbers = (
            np.ldexp(np.ones(len(shift)), -shift.astype(np.int64)).astype(kind),
            np.where(shift > 0, 0.5, 0.0).astype(kind),
            kind(low),
            kind(high),
        )

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, bool]:
        """x (n, channels) as float32, and whether every x was an integer."""
        out = np.empty(x.shape, np.float32)
        return out, _requantise(x, *self.numbers, out)


STAIRS = 4
CHECK_EVERY = 8
#: Bytes that a convolution lays out at a time for its matrix product; they should stay in a processor's cache.
UNFOLDED = 1 << 19


# Some matrix libraries read past a short vector and raise floating-point flags for what they then throw away, and
# numpy warns of these. The sums are checked below, so the flags tell nothing.
QUIET = partial(np.errstate, all="ignore")


class NumpyArithmetic:
    """Float32 products of numpy, float64 where sums are wider; checked at run time."""

    name = "numpy"

    def __init__(self) -> None:
        self._prepared: dict[int, tuple[Any, Any]] = {}
        self._shapes: dict[int, tuple[list[tuple[int, int, int]], np.ndarray]] = {}
        self._kernels: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def prepare(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor in the number type of this executor; prepared once while the tensor lives."""
        key = id(tensor)
        if key not in self._prepared:
            forget = weakref.ref(tensor, lambda _: self._prepared.pop(key, None))
            self._prepared[key] = (forget, tensor.astype(np.float32))
        return self._prepared[key][1]

    def enter(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float32)

    def leave(self, x: np.ndarray) -> np.ndarray:
        return x

    def linear(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, parts: Sequence[int]) -> np.ndarray:
        w = self.prepare(weight)
        x = x.astype(np.float32, copy=False)
        blocks, columns = self._shape(weight, w)
        with QUIET():
            if not parts:
                y: np.ndarray = np.empty((len(x), len(w)), np.float32)
                for start, stop, end in blocks:
                    np.matmul(x[:, :end], w[start:stop, :end].T, out=y[:, start:stop])
                y += self.prepare(bias)
            else:
                y = np.zeros((len(x), len(weight))) + bias.astype(np.float64)
                for start, end in zip((0, *parts), (*parts, weight.shape[1])):
                    y += x[:, start:end] @ w[:, start:end].T
            self._check(x, columns, bias, y)
        return y

    def _shape(self, weight: np.ndarray, w: np.ndarray) -> tuple[list[tuple[int, int, int]], np.ndarray]:
        """Of a layer's weights: blocks of rows (start, stop) with how many columns they use, and the column sums.

        Masked weights in order of degree are a staircase, and skipping what lies above it saves work.
        """
        key = id(weight)
        if key not in self._shapes:
            edges = [len(w) * i // STAIRS for i in range(STAIRS + 1)]
            blocks = []
            for start, stop in zip(edges, edges[1:]):
                used = np.flatnonzero(w[start:stop].any(0))
                if stop > start:
                    blocks.append((start, stop, int(used[-1]) + 1 if len(used) else 0))
            area = sum((stop - start) * end for start, stop, end in blocks)
            if area > 0.8 * w.size:
                blocks = [(0, len(w), w.shape[1])]
            self._shapes[key] = (blocks, w.sum(0, dtype=np.float64))
            weakref.finalize(weight, self._shapes.pop, key, None)
        return self._shapes[key]

    def _check(self, x: np.ndarray, columns: np.ndarray, bias: np.ndarray, y: np.ndarray) -> None:
        """One checksum: the outputs of an item must add up to what the summed weights give, in float64.

        Every eighth item is looked at: arithmetic that is not exact goes wrong everywhere.
        """
        x, y = x[::CHECK_EVERY], y[::CHECK_EVERY]
        expected = x.astype(np.float64) @ columns + float(bias.sum(dtype=np.int64))
        if not np.array_equal(y.sum(1, dtype=np.float64), expected):
            raise ArithmeticFault("the outputs of a linear layer do not add up")

    def convolution(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        offset: Sequence[int],
        stride: int,
        parts: Sequence[int],
    ) -> np.ndarray:
        """Pixels lie channels last in memory, so that each tap of a kernel copies runs of channels, one matrix product
        serves all pixels, and its result lies channels last again."""
        n, (outputs, channels) = len(x), weight.shape[:2]
        rows, columns = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
        matrix, taps, sums = self._kernel(weight, bool(parts))
        places = taps + np.asarray(offset)
        pixels = np.ascontiguousarray(np.moveaxis(x, 1, 3), np.float32)
        plain = stride == 1 and matrix.dtype == np.float32 and np.array_equal(places, [[0, 0]])
        y = np.empty((n, rows, columns, outputs), matrix.dtype)
        flat, bias = y.reshape(-1, outputs), bias.astype(matrix.dtype)
        step = max(CHECK_EVERY, UNFOLDED // (max(1, len(matrix)) * matrix.itemsize) // CHECK_EVERY * CHECK_EVERY)
        room = np.empty((0 if plain else min(step, len(flat)), len(matrix)), matrix.dtype)
        for first in range(0, len(flat), step):
            out = flat[first : first + step]
            if plain:
                seen = pixels.reshape(-1, channels)[first : first + step]
            else:
                seen = room[: len(out)]
                _unfold(pixels, rows, columns, stride, places, first, seen)
            with QUIET():
                np.matmul(seen, matrix, out=out)
                expected = seen[::CHECK_EVERY].astype(np.float64, copy=False) @ sums
            # Every eighth pixel is looked at: arithmetic that is not exact goes wrong everywhere.
            if not np.array_equal(out[::CHECK_EVERY].sum(1, dtype=np.float64), expected):
                raise ArithmeticFault("the outputs of a convolution do not add up")
            out += bias
        return np.moveaxis(y, 3, 1)

    def _kernel(self, weight: np.ndarray, wide: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The weights of the taps of a kernel that are not zero throughout, as a matrix (taps * inputs, outputs), where
        these taps are (taps, 2), and the sums of the weights over the outputs.

        Where float32 would need the product in parts, one in float64, which holds the whole sum, is as fast.
        """
        key = id(weight), wide
        if key not in self._kernels:
            taps = taps_of(weight)
            matrix, sums = kernel_matrix(weight, taps, np.float64 if wide else np.float32)
            self._kernels[key] = matrix, taps, sums
            weakref.finalize(weight, self._kernels.pop, key, None)
        return self._kernels[key]

    def requantise(self, x: np.ndarray, shift: np.ndarray, low: int, high: int) -> np.ndarray:
        pixels = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        rounding = Rounding(shift, low, high, np.float64 if x.dtype == np.float64 else np.float32)
        out, whole = rounding(pixels.reshape(-1, len(shift)))
        if not whole:
            raise ArithmeticFault("a layer gave a value that is not an integer")
        return np.moveaxis(out.reshape(pixels.shape), -1, 1)

    def relu(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, x.dtype.type(0))

    def offset(self, x: np.ndarray, value: int) -> np.ndarray:
        return x + x.dtype.type(value)

    def table(self, x: np.ndarray, table: np.ndarray, low: int) -> np.ndarray:
        index = np.clip(x, low, low + len(table) - 1).astype(np.int64) - low
        return self.prepare(table)[index]

    def add(self, a: np.ndarray, b: np.ndarray, shift_a: int, shift_b: int) -> np.ndarray:
        kind = np.result_type(a, b).type
        return a * kind(1 << shift_a) + b * kind(1 << shift_b)

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def embed(self, x: np.ndarray, table: np.ndarray) -> np.ndarray:
        return self.prepare(table)[x.astype(np.int64)]

    def spread(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(x[:, :, None, None], (len(x), *shape))

    def concat(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(xs, axis=1)

    def slice(self, x: np.ndarray, start: int, stop: int) -> np.ndarray:
        return x[:, start:stop]

    def reshape(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.reshape(len(x), *shape)

    def permute(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return x.transpose(0, *[axis + 1 for axis in axes])

    def upsample(self, x: np.ndarray, factor: int, zeros: bool) -> np.ndarray:
        if not zeros:
            return x.repeat(factor, axis=2).repeat(factor, axis=3)
        y = np.zeros((*x.shape[:2], x.shape[2] * factor, x.shape[3] * factor), x.dtype)
        y[:, :, ::factor, ::factor] = x
        return y

    def depth_to_space(self, x: np.ndarray, factor: int) -> np.ndarray:
        n, channels, rows, columns = x.shape
        y = np.moveaxis(x, 1, 3).reshape(n, rows, columns, channels // factor**2, factor, factor)
        y = y.transpose(0, 1, 4, 2, 5, 3).reshape(n, rows * factor, columns * factor, channels // factor**2)
        return np.moveaxis(y, 3, 1)

    def constant(self, count: int, values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.prepare(values), (count, len(values)))


class ReferenceArithmetic(NumpyArithmetic):
    """Plain int64, no floating point anywhere: slow, obvious, and the judge of the others."""

    name = "reference"

    def prepare(self, tensor: np.ndarray) -> np.ndarray:
        return tensor.astype(np.int64)

    def enter(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.int64)

    def linear(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, parts: Sequence[int]) -> np.ndarray:
        return x @ weight.T.astype(np.int64) + bias.astype(np.int64)

    def convolution(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        offset: Sequence[int],
        stride: int,
        parts: Sequence[int],
    ) -> np.ndarray:
        n, _, height, width = x.shape
        rows, columns = -(-height // stride), -(-width // stride)
        padded = np.moveaxis(pad_for(np.moveaxis(x, 1, 3), weight.shape[2:], offset, stride), 3, 1)
        y = np.zeros((n, len(weight), rows, columns), np.int64) + bias.astype(np.int64)[:, None, None]
        for a in range(weight.shape[2]):
            for b in range(weight.shape[3]):
                seen = padded[:, :, a : a + rows * stride : stride, b : b + columns * stride : stride]
                y += np.einsum("oi,nirc->norc", weight[:, :, a, b].astype(np.int64), seen)
        return y

    def requantise(self, x: np.ndarray, shift: np.ndarray, low: int, high: int) -> np.ndarray:
        s = shift.astype(np.int64).reshape(-1, *[1] * (x.ndim - 2))
        right, left = np.maximum(s, 0), np.maximum(-s, 0)
        half = np.where(s > 0, 1 << np.maximum(s - 1, 0), 0)
        return np.clip(((x << left) + half) >> right, low, high)


def taps_of(weight: np.ndarray) -> np.ndarray:
    """Where a kernel (outputs, inputs, rows, columns) is not zero throughout: (taps, 2)."""
    return np.argwhere(weight.any(axis=(0, 1)))


def kernel_matrix(weight: np.ndarray, taps: np.ndarray, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """These taps of a kernel as a matrix (taps * inputs, outputs), and its sums over the outputs in float64."""
    rows = [weight[:, :, a, b].T for a, b in taps]
    matrix = np.concatenate(rows) if rows else np.zeros((0, len(weight)))
    return np.ascontiguousarray(matrix, kind), matrix.sum(1, dtype=np.float64)


def pad_for(x: np.ndarray, size: Sequence[int], offset: Sequence[int], stride: int) -> np.ndarray:
    """x (n, height, width, channels) with the zeros around it that a convolution reads.

    The result starts at row offset[0] and column offset[1] of x and is long enough for every tap.
    """
    pads, cuts = [], []
    for length, taps, start in zip(x.shape[1:3], size, offset):
        steps = -(-length // stride)
        end = start + (steps - 1) * stride + taps  # one past the last coordinate that is read
        pads.append((max(-start, 0), max(end - length, 0)))
        cuts.append(slice(max(start, 0), None))
    if not any(before or after for before, after in pads):
        return x[:, cuts[0], cuts[1]]
    return np.pad(x, ((0, 0), *pads, (0, 0)))[:, cuts[0], cuts[1]]


def is_wide(largest: int) -> bool:
    """Whether a value that can reach ``largest`` is carried in float64."""
    return largest > FLOAT32_EXACT


REFERENCE = ReferenceArithmetic()
NUMPY = NumpyArithmetic()
_current: NumpyArithmetic = NUMPY


def use(arithmetic: Any) -> Any:
    """Make ``arithmetic`` the executor of all frozen networks in this process; returns the one before."""
    global _current
    before, _current = _current, arithmetic
    return before


def current() -> Any:
    return _current
