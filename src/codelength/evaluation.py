"""From a model, data and settings to an estimate: which arithmetic serves, and which method."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from codelength.data.dataset import DataSet
from codelength.data.seeded import choose
from codelength.errors import NotFrozen, UsageError, needing_torch
from codelength.laws.space import Space
from codelength.likelihood.batches import as_they_are, batches
from codelength.likelihood.estimate import estimate, estimate_by
from codelength.likelihood.methods import Density
from codelength.likelihood.result import Estimate
from codelength.likelihood.settings import Settings
from codelength.resolve import frozen_model, is_frozen, run_folder

if TYPE_CHECKING:
    from torch import nn

    from codelength.resolve import Model


def evaluate_as(
    model: Model | nn.Module, data: DataSet, settings: Settings, *, progress: Callable[[int], None] | None = None
) -> Estimate:
    """The log-likelihood of data under a model as the settings say, see ``codelength.evaluate``."""
    size = _batch_size(model, data, settings.max_memory)
    density, space = _density(model, settings.arithmetic, settings.device, size)
    limit = settings.limit
    index = None if limit is None or limit >= len(data) else choose(len(data), limit, settings.seed)
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
    if max_memory is None or not is_frozen(model) or data.items is None:
        return 1024
    return max(1, min(1024, max_memory // model.memory_bytes(1, data.items.shape[1:])))


def _density(model: Any, arithmetic: str | None, device: str, rows: int) -> tuple[Density, Any]:
    """What is to be evaluated and its space, None for a module that states none. rows: of a frozen model's passes."""
    if isinstance(model, str | os.PathLike) and arithmetic == "float":
        folder = run_folder(model)
        with needing_torch("a trainable model"):
            from codelength.likelihood.floating import FloatDensity
            from codelength.training.run import load_run
        module: Any = load_run(folder).model
        return FloatDensity(module, device), module.space
    if isinstance(model, str | os.PathLike) or is_frozen(model):
        if arithmetic == "float":
            raise UsageError("a frozen model computes in integers; give the run folder or the module for floats")
        frozen = frozen_model(model)
        from codelength.likelihood.densities import FrozenDensity

        return FrozenDensity(frozen, rows), frozen.space
    if arithmetic == "frozen":
        raise NotFrozen("expected a frozen model, got a module in floating point; freeze it first")
    with needing_torch("a model in floating point"):
        from codelength.likelihood.floating import density_of
    return density_of(model, device), getattr(model, "space", None)
