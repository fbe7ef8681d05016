"""Importance sampling of models with latents: draws per second, over the machine's matrix-product rate; its memory.

    python -m benchmarks.importance --case mnist:test=runs/vae-mnist

A case is a data set and a model: a run folder, whose float model draws, or a packaged name or model file, which is
thawed. A row for the log-weights alone, streamed in chunks as estimates take them, one for ``evaluate`` with the
importance estimator, which also orders, checks and sums up, and, where a frozen model is named, one for ``frozen``:
``evaluate`` in the arithmetic of files, as it is unless told otherwise. Multiply-adds are those that torch, or frozen
networks, execute, encoders and decoders together, over the draws; ``share_of_product`` is their rate over that of a
float32 matrix product in the same process with the same threads: the median of runs that take turns with the product,
in processor time where there is one thread. ``growth_mib`` is by how much the peak memory of a
process rises when it goes on from few draws per item to many.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import codelength as cl
from benchmarks.bits_back import metered
from benchmarks.common import Benchmark, Row, clock, limit_threads, parser, product_rate
from codelength.data.dataset import DataSet
from codelength.errors import CodelengthError, UsageError
from codelength.likelihood.weights import ImportanceResult, WeightStream

CASES = ("mnist:test=vae-mnist",)
#: Of which the median counts; an odd number.
RUNS = 5

#: (items, draws of each) -> log-weights (draws, n), nats
Weigh = Callable[[Tensor, int], Tensor]


def float_model(name: str) -> Any:
    """The module of a run folder, or a thawed frozen model. Raises UsageError where its likelihood is no bound."""
    if Path(name).is_dir():
        from codelength.training.run import load_run

        module: Any = load_run(name).model
    else:
        from codelength.freezing.thaw import thaw

        module = thaw(cl.load(name))
    if module.law().kind == "exact":
        raise UsageError("a model with an exact likelihood has no weights to draw")
    return module.eval()


def weigher(module: Any, seed: int) -> Weigh:
    """Log-weights of draws from the posterior; an autoencoder encodes the items once for all draws of a call."""
    generator = torch.Generator().manual_seed(seed)
    if hasattr(module, "log_weights") and not getattr(module, "labels", 0):
        return lambda x, count: module.log_weights(x, count, generator)
    law = module.law()
    return lambda x, count: law.log_weights(x, {"shape": tuple(x.shape[1:]), "generator": generator}, count)


def streamed(weigh: Weigh, x: Tensor, draws: int, chunk: int) -> ImportanceResult:
    """The bound of ``draws`` draws, ``chunk`` at a time."""
    stream = WeightStream(draws)
    with torch.inference_mode():
        for start in range(0, draws, chunk):
            stream.add(weigh(x, min(chunk, draws - start)).double().numpy())
    return stream.result()


@dataclass(frozen=True)
class System:
    """What is measured, a function of the draws per item, and how the multiply-adds of a call are counted."""

    run: Callable[[int], object]
    executed: Callable[[Callable[[], object]], int]


def in_torch(run: Callable[[], object]) -> int:
    """Multiply-adds of the matrix products and convolutions that torch executes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def systems(name: str, data: DataSet, arguments: argparse.Namespace) -> dict[str, System]:
    module = float_model(name)
    x = torch.from_numpy(np.asarray(data.items).astype(np.int64))
    weigh = weigher(module, arguments.seed)

    def evaluated(model: Any) -> Callable[[int], object]:
        return lambda draws: cl.evaluate(model, data, estimator="importance", samples=draws, seed=arguments.seed)

    found = {
        "log_weights": System(lambda draws: streamed(weigh, x, draws, arguments.chunk), in_torch),
        "evaluate": System(evaluated(module), in_torch),
    }
    if not Path(name).is_dir():
        frozen = cl.load(name)

        def in_frozen_networks(run: Callable[[], object]) -> int:
            with metered(frozen) as passes:
                run()
            return passes.multiply_adds

        found["frozen"] = System(evaluated(frozen), in_frozen_networks)
    return found


def throughput(name: str, data: DataSet, arguments: argparse.Namespace) -> Iterator[Row]:
    for label, system in systems(name, data, arguments).items():
        counted = system.executed(lambda run=system.run: run(arguments.chunk)) / (len(data) * arguments.chunk)
        system.run(arguments.chunk)
        now = clock(arguments.threads)
        runs = []
        for _ in range(RUNS):
            # Right before what it is compared with: clocks change while a process runs.
            rate, start = product_rate(arguments.threads), now()
            system.run(arguments.draws)
            speed = len(data) * arguments.draws / (now() - start)
            runs.append((speed / rate, speed, rate))
        _, speed, rate = sorted(runs)[RUNS // 2]
        yield {
            "system": label,
            "items": len(data),
            "draws": arguments.draws,
            "draws_s": speed,
            "multiply_adds": counted,
            "product_multiply_adds_s": rate,
            "share_of_product": speed * counted / rate,
        }


# ---- memory ------------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    try:
        # That of the program alone: what getrusage says may be that of the process that started it.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        found = None
    if found:
        return int(found[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def peaks(name: str, spec: str, system: str, arguments: argparse.Namespace) -> tuple[int, int]:
    """Peaks after few draws and after many. To be run in a process of its own, where nothing else has been."""
    limit_threads(arguments.threads)
    run = systems(name, chosen(spec, arguments), arguments)[system].run
    run(arguments.few)
    few = peak_bytes()
    run(arguments.many)
    return few, peak_bytes()


def apart(name: str, spec: str, system: str, arguments: argparse.Namespace) -> tuple[int, int]:
    """``peaks`` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peaks, name, spec, system, arguments).result()


# ---- the command -------------------------------------------------------------------------------------------


def chosen(spec: str, arguments: argparse.Namespace) -> DataSet:
    """A seeded random part of a data set."""
    return cl.load_data(spec).subset(arguments.items, arguments.seed)


def case(text: str, arguments: argparse.Namespace) -> Iterator[Row]:
    spec, _, name = text.partition("=")
    frame: Row = {"data": spec, "model": Path(name).name}
    try:
        data = chosen(spec, arguments)
        frame["data"] = data.name
        for row in throughput(name, data, arguments):
            if arguments.many:
                few, many = apart(name, spec, row["system"], arguments)
                row |= {"few": arguments.few, "many": arguments.many}
                row |= {"peak_mib": many / 2**20, "growth_mib": (many - few) / 2**20}
            yield {**frame, **row}
    except CodelengthError as error:
        yield {**frame, "note": f"not measured: {error}"}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("importance", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", help=f"default: {', '.join(CASES)}")
    options.add_argument("--items", type=int, default=32, help="a seeded random part of the data set")
    options.add_argument("--draws", type=int, default=64, help="draws of each item that are timed")
    options.add_argument("--chunk", type=int, default=16, help="draws of each item in one pass")
    options.add_argument("--few", type=int, default=16, help="draws of each item before memory is compared")
    options.add_argument("--many", type=int, default=512, help="and after; 0 leaves memory out")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("importance", arguments)
    for text in arguments.case or CASES:
        for row in case(text, arguments):
            benchmark.add(row)
    cases = [f"{s.partition('=')[0]}={Path(s.partition('=')[2]).name}" for s in arguments.case or CASES]
    return benchmark.write(("numpy", "torch"), cases=cases)


if __name__ == "__main__":
    main()
