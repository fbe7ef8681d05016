"""One digest for everything that an archive gives back, whichever reader gave it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import tifffile
from PIL import Image


def digest(contents: Iterable[tuple[str, np.ndarray | bytes]]) -> str:
    """SHA-256 of named arrays (dtype, shape, elements) and files, in their order."""
    total = hashlib.sha256()
    for name, content in contents:
        if isinstance(content, bytes):
            parts = [content]
        else:
            parts = [f"{content.dtype.str} {content.shape}".encode(), content.tobytes()]
        for part in (name.encode(), *parts):
            total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def contents_of(path: Path) -> list[tuple[str, np.ndarray | bytes]]:
    """What a file of arrays or a folder holds: images by their pixels, other files by their bytes."""
    if path.is_dir():
        return [(str(f.relative_to(path)), _file(f)) for f in sorted(path.rglob("*")) if f.is_file()]
    loaded = np.load(path, allow_pickle=False)
    return [("", loaded)] if path.suffix == ".npy" else [(name, loaded[name]) for name in loaded.files]


def _file(path: Path) -> np.ndarray | bytes:
    if path.suffix == ".png":
        with Image.open(path) as image:
            pixels = np.asarray(image)
        if path.read_bytes()[24] == 16 and not image.mode.startswith("I;16"):  # of which Pillow keeps eight
            pixels = imagecodecs.png_decode(path.read_bytes())
        return pixels.astype("<u2") if image.mode.startswith("I;16") else pixels
    return content_of(path.name, path.read_bytes())


def content_of(name: str, data: bytes) -> np.ndarray | bytes:
    """The pixels of a TIFF, or of DICOM, whether it came back byte for byte or not; the bytes of any other file."""
    if name.endswith(".dcm"):
        frames = list(pydicom.pixels.iter_pixels(io.BytesIO(data), raw=True))
        return frames[0] if len(frames) == 1 else np.stack(frames)
    if not name.endswith(".tif"):
        return data
    pixels = tifffile.imread(io.BytesIO(data))
    return pixels.astype(pixels.dtype.newbyteorder("<"))
