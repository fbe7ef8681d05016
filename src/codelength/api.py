"""The Python interface: what the command line prints and parses over.

Data may be a ``DataSet``, an array, or what the command line takes: ``name[:split][[a:b]]`` or a path. Models may be
a frozen model, a packaged name, a run folder or a model file.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import operator
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

import codelength
from codelength.archive.extract import extract
from codelength.archive.figures import Figures
from codelength.archive.layout import MAGIC as ARCHIVE_MAGIC
from codelength.archive.opened import CACHE_BYTES, ArchiveItems
from codelength.archive.read_cost import ReadCost, parse_block
from codelength.archive.reader import MEMORY as READER_MEMORY
from codelength.archive.reader import Archive
from codelength.archive.verify import verify as verify_archive
from codelength.archive.writer import write_archive
from codelength.data import DataSet, datasets, load_data
from codelength.data.images import ImageFiles
from codelength.data.opened import open_data
from codelength.data.seeded import choose
from codelength.data.spec import check_spec
from codelength.errors import NotFrozen, NotRepresentable, UsageError, needing_torch
from codelength.files import check_destination, exists_already, write_atomically
from codelength.laws.space import Space
from codelength.likelihood.batches import as_they_are, batches
from codelength.likelihood.estimate import estimate, estimate_by
from codelength.likelihood.methods import Density
from codelength.likelihood.result import Estimate, worse_than_uniform
from codelength.likelihood.settings import Settings
from codelength.resolve import (
    find_packaged,
    load_model,
    model_path,
    packaged_name,
    run_folder,
)
from codelength.weights import Packaged, packaged

if TYPE_CHECKING:
    # Imported by what needs them: they bring numba, and wrong usage is to be told before that takes its time.
    from torch import nn

    from codelength.freezing.freeze import FreezeReport
    from codelength.laws.frozen import FrozenModel
    from codelength.training.run import Run

    Model = str | os.PathLike[str] | FrozenModel

Data = str | os.PathLike[str] | np.ndarray | Sequence[Any] | DataSet | ArchiveItems

__all__ = [
    "compress",
    "datasets",
    "decompress",
    "evaluate",
    "freeze",
    "inpaint",
    "inspect",
    "load",
    "load_data",
    "load_run",
    "open",
    "packaged_models",
    "train",
    "verify",
]


def load(model: str | os.PathLike[str]) -> FrozenModel:
    """The frozen model of a packaged name, a run folder or a model file.

        >>> model = cl.load("made-digits")
        >>> model.space.shape, model.kind, model.sample(5, seed=1).shape
        ((8, 8), 'exact', (5, 8, 8))

    It has ``log_prob(items)`` (nats per item), ``sample(count, seed=)``, ``code_length_bits(items)`` and
    ``save(path)``. Raises UsageError, ProgramError.
    """
    return load_model(model)


def packaged_models() -> dict[str, Packaged]:
    """The packaged models by name.

    >>> "made-digits" in cl.packaged_models()
    True
    """
    return packaged()


# ---- archives ----------------------------------------------------------------------------------------------


def compress(
    data: Data,
    archive: str | os.PathLike[str],
    model: Model,
    *,
    block: int | str | None = None,
    embed_model: bool = True,
    verify: bool = True,
    force: bool = False,
    max_memory: int | None = None,
    layout: str | None = None,
    trust_download: bool = False,
    progress: Callable[[int], None] | None = None,
    read_cost: Callable[[ReadCost], None] | None = None,
) -> dict[str, Any]:
    """Write ``data`` to a new archive, and return its figures under the names of ``compress --json``.

        >>> figures = cl.compress("threshold-digits:test[:40]", "forty.clen", "made-digits", force=True)
        >>> figures["items"], figures["fallback_items"], figures["verified"]
        (40, 0, True)

    block: items of a block at most, such as ``64``; or the time that decoding one may take, such as ``"0.5s"``, which
    is tried out, so that the bytes depend on the machine; None for 1,024, or more where many latents make it dear to
    start one.
    embed_model: False names the model by its SHA-256 instead, which serves readers that have it. verify: decode
    everything before the file gets its name. force: replace an archive that is there already; any other file is left
    alone all the same. max_memory: bytes that decoding may need.
    layout: axes of an array, where the guess would be wrong.
    read_cost: called with the seconds that reading one item back costs, and the items of its block, as measured when
    blocks were verified; not called where no block of the model was. It is no part of the figures, which are the same
    every time.

    What the model cannot represent is kept by general codecs inside the archive. The same data, model and options
    give the same bytes. Raises UsageError, DataError, ArchiveError.
    """
    items, seconds = parse_block(block)
    check_target(archive, data, force=force)
    check_names(model, data)
    opened = open_data(data, layout=layout, trust_download=trust_download)
    frozen = _frozen(model)
    figures = write_archive(
        Path(archive),
        opened.archived,
        frozen,
        block_items=items,
        block_seconds=seconds,
        embed=embed_model,
        model_name=packaged_name(frozen, model),
        verify=verify,
        replace_file=force,
        max_memory=max_memory,
        data_sha256=opened.sha256,
        progress=progress,
        read_cost=read_cost,
    )
    with open_archive(archive, frozen, max_memory=max(READER_MEMORY, max_memory or 0)) as written:
        dims = written.coded_dims
    bits = figures.code_length_bits - 1  # it has been rounded up
    worse = bits > dims * math.log2(frozen.space.symbols)
    notes = [worse_than_uniform(bits / dims, frozen.space.symbols)] if dims and worse else []
    if not dims and opened.shape is not None and frozen.space.admits(opened.shape):
        shape = "x".join(map(str, opened.shape))
        notes.append(f"each row of the array {shape} was taken for an item; one item by itself is array[None]")
    if figures.archive_bytes > opened.size:
        notes.append(_larger(figures, opened.size))
    source = {"source_bytes": opened.size, "kept_files": dict(opened.kept), "verified": verify}
    return {**figures.to_json(), **source, "notes": notes, **about("compress")}


def _larger(figures: Figures, size: int) -> str:
    """What to do about an archive that is larger than its data."""
    text = f"the archive takes {figures.archive_bytes:,} bytes, more than the {size:,} of the data"
    if figures.payload_bytes < size:
        return f"{text}, since the model takes {figures.model_bytes:,}; --no-embed-model leaves it out"
    return f"{text}; another model may suit it, or it is compressed already"


def check_target(archive: str | os.PathLike[str], data: Any, *, force: bool) -> None:
    """Raise UsageError where writing the archive would replace a file that it must not, or be a part of the data."""
    path = Path(archive)
    check_destination(path)
    if isinstance(data, str | os.PathLike) and os.path.exists(data):
        source, target = os.path.realpath(data), os.path.realpath(path)
        if target == source or target.startswith(source + os.sep):
            raise UsageError(f"expected an archive outside of the data {data}, got {path}; choose another place")
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(len(ARCHIVE_MAGIC))
        if begin and begin != ARCHIVE_MAGIC:
            raise UsageError(f"{path} is there already and is no archive; choose another name or move it away")
    if os.path.lexists(path) and not force:
        raise exists_already(path)


def decompress(
    archive: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    *,
    range: tuple[int, int] | int | None = None,
    names: Sequence[str] | None = None,
    force: bool = False,
    keep_going: bool = False,
    max_output: int | None = None,
    max_memory: int | None = None,
    model: Model | None = None,
) -> Any:
    """What an archive holds: in memory without ``dest``, else written there.

        >>> figures = cl.compress("threshold-digits:test[:40]", "forty.clen", "made-digits", force=True)
        >>> cl.decompress("forty.clen").shape, cl.decompress("forty.clen", range=(10, 15)).shape
        ((40, 8, 8), (5, 8, 8))
        >>> cl.decompress("forty.clen", "five.npy", range=(10, 15), force=True).items
        5

    dest: a name that ends in ``.npy`` or ``.npz`` takes an array, one of an image file a single item, any other is a
    folder.
    range, names: only the items ``range[0] <= number < range[1]`` (a single number: that item, as a batch of one), or
    the files whose names match a pattern.
    force: replace files that exist. keep_going: leave out what is damaged, and report it.
    max_output, max_memory: bytes that may be written, and held. model: for archives that only name theirs.

    Returns an array, a list of images for archives of folders, or a ``Report`` of what was written. Raises
    ArchiveError, UsageError, DataError.
    """
    range = _item_range(range)
    with open_archive(archive, model, max_memory=max_memory) as opened:
        if dest is None:
            return opened.read(range, names=names, damaged=[] if keep_going else None, max_output=max_output)
        return extract(
            opened,
            dest,
            range,
            names,
            force=force,
            keep_going=keep_going,
            max_output=max_output,
            images=ImageFiles(),
        )


def _item_range(range: object) -> tuple[int, int] | None:
    if range is None:
        return None
    try:
        if not isinstance(range, (tuple, list)):
            number = operator.index(range)  # type: ignore[arg-type]
            return number, number + 1
        start, stop = (operator.index(bound) for bound in range)
        return start, stop
    except (TypeError, ValueError):
        raise UsageError(f"expected a range such as (100, 200), or the number of one item, got {range!r}") from None


def open(
    archive: str | os.PathLike[str],
    model: Model | None = None,
    *,
    cache: int = CACHE_BYTES,
    max_memory: int | None = None,
) -> ArchiveItems:
    """An archive as a sequence of its items, decoded block by block when they are asked for.

    >>> data = cl.load_data("threshold-digits:test[:60]")
    >>> figures = cl.compress(data, "digits.clen", "made-digits", block=20)
    >>> digits = cl.open("digits.clen")
    >>> len(digits), digits[7].shape, digits[-5:].shape
    (60, (8, 8), (5, 8, 8))
    >>> digits.decoded                                  # the first and the last of three blocks
    2
    >>> bool((np.asarray(digits) == data.items).all())
    True
    >>> digits.close()

    Archives of folders have ``names``, and items by name: ``scans["monday/3.png"]``. It also stands where PyTorch
    expects a map-style data set. See ``ArchiveItems`` for all that it does.

    model: to decode with, for archives that do not hold theirs; packaged models are found without.
    cache: bytes of decoded blocks that are kept, 256 MiB unless told. Where items are taken in random order, it should
    hold all of them, or be one block per item in the archive (``compress --block``).
    max_memory: bytes that decoding may need, as for ``decompress``.

    Close it, or use it in a ``with`` statement. Raises ArchiveError, DataError, UsageError.
    """
    path = Path(archive).absolute()
    again = functools.partial(open, path, model, cache=cache, max_memory=max_memory)
    return ArchiveItems(open_archive(archive, model, max_memory=max_memory), again, cache=cache)


def inspect(archive: str | os.PathLike[str]) -> dict[str, Any]:
    """The figures of an archive under the names of ``inspect --json``, without decoding it.

    >>> figures = cl.compress("threshold-digits:test[:40]", "forty.clen", "made-digits", force=True)
    >>> cl.inspect("forty.clen")["items"]
    40
    """
    with open_archive(archive, max_memory=None) as opened:
        return {**opened.inspect().to_json(), **about("inspect")}


def verify(
    archive: str | os.PathLike[str],
    data: Data | None = None,
    *,
    model: Model | None = None,
    max_memory: int | None = None,
    layout: str | None = None,
) -> dict[str, Any]:
    """Decode everything, compare all checksums, and the data if it is given; returns the figures of ``inspect``.

        >>> figures = cl.compress("threshold-digits:test[:40]", "forty.clen", "made-digits", force=True)
        >>> cl.verify("forty.clen", "threshold-digits:test[:40]")["sound"]
        True

    Raises ArchiveError where the file is damaged, whose ``damaged`` lists every block and entry that cannot be given
    back; DataError where it holds other data.
    """
    check_names(model, data)
    source = None if data is None else open_data(data, layout=layout).archived
    with open_archive(archive, model, max_memory=max_memory) as opened:
        return {**verify_archive(opened, source).to_json(), **about("verify"), "sound": True, "damaged": []}


def open_archive(
    archive: str | os.PathLike[str], model: Model | None = None, *, max_memory: int | None = None
) -> Archive:
    """An open archive that finds packaged models by their hash; use it in a ``with`` statement.

    model: the model to decode with, for archives that do not hold theirs.
    max_memory: bytes that decoding may need; the reader's own limit where None.
    """

    def resolve(sha256: str, name: str) -> FrozenModel | None:
        return find_packaged(sha256, name) if model is None else _frozen(model)

    limit = READER_MEMORY if max_memory is None else max_memory
    return Archive.open(Path(archive), resolve, max_memory=limit)


# ---- likelihood --------------------------------------------------------------------------------------------


def evaluate(
    model: Model | nn.Module,
    data: Data,
    *,
    estimator: str = "elbo",
    samples: int | None = None,
    proposal: str | None = None,
    start: str | None = None,
    temperatures: int | None = None,
    leapfrog: int | None = None,
    two_sided: int | None = None,
    arithmetic: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    layout: str | None = None,
    trust_download: bool = False,
    device: str = "cpu",
    max_memory: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """The log-likelihood of data with its error bars.

        >>> float(round(cl.evaluate("made-digits", "threshold-digits:test").bits_per_dim, 2))
        0.39

    model: frozen, or a torch module: one with ``space`` and ``law()``, or any whose ``log_prob(x)`` gives nats (n,) for
        integers x (n, *shape), int64. The items of a module without a ``space`` are handed over as they are. What its
        figure is, a module without a law states in its attribute ``kind`` ("exact" or "lower_bound"); without one the
        figure is called ``unchecked``.
    arithmetic: ``frozen`` (as files are coded; the default) or ``float``, which needs a run folder or a module.
    estimator, samples, proposal, start, temperatures, leapfrog, two_sided: for models whose likelihood is a bound, see
        ``codelength.likelihood.settings.Settings``; exact models answer exactly whatever is asked. Annealing, and
        proposals other than ``posterior``, need continuous latents: they run on a thawed model, in floating point.
    limit: evaluate that many items, chosen at random with ``seed``.

    Raises EvaluationError for NaN or infinity, and its NotCausal for a module whose networks see what they are asked
    to predict; NotRepresentable for items outside the model's space, UsageError, and MissingPackage where floating
    point is asked for without PyTorch.
    """
    settings = Settings.of(
        estimator,
        samples,
        proposal=proposal,
        start=start,
        temperatures=temperatures,
        leapfrog=leapfrog,
        two_sided=two_sided,
        arithmetic=arithmetic,
        limit=limit,
        seed=seed,
        device=device,
        max_memory=max_memory,
    )
    loaded = as_data(data, layout=layout, trust_download=trust_download)
    return evaluate_as(model, loaded, settings, progress=progress)


def evaluate_as(
    model: Model | nn.Module, data: DataSet, settings: Settings, *, progress: Callable[[int], None] | None = None
) -> Estimate:
    """``evaluate`` as the settings say."""
    density, space = _density(model, settings.arithmetic, settings.device)
    limit = settings.limit
    index = None if limit is None or limit >= len(data) else choose(len(data), limit, settings.seed)
    size = _batch_size(model, data, settings.max_memory)
    if density.arithmetic == "float" and space is not None:
        _check_causal(density, data, space, index)
    if getattr(density, "stated", False) and density.kind != "exact" and settings.estimator != "elbo":
        raise UsageError(
            f"{settings.estimator} needs to know how the likelihood is put together, and a {type(model).__name__} has "
            "no law() to tell; leave the estimator out"
        )
    if density.kind == "exact" or settings.on_the_grid:
        result = estimate(
            density,
            batches(data, space, index, size=size) if space is not None else as_they_are(data, index, size=size),
            settings,
            preprocessing=data.preprocessing,
            progress=progress,
        )
        return result if space is None else dataclasses.replace(result, symbols=space.symbols)
    if settings.arithmetic == "frozen":
        raise UsageError(
            f"{settings.estimator} with these options needs continuous latents, which frozen arithmetic does not have; "
            "leave --arithmetic out, and a frozen model is evaluated in floating point"
        )
    with needing_torch(f"{settings.estimator} with continuous latents"):
        from codelength.likelihood.continuous import ROWS, Continuous

    inner = density.model if hasattr(density, "model") else density.module  # type: ignore[attr-defined]
    # A limit of memory is kept about as well as a density of draws allows: activations are kept for gradients.
    rows = 0 if settings.max_memory is None else min(ROWS, size)
    continuous = Continuous(inner, settings, rows=rows)
    method = continuous.method()
    result = estimate_by(
        method, batches(data, space, index, size=method.batch), preprocessing=data.preprocessing, progress=progress
    )
    both = continuous.two_sided(settings.two_sided) if settings.two_sided else None
    return dataclasses.replace(result, two_sided=both, symbols=space.symbols)


def _check_causal(density: Any, data: DataSet, space: Space, index: np.ndarray | None) -> None:
    """Whether the networks of a module keep to their order. What cannot be looked at is not called exact."""
    from codelength.likelihood.causality import ITEMS, check_causal

    if getattr(density, "stated", False):
        return
    few = np.arange(min(ITEMS, len(data))) if index is None else index[:ITEMS]
    for batch in batches(data, space, few):
        if not check_causal(density.module, batch.items, device=density.device) and density.kind == "exact":
            density.kind = "unchecked"


def _batch_size(model: Any, data: DataSet, max_memory: int | None) -> int:
    if max_memory is None or not _is_frozen(model) or data.items is None:
        return 1024
    return max(1, min(1024, max_memory // model.memory_bytes(1, data.items.shape[1:])))


def _density(model: Any, arithmetic: str | None, device: str) -> tuple[Density, Any]:
    """What is to be evaluated and its space, None for a module that states none."""
    if isinstance(model, str | os.PathLike) and arithmetic == "float":
        module: Any = load_run(run_folder(model)).model
        from codelength.likelihood.floating import FloatDensity

        return FloatDensity(module, device), module.space
    if isinstance(model, str | os.PathLike) or _is_frozen(model):
        if arithmetic == "float":
            raise UsageError("a frozen model computes in integers; give the run folder or the module for floats")
        frozen = _frozen(model)
        from codelength.likelihood.densities import FrozenDensity

        return FrozenDensity(frozen), frozen.space
    if arithmetic == "frozen":
        raise NotFrozen("expected a frozen model, got a module in floating point; freeze it first")
    with needing_torch("a model in floating point"):
        from codelength.likelihood.floating import density_of
    return density_of(model, device), getattr(model, "space", None)


def inpaint(
    model: Model, image: np.ndarray, mask: np.ndarray, *, count: int = 1, seed: int = 0, draws: int = 64
) -> np.ndarray:
    """Completions (count, *shape) of an item: elements where ``mask`` is set are kept, the others are drawn.

        >>> digit = cl.load_data("threshold-digits:test").items[0]
        >>> upper = np.arange(64).reshape(8, 8) < 32
        >>> completed = cl.inpaint("made-digits", digit, upper, count=3)
        >>> completed.shape, bool((completed[:, upper] == digit[upper]).all())
        ((3, 8, 8), True)

    See ``codelength.laws.completion.complete`` for what they are draws of.
    """
    frozen = _frozen(model)
    if np.ndim(image) and np.ndim(image) == len(frozen.space.shape) + 1 and frozen.space.admits(np.shape(image)[1:]):
        raise NotRepresentable(
            f"expected one item to complete, got an array of {len(image)} of them; give one, such as image[0]"
        )
    from codelength.laws.completion import complete

    return complete(frozen, np.asarray(image), np.asarray(mask), count, seed=seed, draws=draws)


def inpainting_inputs(model: FrozenModel, image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image and a mask from their files, as an item of the model and as booleans of its shape."""
    items = next(batches(load_data(image)[:1], model.space)).items[0]
    found = load_data(mask)
    flags = np.asarray(found.items[0] if found.items is not None else found.images[0]) != 0  # type: ignore[index]
    if flags.ndim == items.ndim - 1 and flags.shape == items.shape[:-1]:
        flags = np.repeat(flags[..., None], items.shape[-1], axis=-1)
    if flags.size != items.size:
        raise UsageError(f"expected a mask of the image's shape {items.shape}, got {flags.shape} in {mask}")
    return items, flags.reshape(items.shape)


