"""Nanoseconds per symbol of the entropy coder, beside constriction doing the same jobs in the same process.

    python benchmarks/coder.py --json coder.json

Jobs, each with its way back, all on one thread and checked to return the same symbols:
    known frequencies     bits whose masses are given: the coder alone
    one categorical       one table of 256 symbols for all
    categorical tables    a table of 16 symbols for each symbol (ours: integers; theirs: probabilities)
    gaussian              a mean and a scale for each symbol of 256, bytes out
    bernoulli             a logit (theirs: a probability) for each bit
Compiled code is warmed up first; every figure is the median of several runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import constriction
import numba
import numpy as np

import codelength
from codelength.coding.categories import pop_shared, pop_table, push_shared, push_table
from codelength.coding.frequencies import Leaf, intervals, pop_cuts, pop_elements, push_elements
from codelength.coding.stack import Stack, push_intervals

MODELS = constriction.stream.model


def nanoseconds(run: Callable[[], object], symbols: int, repeats: int) -> float:
    """Median time of one run, per symbol; the first run is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / symbols * 1e9


class Job:
    """One job done by both coders; ``there`` gives words, ``back`` gives the symbols again."""

    def __init__(self, name: str, x: np.ndarray, repeats: int) -> None:
        self.name = name
        self.x = x
        self.repeats = repeats
        self.figures: dict[str, float] = {"symbols": x.size}

    def measure(self, coder: str, there: Callable[[], np.ndarray], back: Callable[[np.ndarray], np.ndarray]) -> None:
        words = there()
        if not np.array_equal(back(words).ravel(), self.x.ravel()):
            raise SystemExit(f"{self.name}: {coder} did not give the same symbols back")
        self.figures[f"{coder}_bits"] = 32 * len(words)
        self.figures[f"{coder}_push_ns"] = nanoseconds(there, self.x.size, self.repeats)
        self.figures[f"{coder}_pop_ns"] = nanoseconds(lambda: back(words), self.x.size, self.repeats)

    def result(self) -> dict[str, float]:
        for way in ("push", "pop"):
            if f"constriction_{way}_ns" in self.figures:
                theirs, ours = self.figures[f"constriction_{way}_ns"], self.figures[f"codelength_{way}_ns"]
                self.figures[f"{way}_ratio"] = theirs / ours
        return self.figures


def packed(stack: Stack) -> np.ndarray:
    return stack.to_words()


def unpacked(words: np.ndarray) -> Stack:
    return Stack.from_words([words], 4)


def spread_table(rng: np.random.Generator, symbols: int) -> np.ndarray:
    """Random frequencies with sum 2^24."""
    freqs = np.floor(rng.dirichlet(np.full(symbols, 0.5)) * (2**24 - symbols)).astype(np.int64) + 1
    freqs[int(np.argmax(freqs))] += 2**24 - freqs.sum()
    return freqs


def known_frequencies(rng: np.random.Generator, repeats: int) -> Job:
    shape = (784, 1024)  # in the order of the turns: a thousand bits at each position
    cuts = (2**24 / (1 + np.exp(rng.normal(0, 3, shape)))).clip(1, 2**24 - 1).astype(np.uint32)
    x = (rng.random(shape) >= cuts / 2**24).astype(np.uint32)
    starts, freqs = x * cuts, np.where(x, 2**24 - cuts, cuts)
    job = Job("known frequencies", x.T, repeats)

    def there() -> np.ndarray:
        stack = Stack()
        push_intervals(starts.T, freqs.T, 24, stack)
        return packed(stack)

    def back(words: np.ndarray) -> np.ndarray:
        stack, bits = unpacked(words), cuts.copy()
        stack.hold(shape[1])
        stack.check(pop_cuts(bits, len(bits), 24, stack.state, stack.words, stack.count, stack.bounds))
        return bits.T

    job.measure("codelength", there, back)
    return job


def one_categorical(rng: np.random.Generator, repeats: int) -> Job:
    row = spread_table(rng, 256)
    x = rng.choice(256, size=(1024, 200), p=row / 2**24).astype(np.int32)
    job = Job("one categorical", x, repeats)

    def there() -> np.ndarray:
        stack = Stack()
        push_shared(row, x, 24, stack)
        return packed(stack)

    job.measure("codelength", there, lambda words: pop_shared(row, x.shape, 24, unpacked(words)))
    flat = x.ravel()

    def their_model() -> object:
        return MODELS.Categorical(row / 2**24, perfect=False)

    def their_there() -> np.ndarray:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(flat, their_model())
        return coder.get_compressed()

    def their_back(words: np.ndarray) -> np.ndarray:
        return constriction.stream.stack.AnsCoder(words).decode(their_model(), flat.size)

    job.measure("constriction", their_there, their_back)
    return job


