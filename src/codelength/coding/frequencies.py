"""From integer parameters to integer frequencies, by integer arithmetic alone.

A *leaf* gives each element of an item a distribution over the symbols 0 .. A-1, described by a few integer
parameters, as a cumulative function C with C(0) = 0 and C(A) = T = 2^bits: symbol x has the interval
[C(x), C(x + 1)). Below, ``div`` and ``>>`` round towards minus infinity, tables are those of
``codelength.coding.tables``, and every intermediate value fits a signed integer of 64 bits.

Guarantees, for all parameters whatever (they are clamped to the ranges below):
  * C is strictly increasing, so every symbol has a mass of at least 1, and the masses add up to exactly T;
  * the mass of x divided by T differs from the real-valued probability, parameters being in their ranges, by
    at most (A + 2) / T + 2^-13; a categorical adds A * 2^-W (W below), a mixture K * 2^-20, a beta-binomial
    A * 2^-19.

Tail functions. Both tables are read with u >= 0 in units of 2^-20, by linear interpolation between knots
2^-k apart (k = 6 for LOGISTIC and DECAY, 7 for NORMAL). With s = 20 - k, j = u >> s and r = u mod 2^s:
  tail(u) = TABLE[j] - ((TABLE[j] - TABLE[j + 1]) * r >> s),  and 0 from the table's last knot on.

Bernoulli (code 1), A = 2. One parameter: the logit l of symbol 1 in units of 2^-10, clamped to +-16384.
  V = tail(LOGISTIC, l * 2^10) if l >= 0, else 2^30 - tail(LOGISTIC, -l * 2^10);
  C(1) = (V * (T - 2) >> 30) + 1.

Categorical (code 2), A <= 4096. A parameters: the logits l_x in units of 2^-10, clamped to +-2^22.
  W = min(30, 62 - bits - a), where a is the bit length of A - 1;
  e_x = tail(DECAY, (max(l) - l_x) * 2^10) >> (30 - W);
  C(x) = (e_0 + ... + e_(x-1)) * (T - A) div (e_0 + ... + e_(A-1)) + x.

Logistic mixture (code 3). 3 K parameters: K logits in units of 2^-8, clamped to +-2^22; K means in units of
2^-6 symbols, clamped to [-64 A, 128 A]; K logarithms of scales in symbols, in nats and units of 2^-8, clamped
to [-1024, 3072], that is, scales from e^-4 to e^12.
  e_k = tail(DECAY, (max(l) - l_k) * 2^12);
  w_k = e_k * 2^20 div (e_0 + ... + e_(K-1)), and what is missing to 2^20 goes to the first k of largest l_k;
  d_k = 64 x - 32 - mean_k;  u_k = |d_k| * INVERSE_SCALE[logscale_k + 1024] >> 16;
  S_k = tail(LOGISTIC, u_k) if d_k <= 0, else 2^30 - tail(LOGISTIC, u_k);
  C(x) = ((w_0 S_0 + ... + w_(K-1) S_(K-1) >> 16) * (T - A) >> 34) + x  for 0 < x < A.
So symbol x covers [x - 1/2, x + 1/2], and the end symbols take the tails.

Gaussian on a uniform grid (code 4). Two parameters: the mean in units of 2^-6 bins and the logarithm of the
standard deviation in bins, in nats and units of 2^-8. Everything as for a logistic mixture with K = 1 (so
w_0 = 2^20) and NORMAL in the place of LOGISTIC.

Beta-binomial (code 5). Two parameters: the logarithms to base 2 of the shapes alpha and beta in units of 2^-10,
clamped to [-16384, 14336], that is, shapes from 2^-16 to 2^14. The weights e_x, at most 2^30, are those of
``codelength.coding.beta_binomial``.
  S(x) = e_0 + ... + e_(x-1); s is the least integer >= 0 with S(A) >> s < 2^(62 - bits);
  C(x) = (S(x) >> s) * (T - A) div (S(A) >> s) + x.

Parameters arrive as integers or as floats that hold integers. A NaN counts as the lowest value allowed, and a
fraction is cut off; neither occurs in a valid program.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codelength.coding import beta_binomial
from codelength.coding.compiled import inlined, kernel
from codelength.coding.logarithm import LENGTH_BITS, log2_fixed
from codelength.coding.stack import MAX_BITS, Stack, divide, peek_one, pop_one, push_rows
from codelength.coding.symbols import check_symbols
from codelength.coding.tables import DECAY, INVERSE_SCALE, LOGISTIC, NORMAL
from codelength.errors import ProgramError

CODES = {"bernoulli": 1, "categorical": 2, "logistic_mixture": 3, "gaussian": 4, "beta_binomial": 5}
MAX_SYMBOLS = 1 << 16
MAX_CATEGORIES = 1 << 12
MAX_COMPONENTS = 256

_BERNOULLI = CODES["bernoulli"]
_LOGIT_LIMIT = 1 << 22


#: See ``Leaf.numbers``.
Numbers = tuple[int, int, int | None, np.ndarray | None, int | None, int | None, np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True)
class Leaf:
    """A family of distributions over the symbols 0 .. symbols-1 of an element.

    family: "bernoulli", "categorical", "logistic_mixture", "gaussian" or "beta_binomial".
    symbols: 2 for bernoulli, at most 2^12 for categorical, a power of two for gaussian; at most 2^16, and at
        most 2^(bits - 1).
    bits: log2 of the total of the frequencies, at most 28.
    components: of a mixture, at most 256; 1 for all other families.

    Raises ProgramError for anything else.
    """

    family: str
    symbols: int
    bits: int = 24
    components: int = 1

    def __post_init__(self) -> None:
        if self.family not in CODES:
            raise ProgramError(f"expected a family of distributions among {sorted(CODES)}, got {self.family!r}")
        if not all(type(value) is int for value in (self.symbols, self.bits, self.components)):
            raise ProgramError(f"expected integers for symbols, bits and components, got {self}")
        if not 2 <= self.bits <= MAX_BITS:
            raise ProgramError(f"expected totals of 2 to {MAX_BITS} bits, got {self.bits}")
        limit = min(MAX_CATEGORIES if self.family == "categorical" else MAX_SYMBOLS, 1 << (self.bits - 1))
        if not 2 <= self.symbols <= limit:
            raise ProgramError(f"expected 2 to {limit} symbols with {self.bits} bits, got {self.symbols}")
        if self.family == "bernoulli" and self.symbols != 2:
            raise ProgramError(f"expected 2 symbols for the bernoulli family, got {self.symbols}")
        if self.family == "gaussian" and self.symbols & (self.symbols - 1):
            raise ProgramError(f"expected a power of two of bins for the gaussian family, got {self.symbols}")
        most = MAX_COMPONENTS if self.family == "logistic_mixture" else 1
        if not 1 <= self.components <= most:
            raise ProgramError(f"expected 1 to {most} components for {self.family}, got {self.components}")

    @property
    def code(self) -> int:
        """The family's number in a file."""
        return CODES[self.family]

    @property
    def parameters(self) -> int:
        """How many parameters each element takes."""
        return len(self.fraction_bits)

    @property
    def fraction_bits(self) -> tuple[int, ...]:
        """For each parameter: its real value is the integer times 2^-fraction_bits."""
        if self.family == "logistic_mixture":
            return (8,) * self.components + (6,) * self.components + (8,) * self.components
        if self.family == "categorical":
            return (10,) * self.symbols
        return {"bernoulli": (10,), "gaussian": (6, 8), "beta_binomial": (10, 10)}[self.family]

    @property
    def work(self) -> int:
        """What an element's frequencies cost beyond its parameters, in multiplications (docs/format.md, "Limits")."""
        return self.symbols << 4 if self.family == "beta_binomial" else 0

    def numbers(self) -> Numbers:
        """What ``interval`` and ``search`` take: ``symbols, bits, binary, sums, several, single, scratch, tables``.

        What the family has no use for is None. Scratch is fresh; that of a beta-binomial keeps tables, and is shared.

        A kernel is compiled for the types that it is called with, and numba leaves out what stands behind ``if argument
        is not None`` where the argument is None: so nobody waits for the compilation of other families than theirs.

        binary: 1 for bernoulli. sums: scratch (A + 1,) int64 of a categorical. several: the number of components of a
        mixture of two or more; single: of one component, 1 for gaussian and 0 for logistic; scratch: (3 K,) int64 of
        both. tables: those of a beta-binomial.
        """
        binary = sums = several = single = scratch = tables = None
        if self.family == "bernoulli":
            binary = 1
        elif self.family == "categorical":
            sums = np.empty(self.symbols + 1, np.int64)
        elif self.family == "beta_binomial":
            tables = beta_binomial.scratch(self.symbols)
        else:
            scratch = np.empty(3 * self.components, np.int64)
            if self.components > 1:
                several = self.components
            else:
                single = int(self.family == "gaussian")
        return self.symbols, self.bits, binary, sums, several, single, scratch, tables


