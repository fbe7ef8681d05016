"""Incremental evaluation under a degree schedule: each unit of the network is computed once.

A unit of degree d depends on steps before d only, so with units sorted by degree a masked network is a staircase.
The steps are taken in blocks. What a block's units receive from units of earlier blocks is one matrix product per
layer; what they receive from within the block is added unit by unit in a compiled loop that also pops the symbols
(``advance.py``). All sums are sums of integers within the exact range, so they equal the parallel pass to the bit.

Numbers are float32 where their range allows it. Sums that leave it are collected in float64 from pieces that do not.
The pieces are found anew from the weights of each block: they are longer than the parts that a program states for a
whole layer, and the sum of a few neighbours always fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from codelength.coding.frequencies import Leaf
from codelength.coding.stack import Stack
from codelength.exact.advance import (
    COPY,
    FIELDS,
    LINEAR,
    RELU,
    REQUANTISE,
    WIDE_LINEAR,
    WIDE_REQUANTISE,
    advance_block,
    collect,
    sum_items,
)
from codelength.exact.arithmetic import QUIET, is_wide
from codelength.exact.layer import Layer
from codelength.exact.network import Network
from codelength.exact.operation import FLOAT32_EXACT, Tensors, Type

# Longer blocks make better products between them and more work within; 48 to 96 measure alike.
BLOCK_STEPS = 64


class DensePlan:
    """A network under a degree schedule, its units sorted by degree, ready to advance any number of items."""

    def __init__(
        self, network: Network, types: list[Type], tensors: Tensors, leaf: Leaf, schedule: Any, shape: tuple[int, ...]
    ) -> None:
        self.leaf = leaf
        self.network = network
        self.types = types
        self.tensors = tensors
        self.steps = int(np.prod(shape))
        inputs = len(network.inputs)
        # Values that depend on the context alone are computed whole, before the first step.
        self.contextual = [not depends for depends in network.follows("x")]
        wide = self._wide_sums()
        self.dtype = np.float64 if wide is None else np.float32
        self.wide = wide or [False] * len(types)
        # How each value's units are laid out: rank by degree, earlier channels first among equals.
        self.rank: list[np.ndarray] = []
        self.starts = np.zeros((len(types), self.steps + 2), np.int64)
        for v, kind in enumerate(types):
            degrees = kind.degrees if kind.shape and kind.degrees is not None else np.zeros(0, np.int64)
            order = np.argsort(degrees, kind="stable")
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order))
            self.rank.append(rank)
            self.starts[v] = np.searchsorted(degrees[order], np.arange(self.steps + 2))
        # All units of a value have a row of their own, except that sums in float64 are kept for one block only.
        self.bases = np.zeros(len(types), np.int64)
        self.rows = self.wide_rows = 0
        edges = [*range(0, self.steps, BLOCK_STEPS), self.steps]
        self.blocks = list(zip(edges, edges[1:]))
        for v, rank in enumerate(self.rank):
            if self.wide[v]:
                self.bases[v] = self.wide_rows
                self.wide_rows += int(np.diff(self.starts[v, edges]).max(initial=0))
            else:
                self.bases[v] = self.rows
                self.rows += len(rank)
        self.x = network.inputs.index("x") if "x" in network.inputs else -1
        self.source_a, self.source_b = np.zeros(self.rows, np.int64), np.zeros(self.rows, np.int64)
        self.numbers = np.zeros((self.rows, 2), self.dtype)
        self.layers: list[_Layer] = []
        records = []
        self._flat: list[np.ndarray] = [np.zeros(0, np.float32)]
        self._tables: list[np.ndarray] = [np.zeros(0, np.float32)]
        self._weight_end = self._table_end = 0
        for v, operation in enumerate(network.operations, start=inputs):
            if self.contextual[v]:
                continue
            code, *numbers = operation.at_steps(self, v)
            records.append([code, v, *numbers, *[0] * (FIELDS - 2 - len(numbers))])
        self.program = np.array(records, np.int64).reshape(-1, FIELDS)
        self.weights = np.concatenate(self._flat).astype(self.dtype)
        self.table_values = np.concatenate(self._tables).astype(self.dtype)
        # Row t * p + j of the parameters of step t.
        rows = self.rows_of(network.output).reshape(self.steps, leaf.parameters)
        self.output_rows = np.ascontiguousarray(rows[schedule.places(tensors)].reshape(-1))
        # Of the operations that not every network has, whether this one does.
        self.any_wide = any(self.wide)
        plain = (LINEAR, REQUANTISE, RELU, COPY, WIDE_LINEAR, WIDE_REQUANTISE)
        self.is_plain = bool(np.isin(self.program[:, 0], plain).all())

    def _wide_sums(self) -> list[bool] | None:
        """Which values are sums of layers to be collected in float64; None where that does not do.

        It does where such sums are at once brought back by a requantise, as freezing has it.
        """
        operations, inputs = self.network.operations, len(self.network.inputs)
        wide = [is_wide(kind.largest) for kind in self.types]
        for v, operation in enumerate(operations, start=inputs):
            # The sum of the parts of a layer can leave the range of float32 even where its result does not.
            prepared = self.types[v].prepared
            wide[v] = wide[v] or (isinstance(prepared, Layer) and bool(prepared.parts))
            if wide[v] and not self.contextual[v] and not operation.sums:
                return None
        for v, operation in enumerate(operations, start=inputs):
            if self.contextual[v] or not any(wide[o] for o in operation.operands):
                continue
            if not operation.rounds or self.contextual[operation.operands[0]]:
                return None
        return None if wide[self.network.output] else wide

    # What operations lay out, ``Operation.at_steps``.

    def rows_of(self, value: int) -> np.ndarray:
        """Where each channel of a value stands among the rows of a group of items."""
        return self.bases[value] + self.rank[value]

    def takes(self, v: int, a: np.ndarray, b: np.ndarray | None = None) -> None:
        """Each channel of value ``v`` is made of these rows."""
        self.source_a[self.rows_of(v)] = a
        if b is not None:
            self.source_b[self.rows_of(v)] = b

    def scales(self, v: int, first: Any, second: Any) -> None:
        """Two numbers for each channel of value ``v``."""
        rows = self.rows_of(v)
        self.numbers[rows, 0], self.numbers[rows, 1] = first, second

    def add_table(self, table: np.ndarray) -> int:
        """Where a table begins among all."""
        begin = self._table_end
        self._tables.append(table.astype(np.float32))
        self._table_end += len(table)
        return begin

    def add_layer(self, v: int, x: int, prepared: Layer) -> tuple[int, ...]:
        """The weights of a layer from value ``x`` to value ``v``, sorted by degree on both sides: the numbers of its
        record."""
        order_out, order_in = np.argsort(self.rank[v]), np.argsort(self.rank[x])
        weight = np.ascontiguousarray(prepared.weight[order_out][:, order_in], self.dtype)
        bias = prepared.bias.astype(np.float64)[order_out]
        layer = _Layer(v, x, weight, bias, self.types[x].largest if self.wide[v] else None)
        for first, last in self.blocks:
            layer.add_block(self.starts[v, first], self.starts[v, last], self.starts[x, first])
        self.layers.append(layer)
        begin = self._weight_end
        self._flat.append(weight.reshape(-1))
        self._weight_end += weight.size
        return (WIDE_LINEAR if self.wide[v] else LINEAR, x, begin, weight.shape[1], layer.together)

    def _context_values(self, units: np.ndarray, given: dict[str, np.ndarray], count: int) -> None:
        values = self.network.context_values(given, self.types, self.tensors, count)
        for v, value in enumerate(values):
            if value is not None and len(self.types[v].shape) == 1 and not self.wide[v]:
                units[self.rows_of(v)] = value.T

    def advance(
        self, stack: Stack, count: int, given: dict[str, np.ndarray], known: np.ndarray | None = None
    ) -> np.ndarray:
        """Pop ``count`` items, (count, D) int32 in coding order. Raises StackExhausted.

        known (count, D), in coding order: symbols to set instead of those popped, -1 where there is none.
        """
        fixed = None if known is None else np.ascontiguousarray(known.T, np.int64)
        stack.hold(count)
        most = int(stack.sizes.max(initial=0))
        numbers = self.leaf.numbers()
        single_bits = self.leaf.family == "bernoulli"
        params = None if single_bits else np.empty(self.leaf.parameters, np.int64)
        cuts = np.empty(count, np.int64) if single_bits else None

        def pop(first: int, last: int, run: _Run) -> None:
            stack.reserve(pops=most * (last - first))
            coder = stack.state, stack.words, stack.count, stack.bounds
            stack.check(run(first, first, last, numbers, params, cuts, coder, fixed))

        return self._through_blocks(count, given, pop)

    def walk(
        self, count: int, given: dict[str, np.ndarray], act: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Items (count, D) int32 in coding order, made step by step: ``act(params (count, 1, p) int64, where (1,))``
        gives the elements (count, 1) at the place ``where`` of the coding order."""
        p, nobody = self.leaf.parameters, (None,) * 8

        def each(first: int, last: int, run: _Run) -> None:
            for step in range(first, last):
                run(first, step, step + 1, nobody, None, None, nobody[:4], None)
                params = run.units[self.output_rows[step * p : (step + 1) * p]].T.astype(np.int64)
                run.units[run.x_row + step] = act(params[:, None], np.array([step]))[:, 0]

        return self._through_blocks(count, given, each)

    def _through_blocks(
        self, count: int, given: dict[str, np.ndarray], go: Callable[[int, int, _Run], None]
    ) -> np.ndarray:
        """Items (count, D) int32 in coding order: to each block what earlier ones send, then ``go(first, last, run)``,
        which runs through its steps and sets their elements."""
        run = _Run(self, count)
        self._context_values(run.units, given, count)
        room = _Room(self.layers, count, self.dtype)
        for block, (first, last) in enumerate(self.blocks):
            for layer in self.layers:
                start = self.bases[layer.value] + (0 if self.wide[layer.value] else self.starts[layer.value, first])
                sums = run.wide if self.wide[layer.value] else run.units
                layer.begin(block, run.units[self.bases[layer.operand] :], sums[start:], room)
            go(first, last, run)
            for operand in room.sums:
                start, stop = self.bases[operand] + self.starts[operand, [first, last]]
                sum_items(run.units[start:stop], room.items, room.sums[operand][self.starts[operand, first] :])
        return np.ascontiguousarray(run.units[run.x_row : run.x_row + self.steps].T).astype(np.int32)


