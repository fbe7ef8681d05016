"""What an evaluation says: a figure with its error bars, its kind, and what it depends on.

Inside, everything is in nats per item. A dimension is one element (sub-pixel) of an item as it came; bits/dim is
the total code length in bits over the total number of elements, which for items of one size is the mean
negative log-likelihood over D log 2.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codelength.errors import UsageError
from codelength.files import write_atomically

#: Pareto shapes above this are those of weights that cannot be averaged (Vehtari et al. 2024).
HEAVY_TAIL = 0.7
#: Below so many effective samples on average, one draw decides about most items.
FEW_EFFECTIVE = 2.0
LOG_2 = math.log(2.0)


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
        curve = [{"samples": int(k), "nats": finite(nats)} for k, nats in zip(self.curve_k, self.curve)]
        heavy = self.heavy
        return {
            **self.about,
            "curve": curve,
            "jackknife_nats_not_a_bound": self.corrected_nats,
            "ess_mean": float(self.ess.mean()),
            "ess_min": float(self.ess.min()),
            "pareto_k_max": None if heavy is None else finite(float(np.nanmax(self.pareto_k))),
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
        below, above = (finite(math.sqrt(float(part.sum())) / n) for part in variances)
        error = float(gaps.std(ddof=1)) / math.sqrt(n) if n > 1 else None
        return TwoSided(n, float(lower.mean()), below, float(upper.mean()), above, float(gaps.mean()), error)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
