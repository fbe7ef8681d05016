"""Two models on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codelength.errors import UsageError
from codelength.likelihood.result import Estimate


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
