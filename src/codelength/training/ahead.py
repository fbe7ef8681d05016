"""What is wrong with a call for training, as far as it can be told before PyTorch is imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codelength.data.spec import check_spec
from codelength.errors import CheckpointError, UsageError
from codelength.training.config import load_recipe
from codelength.weights import packaged

CHECKPOINT_FILE = "checkpoint.pt"
RECIPE_FILE = "recipe.toml"
MODEL_FILE = "model.pt"


def check_ahead(
    model: Any,
    data: Any,
    out: Path,
    *,
    resume: bool = False,
    start: str | os.PathLike[str] | None = None,
    changes: Sequence[str] = (),
) -> None:
    """The arguments of ``training.run.train``: the run folder, the recipe with its changes, the names of data and of a
    run to begin with. Nothing is written, and no item of data is read.

    Raises CheckpointError, UsageError, RecipeError, DataError.
    """
    if resume and not (out / CHECKPOINT_FILE).is_file():
        raise CheckpointError(
            f"expected a run to resume in {out}, found no {CHECKPOINT_FILE} there; train without --resume first"
        )
    if not resume and (out / CHECKPOINT_FILE).exists():
        raise UsageError(f"{out} holds a run already; resume it, or choose another folder")
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected a folder for the run, but {out} is a file; choose another place")
    if start is not None and not resume:
        check_finished(Path(start))
    if isinstance(data, str | os.PathLike):
        check_spec(data)
    if model is not None and not isinstance(model, str | os.PathLike):
        return  # a module
    stored = out / RECIPE_FILE
    if resume and not stored.is_file():
        raise UsageError(
            f"the run in {out} was begun from a module of its own; resume it in Python, with that module: "
            "codelength.train(module, data, out, resume=True)"
        )
    if not resume and model is None:
        raise UsageError("expected the name or the file of a recipe, got none; only --resume can do without")
    recipe = load_recipe(stored if resume else str(model), list(changes))
    if resume and model is not None:
        load_recipe(str(model))
    if data is None and recipe.data:
        check_spec(recipe.data)


def check_finished(run: Path) -> None:
    """Raise UsageError for a folder without a finished run."""
    if not run.exists() and run.name in packaged():
        raise UsageError(
            f"expected a finished run, got the packaged model {run.name}, of which the frozen twin is kept alone; "
            f"train it again, or use the frozen one by its name"
        )
    if not (run / MODEL_FILE).is_file():
        raise UsageError(f"expected a finished run in {run}, found no {MODEL_FILE}; finish its training first")
