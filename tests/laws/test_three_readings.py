"""log_prob, sample, push and pop of whole programs, against exact fractions from separate code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import BERNOULLI, KINDS, LEAVES, an_item_shape, convnet, made_program, model, models
from slow import all_items, probability

from codelength.coding.stack import Stack
from codelength.exact import arithmetic as executors
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space

QUICK = settings(max_examples=15, deadline=None, derandomize=True)
EXACT = ("made", "orders", "switch", "grey", "colour", "fixed")


def promised(frozen: FrozenModel, items: np.ndarray) -> np.ndarray:
    law = frozen.structure["law"]
    exact = [probability(law, frozen.tensors, item) for item in items]
    return np.array([math.log2(p.denominator) - math.log2(p.numerator) for p in exact])


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: f"{leaf['family']}-{leaf.get('bits', 24)}")
def test_the_probabilities_of_all_items_of_a_masked_autoencoder_add_up_to_one_exactly(leaf):
    dims = 4 if leaf["symbols"] < 4 else 3
    frozen = FrozenModel.create(*made_program(np.random.default_rng(leaf["symbols"]), dims, leaf=leaf))
    items = all_items((dims,), leaf["symbols"])
    exact = [probability(frozen.structure["law"], frozen.tensors, item) for item in items]
    assert sum(exact) == 1 and min(exact) > 0
    assert np.allclose(frozen.log_prob(np.stack(items)), [math.log(p) for p in exact], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("kind", "seed"), [("orders", 0), ("orders", 1), ("switch", 0)])
def test_the_probabilities_of_a_mixture_add_up_to_one_exactly(kind, seed):
    frozen = model(kind, seed)
    items = all_items((4,), 2)
    exact = [probability(frozen.structure["law"], frozen.tensors, item) for item in items]
    assert sum(exact) == 1
    assert np.allclose(frozen.log_prob(np.stack(items)), [math.log(p) for p in exact], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("shape", "slope"), [((2, 3), None), ((3, 2), 2), ((1, 2, 3), None), ((2, 1, 3), 3)])
def test_the_probabilities_of_all_images_add_up_to_one_exactly(shape, slope):
    rng, tensors = np.random.default_rng(7), {}
    law = convnet(rng, tensors, [None, None, *shape[2:]], BERNOULLI, slope=slope)
    frozen = FrozenModel.create(Space((None, None, *shape[2:]), 2), law, tensors)
    items = all_items(shape, 2)
    exact = [probability(law, tensors, item) for item in items]
    assert sum(exact) == 1
    assert np.allclose(frozen.log_prob(np.stack(items)), [math.log(p) for p in exact], rtol=1e-12, atol=1e-9)


@QUICK
@given(models(*EXACT, seeds=8), st.integers(0, 9))
def test_bits_spent_are_bits_promised(frozen, seed):
    rng = np.random.default_rng(seed)
    items = frozen.sample(4, seed=seed, shape=an_item_shape(frozen, rng))
    items[0] = rng.integers(0, frozen.space.symbols, items.shape[1:])
    bits = promised(frozen, items)
    assert np.allclose(frozen.code_length_bits(items), bits, rtol=1e-9, atol=1e-6)
    stack = Stack.seeded(seed)
    # A state of little more than 2^32 steps seems up to 2^-8 bits off for a push with a total of 2^24, either way, so
    # the items are pushed eight times, and what is wrong with them shows eight times.
    frozen.law.push(stack, np.repeat(items, 8, axis=0), {"shape": items.shape[1:]})
    # A mixture returns the bits of its index by responsibilities that are rounded to 2^-24 and lengths to 2^-20.
    tolerance = 0.01 * 8 * len(items) if frozen.latents else 0.05
    assert stack.bits() == pytest.approx(8 * bits.sum(), rel=1e-6, abs=tolerance)


@QUICK
@given(models(seeds=8), st.integers(0, 9), st.integers(1, 9))
def test_popping_undoes_pushing_and_pushing_popping(frozen, seed, count):
    shape = an_item_shape(frozen, np.random.default_rng(seed))
    context = {"shape": shape}
    items = frozen.sample(count, seed=seed, shape=shape)
    stack = Stack.seeded(seed + 100)
    before = stack.copy()
    frozen.law.push(stack, items, context)
    again = frozen.law.pop(stack, count, context)
    assert np.array_equal(again, items)
    assert same(stack, before)


def same(a: Stack, b: Stack) -> bool:
    """Whether two stacks on the same random words hold the same."""
    for stack in (a, b):  # equally deep a supply, so that the words can be compared
        stack.reserve(pops=int(max(a.count[0], b.count[0])) + 1000)
    held = [stack.words[0, : stack.count[0]][-900:] for stack in (a, b)]
    height = [int(stack.count[0] - stack._supplied[0]) for stack in (a, b)]
    return height[0] == height[1] and np.array_equal(a.state, b.state) and np.array_equal(*held)


@QUICK
@given(models(*EXACT, seeds=8), st.integers(0, 9), st.integers(1, 9))
def test_what_is_drawn_from_a_stack_goes_back_onto_it(frozen, seed, count):
    shape = an_item_shape(frozen, np.random.default_rng(seed))
    stack = Stack.seeded(seed)
    before = stack.copy()
    items = frozen.law.pop(stack, count, {"shape": shape})
    frozen.law.push(stack, items, {"shape": shape})
    assert same(stack, before)


@QUICK
@given(models(seeds=8), st.integers(0, 9), st.integers(1, 40))
def test_blocks_come_back_whatever_their_groups(frozen, seed, count):
    shape = an_item_shape(frozen, np.random.default_rng(seed))
    items = frozen.sample(count, seed=seed, shape=shape)
    for limit in (None, 1, 3):
        sizes, words = frozen.encode_block(items, limit=limit)
        assert sum(sizes) == count
        assert np.array_equal(frozen.decode_block(words, sizes, shape), items)


def test_blocks_have_the_same_words_on_every_executor():
    for kind in KINDS:
        frozen = model(kind, 3)
        items = frozen.sample(5, seed=1, shape=an_item_shape(frozen, np.random.default_rng(1)))
        sizes, words = frozen.encode_block(items)
        with executors.using(executors.REFERENCE):
            again, others = frozen.encode_block(items)
            decoded = frozen.decode_block(words, sizes, items.shape[1:])
        assert again == sizes and np.array_equal(words, others), kind
        assert np.array_equal(decoded, items), kind


def test_the_mean_of_samples_is_that_of_the_probabilities():
    frozen = model("orders", 2)
    items = all_items((4,), 2)
    exact = [float(probability(frozen.structure["law"], frozen.tensors, item)) for item in items]
    drawn = frozen.sample(20_000, seed=5)
    counts = np.bincount(drawn @ [8, 4, 2, 1], minlength=16) / len(drawn)
    error = np.sqrt(np.array(exact) / len(drawn))
    assert (np.abs(counts - exact) < 5 * error + 1e-4).all()


def test_samples_are_the_same_for_any_executor_and_empty_ones_are_empty():
    frozen = model("colour", 2)
    items = frozen.sample(3, seed=11, shape=(2, 3, 3))
    with executors.using(executors.REFERENCE):
        assert np.array_equal(frozen.sample(3, seed=11, shape=(2, 3, 3)), items)
    assert frozen.sample(0, shape=(2, 3, 3)).shape == (0, 2, 3, 3)
    assert frozen.code_length_bits(items[:0]).shape == (0,)
    assert frozen.encode_block(items[:0])[0] == []
