"""Image files as pixels and back, exactly, or not at all.

``decode_image`` returns the pixels of a file, or the reason why its bytes should be kept instead; ``encode_image``
makes a file of them again. What is promised of a file that is kept as pixels:

- PNG: the same pixels in the same mode, and every ancillary chunk (colour profile, EXIF with its orientation,
  text, gamma, resolution); not the same compressed bytes.
- TIFF without compression, BMP, PGM, PPM: the same file, byte for byte.
- TIFF compressed without loss (LZW, deflate, packbits) or of one bit: the same pixels in the same mode, byte
  order and kind of TIFF, and every other tag that can be moved (what the samples mean, resolution, text,
  profile, place on earth); compressed by deflate, in strips.
- TIFF of several images: the same of each of them.
- DICOM without compression: the same file, byte for byte; by RLE: the same pixels, and all else of the file.
- Arrays (``.npy``, ``.npz`` without compression, IDX) that are images: the same file, byte for byte.
- Lossless WebP without further parts: the same pixels in the same mode.
- JPEG is not read as pixels unless asked for, since pixels do not give the file back.

Modes are Pillow's where it has them: ``1``, ``L``, ``LA``, ``RGB``, ``RGBA``, ``I;16``, and ``LA;16``,
``RGB;16``, ``RGBA;16``.

Whatever the header of a file states beyond that (palettes, transparent colours, animations, other depths,
floating-point samples, further samples, inverted values), files in which anything follows the end or is left over,
files of another format than their name says and files that cannot be decoded are left to the caller with a reason.
Where a TIFF comes back byte for byte, its samples may also be signed, of 12 bits or in planes, and lie in tiles.
Orientation is never applied to pixels.
"""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from codelength.archive.layout import FILES_FEATURE
from codelength.data import bitmaps, containers, dicom, pages, png, raw, stored_arrays, tiff, webp
from codelength.data.pixels import MODES, WARNINGS_LOCK, Pixels, Unsuitable
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
    "TIFF": tuple(MODES),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB", "I;16", "RGB;16"),
}
JPEG_EXTENSIONS = (".jpg", ".jpeg")
#: Files of DICOM are told by their first bytes, too; they come back under their names, whatever these are.
DICOM_EXTENSIONS = (".dcm", ".dicom")
#: Arrays within folders, which come back byte for byte.
ARRAY_EXTENSIONS = {".npy": "NPY", ".npz": "NPZ"}


# ---- from bytes to pixels -----------------------------------------------------------------------------------


def extension(name: str) -> str:
    """The ending of a name, in lower case."""
    return os.path.splitext(name)[1].lower()


def decode_image(data: bytes, name: str, *, jpeg: bool = False) -> Pixels | str:
    """The pixels of the only image of the file ``name``, or in words why its bytes must be kept instead.

    jpeg: read JPEG files as pixels, too, which do not give them back.
    """
    images = decode_images(data, name, jpeg=jpeg)
    if isinstance(images, str):
        return images
    if reason := png.beyond_pixels(images[0].metadata):
        return reason
    return images[0] if len(images) == 1 else f"it holds several images ({len(images)})"


def decode_images(data: bytes, name: str, *, jpeg: bool = False) -> list[Pixels] | str:
    """All images of a file, for which ``encode_images`` makes one again; else as ``decode_image``."""
    form = form_of(name, data)
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


def form_of(name: str, data: bytes = b"") -> str:
    """The format that a name promises, or what begins like DICOM; "" if it is not that of an image that can be read."""
    ending = extension(name)
    if ending in FORMATS or ending in ARRAY_EXTENSIONS:
        return FORMATS.get(ending) or ARRAY_EXTENSIONS[ending]
    if ending in DICOM_EXTENSIONS or dicom.is_dicom(data):
        return "DICOM"
    if ending in JPEG_EXTENSIONS:
        return "JPEG"
    return "IDX" if stored_arrays.is_idx(name, data) else ""


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
    with WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("error")
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode not in MODES:
                raise Unsuitable(f"its pixels are of the kind {image.mode!r}")
            if image.getexif().get(0x0112, 1) != 1:
                raise Unsuitable("it is to be shown turned (EXIF orientation), which its pixels do not say")
            return Pixels(np.array(image), image.mode)


def _alone(read: Callable[[bytes], Pixels]) -> Callable[[bytes], list[Pixels]]:
    return lambda data: [read(data)]


_READERS: dict[str, Callable[[bytes], list[Pixels]]] = {
    "PNG": _alone(png.read),
    "TIFF": tiff.read,
    "BMP": _alone(bitmaps.read_bmp),
    "PPM": _alone(bitmaps.read_pnm),
    "WEBP": _alone(_read_webp),
    "JPEG": _alone(_read_jpeg),
    "DICOM": dicom.read,
    "NPY": stored_arrays.read_npy,
    "NPZ": stored_arrays.read_npz,
    "IDX": stored_arrays.read_idx,
}


