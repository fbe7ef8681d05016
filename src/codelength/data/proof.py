"""Whether pixels give an image file back: the judgement of another library than the one that read or wrote them.

| format | read by | confirmed by | written by | judged by |
| --- | --- | --- | --- | --- |
| PNG | ``png`` | Pillow | Pillow | ``png`` |
| other PNG (metadata ``I``) | ``png`` | Pillow, 16-bit colours imagecodecs | ``png`` | the same |
| compressed TIFF | ``tiff`` | tifffile (LZW without imagecodecs: Pillow) | ``tiff`` | tifffile |
| lossless WebP | Pillow | imagecodecs | Pillow | imagecodecs |
| DICOM by RLE | ``dicom`` | pydicom | ``dicom`` | pydicom |
| JPEG, where asked for | Pillow | nobody | Pillow (PNG) | ``png`` |
| TIFF and DICOM as they lie | ``tiff``, ``dicom`` | tifffile, pydicom if it is there | ``raw`` | the same bytes |
| arrays | ``stored_arrays`` | nobody | ``raw`` | the same bytes |
| BMP, PGM, PPM | ``bitmaps`` | Pillow | ``raw`` | the same bytes |

Nothing here is needed to read an archive.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from codelength.data import dicom, png, tiff, webp
from codelength.data.pages import unmarked
from codelength.data.pixels import MODES, WARNINGS_LOCK, Pixels, Unsuitable

_BEYOND_PILLOW = ("LA;16", "RGB;16", "RGBA;16")


def prove(data: bytes, form: str, images: Sequence[Pixels], written: bytes) -> None:
    """Raise Unsuitable unless another library reads the same pixels from a file and from what is written for it.

    data: the file. form: its format, as in ``codelength.data.images.FORMATS``, or ``JPEG``.
    images: what was read. written: the file that they would come back as.
    """
    if gives_back(images[0].metadata):
        if written != data:
            raise Unsuitable("its pixels would not give the same file back")
        return
    if form == "TIFF":
        _prove_tiff(data, images, written)
        return
    if form == "DICOM":
        _prove_dicom(data, images, written)
        return
    (pixels,) = images
    if pixels.metadata[:1] == b"I":
        _prove_png(data, pixels, written)
        return
    if form == "WEBP":
        found, back = _webp(data), _webp(written)
        webp.check(written)
    else:
        judged = png.read(written)
        if judged.mode != pixels.mode or judged.metadata != (pixels.metadata if form == "PNG" else b""):
            raise Unsuitable("its mode or its chunks would not come back")
        back, found = judged.array, pixels.array if form == "JPEG" else _pillow(data, form, pixels.mode)
    if not _same(found, pixels):
        raise Unsuitable("two libraries read different pixels from it")
    if not _same(back, pixels):
        raise Unsuitable("its pixels would not come back in the file that is written for them")


def _prove_tiff(data: bytes, images: Sequence[Pixels], written: bytes) -> None:
    if [image.metadata for image in tiff.read(written)] != [image.metadata for image in images]:
        raise Unsuitable("what its pixels mean would not come back")
    modes = [image.mode for image in images]
    for pixels, (found, facts), (back, facts_back) in zip(images, _tiff(data, modes), _tiff(written, modes)):
        if facts != facts_back:
            raise Unsuitable(f"what its pixels mean would not come back (as {facts_back}, not as {facts})")
        if not _same(found, pixels):
            raise Unsuitable("two libraries read different pixels from it")
        if not _same(back, pixels):
            raise Unsuitable("its pixels would not come back in the file that is written for them")


def _prove_png(data: bytes, pixels: Pixels, written: bytes) -> None:
    """Of a PNG that is written by our own code."""
    if png.read(written).metadata != pixels.metadata:
        raise Unsuitable("what it holds beside its pixels would not come back")
    if not _same(_samples(data, pixels), pixels):
        raise Unsuitable("two libraries read different pixels from it")
    if not _same(_samples(written, pixels), pixels) or not np.array_equal(_shown(data), _shown(written)):
        raise Unsuitable("its pixels would not come back in the file that is written for them")


def _samples(data: bytes, pixels: Pixels) -> np.ndarray:
    """The samples of a PNG with metadata ``I``, as another library reads them."""
    bits, colour = pixels.metadata[1:3]
    if bits == 16 and colour:
        if not _has_imagecodecs():
            raise Unsuitable("imagecodecs is not installed, which confirms 16-bit colours of PNG (codelength[compare])")
        import imagecodecs

        try:
            return imagecodecs.png_decode(data)
        except Exception as error:
            raise Unsuitable(f"imagecodecs cannot read it ({_first_line(error)})") from None
    with _opened(data, "PNG") as image:
        array = np.asarray(image).astype(np.uint8) if bits < 16 else np.asarray(image)
        if image.mode != "P" and bits in (2, 4):  # spread over all of a byte
            return array // (255 // ((1 << bits) - 1))
        return array


def _shown(data: bytes) -> np.ndarray:
    """A PNG as it is shown, its palette and transparent colours applied."""
    with _opened(data, "PNG") as image:
        return np.asarray(image.convert("RGBA" if image.mode != "I;16" else "I"))


@contextlib.contextmanager
def _opened(data: bytes, form: str) -> Iterator[Image.Image]:
    """An image by Pillow. Raises Unsuitable where it cannot read it."""
    try:
        with Image.open(io.BytesIO(data), formats=[form]) as image:
            image.load()
            yield image
    except Unsuitable:
        raise
    except Exception as error:
        raise Unsuitable(f"Pillow cannot read it ({_first_line(error)})") from None


def _prove_dicom(data: bytes, images: Sequence[Pixels], written: bytes) -> None:
    # What is not pixels is copied; that nothing else is written shows in what is read of it.
    again = dicom.read(written)
    if [image.metadata for image in again] != [image.metadata for image in images]:
        raise Unsuitable("what it holds beside its pixels would not come back")
    for pixels, found, back in zip(images, _dicom(data, images), _dicom(written, images)):
        if not _same(found, pixels):
            raise Unsuitable("two libraries read different pixels from it")
        if not _same(back, pixels):
            raise Unsuitable("its pixels would not come back in the file that is written for them")


def gives_back(metadata: bytes) -> bool:
    """Whether a file, of whose first image this is the metadata, comes back byte for byte."""
    return unmarked(metadata)[:1] == b"R"


def confirm(data: bytes, form: str, images: Sequence[Pixels]) -> None:
    """Raise Unsuitable if another library reads other pixels from a file that comes back byte for byte."""
    for found, pixels in zip(read_again(data, form, images), images):
        if found is not None and not _same(found, pixels):
            raise Unsuitable("two libraries read different pixels from it")


def read_again(data: bytes, form: str, images: Sequence[Pixels]) -> Iterator[np.ndarray | None]:
    """The images of a file as another library than the first reads them.

    None where there is no other, or it cannot read a file that comes back byte for byte anyway.

    Raises Unsuitable if it cannot read another.
    """
    pixels = images[0]
    if pixels.metadata[:1] == b"I":
        yield _as_mode(_samples(data, pixels), pixels.mode)
        return
    if form in ("JPEG", "NPY", "NPZ", "IDX") or (form not in ("TIFF", "DICOM") and pixels.mode in _BEYOND_PILLOW):
        yield from [None] * len(images)
        return
    count = 0
    try:
        if form == "TIFF":
            for array, _ in _tiff(data, [image.mode for image in images]):
                yield _as_mode(array, images[count].mode)
                count += 1
        elif form == "DICOM":
            for array in _dicom(data, images):
                yield _as_mode(array, images[count].mode)
                count += 1
        else:
            yield _webp(data) if form == "WEBP" else _pillow(data, form, pixels.mode)
    except Unsuitable:
        if not gives_back(pixels.metadata):
            raise
        yield from [None] * (len(images) - count)


def _same(array: np.ndarray, pixels: Pixels) -> bool:
    return np.array_equal(_as_mode(array, pixels.mode), pixels.array)


def _as_mode(array: np.ndarray, mode: str) -> np.ndarray:
    """An array in the dtype of a mode, as long as none of its values changes thereby; signed numbers as ``raw`` has
    them."""
    if array.dtype.kind == "i" and array.dtype.itemsize <= 2:
        unsigned = array.astype(f"u{array.dtype.itemsize}")
        return unsigned ^ unsigned.dtype.type(1 << (8 * unsigned.dtype.itemsize - 1))
    out = array.astype(MODES[mode][0])
    return out if np.array_equal(out, array) else array


@cache
def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


@cache
def _tifffile() -> Any:
    """tifffile, whose complaints about damaged files are our business and nobody else's."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile


