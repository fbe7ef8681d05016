import numpy as np
import pytest
from coding_oracles import SlowStream, slow_push
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.coding.categories import (
    pop_shared,
    pop_table,
    pop_uniform,
    push_shared,
    push_table,
    push_uniform,
)
from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, StackExhausted

QUICK = settings(max_examples=60, deadline=None)


@QUICK
@given(st.integers(1, 2**28) | st.sampled_from([1, 2, 3, 2**28 - 1, 2**28]), st.integers(0, 2**32))
def test_uniform_symbols(symbols, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, symbols, (3, 20))
    x[0, :2] = 0, symbols - 1
    starts = np.array([[value * 2**28 // symbols for value in row] for row in x.tolist()])
    ends = np.array([[(value + 1) * 2**28 // symbols for value in row] for row in x.tolist()])
    assert (ends > starts).all() and ends.max() <= 2**28
    stack, slow = Stack(2), SlowStream(2)
    push_uniform(symbols, x, stack)
    slow_push(starts, ends - starts, 28, [slow], [3])
    assert stack.to_words().tolist() == slow.serialised()
    assert np.log2(symbols) * x.size - 2 * x.size <= stack.bits() <= 28 * x.size + 1
    assert (pop_uniform(symbols, x.shape, stack) == x).all()
    assert stack.is_empty()


def test_uniform_powers_of_two_cost_whole_bits():
    stack = Stack.seeded(3)
    push_uniform(2**12, np.arange(4096).reshape(64, 64), stack)
    assert stack.bits() == pytest.approx(4096 * 12, abs=0.01)


@QUICK
@given(st.integers(1, 300), st.integers(0, 28), st.integers(0, 2**32))
def test_shared_tables_of_any_size(symbols, bits, seed):
    """The guide table of the search: few and many symbols, narrow and wide totals."""
    symbols = min(symbols, 2**bits)
    rng = np.random.default_rng(seed)
    weights = rng.random(symbols) ** 8
    row = 1 + np.floor(weights * (2**bits - symbols) / weights.sum()).astype(np.int64)
    row[rng.integers(symbols)] += 2**bits - row.sum()
    x = rng.integers(0, symbols, (7, 30))
    stack = Stack()
    push_shared(row, x, bits, stack)
    assert stack.bits() == pytest.approx(np.sum(bits - np.log2(row[x])), rel=1e-3, abs=1)
    assert (pop_shared(row, x.shape, bits, stack) == x).all()
    assert stack.is_empty()


def test_bad_tables_and_symbols_are_refused():
    stack = Stack()
    for bad in ([1, 2], [0, 4], [-1, 5], [[1, 3], [2, 3]]):
        with pytest.raises(ValueError, match="sum 2\\^2"):
            push_table(np.atleast_2d(bad), np.zeros(len(np.atleast_2d(bad)), int), 2, stack)
    with pytest.raises(ValueError, match="28 bits"):
        push_shared(np.array([2**28, 2**28]), np.zeros((1, 1), int), 29, stack)
    with pytest.raises(ValueError, match="one for each row"):
        push_table(np.array([[1, 3]]), np.zeros(2, int), 2, stack)
    for x in (-1, 2):
        with pytest.raises(NotRepresentable, match="from 0 to 1"):
            push_shared(np.array([1, 3]), np.full((1, 1), x), 2, stack)
    with pytest.raises(NotRepresentable, match="float64"):
        push_shared(np.array([1, 3]), np.zeros((1, 1)), 2, stack)
    with pytest.raises(ValueError, match="2\\^28 symbols"):
        push_uniform(0, np.zeros((1, 1), int), stack)
    assert stack.is_empty()


def test_exhausted():
    for pop in (
        lambda stack: pop_table(np.full((90, 4), 2**10), 12, stack),
        lambda stack: pop_shared(np.full(4, 2**10), (90, 1), 12, stack),
        lambda stack: pop_uniform(1000, (90, 1), stack),
    ):
        with pytest.raises(StackExhausted, match="more bits on the stack"):
            pop(Stack())
