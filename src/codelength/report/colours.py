"""From numbers to colours, and small pictures as PNG."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

#: Nine colours of the scale "magma" (Smith and van der Walt 2015, CC0): dark for little, bright for much; its lightness
#: grows evenly, so it can be read without colours too.
_MAGMA = np.array(
    [
        (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
        (254, 194, 135), (252, 253, 191),
    ],
    np.float64,
)  # fmt: skip


def coloured(values: np.ndarray, top: float) -> np.ndarray:
    """values (..), from 0 to ``top``, as colours (.., 3) uint8; what lies outside is shown as the ends are."""
    place = np.clip(np.asarray(values, np.float64) / top, 0.0, 1.0) * (len(_MAGMA) - 1)
    below = np.minimum(place.astype(np.int64), len(_MAGMA) - 2)
    share = (place - below)[..., None]
    return np.rint(_MAGMA[below] * (1 - share) + _MAGMA[below + 1] * share).astype(np.uint8)


def round_top(values: np.ndarray) -> float:
    """A round number (1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten) that at most one in a hundred of the values is
    above: the end of a scale."""
    high = float(np.quantile(values, 0.99)) if np.size(values) else 0.0
    if high <= 0.0 or not math.isfinite(high):
        return 1.0
    power = 10.0 ** math.floor(math.log10(high))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return next((step * power for step in steps if step * power >= high * (1 - 1e-9)), 10 * power)


def as_picture(pixels: np.ndarray, symbols: int) -> np.ndarray:
    """An image (h, w) or (h, w, c) of symbols as colours (h, w, 3) uint8: symbol 0 is black, the last one full. Of two
    channels the first is shown, of four the first three."""
    shown = pixels[..., None] if pixels.ndim == 2 else pixels
    shown = shown[..., :3] if shown.shape[2] >= 3 else shown[..., :1].repeat(3, axis=2)
    return (np.asarray(shown, np.int64) * 255 // max(1, symbols - 1)).clip(0, 255).astype(np.uint8)


def enlarged(picture: np.ndarray, least: int, most: int) -> np.ndarray:
    """A picture (h, w, 3), each pixel as a square of a whole number of them so that the longer side has ``least`` at
    least where that is not beyond ``most``."""
    factor = max(1, min(math.ceil(least / max(picture.shape[:2])), most // max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def png(picture: np.ndarray | Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