class _Run:
    """The units of a group of items, and the compiled steps over them.

    units (rows, n), wide (wide rows, n): see ``advance_block``. x_row: where the elements stand in ``units``.
    """

    def __init__(self, plan: DensePlan, count: int) -> None:
        self.plan = plan
        self.x_row = int(plan.bases[plan.x]) if plan.x >= 0 else plan.rows
        # Where the network ignores the item, its symbols still need a place.
        self.units = np.zeros((plan.rows + (plan.steps if plan.x < 0 else 0), count), plan.dtype)
        self.wide = np.empty((plan.wide_rows, count), np.float64)
        self.piece = np.empty(count, plan.dtype) if plan.any_wide else None

    def __call__(
        self,
        block_step: int,
        first: int,
        last: int,
        numbers: tuple[Any, ...],
        params: np.ndarray | None,
        cuts: np.ndarray | None,
        coder: tuple[Any, ...],
        known: np.ndarray | None,
    ) -> bool:
        """Steps first .. last - 1 of the block that begins at ``block_step``. numbers: of the leaf; coder: state,
        words, count and bounds of a stack."""
        plan = self.plan
        return advance_block(
            block_step,
            first,
            last,
            plan.program,
            plan.starts,
            plan.bases,
            plan.source_a,
            None if plan.is_plain else plan.source_b,
            plan.numbers,
            plan.weights,
            None if plan.is_plain else plan.table_values,
            plan.output_rows,
            self.x_row,
            plan.leaf.parameters,
            *numbers,
            params,
            cuts,
            self.units,
            self.wide if plan.any_wide else None,
            self.piece,
            *coder,
            known,
        )


