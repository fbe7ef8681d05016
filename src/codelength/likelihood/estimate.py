"""How probable is this data under that model: a figure with its error bars, its kind, and what it depends on.

Inside, everything is in nats per item. A dimension is one element (sub-pixel) of an item as it came; bits/dim is
the total code length in bits over the total number of elements, which for items of one size is the mean
negative log-likelihood over D log 2.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from codelength.errors import EvaluationError, NotRepresentable, UsageError
from codelength.files import write_atomically
from codelength.likelihood.weights import ImportanceResult, WeightStream

ESTIMATORS = ("elbo", "importance", "annealed")
#: Where importance sampling draws latents from (``joint.PROPOSALS``), and where annealing begins.
PROPOSALS = ("posterior", "prior", "widened", "student", "defensive")
STARTS = ("posterior", "prior")
#: Draws (annealed: chains) per item where none are asked for.
SAMPLES = {"elbo": 1, "importance": 100, "annealed": 16}
TEMPERATURES = 100
LEAPFROG = 10
#: Pareto shapes above this are those of weights that cannot be averaged (Vehtari et al. 2024).
HEAVY_TAIL = 0.7
#: Below so many effective samples on average, one draw decides about most items.
FEW_EFFECTIVE = 2.0
#: Draws that are taken in at once.
CHUNK = 16
LOG_2 = math.log(2.0)


class Density(Protocol):
    """Something with a log-likelihood.

    kind: ``exact``, or ``lower_bound`` where ``log_prob`` is a stochastic lower bound whose exponential has the
        likelihood as its mean (log p(x, z) - log q(z | x), z drawn from q); ``unchecked`` where nothing is known of how
        a model comes by its figures.
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
class Settings:
    """How bounds are evaluated; exact models answer exactly whatever is asked.

    estimator, samples: ``elbo``, the mean of the log-weights of so many draws per item; ``importance``, the log of
        their mean weight; ``annealed``, annealed importance sampling with so many chains per item.
    proposal: of importance sampling. ``posterior`` draws latents on their grid, as files are coded; the others are
        for continuous latents, in floating point (``likelihood.importance`` describes them).
    start, temperatures, leapfrog: of annealing: where chains begin, temperatures above the start, leapfrog steps at
        each (``likelihood.annealed``).
    two_sided: bound so many items that the model draws itself from both sides, beside the estimate; 0 for none.
    """

    estimator: str = "elbo"
    samples: int = 1
    proposal: str = "posterior"
    start: str = "posterior"
    temperatures: int = TEMPERATURES
    leapfrog: int = LEAPFROG
    two_sided: int = 0

    @classmethod
    def of(
        cls,
        estimator: str = "elbo",
        samples: int | None = None,
        *,
        proposal: str | None = None,
        start: str | None = None,
        temperatures: int | None = None,
        leapfrog: int | None = None,
        two_sided: int | None = None,
    ) -> Settings:
        """The settings with what is None left to the estimator. Raises UsageError for what does not exist, and for what
        another estimator than the one asked for has."""
        if estimator not in ESTIMATORS:
            raise UsageError(f"expected one of the estimators {', '.join(ESTIMATORS)}, got {estimator!r}")
        samples = SAMPLES[estimator] if samples is None else samples
        if samples < 1:
            raise UsageError(f"expected at least one sample, got {samples}")
        of_annealed = {"start": start, "temperatures": temperatures, "leapfrog": leapfrog, "two_sided": two_sided}
        for names, owner in (({"proposal": proposal}, "importance"), (of_annealed, "annealed")):
            for name, value in names.items():
                if value is not None and estimator != owner:
                    raise UsageError(
                        f"{name.replace('_', '-')} is an option of the estimator {owner}, and the estimator is "
                        f"{estimator}; leave it out, or choose {owner}"
                    )
        if proposal is not None and proposal not in PROPOSALS:
            raise UsageError(f"expected one of the proposals {', '.join(PROPOSALS)}, got {proposal!r}")
        if start is not None and start not in STARTS:
            raise UsageError(f"expected a start of {' or '.join(STARTS)}, got {start!r}")
        for name, count in (("temperature", temperatures), ("leapfrog step", leapfrog), ("two-sided item", two_sided)):
            if count is not None and count < 1:
                raise UsageError(f"expected at least one {name}, got {count}")
        return cls(
            estimator,
            samples,
            proposal or "posterior",
            start or "posterior",
            TEMPERATURES if temperatures is None else temperatures,
            LEAPFROG if leapfrog is None else leapfrog,
            two_sided or 0,
        )

    @property
    def on_the_grid(self) -> bool:
        """Whether latents are drawn where files have them, so that frozen arithmetic serves."""
        return self.estimator == "elbo" or (self.estimator == "importance" and self.proposal == "posterior")


