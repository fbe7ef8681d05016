"""The weights of a beta-binomial distribution, by sums of integer logarithms.

x of n = A - 1 trials, the chance of success being beta distributed with the shapes alpha and beta:

    p(x) = binomial(n, x) B(x + alpha, n - x + beta) / B(alpha, beta),
    p(x + 1) / p(x) = (n - x) (x + alpha) / ((x + 1) (n - x - 1 + beta)).

Taken as a product from 0 upwards, the four factors of this recurrence separate into two functions of one shape each,
    p(x) = constant * r(alpha, x) * r(beta, n - x),    r(a, x) = (a / 1) ((a + 1) / 2) ... ((a + x - 1) / x),
so tables of log2 r belong to single shapes, not to pairs: with shapes on the grid 2^(k / 1024) there are 30,721 of
them, however fine the grid of pairs (944 million) is. Sums of logarithms neither overflow nor lose small weights,
where products of integers would do both: between the ends of a distribution that is shaped like a U, and n = 65535,
weights fall by far more than 2^32.

The arithmetic, which is the format (docs/format.md, "Leaves"), with log2_fixed and exp2_fixed of
``codelength.coding.logarithm``:
  shape(k) = 2^40 2^(k / 1024), from the table EXP2;
  R(a, x) = sum over i < x of log2_fixed(i * 2^40 + a) - log2_fixed((i + 1) * 2^40), units of 2^-20 bits;
  L(x) = R(alpha, x) + R(beta, n - x);  weight(x) = exp2_fixed(max(L) - L(x)).
A weight is within a factor 2^(1.4 n 2^-20) of the truth at the worst (0.0003 bits at A = 256), and within 2 units of
2^-30 of the greatest; errors of single logarithms are roundings, so in fact they grow with the root of n.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from codelength.coding.compiled import inlined, kernel
from codelength.coding.logarithm import exp2_fixed, log2_fixed
from codelength.coding.tables import EXP2

#: log2 of shapes: their unit, and their range in these units.
FRACTION_BITS = 10
LEAST, MOST = -16 << FRACTION_BITS, 14 << FRACTION_BITS
#: Shapes are multiples of 2^-40. So 65534 + 2^14 stays below 2^17, and below 2^57 as an integer.
POINT_BITS = 40
#: Numbers of all tables together: 32 MiB, of which the system gives only what is used.
_ROOM = 1 << 22


@inlined
def shape(k):
    """2^40 2^(k / 1024) for an integer k, LEAST <= k <= MOST (compiled; plain integers welcome)."""
    whole = (k + 1023) >> 10
    mantissa = np.int64(EXP2[(whole << 10) - k])
    shift = whole + 10
    return mantissa << shift if shift >= 0 else mantissa >> -shift


@kernel
def _fill(k, symbols, at, scratch):
    """Write R(shape(k), 0 .. A - 1) to scratch[at ...]."""
    a = shape(k)
    total = np.int64(0)
    scratch[at] = 0
    for i in range(symbols - 1):
        total += log2_fixed((np.int64(i) << POINT_BITS) + a) - log2_fixed(np.int64(i + 1) << POINT_BITS)
        scratch[at + 1 + i] = total


@inlined
def _table(k, symbols, scratch):
    """Where R(shape(k), .) lies; it is made there if it does not."""
    # Each slot begins with a mark that tells whose table it holds; marks are not 0, fresh scratch is.
    first = symbols + 2
    slots = (scratch.shape[0] - first) // (symbols + 1)
    at = first + (k - LEAST) % slots * (symbols + 1)
    if scratch[at] != k - LEAST + 1:
        _fill(k, symbols, at + 1, scratch)
        scratch[at] = k - LEAST + 1
    return at + 1


@kernel
def weigh(symbols, k, l, scratch):
    """Fill scratch[0 .. A] with the sums of the weights of the symbols before each (compiled).

    k, l: log2 of alpha and of beta in units of 2^-10, LEAST .. MOST; scratch: of ``scratch``.
    """
    pair = ((k - LEAST) << 20) + (l - LEAST) + 1
    if scratch[symbols + 1] == pair:  # still there from the element before
        return
    scratch[symbols + 1] = pair
    sums = scratch[: symbols + 1]
    count, last = np.uint64(symbols), np.uint64(symbols - 1)
    at = _table(k, symbols, scratch)
    rising = scratch[at : at + symbols]
    for x in range(count):  # unsigned indices spare the test for negative ones
        sums[np.uint64(x)] = rising[np.uint64(x)]
    at = _table(l, symbols, scratch)  # its slot may be the first one's, which is no longer needed
    rising = scratch[at : at + symbols]
    greatest = sums[0] + rising[last]
    for x in range(count):
        length = sums[np.uint64(x)] + rising[last - np.uint64(x)]
        sums[np.uint64(x)] = length
        greatest = max(greatest, length)
    total = np.int64(0)
    for x in range(count):
        weight = exp2_fixed(greatest - sums[np.uint64(x)])
        sums[np.uint64(x)] = total
        total += weight
    sums[count] = total


@lru_cache(maxsize=2)
def scratch(symbols: int) -> np.ndarray:
    """Scratch (int64) for ``weigh`` with A symbols, which keeps tables of shapes met before.

    Shared by all that code A symbols: kernels run one at a time, and what they leave is valid for the next. It holds
    the sums (A + 1), the last pair, and slots of 1 + A: as many as there are shapes, or as fit 32 MiB, or one.
    """
    slots = max(1, min(MOST - LEAST + 1, _ROOM // (symbols + 1)))
    return np.zeros(symbols + 2 + slots * (symbols + 1), np.int64)
