"""A small frozen model that needs neither torch nor training."""

from __future__ import annotations

import numpy as np

from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space


def pair_model(shape: tuple[int, ...] = (8, 8)) -> FrozenModel:
    """A chain in raster order: each binary element tends to equal the one before it."""
    dims = int(np.prod(shape))
    weight = np.zeros((dims, dims), np.int32)
    weight[np.arange(1, dims), np.arange(dims - 1)] = 4096
    tensors = {
        "weight": weight,
        "bias": np.full(dims, -2048, np.int32),
        "degrees": np.arange(dims, dtype=np.int32),
        "orders": np.arange(dims, dtype=np.int32)[None],
    }
    linear = {"op": "linear", "x": 0, "weight": "weight", "bias": "bias", "degrees": "degrees", "parts": []}
    law = {
        "law": "sequential",
        "leaf": {"family": "bernoulli", "symbols": 2},
        "shape": list(shape),
        "network": {"inputs": ["x"], "operations": [linear], "output": 1},
        "schedule": {"kind": "degrees", "orders": "orders"},
    }
    return FrozenModel.create(Space(shape, 2), law, tensors)
