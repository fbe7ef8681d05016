"""What it costs to read one item of an archive: its whole block must be decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from codelength.errors import UsageError

#: Seconds, from any beginning.
Clock = Callable[[], float]

#: Items of the block by which the rate of decoding is found.
TRIAL_ITEMS = 64

_BLOCK = re.compile(r"([0-9]{1,15})|([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}) ?s", re.ASCII)


def parse_block(block: int | str | None) -> tuple[int | None, float | None]:
    """(items, seconds) of a block at most, one of them None: from ``64``, ``"64"`` or ``"0.5s"``. Raises UsageError."""
    if block is None:
        return None, None
    match = None if isinstance(block, bool) else _BLOCK.fullmatch(str(block).strip())
    if match is not None and match[1] is not None and int(match[1]) > 0:
        return int(match[1]), None
    if match is not None and match[2] is not None and float(match[2]) > 0:
        return None, float(match[2])
    raise UsageError(
        "expected blocks of at least one item, such as 64, or of some time to decode one, such as 0.5s; "
        f"got {str(block)[:40]!r}"
    )


@dataclass(frozen=True)
class ReadCost:
    """The time that one item costs, as measured where blocks were decoded to verify them.

    seconds: to decode the block of an item, the mean over the items. items: of the largest of these blocks.
    warm: False where the only block was measured that there is; getting ready to decode may be a part of its time.
    """

    seconds: float
    items: int
    warm: bool


@dataclass
class ReadTimes:
    """The times of blocks, in the order in which they were decoded."""

    clock: Clock
    times: list[tuple[int, float]] = field(default_factory=list)

    def decode(self, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """What ``decode`` gives, and its time is kept."""
        start = self.clock()
        values = decode()
        self.add(len(values), self.clock() - start)
        return values

    def add(self, items: int, seconds: float) -> None:
        """The time of a block that has been decoded."""
        self.times.append((items, seconds))

    def cost(self) -> ReadCost | None:
        """None without a block. The first of several does not count: decoders are compiled or loaded for it."""
        warm = self.times[1:]
        counted = warm or self.times
        items = sum(count for count, _ in counted)
        if not items:
            return None
        seconds = sum(count * time for count, time in counted) / items
        return ReadCost(seconds, max(count for count, _ in counted), bool(warm))