# ---------------------------------------------------------------------------------------------------------
# Compiled pieces. All integers are int64; ``params`` is one element's row of parameters.


@inlined
def _clamped(value, low, high):
    if not value > low:
        return np.int64(low)
    if value > high:
        return np.int64(high)
    return np.int64(value)


@inlined
def _tail(table, u, shift):
    # The tables end in two zeros at least, so all beyond the end may be read off their last piece.
    # (Unsigned indices spare the test for negative ones.)
    j = np.uint64(min(u >> shift, np.int64(table.shape[0] - 2)))
    value = np.int64(table[j])
    return value - ((value - table[j + np.uint64(1)]) * (u & ((1 << shift) - 1)) >> shift)


@inlined
def _reflected(value, sign):
    """value if sign >= 0, otherwise 2^30 - value; without a branch, which none could foresee."""
    mask = np.int64(sign) >> 63
    return (value ^ mask) - mask + (mask & (1 << 30))


@inlined
def _quotient(dividend, divisor):
    return np.int64(divide(np.uint64(dividend), np.uint64(divisor)))


@inlined
def bernoulli_cut(logit, bits):
    """C(1), the mass of symbol 0, for a logit in units of 2^-10 (compiled)."""
    l = _clamped(logit, -16384, 16384)
    value = _reflected(_tail(LOGISTIC, abs(l) << 10, 14), l)
    return (value * ((np.int64(1) << bits) - 2) >> 30) + 1


