import numpy as np
import pytest
from coding_oracles import SlowStream, cumulative, slow_push
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, expit, ndtr, softmax
from ways_in import bernoulli_cut, search

from codelength.coding.frequencies import (
    CODES,
    Leaf,
    code_lengths,
    code_lengths_fixed,
    intervals,
    pop_elements,
    push_elements,
)
from codelength.coding.logarithm import log2_fixed
from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, ProgramError, StackExhausted

QUICK = settings(max_examples=80, deadline=None)
FAMILIES = list(CODES)


@st.composite
def leaves(draw, family):
    bits = draw(st.sampled_from([2, 5, 8, 13, 14, 16, 20, 24, 24, 24, 28]))
    most = 2 ** (bits - 1)
    if family == "bernoulli":
        return Leaf(family, 2, bits)
    if family == "gaussian":
        return Leaf(family, 2 ** draw(st.integers(1, min(7, bits - 1))), bits)
    symbols = draw(st.integers(2, min(100, most)))
    components = draw(st.integers(1, 5)) if family == "logistic_mixture" else 1
    return Leaf(family, symbols, bits, components)


def parameter_rows(leaf, rng, rows, wild):
    """(rows, parameters) integers: plausible ones, or far out of range."""
    if wild:
        return rng.choice(
            [-(2**24), -(2**22), -16385, -1024, -1, 0, 1, 63, 3072, 16384, 2**24], (rows, leaf.parameters)
        )
    a, k = leaf.symbols, leaf.components
    if leaf.family in ("bernoulli", "categorical"):
        return rng.normal(0, 3000, (rows, leaf.parameters)).round().astype(int)
    if leaf.family == "beta_binomial":
        return rng.integers(-8000, 9000, (rows, 2))
    parts = [rng.integers(-64, 64 * a + 64, (rows, k)), rng.integers(-512, 256 * 5, (rows, k))]
    if leaf.family == "logistic_mixture":
        parts.insert(0, rng.integers(-1000, 1000, (rows, k)))
    return np.concatenate(parts, axis=1)


def probabilities(leaf, params):
    """The real-valued distribution (A,) of one element, for parameters within their ranges."""
    values = params * 2.0 ** -np.array(leaf.fraction_bits)
    if leaf.family == "bernoulli":
        return np.array([expit(-values[0]), expit(values[0])])
    if leaf.family == "categorical":
        return softmax(values)
    if leaf.family == "beta_binomial":
        alpha, beta = np.exp2(values)
        x = np.arange(leaf.symbols)
        return softmax(betaln(x + alpha, x[::-1] + beta) - betaln(x + 1, x[::-1] + 1))
    k = leaf.components
    weights = softmax(values[:k]) if leaf.family == "logistic_mixture" else np.ones(1)
    means, scales = values[-2 * k : -k], np.exp(values[-k:])
    edges = (np.arange(1, leaf.symbols)[:, None] - 0.5 - means) / scales
    below = (ndtr(edges) if leaf.family == "gaussian" else expit(edges)) @ weights
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def all_intervals(leaf, row):
    """C(0), ..., C(A) as the compiled code has it."""
    starts, freqs = intervals(
        leaf, np.broadcast_to(row, (1, leaf.symbols, leaf.parameters)), np.arange(leaf.symbols)[None]
    )
    ends = starts[0].astype(np.int64) + freqs[0]
    assert (starts[0, 1:] == ends[:-1]).all()
    return [*starts[0].tolist(), int(ends[-1])]


@pytest.mark.parametrize("family", FAMILIES)
@QUICK
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), wild=st.booleans())
def test_every_symbol_has_mass_and_totals_are_exact(family, data, seed, wild):
    """Strictly increasing from 0 to 2^bits, whatever the parameters; and as Python integers have it."""
    leaf = data.draw(leaves(family))
    row = parameter_rows(leaf, np.random.default_rng(seed), 1, wild)[0]
    edges = all_intervals(leaf, row)
    assert edges[0] == 0 and edges[-1] == 2**leaf.bits
    assert all(a < b for a, b in zip(edges, edges[1:]))
    assert edges == cumulative(leaf, row.tolist())


