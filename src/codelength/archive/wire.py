"""The building blocks of the binary parts of an archive (docs/format.md, "Conventions")."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterable

from codelength.archive.codecs import pack_bytes, unpack_bytes
from codelength.errors import CorruptHeader

CHECK_BYTES = 8
MAX_UINT = 2**63 - 1
_PRINTABLE = frozenset(range(0x20, 0x7F))


def check_of(*parts: bytes | memoryview) -> bytes:
    """The eight-byte check of the concatenation of ``parts``."""
    digest = hashlib.blake2b(digest_size=CHECK_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def uint(value: int) -> bytes:
    """LEB128 of a non-negative integer below 2^63."""
    if not 0 <= value <= MAX_UINT:
        raise ValueError(f"expected an integer from 0 to 2^63 - 1, got {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sint(value: int) -> bytes:
    """LEB128 of the zigzag number of an integer."""
    return uint(2 * value if value >= 0 else -2 * value - 1)


def text(value: str) -> bytes:
    data = value.encode("ascii")
    return uint(len(data)) + data


def uints(values: Iterable[int]) -> bytes:
    """A list of ``uint``: count, then values."""
    values = list(values)
    return uint(len(values)) + b"".join(map(uint, values))


def packed(data: bytes) -> bytes:
    """``data`` stored or as xz, whichever is shorter."""
    codec, stored = pack_bytes(data)
    return uint(codec) + uint(len(data)) + uint(len(stored)) + stored


class Cursor:
    """Reads building blocks from bytes that are not trusted; raises CorruptHeader when they make no sense.

    what: the part of the file, for messages. limit: bytes that any one packed part may unpack to.
    """

    def __init__(self, data: bytes, what: str, limit: int = 2**30) -> None:
        self.data = data
        self.what = what
        self.limit = limit
        self.position = 0

    def fail(self, reason: str) -> CorruptHeader:
        return CorruptHeader(f"the {self.what} of this archive is corrupt: {reason}; get a fresh copy of the file")

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise self.fail(f"it states a part of {count} bytes where {self.left} are left")
        self.position += count
        return self.data[self.position - count : self.position]

    def uint(self, most: int = MAX_UINT) -> int:
        value = shift = 0
        while True:
            if self.position >= len(self.data):
                raise self.fail("it ends inside a number")
            byte = self.data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 56:
                raise self.fail("it has a number that is too long")
        if shift and not byte:
            raise self.fail("it has a number with superfluous bytes")
        if value > most:
            raise self.fail(f"it states {value} where at most {most} may stand")
        return value

    def sint(self) -> int:
        value = self.uint()
        return value >> 1 if not value & 1 else -(value + 1) // 2

    def text(self) -> str:
        data = self.take(self.uint())
        if not _PRINTABLE.issuperset(data):
            raise self.fail("it has a text with unprintable characters")
        return data.decode("ascii")

    def count(self) -> int:
        """The count of a list whose members take at least one byte each."""
        return self.uint(self.left)

    def uints(self) -> list[int]:
        return [self.uint() for _ in range(self.count())]

    def packed(self) -> bytes:
        codec = self.uint()
        length = self.uint(self.limit)
        stored = self.take(self.uint())
        try:
            return unpack_bytes(codec, stored, length)
        except (ValueError, lzma.LZMAError) as error:
            raise self.fail(str(error)) from None

    def finish(self) -> None:
        if self.left:
            raise self.fail(f"it has {self.left} bytes too many")
