"""How a model with latents codes: the precision of its latents and frequencies, its bits, and its time.

    python -m benchmarks.bits_back --case mnist:test=runs/vae-mnist --json benchmarks/results/bits_back.json
    python -m benchmarks.bits_back --json benchmarks/results/bits_back.json --figure docs/bits-back.svg

A case is a data set and a model: a packaged name, a model file, or a run folder. The parts, each of which has rows of
its own kind:

precision    the same weights with latents on grids of 5 to 16 bits (for run folders, which hold them): the frozen
             bound, an archive, and the same networks *without getting bits back*: each latent is the median of its
             posterior and is sent outright under the prior, then the item under the likelihood
frequencies  the same model with frequencies of other totals; leaves whose alphabet is too large for one keep theirs.
             What that loses is paired: the same items, several draws of the latents of each
clean        bits per item where each item takes its latents from what the items before it have left on the stack,
             less the bits of the same item on fresh random bits, over several orders (Townsend, Bird, Barber 2019,
             section 2.5): zero where the bits on the stack are as good as random
speed        an archive beside gzip and JPEG XL; the time of the networks within that of coding, and their rate over
             that of a float32 matrix product in the same process with the same threads

The second form measures nothing: it draws bits/dim against the precision of latents from the results file.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import codelength as cl
from benchmarks import codecs
from benchmarks.common import Benchmark, Row, clock, limit_threads, parser, product_rate
from benchmarks.overhead import measure
from codelength.coding.stack import Stack
from codelength.data.dataset import DataSet
from codelength.errors import CodelengthError, ProgramError, StackExhausted, UsageError
from codelength.exact.network import Network
from codelength.exact.operations import Convolution, Linear, Tensors, Type
from codelength.laws.contract import Context, Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.switch import Switch

CASES = ("mnist:test=vae-mnist",)
LATENT_BITS = tuple(range(5, 17))
#: Of which the median counts; an odd number.
RUNS = 5
TOTAL_BITS = (12, 16, 20, 24, 28)


# ---- precision of latents ----------------------------------------------------------------------------------


def on_grids(run: Path, bits: list[int]) -> Iterator[tuple[int, FrozenModel, float]]:
    """The model of a run with its latents on grids of so many bits, and what freezing it has cost (relative rate, on
    the calibration items; grids of one precision on either side)."""
    from codelength.freezing.freeze import FreezeReport, freeze
    from codelength.models.vae import VAE, build_vae
    from codelength.training.run import load_run

    trained = load_run(run).model
    if not isinstance(trained, VAE):
        raise UsageError(f"expected the run of a vae in {run}, whose latents have a precision, got another family")
    calibration = calibration_items(run)
    for each in bits:
        # Networks see latents in units of the prior, so the weights serve every grid.
        module = build_vae(dataclasses.replace(trained.config, latent_bits=each), trained.space, None)
        module.load_state_dict(trained.state_dict())
        report = FreezeReport()
        frozen = freeze(module.eval(), calibration, report=report, tolerance=math.inf)
        yield each, frozen, report.loss


def calibration_items(run: Path) -> np.ndarray:
    """Training items, as many and chosen as freezing at the end of training does: (n, *shape)."""
    from codelength.training.config import load_recipe
    from codelength.training.data import CALIBRATION_ITEMS, load_split
    from codelength.training.run import RECIPE_FILE

    recipe = load_recipe(run / RECIPE_FILE)
    if not recipe.data:
        raise UsageError(f"the run in {run} was trained on data in memory, which its recipe does not hold")
    return load_split(recipe.data, recipe.training).some(CALIBRATION_ITEMS)


def outright_bits(law: Law, x: np.ndarray, context: Context) -> np.ndarray:
    """Bits (n,) of items whose latents are chosen, not popped: each the median of its posterior, sent under the prior.

    So code without getting bits back. Raises UsageError for laws whose latents are no choice of one value.
    """
    if isinstance(law, Marginal) and not isinstance(law.posterior, Responsibilities):
        z = law.posterior.median({**context, "x": x}, len(x))
        given = {**context, law.latent: z}
        return outright_bits(law.prior, z, context) + outright_bits(law.likelihood, x, given)
    if law.kind != "exact":
        raise UsageError(f"expected latents that can be chosen and sent, got a law {type(law).__name__}")
    return np.asarray(law.log_prob(x, context)) / -math.log(2.0)


def in_passes(model: FrozenModel, items: np.ndarray) -> np.ndarray:
    """``outright_bits`` of all items, in groups of bounded memory."""
    step = model.group_limit(items.shape[1:])
    context = {"shape": items.shape[1:]}
    starts = range(0, len(items), step)
    return np.concatenate([outright_bits(model.law, items[start : start + step], context) for start in starts])


def precision(data: DataSet, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    if not Path(name).is_dir():
        raise UsageError("other grids need the float weights of a run folder")
    items = np.asarray(data.items).astype(np.int32)
    for bits, model, loss in on_grids(Path(name), arguments.latent_bits):
        figures = measure(data, model, arguments.block)
        yield {
            "latent_bits": bits,
            **archived(figures),
            "startup_bits": figures["startup_bits"],
            "outright_bits_per_dim": float(in_passes(model, items).sum()) / items.size,
            "frozen_loss": loss,
        }


def archived(figures: Row) -> Row:
    """The sizes of an archive that the tables show."""
    return {
        "bound_bits_per_dim": figures["code_length_bits"] / figures["dims"],
        "bits_per_dim": figures["bits_per_dim"],
        **{key: figures[key] for key in ("overhead", "items", "blocks", "payload_bytes", "code_length_bits")},
    }


# ---- precision of frequencies ------------------------------------------------------------------------------


def with_totals(model: FrozenModel, bits: int) -> tuple[FrozenModel, int, int]:
    """The model with frequencies of totals 2^bits, of how many leaves, and how many it has.

    A leaf keeps its total where the alphabet has more than 2^(bits - 1) symbols.
    """
    law = copy.deepcopy(model.structure["law"])
    leaves = list(_leaves(law))
    changed = [leaf for leaf in leaves if leaf["symbols"] <= 1 << (bits - 1)]
    for leaf in changed:
        leaf["bits"] = bits
    return FrozenModel.create(model.space, law, model.tensors), len(changed), len(leaves)


def _leaves(record: Any) -> Iterator[dict[str, Any]]:
    """The records of leaves within the record of a law."""
    if isinstance(record, dict):
        if isinstance(record.get("leaf"), dict):
            yield record["leaf"]
        for value in record.values():
            yield from _leaves(value)
    elif isinstance(record, list):
        for value in record:
            yield from _leaves(value)


def frequencies(data: DataSet, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    model = cl.load(name)
    some = np.asarray(data.subset(arguments.draw_items, arguments.seed).items).astype(np.int32)
    own = item_bits(model, some, arguments.draws, arguments.seed)
    for bits in arguments.total_bits:
        try:
            other, changed, leaves = with_totals(model, bits)
        except ProgramError as error:
            yield {"total_bits": bits, "note": f"not measured: {error}"}
            continue
        figures = archived(measure(data, other, arguments.block))
        gaps = item_bits(other, some, arguments.draws, arguments.seed + 1) - own
        yield {
            "total_bits": bits,
            "leaves": leaves,
            "changed_leaves": changed,
            **figures,
            "loss": float(gaps.mean() / own.mean()),
            "loss_se": float(gaps.std(ddof=1)) / math.sqrt(len(some)) / float(own.mean()),
        }


def item_bits(model: FrozenModel, items: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Bits (n,) of each item, averaged over draws of its latents where it has any."""
    if model.kind == "exact":
        return model.code_length_bits(items)
    places = np.tile(np.arange(len(items))[:, None], (1, draws))
    return fresh_bits(model, items, places, seed).mean(1)


