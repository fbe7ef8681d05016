"""Asymmetric numeral systems by hand: round trips, sizes against stated bounds, the production coder, the curves."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from example_modules import EXAMPLES, load_example
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.errors import NotRepresentable, StackExhausted

EXAMPLE = EXAMPLES / "ans_by_hand.py"
ans = load_example("ans_by_hand")

LOG2_E = math.log2(math.e)
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def tables(draw):
    """Any table of at most 12 bits: where the intervals begin is drawn."""
    bits = draw(st.integers(1, 12))
    cuts = draw(st.sets(st.integers(1, 2**bits - 1), max_size=8))
    edges = [0, *sorted(cuts), 2**bits]
    return ans.Table(tuple(b - a for a, b in zip(edges, edges[1:])), bits)


@st.composite
def messages(draw, table):
    return draw(st.lists(st.integers(0, len(table.freqs) - 1), max_size=80))


# ---------------------------------------------------------------------------------------------------------
# uABS


@pytest.mark.parametrize("ones, total", [(1, 2), (1, 10), (3, 7), (9, 10), (1, 1000)])
def test_uabs_numbers_each_symbols_numbers_in_turn(ones: int, total: int) -> None:
    """By enumeration: a push gives the x-th number that a pop assigns to the symbol, and a share p are ones."""
    owners = [ans.uabs_pop(x, ones, total)[0] for x in range(3000)]
    for bit in (0, 1):
        own = [x for x, owner in enumerate(owners) if owner == bit]
        assert [ans.uabs_push(rank, bit, ones, total) for rank in range(len(own))] == own
    for x in range(0, 3000, 97):
        assert abs(sum(owners[:x]) - x * ones / total) < 1


@QUICK
@given(st.data())
def test_uabs_gives_back_what_was_pushed_and_what_lay_beneath(data) -> None:
    total = data.draw(st.integers(2, 1 << 16))
    ones = data.draw(st.integers(1, total - 1))
    message = data.draw(st.lists(st.integers(0, 1), max_size=80))
    start = data.draw(st.integers(1, 1 << 40))
    x = ans.uabs_encode(message, ones, total, start)
    assert ans.uabs_decode(x, len(message), ones, total) == (message, start)

    probability = ones / total
    ideal = -math.fsum(math.log2(probability if bit else 1 - probability) for bit in message)
    assert math.log2(x) - math.log2(start) <= ideal + LOG2_E / (start * probability) + 1e-6


def test_uabs_on_a_large_start_costs_the_entropy() -> None:
    rng = random.Random(3)
    message = [int(rng.random() < 0.1) for _ in range(2000)]
    ideal = sum(math.log2(10 if bit else 10 / 9) for bit in message)
    x = ans.uabs_encode(message, 1, 10, 1 << 64)
    # From a start of 2^64 every step is right to a factor 1 +- 2^-63, and the logarithm to 2^-40.
    assert math.log2(x) - 64 == pytest.approx(ideal, abs=1e-8)


def test_uabs_refuses_what_it_cannot_code() -> None:
    with pytest.raises(NotRepresentable, match="got 2"):
        ans.uabs_encode([0, 2], 1, 3)
    with pytest.raises(ValueError, match="ones < total"):
        ans.uabs_encode([0], 3, 3)
    with pytest.raises(ValueError, match="start"):
        ans.uabs_encode([0], 1, 3, start=0)


# ---------------------------------------------------------------------------------------------------------
# rANS


def test_rans_numbers_each_symbols_numbers_in_turn() -> None:
    table = ans.Table((3, 1, 4), 3)
    owners = [symbol for _ in range(20) for symbol, freq in enumerate(table.freqs) for _ in range(freq)]
    for symbol in range(3):
        own = [x for x, owner in enumerate(owners) if owner == symbol]
        assert [ans.rans_push(rank, symbol, table) for rank in range(len(own))] == own
        assert [ans.rans_pop(x, table) for x in own] == [(symbol, rank) for rank in range(len(own))]


@QUICK
@given(st.data())
def test_rans_gives_back_what_was_pushed_and_what_lay_beneath(data) -> None:
    table = data.draw(tables())
    message = data.draw(messages(table))
    start = data.draw(st.integers(1, 1 << 40))
    x = ans.rans_encode(message, table, start)
    assert ans.rans_decode(x, len(message), table) == (message, start)


@QUICK
@given(st.data())
def test_rans_costs_the_code_length(data) -> None:
    table = data.draw(tables())
    message = data.draw(messages(table))
    start = 1 << (table.bits + data.draw(st.integers(0, 20)))
    bits = math.log2(ans.rans_encode(message, table, start)) - math.log2(start)
    # Relative errors are at most total / (4 x), at most 1/4 (so their logarithms at most 4/3 of that), and x never
    # falls below the start.
    bound = len(message) * 4 / 3 * LOG2_E * 2**table.bits / (4 * start)
    assert abs(bits - table.code_length(message)) <= bound + 1e-6


# ---------------------------------------------------------------------------------------------------------
# Streaming rANS


@QUICK
@given(st.data())
def test_streams_give_back_what_was_pushed_and_stay_within_bounds(data) -> None:
    table = data.draw(tables())
    message = data.draw(messages(table))
    how = ans.Renormalisation(table.bits + data.draw(st.integers(0, 24)), data.draw(st.integers(1, 32)))
    stream = ans.stream_encode(message, table, how)
    assert 1 << how.lower_bits <= stream.state < 1 << (how.lower_bits + how.word_bits)
    assert all(0 <= word < 1 << how.word_bits for word in stream.words)
    back, beneath = ans.stream_decode(stream, len(message), table, how)
    assert back == message
    assert beneath == ans.Stream((), 1 << how.lower_bits)

    bound = len(message) * LOG2_E * 2.0 ** (table.bits - how.lower_bits)
    assert stream.content_bits(how) <= table.code_length(message) + bound + 1e-6


def test_a_stream_can_be_read_in_parts() -> None:
    table = ans.quantise(ans.zipf(6), 8)
    message = random.Random(1).choices(range(6), table.freqs, k=300)
    stream = ans.stream_encode(message, table)
    first, rest = ans.stream_decode(stream, 100, table)
    second, _ = ans.stream_decode(rest, 200, table)
    assert first + second == message


def test_streams_refuse_what_they_cannot_code() -> None:
    table = ans.Table((3, 1), 2)
    with pytest.raises(StackExhausted, match="ends after"):
        ans.stream_decode(ans.stream_encode([1, 0], table), 400, table)
    with pytest.raises(ValueError, match="lower_bits >= 2"):
        ans.stream_encode([0], table, ans.Renormalisation(1, 8))
    with pytest.raises(ValueError, match="1 bit a word"):
        ans.Renormalisation(8, 0)
    for encode in (ans.rans_encode, ans.stream_encode):
        with pytest.raises(NotRepresentable, match="got 2"):
            encode([0, 2], table)
    for freqs in ((3, 2), (4, 0), ()):
        with pytest.raises(ValueError, match="sum 2\\^2"):
            ans.Table(freqs, 2)


@pytest.mark.parametrize("length", [0, 1, 10, 1000, 3000])
def test_the_three_agree_on_the_size_within_few_words(length: int) -> None:
    table = ans.quantise(ans.zipf(40), 12)
    message = random.Random(length).choices(range(40), table.freqs, k=length)
    how = ans.Renormalisation()
    stream = ans.stream_encode(message, table, how)
    production = ans.production_stack(message, table)

    # The streaming coder is the production coder, word for word.
    assert production.words[0, : production.count[0]].tolist() == list(stream.words)
    assert int(production.state[0, 0]) == stream.state
    assert production.bits() == pytest.approx(stream.content_bits(how), abs=1e-6)

    sizes = [ans.rans_encode(message, table).bit_length(), stream.size(how), ans.production_size(message, table)]
    ideal = table.code_length(message)
    assert all(ideal <= size <= ideal + 3 * 32 for size in sizes)
    assert max(sizes) - min(sizes) <= 3 * 32


# ---------------------------------------------------------------------------------------------------------
# Tables


@pytest.mark.parametrize("seed", range(5))
def test_no_table_is_nearer_than_the_quantised_one(seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet([0.4] * 4).clip(1e-6)
    probabilities = (probabilities / probabilities.sum()).tolist()
    best = min(
        ans.divergence(probabilities, ans.Table((a, b - a, c - b, 32 - c), 5))
        for a, b, c in combinations(range(1, 32), 3)
    )
    assert ans.divergence(probabilities, ans.quantise(probabilities, 5)) == pytest.approx(best, abs=1e-12)


def test_exact_probabilities_stay_what_they_are() -> None:
    assert ans.quantise([0.5, 0.25, 0.125, 0.125], 6).freqs == (32, 16, 8, 8)
    assert ans.quantise([0.7, 0.2, 0.1], 2).freqs == (2, 1, 1)
    with pytest.raises(ValueError, match="more bits"):
        ans.quantise([0.25] * 4, 1)
    with pytest.raises(ValueError, match="positive probabilities"):
        ans.quantise([1.0, 0.0], 3)


# ---------------------------------------------------------------------------------------------------------
# The program and its curves


@pytest.fixture(scope="module")
def curves(tmp_path_factory) -> dict:
    """The program's JSON, as a user gets it, for messages of 4^6 symbols."""
    path = tmp_path_factory.mktemp("curves") / "curves.json"
    command = [sys.executable, str(EXAMPLE), "--json", str(path), "--length", "4096"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "size / code length" in done.stdout
    return json.loads(path.read_text())


def test_the_curves_are_those_of_the_seed(curves: dict) -> None:
    assert curves["quantisation"] == ans.size_over_quantisation(4096, curves["seed"])
    assert curves["quantisation"] != ans.size_over_quantisation(4096, curves["seed"] + 1)


def test_sizes_fall_to_the_entropy_as_messages_grow(curves: dict) -> None:
    found = curves["message_length"]
    assert found["length"] == [4**k for k in range(7)]
    # Beside the code length: big integers their start, rounded up to a bit (and uABS the errors of its first steps,
    # log2(e) / p bits at most); streams their last state, which holds 32 bits at least when it is written in 64.
    most = {"uabs": 2 + 10 * LOG2_E, "rans": 14.5, "streaming": 64.1, "production": 96.1}
    for name, bound in most.items():
        ideal = found["binary_code_length_bits" if name == "uabs" else "code_length_bits"]
        ratio = found["ratio"][name]
        assert all(best - 1 <= size <= best + bound for size, best in zip(found["size_bits"][name], ideal)), name
        # What the others add stays within a factor of 4 of itself, and lengths grow by 4. uABS starts from 1, so that
        # its first steps are rough, and it is only held to the falling bound above.
        if name != "uabs":
            assert all(later < earlier for earlier, later in zip(ratio, ratio[1:])), name
        assert ratio[-1] == pytest.approx(1, abs=bound / ideal[-1]), name
    # And the code length is what the entropy says, within a few standard deviations of a mean of 4096.
    assert found["code_length_bits"][-1] / 4096 == pytest.approx(found["entropy_bits_per_symbol"], rel=0.03)


def test_finer_frequencies_waste_less_down_to_nothing(curves: dict) -> None:
    found = curves["quantisation"]
    expected, measured = found["expected_excess_bits_per_symbol"], found["measured_excess_bits_per_symbol"]
    assert found["quantisation_bits"] == list(range(5, 17))
    assert all(0 <= later <= earlier for earlier, later in zip(expected, expected[1:]))
    assert expected[0] == pytest.approx(5 - found["entropy_bits_per_symbol"])  # 32 symbols of 5 bits: uniform
    assert expected[-1] < 1e-6
    # One message differs from the expectation by the spread of log2(p / q), at most sqrt(2 / n) * sqrt(divergence)
    # or so in units of a bit, with four standard deviations of it.
    for one, mean in zip(measured, expected):
        assert abs(one - mean) < 4 * math.sqrt(2 * LOG2_E * mean / found["length"]) + 1e-5


def test_larger_states_waste_less_down_to_nothing(curves: dict) -> None:
    found = curves["renormalisation"]
    bound = found["bound_bits_per_symbol"]
    assert bound == [pytest.approx(LOG2_E / 2**extra) for extra in found["state_bits_beyond_table"]]
    for word, excess in found["excess_bits_per_symbol_by_word_bits"].items():
        assert all(value <= most for value, most in zip(excess, bound)), word
        assert all(later < earlier for earlier, later in zip(excess[:3], excess[1:4])), word
        assert abs(excess[-1]) < 1e-4, word
    # Coarser words leave the state larger on average, which is why they waste less from the same lower end.
    one, eight, sixteen = (found["excess_bits_per_symbol_by_word_bits"][word][0] for word in ("1", "8", "16"))
    assert one > eight > sixteen > 0


def test_the_plot_is_drawn(curves: dict, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ans.plot(curves, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_but_plots_needs_matplotlib() -> None:
    code = (
        "import sys, runpy; sys.modules['matplotlib'] = None; sys.argv = ['x', '--length', '4']; "
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