@pytest.mark.parametrize("family", FAMILIES)
@QUICK
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), wild=st.booleans())
def test_search_finds_every_symbol(family, data, seed, wild):
    leaf = data.draw(leaves(family))
    row = parameter_rows(leaf, np.random.default_rng(seed), 1, wild)[0]
    edges = all_intervals(leaf, row)
    numbers = leaf.numbers()
    for x, (start, end) in enumerate(zip(edges, edges[1:])):
        for slot in (start, (start + end) // 2, end - 1):
            found = search(*numbers, row.astype(np.float32), np.int64(slot))
            assert found == (x, start, end - start)


@pytest.mark.parametrize("family", FAMILIES)
@QUICK
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_masses_are_near_the_probabilities(family, data, seed):
    leaf = data.draw(leaves(family))
    row = parameter_rows(leaf, np.random.default_rng(seed), 1, False)[0]
    row = np.clip(row, -16384, 16384) if family == "bernoulli" else row
    masses = np.diff(all_intervals(leaf, row)) / 2**leaf.bits
    bound = (leaf.symbols + 2) / 2**leaf.bits + 2**-13
    bound += leaf.components / 2**20 if family == "logistic_mixture" else 0
    bound += leaf.symbols / 2**19 if family == "beta_binomial" else 0
    bound += leaf.symbols / 2 ** min(30, 62 - leaf.bits - (leaf.symbols - 1).bit_length())
    assert np.abs(masses - probabilities(leaf, row)).max() <= bound


@pytest.mark.parametrize("family", FAMILIES)
def test_integer_arithmetic_costs_next_to_nothing(family):
    """The excess of the expected code length, beside the masses that every symbol is given."""
    leaf = {
        "bernoulli": Leaf("bernoulli", 2),
        "categorical": Leaf("categorical", 256),
        "logistic_mixture": Leaf("logistic_mixture", 256, components=5),
        "gaussian": Leaf("gaussian", 4096),
        "beta_binomial": Leaf("beta_binomial", 256),
    }[family]
    rng = np.random.default_rng(1)
    excesses = []
    for row in parameter_rows(leaf, rng, 50, False):
        p = probabilities(leaf, row)
        q = np.diff(all_intervals(leaf, row)) / 2**leaf.bits
        some = p > 0
        excesses.append(np.sum(p[some] * np.log2(p[some] / q[some])))
    assert 0 <= np.mean(excesses) < 1.5 * leaf.symbols / 2**leaf.bits + 2e-5


def test_extreme_sizes():
    for leaf in (
        Leaf("categorical", 4096, 28),
        Leaf("logistic_mixture", 65536, 28, components=3),
        Leaf("logistic_mixture", 65536, 17, components=1),
        Leaf("gaussian", 65536, 28),
        Leaf("beta_binomial", 65536, 28),
    ):
        rng = np.random.default_rng(2)
        for wild in (False, True):
            row = parameter_rows(leaf, rng, 1, wild)[0]
            edges = np.array(all_intervals(leaf, row))
            assert edges[0] == 0 and edges[-1] == 2**leaf.bits and (np.diff(edges) > 0).all()
            x = np.array([0, 1, leaf.symbols // 2, leaf.symbols - 1])
            slow = cumulative(leaf, row.tolist())
            assert edges[x].tolist() == [slow[i] for i in x]


@pytest.mark.parametrize("family", FAMILIES)
@QUICK
@given(
    data=st.data(),
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    positions=st.integers(0, 70),
    lanes=st.integers(1, 4),
)
def test_elements_go_and_come_back(family, data, seed, sizes, positions, lanes):
    leaf = data.draw(leaves(family))
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    params = parameter_rows(leaf, rng, n * positions, False).reshape(n, positions, leaf.parameters)
    stack = Stack.seeded(seed, lanes, len(sizes))
    stack.begin(sizes)
    before = stack.copy()
    x = pop_elements(leaf, params, stack)
    lengths = code_lengths(leaf, params, x)
    fixed = code_lengths_fixed(leaf, params, x)
    # Popped symbols leave as many bits as they cost, up to the grain of a state of at least 2^32.
    assert stack.bits() == pytest.approx(-lengths.sum(), rel=1e-4, abs=1e-4 + x.size * 2.0 ** (leaf.bits - 31))
    push_elements(leaf, params, x, stack)
    assert (stack.state == before.state).all() and stack.bits() == before.bits()

    empty = Stack(lanes, len(sizes))
    empty.begin(sizes)
    push_elements(leaf, params, x, empty)
    starts, freqs = intervals(leaf, params, x)
    slow = [SlowStream(lanes) for _ in sizes]
    slow_push(starts, freqs, leaf.bits, slow, sizes)
    assert [empty.to_words(s).tolist() for s in range(len(sizes))] == [s.serialised() for s in slow]
    assert (pop_elements(leaf, params, empty) == x).all()
    assert empty.is_empty()

    assert lengths == pytest.approx((leaf.bits - np.log2(freqs)).sum(axis=1))
    whole = leaf.bits << 20
    assert fixed.tolist() == [sum(whole - log2_fixed(int(f)) for f in row) for row in freqs]
    assert np.abs(fixed / 2**20 - lengths).max(initial=0) <= 0.7 * positions / 2**20 + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kind_of_array_does_not_matter(family):
    leaf = Leaf(family, 2 if family == "bernoulli" else 16, components=3 if family == "logistic_mixture" else 1)
    rng = np.random.default_rng(3)
    params = parameter_rows(leaf, rng, 60, False).reshape(6, 10, leaf.parameters)
    x = rng.integers(0, leaf.symbols, (6, 10))
    expected = intervals(leaf, params, x)
    for dtype in (np.float32, np.float64, np.int16):
        for y in (x.astype(np.uint8), np.asfortranarray(x)):
            assert np.array_equal(intervals(leaf, params.astype(dtype), y), expected)


def test_not_a_number_is_the_lowest_value():
    for value in (float("nan"), float("-inf"), -1e30):
        assert bernoulli_cut(value, 24) == bernoulli_cut(-16384.0, 24)


def test_golden_cumulative_functions():
    # Pinned: a change here is a change of the file format.
    assert all_intervals(Leaf("bernoulli", 2), np.array([1234])) == [0, 3868396, 16777216]
    assert all_intervals(Leaf("categorical", 4), np.array([100, -2000, 3333, 0])) == [
        0,
        656880,
        741380,
        16181439,
        16777216,
    ]
    mixture = Leaf("logistic_mixture", 5, components=2)
    assert all_intervals(mixture, np.array([10, -200, 33, 200, -100, 77])) == [
        0,
        6399622,
        10628325,
        13040991,
        14426643,
        16777216,
    ]
    assert all_intervals(Leaf("gaussian", 4), np.array([111, 55])) == [0, 2679198, 7130693, 12273902, 16777216]
    assert all_intervals(Leaf("beta_binomial", 4), np.array([1111, -222])) == [0, 1298906, 4188698, 9036905, 16777216]


def test_wrong_use():
    leaf = Leaf("categorical", 3)
    params = np.zeros((2, 4, 3))
    stack = Stack()
    for x in (np.full((2, 4), 3), np.full((2, 4), -1), np.zeros((2, 4))):
        with pytest.raises(NotRepresentable):
            push_elements(leaf, params, x, stack)
    with pytest.raises(ValueError, match="symbols of shape"):
        push_elements(leaf, params, np.zeros((2, 3), int), stack)
    with pytest.raises(ValueError, match="parameters"):
        pop_elements(leaf, params[..., :2], stack)
    assert stack.is_empty()
    for family in FAMILIES:
        leaf = Leaf(family, 2)
        with pytest.raises(StackExhausted):
            pop_elements(leaf, np.zeros((30, 70, leaf.parameters)), Stack())


@pytest.mark.parametrize(
    "arguments",
    [
        ("beta", 2),
        ("bernoulli", 3),
        ("gaussian", 12),
        ("beta_binomial", 65537),
        ("beta_binomial", 16, 24, 2),
        ("categorical", 1),
        ("categorical", 8192),
        ("logistic_mixture", 65537),
        ("categorical", 16, 4),
        ("categorical", 16, 29),
        ("categorical", 16, 24, 2),
        ("logistic_mixture", 16, 24, 257),
        ("logistic_mixture", 16.0),
    ],
)
def test_impossible_leaves_are_refused(arguments):
    with pytest.raises(ProgramError, match="expected"):
        Leaf(*arguments)
