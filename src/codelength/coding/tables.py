"""The integer tables of the coder, each given by its exact definition.

Every entry is a real number times a power of two, rounded to the nearest integer, ties to even. They are
generated with sixty decimal digits, which is far from any tie, so any correct implementation finds the same
integers; no floating point takes part.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import numpy as np

_DIGITS = Context(prec=60, rounding=ROUND_HALF_EVEN)

ONE_BITS = 30  # tables of probabilities and of factors hold multiples of 2^-30


def _rounded(value: Decimal, fraction_bits: int = ONE_BITS) -> int:
    return int((value * (1 << fraction_bits)).to_integral_value(ROUND_HALF_EVEN))


def _powers(factor: Decimal, first: Decimal, count: int) -> Iterator[Decimal]:
    value = first
    for _ in range(count):
        yield value
        value *= factor


def _logistic() -> list[int]:
    growth = (Decimal(1) / 64).exp()
    return [_rounded(1 / (1 + value)) for value in _powers(growth, Decimal(1), 24 * 64 + 1)]


def _decay() -> list[int]:
    return [_rounded(value) for value in _powers((Decimal(-1) / 64).exp(), Decimal(1), 24 * 64 + 1)]


def _inverse_scale() -> list[int]:
    return [_rounded(value) for value in _powers((Decimal(-1) / 256).exp(), Decimal(4).exp(), 16 * 256 + 1)]


def _normal() -> list[int]:
    # 1/2 - density(z) * (z + z^3/3 + z^5/(3*5) + ...); all terms are positive, so nothing cancels among them.
    # pi by Machin's formula.
    def arctan_of_inverse(n: int) -> Decimal:
        power, total, k = Decimal(1) / n, Decimal(0), 0
        while power > Decimal(10) ** -62:
            total += (power if k % 2 == 0 else -power) / (2 * k + 1)
            power /= n * n
            k += 1
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    peak = 1 / (2 * pi).sqrt()
    entries = []
    for j in range(7 * 128 + 1):
        z = Decimal(j) / 128
        square, term, total, k = z * z, z, z, 1
        while term > Decimal(10) ** -30:
            k += 2
            term = term * square / k
            total += term
        entries.append(_rounded(Decimal("0.5") - peak * (-square / 2).exp() * total))
    return entries


def _log2() -> list[int]:
    unit = Decimal(2).ln()
    return [_rounded((1 + Decimal(j) / 1024).ln() / unit) for j in range(1025)]


def _exp2() -> list[int]:
    return [_rounded(value) for value in _powers((-Decimal(2).ln() / 1024).exp(), Decimal(1), 1025)]


def _generate() -> tuple[np.ndarray, ...]:
    with localcontext(_DIGITS):
        lists = _logistic(), _decay(), _normal(), _inverse_scale(), _log2(), _exp2()
    return tuple(np.array(entries, np.int64 if max(entries) >> 31 else np.int32) for entries in lists)


LOGISTIC, DECAY, NORMAL, INVERSE_SCALE, LOG2, EXP2 = _generate()
"""
    LOGISTIC[j]       2^30 / (1 + e^(j/64))            j = 0 .. 1536    the logistic distribution's upper tail
    DECAY[j]          2^30 e^(-j/64)                   j = 0 .. 1536
    NORMAL[j]         2^30 Phi(-j/128)                 j = 0 .. 896     the standard normal's upper tail
    INVERSE_SCALE[j]  2^30 e^(4 - j/256)               j = 0 .. 4096
    LOG2[j]           2^30 log2(1 + j/1024)            j = 0 .. 1024
    EXP2[j]           2^30 2^(-j/1024)                 j = 0 .. 1024

The first three end in zero.
"""
