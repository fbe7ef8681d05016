"""General lossless codecs on the same items: each item a file of its own, and all of them as one.

The honest rival of a model that was trained on a data set is a general codec over the whole set, as one stream or
one mosaic; a file per item pays its headers every time. Both are given.
"""

from __future__ import annotations

import bz2
import functools
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


def _streams() -> dict[str, Callable[[bytes], bytes]]:
    found: dict[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "bz2": bz2.compress, "xz": _xz}
    if importlib.util.find_spec("imagecodecs") is not None:

        def brotli(data: bytes) -> bytes:
            import imagecodecs

            return bytes(imagecodecs.brotli_encode(data, level=11, lgwin=24))

        found["brotli"] = brotli
    return found


#: Lossless codecs of bytes at their strongest setting, by name; brotli where imagecodecs is installed.
STREAMS = _streams()


def _stream_size(compress: Callable[[bytes], bytes], items: np.ndarray, symbols: int) -> int:
    size = len(compress(np.ascontiguousarray(items).tobytes()))
    return min(size, len(compress(np.packbits(items).tobytes()))) if symbols == 2 else size


def image_codecs(
    symbols: int, dtype: np.dtype | type = np.uint8, channels: int = 1
) -> dict[str, Callable[[np.ndarray], bytes]]:
    """Lossless encoders of images (h, w) or (h, w, channels) with 1 to 4 channels of 8 or 16 bits, by name.

    symbols: 2 where all samples are 0 and the largest value, so that a form of one bit may serve. WebP holds 8 bits
    and sides up to 16,383, and has no grey with alpha; it is absent where it does not fit. JPEG XL, and PNG of
    several channels of 16 bits, need imagecodecs.
    """
    found: dict[str, Callable[[np.ndarray], bytes]] = {}
    eight = np.dtype(dtype) == np.uint8
    extra = importlib.util.find_spec("imagecodecs") is not None
    if eight or channels == 1:
        found["PNG"] = functools.partial(_png, symbols=symbols)
    elif extra:
        found["PNG"] = _png_16
    if eight and channels != 2:
        found["WebP"] = _webp
    if extra:
        import imagecodecs

        if imagecodecs.JPEGXL.available:
            found["JPEG XL"] = _jpegxl
    return found


def _png(picture: np.ndarray, *, symbols: int) -> bytes:
    picture = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if picture.dtype == np.uint16:
        return _saved(Image.frombytes("I;16", picture.shape[1::-1], picture.astype("<u2").tobytes()), "PNG")
    image = Image.fromarray(picture)
    if symbols == 2 and image.mode == "L":
        return _saved(image.convert("1", dither=Image.Dither.NONE), "PNG", optimize=True)
    plain = _saved(image, "PNG", optimize=True)
    indexed = _indexed(picture)
    return plain if indexed is None else min(plain, _saved(indexed, "PNG", optimize=True), key=len)


def _indexed(picture: np.ndarray) -> Image.Image | None:
    """An image of at most 256 colours with a palette; None where it has more, or grey with alpha."""
    grey = picture.ndim == 2
    if not grey and picture.shape[2] == 2:
        return None
    weights = np.left_shift(np.uint32(1), 8 * np.arange(1 if grey else picture.shape[2], dtype=np.uint32))
    colours = (picture.reshape(-1, len(weights)).astype(np.uint32) * weights).sum(axis=1, dtype=np.uint32)
    if len(np.unique(colours[:: max(1, len(colours) // 4096)])) > 256:
        return None
    values, indices = np.unique(colours, return_inverse=True)
    if len(values) > 256:
        return None
    image = Image.fromarray(indices.reshape(picture.shape[:2]).astype(np.uint8), "L")
    table = np.right_shift(values[:, None], 8 * np.arange(len(weights), dtype=np.uint32)).astype(np.uint8)
    image.putpalette((np.repeat(table, 3, axis=1) if grey else table).tobytes(), "RGBA" if len(weights) == 4 else "RGB")
    return image


def _png_16(picture: np.ndarray) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(picture, level=9))


def _webp(picture: np.ndarray) -> bytes:
    image = Image.fromarray(picture[..., 0] if picture.shape[2:] == (1,) else picture)
    image = image if image.mode == "RGBA" else image.convert("RGB")
    return _saved(image, "WEBP", lossless=True, quality=100, method=6, exact=True)


def _jpegxl(picture: np.ndarray) -> bytes:
    import imagecodecs

    forms = (
        imagecodecs.jpegxl_encode(picture, lossless=True, effort=effort, numthreads=1) for effort in JPEGXL_EFFORTS
    )
    return min(map(bytes, forms), key=len)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
