"""DICOM files (PS3.5, PS3.10): where their pixels lie, and RLE, in our own code.

Elements of uncompressed files lie in them as they are (``raw``). Frames by RLE Lossless are decoded and encoded anew;
all else of the file comes back as it was. Pixels are the values that are stored: neither rescaled nor windowed,
palettes not applied, signed numbers as ``raw`` has them. Each frame is an image of its own.

*Metadata* ``D``: behind the letter one byte of flags (1: signed; 2: the basic offset table holds the offsets of the
frames), the length of the head (4 bytes, little-endian), the head (the file up to the items of its pixel data), and the
tail (the file from the end of these items on). It is not trusted: ``encode`` checks it and raises DataError.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codelength.data import pages, raw
from codelength.data.pixels import MODES, Pixels, Unsuitable, check_size
from codelength.errors import DataError

_START = 132
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# Values whose length takes four bytes (PS3.5, 7.1.2).
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_SYNTAX, _SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00020010, 0x00280002, 0x00280004, 0x00280006, 0x00280008
_ROWS, _COLUMNS, _BITS, _SIGNED, _PIXELS = 0x00280010, 0x00280011, 0x00280100, 0x00280103, 0x7FE00010
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)
_EXTENDED_OFFSETS = 0x7FE00001
_WANTED = {_SYNTAX, _SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _BITS, _SIGNED}
_DEEPEST = 64  # sequences within sequences
_MOST_FRAMES = 2**20

_MODES = {(1, 8): "L", (1, 16): "I;16", (3, 8): "RGB", (3, 16): "RGB;16"}
_ITEM_BYTES = b"\xfe\xff\x00\xe0"
_END_BYTES = b"\xfe\xff\xdd\xe0"


def is_dicom(data: bytes) -> bool:
    """Whether a file begins like one of DICOM."""
    return data[_START - 4 : _START] == b"DICM"


@dataclass(frozen=True)
class _File:
    """What is said of the pixels of a file. pixels: offset of their bytes; length: of them, None where undefined."""

    syntax: str
    values: dict[int, bytes]
    big_endian: bool
    pixels: int
    length: int | None

    def number(self, tag: int, default: int | None = None) -> int:
        """An unsigned value of two bytes."""
        found = self.values.get(tag)
        if found is None and default is not None:
            return default
        if found is None or len(found) != 2:
            raise Unsuitable(f"its element {tag:08X} is missing or of an unusual length")
        return struct.unpack(">H" if self.big_endian else "<H", found)[0]

    def text(self, tag: int) -> str:
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")


class _Walk:
    """Goes through the elements of a file."""

    def __init__(self, data: bytes, at: int, explicit: bool, big_endian: bool) -> None:
        self.data, self.at = data, at
        self.explicit = explicit
        self.order = ">" if big_endian else "<"

    def header(self) -> tuple[int, int]:
        """Tag and length of the element here; its value comes next."""
        group, element = self._unpack("HH")
        tag = group << 16 | element
        if not self.explicit or group == 0xFFFE:
            return tag, self._unpack("I")[0]
        kind = self.data[self.at : self.at + 2]
        self.at += 2
        if not kind.isalpha() or not kind.isupper():
            raise Unsuitable(f"its element {tag:08X} is of no known kind")
        if kind in _LONG:
            self.at += 2
            return tag, self._unpack("I")[0]
        return tag, self._unpack("H")[0]

    def skip(self, length: int, depth: int = 0) -> None:
        """Behind a value."""
        if length != _UNDEFINED:
            self.at += length
            if self.at > len(self.data):
                raise Unsuitable("it is cut short")
            return
        if depth > _DEEPEST:
            raise Unsuitable("its sequences lie too deep in each other")
        while True:
            tag, size = self.header()
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise Unsuitable("its sequences are damaged")
            if size != _UNDEFINED:
                self.skip(size)
                continue
            while True:
                tag, size = self.header()
                if tag == _ITEM_END:
                    break
                self.skip(size, depth + 1)

    def _unpack(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            raise Unsuitable("it is cut short")
        found = struct.unpack_from(self.order + form, self.data, self.at)
        self.at += size
        return found


def _parse(data: bytes) -> _File:
    if not is_dicom(data):
        raise Unsuitable("it does not begin like a DICOM file")
    walk = _Walk(data, _START, explicit=True, big_endian=False)
    values: dict[int, bytes] = {}
    while data[walk.at : walk.at + 2] == b"\2\0":
        tag, length = walk.header()
        start = walk.at
        walk.skip(length)
        values[tag] = data[start : walk.at]
    syntax = values.get(_SYNTAX, b"").decode("ascii", "replace").strip(" \0")
    if syntax == _DEFLATED:
        raise Unsuitable("it is deflated")
    big_endian = syntax == _BIG_ENDIAN
    walk = _Walk(data, walk.at, explicit=syntax != _IMPLICIT, big_endian=big_endian)
    last = 0
    while walk.at < len(data):
        tag, length = walk.header()
        if tag <= last:
            raise Unsuitable("its elements are not in their order")
        last = tag
        if tag in _OTHER_PIXELS:
            raise Unsuitable("its pixels are floating-point")
        if tag == _EXTENDED_OFFSETS and syntax == _RLE:
            raise Unsuitable("it has an extended table of offsets")
        if tag == _PIXELS:
            return _File(syntax, values, big_endian, walk.at, None if length == _UNDEFINED else length)
        start = walk.at
        walk.skip(length)
        if tag in _WANTED:
            values[tag] = data[start : walk.at]
    raise Unsuitable("it holds no pixels")


@dataclass(frozen=True)
class _Layout:
    mode: str
    shape: tuple[int, ...]
    frames: int
    order: raw.Order

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * np.dtype(MODES[self.mode][0]).itemsize


def _layout(file: _File) -> _Layout:
    height, width, bits = file.number(_ROWS), file.number(_COLUMNS), file.number(_BITS)
    samples, signed = file.number(_SAMPLES, 1), file.number(_SIGNED, 0)
    check_size(width, height)
    mode = _MODES.get((samples, bits))
    if mode is None or signed > 1:
        raise Unsuitable(f"it has {samples} samples of {bits} bits")
    photometric = file.text(_PHOTOMETRIC)
    if samples == 3 and photometric not in ("RGB", "YBR_FULL"):
        raise Unsuitable(f"its colours are of the kind {photometric!r:.30}")
    planar = file.number(_PLANAR, 0) if samples > 1 else 0
    if planar > 1:
        raise Unsuitable("it does not say how its samples lie")
    big_endian = file.big_endian and bits == 16
    order = raw.Order(big_endian=big_endian, signed=bool(signed), planes=bool(planar) and file.syntax != _RLE)
    shape = (height, width, samples) if samples > 1 else (height, width)
    return _Layout(mode, shape, _frames(file), order)


def _frames(file: _File) -> int:
    text = file.text(_FRAMES) or "1"
    frames = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= frames <= _MOST_FRAMES:
        raise Unsuitable("it does not say how many frames it has")
    return frames


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, samples that the header states; with the number of frames first if there are
    several. Raises Unsuitable."""
    file = _parse(data)
    samples, frames = file.number(_SAMPLES, 1), _frames(file)
    shape = (file.number(_ROWS), file.number(_COLUMNS), samples)[: 3 if samples > 1 else 2]
    return (frames, *shape) if frames > 1 else shape