def save_manifold(model: Model, side: int, path: str | os.PathLike[str]) -> None:
    """The manifold of a model of two latent numbers, as ``codelength.report.manifold`` makes it, by rows: a picture
    (``.png``), or an array (``.npy``) of its items. Raises UsageError for other models."""
    from codelength.report.manifold import manifold

    frozen = _frozen(model)
    items, values = manifold(frozen, side)
    save_items(items, Space(frozen.space.shape, values), path, columns=side)


def save_items(items: np.ndarray, space: Space, path: str | os.PathLike[str], *, columns: int | None = None) -> None:
    """Items as a picture (``.png``) of so many columns, or an array of the least unsigned type that holds them
    (``.npy``)."""
    path = Path(path)
    buffer = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(buffer, items.astype(np.uint8 if space.symbols <= 256 else np.uint16))
    else:
        from codelength.report.sheet import contact_sheet

        contact_sheet(items, space.symbols, columns=columns).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


# ---- training ----------------------------------------------------------------------------------------------


def train(
    model: str | os.PathLike[str] | nn.Module | None,
    data: Data | None,
    out: str | os.PathLike[str],
    *,
    minutes: float | None = None,
    resume: bool = False,
    start: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    changes: Sequence[str] | None = None,
    device: str = "cpu",
    quiet: bool = True,
    freeze: bool = True,
    trust_download: bool = False,
    max_memory: int | None = None,
) -> Run:
    """Train a recipe (a name or a file) or a torch module, freeze it, and leave both in the run folder ``out``.

        run = cl.train("made-digits", None, "runs/digits", changes=["training.steps=400"])
        run = cl.train(MyModel(), array, "runs/mine", minutes=10)
        cl.evaluate(run.frozen, "threshold-digits:test")

    model: a module has ``space`` and ``law()`` (see ``examples/own_model.py``, ``examples/own_vae.py``).
    data: integers (n, *shape), a data set, a name or a path; None for the recipe's own.
    minutes: stop then. resume: go on with the run in ``out``, with its recipe and its data; model may then be None for
        a recipe, and data for what a recipe can name. What is given must be what the run began with.
    start: a finished run whose weights to begin with. seed: of weights, order and noise.
    changes: of the recipe, such as ``training.steps=100``; for a module of the section ``training`` alone.
    freeze: False leaves the trained module in floating point; otherwise it is tried before training.
    max_memory: bytes that training may need; most of what the machine has free where None.

    Returns a ``Run``: ``path``, ``model`` (trained, floating point), ``frozen`` (None if interrupted), ``reason``,
    ``figures``. Raises RecipeError, UsageError, DataError, CheckpointError, FreezeError, EvaluationError, and
    MissingPackage without PyTorch.
    """
    from codelength.training.ahead import check_ahead

    check_ahead(model, data, Path(out), resume=resume, start=start, changes=changes or ())
    with needing_torch("training"):
        from codelength.training.run import train as run_training
    return run_training(
        model,  # type: ignore[arg-type]
        data,
        Path(out),
        minutes=minutes,
        resume=resume,
        start=None if start is None else Path(start),
        seed=seed,
        changes=changes,
        device=device,
        quiet=quiet,
        freeze=freeze,
        trust_download=trust_download,
        max_memory=max_memory,
    )


