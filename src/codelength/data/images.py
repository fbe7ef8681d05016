"""Image files as pixels and back, exactly, or not at all.

``scan`` lists the files of a folder, ``read_pixels`` returns the pixels of one, or the reason why its bytes
should be kept instead.  What is promised of a file that was read as pixels:

- PNG: the same pixels in the same mode, and every ancillary chunk (colour profile, EXIF with its orientation,
  text, gamma, resolution); not the same compressed bytes.
- TIFF without compression, BMP, PGM, PPM: the same file, byte for byte.
- TIFF compressed without loss (LZW, deflate, packbits), lossless WebP: the same pixels in the same mode.
  Files that hold anything else, resolution included, are not read as pixels.
- JPEG is not read as pixels unless asked for, since pixels do not give the file back.

Modes are Pillow's: ``1``, ``L``, ``LA``, ``RGB``, ``RGBA``, ``I;16``.  Palettes, transparent colours,
animations, several pages, 2- and 4-bit grey, 16-bit colour, CMYK, floats, files of another format than their
name says and files that cannot be decoded are left to the caller with a reason.  Orientation is never applied
to pixels.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from codelength.data import containers
from codelength.data.containers import Unsuitable
from codelength.errors import DataError

# Format of each extension that pixels can be written back to, and the modes it holds.
FORMATS = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".pgm": "PPM",
    ".ppm": "PPM",
    ".pnm": "PPM",
}
HELD = {
    "PNG": ("1", "L", "LA", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "RGB"),
    "TIFF": ("1", "L", "LA", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB"),
}
JPEG_EXTENSIONS = (".jpg", ".jpeg")

# Element type and channels (0: no axis for them) of each mode.
MODES = {
    "1": ("|b1", 0),
    "L": ("|u1", 0),
    "LA": ("|u1", 2),
    "RGB": ("|u1", 3),
    "RGBA": ("|u1", 4),
    "I;16": ("<u2", 0),
}

# Tags that describe how a TIFF stores its pixels; a compressed TIFF with any other is kept as a file.
_TIFF_TAGS = {
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    277,
    278,
    279,
    284,
    317,
    322,
    323,
    324,
    325,
    338,
    339,
}
_TIFF_LOSSLESS = {"raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"}


@dataclass(frozen=True)
class Entry:
    """A file below a folder.

    name: relative, with ``/`` between parts; bytes that are not UTF-8 are surrogates, as in ``os.fsdecode``.
    path: where it lies.
    size: in bytes.
    kind: ``image`` if its extension is that of a format that can be written back, ``jpeg``, or ``other``.
    """

    name: str
    path: Path
    size: int
    kind: str


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image file.

    array: (h, w) or (h, w, channels); bool in mode ``1``, little-endian uint16 in ``I;16``, uint8 otherwise.
    mode: Pillow's name.
    metadata: what the file held besides pixels, to be stored with them and given to ``encode_image``.
    """

    array: np.ndarray
    mode: str
    metadata: bytes = b""

    @property
    def symbols(self) -> int:
        """Size of the alphabet."""
        return {"1": 2, "I;16": 65536}.get(self.mode, 256)


