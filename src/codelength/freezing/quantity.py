"""A value of a program that is being emitted: which integers stand for which real numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Quantity:
    """A value of the program under construction.

    value: its number (None while deferred); fraction: per channel (or one for all); low, high: bounds as integers;
    relu: whether max(., 0) is still to be taken; largest, peaks: of the real values seen in calibration,
    in all and per channel;
    table: rows of a deferred embedding or constant (K, units), whose scale its consumer chooses; layout: the shape of
    the tensor that a constant was, which says how it broadcasts.
    """

    value: int | None
    fraction: np.ndarray
    low: int
    high: int
    shape: tuple[int, ...]
    relu: bool = False
    largest: float = 1.0
    peaks: np.ndarray | None = None
    table: np.ndarray | None = None
    index: int | None = None
    layout: tuple[int, ...] | None = None
    narrowed: dict[Any, Quantity] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        return max(abs(self.low), abs(self.high))

    @property
    def scale(self) -> int:
        """The fraction of all channels, where they share one."""
        fractions = self.fraction.reshape(-1)
        assert (fractions == fractions[0]).all(), "channels of different scales where one is needed"
        return int(fractions[0])


@dataclass
class Target:
    """What the output must be: integers of these fractions per parameter, after gain 2^gain and offset."""

    fractions: tuple[int, ...]
    gains: tuple[int, ...]
    offsets: tuple[float, ...]
