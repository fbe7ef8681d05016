import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.coding.logarithm import exp2_fixed, log2_fixed, responsibilities
from codelength.coding.tables import EXP2, LOG2

QUICK = settings(max_examples=200, deadline=None)
sizes = st.integers(0, 61).flatmap(lambda e: st.integers(2**e, 2 ** (e + 1) - 1))


def slow_log2(value: int) -> int:
    e = value.bit_length() - 1
    m = value * 2**30 // 2**e - 2**30
    j, r = divmod(m, 2**20)
    f = int(LOG2[j]) + ((int(LOG2[j + 1]) - int(LOG2[j])) * r // 2**20 if r else 0)
    return e * 2**20 + (f + 2**9) // 2**10


def slow_exp2(length: int) -> int:
    n, g = divmod(length, 2**20)
    j, r = divmod(g, 2**10)
    return (int(EXP2[j]) - (int(EXP2[j]) - int(EXP2[j + 1])) * r // 2**10) >> n


@QUICK
@given(sizes)
def test_log2_is_near_and_follows_its_rule(value):
    assert log2_fixed(value) == slow_log2(value)
    assert abs(log2_fixed(value) / 2**20 - math.log2(value)) <= 0.7 * 2**-20
    assert log2_fixed(value) <= log2_fixed(min(value + 1, 2**62 - 1))


def test_log2_of_powers_of_two_is_exact():
    assert [log2_fixed(2**e) for e in range(62)] == [e * 2**20 for e in range(62)]


@QUICK
@given(st.integers(0, 40 * 2**20) | st.integers(0, 2**62))
def test_exp2_is_near_and_follows_its_rule(length):
    value = exp2_fixed(length)
    assert value == (slow_exp2(length) if length < 64 * 2**20 else 0)
    exact = 2 ** (30 - length / 2**20)
    assert -2 < value - exact < 63 / 2 ** (length >> 20 if length < 2**30 else 1000) + 1
    assert exp2_fixed(length + 1) <= value


def test_exp2_of_nothing_is_one():
    assert exp2_fixed(0) == 2**30
    assert exp2_fixed(2**20) == 2**29


def slow_responsibilities(lengths, prior, bits):
    rows = []
    for row in lengths.tolist():
        a = [x + p for x, p in zip(row, prior.tolist())]
        e = [slow_exp2(x - min(a)) if x - min(a) < 64 * 2**20 else 0 for x in a]
        freqs = [1 + x * (2**bits - len(a)) // sum(e) for x in e]
        freqs[a.index(min(a))] += 2**bits - sum(freqs)
        rows.append(freqs)
    return rows


@QUICK
@given(
    st.integers(1, 6).flatmap(
        lambda k: st.tuples(
            st.lists(st.lists(st.integers(0, 2**22) | st.integers(0, 2**40), min_size=k, max_size=k), max_size=4),
            st.lists(st.integers(0, 2**23), min_size=k, max_size=k),
        )
    ),
    st.sampled_from([4, 12, 24, 28]),
)
def test_responsibilities(lengths, bits):
    items, prior = lengths
    a = np.array(items, np.int64).reshape(len(items), len(prior))
    p = np.array(prior, np.int64)
    freqs = responsibilities(a, p, bits)
    assert freqs.tolist() == slow_responsibilities(a, p, bits)
    assert (freqs >= 1).all() and (freqs.sum(axis=1) == 2**bits).all()
    if len(items):
        joint = (a + p - (a + p).min(axis=1, keepdims=True)) / 2**20
        exact = 2.0**-joint / (2.0**-joint).sum(axis=1, keepdims=True)
        assert np.abs(freqs / 2**bits - exact).max() <= (2 * len(prior) + 1) / 2**bits + 2e-7


def test_constants_cancel():
    lengths = np.array([[5 << 20, 7 << 20, 9 << 20]])
    prior = np.array([1 << 20, 0, 0])
    expected = responsibilities(lengths, prior)
    assert (responsibilities(lengths - (4 << 20), prior + (100 << 20)) == expected).all()


def test_responsibilities_refuse_what_has_no_room():
    with pytest.raises(ValueError, match="expected code lengths"):
        responsibilities(np.zeros((2, 3), int), np.zeros(2, int))
    with pytest.raises(ValueError, match="at most"):
        responsibilities(np.zeros((2, 3), int), np.zeros(3, int), bits=2)
