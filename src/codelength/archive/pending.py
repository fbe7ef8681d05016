"""Items that wait until a block is full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from codelength.archive.ragged import Values, gather

#: What is done with a block: its entry numbers (n,), its items, and whether it is full, so that more may come.
WriteBlock = Callable[[np.ndarray, Values, bool], None]


class Pending:
    """items, size: how many a block holds at most, and how many bytes; one item in any case."""

    def __init__(self, items: int, size: int, write: WriteBlock) -> None:
        self.items, self.size, self.write = items, size, write
        self._entries: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._count = self._held = 0

    def add(self, entries: np.ndarray, values: np.ndarray) -> None:
        """Items (n, *shape) of one shape; their bytes must not change afterwards."""
        while len(entries):
            each = values[0].nbytes
            room = min(self.items - self._count, (self.size - self._held) // max(each, 1))
            if room < 1 and self._count:
                self._flush(full=True)
                continue
            taken = max(room, 1)
            self._entries.append(entries[:taken])
            self._values.append(values[:taken])
            self._count += len(self._entries[-1])
            self._held += self._values[-1].nbytes
            entries, values = entries[taken:], values[taken:]
            if self._count >= self.items or self._held + each > self.size:
                self._flush(full=True)

    def finish(self) -> None:
        """The block that is not full."""
        if self._count:
            self._flush(full=False)

    def _flush(self, *, full: bool) -> None:
        entries, values = np.concatenate(self._entries), gather(self._values)
        self._entries, self._values, self._count, self._held = [], [], 0, 0
        self.write(entries, values, full)