def load_run(path: str | os.PathLike[str], model: nn.Module | None = None) -> Run:
    """The finished run in a folder, with its trainable model.

        run = cl.load_run("runs/digits")
        run.model        # a torch module, in evaluation mode
        run.frozen       # the same in integers, None if it was not frozen

    model: the module to load the weights into, where the run was begun from a module of one's own. Raises UsageError
    for a folder without a finished run, CheckpointError for one that cannot be read, MissingPackage without PyTorch.
    """
    with needing_torch("a trainable model"):
        from codelength.training.run import load_run as load_trained
    return load_trained(Path(path), model)


def freeze(
    model: nn.Module, calibration: Data, *, tolerance: float | None = None, report: FreezeReport | None = None
) -> FrozenModel:
    """The module as integers: the form that codes, and that gives the same file everywhere.

        frozen = cl.freeze(model, train_items[:512])
        frozen.save("mine.clm")

    model: a torch module with ``space`` and ``law()``. calibration: a few hundred items or more, like those which the
    model will see, from which the ranges of its activations are taken. tolerance: relative rate that may be lost; None
    for 0.1%, or 0.3% of a bound. report: filled in with what freezing did to each layer
    (``codelength.freezing.freeze.FreezeReport``).

    Raises FreezeError for a module that cannot be frozen, naming it, or whose rate becomes too much worse; and
    MissingPackage without PyTorch.
    """
    with needing_torch("freezing"):
        from codelength.freezing import freeze as run_freezing
    return run_freezing(model, as_data(calibration), tolerance=tolerance, report=report)


# ---- common ------------------------------------------------------------------------------------------------


def about(command: str, seed: int | None = None) -> dict[str, Any]:
    """What every JSON says about its making."""
    return {"seed": seed, "version": codelength.__version__, "command": command}


def as_data(data: Data, *, layout: str | None = None, trust_download: bool = False) -> DataSet:
    """Any form of data as a data set."""
    return open_data(data, layout=layout, trust_download=trust_download).data_set


def check_names(model: Any, data: Any = None) -> None:
    """Raise UsageError or DataError where a model or data is named that is not there; nothing is read or imported."""
    if isinstance(model, str | os.PathLike):
        model_path(model)
    if isinstance(data, str | os.PathLike):
        check_spec(data)


def _is_frozen(model: Any) -> TypeGuard[FrozenModel]:
    frozen = sys.modules.get("codelength.laws.frozen")  # without it there is no such model
    return frozen is not None and isinstance(model, frozen.FrozenModel)


def _frozen(model: Any) -> FrozenModel:
    if _is_frozen(model):
        return model
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    raise NotFrozen(f"expected a frozen model, got a {type(model).__name__} in floating point; freeze it first")
