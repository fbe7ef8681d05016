"""What is done number by number: rounding, relu, tables, sums and gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.exact.advance import ADD, OFFSET, PRODUCT, RELU, REQUANTISE, TABLE, WIDE_REQUANTISE
from codelength.exact.layer import Rounding
from codelength.exact.operation import (
    FLOAT32_EXACT,
    FLOAT64_EXACT,
    MAX_SHIFT,
    Operation,
    Tensors,
    Type,
    joint_degrees,
    require,
    tensor_of,
    vector_of,
)


@dataclass(frozen=True)
class Requantise(Operation):
    """y = clamp(floor(x / 2^shift + 1/2), low, high), the shift per channel; a negative shift multiplies."""

    name = "requantise"
    feature = 18
    incremental = True
    rounds = True

    x: int
    shift: str
    low: int
    high: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        require(len(x.shape) >= 1, "requantise needs channels")
        shift = vector_of(tensors, self.shift, x.shape[0])
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
        low, high = min(max(low, self.low), self.high), max(min(high, self.high), self.low)
        return Type(x.shape, low, high, x.degrees, self.prepare(tensors))

    def prepare(self, tensors: Any, weight: Any = None) -> Rounding:
        return Rounding(tensors[self.shift], self.low, self.high)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.requantise(values[self.x], out.prepared)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.x))
        plan.scales(v, *plan.types[v].prepared.numbers(np.float64)[:2])
        return (WIDE_REQUANTISE if plan.wide[self.x] else REQUANTISE, self.x, 0, 0, self.low, self.high)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        rounding = out.prepared.of(members)
        return lambda front: rounding(front.here[self.x][:, members])[0]


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

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        return Type(x.shape, max(x.low, 0), max(x.high, 0), x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.relu(values[self.x])

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.x))
        return (RELU,)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        return lambda front: np.maximum(front.here[self.x][:, members], 0)


@dataclass(frozen=True)
class Offset(Operation):
    """y = x + value."""

    name = "offset"
    feature = 20
    incremental = True

    x: int
    value: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        low, high = x.low + self.value, x.high + self.value
        largest = max(abs(low), abs(high), abs(self.value), x.largest)
        require(largest <= FLOAT32_EXACT, "an offset leaves 2^24")
        return Type(x.shape, low, high, x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.offset(values[self.x], self.value)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.x))
        return (OFFSET, 0, 0, 0, self.value)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        return lambda front: front.here[self.x][:, members] + self.value


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

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        table = tensor_of(tensors, self.table, 1)
        require(len(table) >= 1, f"table {self.table!r} is empty")
        require(x.largest <= FLOAT32_EXACT and abs(self.low) <= FLOAT32_EXACT, "a table needs inputs within 2^24")
        low, high = int(table.min()), int(table.max())
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"table {self.table!r} holds values above 2^24")
        return Type(x.shape, low, high, x.degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.table(values[self.x], tensors[self.table], self.low)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.x))
        table = plan.tensors[self.table]
        return (TABLE, 0, 0, 0, self.low, len(table), plan.add_table(table))

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        table, most = tensors[self.table], len(tensors[self.table]) - 1

        def rule(front: Any) -> np.ndarray:
            index = front.here[self.x][:, members].astype(np.int64) - self.low
            found: np.ndarray = table[np.clip(index, 0, most)]
            return found

        return rule


@dataclass(frozen=True)
class Add(Operation):
    """y = a * 2^shift_a + b * 2^shift_b, elementwise: the skip connection."""

    name = "add"
    asks = ("a", "b")
    feature = 22
    incremental = True

    a: int
    b: int
    shift_a: int = 0
    shift_b: int = 0

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
        return Type(a.shape, low, high, joint_degrees(a, b))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.add(values[self.a], values[self.b], self.shift_a, self.shift_b)

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.a), plan.rows_of(self.b))
        plan.scales(v, 1 << self.shift_a, 1 << self.shift_b)
        return (ADD,)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        # Operands of more than 24 bits may cancel to a result of less, and the other way round.
        wide = np.float64 in (np.float64 if out.largest > FLOAT32_EXACT else None, kinds[self.a], kinds[self.b])
        kind = np.float64 if wide else np.float32
        scale_a, scale_b = kind(1 << self.shift_a), kind(1 << self.shift_b)

        def rule(front: Any) -> np.ndarray:
            a, b = (front.here[x][:, members].astype(kind, copy=False) for x in (self.a, self.b))
            total: np.ndarray = a * scale_a + b * scale_b
            return total

        return rule


@dataclass(frozen=True)
class Product(Operation):
    """y = a * b, elementwise: the gate."""

    name = "product"
    asks = ("a", "b")
    feature = 23
    incremental = True

    a: int
    b: int

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        a, b = types[self.a], types[self.b]
        require(a.shape == b.shape, f"a product of values of shapes {a.shape} and {b.shape}")
        require(a.largest * b.largest <= FLOAT32_EXACT, "a product leaves 2^24")
        corners = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
        return Type(a.shape, min(corners), max(corners), joint_degrees(a, b))

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.product(values[self.a], values[self.b])

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        plan.takes(v, plan.rows_of(self.a), plan.rows_of(self.b))
        return (PRODUCT,)

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        return lambda front: front.here[self.a][:, members] * front.here[self.b][:, members]
