"""Latents: what they take from the stack and what they give back, against sums over all latents."""

from __future__ import annotations

import copy
import math
from typing import Any

import forged
import numpy as np
import pytest
from coding_oracles import cumulative
from programs import model
from slow import all_items, element_parameters, evaluate, given, leaf_of, probability, value_of

from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, ProgramError, StackExhausted
from codelength.exact.steps import AffineStep, OffsetStep
from codelength.exact.uniform import MAX_UNIFORM, pop_uniform, push_uniform
from codelength.laws import blocks
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.pushforward import Floor

#: A stack's state has 2^32 to 2^64 steps, so with totals of 2^28 a few symbols can seem up to so much off, either way.
NOISE = 0.1


def bits(p: Any) -> float:
    return math.log2(p.denominator) - math.log2(p.numerator)


@pytest.mark.parametrize("kind", ["orders", "switch"])
def test_a_mixture_spends_the_code_length_of_the_mixture_over_many_items(kind):
    frozen = model(kind, 4)
    law = frozen.structure["law"]
    exact = {item.tobytes(): bits(probability(law, frozen.tensors, item)) for item in all_items((4,), 2)}
    items = frozen.sample(400, seed=9)
    promised = sum(exact[item.astype(np.int64).tobytes()] for item in items)
    stack, before = Stack.seeded(1), 0.0
    for start in range(0, 400, 50):
        frozen.law.push(stack, items[start : start + 50], {})
    assert stack.bits() - before == pytest.approx(promised, rel=1e-4)
    best = [
        min(
            bits(probability(law["likelihood"], frozen.tensors, item, given({}, "k", [k])))
            + bits(probability(law["prior"], frozen.tensors, [k]))
            for k in range(3)
        )
        for item in items[:50]
    ]
    assert sum(best) > 1.05 * sum(exact[item.astype(np.int64).tobytes()] for item in items[:50])


def test_the_index_of_a_mixture_follows_its_responsibilities():
    frozen = model("orders", 1)
    law = frozen.structure["law"]
    item = frozen.sample(1, seed=2)
    joint = [
        probability(law["prior"], frozen.tensors, [k])
        * probability(law["likelihood"], frozen.tensors, item[0], given({}, "k", [k]))
        for k in range(3)
    ]
    shares = np.array([float(p / sum(joint)) for p in joint])
    count = 4000
    drawn = frozen.law.posterior.pop(Stack.seeded(3), count, {"x": np.repeat(item, count, axis=0)})
    found = np.bincount(drawn.reshape(-1), minlength=3) / count
    assert (np.abs(found - shares) < 5 * np.sqrt(shares / count) + 1e-3).all()


