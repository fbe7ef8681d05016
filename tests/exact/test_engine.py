"""The engine that computes each unit once, against whole passes for every step, and against its own parallel pass."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import BERNOULLI, LEAVES, Draft, an_item_shape, made, model, models
from slow import element_parameters

from codelength.coding.frequencies import pop_elements
from codelength.coding.stack import Stack
from codelength.errors import StackExhausted
from codelength.exact import arithmetic as executors
from codelength.exact.dense import BLOCK_STEPS
from codelength.exact.schedule import RasterSchedule
from codelength.laws.frozen import FrozenModel
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space

QUICK = settings(max_examples=12, deadline=None, derandomize=True)


def sequential_of(frozen: FrozenModel) -> tuple[Sequential, dict]:
    law, record = frozen.law, frozen.structure["law"]
    while not isinstance(law, Sequential):
        law, record = law.likelihood, record["likelihood"]
    return law, record


def context_of(record: dict, count: int, rng: np.random.Generator) -> dict:
    names = {name for name in record["network"]["inputs"] if name != "x"} | {record["schedule"].get("index")}
    return {name: rng.integers(0, 2, (count, 1)) for name in names if name}


@QUICK
@given(
    models("made", "orders", "grey", "colour", "fixed", seeds=12),
    st.integers(0, 99),
    st.sampled_from([1, 2, 5, 33]),
    st.integers(1, 4),
)
def test_advancing_equals_a_whole_pass_for_every_step_and_the_parallel_pass(frozen, seed, count, lanes):
    rng = np.random.default_rng(seed)
    law, record = sequential_of(frozen)
    context = {"shape": an_item_shape(frozen, rng), **context_of(record, count, rng)}
    quick, slow = Stack.seeded(seed, lanes), Stack.seeded(seed, lanes)
    items = law.conditional.advance(quick, count, context)
    assert np.array_equal(items, law.conditional.advance_naively(slow, count, context))
    assert quick.bits() == slow.bits() and np.array_equal(quick.state, slow.state)
    with executors.using(executors.REFERENCE):
        slow = Stack.seeded(seed, lanes)
        assert np.array_equal(items, law.conditional.advance(slow, count, context))
    law.push(quick, items, context)
    assert np.array_equal(quick.state, Stack.seeded(seed, lanes).state)


@QUICK
@given(models("made", "orders", "grey", "colour", "fixed", seeds=12), st.integers(0, 99))
def test_the_parallel_pass_has_the_parameters_of_the_slow_evaluation(frozen, seed):
    rng = np.random.default_rng(seed)
    law, record = sequential_of(frozen)
    shape = an_item_shape(frozen, rng)
    context = context_of(record, 2, rng)
    items = rng.integers(0, frozen.space.symbols, (2, *shape))
    elements = law.conditional.parallel(items, context)
    for i in range(2):
        values = {name: ((), [int(v[i, 0])]) for name, v in context.items()}
        slow = np.array(element_parameters(record, frozen.tensors, items[i], values))
        order = elements.order if elements.order.ndim == 1 else elements.order[i]
        assert np.array_equal(elements.params[i], slow[order])


def recursion(array: np.ndarray, symbols: int, seen: list[np.ndarray]):
    """A step that mixes the parameters with an array of its own, and notes where it is asked for elements."""

    def step(params: np.ndarray, where: np.ndarray) -> np.ndarray:
        assert params.shape[:2] == where.shape
        seen.append(where.copy())
        weights = 1 + 2 * np.arange(params.shape[2])
        mixed = params.astype(np.int64) @ weights + np.take_along_axis(array, where, axis=1)
        return mixed % symbols

    return step


@QUICK
@given(
    models("made", "orders", "grey", "colour", "fixed", seeds=12),
    st.integers(0, 99),
    st.sampled_from([1, 2, 5, 33]),
)
def test_a_recursion_in_the_engine_equals_a_whole_pass_for_every_step(frozen, seed, count):
    rng = np.random.default_rng(seed)
    law, record = sequential_of(frozen)
    shape = an_item_shape(frozen, rng)
    context = {"shape": shape, **context_of(record, count, rng)}
    array = rng.integers(0, 1000, (count, int(np.prod(shape))))
    quick_places, slow_places = [], []
    quick = law.conditional.recur(count, context, recursion(array, frozen.space.symbols, quick_places))
    slow = law.conditional.recur_naively(count, context, recursion(array, frozen.space.symbols, slow_places))
    assert np.array_equal(quick, slow) and quick.shape == (count, *shape) and quick.dtype == np.int32
    assert len(quick_places) == len(slow_places)
    assert all(np.array_equal(a, b) for a, b in zip(quick_places, slow_places))
    with executors.using(executors.REFERENCE):
        again = law.conditional.recur(count, context, recursion(array, frozen.space.symbols, []))
    assert np.array_equal(quick, again)


def test_a_recursion_may_pop_from_a_stack_as_the_engine_does():
    for kind in ("made", "orders", "colour"):
        frozen = model(kind, 3)
        law, record = sequential_of(frozen)
        rng = np.random.default_rng(0)
        context = {"shape": an_item_shape(frozen, rng), **context_of(record, 4, rng)}
        popped, stack = Stack.seeded(5), Stack.seeded(5)
        items = law.conditional.advance(popped, 4, context)
        pop = partial(pop_elements, law.conditional.leaf, stack=stack)
        made = law.conditional.recur(4, context, lambda params, where, pop=pop: pop(params))
        assert np.array_equal(items, made)
        assert np.array_equal(popped.state, stack.state) and popped.bits() == stack.bits()


@pytest.mark.parametrize("leaf", LEAVES[:3], ids=lambda leaf: leaf["family"])
@pytest.mark.parametrize("dims", [1, BLOCK_STEPS, BLOCK_STEPS + 1, 2 * BLOCK_STEPS + 3])
def test_blocks_of_steps_join_without_a_seam(dims, leaf):
    rng, tensors = np.random.default_rng(dims), {}
    law = made(rng, tensors, [dims], leaf, residual=True, direct=True, parts=True, gate=True)
    frozen = FrozenModel.create(Space((dims,), leaf["symbols"]), law, tensors)
    context = {"shape": (dims,)}
    quick, slow = Stack.seeded(1), Stack.seeded(1)
    items = frozen.law.pop(quick, 7, context)
    assert np.array_equal(items, frozen.law.conditional.advance_naively(slow, 7, context))
    assert np.array_equal(quick.state, slow.state)
    array = rng.integers(0, 1000, (7, dims))
    walked, passed = (
        way(7, context, recursion(array, leaf["symbols"], []))
        for way in (frozen.law.conditional.recur, frozen.law.conditional.recur_naively)
    )
    assert np.array_equal(walked, passed)


def test_known_elements_are_set_in_their_turn_in_the_engine_as_in_the_slow_way():
    rng = np.random.default_rng(0)
    for kind in ("made", "orders", "colour"):
        frozen = model(kind, 2)
        law, record = sequential_of(frozen)
        shape = an_item_shape(frozen, rng)
        context = {"shape": shape, **context_of(record, 3, rng)}
        size = int(np.prod(shape))
        known = np.where(rng.integers(0, 2, (3, size)) == 1, rng.integers(0, frozen.space.symbols, (3, size)), -1)
        quick = law.conditional.advance(Stack.seeded(4), 3, context, known)
        slow = law.conditional.advance_naively(Stack.seeded(4), 3, context, known)
        assert np.array_equal(quick, slow)
        assert (np.where(known < 0, quick.reshape(3, -1), known) == quick.reshape(3, -1)).all()


def test_a_network_that_ignores_the_item_advances_too():
    tensors: dict = {}
    rng = np.random.default_rng(0)
    draft = Draft(rng, ["count"], tensors)
    out = draft.linear(draft.op("constant", x=0, values=draft.store([3, 4])), 2, 5, np.argsort([4, 1, 0, 3, 2]))
    schedule = {"kind": "degrees", "orders": draft.store([[4, 1, 0, 3, 2]])}
    law = {"law": "sequential", "leaf": BERNOULLI, "shape": [5], "network": draft.network(out), "schedule": schedule}
    frozen = FrozenModel.create(Space((5,), 2), law, tensors)
    items = frozen.sample(6, seed=1)
    sizes, words = frozen.encode_block(items)
    assert np.array_equal(frozen.decode_block(words, sizes, (5,)), items)


def test_the_sum_of_parts_may_leave_float32_though_its_result_does_not():
    """Inputs far from zero: the parts of the layer are large, their sum is small again."""
    tensors: dict = {}
    rng = np.random.default_rng(0)
    draft = Draft(rng, ["x"], tensors)
    x = draft.op("add", a=0, b=draft.op("constant", x=0, values=draft.store([7_000_001] * 4)))
    weight = np.array([[0, 0, 0, 0], [2, 0, 0, 0], [2, -2, 0, 0], [2, 1, -2, 0]])
    out = draft.op(
        "linear",
        x=x,
        weight=draft.store(weight),
        bias=draft.store([0, -14_000_003, 1, -7_000_001]),
        degrees=draft.store(np.arange(4)),
        parts=[1, 2, 3],
    )
    out = draft.requantise(out, 4, -3000, 3000)
    schedule = {"kind": "degrees", "orders": draft.store([[0, 1, 2, 3]])}
    law = {"law": "sequential", "leaf": BERNOULLI, "shape": [4], "network": draft.network(out), "schedule": schedule}
    frozen = FrozenModel.create(Space((4,), 2), law, tensors)
    quick, slow = Stack.seeded(0), Stack.seeded(0)
    items = frozen.law.pop(quick, 50, {})
    assert np.array_equal(items, frozen.law.conditional.advance_naively(slow, 50, {}))
    assert np.array_equal(quick.state, slow.state)


def test_context_images_are_convolved_freely_and_channels_without_members_cost_nothing():
    tensors: dict = {}
    rng = np.random.default_rng(3)
    draft = Draft(rng, ["x", "z"], tensors)
    # z (2, 3, 4): stays context through a kernel that looks to all sides
    around = draft.requantise(draft.convolution(1, 2, 3, (3, 3, -1, -1)), 3, -50, 50)
    mine = draft.convolution(0, 2, 3, (2, 2, -1, -1), [2, 2, 2])
    both = draft.requantise(draft.op("add", a=around, b=mine), 3, -90, 90)
    out = draft.convolution(both, 3, 2, (2, 3, -1, -1), [0, 1])
    likelihood = {
        "law": "sequential",
        "leaf": BERNOULLI,
        "shape": [3, 4, 2],
        "network": draft.network(out),
        "schedule": {"kind": "raster"},
    }
    own = Draft(rng, ["count"], tensors)
    values = own.store(own.noise(24, 900))
    prior = {
        "law": "independent",
        "leaf": BERNOULLI,
        "shape": [2, 3, 4],
        "network": own.network(own.op("constant", x=0, values=values)),
    }
    other = Draft(rng, ["count"], tensors)
    posterior = {**prior, "network": other.network(other.op("constant", x=0, values=other.store(other.noise(24, 900))))}
    law = {"law": "marginal", "latent": "z", "prior": prior, "likelihood": likelihood, "posterior": posterior}
    frozen = FrozenModel.create(Space((3, 4, 2), 2), law, tensors)
    conditional = frozen.law.likelihood.conditional
    context = {"shape": (3, 4, 2), "z": rng.integers(0, 2, (5, 2, 3, 4))}
    quick, slow = Stack.seeded(0), Stack.seeded(0)
    items = conditional.advance(quick, 5, context)
    assert np.array_equal(items, conditional.advance_naively(slow, 5, context))
    assert np.array_equal(quick.state, slow.state)


def test_fronts_cover_each_pixel_once_and_code_them_in_turn():
    for slope, height, width in product((None, 1, 2, 5), (1, 3, 5), (1, 2, 4)):
        order = RasterSchedule(slope).order(height, width, 3)
        assert sorted(order) == list(range(height * width * 3))
        turn = {element: k for k, element in enumerate(order)}
        step = [r * (width if slope is None else slope) + q for r in range(height) for q in range(width)]
        for p, q in product(range(height * width), repeat=2):
            if step[p] < step[q]:
                assert turn[p * 3 + 2] < turn[q * 3]
            elif step[p] == step[q] and p < q:
                assert turn[p * 3] < turn[q * 3] < turn[p * 3 + 1]


def test_an_exhausted_stack_is_an_error_in_every_engine():
    for kind in ("made", "colour"):
        frozen = model(kind, 2)
        shape = an_item_shape(frozen, np.random.default_rng(0))
        with pytest.raises(StackExhausted):
            frozen.law.pop(Stack(1), 400, {"shape": shape})


def test_wide_operands_that_cancel_to_a_narrow_sum_are_added_exactly():
    tensors: dict[str, np.ndarray] = {}

    def convolution(weight: int, bias: int) -> dict:
        name = f"t{len(tensors)}"
        tensors[name] = np.full((1, 2, 1, 1), weight, np.int32)
        tensors[name + "b"], tensors["d"] = np.array([bias], np.int32), np.zeros(1, np.int32)
        where = {"offset": [0, -1], "degrees": "d", "parts": [1]}
        return {"op": "convolution", "x": 1, "weight": name, "bias": name + "b", **where}

    operations = [{"op": "concat", "xs": [0, 0]}, convolution(300, 1 << 30), convolution(-100, -(1 << 30))]
    operations.append({"op": "add", "a": 2, "b": 3})
    network = {"inputs": ["x"], "operations": operations, "output": 4}
    law = {"law": "sequential", "leaf": BERNOULLI, "shape": [4, 4], "schedule": {"kind": "raster"}, "network": network}
    frozen = FrozenModel.create(Space((4, 4), 2), law, tensors)
    items = np.random.default_rng(0).integers(0, 2, (5, 4, 4)).astype(np.int32)
    sizes, words = frozen.encode_block(items)
    assert np.array_equal(frozen.decode_block(words, sizes, (4, 4)), items)


@pytest.mark.parametrize("slope", [None, 1, 2, 5, 40])
def test_the_longest_front_is_known_without_making_any(slope):
    schedule = RasterSchedule(slope)
    for height, width in product((1, 2, 7, 30), repeat=2):
        fronts = schedule.fronts(height, width)
        assert schedule.longest(height, width) == max(map(len, fronts))
        order = schedule.order(height, width, 3)
        expected = [3 * pixel + channel for front in fronts for channel in range(3) for pixel in front]
        assert order.tolist() == expected
    assert RasterSchedule(None).longest(1 << 20, 1 << 20) == 1
