import numpy as np
import pytest
from coding_oracles import Exhausted, SlowStream, find_in, random_words, slow_push
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.coding.categories import pop_shared, pop_table, push_shared, push_table
from codelength.coding.stack import Stack, push_intervals
from codelength.errors import StackExhausted

QUICK = settings(max_examples=60, deadline=None)


def random_tables(rng, rows, symbols, bits):
    """(rows, symbols) positive frequencies with sum 2^bits, some nearly certain."""
    cuts = np.sort(rng.integers(0, 2**bits - symbols + 1, (rows, symbols - 1)), axis=1)
    cuts = np.where(rng.random((rows, 1)) < 0.3, cuts * 0, cuts)
    edges = np.concatenate([np.zeros((rows, 1), int), cuts, np.full((rows, 1), 2**bits - symbols)], axis=1)
    return np.diff(edges, axis=1) + 1


groups = st.fixed_dictionaries(
    {
        "sizes": st.lists(st.integers(0, 9), min_size=1, max_size=4),
        "lanes": st.integers(1, 4),
        "positions": st.integers(0, 12),
        "bits": st.sampled_from([1, 2, 8, 13, 14, 16, 24, 28]),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def draw_intervals(group):
    rng = np.random.default_rng(group["seed"])
    shape = (sum(group["sizes"]), group["positions"])
    total = 2 ** group["bits"]
    freqs = np.minimum(2 ** rng.uniform(0, group["bits"] + 0.3, shape), total).astype(np.int64)
    starts = (rng.random(shape) * (total - freqs + 1)).astype(np.int64)
    return starts, freqs


@QUICK
@given(groups)
def test_words_equal_those_of_python_integers(group):
    starts, freqs = draw_intervals(group)
    stack = Stack(group["lanes"], len(group["sizes"]))
    slow = [SlowStream(group["lanes"]) for _ in group["sizes"]]
    for _ in range(2):
        stack.begin(group["sizes"])
        push_intervals(starts, freqs, group["bits"], stack)
        slow_push(starts, freqs, group["bits"], slow, group["sizes"])
    for stream, judge in enumerate(slow):
        assert stack.words[stream, : stack.count[stream]].tolist() == judge.words
        assert stack.state[stream].tolist() == judge.states
        assert stack.to_words(stream).tolist() == judge.serialised()


@QUICK
@given(groups)
def test_written_streams_read_back(group):
    starts, freqs = draw_intervals(group)
    stack = Stack(group["lanes"], len(group["sizes"]))
    stack.begin(group["sizes"])
    push_intervals(starts, freqs, group["bits"], stack)
    arrays = [stack.to_words(stream) for stream in range(stack.streams)]
    again = Stack.from_words(arrays, group["lanes"])
    assert (again.state == stack.state).all() and (again.count == stack.count).all()
    assert again.bits() == stack.bits()
    for stream, array in enumerate(arrays):
        assert again.to_words(stream).tolist() == array.tolist()
        # 37 bits a lane, a bit for rounding each high word's length up, at most 31 bits of padding
        assert 32 * len(array) <= stack.stream_bits()[stream] + 38 * group["lanes"] + 31


def test_golden_words():
    # Pinned: a change here is a change of the file format.
    freqs = np.array([[2**23, 3, 2**24 - 1], [2**20, 2**24, 1000], [12345, 2**12, 2**22]])
    starts = np.array([[2**23, 7, 0], [2**21, 0, 123456], [2**24 - 12345, 2**13, 2**22]])
    stack = Stack(lanes=2)
    for _ in range(3):
        push_intervals(starts, freqs, 24, stack)
    assert stack.to_words().tolist() == [
        3590324020,
        2955010875,
        1623526095,
        2360,
        3942657209,
        4026530129,
        2701140994,
        1881269096,
        9216,
    ]


@QUICK
@given(groups)
def test_symbols_come_back_and_the_stack_is_as_before(group):
    bits = group["bits"]
    rng = np.random.default_rng(group["seed"])
    symbols = int(min(2**bits, rng.integers(1, 7)))
    tables = random_tables(rng, sum(group["sizes"]), symbols, bits)
    row = random_tables(rng, 1, symbols, bits)[0]
    shape = (len(tables), group["positions"])
    stack = Stack(group["lanes"], len(group["sizes"]))
    stack.begin(group["sizes"])
    pushed = []
    states = []
    for _ in range(3):
        states.append(stack.copy())
        x = rng.integers(0, symbols, len(tables))
        push_table(tables, x, bits, stack)
        y = rng.integers(0, symbols, shape)
        push_shared(row, y, bits, stack)
        pushed.append((x, y))
    for (x, y), before in zip(reversed(pushed), reversed(states)):
        assert (pop_shared(row, shape, bits, stack) == y).all()
        assert (pop_table(tables, bits, stack) == x).all()
        assert (stack.state == before.state).all() and (stack.count == before.count).all()
        for stream in range(stack.streams):
            height = stack.count[stream]
            assert (stack.words[stream, :height] == before.words[stream, :height]).all()
    assert stack.is_empty()


@QUICK
@given(groups)
def test_popping_first_gives_what_python_integers_give(group):
    """Bits back: random words, popped and pushed again, are the random words."""
    bits, lanes = group["bits"], group["lanes"]
    rng = np.random.default_rng(group["seed"])
    row = random_tables(rng, 1, int(min(2**bits, 5)), bits)[0]
    shape = (sum(group["sizes"]), group["positions"])
    stack = Stack.seeded(group["seed"], lanes, len(group["sizes"]))
    assert stack.bits() == 0
    before = stack.copy()
    stack.begin(group["sizes"])
    x = pop_shared(row, shape, bits, stack)
    assert stack.bits() <= 1e-9
    first = 0
    edges = [0, *np.cumsum(row).tolist()]
    for stream, size in enumerate(group["sizes"]):
        words = random_words(group["seed"], stream, 2 * lanes + size * shape[1])
        slow = SlowStream(lanes)
        slow.states = [(words[2 * l + 1] | 2**31) << 32 | words[2 * l] for l in range(lanes)]
        slow.words = words[2 * lanes :][::-1]
        for position in range(shape[1]):
            for index in range(size):
                assert slow.pop(index % lanes, find_in(edges), bits) == x[first + index, position]
        first += size
        assert slow.states == stack.state[stream].tolist()
    push_shared(row, x, bits, stack)
    assert (stack.state == before.state).all()
    assert abs(stack.bits()) < 1e-9


@pytest.mark.parametrize("chunks", [(40,), (1,) * 40, (3, 30, 7)])
def test_random_words_do_not_depend_on_when_they_are_laid_down(chunks):
    row = np.array([5, 251])
    plain = Stack.seeded(7, lanes=3, streams=2)
    plain.begin([20, 5])
    expected = pop_shared(row, (25, 40), 8, plain)
    stack = Stack.seeded(7, lanes=3, streams=2)
    stack.reserve(pushes=11, pops=1)
    stack.begin([20, 5])
    parts = []
    for chunk in chunks:
        stack.reserve(pops=chunk * 20 + 13)
        parts.append(pop_shared(row, (25, chunk), 8, stack))
    assert (np.concatenate(parts, axis=1) == expected).all()
    assert stack.bits() == pytest.approx(plain.bits())


def test_seeds_and_streams_differ_and_symbols_follow_their_frequencies():
    row = np.array([1, 2, 5]) * 2**21
    stacks = [Stack.seeded(seed, streams=2) for seed in (0, 1)]
    for stack in stacks:
        stack.begin([20000, 20000])
    a, b = (pop_shared(row, (40000, 1), 24, stack)[:, 0] for stack in stacks)
    for x, y in ((a, b), (a[:20000], a[20000:])):
        assert abs((x == y).mean() - (1 + 4 + 25) / 64) < 0.02
    assert np.abs(np.bincount(a, minlength=3) / 40000 - row / 2**24).max() < 0.015


def test_bits_spent_are_bits_promised():
    rng = np.random.default_rng(0)
    row = random_tables(rng, 1, 50, 24)[0]
    x = rng.choice(50, size=(100, 200), p=row / 2**24)
    stack = Stack()
    push_shared(row, x, 24, stack)
    promised = -np.log2(row[x] / 2**24).sum()
    assert abs(stack.bits() - promised) < 1e-6 * promised + 1
    assert 0 < 32 * len(stack.to_words()) - promised < 37 * 4 + 40


@pytest.mark.parametrize("lanes", [1, 4])
def test_an_exhausted_stack_raises(lanes):
    tables = np.full((6, 4), 64)
    stack = Stack(lanes)
    push_table(tables, np.arange(6) % 4, 8, stack)
    pop_table(tables, 8, stack)
    with pytest.raises(StackExhausted):
        for _ in range(40):
            pop_table(tables, 8, stack)
    slow = SlowStream(lanes)
    with pytest.raises(Exhausted):
        for _ in range(40):
            slow.pop(0, find_in([0, 64, 128, 192, 256]), 8)


def test_truncated_and_malformed_words():
    stack = Stack(lanes=3)
    push_intervals(np.zeros((9, 9), int), np.full((9, 9), 3), 20, stack)
    words = stack.to_words()
    for length in range(6):
        with pytest.raises(StackExhausted):
            Stack.from_words([words[:length]], 3)
    assert Stack(2).to_words().tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="zeros"):
        Stack.from_words([np.array([0, 0, 1 << 10], np.uint32)], 2)
    with pytest.raises(ValueError, match="no bottom"):
        Stack.seeded(1).to_words()


def test_wrong_use():
    for lanes, streams in ((0, 1), (5, 1), (1, 0)):
        with pytest.raises(ValueError, match="expected"):
            Stack(lanes, streams)
    with pytest.raises(ValueError, match="seed"):
        Stack.seeded(-1)
    stack = Stack(streams=2)
    with pytest.raises(ValueError, match="expected 2 sizes"):
        stack.begin([1])
    with pytest.raises(ValueError, match="expected 2 sizes"):
        stack.begin([1, -1])
    stack.begin([1, 2])
    with pytest.raises(ValueError, match="group of 3 items"):
        push_intervals(np.zeros((2, 1), int), np.ones((2, 1), int), 4, stack)


def test_a_copy_is_independent():
    stack = Stack()
    push_intervals(np.zeros((5, 50), int), np.full((5, 50), 1), 10, stack)
    twin = stack.copy()
    push_intervals(np.zeros((5, 50), int), np.full((5, 50), 1), 10, twin)
    assert twin.bits() == pytest.approx(2 * stack.bits())


def test_a_part_of_a_group_keeps_each_item_on_its_stream():
    whole = Stack.each_seeded(range(3), lanes=1)
    whole.begin([2, 1, 3])
    with whole.part(np.array([1, 3, 5])):
        assert whole.sizes.tolist() == [1, 0, 2]
        push_intervals(np.full((3, 1), 3), np.full((3, 1), 1), 3, whole)
    assert whole.sizes.tolist() == [2, 1, 3]
    assert whole.stream_bits() == pytest.approx([3, 0, 6], abs=1e-6)
    single = Stack(2)
    with single.part(np.array([4, 7])):
        single.hold(2)
        assert single.sizes.tolist() == [2]
