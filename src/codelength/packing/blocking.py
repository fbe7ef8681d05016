"""How large blocks get: by what learning anew in each of them costs, against the time that reading one item takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codelength.packing.candidates import Outcome

#: Blocks have so many coded samples: the fewest of which learning costs no more than this share of the bits.
SIZES = tuple(2**k for k in range(19, 23))
SHARE = 0.004
#: A pile of no more samples stays in one block where learning costs more in all of these sizes.
ONE_BLOCK = 2**23
#: What a block costs more because it begins untaught, or taught by the first block alone, grows with its samples to
#: this power; it is about so many times what a sample shows, on which nothing has been learned for long; and it is at
#: least such a share of the block's bits, since a sample may happen to be easy.
GROWTH = 0.6
BEYOND = 2.0
LEAST_UNTAUGHT, LEAST_TAUGHT = 0.005, 0.0015
#: Samples in which a program may not pay for itself.
FEW = 2**16
#: Where nothing was tried.
USUAL = 2**20


@dataclass(frozen=True)
class Blocks:
    """What was asked for: items of a block at most, or seconds that reading one item takes at most; what suits where
    both are None."""

    items: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Blocking:
    """items, bytes: of a block at most, as plans take them. samples: coded samples of a block, about. taught: whether
    blocks begin with what the first one has taught. cost: share of the bits that learning in each costs, about."""

    items: int | None
    bytes: int | None
    samples: int
    taught: bool
    cost: float

    @property
    def read_samples(self) -> int:
        """Coded samples that are decoded to read one item."""
        return self.samples * (2 if self.taught else 1)


def blocking(blocks: Blocks, items: int, samples: int, stored: float, outcome: Outcome | None, rate: float) -> Blocking:
    """Blocks for a pile of so many items with so many coded samples, each of which takes ``stored`` bytes in it.

    outcome: of the trial that tells what learning costs. rate: samples per second that are decoded; the bytes of
    archives depend on it, and so on the machine, where seconds were asked for, and only there.
    """

    def option(size: int, taught: bool) -> Blocking:
        several = size < samples
        taught = taught and several
        cost = _cost(outcome, samples, size, taught) if several else 0.0
        # Of a small pile, a block that is not full lets the writer see that a program would pay for no other.
        room = 2 * size if size <= FEW and not several else size
        return Blocking(_LIMITLESS, max(1, math.ceil(room * stored)), min(size, samples), taught, cost)

    def cheaper(size: int) -> Blocking:
        return min(option(size, False), option(size, True), key=lambda one: (one.cost, one.taught))

    if blocks.items is not None:
        found = cheaper(max(1, samples * blocks.items // max(1, items)))
        return Blocking(blocks.items, None, found.samples, found.taught, found.cost)
    if blocks.seconds is not None:
        whole = max(1, int(blocks.seconds * rate))
        return min(option(whole, False), option(max(1, whole // 2), True), key=lambda one: (one.cost, one.taught))
    if outcome is None or not outcome.last:
        return option(samples, False) if samples <= USUAL * 3 // 2 else option(USUAL, True)
    if samples <= SIZES[0] * 3 // 2:
        return option(samples, False)
    every = [option(size, taught) for size in SIZES for taught in (False, True)]
    cheap = [one for one in every if one.cost <= SHARE]
    if cheap:
        return min(cheap, key=lambda one: (one.read_samples, one.cost))
    return option(samples, False) if samples <= ONE_BLOCK else min(every, key=lambda one: one.cost)


#: Items of a block where bytes are the limit.
_LIMITLESS = 2**20


def _cost(outcome: Outcome | None, samples: int, size: int, taught: bool) -> float:
    """Share of the bits of a pile that learning costs in blocks of so many samples."""
    if outcome is None or not outcome.last or outcome.late <= 0:
        return 0.0
    shown, least = (outcome.taught, LEAST_TAUGHT) if taught else (outcome.restart, LEAST_UNTAUGHT)
    bits = outcome.last * outcome.late
    once = BEYOND * max(shown, least * bits) * (size / outcome.last) ** GROWTH
    return (-(-samples // size) - 1) * once / (samples * outcome.late)
