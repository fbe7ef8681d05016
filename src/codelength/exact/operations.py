"""The operations of frozen networks: what each computes, proves and depends on (docs/format.md, "Operations").

Every value is an array of integers, one per item of a batch: shape (n, *Type.shape). An operation states

* ``infer``: the type of its result (shape, bounds, degrees) from the types of its operands, or ProgramError;
* ``run``: the whole-tensor rule, on one of the executors of ``arithmetic.py``.

Degrees carry the dependency structure of scheduled networks: a channel of degree d may depend on steps before d
only. There is one rule for masks: a weight between channels is kept iff the input's degree is at most the output's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from codelength.errors import ProgramError

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
MAX_SHIFT = 40
MAX_KERNEL = 128
MAX_OFFSET = 128
_BOUND_VALUES = 1 << 22


@dataclass(frozen=True)
class Type:
    """What is proved of a value: item shape, inclusive bounds, and a degree per channel (None: no schedule).

    weight: for the result of a layer, its weights with those that its mask closes set to zero.
    """

    shape: tuple[int, ...]
    low: int
    high: int
    degrees: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def largest(self) -> int:
        return max(abs(self.low), abs(self.high))


Tensors = dict[str, np.ndarray]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ProgramError(f"this program is not valid: {message}")


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


class Operation:
    """Base of all operations. ``operands`` are indices of earlier values of the network."""

    name: ClassVar[str]
    feature: ClassVar[int]
    incremental: ClassVar[bool] = False  # whether a rule for position schedules exists; if not, context only
    learned: ClassVar[tuple[str, ...]] = ()  # the fields that name tensors of learned numbers

    @property
    def operands(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def sources(self) -> tuple[int, ...]:
        """The operands whose numbers matter; of the others only the size does."""
        return self.operands

    def work(self, out: Type, tensors: Tensors) -> int:
        """Roughly the multiplications and memory accesses for one item."""
        return math.prod(out.shape)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        raise NotImplementedError

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"op": self.name}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                record[field.name] = list(value) if isinstance(value, tuple) else value
        return record


def _tensor(tensors: Tensors, name: str, rank: int) -> np.ndarray:
    require(name in tensors, f"it names a tensor {name!r} that it does not hold")
    tensor = tensors[name]
    require(tensor.ndim == rank, f"tensor {name!r} has {tensor.ndim} axes where {rank} are needed")
    return tensor


def _vector(tensors: Tensors, name: str, length: int) -> np.ndarray:
    vector = _tensor(tensors, name, 1)
    require(len(vector) == length, f"tensor {name!r} has {len(vector)} entries where {length} are needed")
    return vector


def _degree_vector(tensors: Tensors, name: str, length: int) -> np.ndarray:
    degrees = _vector(tensors, name, length)
    require(bool((degrees >= 0).all()), f"tensor {name!r} holds a negative degree")
    return degrees


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


def _check_parts(parts: tuple[int, ...], inputs: int) -> None:
    require(
        all(a < b for a, b in zip((0, *parts), (*parts, inputs))), "the parts of a layer are not increasing positions"
    )


@dataclass(frozen=True)
class Linear(Operation):
    """y[o] = bias[o] + sum_i weight[o, i] x[i]; with ``degrees``, weights that the mask closes count as zero."""

    name = "linear"
    feature = 16
    incremental = True
    learned = ("weight", "bias")

    x: int
    weight: str
    bias: str
    degrees: str | None = None
    parts: tuple[int, ...] = ()

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        weight = _tensor(tensors, self.weight, 2)
        require(len(x.shape) == 1, "a linear layer needs a vector")
        require(weight.shape[1] == x.shape[0], f"{self.weight!r} takes {weight.shape[1]} inputs, not {x.shape[0]}")
        require(x.largest <= FLOAT32_EXACT, "a linear layer needs inputs within 2^24")
        bias = _vector(tensors, self.bias, weight.shape[0])
        _check_parts(self.parts, x.shape[0])
        degrees = _output_degrees(self, x, weight.shape[0], tensors)
        if degrees is not None and x.degrees is not None and self.degrees is not None:
            weight = _masked(weight, mask_of(x.degrees, degrees))
        low, high = accumulate_bounds(weight, bias, x.low, x.high, self.parts)
        return Type((weight.shape[0],), low, high, degrees, weight)

    def work(self, out: Type, tensors: Tensors) -> int:
        return math.prod(out.shape) + tensors[self.weight].size

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.linear(values[self.x], out.weight, tensors[self.bias], self.parts)


def _masked(weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The weights that a mask leaves open; the tensor itself where there is nothing to close."""
    return np.where(mask, weight, 0).astype(weight.dtype) if weight[~mask].any() else weight


