"""What stands around the blocks of an archive: its beginning, header, directory and trailer, read and checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from codelength.archive.directory import Directory
from codelength.archive.layout import (
    END,
    MAGIC,
    MAX_HEADER,
    MODEL_DIGEST_BYTES,
    TRAILER_BYTES,
    VERSION,
    Header,
)
from codelength.archive.wire import CHECK_BYTES, Cursor, check_of
from codelength.errors import CorruptHeader, NewerVersion, NotAnArchive, TooLarge, Truncated


@dataclass(frozen=True)
class Frame:
    """Header and directory of an archive of ``size`` bytes, whose model begins at ``model_start``."""

    header: Header
    directory: Directory
    size: int
    model_start: int


def read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """The bytes ``start`` to ``start + count`` of a file; raises Truncated."""
    if hasattr(os, "pread"):
        # The position of an open file is shared by threads, and by processes that were forked.
        data = b""
        while len(data) < count:
            piece = os.pread(file.fileno(), count - len(data), start + len(data))
            if not piece:
                break
            data = data + piece if data else piece
    else:
        file.seek(start)
        data = file.read(count)
    if len(data) != count:
        raise Truncated(f"this archive ends after {start + len(data)} bytes where more are needed; get a fresh copy")
    return data


def read_frame(path: Path, file: BinaryIO, max_memory: float) -> Frame:
    """Read and check all of an archive but its model and its blocks; raises as ``Archive.open`` does."""
    size = os.fstat(file.fileno()).st_size
    magic = read_at(file, 0, min(len(MAGIC), size))
    if magic != MAGIC or size == len(MAGIC):
        if MAGIC.startswith(magic):  # as far as it goes
            raise Truncated(f"{path} has only {size} bytes, the beginning of an archive; get a fresh copy of the file")
        if magic.startswith(MAGIC[:5]):
            raise NotAnArchive(
                f"{path} was an archive that a transfer in text mode has damaged; get a fresh copy in binary mode"
            )
        raise NotAnArchive(f"expected a codelength archive, but {path} does not begin like one")
    # Version and length of the header take at most nine bytes each.
    front = Cursor(read_at(file, len(MAGIC), min(18, size - len(MAGIC))), "header")
    version = front.uint()
    if version > VERSION:
        raise NewerVersion(
            f"{path} is of version {version} and this program reads up to version {VERSION}; upgrade codelength"
        )
    if version < VERSION:
        raise CorruptHeader(f"{path} states the version {version}, which never existed; get a fresh copy of the file")
    if size < len(MAGIC) + TRAILER_BYTES or read_at(file, size - len(END), len(END)) != END:
        raise Truncated(
            f"{path} does not end as an archive does: it is truncated, or something was added; get a fresh copy"
        )
    length = front.uint()
    start = len(MAGIC) + front.position
    if length > MAX_HEADER or start + length + MODEL_DIGEST_BYTES + CHECK_BYTES + TRAILER_BYTES > size:
        raise CorruptHeader(
            f"{path} states a header of {length} bytes, more than it can have; get a fresh copy of the file"
        )
    header_bytes = read_at(file, start, length)
    model_start = start + length + MODEL_DIGEST_BYTES
    header = Header.parse(header_bytes, read_at(file, start + length, MODEL_DIGEST_BYTES))
    blocks_start = model_start + header.model_bytes + CHECK_BYTES
    if blocks_start + TRAILER_BYTES > size:
        raise CorruptHeader(
            f"{path} states a model of {header.model_bytes} bytes, more than it can have; get a fresh copy"
        )
    digest = hashlib.blake2b(digest_size=CHECK_BYTES)
    for position in range(0, blocks_start - CHECK_BYTES, 2**20):
        digest.update(read_at(file, position, min(2**20, blocks_start - CHECK_BYTES - position)))
    if digest.digest() != read_at(file, blocks_start - CHECK_BYTES, CHECK_BYTES):
        raise CorruptHeader(f"the header or the model in {path} is corrupt; get a fresh copy of the file")
    if header.memory > max_memory:
        raise TooLarge(
            f"decoding {path} needs {header.memory} bytes of memory, more than the limit of {int(max_memory)}; "
            "raise the limit with max_memory if you trust it"
        )
    directory = _read_directory(path, file, size, header, blocks_start, max_memory)
    return Frame(header, directory, size, model_start)


def _read_directory(
    path: Path, file: BinaryIO, size: int, header: Header, blocks_start: int, max_memory: float
) -> Directory:
    trailer = read_at(file, size - TRAILER_BYTES, TRAILER_BYTES)
    length = int.from_bytes(trailer[:8], "little")
    start = size - TRAILER_BYTES - length
    if start < blocks_start:
        raise CorruptHeader(f"{path} states a directory of {length} bytes, more than it can have; get a fresh copy")
    data = read_at(file, start, length)
    if check_of(data, trailer[:8]) != trailer[8 : 8 + CHECK_BYTES]:
        raise CorruptHeader(f"the directory of {path} is corrupt; get a fresh copy of the file")
    limit = int(min(max_memory, 2**40))
    directory = Directory.parse(data, header, blocks_start, limit)
    end = blocks_start + sum(block.length for block in directory.blocks)
    if end != start:
        raise CorruptHeader(
            f"the blocks of {path} do not fill the space between its parts; get a fresh copy of the file"
        )
    return directory