def read(data: bytes) -> list[Pixels]:
    """The frames of a DICOM file, uncompressed or by RLE, of 8 or 16 bits and one or three samples.

    Raises Unsuitable for every other, and unless everything beside the pixels can be put back.
    """
    file = _parse(data)
    if file.syntax not in (_IMPLICIT, _EXPLICIT, _BIG_ENDIAN, _RLE):
        codec = f"transfer syntax {file.syntax[:80] or 'missing'}"
        raise Unsuitable(f"its pixels are compressed by a codec that is not read here ({codec})")
    layout = _layout(file)
    if file.syntax == _RLE:
        return _read_rle(data, file, layout)
    size = layout.frame_bytes
    if file.length is None or file.length < size * layout.frames or file.pixels + file.length > len(data):
        raise Unsuitable("it is cut short, or its pixels are stored in an unusual way")
    starts = [file.pixels + number * size for number in range(layout.frames)]
    arrays = [layout.order.to_array(data[start : start + size], layout.shape, layout.mode) for start in starts]
    whole = raw.metadata(data, arrays, layout.order, [(file.pixels, size * layout.frames)])
    first, *others = arrays
    return pages.marked([Pixels(first, layout.mode, whole), *(Pixels(array, layout.mode) for array in others)])


# ---- RLE Lossless (PS3.5, annex G) --------------------------------------------------------------------------


