"""A run from beginning to end: data, model, training, freezing, and the folder that holds them.

recipe.toml     the recipe with every default filled in, and the data that was really used, with its hash
log.csv         one row per validation
checkpoint.pt   the complete state, to resume from
model.pt        the trained weights in floating point
model.clm       the frozen model, which codes and evaluates
freeze.txt      what freezing did to each layer
run.json        figures of the run; from its beginning on what it is of
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from codelength.data import DataSet
from codelength.errors import CheckpointError, DataError, RecipeError, UsageError
from codelength.files import write_atomically
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space
from codelength.likelihood.causality import ITEMS, check_causal
from codelength.models.registry import FAMILIES, symbol_frequencies
from codelength.training.ahead import MODEL_FILE, RECIPE_FILE, check_ahead, check_finished
from codelength.training.checkpoint import load_checkpoint, save_checkpoint
from codelength.training.config import Recipe, TrainingConfig, load_recipe, recipe_names
from codelength.training.data import CALIBRATION_ITEMS, Split, load_split, stored_spec
from codelength.training.loop import FREE, train_model
from codelength.training.progress import Teller
from codelength.training.size import check_footprint, check_recipe, footprint

FROZEN_FILE = "model.clm"
REPORT_FILE = "freeze.txt"
FIGURES_FILE = "run.json"
#: Items that freezing is tried with before training.
TRIAL_ITEMS = 8


@dataclass(frozen=True)
class Run:
    """path: the folder. model: the trained module, float. frozen: its integer twin; None if interrupted or not asked
    for. reason: why training ended ("done", "early", "minutes", "interrupted", or "loaded"). figures: of run.json."""

    path: Path
    model: nn.Module
    frozen: FrozenModel | None
    reason: str
    figures: dict[str, Any]


def train(
    model: str | Path | nn.Module | None,
    data: Any,
    out: str | Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    start: str | Path | None = None,
    seed: int | None = None,
    changes: Sequence[str] | None = None,
    device: str = "cpu",
    quiet: bool = True,
    freeze: bool = True,
    trust_download: bool = False,
    max_memory: int | None = None,
) -> Run:
    """Train, freeze, and leave everything in the folder `out`.

    model: name or file of a recipe, or a torch module with `space` and `law()` (see codelength.training.loop). data: a
    data set, its name with or without a split, a path or an array; None for the recipe's own. minutes, seed: the same
    as changes of training.max_minutes and of all seeds. changes: such as "training.steps=100", on top of the recipe
    (or, for a module, of the defaults). start: the folder of a finished run whose weights to begin with; they must fit
    the model. max_memory: bytes that training may need; most of what the machine has free where None.

    With `resume` recipe and data are those of the folder. model may then be None for a recipe, data for what the recipe
    can name; where they are given, they must be the ones that the run began with.

    Raises RecipeError, UsageError (a folder that holds a run already; too little memory), DataError, CheckpointError,
    FreezeError, EvaluationError (NotCausal before the first step).
    """
    out = Path(out)
    changes = list(changes or [])
    if minutes is not None:
        changes.append(f"training.max_minutes={float(minutes)}")
    if seed is not None:
        changes.append(f"training.seed={seed}")
    check_ahead(model, data, out, resume=resume, start=start, changes=changes)
    recipe, config = _recipe(model, out, changes, resume, seed)
    name = recipe.model if recipe is not None else type(model).__name__
    source = data if data is not None else _own_data(recipe, out, resume)
    tell = Teller(quiet)
    tell(f"{'going on with' if resume else 'training'} {_title(recipe, model)} on {_shown(source)} ...")
    limit = max_memory if max_memory is not None or device == "cpu" else sys.maxsize  # a device has its own memory
    split = load_split(source, config, trust_download)
    if resume:
        _same_data(recipe, out, split, data is not None)
    tell(str(split))
    config = dataclasses.replace(config, binarize=split.binarize)
    if recipe is None:
        module: Any = model
    else:
        stored = recipe.data if resume and recipe.data_sha256 else stored_spec(source)
        recipe = dataclasses.replace(recipe, training=config, data=stored, data_sha256=split.sha256)
        title = _title(recipe, model)
        try:
            size = check_recipe(recipe, f"{title} on {split.name}", split.space, len(split.items), limit)
            tell(str(size))
            module = FAMILIES[recipe.model].build(recipe.section, split.space, _frequencies(split))
        except RecipeError as error:
            raise RecipeError(f"in the section {recipe.model} of {title}: {error}") from None
    if start is not None and not resume:
        _begin_with(module, Path(start))
    _check(module, split)
    symbols = module.space.symbols
    if recipe is None:
        space = Space(split.space.shape, symbols)
        size = footprint(module, space, config, len(split.items), int(getattr(module, "labels", 0)))
        tell(str(size))
        what = f"a {type(model).__name__} on {split.name}"
        check_footprint(size, what, limit, lambda _: "make the networks or training.batch smaller, or give more memory")
    if recipe is None and not resume:  # the package's own families are known to keep to their order, and to freeze
        _try(module, split, fresh=start is None, freeze=freeze)
    labelled = bool(getattr(module, "labels", 0))
    figures: dict[str, Any] = {
        "model": name,
        "data": split.name,
        "data_sha256": split.sha256,
        **({} if start is None else {"start": Path(start).name}),
        "shape": list(split.space.shape),
        "symbols": symbols,
        "parameters": sum(p.numel() for p in module.parameters()),
    }

    def begin() -> None:
        """What the folder holds from the beginning; a run that cannot be resumed leaves it as it was."""
        if recipe is not None:
            write_atomically(out / RECIPE_FILE, recipe.to_toml().encode())
        _write_figures(out, {**figures, "reason": "unfinished"})

    _make_folder(out)
    outcome = train_model(
        module,
        split.items,
        split.valid_items,
        config,
        out,
        labels=split.labels if labelled else None,
        valid_labels=split.valid_labels if labelled else None,
        resume=resume,
        device=device,
        quiet=quiet,
        on_begin=begin,
    )
    figures |= {
        "reason": outcome.reason,
        "step": outcome.step,
        "seconds": round(outcome.seconds, 1),
        "validation_nats": outcome.figures,
    }
    _write_figures(out, figures)
    if outcome.reason == "interrupted":
        return Run(out, outcome.model, None, outcome.reason, figures)
    trained = outcome.model.cpu()
    save_checkpoint(
        {"shape": list(split.space.shape), "symbols": symbols, "model": trained.state_dict()},
        out / MODEL_FILE,
    )
    if freeze:
        tell("freezing ...")
    frozen = _freeze(trained, split, out) if freeze else None
    return Run(out, trained, frozen, outcome.reason, figures)


def _write_figures(out: Path, figures: dict[str, Any]) -> None:
    write_atomically(out / FIGURES_FILE, (json.dumps(figures, indent=2) + "\n").encode())


def _title(recipe: Recipe | None, model: Any) -> str:
    if recipe is None:
        return f"a {type(model).__name__}"
    return Path(recipe.recipe).stem if recipe.recipe else recipe.model


def _shown(data: Any) -> str:
    if isinstance(data, str | os.PathLike):
        return str(data)
    if isinstance(data, DataSet):
        return data.name
    return f"an array {getattr(data, 'dtype', '')} {getattr(data, 'shape', '')}"


def _same_data(recipe: Recipe | None, out: Path, split: Split, given: bool) -> None:
    """Raise CheckpointError where the run in a folder was trained on other data. Runs of before hashes were kept are
    believed."""
    if recipe is not None:
        name, known = recipe.data or "data in memory", recipe.data_sha256
    else:
        figures = _figures(out)
        name, known = figures.get("data", "data in memory"), figures.get("data_sha256", "")
    if not known or known == split.sha256:
        return
    what = f"the run in {out} was trained on {name}, whose items have the sha256 {known[:12]}.., "
    if not given:
        raise CheckpointError(
            f"{what}and they now have {split.sha256[:12]}..; bring the data back as it was, or start a run in another "
            "folder"
        )
    raise CheckpointError(
        f"{what}and those of {split.name} have {split.sha256[:12]}..; resume with the data of the run"
        + (" (leave --data out)" if recipe is not None and recipe.data else "")
        + ", or start a run in another folder"
    )


def _figures(run: Path) -> dict[str, Any]:
    """The figures of a run folder, as far as it has some."""
    try:
        figures = json.loads((run / FIGURES_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return figures if isinstance(figures, dict) else {}


def _finished(run: Path) -> dict[str, Any]:
    """What a finished run has left of its model. Raises UsageError, CheckpointError."""
    check_finished(run)
    return load_checkpoint(run / MODEL_FILE)


def _begin_with(module: nn.Module, run: Path) -> None:
    """Give the module the weights of a finished run. Raises UsageError, CheckpointError."""
    try:
        module.load_state_dict(_finished(run)["model"])
    except (RuntimeError, KeyError):
        raise UsageError(
            f"the weights in {run} do not fit the model to be trained; start from a run of the same networks on data "
            "of the same shape"
        ) from None


def load_run(path: str | Path, model: nn.Module | None = None) -> Run:
    """The finished run in a folder. model: the module to load the weights into, where it came from no recipe.

    Raises UsageError for a folder without a finished run, CheckpointError for one that cannot be read.
    """
    path = Path(path)
    state = _finished(path)
    if model is None:
        if not (path / RECIPE_FILE).is_file():
            raise UsageError(f"the run in {path} was trained from a module of its own; hand the module over")
        recipe = load_recipe(path / RECIPE_FILE)
        space = Space(tuple(state["shape"]), state["symbols"])
        model = FAMILIES[recipe.model].build(recipe.section, space, None)
    try:
        model.load_state_dict(state["model"])
    except (RuntimeError, KeyError):
        raise CheckpointError(f"the weights in {path / MODEL_FILE} are not those of this model") from None
    frozen = None
    if (path / FROZEN_FILE).is_file():
        frozen = FrozenModel.from_bytes((path / FROZEN_FILE).read_bytes())
    return Run(path, model.eval(), frozen, "loaded", _figures(path))


def _recipe(
    model: str | Path | nn.Module | None, out: Path, changes: list[str], resume: bool, seed: int | None
) -> tuple[Recipe | None, TrainingConfig]:
    stored = out / RECIPE_FILE
    if isinstance(model, nn.Module):
        if not (hasattr(model, "law") and hasattr(model, "space")):
            raise UsageError(f"expected a module with a space and a law, got {type(model).__name__} without")
        if resume and stored.is_file():
            raise UsageError(f"the run in {out} was begun from a recipe; resume it without a module")
        return None, _module_config(changes)
    if resume:
        recipe = load_recipe(stored, changes)
        if model is not None:
            _same_recipe(model, load_recipe(stored), out)
    else:
        assert model is not None
        recipe = load_recipe(model, changes)
        if seed is not None and hasattr(recipe.section, "seed"):
            changes.append(f"{recipe.model}.seed={seed}")
            recipe = dataclasses.replace(recipe, section=dataclasses.replace(recipe.section, seed=seed))
        named = str(model) if str(model) in recipe_names() else stored_spec(Path(model))
        recipe = dataclasses.replace(recipe, recipe=named, data_sha256="")
    return dataclasses.replace(recipe, changes=(*recipe.changes, *changes)), recipe.training


def _same_recipe(given: str | Path, stored: Recipe, out: Path) -> None:
    """Raise UsageError where a run was begun from another recipe than the one that it is to be resumed with."""
    other = load_recipe(given)
    pairs = [("model", stored.model, other.model)]
    if stored.model == other.model:
        other = load_recipe(given, list(stored.changes))
        for section, mine, theirs in (
            (stored.model, stored.section, other.section),
            ("training", stored.training, other.training),
        ):
            for entry in dataclasses.fields(mine):
                # What the data decided is not the recipe's.
                if section != "training" or entry.name not in (*FREE, "binarize"):
                    name = f"{section}.{entry.name}"
                    pairs.append((name, getattr(mine, entry.name), getattr(theirs, entry.name)))
    for name, mine, theirs in pairs:
        if mine != theirs:
            raise UsageError(
                f"the run in {out} has {name} = {mine!r}, and {str(given)!r} says {theirs!r}; leave the recipe out to "
                "resume, or start a run in another folder"
            )


def _module_config(changes: list[str]) -> TrainingConfig:
    """The training section alone, for modules that come without a recipe."""
    from codelength.training.config import parse_recipe

    for change in changes:
        if not change.strip().startswith("training."):
            raise RecipeError(
                f"expected a change of the training of a module, such as training.steps=100, got {change!r}"
            )
    return parse_recipe('model = "made"', "the changes", changes).training


def _own_data(recipe: Recipe | None, out: Path, resume: bool) -> str:
    if recipe is not None and recipe.data:
        return recipe.data
    if resume:
        raise UsageError(f"the run in {out} was trained on data in memory; hand the same data over to resume it")
    raise UsageError("expected data to train on, got none")


def _frequencies(split: Split) -> np.ndarray:
    pieces = (items for _, items in split.items.pieces())
    if split.binarize:  # grey items: how often each element is expected to be one
        ones = sum(items.reshape(len(items), -1).sum(0, dtype=np.float64) for items in pieces) / 255
        return np.stack([len(split.items) - ones, ones], 1) + 0.5
    counts = (symbol_frequencies(items, split.space.symbols) - 0.5 for items in pieces)
    return functools.reduce(np.add, counts) + 0.5


def _check(module: nn.Module, split: Split) -> None:
    space: Any = module.space
    labels = int(getattr(module, "labels", 0))
    if split.shape is not None and not space.admits(split.items.shape) and space.admits(split.shape):
        raise DataError(
            f"expected items along the first axis, got one item by itself (shape {split.shape}) in {split.name}; train "
            "on many, and give one as array[None]"
        )
    if not space.admits(split.items.shape) or (split.binarize and space.symbols != 2):
        raise DataError(f"expected items of the model's space {space}, got {split.space} in {split.name}")
    if space.symbols < split.space.symbols:
        for draws, _, named in split.parts():
            for first, items in draws.pieces():
                wrong = np.flatnonzero((items >= space.symbols).reshape(len(items), -1).any(1))
                if len(wrong):
                    raise DataError(
                        f"expected whole numbers from 0 to {space.symbols - 1}, the model's symbols, but "
                        f"{named(first + wrong[0])} holds {items[wrong[0]].max()}"
                    )
    if labels:
        for draws, given, named in split.parts():
            if given is None:
                raise DataError(f"a model of {labels} labels needs labelled data, {split.name} has none")
            if given.shape != (len(draws),) or given.dtype.kind not in "iub":
                raise DataError(
                    f"expected a whole number for each of {len(draws):,} items as its label, got {given.dtype} "
                    f"{given.shape} in {split.name}"
                )
            wrong = np.flatnonzero((given < 0) | (given >= labels))
            if len(wrong):
                raise DataError(
                    f"expected labels from 0 to {labels - 1}, but {named(wrong[0])} has the label {given[wrong[0]]}"
                )


def _try(module: Any, split: Split, *, fresh: bool, freeze: bool) -> None:
    """Find out before the first step what would make the training vain. Raises NotCausal, FreezeError."""
    from codelength.freezing.freeze import check_freezable

    check_causal(module, split.some(ITEMS), fresh=fresh)
    if freeze:
        check_freezable(module, split.some(TRIAL_ITEMS))


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the run folder {out}: {error.strerror or error}") from None


def _freeze(model: nn.Module, split: Split, out: Path) -> FrozenModel:
    from codelength.freezing.freeze import FreezeReport, freeze

    report = FreezeReport()
    try:
        with torch.no_grad():
            frozen = freeze(model, split.some(CALIBRATION_ITEMS), report=report)
    finally:
        write_atomically(out / REPORT_FILE, ("\n".join(report.lines()) + "\n").encode())
    write_atomically(out / FROZEN_FILE, frozen.to_bytes())
    return frozen