@inlined
def _bernoulli_interval(cut, x, bits):
    bit = np.int64(x)
    return bit * cut, cut + bit * ((np.int64(1) << bits) - 2 * cut)


@inlined
def _categorical_weights(symbols, bits, params, cumulative):
    """Fill cumulative (A + 1,) with the sums of the weights e_x."""
    size = np.int64(0)
    while (symbols - 1) >> size:
        size += 1
    shift = 30 - min(30, 62 - bits - size)
    greatest = np.int64(-_LOGIT_LIMIT)
    for x in range(symbols):
        logit = _clamped(params[x], -_LOGIT_LIMIT, _LOGIT_LIMIT)
        cumulative[x + 1] = logit
        if logit > greatest:
            greatest = logit
    total = np.int64(0)
    cumulative[0] = 0
    for x in range(1, symbols + 1):
        total += _tail(DECAY, (greatest - cumulative[x]) << 10, 14) >> shift
        cumulative[x] = total


@inlined
def _categorical_cumulative(x, symbols, bits, cumulative):
    return _quotient(cumulative[x] * ((np.int64(1) << bits) - symbols), cumulative[symbols]) + x


@inlined
def _beta_binomial_cumulative(x, symbols, bits, sums):
    shift = np.int64(0)
    while sums[symbols] >> (62 - bits + shift):
        shift += 1
    share = (sums[x] >> shift) * ((np.int64(1) << bits) - symbols)
    return _quotient(share, sums[symbols] >> shift) + x


