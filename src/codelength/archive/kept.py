"""Decoded blocks that are kept for a while."""

from __future__ import annotations

from collections import OrderedDict

from codelength.archive.ragged import Values


class KeptBlocks:
    """The blocks used last, by number, within ``limit`` bytes; the very last one however large it is."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._blocks: OrderedDict[int, Values] = OrderedDict()  # the one used last at the end
        self._held = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, number: int) -> Values | None:
        values = self._blocks.get(number)
        if values is not None:
            self._blocks.move_to_end(number)
        return values

    def put(self, number: int, values: Values) -> None:
        """Keep a block that is not kept yet."""
        self._blocks[number] = values
        self._held += values.nbytes
        while self._held > self.limit and len(self._blocks) > 1:
            self._held -= self._blocks.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        self._blocks.clear()
        self._held = 0
