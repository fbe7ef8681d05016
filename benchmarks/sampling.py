"""What sampling and decoding cost, in density evaluations: one order of 784 elements, two hidden layers of 1,024.

    python -m benchmarks.sampling

A row per batch size: the time of drawing and of decoding so many items (every draw and pop included), over the time
of the parallel pass of the same network in torch float32, in the same process with the same threads. A ratio near 1
means that going through the elements one after another costs no more than evaluating all of them at once. Beside it
autoregressive flows of the same size in zuko and nflows, each over its own density evaluation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.common import Benchmark, Row, limit_threads, median_seconds, parser
from benchmarks.networks import OneOrder


def ours(network: OneOrder, batch: int, seed: int, repeats: int) -> Row:
    """Milliseconds and ratios of a frozen one-order network; checks that what it decodes is what went in."""
    frozen = network.freeze(seed)
    dense = network.dense()
    items = frozen.sample(batch, seed=seed)
    x = torch.from_numpy(items).float()
    sizes, words = frozen.encode_block(items)
    shape = items.shape[1:]
    if not np.array_equal(frozen.decode_block(words, sizes, shape), items):
        raise SystemExit("the network did not decode what it had encoded")
    with torch.no_grad():
        parallel = median_seconds(lambda: dense(x), repeats)
    draw = median_seconds(lambda: frozen.sample(batch, seed=seed), repeats)
    decode = median_seconds(lambda: frozen.decode_block(words, sizes, shape), repeats)
    encode = median_seconds(lambda: frozen.encode_block(items), repeats)
    return ratios("codelength", batch, parallel, draw, decode_ms=decode * 1e3, encode_ms=encode * 1e3)


def ratios(system: str, batch: int, density: float, draw: float, **more: float) -> Row:
    """A row; the arguments are seconds, ``more`` milliseconds."""
    row: Row = {
        "system": system,
        "batch": batch,
        "density_ms": density * 1e3,
        "sample_ms": draw * 1e3,
        "sample_ratio": draw / density,
        **more,
    }
    if "decode_ms" in more:
        row["decode_ratio"] = more["decode_ms"] / row["density_ms"]
    return row


def zuko_flow(elements: int, hidden: int, layers: int) -> tuple[Callable[[Any], Any], Callable[[int], Any]]:
    import zuko

    flow = zuko.flows.MAF(elements, transforms=1, hidden_features=[hidden] * layers)
    return lambda x: flow().log_prob(x), lambda count: flow().sample((count,))


def nflows_flow(elements: int, hidden: int, layers: int) -> tuple[Callable[[Any], Any], Callable[[int], Any]]:
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

    transform = MaskedAffineAutoregressiveTransform(elements, hidden, num_blocks=layers - 1, use_residual_blocks=False)
    flow = Flow(transform, StandardNormal([elements])).eval()
    return flow.log_prob, flow.sample


def peer(system: str, make: Callable[..., Any], arguments: argparse.Namespace, batch: int) -> Row:
    """A row for another library; says so where it is not installed."""
    torch.manual_seed(arguments.seed)
    try:
        log_prob, sample = make(arguments.elements, arguments.hidden, arguments.layers)
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] != system:
            raise
        return {"system": system, "batch": batch, "note": "not measured: not installed"}
    x = torch.randn(batch, arguments.elements)
    with torch.no_grad():
        density = median_seconds(lambda: log_prob(x), arguments.repeats)
        draw = median_seconds(lambda: sample(batch), arguments.peer_repeats)
    return ratios(system, batch, density, draw)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("sampling", __doc__)
    options.add_argument("--batch", type=int, nargs="+", default=[64, 1024])
    options.add_argument("--elements", type=int, default=784)
    options.add_argument("--hidden", type=int, default=1024)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--repeats", type=int, default=21)
    options.add_argument("--peer-repeats", type=int, default=3, help="draws of the slow libraries")
    options.add_argument("--peer-batch", type=int, nargs="*", default=[64], help="batch sizes for the other libraries")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("sampling", arguments)
    network = OneOrder(arguments.elements, arguments.hidden, arguments.layers, arguments.seed)
    for batch in arguments.batch:
        benchmark.add(ours(network, batch, arguments.seed, arguments.repeats))
    for batch in arguments.peer_batch:
        benchmark.add(peer("zuko", zuko_flow, arguments, batch))
        benchmark.add(peer("nflows", nflows_flow, arguments, batch))
    shape = {"elements": arguments.elements, "hidden": [arguments.hidden] * arguments.layers, "orders": 1}
    return benchmark.write(("numpy", "numba", "torch", "zuko", "nflows"), **shape, arithmetic="float32 and frozen")


if __name__ == "__main__":
    main()