def nested_terms(frozen: FrozenModel, item: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """log2 of q(lower | x) q(upper | lower) / (p(upper) p(lower | upper) p(x | lower)): bits spent."""
    law, tensors = frozen.structure["law"], frozen.tensors
    p = (
        probability(law["prior"]["prior"], tensors, upper)
        * probability(law["prior"]["likelihood"], tensors, lower, given({}, "upper", upper))
        * probability(law["likelihood"], tensors, item, given({}, "lower", lower))
    )
    q = probability(law["posterior"], tensors, lower, given({}, "x", item)) * probability(
        law["prior"]["posterior"], tensors, upper, given({}, "x", lower)
    )
    return bits(p) - bits(q)


def test_two_nested_levels_spend_the_bound_of_the_latents_that_they_draw():
    frozen = model("nested", 1)
    item = frozen.sample(1, seed=4)
    for seed in range(20):
        stack = Stack.seeded(seed)
        twin = stack.copy()
        frozen.law.push(stack, item, {})
        lower = frozen.law.posterior.pop(twin, 1, {"x": item})
        frozen.law.likelihood.push(twin, item, {"lower": lower})
        upper = frozen.law.prior.posterior.pop(twin, 1, {"x": lower})
        assert stack.bits() == pytest.approx(nested_terms(frozen, item[0], lower[0], upper[0]), abs=NOISE)


def test_two_nested_levels_spend_their_bound_on_average_and_never_less_than_the_evidence():
    frozen = model("nested", 2)
    law, tensors = frozen.structure["law"], frozen.tensors
    item = frozen.sample(1, seed=4)[0]
    bound = 0.0
    for lower in all_items((2,), 4):
        q = float(probability(law["posterior"], tensors, lower, given({}, "x", item)))
        if q < 1e-3:
            continue
        for upper in all_items((2,), 3):
            share = q * float(probability(law["prior"]["posterior"], tensors, upper, given({}, "x", lower)))
            bound += share * nested_terms(frozen, item, lower, upper)
    spent = frozen.code_length_bits(np.repeat(item[None], 600, axis=0), seed=1)
    error = spent.std() / math.sqrt(len(spent))
    assert spent.mean() == pytest.approx(bound, abs=5 * error + 0.02)
    assert spent.mean() > bits(probability(law, tensors, item))


def test_the_first_group_chooses_its_latents_and_pays_for_them_in_full():
    frozen = model("nested", 1)
    law, tensors = frozen.structure["law"], frozen.tensors
    item = frozen.sample(1, seed=4)
    context = {"x": item}
    lower = frozen.law.posterior.median(context, 1)
    upper = frozen.law.prior.posterior.median({"x": lower}, 1)
    for record, z, seen in (
        (law["posterior"], lower, given({}, "x", item[0])),
        (law["prior"]["posterior"], upper, given({}, "x", lower[0])),
    ):
        leaf = leaf_of(record["leaf"])
        for parameters, symbol in zip(element_parameters(record, tensors, z[0], seen), z[0], strict=True):
            c = cumulative(leaf, parameters)
            assert c[symbol] <= 1 << (leaf.bits - 1) < c[symbol + 1]  # the median
    stack = Stack(1)
    frozen.law.push(stack, item, {}, True)
    q = nested_terms(frozen, item[0], lower[0], upper[0])
    q += bits(probability(law["posterior"], tensors, lower[0], given({}, "x", item[0])))
    q += bits(probability(law["prior"]["posterior"], tensors, upper[0], given({}, "x", lower[0])))
    assert stack.bits() == pytest.approx(q, abs=NOISE)
    assert frozen.startup_bits(item) == pytest.approx(stack.bits() - frozen.code_length_bits(item)[0], abs=1e-9)


# ------------------------------------------------------------------------------------------------- flows


def couplings(frozen: FrozenModel) -> list[tuple[AffineStep, Any]]:
    records = frozen.structure["law"]["prior"]["steps"]
    return [(s, r) for s, r in zip(frozen.law.prior.steps, records) if isinstance(s, AffineStep)]


def slow_parameters(record: Any, tensors: Any, u: np.ndarray) -> list[tuple[int, int, int]]:
    """For each moved element: where it is, its scale and its shift."""
    moved = np.flatnonzero(tensors[record["moves"]])
    kept = u.copy()
    kept[moved] = 0
    out = evaluate(record["network"], tensors, {"x": value_of(kept)})[1]
    scales = [int(v) for v in tensors[record["scales"]]]
    index = [min(max(v, 0), len(scales) - 1) for v in out[: len(moved)]]
    return [(int(m), scales[i], t) for m, i, t in zip(moved, index, out[len(moved) :], strict=True)]


def test_an_affine_step_spends_minus_its_log_determinant_and_is_undone_exactly():
    flows, determinants = [model("flow", seed) for seed in range(4)], []
    for frozen, step, record in [(flow, *pair) for flow in flows for pair in couplings(flow)]:
        u = np.random.default_rng(len(determinants)).integers(step.before[0], step.before[1] + 1, (600, 2))
        stack = Stack.seeded(len(determinants))
        before = stack.copy()
        y = step.forward(stack, u, {}, False)
        determinant = 0.0
        for i in range(600):
            kept = u[i].copy()
            for where, a, shift in slow_parameters(record, frozen.tensors, u[i]):
                determinant += math.log2(a / 1024)
                assert 0 <= (int(y[i, where]) - shift) * 1024 + 1023 - int(u[i, where]) * a < a + 1023
                kept[where] = y[i, where]
            assert np.array_equal(kept, y[i])
        determinants.append(determinant)
        assert stack.bits() == pytest.approx(-determinant, abs=5 * NOISE)
        low, high = step.after
        assert y.min() >= low and y.max() <= high
        assert np.array_equal(step.inverse(stack, y, {}, False), u)
        assert np.array_equal(stack.state, before.state)
    # One of them alone may have scales that happen to be about one.
    assert max(map(abs, determinants)) > 30


def test_a_step_that_starts_a_block_takes_nothing_off_the_stack():
    for step, record in couplings(model("flow", 0)):
        u = np.random.default_rng(0).integers(step.before[0], step.before[1] + 1, (30, 2))
        stack = Stack(2)
        y = step.forward(stack, u, {}, True)
        assert stack.bits() == pytest.approx(30 * record["denominator"], abs=2 * NOISE)
        assert np.array_equal(step.inverse(stack, y, {}, True), u)
        assert stack.is_empty()


def test_a_flow_spends_what_its_base_its_determinant_and_its_cells_promise():
    frozen = model("flow", 1)
    law, tensors = frozen.structure["law"], frozen.tensors
    items = frozen.sample(40, seed=3)
    for k, item in enumerate(items[:20]):
        stack = Stack.seeded(k)
        twin = stack.copy()
        frozen.law.push(stack, item[None], {})
        u = frozen.law.posterior.pop(twin, 1, {"x": item[None]})
        assert np.array_equal(u[0] >> 6, item)
        promised, y = -2.0 * 6, u
        for step, record in zip(frozen.law.prior.steps, law["prior"]["steps"]):
            if record["step"] == "affine":
                promised -= sum(math.log2(a / 1024) for _, a, _ in slow_parameters(record, tensors, y[0]))
            y = step.forward(twin, y, {}, False)
        promised += bits(probability(law["prior"]["base"], tensors, y[0]))
        assert stack.bits() == pytest.approx(promised, abs=NOISE)


def test_the_densities_of_a_flow_add_up_to_one():
    """Of one pixel scaled given the other: p(u) = sum over remainders r of base(y(u, r)) / b."""
    structure, tensors = forged.flow()
    prior = structure["law"]["prior"]
    tensors = {**tensors, "p": forged.array(32 * 64, 600, 32 * 64, 600), "sc": forged.array(5, 6, 9)}
    step = {**prior["steps"][0], "denominator": 3}
    leaf = leaf_of({"family": "gaussian", "symbols": 64, "bits": 20})
    c = cumulative(leaf, [32 * 64, 600])
    for kept in (0, 3, 40):
        ((_, a, shift),) = slow_parameters(step, tensors, np.array([kept, 0]))
        total = 0
        for u in range(-400, 400):
            for r in range(a):
                y = ((u * a + r) >> 3) + shift
                total += c[y + 1] - c[y] if 0 <= y < 64 else 0
        assert total == 8 << 20


def grid_of(size: int, offset: int, log_scale: int = 1280) -> FrozenModel:
    structure, tensors = forged.flow()
    prior = structure["law"]["prior"]
    prior["base"]["leaf"]["symbols"] = size
    prior["steps"][1]["value"] = offset
    tensors["p"] = forged.array(32 * size, log_scale, 32 * size, log_scale)
    return FrozenModel.from_bytes(forged.pack(structure, tensors))


def test_an_item_that_leaves_the_grid_of_the_base_is_not_representable():
    frozen = grid_of(256, 0)
    with pytest.raises(NotRepresentable):
        frozen.encode_block(np.array([[3, 3]] * 50))
    assert sum(frozen.encode_block(np.array([[1, 2]] * 50))[0]) == 50
    with pytest.raises(NotRepresentable):
        frozen.encode_block(np.array([[1, 4]]))


def test_samples_that_a_flow_takes_beyond_its_items_are_brought_back_to_them():
    frozen = grid_of(4096, 2000, 1900)
    items = frozen.sample(300, seed=0)
    assert items.min() == 0 and items.max() == 3


def test_steps_keep_to_their_bounds_whatever_lies_on_the_stack():
    for step, _ in couplings(model("flow", 2)):
        y = np.random.default_rng(0).integers(-(1 << 24), 1 << 24, (40, 2))
        for start in (True, False):
            u = step.inverse(Stack.seeded(0), y, {}, start)
            assert u.min() >= step.before[0] and u.max() <= step.before[1]
    assert OffsetStep(5, (0, 9)).inverse(Stack.seeded(0), np.array([[-7, 8, 99]]), {}, False).tolist() == [[0, 3, 9]]


def test_a_floor_refuses_a_latent_that_says_something_else():
    Floor("u", 2).push(None, np.array([[1, 0]]), {"u": np.array([[7, 3]])})
    nats = Floor("u", 2).log_prob(np.array([[1, 0], [2, 0]]), {"u": np.array([[7, 3], [8, 0]])})
    assert nats.shape == (2,) and not nats.any()
    with pytest.raises(NotRepresentable):
        Floor("u", 2).push(None, np.array([[1, 1]]), {"u": np.array([[7, 3]])})


@pytest.mark.parametrize("size", [1, 2, 3, 1000, MAX_UNIFORM - 1, MAX_UNIFORM])
def test_uniform_values_come_back_for_their_price(size):
    values = np.random.default_rng(size).integers(0, size, (40, 3))
    sizes = np.full(values.shape, size)
    stack = Stack(3)
    push_uniform(stack, values, sizes)
    assert stack.bits() == pytest.approx(120 * math.log2(size), abs=3 * NOISE)
    assert np.array_equal(pop_uniform(stack, sizes), values)
    assert stack.is_empty()
    for wrong in (-1, size):
        with pytest.raises(NotRepresentable):
            push_uniform(stack, np.array([[wrong]]), np.array([[size]]))


# ------------------------------------------------------------------------------------------------- blocks


def test_a_block_whose_latents_need_more_than_one_item_can_pay_starts_with_more():
    """Certain items under a latent that costs nothing to push and much to pop."""
    structure, tensors = forged.vae()
    law = structure["law"]
    tensors["b4"] = forged.array(128, 3000, 128, 3000)  # q: nearly uniform on the grid
    tensors["w4"] = np.zeros((4, 2), np.int32)
    tensors["p"] = forged.array(128, -900, 128, -900)  # p: nearly all on two points
    tensors["b"], tensors["w"] = forged.array(-16384, -16384), np.zeros((2, 2), np.int32)
    frozen = FrozenModel.create(frozen_space(structure), law, tensors)
    items = np.zeros((50, 2), np.int64)
    for limit in (None, 1):
        sizes, words = frozen.encode_block(items, limit=limit)
        assert np.array_equal(frozen.decode_block(words, sizes, (2,)), items)


def frozen_space(structure: Any) -> Any:
    from codelength.laws.space import Space

    return Space(tuple(structure["space"]["shape"]), structure["space"]["symbols"])


@pytest.mark.parametrize("kind", ["made", "orders", "nested", "flow"])
def test_wrong_groups_are_noticed(kind):
    frozen = model(kind, 3)
    items = frozen.sample(12, seed=0)
    sizes, words = frozen.encode_block(items, limit=4)
    shape = items.shape[1:]
    for wrong in (
        [*sizes[:-1], sizes[-1] + 1],
        [0, *sizes],
        [*sizes, 0],
        [-1, *sizes],
        sizes[:-1],
        [*sizes, 1],
        [1] * 12,
    ):
        if wrong == sizes:
            continue
        try:
            decoded = frozen.decode_block(words, wrong, shape)
        except ProgramError as error:
            assert "\n" not in str(error)
        except Exception as error:
            assert type(error).__name__ == "StackExhausted"
        else:
            assert not np.array_equal(decoded, items)


def test_a_law_is_not_changed_by_coding():
    frozen = model("switch", 1)
    before = copy.deepcopy(frozen.structure), {k: v.copy() for k, v in frozen.tensors.items()}
    frozen.encode_block(frozen.sample(9, seed=0))
    assert before[0] == frozen.structure
    assert all(np.array_equal(before[1][k], v) for k, v in frozen.tensors.items())


def test_groups_stay_within_memory_however_dear_their_latents_are(monkeypatch):
    """A start group may have to be larger than is asked for, but not larger than what archives state as memory."""
    frozen = model("nested", 0)
    items = frozen.sample(60, seed=1)
    sizes, words = frozen.encode_block(items, limit=1)
    assert np.array_equal(frozen.decode_block(words, sizes, items.shape[1:]), items)
    encode = blocks.encode_from

    def dear(law: Law, latents: bool, items: np.ndarray, lanes: int, limit: int, first: int) -> Any:
        if first < min(20, len(items)):
            raise StackExhausted("the stack is exhausted")
        return encode(law, latents, items, lanes, limit, first)

    monkeypatch.setattr(blocks, "encode_from", dear)
    assert frozen.encode_block(items, limit=3)[0][-1] >= 20
    monkeypatch.setattr(FrozenModel, "group_limit", lambda self, shape: 15)
    with pytest.raises(NotRepresentable, match="15 items, as many as fit"):
        frozen.encode_block(items)
    assert frozen.encode_block(items[:9])[0] == [9]
