"""What a PNG holds besides pixels, taken out so that it can be put back; zlib streams of exactly so many bytes.

*Metadata* (bytes, opaque to everybody else) ``P``: the ancillary chunks of a PNG. Behind the letter, as in a PNG but
without checksums: length (4 bytes, big-endian), type (4 bytes), data. An empty ``IDAT`` stands for the pixels.

Metadata from an archive is not trusted: ``png_with`` checks it and raises DataError.
"""

from __future__ import annotations

import struct
import zlib

from codelength.data.pixels import Unsuitable
from codelength.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that change which pixels are shown (transparency, animation); they are not carried as metadata.
REFUSED_CHUNKS = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})


def inflate(data: bytes, size: int) -> bytes:
    """A zlib stream that is exactly ``size`` bytes.

    Raises Unsuitable if it is damaged, holds more or fewer, or is followed by something.
    """
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise Unsuitable(f"its compressed data are damaged ({error})") from None
    if len(out) > size:
        raise Unsuitable("its compressed data hold more than the pixels")
    if not stream.eof or len(out) != size:
        raise Unsuitable("its compressed data are cut short")
    if stream.unused_data:
        raise Unsuitable("something follows its compressed data")
    return out


# ---- PNG ---------------------------------------------------------------------------------------------------


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and data of every chunk, checksums verified. Raises Unsuitable."""
    if not data.startswith(SIGNATURE):
        raise Unsuitable("it does not begin like a PNG")
    chunks, at = [], len(SIGNATURE)
    while at < len(data):
        if len(data) - at < 12:
            raise Unsuitable("it is cut short or something follows its end")
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        check = data[at + 8 + length : at + 12 + length]
        if len(check) < 4 or int.from_bytes(check, "big") != zlib.crc32(kind + body):
            raise Unsuitable(f"its chunk {kind!r} is damaged")
        chunks.append((kind, body))
        at += 12 + length
        if kind == b"IEND" and at != len(data):
            raise Unsuitable("something follows its end")
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or chunks[-1][0] != b"IEND":
        raise Unsuitable("it is cut short")
    if chunks[-1][1]:
        raise Unsuitable("its last chunk (IEND), which should be empty, holds something")
    return chunks


def png_metadata(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """The ancillary chunks as metadata, empty if there are none. Raises Unsuitable."""
    parts: list[bytes] = []
    seen, before = False, b""
    for kind, body in chunks[1:-1]:
        if kind in REFUSED_CHUNKS:
            what = "a transparent colour" if kind == b"tRNS" else "an animation"
            raise Unsuitable(f"it holds {what} ({kind.decode()})")
        if kind == b"IDAT":
            if seen and before != b"IDAT":
                raise Unsuitable("something lies between its pixels")
            if not seen:
                parts.append(struct.pack(">I4s", 0, b"IDAT"))
            seen = True
        elif kind.isalpha() and kind[0] & 0x20 and not kind[2] & 0x20:  # the third letter is capital in every version
            parts.append(struct.pack(">I4s", len(body), kind) + body)
        else:
            raise Unsuitable(f"it holds the chunk {kind!r}")
        before = kind
    return b"P" + b"".join(parts) if len(parts) > 1 else b""


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks."""
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def png_with(data: bytes, metadata: bytes, *, critical: bool = False) -> bytes:
    """A PNG of ours with ancillary chunks put back around its pixels.

    critical: a palette and transparent colours, too.

    Raises DataError for bad metadata.
    """
    chunks = png_chunks(data)
    parts = [SIGNATURE, _chunk(*chunks[0])]
    pixels = b"".join(_chunk(kind, body) for kind, body in chunks if kind == b"IDAT")
    at, seen = 1, False
    while at < len(metadata):
        if len(metadata) - at < 8:
            raise DataError("the metadata of an image ends inside a chunk")
        length, kind = struct.unpack_from(">I4s", metadata, at)
        body = metadata[at + 8 : at + 8 + length]
        at += 8 + length
        if len(body) != length:
            raise DataError("the metadata of an image ends inside a chunk")
        if kind == b"IDAT" and not length and not seen:
            parts.append(pixels)
            seen = True
        elif (critical and kind in (b"PLTE", b"tRNS")) or (
            kind.isalpha() and kind[0] & 0x20 and kind not in REFUSED_CHUNKS
        ):
            parts.append(_chunk(kind, body))
        else:
            raise DataError(f"the metadata of an image holds a chunk {kind!r}, which cannot be written")
    if not seen:
        raise DataError("the metadata of an image does not say where its pixels belong")
    return b"".join((*parts, _chunk(b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
