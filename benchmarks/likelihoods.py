"""Likelihoods on test sets, as ``codelength evaluate`` gives them, of packaged models and of finished runs.

    python -m benchmarks.likelihoods --case threshold-mnist:test=runs/made-threshold-mnist
    python -m benchmarks.likelihoods --case dynamic-mnist:test=vae-dynamic-mnist --estimator importance --samples 64

Of packaged models the figures that they were published with are taken, unless an estimator is asked for; they come
from the same command.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import codelength as cl
from benchmarks.common import Benchmark, Row, limit_threads, parser

ASKED = ("estimator", "samples", "proposal", "temperatures", "limit")


def case(spec: str, arguments: argparse.Namespace) -> Row:
    name, _, model = spec.partition("=")
    packaged = cl.packaged_models().get(model)
    keys = ("items", "nats", "nats_se", "bits_per_dim", "kind")
    row: Row = {"data": name, "model": Path(model).name}
    asked = {key: getattr(arguments, key) for key in ASKED if getattr(arguments, key) is not None}
    if not asked and packaged is not None and packaged.figures.get("data") == name:
        figures: dict[str, Any] = packaged.figures
    else:
        estimate = cl.evaluate(model, cl.load_data(name), seed=arguments.seed, **asked)
        figures = {key: getattr(estimate, key) for key in keys}
        # What has no meaning for an exact model is left out.
        row |= {key: value for key, value in asked.items() if key != "limit" and estimate.kind != "exact"}
    return {**row, **{key: figures[key] for key in keys}}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("likelihoods", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", required=True)
    options.add_argument("--estimator", help="elbo, importance or annealed, of models whose likelihood is a bound")
    options.add_argument("--samples", type=int, help="draws, or chains, of each item")
    options.add_argument("--proposal", help="of importance sampling")
    options.add_argument("--temperatures", type=int, help="of annealing")
    options.add_argument("--limit", type=int, help="items of a data set, a seeded random part; all by default")
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
