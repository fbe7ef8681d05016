"""The general codecs that keep what no model makes smaller, by number (docs/format.md, "Conventions").

The set is closed for a format version; a reader refuses other numbers.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterable, Sequence

import numpy as np

from codelength.errors import CodelengthError, UnknownFeature

STORED, XZ, WEBP, ALONE = 0, 1, 2, 3
NAMES = {STORED: "stored", XZ: "xz", WEBP: "WebP", ALONE: "WebP images"}

MAX_SIDE = 16383  # of a WebP image
MAX_SHEET = 2**26  # pixels; below the size at which Pillow suspects an attack
_XZ_DICTIONARY = 64 * 2**20
_XZ_MEMORY = _XZ_DICTIONARY + 2**20


def pack_bytes(data: bytes) -> tuple[int, bytes]:
    """The codec, STORED or XZ, that makes ``data`` shorter, and the stored bytes."""
    if len(data) > 32:  # an xz stream is never shorter than that
        stored = lzma.compress(data, check=lzma.CHECK_NONE, preset=6)
        if len(stored) < len(data):
            return XZ, stored
    return STORED, data


def unpack_bytes(codec: int, stored: bytes, length: int) -> bytes:
    """Inverse of ``pack_bytes``, never producing more than ``length`` bytes.

    Raises ValueError or LZMAError for malformed bytes, UnknownFeature for another codec.
    """
    if codec == STORED:
        if len(stored) != length:
            raise ValueError(f"{len(stored)} bytes where {length} were stated")
        return stored
    if codec != XZ:
        raise UnknownFeature(
            f"this archive uses the codec {codec}, which this version does not know; upgrade codelength"
        )
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    data = decoder.decompress(stored, max_length=length)
    if len(data) == length and not decoder.eof:
        # The end of the stream may still have to be read; nothing may come out of it.
        data += decoder.decompress(b"", max_length=1)
    if not decoder.eof or decoder.unused_data or len(data) != length:
        raise ValueError(f"xz data that is not exactly {length} bytes long")
    return data


def pack_items(items: np.ndarray) -> tuple[int, bytes]:
    """The codec that stores ``items`` (n, *shape) in the fewest bytes (the first of equals), and those
    bytes.
    """
    codec, stored = pack_bytes(np.ascontiguousarray(items).tobytes())
    if fits_sheet(items.dtype, items.shape):
        sheet = _encode_sheet(items)
        if sheet is not None and len(sheet) < len(stored):
            return WEBP, sheet
    return codec, stored


def unpack_items(codec: int, stored: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """The bytes in C order of the items (n, *shape) that ``pack_items`` stored.

    Raises ValueError or LZMAError for malformed bytes, UnknownFeature for another codec.
    """
    if codec == WEBP:
        if not fits_sheet(dtype, shape):
            raise ValueError(f"a WebP sheet of items of shape {shape[1:]} and type {dtype.str}")
        return _decode_sheet(stored, shape).tobytes()
    return unpack_bytes(codec, stored, int(np.prod(shape, dtype=object)) * dtype.itemsize)


def pack_alone(items: Iterable[np.ndarray], most: int) -> bytes | None:
    """Each item (*shape) as a WebP image of its own, behind its length; None where one does not fit, or where it would
    all be ``most`` bytes or more."""
    stored = bytearray()
    for item in items:
        sheet = _encode_sheet(item[None]) if fits_sheet(item.dtype, (1, *item.shape)) else None
        if sheet is None:
            return None
        stored += len(sheet).to_bytes(4, "little") + sheet
        if len(stored) >= most:
            return None
    return bytes(stored)


def unpack_alone(stored: bytes, dtype: np.dtype, shapes: Sequence[tuple[int, ...]]) -> bytes:
    """The bytes in C order of the items that ``pack_alone`` stored; raises ValueError for malformed bytes."""
    data, at = bytearray(), 0
    for shape in shapes:
        length = int.from_bytes(stored[at : at + 4], "little")
        if len(stored) < at + 4 + length:
            raise ValueError("WebP images that end too early")
        data += unpack_items(WEBP, stored[at + 4 : at + 4 + length], dtype, (1, *shape))
        at += 4 + length
    if at != len(stored):
        raise ValueError("bytes behind the last WebP image")
    return bytes(data)


def fits_sheet(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    """Whether items (n, *shape) can be laid out on one WebP image."""
    if dtype.str != "|u1" or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        return False
    if not (shape[0] and 1 <= shape[1] <= MAX_SIDE and 1 <= shape[2] <= MAX_SIDE):
        return False
    width, height = _sheet_columns(shape) * shape[2], _sheet_rows(shape) * shape[1]
    return width <= MAX_SIDE and width * height <= MAX_SHEET


def _sheet_rows(shape: tuple[int, ...]) -> int:
    return min(shape[0], MAX_SIDE // shape[1])


def _sheet_columns(shape: tuple[int, ...]) -> int:
    return -(-shape[0] // _sheet_rows(shape))


def _encode_sheet(items: np.ndarray) -> bytes | None:
    """None where Pillow was built without WebP."""
    from PIL import Image, features

    if not features.check("webp"):
        return None
    n, height, width = items.shape[:3]
    channels = 1 if items.ndim == 3 else items.shape[3]
    rows, columns = _sheet_rows(items.shape), _sheet_columns(items.shape)
    cells = np.zeros((columns * rows, height, width, channels), np.uint8)
    cells[:n] = items.reshape(n, height, width, channels)
    cells = cells.reshape(columns, rows, *cells.shape[1:]).transpose(1, 2, 0, 3, 4)
    sheet = cells.reshape(rows * height, columns * width, channels)
    if channels == 1:
        sheet = np.repeat(sheet, 3, axis=2)
    mode = "RGBA" if channels == 4 else "RGB"
    image = Image.frombytes(mode, (sheet.shape[1], sheet.shape[0]), np.ascontiguousarray(sheet).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, exact=True, quality=75, method=4)
    return buffer.getvalue()


def _decode_sheet(stored: bytes, shape: tuple[int, ...]) -> np.ndarray:
    try:
        from PIL import WebPImagePlugin, features
    except ImportError:
        features = None  # type: ignore[assignment]
    if features is None or not features.check("webp"):
        raise CodelengthError(
            "this archive keeps images as WebP, which this installation cannot read; install Pillow with WebP support"
        )
    n, height, width = shape[:3]
    channels = 1 if len(shape) == 3 else shape[3]
    rows, columns = _sheet_rows(shape), _sheet_columns(shape)
    mode = "RGBA" if channels == 4 else "RGB"
    try:
        # Not by Image.open, which warns of large images, or refuses them, as the process at large has it set: sheets
        # are large on purpose, and their size is checked here.
        with WebPImagePlugin.WebPImageFile(io.BytesIO(stored)) as image:
            if image.size != (columns * width, rows * height) or getattr(image, "n_frames", 1) != 1:
                raise ValueError(f"a WebP sheet of size {image.size}, not {(columns * width, rows * height)}")
            # A file with alpha where every pixel is opaque may be reported as RGB, and the other way round.
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"a WebP sheet that cannot be read ({error})") from None
    pixels = pixels[:, :, :channels].reshape(rows, height, columns, width, channels).transpose(2, 0, 1, 3, 4)
    return np.ascontiguousarray(pixels.reshape(columns * rows, height, width, channels)[:n].reshape(shape))
