"""Every benchmark, one after another, on settings that take minutes: writes all files of ``benchmarks/results``.

    python -m benchmarks.all

The machine should have nothing else to do. A benchmark that fails is named at the end, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from benchmarks.common import RESULTS

# Sizes are those that the text quotes where that takes seconds, and a seeded random part of the data elsewhere.
COMMANDS: dict[str, list[str]] = {
    "startup": [],
    "coder": [],
    "sampling": [],
    "float_tables": [],
    "codecs": ["--limit", "1000", "--per-image", "200"],
    "bits_back": ["--limit", "1000"],
    "importance": [],
    "pack": [word for name in ("mnist", "cifar10", "binarized-mnist") for word in ("--case", f"{name}[:200]")]
    + ["--compare"],
    "overhead": ["--threads", str(os.cpu_count() or 1)],  # nothing is timed
}


def main(argv: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.all", description="Run every benchmark.")
    options.add_argument("only", nargs="*", metavar="NAME", help=f"some of: {', '.join(COMMANDS)}")
    arguments = options.parse_args(argv)
    unknown = set(arguments.only) - set(COMMANDS)
    if unknown:
        options.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    failed = []
    for name in arguments.only or COMMANDS:
        start = time.perf_counter()
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(RESULTS / f"{name}.json"), *COMMANDS[name]]
        # Threads are set before the libraries start, so that none of them spins up more than it is to use.
        threads = COMMANDS[name][COMMANDS[name].index("--threads") + 1] if "--threads" in COMMANDS[name] else "1"
        keys = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        if subprocess.run(command, env={**os.environ, **dict.fromkeys(keys, threads)}).returncode:
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
