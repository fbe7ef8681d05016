"""Layers: sums of inputs with learned weights, proved to be exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.exact.layer import Layer, exact_rows, kernel_matrix
from codelength.exact.operation import (
    FLOAT32_EXACT,
    FLOAT64_EXACT,
    Operation,
    Tensors,
    Type,
    degrees_of,
    require,
    tensor_of,
    vector_of,
)

MAX_KERNEL = 128
MAX_OFFSET = 128
_BOUND_VALUES = 1 << 22


@dataclass(frozen=True)
class Linear(Operation):
    """y[o] = bias[o] + sum_i weight[o, i] x[i]; with ``degrees``, weights that the mask closes count as zero."""

    name = "linear"
    feature = 16
    incremental = True
    sums = True
    learned = ("weight", "bias")

    x: int
    weight: str
    bias: str
    degrees: str | None = None
    parts: tuple[int, ...] = ()

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        weight = tensor_of(tensors, self.weight, 2)
        require(len(x.shape) == 1, "a linear layer needs a vector")
        require(weight.shape[1] == x.shape[0], f"{self.weight!r} takes {weight.shape[1]} inputs, not {x.shape[0]}")
        require(x.largest <= FLOAT32_EXACT, "a linear layer needs inputs within 2^24")
        bias = vector_of(tensors, self.bias, weight.shape[0])
        _check_parts(self.parts, x.shape[0])
        degrees = _output_degrees(self, x, weight.shape[0], tensors)
        if degrees is not None and x.degrees is not None and self.degrees is not None:
            weight = _masked(weight, mask_of(x.degrees, degrees))
        low, high = accumulate_bounds(weight, bias, x.low, x.high, self.parts)
        return Type((weight.shape[0],), low, high, degrees, self.prepare(tensors, weight))

    def prepare(self, tensors: Any, weight: Any = None) -> Layer:
        return Layer(tensors[self.weight] if weight is None else weight, tensors[self.bias], self.parts)

    def work(self, out: Type, tensors: Tensors) -> int:
        return math.prod(out.shape) + tensors[self.weight].size

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.linear(values[self.x], out.prepared)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        numbers: tuple[int, ...] = plan.add_layer(v, self.x, plan.types[v].prepared)
        return numbers


@dataclass(frozen=True)
class Convolution(Operation):
    """y[o](r, c) = bias[o] + sum weight[o, i, a, b] x[i](r*stride + a + offset[0], c*stride + b + offset[1]).

    Pixels outside the image are zero; the result has ceil(height/stride) x ceil(width/stride) pixels. With
    ``degrees`` the kernel is causal under the raster order and weights on closed taps count as zero.
    """

    name = "convolution"
    feature = 17
    incremental = True
    fuses = True
    learned = ("weight", "bias")

    x: int
    weight: str
    bias: str
    offset: tuple[int, int]
    stride: int = 1
    degrees: str | None = None
    parts: tuple[int, ...] = ()

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        weight = tensor_of(tensors, self.weight, 4)
        require(len(x.shape) == 3, "a convolution needs channels, rows and columns")
        require(weight.shape[1] == x.shape[0], f"{self.weight!r} takes {weight.shape[1]} channels, not {x.shape[0]}")
        require(x.largest <= FLOAT32_EXACT, "a convolution needs inputs within 2^24")
        require(all(1 <= k <= MAX_KERNEL for k in weight.shape[2:]), f"{self.weight!r} is a kernel of an odd size")
        require(len(self.offset) == 2 and all(abs(o) <= MAX_OFFSET for o in self.offset), "an offset is out of bounds")
        require(1 <= self.stride <= 64, "a stride is out of bounds")
        bias = vector_of(tensors, self.bias, weight.shape[0])
        _check_parts(self.parts, x.shape[0])
        degrees = _output_degrees(self, x, weight.shape[0], tensors)
        if degrees is not None and x.degrees is not None and self.degrees is not None:
            require(self.stride == 1, "a causal convolution has stride one")
            weight = _masked(weight, tap_mask(x.degrees, degrees, weight.shape[2:], self.offset))
        low, high = accumulate_bounds(weight, bias, min(x.low, 0), max(x.high, 0), self.parts)
        size = tuple(-(-s // self.stride) for s in x.shape[1:])
        return Type((weight.shape[0], *size), low, high, degrees, self.prepare(tensors, weight))

    def prepare(self, tensors: Any, weight: Any = None) -> Layer:
        weight = tensors[self.weight] if weight is None else weight
        return Layer(weight, tensors[self.bias], self.parts, self.offset, self.stride)

    def work(self, out: Type, tensors: Tensors) -> int:
        return math.prod(out.shape) + tensors[self.weight].size * math.prod(out.shape[1:])

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type, rounding: Any = None) -> Any:
        """rounding: of the result, to be done at once."""
        return arithmetic.convolution(values[self.x], out.prepared, rounding)

    def looks(self, out: Type) -> list[tuple[int, int]]:
        return [(int(dy), int(dx)) for dy, dx in out.prepared.taps]

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        """A matrix product over what the taps see; those on later pixels, or that are zero, are left out."""
        layer, offsets = out.prepared, self.looks(out)
        kind = np.float64 if self.parts else np.float32
        kernel, sums = kernel_matrix(layer.weight[members], layer.open_taps, kind)
        bias = layer.bias[members].astype(kind)
        elsewhere = offsets not in ([], [(0, 0)])

        def rule(front: Any) -> np.ndarray:
            seen = front.around(self.x, offsets) if elsewhere else front.here[self.x][:, : len(kernel)]
            result = exact_rows(seen, kernel, sums)
            result += bias
            return result

        return rule


def _output_degrees(operation: Any, x: Type, outputs: int, tensors: Tensors) -> np.ndarray | None:
    if operation.degrees is not None:
        require(x.degrees is not None, "degrees stand in a network without a schedule")
        return degrees_of(tensors, operation.degrees, outputs)
    if x.degrees is None:
        return None
    require(not x.degrees.any(), "a layer without degrees would see every position of a scheduled network")
    return np.zeros(outputs, np.int64)


def _masked(weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The weights that a mask leaves open; the tensor itself where there is nothing to close."""
    return np.where(mask, weight, 0).astype(weight.dtype) if weight[~mask].any() else weight


