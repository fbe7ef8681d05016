"""Models as log p(x, z), against integrals and sums over all latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_vaes import all_bits, evidence, grid_evidence, tiny_vae

import codelength as cl
from codelength.errors import UsageError
from codelength.freezing.thaw import thaw
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.space import Space
from codelength.likelihood.importance import importance
from codelength.likelihood.joint import Joint, Nest
from codelength.likelihood.settings import PROPOSALS
from codelength.models.vae import VAEConfig, build_vae
from codelength.networks.conditionals import UniformIndex

BITS = torch.from_numpy(all_bits().astype(np.int64))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def integral(log_density: Any, n: int, reach: float, points: int) -> np.ndarray:
    """log of the integral (n,) of a density of two latents over u, by the trapezoid rule."""
    u = torch.linspace(-reach, reach, points)
    grid = torch.cartesian_prod(u, u)
    values = torch.cat([log_density(part) for part in grid[:, None, :].expand(-1, n, -1).split(1024)]).double()
    return (torch.logsumexp(values, 0) + 2 * np.log(2 * reach / (points - 1))).numpy()


def test_the_integral_of_the_joint_density_is_the_evidence_in_any_units() -> None:
    model, some = tiny_vae(), BITS[[0, 6, 13]]
    truth = evidence(model, some, 101)
    by_prior, by_posterior = (Joint(Nest(model.law()), some, units) for units in ("prior", "posterior"))
    np.testing.assert_allclose(integral(by_prior.log_joint, 3, 8, 101), truth, atol=1e-4)
    np.testing.assert_allclose(integral(by_posterior.log_joint, 3, 12, 121), truth, atol=1e-3)


def test_units_of_the_prior_are_its_standard_deviations() -> None:
    joint = Joint(Nest(tiny_vae().law()), BITS)
    assert torch.allclose(joint.scale, torch.tensor(256.0)) and torch.allclose(joint.centre, torch.tensor(2047.5))
    z = 4096 * torch.rand(3, 16, 2, generator=rng(4))
    # Near the middle of the grid the spacing of single precision is 2^-12: small bins lose that much.
    torch.testing.assert_close(joint.to_bins(joint.to_units(z)), z, rtol=0, atol=2**-9)
    # In the middle of a hierarchy, those of the marginal distribution, from draws.
    deep = Joint(Nest(tiny_vae(latents=(3, 2)).law()), BITS[:2])
    u = deep.prior.sample(rng(), 1000)[:, 0]
    assert float(u.mean(0).abs().max()) < 0.25
    assert float((u.std(0) - 1).abs().max()) < 0.15


def test_bins_cancel_between_the_grid_and_the_continuum() -> None:
    """A frozen model on a grid of 128 bins: its sum over bins, and the integral of its thawed joint density."""
    thawed = thaw(cl.freeze(tiny_vae(latent_bits=7), all_bits(), tolerance=2.0))
    exact = grid_evidence(thawed.law(), BITS)
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-4)
    found = integral(Joint(Nest(thawed.law()), BITS).log_joint, 16, 8, 81)
    np.testing.assert_allclose(found, exact, atol=2e-3)


def test_gradients_are_those_of_finite_differences() -> None:
    joint = Joint(Nest(tiny_vae(latents=(2, 2)).law()), BITS, "posterior")
    u = joint.posterior().sample(rng(1), 4).requires_grad_(True)
    for density in (joint.log_joint, joint.posterior().log_prob, joint.prior.log_prob):
        (slope,) = torch.autograd.grad(density(u).sum(), u)
        with torch.no_grad():
            direction = torch.randn(u.shape, generator=rng(2))
            step = 1e-2
            rise = (density(u + step * direction) - density(u - step * direction)) / (2 * step)
        expected = (slope * direction).sum(-1)
        # Kinks of the networks between the two points make a few differences coarse.
        assert float((rise - expected).abs().median()) < 5e-3
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("latents", [(2,), (2, 2)])
def test_every_proposal_finds_the_evidence(name: str, latents: tuple[int, ...]) -> None:
    model = tiny_vae(latents=latents)
    joint = Joint(Nest(model.law()), BITS)
    result = importance(joint.log_joint, joint.proposal(name), 3000, rng(3))
    error = result.se * np.exp(result.bound)
    # All items are equally a part of one sum, whatever the number of layers.
    assert abs(np.exp(result.bound).sum() - 1) < 4.5 * np.sqrt((error**2).sum()) + 1e-4
    if latents == (2,):
        assert (np.abs(result.bound - evidence(model, BITS)) < 4.5 * result.se + 1e-4).all()


def test_draws_of_the_posterior_go_upwards() -> None:
    """z_2 is drawn given the z_1 that was drawn, as bits-back pops them."""
    model = tiny_vae(latents=(2, 2))
    joint = Joint(Nest(model.law()), BITS)
    z = joint.to_bins(joint.posterior().sample(rng(5), 200))
    below, above = z[..., :2].reshape(-1, 2), z[..., 2:].reshape(-1, 2)
    mean, scale = model.latent.moments(model.encoders[1](below).detach().reshape(-1, 2, 2))
    noise = (above - mean) / scale
    assert float(noise.mean().abs()) < 4 / np.sqrt(noise.numel())
    assert float(noise.var()) == pytest.approx(1, abs=0.08)


def test_the_bound_of_the_joint_is_the_bound_on_the_grid() -> None:
    model = tiny_vae(latents=(3, 2))
    joint = Joint(Nest(model.law()), BITS)
    result = importance(joint.log_joint, joint.posterior(), 2000, rng(6))
    x = BITS.repeat(500, 1, 1)
    with torch.no_grad():
        grid = model.log_prob(x, rng(7)).double().reshape(500, 16)
    slack = 4.5 * float(grid.std()) / np.sqrt(500)
    assert np.abs(result.curve[0].mean() - float(grid.mean())) < slack


def test_a_likelihood_may_be_sequential() -> None:
    config = VAEConfig(
        latents=(2,),
        strides=(0,),
        channels=(4,),
        blocks=(0,),
        head=(4,),
        neighbourhood=(2, 3),
        seed=2,
        leaf="bernoulli",
    )
    model: Any = build_vae(config, Space((2, 2), 2)).eval()
    with torch.no_grad():
        model.decoders[0].last.weight.mul_(20.0)
    joint = Joint(Nest(model.law()), BITS)
    assert np.exp(integral(joint.log_joint, 16, 8, 41)).sum() == pytest.approx(1, abs=1e-3)
    x, z = joint.nest.simulate(5, (2, 2), rng(8))
    assert x.shape == (5, 2, 2) and z.shape == (5, 2) and set(x.unique().tolist()) <= {0, 1}


def test_other_laws_are_refused_by_name() -> None:
    model = tiny_vae()
    law = model.law()
    index = Independent(UniformIndex(2))
    mixture = Marginal("k", index, law.likelihood, Responsibilities("k", 2, index, law.likelihood))  # type: ignore[attr-defined]
    for other, words in (
        (mixture, "a mixture over 'k'"),
        (Marginal("k", law, law.likelihood, index), "a posterior of 'k'"),  # type: ignore[attr-defined]
        (Marginal("z", index, law.likelihood, law.posterior), "a prior of 'z'"),  # type: ignore[attr-defined]
        (Marginal("z", law.prior, law, law.posterior), "a likelihood Marginal"),  # type: ignore[attr-defined]
        (law.likelihood, "a law Independent without latents"),  # type: ignore[attr-defined]
    ):
        with pytest.raises(UsageError, match=f"continuous latents.*got {words}"):
            Nest(other)
    with pytest.raises(UsageError, match="units"):
        Joint(Nest(law), BITS, "inches")
    with pytest.raises(UsageError, match="proposals"):
        Joint(Nest(law), BITS).proposal("magic")
