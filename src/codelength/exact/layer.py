"""What executors are given of an operation's tensors: layers and roundings, prepared once for all passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel

#: Of the rows of a product, one in so many is checked.
CHECK_EVERY = 8
# Some matrix libraries read past a short vector and raise floating-point flags for what they then throw away, and
# numpy warns of these. The sums are checked, so the flags tell nothing.
QUIET = partial(np.errstate, all="ignore")


class Layer:
    """Weights and biases of a linear layer or a convolution, with those that a mask closes set to zero.

    weight (outputs, inputs) or (outputs, inputs, rows, columns), bias (outputs,): integers, or floats of a thawed
    network. parts: where the parts of the inputs end whose sums are exact, but for the last. offset, stride: of a
    convolution.
    """

    def __init__(
        self,
        weight: Any,
        bias: Any,
        parts: tuple[int, ...],
        offset: tuple[int, int] = (0, 0),
        stride: int = 1,
    ) -> None:
        self.weight, self.bias, self.parts, self.offset, self.stride = weight, bias, parts, offset, stride
        self._made: dict[Any, Any] = {}

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """What an executor makes of the layer, made once; ``key`` names executor and thing."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Begin and end of each part of the inputs."""
        return list(zip((0, *self.parts), (*self.parts, self.weight.shape[1])))

    @property
    def open_taps(self) -> np.ndarray:
        """See ``taps_of``."""
        taps: np.ndarray = self.made("open taps", lambda: taps_of(self.weight))
        return taps

    @property
    def taps(self) -> np.ndarray:
        """The same taps relative to a pixel times the stride."""
        taps: np.ndarray = self.made("taps", lambda: self.open_taps + np.asarray(self.offset, np.int64))
        return taps


class Rounding:
    """Division of channels by 2^shift, rounded to the nearest (a half upwards) and clamped to [low, high].

    shift (channels,): integers, or floats of a thawed network.
    """

    def __init__(self, shift: Any, low: int, high: int) -> None:
        self.shift, self.low, self.high = shift, low, high
        self._numbers: dict[Any, tuple[Any, ...]] = {}

    def numbers(self, kind: Any) -> tuple[Any, ...]:
        """Scale and half (channels,), low and high, as floats of one kind."""
        if kind not in self._numbers:
            self._numbers[kind] = (
                np.ldexp(np.ones(len(self.shift)), -self.shift.astype(np.int64)).astype(kind),
                np.where(self.shift > 0, 0.5, 0.0).astype(kind),
                kind(self.low),
                kind(self.high),
            )
        return self._numbers[kind]

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, bool]:
        """x (n, channels), floats, as float32, and whether every x was an integer."""
        out = np.empty(x.shape, np.float32)
        return out, _requantise(x, *self.numbers(x.dtype.type), out)

    def of(self, channels: Any) -> Rounding:
        """That of some channels."""
        return Rounding(self.shift[channels], self.low, self.high)


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


class Kernel:
    """A kernel prepared for products.

    matrix (taps * inputs, outputs), float32: the taps that are not zero throughout; sums: over the outputs.
    pieces[k]: begins and ends of the rows of k pieces; cuts, reaches: see ``arithmetic._pieces_needed``.
    """

    def __init__(self, weight: np.ndarray) -> None:
        taps = taps_of(weight)
        self.matrix, self.sums = kernel_matrix(weight, taps, np.float32)
        self._wide: np.ndarray | None = None
        channels = weight.shape[1]
        self.cuts = np.array([len(taps) * i // 4 for i in range(5)], np.int64)
        rows = self.cuts * channels
        self.pieces = {count: list(zip(rows[:: 4 // count], rows[4 // count :: 4 // count])) for count in (1, 2, 4)}
        norms = [
            float(np.sqrt(np.square(self.matrix[start:stop], dtype=np.float64).sum(0).max(initial=0)))
            for count in (1, 2, 4)
            for start, stop in self.pieces[count]
        ]
        self.reaches = np.array(norms, np.float64)

    @property
    def wide(self) -> np.ndarray:
        """The matrix in float64; made where four pieces are too few."""
        if self._wide is None:
            self._wide = self.matrix.astype(np.float64)
        return self._wide


def taps_of(weight: np.ndarray) -> np.ndarray:
    """Where a kernel (outputs, inputs, rows, columns) is not zero throughout: (taps, 2)."""
    return np.argwhere(weight.any(axis=(0, 1)))


def kernel_matrix(weight: np.ndarray, taps: np.ndarray, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """These taps of a kernel as a matrix (taps * inputs, outputs), and its sums over the outputs in float64."""
    rows = [weight[:, :, a, b].T for a, b in taps]
    matrix = np.concatenate(rows) if rows else np.zeros((0, len(weight)))
    return np.ascontiguousarray(matrix, kind), matrix.sum(1, dtype=np.float64)


def exact_rows(x: np.ndarray, weight: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """x (n, k) @ weight (k, outputs), integers in floats; every eighth sum over outputs is checked by the ``sums`` of
    the weights. int64 if that fails."""
    with QUIET():
        y = x.astype(weight.dtype, copy=False) @ weight
        expected = x[::CHECK_EVERY].astype(np.float64, copy=False) @ sums
    if np.array_equal(y[::CHECK_EVERY].sum(1, dtype=np.float64), expected):
        return y
    return (x.astype(np.int64) @ weight.astype(np.int64)).astype(weight.dtype)