def mask_of(input_degrees: np.ndarray, output_degrees: np.ndarray) -> np.ndarray:
    """(outputs, inputs) boolean: which weights of a masked layer may differ from zero."""
    return input_degrees[None, :] <= output_degrees[:, None]


def tap_mask(
    input_degrees: np.ndarray, output_degrees: np.ndarray, size: tuple[int, int], offset: tuple[int, int]
) -> np.ndarray:
    """(outputs, inputs, kh, kw) boolean for a causal convolution under the raster order.

    Taps on earlier pixels are free, taps on later ones closed, the tap on the pixel itself follows the degrees.
    """
    here = mask_of(input_degrees, output_degrees)
    mask = np.zeros((*here.shape, *size), bool)
    for i in range(size[0]):
        for j in range(size[1]):
            dy, dx = i + offset[0], j + offset[1]
            if dy < 0 or (dy == 0 and dx < 0):
                mask[:, :, i, j] = True
            elif dy == 0 and dx == 0:
                mask[:, :, i, j] = here
    return mask


def _check_parts(parts: tuple[int, ...], inputs: int) -> None:
    require(
        all(a < b for a, b in zip((0, *parts), (*parts, inputs))), "the parts of a layer are not increasing positions"
    )


def accumulate_bounds(
    weight: np.ndarray, bias: np.ndarray, low: int, high: int, parts: tuple[int, ...]
) -> tuple[int, int]:
    """Prove that a linear layer is exact and return the bounds of its outputs.

    weight: (outputs, inputs, ...) integers, masked entries zero; inputs lie in [low, high] (zero included by the
    caller where padding occurs). Inputs are summed in the parts that end at ``parts``. Whatever the order of
    summation, a partial sum lies between the sum of the smallest and the sum of the largest contributions, each
    with zero included; both must be exactly representable in float32 for each part and, for the sum of the parts
    and the bias, in float32 where there is one part and in float64 where there are more.
    """
    require(len(weight) >= 1, "a layer without outputs")
    # In pieces, because the temporary arrays are wider than the weights.
    step = max(1, _BOUND_VALUES // max(1, math.prod(weight.shape[1:])))
    if len(weight) > step:
        pieces = [
            accumulate_bounds(weight[k : k + step], bias[k : k + step], low, high, parts)
            for k in range(0, len(weight), step)
        ]
        return min(piece[0] for piece in pieces), max(piece[1] for piece in pieces)
    outputs = weight.shape[0]
    starts = (0, *parts)
    ends = (*parts, weight.shape[1])
    total_low, total_high = np.zeros(outputs), np.zeros(outputs)
    span_low, span_high = np.zeros(outputs), np.zeros(outputs)
    for start, end in zip(starts, ends):
        part = weight[:, start:end].reshape(outputs, -1).astype(np.float64)
        positive, negative = np.maximum(part, 0).sum(1), np.minimum(part, 0).sum(1)
        highs, lows = positive * high + negative * low, positive * low + negative * high
        wide_high = positive * max(high, 0) + negative * min(low, 0)
        wide_low = positive * min(low, 0) + negative * max(high, 0)
        if parts:
            worst = max(float(wide_high.max(initial=0)), -float(wide_low.min(initial=0)))
            require(worst <= FLOAT32_EXACT, f"a part of a layer can reach {worst:.0f}, above 2^24")
        total_low, total_high = total_low + lows, total_high + highs
        span_low, span_high = span_low + wide_low, span_high + wide_high
    span_low, span_high = span_low + np.minimum(bias, 0), span_high + np.maximum(bias, 0)
    worst = max(float(span_high.max(initial=0)), -float(span_low.min(initial=0)))
    # A sum just above 2^53 may round down to it, so that value itself proves nothing.
    limit = FLOAT64_EXACT - 1 if parts else FLOAT32_EXACT
    require(worst <= limit, f"a layer can reach {worst:.0f}, above the exact range of its arithmetic")
    total_low, total_high = total_low + bias, total_high + bias
    if not outputs:
        return 0, 0
    return int(total_low.min()), int(total_high.max())
