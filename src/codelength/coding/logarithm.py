"""Logarithms and powers of two on integers, by table and integer arithmetic alone.

Code lengths are integers in units of 2^-20 bits (``LENGTH_BITS`` = 20), so every machine finds the same ones.
"""

from __future__ import annotations

import numpy as np

from codelength.coding.compiled import kernel, shared
from codelength.coding.tables import EXP2, LOG2

LENGTH_BITS = 20


@shared
def log2_fixed(value):
    """log2 of an integer, 1 <= value < 2^62, in units of 2^-20 (compiled; plain integers welcome).

    With e the largest integer such that 2^e <= value, m = floor(value * 2^(30 - e)) - 2^30, j = m div 2^20
    and r = m mod 2^20:  f = LOG2[j] + (LOG2[j + 1] - LOG2[j]) * r div 2^20, and the result is
    e * 2^20 + (f + 2^9) div 2^10.

    Within 0.7 of the exact 2^20 log2(value); non-decreasing; exact at powers of two.
    """
    v = np.int64(value)
    e = np.int64(v >> 32 != 0) << 5
    e += np.int64(v >> (e + 16) != 0) << 4
    e += np.int64(v >> (e + 8) != 0) << 3
    e += np.int64(v >> (e + 4) != 0) << 2
    e += np.int64(v >> (e + 2) != 0) << 1
    e += np.int64(v >> (e + 1) != 0)
    m = (v << (30 - e) if e <= 30 else v >> (e - 30)) - (1 << 30)
    j = m >> 20
    low = np.int64(LOG2[j])
    f = low + ((LOG2[j + 1] - low) * (m & 0xFFFFF) >> 20)
    return (e << 20) + ((f + 512) >> 10)


@shared
def exp2_fixed(length):
    """2^30 * 2^(-length / 2^20) for an integer length >= 0 (compiled; plain integers welcome).

    With n = length div 2^20, g = length mod 2^20, j = g div 2^10 and r = g mod 2^10, it is
    (EXP2[j] - (EXP2[j] - EXP2[j + 1]) * r div 2^10) div 2^n; zero if n > 30.

    Below the exact value by less than 2, above it by less than 63 * 2^-n + 1; non-increasing; 2^30 at zero.
    """
    d = np.int64(length)
    n = d >> 20
    if n > 30:
        return np.int64(0)
    j = (d >> 10) & 1023
    high = np.int64(EXP2[j])
    return (high - ((high - EXP2[j + 1]) * (d & 1023) >> 10)) >> n


@kernel
def _responsibilities(lengths, prior, bits, freqs):
    components = lengths.shape[1]
    for item in range(lengths.shape[0]):
        best = 0
        for k in range(1, components):
            if lengths[item, k] + prior[k] < lengths[item, best] + prior[best]:
                best = k
        least = lengths[item, best] + prior[best]
        total = np.int64(0)
        for k in range(components):
            freqs[item, k] = exp2_fixed(lengths[item, k] + prior[k] - least)
            total += freqs[item, k]
        spare = (np.int64(1) << bits) - components
        left = spare
        for k in range(components):
            share = freqs[item, k] * spare // total
            freqs[item, k] = share + 1
            left -= share
        freqs[item, best] += left


def responsibilities(code_lengths: np.ndarray, prior_lengths: np.ndarray, bits: int = 24) -> np.ndarray:
    """The posterior over a finite index as integer frequencies (n, K) int64, each row with sum 2^bits.

    code_lengths (n, K) and prior_lengths (K,) hold -log2 p(x | k) and -log2 p(k) as integers in units of
    2^-20 bits; any constant may be added to either.

    With a_k = code_lengths_k + prior_lengths_k, b the first k of least a_k, and e_k = exp2_fixed(a_k - a_b):
    freq_k = 1 + e_k * (2^bits - K) div sum(e), and what is missing to 2^bits is added to freq_b.
    So every index has mass. Raises ValueError unless 1 <= K <= 2^(bits - 1) and bits <= 28.
    """
    lengths = np.ascontiguousarray(code_lengths, np.int64)
    prior = np.ascontiguousarray(prior_lengths, np.int64)
    components = len(prior)
    if lengths.ndim != 2 or lengths.shape[1] != components:
        raise ValueError(f"expected code lengths (n, {components}), got shape {lengths.shape}")
    if not (1 <= bits <= 28 and 1 <= components <= 1 << (bits - 1)):
        raise ValueError(f"expected at most 2^(bits - 1) components and bits <= 28, got {components} and {bits}")
    freqs = np.empty_like(lengths)
    _responsibilities(lengths, prior, bits, freqs)
    return freqs
