"""Hamiltonian Monte Carlo: properties of the integrator, and a posterior that is known."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian_models import LinearGaussian
from torch import Tensor

from codelength.errors import EvaluationError, UsageError
from codelength.likelihood.hmc import adapt, gradient, leapfrog, sample, transition


def quartic(z: Tensor) -> Tensor:
    """Not Gaussian, so that the integrator's errors are not special."""
    return -0.25 * z.pow(4).sum(-1) - 0.5 * (z[..., 0] - z[..., 1]).square()


def start(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, 50, 2), generator=generator, dtype=torch.float64).unbind(0)  # type: ignore[return-value]


def test_leapfrog_is_reversible() -> None:
    z, v = start()
    sizes = torch.linspace(0.02, 0.2, 50, dtype=torch.float64)
    there, momenta = leapfrog(quartic, z, v, sizes, 25)
    back, again = leapfrog(quartic, there, -momenta, sizes, 25)
    assert float((there - z).abs().max()) > 0.5
    torch.testing.assert_close(back, z, rtol=0, atol=1e-11)
    torch.testing.assert_close(again, -v, rtol=0, atol=1e-11)


def test_the_energy_error_is_of_second_order() -> None:
    z, v = start()
    errors = []
    for steps in (40, 80, 160):
        end, momenta = leapfrog(quartic, z, v, torch.full((50,), 1.0 / steps, dtype=torch.float64), steps)
        energy = 0.5 * momenta.square().sum(-1) - quartic(end)
        errors.append(float((energy - 0.5 * v.square().sum(-1) + quartic(z)).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_the_posterior_of_a_linear_gaussian_model() -> None:
    model = LinearGaussian(n=3, sigma=1.0)
    chains, generator = 200, torch.Generator().manual_seed(1)
    origin = torch.zeros(chains, 3, 2, dtype=torch.float64)
    trace = sample(model.log_joint, origin, 60, generator, step_size=0.05, steps=6, warmup=60)
    assert trace.positions.shape == (60, chains, 3, 2)
    assert trace.step_sizes.shape == (chains, 3)
    torch.testing.assert_close(trace.energies[-1], -model.log_joint(trace.positions[-1]))
    assert 0.77 < float(trace.acceptance.mean()) < 0.84  # adapted to 0.8 from far too small a step
    assert float(trace.step_sizes.min()) > 0.2
    # Chains are independent, so their means tell the error.
    by_chain = trace.positions.mean(0) - model.mean
    assert float((by_chain.mean(0) / (by_chain.std(0) / math.sqrt(chains))).abs().max()) < 4
    centred = trace.positions - model.mean
    products = (centred[..., :, None] * centred[..., None, :]).mean(0) - model.covariance
    assert float((products.mean(0) / (products.std(0) / math.sqrt(chains))).abs().max()) < 4
    # exp(-error) has mean one in equilibrium, since leapfrog preserves volume.
    assert float(torch.exp(-trace.energy_errors[20:]).mean()) == pytest.approx(1, abs=0.03)


def test_step_sizes_adapt_per_chain() -> None:
    scale = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    first = (torch.randn(3, 4, generator=generator, dtype=torch.float64)) * scale[:, None]
    _, sizes = adapt(
        lambda z: -0.5 * (z / scale[:, None]).square().sum(-1), first, torch.ones(3).double(), 3, 300, generator
    )
    ratios = sizes / scale
    assert float(ratios.min()) > 0.3
    assert float(ratios.max()) < 3


@pytest.mark.parametrize(("first", "warmup"), [(0.02, 60), (5.0, 60), (5.0, 200)])
def test_acceptance_after_the_warm_up_is_the_target(first: float, warmup: int) -> None:
    """From too small and too large a step, which left alone would accept everything or nothing."""
    rates = []
    for seed in range(4):
        model = LinearGaussian(n=3, sigma=0.6, seed=seed)
        origin, generator = torch.zeros(60, 3, 2, dtype=torch.float64), torch.Generator().manual_seed(4 + seed)
        trace = sample(model.log_joint, origin, 40, generator, step_size=first, steps=5, warmup=warmup)
        rates.append(float(trace.acceptance.mean()))
    # A single model is known to about 0.01 and differs by as much from others: all of them were within 0.81 and 0.85.
    assert sum(rates) / 4 == pytest.approx(0.8, abs=0.06)


def test_a_transition_costs_one_evaluation_a_step() -> None:
    calls = 0

    def counted(z: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return quartic(z)

    z, _ = start()
    generator = torch.Generator().manual_seed(3)
    sizes = torch.full((50,), 0.1, dtype=torch.float64)
    step = transition(counted, z, sizes, 7, generator)
    assert calls == 8  # and one where it starts
    torch.testing.assert_close(step.log_density, quartic(step.positions))
    torch.testing.assert_close(step.slope, gradient(quartic, step.positions)[1])
    calls = 0
    sample(counted, z, 5, generator, steps=7)
    assert calls == 5 * 7 + 1


def test_divergence_is_rejected_and_no_density_is_an_error() -> None:
    generator = torch.Generator().manual_seed(0)
    origin = torch.ones(5, 2, dtype=torch.float64)
    trace = sample(quartic, origin, 2, generator, step_size=1e3, steps=20)
    assert not bool(trace.accepted.any())
    assert torch.equal(trace.positions[-1], origin)
    assert bool(torch.isposinf(trace.energy_errors).all())
    with pytest.raises(EvaluationError, match="got nan for 5 of 5 chains"):
        sample(quartic, origin * math.nan, 1, generator)
    with pytest.raises(UsageError, match="positive"):
        sample(quartic, origin, 0, generator)
