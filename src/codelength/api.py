"""The Python interface: what the command line prints and parses over.

Data may be a ``DataSet``, an array, a sequence of arrays, an open archive, or what the command line takes:
``name[:split][[a:b]]`` or a path. Models may be a frozen model, a packaged name, a run folder or a model file.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import codelength
from codelength.archive.extract import extract
from codelength.archive.opened import CACHE_BYTES, ArchiveItems
from codelength.archive.read_cost import ReadCost, parse_block
from codelength.archive.reader import MEMORY as READER_MEMORY
from codelength.archive.reader import Archive
from codelength.archive.sources import Source
from codelength.archive.target import check_outside, check_target
from codelength.archive.verify import verify as verify_archive
from codelength.archive.writer import write_archive
from codelength.data import DataSet, datasets, load_data
from codelength.data.images import ImageFiles
from codelength.data.opened import open_data
from codelength.errors import NotRepresentable, UsageError, needing_torch
from codelength.evaluation import evaluate_as
from codelength.likelihood.result import Estimate, worse_than_uniform
from codelength.likelihood.settings import Settings as Estimation
from codelength.machine import usual_jobs
from codelength.resolve import check_names, find_packaged, frozen_model, load_model, packaged_name
from codelength.weights import Packaged, packaged

if TYPE_CHECKING:
    # Imported by what needs them: they bring numba, and wrong usage is to be told before that takes its time.
    from torch import nn

    from codelength.freezing.freeze import FreezeReport
    from codelength.laws.frozen import FrozenModel
    from codelength.packing.result import PackResult
    from codelength.resolve import Model
    from codelength.training.run import Run

Data = str | os.PathLike[str] | np.ndarray | Sequence[Any] | DataSet | ArchiveItems

__all__ = [
    "append",
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
    "pack",
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
    model: Model | None = None,
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
    jobs: int = 1,
) -> dict[str, Any]:
    """Write ``data`` to a new archive, and return its figures under the names of ``compress --json``.

        >>> figures = cl.compress("threshold-digits:test[:40]", "forty.clen", "made-digits", force=True)
        >>> figures["items"], figures["fallback_items"], figures["verified"]
        (40, 0, True)

    model: a trained one; None for programs that learn while they code, as ``pack`` first thinks of, without a trial.
    block: items of a block at most, such as ``64``; or the time that decoding one may take, such as ``"0.5s"``, which
    is tried out, so that the bytes depend on the machine; None for 1,024, or more where many latents make it dear to
    start one.
    embed_model: False names the model by its SHA-256 instead, which serves readers that have it. verify: decode
    everything before the file gets its name. force: replace an archive that is there already; any other file is left
    alone all the same. max_memory: bytes that decoding may need.
    layout: axes of an array, where the guess would be wrong. jobs: blocks that are worked on at a time.
    read_cost: called with the seconds that reading one item back costs, and the items of its block, as measured when
    blocks were verified; not called where no block of the model was. It is no part of the figures, which are the same
    every time.

    What the model cannot represent is kept by programs that learn while they code, or by general codecs, whichever is
    smaller, inside the archive. The same data, model and options give the same bytes. Raises UsageError, DataError,
    ArchiveError.
    """
    items, seconds = parse_block(block)
    if model is None and not embed_model:
        raise UsageError("expected a model that can be left out, got none; programs that learn are always embedded")
    check_target(archive, data, force=force)
    check_names(model, data)
    opened = open_data(data, layout=layout, trust_download=trust_download)
    source = {"source_bytes": opened.size, "kept_files": dict(opened.kept), "verified": verify}
    from codelength.packing.blocking import Blocks
    from codelength.packing.pack import Packing, Settings, fallback_of

    blocks = Blocks(items, seconds)
    if model is None:
        settings = Settings(max_minutes=0, blocks=blocks, max_memory=max_memory, verify=verify, force=force, jobs=jobs)
        packing = Packing(opened, _named(data), settings)
        packing.look()
        written = packing.write(archive, progress=progress, read_cost=read_cost).figures
        larger = [_larger(written, opened.size)] if written["archive_bytes"] > opened.size else []
        return {**written, **source, "notes": larger, **about("compress")}
    frozen = frozen_model(model)
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
        jobs=jobs,
        fallback=fallback_of(opened.archived, blocks),
    )
    with open_archive(archive, frozen, max_memory=max(READER_MEMORY, max_memory or 0)) as reopened:
        dims = reopened.coded_dims
    bits = figures.code_length_bits - 1  # it has been rounded up
    worse = bits > dims * math.log2(frozen.space.symbols)
    notes = [worse_than_uniform(bits / dims, frozen.space.symbols)] if dims and worse else []
    if not dims and opened.shape is not None and frozen.space.admits(opened.shape):
        shape = "x".join(map(str, opened.shape))
        notes.append(f"each row of the array {shape} was taken for an item; one item by itself is array[None]")
    if figures.archive_bytes > opened.size:
        notes.append(_larger(figures.to_json(), opened.size))
    return {**figures.to_json(), **source, "notes": notes, **about("compress")}


def _larger(figures: dict[str, Any], size: int) -> str:
    """What to do about an archive that is larger than its data."""
    text = f"the archive takes {figures['archive_bytes']:,} bytes, more than the {size:,} of the data"
    if figures["payload_bytes"] < size:
        return f"{text}, since the model takes {figures['model_bytes']:,}; --no-embed-model leaves it out"
    return f"{text}; another model may suit it, or it is compressed already"


def _named(data: Data) -> str:
    """What to call data in a record."""
    if isinstance(data, str | os.PathLike):
        return str(data)
    return str(getattr(data, "name", "")) or f"{type(data).__name__} in memory"


def pack(
    data: Data,
    archive: str | os.PathLike[str] | None = None,
    *,
    profile: str = "balanced",
    max_minutes: float = 1.0,
    estimate: bool = False,
    compare: bool = True,
    jobs: int | None = None,
    block: int | str | None = None,
    keep_files: bool = False,
    verify: bool = True,
    force: bool = False,
    max_memory: int | None = None,
    layout: str | None = None,
    trust_download: bool = False,
    told: Callable[[PackResult], None] | None = None,
) -> PackResult:
    """Write ``data`` to a new archive with whatever suits it best, and say what was found, chosen and saved.

        >>> result = cl.pack("threshold-digits:test[:40]", "packed.clen", compare=False, force=True)
        >>> result.items, result.verified, result.archive_bytes < result.source_bytes
        (40, True, True)
        >>> cl.decompress("packed.clen").shape
        (40, 8, 8)

    profile: ``fast``, ``balanced`` or ``small``, about 1.2, 0.4 and 0.2 MB/s on a core, both ways.
    max_minutes: that choosing may take; 0 takes the first guess without trying it.
    estimate: stop before anything is written; ``archive`` may be left out then.
    compare: measure PNG, WebP, JPEG XL, xz and brotli on the same data, which takes longer than packing; of an
    estimate, on a small part of it. An interrupt in that time keeps the archive, and leaves the comparison out.
    jobs: blocks that are worked on at a time, as many as there are cores (eight at most) where None; the archive does
    not depend on it. keep_files: keep every byte of the files rather than the pixels of images.
    told: called with what was found and is expected, before anything is written, and with what was written, before
    general codecs are measured.
    block, verify, force, max_memory, layout: as of ``compress``.

    The same data and options give the same archive, unless choosing runs out of time. Where a run was killed, the same
    one again goes on from the blocks that were finished. Raises UsageError, DataError, ArchiveError.
    """
    from codelength.packing.blocking import Blocks
    from codelength.packing.pack import Packing, Settings

    settings = Settings(
        profile=profile,
        max_minutes=max_minutes,
        compare=compare,
        jobs=usual_jobs() if jobs is None else jobs,
        blocks=Blocks(*parse_block(block)),
        max_memory=max_memory,
        verify=verify,
        force=force,
        resume=True,
    )
    if not estimate:
        if archive is None:
            raise UsageError("expected a name for the archive, got none; an estimate needs none (estimate=True)")
        check_target(archive, data, force=force)
    check_names(None, data)
    opened = open_data(data, layout=layout, trust_download=trust_download, keep_files=keep_files)
    packing = Packing(opened, _named(data), settings)
    found = packing.look()
    if told is not None:
        told(found)
    if estimate:
        return packing.estimate()
    assert archive is not None
    result = packing.write(archive)
    if told is not None:
        told(result)
    return packing.compare(result) if compare else result


def append(
    archive: str | os.PathLike[str],
    data: Data,
    *,
    replace: bool = False,
    verify: bool = True,
    jobs: int | None = None,
    keep_files: bool = False,
    max_memory: int | None = None,
    layout: str | None = None,
    trust_download: bool = False,
    model: Model | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Add ``data`` to an archive that is there: files to those of a folder, rows to those of an array.

        >>> result = cl.pack("threshold-digits:test[:40]", "grown.clen", compare=False, force=True)
        >>> cl.append("grown.clen", "threshold-digits:test[40:50]")["items"]
        50

    Items are kept as the archive keeps its own where that suits them. replace: files of names that are there already
    take the place of what is there; an error without it. model: for archives that do not hold theirs. The other
    parameters are those of ``pack``.

    Whatever happens, the file is the old archive or the new one. Returns the figures of ``inspect``, with
    ``source_bytes`` of what was added and ``verified``. Raises UsageError, DataError, ArchiveError.
    """
    from codelength.archive.append import append_archive
    from codelength.packing.blocking import Blocks
    from codelength.packing.pack import fallback_of

    check_names(model, data)
    check_outside(archive, data)
    opened = open_data(data, layout=layout, trust_download=trust_download, keep_files=keep_files)
    figures = append_archive(
        Path(archive),
        opened.archived,
        _resolver(model),
        fallback=fallback_of(opened.archived, Blocks()),
        replace_names=replace,
        verify=verify,
        max_memory=max_memory,
        jobs=usual_jobs() if jobs is None else jobs,
        progress=progress,
    )
    return {**figures.to_json(), "source_bytes": opened.size, "verified": verify, **about("append")}


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
    with open_archive(archive, model, max_memory=max_memory) as opened:
        source = None if data is None else _as_kept(opened, data, layout)
        return {**verify_archive(opened, source).to_json(), **about("verify"), "sound": True, "damaged": []}


