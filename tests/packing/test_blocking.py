"""How large blocks get: what was asked for, else what learning pays for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codelength.laws.presets import preset
from codelength.packing.blocking import ONE_BLOCK, SIZES, Blocks, blocking
from codelength.packing.candidates import Candidate, Form, Outcome, Sample, sample_of, trial_samples, try_out


def outcome(restart: float, taught: float) -> Outcome:
    """Of a trial whose last round had 100,000 samples at two bits, of 200,000."""
    one = Candidate(Form((0,), 256), "fast", "photo", False, preset("fast", 256))
    one.bits = [250_000.0, 200_000.0]
    return Outcome(Sample((), (100_000, 100_000)), [one], restart, taught, 100_000)


def blocks_of(restart: float, taught: float, samples: int, **asked: Any) -> Any:
    return blocking(Blocks(**asked), 1000, samples, 1.0, outcome(restart, taught), 4e5)


def test_learning_that_costs_little_leaves_blocks_small() -> None:
    found = blocks_of(0.0, 0.0, 10**8)
    assert found.read_samples == min(2 * SIZES[0], SIZES[1]) and found.cost <= 0.004


def test_learning_that_costs_much_makes_them_large_or_one() -> None:
    assert blocks_of(9000.0, 1500.0, 10**8).read_samples > blocks_of(0.0, 0.0, 10**8).read_samples
    assert blocks_of(50_000.0, 30_000.0, ONE_BLOCK - 1).samples == ONE_BLOCK - 1
    many = blocks_of(50_000.0, 30_000.0, 10**8)
    assert many.samples == SIZES[-1] and many.taught


def test_a_small_pile_is_one_block_that_is_not_full() -> None:
    found = blocks_of(50_000.0, 30_000.0, 5000)
    assert (found.samples, found.taught, found.cost) == (5000, False, 0.0) and found.bytes > 5000


def test_what_was_asked_for() -> None:
    assert blocks_of(100.0, 10.0, 10**6, items=7).items == 7
    timed = blocks_of(100.0, 10.0, 10**8, seconds=0.5)
    assert timed.read_samples == pytest.approx(0.5 * 4e5, rel=0.01)


def test_nothing_is_known_without_a_trial() -> None:
    assert blocking(Blocks(), 10, 10**8, 1.0, None, 4e5).taught
    assert not blocking(Blocks(), 10, 10**5, 1.0, None, 4e5).taught


def test_candidates_that_fall_behind_are_dropped_and_stay_behind() -> None:
    rng = np.random.default_rng(0)
    flat = [
        np.repeat(np.repeat(rng.integers(0, 3, (6, 6, 1)), 8, axis=0), 8, axis=1).astype(np.uint8) for _ in range(9)
    ]
    forms = [
        Candidate(Form((0,), 256), "fast", kind, False, preset("fast", 256, 1, kind)) for kind in ("photo", "drawn")
    ]
    noise = Candidate(Form((0,), 256), "balanced", "photo", False, preset("balanced", 256))
    found = try_out([*forms, noise], sample_of(flat, 1, 10**9), 10**6)
    best, worst = found.order[0], found.order[-1]
    assert sum(best.bits) < sum(worst.bits[: len(best.bits)]) or len(worst.bits) < len(best.bits)
    assert len(best.bits) == 9 and found.last > 0 and found.restart > 0


def test_a_sample_is_as_large_as_time_allows() -> None:
    pictures = [np.zeros((10, 10, 3), np.uint8)] * 40
    assert sum(sample_of(pictures, 3, 10**9).sizes) == 12_000
    some = sample_of(pictures, 3, 3000)
    assert 2400 <= sum(some.sizes) <= 3000 and len(some.pictures) == 10
    assert sum(sample_of(pictures[:1], 1, 55).sizes) == 50
    assert trial_samples(2, 10**9, 4e5, 60) == 2**20
    assert trial_samples(2, 10**9, 4e5, 0.001) == 2**16
