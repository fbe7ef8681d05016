"""Pixels of an image file: what the readers and writers of the formats hand to each other."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image

from codelength.archive.layout import MODES

__all__ = ["MODES", "WARNINGS_LOCK", "Pixels", "Unsuitable", "check_size"]

# Warnings are switched for the whole process, so one thread at a time.
WARNINGS_LOCK = threading.Lock()


class Unsuitable(Exception):
    """A file whose pixels alone would not do; the message says why."""


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image file.

    array: (h, w) or (h, w, channels) of the dtype that ``MODES`` states: bool in mode ``1``, little-endian
        uint16 in the modes that end in ``;16`` and ``I;16``, uint8 otherwise.
    mode: a name of ``MODES``.
    metadata: what the file held besides pixels, to be stored with them and given to ``encode_image``.
    """

    array: np.ndarray
    mode: str
    metadata: bytes = b""

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return {"|b1": 2, "<u2": 65536}.get(MODES[self.mode][0], 256)


def check_size(width: int, height: int) -> None:
    """Raise Unsuitable for an image without pixels, or with more of them than one would wish to hold."""
    if width < 1 or height < 1:
        raise Unsuitable("it has no pixels")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Unsuitable(f"it has more than {Image.MAX_IMAGE_PIXELS} pixels")
