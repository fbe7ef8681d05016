"""What a command costs on a machine where kernels are yet to be compiled, and where they are: processor seconds.

    python -m benchmarks.startup
    python -m benchmarks.startup --beside ../before/src      another version of the package, in turns with this one

Processes of their own write 360 items of digits to an archive and read them back. Processor time, user and system, is
what a machine with other work to do tells most reliably; bytecode is there in all cases, as after an installation.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import Benchmark, parser

SOURCE = Path(__file__).parents[1] / "src"
DATA, MODEL = "threshold-digits:test[:360]", "made-digits"


def processor_seconds(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Processor and elapsed seconds of ``python -m codelength`` with these arguments."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "codelength", *arguments], env=environment, check=True)
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, elapsed


def measure(source: Path, room: Path, command: str, threads: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Times of a command of the package in the folder ``source``: ``cold`` (without kernels) and ``warm``."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
        "PYTHONPATH": str(source),
        "PYTHONPYCACHEPREFIX": str(room / "bytecode"),
        "NUMBA_CACHE_DIR": str(room / "kernels"),
    }
    archive, array = str(room / "digits.clen"), str(room / "digits.npy")
    writing = ["compress", DATA, archive, "--model", MODEL, "--quiet"]
    arguments = {"compress": writing, "decompress": ["decompress", archive, array, "--quiet"]}
    results: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}

    def run(name: str) -> tuple[float, float]:
        for path in (archive, array) if name == "compress" else (array,):
            Path(path).unlink(missing_ok=True)
        return processor_seconds(arguments[name], environment)

    run("compress")
    run("decompress")  # bytecode and the archive are there now
    shutil.rmtree(room / "kernels", ignore_errors=True)
    results["cold"].append(run(command))
    for _ in range(repeats):
        results["warm"].append(run(command))
    return results


def main(argv: list[str] | None = None) -> None:
    options = parser("startup", __doc__)
    options.add_argument("--beside", type=Path, metavar="SRC", help="the src folder of another version, in turns")
    options.add_argument("--turns", type=int, default=3, help="how often each command is measured cold")
    options.add_argument("--repeats", type=int, default=3, help="and warm, each time")
    arguments: argparse.Namespace = options.parse_args(argv)
    benchmark = Benchmark("startup", arguments)
    sources = {"this": SOURCE} | ({} if arguments.beside is None else {"beside": arguments.beside})
    for command in ("compress", "decompress"):
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(arguments.turns):
            for name, source in sources.items():
                with tempfile.TemporaryDirectory() as room:
                    times = measure(source.resolve(), Path(room), command, arguments.threads, arguments.repeats)
                for state, some in times.items():
                    found.setdefault((name, state), []).extend(some)
        for (name, state), some in sorted(found.items()):
            row = {
                "command": command,
                "kernels": state,
                "processor_seconds": round(statistics.median(seconds for seconds, _ in some), 2),
                "elapsed_seconds": round(statistics.median(elapsed for _, elapsed in some), 2),
                "runs": len(some),
            }
            benchmark.add(row if arguments.beside is None else {"package": name, **row})
    benchmark.write(data=DATA, model=MODEL)


if __name__ == "__main__":
    main()
