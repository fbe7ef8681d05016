"""Adaptive programs drawn from all that the document allows, and images that try them."""

from __future__ import annotations

from typing import Any

import numpy as np
from reader_adaptive import RANGES

Record = tuple[dict[str, Any], dict[str, np.ndarray]]


def random_taps(rng: np.random.Generator, channels: int) -> list[list[int]]:
    places = [
        [b, dy, dx, 0]
        for b in range(4)
        for dy in range(-3, 1)
        for dx in range(-4, 5)
        if dy < 0 or dx < 0 or (b > 0 and dx == 0)
    ] + [[b, dy, dx, 1] for b in range(4) for dy in range(-2, 3) for dx in range(-2, 3)]
    likely = [place for place in places if place[0] < channels]
    chosen = places if rng.random() < 0.2 else likely
    count = min(int(rng.choice([1, 2, 3, 6, 12, 32])), len(chosen))
    taps = [chosen[i] for i in rng.choice(len(chosen), count, replace=False)]
    if all(tap[0] for tap in taps):
        taps[int(rng.integers(len(taps)))] = [0, 0, -1, 0] if rng.random() < 0.5 else [0, -1, 0, 0]
    return taps


def random_contexts(rng: np.random.Generator, count: int) -> list[int]:
    numbers: list[int] = []
    for _ in range(count):
        for _ in range(int(rng.choice([1, 2, 3, 8]))):
            numbers.append(int(rng.integers(1, 51)) + 64 * int(rng.integers(4)) + 256 * int(rng.choice([0, 0, 1, 16])))
        numbers.append(0)
    return numbers


def random_program(seed: int) -> Record:
    """A record and its tensors; numbers stand at their extremes as often as between them."""
    rng = np.random.default_rng([12, seed])
    channels = int(rng.choice([1, 1, 2, 3, 4]))
    bits = [1, 2, 8, 12, 16][seed % 5]
    symbols = 2**bits if rng.random() < 0.6 else int(rng.integers(2 ** (bits - 1) + 1, 2**bits + 1))
    record: dict[str, Any] = {
        "law": "adaptive",
        "symbols": max(symbols, 2),
        "shape": [None, None] if channels == 1 and rng.random() < 0.7 else [None, None, channels],
        "order": rng.permutation(channels).tolist(),
        "tree": ["residual", "value"][int(rng.integers(2))],
        "contexts": "contexts",
        "double": bool(rng.integers(2)),
        "maps": bool(rng.integers(2)),
    }
    for name, (least, most, _) in RANGES.items():
        choice = rng.random()
        if choice < 0.3:
            continue
        record[name] = least if choice < 0.5 else most if choice < 0.7 else int(rng.integers(least, most + 1))
    record["table_bits"] = int(rng.choice([8, 10, 14, 16]))  # tables are zeroed for every learner
    tensors = {"contexts": np.array(random_contexts(rng, int(rng.choice([1, 4, 9, 48]))), np.int32)}
    record["predictors"] = []
    for k in range(int(rng.integers(1, 5))):
        tensors[f"taps{k}"] = np.array(random_taps(rng, channels), np.int32)
        predictor: dict[str, Any] = {"taps": f"taps{k}", "forget": int(rng.choice([4, 7, 11, 12, 13]))}
        if rng.random() < 0.6:
            predictor["split"] = bool(rng.integers(2))
        record["predictors"].append(predictor)
    return record, tensors


def trying_images(symbols: int, channels: int, seed: int) -> list[np.ndarray]:
    """Noise, constants, checkerboards of the extremes, ramps, the same again, single rows and columns, in an order
    drawn for the seed."""
    rng = np.random.default_rng([21, seed])
    top = symbols - 1
    ramp = np.linspace(0, top, 5 * 6 * channels).astype(int).reshape(5, 6, channels)
    images = [
        rng.integers(0, symbols, (4, 6, channels)),
        np.full((2, 6, channels), top),
        np.zeros((3, 3, channels), int),
        (np.indices((5, 6, channels)).sum(0) % 2) * top,
        ramp,
        np.minimum(ramp + 1, top),
        rng.integers(0, symbols, (1, 1, channels)),
        rng.integers(0, symbols, (7, 1, channels)),
        np.minimum(rng.geometric(0.4, (1, 8, channels)) - 1, top),
    ]
    images = [images[i] for i in rng.permutation(len(images))]
    return images if channels > 1 else [image[..., 0] for image in images]
