"""Files of several images: each is an item of its own, and the first says how they make a file.

*Metadata* ``M``: behind the letter the number of pages (4 bytes, little-endian), then the metadata of the first page,
or, with ``R``, of all of them. The pages of ``stack.tif`` are named ``stack.tif/1``, ``stack.tif/2``, ...
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

from codelength.data.pixels import Pixels


def marked(images: Sequence[Pixels]) -> list[Pixels]:
    """The images of a file, where they are several with their number on the first."""
    if len(images) < 2:
        return list(images)
    head = b"M" + struct.pack("<I", len(images)) + images[0].metadata
    return [dataclasses.replace(images[0], metadata=head), *images[1:]]


def unmarked(metadata: bytes) -> bytes:
    """Metadata without the number of pages."""
    return metadata[5:] if metadata[:1] == b"M" else metadata


def count(metadata: bytes) -> int:
    """The number of pages of the file whose first page has this metadata; 1 for files of one image."""
    return struct.unpack_from("<I", metadata, 1)[0] if metadata[:1] == b"M" and len(metadata) >= 5 else 1


def name_of(file: str, page: int) -> str:
    """The name of a page, of which the first is number 0."""
    return f"{file}/{page + 1}"


def alone(name: str, metadata: bytes) -> tuple[str, bytes]:
    """Name and metadata of a page that is to be a file by itself: always a TIFF, which holds all modes."""
    metadata = unmarked(metadata)
    return name + ".tif", metadata if metadata[:1] == b"T" else b""
