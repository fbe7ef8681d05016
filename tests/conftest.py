"""Fixtures that several parts of the tests share. This folder and the one above are put on the import path."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from codelength.laws.frozen import FrozenModel

for folder in (Path(__file__).parents[1], Path(__file__).parent):
    sys.path.insert(0, str(folder))

collect_ignore = ["light"]  # has an environment of its own, see the Makefile

# The same examples every time and everywhere, however slow the machine.
settings.register_profile(
    "everywhere", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("everywhere")


def same_beginning() -> None:
    """Global random numbers begin alike, and switches of the whole process stand as at its start.

    Tests give their seeds themselves. This is for what a layer of torch draws for its first weights, say, and keeps a
    test from depending on those that ran before it in the same process.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_flush_denormal(False)  # training turns it on


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
    same_beginning()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    same_beginning()
    return (yield)


@pytest.fixture(autouse=True)
def no_word_of_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether kernels are compiled just now depends on what ran before: tests read what else commands say."""
    from codelength.coding import compiled

    if request.module.__name__ != "test_compiled":
        monkeypatch.setattr(compiled, "notice", lambda text: None)


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