@dataclass(frozen=True)
class Answers:
    """What a method says about the n items of a batch, float64, nats.

    nats (n,): estimates of log p(x). variances (n,): of these, from the method's own draws; NaN where one draw does
    not tell. weights: of how the draws fared, where there were weights.
    """

    nats: np.ndarray
    variances: np.ndarray
    weights: ImportanceResult | None = None

    @staticmethod
    def of(result: ImportanceResult) -> Answers:
        return Answers(result.bound, result.se**2, result)


class Method(Protocol):
    """A way to evaluate items: what ``estimate_by`` calls for each batch."""

    @property
    def kind(self) -> str: ...

    @property
    def arithmetic(self) -> str: ...

    #: ``exact``, ``elbo``, ``importance`` or ``annealed``, and draws per item (0 where exact)
    estimator: str
    samples: int

    def answer(self, batch: Batch) -> Answers: ...

    def about(self) -> dict[str, Any]:
        """Settings beside ``samples``, and figures of all batches so far, by the names that they have in JSON."""
        ...


@dataclass(frozen=True)
class Diagnostics:
    """How the draws of a bound fared. Nothing in here changes the bound.

    about: the method's own settings and figures. curve_k, curve (s,): the mean over items of the bound for fewer draws,
        averaged over disjoint groups of them. corrected_nats: ``nats`` less the jackknife's estimate of its bias, which
        is *not* a bound; None where that is not known.
    ess, pareto_k (items,): effective sample size, between 1 and the number of draws; shape of the tail of the weights,
        NaN where there are too few draws to tell (see ``weights.ImportanceResult``).
    """

    about: dict[str, Any]
    curve_k: np.ndarray
    curve: np.ndarray
    corrected_nats: float | None
    ess: np.ndarray = field(repr=False)
    pareto_k: np.ndarray = field(repr=False)

    @property
    def heavy(self) -> float | None:
        """The share of items with a Pareto shape above 0.7, None where there are too few draws to tell."""
        return None if np.isnan(self.pareto_k).all() else float((self.pareto_k > HEAVY_TAIL).mean())

    def to_json(self) -> dict[str, Any]:
        curve = [{"samples": int(k), "nats": _finite(nats)} for k, nats in zip(self.curve_k, self.curve)]
        heavy = self.heavy
        return {
            **self.about,
            "curve": curve,
            "jackknife_nats_not_a_bound": self.corrected_nats,
            "ess_mean": float(self.ess.mean()),
            "ess_min": float(self.ess.min()),
            "pareto_k_max": None if heavy is None else _finite(float(np.nanmax(self.pareto_k))),
            "pareto_k_above_0.7": heavy,
        }


