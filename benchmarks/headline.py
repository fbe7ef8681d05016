"""The table of the first page: what a model promises, what the file takes, and general codecs on the same items.

    python -m benchmarks.headline --case binarized-mnist:test=made-binarized-mnist

Each general codec gets all items at once, as one stream or one mosaic, whichever it is made for. The archive is in
blocks with random access, and is decoded and compared.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import codelength as cl
from benchmarks.common import Benchmark, Row, limit_threads, parser
from codelength.report.codecs import STREAMS, codec_sizes

CASES = ("binarized-mnist:test=made-binarized-mnist",)


def case(spec: str, arguments: argparse.Namespace) -> list[Row]:
    name, _, model_name = spec.partition("=")
    data = cl.load_data(name)
    if arguments.limit is not None:
        data = data.subset(arguments.limit, arguments.seed)
    items = np.asarray(data.items)
    assert data.space is not None
    estimate = cl.evaluate(model_name, data)
    error = 0.0 if estimate.nats_se is None else estimate.nats_se
    rows: list[Row] = []

    def add(what: str, size: float, **more: float) -> None:
        row = {"data": data.name, "what": what, "bytes": round(size), "bits_per_dim": 8 * size / items.size}
        rows.append({**row, **more})

    promised = -float(estimate.item_nats.sum()) / math.log(2) / 8
    add(f"`{model_name}` promises {-estimate.nats:.2f} ± {error:.2f} nats per item ({estimate.kind})", promised)
    with tempfile.TemporaryDirectory() as folder:
        figures = cl.compress(data, Path(folder) / "items.clen", model_name, verify=False)
        if not np.array_equal(cl.decompress(Path(folder) / "items.clen"), items):
            raise SystemExit("the archive did not give the items back")
    add("**the archive, its model not counted**", figures["payload_bytes"], overhead=figures["overhead"])
    add("**the archive, its model inside**", figures["archive_bytes"])
    for size in sorted(codec_sizes(items, data.space.symbols, per_item=False), key=lambda size: size.whole):
        add(f"{size.name}, all in one {'stream' if size.name in STREAMS else 'mosaic'}", size.whole)
    return rows


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("headline", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", help=f"default: {', '.join(CASES)}")
    options.add_argument("--limit", type=int, help="items of a data set, a seeded random part; all by default")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("headline", arguments)
    for spec in arguments.case or CASES:
        for row in case(spec, arguments):
            benchmark.add(row)
    return benchmark.write(("numpy", "numba", "pillow", "imagecodecs"), cases=list(arguments.case or CASES))


if __name__ == "__main__":
    main()