def _as_kept(archive: Archive, data: Data, layout: str | None) -> Source:
    """Data as an archive of it has it: every file as its bytes, where it holds no pixels at all and their names."""
    keeps_all = archive.header.kind == "folder" and not any(s.holds_items for s in archive.directory.streams)
    if keeps_all and isinstance(data, str | os.PathLike) and os.path.exists(data):
        source = open_data(data, keep_files=True).archived
        if list(source.names or ()) == archive.names:
            return source
    return open_data(data, layout=layout).archived


def open_archive(
    archive: str | os.PathLike[str], model: Model | None = None, *, max_memory: int | None = None
) -> Archive:
    """An open archive that finds packaged models by their hash; use it in a ``with`` statement.

    model: the model to decode with, for archives that do not hold theirs.
    max_memory: bytes that decoding may need; the reader's own limit where None.
    """
    limit = READER_MEMORY if max_memory is None else max_memory
    return Archive.open(Path(archive), _resolver(model), max_memory=limit)


def _resolver(model: Model | None) -> Callable[[str, str], FrozenModel | None]:
    """Finds the model that an archive names by its hash: the one given, else among the packaged ones."""

    def resolve(sha256: str, name: str) -> FrozenModel | None:
        return find_packaged(sha256, name) if model is None else frozen_model(model)

    return resolve


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
    settings = Estimation.of(
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
    frozen = frozen_model(model)
    if np.ndim(image) and np.ndim(image) == len(frozen.space.shape) + 1 and frozen.space.admits(np.shape(image)[1:]):
        raise NotRepresentable(
            f"expected one item to complete, got an array of {len(image)} of them; give one, such as image[0]"
        )
    from codelength.laws.completion import complete

    return complete(frozen, np.asarray(image), np.asarray(mask), count, seed=seed, draws=draws)


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