@dataclass(frozen=True)
class TwoSided:
    """log p(x) of items that the model itself has drawn, from below and from above (bidirectional Monte Carlo: Grosse,
    Ghahramani, Adams 2015), in nats per item.

    lower, upper: means over the items. gap: their difference; what it leaves open on these items bounds, in
    expectation, the error of either. gap_se: its standard error over the items, None for one. lower_mc_se,
    upper_mc_se: from the chains, None for one chain.
    """

    items: int
    lower: float
    lower_mc_se: float | None
    upper: float
    upper_mc_se: float | None
    gap: float
    gap_se: float | None

    @staticmethod
    def of(lower: np.ndarray, upper: np.ndarray, variances: np.ndarray) -> TwoSided:
        """lower, upper (n,): per item. variances (2, n): of both, from the chains."""
        n = len(lower)
        gaps = upper - lower
        below, above = (_finite(math.sqrt(float(part.sum())) / n) for part in variances)
        error = float(gaps.std(ddof=1)) / math.sqrt(n) if n > 1 else None
        return TwoSided(n, float(lower.mean()), below, float(upper.mean()), above, float(gaps.mean()), error)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Estimate:
    """The log-likelihood of a data set.

    nats: mean log p(x) per item. nats_se: its standard error over the items, None for fewer than two.
    mc_se: the part of the error that comes from the estimator's own draws; 0 where exact, None where one draw per
        item does not tell.
    bits_per_dim, bits_per_dim_se: in bits per element.
    kind: ``exact``; ``lower_bound`` (its expectation is at most log p(x)); ``unchecked``, what a module of one's own
        says without a law or a kind.
    estimator: ``exact``, ``elbo``, ``importance`` or ``annealed``; ``log_prob`` where unchecked. samples: draws or
        chains per item, 0 where exact.
    arithmetic: ``frozen`` or ``float``. preprocessing: of the data, in words.
    items: how many. dims: elements of all of them together.
    item_nats, item_dims, item_index (items,): per item, in the order of the data.
    diagnostics: of ``importance`` and ``annealed``. two_sided: where it was asked for.
    symbols: of the model's space, where it is known.
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
    diagnostics: Diagnostics | None = field(default=None, repr=False, compare=False)
    two_sided: TwoSided | None = field(default=None, repr=False, compare=False)
    symbols: int | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"<Estimate: {self}, preprocessing {self.preprocessing!r}>"

    @property
    def notes(self) -> list[str]:
        """What to know before believing or publishing the figures, a sentence each; mostly nothing."""
        found = []
        if self.symbols is not None and self.bits_per_dim > math.log2(self.symbols):
            found.append(worse_than_uniform(self.bits_per_dim, self.symbols))
        if self.diagnostics is not None and self.samples > 1:
            few = float(self.diagnostics.ess.mean()) < FEW_EFFECTIVE
            if few or (self.diagnostics.heavy or 0.0) > 0.5:
                remedy = (
                    "more --temperatures or more --leapfrog steps"
                    if self.estimator == "annealed"
                    else "more --samples, another --proposal such as defensive, or --estimator annealed"
                )
                found.append(
                    f"few draws decide: the bound holds but is loose, and its error bar too small; try {remedy}"
                )
        return found

    def __str__(self) -> str:
        def shown(value: float, error: float | None) -> str:
            return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"

        kind = self.kind.replace("_", " ")
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
        more = {name: getattr(self, name) for name in ("diagnostics", "two_sided")}
        shown = {name: value.to_json() for name, value in more.items() if value is not None}
        return {**{name: getattr(self, name) for name in names}, **shown, "notes": self.notes}

    def save_items(self, path: Path) -> None:
        """Per-item figures: nats as ``.npy``, float64 (items,), or ``.csv`` with item, nats, dims, bits_per_dim, and
        ess and pareto_k where there are diagnostics.

        Raises UsageError for another ending.
        """
        buffer = io.BytesIO()
        if path.suffix == ".npy":
            np.save(buffer, self.item_nats)
        elif path.suffix == ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            per_dim = -self.item_nats / (self.item_dims * LOG_2)
            columns = {"item": self.item_index, "nats": self.item_nats, "dims": self.item_dims, "bits_per_dim": per_dim}
            if self.diagnostics is not None:
                columns |= {"ess": self.diagnostics.ess, "pareto_k": self.diagnostics.pareto_k}
            writer.writerow(columns)
            writer.writerows(map(repr, row) for row in zip(*(column.tolist() for column in columns.values())))
            buffer.write(text.getvalue().encode())
        else:
            raise UsageError(f"expected a name that ends in .npy or .csv for figures per item, got {path}")
        write_atomically(path, buffer.getvalue())


def worse_than_uniform(bits_per_dim: float, symbols: int) -> str:
    """The note for a model that would do better to know nothing."""
    return (
        f"{bits_per_dim:.4f} bits/dim are more than the {math.log2(symbols):.4f} of {symbols} symbols that are all "
        "equally likely: the model is worse than none on this data; see whether it was trained on data of this kind"
    )


def draw_seed(seed: int, first: int, draw: int) -> int:
    """The seed of a draw for the batch that begins with item ``first``: another for each draw, batch and seed, so that
    errors are independent. Draw 0 has the seed itself: it is the noise that a block of an archive promises by."""
    if draw == 0:
        return seed
    return int(np.random.SeedSequence([seed, first, draw]).generate_state(1)[0])


def estimate(
    density: Density,
    batches: Iterable[Batch],
    *,
    estimator: str = "elbo",
    samples: int | None = None,
    seed: int = 0,
    preprocessing: str = "none",
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Evaluate every item of ``batches``.

    estimator, samples: how a bound is averaged over draws per item. ``elbo``: the mean of the log-weights, a lower
        bound. ``importance``: the log of the mean weight (Burda, Grosse, Salakhutdinov 2016, equation 8), a lower
        bound that tightens with ``samples``. Models with an exact likelihood answer exactly whatever is asked. Methods
        that know more of a model than a density does are for ``estimate_by``.
    samples: as in ``SAMPLES`` where None. progress: called with the number of items done since the last call.

    Raises EvaluationError for NaN, for infinity and for no items at all; UsageError for an estimator that the model
    does not have.
    """
    settings = Settings.of(estimator, samples)
    method: Method
    if density.kind == "exact":
        method = _Exact(density, seed)
    elif density.kind == "unchecked":
        method = _Unchecked(density, settings.samples, seed)
    elif estimator == "annealed":
        raise UsageError("this model has no annealed estimate; use elbo or importance")
    else:
        method = (_Elbo if estimator == "elbo" else _Importance)(density, settings.samples, seed)
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
        _require_finite(answers.nats[None], batch.index)
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
            _finite((float(by_item[1].sum()) - bias) / count),
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


