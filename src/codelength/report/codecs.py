"""General lossless codecs on the same items: each item a file of its own, and all of them as one.

The honest rival of a model that was trained on a data set is a general codec over the whole set, as one stream or
one mosaic; a file per item pays its headers every time. Both are given.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import lzma
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from codelength.errors import DataError


@dataclass(frozen=True)
class CodecSize:
    """Bytes of a codec on some items. whole: as one stream or mosaic. per_item: in files of their own, together; 0
    where that was not asked for."""

    name: str
    whole: int
    per_item: int = 0


def mosaic(items: np.ndarray) -> np.ndarray:
    """Items (n, h, w) or (n, h, w, c) as the tiles of one image, about as wide as high, filled up with zeros."""
    n, height, width = items.shape[:3]
    columns = math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    tiles = np.zeros((rows * columns, *items.shape[1:]), items.dtype)
    tiles[:n] = items
    rest = items.shape[3:]
    return tiles.reshape(rows, columns, height, width, *rest).swapaxes(1, 2).reshape(
        rows * height, columns * width, *rest
    )  # fmt: skip


def codec_sizes(items: np.ndarray, symbols: int, *, per_item: bool = True) -> list[CodecSize]:
    """Sizes of uint8 items (n, h, w) or (n, h, w, 3) under gzip, bz2, xz, PNG, WebP, and JPEG XL where it is
    installed, each at its strongest setting (JPEG XL: the shortest file of ``JPEGXL_EFFORTS``, image by image).

    Of two symbols, images are black and white, and streams are packed into bits where that is shorter.
    Raises DataError for other items.
    """
    if items.ndim not in (3, 4) or items.dtype != np.uint8 or (items.ndim == 4 and items.shape[3] != 3):
        raise DataError(f"expected grey or RGB items of 8 bits, got {items.dtype} of shape {items.shape}")
    sizes = []
    each: list[np.ndarray] = list(items) if per_item else []
    for name, compress in STREAMS.items():
        whole_stream = _stream_size(compress, items, symbols)
        sizes.append(CodecSize(name, whole_stream, sum(_stream_size(compress, item[None], symbols) for item in each)))
    scale = np.uint8(255 if symbols == 2 else 1)
    whole = mosaic(items * scale)
    for name, encode in image_codecs(symbols).items():
        sizes.append(CodecSize(name, len(encode(whole)), sum(len(encode(picture * scale)) for picture in each)))
    return sizes


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _xz(data: bytes) -> bytes:
    # The preset's dictionary of 64 MiB, set up anew for every item, would take nearly all of the time.
    size = min(max(len(data), 4096), 1 << 26)
    return lzma.compress(
        data, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]
    )


#: Of JPEG XL, of which the shortest file counts: more effort is not always a smaller file.
JPEGXL_EFFORTS = (7, 9, 10)

STREAMS: dict[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "bz2": bz2.compress, "xz": _xz}


def _stream_size(compress: Callable[[bytes], bytes], items: np.ndarray, symbols: int) -> int:
    size = len(compress(np.ascontiguousarray(items).tobytes()))
    return min(size, len(compress(np.packbits(items).tobytes()))) if symbols == 2 else size


def image_codecs(symbols: int) -> dict[str, Callable[[np.ndarray], bytes]]:
    """Lossless encoders of images (h, w) or (h, w, 3), by name."""

    def png(picture: np.ndarray) -> bytes:
        image = Image.fromarray(picture)
        return _saved(image.convert("1", dither=Image.Dither.NONE) if symbols == 2 else image, "PNG", optimize=True)

    def webp(picture: np.ndarray) -> bytes:
        return _saved(Image.fromarray(picture).convert("RGB"), "WEBP", lossless=True, quality=100, method=6)

    found: dict[str, Callable[[np.ndarray], bytes]] = {"PNG": png, "WebP": webp}
    if importlib.util.find_spec("imagecodecs") is not None:
        import imagecodecs

        if imagecodecs.JPEGXL.available:

            def jpegxl(picture: np.ndarray) -> bytes:
                forms = (imagecodecs.jpegxl_encode(picture, lossless=True, effort=effort) for effort in JPEGXL_EFFORTS)
                return min(map(bytes, forms), key=len)

            found["JPEG XL"] = jpegxl
    return found


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
