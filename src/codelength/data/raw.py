"""Files whose pixels lie in them as they are: taken apart, and put together again byte for byte.

*Metadata* ``R``: behind the letter one byte for the order of the pixels, the number of runs (4 bytes, little-endian),
offset and length of each run (8 bytes each), then the file with those runs cut out. An order of 8 or more is a sum of
flags; with tiles, their height and width (4 bytes each) stand behind the runs.

Metadata from an archive is not trusted: ``joined`` checks it and raises DataError.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codelength.data.pixels import MODES, Unsuitable
from codelength.errors import DataError

#: Orders that have numbers of their own.
_ROWS, _ROWS_BIG_ENDIAN, _BOTTOM_UP = 0, 1, 2
_FLAGS, _BIG_ENDIAN, _SIGNED, _PLANES, _TILED, _PACKED = 8, 1, 2, 4, 16, 32
_MOST_RUNS = 2**24


@dataclass(frozen=True)
class Order:
    """How the elements of an image (h, w) or (h, w, channels) follow each other in a file.

    big_endian: of elements of two bytes. bottom_up: rows from the bottom, channels reversed, each row filled up to four
    bytes (BMP). signed: elements are stored as signed numbers, and the least of them is the element 0.
    planes: one channel behind the other. tiles: height and width of the tiles that hold the image (or each plane) in
    rows of tiles; what lies in them beside the image is no part of the pixels.
    packed: elements of 12 bits without gaps, the highest bits first, each row filled up to whole bytes.
    """

    big_endian: bool = False
    bottom_up: bool = False
    signed: bool = False
    planes: bool = False
    tiles: tuple[int, int] = (0, 0)
    packed: bool = False

    def _number(self) -> int:
        if self.bottom_up:
            return _BOTTOM_UP
        flags = _SIGNED * self.signed + _PLANES * self.planes + _TILED * any(self.tiles) + _PACKED * self.packed
        return _FLAGS + flags + self.big_endian if flags else _ROWS_BIG_ENDIAN if self.big_endian else _ROWS

    def to_bytes(self, array: np.ndarray) -> bytes:
        """The elements of an image as they lie in a file. Raises DataError for those that it cannot hold."""
        if self.bottom_up:
            rows = array[::-1, :, ::-1] if array.ndim == 3 else array[::-1]
            rows = rows.reshape(len(rows), -1)
            return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
        if self.packed:
            return _pack(array)
        if self.signed:
            array = array ^ middle(array.dtype)
        return b"".join(part.tobytes() for part in self._parts(array.astype(self._stored(array.dtype), copy=False)))

    def to_array(self, data: bytes, shape: tuple[int, ...], mode: str) -> np.ndarray:
        """The image whose elements lie in a file like this; inverse of ``to_bytes`` (not for BMP)."""
        dtype = np.dtype(MODES[mode][0])
        if self.packed:
            return _unpack(data, shape)
        out = np.empty(shape, dtype)
        values, at = np.frombuffer(data, self._stored(dtype)), 0
        for part in self._parts(out):
            part[...] = values[at : at + part.size].reshape(part.shape)
            at += part.size
        return out ^ middle(dtype) if self.signed else out

    def _stored(self, dtype: np.dtype) -> np.dtype:
        return dtype.newbyteorder(">") if self.big_endian else dtype

    def _parts(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Views of what lies together, in the order of the file."""
        planes = [array[..., channel] for channel in range(array.shape[2])] if self.planes else [array]
        for plane in planes:
            if not any(self.tiles):
                yield plane
                continue
            height, width = self.tiles
            for top in range(0, len(plane), height):
                for left in range(0, plane.shape[1], width):
                    yield plane[top : top + height, left : left + width]

    def tile_runs(self, shape: tuple[int, ...], blocks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Where the pixels of an image lie whose tiles are these (offset, bytes) of 8 or 16 bits: rows of tiles at the
        edges are cut off where the image ends."""
        height, width = self.tiles
        samples = 1 if self.planes or len(shape) == 2 else shape[2]
        across, down = math.ceil(shape[1] / width), math.ceil(shape[0] / height)
        runs = []
        for number, (start, size) in enumerate(blocks):
            number %= across * down
            rows = min(height, shape[0] - number // across * height)
            columns = min(width, shape[1] - number % across * width)
            row = size // height
            inside = row * columns // width
            if row * height != size or row % (width * samples):
                raise Unsuitable("its tiles are of an unusual size")
            if columns == width:
                runs.append((start, rows * row))
            else:
                runs += [(start + k * row, inside) for k in range(rows)]
        return runs


def middle(dtype: np.dtype) -> np.integer:
    """What turns an unsigned element into the signed one that is as far from the least, and back."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return unsigned.type(1 << (8 * dtype.itemsize - 1))


def _pack(array: np.ndarray) -> bytes:
    if array.dtype.itemsize != 2 or array.ndim not in (2, 3) or int(array.max()) >= 4096:
        raise DataError("expected elements below 4,096 for a file of 12 bits, got others; the archive is damaged")
    rows = array.reshape(len(array), -1).astype(np.uint32)
    odd = rows.shape[1] % 2
    pairs = np.pad(rows, ((0, 0), (0, odd))).reshape(len(rows), -1, 2)
    joined = pairs[..., 0] << 12 | pairs[..., 1]
    out = np.stack([joined >> 16, joined >> 8 & 255, joined & 255], axis=-1).astype(np.uint8).reshape(len(rows), -1)
    return out[:, : out.shape[1] - odd].tobytes()


def _unpack(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    across = math.prod(shape[1:])
    rows = np.frombuffer(data, np.uint8).reshape(shape[0], -1)
    triples = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 3))).reshape(shape[0], -1, 3).astype(np.uint32)
    joined = triples[..., 0] << 16 | triples[..., 1] << 8 | triples[..., 2]
    values = np.stack([joined >> 12, joined & 4095], axis=-1).reshape(shape[0], -1)
    return values[:, :across].reshape(shape).astype("<u2")