class _OfDensity:
    """A method that asks a density for one draw of log-weights after another."""

    estimator = "exact"

    def __init__(self, density: Density, samples: int, seed: int) -> None:
        self.density = density
        self.samples = samples
        self.seed = seed
        self.kind = density.kind
        self.arithmetic = density.arithmetic

    def draw(self, batch: Batch, number: int) -> np.ndarray:
        """Log-weights (n,), nats."""
        seed = draw_seed(self.seed, int(batch.index[0]), number)
        try:
            return np.asarray(self.density.log_prob(batch.items, seed), np.float64)
        except NotRepresentable as error:
            raise error.placed(batch.index) from None

    def about(self) -> dict[str, Any]:
        return {}


class _Exact(_OfDensity):
    def __init__(self, density: Density, seed: int) -> None:
        super().__init__(density, 0, seed)

    def answer(self, batch: Batch) -> Answers:
        return Answers(self.draw(batch, 0), np.zeros(len(batch.items)))


class _Elbo(_OfDensity):
    """Mean of log-weights, one draw at a time in constant memory (Welford 1962)."""

    estimator = "elbo"

    def answer(self, batch: Batch) -> Answers:
        mean, squares = np.zeros(len(batch.items)), np.zeros(len(batch.items))
        for k in range(self.samples):
            weights = self.draw(batch, k)
            _require_finite(weights[None], batch.index)
            step = weights - mean
            mean += step / (k + 1)
            squares += step * (weights - mean)
        if self.samples < 2:
            return Answers(mean, np.full(len(mean), np.nan))
        return Answers(mean, squares / (self.samples - 1) / self.samples)


class _Unchecked(_Elbo):
    """The mean of what a model says, which may be the same every time."""

    estimator = "log_prob"


class _Importance(_OfDensity):
    """Log of the mean weight, in constant memory."""

    estimator = "importance"

    def answer(self, batch: Batch) -> Answers:
        stream = WeightStream(self.samples, batch.index)
        for start in range(0, self.samples, CHUNK):
            stream.add(np.stack([self.draw(batch, k) for k in range(start, min(start + CHUNK, self.samples))]))
        return Answers.of(stream.result())

    def about(self) -> dict[str, Any]:
        return {"proposal": "posterior"}


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
    that is not known. wins: share of items that a gives more probability. other: the estimate of b.
    kinds: of both estimates.
    """

    nats: float
    nats_se: float | None
    mc_se: float | None
    wins: float
    items: int
    other: Estimate = field(repr=False, compare=False)
    kinds: tuple[str, str] = field(default=("exact", "exact"), repr=False, compare=False)

    @property
    def notes(self) -> list[str]:
        """What to know before the difference is believed, a sentence each; mostly nothing."""
        if "unchecked" in self.kinds:
            return [
                "nothing is known of how one of the models comes by its figures (no law, and no kind stated): whether "
                "they are log-likelihoods is for whoever wrote it to say"
            ]
        if self.kinds[0] == self.kinds[1]:
            return []
        bound = "the other" if self.kinds[1] == "lower_bound" else "this"
        return [
            f"one figure is exact and that of {bound} model a lower bound: a part of the difference is the bound's "
            "gap, not the model's; tighten it with --estimator importance or annealed"
        ]

    def to_json(self) -> dict[str, Any]:
        """The figures under their names in ``codelength evaluate --against --json``: of b, then of the difference."""
        return {
            "nats": self.other.nats,
            "nats_se": self.other.nats_se,
            "kind": self.other.kind,
            "difference": self.nats,
            "difference_se": self.nats_se,
            "difference_mc_se": self.mc_se,
            "wins": self.wins,
            "notes": self.notes,
        }


def compare(a: Estimate, b: Estimate) -> Comparison:
    """Compare two estimates item by item. Raises UsageError where they are not of the same items.

    >>> a = cl.evaluate("made-digits", "threshold-digits:test[:50]")
    >>> gap = cl.compare(a, a)
    >>> gap.nats, gap.wins
    (0.0, 0.0)
    """
    for estimate_ in (a, b):
        if not isinstance(estimate_, Estimate):
            raise UsageError(f"expected two estimates, as evaluate gives them, got {type(estimate_).__name__}")
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
    return Comparison(float(gaps.mean()), error, draws, float((gaps > 0).mean()), n, b, (a.kind, b.kind))
