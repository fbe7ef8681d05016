"""The same decisions in threads, by copies, with bounds checks, and by a processor of few instructions."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from adaptive_programs import Record, random_program, trying_images
from test_adaptive_reader import compiled

from codelength.adaptive.learner import Learner

SEEDS = [0, 3, 6, 9, 11, 17, 24]


def images_of(record: Record, seed: int) -> list[np.ndarray]:
    fields, _ = record
    channels = len(fields["order"])
    images = trying_images(fields["symbols"], channels, seed)
    return [image[..., None] for image in images] if channels == 1 and len(fields["shape"]) == 3 else images


def words_of(seed: int) -> bytes:
    """Of a random program, after they have come back."""
    record = random_program(seed)
    images = images_of(record, seed)
    words = compiled(record).encode(images)
    found = compiled(record).decode(words, [image.shape for image in images])
    assert all(np.array_equal(a, b) for a, b in zip(images, found))
    return words.tobytes()


def digest() -> str:
    return hashlib.sha256(b"".join(map(words_of, SEEDS))).hexdigest()


def test_four_threads_make_the_words_of_one() -> None:
    alone = [words_of(seed) for seed in SEEDS]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(words_of, SEEDS * 3))
    assert together == alone * 3


def test_copies_taught_apart_stay_apart() -> None:
    for seed in SEEDS:
        record = random_program(seed)
        images = images_of(record, seed)
        teacher = compiled(record)
        first = teacher.encode(images[:4])
        twins = [teacher.copy() for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            words = list(pool.map(Learner.encode, twins, [images[4 + skipped :] for skipped in range(4)]))
        expected = []
        for skipped in range(4):
            learner = compiled(record)
            assert np.array_equal(learner.encode(images[:4]), first)
            expected.append(learner.encode(images[4 + skipped :]))
        assert all(np.array_equal(a, b) for a, b in zip(words, expected))
        assert np.array_equal(teacher.encode(images[4:]), expected[0])


@pytest.mark.parametrize("environment", [{"NUMBA_BOUNDSCHECK": "1"}, {"NUMBA_CPU_NAME": "generic"}], ids=str)
def test_other_processes_make_the_same_words(environment: dict[str, str], pytestconfig: pytest.Config) -> None:
    # These kernels are others: a cache of their own keeps them from being compiled anew for every run of the tests.
    cache = pytestconfig.cache.mkdir("kernels-that-learn-" + next(iter(environment)).lower().replace("_", "-"))
    here = Path(__file__).parent
    paths = [here, here.parent / "golden", here.parents[1] / "src"]
    environment = {**environment, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(map(str, paths))}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import test_adaptive_processes as t; print(t.digest())"],
        env={
            **os.environ,
            **environment,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == digest()