class _Layer:
    """What the units of a layer receive from units of earlier blocks.

    weight (outputs, inputs), bias (outputs,): sorted by degree. reach: the largest magnitude of an input if sums are
    to be collected in float64 from pieces that fit float32; None if whole sums fit the type of ``weight``.
    """

    def __init__(self, value: int, operand: int, weight: np.ndarray, bias: np.ndarray, reach: int | None) -> None:
        self.value, self.operand, self.weight, self.bias, self.reach = value, operand, weight, bias, reach
        #: How many inputs, any of them, can be added in float32.
        self.together = max(1, weight.shape[1])
        if reach is not None:
            largest = int(np.abs(weight).max(initial=0)) * reach
            self.together = max(1, min(self.together, FLOAT32_EXACT // max(largest, 1)))
        # Units begin .. end - 1; where the inputs 0 .. known - 1 are cut; for the check, each one's weights summed.
        self.blocks: list[tuple[int, int, list[int], np.ndarray]] = []

    def add_block(self, begin: int, end: int, known: int) -> None:
        """The next block: units begin .. end - 1, which receive from the inputs 0 .. known - 1."""
        weight = self.weight[begin:end, :known]
        edges = [0, known] if known else [0]
        if self.reach is not None:
            edges = _pieces(np.abs(weight, dtype=np.float64) * self.reach)
        with QUIET():
            self.blocks.append((int(begin), int(end), edges, _spread(end - begin, 11) @ weight))

    def begin(self, block: int, inputs: np.ndarray, target: np.ndarray, room: _Room) -> None:
        """Set the sums of the block's units to the bias and what comes from earlier blocks.

        inputs (>= inputs of the layer, n); target (>= units of the block, n): where the sums go.
        """
        begin, end, edges, weights = self.blocks[block]
        target = target[: end - begin]
        target[:] = self.bias[begin:end, None]
        known = edges[-1]
        if not known or begin == end:
            return
        room.totals[:] = 0
        with QUIET():
            for start, stop in zip(edges, edges[1:]):
                product = room.product[: end - begin]
                np.matmul(self.weight[begin:end, start:stop], inputs[start:stop], out=product)
                collect(product, target, room.units, room.totals)
            right = room.totals @ room.items == weights @ room.sums[self.operand][:known]
        if not right:
            # The fast product is not exact here: once more, in integers.
            exact = self.weight[begin:end, :known].astype(np.int64) @ inputs[:known].astype(np.int64)
            target[:] = exact + self.bias[begin:end, None]


class _Room:
    """Where the products of a group of items are computed and checked: by a weighted sum over units and items.

    units (units of a block,), items (n,): the weights, which differ between neighbours lest errors cancel.
    sums[operand] (inputs,): the weighted sum over items of each input of a layer, as soon as it is complete.
    product (units of a block, n), totals (n,): the product in hand and its sum over units.
    """

    def __init__(self, layers: list[_Layer], count: int, dtype: Any) -> None:
        self.sums = {layer.operand: np.zeros(layer.weight.shape[1]) for layer in layers}
        units = max((end - begin for layer in layers for begin, end, _, _ in layer.blocks), default=0)
        self.units, self.items = _spread(units, 11), _spread(count, 13)
        self.product = np.empty((units, count), dtype)
        self.totals = np.empty(count)


def _spread(count: int, size: int) -> np.ndarray:
    """Weights (count,) float64 from 1 to ``size``, so small that weighted sums of integers stay exact."""
    return (1 + np.arange(count) * 5 % size).astype(np.float64)


def _pieces(reach: np.ndarray) -> list[int]:
    """Cut columns into the fewest runs of which every row sums to at most 2^24: the edges, from 0 to the last.

    reach (rows, columns) float64, none above 2^24.
    """
    sums = reach.cumsum(axis=1)
    edges, known = [0], reach.shape[1]
    while edges[-1] < known:
        start = edges[-1]
        room = FLOAT32_EXACT + (sums[:, start - 1] if start else 0.0)
        fits = (sums[:, start:] <= np.reshape(room, (-1, 1))).all(axis=0)
        edges.append(start + max(1, int(fits.sum())))
    return edges
