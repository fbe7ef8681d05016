"""The chapter "Adaptive law" of docs/format.md, in plain Python integers, word for word and slowly.

Whatever the document bounds is asserted where it is computed, so that running this is a proof of the bounds for what
it was run on.
"""

from __future__ import annotations

import decimal
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
from reader_coding import Stack, check, clamp, log2_fixed, read_stack, write_stack

BITS = 22
SEGMENT = 2**20
MODULUS = 2**64 - 1

Sample = tuple[int, int, int]
Decide = Callable[[int | None, int], int]


def below(x: int, bits: int) -> int:
    """x, which the document says stays strictly within -2^bits .. 2^bits."""
    assert -(2**bits) < x < 2**bits, f"{x} leaves {bits} bits"
    return x


# ---- tables ------------------------------------------------------------------------------------------------


def rounded(values: Iterator[Decimal], how: str = decimal.ROUND_HALF_EVEN) -> list[int]:
    with decimal.localcontext() as context:
        context.prec = 30
        return [int(value.to_integral_value(how)) for value in values]


@cache
def tables() -> dict[str, list[int]]:
    """Entries from the lowest index up."""
    down, two = decimal.ROUND_FLOOR, Decimal(2)

    def squash() -> Iterator[Decimal]:
        for i in range(-3071, 3072):
            yield min(max(2**22 / (1 + (-Decimal(i) / 256).exp()), Decimal(8)), Decimal(2**22 - 8))

    def stretch() -> Iterator[Decimal]:
        for i in range(32768):
            q = (Decimal(i) + Decimal(1) / 2) / 2**16
            yield max(256 * (q / (1 - q)).ln(), Decimal(-3071))

    lower = rounded(stretch())
    return {
        "SQUASH": rounded(squash()),
        "STRETCH": lower + [-entry for entry in reversed(lower)],
        "CUMULATIVE": rounded(2**30 / (1 + (-Decimal(i) / 128).exp()) for i in range(-2048, 2049)),
        "CLASS": [0, 1] + [i + 1 for i in rounded(2 * Decimal(i).ln() / two.ln() for i in range(2, 4096))],
        "RATE": rounded((2**16 / (i + Decimal("1.6")) for i in range(1024)), down),
        "CONFIDENCE": rounded((2**8 * i / (i + Decimal("0.4")) for i in range(1024)), down),
    }


def squash(dot: int) -> int:
    return tables()["SQUASH"][dot + 3071]


def stretch(i: int) -> int:
    return tables()["STRETCH"][i]


def class_of(d: int) -> int:
    return tables()["CLASS"][d] if d < 4096 else tables()["CLASS"][min(d >> 6, 4095)] + 12


def sclass(d: int) -> int:
    return class_of(d) if d >= 0 else -class_of(-d)


# ---- the program -------------------------------------------------------------------------------------------

RANGES = {  # field: least, most, default
    "table_bits": (8, 22, 20),
    "sets": (1, 3, 2),
    "most_class": (0, 14, 4),
    "class_shift": (0, 4, 1),
    "least_error": (1, 64, 6),
    "scale_rate": (3, 10, 5),
    "bias_rate": (3, 10, 6),
    "whiten": (0, 22, 6),
    "whiten_from": (0, 40, 6),
    "regularise": (1, 4096, 64),
    "gradient": (0, 2**18, 24),
    "solve": (1, 64, 4),
    "counter_limit": (1, 1023, 255),
    "rate_first": (0, 127, 60),
    "rate_last": (0, 127, 40),
    "rate_final": (0, 127, 8),
}


