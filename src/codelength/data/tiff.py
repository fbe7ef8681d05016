"""TIFF: the structure of a file, its pixels, and a file of pixels, in our own code.

``parse`` reads headers and tags and decodes nothing. ``read`` gives the pixels of a file of which everything
is understood, one image or several (pages), ``encode`` writes such a file. What one of them gets wrong is for another
library to find (``codelength.data.proof``).

*Metadata* ``T``: what a compressed TIFF holds besides its pixels. Behind the letter one byte (1: big-endian,
2: BigTIFF, or their sum), then tags in ascending order: number, type (2 bytes each), count (4 bytes, all
little-endian), and the values as in the file. Only tags whose values mean the same anywhere in any file are
taken (``CARRIED``). The metadata of the plainest file is empty.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from codelength.data import containers, pages, raw
from codelength.data.pixels import MODES, Pixels, Unsuitable, check_size
from codelength.errors import DataError

Order = Literal["<", ">"]

# Bytes of one value of each type.
TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SHORT, _LONG, _LONG8 = 3, 4, 16
_INTEGERS = {1: "u1", _SHORT: "u2", _LONG: "u4", _LONG8: "u8"}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, ROWS, STRIP_BYTES, PLANES, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA, FORMAT = 322, 323, 324, 325, 338, 339

# How the pixels are stored, which is up to the writer.
STORAGE = frozenset({WIDTH, HEIGHT, BITS, COMPRESSION, FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS, STRIP_BYTES, PLANES})
STORAGE |= {PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES}
_STRIPS, _TILES = {STRIP_OFFSETS, STRIP_BYTES}, {TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES}
# What pixels mean and what else is said of them. None of these points to another place in the file.
CARRIED = frozenset({254, 255, PHOTOMETRIC, 263, *range(269, 273), 274, 280, 281, 282, 283, 285, 286, 287, 290, 291})
CARRIED |= {296, 297, 305, 306, 315, 316, 318, 319, EXTRA, FORMAT, 340, 341, 700, 33432, 33550, 33723, 33922, 34264}
CARRIED |= {34377, 34675, 34735, 34736, 34737, 42112, 42113, 50838, 50839}

# Types that readers expect of carried tags (TIFF 6.0, section 8): whole numbers, rationals, texts; and tags that have
# one value of each sample. A file in which they are otherwise is one that some readers refuse.
_EXPECTED = {number: {1, 3, 4} for number in (254, 255, PHOTOMETRIC, 263, 274, 290, 291, 296, 297)}
_EXPECTED |= {number: {1, 3, 4} for number in (EXTRA, FORMAT)}
_EXPECTED |= {number: {_SHORT} for number in (280, 281)}
_EXPECTED |= {number: {5} for number in (282, 283, 286, 287, 318, 319)}
_EXPECTED |= {number: {1, 2, 7} for number in (*range(269, 273), 285, 305, 306, 315, 316, 33432, 34737, 42112, 42113)}
_EXPECTED |= {number: {1, 3, 4, 6, 8, 9, 11, 12} for number in (340, 341)}
_PER_SAMPLE = {280, 281, 340, 341}
_SAME = {280, 281}  # for all samples

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
_COMPRESSIONS = {NONE: "none", LZW: "LZW", DEFLATE: "deflate", 32946: "deflate", PACKBITS: "packbits"}

# Mode of pixels by photometric interpretation, samples and bits.
_MODES = {(1, 1, 1): "1", (1, 1, 8): "L", (1, 1, 16): "I;16", (1, 2, 8): "LA", (1, 2, 16): "LA;16"}
_MODES |= {(2, 3, 8): "RGB", (2, 3, 16): "RGB;16", (2, 4, 8): "RGBA", (2, 4, 16): "RGBA;16"}
_PHOTOMETRIC = {0: "its values are inverted (white is zero)", 3: "it has a palette", 4: "it is a mask"}
_PHOTOMETRIC |= {5: "its colours are CMYK or the like", 6: "its colours are YCbCr"}

MAX_DIRECTORIES = 2**16
_ALIGNMENT = 4096  # bytes, at most, of the zeros between two parts
_TILE_PIXELS = 2**24  # of all tiles of an image, at most, unless the image itself has a quarter of them
_STRIP = 2**18  # bytes, about, of the strips that are written


@dataclass(frozen=True)
class Tag:
    """A tag of a directory. raw: its values as they lie in the file, without copying what many tags may share."""

    type: int
    count: int
    raw: bytes | memoryview


@dataclass(frozen=True)
class Structure:
    """The directories of a TIFF.

    order: ``<`` or ``>``. big: BigTIFF. directories: the tags of each, in the order of the file.
    spans: where header, directories and values lie, as (offset, end), in no order.
    """

    order: Order
    big: bool
    directories: tuple[dict[int, Tag], ...]
    spans: tuple[tuple[int, int], ...]

    def values(self, tags: dict[int, Tag], number: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The values of a tag of integers. Raises Unsuitable where there is none, or one of another type."""
        tag = tags.get(number)
        if tag is None:
            if default is None:
                raise Unsuitable(f"its tag {number} is missing")
            return default
        if tag.type not in _INTEGERS:
            raise Unsuitable(f"its tag {number} has the type {tag.type}")
        return tuple(np.frombuffer(tag.raw, self.order + _INTEGERS[tag.type]).tolist())

    def value(self, tags: dict[int, Tag], number: int, default: int | None = None) -> int:
        """The same for a tag of one value."""
        values = self.values(tags, number, None if default is None else (default,))
        if len(values) != 1:
            raise Unsuitable(f"its tag {number} has {len(values)} values")
        return values[0]


