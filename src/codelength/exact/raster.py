"""Incremental evaluation of causal convolutional networks: pixel by pixel, or front by front.

At each step every layer is computed at the pixels of the step only, from what its taps have already seen; with
several channels, the channels of a pixel follow one another by degree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.coding.frequencies import Leaf, pop_elements
from codelength.coding.stack import Stack
from codelength.exact.arithmetic import is_wide
from codelength.exact.layer import Layer
from codelength.exact.network import Network, float_bytes
from codelength.exact.operation import Tensors, Type
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
        self.kinds: list[Any] = [np.float64 if is_wide(kind.largest) else np.float32 for kind in types]
        # Later pixels ask for these; every other value is forgotten with its front.
        self.rings = _rings(network, kernel_offsets(network, types), self.height, self.width, schedule.slope)
        self.rules = {
            (v, degree): network.operations[v - inputs].at_pixels(types[v], self._some(v, degree), self.kinds, tensors)
            for v in range(inputs, len(types))
            if self.follows[v]
            for degree in range(self.channels + 1)
            if len(self.members[v, degree])
        }
        # Operations to do at each sub-step, and of what does not depend on the item the values that they read.
        wanted = [{network.output, *self.rings}] * self.channels + [set(self.rings)]
        self.programs = [self._program(set(wanted[degree]), degree) for degree in range(self.channels + 1)]
        done = {v for program in self.programs for v in program}
        self.read = {network.output} | {x for v in done for x in network.operations[v - inputs].operands}
        # Values that can be read before all of their channels are known.
        self.gradual = [
            v for v in sorted(self.read | done) if self.follows[v] and len(self.members[v, 0]) < self.types[v].shape[0]
        ]
        self.read = {v for v in self.read if not self.follows[v]}

    def _program(self, wanted: set[int], degree: int) -> list[int]:
        """The values to compute at a sub-step: those with channels of this degree that the wanted ones are made of."""
        inputs, chosen = len(self.network.inputs), []
        for v in range(len(self.types) - 1, inputs - 1, -1):
            if v in wanted and self.follows[v]:
                wanted.update(self.network.operations[v - inputs].operands)
                if len(self.members[v, degree]):
                    chosen.append(v)
        return chosen[::-1]

    def _members(self, value: int, degree: int) -> np.ndarray:
        """Channels of a value that are computed at sub-step ``degree``: those of this degree.

        Those that have seen all channels of their pixel follow after the last one, for the sake of later pixels.
        """
        degrees = self.types[value].degrees
        assert degrees is not None
        return np.flatnonzero(np.minimum(degrees, self.channels) == degree)

    def _some(self, value: int, degree: int) -> Any:
        """The same members as an index: a slice where they are all channels."""
        members = self.members[value, degree]
        return slice(None) if len(members) == self.types[value].shape[0] else members

    def advance(
        self, stack: Stack, count: int, given: dict[str, np.ndarray], known: np.ndarray | None = None
    ) -> np.ndarray:
        """Pop ``count`` items, (count, height * width * channels) int32 in row-major order. Raises StackExhausted.

        known, of that shape: symbols to set instead of those popped, -1 where there is none.
        """

        def pop(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            drawn = pop_elements(self.leaf, params, stack)
            if known is None:
                return drawn
            fixed = known[:, where]
            return np.where(fixed < 0, drawn, fixed)

        return self.walk(count, given, pop)

    def walk(
        self,
        count: int,
        given: dict[str, np.ndarray],
        act: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Items (count, height * width * channels) int32, row-major, made along the schedule: at each step ``act(params
        (count, e, p), where (e,))`` gives the elements (count, e) at the row-major positions ``where``."""
        context = self.network.context_values(given, self.types, self.tensors, count)
        whole = {v: np.ascontiguousarray(np.moveaxis(context[v], 1, 3)) for v in self.read}
        del context
        grids = {
            v: np.zeros((count, ring.rows, ring.columns, self.types[v].shape[0]), self.kinds[v])
            for v, ring in self.rings.items()
        }
        p, output = self.leaf.parameters, self.network.output
        x_value = self.network.inputs.index("x") if "x" in self.network.inputs else None
        flat = np.zeros((count, self.height * self.width, self.channels), np.int32)
        for front in self.fronts:
            rows, columns = np.divmod(front, self.width)
            here = {v: each[:, rows, columns].reshape(-1, each.shape[3]) for v, each in whole.items()}
            for v in self.gradual:
                here[v] = np.zeros((count * len(front), self.types[v].shape[0]), self.kinds[v])
            at = Front(here, grids, self.rings, rows, columns)
            for channel in range(self.channels + 1):
                for v in self.programs[channel]:
                    self._step(v, channel, at)
                if channel == self.channels:
                    break
                params = here[output][:, channel * p : (channel + 1) * p].reshape(count, len(front), p)
                drawn = act(params, front * self.channels + channel)
                flat[:, front, channel] = drawn
                if x_value is not None:
                    if x_value in here:
                        here[x_value][:, channel] = drawn.reshape(-1)
                    if x_value in grids:
                        at_rows, at_columns = self.rings[x_value].place(rows, columns)
                        grids[x_value][:, at_rows, at_columns, channel] = drawn
        return flat.reshape(count, -1)

    def _step(self, v: int, degree: int, front: Front) -> None:
        """Compute the channels of one degree of value ``v`` at the pixels of a front."""
        members = self.members[v, degree]
        result = self.rules[v, degree](front)
        if len(members) == self.types[v].shape[0]:
            front.here[v] = result.astype(self.kinds[v], copy=False)
        else:
            front.here[v][:, members] = result
        if v in front.grids:
            front.keep(v, members, result)