def metadata(data: bytes, arrays: Sequence[np.ndarray], order: Order, runs: Sequence[tuple[int, int]]) -> bytes:
    """The file without the pixels of its images, which lie in ``runs`` of (offset, length), one image behind the other.

    Raises Unsuitable unless putting the pixels back gives the same file.
    """
    merged: list[list[int]] = []
    for offset, length in runs:
        if merged and sum(merged[-1]) == offset:
            merged[-1][1] += length
        else:
            merged.append([offset, length])
    rest, at = [], 0
    for offset, length in merged:
        if offset < at or offset + length > len(data):
            raise Unsuitable("its pixels do not lie one behind the other")
        rest.append(data[at:offset])
        at = offset + length
    rest.append(data[at:])
    head = struct.pack("<BI", order._number(), len(merged)) + b"".join(struct.pack("<QQ", *run) for run in merged)
    tiles = struct.pack("<II", *order.tiles) if any(order.tiles) else b""
    found = b"".join((b"R", head, tiles, *rest))
    try:
        same = joined(arrays, found) == data
    except DataError:
        same = False
    if not same:
        raise Unsuitable("its pixels are stored in an unusual way")
    return found


def joined(arrays: Sequence[np.ndarray], metadata: bytes) -> bytes:
    """The file that ``metadata`` was taken from, with the pixels of these images. Raises DataError for bad metadata."""
    if len(metadata) < 6:
        raise DataError("the metadata of an image is cut short")
    number, count = struct.unpack_from("<BI", metadata, 1)
    start = 6 + 16 * count
    order, start = _parse(number, metadata, start)
    if count > _MOST_RUNS or len(metadata) < start or any(a.size == 0 for a in arrays):
        raise DataError("the metadata of an image is cut short or of an unknown kind")
    if any(array.dtype == bool for array in arrays) or (order.planes and any(array.ndim != 3 for array in arrays)):
        raise DataError("the metadata of an image does not suit its pixels")
    rest = memoryview(metadata)[start:]
    pixels = _Pieces(order.to_bytes(array) for array in arrays)
    out = io.BytesIO()
    for i in range(count):
        offset, length = struct.unpack_from("<QQ", metadata, 6 + 16 * i)
        gap = offset - out.tell()
        if gap < 0 or gap > len(rest):
            raise DataError("the metadata of an image places pixels outside its file")
        out.write(rest[:gap])
        rest = rest[gap:]
        for piece in pixels.take(length):
            out.write(piece)
    if left := pixels.left():
        raise DataError(f"the metadata of an image has no room for {left} bytes of its pixels")
    out.write(rest)
    return out.getvalue()


def is_new(metadata: bytes) -> bool:
    """Whether metadata of this kind has an order that readers of the first archives do not know."""
    return metadata[1:2] >= bytes([_FLAGS])


def _parse(number: int, metadata: bytes, start: int) -> tuple[Order, int]:
    """The order of a number, and where the rest of the metadata begins."""
    if number <= _BOTTOM_UP:
        return Order(big_endian=number == _ROWS_BIG_ENDIAN, bottom_up=number == _BOTTOM_UP), start
    flags = number - _FLAGS
    tiles = (0, 0)
    if not flags & ~_BIG_ENDIAN or flags & ~(_BIG_ENDIAN + _SIGNED + _PLANES + _TILED + _PACKED):
        raise DataError("the metadata of an image is of an unknown kind")
    if flags & _PACKED and flags != _PACKED:
        raise DataError("the metadata of an image states 12 bits and something beside")
    if flags & _TILED:
        if len(metadata) < start + 8:
            raise DataError("the metadata of an image is cut short")
        height, width = struct.unpack_from("<II", metadata, start)
        if not height or not width:
            raise DataError("the metadata of an image states tiles without pixels")
        tiles, start = (height, width), start + 8
    order = Order(
        big_endian=bool(flags & _BIG_ENDIAN),
        signed=bool(flags & _SIGNED),
        planes=bool(flags & _PLANES),
        tiles=tiles,
        packed=bool(flags & _PACKED),
    )
    return order, start


class _Pieces:
    """Bytes that come in pieces, of which so many are taken at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def take(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._piece:
                following = next(self._pieces, None)
                if following is None:
                    raise DataError("the metadata of an image has room for more bytes than its pixels have")
                self._piece = memoryview(following)
            part, self._piece = self._piece[:count], self._piece[count:]
            count -= len(part)
            yield part

    def left(self) -> int:
        return len(self._piece) + sum(map(len, self._pieces))
