"""How probable is this data under that model: a figure with its error bars, its kind, and what it depends on.

Inside, everything is in nats per item. A dimension is one element (sub-pixel) of an item as it came; bits/dim is
the total code length in bits over the total number of elements, which for items of one size is the mean
negative log-likelihood over D log 2.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from codelength.errors import EvaluationError, UsageError
from codelength.exact.files import write_atomically

ESTIMATORS = ("elbo", "importance", "annealed")
LOG_2 = math.log(2.0)


class Density(Protocol):
    """Something with a log-likelihood.

    kind: ``exact``, or ``lower_bound`` where ``log_prob`` is a stochastic lower bound whose exponential has the
        likelihood as its mean (log p(x, z) - log q(z | x), z drawn from q).
    arithmetic: ``frozen`` (integers, as files are coded) or ``float``.
    """

    @property
    def kind(self) -> str: ...

    @property
    def arithmetic(self) -> str: ...

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        """Nats, float64 (n,), for events (n, *shape); another draw of a bound for another seed."""
        ...


@dataclass(frozen=True)
class Batch:
    """Events of one shape: ``items`` (n, *shape) symbols, ``index`` (n,) their numbers in the data."""

    index: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """The log-likelihood of a data set.

    nats: mean log p(x) per item. nats_se: its standard error over the items, None for fewer than two.
    mc_se: the part of the error that comes from the estimator's own draws; 0 where exact, None where one draw per
        item does not tell.
    bits_per_dim, bits_per_dim_se: in bits per element.
    kind: ``exact``; ``lower_bound`` (its expectation is at most log p(x)).
    estimator: ``exact``, ``elbo`` or ``importance``. samples: draws per item, 0 where exact.
    arithmetic: ``frozen`` or ``float``. preprocessing: of the data, in words.
    items: how many. dims: elements of all of them together.
    item_nats, item_dims, item_index (items,): per item, in the order of the data.
    """

    nats: float
    nats_se: float | None
    mc_se: float | None
    bits_per_dim: float
    bits_per_dim_se: float | None
    kind: str
    estimator: str
    samples: int
    arithmetic: str
    preprocessing: str
    items: int
    dims: int
    item_nats: np.ndarray = field(repr=False, compare=False)
    item_dims: np.ndarray = field(repr=False, compare=False)
    item_index: np.ndarray = field(repr=False, compare=False)

    def __str__(self) -> str:
        def shown(value: float, error: float | None) -> str:
            return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"

        kind = {"exact": "exact", "lower_bound": "lower bound"}[self.kind]
        return (
            f"{shown(self.bits_per_dim, self.bits_per_dim_se)} bits/dim, {shown(self.nats, self.nats_se)} nats per "
            f"item ({kind}, {self.arithmetic}; ± standard error over {self.items:,} items)"
        )

    def to_json(self) -> dict[str, Any]:
        """The figures under their names in ``codelength evaluate --json``, per-item figures left out."""
        names = (
            "items", "dims", "nats", "nats_se", "mc_se", "bits_per_dim", "bits_per_dim_se", "kind", "estimator",
            "samples", "arithmetic", "preprocessing",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def save_items(self, path: Path) -> None:
        """Per-item figures: nats as ``.npy``, float64 (items,), or ``.csv`` with item, nats, dims, bits_per_dim.

        Raises UsageError for another ending.
        """
        buffer = io.BytesIO()
        if path.suffix == ".npy":
            np.save(buffer, self.item_nats)
        elif path.suffix == ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["item", "nats", "dims", "bits_per_dim"])
            for index, nats, dims in zip(self.item_index.tolist(), self.item_nats.tolist(), self.item_dims.tolist()):
                writer.writerow([index, repr(nats), dims, repr(-nats / (dims * LOG_2))])
            buffer.write(text.getvalue().encode())
        else:
            raise UsageError(f"expected a name that ends in .npy or .csv for figures per item, got {path}")
        write_atomically(path, buffer.getvalue())


def check_options(estimator: str, samples: int) -> None:
    """Raise UsageError for an estimator or a number of samples that does not exist."""
    if estimator not in ESTIMATORS:
        raise UsageError(f"expected one of the estimators {', '.join(ESTIMATORS)}, got {estimator!r}")
    if samples < 1:
        raise UsageError(f"expected at least one sample, got {samples}")


def estimate(
    density: Density,
    batches: Iterable[Batch],
    *,
    estimator: str = "elbo",
    samples: int = 1,
    seed: int = 0,
    preprocessing: str = "none",
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Evaluate every item of ``batches``.

    estimator, samples: how a bound is averaged over draws per item. ``elbo``: the mean of the log-weights, a lower
        bound. ``importance``: the log of the mean weight (Burda, Grosse, Salakhutdinov 2016, equation 8), a lower
        bound that tightens with ``samples``. Models with an exact likelihood answer exactly whatever is asked.
    progress: called with the number of items done since the last call.

    Raises EvaluationError for NaN, for infinity and for no items at all; UsageError for an estimator that the model
    does not have.
    """
    check_options(estimator, samples)
    exact = density.kind == "exact"
    if not exact and estimator == "annealed":
        raise UsageError("this model has no annealed estimate; use elbo or importance")
    index, nats, variances, dims = [], [], [], []
    for batch in batches:
        if exact:
            values, variance = np.asarray(density.log_prob(batch.items, seed), np.float64), np.zeros(len(batch.items))
        else:
            running = (_Elbo if estimator == "elbo" else _Importance)(len(batch.items))
            for k in range(samples):
                weights = np.asarray(density.log_prob(batch.items, seed + k), np.float64)
                _require_finite(weights[None], batch.index)
                running.add(weights)
            values, variance = running.result()
        _require_finite(values[None], batch.index)
        index.append(np.asarray(batch.index))
        nats.append(values)
        variances.append(variance)
        dims.append(np.full(len(batch.items), math.prod(batch.items.shape[1:]), np.int64))
        if progress is not None:
            progress(len(batch.items))
    if not sum(map(len, nats)):
        raise EvaluationError("expected items to evaluate, got none")
    order = np.argsort(np.concatenate(index), kind="stable")
    by_item = [np.concatenate(part)[order] for part in (index, nats, variances, dims)]
    return _summary(
        *by_item,
        kind=density.kind,
        estimator="exact" if exact else estimator,
        samples=0 if exact else samples,
        arithmetic=density.arithmetic,
        preprocessing=preprocessing,
    )


