"""Words, canonical JSON, the stack, tables, leaves and logarithms of docs/format.md, in plain Python integers.

Nothing here is fast, and nothing is shared with the package: it is written from the document alone, in its order.
"""

from __future__ import annotations

import decimal
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache, lru_cache

Cumulative = Callable[[int], int]


class Refused(Exception):
    """The file is not what the document describes."""


def check(condition: object, message: str) -> None:
    if not condition:
        raise Refused(message)


def clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


# ---- words and notation ------------------------------------------------------------------------------------


class Bytes:
    """A cursor over bytes."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        check(0 <= count <= len(self.data) - self.at, "bytes are missing")
        self.at += count
        return self.data[self.at - count : self.at]

    def fixed(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        value = 0
        for place in range(10):
            byte = self.fixed(1)
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise Refused("a number of more than ten bytes")

    def signed(self) -> int:
        value = self.varint()
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def end(self) -> bool:
        return self.at == len(self.data)


def bits_of(data: bytes) -> Iterator[int]:
    for byte in data:
        for place in range(8):
            yield byte >> place & 1


def number(bits: Iterator[int], width: int) -> int:
    return sum(next(bits) << place for place in range(width))


# ---- canonical JSON ----------------------------------------------------------------------------------------


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def parse_json(data: bytes) -> dict:
    def no_fractions(text: str) -> None:
        raise Refused(f"{text} is not an integer")

    try:
        value = json.loads(data.decode("ascii"), parse_float=no_fractions, parse_constant=no_fractions)
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from None
    _check_depth(value, 0)
    check(canonical(value) == data, "JSON that is not written in the canonical way")
    check(isinstance(value, dict), "JSON that is not an object")
    return value


def _check_depth(value: object, level: int) -> None:
    check(level <= 64, "JSON deeper than 64 levels")
    if isinstance(value, int):
        check(abs(value) < 2**63, "an integer of more than 63 bits")
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, level + 1)


# ---- the stack ---------------------------------------------------------------------------------------------


class Exhausted(Refused):
    """There were no words left on the stack."""


class Stack:
    """Lanes over one sequence of words, of which the last in the list is the uppermost."""

    def __init__(self, lanes: int):
        self.states = [2**32] * lanes
        self.words: list[int] = []

    def push(self, lane: int, start: int, freq: int, bits: int) -> None:
        if freq == 2**bits:
            return
        x = self.states[lane]
        if x >= freq << 64 - bits:
            self.words.append(x % 2**32)
            x >>= 32
        self.states[lane] = (x // freq << bits) + x % freq + start

    def slot(self, lane: int, bits: int) -> int:
        return self.states[lane] % 2**bits

    def pop(self, lane: int, start: int, freq: int, bits: int) -> None:
        if freq == 2**bits:
            return
        x = freq * (self.states[lane] >> bits) + self.slot(lane, bits) - start
        self.states[lane] = x if x >= 2**32 else x << 32 | self.more()

    def more(self) -> int:
        if not self.words:
            raise Exhausted("the stack is exhausted")
        return self.words.pop()

    def pop_symbol(self, lane: int, C: Cumulative, symbols: int, bits: int) -> int:
        """The symbol whose interval C(x) .. C(x + 1) - 1 holds the slot."""
        slot = self.slot(lane, bits)
        x = bisect_right(range(1, symbols), slot, key=C)
        self.pop(lane, C(x), C(x + 1) - C(x), bits)
        return x

    def push_symbol(self, lane: int, C: Cumulative, x: int, bits: int) -> None:
        self.push(lane, C(x), C(x + 1) - C(x), bits)

    def pop_uniform(self, lane: int, m: int) -> int:
        v = ((self.slot(lane, 28) + 1) * m - 1) >> 28
        self.pop(lane, *uniform(v, m), 28)
        return v

    def push_uniform(self, lane: int, v: int, m: int) -> None:
        check(0 <= v < m, "a value beyond its uniform distribution")
        self.push(lane, *uniform(v, m), 28)

    def is_empty(self) -> bool:
        return not self.words and all(x == 2**32 for x in self.states)

    def copy(self) -> Stack:
        other = Stack(0)
        other.states, other.words = list(self.states), list(self.words)
        return other


def uniform(v: int, m: int) -> tuple[int, int]:
    start = (v << 28) // m
    return start, ((v + 1) << 28) // m - start


def read_stack(data: bytes, lanes: int) -> Stack:
    check(len(data) % 4 == 0, "words that are cut")
    source = Bytes(data)
    low = [source.fixed(4) for _ in range(lanes)]
    bits = bits_of(data[4 * lanes :])
    try:
        lengths = [number(bits, 5) for _ in range(lanes)]
        high = [2**length + number(bits, length) for length in lengths]
    except (StopIteration, RuntimeError):
        raise Refused("a stack that is cut") from None
    used = 5 * lanes + sum(lengths)
    words = -(-used // 32)
    check(not any(next(bits) for _ in range(32 * words - used)), "padding that is not zero")
    source.take(4 * words)
    stack = Stack(0)
    stack.states = [h << 32 | l for h, l in zip(high, low)]
    while not source.end():
        stack.words.append(source.fixed(4))
    stack.words.reverse()
    return stack


def write_stack(stack: Stack) -> bytes:
    high = [x >> 32 for x in stack.states]
    digits = [(h.bit_length() - 1, 5) for h in high]
    digits += [(h - 2 ** (h.bit_length() - 1), h.bit_length() - 1) for h in high]
    string = at = 0
    for value, width in digits:
        string |= value << at
        at += width
    words = [x % 2**32 for x in stack.states]
    words += [string >> 32 * place & 0xFFFFFFFF for place in range(-(-at // 32))]
    return b"".join(word.to_bytes(4, "little") for word in words + stack.words[::-1])


class SeededStack(Stack):
    """A stack on endless random words."""

    def __init__(self, seed: int, lanes: int, stream: int = 0):
        super().__init__(lanes)
        self.shake = hashlib.shake_256(b"codelength stack" + seed.to_bytes(8, "little") + stream.to_bytes(8, "little"))
        self.cache, self.next = b"", 2 * lanes
        for lane in range(lanes):
            self.states[lane] = (self.word(2 * lane + 1) | 2**31) << 32 | self.word(2 * lane)

    def word(self, index: int) -> int:
        if 4 * index + 4 > len(self.cache):
            self.cache = self.shake.digest(max(4096, 8 * index))
        return int.from_bytes(self.cache[4 * index : 4 * index + 4], "little")

    def more(self) -> int:
        if self.words:
            return self.words.pop()
        self.next += 1
        return self.word(self.next - 1)


# ---- tables ------------------------------------------------------------------------------------------------


def table(entry: Callable[[int], Decimal], last: int) -> list[int]:
    with decimal.localcontext() as context:
        context.prec = 40
        return [int((2**30 * entry(j)).to_integral_value(decimal.ROUND_HALF_EVEN)) for j in range(last + 1)]


def normal_tail(x: Decimal) -> Decimal:
    """Phi(-x) = 1/2 - phi(x) (x + x^3 / 3 + x^5 / (3 5) + ...)."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    term = total = x
    k = 1
    while term > Decimal(10) ** -38:
        k += 2
        term = term * x * x / k
        total += term
    return Decimal(1) / 2 - total * (-x * x / 2).exp() / (2 * pi).sqrt()