class Program:
    """The record of an adaptive law, checked; every field is an attribute."""

    table_bits: int
    sets: int
    most_class: int
    class_shift: int
    least_error: int
    scale_rate: int
    bias_rate: int
    whiten: int
    whiten_from: int
    regularise: int
    gradient: int
    solve: int
    counter_limit: int
    rate_first: int
    rate_last: int
    rate_final: int

    def __init__(self, record: dict, tensors: dict[str, np.ndarray]):
        needed = {"law", "symbols", "shape", "order", "predictors", "contexts"}
        check(needed <= set(record) <= needed | {"tree", "double", "maps"} | set(RANGES), "the keys of a law differ")
        self.A: int = record["symbols"]
        check(type(self.A) is int and 2 <= self.A <= 2**16, "symbols of an adaptive law")
        self.M = self.A - 1
        self.B = self.M.bit_length()
        self.shape: list[int | None] = record["shape"]
        check(type(self.shape) is list and len(self.shape) in (2, 3), "the shape of an adaptive law")
        check(self.shape[:2] == [None, None], "the shape of an adaptive law")
        C = self.shape[2] if len(self.shape) == 3 else 1
        check(type(C) is int and 1 <= C <= 4, "the channels of an adaptive law")
        self.C: int = C
        self.order: list[int] = record["order"]
        check(type(self.order) is list and all(type(c) is int for c in self.order), "the order of channels")
        check(sorted(self.order) == list(range(self.C)), "an order that is no permutation")
        for name, (least, most, default) in RANGES.items():
            value = record.get(name, default)
            check(type(value) is int and least <= value <= most, f"{name} of an adaptive law")
            setattr(self, name, value)
        self.tree: str = record.get("tree", "residual")
        check(self.tree in ("residual", "value"), "the tree of an adaptive law")
        self.double: bool = record.get("double", False)
        self.maps: bool = record.get("maps", True)
        check(type(self.double) is bool and type(self.maps) is bool, "a switch of an adaptive law")
        check(type(record["predictors"]) is list and 1 <= len(record["predictors"]) <= 4, "predictors")
        self.predictors = [self._predictor(each, tensors) for each in record["predictors"]]
        self.contexts = self._contexts(record["contexts"], tensors)
        check(len(self.contexts) << self.table_bits <= 2**26, "too many counters")

    def _predictor(self, record: Any, tensors: dict[str, np.ndarray]) -> tuple[list[list[int]], int, bool]:
        check(type(record) is dict and {"taps", "forget"} <= set(record) <= {"taps", "forget", "split"}, "a predictor")
        forget, split = record["forget"], record.get("split", False)
        check(type(forget) is int and 4 <= forget <= 13 and type(split) is bool, "a predictor")
        check(record["taps"] in tensors, "taps that are not there")
        values = tensors[record["taps"]]
        check(values.ndim == 2 and values.shape[1] == 4 and 1 <= len(values) <= 32, "the shape of taps")
        taps = values.tolist()
        check(len(set(map(tuple, taps))) == len(taps), "equal taps")
        check(any(b == 0 for b, *_ in taps), "no tap of the channel itself")
        for b, dy, dx, i in taps:
            check(0 <= b <= 3 and i in (0, 1), "a tap beyond its limits")
            if i == 0:
                check(-3 <= dy <= 0 and abs(dx) <= 4, "a tap beyond its limits")
                check(dy < 0 or dx < 0 or (b > 0 and dx == 0), "a tap that is not known yet")
            else:
                check(abs(dy) <= 2 and abs(dx) <= 2, "a tap beyond its limits")
        return taps, forget, split

    def _contexts(self, name: Any, tensors: dict[str, np.ndarray]) -> list[list[tuple[int, int, int]]]:
        check(type(name) is str and name in tensors and tensors[name].ndim == 1, "contexts")
        contexts: list[list[tuple[int, int, int]]] = [[]]
        for part in tensors[name].tolist():
            if part == 0:
                check(1 <= len(contexts[-1]) <= 8, "a context without parts, or of too many")
                contexts.append([])
                continue
            feature, kind, shift = part % 64, part // 64 % 4, part // 256
            check(1 <= feature <= 50 and 0 <= shift <= 16, "a part beyond its limits")
            contexts[-1].append((feature, kind, shift))
        check(not contexts.pop(), "a context without an end")
        check(1 <= len(contexts) <= 48, "the number of contexts")
        return contexts


# ---- the learner -------------------------------------------------------------------------------------------