def parse(data: bytes) -> Structure:
    """The structure of a TIFF. Raises Unsuitable if it is none, or damaged."""
    order: Order = ">" if data[:2] == b"MM" else "<"
    known = data[:2] in (b"II", b"MM") and len(data) >= 8
    version = struct.unpack_from(order + "H", data, 2)[0] if known else 0
    if version == 42:
        big, at, start = False, struct.unpack_from(order + "I", data, 4)[0], 8
    elif version == 43 and len(data) >= 16 and struct.unpack_from(order + "HH", data, 4) == (8, 0):
        big, at, start = True, struct.unpack_from(order + "Q", data, 8)[0], 16
    else:
        raise Unsuitable("it does not begin like a TIFF")
    spans = [(0, start)]
    directories: list[dict[int, Tag]] = []
    seen: set[int] = set()
    length = 0
    while at:
        if at in seen or len(directories) == MAX_DIRECTORIES:
            raise Unsuitable("its directories go in a circle or are too many")
        seen.add(at)
        tags, found, following = _directory(data, at, order, big)
        directories.append(tags)
        spans += found
        length += found[0][1] - at
        if length > len(data):
            raise Unsuitable("its directories overlap")
        at = following
    if not directories:
        raise Unsuitable("it holds no image")
    return Structure(order, big, tuple(directories), tuple(spans))


