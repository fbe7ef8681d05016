"""Files of arrays in folders, as images: NumPy's ``.npy``, ``.npz`` without compression, and IDX.

Their elements lie in them as they are, so the file comes back byte for byte (``raw``). What is one image and what are
several is told by the shape: (h, w); (h, w, 3) and (h, w, 4); any other (n, h, w); (n, h, w, c) and (n, c, h, w) with
one to four channels.

An array by itself is data in its own right (``codelength.data.array_files``), and kept as one.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from dataclasses import dataclass

import numpy as np

from codelength.archive.layout import IDX_TYPES
from codelength.data import pages, raw
from codelength.data.pixels import Pixels, Unsuitable, check_size

_MODES = {(0, 1): "L", (2, 1): "LA", (3, 1): "RGB", (4, 1): "RGBA"}
_MODES |= {(0, 2): "I;16", (2, 2): "LA;16", (3, 2): "RGB;16", (4, 2): "RGBA;16"}
_MOST_IMAGES = 2**20
_IDX_TYPES = {code: dtype for dtype, code in IDX_TYPES.items()}
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class _Array:
    """An array in a file. start: offset of its elements."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class _Images:
    """How an array is images. shape: of one, (h, w) or (h, w, channels)."""

    count: int
    shape: tuple[int, ...]
    mode: str
    order: raw.Order


def _images(array: _Array) -> _Images:
    kind, width, shape = array.dtype.kind, array.dtype.itemsize, array.shape
    if kind not in "bui" or width > 2:
        raise Unsuitable(f"its elements are of the type {array.dtype.name}")
    if len(shape) == 4:
        count, *item = shape
        channels, planes = (item[2], False) if item[2] in (1, 2, 3, 4) else (item[0], item[0] in (1, 2, 3, 4))
    elif len(shape) == 3 and shape[2] in (3, 4):
        count, item, channels, planes = 1, list(shape), shape[2], False
    elif len(shape) in (2, 3):
        count, item, channels, planes = (1 if len(shape) == 2 else shape[0]), list(shape[-2:]), 1, False
    else:
        raise Unsuitable(f"its array has the shape {shape}, which is no image and no pile of them")
    height, across = (item[1], item[2]) if planes else (item[0], item[1])
    mode = _MODES.get((channels if channels > 1 else 0, width))
    if mode is None or not 1 <= count <= _MOST_IMAGES:
        raise Unsuitable(f"its array has the shape {shape}, which is no image and no pile of them")
    check_size(across, height)
    order = raw.Order(
        big_endian=width == 2 and array.dtype.str.startswith(">"),
        signed=kind == "i",
        planes=planes and channels > 1,
    )
    return _Images(count, (height, across, channels) if channels > 1 else (height, across), mode, order)


def read_npy(data: bytes) -> list[Pixels]:
    """The images of an ``.npy`` file. Raises Unsuitable."""
    return _read(data, [_npy(data, 0, len(data))])


def read_idx(data: bytes) -> list[Pixels]:
    """The images of an IDX file that is not compressed. Raises Unsuitable."""
    return _read(data, [_idx(data)])


def read_npz(data: bytes) -> list[Pixels]:
    """The images of those arrays of an ``.npz`` file that are like its largest. Raises Unsuitable."""
    return _read(data, _npz(data))


def _read(data: bytes, arrays: list[_Array]) -> list[Pixels]:
    found: list[tuple[_Array, _Images]] = []
    reason = "it holds no arrays"
    for array in arrays:
        try:
            found.append((array, _images(array)))
        except Unsuitable as error:
            reason = str(error)
    if not found:
        raise Unsuitable(reason)
    order = max(found, key=lambda pair: pair[0].nbytes)[1].order
    alike = sorted((pair for pair in found if pair[1].order == order), key=lambda pair: pair[0].start)
    images: list[Pixels] = []
    for array, form in alike:
        if array.start + array.nbytes > len(data):
            raise Unsuitable("it is cut short")
        size = array.nbytes // form.count
        for start in range(array.start, array.start + array.nbytes, size):
            images.append(Pixels(order.to_array(data[start : start + size], form.shape, form.mode), form.mode))
    runs = [(array.start, array.nbytes) for array, _ in alike]
    whole = raw.metadata(data, [image.array for image in images], order, runs)
    return pages.marked([Pixels(images[0].array, images[0].mode, whole), *images[1:]])


def stated_shape(data: bytes) -> tuple[int, ...]:
    """The shape of the array in an ``.npy`` or IDX file. Raises Unsuitable."""
    return (_npy(data, 0, len(data)) if data[:1] == b"\x93" else _idx(data)).shape


def is_idx(name: str, data: bytes) -> bool:
    """Whether a file is called and begins like one of IDX."""
    return "idx" in name.rpartition("/")[2].lower() and data[:2] == b"\0\0" and data[2:3] in map(_byte, _IDX_TYPES)


def _byte(value: int) -> bytes:
    return bytes([value])


def _npy(data: bytes, start: int, stop: int) -> _Array:
    stream = io.BytesIO(data[start : min(stop, start + 2**17)])
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise Unsuitable(f"it is a .npy of the version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, OSError, TypeError) as error:
        raise Unsuitable(f"it cannot be read as .npy ({str(error).splitlines()[0][:80]})") from None
    if dtype.hasobject or dtype.names is not None or not math.prod(shape):
        raise Unsuitable("it holds no numbers")
    if fortran and len(shape) > 1:
        raise Unsuitable("its array is stored by columns")
    return _Array(dtype, shape, start + stream.tell())


def _idx(data: bytes) -> _Array:
    rank = data[3] if len(data) > 4 else 0
    if data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not rank or len(data) < 4 + 4 * rank:
        raise Unsuitable("it does not begin like an IDX file")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    if not math.prod(shape):
        raise Unsuitable("it holds no numbers")
    return _Array(np.dtype(_IDX_TYPES[data[2]]), shape, 4 + 4 * rank)


def _npz(data: bytes) -> list[_Array]:
    found = []
    try:
        members = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except Exception as error:  # a damaged file may raise anything
        raise Unsuitable(f"it cannot be read as .npz ({str(error)[:80]})") from None
    for member in members:
        at = member.header_offset
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.flag_bits & 1
            or not 0 <= at <= len(data) - _LOCAL_HEADER
        ):
            raise Unsuitable("it is compressed")
        name, extra = struct.unpack_from("<HH", data, at + 26)
        start = at + _LOCAL_HEADER + name + extra
        try:
            array = _npy(data, start, start + member.file_size)
        except Unsuitable:
            continue  # labels, texts and the like stay where they are
        if array.start - start + array.nbytes == member.file_size:
            found.append(array)
    return found