def _tiff(data: bytes, modes: Sequence[str]) -> Iterator[tuple[np.ndarray, tuple[Any, ...]]]:
    """Pixels, and what they mean (photometric interpretation, samples, bits, sample format, further samples), of each
    image."""
    try:
        with _tifffile().TiffFile(io.BytesIO(data)) as file:
            if len(file.pages) != len(modes):
                raise Unsuitable(f"it holds {len(file.pages)} images, as tifffile reads it, not {len(modes)}")
            for number, mode in enumerate(modes):
                yield _tiff_page(data, file.pages[number], mode, len(modes))
    except (Unsuitable, GeneratorExit):
        raise
    except Exception as error:  # whatever a library makes of a file is its judgement
        raise Unsuitable(f"tifffile cannot read it ({_first_line(error)})") from None


def _tiff_page(data: bytes, page: Any, mode: str, count: int) -> tuple[np.ndarray, tuple[Any, ...]]:
    planes = int(page.planarconfig or 1) if page.samplesperpixel > 1 else 1
    facts = (
        int(page.photometric),
        int(page.samplesperpixel),
        page.bitspersample,
        page.sampleformat,
        tuple(int(kind) for kind in page.extrasamples),
        planes,
    )
    if page.compression != tiff.LZW or _has_imagecodecs():
        array = page.asarray()
        return np.moveaxis(array, 0, -1) if planes == 2 else array, facts
    if mode in (*_BEYOND_PILLOW, "LA") or (mode == "RGBA" and facts[4] != (2,)) or count > 1:
        raise Unsuitable("imagecodecs is not installed, which confirms LZW pixels of this kind (codelength[compare])")
    return _pillow(data, "TIFF", mode), facts


