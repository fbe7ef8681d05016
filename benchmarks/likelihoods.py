"""Likelihoods on test sets, as ``codelength evaluate`` gives them, of packaged models and of finished runs.

    python -m benchmarks.likelihoods --case threshold-mnist:test=runs/made-threshold-mnist

Of packaged models the figures that they were published with are taken; they come from the same command.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import codelength as cl
from benchmarks.common import Benchmark, Row, limit_threads, parser


def case(spec: str, arguments: argparse.Namespace) -> Row:
    name, _, model = spec.partition("=")
    packaged = cl.packaged_models().get(model)
    if packaged is not None and packaged.figures.get("data") == name:
        figures: dict[str, Any] = packaged.figures
    else:
        estimate = cl.evaluate(model, cl.load_data(name))
        figures = {key: getattr(estimate, key) for key in ("items", "nats", "nats_se", "bits_per_dim", "kind")}
    keys = ("items", "nats", "nats_se", "bits_per_dim", "kind")
    return {"data": name, "model": Path(model).name, **{key: figures[key] for key in keys}}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("likelihoods", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", required=True)
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("likelihoods", arguments)
    for spec in arguments.case:
        benchmark.add(case(spec, arguments))
    return benchmark.write(
        ("numpy", "numba"), cases=[s.split("=")[0] + "=" + Path(s.split("=")[1]).name for s in arguments.case]
    )


if __name__ == "__main__":
    main()
