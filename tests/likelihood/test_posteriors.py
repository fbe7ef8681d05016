"""Every kind of posterior of continuous latents, against the evidence of linear-Gaussian models in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gaussian_laws import POSTERIORS, GaussianLaw

import codelength as cl
from codelength.distributions.continuum import continuum, in_densities
from codelength.errors import UsageError
from codelength.likelihood.annealed import Passes, Path, annealed, sigmoid_temperatures
from codelength.likelihood.continuous import kept_bytes
from codelength.likelihood.joint import Joint, Nest

#: What the two grids blur.
BLUR = 2e-3


def agrees(result: cl.Estimate, truth: np.ndarray, most: float = 0.08) -> bool:
    """Within its own standard error, which is at most so many nats."""
    assert result.mc_se is not None and 0 < result.mc_se < most
    return abs(result.nats - truth.mean()) < 4.5 * result.mc_se + BLUR


@pytest.mark.parametrize("start", ["posterior", "prior"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_annealing_finds_the_evidence_whatever_the_posterior(posterior: str, start: str) -> None:
    model = GaussianLaw(posterior).eval()
    items = model.draw(8, seed=1)
    count = 24 if start == "prior" else 10  # the further away chains begin, the more
    options: dict[str, Any] = {"samples": 24, "temperatures": count, "leapfrog": 3, "two_sided": 6}
    result = cl.evaluate(model, items, estimator="annealed", start=start, **options)
    assert agrees(result, model.evidence(items), 0.16 if start == "prior" else 0.08)
    both = result.two_sided
    assert both is not None and both.gap_se is not None and abs(both.gap) < 4.5 * both.gap_se + 0.05


@pytest.mark.parametrize("proposal", ["widened", "student", "defensive"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_importance_finds_the_evidence_whatever_the_posterior(posterior: str, proposal: str) -> None:
    model = GaussianLaw(posterior).eval()
    items = model.draw(12, seed=2)
    options: dict[str, Any] = {"estimator": "importance", "samples": 400, "proposal": proposal}
    if (posterior, proposal) == ("sequential", "student"):
        with pytest.raises(UsageError, match="independent in the posterior"):
            cl.evaluate(model, items, **options)
        return
    result = cl.evaluate(model, items, **options)
    assert result.arithmetic == "float" and agrees(result, model.evidence(items))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_coordinates_and_densities_against_the_law_itself(posterior: str) -> None:
    """Where coordinates lead to, and back; the volume against autograd; the density against the law that goes
    backwards, a pass for every latent where it is a flow."""
    model = GaussianLaw(posterior).eval()
    items = torch.from_numpy(model.draw(3, seed=3).astype(np.int64))
    joint = Joint(Nest(model.law()), items, "posterior")
    u = joint.posterior().sample(torch.Generator().manual_seed(0), 20)

    def latents(u: torch.Tensor) -> torch.Tensor:
        return torch.cat([layer.flatten(1) for layer in joint.latents(u)[0]], 1).reshape(u.shape)

    with torch.no_grad():
        layers, spent, volume = joint.place(u, joint.posteriors)
        # Positions on the grid have steps of 2^-12 of a bin in single precision.
        torch.testing.assert_close(joint.to_units(latents(u)), u, rtol=0, atol=1e-4)
        context = {"data": items.repeat(20, 1), "shape": (3,)}
        density = in_densities(model.law().posterior).log_prob(layers[0], context).reshape(20, 3)  # type: ignore[attr-defined]
        torch.testing.assert_close(spent - volume, density, rtol=0, atol=1e-3)
    jacobian = torch.autograd.functional.jacobian(lambda v: latents(v).sum((0, 1)), u)  # (d, k, n, d)
    slogdet = torch.linalg.slogdet(jacobian.permute(1, 2, 0, 3))[1]
    torch.testing.assert_close(volume.expand(20, 3), slogdet, rtol=0, atol=1e-3)


def test_draws_in_the_continuum_carry_gradients_and_their_density() -> None:
    """The bound of ``continuum(law)`` is that of the grid, and every parameter of the posterior learns from it."""
    for posterior in POSTERIORS:
        model = GaussianLaw(posterior)
        x = torch.from_numpy(model.draw(400, seed=4).astype(np.int64))
        context = {"shape": (3,), "generator": torch.Generator().manual_seed(1)}
        bound = continuum(model.law()).log_prob(x, context)
        with torch.no_grad():
            grid = model.law().log_prob(x, context)
        gap = (bound - grid).detach()
        assert abs(float(gap.mean())) < 4.5 * float(gap.std()) / 20 + BLUR
        bound.mean().backward()
        for part in (model.guess, *model.guesses, *model.steps):
            for values in [] if part is None else part.parameters():
                assert values.grad is not None and bool(torch.isfinite(values.grad).all())
                assert bool(values.grad.any())


def test_a_flow_is_not_asked_for_its_density_where_it_has_not_drawn() -> None:
    model = GaussianLaw("flow").eval()
    joint = Joint(Nest(model.law()), torch.from_numpy(model.draw(2).astype(np.int64)), "prior")
    with pytest.raises(UsageError, match=r"units='posterior'.*or draw from the prior"):
        joint.posterior()


@pytest.mark.parametrize("posterior", ["sequential", "flow"])
def test_frozen_models_are_annealed_thawed(posterior: str) -> None:
    model = GaussianLaw(posterior).eval()
    items = model.draw(40, seed=5)
    frozen = cl.freeze(model, items, tolerance=5.0)
    options: dict[str, Any] = {"estimator": "annealed", "samples": 24, "temperatures": 16, "leapfrog": 3}
    result = cl.evaluate(frozen, items[:12], **options)
    assert result.arithmetic == "float" and result.mc_se is not None
    # Weights of ten bits move the evidence itself a little.
    assert abs(result.nats - model.evidence(items[:12]).mean()) < 4.5 * result.mc_se + 0.05


@pytest.mark.parametrize("start", ["posterior", "prior"])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_passes_of_some_chains_and_items_change_nothing_but_rounding(posterior: str, start: str) -> None:
    model = GaussianLaw(posterior).eval()
    joint = Joint(Nest(model.law()), torch.from_numpy(model.draw(5, seed=6).astype(np.int64)), start)
    begin = joint.prior if start == "prior" else joint.posterior()
    path = Path(sigmoid_temperatures(4), torch.full((4, 5), 0.1), 2)
    found = [
        annealed(begin, path, 3, torch.Generator().manual_seed(1), passes=passes).log_weights
        for passes in (Passes(), Passes(2, 5), Passes(1, 2))
    ]
    np.testing.assert_allclose(found[1], found[0], atol=2e-3)
    np.testing.assert_allclose(found[2], found[0], atol=2e-3)
    one, three = (kept_bytes(begin, torch.zeros(k, 5, 2)) for k in (1, 3))
    assert 2 < three / one < 3.5


@pytest.mark.parametrize("posterior", ["independent", "sequential"])
def test_training_brings_a_posterior_nearer(posterior: str) -> None:
    """By the bound of the law alone, with nothing but the posterior free: what it loses to the evidence shrinks."""
    model = GaussianLaw(posterior)
    items = torch.from_numpy(model.draw(256, seed=7).astype(np.int64))
    truth = model.evidence(items.numpy()).mean()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    free = [values for part in (model.guess, *model.guesses) if part is not None for values in part.parameters()]
    for values in free:
        values.requires_grad_(True)
        with torch.no_grad():
            values.add_(0.3 * (values != 0) * (values.ndim == 1))  # aside, and wider
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam([values for values in free if values.ndim == 1], 0.02)
    losses = []
    for _ in range(150):
        loss = -continuum(model.law()).log_prob(items, {"shape": (3,), "generator": generator}).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()) + truth)
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:3])
