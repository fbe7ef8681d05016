"""What in-painting is given, from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codelength.data.load import load_data
from codelength.errors import UsageError
from codelength.likelihood.batches import batches

if TYPE_CHECKING:
    from codelength.laws.frozen import FrozenModel


def image_and_mask(model: FrozenModel, image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image and a mask from their files, as an item of the model and as booleans of its shape."""
    items = next(batches(load_data(image)[:1], model.space)).items[0]
    found = load_data(mask)
    flags = np.asarray(found.values[0]) != 0
    if flags.ndim == items.ndim - 1 and flags.shape == items.shape[:-1]:
        flags = np.repeat(flags[..., None], items.shape[-1], axis=-1)
    if flags.size != items.size:
        raise UsageError(f"expected a mask of the image's shape {items.shape}, got {flags.shape} in {mask}")
    return items, flags.reshape(items.shape)