@cache
def tables() -> dict[str, list[int]]:
    ln2 = Decimal(2).ln(decimal.Context(prec=70))
    return {
        "LOGISTIC": table(lambda j: 1 / (1 + (Decimal(j) / 64).exp()), 1536),
        "DECAY": table(lambda j: (-Decimal(j) / 64).exp(), 1536),
        "NORMAL": table(lambda j: normal_tail(Decimal(j) / 128), 896),
        "INVERSE_SCALE": table(lambda j: (4 - Decimal(j) / 256).exp(), 4096),
        "LOG2": table(lambda j: (1 + Decimal(j) / 1024).ln() / ln2, 1024),
        "EXP2": table(lambda j: (-Decimal(j) / 1024 * ln2).exp(), 1024),
    }


def tail(name: str, u: int) -> int:
    entries, s = tables()[name], 13 if name == "NORMAL" else 14
    j, r = u >> s, u % 2**s
    if j >= len(entries) - 1:
        return 0
    return entries[j] - ((entries[j] - entries[j + 1]) * r >> s)


# ---- leaves ------------------------------------------------------------------------------------------------


class Leaf:
    """A family of distributions over 0 .. symbols - 1: integer parameters to a cumulative function."""

    def __init__(self, record: dict):
        check(set(record) <= {"family", "symbols", "bits", "components"}, "an unknown key of a leaf")
        self.family: str = record["family"]
        self.symbols: int = record["symbols"]
        self.bits: int = record.get("bits", 24)
        self.components: int = record.get("components", 1)
        A, K = self.symbols, self.components
        self.parameters = {"bernoulli": 1, "categorical": A, "logistic_mixture": 3 * K}.get(self.family, 2)
        most = 2**12 if self.family == "categorical" else 2**16
        check(2 <= self.bits <= 28 and 2 <= A <= min(most, 2 ** (self.bits - 1)), "a leaf beyond its limits")

    def cumulative(self, p: list[int]) -> Cumulative:
        A, T = self.symbols, 2**self.bits
        inner = getattr(self, "_" + self.family)(p)
        return lambda x: 0 if x <= 0 else T if x >= A else inner(x)

    def median(self, p: list[int]) -> int:
        return bisect_right(range(1, self.symbols), 2 ** (self.bits - 1), key=self.cumulative(p))

    def length(self, p: list[int], x: int) -> int:
        C = self.cumulative(p)
        return (self.bits << 20) - log2_fixed(C(x + 1) - C(x))

    def _bernoulli(self, p: list[int]) -> Cumulative:
        l = clamp(p[0], -16384, 16384)
        V = tail("LOGISTIC", l << 10) if l >= 0 else 2**30 - tail("LOGISTIC", -l << 10)
        return lambda x: (V * (2**self.bits - 2) >> 30) + 1

    def _categorical(self, p: list[int]) -> Cumulative:
        A = self.symbols
        l = [clamp(value, -(2**22), 2**22) for value in p]
        W = min(30, 62 - self.bits - (A - 1).bit_length())
        most = max(l)
        e = [tail("DECAY", (most - value) << 10) >> (30 - W) for value in l]
        sums = [0]
        for value in e:
            sums.append(sums[-1] + value)
        return lambda x: sums[x] * (2**self.bits - A) // sums[A] + x

    def _logistic_mixture(self, p: list[int]) -> Cumulative:
        K = self.components
        l = [clamp(value, -(2**22), 2**22) for value in p[:K]]
        most = max(l)
        e = [tail("DECAY", (most - value) << 12) for value in l]
        total = sum(e)
        w = [(value << 20) // total for value in e]
        w[l.index(most)] += 2**20 - sum(w)
        return self._mixture("LOGISTIC", w, p[K : 2 * K], p[2 * K :])

    def _gaussian(self, p: list[int]) -> Cumulative:
        return self._mixture("NORMAL", [2**20], p[:1], p[1:])

    def _beta_binomial(self, p: list[int]) -> Cumulative:
        A, n = self.symbols, self.symbols - 1
        R_a, R_b = (rising(clamp(k, -16384, 14336), n) for k in p)
        L = [R_a[x] + R_b[n - x] for x in range(A)]
        most = max(L)
        sums = [0]
        for length in L:
            sums.append(sums[-1] + exp2_fixed(most - length))
        s = 0
        while sums[A] >> s >= 2 ** (62 - self.bits):
            s += 1
        return lambda x: (sums[x] >> s) * (2**self.bits - A) // (sums[A] >> s) + x

    def _mixture(self, name: str, w: list[int], means: list[int], scales: list[int]) -> Cumulative:
        A = self.symbols
        m = [clamp(value, -64 * A, 128 * A) for value in means]
        inverse = [tables()["INVERSE_SCALE"][clamp(g, -1024, 3072) + 1024] for g in scales]

        def C(x: int) -> int:
            total = 0
            for w_k, m_k, inverse_k in zip(w, m, inverse):
                d = 64 * x - 32 - m_k
                S = tail(name, abs(d) * inverse_k >> 16)
                total += w_k * (S if d <= 0 else 2**30 - S)
            return ((total >> 16) * (2**self.bits - A) >> 34) + x

        return C


@lru_cache(maxsize=256)
def rising(k: int, n: int) -> list[int]:
    """R(a, 0), ..., R(a, n) for the shape a of the parameter k of a beta-binomial."""
    w = (k + 1023) // 1024
    mantissa = tables()["EXP2"][1024 * w - k]
    a = mantissa << w + 10 if w + 10 >= 0 else mantissa >> -(w + 10)
    R = [0]
    for i in range(n):
        R.append(R[-1] + log2_fixed((i << 40) + a) - log2_fixed(i + 1 << 40))
    return R


# ---- logarithms --------------------------------------------------------------------------------------------


def log2_fixed(v: int) -> int:
    LOG2 = tables()["LOG2"]
    e = v.bit_length() - 1
    m = (v << 30 - e if e <= 30 else v >> e - 30) - 2**30
    j, r = m >> 20, m % 2**20
    f = LOG2[j] + ((LOG2[j + 1] - LOG2[j]) * r >> 20)
    return (e << 20) + (f + 512 >> 10)


def exp2_fixed(d: int) -> int:
    EXP2 = tables()["EXP2"]
    n, j, r = d >> 20, (d >> 10) % 2**10, d % 2**10
    return 0 if n > 30 else EXP2[j] - ((EXP2[j] - EXP2[j + 1]) * r >> 10) >> n


def responsibilities(a: list[int]) -> list[int]:
    """Frequencies of total 2^24 from lengths."""
    least = min(a)
    e = [exp2_fixed(a_k - least) for a_k in a]
    total = sum(e)
    freq = [1 + e_k * (2**24 - len(a)) // total for e_k in e]
    freq[a.index(least)] += 2**24 - sum(freq)
    return freq


def evidence(a: list[int]) -> int:
    least = min(a)
    e = [exp2_fixed(a_k - least) for a_k in a]
    return least - (log2_fixed(sum(e)) - (30 << 20))
