"""A run from beginning to end: data, model, training, freezing, and the folder that holds them.

recipe.toml     the recipe with every default filled in
log.csv         one row per validation
checkpoint.pt   the complete state, to resume from
model.pt        the trained weights in floating point
model.clm       the frozen model, which codes and evaluates
freeze.txt      what freezing did to each layer
run.json        figures of the run
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from codelength.data import DataSet, load_data
from codelength.data.arrays import from_array
from codelength.data.load import parse_spec
from codelength.data.registry import REGISTRY
from codelength.data.seeded import binarize, choose
from codelength.errors import CheckpointError, DataError, RecipeError, UsageError
from codelength.exact.files import write_atomically
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space
from codelength.models.registry import FAMILIES, symbol_frequencies
from codelength.training.checkpoint import load_checkpoint, save_checkpoint
from codelength.training.config import Recipe, TrainingConfig, load_recipe
from codelength.training.loop import CHECKPOINT_FILE, train_model

RECIPE_FILE = "recipe.toml"
MODEL_FILE = "model.pt"
FROZEN_FILE = "model.clm"
REPORT_FILE = "freeze.txt"
FIGURES_FILE = "run.json"
#: Of data without a validation split, every so many-th item (chosen at random) is set aside.
HELD_OUT = 10
CALIBRATION_ITEMS = 1024


@dataclass(frozen=True)
class Run:
    """path: the folder. model: the trained module, float. frozen: its integer twin; None if interrupted or not asked
    for. reason: why training ended ("done", "early", "minutes", "interrupted", or "loaded"). figures: of run.json."""

    path: Path
    model: nn.Module
    frozen: FrozenModel | None
    reason: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """items (n, *shape), labels (n,) or None, for training and validation; what space they live in when trained on."""

    items: np.ndarray
    labels: np.ndarray | None
    valid_items: np.ndarray
    valid_labels: np.ndarray | None
    space: Space
    name: str
    binarize: str


def train(
    model: str | Path | nn.Module,
    data: Any,
    out: str | Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    start: str | Path | None = None,
    seed: int | None = None,
    changes: list[str] | None = None,
    device: str = "cpu",
    quiet: bool = True,
    freeze: bool = True,
    trust_download: bool = False,
) -> Run:
    """Train, freeze, and leave everything in the folder `out`.

    model: name or file of a recipe, or a torch module with `space` and `law()` (see codelength.training.loop). data: a
    data set, its name with or without a split, a path or an array; None for the recipe's own. minutes, seed: the same
    as changes of training.max_minutes and of all seeds. changes: such as "training.steps=100", on top of the recipe
    (or, for a module, of the defaults). With `resume` the recipe is the one in the folder. start: the folder of a
    finished run whose weights to begin with; they must fit the model.

    Raises RecipeError, UsageError (a folder that holds a run already), DataError, CheckpointError, FreezeError.
    """
    out = Path(out)
    changes = list(changes or [])
    if minutes is not None:
        changes.append(f"training.max_minutes={float(minutes)}")
    if seed is not None:
        changes.append(f"training.seed={seed}")
    if resume and not (out / CHECKPOINT_FILE).is_file():
        raise CheckpointError(f"expected a run to resume in {out}, found no {CHECKPOINT_FILE} there")
    if not resume and (out / CHECKPOINT_FILE).exists():
        raise UsageError(f"{out} holds a run already; resume it, or choose another folder")
    recipe, config = _recipe(model, out, changes, resume, seed)
    split = _split(data if data is not None else _own_data(recipe), config, trust_download)
    config = dataclasses.replace(config, binarize=split.binarize)
    if isinstance(model, nn.Module):
        module = model
    else:
        assert recipe is not None
        recipe = dataclasses.replace(recipe, training=config)
        module = FAMILIES[recipe.model].build(recipe.section, split.space, _frequencies(split))
    if start is not None and not resume:
        _begin_with(module, Path(start))
    _check(module, split)
    labelled = bool(getattr(module, "labels", 0))
    _make_folder(out)
    if recipe is not None:
        write_atomically(out / RECIPE_FILE, recipe.to_toml().encode())
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
    )
    figures = {
        "model": recipe.model if recipe is not None else type(module).__name__,
        "data": split.name,
        **({} if start is None else {"start": Path(start).name}),
        "shape": list(split.space.shape),
        "symbols": split.space.symbols,
        "parameters": sum(p.numel() for p in module.parameters()),
        "reason": outcome.reason,
        "step": outcome.step,
        "seconds": round(outcome.seconds, 1),
        "validation_nats": outcome.figures,
    }
    write_atomically(out / FIGURES_FILE, (json.dumps(figures, indent=2) + "\n").encode())
    if outcome.reason == "interrupted":
        return Run(out, outcome.model, None, outcome.reason, figures)
    trained = outcome.model.cpu()
    save_checkpoint(
        {"shape": list(split.space.shape), "symbols": split.space.symbols, "model": trained.state_dict()},
        out / MODEL_FILE,
    )
    frozen = _freeze(trained, split, out) if freeze else None
    return Run(out, trained, frozen, outcome.reason, figures)


def _finished(run: Path) -> dict[str, Any]:
    """What a finished run has left of its model. Raises UsageError, CheckpointError."""
    if not (run / MODEL_FILE).is_file():
        raise UsageError(f"expected a finished run in {run}, found no {MODEL_FILE}; finish its training first")
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
    figures = json.loads((path / FIGURES_FILE).read_text("utf-8")) if (path / FIGURES_FILE).is_file() else {}
    return Run(path, model.eval(), frozen, "loaded", figures)


def _recipe(
    model: str | Path | nn.Module, out: Path, changes: list[str], resume: bool, seed: int | None
) -> tuple[Recipe | None, TrainingConfig]:
    if isinstance(model, nn.Module):
        if not (hasattr(model, "law") and hasattr(model, "space")):
            raise UsageError(f"expected a module with a space and a law, got {type(model).__name__} without")
        return None, _module_config(changes)
    stored = out / RECIPE_FILE
    recipe = load_recipe(stored if resume and stored.is_file() else model, changes)
    if seed is not None and not resume and hasattr(recipe.section, "seed"):
        recipe = dataclasses.replace(recipe, section=dataclasses.replace(recipe.section, seed=seed))
    return recipe, recipe.training


def _module_config(changes: list[str]) -> TrainingConfig:
    """The training section alone, for modules that come without a recipe."""
    from codelength.training.config import parse_recipe

    for change in changes:
        if not change.strip().startswith("training."):
            raise RecipeError(
                f"expected a change of the training of a module, such as training.steps=100, got {change!r}"
            )
    return parse_recipe('model = "made"', "the changes", changes).training


def _own_data(recipe: Recipe | None) -> str:
    if recipe is None or not recipe.data:
        raise UsageError("expected data to train on, got none")
    return recipe.data


def _split(data: Any, config: TrainingConfig, trust_download: bool) -> Split:
    train_set, valid_set = _sets(data, trust_download)
    space, items = train_set.space, train_set.items
    if items is None or space is None or space.is_free:
        raise DataError(f"expected items of one size to train on, got {train_set.name} with images of several sizes")
    labels = train_set.labels
    if valid_set is None:
        valid = choose(len(items), max(1, len(items) // HELD_OUT), seed=0)
        rest = np.setdiff1d(np.arange(len(items)), valid)
        valid_items, valid_labels = items[valid], None if labels is None else labels[valid]
        items, labels = items[rest], None if labels is None else labels[rest]
    else:
        assert valid_set.items is not None
        valid_items, valid_labels = valid_set.items, valid_set.labels
    if len(items) == 0:
        raise DataError(f"expected at least two items to train on, got {len(train_set)} in {train_set.name}")
    dynamic = config.binarize == "dynamic" or train_set.binarize == "dynamic"
    if dynamic:
        if train_set.binarize != "dynamic" and space.symbols != 256:
            raise DataError(f"dynamic binarization needs grey values 0 .. 255, {train_set.name} has {space.symbols}")
        space = Space(space.shape, 2)
        if valid_set is None or int(valid_items.max(initial=0)) > 1:  # else it comes drawn, once for everybody
            valid_items = binarize(valid_items.astype(np.uint8), f"validation of {train_set.name}", 0)
    return Split(
        items, labels, valid_items, valid_labels, space, train_set.name, "dynamic" if dynamic else ""
    )  # fmt: skip


def _sets(data: Any, trust_download: bool) -> tuple[DataSet, DataSet | None]:
    """Training items, and validation items where the data set has a split for them."""
    if isinstance(data, DataSet):
        return data, None
    if isinstance(data, np.ndarray):
        return from_array(data), None
    if isinstance(data, str):
        spec = parse_spec(data)
        if spec.name in REGISTRY and spec.part in (None, "train"):
            splits = REGISTRY[spec.name].splits
            whole = data if spec.part else data.replace(spec.name, f"{spec.name}:train", 1)
            if "train" in splits:
                valid = load_data(f"{spec.name}:valid", trust_download=trust_download) if "valid" in splits else None
                return load_data(whole, trust_download=trust_download), valid
    return load_data(data, trust_download=trust_download), None


def _frequencies(split: Split) -> np.ndarray:
    if split.binarize:  # grey items: how often each element is expected to be one
        ones = split.items.reshape(len(split.items), -1).sum(0, dtype=np.float64) / 255
        return np.stack([len(split.items) - ones, ones], 1) + 0.5
    return symbol_frequencies(split.items, split.space.symbols)


def _check(module: nn.Module, split: Split) -> None:
    space, labels = module.space, int(getattr(module, "labels", 0))
    if not (space.admits(split.items.shape[1:]) and space.symbols == split.space.symbols):  # type: ignore[union-attr,operator]
        raise DataError(f"expected items of the model's space {space}, got {split.space}")
    if labels:
        if split.labels is None or split.valid_labels is None:
            raise DataError(f"a model of {labels} labels needs labelled data, {split.name} has none")
        if int(split.labels.max()) >= labels or int(split.labels.min()) < 0:
            raise DataError(f"expected labels below {labels}, {split.name} has {split.labels.max()}")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the run folder {out}: {error.strerror or error}") from None


def _freeze(model: nn.Module, split: Split, out: Path) -> FrozenModel:
    from codelength.freezing.freeze import FreezeReport, freeze

    some = choose(len(split.items), min(CALIBRATION_ITEMS, len(split.items)), seed=0)
    items = split.items[some]
    if split.binarize:
        items = binarize(items.astype(np.uint8), "calibration", 0)
    report = FreezeReport()
    try:
        with torch.no_grad():
            frozen = freeze(model, items, report=report)
    finally:
        write_atomically(out / REPORT_FILE, ("\n".join(report.lines()) + "\n").encode())
    write_atomically(out / FROZEN_FILE, frozen.to_bytes())
    return frozen
