"""How each file of a folder is to be kept by an archive: as pixels, or as its bytes."""

from __future__ import annotations

import io
import itertools
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from codelength.archive.layout import MAX_ELEMENTS
from codelength.data import bitmaps, containers, dicom, png, proof, stored_arrays, tiff, webp
from codelength.data.images import decode_images, encode_images, extension, features_of, form_of
from codelength.data.pages import name_of as page_name
from codelength.data.pages import unmarked
from codelength.data.pixels import WARNINGS_LOCK, Pixels, Unsuitable
from codelength.data.scan import Entry
from codelength.data.stable import Stamp
from codelength.errors import DataError
from codelength.machine import free_memory

#: Of the free memory, a file may take this part if its pixels are to be looked at.
MEMORY_SHARE = 8
#: Bytes of a file that no machine lacks memory for.
SURELY_FITS = 2**24
#: The reason of files that are kept because somebody asked for it.
AS_ASKED = "its bytes are kept, as was asked"
#: By format, what comes back of files that do not come back byte for byte.
ANEW = {
    "PNG": "PNG: the same pixels, mode and further chunks, compressed anew and not interlaced",
    "TIFF": "compressed TIFF: the same pixels, mode, byte order and tags, compressed anew by deflate, in strips",
    "WEBP": "WebP: the same pixels and mode, compressed anew",
    "JPEG": "JPEG: the same pixels, as PNG",
    "DICOM": "DICOM by RLE: the same pixels and all else of the file, with other runs",
}


@dataclass(frozen=True)
class ImageFile:
    """A file of a folder, looked at: what an archive has to know about it.

    entry: the file.
    is_image: its header is known as that of an image, whether or not its pixels are read.
    mode: of its pixels; "" if its bytes are to be kept instead, and ``reason`` then says why.
    shape: of the pixels, (h, w) or (h, w, channels), of a kept file as its header states it, with the number of
        images before it where there are several; () where unknown.
    metadata: what it holds besides pixels.
    stamp: the file as it was looked at.
    images: of a file of several images that are kept as pixels, each; the file itself then has no mode and no reason.
    same: whether it comes back byte for byte though it is compressed.
    """

    entry: Entry
    is_image: bool
    mode: str
    shape: tuple[int, ...]
    metadata: bytes
    reason: str
    stamp: Stamp
    images: tuple[Page, ...] = ()
    same: bool = False

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stamp.size

    @property
    def anew(self) -> str:
        """In a sentence what comes back of a file that does not come back byte for byte; "" for all others."""
        first = self.parts[0]
        if not first.mode or self.same or proof.gives_back(first.metadata):
            return ""
        return ANEW["DICOM" if unmarked(first.metadata)[:1] == b"D" else form_of(self.name)]

    @property
    def features(self) -> tuple[int, ...]:
        """What a reader must know (``codelength.archive.sources.FolderEntry``)."""
        return features_of(self.name, self.mode, self.metadata)

    @property
    def parts(self) -> Sequence[ImageFile | Page]:
        """What an archive has entries of: the images of the file, or itself."""
        return self.images or (self,)

    def read_pixels(self) -> np.ndarray:
        """The pixels, read anew. Raises DataError if the file has changed."""
        return self.read_images()[1][0].array

    def read_again(self) -> np.ndarray | None:
        """The same pixels as another library reads them; None where there is no other.

        Raises DataError if the file has changed, or the other library cannot read it.
        """
        return next(self.read_all_again())

    def read_all_again(self) -> Iterator[np.ndarray | None]:
        """The same of each of several images."""
        data, images = self.read_images()
        try:
            yield from proof.read_again(data, form_of(self.name, data), images)
        except Unsuitable as reason:
            raise DataError(f"expected {self.entry.shown} to be read by two libraries, but {reason}") from None

    def read_images(self) -> tuple[bytes, list[Pixels]]:
        """The file and all its images, read anew. Raises DataError if the file has changed."""
        data, _ = self.entry.read_whole(self.stamp)
        images = decode_images(data, self.name, jpeg=self.mode != "")
        if isinstance(images, str) or [(i.mode, i.metadata) for i in images] != [
            (p.mode, p.metadata) for p in self.parts
        ]:
            raise DataError(f"{self.entry.shown} changed while it was being read; start again")
        return data, images

    def read_bytes(self) -> Iterator[bytes]:
        """The bytes of the file, in pieces, as far as it was long when it was looked at.

        Raises DataError if it cannot be read or has changed.
        """
        return (piece for piece, _ in self.entry.read_pieces(self.stamp))


@dataclass(frozen=True)
class Page:
    """One of several images of a file. number: from 0. mode, shape, metadata: as of ``ImageFile``."""

    name: str
    mode: str
    shape: tuple[int, ...]
    metadata: bytes
    number: int
    held: HeldFile
    is_image: bool = True

    @property
    def features(self) -> tuple[int, ...]:
        """As of ``ImageFile``."""
        return features_of(self.name, self.mode, self.metadata)

    def read_pixels(self) -> np.ndarray:
        """The pixels. Raises DataError if the file has changed since it was looked at."""
        return self.held.images()[self.number].array

    def read_again(self) -> np.ndarray | None:
        """As of ``ImageFile``."""
        return self.held.again(self.number)

    def read_bytes(self) -> Iterator[bytes]:
        raise AssertionError("a page is no file")