def scan(folder: Path) -> list[Entry]:
    """All files below a folder, hidden ones included, sorted by the bytes of their relative names.

    A link to a file inside the folder is listed like the file; empty folders are not listed.  Every other
    link, and whatever is neither file nor folder, is an error, because it would be lost.

    Raises DataError, also for a folder that cannot be read or holds no files.
    """
    root = Path(os.path.realpath(folder))
    entries: list[Entry] = []
    pending = [root]
    while pending:
        here = pending.pop()
        try:
            listing = sorted(os.scandir(here), key=lambda item: item.name)
            for item in listing:
                path = here / item.name
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                if item.is_symlink():
                    target = Path(os.path.realpath(path))
                    if not (target.is_file() and target.is_relative_to(root)):
                        raise DataError(
                            f"{_show(path)} is a link that leaves the folder or leads to no file, and links "
                            f"are not kept; replace it by what it points to, or remove it"
                        )
                status = item.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{_show(path)} is neither a file nor a folder; remove it")
                name = path.relative_to(root).as_posix()
                entries.append(Entry(name, path, status.st_size, _kind(name)))
        except OSError as error:
            raise DataError(f"expected a readable folder, but {_show(here)} is not ({error.strerror})") from None
    if not entries:
        raise DataError(f"expected files in the folder {_show(root)}, got none")
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _show(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _kind(name: str) -> str:
    extension = _extension(name)
    return "image" if extension in FORMATS else "jpeg" if extension in JPEG_EXTENSIONS else "other"


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def read_pixels(path: Path, *, jpeg: bool = False) -> Pixels | str:
    """The pixels of an image file, or in words why its bytes must be kept instead.

    Raises DataError only if the file cannot be opened at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"expected a readable file, but {_show(path)} is not ({error.strerror})") from None
    return decode_image(data, path.name, jpeg=jpeg)


def decode_image(data: bytes, name: str, *, jpeg: bool = False) -> Pixels | str:
    """Like ``read_pixels``, for the bytes of the file ``name``."""
    extension = _extension(name)
    expected = FORMATS.get(extension) or ("JPEG" if jpeg and extension in JPEG_EXTENSIONS else None)
    if expected is None:
        lossy = extension in JPEG_EXTENSIONS
        return "JPEG files are kept as they are, since pixels do not give them back" if lossy else "not an image"
    if not data:
        return "it is empty"
    try:
        if expected == "PNG":
            _check_png_header(data)
        if expected == "WEBP" and data[12:16] != b"VP8L":
            return "only lossless WebP without further parts is read as pixels"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=[expected]) as image:
                return _pixels(image, data, expected)
    except Unsuitable as reason:
        return str(reason)
    except Image.DecompressionBombWarning:
        return f"it has more than {Image.MAX_IMAGE_PIXELS} pixels"
    except Exception as error:  # a decoder given a damaged file may raise anything
        text = str(error).splitlines()
        return f"it cannot be decoded as {expected} ({text[0][:120] if text else type(error).__name__})"


def _check_png_header(data: bytes) -> None:
    """Pillow widens small grey values and narrows 16-bit colours without saying so."""
    depth, colour = data[24:25], data[25:26]
    if colour == b"\x03":
        raise Unsuitable("it has a palette")
    if depth in (b"\x02", b"\x04"):
        raise Unsuitable(f"it has {depth[0]}-bit grey values")
    if depth == b"\x10" and colour != b"\x00":
        raise Unsuitable("it has 16-bit colours or 16-bit transparency")


def _pixels(image: Image.Image, data: bytes, expected: str) -> Pixels:
    if getattr(image, "n_frames", 1) != 1:
        raise Unsuitable("it holds several images")
    mode = "I;16" if image.mode in ("I;16B", "I;16L") else image.mode
    if mode not in MODES:
        raise Unsuitable(f"its pixels are of the kind {image.mode!r}")
    if expected != "JPEG" and mode not in HELD[expected]:
        raise Unsuitable(f"{expected} files with pixels of the kind {mode!r} are not written")
    dtype, channels = MODES[mode]
    # A one-bit image comes as true and false whose bytes are 255 and 0; true must be the byte 1.
    values = np.asarray(image.convert("L")) != 0 if mode == "1" else np.asarray(image)
    array = np.ascontiguousarray(values, dtype=dtype)
    height, width = image.size[1], image.size[0]
    if array.shape != ((height, width, channels) if channels else (height, width)):
        raise Unsuitable(f"its pixels have the shape {array.shape}")
    return Pixels(array, mode, _METADATA[expected](image, data, array))


def _png_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    return containers.png_metadata(containers.png_chunks(data))


def _tiff_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    tags = image.tag_v2  # type: ignore[attr-defined]
    if image.info.get("compression") == "raw" and array.dtype != bool:
        order = containers.ROWS_BIG_ENDIAN if data[:2] == b"MM" else containers.ROWS
        if 273 in tags and 279 in tags:
            return containers.raw_metadata(data, array, order, list(zip(tags[273], tags[279])))
        raise Unsuitable("its pixels are stored in an unusual way")
    others = sorted(set(tags) - _TIFF_TAGS)
    if others:
        raise Unsuitable(f"it is compressed and holds more than pixels (the tags {others})")
    if image.info.get("compression") not in _TIFF_LOSSLESS:
        raise Unsuitable(f"its compression {image.info.get('compression')!r} is not known to be lossless")
    if tags.get(338, (2,)) not in ((2,), (0,)):
        raise Unsuitable("its alpha is multiplied into its colours")
    if tags.get(262) not in (1, 2):
        raise Unsuitable("its values are inverted or indirect")
    return b""


def _bmp_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    start = int.from_bytes(data[10:14], "little")
    length = (array[0].nbytes + 3) // 4 * 4 * len(array)
    if array.dtype == bool:
        raise Unsuitable("BMP files of one bit are kept as they are")
    return containers.raw_metadata(data, array, containers.BMP_ROWS, [(start, length)])


def _ppm_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    match = re.match(rb"P[56](?:\s+|#[^\n]*\n)+?\d+(?:\s+|#[^\n]*\n)+?\d+(?:\s+|#[^\n]*\n)+?255\s", data)
    if match is None:
        raise Unsuitable("it is not a binary PGM or PPM with values up to 255")
    return containers.raw_metadata(data, array, containers.ROWS, [(match.end(), array.nbytes)])


def _no_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    return b""


def _jpeg_metadata(image: Image.Image, data: bytes, array: np.ndarray) -> bytes:
    if image.getexif().get(0x0112, 1) != 1:
        raise Unsuitable("it is to be shown turned (EXIF orientation), which its pixels do not say")
    return b""


_METADATA = {
    "PNG": _png_metadata,
    "TIFF": _tiff_metadata,
    "BMP": _bmp_metadata,
    "PPM": _ppm_metadata,
    "WEBP": _no_metadata,
    "JPEG": _jpeg_metadata,
}


def written_name(name: str, mode: str) -> str:
    """The name that pixels are written back to: the same, if its format is lossless and holds the mode."""
    if mode in HELD.get(FORMATS.get(_extension(name), ""), ()):
        return name
    return name + ".png"


def encode_image(pixels: Pixels, name: str) -> bytes:
    """The image file that pixels are written back to, in the format of the extension of ``written_name``.

    The bytes depend on the installed Pillow except where the format stores pixels as they are.

    Raises DataError if array and mode do not belong together, for an unknown mode, and for bad metadata.
    """
    array, mode, metadata = pixels.array, pixels.mode, pixels.metadata
    if mode not in MODES:
        raise DataError(f"expected one of the modes {', '.join(MODES)}, got {mode!r}")
    dtype, channels = MODES[mode]
    if array.dtype != np.dtype(dtype) or array.ndim < 2 or array.shape[2:] != ((channels,) if channels else ()):
        raise DataError(f"expected {dtype} pixels for the mode {mode}, got {array.dtype} of shape {array.shape}")
    if 0 in array.shape:
        raise DataError(f"expected an image with pixels, got the shape {array.shape}")
    if metadata[:1] == b"R":
        return containers.raw_with(array, metadata)
    target = FORMATS.get(_extension(written_name(name, mode)), "PNG")
    stream = io.BytesIO()
    _image(array, mode).save(stream, target, **_OPTIONS.get(target, {}))
    if not metadata:
        return stream.getvalue()
    if metadata[:1] != b"P" or target != "PNG":
        raise DataError(f"the metadata of {name!r} is of an unknown kind, or not for its format")
    return containers.png_with(stream.getvalue(), metadata)


_OPTIONS: dict[str, dict[str, object]] = {
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


def _image(array: np.ndarray, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(array.astype(np.uint8) * np.uint8(255)).convert("1", dither=Image.Dither.NONE)
    size = (array.shape[1], array.shape[0])
    return Image.frombytes(mode, size, np.ascontiguousarray(array).tobytes())


def write_pixels(path: Path, pixels: Pixels) -> None:
    """Write pixels to a new file (``encode_image``).  Raises OSError, also if the file exists."""
    data = encode_image(pixels, path.name)
    with path.open("xb") as stream:
        stream.write(data)


@dataclass(frozen=True)
class ImageFile:
    """A file of a folder, looked at: what an archive has to know about it.

    name, path: as in ``Entry``.
    is_image: Pillow knows it as an image, whether or not its pixels are read.
    mode: of its pixels; "" if its bytes are to be kept instead, and ``reason`` then says why.
    shape: of the pixels, (h, w) or (h, w, channels); () where unknown.
    metadata: what it holds besides pixels.
    """

    name: str
    path: Path
    is_image: bool
    mode: str
    shape: tuple[int, ...]
    metadata: bytes = b""
    reason: str = ""

    def read_pixels(self) -> np.ndarray:
        """The pixels, read anew.  Raises DataError if the file has changed."""
        pixels = read_pixels(self.path, jpeg=self.mode != "")
        if isinstance(pixels, str) or (pixels.mode, pixels.metadata) != (self.mode, self.metadata):
            raise DataError(f"{_show(self.path)} changed while it was being read; start again")
        return pixels.array

    def read_bytes(self) -> Iterator[bytes]:
        """The bytes of the file, in pieces.  Raises DataError."""
        try:
            with self.path.open("rb") as stream:
                while piece := stream.read(2**20):
                    yield piece
        except OSError as error:
            raise DataError(f"expected a readable file, got {_show(self.path)} ({error.strerror})") from None


def look(entry: Entry, *, jpeg: bool = False) -> ImageFile:
    """Decide how a file of a folder is to be kept.

    jpeg: read JPEG files as pixels; they come back as PNG files, under ``written_name``.

    Raises DataError if the file cannot be opened.
    """
    try:
        data = entry.path.read_bytes() if entry.kind != "other" else b""
    except OSError as error:
        raise DataError(f"expected a readable file, got {_show(entry.path)} ({error.strerror})") from None
    pixels = decode_image(data, entry.name, jpeg=jpeg)
    if isinstance(pixels, Pixels):
        return ImageFile(entry.name, entry.path, True, pixels.mode, pixels.array.shape, pixels.metadata)
    shape = _shape_of(data)
    return ImageFile(entry.name, entry.path, bool(shape), "", shape, reason=pixels)


def _shape_of(data: bytes) -> tuple[int, ...]:
    """Height, width and channels that the header of an image states; () if Pillow does not know it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                bands = len(image.getbands())
                return (image.size[1], image.size[0], bands)[: 2 if bands == 1 else 3]
    except Exception:  # whatever a decoder raises, the file is then kept beside the images
        return ()


def look_all(folder: Path, *, jpeg: bool = False) -> list[ImageFile]:
    """Every file below a folder (``scan``), looked at."""
    return [look(entry, jpeg=jpeg) for entry in scan(folder)]


@dataclass(frozen=True)
class Reduced:
    """Pixels without what all of them share.

    array: (h, w) or (h, w, 3): without alpha where alpha is 255 throughout, and with one channel where red,
        green and blue are equal throughout.
    steps: what was left out, for ``expand``: ``opaque``, ``grey``, both or none.
    """

    array: np.ndarray
    steps: tuple[str, ...]


def reduce(array: np.ndarray, steps: tuple[str, ...] | None = None) -> Reduced:
    """Leave out an opaque alpha channel and equal colour channels (uint8 or uint16), exactly.

    steps: leave out only these, without looking again whether they apply.
    """
    taken = []
    if array.ndim == 3 and array.shape[2] in (2, 4):
        full = np.iinfo(array.dtype).max
        if "opaque" in steps if steps is not None else bool((array[..., -1] == full).all()):
            array = array[..., :-1]
            taken.append("opaque")
    if array.ndim == 3 and array.shape[2] == 3:
        equal = (array[..., 0] == array[..., 1]).all() and (array[..., 1] == array[..., 2]).all()
        if "grey" in steps if steps is not None else bool(equal):
            array = array[..., :1]
            taken.append("grey")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return Reduced(np.ascontiguousarray(array), tuple(taken))


def expand(reduced: Reduced, mode: str) -> np.ndarray:
    """The array of a mode from its reduced form; inverse of ``reduce``."""
    dtype, channels = MODES[mode]
    array = reduced.array
    if not channels:
        return array
    if array.ndim == 2:
        array = array[..., None]
    if "grey" in reduced.steps:
        array = np.repeat(array, 3, axis=2)
    if "opaque" in reduced.steps:
        full = np.full((*array.shape[:2], 1), np.iinfo(np.dtype(dtype)).max, dtype)
        array = np.concatenate([array, full], axis=2)
    return np.ascontiguousarray(array)
