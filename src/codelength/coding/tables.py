"""The integer tables of the coder, each given by its exact definition.

Every entry is a real number times a power of two, rounded to the nearest integer, ties to even. They are made of
integers in units of 2^-200 (sixty decimal digits), which is far from any tie, so any correct implementation finds
the same integers; no floating point takes part. It takes a few hundredths of a second.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

ONE_BITS = 30  # tables of probabilities and of factors hold multiples of 2^-30
_POINT = 200
_ONE = 1 << _POINT


def _rounded(value: int, bits: int = ONE_BITS) -> int:
    shift = _POINT - bits
    return (value + (1 << (shift - 1))) >> shift


def _exp(numerator: int, denominator: int) -> int:
    """e^x for a small fraction x >= 0, by its series."""
    total = term = _ONE
    for k in itertools.count(1):
        term = term * numerator // (denominator * k)
        if not term:
            return total
        total += term
    raise AssertionError


def _inverse(value: int) -> int:
    return _ONE * _ONE // value


def _powers(factor: int, first: int, count: int) -> Iterator[int]:
    value = first
    for _ in range(count):
        yield value
        value = value * factor >> _POINT


def logistic(step: int, count: int, bits: int = ONE_BITS) -> list[int]:
    """2^bits / (1 + e^(j/step)) for j = 0 .. count - 1, rounded."""
    return [_rounded(_inverse(_ONE + value), bits) for value in _powers(_exp(1, step), _ONE, count)]


def _decay() -> list[int]:
    return [_rounded(value) for value in _powers(_inverse(_exp(1, 64)), _ONE, 24 * 64 + 1)]


def _inverse_scale() -> list[int]:
    return [_rounded(value) for value in _powers(_inverse(_exp(1, 256)), _exp(4, 1), 16 * 256 + 1)]


def _normal() -> list[int]:
    # 1/2 - density(z) * (z + z^3/3 + z^5/(3*5) + ...); all terms are positive, so nothing cancels among them.
    # pi by Machin's formula.
    def arctan_of_inverse(n: int) -> int:
        power, total, k = _ONE // n, 0, 0
        while power:
            total += (power if k % 2 == 0 else -power) // (2 * k + 1)
            power //= n * n
            k += 1
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    # The density at j / 128, times the square root of 2 pi: e^(-j^2 / 2^15), from one to the next.
    density, ratio, square = _ONE, _inverse(_exp(1, 1 << 15)), _inverse(_exp(1, 1 << 14))
    root = math.isqrt(2 * pi * _ONE)
    entries = []
    for j in range(7 * 128 + 1):
        term = total = j * _ONE // 128
        k = 1
        while term >> 80:
            k += 2
            term = term * (j * j) // (16384 * k)
            total += term
        entries.append(_rounded(_ONE // 2 - density * total // root))
        density = density * ratio >> _POINT
        ratio = ratio * square >> _POINT
    return entries


def _logarithms() -> list[int]:
    """log(1 + j / 1024) for j = 0 .. 1024, each from the one before: log((m + 1) / (m - 1)) = 2 artanh(1 / m)."""
    values = [0]
    for j in range(1024):
        m = 2 * (1024 + j) + 1
        power, step, k = 2 * _ONE // m, 0, 1
        while power:
            step += power // k
            power //= m * m
            k += 2
        values.append(values[-1] + step)
    return values


def _log2(logarithms: list[int]) -> list[int]:
    return [_rounded(value * _ONE // logarithms[-1]) for value in logarithms]


def _exp2(logarithms: list[int]) -> list[int]:
    factor = _inverse(_exp(logarithms[-1], 1024 * _ONE))
    return [_rounded(value) for value in _powers(factor, _ONE, 1025)]


def _generate() -> tuple[np.ndarray, ...]:
    logarithms = _logarithms()
    lists = logistic(64, 24 * 64 + 1), _decay(), _normal(), _inverse_scale(), _log2(logarithms), _exp2(logarithms)
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