def _directory(data: bytes, at: int, order: Order, big: bool) -> tuple[dict[int, Tag], list[tuple[int, int]], int]:
    """Tags, the places that they take, and the offset of the next directory."""
    head, entry, last, room = ("Q", "HHQ8s", "Q", 8) if big else ("H", "HHI4s", "I", 4)
    head, entry, last = order + head, order + entry, order + last
    if at + struct.calcsize(head) > len(data):
        raise Unsuitable("its directory lies outside the file")
    (count,) = struct.unpack_from(head, data, at)
    end = at + struct.calcsize(head) + count * struct.calcsize(entry) + room
    if count > 65536 or end > len(data):
        raise Unsuitable("its directory lies outside the file")
    tags, spans = {}, [(at, end)]
    for i in range(count):
        position = at + struct.calcsize(head) + i * struct.calcsize(entry)
        number, type_, values, inline = struct.unpack_from(entry, data, position)
        size = values * TYPES.get(type_, 0)
        if size <= room:
            raw: bytes | memoryview = inline[:size]
        else:
            (offset,) = struct.unpack(last, inline)
            if offset + size > len(data):
                raise Unsuitable(f"the values of its tag {number} lie outside the file")
            raw = memoryview(data)[offset : offset + size]
            spans.append((offset, offset + size))
        if number in tags:
            raise Unsuitable(f"its tag {number} occurs twice")
        tags[number] = Tag(type_, values, raw)
    return tags, spans, struct.unpack_from(last, data, end - room)[0]


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, samples; with the number of images first where all have that shape.

    Raises Unsuitable.
    """
    structure = parse(data)
    shapes = []
    for tags in structure.directories:
        sizes = [structure.value(tags, number) for number in (HEIGHT, WIDTH)]
        samples = structure.value(tags, SAMPLES, 1)
        shapes.append((*sizes, samples) if samples > 1 else tuple(sizes))
    if len(shapes) > 1 and len(set(shapes)) == 1:
        return (len(shapes), *shapes[0])
    return shapes[0]


# ---- reading -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How an image of a file is stored."""

    mode: str
    height: int
    width: int
    samples: int
    bits: int
    compression: int
    predictor: int
    signed: bool
    planes: bool
    tiled: bool
    block_height: int
    block_width: int
    blocks: tuple[tuple[int, int], ...]  # offset and bytes of each strip or tile

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width) + ((self.samples,) if self.samples > 1 else ())

    @property
    def is_stored(self) -> bool:
        """Whether the elements lie in the file as they are."""
        return self.compression == NONE and self.bits > 1

    def row_bytes(self, width: int) -> int:
        return (width * (1 if self.planes else self.samples) * self.bits + 7) // 8


def _layout(structure: Structure, tags: dict[int, Tag]) -> _Layout:
    value, values = structure.value, structure.values
    width, height, samples = value(tags, WIDTH), value(tags, HEIGHT), value(tags, SAMPLES, 1)
    check_size(width, height)
    every_bits, formats = values(tags, BITS, (1,)), values(tags, FORMAT, (1,))
    if len(set(every_bits)) != 1 or len(set(formats)) != 1:
        raise Unsuitable("its samples have several depths or types")
    bits, form, photometric = every_bits[0], formats[0], value(tags, PHOTOMETRIC)
    compression = value(tags, COMPRESSION, NONE)
    signed = form == 2 and compression == NONE and bits in (8, 16)
    if form != 1 and not signed:
        raise Unsuitable(f"its samples are { ({2: 'signed', 3: 'floating-point'}.get(form, 'of an unknown type')) }")
    if photometric in _PHOTOMETRIC:
        raise Unsuitable(_PHOTOMETRIC[photometric])
    mode = _MODES.get((photometric, samples, 16 if bits == 12 and compression == NONE else bits))
    if mode is None:
        count = f"{samples} samples" if samples > 1 else "one sample"
        raise Unsuitable(f"it has {count} of {bits} bits (photometric interpretation {photometric})")
    if len(every_bits) != samples or len(formats) not in (1, samples):
        raise Unsuitable(f"it states {len(every_bits)} depths for {samples} samples")
    extra = values(tags, EXTRA, ())
    if len(extra) not in (0, samples - (1 if photometric == 1 else 3)) or set(extra) - {0, 1, 2}:
        raise Unsuitable(f"its further samples are stated as {extra}")
    planar = value(tags, PLANES, 1)
    if planar not in (1, 2) or (planar == 2 and (compression != NONE or bits not in (8, 16))):
        raise Unsuitable("its samples lie in separate planes")
    if value(tags, FILL_ORDER, 1) != 1:
        raise Unsuitable("its bits lie in reverse order")
    planes = planar == 2 and samples > 1
    predictor = value(tags, PREDICTOR, 1)
    if compression not in _COMPRESSIONS:
        raise Unsuitable(f"its compression {compression} is not known to be lossless")
    # Without compression the tag means nothing; readers differ in whether they obey it.
    if predictor not in (1, 2) or (predictor == 2 and (bits == 1 or compression in (NONE, PACKBITS))):
        raise Unsuitable(f"its predictor is {predictor}")
    # In tiles this says nothing, but it is dropped, and must be what readers take it for.
    rows = value(tags, ROWS, height)
    if rows >= 2**32:
        raise Unsuitable(f"its strips are stated to have {rows} rows")
    tiled = TILE_WIDTH in tags
    if set(tags) & (_STRIPS | _TILES) != (_TILES if tiled else _STRIPS):
        raise Unsuitable("it has tiles and strips, or parts of either")
    if tiled:
        size, places = (value(tags, TILE_HEIGHT), value(tags, TILE_WIDTH)), (TILE_OFFSETS, TILE_BYTES)
        if not all(0 < side <= 2**16 for side in size):
            raise Unsuitable(f"its tiles have the size {size}")
    else:
        size, places = (min(rows, height), width), (STRIP_OFFSETS, STRIP_BYTES)
    offsets, counts = (values(tags, number) for number in places)
    expected = math.ceil(height / max(size[0], 1)) * math.ceil(width / size[1]) * (samples if planes else 1)
    if not size[0] or not len(offsets) == len(counts) == expected:
        raise Unsuitable(f"it has {len(offsets)} strips or tiles and not {expected}")
    if expected * math.prod(size) > max(_TILE_PIXELS, 4 * width * height):
        raise Unsuitable(f"its tiles have the size {size}, far beyond its pixels")
    blocks = tuple(zip(offsets, counts))
    return _Layout(mode, height, width, samples, bits, compression, predictor, signed, planes, tiled, *size, blocks)


