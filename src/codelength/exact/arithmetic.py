"""Executors: the same integers by different means.

``NumpyArithmetic`` carries integers in float32, which is exact while every partial sum stays within 2^24 (the
validator has proved it), and in float64 beyond. ``ReferenceArithmetic`` is plain int64. A third executor on torch
lives in ``freezing``. All give identical results, so an archive written by one is read by any other.

Which one is used belongs to the context (``contextvars``) that asks, not to the process: threads neither see nor
disturb each other's choice, each starts with numpy, and work that is handed to threads of one's own goes on with the
caller's choice if it is run in a copy of the caller's context.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel
from codelength.exact.layer import CHECK_EVERY, QUIET, Kernel, Layer, Rounding
from codelength.exact.operation import FLOAT32_EXACT


class ArithmeticFault(Exception):
    """A run-time check failed: this machine's fast arithmetic is not exact. The caller falls back to the reference."""


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


#: Of a norm times a norm, squared: 2^48, less what rounding may hide in sums of squares in float32.
SQUARED_LIMIT = float(FLOAT32_EXACT) ** 2 * (1 - 2**-8)
#: So many are added with an error of at most 2^-9 of their sum, in whatever order.
MOST_SQUARES = 1 << 15


@kernel
def _pieces_needed(squares, rows, columns, stride, places, first, count, cuts, reaches):
    """Into how few pieces (1, 2 or 4) a kernel must be cut for sums that float32 holds exactly; 0 if four are too few.

    Of output pixels ``first`` to ``first + count - 1``. squares (n, height, width): the sums of the squares of a
    pixel's channels; places (taps, 2) as in ``_unfold``; cuts (5,): taps where the quarters begin and end; reaches
    (7,): the norms of the weights of a kernel, of its halves and of its quarters, largest output of each. By Cauchy
    and Schwarz no sum of any of the products of a piece leaves the product of two norms.
    """
    height, width = squares.shape[1], squares.shape[2]
    most_1 = most_2 = most_4 = 0.0
    for i in range(count):
        item, pixel = divmod(first + i, rows * columns)
        row, column = divmod(pixel, columns)
        half_1 = half_2 = half_4 = 0.0
        for quarter in range(4):
            total = 0.0
            for k in range(cuts[quarter], cuts[quarter + 1]):
                a, b = row * stride + places[k, 0], column * stride + places[k, 1]
                if 0 <= a < height and 0 <= b < width:
                    total += squares[item, a, b]
            half_4 = max(half_4, total * reaches[3 + quarter] ** 2)
            half_1 += total
            half_2 += total
            if quarter % 2 == 1:
                most_2 = max(most_2, half_2 * reaches[1 + quarter // 2] ** 2)
                half_2 = 0.0
        most_1 = max(most_1, half_1 * reaches[0] ** 2)
        most_4 = max(most_4, half_4)
    limit = SQUARED_LIMIT
    if most_1 <= limit:
        return 1
    if most_2 <= limit:
        return 2
    return 4 if most_4 <= limit else 0


@kernel
def _adds_up(seen, sums, pieces, every):
    """Whether the outputs of every so many pixels add up, over pieces and channels, to what summed weights give.

    seen (n, width) and pieces (pieces, n, channels) of one kind of floats; sums (width,) float64. All are integers,
    so the order of a sum does not matter, and four at a time do not wait for each other.
    """
    whole, channels = seen.shape[1] & ~3, pieces.shape[2] & ~3
    for i in range(0, seen.shape[0], every):
        a = b = c = d = 0.0
        for k in range(0, whole, 4):
            a += np.float64(seen[i, k]) * sums[k]
            b += np.float64(seen[i, k + 1]) * sums[k + 1]
            c += np.float64(seen[i, k + 2]) * sums[k + 2]
            d += np.float64(seen[i, k + 3]) * sums[k + 3]
        for k in range(whole, seen.shape[1]):
            a += np.float64(seen[i, k]) * sums[k]
        expected = (a + b) + (c + d)
        a = b = c = d = 0.0
        for piece in range(pieces.shape[0]):
            for k in range(0, channels, 4):
                a += np.float64(pieces[piece, i, k])
                b += np.float64(pieces[piece, i, k + 1])
                c += np.float64(pieces[piece, i, k + 2])
                d += np.float64(pieces[piece, i, k + 3])
            for k in range(channels, pieces.shape[2]):
                a += np.float64(pieces[piece, i, k])
        if (a + b) + (c + d) != expected:
            return False
    return True


@kernel
def _add_up(pieces, bias, out):
    """out = bias + the sum of one, two or four pieces (pieces, n, channels)."""
    for i in range(out.shape[0]):
        if pieces.shape[0] == 1:
            for c in range(out.shape[1]):
                out[i, c] = pieces[0, i, c] + bias[c]
        elif pieces.shape[0] == 2:
            for c in range(out.shape[1]):
                out[i, c] = np.float64(pieces[0, i, c]) + pieces[1, i, c] + bias[c]
        else:
            for c in range(out.shape[1]):
                left = np.float64(pieces[0, i, c]) + pieces[1, i, c]
                out[i, c] = left + (np.float64(pieces[2, i, c]) + pieces[3, i, c]) + bias[c]


@kernel
def _add_up_rounded(pieces, bias, scale, half, low, high, out):
    """The same, times scale, rounded and clamped as by ``_requantise``.

    bias, scale and half are of the type that holds the sums exactly. Returns whether every sum was an integer.
    """
    whole = True
    for i in range(out.shape[0]):
        if pieces.shape[0] == 1:
            for c in range(out.shape[1]):
                v = pieces[0, i, c] + bias[c]
                whole &= v == np.floor(v)
                out[i, c] = min(max(np.floor(v * scale[c] + half[c]), low), high)
        elif pieces.shape[0] == 2:
            for c in range(out.shape[1]):
                v = np.float64(pieces[0, i, c]) + pieces[1, i, c] + bias[c]
                whole &= v == np.floor(v)
                out[i, c] = min(max(np.floor(v * scale[c] + half[c]), low), high)
        else:
            for c in range(out.shape[1]):
                left = np.float64(pieces[0, i, c]) + pieces[1, i, c]
                v = left + (np.float64(pieces[2, i, c]) + pieces[3, i, c]) + bias[c]
                whole &= v == np.floor(v)
                out[i, c] = min(max(np.floor(v * scale[c] + half[c]), low), high)
    return whole


@kernel
def _round_in_place(sums, bias, scale, half, low, high):
    """The same for one piece, where it lies; two names for one array would keep compilers from vectors."""
    whole = True
    for i in range(sums.shape[0]):
        for c in range(sums.shape[1]):
            v = sums[i, c] + bias[c]
            whole &= v == np.floor(v)
            sums[i, c] = min(max(np.floor(v * scale[c] + half[c]), low), high)
    return whole


def _squares(pixels: np.ndarray) -> np.ndarray:
    """The sums of the squares of each pixel's channels, (n, height, width), within what ``SQUARED_LIMIT`` allows for.

    In float32 a sum of very many squares can stand still.
    """
    kind = np.float32 if pixels.shape[3] <= MOST_SQUARES else np.float64
    return np.einsum("nrcx,nrcx->nrc", pixels, pixels, dtype=kind)


STAIRS = 4
#: Of the pixels of a convolution, one in so many is checked. Images are often a power of two wide, and pixels of one
#: column would not do.
CHECK_PIXELS = 31
#: Bytes that a convolution lays out at a time for its matrix product; they should stay in a processor's cache.
UNFOLDED = 1 << 19


class NumpyArithmetic:
    """Float32 products of numpy, float64 where sums are wider; checked at run time."""

    name = "numpy"

    def __init__(self) -> None:
        self._prepared: dict[int, tuple[Any, Any]] = {}

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

    def linear(self, x: np.ndarray, layer: Layer) -> np.ndarray:
        """x (n, inputs) -> (n, outputs)."""
        stairs: Stairs = layer.made("stairs", lambda: Stairs(layer))
        w = stairs.weight
        x = x.astype(np.float32, copy=False)
        with QUIET():
            if not layer.parts:
                y: np.ndarray = np.empty((len(x), len(w)), np.float32)
                for start, stop, end in stairs.blocks:
                    np.matmul(x[:, :end], w[start:stop, :end].T, out=y[:, start:stop])
                y += stairs.bias
            else:
                y = np.zeros((len(x), len(w))) + stairs.bias
                for start, end in layer.edges:
                    y += x[:, start:end] @ w[:, start:end].T
            # One checksum: the outputs of an item must add up to what the summed weights give, in float64. Every
            # eighth item is looked at: arithmetic that is not exact goes wrong everywhere.
            expected = x[::CHECK_EVERY].astype(np.float64) @ stairs.columns + stairs.total
        if not np.array_equal(y[::CHECK_EVERY].sum(1, dtype=np.float64), expected):
            raise ArithmeticFault("the outputs of a linear layer do not add up")
        return y

    def convolution(self, x: np.ndarray, layer: Layer, rounding: Rounding | None = None) -> np.ndarray:
        """x (n, inputs, height, width) -> (n, outputs, rows, columns), rounded where the ``rounding`` that follows is
        given.

        Pixels lie channels last in memory, so that each tap of a kernel copies runs of channels, one matrix product
        serves all pixels, and its result lies channels last again.

        A program states parts for the largest inputs that could be. The inputs at hand are smaller, and one product in
        float32 for all parts mostly holds their sums; where that is not certain, two or four are added in float64.
        """
        n, (outputs, channels), stride, parts = len(x), layer.weight.shape[:2], layer.stride, layer.parts
        rows, columns = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
        kernel: Kernel = layer.made("kernel", lambda: Kernel(layer.weight))
        places = layer.taps
        pixels = np.ascontiguousarray(np.moveaxis(x, 1, 3), np.float32)
        plain = stride == 1 and np.array_equal(places, [[0, 0]])
        squares = _squares(pixels) if parts else None
        y = np.empty((n, rows, columns, outputs), np.float64 if parts and rounding is None else np.float32)
        flat, bias = y.reshape(-1, outputs), layer.bias.astype(np.float64 if parts else np.float32)
        rounded = None if rounding is None else rounding.numbers(bias.dtype.type)
        width = len(kernel.matrix)
        step = min(max(1, UNFOLDED // (4 * max(1, width, outputs))), len(flat))
        room = np.empty((0 if plain else step, width), np.float32)
        products = np.empty((4 if parts else 0, step, outputs), np.float32)
        # Flags are silenced for all pieces at once, which takes longer than a small piece does.
        with QUIET():
            for first in range(0, len(flat), step or 1):
                out = flat[first : first + step]
                if plain:
                    seen = pixels.reshape(-1, channels)[first : first + step]
                else:
                    seen = room[: len(out)]
                    _unfold(pixels, rows, columns, stride, places, first, seen)
                count = 1
                if squares is not None:
                    count = _pieces_needed(
                        squares, rows, columns, stride, places, first, len(out), kernel.cuts, kernel.reaches
                    )
                if count:
                    # A sum that needs no second is rounded where it lies.
                    pieces = products[:count, : len(out)] if parts else out[None]
                    for piece, (start, stop) in zip(pieces, kernel.pieces[count]):
                        np.matmul(seen[:, start:stop], kernel.matrix[start:stop], out=piece)
                else:
                    seen = seen.astype(np.float64)
                    pieces = (seen @ kernel.wide)[None]
                # A few pixels are looked at: arithmetic that is not exact goes wrong everywhere.
                if not _adds_up(seen, kernel.sums, pieces, CHECK_PIXELS):
                    raise ArithmeticFault("the outputs of a convolution do not add up")
                if rounded is None:
                    if parts:
                        _add_up(pieces, bias, out)
                    else:
                        out += bias
                elif not (
                    _add_up_rounded(pieces, bias, *rounded, out) if parts else _round_in_place(out, bias, *rounded)
                ):
                    raise ArithmeticFault("a layer gave a value that is not an integer")
        return np.moveaxis(y, 3, 1)

    def requantise(self, x: np.ndarray, rounding: Rounding) -> np.ndarray:
        pixels = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        out, whole = rounding(pixels.reshape(-1, pixels.shape[-1]))
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
        # Mostly there is nothing to shift, and a product with one is a pass over memory.
        a, b = (x * kind(1 << shift) if shift else x for x, shift in ((a, shift_a), (b, shift_b)))
        total: np.ndarray = a + b
        return total

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

    def space_to_depth(self, x: np.ndarray, factor: int) -> np.ndarray:
        return _blocks(x, factor).reshape(len(x), -1, x.shape[2] // factor, x.shape[3] // factor)

    def sum_pool(self, x: np.ndarray, factor: int) -> np.ndarray:
        sums: np.ndarray = _blocks(x, factor).sum((2, 3))
        return sums

    def constant(self, count: int, values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.prepare(values), (count, len(values)))


class ReferenceArithmetic(NumpyArithmetic):
    """Plain int64, no floating point anywhere: slow, obvious, and the judge of the others."""

    name = "reference"

    def prepare(self, tensor: np.ndarray) -> np.ndarray:
        return tensor.astype(np.int64)

    def enter(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.int64)

    def linear(self, x: np.ndarray, layer: Layer) -> np.ndarray:
        y: np.ndarray = x @ layer.weight.T.astype(np.int64) + layer.bias.astype(np.int64)
        return y

    def convolution(self, x: np.ndarray, layer: Layer, rounding: Rounding | None = None) -> np.ndarray:
        weight, stride = layer.weight, layer.stride
        n, _, height, width = x.shape
        rows, columns = -(-height // stride), -(-width // stride)
        padded = np.moveaxis(pad_for(np.moveaxis(x, 1, 3), weight.shape[2:], layer.offset, stride), 3, 1)
        y = np.zeros((n, len(weight), rows, columns), np.int64) + layer.bias.astype(np.int64)[:, None, None]
        for a in range(weight.shape[2]):
            for b in range(weight.shape[3]):
                seen = padded[:, :, a : a + rows * stride : stride, b : b + columns * stride : stride]
                y += np.einsum("oi,nirc->norc", weight[:, :, a, b].astype(np.int64), seen)
        return y if rounding is None else self.requantise(y, rounding)

    def requantise(self, x: np.ndarray, rounding: Rounding) -> np.ndarray:
        s = rounding.shift.astype(np.int64).reshape(-1, *[1] * (x.ndim - 2))
        right, left = np.maximum(s, 0), np.maximum(-s, 0)
        half = np.where(s > 0, 1 << np.maximum(s - 1, 0), 0)
        return np.clip(((x << left) + half) >> right, rounding.low, rounding.high)


class Stairs:
    """A linear layer prepared for products: masked weights in order of degree are a staircase, and skipping what lies
    above it saves work.

    weight (outputs, inputs) float32; bias; blocks: rows of the weight (start, stop) with how many columns they use;
    columns (inputs,): the weights summed over the outputs; total: the sum of the biases.
    """

    def __init__(self, layer: Layer) -> None:
        self.weight = layer.weight.astype(np.float32)
        self.bias = layer.bias.astype(np.float64 if layer.parts else np.float32)
        w = self.weight
        edges = [len(w) * i // STAIRS for i in range(STAIRS + 1)]
        self.blocks = []
        for start, stop in zip(edges, edges[1:]):
            used = np.flatnonzero(w[start:stop].any(0))
            if stop > start:
                self.blocks.append((start, stop, int(used[-1]) + 1 if len(used) else 0))
        area = sum((stop - start) * end for start, stop, end in self.blocks)
        if area > 0.8 * w.size:
            self.blocks = [(0, len(w), w.shape[1])]
        self.columns = w.sum(0, dtype=np.float64)
        self.total = float(layer.bias.sum(dtype=np.int64))


def _blocks(x: np.ndarray, factor: int) -> np.ndarray:
    """x (n, c, height, width) as squares of pixels: (n, c, factor, factor, height / factor, width / factor)."""
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height // factor, factor, width // factor, factor).transpose(0, 1, 3, 5, 2, 4)


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
_executor: ContextVar[NumpyArithmetic] = ContextVar("executor", default=NUMPY)


def current() -> Any:
    """The executor of frozen networks in this context: numpy where none was chosen."""
    return _executor.get()


def choose(arithmetic: NumpyArithmetic) -> None:
    """Make ``arithmetic`` the executor of frozen networks for the rest of this context."""
    _executor.set(arithmetic)


@contextlib.contextmanager
def using(arithmetic: NumpyArithmetic) -> Iterator[None]:
    """Use ``arithmetic`` as the executor of frozen networks within the ``with`` statement, in this context only."""
    token = _executor.set(arithmetic)
    try:
        yield
    finally:
        _executor.reset(token)
