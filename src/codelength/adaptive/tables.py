"""The integer tables of adaptive coding, each given by its exact definition (docs/format.md, "Adaptive law").

Like those of ``coding.tables`` they are made of integers alone.
"""

from __future__ import annotations

import numpy as np

from codelength.coding.tables import logistic

#: The logit domain: units of 2^-8 nats, clipped to just below 12 nats.
STRETCH_MAX = 3071
#: Bits of a binary decision's probability.
DECISION_BITS = 22
#: Smallest probability (of 2^22) of either side, before and after the probability maps.
MIX_LEAST = 8
CODE_LEAST = 16
#: The cumulative logistic distribution: 2^-7 scale units, up to 16 of them on either side.
CUMULATIVE_MAX = 2048
#: Classes of magnitudes below this are looked up; larger ones are divided by 64 first, which is twelve classes.
CLASS_TABLE = 4096
#: No class is larger than this one.
CLASSES = 40
COUNTER_MAX = 1023


def _squash() -> np.ndarray:
    upper = logistic(256, STRETCH_MAX + 1, DECISION_BITS)  # of -i/256 for i = 0 ..
    top = 1 << DECISION_BITS
    values = [*upper[:0:-1], *(top - value for value in upper)]
    return np.array([min(max(value, MIX_LEAST), top - MIX_LEAST) for value in values], np.int32)


def _stretch() -> np.ndarray:
    # A number of thresholds: logistic((2 j - 1) / 512) for j = 1 .. STRETCH_MAX, and one less those for j <= 0.
    tails = logistic(512, 2 * STRETCH_MAX)[1::2]  # of -(2 j - 1) / 512
    above = np.array([(1 << 30) - value for value in tails], np.int64)
    below = np.array(tails[::-1], np.int64)
    thresholds = np.concatenate([below, above])
    middles = (2 * np.arange(1 << 16, dtype=np.int64) + 1) << 13
    return (np.searchsorted(thresholds, middles, side="right") - STRETCH_MAX).astype(np.int16)


def _cumulative() -> np.ndarray:
    lower = logistic(128, CUMULATIVE_MAX + 1)
    return np.array([*lower[:0:-1], *((1 << 30) - value for value in lower)], np.int32)


def _classes() -> np.ndarray:
    # round(2 log2 d) + 1 for d >= 2: the exponent of the power of two next below 2 d^4, halved.
    return np.array([0, 1, *(((2 * d**4).bit_length() - 1) // 2 + 1 for d in range(2, CLASS_TABLE))], np.int32)


SQUASH = _squash()
STRETCH = _stretch()
CUMULATIVE = _cumulative()
CLASS = _classes()
RATE = np.array([655360 // (10 * n + 16) for n in range(COUNTER_MAX + 1)], np.int32)
CONFIDENCE = np.array([2560 * n // (10 * n + 4) for n in range(COUNTER_MAX + 1)], np.int32)
"""
    SQUASH[i + 3071]      2^22 / (1 + e^(-i/256)), at least 8, at most 2^22 - 8     i = -3071 .. 3071
    STRETCH[p]            256 log(q / (1 - q)) for q = (p + 1/2) / 2^16, at most 3071 in size     p = 0 .. 65535
    CUMULATIVE[i + 2048]  2^30 / (1 + e^(-i/128))     i = -2048 .. 2048
    CLASS[d]              0, 1, then 2 log2(d) + 1    d = 0 .. 4095
    RATE[n]               2^16 / (n + 1.6), rounded down     n = 0 .. 1023
    CONFIDENCE[n]         2^8 n / (n + 0.4), rounded down    n = 0 .. 1023
"""

__all__ = ["CLASS", "CONFIDENCE", "CUMULATIVE", "RATE", "SQUASH", "STRETCH"]
