"""Fixtures that several parts of the tests share. This folder and the one above are put on the import path."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from codelength.laws.frozen import FrozenModel

for folder in (Path(__file__).parents[1], Path(__file__).parent):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def pairs() -> FrozenModel:
    """A frozen model of binary 8x8 images."""
    from tiny_models import pair_model

    return pair_model()


@pytest.fixture
def pairs_file(pairs: FrozenModel, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.clm"
    pairs.save(path)
    return path


@pytest.fixture(scope="session")
def pair_items(pairs: FrozenModel) -> np.ndarray:
    """Three hundred draws of that model, uint8 (300, 8, 8)."""
    return pairs.sample(300, seed=1).astype(np.uint8)


@pytest.fixture
def pair_data(pair_items: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.npy"
    np.save(path, pair_items)
    return path