@inlined
def _single_component(symbols, gaussian, params, scratch):
    """Fill scratch (3,) with the weight, the mean and the inverse scale of one component."""
    first = 1 - gaussian  # a logistic one has a weight, which says nothing
    scratch[0] = 1 << 20
    scratch[1] = _clamped(params[first], -64 * symbols, 128 * symbols)
    scratch[2] = INVERSE_SCALE[_clamped(params[first + 1], -1024, 3072) + 1024]


@inlined
def _single_cumulative(gaussian, x, symbols, bits, scratch):
    if x <= 0:
        return np.int64(0)
    if x >= symbols:
        return np.int64(1) << bits
    d = 64 * x - 32 - scratch[1]
    u = abs(d) * scratch[2] >> 16
    total = _reflected(_tail(NORMAL, u, 13) if gaussian else _tail(LOGISTIC, u, 14), -d) << 20
    return ((total >> 16) * ((np.int64(1) << bits) - symbols) >> 34) + x


@inlined
def _mixture_components(symbols, components, params, scratch):
    """Fill scratch (3 K,) with the weights w_k, the means and the inverse scales."""
    best = 0
    for k in range(components):
        scratch[k] = _clamped(params[k], -_LOGIT_LIMIT, _LOGIT_LIMIT)
        if scratch[k] > scratch[best]:
            best = k
    greatest = scratch[best]
    total = np.int64(0)
    for k in range(components):
        scratch[k] = _tail(DECAY, (greatest - scratch[k]) << 12, 14)
        total += scratch[k]
    left = np.int64(1) << 20
    for k in range(components):
        scratch[k] = _quotient(scratch[k] << 20, total)
        left -= scratch[k]
    scratch[best] += left
    for k in range(components):
        scratch[components + k] = _clamped(params[components + k], -64 * symbols, 128 * symbols)
        log_scale = _clamped(params[2 * components + k], -1024, 3072)
        scratch[2 * components + k] = INVERSE_SCALE[log_scale + 1024]


@inlined
def _mixture_cumulative(x, symbols, bits, components, scratch):
    if x <= 0:
        return np.int64(0)
    if x >= symbols:
        return np.int64(1) << bits
    position = 64 * x - 32
    total = np.int64(0)
    for k in range(components):
        d = position - scratch[components + k]
        u = abs(d) * scratch[2 * components + k] >> 16
        total += scratch[k] * _reflected(_tail(LOGISTIC, u, 14), -d)
    return ((total >> 16) * ((np.int64(1) << bits) - symbols) >> 34) + x


# What follows is for any leaf. Branches are of the one form that ``Leaf.numbers`` speaks of.


@inlined
def _prepare(symbols, bits, sums, several, single, scratch, tables, params):
    if sums is not None:
        _categorical_weights(symbols, bits, params, sums)
    if several is not None:
        _mixture_components(symbols, several, params, scratch)
    if single is not None:
        _single_component(symbols, single, params, scratch)
    if tables is not None:
        least, most = beta_binomial.LEAST, beta_binomial.MOST
        beta_binomial.weigh(symbols, _clamped(params[0], least, most), _clamped(params[1], least, most), tables)


@inlined
def _cumulative(symbols, bits, sums, several, single, scratch, tables, x):
    if sums is not None:
        return _categorical_cumulative(x, symbols, bits, sums)
    if several is not None:
        return _mixture_cumulative(x, symbols, bits, several, scratch)
    if single is not None:
        return _single_cumulative(single, x, symbols, bits, scratch)
    if tables is not None:
        return _beta_binomial_cumulative(x, symbols, bits, tables)
    return np.int64(0)


@inlined
def _inverse_tail(table, value, shift):
    """A u whose tail is about ``value``, 0 <= value <= 2^29."""
    j = np.int64(0)
    step = np.int64(1024)
    while step:
        if j + step < table.shape[0] - 1 and table[j + step] >= value:
            j += step
        step >>= 1
    left = np.int64(table[j])
    width = max(left - np.int64(table[j + 1]), 1)
    return (j << shift) + _quotient((left - min(value, left)) << shift, width)