def read(data: bytes) -> list[Pixels]:
    """The images of a TIFF, and what else it holds.

    Raises Unsuitable unless the file holds images of modes of ``MODES``, nothing is damaged or left over,
    and everything besides the pixels can be put back.
    """
    structure = parse(data)
    layouts = [_layout(structure, tags) for tags in structure.directories]
    if all(layout.is_stored for layout in layouts):
        return _stored(data, structure, layouts)
    for layout in layouts:
        if layout.signed or layout.planes or layout.bits == 12:
            raise Unsuitable("some of its images are compressed, and others have samples that are not written anew")
    _check_spans(data, structure, [(start, start + size) for layout in layouts for start, size in layout.blocks])
    found = []
    for tags, layout in zip(structure.directories, layouts):
        plain = _metadata(structure, tags, layout.mode)
        found.append(Pixels(_decode(data, structure.order, layout), layout.mode, plain))
    return pages.marked(found)


def _stored(data: bytes, structure: Structure, layouts: list[_Layout]) -> list[Pixels]:
    """Images that lie in the file as they are."""
    big_endian = structure.order == ">"
    orders, arrays = set(), []
    runs: list[tuple[int, int]] = []
    for layout in layouts:
        packed = layout.bits == 12
        order = raw.Order(
            big_endian=big_endian and layout.bits == 16,
            signed=layout.signed,
            planes=layout.planes,
            tiles=(layout.block_height, layout.block_width) if layout.tiled else (0, 0),
            packed=packed,
        )
        if packed and layout.tiled:
            raise Unsuitable("it is stored in tiles of 12-bit samples")
        places = order.tile_runs(layout.shape, layout.blocks) if layout.tiled else list(layout.blocks)
        rows = layout.height * (layout.samples if layout.planes else 1)
        expected = layout.row_bytes(layout.width) * rows
        at = runs[-1][0] + runs[-1][1] if runs else 0
        for start, size in places:
            if start < at:
                raise Unsuitable("its pixels do not lie one behind the other")
            at = start + size
        if at > len(data) or sum(size for _, size in places) != expected:
            raise Unsuitable("it is cut short, or its pixels are stored in an unusual way")
        pieces = b"".join(data[start : start + size] for start, size in places)
        arrays.append(order.to_array(pieces, layout.shape, layout.mode))
        orders.add(order)
        runs += places
    if len(orders) > 1:
        raise Unsuitable("its images are stored in several ways")
    whole = raw.metadata(data, arrays, orders.pop(), runs)
    found = [Pixels(array, layout.mode) for array, layout in zip(arrays, layouts)]
    return pages.marked([dataclasses.replace(found[0], metadata=whole), *found[1:]])


