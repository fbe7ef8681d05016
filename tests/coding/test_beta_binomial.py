"""The beta-binomial leaf against rational arithmetic, and what its grid of shapes costs."""

from __future__ import annotations

from itertools import accumulate
from math import comb
from operator import mul

import numpy as np
import pytest
import torch
from ways_in import interval, shape

from codelength.coding import beta_binomial
from codelength.coding.frequencies import Leaf, code_lengths, intervals
from codelength.coding.tables import EXP2
from codelength.distributions import BetaBinomial, leaf_of
from codelength.distributions.beta_binomial import LOG2_SHAPES

SIZES = [2, 3, 17, 256]
EXTREMES = [(-16384, -16384), (14336, 14336), (-16384, 14336), (14336, -16384), (-16384, 0), (0, 0), (9000, -3001)]


def frequencies(leaf: Leaf, row: tuple[int, int]) -> np.ndarray:
    params = np.broadcast_to(np.array(row, np.float32), (1, leaf.symbols, 2))
    starts, freqs = intervals(leaf, params, np.arange(leaf.symbols)[None])
    freqs = freqs[0].astype(np.int64)
    assert (starts[0] == np.cumsum(freqs) - freqs).all()
    return freqs


def exact(n: int, row: tuple[int, int]) -> np.ndarray:
    """The distribution (A,) for the shapes that the integers name: ratios of whole numbers, rounded once.

    p(x) is in proportion to binomial(n, x), alpha (alpha + 1) ... and beta (beta + 1) ..., x and n - x factors.
    """
    rising = []
    for k in row:
        a = int(shape(k))  # in units of 2^-40
        rising.append(list(accumulate(((i << 40) + a for i in range(n)), mul, initial=1)))
    weights = [comb(n, x) * rising[0][x] * rising[1][n - x] for x in range(n + 1)]
    total = sum(weights)
    return np.array([weight / total for weight in weights])


def test_shapes_are_powers_of_two() -> None:
    for k in (beta_binomial.LEAST, -10241, -10240, -10239, -1, 0, 1, 777, 1024, beta_binomial.MOST):
        assert shape(k) == pytest.approx(2.0 ** (40 + k / 1024), rel=2**-22)
    shapes = [int(shape(k)) for k in range(beta_binomial.LEAST, beta_binomial.MOST + 1, 7)]
    assert shapes == sorted(shapes) and shapes[-1] < 1 << 55
    assert int(shape(5 * 1024)) == 1 << 45 and int(EXP2[0]) == 1 << 30


def test_clamps_are_those_of_the_torch_leaf() -> None:
    unit = 1 << beta_binomial.FRACTION_BITS
    assert (beta_binomial.LEAST / unit, beta_binomial.MOST / unit) == LOG2_SHAPES
    assert Leaf("beta_binomial", 9).fraction_bits == (beta_binomial.FRACTION_BITS,) * 2
    leaf = Leaf("beta_binomial", 9)
    ends = frequencies(leaf, (beta_binomial.LEAST, beta_binomial.MOST))
    assert (ends == frequencies(leaf, (-(2**22), 2**22))).all()
    assert isinstance(leaf_of(leaf), BetaBinomial)


@pytest.mark.parametrize("symbols", SIZES)
@pytest.mark.parametrize("bits", [16, 24, 28])
def test_frequencies_are_those_of_rational_arithmetic(symbols: int, bits: int) -> None:
    """Within one unit, beside the factor that sums of rounded logarithms may lose."""
    leaf, rng = Leaf("beta_binomial", symbols, bits), np.random.default_rng(symbols)
    rows = EXTREMES + [tuple(row) for row in rng.integers(-16384, 14337, (6, 2)).tolist()]
    for row in rows:
        freqs = frequencies(leaf, row)
        assert freqs.min() >= 1 and freqs.sum() == 1 << bits
        p = exact(symbols - 1, row)
        ideal = p * (2**bits - symbols) + 1
        slack = p * (2**bits) * (1.4 * symbols * 2**-20) + symbols * 2.0 ** (bits - 29) * p.max()
        assert (np.abs(freqs - ideal) <= 1 + slack).all(), row


