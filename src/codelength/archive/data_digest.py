"""The digest of the data that an archive records (docs/format.md, "Directory")."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


class DataDigest:
    """SHA-256 of the data: of the bytes in order for arrays, of the entries' own digests for folders.

    entries: those of a folder; None for arrays.
    """

    def __init__(self, entries: Iterable[int] | None) -> None:
        self.whole = hashlib.sha256()
        self.entries = entries
        self.each: dict[int, bytes] = {}
        self.current: tuple[int, hashlib._Hash] | None = None

    def add_items(self, entries: np.ndarray, values: np.ndarray) -> None:
        if self.entries is None:
            self.whole.update(np.ascontiguousarray(values).data)
            return
        for entry, value in zip(entries.tolist(), values):
            self.each[entry] = hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()

    def add_file(self, entry: int, piece: bytes) -> None:
        if self.entries is None:
            self.whole.update(piece)
            return
        if self.current is None or self.current[0] != entry:
            self._close()
            self.current = entry, hashlib.sha256()
        self.current[1].update(piece)

    def _close(self) -> None:
        if self.current is not None:
            self.each[self.current[0]] = self.current[1].digest()

    def result(self) -> bytes:
        if self.entries is None:
            return self.whole.digest()
        self._close()
        empty = hashlib.sha256().digest()
        return hashlib.sha256(b"".join(self.each.get(entry, empty) for entry in self.entries)).digest()
