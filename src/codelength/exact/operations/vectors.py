"""Vectors that do not come from a layer: rows of a table, constants, and a vector laid over an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.exact.operation import FLOAT32_EXACT, Operation, Tensors, Type, require, tensor_of


@dataclass(frozen=True)
class Embed(Operation):
    """y = table[index]: a row chosen by an input that is a single index (an order, a component, a label)."""

    name = "embed"
    feature = 24
    incremental = True
    learned = ("table",)

    x: int
    table: str

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        x = types[self.x]
        table = tensor_of(tensors, self.table, 2)
        require(x.shape == (), "an embedding needs a single index")
        require(x.low >= 0 and x.high < len(table), f"an index can leave the {len(table)} rows of {self.table!r}")
        low, high = int(table.min(initial=0)), int(table.max(initial=0))
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"table {self.table!r} holds values above 2^24")
        degrees = None if x.degrees is None else np.zeros(table.shape[1], np.int64)
        return Type((table.shape[1],), low, high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.embed(values[self.x], tensors[self.table])


@dataclass(frozen=True)
class Constant(Operation):
    """The same vector for every item."""

    name = "constant"
    measures = ("x",)
    feature = 31
    incremental = True
    learned = ("values",)

    x: int  # any value: it gives the number of items
    values: str

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        values = tensor_of(tensors, self.values, 1)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        require(max(abs(low), abs(high)) <= FLOAT32_EXACT, f"tensor {self.values!r} holds values above 2^24")
        degrees = None if types[self.x].degrees is None else np.zeros(len(values), np.int64)
        return Type((len(values),), low, high, degrees)

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        return arithmetic.constant(len(values[self.x]), tensors[self.values])


@dataclass(frozen=True)
class Spread(Operation):
    """y[c](r, s) = x[c] for every pixel of ``like``: a vector laid over an image."""

    name = "spread"
    asks = ("x", "like")
    measures = ("like",)
    feature = 25
    incremental = True

    x: int
    like: int

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