# ---- from pixels to bytes -----------------------------------------------------------------------------------


def written_name(name: str, mode: str, metadata: bytes = b"") -> str:
    """The name that pixels are written back to: the same, if its format is lossless and holds the mode, or the metadata
    gives the file back byte for byte."""
    if pages.unmarked(metadata)[:1] in (b"R", b"D", b"I") or mode in HELD.get(FORMATS.get(extension(name), ""), ()):
        return name
    return name + (".png" if mode in HELD["PNG"] else ".tif")


def features_of(name: str, mode: str, metadata: bytes) -> tuple[int, ...]:
    """Numbers of what a reader of the first archives did not know, and must for this image."""
    kind = metadata[:1]
    new = kind in (b"M", b"D", b"I") or (kind == b"R" and (raw.is_new(metadata) or (written_name(name, mode) != name)))
    return (FILES_FEATURE,) if new else ()


def encode_images(images: Sequence[Pixels], name: str) -> bytes:
    """The file that all images of a file (``decode_images``) are written back to; raises what ``encode_image`` does."""
    if len(images) == 1:
        return encode_image(images[0], name)
    for image in images:
        _check(image)
    first = dataclasses.replace(images[0], metadata=pages.unmarked(images[0].metadata))
    if first.metadata[:1] in (b"R", b"D"):
        join = raw.joined if first.metadata[:1] == b"R" else dicom.encode
        return join([image.array for image in images], first.metadata)
    if FORMATS.get(extension(name)) != "TIFF":
        raise DataError(f"expected pages of a TIFF, got those of {name!r}")
    return tiff.encode([first, *images[1:]])


def encode_image(pixels: Pixels, name: str) -> bytes:
    """The image file that pixels are written back to, in the format of the extension of ``written_name``.

    The bytes depend on the installed Pillow except where the format stores pixels as they are.

    Raises DataError if array and mode do not belong together, for an unknown mode, and for bad metadata.
    """
    _check(pixels)
    array, mode, metadata = pixels.array, pixels.mode, pixels.metadata
    if metadata[:1] == b"R":
        return raw.joined([array], metadata)
    if metadata[:1] == b"D":
        return dicom.encode([array], metadata)
    if metadata[:1] == b"I":
        return png.encode(pixels)
    target = FORMATS[extension(written_name(name, mode))]
    if metadata and metadata[:1] != {"PNG": b"P", "TIFF": b"T"}.get(target):
        raise DataError(f"the metadata of {name!r} is of an unknown kind, or not for its format")
    if target == "TIFF":
        return tiff.encode([pixels])
    if target == "PPM":
        return bitmaps.encode_pnm(pixels)
    stream = io.BytesIO()
    options: dict[str, object] = {"lossless": True, "exact": True} if target == "WEBP" else {}
    _image(array, mode).save(stream, target, **options)
    data = stream.getvalue()
    if target == "WEBP" and mode == "RGBA":
        return webp.with_alpha(data)
    return containers.png_with(data, metadata) if metadata else data


def _check(pixels: Pixels) -> None:
    """Raise DataError unless array and mode belong together."""
    array, mode = pixels.array, pixels.mode
    if mode not in MODES:
        raise DataError(f"expected one of the modes {', '.join(MODES)}, got {mode!r}")
    dtype, channels = MODES[mode]
    if array.dtype != np.dtype(dtype) or array.ndim < 2 or array.shape[2:] != ((channels,) if channels else ()):
        raise DataError(f"expected {dtype} pixels for the mode {mode}, got {array.dtype} of shape {array.shape}")
    if 0 in array.shape:
        raise DataError(f"expected an image with pixels, got the shape {array.shape}")


def _image(array: np.ndarray, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(array.astype(np.uint8) * np.uint8(255)).convert("1", dither=Image.Dither.NONE)
    size = (array.shape[1], array.shape[0])
    return Image.frombytes(mode, size, np.ascontiguousarray(array).tobytes())


class ImageFiles:
    """Makes the image files of an archive of a folder (``codelength.archive.job.ImageWriter``)."""

    def written_name(self, name: str, mode: str, metadata: bytes = b"") -> str:
        return written_name(name, mode, metadata)

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        return encode_image(Pixels(values, mode, metadata), name)

    def pages(self, metadata: bytes) -> int:
        return pages.count(metadata)

    def page_of_its_own(self, name: str, metadata: bytes) -> tuple[str, bytes]:
        return pages.alone(name, metadata)

    def encode_pages(
        self, values: Sequence[np.ndarray], modes: Sequence[str], metadata: Sequence[bytes], name: str
    ) -> bytes:
        return encode_images([Pixels(*page) for page in zip(values, modes, metadata)], name)