def _check_spans(data: bytes, structure: Structure, blocks: list[tuple[int, int]]) -> None:
    """Raise Unsuitable unless these places cover the file, but for zeros that align what follows them, and what writers
    of several images leave behind: a header before each, and copies of values that the tags have elsewhere.

    Several images may share a place, but no part of it.
    """
    at = 0
    stated = b"".join(data[start:end] for start, end in sorted(structure.spans))
    for start, end in sorted({*structure.spans, *blocks}):
        if start == end:
            raise Unsuitable("a part of it is missing")
        if start < at:
            raise Unsuitable("its parts overlap")
        between = data[at:start]
        if len(structure.directories) > 1:
            if between[-8:-4] == data[:4] and not structure.big:
                between = between[:-8]
            between = b"" if between.rstrip(b"\0") in stated else between
        if start - at > _ALIGNMENT or any(between):
            raise Unsuitable("something lies between its parts")
        at = end
    if at > len(data):
        raise Unsuitable("it is cut short")
    filling = len(structure.directories) > 1 and len(data) - at < 16  # Pillow's, behind each image
    if at < len(data) and not (filling and not any(data[at:])):
        raise Unsuitable("something follows its end")


def _decode(data: bytes, order: Order, layout: _Layout) -> np.ndarray:
    dtype, channels = MODES[layout.mode]
    out = np.empty((layout.height, layout.width, layout.samples), dtype)
    across = math.ceil(layout.width / layout.block_width)
    for number, (start, size) in enumerate(layout.blocks):
        top, left = number // across * layout.block_height, number % across * layout.block_width
        height = layout.block_height if layout.tiled else min(layout.block_height, layout.height - top)
        row = layout.row_bytes(layout.block_width)
        raw = _inflate(data[start : start + size], height, row, layout.compression)
        if layout.bits == 1:
            bits = np.unpackbits(np.frombuffer(raw, np.uint8).reshape(height, row), axis=1)
            if bits[:, layout.block_width :].any():
                raise Unsuitable("its rows hold more than their pixels")
            block = bits[:, : layout.block_width, None].astype(bool)
        else:
            block = np.frombuffer(raw, np.dtype(dtype).newbyteorder(order)).astype(dtype)
            block = block.reshape(height, layout.block_width, layout.samples)
            if layout.predictor == 2:
                block = np.cumsum(block, axis=1, dtype=dtype)
        inside = out[top : top + height, left : left + layout.block_width]
        inside[:] = block[: inside.shape[0], : inside.shape[1]]
    return out if channels else out[:, :, 0]


def _inflate(data: bytes, height: int, row: int, compression: int) -> bytes:
    """Exactly ``height`` rows of ``row`` bytes.

    Raises Unsuitable if there are more or fewer, or something follows them.
    """
    size = height * row
    damaged = Unsuitable(f"its {_COMPRESSIONS[compression]} data are damaged or hold more than the pixels")
    if compression == NONE:
        if len(data) != size:
            raise damaged
        return data
    if _COMPRESSIONS[compression] == "deflate":
        return containers.inflate(data, size)
    from codelength.data import kernels

    source, out = np.frombuffer(data, np.uint8), np.empty(size, np.uint8)
    if compression == LZW:
        good = kernels.unpack_lzw(source, out, np.empty(4096, np.int64), np.empty(4096, np.int64))
    else:
        good = kernels.unpack_runs(source, out, row)
    if not good:
        raise damaged
    return out.tobytes()


