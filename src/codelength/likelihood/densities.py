"""Frozen models as densities."""

from __future__ import annotations

import numpy as np

from codelength.laws.frozen import FrozenModel


class FrozenDensity:
    """The integers that files are coded with; torch is not needed."""

    arithmetic = "frozen"

    def __init__(self, model: FrozenModel) -> None:
        self.model = model

    @property
    def kind(self) -> str:
        return self.model.kind

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        return self.model.log_prob(items, seed=seed)
