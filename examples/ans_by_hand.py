"""Asymmetric numeral systems by hand: uABS and rANS, first on one big integer, then in words of a few bits.

    python examples/ans_by_hand.py [--json FILE] [--plot FILE.png] [--length N] [--seed N]

A binary numeral puts a bit beneath a number by x -> 2 x + bit, and gets it back from x mod 2. The number grows by a
factor of 2, one bit, which is right if both bits are equally likely. Asymmetric numeral systems (Duda, "Asymmetric
numeral systems", arXiv:0902.0271 and arXiv:1311.2540) change one thing: a symbol of probability p makes the number
grow by a factor of 1 / p, so that it costs log2(1 / p) bits. The trick is to give each symbol its share of the natural
numbers, spread evenly: x becomes *the x-th number that belongs to the symbol*.

* uABS has two symbols, and spreads them as evenly as can be.
* rANS has any alphabet, and spreads its symbols in runs, the same in each block of 2^bits numbers.
* Streaming rANS keeps the number within bounds by moving its lowest bits to a list of words in time.

The last one does what ``codelength.coding`` does in compiled code, to the very words. A coder is a stack: what was
pushed last is popped first. So all encoders here take the message from its end, and decoders give it from its start.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from codelength.coding.categories import push_shared
from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, StackExhausted

# ---------------------------------------------------------------------------------------------------------------------
# 1. uABS: two symbols, probability of a one = ones / total.
#
# Let the ones own the numbers where ceil(x * p) takes a step, so that of the numbers below x, ceil(x * p) are ones
# and the remaining x - ceil(x * p) are zeros. A number's rank among its own kind is what remains after a pop.


def uabs_push(x: int, bit: int, ones: int, total: int) -> int:
    """The x-th number (from 0) that belongs to ``bit``: Duda 2009, uABS, with p = ones / total.

    x >= 0; 0 < ones < total. Raises NotRepresentable for anything but a bit.
    """
    if bit == 1:
        return x * total // ones  # floor(x / p)
    if bit == 0:
        return -(-(x + 1) * total // (total - ones)) - 1  # ceil((x + 1) / (1 - p)) - 1
    raise NotRepresentable(f"expected a bit, 0 or 1, got {bit}")


def uabs_pop(x: int, ones: int, total: int) -> tuple[int, int]:
    """(bit, x): whom the number belongs to, and its rank among that symbol's numbers."""
    below = -(-x * ones // total)  # ceil(x p): how many numbers below x belong to a one
    below_next = -(-(x + 1) * ones // total)
    if below_next > below:
        return 1, below
    return 0, x - below


def uabs_encode(message: Sequence[int], ones: int, total: int, start: int = 1) -> int:
    """The number that holds a message of bits, on top of ``start`` >= 1.

    Its logarithm exceeds log2(start) + sum of log2(1 / p(bit)) by at most log2(e) / (start * p): ones are rounded
    down, and zeros add at most log2(1 + 1 / x) each, while x grows by 1 / (1 - p) or more with each.
    Raises ValueError for a probability or a start out of range.
    """
    if not 0 < ones < total:
        raise ValueError(f"expected 0 < ones < total, got {ones} of {total}")
    if start < 1:
        raise ValueError(f"expected a start of at least 1, got {start}: a one leaves 0 as it is")
    x = start
    for bit in reversed(message):
        x = uabs_push(x, bit, ones, total)
    return x


def uabs_decode(x: int, length: int, ones: int, total: int) -> tuple[list[int], int]:
    """The message of this length, and the number that lay beneath it."""
    message = []
    for _ in range(length):
        bit, x = uabs_pop(x, ones, total)
        message.append(bit)
    return message, x


# ---------------------------------------------------------------------------------------------------------------------
# 2. rANS: any alphabet. Of each block of 2^bits numbers, symbol s owns a run of freqs[s], from starts[s] on. So the
# x-th number of s lies in block x div freqs[s], at place starts[s] + x mod freqs[s].


@dataclass(frozen=True)
class Table:
    """Integer frequencies with sum 2^bits; symbol s has probability freqs[s] / 2^bits.

    Raises ValueError for frequencies that are not positive or do not add up.
    """

    freqs: tuple[int, ...]
    bits: int
    starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.bits < 0 or not self.freqs or min(self.freqs) < 1 or sum(self.freqs) != 1 << self.bits:
            raise ValueError(f"expected positive frequencies with sum 2^{self.bits}, got {self.freqs}")
        object.__setattr__(self, "starts", tuple(accumulate(self.freqs, initial=0))[:-1])

    def check(self, message: Sequence[int]) -> None:
        """Raise NotRepresentable for a symbol outside the alphabet."""
        for symbol in message:
            if not 0 <= symbol < len(self.freqs):
                raise NotRepresentable(f"expected symbols from 0 to {len(self.freqs) - 1}, got {symbol}")

    def code_length(self, message: Sequence[int]) -> float:
        """Bits that the message costs under these frequencies: the sum of log2(2^bits / freq)."""
        costs = [self.bits - math.log2(freq) for freq in self.freqs]
        return math.fsum(costs[symbol] for symbol in message)


def rans_push(x: int, symbol: int, table: Table) -> int:
    """The x-th number (from 0) that belongs to ``symbol``: Duda 2013, section 3.2, rANS."""
    block, place = divmod(x, table.freqs[symbol])
    return (block << table.bits) + table.starts[symbol] + place


def rans_pop(x: int, table: Table) -> tuple[int, int]:
    """(symbol, x): whom the number belongs to, and its rank among that symbol's numbers."""
    block, slot = x >> table.bits, x & ((1 << table.bits) - 1)
    symbol = bisect_right(table.starts, slot) - 1
    return symbol, block * table.freqs[symbol] + slot - table.starts[symbol]


def rans_encode(message: Sequence[int], table: Table, start: int | None = None) -> int:
    """The number that holds the message, on top of ``start`` (2^bits unless given).

    A push multiplies x by 2^bits / freq, give or take a relative error of at most 2^bits / (4 x): in units of the
    place within a block, it is wrong by less than 2^bits - freq. As x grows, the errors fade away.
    Raises NotRepresentable for a symbol outside the alphabet, ValueError for a start below 1.
    """
    table.check(message)
    x = 1 << table.bits if start is None else start
    if x < 1:
        raise ValueError(f"expected a start of at least 1, got {x}")
    for symbol in reversed(message):
        x = rans_push(x, symbol, table)
    return x


def rans_decode(x: int, length: int, table: Table) -> tuple[list[int], int]:
    """The message of this length, and the number that lay beneath it."""
    message = []
    for _ in range(length):
        symbol, x = rans_pop(x, table)
        message.append(symbol)
    return message, x


# ---------------------------------------------------------------------------------------------------------------------
# 3. Streaming rANS. Arithmetic on a number as long as the message takes time quadratic in its length. So keep the state
# within [lower, lower * 2^word_bits): before a push that would leave this interval at the top, move words of the lowest
# bits out; after a pop that left it at the bottom, move words back in. Since lower is a multiple of 2^bits, there is
# just one number of words with which a push ends inside, and the decoder undoes exactly what the encoder did.


@dataclass(frozen=True)
class Renormalisation:
    """States x with 2^lower_bits <= x < 2^(lower_bits + word_bits), and words of word_bits.

    Raises ValueError for less than one bit a word or a negative lower_bits.
    """

    lower_bits: int = 32
    word_bits: int = 32

    def __post_init__(self) -> None:
        if self.word_bits < 1 or self.lower_bits < 0:
            raise ValueError(f"expected at least 1 bit a word and lower_bits >= 0, got {self}")

    def check(self, table: Table) -> None:
        """Raise ValueError unless the lowest state is a multiple of the table's total."""
        if self.lower_bits < table.bits:
            raise ValueError(f"expected lower_bits >= {table.bits}, the bits of the table, got {self.lower_bits}")


@dataclass(frozen=True)
class Stream:
    """What a streaming coder holds: words, bottom first, and a state on top of them."""

    words: tuple[int, ...]
    state: int

    def content_bits(self, renormalisation: Renormalisation) -> float:
        """Bits beyond those of an empty stream: the words and the growth of the state."""
        word_bits, lower_bits = renormalisation.word_bits, renormalisation.lower_bits
        return len(self.words) * word_bits + math.log2(self.state) - lower_bits

    def size(self, renormalisation: Renormalisation) -> int:
        """Bits to write down the words and the state as it is, with its leading zeros."""
        return (len(self.words) + 1) * renormalisation.word_bits + renormalisation.lower_bits


def stream_encode(message: Sequence[int], table: Table, renormalisation: Renormalisation | None = None) -> Stream:
    """Push the message onto an empty stream.

    With 32 lower bits and words of 32 (the default) this is one lane of ``codelength.coding.stack``. content_bits
    exceeds the message's code length by at most log2(e) * 2^(bits - lower_bits) a symbol, for a push finds the state
    at freq * 2^(lower_bits - bits) or above, and adds less than 2^bits to what it should become.
    Raises NotRepresentable for a symbol outside the alphabet, ValueError for a table finer than the states.
    """
    how = renormalisation or Renormalisation()
    how.check(table)
    table.check(message)
    x, words, mask = 1 << how.lower_bits, [], (1 << how.word_bits) - 1
    shift = how.lower_bits - table.bits + how.word_bits
    for symbol in reversed(message):
        while x >= table.freqs[symbol] << shift:
            words.append(x & mask)
            x >>= how.word_bits
        x = rans_push(x, symbol, table)
    return Stream(tuple(words), x)


def stream_decode(
    stream: Stream, length: int, table: Table, renormalisation: Renormalisation | None = None
) -> tuple[list[int], Stream]:
    """The message of this length, and the stream that lay beneath it.

    Raises StackExhausted when words run out, ValueError for a table finer than the states.
    """
    how = renormalisation or Renormalisation()
    how.check(table)
    x, words = stream.state, list(stream.words)
    message: list[int] = []
    for _ in range(length):
        symbol, x = rans_pop(x, table)
        while x < 1 << how.lower_bits:
            if not words:
                raise StackExhausted(f"expected {length} symbols in the stream, it ends after {len(message)}")
            x = x << how.word_bits | words.pop()
        message.append(symbol)
    return message, Stream(tuple(words), x)


# ---------------------------------------------------------------------------------------------------------------------
# 4. From probabilities to frequencies: the table that wastes least.


def quantise(probabilities: Sequence[float], bits: int) -> Table:
    """The table of 2^bits nearest to the probabilities (positive, sum 1): none has a smaller divergence from them.

    The divergence falls by p * log((f + 1) / f) with each unit given to a symbol, less with every further one, so it
    is best to give each unit to whom it serves most. Symbols are first given their rounded shares, which saves most
    of the steps, and units change hands for as long as that helps.
    Raises ValueError if there are fewer units than symbols or a probability is not positive.
    """
    total = 1 << bits
    if len(probabilities) > total:
        raise ValueError(f"expected at most 2^{bits} symbols, got {len(probabilities)}: take more bits")
    if min(probabilities) <= 0:
        raise ValueError(f"expected positive probabilities, got {min(probabilities)}")
    freqs = [max(1, math.floor(p * total)) for p in probabilities]

    def gain(s: int) -> float:
        return probabilities[s] * math.log1p(1 / freqs[s])

    def loss(s: int) -> float:
        return probabilities[s] * math.log1p(1 / (freqs[s] - 1)) if freqs[s] > 1 else math.inf

    # Largest gains, smallest losses; an entry whose value has changed since is out of date and thrown away.
    gains = [(-gain(s), s) for s in range(len(freqs))]
    losses = [(loss(s), s) for s in range(len(freqs))]
    heapq.heapify(gains)
    heapq.heapify(losses)

    def change(s: int, by: int) -> None:
        freqs[s] += by
        heapq.heappush(gains, (-gain(s), s))
        heapq.heappush(losses, (loss(s), s))

    spare = total - sum(freqs)
    while True:
        while gains[0][0] != -gain(gains[0][1]):
            heapq.heappop(gains)
        while losses[0][0] != loss(losses[0][1]):
            heapq.heappop(losses)
        (best, taker), (least, giver) = gains[0], losses[0]
        if spare > 0:
            change(taker, 1)
            spare -= 1
        elif spare < 0:
            change(giver, -1)
            spare += 1
        elif -best > least * (1 + 1e-12):  # more than a difference in rounding, so that no unit goes to and fro
            change(taker, 1)
            change(giver, -1)
        else:
            return Table(tuple(freqs), bits)


def entropy(probabilities: Sequence[float]) -> float:
    """Bits a symbol."""
    return -math.fsum(p * math.log2(p) for p in probabilities)


def divergence(probabilities: Sequence[float], table: Table) -> float:
    """Kullback-Leibler divergence of the table from the probabilities: bits wasted a symbol."""
    return math.fsum(p * (math.log2(p / f) + table.bits) for p, f in zip(probabilities, table.freqs))


def zipf(symbols: int) -> list[float]:
    """Probabilities proportional to 1, 1/2, 1/3, ..."""
    total = math.fsum(1 / k for k in range(1, symbols + 1))
    return [1 / (k * total) for k in range(1, symbols + 1)]


# ---------------------------------------------------------------------------------------------------------------------
# 5. The production coder on the same message.


def production_stack(message: Sequence[int], table: Table) -> Stack:
    """A stack of one lane with the message on it. Raises NotRepresentable for a symbol outside the alphabet."""
    stack = Stack(lanes=1)
    push_shared(np.array(table.freqs), np.array(message, np.int64)[:, None], table.bits, stack)
    return stack


def production_size(message: Sequence[int], table: Table) -> int:
    """Bits of the file that the production coder writes: whole words, and its state packed into them."""
    return 32 * len(production_stack(message, table).to_words())


# ---------------------------------------------------------------------------------------------------------------------
# 6. Experiments. Each returns curves, lists of equal length.

SYMBOLS = 32
TABLE_BITS = 12
ONES, TOTAL = 1, 10  # of uABS's message


def size_over_length(longest: int, seed: int) -> dict[str, Any]:
    """Size in bits, and its ratio to the code length, for the first 1, 4, 16, ... symbols of one message.

    What a coder adds is bounded, the size of its start and end (and of uABS's first, rough steps, since it starts
    from 1). So each ratio falls to 1 like 1 / length.
    """
    rng = random.Random(seed)
    table = quantise(zipf(SYMBOLS), TABLE_BITS)
    message = rng.choices(range(SYMBOLS), table.freqs, k=longest)
    bits = [int(rng.random() * TOTAL < ONES) for _ in range(longest)]
    how = Renormalisation()
    sizes: dict[str, Callable[[int], int]] = {
        "uabs": lambda n: uabs_encode(bits[:n], ONES, TOTAL).bit_length(),
        "rans": lambda n: rans_encode(message[:n], table).bit_length(),
        "streaming": lambda n: stream_encode(message[:n], table, how).size(how),
        "production": lambda n: production_size(message[:n], table),
    }
    lengths = [4**k for k in range(1 + int(math.log(longest, 4) + 1e-9))]
    binary_costs = [math.log2(TOTAL / (TOTAL - ONES)), math.log2(TOTAL / ONES)]
    ideal_binary = [math.fsum(binary_costs[bit] for bit in bits[:n]) for n in lengths]
    ideal = [table.code_length(message[:n]) for n in lengths]
    curves: dict[str, Any] = {
        "length": lengths,
        "entropy_bits_per_symbol": entropy([freq / 2**TABLE_BITS for freq in table.freqs]),
        "binary_entropy_bits_per_symbol": entropy([ONES / TOTAL, 1 - ONES / TOTAL]),
        "code_length_bits": ideal,
        "binary_code_length_bits": ideal_binary,
        "size_bits": {name: [size(n) for n in lengths] for name, size in sizes.items()},
    }
    curves["ratio"] = {
        name: [size / best for size, best in zip(values, ideal_binary if name == "uabs" else ideal)]
        for name, values in curves["size_bits"].items()
    }
    return curves


def size_over_quantisation(length: int, seed: int) -> dict[str, Any]:
    """Bits a symbol beyond the entropy's cost, for frequencies of 5 to 16 bits: expected, and of one message.

    The expected excess is the divergence. It never rises with the bits, for doubling every frequency of a table
    gives one of the next, and it falls about fourfold with each.
    """
    probabilities = zipf(SYMBOLS)
    message = random.Random(seed).choices(range(SYMBOLS), probabilities, k=length)
    ideal = math.fsum(-math.log2(probabilities[symbol]) for symbol in message)
    tables = [quantise(probabilities, bits) for bits in range(SYMBOLS.bit_length() - 1, 17)]
    how = Renormalisation()
    return {
        "quantisation_bits": [table.bits for table in tables],
        "length": length,
        "entropy_bits_per_symbol": entropy(probabilities),
        "expected_excess_bits_per_symbol": [divergence(probabilities, table) for table in tables],
        "measured_excess_bits_per_symbol": [
            (stream_encode(message, table, how).content_bits(how) - ideal) / length for table in tables
        ],
    }


def size_over_renormalisation(length: int, seed: int) -> dict[str, Any]:
    """Bits a symbol beyond the code length, for states that start 0 to 8 bits above the table's, and three words.

    The bound is that of ``stream_encode`` and halves with each bit. The excess is far below and falls faster, for a
    push errs upwards as often as downwards but for small states being likelier than large ones; soon nothing is left
    but the noise of one message, of either sign.
    """
    table = quantise(zipf(SYMBOLS), 8)
    message = random.Random(seed).choices(range(SYMBOLS), table.freqs, k=length)
    ideal = table.code_length(message)
    slack = list(range(9))
    excess: dict[str, list[float]] = {}
    for word_bits in (1, 8, 16):
        ways = [Renormalisation(table.bits + extra, word_bits) for extra in slack]
        excess[str(word_bits)] = [
            (stream_encode(message, table, how).content_bits(how) - ideal) / length for how in ways
        ]
    return {
        "state_bits_beyond_table": slack,
        "table_bits": table.bits,
        "length": length,
        "bound_bits_per_symbol": [math.log2(math.e) * 2.0**-extra for extra in slack],
        "excess_bits_per_symbol_by_word_bits": excess,
    }


def experiments(length: int = 1 << 14, seed: int = 0) -> dict[str, Any]:
    """All curves, fit for JSON. ``length`` is that of the longest message."""
    return {
        "seed": seed,
        "message_length": size_over_length(length, seed),
        "quantisation": size_over_quantisation(length, seed),
        "renormalisation": size_over_renormalisation(length, seed),
    }


def report(curves: dict[str, Any]) -> str:
    """The curves as three tables."""
    by_length, by_table, by_state = (curves[name] for name in ("message_length", "quantisation", "renormalisation"))
    names = list(by_length["ratio"])
    lines = ["size / code length", "symbols".rjust(10) + "".join(name.rjust(12) for name in names)]
    for i, n in enumerate(by_length["length"]):
        lines.append(f"{n:10d}" + "".join(f"{by_length['ratio'][name][i]:12.4f}" for name in names))
    lines += ["", "bits a symbol beyond the entropy, by bits of the frequencies", "      bits    expected    measured"]
    expected, measured = (by_table[f"{kind}_excess_bits_per_symbol"] for kind in ("expected", "measured"))
    for bits, first, second in zip(by_table["quantisation_bits"], expected, measured):
        lines.append(f"{bits:10d}{first:12.6f}{second:12.6f}")
    words = by_state["excess_bits_per_symbol_by_word_bits"]
    lines += ["", "bits a symbol beyond the code length, by bits of the lowest state beyond the table's"]
    lines.append("      bits       bound" + "".join(f"{word + '-bit words':>14}" for word in words))
    for i, extra in enumerate(by_state["state_bits_beyond_table"]):
        row = "".join(f"{values[i]:14.7f}" for values in words.values())
        lines.append(f"{extra:10d}{by_state['bound_bits_per_symbol'][i]:12.6f}" + row)
    return "\n".join(lines)


def plot(curves: dict[str, Any], path: Path) -> None:
    """Draw the three experiments side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    by_length, by_table, by_state = (curves[name] for name in ("message_length", "quantisation", "renormalisation"))
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for name, ratios in by_length["ratio"].items():
        left.loglog(
            by_length["length"], [ratio - 1 for ratio in ratios], "x--" if name == "production" else "o-", label=name
        )
    left.set(xlabel="symbols", ylabel="size / code length - 1", title="message length")
    for kind, style in (("expected", "-"), ("measured", "o")):
        values = by_table[f"{kind}_excess_bits_per_symbol"]
        middle.semilogy(by_table["quantisation_bits"], [abs(value) for value in values], style, label=kind)
    middle.set(xlabel="bits of the frequencies", ylabel="bits a symbol beyond entropy", title="quantisation")
    slack = by_state["state_bits_beyond_table"]
    right.semilogy(slack, by_state["bound_bits_per_symbol"], "k--", label="bound")
    for word, values in by_state["excess_bits_per_symbol_by_word_bits"].items():
        right.semilogy(slack, [abs(value) for value in values], "o-", label=f"{word}-bit words")
    right.set(xlabel="state bits beyond the table's", ylabel="|excess|, bits a symbol", title="renormalisation")
    for axes in (left, middle, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Asymmetric numeral systems by hand: sizes against the entropy.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the curves")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves (needs matplotlib)")
    parser.add_argument("--length", type=int, default=1 << 14, help="symbols of the longest message (default 16384)")
    parser.add_argument("--seed", type=int, default=0, help="of the messages (default 0)")
    options = parser.parse_args(arguments)
    if options.length < 1:
        parser.error(f"expected a length of at least 1, got {options.length}")
    curves = experiments(options.length, options.seed)
    print(report(curves))
    if options.json:
        options.json.write_text(json.dumps(curves, indent=1) + "\n")
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
