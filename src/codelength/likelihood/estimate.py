"""How probable is this data under that model: every item by one method, and the figures of them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from codelength.errors import EvaluationError, UsageError
from codelength.likelihood.batches import Batch
from codelength.likelihood.methods import Density, Elbo, Exact, Importance, Method, Unchecked, require_finite
from codelength.likelihood.result import LOG_2, Diagnostics, Estimate, finite
from codelength.likelihood.settings import Settings

DEFAULT = Settings()


def estimate(
    density: Density,
    batches: Iterable[Batch],
    settings: Settings = DEFAULT,
    *,
    preprocessing: str = "none",
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Evaluate every item of ``batches``.

    settings: of these, ``estimator``, ``samples`` and ``seed``: how a bound is averaged over draws per item. ``elbo``:
        the mean of the log-weights, a lower bound. ``importance``: the log of the mean weight (Burda, Grosse,
        Salakhutdinov 2016, equation 8), a lower bound that tightens with ``samples``. Models with an exact likelihood
        answer exactly whatever is asked. Methods that know more of a model than a density does are for ``estimate_by``.
    progress: called with the number of items done since the last call.

    Raises EvaluationError for NaN, for infinity and for no items at all; UsageError for an estimator that the model
    does not have.
    """
    method: Method
    if density.kind == "exact":
        method = Exact(density, settings.seed)
    elif density.kind == "unchecked":
        method = Unchecked(density, settings.samples, settings.seed)
    elif settings.estimator == "annealed":
        raise UsageError("this model has no annealed estimate; use elbo or importance")
    else:
        method = (Elbo if settings.estimator == "elbo" else Importance)(density, settings.samples, settings.seed)
    return estimate_by(method, batches, preprocessing=preprocessing, progress=progress)


def estimate_by(
    method: Method,
    batches: Iterable[Batch],
    *,
    preprocessing: str = "none",
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Evaluate every item of ``batches`` by a method; otherwise as ``estimate``."""
    index: list[np.ndarray] = []
    nats: list[np.ndarray] = []
    variances: list[np.ndarray] = []
    dims: list[np.ndarray] = []
    ess: list[np.ndarray] = []
    pareto_k: list[np.ndarray] = []
    curve_k: np.ndarray = np.zeros(0)
    curve: Any = 0.0  # summed over items
    bias = 0.0
    for batch in batches:
        answers = method.answer(batch)
        require_finite(answers.nats[None], batch.index)
        index.append(np.asarray(batch.index))
        nats.append(answers.nats)
        variances.append(answers.variances)
        dims.append(np.full(len(batch.items), math.prod(batch.items.shape[1:]), np.int64))
        if answers.weights is not None:
            ess.append(answers.weights.ess)
            pareto_k.append(answers.weights.pareto_k)
            curve_k = answers.weights.curve_k
            curve = curve + answers.weights.curve.sum(1)
            bias += float(answers.weights.jackknife_bias.sum())
        if progress is not None:
            progress(len(batch.items))
    count = sum(map(len, nats))
    if not count:
        raise EvaluationError("expected items to evaluate, got none")
    order = np.argsort(np.concatenate(index), kind="stable")
    by_item = [np.concatenate(part)[order] for part in (index, nats, variances, dims)]
    diagnostics = None
    if ess:
        diagnostics = Diagnostics(
            method.about(),
            curve_k,
            curve / count,
            finite((float(by_item[1].sum()) - bias) / count),
            np.concatenate(ess)[order],
            np.concatenate(pareto_k)[order],
        )
    return _summary(
        *by_item,
        kind=method.kind,
        estimator=method.estimator,
        samples=method.samples,
        arithmetic=method.arithmetic,
        preprocessing=preprocessing,
        diagnostics=diagnostics,
    )


def _summary(index: np.ndarray, nats: np.ndarray, variances: np.ndarray, dims: np.ndarray, **about: Any) -> Estimate:
    n, total_dims = len(nats), int(dims.sum())
    bits_per_dim = -float(nats.sum()) / (LOG_2 * total_dims)
    # The ratio of two sums, to first order; for items of one size this is nats_se / (D log 2).
    residuals = -nats / LOG_2 - bits_per_dim * dims
    mc_se = math.sqrt(float(variances.sum())) / n
    return Estimate(
        nats=float(nats.mean()),
        nats_se=float(nats.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        mc_se=None if math.isnan(mc_se) else mc_se,
        bits_per_dim=bits_per_dim,
        bits_per_dim_se=float(residuals.std(ddof=1)) * math.sqrt(n) / total_dims if n > 1 else None,
        items=n,
        dims=total_dims,
        item_nats=nats,
        item_dims=dims,
        item_index=index,
        **about,
    )
