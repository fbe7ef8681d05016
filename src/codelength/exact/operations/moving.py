"""What moves numbers between channels and pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.exact.advance import COPY
from codelength.exact.operation import FLOAT32_EXACT, Operation, Tensors, Type, context_degrees, known_degrees, require


@dataclass(frozen=True)
class Concat(Operation):
    """Channels of several values, one after another."""

    name = "concat"
    asks = ("xs",)
    feature = 26
    incremental = True

    xs: tuple[int, ...]

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        require(len(self.xs) >= 1, "a concatenation of nothing")
        parts = [types[x] for x in self.xs]
        require(all(len(p.shape) >= 1 and p.shape[1:] == parts[0].shape[1:] for p in parts), "sizes do not match")
        degrees = None
        if any(p.degrees is not None for p in parts):
            degrees = np.concatenate([known_degrees(p) for p in parts])
        channels = sum(p.shape[0] for p in parts)
        return Type((channels, *parts[0].shape[1:]), min(p.low for p in parts), max(p.high for p in parts), degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.concat([values[x] for x in self.xs])

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, np.concatenate([plan.rows_of(x) for x in self.xs]))
        return (COPY,)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        return lambda front: np.concatenate([front.here[x] for x in self.xs], axis=1)[:, members]


@dataclass(frozen=True)
class Slice(Operation):
    """Channels start .. stop - 1."""

    name = "slice"
    feature = 27
    incremental = True

    x: int
    start: int
    stop: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 1 and 0 <= self.start < self.stop <= x.shape[0], "a slice leaves its value")
        degrees = None if x.degrees is None else x.degrees[self.start : self.stop]
        return Type((self.stop - self.start, *x.shape[1:]), x.low, x.high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.slice(values[self.x], self.start, self.stop)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.x)[self.start : self.stop])
        return (COPY,)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        return lambda front: front.here[self.x][:, self.start : self.stop][:, members]


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in row-major order under another shape."""

    name = "reshape"
    feature = 28

    x: int
    shape: tuple[int, ...]

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(1 <= len(self.shape) <= 3 and all(s >= 1 for s in self.shape), "a reshape to an impossible shape")
        require(math.prod(self.shape) == math.prod(x.shape), f"a reshape of {x.shape} to {self.shape}")
        return Type(self.shape, x.low, x.high, context_degrees(x, self.shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.reshape(values[self.x], self.shape)


@dataclass(frozen=True)
class Permute(Operation):
    """The axes in another order: axis k of y is axis axes[k] of x."""

    name = "permute"
    feature = 40

    x: int
    axes: tuple[int, ...]

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 2 and sorted(self.axes) == list(range(len(x.shape))), "a permutation of other axes")
        shape = tuple(x.shape[axis] for axis in self.axes)
        return Type(shape, x.low, x.high, context_degrees(x, shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.permute(values[self.x], self.axes)


@dataclass(frozen=True)
class Upsample(Operation):
    """Each pixel becomes factor x factor pixels: copies of it, or (``zeros``) itself first and zeros elsewhere.

    A transposed convolution is an upsampling with zeros followed by a convolution.
    """

    name = "upsample"
    feature = 29

    x: int
    factor: int
    zeros: bool = False

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) == 3 and 1 <= self.factor <= 64, "an upsampling that cannot be")
        low, high = (min(x.low, 0), max(x.high, 0)) if self.zeros else (x.low, x.high)
        shape = (x.shape[0], x.shape[1] * self.factor, x.shape[2] * self.factor)
        return Type(shape, low, high, context_degrees(x, shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.upsample(values[self.x], self.factor, self.zeros)


@dataclass(frozen=True)
class DepthToSpace(Operation):
    """y[c](r*f + a, s*f + b) = x[(c*f + a)*f + b](r, s)."""

    name = "depth_to_space"
    feature = 30

    x: int
    factor: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        f = self.factor
        require(len(x.shape) == 3 and 1 <= f <= 64 and x.shape[0] % (f * f) == 0, "a depth-to-space that cannot be")
        channels = x.shape[0] // (f * f)
        return Type((channels, x.shape[1] * f, x.shape[2] * f), x.low, x.high, context_degrees(x, channels))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.depth_to_space(values[self.x], self.factor)


@dataclass(frozen=True)
class SpaceToDepth(Operation):
    """y[(c*f + a)*f + b](r, s) = x[c](r*f + a, s*f + b): the inverse of depth to space."""

    name = "space_to_depth"
    feature = 41

    x: int
    factor: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x, f = types[self.x], self.factor
        require(len(x.shape) == 3 and 1 <= f <= 64, "a space-to-depth that cannot be")
        require(x.shape[1] % f == 0 and x.shape[2] % f == 0, f"a space-to-depth by {f} of an image of {x.shape[1:]}")
        channels = x.shape[0] * f * f
        return Type((channels, x.shape[1] // f, x.shape[2] // f), x.low, x.high, context_degrees(x, channels))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.space_to_depth(values[self.x], self.factor)


@dataclass(frozen=True)
class SumPool(Operation):
    """y[c](r, s) = sum of x[c](r*f + a, s*f + b), a and b from 0 to f - 1: an average but for its scale."""

    name = "sum_pool"
    feature = 42

    x: int
    factor: int

    def work(self, out: Type, tensors: Tensors) -> int:
        return math.prod(out.shape) * self.factor**2

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x, f = types[self.x], self.factor
        require(len(x.shape) == 3 and 1 <= f <= 64, "a pooling that cannot be")
        require(x.shape[1] % f == 0 and x.shape[2] % f == 0, f"a pooling by {f} of an image of {x.shape[1:]}")
        require(x.largest * f * f <= FLOAT32_EXACT, "a pooled sum leaves 2^24")
        shape = (x.shape[0], x.shape[1] // f, x.shape[2] // f)
        return Type(shape, x.low * f * f, x.high * f * f, context_degrees(x, shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.sum_pool(values[self.x], self.factor)
