"""Contact sheets: many small items in one picture."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from codelength.errors import UsageError

_CELL = 56  # small items are enlarged by whole factors to about this many pixels
_GAP = 2
_GROUND = 128


def contact_sheet(items: np.ndarray, symbols: int, *, columns: int | None = None) -> Image.Image:
    """A picture of items (n, h, w) or (n, h, w, 1 or 3), row by row; symbol 0 is black, the last one full.

    Items without two axes are strips, one above the other. Raises UsageError for items that no picture shows.
    """
    if not len(items):
        raise UsageError("expected items to show, got none")
    strips = items.ndim == 2
    if strips:
        items = items[:, None, :]
    if items.ndim == 4 and items.shape[3] == 1:
        items = items[..., 0]
    if items.ndim not in (3, 4) or (items.ndim == 4 and items.shape[3] != 3):
        raise UsageError(
            f"items of shape {items.shape[1:]} make no picture; give an output name that ends in .npy for the numbers"
        )
    n, height, width = items.shape[:3]
    factor = 1 if strips and width > _CELL else max(1, round(_CELL / max(height, width)))
    grey = (items.astype(np.int64) * 255 // (symbols - 1)).astype(np.uint8)
    grey = grey.repeat(factor, axis=1).repeat(factor, axis=2)
    high, wide = height * factor + _GAP, width * factor + _GAP
    across = columns or (1 if strips else math.ceil(math.sqrt(n)))
    rows = math.ceil(n / across)
    sheet = np.full((rows * high + _GAP, across * wide + _GAP, *grey.shape[3:]), _GROUND, np.uint8)
    for k, item in enumerate(grey):
        top, left = _GAP + k // across * high, _GAP + k % across * wide
        sheet[top : top + height * factor, left : left + width * factor] = item
    return Image.fromarray(sheet)