@inlined
def _likely(gaussian, symbols, bits, slot, scratch):
    """Near the symbol whose interval holds slot, for one component: rounded carelessly, used as a first guess."""
    spare = (np.int64(1) << bits) - symbols
    # The floor under the masses shifts the cumulative function by x, here taken to be the mean.
    height = min(max(slot - (min(max(scratch[1], 0), 64 * symbols) >> 6), 0), spare)
    value = _quotient(height << 30, spare)
    smaller = min(value, (1 << 30) - value)
    u = _inverse_tail(NORMAL, smaller, 13) if gaussian else _inverse_tail(LOGISTIC, smaller, 14)
    d = _quotient(min(u, np.int64(24) << 20) << 16, scratch[2])
    x = (scratch[1] + 32 + (d if 2 * value > 1 << 30 else -d)) >> 6
    return min(max(x, np.int64(1)), np.int64(symbols - 1))


@inlined
def interval(symbols, bits, binary, sums, several, single, scratch, tables, params, x):
    """(start, freq) of symbol x, 0 <= x < symbols (compiled; not checked here).

    All but the last two arguments are those of ``Leaf.numbers``; params: (p,) one element's parameters.
    """
    x = np.int64(x)
    if binary is not None:
        return _bernoulli_interval(bernoulli_cut(params[0], bits), x, bits)
    _prepare(symbols, bits, sums, several, single, scratch, tables, params)
    start = _cumulative(symbols, bits, sums, several, single, scratch, tables, x)
    return start, _cumulative(symbols, bits, sums, several, single, scratch, tables, x + 1) - start


@inlined
def search(symbols, bits, binary, sums, several, single, scratch, tables, params, slot):
    """(x, start, freq) of the symbol whose interval holds slot, 0 <= slot < 2^bits (compiled).

    All but the last two arguments are those of ``Leaf.numbers``; params: (p,) one element's parameters. Bisects the
    cumulative function, from near the place where one component has its quantile; the result is the same whatever the
    way of searching.
    """
    if binary is not None:
        cut = bernoulli_cut(params[0], bits)
        if slot < cut:
            return np.int64(0), np.int64(0), cut
        return np.int64(1), cut, (np.int64(1) << bits) - cut
    _prepare(symbols, bits, sums, several, single, scratch, tables, params)
    low, start = np.int64(0), np.int64(0)
    high, end = np.int64(symbols), np.int64(1) << bits
    if single is not None:
        # Look around the likely place, in steps that double until they enclose it.
        probe = _likely(single, symbols, bits, slot, scratch)
        step = np.int64(1)
        while low < probe < high:
            value = _cumulative(symbols, bits, sums, several, single, scratch, tables, probe)
            if value <= slot:
                low, start = probe, value
                if high < symbols:
                    break
                probe += step
            else:
                high, end = probe, value
                if low > 0:
                    break
                probe -= step
            step *= 2
    while high - low > 1:
        middle = (low + high) >> 1
        value = _cumulative(symbols, bits, sums, several, single, scratch, tables, middle)
        if value <= slot:
            low, start = middle, value
        else:
            high, end = middle, value
    return low, start, end - start


@kernel
def _bernoulli_tile(bits, params, x, base, above, starts, freqs):
    for item in range(x.shape[0]):
        for position in range(base, above):
            cut = bernoulli_cut(params[item, position, 0], bits)
            start, freq = _bernoulli_interval(cut, x[item, position], bits)
            starts[position - base, item] = start
            freqs[position - base, item] = freq


@kernel
def _interval_tile(
    symbols, bits, binary, sums, several, single, scratch, tables, params, x, base, above, starts, freqs
):
    for item in range(x.shape[0]):
        for position in range(base, above):
            start, freq = interval(
                symbols, bits, binary, sums, several, single, scratch, tables, params[item, position], x[item, position]
            )
            starts[position - base, item] = start
            freqs[position - base, item] = freq


