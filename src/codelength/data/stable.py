"""Reading files that must not change while they are in use."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codelength.errors import DataError
from codelength.files import show_path


@dataclass(frozen=True)
class Stamp:
    """What tells that a file is still the one that was looked at."""

    size: int
    modified: int
    number: tuple[int, int]

    @staticmethod
    def of(path: Path, status: os.stat_result) -> Stamp:
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"expected a file, but {show_path(path)} is none (a folder, pipe, socket or device)")
        return Stamp(status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def read_pieces(path: Path, expected: Stamp | None = None) -> Iterator[tuple[bytes, Stamp]]:
    """A file in pieces, as far as it was long when it was opened, and its stamp; never without a last piece.

    Raises DataError if it cannot be read, is not a regular file, or changes meanwhile (or since ``expected``).
    """
    changed = DataError(f"{show_path(path)} changed while it was being read; start again when nothing writes to it")
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb") as stream:
            stamp = Stamp.of(path, os.fstat(number))
            if expected is not None and stamp != expected:
                raise changed
            left = stamp.size
            while left:
                piece = stream.read(min(left, 2**20))
                if not piece:
                    raise changed
                left -= len(piece)
                yield piece, stamp
            if stream.read(1) or Stamp.of(path, os.fstat(number)) != stamp:
                raise changed
            yield b"", stamp
    except OSError as error:
        raise DataError(f"expected a readable file, but {show_path(path)} is not ({error.strerror})") from None


def read_whole(path: Path, expected: Stamp | None = None) -> tuple[bytes, Stamp]:
    """A file and its stamp; raises what ``read_pieces`` raises."""
    pieces = list(read_pieces(path, expected))
    return b"".join(piece for piece, _ in pieces), pieces[-1][1]