class HeldFile:
    """A file of several images, which is read once for all of them that are asked for one after the other."""

    file: ImageFile
    _last: tuple[HeldFile, list[Pixels]] | None = None
    _again: tuple[HeldFile, int, Iterator[np.ndarray | None]] | None = None
    _lock = threading.Lock()

    def images(self) -> list[Pixels]:
        """All images of the file; those of the file that was asked for last are kept."""
        with HeldFile._lock:
            if HeldFile._last is None or HeldFile._last[0] is not self:
                HeldFile._last = None
                HeldFile._last = self, self.file.read_images()[1]
            return HeldFile._last[1]

    def again(self, number: int) -> np.ndarray | None:
        """An image as another library reads it, which goes on from the one that was asked for last."""
        with HeldFile._lock:
            if HeldFile._again is None or HeldFile._again[0] is not self or HeldFile._again[1] > number:
                HeldFile._again = self, 0, self.file.read_all_again()
            _, following, images = HeldFile._again
            HeldFile._again = None
            found = next(itertools.islice(images, number - following, None))
            HeldFile._again = self, number + 1, images
            return found


def look(entry: Entry, *, jpeg: bool = False, keep: bool = False) -> ImageFile:
    """Decide how a file of a folder is to be kept: as pixels only if that is proved to give the image back.

    jpeg: read JPEG files as pixels; they come back as PNG files, under ``written_name``. keep: keep the bytes in any
    case.

    Raises DataError if the file cannot be opened.
    """
    if entry.kind == "other" and not (may_be_image(entry.name) and form_of(entry.name, entry.begin())):
        return ImageFile(entry, False, "", (), b"", "not an image", entry.stamp())
    free = free_memory() if entry.size > SURELY_FITS else None  # asking takes longer than reading a small file
    if free is not None and entry.size > free // MEMORY_SHARE:
        return ImageFile(entry, False, "", (), b"", "it is too large for this machine's memory", entry.stamp())
    data, stamp = entry.read_whole()
    same = False
    images = AS_ASKED if keep else decode_images(data, entry.name, jpeg=jpeg)
    if not isinstance(images, str):
        try:
            form = form_of(entry.name, data)
            if proof.gives_back(images[0].metadata):  # compared byte by byte when it was read
                proof.confirm(data, form, images)
            else:
                written = encode_images(images, entry.name)
                proof.prove(data, form, images, written)
                same = form == "DICOM" and written == data  # of others, libraries decide what is written
        except (Unsuitable, DataError) as reason:
            images = str(reason)
    if isinstance(images, str):
        shape = stated_shape(data)
        return ImageFile(entry, bool(shape), "", shape, b"", images, stamp)
    if len(images) == 1:
        (pixels,) = images
        return ImageFile(entry, True, pixels.mode, pixels.array.shape, pixels.metadata, "", stamp, same=same)
    held = HeldFile()
    pages = tuple(
        Page(page_name(entry.name, number), image.mode, image.array.shape, image.metadata, number, held)
        for number, image in enumerate(images)
    )
    held.file = ImageFile(entry, True, "", stated_shape(data), b"", "", stamp, pages, same)
    return held.file


_STATED: tuple[tuple[bytes, Callable[[bytes], tuple[int, ...]]], ...] = (
    (containers.SIGNATURE, png.stated_shape),
    (b"II", tiff.stated_shape),
    (b"MM", tiff.stated_shape),
    (b"BM", bitmaps.stated_bmp),
    (b"RIFF", webp.stated_shape),
    (b"P", bitmaps.stated_pnm),
    (b"\x93NUMPY", stored_arrays.stated_shape),
)


def may_be_image(name: str) -> bool:
    """Whether a file should be asked for what it is: DICOM and IDX are called anything, mostly without extension."""
    return extension(name).removeprefix(".").isdigit() or extension(name) in ("", ".ima", ".idx")


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, channels that the header of an image states; () if it is unknown.

    For a TIFF of several images of one shape, their number comes first. Nothing is decoded.
    """
    if dicom.is_dicom(data):
        try:
            return dicom.stated_shape(data)
        except Unsuitable:
            return ()
    for start, reader in _STATED:
        if data.startswith(start):
            try:
                shape = reader(data)
            except Unsuitable:
                # Pillow is not asked either: what it thinks of a damaged file goes to the standard error.
                return ()
            return shape if 0 < math.prod(shape) <= MAX_ELEMENTS else ()
    try:
        with WARNINGS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                bands = len(image.getbands())
                return (image.size[1], image.size[0], bands)[: 2 if bands == 1 else 3]
    except Exception:  # whatever a decoder raises, the file is then kept beside the images
        return ()
