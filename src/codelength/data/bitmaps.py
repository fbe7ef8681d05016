"""BMP, PGM and PPM: formats whose pixels lie in the file as they are, so that the file comes back byte for byte."""

from __future__ import annotations

import struct

import numpy as np

from codelength.data import raw
from codelength.data.pixels import MODES, Pixels, Unsuitable, check_size

_BLANK = b" \t\n\v\f\r"
_LONGEST_HEADER = 2**16


def stated_bmp(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, samples that the header states. Raises Unsuitable."""
    width, height, bits, _ = _bmp_header(data)
    if not width or not height:
        raise Unsuitable("its header is damaged")
    return (abs(height), width) if bits <= 8 else (abs(height), width, 4 if bits == 32 else 3)


def _bmp_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height (negative: rows from the top), bits of a pixel, compression."""
    if data[:2] != b"BM" or len(data) < 26:
        raise Unsuitable("it does not begin like a BMP")
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
        return width, height, bits, 0
    if size < 40 or len(data) < 14 + size:
        raise Unsuitable("its header is of an unknown kind")
    width, height, planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if width < 0 or planes != 1:
        raise Unsuitable("its header is damaged")
    return width, height, bits, compression


def read_bmp(data: bytes) -> Pixels:
    """The pixels of a BMP of 8-bit grey or 24-bit colours. Raises Unsuitable for every other."""
    width, height, bits, compression = _bmp_header(data)
    start, header = struct.unpack_from("<II", data, 10)
    if height < 0:
        raise Unsuitable("its rows are stored from the top")
    check_size(width, height)
    if compression or bits not in (8, 24):
        raise Unsuitable(f"it has {bits} bits a pixel, or is compressed" if bits != 1 else "it is a BMP of one bit")
    if bits == 8:
        palette = np.frombuffer(data[14 + header : 14 + header + 1024], np.uint8)
        if palette.size != 1024 or (palette.reshape(256, 4)[:, :3] != np.arange(256)[:, None]).any():
            raise Unsuitable("it has a palette")
    row = width * bits // 8
    stride = (row + 3) // 4 * 4
    if start < 14 + header or start + stride * height > len(data):
        raise Unsuitable("it is cut short")
    rows = np.frombuffer(data, np.uint8, stride * height, start).reshape(height, stride)[::-1, :row]
    array = rows.reshape(height, width, 3)[:, :, ::-1] if bits == 24 else rows
    array = np.ascontiguousarray(array)
    runs = [(start, stride * height)]
    metadata = raw.metadata(data, [array], raw.Order(bottom_up=True), runs)
    return Pixels(array, "RGB" if bits == 24 else "L", metadata)


def stated_pnm(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, samples that the header states. Raises Unsuitable."""
    kind, width, height, _, _ = _pnm_header(data, b"123456")
    return (height, width, 3) if kind in b"36" else (height, width)


def _pnm_header(data: bytes, kinds: bytes) -> tuple[bytes, int, int, int, int]:
    """Kind, width, height, largest value, and where the pixels begin."""
    if data[:1] != b"P" or data[1:2] not in [bytes([kind]) for kind in kinds]:
        raise Unsuitable("it is not a binary PGM or PPM")
    numbers: list[int] = []
    at, separated = 2, False
    wanted = 2 if data[1:2] in b"14" else 3
    while len(numbers) < wanted:
        if at >= min(len(data), _LONGEST_HEADER):
            raise Unsuitable("its header is cut short")
        if data[at] in _BLANK:
            at, separated = at + 1, True
        elif data[at : at + 1] == b"#":
            end = data.find(b"\n", at)
            at, separated = (len(data) if end < 0 else end + 1), True
        else:
            end = at
            while end < len(data) and end - at < 10 and 48 <= data[end] <= 57:
                end += 1
            if end == at or not separated:
                raise Unsuitable("its header is damaged")
            numbers.append(int(data[at:end]))
            at, separated = end, False
    if data[at : at + 1] not in [bytes([blank]) for blank in _BLANK]:
        raise Unsuitable("its header is cut short")
    width, height, largest = (*numbers, 1)[:3]
    if not width or not height:
        raise Unsuitable("it has no pixels")
    return data[1:2], width, height, largest, at + 1


def read_pnm(data: bytes) -> Pixels:
    """The pixels of a binary PGM or PPM with values up to 255 or 65,535. Raises Unsuitable for every other."""
    kind, width, height, largest, start = _pnm_header(data, b"56")
    if largest not in (255, 65535):
        raise Unsuitable("its values are not stated to go up to 255 or 65535")
    check_size(width, height)
    mode = {(b"5", 255): "L", (b"6", 255): "RGB", (b"5", 65535): "I;16", (b"6", 65535): "RGB;16"}[kind, largest]
    dtype, channels = MODES[mode]
    wide = np.dtype(dtype).newbyteorder(">")
    count = width * height * max(channels, 1)
    if start + count * wide.itemsize > len(data):
        raise Unsuitable("it is cut short")
    shape = (height, width, channels) if channels else (height, width)
    array = np.frombuffer(data, wide, count, start).astype(dtype).reshape(shape)
    order = raw.Order(big_endian=largest > 255)
    return Pixels(array, mode, raw.metadata(data, [array], order, [(start, array.nbytes)]))


def encode_pnm(pixels: Pixels) -> bytes:
    """A PGM or PPM of pixels of the modes ``L``, ``RGB``, ``I;16`` and ``RGB;16``."""
    array = pixels.array
    wide = array.dtype.newbyteorder(">")
    header = f"P{6 if array.ndim == 3 else 5}\n{array.shape[1]} {array.shape[0]}\n{pixels.symbols - 1}\n"
    return header.encode() + array.astype(wide).tobytes()