# ---- clean bits --------------------------------------------------------------------------------------------


def fresh_bits(model: FrozenModel, items: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    """Bits of ``items[places]``, places (steps, streams), each on random bits of its own: (steps, streams)."""
    steps, streams = places.shape
    bits = np.empty(places.shape)
    for step in range(steps):
        stack = Stack.seeded((seed << 32) + step, lanes=1, streams=streams)
        stack.begin([1] * streams)
        model.law.push(stack, items[places[step]], {"shape": items.shape[1:]})
        bits[step] = stack.stream_bits()
    return bits


def chained_bits(model: FrozenModel, items: np.ndarray, places: np.ndarray, first: int) -> np.ndarray:
    """Net bits of ``items[places]``, places (steps, streams), pushed one after another onto a stack for each stream.

    Stacks begin empty; the latents of the ``first`` items of each are chosen. Raises StackExhausted if those do not
    leave enough bits for the next.
    """
    streams = places.shape[1]
    stack = Stack(lanes=1, streams=streams)
    stack.begin([1] * streams)
    bits, before = np.empty(places.shape), stack.stream_bits()
    for step, some in enumerate(places):
        model.law.push(stack, items[some], {"shape": items.shape[1:]}, step < first)
        after = stack.stream_bits()
        bits[step], before = after - before, after
    return bits


def clean_bits(model: FrozenModel, items: np.ndarray, orders: int, seed: int) -> Row:
    """Bits per item on one stack, less those of the same item on fresh random bits.

    Each order is a stack of its own that begins empty, as a block does; its first items, whose latents are chosen, do
    not count. The standard error is that of a mean over orders.
    """
    n = len(items)
    generator = np.random.default_rng(seed)
    places = np.stack([generator.permutation(n) for _ in range(orders)], 1)
    fresh = fresh_bits(model, items, places, seed)
    first = 1
    while True:
        try:
            chained = chained_bits(model, items, places, first)
            break
        except StackExhausted:
            if 4 * first >= n:
                raise
            first *= 4
    gaps = (chained - fresh)[first:].mean(0)
    return {
        "orders": orders,
        "items": n,
        "started_items": first,
        "fresh_bits": float(fresh[first:].mean()),
        "chained_bits": float(chained[first:].mean()),
        "difference_bits": float(gaps.mean()),
        "difference_se": float(gaps.std(ddof=1)) / math.sqrt(orders),
    }


def clean(data: DataSet, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    model = cl.load(name)
    if not model.latents:
        raise UsageError("a model without latents takes no bits from the stack")
    some = data.subset(arguments.draw_items, arguments.seed)
    items = np.asarray(some.items).astype(np.int32)
    row = clean_bits(model, items, arguments.orders, arguments.seed)
    dims = math.prod(items.shape[1:])
    yield {
        **row,
        "difference": row["difference_bits"] / row["fresh_bits"],
        "fresh_bits_per_dim": row["fresh_bits"] / dims,
    }


# ---- speed -------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Passes:
    """What networks have taken: seconds, and multiply-adds of their linear layers and convolutions."""

    seconds: float = 0.0
    multiply_adds: int = 0


def multiply_adds(network: Network, types: list[Type], tensors: Tensors) -> int:
    """Multiply-adds of the linear layers and convolutions of one parallel pass, per item; masked weights count."""
    total = 0
    for operation, out in zip(network.operations, types[len(network.inputs) :]):
        if isinstance(operation, Linear | Convolution):
            total += tensors[operation.weight].size * math.prod(out.shape[1:])
    return total


def conditionals(law: Any) -> Iterator[Any]:
    """The conditionals of a law, each once; networks inside the steps of a flow are left out."""
    if isinstance(law, Marginal):
        parts = [law.prior, law.likelihood]
        if not isinstance(law.posterior, Responsibilities):
            parts.append(law.posterior)
    elif isinstance(law, Switch):
        parts = law.laws
    elif hasattr(law, "base"):
        parts = [law.base]
    else:
        if hasattr(law, "conditional"):
            yield law.conditional
        return
    for part in parts:
        yield from conditionals(part)


@contextmanager
def metered(model: FrozenModel, now: Callable[[], float] = time.perf_counter) -> Iterator[Passes]:
    """Notes what the parallel passes of the model's networks take while it codes, by a clock."""
    passes = Passes()
    watched = list(conditionals(model.law))

    def watch(conditional: Any) -> Callable[..., np.ndarray]:
        inside = conditional.parameters

        def parameters(inputs: dict[str, np.ndarray], types: list[Type], count: int) -> np.ndarray:
            start = now()
            result: np.ndarray = inside(inputs, types, count)
            passes.seconds += now() - start
            passes.multiply_adds += count * multiply_adds(conditional.network, types, conditional.tensors)
            return result

        return parameters

    for conditional in watched:
        conditional.parameters = watch(conditional)
    try:
        yield passes
    finally:
        for conditional in watched:
            del conditional.parameters


@dataclasses.dataclass
class Run:
    """A run of coding: what it gave, its seconds, what of them networks took, and the rate of the product before it."""

    result: Any
    seconds: float
    passes: Passes
    rate: float

    @property
    def share(self) -> float:
        """Of the product's rate, that of the networks; of the machine's work in a second, where there are none."""
        passes = self.passes
        return (passes.multiply_adds / passes.seconds if passes.seconds else 1 / self.seconds) / self.rate


def typical(model: FrozenModel, run: Callable[[], Any], threads: int) -> Run:
    """That of a few runs, taking turns with a product, of which the share is the median."""
    now = clock(threads)
    runs = []
    for _ in range(RUNS):
        rate = product_rate(threads)
        with metered(model, now) as passes:
            start = now()
            result = run()
            runs.append(Run(result, now() - start, passes, rate))
    return sorted(runs, key=lambda each: each.share)[RUNS // 2]


def coding(model: FrozenModel, items: np.ndarray, block: int, threads: int) -> Row:
    """Milliseconds per item of encoding and decoding blocks, and what of them the networks take.

    Where pixels are decoded one after another, networks and coder take turns too often to be told apart; the figures
    of decoding then have no parts.
    """
    n, shape = len(items), items.shape[1:]
    parts = [items[start : start + block] for start in range(0, n, block)]
    sizes, words = model.encode_block(items[:2])
    model.decode_block(words, sizes, shape)  # compiled code is loaded before the watch starts
    up = typical(model, lambda: [model.encode_block(part) for part in parts], threads)
    down = typical(model, lambda: [model.decode_block(words, sizes, shape) for sizes, words in up.result], threads)
    if not np.array_equal(np.concatenate(down.result), items):
        raise SystemExit("the blocks did not give the items back")
    each = 1e3 / n
    row: Row = {
        "encode_ms": up.seconds * each,
        "encode_networks_ms": up.passes.seconds * each,
        "encode_beyond_ms": (up.seconds - up.passes.seconds) * each,
        "decode_ms": down.seconds * each,
        "multiply_adds": up.passes.multiply_adds / n,
        "network_multiply_adds_s": up.passes.multiply_adds / up.passes.seconds,
        "product_multiply_adds_s": up.rate,
        "network_share_of_product": up.share,
    }
    if not any(hasattr(conditional, "advance") for conditional in conditionals(model.law)):
        row["decode_networks_ms"] = down.passes.seconds * each
        row["decode_beyond_ms"] = (down.seconds - down.passes.seconds) * each
    return row


def speed(data: DataSet, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    items, model = np.asarray(data.items), cl.load(name)
    with tempfile.TemporaryDirectory() as folder:
        row = codecs.archive(items, name, Path(folder))
    figures = coding(model, items.astype(np.int32), arguments.block, arguments.threads)
    row["compress_ms"], row["decompress_ms"] = (
        items.size / (row[key] * 1e6) * 1e3 / len(items) for key in ("encode_mb_s", "decode_mb_s")
    )
    rows = [{**row, **figures}]
    rows += peers(items, data.space.symbols)
    codecs.compare(rows)
    yield from rows


def peers(items: np.ndarray, symbols: int) -> list[Row]:
    """Rows of gzip on one stream of all items and, for grey images (n, h, w), of JPEG XL on one mosaic of them."""
    gzip = codecs.streams(items.shape[1:], symbols)["gzip"]
    rows = [codecs.measured("gzip", "stream", gzip, [items], items.size)]
    if items.ndim == 3:
        scale = np.uint8(255 if symbols == 2 else 1)
        mosaic = codecs.mosaic(items.astype(np.uint8) * scale)
        for name, codec in codecs.pictures(symbols).items():
            if name.startswith("JPEG XL"):
                rows.append(codecs.measured(name, "mosaic", codec, [mosaic], items.size))
    return [{**row, "items": len(items)} for row in rows]


# ---- the figure --------------------------------------------------------------------------------------------


def draw(report: dict[str, Any], path: Path) -> None:
    """bits/dim against the precision of latents, with and without getting bits back: one panel for each case.

    Raises UsageError where the report has no such rows.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases: dict[tuple[str, str], list[Row]] = {}
    for row in report["results"]:
        if row["part"] == "precision" and "note" not in row:
            cases.setdefault((row["data"], row["model"]), []).append(row)
    if not cases:
        raise UsageError("expected rows of the part precision in the results file, found none; measure a run folder")
    curves = (
        ("outright_bits_per_dim", "s-", "latents sent outright"),
        ("bits_per_dim", "o-", "archive, bits got back"),
        ("bound_bits_per_dim", "--", "frozen bound"),
    )
    # The same file from the same figures: no date, and no random names inside.
    with plt.rc_context({"svg.hashsalt": "codelength"}):
        figure, panels = plt.subplots(1, len(cases), figsize=(6 * len(cases), 4), layout="constrained", squeeze=False)
        for axes, ((data, model), rows) in zip(panels[0], cases.items()):
            rows = sorted(rows, key=lambda row: row["latent_bits"])
            bits = [row["latent_bits"] for row in rows]
            for key, style, label in curves:
                axes.plot(bits, [row[key] for row in rows], style, label=label, markersize=4)
            axes.set(xlabel="bits of the grid of a latent", ylabel="bits/dim", title=f"{model} on {data}")
            axes.set_xticks(bits)
            axes.legend()
            axes.grid(alpha=0.3)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=120, metadata=metadata)
        plt.close(figure)


# ---- the command -------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[DataSet, str, argparse.Namespace], Iterator[Row]]] = {
    "precision": precision,
    "frequencies": frequencies,
    "clean": clean,
    "speed": speed,
}


def case(spec: str, arguments: argparse.Namespace) -> Iterator[Row]:
    name, _, model = spec.partition("=")
    data = cl.load_data(name)
    if arguments.limit is not None:
        data = data.subset(arguments.limit, arguments.seed)
    for part in arguments.part or PARTS:
        frame = {"part": part, "data": data.name, "model": Path(model).name}
        try:
            for row in PARTS[part](data, model, arguments):
                yield {**frame, **row}
        except CodelengthError as error:
            yield {**frame, "note": f"not measured: {error}"}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("bits_back", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", help=f"default: {', '.join(CASES)}")
    options.add_argument("--part", action="append", choices=list(PARTS), help="default: all of them")
    options.add_argument("--limit", type=int, help="items of a data set, a seeded random part; all by default")
    options.add_argument("--block", type=int, default=1024, help="items of a block at most")
    options.add_argument("--latent-bits", type=int, nargs="+", default=list(LATENT_BITS))
    options.add_argument("--total-bits", type=int, nargs="+", default=list(TOTAL_BITS))
    options.add_argument("--draw-items", type=int, default=300, help="items that are coded again and again")
    options.add_argument("--draws", type=int, default=8, help="draws of latents that frequencies are compared by")
    options.add_argument("--orders", type=int, default=32, help="orders of the same items on a stack")
    options.add_argument("--figure", type=Path, metavar="FILE", help="draw the results file, and measure nothing")
    arguments = options.parse_args(argv)
    if arguments.figure is not None:
        report: dict[str, Any] = json.loads(arguments.json.read_text(encoding="utf-8"))
        draw(report, arguments.figure)
        return report
    limit_threads(arguments.threads)
    benchmark = Benchmark("bits_back", arguments)
    for spec in arguments.case or CASES:
        for row in case(spec, arguments):
            benchmark.add(row)
    cases = [f"{s.partition('=')[0]}={Path(s.partition('=')[2]).name}" for s in arguments.case or CASES]
    return benchmark.write(("numpy", "numba", "torch", "imagecodecs"), cases=cases, block=arguments.block)


if __name__ == "__main__":
    main()