class _Elbo:
    """Mean of log-weights, one draw (n,) at a time in constant memory (Welford 1962)."""

    def __init__(self, items: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(items), np.zeros(items)

    def add(self, weights: np.ndarray) -> None:
        self.count += 1
        step = weights - self.mean
        self.mean += step / self.count
        self.squares += step * (weights - self.mean)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (n,), and the variance of that mean; NaN for one draw."""
        if self.count < 2:
            return self.mean, np.full(len(self.mean), np.nan)
        return self.mean, self.squares / (self.count - 1) / self.count


class _Importance:
    """Log of the mean weight, one draw of log-weights (n,) at a time in constant memory.

    Sums of weights and of their squares, in units of the largest weight so far.
    """

    def __init__(self, items: int) -> None:
        self.count = 0
        self.top = np.full(items, -np.inf)
        self.total, self.squares = np.zeros(items), np.zeros(items)

    def add(self, weights: np.ndarray) -> None:
        self.count += 1
        top = np.maximum(self.top, weights)
        shrink, added = np.exp(self.top - top), np.exp(weights - top)
        self.total = self.total * shrink + added
        self.squares = self.squares * shrink**2 + added**2
        self.top = top

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The log of the mean (n,), and its variance to first order (the delta method); NaN for one draw."""
        mean = self.total / self.count
        values = self.top + np.log(mean)
        if self.count < 2:
            return values, np.full(len(mean), np.nan)
        # Rounding may leave equal weights a variance just below zero.
        variance = np.maximum(self.squares / self.count - mean**2, 0.0) / (self.count - 1)
        return values, variance / mean**2


def _require_finite(values: np.ndarray, index: np.ndarray) -> None:
    bad = ~np.isfinite(values).all(0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        value = values[:, first][~np.isfinite(values[:, first])][0]
        raise EvaluationError(
            f"the log-likelihood of item {int(index[first])} is {value}, and so for {int(bad.sum())} of "
            f"{len(bad)} items; a mean without them would be another figure, so there is none"
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


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items: ``nats`` is the mean of log p_a(x) - log p_b(x), positive where a is better.

    nats_se: standard error of that mean over the items, None for fewer than two. What both models find hard cancels,
    so it is usually far smaller than the errors of either. mc_se: the part of it that comes from draws, None where
    that is not known. wins: share of items that a gives more probability.
    """

    nats: float
    nats_se: float | None
    mc_se: float | None
    wins: float
    items: int


def compare(a: Estimate, b: Estimate) -> Comparison:
    """Compare two estimates item by item. Raises UsageError where they are not of the same items."""
    same = len(a.item_index) == len(b.item_index) and np.array_equal(a.item_index, b.item_index)
    if not same or not np.array_equal(a.item_dims, b.item_dims):
        raise UsageError(
            f"expected two estimates of the same items, got {a.items:,} and {b.items:,} items that are not the same; "
            "evaluate both models on one data set, with the same limit and seed"
        )
    gaps = a.item_nats - b.item_nats
    n = len(gaps)
    draws = None if a.mc_se is None or b.mc_se is None else math.hypot(a.mc_se, b.mc_se)
    error = float(gaps.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Comparison(float(gaps.mean()), error, draws, float((gaps > 0).mean()), n)