def _read_rle(data: bytes, file: _File, layout: _Layout) -> list[Pixels]:
    if file.length is not None:
        raise Unsuitable("its pixels are not stored in items")
    items: list[tuple[int, bytes]] = []
    walk = _Walk(data, file.pixels, explicit=True, big_endian=False)
    while True:
        at = walk.at
        tag, length = walk.header()
        if tag == _SEQUENCE_END:
            if length:
                raise Unsuitable("its items are damaged")
            break
        if tag != _ITEM or length == _UNDEFINED or len(items) > layout.frames:
            raise Unsuitable("its items are damaged, or others than its frames")
        start = walk.at
        walk.skip(length)
        items.append((at, data[start : walk.at]))
    if len(items) != layout.frames + 1:
        raise Unsuitable(f"it has {len(items) - 1} items of pixels for {layout.frames} frames")
    (_, table), *frames = items
    offsets = struct.pack(f"<{len(frames)}I", *(start - frames[0][0] for start, _ in frames))
    if table not in (b"", offsets):
        raise Unsuitable("its table of offsets is wrong")
    arrays = [_unpack_frame(frame, layout) for _, frame in frames]
    head, tail = data[: file.pixels], data[at:]
    flags = bytes([layout.order.signed + 2 * bool(table)])
    metadata = b"D" + flags + struct.pack("<I", len(head)) + head + tail
    first, *others = arrays
    return pages.marked([Pixels(first, layout.mode, metadata), *(Pixels(array, layout.mode) for array in others)])


def _unpack_frame(data: bytes, layout: _Layout) -> np.ndarray:
    from codelength.data import kernels

    dtype, channels = MODES[layout.mode]
    samples, width = max(1, channels), np.dtype(dtype).itemsize
    size = layout.shape[0] * layout.shape[1]
    if len(data) < 64:
        raise Unsuitable("a frame of it is cut short")
    count, *offsets = struct.unpack_from("<16I", data)
    places = [*offsets[: samples * width], len(data)]
    if count != samples * width or any(offsets[count:]) or places[0] != 64 or sorted(set(places)) != places:
        raise Unsuitable("a frame of it has other segments than its samples ask for")
    segments = np.empty((samples, width, size), np.uint8)
    for number, (start, end) in enumerate(zip(places, places[1:])):
        segment = segments[number // width, number % width]
        source = np.frombuffer(data, np.uint8)[start:end]
        good = kernels.unpack_runs(source, segment, size)
        if not good and len(source) and not source[-1]:  # filled up to an even length
            good = kernels.unpack_runs(source[:-1], segment, size)
        if not good:
            raise Unsuitable("a frame of it is damaged, or holds more than its pixels")
    # The highest byte of an element is the first of its segments.
    values = np.ascontiguousarray(segments.transpose(2, 0, 1)).view(f">u{width}")[..., 0].astype(dtype)
    values = values.reshape(layout.shape)
    return values ^ raw.middle(values.dtype) if layout.order.signed else values


def encode(arrays: Sequence[np.ndarray], metadata: bytes) -> bytes:
    """A DICOM file of frames by RLE Lossless. Raises DataError for bad metadata."""
    if len(metadata) < 6 or metadata[1] > 3:
        raise DataError("the metadata of an image is cut short or of an unknown kind")
    flags, length = struct.unpack_from("<BI", metadata, 1)
    head, tail = metadata[6 : 6 + length], metadata[6 + length :]
    if len(head) != length or tail[:4] != _END_BYTES:
        raise DataError("the metadata of an image is cut short")
    if any(array.dtype == bool for array in arrays):
        raise DataError("the metadata of an image does not suit its pixels")
    frames = [_pack_frame(array ^ raw.middle(array.dtype) if flags & 1 else array) for array in arrays]
    offsets = np.cumsum([0, *(8 + len(frame) for frame in frames[:-1])])
    if int(offsets[-1]) + len(frames[-1]) >= 2**32:
        raise DataError("expected frames that take less than 4 GiB in a DICOM file")
    table = offsets.astype("<u4").tobytes() if flags & 2 else b""
    parts = [head, *(_ITEM_BYTES + struct.pack("<I", len(item)) + item for item in (table, *frames)), tail]
    return b"".join(parts)


def _pack_frame(array: np.ndarray) -> bytes:
    """Runs as in the example of the standard, each row by itself: whatever occurs twice or more is a run."""
    from codelength.data import kernels

    height, width = array.shape[:2]
    size = array.dtype.itemsize
    values = np.ascontiguousarray(array.reshape(height, width, -1).transpose(2, 0, 1)).astype(f">u{size}")
    planes = values[..., None].view(np.uint8).transpose(0, 3, 1, 2).reshape(-1, height, width)
    segments, out = [], np.empty(height * (2 * width + 2), np.uint8)
    for plane in planes:
        used = kernels.pack_runs(np.ascontiguousarray(plane), out)
        segments.append(out[:used].tobytes() + bytes(used % 2))
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + b"".join(segments)
