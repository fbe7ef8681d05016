"""The container of WebP, parsed by our own code; pixels are read and written by Pillow."""

from __future__ import annotations

import struct

from codelength.data.pixels import Unsuitable, check_size

_ALPHA = 0x10  # in the last byte of the header of a lossless image


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and samples that the header states. Raises Unsuitable."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 25:
        raise Unsuitable("it does not begin like a WebP")
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return height, width, 4 if data[20] & 0x10 else 3
    if data[12:16] == b"VP8 " and data[23:26] == b"\x9d\x01\x2a" and len(data) >= 30:
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", data, 26))
        if width and height:
            return height, width, 3
    if data[12:16] == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, 4 if data[24] & _ALPHA else 3
    raise Unsuitable("its header is damaged")


def check(data: bytes) -> tuple[str, int, int]:
    """Mode, height and width of a file that is one lossless image and nothing else. Raises Unsuitable."""
    height, width, samples = stated_shape(data)
    if data[12:16] != b"VP8L":
        raise Unsuitable("only lossless WebP without further parts is read as pixels")
    check_size(width, height)
    stated, size = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, 16)[0]
    end = 20 + size + size % 2
    if stated + 8 > len(data) or end > len(data):
        raise Unsuitable("it is cut short")
    if end != len(data) or stated + 8 != len(data) or any(data[20 + size :]):
        raise Unsuitable("something follows its pixels")
    if data[24] >> 5:
        raise Unsuitable("its pixels are stored in an unknown way")
    return "RGBA" if samples == 4 else "RGB", height, width


def pixel_bytes(data: bytes) -> bytes:
    """The compressed pixels of a file that ``check`` accepts, without their container."""
    return data[20 : 20 + struct.unpack_from("<I", data, 16)[0]]


def with_alpha(data: bytes) -> bytes:
    """A lossless WebP whose header says that it has alpha, which writers leave out where all is opaque."""
    if data[12:16] != b"VP8L":
        return data
    return data[:24] + bytes([data[24] | _ALPHA]) + data[25:]
