"""Commands on models: demonstrating, training, evaluating, sampling."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codelength.cli import options, pipes
from codelength.cli.output import say, silent, warn, write_json
from codelength.cli.status import INTERRUPTED
from codelength.device import use_device
from codelength.errors import CodelengthError, UsageError
from codelength.machine import check_memory_limit, limit_memory
from codelength.progress import task
from codelength.report.text import show_comparison, show_estimate
from codelength.sizes import show_size

if TYPE_CHECKING:
    from codelength.laws.frozen import FrozenModel
    from codelength.likelihood.result import Estimate


def evaluate(
    model: options.ModelArgument,
    data: options.DataOption,
    estimation: options.Estimation = options.ESTIMATION,
    per_item: Annotated[
        Path | None,
        typer.Option(
            "--per-item", metavar="FILE", callback=options.destination, help="Write figures per item, .npy or .csv."
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--maps", metavar="DIR", help="Draw what every pixel costs, a PNG for each item; the numbers if .npz."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="Compare with another model, item by item.")
    ] = None,
    seed: options.Seed = 0,
    layout: options.Layout = None,
    trust_download: options.Trust = False,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Say how probable data is under a model, with error bars."""
    options.prepare(resources, quiet)
    memory = resources.memory()
    if per_item is not None and per_item.suffix not in (".npy", ".csv"):
        raise UsageError(f"expected a name that ends in .npy or .csv for figures per item, got {per_item}")
    from codelength import api
    from codelength.evaluation import evaluate_as
    from codelength.likelihood.comparison import compare
    from codelength.likelihood.settings import Settings

    settings = Settings.of(  # before anything is read
        **vars(estimation),
        seed=seed,
        device=resources.device,
        max_memory=memory,
    )
    pipes.check_inputs(data)
    options.check_names(model, None if pipes.is_pipe(data) else data)
    if against is not None:
        options.check_names(against)
    use_device(resources.device)
    source = str(pipes.received(data, "array.npy")) if pipes.is_pipe(data) else data
    loaded = api.as_data(source, layout=layout, trust_download=trust_download)
    total = len(loaded) if settings.limit is None else min(settings.limit, len(loaded))

    def one(name: str) -> tuple[FrozenModel, Estimate]:
        frozen = api.load(name)
        if loaded.space is not None and loaded.space.symbols < frozen.space.symbols:
            warn(
                f"{data} has {loaded.space.symbols} symbols, {name} models {frozen.space.symbols}: the items are taken "
                f"for values 0 to {loaded.space.symbols - 1} of these"
            )
        if memory is not None and settings.arithmetic != "float" and loaded.items is not None:
            size = loaded.items.shape[1:]
            need = frozen.memory_bytes(1, size) if frozen.space.admits(size) else 0
            if need > memory:
                raise UsageError(
                    f"evaluating one item needs about {need:,} bytes, more than the {memory:,} of --max-memory; "
                    "give more"
                )
        with task("evaluating", total) as advance:
            asked = name if settings.arithmetic == "float" else frozen
            return frozen, evaluate_as(asked, loaded, settings, progress=advance)

    if maps is not None:
        api.load(model).require_element_bits()
    frozen, result = one(model)
    figures = {"model": model, "data": data, **result.to_json()}
    lines = [show_estimate("standard input" if pipes.is_pipe(data) else data, result)]
    if against is not None:
        other, theirs = one(against)
        gap = compare(result, theirs)
        figures["against"] = {"model": against, "model_sha256": other.sha256, **gap.to_json()}
        lines.append(show_comparison(against, gap))
    figures |= {"model_sha256": frozen.sha256, "data_sha256": loaded.sha256, **api.about("evaluate", seed)}
    for line in lines:
        say(line, quiet=silent(quiet, json))
    if per_item is not None:
        result.save_items(per_item)
    if maps is not None:
        from codelength.likelihood.maps import item_maps
        from codelength.report.maps import write_maps

        found = item_maps(frozen, loaded, limit=settings.limit, seed=seed)
        with task("drawing maps", total) as advance:
            told = write_maps(
                maps, found, frozen.space.symbols, names=lambda number: loaded.item(number).name, progress=advance
            )
        say(told, quiet=silent(quiet, json))
    write_json(json, figures)