@cache
def _pydicom() -> Any:
    """pydicom, which is silent about damaged files; None where it is not installed."""
    if importlib.util.find_spec("pydicom") is None:
        return None
    import pydicom
    import pydicom.pixels

    logging.getLogger("pydicom").addHandler(logging.NullHandler())
    logging.getLogger("pydicom").propagate = False
    return pydicom


def _dicom(data: bytes, images: Sequence[Pixels]) -> Iterator[np.ndarray]:
    """The stored values of the frames of a DICOM file."""
    library = _pydicom()
    if library is None:
        raise Unsuitable("pydicom is not installed, which confirms the pixels of DICOM (codelength[dicom])")
    try:
        with WARNINGS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(library.pixels.iter_pixels(io.BytesIO(data), raw=True))
    except Exception as error:  # whatever a library makes of a file is its judgement
        raise Unsuitable(f"pydicom cannot read it ({_first_line(error)})") from None
    if len(found) != len(images):
        raise Unsuitable(f"it holds {len(found)} frames, as pydicom reads it, not {len(images)}")
    yield from found


def _webp(data: bytes) -> np.ndarray:
    if not _has_imagecodecs():
        raise Unsuitable("imagecodecs is not installed, which confirms the pixels of WebP (codelength[compare])")
    import imagecodecs

    # Bytes behind the last pixel, but within its chunk, are read by nobody: without them all goes as well.
    body = webp.pixel_bytes(data)
    try:
        array = imagecodecs.webp_decode(data)
        imagecodecs.webp_decode(body)
    except Exception as error:
        raise Unsuitable(f"imagecodecs cannot read it ({_first_line(error)})") from None
    try:
        imagecodecs.webp_decode(body[:-1])
    except Exception:
        return array
    raise Unsuitable("something follows its pixels")


def _pillow(data: bytes, form: str, mode: str) -> np.ndarray:
    with _opened(data, form) as image:
        if image.mode != mode and not (mode == "I;16" and image.mode in ("I;16B", "I;16L", "I")):
            raise Unsuitable(f"Pillow reads it in the mode {image.mode!r} and not in {mode!r}")
        return np.asarray(image.convert("L")) != 0 if mode == "1" else np.asarray(image)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