# ---- metadata and writing ----------------------------------------------------------------------------------


def _metadata(structure: Structure, tags: dict[int, Tag], mode: str) -> bytes:
    others = sorted(set(tags) - STORAGE - CARRIED)
    if others:
        raise Unsuitable(f"it is compressed and holds tags that cannot be moved ({', '.join(map(str, others))})")
    parts = []
    for number in sorted(set(tags) & CARRIED):
        tag = tags[number]
        if tag.type not in TYPES or (not structure.big and tag.type >= _LONG8) or tag.type == 13 or not tag.count:
            raise Unsuitable(f"its tag {number} has the type {tag.type}")
        if tag.type not in _EXPECTED.get(number, TYPES):
            raise Unsuitable(f"its tag {number} has the type {tag.type}, with which readers may refuse it")
        if number in _PER_SAMPLE and tag.count != max(1, MODES[mode][1]):
            raise Unsuitable(f"its tag {number} has {tag.count} values, not one of each sample")
        if number in _SAME and len(set(structure.values(tags, number))) != 1:
            raise Unsuitable(f"its tag {number} has several values, with which readers may refuse it")
        parts.append(struct.pack("<HHI", number, tag.type, tag.count) + bytes(tag.raw))
    flags = (structure.order == ">") + 2 * structure.big
    metadata = b"T" + bytes([flags]) + b"".join(parts)
    return b"" if metadata == _plain(mode) else metadata


def _plain(mode: str, order: Order = "<", big: bool = False) -> bytes:
    """The metadata of the plainest image: colours or black as zero, and a fourth or second sample is alpha."""
    channels = MODES[mode][1]
    tags = {PHOTOMETRIC: 2 if channels > 2 else 1} | ({EXTRA: 2} if channels in (2, 4) else {})
    parts = [struct.pack("<HHI", number, _SHORT, 1) + struct.pack(order + "H", value) for number, value in tags.items()]
    return b"T" + bytes([(order == ">") + 2 * big]) + b"".join(parts)


def _carried(metadata: bytes) -> Iterator[tuple[int, Tag]]:
    """The tags of metadata, which nobody vouches for."""
    at, last = 2, 0
    while at < len(metadata):
        if len(metadata) - at < 8:
            raise DataError("the metadata of an image ends inside a tag")
        number, type_, count = struct.unpack_from("<HHI", metadata, at)
        size = count * TYPES.get(type_, 0)
        raw = metadata[at + 8 : at + 8 + size]
        if number not in CARRIED or number <= last or not size or type_ == 13:
            raise DataError(f"the metadata of an image holds a tag {number} of type {type_}, which cannot be written")
        if len(raw) != size:
            raise DataError("the metadata of an image ends inside a tag")
        yield number, Tag(type_, count, raw)
        at, last = at + 8 + size, number


def encode(images: Sequence[Pixels]) -> bytes:
    """A TIFF of images, compressed by deflate; of several, the first says byte order and kind for all.

    Raises DataError for bad metadata.
    """
    first = images[0].metadata or _plain(images[0].mode)
    if first[:1] != b"T" or len(first) < 2 or first[1] > 3:
        raise DataError("the metadata of an image is of an unknown kind, or not for its format")
    order: Order = ">" if first[1] & 1 else "<"
    big = bool(first[1] & 2)
    head = struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    parts: list[bytes] = []
    position = 16 if big else 8
    # Where the offset of the next directory stands, and where that directory lies.
    links = [(8 if big else 4, 0)]
    for number, image in enumerate(images):
        body, tags = _image(image, position, order, big)
        position += len(body)
        directory = _directory_bytes(tags, position, order, big)
        if number + 1 < len(images):
            directory += bytes(len(directory) % 2)
        links[-1] = (links[-1][0], position)
        links.append((position + _next_at(len(tags), big), 0))
        parts += [body, directory]
        position += len(directory)
        if not big and position >= 2**32 - 2**16:
            raise DataError("expected an image whose TIFF takes less than 4 GiB")
    out = bytearray(b"".join((b"MM" if order == ">" else b"II", head, *parts)))
    for place, target in links:
        struct.pack_into(order + ("Q" if big else "I"), out, place, target)
    return bytes(out)


