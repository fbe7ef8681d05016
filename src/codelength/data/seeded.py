"""Seeded choices that are the same on every machine and under every version of every library.

Library generators may change what they draw from one release to the next; a published split or a frozen
binarization may not. Everything random in this package therefore comes from SHAKE-256 (FIPS 202) of a short
text that names the purpose and the seed, read as little-endian words.
"""

from __future__ import annotations

import hashlib

import numpy as np


def words(purpose: str, seed: int, count: int, dtype: str = "<u8") -> np.ndarray:
    """``count`` uniform words, a function of the purpose and the seed alone."""
    width = np.dtype(dtype).itemsize
    stream = hashlib.shake_256(f"codelength {purpose} seed {seed}".encode()).digest(width * count)
    return np.frombuffer(stream, dtype=dtype)


def permutation(purpose: str, seed: int, n: int) -> np.ndarray:
    """A permutation of ``range(n)``: the order of n random 64-bit keys (ties, at 2^-64 a pair, by index)."""
    return np.argsort(words(purpose, seed, n), kind="stable")


def choose(n: int, count: int, seed: int) -> np.ndarray:
    """``count`` of the indices 0..n-1 without repetition, in increasing order."""
    return np.sort(permutation(f"subset of {n}", seed, n)[:count])


def binarize(grey: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """Draw each pixel once: 1 with probability ``grey / 255``; uint8 of the shape of ``grey`` (uint8).

    A 32-bit word modulo 255 is uniform on 0..254 up to 2^-32, so the probability is exact for every practical
    purpose and no floating-point number is involved.
    """
    uniform = words(purpose, seed, grey.size, "<u4") % np.uint32(255)
    return (uniform.reshape(grey.shape) < grey).astype(np.uint8)
