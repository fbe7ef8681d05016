"""Image files as pixels and back, exactly, or not at all.

``scan`` lists the files of a folder, ``read_pixels`` returns the pixels of one, or the reason why its bytes
should be kept instead, and ``look`` decides which of the two, having proved that the pixels give the image
back (``codelength.data.proof``). What is promised of a file that is kept as pixels:

- PNG: the same pixels in the same mode, and every ancillary chunk (colour profile, EXIF with its orientation,
  text, gamma, resolution); not the same compressed bytes.
- TIFF without compression in strips, BMP, PGM, PPM: the same file, byte for byte.
- TIFF compressed without loss (LZW, deflate, packbits) or of one bit: the same pixels in the same mode, byte
  order and kind of TIFF, and every other tag that can be moved (what the samples mean, resolution, text,
  profile, place on earth); compressed by deflate, in strips.
- Lossless WebP without further parts: the same pixels in the same mode.
- JPEG is not read as pixels unless asked for, since pixels do not give the file back.

Modes are Pillow's where it has them: ``1``, ``L``, ``LA``, ``RGB``, ``RGBA``, ``I;16``, and ``LA;16``,
``RGB;16``, ``RGBA;16``. Whatever the header of a file states beyond that (palettes, transparent colours,
animations, several pages, other depths, signed and floating-point samples, further samples, planes, inverted
values), files in which anything follows the end or is left over, files of another format than their name says
and files that cannot be decoded are left to the caller with a reason. Orientation is never applied to pixels.
"""

from __future__ import annotations

import io
import logging
import math
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from codelength.archive.layout import MAX_ELEMENTS
from codelength.data import bitmaps, containers, png, proof, tiff, webp
from codelength.data.pixels import MODES, Pixels, Unsuitable
from codelength.errors import DataError
from codelength.files import is_left_over, show_path

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
    "TIFF": tuple(MODES),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB", "I;16", "RGB;16"),
}
JPEG_EXTENSIONS = (".jpg", ".jpeg")

_log = logging.getLogger(__name__)
# Warnings are switched for the whole process, so one thread at a time.
_warnings_lock = threading.Lock()


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

    def load(self) -> Pixels | str:
        """Its pixels, or in words why its bytes must be kept instead (``read_pixels``)."""
        return read_pixels(self.path)


def scan(folder: Path) -> list[Entry]:
    """All files below a folder, hidden ones included, sorted by the bytes of their relative names.

    A link to a file inside the folder is listed like the file; empty folders are not listed, and the log says so.
    Every other link, and whatever is neither file nor folder, is an error, because it would be lost. What this
    program was writing when it was killed is no data: it is passed over, and the log says how many such files
    there are.

    Raises DataError, also for a folder that cannot be read or holds no files.
    """
    root = Path(os.path.realpath(folder))
    entries: list[Entry] = []
    left_over: list[Path] = []
    empty: list[Path] = []
    pending = [root]
    while pending:
        here = pending.pop()
        try:
            listing = sorted(os.scandir(here), key=lambda item: item.name)
            if not listing and here != root:
                empty.append(here)
            for item in listing:
                path = here / item.name
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                if item.is_symlink():
                    target = Path(os.path.realpath(path))
                    if not (target.is_file() and target.is_relative_to(root)):
                        raise DataError(
                            f"{show_path(path)} is a link that leaves the folder or leads to no file, and links "
                            "are not kept; replace it by what it points to, or remove it"
                        )
                status = item.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{show_path(path)} is neither a file nor a folder; remove it")
                if is_left_over(item.name):
                    left_over.append(path)
                    continue
                name = path.relative_to(root).as_posix()
                entries.append(Entry(name, path, status.st_size, _kind(name)))
        except OSError as error:
            raise DataError(f"expected a readable folder, but {show_path(here)} is not ({error.strerror})") from None
    if left_over:
        _log.warning(
            "%d unfinished files of earlier runs are passed over, such as %s; remove them",
            len(left_over),
            show_path(left_over[0]),
        )
    if not entries:
        raise DataError(f"expected files in the folder {show_path(root)}, got none")
    if empty:
        _log.warning(
            "%d empty folders are not kept, such as %s; put a file into those that are needed",
            len(empty),
            show_path(empty[0].relative_to(root)),
        )
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _kind(name: str) -> str:
    extension = _extension(name)
    return "image" if extension in FORMATS else "jpeg" if extension in JPEG_EXTENSIONS else "other"


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