class Learner:
    """The state, and what one sample does to it."""

    def __init__(self, program: Program):
        self.program = p = program
        K, N = len(p.predictors), len(p.contexts)
        self.K, self.G = K, K + 2
        counted = 2 * N if p.double else N
        self.first_weights = [45875 // self.G] * self.G + [19660 // counted] * counted + [0]
        self.systems: dict[tuple[int, int, int], System] = {}
        self.S = {
            (k, c, j): max(19660, sqrt_of_power(23 + j)) for k in range(self.G) for c in range(p.C) for j in range(40)
        }
        self.B: dict[tuple[int, int], int] = defaultdict(int)
        self.counters: dict[tuple[int, int], tuple[int, int]] = defaultdict(lambda: (2**21, 0))
        self.weights: dict[tuple[int, int], list[int]] = defaultdict(lambda: list(self.first_weights))
        self.times: dict[tuple[int, int], int] = defaultdict(int)
        self.final: dict[int, list[int]] = defaultdict(lambda: [2**16 // p.sets] * p.sets)
        knots = [squash(clamp(256 * knot - 3072, -3071, 3071)) for knot in range(25)]
        self.maps: dict[int, list[int]] = defaultdict(lambda: list(knots))
        self.near_maps: dict[int, list[int]] = defaultdict(lambda: list(knots))
        self.row = 0  # rows of all images are numbered on, so that errors run through them
        self.width = -1
        self.e: dict[tuple[int, int, int, int], int] = {}
        self.r: dict[tuple[int, int, int], int] = {}
        self.before: dict[Sample, int] = {}
        self.size = (-1, -1)

    # ---- images

    def image(self, values: np.ndarray | None, size: tuple[int, int], decide: Decide, row_done: Callable) -> np.ndarray:
        """Code one image (H, W, C) of channels as stored, or decode it where there are no values."""
        p = self.program
        self.H, self.W = size
        if size != self.size:
            self.before = {}
        if self.width != self.W:
            self.e, self.r = {}, {}
        self.values: dict[Sample, int] = {}
        for y in range(self.H):
            for x in range(self.W):
                for c in range(p.C):
                    given = None if values is None else int(values[y, x, p.order[c]])
                    self.values[c, y, x] = self.sample(c, y, x, given, decide)
            row_done()
            self.row += 1
        self.size, self.width, self.before = size, self.W, self.values
        result = np.zeros((self.H, self.W, p.C), np.int64)
        for (c, y, x), value in self.values.items():
            result[y, x, p.order[c]] = value
        return result

    def v(self, c: int, y: int, x: int) -> int:
        if y < 0:
            if self.at[0] == 0:
                y, x = 0, self.at[1] - 1
            else:
                y = 0
        if x >= self.W:
            x = self.W - 1
        if x < 0:
            return self.values[c, y - 1, 0] if y >= 1 else self.u(c, 0, 0)
        return self.values[c, y, x]

    def u(self, c: int, y: int, x: int) -> int:
        return self.before[c, y, x] if self.before else 0

    def error(self, k: int, c: int, dy: int, x: int) -> int:
        """e of the row dy from the one in hand."""
        if x < 0:
            return 0
        return self.e.get((k, c, self.row + dy, min(x, self.W - 1)), 0)

    def signed(self, c: int, dy: int, x: int) -> int:
        return self.r.get((c, self.row + dy, x), 0)

    # ---- guesses

    def sample(self, c: int, y: int, x: int, value: int | None, decide: Decide) -> int:
        p, K, M = self.program, self.K, self.program.M
        self.at, self.c = (y, x), c

        def v(dy: int, dx: int) -> int:
            return self.v(c, y + dy, x + dx)

        W, N, NW, NE, WW = v(0, -1), v(-1, 0), v(-1, -1), v(-1, 1), v(0, -2)
        NN, NNE, NWW, NNW, NEE, WWW, NNN = v(-2, 0), v(-2, 1), v(-1, -2), v(-2, -1), v(-1, 2), v(0, -3), v(-3, 0)
        dh = abs(W - WW) + abs(N - NW) + abs(N - NE)
        dv = abs(W - NW) + abs(N - NN) + abs(NE - NNE)
        slope = 0 if dh + dv < p.gradient else 1 if dh > 2 * dv else 2 if dv > 2 * dh else 3
        base = (W + N) >> 1
        means, used = [], []
        for k, (taps, forget, split) in enumerate(p.predictors):
            there = [tap for tap in taps if tap[0] <= c]
            key = (k, c, slope if split else 0)
            if key not in self.systems:
                self.systems[key] = System(len(there), forget, p.regularise)
            t = [self.tap(c - b, y, x, dy, dx, i) for b, dy, dx, i in there]
            used.append((self.systems[key], t))
            w = self.systems[key].w
            total = sum(w_i * t_i for w_i, t_i in zip(w, t))
            below(sum(abs(w_i * t_i) for w_i, t_i in zip(w, t)), 62)
            means.append(clamp((base << 6) + (total >> 10), 0, 64 * M))

        def E(j: int, d: int, dy: int, dx: int) -> int:
            return self.error(j, d, dy, x + dx)

        act = 2 * E(K, c, 0, -1) + 2 * E(K, c, -1, 0) + E(K, c, -1, -1) + E(K, c, -1, 1) + E(K, c, 0, -2)
        act += E(K, c, -2, 0)
        if c == 1:
            act = (act + 6 * E(K, 0, 0, 0)) >> 1
        elif c > 1:
            act = (act + 3 * E(K, c - 1, 0, 0) + 3 * E(K, c - 2, 0, 0)) >> 1
        activity = below(act, 31) >> 5
        a = class_of(activity)
        shares, classes = [], []
        for k in range(K):
            near = E(k, c, 0, -1) + E(k, c, -1, 0) + E(k, c, -1, -1) + E(k, c, -1, 1)
            near = below((near + ((E(k, c, 0, -2) + E(k, c, -2, 0)) >> 1)) >> 2, 23)
            shares.append(2**36 // (near * near + 64) + 1)
            classes.append(class_of((near if c == 0 else (near + E(k, c - 1, 0, 0)) >> 1) >> 2))
        blend = below(sum((g >> 6) * mean for g, mean in zip(shares, means)), 62) // ((sum(shares) >> 6) + 1)
        means.append(clamp(blend, 0, 64 * M))
        h = (means[K] + 32) >> 6
        texture = sum((q > h) << place for place, q in enumerate([W, N, NW, NE, WW, NN]))
        z = texture + 64 * (min(a, 31) >> 2)
        means.append(clamp(means[K] + (below(self.B[c, z], 31) >> 8), 0, 64 * M))
        P = (means[K + 1] + 32) >> 6
        classes += [a, a]
        inverse = [11626610 // ((below(self.S[k, c, classes[k]], 33) >> 10) + p.least_error) for k in range(self.G)]
        scale = 0
        if p.tree == "residual":
            while scale != p.most_class and activity >> (5 + scale + p.class_shift):
                scale += 1

        def F(q: int) -> list[int]:
            if q <= 0 or q > M:
                return [0 if q <= 0 else 2**30] * self.G
            at = [below((64 * q - 32 - means[k]) * inverse[k], 62) >> 16 for k in range(self.G)]
            return [tables()["CUMULATIVE"][clamp(place, -2048, 2048) + 2048] for place in at]

        # ---- features

        def clip(q: int) -> int:
            return clamp(q, 0, M)

        H = [int(q > M >> 1) for q in (W, N, NW, NE, WW, NN, NWW, NEE, NNW, NNE, WWW, NNN)]
        V = [q >> max(0, p.B - 2) for q in (W, N, NW, NE, WW, NN, NWW, NEE, NNW, NNE)]
        far = [(-2, -2), (-2, 2), (-1, -3), (-1, 3), (0, -4), (-3, -1), (-3, 1), (-2, -3), (-2, 3)]
        far += [(-1, -4), (-1, 4), (-3, -2), (-3, 2), (-2, 4), (-2, -4)]
        H += [int(v(dy, dx) > M >> 1) for dy, dx in far]

        def row_of_bits(bits: list[int], width: int = 1) -> int:
            return sum(bit << width * place for place, bit in enumerate(bits))

        f = dict(enumerate([W, N, NW, NE, WW, NN, NNE], 1))
        f[8] = clip(W + N - NW)
        f[9], f[10], f[11], f[12] = clip(N + NE - NNE), clip(W + NE - N), clip(2 * W - WW), clip(2 * N - NN)
        f[13] = sorted([W, N, W + N - NW])[1]
        f[14], f[15], f[16], f[17] = (W + N + 1) >> 1, (W + NE + 1) >> 1, P, a
        f[18], f[19] = self.signed(c, 0, x - 1), self.signed(c, -1, x)
        f[20], f[21], f[22] = c, x, y
        f[23], f[24] = (self.v(c - 1, y, x), self.signed(c - 1, 0, x)) if c else (0, 0)
        f[25], f[26] = (self.v(c - 2, y, x), self.signed(c - 2, 0, x)) if c > 1 else (0, 0)
        f[27], f[28] = self.u(c, y, x), self.u(c, y, min(x + 1, self.W - 1))
        for k in range(3):
            f[29 + k] = (means[k] + 32) >> 6 if k < K else 0
        f[32], f[33], f[34], f[35] = (row_of_bits(H[:count]) for count in (6, 12, 19, 27))
        f[36], f[38] = row_of_bits(V[:6], 2), row_of_bits(V, 2)
        f[37] = (means[K + 1] + 32) % 64
        f[39] = class_of(abs(W - NW) + abs(N - NE) + abs(WW - W))
        f[40] = class_of(abs(N - NN) + abs(W - NW) + abs(NE - NNE))
        f[41] = scale
        f[42], f[43], f[44] = f[8], f[13], f[14]
        if c:
            U, UW, UN, UNW = (self.v(c - 1, y + dy, x + dx) for dy, dx in ((0, 0), (0, -1), (-1, 0), (-1, -1)))
            f[42], f[43] = clip(W + U - UW), clip(N + U - UN)
            f[44] = clip(f[8] + U - clip(UW + UN - UNW))
        f[45] = z
        f[46], f[47], f[48], f[49], f[50] = NWW, NNW, NEE, WWW, NNN
        hashes = []
        for j, parts in enumerate(p.contexts):
            value_of = (j + 1) * 0xD1B54A32D192ED03 + c * 0x8CB92BA72F3D8DD7 + scale * 0xABC98388FB8FAC03
            value_of &= MODULUS
            for feature, kind, shift in parts:
                q = f[feature]
                term = (q, q - P, sclass(q - P), sclass(q))[kind]
                value_of = (value_of ^ ((term >> shift) & MODULUS)) * 0x9E3779B97F4A7C15 & MODULUS
                value_of ^= value_of >> 32
            hashes.append(value_of)

        # ---- decisions

        near_row = 4 * clamp(sclass(W - P) + 8, 0, 15) + (clamp(sclass(N - P) + 4, 0, 7) >> 1)
        self.hashes, self.a, self.texture, self.near_row = hashes, a, texture, near_row

        def ask(bit: bool | None, line: int, slot: int, kind: int, share: list[int], whole: list[int]) -> int:
            return self.decision(None if value is None else int(bool(bit)), line, slot, kind, share, whole, decide)

        walk = self.residual_tree if p.tree == "residual" else self.value_tree
        result = walk(value, P if p.tree == "residual" else f[13], scale, F, ask)

        # ---- learning

        for k in range(self.G):
            e = below(abs(64 * result - means[k]), 22)
            self.e[k, c, self.row, x] = e
            S = self.S[k, c, classes[k]]
            self.S[k, c, classes[k]] = S + (((e << 10) - S) >> p.scale_rate)
        self.r[c, self.row, x] = result - P
        self.B[c, z] += (((64 * result - means[K]) << 8) - self.B[c, z]) >> p.bias_rate
        for system, t in used:
            if result == base and not any(t):
                continue
            l = (22 - 2 * p.B - min(p.whiten, max(0, (a - p.whiten_from) >> 1))) >> 1
            system.learn([scaled(q, l) for q in t], scaled(result - base, l), x, p.solve)
        return result

    def tap(self, c: int, y: int, x: int, dy: int, dx: int, i: int) -> int:
        if i == 0:
            return self.v(c, y + dy, x + dx) - ((self.v(c, y, x - 1) + self.v(c, y - 1, x)) >> 1)
        around = (self.u(c, y, max(x - 1, 0)) + self.u(c, max(y - 1, 0), x)) >> 1
        return self.u(c, clamp(y + dy, 0, self.H - 1), clamp(x + dx, 0, self.W - 1)) - around

    def residual_tree(self, value: int | None, P: int, scale: int, F: Callable, ask: Callable) -> int:
        M = self.program.M
        lo, hi = 0, M + 1
        low, high = [0] * self.G, [2**30] * self.G
        if scale == 0:
            above, under = F(P + 1), F(P)
            if ask(value == P, 0, 0, 0, [q - r for q, r in zip(above, under)], [2**30] * self.G):
                return P
        T = P + 1 if scale == 0 else P
        if P == 0:
            bit = 1
        elif scale == 0 and P == M:
            bit = 0
        elif scale == 0:
            share = [2**30 - q for q in F(P + 1)]
            bit = ask(value is not None and value >= T, 0, 1, 1, share, [s + q for s, q in zip(share, F(P))])
        else:
            bit = ask(value is not None and value >= T, 0, 1, 1, [2**30 - q for q in F(P)], [2**30] * self.G)
        if bit:
            down, origin, reach, lo, low = 0, T, M - T, T, F(T)
        else:
            down, origin, reach, hi, high = 1, P - 1, P - 1, P, F(P)

        def part(step: int, line: int, slot: int, kind: int) -> int:
            """Does the magnitude lie ``step`` above begin, or more?"""
            nonlocal lo, hi, low, high
            q = origin - (begin + step) + 1 if down else origin + (begin + step)
            mass = F(q)
            if down:
                true, share = value is not None and value < q, [m - l for m, l in zip(mass, low)]
            else:
                true, share = value is not None and value >= q, [h - m for h, m in zip(high, mass)]
            bit = ask(true, line, slot, kind, share, [h - l for h, l in zip(high, low)])
            if bit != down:
                lo, low = q, mass
            else:
                hi, high = q, mass
            return bit

        begin = b = 0
        while True:
            if hi - lo == 1:
                return lo
            t = scale + max(0, b - 3)
            if begin + 2**t > reach or not part(2**t, down, min(2 + b, 15), 2 + min(b, 9)):
                break
            begin, b = begin + 2**t, b + 1
        prefix = 1
        for bit_place in reversed(range(t)):
            if hi - lo == 1:
                return lo
            bit = 0
            if begin + 2**bit_place <= reach:
                slot = prefix if prefix < 8 else 8 + min(bit_place, 7)
                bit = part(2**bit_place, 2 + 16 * down + min(b, 15), slot, 12 + min(bit_place, 3))
            begin += bit << bit_place
            prefix = 2 * prefix + bit
        assert hi - lo == 1
        return lo

    def value_tree(self, value: int | None, Z: int, scale: int, F: Callable, ask: Callable) -> int:
        M = self.program.M
        lo, hi = 0, M + 1
        low, high = [0] * self.G, [2**30] * self.G
        if ask(value == Z, 0, 0, 0, [q - r for q, r in zip(F(Z + 1), F(Z))], [2**30] * self.G):
            return Z
        prefix = 1
        for t in reversed(range(self.program.B)):
            if hi - lo == 1:
                return lo
            q = lo + 2**t
            if q > M:
                prefix = 2 * prefix
                continue
            if q - lo == 1 and lo == Z:
                lo = q
                continue
            if hi - q == 1 and q == Z:
                hi, prefix = q, 2 * prefix
                continue
            d = prefix.bit_length() - 1
            if d < 4:
                line, slot = 0, prefix
            elif d < 8:
                line, slot = 1 + (prefix >> (d - 4)) % 16, 2 ** (d - 4) + prefix % 2 ** (d - 4)
            else:
                line, slot = min(20 + d, 34), prefix % 8
            mass = F(q)
            share, whole = [h - m for h, m in zip(high, mass)], [h - l for h, l in zip(high, low)]
            bit = ask(value is not None and value >= q, line, slot, 1 + min(t, 14), share, whole)
            if bit:
                lo, low = q, mass
            else:
                hi, high = q, mass
            prefix = 2 * prefix + bit
        assert hi - lo == 1
        return lo

    # ---- one decision

    def decision(
        self, bit: int | None, line: int, slot: int, kind: int, share: list[int], whole: list[int], decide: Decide
    ) -> int:
        p, c = self.program, self.c
        inputs = []
        for part, total in zip(share, whole):
            assert 0 <= part <= total <= 2**30
            inputs.append(stretch(clamp(((part + 8) << 16) // (total + 16), 1, 65535)))
        places = []
        for j, value in enumerate(self.hashes):
            group = (value + line * 0x8BB84B93962EACC9) * 0x9E3779B97F4A7C15 & MODULUS
            place = (j, 16 * (group >> (64 - p.table_bits + 4)) + slot)
            assert place[1] < 2**p.table_bits
            places.append(place)
            probability, n = self.counters[place]
            confidence = tables()["CONFIDENCE"][n]
            inputs.append(stretch(probability >> 6) * confidence >> 8)
            if p.double:
                inputs.append(((probability >> 10) - 2048) * confidence >> 9)
        inputs.append(256)
        assert all(abs(value) <= 3071 for value in inputs)
        below(sum(map(abs, inputs)), 18)
        node = (35 * c + line) * 16 + slot
        rows = [node, 40 * kind + self.a, (64 * kind + self.texture) * 4 + c][: p.sets]
        dots = []
        for s, row in enumerate(rows):
            terms = [below(value * m, 31) >> 6 for value, m in zip(inputs, self.weights[s, row])]
            below(sum(map(abs, terms)), 31)
            dots.append(clamp(sum(terms) >> 10, -3071, 3071))
        chances = [squash(dot) for dot in dots]
        dot = dots[0]
        if p.sets > 1:
            dot = clamp(sum(d * f for d, f in zip(dots, self.final[node])) >> 16, -3071, 3071)
        mix = final = squash(dot)
        near = (32 * kind + min(self.a, 31)) * 64 + self.near_row
        j, o = (dot + 3072) >> 8, (dot + 3072) % 256
        if p.maps:
            m, n = self.maps[node], self.near_maps[near]
            A, A_near = ((q[j] * (256 - o) + q[j + 1] * o) >> 8 for q in (m, n))
            final = clamp((2 * mix + A + A_near + 2) >> 2, 16, 2**22 - 16)
        bit = decide(bit, final)
        target = bit << 22
        for s, row in enumerate(rows):
            rate = p.rate_last + 64 * p.rate_first // (64 + self.times[s, row])
            self.times[s, row] = min(self.times[s, row] + 1, 65535)
            step = below((((target - chances[s]) >> 6) * rate) >> 6, 31)
            self.weights[s, row] = [
                clamp(m + ((below(value * step, 40) + 2**15) >> 16), -(2**19 - 1), 2**19 - 1)
                for value, m in zip(inputs, self.weights[s, row])
            ]
        if p.sets > 1:
            step = ((target - mix) >> 6) * p.rate_final
            self.final[node] = [
                clamp(f + ((d * step + 2**21) >> 22), -(2**19 - 1), 2**19 - 1) for d, f in zip(dots, self.final[node])
            ]
        if p.maps:
            for entries in (self.maps[node], self.near_maps[near]):
                moved = j + 1 if o > 127 else j
                entries[moved] += (target - entries[moved]) >> 6
        for place in places:
            probability, n = self.counters[place]
            probability += below((target - probability) * tables()["RATE"][n], 40) >> 16
            self.counters[place] = (clamp(probability, 0, 2**22 - 1), min(n + 1, p.counter_limit))
        return bit

    # ---- sequences

    def segments(self, images: list[np.ndarray]) -> Iterator[list[tuple[int, int]]]:
        """The decisions (bit, probability of a 1) of images (H, W) or (H, W, C), segment by segment."""
        decisions: list[tuple[int, int]] = []
        full: list[list[tuple[int, int]]] = []

        def note(bit: int | None, chance: int) -> int:
            assert bit is not None
            decisions.append((bit, chance))
            return bit

        def row_done() -> None:
            if len(decisions) >= SEGMENT:
                full.append(decisions.copy())
                decisions.clear()

        for image in images:
            self.image(image.reshape(*image.shape[:2], -1), image.shape[:2], note, row_done)
            yield from full
            full.clear()
        if decisions:
            yield decisions

    def encode(self, images: list[np.ndarray]) -> bytes:
        return b"".join(write_stack(push(Stack(1), decisions)) for decisions in self.segments(images))

    def lengths(self, images: list[np.ndarray]) -> list[int]:
        """In units of 2^-20 bits."""
        return [sum(map(length_of, (d for part in self.segments([image]) for d in part))) for image in images]

    def decode(self, data: bytes, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        stack, seen, at_end = Stack(1), SEGMENT, True

        def take(bit: int | None, chance: int) -> int:
            nonlocal stack, seen, at_end
            if at_end:
                stack, seen, at_end = read_stack(data, 1), 0, False
            seen += 1
            return pop(stack, chance)

        def row_done() -> None:
            if seen >= SEGMENT:
                close()

        def close() -> None:
            nonlocal at_end, data
            check(stack.states == [2**32], "a segment that is not empty behind its last decision")
            data = b"".join(word.to_bytes(4, "little") for word in reversed(stack.words))
            at_end = True

        images = [self.image(None, shape[:2], take, row_done).reshape(shape) for shape in shapes]
        if not at_end:
            close()
        check(not data, "words behind the last segment")
        return images

    def pop(self, stack: Stack, shape: tuple[int, ...]) -> np.ndarray:
        """One image off a stack that holds all decisions."""
        return self.image(None, shape[:2], lambda bit, chance: pop(stack, chance), lambda: None).reshape(shape)


def sqrt_of_power(power: int) -> int:
    """floor(2^(power / 2))."""
    root = int(Decimal(2**power).sqrt(decimal.Context(prec=40)))
    assert root * root <= 2**power < (root + 1) ** 2
    return root


def scaled(q: int, l: int) -> int:
    return clamp(q << l if l >= 0 else (q + 2 ** (-l - 1)) >> -l, -1023, 1023)


class System:
    """A system of normal equations: products R, targets b, weights w."""

    def __init__(self, count: int, forget: int, regularise: int):
        self.forget, self.D = forget, max(0, forget - 11)
        self.w = [2**15 if i < 2 else 0 for i in range(count)]
        self.R = [[(regularise << 6) >> self.D if i == j else 0 for j in range(count)] for i in range(count)]
        self.b = [0] * count
        self.least = regularise >> self.D

    def learn(self, t: list[int], target: int, x: int, solve: int) -> None:
        forget, D = self.forget, self.D

        def moved(q: int, product: int) -> int:
            return below(q + ((product + (2**D >> 1)) >> D) - ((q + 2 ** (forget - 1)) >> forget), 31)

        count = len(t)
        for i in range(count):
            for j in range(count):
                self.R[i][j] = moved(self.R[i][j], t[i] * t[j])
            self.b[i] = moved(self.b[i], target * t[i])
        for i in range(x % solve, count, solve):
            R = self.R[i]
            below(sum(abs(q * w) for q, w in zip(R, self.w)), 55)
            whole = R[i] + (R[i] >> 8) + self.least
            assert whole > 0
            move = ((self.b[i] << 16) - sum(q * w for q, w in zip(R, self.w))) // whole
            self.w[i] = clamp(self.w[i] + move, -(2**19), 2**19)


# ---- decisions on stacks -----------------------------------------------------------------------------------


def push(stack: Stack, decisions: list[tuple[int, int]]) -> Stack:
    for bit, chance in reversed(decisions):
        stack.push(0, 0 if bit else chance, chance if bit else 2**BITS - chance, BITS)
    return stack


def pop(stack: Stack, chance: int) -> int:
    bit = int(stack.slot(0, BITS) < chance)
    stack.pop(0, 0 if bit else chance, chance if bit else 2**BITS - chance, BITS)
    return bit


def length_of(decision: tuple[int, int]) -> int:
    bit, chance = decision
    return (BITS << 20) - log2_fixed(chance if bit else 2**BITS - chance)
