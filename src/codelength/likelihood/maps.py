"""Where the bits of items went: maps of what every pixel costs under a frozen model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codelength.data.dataset import DataSet
from codelength.data.seeded import choose
from codelength.laws.frozen import FrozenModel
from codelength.likelihood.batches import batches


@dataclass(frozen=True)
class ItemMap:
    """An item with what its pixels cost.

    number: of the item in the data. pixels (h, w) or (h, w, c): its symbols. bits (h, w): float32, of each pixel given
    those before it in the model's order, summed over channels; items without two axes are of height 1.
    """

    number: int
    pixels: np.ndarray
    bits: np.ndarray

    @property
    def total(self) -> float:
        """Bits of the whole item."""
        return float(self.bits.sum(dtype=np.float64))


def item_maps(
    model: FrozenModel, data: DataSet, *, limit: int | None = None, seed: int = 0, size: int = 256
) -> Iterator[ItemMap]:
    """Maps of the items of ``data``, items of one shape together, as ``evaluate`` with the same limit and seed goes
    through them: a model that learns has learned from those before.

    size: items of a pass at most.

    Raises UsageError for models that do not tell what single elements cost (see ``FrozenModel.element_bits``), at once;
    NotRepresentable for items outside the model's space.
    """
    model.require_element_bits()
    index = None if limit is None or limit >= len(data) else choose(len(data), limit, seed)
    return _maps(model, data, index, size)


def _maps(model: FrozenModel, data: DataSet, index: np.ndarray | None, size: int) -> Iterator[ItemMap]:
    learner = model.learner() if model.law.prequential else None
    for batch in batches(data, model.space, index, size=size):
        if learner is None:
            found = model.element_bits(batch.items)
        else:
            found = np.stack(learner.maps(list(model.space.check(batch.items))))
        for number, item, bits in zip(batch.index.tolist(), batch.items, found):
            shape = _image_shape(data.item(number).shape, item.shape)
            pixels = item.reshape(shape)
            each = bits.reshape(shape).astype(np.float64)
            yield ItemMap(number, pixels, (each.sum(2) if len(shape) == 3 else each).astype(np.float32))


def _image_shape(stored: tuple[int, ...], event: tuple[int, ...]) -> tuple[int, ...]:
    """(h, w) or (h, w, c) of an item: as it lies in the model's space, or as it came where it is a vector there."""
    for shape in (event, stored):
        if len(shape) in (2, 3) and math.prod(shape) == math.prod(event):
            return shape
    return (1, math.prod(event))
