"""The items of a source as piles of images: those of one mode, type and number of channels, whatever their sizes."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codelength.archive.sources import ItemClass, Source

#: Most channels that an image may have.
MAX_CHANNELS = 4


@dataclass(frozen=True)
class Geometry:
    """How an item becomes an image. axes: the item's axes in the order rows, columns and, where it has them, channels;
    a row of a table has no rows and becomes an image of one. channels: 1 to 4."""

    axes: tuple[int, ...]
    channels: int

    def picture(self, item: np.ndarray) -> np.ndarray:
        """The image (h, w, channels) of an item, a view where it can be."""
        moved = item.transpose(self.axes)
        if moved.ndim == 1:
            return moved[None, :, None]
        return moved[:, :, None] if moved.ndim == 2 else moved

    def item(self, picture: np.ndarray) -> np.ndarray:
        """The item of an image (h, w, channels), as it lies in the data."""
        moved = picture.reshape(picture.shape[: len(self.axes)]) if len(self.axes) > 1 else picture.reshape(-1)
        return np.ascontiguousarray(moved.transpose(np.argsort(self.axes)))


def geometry_of(mode: str, shape: tuple[int, ...], axes: tuple[int, ...] | None = None) -> Geometry | None:
    """How items of a shape become images, or None where they are none. axes: as of a source, where they were stated."""
    if math.prod(shape) == 0 or len(shape) not in (1, 2, 3):
        return None
    if len(shape) < 3:
        return Geometry(tuple(range(len(shape))), 1)
    if axes is not None and len(axes) == 3:
        return Geometry(axes, shape[axes[2]]) if shape[axes[2]] <= MAX_CHANNELS else None
    if mode or shape[2] <= MAX_CHANNELS:
        return Geometry((0, 1, 2), shape[2])
    return Geometry((1, 2, 0), shape[0]) if shape[0] <= MAX_CHANNELS else None


@dataclass(frozen=True)
class ItemPile:
    """Items that are packed together.

    mode, dtype: of all items. geometry: how they become images; None where they are none. classes: the item classes,
    one of each shape.
    """

    source: Source
    mode: str
    dtype: np.dtype
    geometry: Geometry | None
    classes: tuple[ItemClass, ...]

    @property
    def items(self) -> int:
        return sum(len(one.entries) for one in self.classes)

    @property
    def dims(self) -> int:
        """Stored samples of all items."""
        return sum(len(one.entries) * math.prod(one.shape) for one in self.classes)

    @property
    def raw_bytes(self) -> int:
        return self.dims * self.dtype.itemsize

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """The class, and the position within it, of each item, in the order of their entries."""
        owner = np.concatenate([np.full(len(c.entries), k, np.int32) for k, c in enumerate(self.classes)])
        place = np.concatenate([np.arange(len(c.entries)) for c in self.classes])
        if len(self.classes) == 1:
            return owner, place
        order = np.argsort(np.concatenate([np.asarray(c.entries, np.int64) for c in self.classes]), kind="stable")
        return owner[order], place[order]

    @cached_property
    def ends(self) -> list[int]:
        """Stored samples of the items up to each, in the order of their entries."""
        if len(self.classes) == 1:
            size = math.prod(self.classes[0].shape)
            return list(range(size, size * self.items + 1, size))
        sizes = np.array([math.prod(one.shape) for one in self.classes], np.int64)
        return np.cumsum(sizes[self._order[0]]).tolist()

    def read(self, start: int, stop: int) -> list[np.ndarray]:
        """Items ``start`` to ``stop``, counted in the order of their entries, each as it is stored."""
        owner, place = self._order
        found: list[np.ndarray] = []
        for number, run in itertools.groupby(range(start, stop), key=lambda k: owner[k]):
            positions = [int(place[k]) for k in run]
            found.extend(self.source.read(self.classes[number], positions[0], positions[-1] + 1))
        return found

    def pieces(self, most: int) -> Iterator[list[np.ndarray]]:
        """All items in order, as many at a time as take about ``most`` bytes, one at least."""
        start = 0
        while start < self.items:
            before = self.ends[start - 1] if start else 0
            stop = bisect.bisect_right(self.ends, before + most // self.dtype.itemsize, start)
            stop = max(stop, start + 1)
            yield self.read(start, stop)
            start = stop

    def pictures(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The images (h, w, channels) of items."""
        assert self.geometry is not None
        return [self.geometry.picture(item) for item in items]

    @property
    def title(self) -> str:
        """Such as ``150 RGBA images of 256x256``."""
        shapes = sorted({one.shape for one in self.classes})
        if self.geometry is None or len(shapes[0]) < 2:
            what = {"f": "arrays of floats", "b": "arrays of bits"}.get(self.dtype.kind, f"{self.dtype.name} arrays")
            sizes = "x".join(map(str, shapes[0])) or "one number"
        else:
            moved = [[shape[axis] for axis in self.geometry.axes] for shape in shapes]
            rows, columns = [size[0] for size in moved], [size[1] for size in moved]
            what = f"{self._colours} images"
            sizes = f"{_span(rows)}x{_span(columns)}"
        return f"{self.items:,} {what if self.items > 1 else what.replace('images', 'image')} of {sizes}"

    @property
    def _colours(self) -> str:
        assert self.geometry is not None
        bits = {"b": 1}.get(self.dtype.kind, 8 * self.dtype.itemsize)
        colours = ("grey", "grey", "grey with alpha", "RGB", "RGBA")[self.geometry.channels]
        return colours if bits == 8 else f"{bits}-bit {colours}"


def _span(sides: list[int]) -> str:
    low, high = min(sides), max(sides)
    return f"{low}" if low == high else f"{low} to {high}"


def piles_of(source: Source) -> list[ItemPile]:
    """The piles of a source, in the order of their first entries."""
    found: dict[tuple[str, str, Geometry | None], list[ItemClass]] = {}
    for one in source.classes():
        geometry = geometry_of(one.mode, one.shape, source.axes)
        found.setdefault((one.mode, one.dtype.str, geometry), []).append(one)
    return [
        ItemPile(source, mode, np.dtype(dtype), geometry, tuple(classes))
        for (mode, dtype, geometry), classes in found.items()
    ]
