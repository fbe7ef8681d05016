"""Sums of layers between and within the blocks of the dense engine, against a whole pass for every step."""

from __future__ import annotations

import numpy as np
import pytest
from programs import BERNOULLI, Draft

from codelength.coding.stack import Stack
from codelength.exact import dense
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space


def parted_model(seed: int, dims: int = 150, hidden: int = 400) -> FrozenModel:
    """Weights so large that sums of a layer pass 2^24 after a few dozen inputs: they are parted and requantised."""
    rng, tensors = np.random.default_rng(seed), {}
    draft = Draft(rng, ["x"], tensors)
    first = np.sort(rng.integers(0, dims, hidden))
    h = draft.linear(0, dims, hidden, first)
    h = draft.op("requantise", x=h, shift=draft.store(np.full(hidden, -1)), low=0, high=1023)
    parts = list(range(30, hidden, 30))
    weight = draft.store(draft.noise((dims, hidden), 500))
    bias = draft.store(draft.noise(dims, 1 << 25))
    wide = draft.op("linear", x=h, weight=weight, bias=bias, degrees=draft.store(np.arange(dims)), parts=parts)
    out = draft.op("requantise", x=wide, shift=draft.store(rng.integers(9, 14, dims)), low=-16384, high=16384)
    schedule = {"kind": "degrees", "orders": draft.store(np.arange(dims)[None])}
    law = {"law": "sequential", "leaf": BERNOULLI, "shape": [dims], "network": draft.network(out), "schedule": schedule}
    return FrozenModel.create(Space((dims,), 2), law, tensors)


@pytest.fixture(scope="module")
def parted() -> FrozenModel:
    return parted_model(1)


def plan_of(frozen: FrozenModel) -> dense.DensePlan:
    frozen.sample(1)
    (plan,) = frozen.law.conditional._plans.values()
    return plan


def check_against_slow(frozen: FrozenModel, count: int) -> None:
    quick, slow = Stack.seeded(count), Stack.seeded(count)
    context = {"shape": frozen.space.shape}
    items = frozen.law.conditional.advance(quick, count, context)
    assert np.array_equal(items, frozen.law.conditional.advance_naively(slow, count, context))
    assert np.array_equal(quick.state, slow.state)


@pytest.mark.parametrize("count", [1, 6])
def test_wide_sums_are_collected_from_float32_pieces(parted, count):
    plan = plan_of(parted)
    assert plan.dtype == np.float32 and any(plan.wide)
    check_against_slow(parted, count)


def test_every_piece_stays_within_the_exact_range_and_none_could_be_longer(parted):
    layer = next(layer for layer in plan_of(parted).layers if layer.reach is not None)
    assert any(len(edges) > 2 for _, _, edges, _ in layer.blocks)
    for begin, end, edges, _ in layer.blocks:
        reach = [[abs(int(w)) * layer.reach for w in row] for row in layer.weight[begin:end]]
        for start, stop in zip(edges, edges[1:]):
            assert all(sum(row[start:stop]) <= 1 << 24 for row in reach)
            assert stop == edges[-1] or any(sum(row[start : stop + 1]) > 1 << 24 for row in reach)
    assert layer.together * int(np.abs(layer.weight).max()) * layer.reach <= 1 << 24


def test_a_product_that_is_not_exact_is_noticed_and_done_again(parted, monkeypatch):
    right = parted.sample(5, seed=3)
    product, rng, calls = np.matmul, np.random.default_rng(0), []

    def rounded(a, b, out):
        calls.append(1)
        product(a, b, out=out)
        out += rng.integers(-1, 2, out.shape)  # as products with fewer bits would be
        return out

    monkeypatch.setattr(dense.np, "matmul", rounded)
    assert np.array_equal(parted.sample(5, seed=3), right)
    assert calls


def test_wide_sums_that_are_used_otherwise_put_the_whole_network_into_float64():
    rng, tensors = np.random.default_rng(5), {}
    draft = Draft(rng, ["x"], tensors)
    degrees = draft.store(np.arange(70))
    layer = {"weight": draft.store(draft.noise((70, 70), 40)), "bias": draft.store(draft.noise(70, 1 << 28))}
    wide = draft.op("linear", x=0, degrees=degrees, parts=[35], **layer)
    both = draft.op("add", a=wide, b=draft.linear(0, 70, 70, np.arange(70)))
    out = draft.op("requantise", x=both, shift=draft.store(np.full(70, 18)), low=-16384, high=16384)
    schedule = {"kind": "degrees", "orders": draft.store(np.arange(70)[None])}
    law = {"law": "sequential", "leaf": BERNOULLI, "shape": [70], "network": draft.network(out), "schedule": schedule}
    frozen = FrozenModel.create(Space((70,), 2), law, tensors)
    assert plan_of(frozen).dtype == np.float64
    check_against_slow(frozen, 4)
