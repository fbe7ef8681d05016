"""Frozen models as densities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from codelength.laws.frozen import FrozenModel


class FrozenDensity:
    """The integers that files are coded with; torch is not needed. rows: draws times items of a pass at most."""

    arithmetic = "frozen"

    def __init__(self, model: FrozenModel, rows: int = 1024) -> None:
        self.model = model
        self.rows = rows
        #: One that learns goes on from batch to batch: what an item costs depends on all before it.
        self.learner = model.learner() if model.law.prequential else None

    @property
    def kind(self) -> str:
        return self.model.kind

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        if self.learner is not None:
            return self.learner.lengths(list(self.model.space.check(np.asarray(items)))) * -math.log(2.0)
        return self.model.log_prob(items, seed=seed)

    def log_probs(self, items: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """See ``methods.ManyDraws``."""
        if self.learner is not None:
            return np.tile(self.log_prob(items, 0), (len(seeds), 1))
        return self.model.log_probs(items, seeds, rows=self.rows)
