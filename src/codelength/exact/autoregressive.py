"""Inverse autoregressive steps on integers: exactly invertible, and they keep the range that they are given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codelength.coding.stack import Stack
from codelength.coding.symbols import check_range, refuse
from codelength.exact.conditional import SequentialConditional
from codelength.exact.network import Network, read_object
from codelength.exact.operations import Tensors, Type, require
from codelength.exact.schedule import DegreeSchedule, RasterSchedule, schedule_from_json
from codelength.exact.steps import Range, Step, check_scales
from codelength.exact.uniform import pop_uniform, push_uniform


class StepLeaf:
    """In the place of a leaf: for each element two integers, an index of a gate and a mean; it codes nothing."""

    parameters = 2
    work = 0
    standard = None  # what networks see of y is integers

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols


class AutoregressiveStep(Step):
    """x = floor(y a / b) + floor(m (b - a) / b), b = 2^denominator, with a and m of element i from the y before it.

    The scheduled network sees y as ``x`` and gives for each element an index into the table ``scales`` of numerators
    a <= b and a mean m, clamped to the range. x and y lie in 0 .. high: the first term is (high a + a - 1) / b at most
    and the second high (b - a) / b, whose sum is less than high + 1.

    From y to x is one pass (``inverse``), back is a recursion (``forward``).
    """

    name = "autoregressive"
    feature = 61
    spends = True

    def __init__(
        self,
        network: Network,
        schedule: DegreeSchedule | RasterSchedule,
        scales: str,
        denominator: int,
        shape: tuple[int, ...],
        low: int,
        high: int,
        tensors: Tensors,
        context: dict[str, Type],
    ) -> None:
        require(scales in tensors, f"a step names a tensor {scales!r} that the program does not hold")
        self.table = tensors[scales].astype(np.int64)
        check_scales(self.table, denominator)
        require(int(self.table.max()) <= 1 << denominator, "a scale is out of bounds")
        require(low == 0 and 1 <= high < 1 << 16, "an autoregressive step needs numbers from 0 on, below 2^16")
        super().__init__((low, high), (low, high))
        self.high, self.denominator, self.shape = high, denominator, shape
        leaf: Any = StepLeaf(high + 1)
        self.conditional = SequentialConditional(leaf, network, shape, tensors, context, schedule)
        self.work, self.steps = self.conditional.work, self.conditional.steps

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"network", "schedule", "scales", "denominator"}, "an autoregressive step")
        require(isinstance(record["scales"], str), "an autoregressive step names no tensor")
        network, schedule = Network.from_json(record["network"]), schedule_from_json(record["schedule"])
        known = {**context, "count": Type((1,), 0, 0)}
        return cls(network, schedule, record["scales"], record["denominator"], shape, *before, tensors, known)

    @property
    def features(self) -> set[int]:
        return {self.feature, self.conditional.schedule.feature, *self.conditional.network.features}

    def item_bytes(self) -> int:
        """Bytes that the step needs for an item beyond the item itself."""
        return self.conditional.item_bytes(self.shape) + 64 * math.prod(self.shape)

    def _numbers(self, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numerators a and shifts of elements from the network's parameters (n, e, 2), (n, e) each."""
        params = params.astype(np.int64)
        a = self.table[np.clip(params[..., 0], 0, len(self.table) - 1)]
        mean = np.clip(params[..., 1], 0, self.high)
        return a, (mean * ((1 << self.denominator) - a)) >> self.denominator

    def _of_all(self, y: np.ndarray, context: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Numerators and shifts (n, D) by element, in one pass."""
        elements = self.conditional.parallel(y, context)
        params = elements.params
        if elements.order is not None:
            order = np.broadcast_to(elements.order, params.shape[:2])
            params = np.empty_like(params)
            np.put_along_axis(params, order[..., None], elements.params, axis=1)
        return self._numbers(params)

    def inverse(self, stack: Stack, y: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        """x: pops a remainder below a, pushes one below b; with ``start`` only the first."""
        y = np.clip(y.astype(np.int64), 0, self.high)
        a, shift = self._of_all(y, context)
        scaled = y.reshape(len(y), -1) * a + pop_uniform(stack, a)
        if not start:
            push_uniform(stack, scaled & ((1 << self.denominator) - 1), np.full(a.shape, 1 << self.denominator))
        return ((scaled >> self.denominator) + shift).reshape(y.shape)

    def forward(self, stack: Stack, x: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        """y, by a recursion along the schedule; the mirror image of ``inverse``.

        Raises NotRepresentable for numbers that no y leads to, and names their items.
        """
        check_range(x, 0, self.high)
        flat = x.reshape(len(x), -1).astype(np.int64)
        below = np.full(flat.shape, 1 << self.denominator)
        rest = np.zeros_like(flat) if start else pop_uniform(stack, below)
        numerators, remainders = np.ones_like(flat), np.zeros_like(flat)
        reached = np.zeros_like(flat)

        def step(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            a, shift = self._numbers(params)
            here = np.take_along_axis(flat, where, axis=1) - shift
            scaled = (here << self.denominator) + np.take_along_axis(rest, where, axis=1)
            np.put_along_axis(numerators, where, a, axis=1)
            np.put_along_axis(remainders, where, scaled % a, axis=1)
            np.put_along_axis(reached, where, scaled // a, axis=1)
            return np.clip(scaled // a, 0, self.high)

        y = self.conditional.recur(len(x), context, step)
        refuse((reached < 0) | (reached > self.high), flat, "expected a number that the step can give")
        push_uniform(stack, remainders, numerators)
        return y.astype(np.int64).reshape(x.shape)

    def place(self, y: np.ndarray, context: dict[str, Any]) -> np.ndarray:
        """x for y without a stack, as if remainders were halves."""
        y = np.clip(y.astype(np.int64), 0, self.high)
        a, shift = self._of_all(y, context)
        return (((y.reshape(len(y), -1) * a + a // 2) >> self.denominator) + shift).reshape(y.shape)

    def determinant(self, x: np.ndarray, context: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """y without its random rounding, and the log-determinant in nats (n,): for the figure only."""
        nats = np.zeros(x.reshape(len(x), -1).shape)
        flat = x.reshape(len(x), -1).astype(np.int64)

        def step(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            a, shift = self._numbers(params)
            np.put_along_axis(nats, where, np.log((1 << self.denominator) / a), axis=1)
            half = 1 << self.denominator >> 1
            scaled = ((np.take_along_axis(flat, where, axis=1) - shift) << self.denominator) + half
            return np.clip(scaled // a, 0, self.high)

        y = self.conditional.recur(len(x), context, step)
        return y.astype(np.int64).reshape(x.shape), nats.sum(1)
