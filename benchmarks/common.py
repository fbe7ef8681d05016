"""What the benchmark commands share: their command line, the frame of their JSON, and the stopwatch.

Every results file has the keys ``benchmark, command, version, versions, machine, threads, seed, loaded`` (whether
other work was running, at the start or at the end), ``other_cores_busy, seconds``, beside ``settings`` (what was
measured) and ``results`` (a list of rows, flat dictionaries of one kind).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# Cores that other processes may use before the times count as disturbed.
BUSY = 0.25

Row = dict[str, Any]


class Benchmark:
    """The frame of one results file; made before the work starts, so that it notices other work on the machine."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name = name
        self.arguments = arguments
        self.started = time.perf_counter()
        self.others = [busy_cores()]
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keep a row, and show it."""
        self.rows.append(row)
        print("  ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)

    def report(self, packages: Iterable[str], settings: dict[str, Any]) -> dict[str, Any]:
        self.others.append(busy_cores())
        known = [cores for cores in self.others if cores is not None]
        return {
            "benchmark": self.name,
            "command": f"python -m benchmarks.{self.name} {' '.join(_flags(self.arguments))}".strip(),
            "version": version("codelength"),
            "versions": {"python": platform.python_version(), **package_versions(packages)},
            "machine": machine(),
            "threads": self.arguments.threads,
            "seed": self.arguments.seed,
            "loaded": max(known) > BUSY if known else None,
            "other_cores_busy": self.others,
            "seconds": round(time.perf_counter() - self.started, 1),
            "settings": settings,
            "results": self.rows,
        }

    def write(self, packages: Iterable[str] = ("numpy", "numba"), **settings: Any) -> dict[str, Any]:
        """Write the results file and return what stands in it."""
        report = self.report(packages, settings)
        path = self.arguments.json
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        if report["loaded"]:
            print("other work was running on this machine: the times are not to be quoted", file=sys.stderr)
        print(f"wrote {path}")
        return report


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks have."""
    result = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(description or "").split("\n")[0]
    )
    result.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="where the figures go")
    result.add_argument("--threads", type=int, default=1, help="threads of every numerical library")
    result.add_argument("--seed", type=int, default=0)
    return result


def limit_threads(count: int) -> None:
    """Hold torch, numba and the BLAS libraries that are loaded to a number of threads."""
    import numba
    import threadpoolctl

    threadpoolctl.threadpool_limits(count)
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def median_seconds(run: Callable[[], object], repeats: int, budget: float = 10.0) -> float:
    """Median time of a run after one that does not count; fewer repeats where they would exceed the budget."""
    run()
    times: list[float] = []
    while not times or (len(times) < repeats and sum(times) < budget):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def clock(threads: int) -> Callable[[], float]:
    """Seconds as a share of the machine is told in: of this process with one thread, so that other work beside it
    counts little, and of the wall with more."""
    return time.process_time if threads == 1 else time.perf_counter


def product_rate(threads: int = 1, size: int = 1024, repeats: int = 3) -> float:
    """Multiply-adds per second of a product of two square float32 matrices: the quickest run of the faster library.

    numpy and torch, where it is loaded, bring BLAS libraries of their own; a share of this rate is one of what the
    machine can do, whichever of them was used.
    """
    import numpy as np

    a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
    products: list[Callable[[], object]] = [lambda: a @ b]
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        c, d = torch.from_numpy(a), torch.from_numpy(b)
        products.append(lambda: c @ d)
    now, best = clock(threads), float("inf")
    for product in products:
        product()
        for _ in range(repeats):
            start = now()
            product()
            best = min(best, now() - start)
    return size**3 / best


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The processor, as the system calls it, and how many cores there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    return {"processor": name, "cores": os.cpu_count(), "system": platform.system()}


def busy_cores(seconds: float = 0.5) -> float | None:
    """How many cores are busy while this process sleeps; None where the system does not say."""
    before = _processor_times()
    time.sleep(seconds)
    after = _processor_times()
    if before is None or after is None or after[1] <= before[1]:
        return None
    busy = 1 - (after[0] - before[0]) / (after[1] - before[1])
    return round(busy * (os.cpu_count() or 1), 2)


def _processor_times() -> tuple[int, int] | None:
    """Ticks that the processors were idle, and all ticks (Linux)."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    ticks = [int(value) for value in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _flags(arguments: argparse.Namespace) -> list[str]:
    """The options that shape the measurement, where the file lands left out."""
    flags = []
    for key, value in sorted(vars(arguments).items()):
        if key == "json" or value is None or value is False or value == []:
            continue
        flag = "--" + key.replace("_", "-")
        values = value if isinstance(value, list) else [value]
        flags.append(flag if value is True else " ".join([flag, *map(str, values)]))
    return flags
