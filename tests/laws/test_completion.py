"""In-painting against enumeration: what is known stays, and the rest follows the conditional distribution."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from programs import BERNOULLI, Draft, constant_law, image_program, made_program, model, orders_program, switch_program

from codelength.errors import NoMedian, NotRepresentable, UsageError
from codelength.exact import arithmetic as executors
from codelength.laws.completion import complete
from codelength.laws.frozen import FrozenModel
from codelength.laws.pushforward import Pushforward
from codelength.laws.space import Space
from tiny_models import pair_model

KINDS = {
    "one order": lambda rng: made_program(rng, 5, leaf=BERNOULLI),
    "a mixture of orders": lambda rng: orders_program(rng, 5),
    "a mixture of laws": lambda rng: switch_program(rng, 5),
    "a causal network": lambda rng: image_program(rng, (2, 2), BERNOULLI),
    "bins of a coarse law": lambda rng: coarse_program(rng),
}


def coarse_program(rng: np.random.Generator) -> tuple[Space, dict[str, Any], dict[str, np.ndarray]]:
    """Three elements of four symbols: the upper bit of each by a masked network, the lower one even."""
    _, law, tensors = made_program(rng, 3, leaf=BERNOULLI)
    return Space((3,), 4), {"law": "coarse", "base": law, "bits": 1}, tensors


def additive_program(rng: np.random.Generator) -> tuple[Space, dict[str, Any], dict[str, np.ndarray]]:
    """Four elements of two symbols, the last two of which are moved by what a network says of the first two."""
    tensors: dict[str, np.ndarray] = {}
    draft = Draft(rng, ["x"], tensors)
    step = {
        "step": "additive",
        "network": draft.network(draft.linear(0, 4, 2)),
        "moves": draft.store([0, 0, 1, 1]),
        "shape": [4],
    }
    base = constant_law(rng, BERNOULLI, [4], tensors)
    return Space((4,), 2), {"law": "pushforward", "base": base, "low": 0, "high": 1, "steps": [step]}, tensors


def distance(frozen: FrozenModel, draws: int, known: np.ndarray | None = None, count: int = 500) -> float:
    """Total variation between completions and the conditional distribution, found by enumeration.

    Of 500 draws, it is beyond 0.12 by chance once in 10^5 times at most (Bretagnolle, Huber, Carol).
    """
    shape = frozen.space.shape
    dims = frozen.space.dims
    symbols = frozen.space.symbols
    every = np.array(list(itertools.product(range(symbols), repeat=dims))).reshape(-1, *shape)
    nats = frozen.log_prob(every)
    if known is None:
        known = every[int(np.argsort(nats)[len(nats) // 3])]
    mask = (np.arange(dims) >= dims // 2).reshape(shape)  # what comes late is known
    truth = np.exp(nats) * (every == known)[:, mask].all(1)
    found = complete(frozen, known, mask, count, seed=2, draws=draws)
    assert (found[:, mask] == known[mask]).all()
    numbers = found.reshape(count, -1) @ symbols ** np.arange(dims)[::-1]
    return float(np.abs(np.bincount(numbers, minlength=len(every)) / count - truth / truth.sum()).sum() / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_completions_follow_the_conditional_distribution(kind: str) -> None:
    frozen = FrozenModel.create(*KINDS[kind](np.random.default_rng(4)))
    assert distance(frozen, draws=60) < 0.12


def test_without_resampling_what_is_known_later_is_ignored() -> None:
    """Elements tend to equal the one before, and the last three of five are ones: without them, most draws begin with
    zeros, 0.45 of total variation away."""
    frozen, ones = pair_model((5,)), np.ones(5, np.int64)
    assert distance(frozen, draws=200, known=ones) < 0.12
    assert distance(frozen, draws=1, known=ones) == pytest.approx(0.45, abs=0.12)


@pytest.mark.parametrize("kind", ["made", "orders", "switch", "grey", "colour", "fixed", "nested"])
def test_every_executor_completes_alike(kind: str) -> None:
    frozen = model(kind, 11)
    shape = tuple(4 if size is None else size for size in frozen.space.shape)
    item = frozen.sample(1, seed=3, shape=shape)[0]
    mask = np.random.default_rng(0).random(shape) < 0.4
    fast = complete(frozen, item, mask, 5, seed=1, draws=3)
    with executors.using(executors.REFERENCE):
        slow = complete(frozen, item, mask, 5, seed=1, draws=3)
    assert np.array_equal(fast, slow)
    assert (fast[:, mask] == item[mask]).all()


def test_nothing_known_is_sampling() -> None:
    frozen = model("made", 5)
    item = np.zeros(frozen.space.shape, np.int64)
    found = complete(frozen, item, np.zeros(item.shape, bool), 6, seed=8, draws=1)
    assert np.array_equal(found, frozen.sample(6, seed=8))


def test_what_cannot_be_completed() -> None:
    frozen = model("made", 5)
    item = np.zeros(frozen.space.shape, np.int64)
    with pytest.raises(NotRepresentable, match="integers from"):
        complete(frozen, item + 99, np.ones(item.shape, bool), 1)
    with pytest.raises(NotRepresentable, match="mask"):
        complete(frozen, item, np.ones((2, 2, 2), bool), 1)
    with pytest.raises(UsageError, match="at least one"):
        complete(frozen, item, np.ones(item.shape, bool), 1, draws=0)


def test_dequantised_flows_say_so_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = model("flow", 1)
    monkeypatch.setattr(Pushforward, "pop", None)
    with pytest.raises(UsageError, match="latents determine"):
        complete(frozen, np.zeros(2, np.int64), np.ones(2, bool), 1)


def test_a_discrete_flow_says_that_it_makes_all_elements_at_once() -> None:
    """It has no latents that could determine anything."""
    frozen = FrozenModel.create(*additive_program(np.random.default_rng(0)))
    with pytest.raises(UsageError, match=r"draws the elements of an item in turn.*flow, which makes all elements.*VAE"):
        complete(frozen, np.zeros(4, np.int64), np.ones(4, bool), 1)


def test_coupling_flows_have_no_mode_and_say_so() -> None:
    frozen = FrozenModel.create(*additive_program(np.random.default_rng(0)))
    assert not frozen.law.has_median()
    with pytest.raises(NoMedian, match="got the step AdditiveStep, which does not; take such a flow, or none"):
        frozen.law.median({}, 1)
    with pytest.raises(NoMedian, match="got the law Marginal, which cannot"):
        model("flow", 1).law.median({}, 1)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8"])
def test_items_of_every_type_are_completed_alike(dtype: str, pairs: FrozenModel, pair_items: np.ndarray) -> None:
    mask = np.arange(64).reshape(8, 8) < 32
    completed = complete(pairs, pair_items[0].astype(dtype), mask, 3, seed=1)
    assert np.array_equal(completed, complete(pairs, pair_items[0].astype("i8"), mask, 3, seed=1))
    assert (completed[:, mask] == pair_items[0][mask]).all() and completed.max() <= 1