@dataclass(frozen=True)
class Front:
    """The pixels (rows, columns) of a step.

    here: for each value what it is at these pixels, (items * pixels, channels), zero where a channel is yet to come.
    grids: (items, rows, columns, channels) for each value that later pixels read, laid out as ``rings`` tell.
    """

    here: dict[int, np.ndarray]
    grids: dict[int, np.ndarray]
    rings: dict[int, Ring]
    rows: np.ndarray
    columns: np.ndarray

    def around(self, v: int, offsets: list[tuple[int, int]]) -> np.ndarray:
        """What value ``v`` is at these offsets from the pixels: (items * pixels, offsets * channels)."""
        grid, ring = self.grids[v], self.rings[v]
        seen = np.empty((len(grid), len(self.rows), len(offsets), grid.shape[3]), grid.dtype)
        for k, (dy, dx) in enumerate(offsets):
            at_rows, at_columns = ring.place(self.rows + dy, self.columns + dx)
            seen[:, :, k] = grid[:, at_rows, at_columns]
        return seen.reshape(-1, len(offsets) * grid.shape[3])

    def keep(self, v: int, members: np.ndarray, result: np.ndarray) -> None:
        """Note some channels of value ``v``, (items * pixels, members), for later pixels."""
        grid = self.grids[v]
        at_rows, at_columns = self.rings[v].place(self.rows, self.columns)
        shape = len(grid), len(self.rows), len(members)
        grid[:, at_rows[:, None], at_columns[:, None], members[None, :]] = result.reshape(shape)


#: Offsets of the taps of kernels that see no other pixel.
_POINT: tuple[list[tuple[int, int]], ...] = ([], [(0, 0)])


def kernel_offsets(network: Network, types: list[Type]) -> dict[int, list[tuple[int, int]]]:
    """Where each layer that is evaluated along the fronts looks: rows down and columns to the right of its pixel."""
    follows = network.follows("x")
    return {
        v: operation.looks(types[v])
        for v, operation in enumerate(network.operations, start=len(network.inputs))
        if follows[v] and isinstance(types[v].prepared, Layer)
    }


@dataclass(frozen=True)
class Ring:
    """The last rows of a value, as many as later pixels can still read, with columns of zeros on either side.

    Row r lies at r mod ``rows``, above the image as well, where nothing has been written when it is read.
    """

    rows: int
    columns: int
    left: int

    def place(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the pixels (rows, columns) of the image lie."""
        return rows % self.rows, columns + self.left


def _rings(
    network: Network, offsets: dict[int, list[tuple[int, int]]], height: int, width: int, slope: int | None
) -> dict[int, Ring]:
    """The values that kernels read at other pixels than their own, each with the rows to keep of it.

    A row is overwritten only when the row that reads furthest back has passed: with fronts, rows are under way at the
    same time, (width - 1) div slope of them after the first.
    """
    inputs = len(network.inputs)
    read: dict[int, list[tuple[int, int]]] = {}
    for v, taps in offsets.items():
        if taps not in _POINT:
            read.setdefault(network.operations[v - inputs].operands[0], []).extend(taps)
    rings = {}
    for v, taps in read.items():
        up = max(-dy for dy, _ in taps)
        under_way = 0 if slope is None else (width - 1) // slope
        left, right = max(0, *(-dx for _, dx in taps)), max(0, *(dx for _, dx in taps))
        rings[v] = Ring(min(up + under_way + 1, height + up), left + width + right, left)
    return rings


def engine_bytes(
    network: Network, types: list[Type], height: int, width: int, front: int, slope: int | None = None
) -> int:
    """Bytes that advancing an item keeps, with at most ``front`` pixels at a time: the rows of values that later pixels
    read; the values that do not depend on the item, twice while they are arranged; and those of one front."""
    offsets, follows = kernel_offsets(network, types), network.follows("x")
    size = [float_bytes(kind) for kind in types]
    rings = _rings(network, offsets, height, width, slope)
    grids = sum(ring.rows * ring.columns * types[v].shape[0] * size[v] for v, ring in rings.items())
    read = {x for v, o in enumerate(network.operations, len(network.inputs)) if follows[v] for x in o.operands}
    context = sum(math.prod(types[v].shape) * size[v] for v in {*read, network.output} if not follows[v])
    along = sum(
        kind.shape[0] * size[v] for v, kind in enumerate(types) if follows[v] or kind.shape[1:] == (height, width)
    )
    widest = 0
    for v, taps in offsets.items():
        x = network.operations[v - len(network.inputs)].operands[0]
        widest = max(widest, len(taps) * types[x].shape[0] * size[x])
    return grids + 2 * context + front * (along + 2 * widest)