def _image(pixels: Pixels, position: int, order: Order, big: bool) -> tuple[bytes, dict[int, Tag]]:
    """The strips of an image that are to lie at ``position``, and its tags."""
    metadata = pixels.metadata or _plain(pixels.mode, order, big)
    if metadata[:1] != b"T" or metadata[1:2] != bytes([(order == ">") + 2 * big]):
        raise DataError("the metadata of an image is of an unknown kind, or not for its file")
    height, width = pixels.array.shape[:2]
    array = pixels.array.reshape(height, width, -1)
    samples, bits = array.shape[2], {"|b1": 1, "|u1": 8, "<u2": 16}[MODES[pixels.mode][0]]
    rows = max(1, _STRIP // max(1, width * samples * bits // 8))
    strips = [_strip(array[top : top + rows], order, bits) for top in range(0, height, rows)]

    tags = dict(_carried(metadata))

    def put(number: int, type_: int, *values: int) -> None:
        tags[number] = Tag(type_, len(values), np.array(values, order + _INTEGERS[type_]).tobytes())

    offsets = []
    for strip in strips:
        offsets.append(position)
        position += len(strip) + len(strip) % 2
    far = _LONG8 if big else _LONG
    if not big and position + sum(len(tag.raw) for tag in tags.values()) + 16 * len(strips) + 2**16 >= 2**32:
        raise DataError("expected an image whose TIFF takes less than 4 GiB")
    put(WIDTH, _LONG, width)
    put(HEIGHT, _LONG, height)
    put(BITS, _SHORT, *[bits] * samples)
    put(COMPRESSION, _SHORT, DEFLATE)
    put(STRIP_OFFSETS, far, *offsets)
    put(SAMPLES, _SHORT, samples)
    put(ROWS, _LONG, rows)
    put(STRIP_BYTES, far, *[len(strip) for strip in strips])
    put(PLANES, _SHORT, 1)
    if bits > 1:
        put(PREDICTOR, _SHORT, 2)
    return b"".join(strip + bytes(len(strip) % 2) for strip in strips), tags


def _strip(rows: np.ndarray, order: Order, bits: int) -> bytes:
    if bits == 1:
        return zlib.compress(np.packbits(rows[:, :, 0], axis=1).tobytes())
    steps = rows.copy()
    steps[:, 1:] -= rows[:, :-1]
    return zlib.compress(steps.astype(rows.dtype.newbyteorder(order)).tobytes())


def _next_at(tags: int, big: bool) -> int:
    """Where, in a directory of so many tags, the offset of the next one stands."""
    return 8 + 20 * tags if big else 2 + 12 * tags


def _directory_bytes(tags: dict[int, Tag], position: int, order: str, big: bool) -> bytes:
    count, entry, offset, room = ("Q", "HHQ", "Q", 8) if big else ("H", "HHI", "I", 4)
    values_at = position + struct.calcsize(order + count) + len(tags) * (struct.calcsize(order + entry) + room) + room
    entries, values = b"", b""
    for number, tag in sorted(tags.items()):
        entries += struct.pack(order + entry, number, tag.type, tag.count)
        if len(tag.raw) <= room:
            entries += bytes(tag.raw).ljust(room, b"\0")
        else:
            values += bytes(len(values) % 2)
            entries += struct.pack(order + offset, values_at + len(values))
            values += tag.raw
    return struct.pack(order + count, len(tags)) + entries + bytes(room) + values
