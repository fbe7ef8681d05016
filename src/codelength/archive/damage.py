"""What an archive cannot give back: by blocks, entries and names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codelength.archive.names import show

#: How many names, or ranges of numbers, a message lists.
SHOWN = 20

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Damage:
    """Entries that cannot be given back for one reason.

    block: number of the block that cannot be decoded; -1 where it is not a block's fault (a name, metadata).
    ranges: the entries, as far as asked for, as ascending pairs (first, behind the last).
    """

    block: int
    ranges: Ranges
    reason: str

    @property
    def entries(self) -> tuple[int, ...]:
        """The numbers of all entries."""
        return tuple(number for start, stop in self.ranges for number in range(start, stop))

    @property
    def count(self) -> int:
        return how_many(self.ranges)

    def to_json(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """names: of all entries of a folder; empty for arrays."""
        return {
            "block": None if self.block < 0 else self.block,
            "entries": [list(pair) for pair in self.ranges],
            "names": [names[number] for number in self.entries] if names else [],
            "reason": self.reason,
        }


def how_many(ranges: Iterable[tuple[int, int]]) -> int:
    return sum(stop - start for start, stop in ranges)


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """Ascending ranges of numbers in any order."""
    return union((number, number + 1) for number in numbers)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same numbers in ascending ranges that neither touch nor overlap."""
    joined: list[list[int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], stop)
        elif start < stop:
            joined.append([start, stop])
    return tuple((start, stop) for start, stop in joined)


def merge(damages: Iterable[Damage]) -> list[Damage]:
    """One entry for each block and reason, in the order of their first."""
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for damage in damages:
        found.setdefault((damage.block, damage.reason), []).extend(damage.ranges)
    return [Damage(block, union(ranges), reason) for (block, reason), ranges in found.items()]


def lost(damages: Iterable[Damage]) -> Ranges:
    """All entries that are lost, each once."""
    return union(pair for damage in damages for pair in damage.ranges)


def show_ranges(ranges: Ranges, most: int = SHOWN) -> str:
    """Numbers as ``3, 8-11 and 40 more``."""
    text = ", ".join(str(start) if stop - start == 1 else f"{start}-{stop - 1}" for start, stop in ranges[:most])
    return text + _more(how_many(ranges[most:]))


def show_lines(damages: Iterable[Damage], names: Sequence[str] = ()) -> Iterator[str]:
    """A line for each: the block, the numbers of the entries, their names if they have some, and the reason."""
    for damage in damages:
        where = f"block {damage.block}, " if damage.block >= 0 else ""
        what = "nothing that has a number" if not damage.ranges else f"{_noun(damage)} {show_ranges(damage.ranges)}"
        if names and damage.ranges:
            first = [
                number for start, stop in damage.ranges[:SHOWN] for number in range(start, min(stop, start + SHOWN))
            ]
            shown = ", ".join(show(names[number], 80) for number in first[:SHOWN])
            what += f" ({shown}{_more(damage.count - len(first[:SHOWN]))})"
        yield f"{where}{what}: {damage.reason}"


def _noun(damage: Damage) -> str:
    return "entry" if damage.count == 1 else "entries"


def _more(number: int) -> str:
    return f" and {number:,} more" if number else ""
