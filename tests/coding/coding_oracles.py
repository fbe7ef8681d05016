"""Slow and obvious versions of the coder, in Python integers: the judges of the fast ones."""

from __future__ import annotations

import hashlib
from itertools import accumulate

import numpy as np

from codelength.coding.frequencies import Leaf
from codelength.coding.logarithm import exp2_fixed, log2_fixed
from codelength.coding.tables import DECAY, EXP2, INVERSE_SCALE, LOGISTIC, NORMAL


class Exhausted(Exception):
    pass


class SlowStream:
    """One stream: a list of words and a list of states, by the rules at the head of ``coding/stack.py``."""

    def __init__(self, lanes: int) -> None:
        self.states = [1 << 32] * lanes
        self.words: list[int] = []

    def push(self, lane: int, start: int, freq: int, bits: int) -> None:
        if freq == 1 << bits:
            return
        x = self.states[lane]
        if x >= freq << (64 - bits):
            self.words.append(x % 2**32)
            x //= 2**32
        self.states[lane] = x // freq * 2**bits + x % freq + start
        assert 2**32 <= self.states[lane] < 2**64

    def pop(self, lane: int, find, bits: int) -> int:
        x = self.states[lane]
        slot = x % 2**bits
        symbol, start, freq = find(slot)
        assert start <= slot < start + freq
        if freq == 1 << bits:
            return symbol
        x = freq * (x // 2**bits) + slot - start
        if x < 2**32:
            if not self.words:
                raise Exhausted
            x = x * 2**32 + self.words.pop()
        self.states[lane] = x
        return symbol

    def serialised(self) -> list[int]:
        """The words of ``Stack.to_words``."""
        string = ""  # lowest bit first
        for state in self.states:
            string += format((state >> 32).bit_length() - 1, "05b")[::-1]
        for state in self.states:
            string += format(state >> 32, "b")[1:][::-1]
        string += "0" * (-len(string) % 32)
        packed = [int(string[i : i + 32][::-1], 2) for i in range(0, len(string), 32)]
        return [state % 2**32 for state in self.states] + packed + self.words[::-1]


def random_words(seed: int, stream: int, count: int) -> list[int]:
    """The words below a seeded stack."""
    data = b"codelength stack" + seed.to_bytes(8, "little") + stream.to_bytes(8, "little")
    digest = hashlib.shake_256(data).digest(4 * count)
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(count)]


def tail(table: np.ndarray, knots_per_unit: int, u: int) -> int:
    """Linear interpolation at u / 2^20."""
    width = 2**20 // knots_per_unit
    j, r = divmod(u, width)
    if j >= len(table) - 1:
        return 0
    left, right = int(table[j]), int(table[j + 1])
    return left - (left - right) * r // width


def cumulative(leaf: Leaf, params: list[int]) -> list[int]:
    """C(0), ..., C(A), by the rules at the head of ``coding/frequencies.py``."""
    total, symbols = 2**leaf.bits, leaf.symbols
    one = 2**30

    def clamp(value: int, low: int, high: int) -> int:
        return min(max(value, low), high)

    if leaf.family == "bernoulli":
        logit = clamp(params[0], -16384, 16384)
        value = tail(LOGISTIC, 64, abs(logit) * 1024)
        value = value if logit >= 0 else one - value
        return [0, (value * (total - 2) >> 30) + 1, total]

    if leaf.family == "categorical":
        logits = [clamp(value, -(2**22), 2**22) for value in params]
        width = min(30, 62 - leaf.bits - (symbols - 1).bit_length())
        weights = [tail(DECAY, 64, (max(logits) - logit) * 1024) >> (30 - width) for logit in logits]
        sums = [0, *accumulate(weights)]
        return [sums[x] * (total - symbols) // sums[-1] + x for x in range(symbols + 1)]

    if leaf.family == "beta_binomial":
        rising = [beta_binomial_logs(clamp(value, -16384, 14336), symbols) for value in params]
        lengths = [a + b for a, b in zip(rising[0], reversed(rising[1]))]
        greatest = max(lengths)
        sums = [0, *accumulate(int(exp2_fixed(greatest - length)) for length in lengths)]
        shift = max(0, sums[-1].bit_length() - (62 - leaf.bits))
        return [(sums[x] >> shift) * (total - symbols) // (sums[-1] >> shift) + x for x in range(symbols + 1)]

    if leaf.family == "gaussian":
        count, weights, table, knots = 1, [2**20], NORMAL, 128
    else:
        count, table, knots = leaf.components, LOGISTIC, 64
        logits = [clamp(value, -(2**22), 2**22) for value in params[:count]]
        exponentials = [tail(DECAY, 64, (max(logits) - logit) * 4096) for logit in logits]
        weights = [value * 2**20 // sum(exponentials) for value in exponentials]
        weights[logits.index(max(logits))] += 2**20 - sum(weights)
    means = [clamp(value, -64 * symbols, 128 * symbols) for value in params[-2 * count : -count]]
    scales = [int(INVERSE_SCALE[clamp(value, -1024, 3072) + 1024]) for value in params[-count:]]
    result = [0]
    for x in range(1, symbols):
        mixed = 0
        for weight, mean, scale in zip(weights, means, scales):
            d = 64 * x - 32 - mean
            value = tail(table, knots, abs(d) * scale >> 16)
            mixed += weight * (value if d <= 0 else one - value)
        result.append(((mixed >> 16) * (total - symbols) >> 34) + x)
    return [*result, total]


def beta_binomial_logs(parameter: int, symbols: int) -> list[int]:
    """log2 of a (a + 1) ... (a + x - 1) / x! for x = 0 .. A - 1, in units of 2^-20."""
    whole, part = divmod(-parameter, 1024)
    shape = int(EXP2[part]) * 2**40 // 2 ** (30 + whole) if whole >= -30 else 0
    assert shape
    steps = [int(log2_fixed(i * 2**40 + shape)) - int(log2_fixed((i + 1) * 2**40)) for i in range(symbols - 1)]
    return [0, *accumulate(steps)]


def find_in(boundaries: list[int]):
    """A ``find`` for ``SlowStream.pop``: linear search."""

    def find(slot: int) -> tuple[int, int, int]:
        x = max(i for i in range(len(boundaries) - 1) if boundaries[i] <= slot)
        return x, boundaries[x], boundaries[x + 1] - boundaries[x]

    return find


def runs(sizes: list[int]) -> list[tuple[int, int]]:
    """For each item of a group: its stream and its index within the stream's run."""
    return [(stream, index) for stream, size in enumerate(sizes) for index in range(size)]


def slow_push(starts, freqs, bits: int, streams: list[SlowStream], sizes: list[int]) -> None:
    """starts and freqs (n, D): all positions, all items, backwards."""
    places = runs(sizes)
    for position in reversed(range(starts.shape[1])):
        for item in reversed(range(len(places))):
            stream, index = places[item]
            lane = index % len(streams[stream].states)
            streams[stream].push(lane, int(starts[item, position]), int(freqs[item, position]), bits)
