"""Torch leaves: sums, draws, and agreement with the integer leaves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from codelength.coding.frequencies import Leaf, code_lengths
from codelength.distributions import Bernoulli, BetaBinomial, Categorical, LogisticMixture, Normal, leaf_of

LEAVES = {
    "bernoulli": Bernoulli(),
    "categorical": Categorical(17),
    "mixture": LogisticMixture(40, 3),
    "mixture of one on two symbols": LogisticMixture(2, 1),
    "normal": Normal(64),
    "normal on two bins": Normal(2),
    "beta-binomial": BetaBinomial(40),
    "beta-binomial on two symbols": BetaBinomial(2),
}


def random_params(leaf, n: int, size: float = 2.0) -> torch.Tensor:
    return size * torch.randn(n, leaf.parameters, generator=torch.Generator().manual_seed(0))


def table(leaf, params: torch.Tensor) -> torch.Tensor:
    """log p of every symbol, (n, A)."""
    n = len(params)
    symbols = torch.arange(leaf.symbols).expand(n, -1)
    return leaf.log_prob(params[:, None].expand(-1, leaf.symbols, -1), symbols)


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_probabilities_sum_to_one(leaf):
    for size in (0.1, 2.0, 30.0):
        total = table(leaf, random_params(leaf, 50, size).double()).exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_draws_follow_the_probabilities(leaf):
    params = random_params(leaf, 1, 0.7)
    drawn = leaf.sample(params.expand(20000, -1), torch.Generator().manual_seed(1))
    assert drawn.dtype == torch.int64 and drawn.shape == (20000,)
    observed = torch.bincount(drawn, minlength=leaf.symbols) / 20000
    # Total variation of 20,000 draws from at most 64 symbols: about sqrt(64 / 20000) / 2.5.
    assert (observed - table(leaf, params)[0].exp()).abs().sum() / 2 < 0.04


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_gradients_are_finite_far_out(leaf):
    params = random_params(leaf, 200, 50.0).requires_grad_()
    table(leaf, params).sum().backward()
    assert torch.isfinite(params.grad).all()


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_integer_leaf_agrees(leaf):
    twin = Leaf(leaf.family, leaf.symbols, 24, leaf.components)
    assert twin.parameters == leaf.parameters
    outputs = random_params(leaf, 30, 0.8).double()
    gains = torch.tensor(getattr(leaf, "gain_bits", (0,) * leaf.parameters)).double()
    offsets = torch.tensor(getattr(leaf, "offsets", (0.0,) * leaf.parameters)).double()
    units = torch.tensor(twin.fraction_bits).double()
    integers = ((outputs * 2**gains + offsets) * 2**units).round()
    real = integers * 2**-units
    x = torch.arange(leaf.symbols)
    promised = table(leaf_of(twin), real).double()  # the leaf in real units
    grid = integers[:, None].expand(-1, leaf.symbols, -1).reshape(len(real) * leaf.symbols, 1, -1).numpy()
    bits = code_lengths(twin, grid.astype(np.float32), x.repeat(len(real))[:, None].numpy().astype(np.int32))
    coded = np.exp2(-bits.reshape(len(real), -1))
    assert np.abs(coded - promised.exp().numpy()).max() < 2**-14 + (leaf.symbols + 2) / 2**24
    # ... and outputs with gain and offset mean the same as real parameters without.
    plain = (real - offsets) * 2**-gains
    torch.testing.assert_close(table(leaf, plain).exp(), promised.exp(), rtol=0, atol=1e-6)


def test_mixture_does_not_cancel_far_from_the_mean():
    leaf = LogisticMixture(256, 1, scaled=False)
    params = torch.tensor([[0.0, 20.0, 0.0]])  # mean 20, scale 1
    exact = -179.5 + np.log1p(-np.exp(-1.0))  # e^-179.5 - e^-180.5, up to e^-359
    assert leaf.log_prob(params, torch.tensor([200]))[0].item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("leaf", [LEAVES["bernoulli"], LEAVES["categorical"]], ids=["bernoulli", "categorical"])
def test_initial_parameters_give_the_frequencies(leaf):
    frequencies = torch.rand(5, leaf.symbols, generator=torch.Generator().manual_seed(2)) + 0.1
    frequencies /= frequencies.sum(1, keepdim=True)
    torch.testing.assert_close(table(leaf, leaf.initial_parameters(frequencies)).exp(), frequencies)


@pytest.mark.parametrize(
    "leaf", [LogisticMixture(40, 3), Normal(64), BetaBinomial(64)], ids=["mixture", "normal", "beta-binomial"]
)
def test_initial_parameters_give_the_mean_and_spread(leaf):
    x = torch.arange(leaf.symbols).double()
    frequencies = torch.exp(-0.5 * ((x - 22) / 6) ** 2)[None]
    p = table(leaf, leaf.initial_parameters(frequencies)).exp()[0]
    mean = (p * x).sum()
    assert mean == pytest.approx(22, abs=0.2)
    assert ((p * (x - mean) ** 2).sum()).sqrt() == pytest.approx(6, rel=0.35)


def exact_beta_binomial(n: int, alpha: Fraction, beta: Fraction) -> list[Fraction]:
    """By the recurrence over x, in rational numbers."""
    p = [Fraction(1)]
    for x in range(n):
        p.append(p[-1] * (n - x) * (x + alpha) / ((x + 1) * (n - x - 1 + beta)))
    return [value / sum(p) for value in p]


@pytest.mark.parametrize("log2_shapes", [(0, 0), (3, -2), (-16, 14), (14, 14), (-16, -16), (1, -16)])
@pytest.mark.parametrize("symbols", [2, 3, 31])
def test_beta_binomial_is_the_exact_distribution(symbols, log2_shapes):
    alpha, beta = (Fraction(2) ** k for k in log2_shapes)
    exact = torch.tensor([float(p) for p in exact_beta_binomial(symbols - 1, alpha, beta)], dtype=torch.float64).log()
    params = torch.tensor([log2_shapes], dtype=torch.float64)
    leaf = BetaBinomial(symbols)
    torch.testing.assert_close(table(leaf, params)[0], exact, rtol=1e-9, atol=1e-9)
    # single precision of the parameters does not make the log-gammas of large shapes cancel
    torch.testing.assert_close(table(leaf, params.float())[0].double(), exact, rtol=1e-6, atol=1e-6)
    # beyond the clamps nothing changes
    torch.testing.assert_close(table(leaf, (params * 1e3).clamp(-16, 14)), table(leaf, params * 1e3))


def test_beta_binomial_keeps_the_mean_where_frequencies_are_too_narrow_for_it():
    frequencies = torch.full((256,), 1e-9)
    frequencies[50:53] = 1.0
    leaf = BetaBinomial(256)
    p = table(leaf, leaf.initial_parameters(frequencies)[None])[0].exp()
    assert (p * torch.arange(256)).sum() == pytest.approx(51, abs=0.1)


def test_beta_binomial_draws_where_shapes_are_tiny():
    """All mass at the ends, in the ratio of the shapes."""
    drawn = BetaBinomial(256).sample(torch.tensor([-14.0, -15.0]).expand(4000, -1), torch.Generator().manual_seed(0))
    share = (drawn == 255).float().mean()
    assert share == pytest.approx(2 / 3, abs=6 * (2 / 9 / 4000) ** 0.5 + 0.002)
