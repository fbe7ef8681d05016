"""Numbers at the ends of what the document proves: the plain version asserts the bounds where it computes, and the
compiled one, whose integers have 32 and 64 bits, makes the same decisions."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import reader_adaptive as second
from adaptive_programs import Record, random_program
from test_adaptive_reader import compiled, decisions_of, plain

TOP = 65535


def extreme_images(shape: tuple[int, int], channels: int) -> list[np.ndarray]:
    y, x, c = np.indices((*shape, channels))
    rng = np.random.default_rng(0)
    images = [
        (x + y + c) % 2 * TOP,
        x % 2 * TOP,
        y % 2 * TOP,
        (x // 2 + y) % 2 * TOP,
        (x + y) * 9362 % (TOP + 1),
        rng.integers(0, 2, x.shape) * TOP,
        rng.integers(0, TOP + 1, x.shape),
    ]
    return images if channels > 1 else [image[..., 0] for image in images]


def widest(channels: int, **more: object) -> Record:
    """All inputs that there may be, predictors of 32 taps that forget at each speed, in 16 bits."""
    taps = [[b, dy, dx, 0] for b in range(channels) for dy in (0, -1, -2, -3) for dx in range(-4, 5) if dy or dx < 0]
    taps = [*sorted(taps, key=lambda tap: abs(tap[1]) + abs(tap[2]) + tap[0])[:31], [0, 0, 0, 1]]
    assert len(taps) == 32
    contexts = [number for j in range(48) for number in (1 + j % 50, 64 + 1 + (j * 7) % 50, 0)]
    tensors = {"taps": np.array(taps, np.int32), "contexts": np.array(contexts, np.int32)}
    record = {
        "law": "adaptive", "symbols": TOP + 1, "shape": [None, None, channels][: 2 if channels == 1 else 3],
        "order": list(range(channels)), "contexts": "contexts", "double": True, "sets": 3, "table_bits": 8,
        "predictors": [{"taps": "taps", "forget": forget} for forget in (4, 11, 12, 13)],
        "whiten": 0, "gradient": 0, "solve": 1, "rate_first": 127, "rate_last": 127, "rate_final": 127,
    }  # fmt: skip
    return {**record, **more}, tensors


@pytest.mark.parametrize("tree", ["residual", "value"])
def test_extremes_of_sixteen_bits(tree: str) -> None:
    record = widest(2, tree=tree)
    images = [image[:3, :4] for image in extreme_images((3, 4), 2)]
    expected = [d for segment in plain(record).segments(images) for d in segment]
    assert decisions_of(compiled(record), images) == expected


def highest(system: second.System) -> int:
    """The largest product that forgets no more than it learns from the largest samples."""
    learned = (1023**2 + (2**system.D >> 1)) >> system.D
    start = (learned << system.forget) + 2 ** (system.forget - 1) - 1
    assert start < 2**31
    return start


@pytest.mark.parametrize("forget", [4, 10, 11, 12, 13])
def test_products_of_extremes_stay_within_their_bound_forever(forget: int) -> None:
    """The fixed points themselves: from what the recursion tends to, and from just under the bound's end."""
    for signs in ((1, 1), (1, -1)):
        system = second.System(2, forget, 4096)
        for _ in range(200):
            system.learn([1023 * signs[0], 1023 * signs[1]], 1023, 0, 1)
        start = highest(system)
        assert 0 < system.R[0][0] < start
        system.R = [[start if i == j else start * signs[0] * signs[1] for j in range(2)] for i in range(2)]
        system.b = [start * signs[0], start * signs[1]]
        for _ in range(300):
            system.learn([1023 * signs[0], 1023 * signs[1]], 1023, 0, 1)
        assert system.R[0][0] == start and 0 <= start - abs(system.R[0][1]) <= 2**forget


@pytest.mark.parametrize("sign", [1, -1])
def test_full_weights_and_full_products_do_not_overflow(sign: int) -> None:
    """The state put at its ends, as no data would bring all of it there at once."""
    record = widest(1)
    images = [image[:2, :4] for image in extreme_images((2, 4), 1)]
    mine, theirs = plain(record), compiled(record)
    most = 2**19 - 1
    probability = 2**22 - 1 if sign > 0 else 0
    weights = [most] * len(mine.first_weights)
    mine.weights = defaultdict(lambda: list(weights))
    mine.counters = defaultdict(lambda: (probability, 255))
    for k, predictor in enumerate(record[0]["predictors"]):
        for slope in range(4):
            system = mine.systems[k, 0, slope] = second.System(32, predictor["forget"], 64)
            start = highest(system)
            system.R = [[start] * 32 for _ in range(32)]
            system.b = [sign * start] * 32
            system.w = [sign * 2**19] * 32
            theirs._state.products[k, slope] = start
            theirs._state.targets[k, slope] = sign * start
            theirs._state.weights[k, slope] = sign * 2**19
    theirs._state.mixers[..., : len(weights)] = most
    theirs._state.counters[...] = probability << 10 | 255
    expected = [d for segment in mine.segments(images) for d in segment]
    assert decisions_of(theirs, images) == expected
    for k in range(4):
        for slope in range(4):
            assert np.array_equal(theirs._state.products[k, slope], mine.systems[k, 0, slope].R)
            assert np.array_equal(theirs._state.targets[k, slope], mine.systems[k, 0, slope].b)
            assert np.array_equal(theirs._state.weights[k, slope], mine.systems[k, 0, slope].w)


def test_the_state_after_random_programs_is_the_same() -> None:
    for seed in (200, 201, 202):
        record = random_program(seed)
        channels, symbols = len(record[0]["order"]), record[0]["symbols"]
        images = [np.random.default_rng(seed).integers(0, symbols, (3, 4, channels)) for _ in range(2)]
        if channels == 1 and len(record[0]["shape"]) == 2:
            images = [image[..., 0] for image in images]
        mine, theirs = plain(record), compiled(record)
        assert decisions_of(theirs, images) == [d for segment in mine.segments(images) for d in segment]
        state = theirs._state
        for (k, c, slope), system in mine.systems.items():
            count = len(system.w)
            assert state.weights[k, 4 * c + slope, :count].tolist() == system.w
            assert state.products[k, 4 * c + slope, :count, :count].tolist() == system.R
        assert all(state.scales[place] == value for place, value in mine.S.items())
        assert all(state.bias[place] == value for place, value in mine.B.items())
        for (j, place), (probability, times) in mine.counters.items():
            assert state.counters[j, place] == probability << 10 | times
        for (s, row), weights in mine.weights.items():
            assert state.mixers[s, row, : len(weights)].tolist() == weights
        for node, finals in mine.final.items():
            assert state.finals[node].tolist() == finals