@kernel
def _pop_elements(
    symbols, bits, binary, sums, several, single, scratch, tables, params, x, state, words, count, bounds
):
    lanes = state.shape[1]
    for position in range(x.shape[1]):
        for stream in range(state.shape[0]):
            lane = 0
            for item in range(bounds[stream], bounds[stream + 1]):
                slot = peek_one(state, stream, lane, bits)
                symbol, start, freq = search(
                    symbols, bits, binary, sums, several, single, scratch, tables, params[item, position], slot
                )
                if not pop_one(state, words, count, stream, lane, start, freq, bits):
                    return False
                x[item, position] = symbol
                lane = 0 if lane == lanes - 1 else lane + 1
    return True


@kernel
def _bernoulli_cuts(bits, params, base, above, cuts):
    for item in range(params.shape[0]):
        for position in range(base, above):
            cuts[position - base, item] = bernoulli_cut(params[item, position, 0], bits)


@kernel
def pop_cuts(cuts, rows, bits, state, words, count, bounds):
    """Pop bits whose masses of 0 are known, and put each in the place of its mass (compiled).

    cuts (at least rows, at least n): position by position. False if the stream is exhausted.
    """
    lanes = state.shape[1]
    for row in range(rows):
        for stream in range(state.shape[0]):
            lane = 0
            for item in range(bounds[stream], bounds[stream + 1]):
                cut = np.int64(cuts[np.uint64(row), np.uint64(item)])
                symbol = np.int64(peek_one(state, stream, lane, bits) >= cut)
                start, freq = _bernoulli_interval(cut, symbol, bits)
                if not pop_one(state, words, count, stream, lane, start, freq, bits):
                    return False
                cuts[np.uint64(row), np.uint64(item)] = symbol
                lane = 0 if lane == lanes - 1 else lane + 1
    return True


@kernel
def _fixed_lengths(bits, freqs, lengths):
    for item in range(freqs.shape[0]):
        total = np.int64(0)
        for position in range(freqs.shape[1]):
            total += log2_fixed(freqs[item, position])
        lengths[item] = ((np.int64(bits) << LENGTH_BITS) * freqs.shape[1]) - total


# ---------------------------------------------------------------------------------------------------------
# Arrays of elements: params (n, D, parameters), x (n, D).


