"""Frozen models as densities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codelength.laws.frozen import FrozenModel


class FrozenDensity:
    """The integers that files are coded with; torch is not needed. rows: draws times items of a pass at most."""

    arithmetic = "frozen"

    def __init__(self, model: FrozenModel, rows: int = 1024) -> None:
        self.model = model
        self.rows = rows

    @property
    def kind(self) -> str:
        return self.model.kind

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        return self.model.log_prob(items, seed=seed)

    def log_probs(self, items: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """See ``methods.ManyDraws``."""
        return self.model.log_probs(items, seeds, rows=self.rows)