# ---- reading files ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stamp:
    """What tells that a file is still the one that was looked at."""

    size: int
    modified: int
    number: tuple[int, int]

    @staticmethod
    def of(path: Path, status: os.stat_result) -> Stamp:
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"expected a file, but {show_path(path)} is none (a folder, pipe, socket or device)")
        return Stamp(status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def _read(path: Path, expected: Stamp | None = None) -> Iterator[tuple[bytes, Stamp]]:
    """A file in pieces, as far as it was long when it was opened, and its stamp; never without a last piece.

    Raises DataError if it cannot be read, is not a regular file, or changes meanwhile (or since ``expected``).
    """
    changed = DataError(f"{show_path(path)} changed while it was being read; start again when nothing writes to it")
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb") as stream:
            stamp = Stamp.of(path, os.fstat(number))
            if expected is not None and stamp != expected:
                raise changed
            left = stamp.size
            while left:
                piece = stream.read(min(left, 2**20))
                if not piece:
                    raise changed
                left -= len(piece)
                yield piece, stamp
            if stream.read(1) or Stamp.of(path, os.fstat(number)) != stamp:
                raise changed
            yield b"", stamp
    except OSError as error:
        raise DataError(f"expected a readable file, but {show_path(path)} is not ({error.strerror})") from None


def _read_whole(path: Path, expected: Stamp | None = None) -> tuple[bytes, Stamp]:
    pieces = list(_read(path, expected))
    return b"".join(piece for piece, _ in pieces), pieces[-1][1]


# ---- from bytes to pixels -----------------------------------------------------------------------------------


def read_pixels(path: Path, *, jpeg: bool = False) -> Pixels | str:
    """The pixels of an image file, or in words why its bytes must be kept instead.

    Raises DataError only if the file cannot be opened at all.
    """
    return decode_image(_read_whole(path)[0], path.name, jpeg=jpeg)


def decode_image(data: bytes, name: str, *, jpeg: bool = False) -> Pixels | str:
    """Like ``read_pixels``, for the bytes of the file ``name``."""
    form = _form(name)
    if form == "JPEG" and not jpeg:
        return "JPEG files are kept as they are, since pixels do not give them back"
    if not form:
        return "not an image"
    if not data:
        return "it is empty"
    try:
        return _READERS[form](data)
    except Unsuitable as reason:
        return str(reason)
    except Exception as error:  # a decoder given a damaged file may raise anything
        text = str(error).splitlines()
        return f"it cannot be decoded as {form} ({text[0][:120] if text else type(error).__name__})"


def _form(name: str) -> str:
    """The format that a name promises; "" if it is not that of an image that can be read."""
    extension = _extension(name)
    return FORMATS.get(extension, "JPEG" if extension in JPEG_EXTENSIONS else "")


def _read_webp(data: bytes) -> Pixels:
    mode, height, width = webp.check(data)
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        if image.mode != mode or getattr(image, "n_frames", 1) != 1:
            raise Unsuitable(f"its header states pixels of the kind {mode!r}, and it holds {image.mode!r}")
        array = np.array(image)
    if array.shape != (height, width, len(mode)):
        raise Unsuitable(f"its pixels have the shape {array.shape}")
    return Pixels(array, mode)


def _read_jpeg(data: bytes) -> Pixels:
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("error")
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode not in MODES:
                raise Unsuitable(f"its pixels are of the kind {image.mode!r}")
            if image.getexif().get(0x0112, 1) != 1:
                raise Unsuitable("it is to be shown turned (EXIF orientation), which its pixels do not say")
            return Pixels(np.array(image), image.mode)


_READERS: dict[str, Callable[[bytes], Pixels]] = {
    "PNG": png.read,
    "TIFF": tiff.read,
    "BMP": bitmaps.read_bmp,
    "PPM": bitmaps.read_pnm,
    "WEBP": _read_webp,
    "JPEG": _read_jpeg,
}


# ---- from pixels to bytes -----------------------------------------------------------------------------------


def written_name(name: str, mode: str) -> str:
    """The name that pixels are written back to: the same, if its format is lossless and holds the mode."""
    if mode in HELD.get(FORMATS.get(_extension(name), ""), ()):
        return name
    return name + (".png" if mode in HELD["PNG"] else ".tif")


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
    target = FORMATS[_extension(written_name(name, mode))]
    if metadata and metadata[:1] != {"PNG": b"P", "TIFF": b"T"}.get(target):
        raise DataError(f"the metadata of {name!r} is of an unknown kind, or not for its format")
    if target == "TIFF":
        return tiff.encode(pixels)
    if target == "PPM":
        return bitmaps.encode_pnm(pixels)
    stream = io.BytesIO()
    options: dict[str, object] = {"lossless": True, "exact": True} if target == "WEBP" else {}
    _image(array, mode).save(stream, target, **options)
    data = stream.getvalue()
    if target == "WEBP" and mode == "RGBA":
        return webp.with_alpha(data)
    return containers.png_with(data, metadata) if metadata else data


def _image(array: np.ndarray, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(array.astype(np.uint8) * np.uint8(255)).convert("1", dither=Image.Dither.NONE)
    size = (array.shape[1], array.shape[0])
    return Image.frombytes(mode, size, np.ascontiguousarray(array).tobytes())


# ---- files of a folder, looked at -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageFile:
    """A file of a folder, looked at: what an archive has to know about it.

    name, path: as in ``Entry``.
    is_image: its header is known as that of an image, whether or not its pixels are read.
    mode: of its pixels; "" if its bytes are to be kept instead, and ``reason`` then says why.
    shape: of the pixels, (h, w) or (h, w, channels), of a kept file as its header states it, with the number of
        images before it where there are several; () where unknown.
    metadata: what it holds besides pixels.
    stamp: the file as it was looked at.
    """

    name: str
    path: Path
    is_image: bool
    mode: str
    shape: tuple[int, ...]
    metadata: bytes
    reason: str
    stamp: Stamp

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stamp.size

    def read_pixels(self) -> np.ndarray:
        """The pixels, read anew. Raises DataError if the file has changed."""
        return self._pixels()[1].array

    def read_again(self) -> np.ndarray | None:
        """The same pixels as another library reads them; None where there is no other.

        Raises DataError if the file has changed, or the other library cannot read it.
        """
        data, pixels = self._pixels()
        try:
            return proof.read_again(data, _form(self.name), pixels)
        except Unsuitable as reason:
            raise DataError(f"expected {show_path(self.path)} to be read by two libraries, but {reason}") from None

    def _pixels(self) -> tuple[bytes, Pixels]:
        data, _ = _read_whole(self.path, self.stamp)
        pixels = decode_image(data, self.name, jpeg=self.mode != "")
        if isinstance(pixels, str) or (pixels.mode, pixels.metadata) != (self.mode, self.metadata):
            raise DataError(f"{show_path(self.path)} changed while it was being read; start again")
        return data, pixels

    def read_bytes(self) -> Iterator[bytes]:
        """The bytes of the file, in pieces, as far as it was long when it was looked at.

        Raises DataError if it cannot be read or has changed.
        """
        return (piece for piece, _ in _read(self.path, self.stamp))


def look(entry: Entry, *, jpeg: bool = False) -> ImageFile:
    """Decide how a file of a folder is to be kept: as pixels only if that is proved to give the image back.

    jpeg: read JPEG files as pixels; they come back as PNG files, under ``written_name``.

    Raises DataError if the file cannot be opened.
    """
    if entry.kind == "other":
        try:
            stamp = Stamp.of(entry.path, entry.path.stat())
        except OSError as error:
            raise DataError(
                f"expected a readable file, but {show_path(entry.path)} is not ({error.strerror})"
            ) from None
        return ImageFile(entry.name, entry.path, False, "", (), b"", "not an image", stamp)
    data, stamp = _read_whole(entry.path)
    pixels = decode_image(data, entry.name, jpeg=jpeg)
    if isinstance(pixels, Pixels):
        try:
            form = _form(entry.name)
            if pixels.metadata[:1] == b"R":  # compared byte by byte when it was read
                proof.confirm(data, form, pixels)
            else:
                proof.prove(data, form, pixels, encode_image(pixels, entry.name))
        except (Unsuitable, DataError) as reason:
            pixels = str(reason)
        else:
            shape = pixels.array.shape
            return ImageFile(entry.name, entry.path, True, pixels.mode, shape, pixels.metadata, "", stamp)
    shape = stated_shape(data)
    return ImageFile(entry.name, entry.path, bool(shape), "", shape, b"", pixels, stamp)


_STATED: tuple[tuple[bytes, Callable[[bytes], tuple[int, ...]]], ...] = (
    (containers.SIGNATURE, png.stated_shape),
    (b"II", tiff.stated_shape),
    (b"MM", tiff.stated_shape),
    (b"BM", bitmaps.stated_bmp),
    (b"RIFF", webp.stated_shape),
    (b"P", bitmaps.stated_pnm),
)


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, channels that the header of an image states; () if it is unknown.

    For a TIFF of several images of one shape, their number comes first. Nothing is decoded.
    """
    for start, reader in _STATED:
        if data.startswith(start):
            try:
                shape = reader(data)
            except Unsuitable:
                # Pillow is not asked either: what it thinks of a damaged file goes to the standard error.
                return ()
            return shape if 0 < math.prod(shape) <= MAX_ELEMENTS else ()
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                bands = len(image.getbands())
                return (image.size[1], image.size[0], bands)[: 2 if bands == 1 else 3]
    except Exception:  # whatever a decoder raises, the file is then kept beside the images
        return ()


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


class ImageFiles:
    """Makes the image files of an archive of a folder (``codelength.archive.job.ImageWriter``)."""

    def written_name(self, name: str, mode: str) -> str:
        return written_name(name, mode)

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        return encode_image(Pixels(values, mode, metadata), name)
