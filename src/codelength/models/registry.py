"""Model families by the name that recipes give them; PyTorch is imported when one is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codelength.models.configs import MADEConfig, PixelCNNConfig, VAEConfig

if TYPE_CHECKING:
    from torch import nn

    from codelength.laws.space import Space


@dataclass(frozen=True)
class Family:
    """config: dataclass of a recipe's section of that name. build(config, space, frequencies): a fresh model.

    frequencies (D, symbols): how often each element takes each symbol in the training data (positive), or None.
    """

    config: type
    build: Callable[[Any, Space, np.ndarray | None], nn.Module]


def _made(config: MADEConfig, space: Space, frequencies: np.ndarray | None) -> nn.Module:
    from codelength.models.made import build_made

    return build_made(config, space, frequencies)


def _vae(config: VAEConfig, space: Space, frequencies: np.ndarray | None) -> nn.Module:
    from codelength.models.vae import build_vae

    return build_vae(config, space, frequencies)


def _pixelcnn(config: PixelCNNConfig, space: Space, frequencies: np.ndarray | None) -> nn.Module:
    from codelength.models.pixelcnn import build_pixelcnn

    return build_pixelcnn(config, space)


FAMILIES: dict[str, Family] = {
    "made": Family(MADEConfig, _made),
    "vae": Family(VAEConfig, _vae),
    "pixelcnn": Family(PixelCNNConfig, _pixelcnn),
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
