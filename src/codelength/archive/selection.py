"""Which entries of an archive are asked for, and what they come to."""

from __future__ import annotations

import bisect
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codelength.archive.damage import Ranges, ranges_of, union
from codelength.archive.directory import Block, Directory
from codelength.archive.layout import METADATA
from codelength.errors import UsageError


@dataclass
class Selection:
    """Entries that are asked for: all in ``start <= entry < stop``, or those of them whose numbers are in ``chosen``
    (ascending)."""

    start: int
    stop: int
    chosen: np.ndarray | None = None

    def positions(self, entries: np.ndarray) -> np.ndarray:
        """Which of the ascending ``entries`` are asked for."""
        keep = (entries >= self.start) & (entries < self.stop)
        if self.chosen is not None:
            keep &= np.isin(entries, self.chosen, assume_unique=True)
        return np.flatnonzero(keep)

    def __contains__(self, entry: int) -> bool:
        return bool(len(self.positions(np.array([entry]))))

    @property
    def count(self) -> int:
        return self.stop - self.start if self.chosen is None else len(self.chosen)

    @property
    def numbers(self) -> Sequence[int]:
        """All numbers asked for, ascending."""
        return range(self.start, self.stop) if self.chosen is None else self.chosen.tolist()


def select(
    directory: Directory,
    names: Sequence[str],
    bounds: tuple[int, int] | None = None,
    patterns: Sequence[str] | None = None,
) -> Selection:
    """The items ``bounds[0] <= number < bounds[1]``, or the entries whose names match a pattern, or both; all entries
    without either.

    names: of all entries. Kept files are entries beyond the items: a range never includes them. Patterns are those of
    ``fnmatch``, for the whole relative name, in which ``*`` matches ``/`` too. Raises UsageError.
    """
    start, stop = 0, directory.entries
    if bounds is not None:
        start, stop = bounds
        if not 0 <= start <= stop <= directory.items:
            raise UsageError(f"expected a range within 0:{directory.items}, got {start}:{stop}")
    if not patterns:
        return Selection(start, stop)
    if directory.names is None:
        raise UsageError("names select files of a folder, but this archive holds arrays; use a range")
    chosen = [
        number
        for number, name in enumerate(names)
        if start <= number < stop and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not chosen:
        raise UsageError(f"no name in this archive matches {' or '.join(patterns)}; inspect --list shows the names")
    return Selection(start, stop, np.array(chosen, np.int64))


def modes_of(directory: Directory, selection: Selection) -> dict[int, str]:
    """The modes of the selected entries that are kept as values, by number."""
    modes: dict[int, str] = {}
    entry = 0
    for stream, count in directory.runs:
        if directory.streams[stream].holds_items:
            for number in range(max(entry, selection.start), min(entry + count, selection.stop)):
                modes[number] = directory.streams[stream].mode
        entry += count
    return modes


def output_bytes(directory: Directory, selection: Selection) -> int:
    """Bytes of the selected entries as they come back: values in their dtype, files as they are."""
    if selection.chosen is not None:
        return sum(
            directory.item_bytes(stream, rank, rank + 1)
            if directory.streams[stream].holds_items
            else directory.sizes[stream][rank]
            for stream, rank in zip(*(part.tolist() for part in directory.locate(selection.chosen)))
        )
    total = 0
    for number, stream in enumerate(directory.streams):
        if stream.type == METADATA:
            continue
        first, last = directory.ranks_in(number, selection.start, selection.stop)
        if stream.holds_items:
            total += directory.item_bytes(number, first, last)
        else:
            total += sum(directory.sizes[number][first:last])
    return total


def lost_with(directory: Directory, block: Block, selection: Selection | None = None) -> Ranges:
    """The entries, of those asked for, that need a block; nothing of the size of their number is built."""
    stream = directory.streams[block.stream]
    first, last = block.first, block.first + block.count
    if not stream.holds_items:  # ranks are bytes there
        starts = directory.starts[block.stream]
        sizes = directory.sizes[block.stream]
        low, high = max(bisect.bisect_right(starts, first) - 1, 0), bisect.bisect_left(starts, last)
        ranks = ranges_of(rank for rank in range(low, high) if sizes[rank] and starts[rank] + sizes[rank] > first)
    else:
        ranks = ((first, last),)
    ranges = ranks
    if stream.type != METADATA:
        ranges = union(pair for low, high in ranks for pair in directory.runs_of(block.stream, low, high))
    if selection is None:
        return ranges
    ranges = union((max(start, selection.start), min(stop, selection.stop)) for start, stop in ranges)
    if selection.chosen is None:
        return ranges
    chosen = selection.chosen
    return ranges_of(
        number
        for start, stop in ranges
        for number in chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, stop)].tolist()
    )
