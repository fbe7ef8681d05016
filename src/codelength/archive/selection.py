"""Which entries of an archive are asked for."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codelength.archive.directory import Directory
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
