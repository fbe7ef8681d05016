"""PNG read by our own code: chunks, zlib and filters.

Written are PNGs by Pillow (``codelength.data.images``) where it has the mode, and has nothing to add to the pixels. All
others are written here: those with a palette, a transparent colour, 2- and 4-bit grey, and colours of 16 bits.

*Metadata* ``I`` of these: behind the letter bits of a sample and colour type (a byte each), then all chunks but IHDR
and IEND as in ``P`` (``containers``). Pixels are the samples as they are stored: indices where there is a palette.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from codelength.data import containers
from codelength.data.pixels import MODES, Pixels, Unsuitable, check_size
from codelength.errors import DataError

# Mode by colour type and bits of a sample.
_MODES = {(0, 1): "1", (0, 8): "L", (4, 8): "LA", (2, 8): "RGB", (6, 8): "RGBA", (0, 16): "I;16"}
# The same of those that are written here.
_OTHERS = {(0, 1): "L", (0, 2): "L", (0, 4): "L", (3, 1): "L", (3, 2): "L", (3, 4): "L", (3, 8): "L"}
_OTHERS |= {(0, 8): "L", (4, 8): "LA", (2, 8): "RGB", (6, 8): "RGBA"}
_OTHERS |= {(0, 16): "I;16", (4, 16): "LA;16", (2, 16): "RGB;16", (6, 16): "RGBA;16"}
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
    """The pixels of a PNG and its further chunks.

    Raises Unsuitable unless nothing is damaged or left over, and all of its chunks can be put back.
    """
    chunks = containers.png_chunks(data)
    width, height, bits, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if (colour, bits) not in _OTHERS:
        raise Unsuitable("its header is damaged")
    check_size(width, height)
    if compression or filters or interlaced > 1:
        raise Unsuitable("it is stored in an unknown way")
    mode = _MODES.get((colour, bits))
    if mode is None or {kind for kind, _ in chunks} & {b"tRNS", b"PLTE"}:
        mode = _OTHERS[colour, bits]
        metadata = b"I" + bytes([bits, colour]) + _further(chunks)
    else:
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


def _further(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """All chunks but those of the header and the end."""
    colour = chunks[0][1][9]
    palettes = [body for kind, body in chunks if kind == b"PLTE"]
    if (
        len(palettes) > 1
        or (colour == 3 and not palettes)
        or any(len(body) % 3 or len(body) > 768 for body in palettes)
    ):
        raise Unsuitable("its palette is damaged")
    if sum(kind == b"tRNS" for kind, _ in chunks) > 1:
        raise Unsuitable("it holds several chunks of transparent colours")
    plain = [(kind, body) for kind, body in chunks if kind not in (b"PLTE", b"tRNS")]
    containers.png_metadata(plain)  # refuses what else cannot be carried
    order = [kind for kind, _ in chunks]
    if b"IDAT" not in order or any(kind in order[order.index(b"IDAT") :] for kind in (b"PLTE", b"tRNS")):
        raise Unsuitable("it has no pixels, or something that belongs before them behind")
    parts, seen = [], False
    for kind, body in chunks[1:-1]:
        if kind != b"IDAT":
            parts.append(struct.pack(">I4s", len(body), kind) + body)
        elif not seen:
            parts.append(struct.pack(">I4s", 0, b"IDAT"))
            seen = True
    return b"".join(parts)


def beyond_pixels(metadata: bytes) -> str:
    """Why pixels with this metadata alone would not be the picture; "" if they are."""
    if metadata[:1] != b"I":
        return ""
    if metadata[2] == 3:
        return "it has a palette"
    if metadata[1] == 16 and metadata[2]:
        return "it has 16-bit colours or 16-bit transparency"
    return f"it has {metadata[1]}-bit grey values" if metadata[1] in (2, 4) else "it holds a transparent colour (tRNS)"


def encode(pixels: Pixels) -> bytes:
    """A PNG of pixels with metadata ``I``. Raises DataError for bad metadata."""
    metadata = pixels.metadata
    if len(metadata) < 3 or _OTHERS.get((metadata[2], metadata[1])) != pixels.mode:
        raise DataError("the metadata of an image is of an unknown kind, or not for its pixels")
    bits, colour = metadata[1], metadata[2]
    height, width = pixels.array.shape[:2]
    values = pixels.array.reshape(height, -1)
    if bits < 8 and int(values.max()) >= 1 << bits:
        raise DataError(f"expected samples of {bits} bits in an image, got larger ones; the archive is damaged")
    if bits < 8:
        across = np.unpackbits(values.astype(np.uint8)[:, :, None], axis=2)[:, :, -bits:].reshape(height, -1)
        rows = np.packbits(across, axis=1)
    else:
        rows = np.ascontiguousarray(values.astype(f">u{bits // 8}")).view(np.uint8).reshape(height, -1)
    step = _SAMPLES[colour] * bits // 8
    body = _filtered(rows, step) if bits >= 8 and colour != 3 else np.pad(rows, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    plain = [(b"IHDR", header), (b"IDAT", zlib.compress(body, 9)), (b"IEND", b"")]
    return containers.png_with(containers.png_of(plain), b"P" + metadata[3:], critical=True)


def _filtered(rows: np.ndarray, step: int) -> bytes:
    """Rows with the filter of the least sum of absolute differences before each."""
    left = np.pad(rows, ((0, 0), (step, 0)))[:, : rows.shape[1]].astype(np.int16)
    up = np.pad(rows, ((1, 0), (0, 0)))[:-1].astype(np.int16)
    corner = np.pad(rows, ((1, 0), (step, 0)))[:-1, : rows.shape[1]].astype(np.int16)
    towards = left + up - corner
    distances = np.stack([np.abs(towards - left), np.abs(towards - up), np.abs(towards - corner)])
    nearest = np.take_along_axis(np.stack([left, up, corner]), distances.argmin(0)[None], 0)[0]
    guesses = np.stack([np.zeros_like(left), left, up, (left + up) >> 1, nearest])
    found = (rows[None] - guesses).astype(np.uint8)
    costs = np.abs(found.view(np.int8).astype(np.int64)).sum(axis=2)
    chosen = costs.argmin(0)
    best = found[chosen, np.arange(len(rows))]
    return np.concatenate([chosen.astype(np.uint8)[:, None], best], axis=1).tobytes()


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
    if bits < 8:
        pixels = np.unpackbits(rows, axis=1)
        if pixels[:, width * bits :].any():
            raise Unsuitable("its rows hold more than their pixels")
        places = pixels[:, : width * bits].reshape(height, width, 1, bits)
        return (places << np.arange(bits - 1, -1, -1, dtype=np.uint8)).sum(axis=3, dtype=np.uint8)
    return np.frombuffer(rows.tobytes(), ">u2" if bits == 16 else "u1").reshape(shape)
