"""Model families by the name that recipes give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.models.vae import VAEConfig, build_vae


@dataclass(frozen=True)
class Family:
    """config: dataclass of a recipe's section of that name. build(config, space, frequencies): a fresh model.

    frequencies (D, symbols): how often each element takes each symbol in the training data (positive), or None.
    """

    config: type
    build: Callable[[Any, Space, np.ndarray | None], nn.Module]


FAMILIES: dict[str, Family] = {
    "made": Family(MADEConfig, build_made),
    "vae": Family(VAEConfig, build_vae),
}


def symbol_frequencies(items: np.ndarray, symbols: int) -> np.ndarray:
    """items (n, *shape) integers -> (D, symbols) float64: counts, plus one half so that none is zero."""
    flat = items.reshape(len(items), -1)
    dims = flat.shape[1]
    counts = np.zeros(dims * symbols, np.float64)
    for start in range(0, len(flat), 4096):  # in parts: the indices are eight times as large as the items
        cells = flat[start : start + 4096].astype(np.int64) + np.arange(dims) * symbols
        counts += np.bincount(cells.ravel(), minlength=dims * symbols)
    return counts.reshape(dims, symbols) + 0.5
