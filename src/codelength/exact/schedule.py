"""Position schedules: in which order the elements of an item are coded, and what may depend on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from codelength.exact.network import Network, is_integer, read_object
from codelength.exact.operation import Tensors, Type, require


@dataclass(frozen=True)
class DegreeSchedule:
    """One element a step. ``orders`` names a tensor (K, D): row k lists the elements (row-major) in coding order.

    With ``index`` the row is chosen per item by that entry of the context, and the network sees the items permuted
    into coding order: there position i has degree i + 1, and the parameters of position t come at place t. Without
    it there is one row, and the network sees and describes the elements where they lie; the element that is coded at
    step t has degree t + 1, its parameters degree t at most.
    """

    orders: str
    index: str | None = None

    feature = 48

    def to_json(self) -> dict[str, Any]:
        record = {"kind": "degrees", "orders": self.orders}
        return record if self.index is None else {**record, "index": self.index}

    def places(self, tensors: Tensors) -> np.ndarray:
        """(D,): where in the network's input and output the element of each step stands."""
        orders = tensors[self.orders]
        return orders[0] if self.index is None else np.arange(orders.shape[1])

    def input_type(self, shape: tuple[int, ...], symbols: int, tensors: Tensors) -> Type:
        dims = int(np.prod(shape))
        degrees = np.empty(dims, np.int64)
        degrees[self.places(tensors)] = np.arange(1, dims + 1)
        return Type((dims,), 0, symbols - 1, degrees)

    def validate(self, shape: tuple[int, ...], tensors: Tensors, context: dict[str, Type]) -> None:
        dims = int(np.prod(shape))
        require(self.orders in tensors, f"a schedule names a tensor {self.orders!r} that the program does not hold")
        orders = tensors[self.orders]
        require(orders.ndim == 2 and orders.shape[1] == dims and len(orders) >= 1, "orders of a wrong shape")
        require(bool((np.sort(orders, axis=1) == np.arange(dims)).all()), "an order does not list each element once")
        if self.index is None:
            require(len(orders) == 1, "several orders and no index to choose one")
        else:
            require(self.index in context, f"a schedule is indexed by {self.index!r}, which is not known there")
            index = context[self.index]
            require(
                int(np.prod(index.shape)) == 1 and index.low >= 0 and index.high < len(orders),
                "an index can leave the orders",
            )


@dataclass(frozen=True)
class RasterSchedule:
    """Fronts of pixels: pixel (r, c) is coded at step r * slope + c, channels one after another within a step.

    Without ``slope`` the step is r * width + c, one pixel each: the raster order. With it, pixels of equal step are
    coded together, by rows downwards; every tap of every convolution must then lie at least one step back.
    """

    slope: int | None = None

    feature = 49

    def to_json(self) -> dict[str, Any]:
        return {"kind": "raster"} if self.slope is None else {"kind": "raster", "slope": self.slope}

    def input_type(self, shape: tuple[int, ...], symbols: int, tensors: Tensors) -> Type:
        height, width, channels = as_image(shape)
        return Type((channels, height, width), 0, symbols - 1, np.arange(1, channels + 1))

    def validate(self, network: Network, types: list[Type]) -> None:
        """For a network and the types of its values. Raises ProgramError."""
        # A channel of degree zero has seen the pixels before its own, so it is no context for those before them.
        depends = network.follows("x")
        scheduled = []
        for operation, out in zip(network.operations, types[len(network.inputs) :]):
            if getattr(operation, "degrees", None) is not None:
                scheduled.append((operation, out))
            elif hasattr(operation, "degrees"):
                sees = any(depends[source] for source in operation.sources)
                require(not sees, f"a {operation.name} without degrees sees the item")
        if self.slope is None:
            return
        require(1 <= self.slope <= 4096, "a slope is out of bounds")
        for operation, out in scheduled:
            for dy, dx in operation.looks(out):
                earlier = dy * self.slope + dx < 0 or (dy, dx) == (0, 0)
                require(earlier, "a tap reaches pixels of the same front or later")

    def fronts(self, height: int, width: int) -> Sequence[np.ndarray] | np.ndarray:
        """Pixels of each step as row-major indices."""
        return _fronts(height, width, self.slope)

    def longest(self, height: int, width: int) -> int:
        """Pixels of the longest front, without making any."""
        return 1 if self.slope is None else min(height, -(-width // self.slope))

    def order(self, height: int, width: int, channels: int) -> np.ndarray:
        """(height * width * channels,) int64: elements (row-major, channels last) in coding order."""
        return _front_order(height, width, channels, self.slope)


@lru_cache(maxsize=32)
def _fronts(height: int, width: int, slope: int | None) -> Sequence[np.ndarray] | np.ndarray:
    if slope is None:
        return np.arange(height * width).reshape(-1, 1)
    rows, columns = np.divmod(np.arange(height * width), width)
    step = rows * slope + columns
    order = np.lexsort((rows, step))
    _, starts = np.unique(step[order], return_index=True)
    return np.split(order, starts[1:])


@lru_cache(maxsize=32)
def _front_order(height: int, width: int, channels: int, slope: int | None) -> np.ndarray:
    if slope is None:
        return np.arange(height * width * channels)
    parts = [front * channels + c for front in _fronts(height, width, slope) for c in range(channels)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of an item shape (height, width) or (height, width, channels)."""
    require(len(shape) in (2, 3), f"items of shape {shape} are not images")
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)


Schedule = DegreeSchedule | RasterSchedule


def schedule_from_json(record: Any) -> Schedule:
    require(isinstance(record, dict), "a schedule is not an object")
    kind = record.get("kind")
    if kind == "degrees":
        read_object(record, {"kind", "orders"}, "a schedule", {"index"})
        require(isinstance(record["orders"], str), "the orders of a schedule are not a name")
        require(isinstance(record.get("index", ""), str), "the index of a schedule is not a name")
        return DegreeSchedule(record["orders"], record.get("index"))
    require(kind == "raster", f"a schedule of unknown kind {kind!r}")
    read_object(record, {"kind"}, "a schedule", {"slope"})
    require(is_integer(record.get("slope", 0)), "the slope of a schedule is not a number")
    return RasterSchedule(record.get("slope"))