def _tile(items: int) -> np.ndarray:
    # High enough that parameters are read several cache lines at a time; rows of an odd number of lines, so
    # that they do not compete for the same places in the cache.
    return np.empty((max(64, 16384 // max(items, 1)), (items // 32) * 32 + 48), np.uint32)


def _interval_tiles(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """The intervals of a few positions at a time, the last first: base, above, starts and freqs (rows, width).

    Row r, column i hold position base + r of item i. Parameters lie item by item, while turns are taken position
    by position: tiles read whole cache lines.
    """
    starts, freqs = _tile(len(x)), _tile(len(x))
    height = len(starts)
    numbers = leaf.numbers()
    for above in range(x.shape[1], 0, -height):
        base = max(0, above - height)
        if leaf.code == _BERNOULLI:
            _bernoulli_tile(leaf.bits, params, x, base, above, starts, freqs)
        else:
            _interval_tile(*numbers, params, x, base, above, starts, freqs)
        yield base, above, starts, freqs


def _parameters(leaf: Leaf, params: np.ndarray) -> np.ndarray:
    if params.ndim != 3 or params.shape[2] != leaf.parameters:
        raise ValueError(f"expected parameters (n, D, {leaf.parameters}), got shape {params.shape}")
    # All ranges lie within +-2^23, where every integer is a float32; what rounds lies outside and is clamped.
    return np.ascontiguousarray(params, np.float32)


def _symbols(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    if x.shape != params.shape[:2]:
        raise ValueError(f"expected symbols of shape {params.shape[:2]}, got {x.shape}")
    check_symbols(x, leaf.symbols)
    return np.ascontiguousarray(x, np.int32)


def intervals(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and frequencies (n, D) uint32 of symbols x (n, D) under params (n, D, parameters).

    Raises NotRepresentable for a symbol outside the alphabet.
    """
    params = _parameters(leaf, params)
    x = _symbols(leaf, params, x)
    starts, freqs = np.empty(x.shape, np.uint32), np.empty(x.shape, np.uint32)
    for base, above, *tile in _interval_tiles(leaf, params, x):
        starts[:, base:above], freqs[:, base:above] = (rows[: above - base, : len(x)].T for rows in tile)
    return starts, freqs


def push_elements(leaf: Leaf, params: np.ndarray, x: np.ndarray, stack: Stack) -> None:
    """Push x (n, D): the last position first, and at each position the last item of each stream first.

    Raises NotRepresentable for a symbol outside the alphabet, ValueError for a group that was not begun.
    """
    params = _parameters(leaf, params)
    x = _symbols(leaf, params, x)
    stack.hold(x.shape[0])
    stack.reserve(pushes=int(stack.sizes.max()) * x.shape[1])
    arrays = stack.state, stack.words, stack.count, stack.bounds
    for base, above, starts, freqs in _interval_tiles(leaf, params, x):
        push_rows(starts, freqs, above - base, leaf.bits, *arrays)


def pop_elements(leaf: Leaf, params: np.ndarray, stack: Stack) -> np.ndarray:
    """Pop the symbols (n, D) int32 that ``push_elements`` pushed.

    Raises StackExhausted, ValueError for a group that was not begun.
    """
    params = _parameters(leaf, params)
    items, positions, _ = params.shape
    x = np.empty((items, positions), np.int32)
    stack.hold(items)
    stack.reserve(pops=int(stack.sizes.max()) * positions)
    arrays = stack.state, stack.words, stack.count, stack.bounds
    if leaf.code == _BERNOULLI:
        cuts = _tile(items)
        for base in range(0, positions, len(cuts)):
            above = min(positions, base + len(cuts))
            _bernoulli_cuts(leaf.bits, params, base, above, cuts)
            stack.check(pop_cuts(cuts, above - base, leaf.bits, *arrays))
            x[:, base:above] = cuts[: above - base, :items].T
    else:
        stack.check(_pop_elements(*leaf.numbers(), params, x, *arrays))
    return x


def code_lengths(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bits per item (n,) float64, for reports: the sum over its elements of log2(total / frequency).

    Raises NotRepresentable for a symbol outside the alphabet, as does ``code_lengths_fixed``.
    """
    check_symbols(x, leaf.symbols)  # of all items at once, so that errors name them by their places
    lengths = np.empty(len(x), np.float64)
    for part in _parts(x):
        _, freqs = intervals(leaf, params[part], x[part])
        lengths[part] = (leaf.bits - np.log2(freqs)).sum(axis=1)
    return lengths


def code_lengths_fixed(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The same (n,) int64 in units of 2^-20 bits: the sum of bits * 2^20 - log2_fixed(frequency).

    Equal on every machine, so that decisions of the coder may rest upon it.
    """
    check_symbols(x, leaf.symbols)
    lengths = np.empty(len(x), np.int64)
    for part in _parts(x):
        _, freqs = intervals(leaf, params[part], x[part])
        _fixed_lengths(leaf.bits, freqs, lengths[part])
    return lengths


def element_lengths_fixed(leaf: Leaf, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What each element adds to ``code_lengths_fixed``: (n, D) int64, units of 2^-20 bits."""
    check_symbols(x, leaf.symbols)
    lengths = np.empty(x.shape, np.int64)
    for part in _parts(x):
        _, freqs = intervals(leaf, params[part], x[part])
        _fixed_lengths(leaf.bits, freqs.reshape(-1, 1), lengths[part].reshape(-1))
    return lengths


def _parts(x: np.ndarray) -> Iterator[slice]:
    # Few enough items at a time for their intervals to stay in the cache.
    size = max(1, (1 << 16) // max(1, x[:1].size))
    for first in range(0, len(x), size):
        yield slice(first, first + size)
