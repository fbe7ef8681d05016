"""PNG read by our own code: chunks, zlib and filters. Written are PNGs by Pillow (``codelength.data.images``)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from codelength.data import containers
from codelength.data.pixels import MODES, Pixels, Unsuitable, check_size

# Mode by colour type and bits of a sample.
_MODES = {(0, 1): "1", (0, 8): "L", (4, 8): "LA", (2, 8): "RGB", (6, 8): "RGBA", (0, 16): "I;16"}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# First column and row, and steps between columns and rows, of the seven images that make an interlaced one.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def stated_shape(data: bytes) -> tuple[int, ...]:
    """Height, width and, if several, samples that the header states. Raises Unsuitable."""
    if not data.startswith(containers.SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 29:
        raise Unsuitable("it does not begin like a PNG")
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    if colour not in _SAMPLES or not width or not height:
        raise Unsuitable("its header is damaged")
    samples = _SAMPLES[colour]
    return (height, width, samples) if samples > 1 else (height, width)


def read(data: bytes) -> Pixels:
    """The pixels of a PNG and its ancillary chunks.

    Raises Unsuitable unless its pixels are of a mode that Pillow writes, nothing is damaged or left over, and
    all of its chunks can be put back.
    """
    chunks = containers.png_chunks(data)
    width, height, bits, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour == 3:
        raise Unsuitable("it has a palette")
    mode = _MODES.get((colour, bits))
    if mode is None:
        if bits == 16:
            raise Unsuitable("it has 16-bit colours or 16-bit transparency")
        raise Unsuitable(f"it has {bits}-bit grey values" if colour == 0 else "its header is damaged")
    check_size(width, height)
    if compression or filters or interlaced > 1:
        raise Unsuitable("it is stored in an unknown way")
    metadata = containers.png_metadata(chunks)
    samples = _SAMPLES[colour]
    dtype, channels = MODES[mode]
    array = np.empty((height, width, samples), dtype)
    parts = list(_parts(array, samples * bits, bool(interlaced)))
    body = containers.inflate(b"".join(b for kind, b in chunks if kind == b"IDAT"), sum(s for _, s in parts))
    at = 0
    for part, size in parts:
        part[:] = _unfiltered(body[at : at + size], part.shape, bits)
        at += size
    return Pixels(array if channels else array[:, :, 0], mode, metadata)


def _parts(array: np.ndarray, bits: int, interlaced: bool) -> Iterator[tuple[np.ndarray, int]]:
    """The images that lie one behind the other, as views, and the bytes that each takes with its filters."""
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = array[top::down, left::across]
        if part.size:
            yield part, part.shape[0] * (1 + (part.shape[1] * bits + 7) // 8)


def _unfiltered(data: bytes, shape: tuple[int, ...], bits: int) -> np.ndarray:
    from codelength.data import kernels

    height, width, samples = shape
    rows = np.frombuffer(bytearray(data), np.uint8).reshape(height, -1)
    bad = kernels.unfilter(rows, max(1, samples * bits // 8))
    if bad >= 0:
        raise Unsuitable(f"its row {bad} has an unknown filter")
    rows = rows[:, 1:]
    if bits == 1:
        pixels = np.unpackbits(rows, axis=1)
        if pixels[:, width:].any():
            raise Unsuitable("its rows hold more than their pixels")
        return pixels[:, :width, None].astype(bool)
    return np.frombuffer(rows.tobytes(), ">u2" if bits == 16 else "u1").reshape(shape)
