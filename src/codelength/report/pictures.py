"""Items as files to look at: pictures, or arrays where these are asked for."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codelength.files import write_atomically
from codelength.laws.space import Space

if TYPE_CHECKING:
    from codelength.laws.frozen import FrozenModel


def save_manifold(model: FrozenModel, side: int, path: str | os.PathLike[str]) -> None:
    """The manifold of a model of two latent numbers, as ``codelength.report.manifold`` makes it, by rows: a picture
    (``.png``), or an array (``.npy``) of its items. Raises UsageError for other models."""
    from codelength.report.manifold import manifold

    items, values = manifold(model, side)
    save_items(items, Space(model.space.shape, values), path, columns=side)


def save_items(items: np.ndarray, space: Space, path: str | os.PathLike[str], *, columns: int | None = None) -> None:
    """Items as a picture (``.png``) of so many columns, or an array of the least unsigned type that holds them
    (``.npy``)."""
    path = Path(path)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(buffer, items.astype(np.uint8 if space.symbols <= 256 else np.uint16))
    else:
        from codelength.report.sheet import contact_sheet

        contact_sheet(items, space.symbols, columns=columns).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