@pytest.mark.parametrize("row", [(0, 0), (9000, 9000), (-6000, -6000), (-16384, 14336), (14336, 9000), (-9000, 2000)])
def test_the_largest_alphabet(row: tuple[int, int]) -> None:
    """Numerically wide: in a U of 2^16 symbols weights fall by 2^20 and carry a sixth of the mass."""
    leaf = Leaf("beta_binomial", 65536, 28)
    freqs = frequencies(leaf, row)
    assert freqs.min() >= 1 and freqs.sum() == 1 << 28
    log2_p = torch_log2(65536, np.array([row]))[0]
    divergence = (np.exp2(log2_p) * (log2_p - np.log2(freqs) + 28)).sum()
    assert -1e-9 <= divergence < 65536 / 2**28 / np.log(2) + 1e-4  # the floor under the masses, and little more


def torch_log2(symbols: int, rows: np.ndarray) -> np.ndarray:
    """log2 p (n, A) of the continuous leaf; rows in units of the integer leaf, fractions welcome."""
    params = torch.from_numpy(rows / 1024)[:, None].expand(-1, symbols, -1)
    return BetaBinomial(symbols).log_prob(params, torch.arange(symbols).expand(len(rows), -1)).numpy() / np.log(2)


@pytest.mark.parametrize("symbols", SIZES)
def test_code_lengths_are_those_of_the_torch_leaf(symbols: int) -> None:
    """Per symbol, where it has a probability that 28 bits can hold."""
    leaf, rng = Leaf("beta_binomial", symbols, 28), np.random.default_rng(1)
    rows = np.concatenate([rng.integers(-16384, 14337, (200, 2)), np.array(EXTREMES)])
    log2_p = torch_log2(symbols, rows)
    params = np.repeat(rows[:, None], symbols, 1)[:, :, None].reshape(-1, 1, 2)
    lengths = code_lengths(leaf, params, np.tile(np.arange(symbols), len(rows))[:, None]).reshape(log2_p.shape)
    assert np.abs(lengths + log2_p)[log2_p > -10].max() < 2e-3
    # ... and less likely symbols never take a bit more, nor any symbol more than the floor allows
    assert (lengths <= np.minimum(1 - log2_p, 28)).all()


@pytest.mark.parametrize("symbols", [2, 17, 256, 65536])
def test_the_grid_costs_far_less_than_a_thousandth(symbols: int) -> None:
    """Bits lost by rounding the shapes, against the entropy: the worst of sharp, wide and U-shaped distributions."""
    rng = np.random.default_rng(2)
    count = 40 if symbols < 65536 else 3
    sharp = rng.uniform(13000, 14336, (count, 2))
    rows = np.concatenate([sharp, rng.uniform(-16384, 14336, (count, 2)), rng.uniform(-4000, 4000, (count, 2))])
    rows[0] = 14335.5, 14335.5 - 1e-6  # rounds to either side: the worst case of the worst case
    log2_p, log2_q = torch_log2(symbols, rows), torch_log2(symbols, np.round(rows))
    p = np.exp2(log2_p)
    lost, entropy = (p * (log2_p - log2_q)).sum(1), -(p * log2_p).sum(1)
    assert lost.min() > -1e-8
    assert lost.sum() / entropy.sum() < 1e-4
    certain = entropy < 1e-3
    assert (lost[~certain] / entropy[~certain]).max() < 3e-4


def test_scratch_gives_the_same_whatever_lay_there_before() -> None:
    """Tables share slots; a slot that both shapes of an element want, and one used before for another."""
    leaf, rng = Leaf("beta_binomial", 40), np.random.default_rng(3)
    slots = 3
    small = np.zeros(42 + slots * 41, np.int64)
    for row in [*rng.integers(-50, 50, (300, 2)).tolist(), [6, 6], [6, 9], [9, 6], [6, 6]]:
        params = np.array(row, np.float32)
        freqs = frequencies(leaf, tuple(row))
        for bits in (24, 24, 20):
            start, freq = interval(40, bits, None, None, None, None, None, small, params, 7)
            if bits == 24:
                assert (start, freq) == (freqs[:7].sum(), freqs[7])


def test_scratch_is_bounded() -> None:
    for symbols in (2, 17, 256, 65536):
        assert beta_binomial.scratch(symbols).nbytes <= (32 << 20) + 16 * symbols + (1 << 20)
        assert beta_binomial.scratch(symbols) is Leaf("beta_binomial", symbols, 20).numbers()[-1]