def sample(
    model: options.ModelArgument,
    count: Annotated[
        int, typer.Option("--count", metavar="N", parser=options.whole("--count"), help="How many items.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.png",
            callback=options.destination,
            help="A picture, or an array if it ends in .npy.",
        ),
    ],
    seed: options.Seed = 0,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="HxW", help="Size of the items, for models of images of any size.")
    ] = None,
    inpaint: Annotated[
        Path | None, typer.Option("--inpaint", metavar="IMAGE", help="Complete this image instead of drawing anew.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", metavar="MASK", help="An image: what is not black there is kept.")
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            metavar="M",
            parser=options.whole("--draws"),
            help="Draws among which each completion is chosen (see above).",
        ),
    ] = 64,
    manifold: Annotated[
        bool,
        typer.Option("--manifold", help="For models of two latent numbers: what they make of COUNT x COUNT of them."),
    ] = False,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Draw items from a model; the same seed gives the same picture on every machine.

    With --inpaint and --mask, each unknown pixel is drawn given the pixels before it in the model's order, known
    ones included. Pixels known later are then accounted for by choosing each completion among several such draws, in
    proportion to the probability that they gave to the known pixels: the more draws, the closer to the model's
    own conditional distribution.

    With --manifold, nothing is drawn: the picture shows the mean items (medians, for more than sixteen symbols) of
    count x count latents at equal steps of the prior's probability.
    """
    options.prepare(resources, quiet)
    memory = resources.memory()
    if (inpaint is None) != (mask is None):
        raise UsageError("in-painting needs both --inpaint IMAGE and --mask MASK")
    if count < 1:
        raise UsageError(f"expected a count of at least 1, got {count}")
    if out.suffix.lower() not in (".png", ".npy"):
        raise UsageError(f"expected an output name that ends in .png or .npy, got {out}")
    if manifold and (inpaint is not None or shape is not None):
        raise UsageError("a picture of the manifold takes neither an image to complete nor a shape")
    for picture in (inpaint, mask):
        if picture is not None:
            options.check_names(None, str(picture))
    options.check_names(model, device=resources.device)
    from codelength import api
    from codelength.report.pictures import save_items, save_manifold

    frozen = api.load(model)
    if manifold:
        save_manifold(frozen, count, out)
        say(f"wrote the manifold at {count} x {count} latents to {out}", quiet=quiet)
        return
    if inpaint is not None and mask is not None:
        from codelength.cli.completion import image_and_mask

        image, keep = image_and_mask(frozen, inpaint, mask)
        with task("completing", None):
            items = api.inpaint(frozen, image, keep, count=count, seed=seed, draws=draws)
    else:
        size = options.image_shape(shape, frozen.space)
        need = frozen.memory_bytes(count, size)
        if memory is not None and need > memory:
            raise UsageError(
                f"drawing {count} items needs about {need:,} bytes, more than the {memory:,} of --max-memory; "
                f"draw fewer or give more"
            )
        with task(f"drawing {count:,} items", None):
            items = frozen.sample(count, seed=seed, shape=size)
    save_items(items, frozen.space, out)
    say(f"wrote {count} items to {out}", quiet=quiet)


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe of this package by its name, or a file; --resume does without.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run folder to make.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="What to train on.", show_default="the recipe's own")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; repeatable.")
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            metavar="M",
            parser=options.real("--max-minutes"),
            help="Stop, save and freeze after M minutes.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN, exactly where it was.")] = False,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="RUN", help="Begin with the weights of a finished run of the same networks."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            parser=options.whole("--seed", 0, 2**31 - 1),
            help="Seed of weights, order and noise.",
        ),
    ] = None,
    trust_download: options.Trust = False,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Train a recipe and freeze the result: RUN then holds model.pt (floating point) and model.clm (frozen).

    An interrupt saves the whole state; --resume continues as if nothing had happened, with the recipe and the data of
    the run. The test split is never read. A model that needs more than --max-memory (most of what the machine has free,
    unless told) is refused before it is built.
    """
    options.prepare(resources, quiet)
    memory = resources.memory()
    check_memory_limit(memory)
    if recipe is None and not resume:
        raise UsageError("expected the name or the file of a recipe, got none; `codelength train --help` lists them")
    from codelength.training.ahead import check_ahead

    check_ahead(recipe, data, out, resume=resume, start=start, changes=changes or ())
    with _told_where_slow("loading PyTorch ...", quiet):
        from codelength import api

        _limit_training(memory)
    again = shlex.join(
        ["codelength", "train", "--resume", "--out", str(out)]
        + resources.arguments()
        + (["--trust-download"] if trust_download else [])
        + (["--quiet"] if quiet else [])
    )
    hint = f"interrupted; the state is saved, and this continues:\n{again}"
    try:
        run = api.train(
            recipe,
            data,
            out,
            minutes=max_minutes,
            resume=resume,
            start=start,
            seed=seed,
            changes=changes,
            device=resources.device,
            quiet=quiet,
            trust_download=trust_download,
            max_memory=memory,
        )
    except KeyboardInterrupt:
        if not (out / "checkpoint.pt").is_file():
            raise
        warn(hint)
        raise typer.Exit(INTERRUPTED) from None
    if run.reason == "interrupted":
        warn(hint)
        raise typer.Exit(INTERRUPTED)
    assert run.frozen is not None
    figures = run.figures["validation_nats"]
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    say(f"trained for {run.figures['step']:,} steps ({run.reason}){shown and f'; validation: {shown}'}", quiet=quiet)
    say(f"{out / 'model.clm'}: {show_size(len(run.frozen.to_bytes()))}", quiet=quiet)


@contextlib.contextmanager
def _told_where_slow(text: str, quiet: bool) -> Iterator[None]:
    """Say so where what follows takes more than a moment: importing, on a machine that is busy."""
    timer = threading.Timer(1.5, lambda: None if quiet else warn(text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _limit_training(memory: int | None) -> None:
    """Limit the memory of what is to come; the libraries of training are loaded first and do not count."""
    if memory is not None:
        import codelength.training.run  # noqa: F401

        limit_memory(memory)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to leave everything.")] = Path(
        "out/demo"
    ),
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Train on small digits, report the likelihood, and prove it with a file. Takes a few minutes.

    The file is decoded by a process that holds nothing else; another process compares every pixel.
    """
    memory = resources.memory()
    check_memory_limit(memory)
    options.prepare(resources, quiet)
    from codelength.demo import demo as run_demo

    use_device(resources.device)
    _limit_training(memory)

    def answer(text: str) -> None:
        say(text, quiet=silent(quiet, json))

    figures = run_demo(out, say=answer, quiet=quiet, device=resources.device)
    write_json(json, figures)
    if not figures["round_trip"]:
        raise CodelengthError("the archive of the demonstration did not give back every pixel")
