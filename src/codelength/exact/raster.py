"""Incremental evaluation of causal convolutional networks: pixel by pixel, or front by front.

At each step every layer is computed at the pixels of the step only, from what its taps have already seen; with
several channels, the channels of a pixel follow one another by degree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codelength.coding.frequencies import Leaf, pop_elements
from codelength.coding.stack import Stack
from codelength.exact.arithmetic import is_wide
from codelength.exact.dense import exact_product
from codelength.exact.network import Network
from codelength.exact.operations import (
    Add,
    Concat,
    Convolution,
    Offset,
    Operation,
    Product,
    Relu,
    Requantise,
    Slice,
    Table,
    Tensors,
    Type,
)
from codelength.exact.schedule import RasterSchedule, as_image


class RasterPlan:
    """A causal network and the fronts of one image size."""

    def __init__(
        self,
        network: Network,
        types: list[Type],
        tensors: Tensors,
        leaf: Leaf,
        schedule: RasterSchedule,
        shape: tuple[int, ...],
    ) -> None:
        self.network, self.types, self.tensors, self.leaf = network, types, tensors, leaf
        self.height, self.width, self.channels = as_image(shape)
        self.fronts = schedule.fronts(self.height, self.width)
        self.order = schedule.order(self.height, self.width, self.channels)
        inputs = len(network.inputs)
        # What does not depend on the item is computed whole, the rest along the fronts.
        self.follows = network.follows("x")
        self.members = {
            (v, degree): self._members(v, degree)
            for v, depends in enumerate(self.follows)
            if depends
            for degree in range(self.channels + 1)
        }
        self.margin = margin_of(network, types)
        self.kernels: dict[tuple[int, int], tuple[np.ndarray, list[tuple[int, int]], np.ndarray]] = {}
        for v, operation in enumerate(network.operations, start=inputs):
            if isinstance(operation, Convolution) and self.follows[v]:
                for degree in range(self.channels + 1):
                    self.kernels[v, degree] = self._kernel(operation, v, degree)

    def _members(self, value: int, degree: int) -> np.ndarray:
        """Channels of a value that are computed at sub-step ``degree``: those of this degree.

        Those that have seen all channels of their pixel follow after the last one, for the sake of later pixels.
        """
        degrees = self.types[value].degrees
        assert degrees is not None
        return np.flatnonzero(np.minimum(degrees, self.channels) == degree)

    def _kernel(
        self, operation: Convolution, v: int, degree: int
    ) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray]:
        """Weights (outputs, taps * inputs) on the taps that are not all zero, the taps, and the biases."""
        masked = self.types[v].weight
        assert masked is not None
        weight = masked[self.members[v, degree]]
        taps = _taps(masked)
        flat = np.stack([weight[:, :, a, b] for a, b in taps], axis=1) if taps else np.zeros((len(weight), 0, 1))
        flat = flat.reshape(len(weight), flat.shape[1] * flat.shape[2])
        offsets = [(a + operation.offset[0], b + operation.offset[1]) for a, b in taps]
        bias = self.tensors[operation.bias][self.members[v, degree]]
        kind = np.float64 if operation.parts else np.float32
        return np.ascontiguousarray(flat, kind), offsets, bias.astype(np.float64)

    def advance(
        self, stack: Stack, count: int, given: dict[str, np.ndarray], known: np.ndarray | None = None
    ) -> np.ndarray:
        """Pop ``count`` items, (count, height * width * channels) int32 in row-major order. Raises StackExhausted.

        known, of that shape: symbols to set instead of those popped, -1 where there is none.
        """
        fixed = None if known is None else known.reshape(count, self.height * self.width, self.channels)
        m = self.margin
        values = self.network.context_values(given, self.types, self.tensors, count)
        for v, (kind, whole) in enumerate(zip(self.types, values)):
            if kind.shape[1:] != (self.height, self.width) or (whole is None and not self.follows[v]):
                continue  # no operation along the fronts can meet it
            space = count, self.height + 2 * m, self.width + 2 * m, kind.shape[0]
            values[v] = np.zeros(space, np.float64 if is_wide(kind.largest) else np.float32)
            if whole is not None:
                values[v][:, m : m + self.height, m : m + self.width] = whole.transpose(0, 2, 3, 1)
        inputs = len(self.network.inputs)
        p, output = self.leaf.parameters, self.network.output
        x_value = self.network.inputs.index("x") if "x" in self.network.inputs else None
        flat = np.zeros((count, self.height * self.width, self.channels), np.int32)
        for front in self.fronts:
            rows, columns = np.divmod(front, self.width)
            rows, columns = rows + m, columns + m
            for channel in range(self.channels + 1):
                for v, operation in enumerate(self.network.operations, start=inputs):
                    if self.follows[v]:
                        self._step(operation, v, channel, values, rows, columns)
                if channel == self.channels:
                    break
                params = values[output][:, rows, columns, channel * p : (channel + 1) * p]
                drawn = pop_elements(self.leaf, params, stack)
                if fixed is not None:
                    drawn = np.where(fixed[:, front, channel] < 0, drawn, fixed[:, front, channel])
                flat[:, front, channel] = drawn
                if x_value is not None:
                    values[x_value][:, rows, columns, channel] = drawn
        return flat.reshape(count, -1)

    def _step(
        self, operation: Operation, v: int, degree: int, values: list[Any], rows: np.ndarray, columns: np.ndarray
    ) -> None:
        members = self.members[v, degree]
        if not len(members):
            return
        if isinstance(operation, Convolution):
            kernel, offsets, bias = self.kernels[v, degree]
            x = values[operation.x]
            if offsets:
                seen = np.stack([x[:, rows + dy, columns + dx] for dy, dx in offsets], axis=2)
                columns_of = seen.reshape(-1, kernel.shape[1]).astype(kernel.dtype).T
                y = exact_product(kernel, columns_of).T + bias
            else:
                y = np.broadcast_to(bias, (len(x) * len(rows), len(bias)))
            result = y.reshape(len(x), len(rows), len(members))
        else:
            result = self._pointwise(operation, members, values, rows, columns)
        values[v][:, rows[:, None], columns[:, None], members[None, :]] = result

    def _pointwise(
        self, operation: Operation, members: np.ndarray, values: list[Any], rows: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        def at(value: int, channels: np.ndarray) -> np.ndarray:
            return values[value][:, rows[:, None], columns[:, None], channels[None, :]]

        if isinstance(operation, Requantise):
            shift = self.tensors[operation.shift].astype(np.int64)[members]
            x = at(operation.x, members) * np.ldexp(np.ones(len(shift)), -shift)
            return np.clip(np.floor(x + np.where(shift > 0, 0.5, 0.0)), operation.low, operation.high)
        if isinstance(operation, Relu):
            return np.maximum(at(operation.x, members), 0)
        if isinstance(operation, Offset):
            return at(operation.x, members) + operation.value
        if isinstance(operation, Table):
            table = self.tensors[operation.table]
            index = np.clip(at(operation.x, members).astype(np.int64) - operation.low, 0, len(table) - 1)
            return table[index]
        if isinstance(operation, Add):
            return at(operation.a, members) * (1 << operation.shift_a) + at(operation.b, members) * (
                1 << operation.shift_b
            )
        if isinstance(operation, Product):
            return at(operation.a, members) * at(operation.b, members)
        if isinstance(operation, Slice):
            return at(operation.x, members + operation.start)
        if isinstance(operation, Concat):
            origin = [(x, c) for x in operation.xs for c in range(self.types[x].shape[0])]
            return np.stack([values[origin[c][0]][:, rows, columns, origin[c][1]] for c in members], axis=-1)
        raise AssertionError(f"no rule for {operation.name}")


def _taps(weight: np.ndarray) -> list[tuple[int, int]]:
    """Where a kernel (outputs, inputs, rows, columns) is not zero throughout."""
    return [(int(a), int(b)) for a, b in zip(*np.nonzero(weight.any(axis=(0, 1))))]


def margin_of(network: Network, types: list[Type]) -> int:
    """How far the taps of the kernels that are evaluated along the fronts reach."""
    margin, depends = 0, network.follows("x")
    for v, operation in enumerate(network.operations, start=len(network.inputs)):
        weight = types[v].weight
        if isinstance(operation, Convolution) and depends[v] and weight is not None:
            for tap in _taps(weight):
                margin = max(margin, *(abs(t + o) for t, o in zip(tap, operation.offset)))
    return margin