def _output_degrees(operation: Any, x: Type, outputs: int, tensors: Tensors) -> np.ndarray | None:
    if operation.degrees is not None:
        require(x.degrees is not None, "degrees stand in a network without a schedule")
        return _degree_vector(tensors, operation.degrees, outputs)
    if x.degrees is None:
        return None
    require(not x.degrees.any(), "a layer without degrees would see every position of a scheduled network")
    return np.zeros(outputs, np.int64)


@dataclass(frozen=True)
class Convolution(Operation):
    """y[o](r, c) = bias[o] + sum weight[o, i, a, b] x[i](r*stride + a + offset[0], c*stride + b + offset[1]).

    Pixels outside the image are zero; the result has ceil(height/stride) x ceil(width/stride) pixels. With
    ``degrees`` the kernel is causal under the raster order and weights on closed taps count as zero.
    """

    name = "convolution"
    feature = 17
    incremental = True
    learned = ("weight", "bias")

    x: int
    weight: str
    bias: str
    offset: tuple[int, int]
    stride: int = 1
    degrees: str | None = None
    parts: tuple[int, ...] = ()

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        weight = _tensor(tensors, self.weight, 4)
        require(len(x.shape) == 3, "a convolution needs channels, rows and columns")
        require(weight.shape[1] == x.shape[0], f"{self.weight!r} takes {weight.shape[1]} channels, not {x.shape[0]}")
        require(x.largest <= FLOAT32_EXACT, "a convolution needs inputs within 2^24")
        require(all(1 <= k <= MAX_KERNEL for k in weight.shape[2:]), f"{self.weight!r} is a kernel of an odd size")
        require(len(self.offset) == 2 and all(abs(o) <= MAX_OFFSET for o in self.offset), "an offset is out of bounds")
        require(1 <= self.stride <= 64, "a stride is out of bounds")
        bias = _vector(tensors, self.bias, weight.shape[0])
        _check_parts(self.parts, x.shape[0])
        degrees = _output_degrees(self, x, weight.shape[0], tensors)
        if degrees is not None and x.degrees is not None and self.degrees is not None:
            require(self.stride == 1, "a causal convolution has stride one")
            weight = _masked(weight, tap_mask(x.degrees, degrees, weight.shape[2:], self.offset))
        low, high = accumulate_bounds(weight, bias, min(x.low, 0), max(x.high, 0), self.parts)
        size = tuple(-(-s // self.stride) for s in x.shape[1:])
        return Type((weight.shape[0], *size), low, high, degrees, weight)

    def work(self, out: Type, tensors: Tensors) -> int:
        return math.prod(out.shape) + tensors[self.weight].size * math.prod(out.shape[1:])

    def run(
        self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type, then: Requantise | None = None
    ) -> Any:
        """then: a requantise of the result that is to be done at once."""
        rounding = None if then is None else (tensors[then.shift], then.low, then.high)
        return arithmetic.convolution(
            values[self.x], out.weight, tensors[self.bias], self.offset, self.stride, self.parts, rounding
        )


@dataclass(frozen=True)
class Requantise(Operation):
    """y = clamp(floor(x / 2^shift + 1/2), low, high), the shift per channel; a negative shift multiplies."""

    name = "requantise"
    feature = 18
    incremental = True

    x: int
    shift: str
    low: int
    high: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 1, "requantise needs channels")
        shift = _vector(tensors, self.shift, x.shape[0])
        smallest, largest = int(shift.min(initial=0)), int(shift.max(initial=0))
        require(smallest >= -MAX_SHIFT and largest <= MAX_SHIFT, f"a shift in {self.shift!r} is out of bounds")
        require(self.low <= self.high, "the bounds of a requantise are in the wrong order")
        require(max(abs(self.low), abs(self.high)) <= FLOAT32_EXACT, "a requantise clamps above 2^24")
        limit = FLOAT32_EXACT if x.largest <= FLOAT32_EXACT else FLOAT64_EXACT
        half = 1 << (largest - 1) if largest > 0 else 0
        require(x.largest + half <= limit, "rounding would leave the exact range")
        require(x.largest << max(-smallest, 0) <= limit, "a left shift would leave the exact range")
        low = _shifted(x.low, smallest, largest, min)
        high = _shifted(x.high, smallest, largest, max)
        return Type(x.shape, min(max(low, self.low), self.high), max(min(high, self.high), self.low), x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.requantise(values[self.x], tensors[self.shift], self.low, self.high)


def _shifted(value: int, smallest: int, largest: int, pick: Any) -> int:
    def one(shift: int) -> int:
        return (value + (1 << (shift - 1))) >> shift if shift > 0 else value << -shift

    return pick(one(smallest), one(largest))


@dataclass(frozen=True)
class Relu(Operation):
    """y = max(x, 0)."""

    name = "relu"
    feature = 19
    incremental = True

    x: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        return Type(x.shape, max(x.low, 0), max(x.high, 0), x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.relu(values[self.x])


@dataclass(frozen=True)
class Offset(Operation):
    """y = x + value."""

    name = "offset"
    feature = 20
    incremental = True

    x: int
    value: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        low, high = x.low + self.value, x.high + self.value
        largest = max(abs(low), abs(high), abs(self.value), x.largest)
        require(largest <= FLOAT32_EXACT, "an offset leaves 2^24")
        return Type(x.shape, low, high, x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.offset(values[self.x], self.value)


@dataclass(frozen=True)
class Table(Operation):
    """y = table[clamp(x, low, low + len(table) - 1) - low], the same table for every element."""

    name = "table"
    feature = 21
    incremental = True
    learned = ("table",)

    x: int
    table: str
    low: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        table = _tensor(tensors, self.table, 1)
        require(len(table) >= 1, f"table {self.table!r} is empty")
        require(x.largest <= FLOAT32_EXACT and abs(self.low) <= FLOAT32_EXACT, "a table needs inputs within 2^24")
        low, high = int(table.min()), int(table.max())
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"table {self.table!r} holds values above 2^24")
        return Type(x.shape, low, high, x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.table(values[self.x], tensors[self.table], self.low)


def _joint_degrees(a: Type, b: Type) -> np.ndarray | None:
    if a.degrees is None or b.degrees is None:
        require(a.degrees is None and b.degrees is None, "a scheduled value meets one without a schedule")
        return None
    return np.maximum(a.degrees, b.degrees)


@dataclass(frozen=True)
class Add(Operation):
    """y = a * 2^shift_a + b * 2^shift_b, elementwise: the skip connection."""

    name = "add"
    feature = 22
    incremental = True

    a: int
    b: int
    shift_a: int = 0
    shift_b: int = 0

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.a, self.b)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        a, b = types[self.a], types[self.b]
        require(a.shape == b.shape, f"a sum of values of shapes {a.shape} and {b.shape}")
        require(0 <= self.shift_a <= MAX_SHIFT and 0 <= self.shift_b <= MAX_SHIFT, "a shift is out of bounds")
        low, high = (
            (a.low << self.shift_a) + (b.low << self.shift_b),
            (a.high << self.shift_a) + (b.high << self.shift_b),
        )
        reach = (a.largest << self.shift_a) + (b.largest << self.shift_b)
        wide = max(a.largest, b.largest) > FLOAT32_EXACT
        require(reach <= (FLOAT64_EXACT if wide else FLOAT32_EXACT), "a sum leaves the exact range")
        return Type(a.shape, low, high, _joint_degrees(a, b))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.add(values[self.a], values[self.b], self.shift_a, self.shift_b)


@dataclass(frozen=True)
class Product(Operation):
    """y = a * b, elementwise: the gate."""

    name = "product"
    feature = 23
    incremental = True

    a: int
    b: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.a, self.b)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        a, b = types[self.a], types[self.b]
        require(a.shape == b.shape, f"a product of values of shapes {a.shape} and {b.shape}")
        require(a.largest * b.largest <= FLOAT32_EXACT, "a product leaves 2^24")
        corners = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
        return Type(a.shape, min(corners), max(corners), _joint_degrees(a, b))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.product(values[self.a], values[self.b])


@dataclass(frozen=True)
class Embed(Operation):
    """y = table[index]: a row chosen by an input that is a single index (an order, a component, a label)."""

    name = "embed"
    feature = 24
    incremental = True
    learned = ("table",)

    x: int
    table: str

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        table = _tensor(tensors, self.table, 2)
        require(x.shape == (), "an embedding needs a single index")
        require(x.low >= 0 and x.high < len(table), f"an index can leave the {len(table)} rows of {self.table!r}")
        low, high = int(table.min(initial=0)), int(table.max(initial=0))
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"table {self.table!r} holds values above 2^24")
        degrees = None if x.degrees is None else np.zeros(table.shape[1], np.int64)
        return Type((table.shape[1],), low, high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.embed(values[self.x], tensors[self.table])


@dataclass(frozen=True)
class Spread(Operation):
    """y[c](r, s) = x[c] for every pixel of ``like``: a vector laid over an image."""

    name = "spread"
    feature = 25
    incremental = True

    x: int
    like: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x, self.like)

    @property
    def sources(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x, like = types[self.x], types[self.like]
        require(len(x.shape) == 1 and len(like.shape) == 3, "spread lays a vector over an image")
        require(x.degrees is None or not x.degrees.any(), "only context can be spread over a scheduled image")
        return Type((x.shape[0], *like.shape[1:]), x.low, x.high, x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        # Where only the context is evaluated ``like`` may be absent, and the size is the one that was proved.
        like = values[self.like]
        size = tuple(like.shape[2:]) if like.ndim == 4 else out.shape[1:]
        return arithmetic.spread(values[self.x], (out.shape[0], *size))


@dataclass(frozen=True)
class Concat(Operation):
    """Channels of several values, one after another."""

    name = "concat"
    feature = 26
    incremental = True

    xs: tuple[int, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        return self.xs

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        require(len(self.xs) >= 1, "a concatenation of nothing")
        parts = [types[x] for x in self.xs]
        require(all(len(p.shape) >= 1 and p.shape[1:] == parts[0].shape[1:] for p in parts), "sizes do not match")
        degrees = None
        if any(p.degrees is not None for p in parts):
            degrees = np.concatenate([_known(p) for p in parts])
        channels = sum(p.shape[0] for p in parts)
        return Type((channels, *parts[0].shape[1:]), min(p.low for p in parts), max(p.high for p in parts), degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.concat([values[x] for x in self.xs])


def _known(value: Type) -> np.ndarray:
    require(value.degrees is not None, "a scheduled value meets one without a schedule")
    assert value.degrees is not None
    return value.degrees


def _no_degrees(x: Type, channels: int) -> np.ndarray | None:
    """Degrees of a result that moves elements between channels, which only context may."""
    require(x.degrees is None or not x.degrees.any(), "elements of the item move between channels under a schedule")
    return None if x.degrees is None else np.zeros(channels, np.int64)


@dataclass(frozen=True)
class Slice(Operation):
    """Channels start .. stop - 1."""

    name = "slice"
    feature = 27
    incremental = True

    x: int
    start: int
    stop: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 1 and 0 <= self.start < self.stop <= x.shape[0], "a slice leaves its value")
        degrees = None if x.degrees is None else x.degrees[self.start : self.stop]
        return Type((self.stop - self.start, *x.shape[1:]), x.low, x.high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.slice(values[self.x], self.start, self.stop)


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in row-major order under another shape."""

    name = "reshape"
    feature = 28

    x: int
    shape: tuple[int, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(1 <= len(self.shape) <= 3 and all(s >= 1 for s in self.shape), "a reshape to an impossible shape")
        require(math.prod(self.shape) == math.prod(x.shape), f"a reshape of {x.shape} to {self.shape}")
        return Type(self.shape, x.low, x.high, _no_degrees(x, self.shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.reshape(values[self.x], self.shape)


@dataclass(frozen=True)
class Permute(Operation):
    """The axes in another order: axis k of y is axis axes[k] of x."""

    name = "permute"
    feature = 40

    x: int
    axes: tuple[int, ...]

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 2 and sorted(self.axes) == list(range(len(x.shape))), "a permutation of other axes")
        shape = tuple(x.shape[axis] for axis in self.axes)
        return Type(shape, x.low, x.high, _no_degrees(x, shape[0]))

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

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) == 3 and 1 <= self.factor <= 64, "an upsampling that cannot be")
        low, high = (min(x.low, 0), max(x.high, 0)) if self.zeros else (x.low, x.high)
        shape = (x.shape[0], x.shape[1] * self.factor, x.shape[2] * self.factor)
        return Type(shape, low, high, _no_degrees(x, shape[0]))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.upsample(values[self.x], self.factor, self.zeros)


@dataclass(frozen=True)
class DepthToSpace(Operation):
    """y[c](r*f + a, s*f + b) = x[(c*f + a)*f + b](r, s)."""

    name = "depth_to_space"
    feature = 30

    x: int
    factor: int

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        f = self.factor
        require(len(x.shape) == 3 and 1 <= f <= 64 and x.shape[0] % (f * f) == 0, "a depth-to-space that cannot be")
        channels = x.shape[0] // (f * f)
        return Type((channels, x.shape[1] * f, x.shape[2] * f), x.low, x.high, _no_degrees(x, channels))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.depth_to_space(values[self.x], self.factor)


@dataclass(frozen=True)
class Constant(Operation):
    """The same vector for every item."""

    name = "constant"
    feature = 31
    incremental = True
    learned = ("values",)

    x: int  # any value: it gives the number of items
    values: str

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.x,)

    @property
    def sources(self) -> tuple[int, ...]:
        return ()

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        values = _tensor(tensors, self.values, 1)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"tensor {self.values!r} holds values above 2^24")
        degrees = None if types[self.x].degrees is None else np.zeros(len(values), np.int64)
        return Type((len(values),), low, high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.constant(len(values[self.x]), tensors[self.values])


OPERATIONS: dict[str, type[Operation]] = {
    kind.name: kind
    for kind in (
        Linear,
        Convolution,
        Requantise,
        Relu,
        Offset,
        Table,
        Add,
        Product,
        Embed,
        Spread,
        Concat,
        Slice,
        Reshape,
        Permute,
        Upsample,
        DepthToSpace,
        Constant,
    )
}