def categorical_tables(rng: np.random.Generator, repeats: int) -> Job:
    tables = np.stack([spread_table(rng, 16) for _ in range(20000)])
    x = (rng.random(20000)[:, None] > np.cumsum(tables, axis=1) / 2**24).sum(axis=1).astype(np.int32)
    job = Job("categorical tables", x, repeats)

    def there() -> np.ndarray:
        stack = Stack()
        push_table(tables, x, 24, stack)
        return packed(stack)

    job.measure("codelength", there, lambda words: pop_table(tables, 24, unpacked(words)))
    probabilities = tables / 2**24
    family = MODELS.Categorical(perfect=False)

    def their_there() -> np.ndarray:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(x, family, probabilities)
        return coder.get_compressed()

    def their_back(words: np.ndarray) -> np.ndarray:
        return constriction.stream.stack.AnsCoder(words).decode(family, probabilities)

    job.measure("constriction", their_there, their_back)
    return job


def leaf_job(
    leaf: Leaf, params: np.ndarray, x: np.ndarray, family: object, theirs: list[np.ndarray], repeats: int
) -> Job:
    """Parameters in, words out; ``theirs`` holds the real-valued parameters for ``family``, flat."""
    job = Job(leaf.family, x, repeats)

    def there() -> np.ndarray:
        stack = Stack()
        push_elements(leaf, params, x, stack)
        return packed(stack)

    job.measure("codelength", there, lambda words: pop_elements(leaf, params, unpacked(words)))
    flat = x.ravel()

    def their_there() -> np.ndarray:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(flat, family, *theirs)
        return coder.get_compressed()

    def their_back(words: np.ndarray) -> np.ndarray:
        return constriction.stream.stack.AnsCoder(words).decode(family, *theirs)

    job.measure("constriction", their_there, their_back)
    return job


def gaussian(rng: np.random.Generator, repeats: int) -> Job:
    shape = (1024, 200)
    means, log_scales = np.round(rng.uniform(0, 256 * 64, shape)), np.round(rng.uniform(0, 4 * 256, shape))
    real = means / 64, np.exp(log_scales / 256)
    x = np.clip(np.round(rng.normal(*real)), 0, 255).astype(np.int32)
    params = np.stack([means, log_scales], axis=2).astype(np.float32)
    theirs = [values.ravel() for values in real]
    return leaf_job(Leaf("gaussian", 256), params, x, MODELS.QuantizedGaussian(0, 255), theirs, repeats)


def bernoulli(rng: np.random.Generator, repeats: int) -> Job:
    leaf = Leaf("bernoulli", 2)
    logits = np.round(rng.normal(0, 3000, (1000, 784, 1))).astype(np.float32)
    _, ones = intervals(leaf, logits, np.ones(logits.shape[:2], np.int32))
    x = (rng.random(ones.shape) < ones / 2**24).astype(np.int32)
    return leaf_job(leaf, logits, x, MODELS.Bernoulli(perfect=False), [(ones / 2**24).ravel()], repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    numba.set_num_threads(1)
    rng = np.random.default_rng(0)
    results = {}
    print(f"{'nanoseconds a symbol':22}{'push':>8}{'pop':>8}   constriction push, pop    ratios")
    for make in (known_frequencies, one_categorical, categorical_tables, gaussian, bernoulli):
        job = make(rng, arguments.repeats)
        figures = results[job.name] = job.result()
        line = f"{job.name:22}{figures['codelength_push_ns']:8.1f}{figures['codelength_pop_ns']:8.1f}"
        if "push_ratio" in figures:
            line += f"{figures['constriction_push_ns']:15.1f}{figures['constriction_pop_ns']:8.1f}"
            line += f"{figures['push_ratio']:13.1f}{figures['pop_ratio']:7.1f}"
        print(line)
    if arguments.json:
        report = {
            "lanes": 4,
            "threads": 1,
            "repeats": arguments.repeats,
            "machine": platform.processor() or platform.machine(),
            "versions": {
                "codelength": codelength.__version__,
                "constriction": version("constriction"),
                "numba": numba.__version__,
                "numpy": np.__version__,
            },
            "jobs": results,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
