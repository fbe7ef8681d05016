"""The variational autoencoder against closed forms and enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from codelength.distributions import Normal
from codelength.errors import RecipeError
from codelength.laws.space import Space
from codelength.models.objectives import pixel_weights
from codelength.models.vae import VAE, VAEConfig, build_vae
from codelength.networks.residual import Pixels


def tiny(**changes: object) -> VAE:
    config = VAEConfig(**{"latents": (2,), "hidden": (8,), "seed": 1, **changes})  # type: ignore[arg-type]
    model = build_vae(config, Space((2, 2), 2))
    with torch.no_grad():  # first outputs are small; let the latents matter
        model.decoders[0][-1].weight.mul_(30.0)
        model.encoders[0][-1].weight.mul_(10.0)
    return model.eval()


def items() -> Tensor:
    return torch.tensor(np.array(list(np.ndindex(2, 2, 2, 2))).reshape(16, 2, 2))


def evidence(model: VAE, x: Tensor, grid: int = 161, label: int | None = None) -> Tensor:
    """log p(x), or given a label, of a model of two latents, by the trapezoid rule over them: the slow, obvious way."""
    unit = model.latent.symbols / 16
    z = torch.linspace(-8, 8, grid, dtype=torch.float64)
    pairs = torch.cartesian_prod(z, z)
    log_prior = -0.5 * (pairs**2).sum(1) - math.log(2 * math.pi) + 2 * math.log(16 / (grid - 1))
    given = [] if label is None else [torch.full((len(pairs),), label)]
    params = model.decoders[0]((pairs * unit + model.latent.symbols / 2).float(), *given).reshape(len(pairs), 4, 1)
    out = []
    for item in x:
        fit = model.leaf.log_prob(params, item.reshape(1, -1).expand(len(pairs), -1)).sum(1)
        out.append(torch.logsumexp(log_prior + fit.double(), 0))
    return torch.stack(out)


@torch.no_grad()
def test_evidence_of_all_items_adds_up_to_one() -> None:
    assert evidence(tiny(), items()).exp().sum().item() == pytest.approx(1.0, abs=1e-4)


@torch.no_grad()
def test_exponentiated_weights_have_the_evidence_as_their_mean() -> None:
    model, x = tiny(), items()
    weights = model.log_weights(x, 20000, torch.Generator().manual_seed(1)).exp().double()  # (k, n)
    error = weights.std(0) / math.sqrt(len(weights))
    assert ((weights.mean(0) - evidence(model, x).exp()).abs() < 4.5 * error + 1e-5).all()


@torch.no_grad()
def test_bound_on_the_grid_equals_the_continuous_bound() -> None:
    """Bins of a fine grid cost nothing: their width cancels between prior and posterior."""
    model, x = tiny(), items().repeat(2000, 1, 1)
    binned = model.log_prob(x, torch.Generator().manual_seed(2)).double()
    free = model.validation(x)["bound"].double()
    error = math.sqrt(float(binned.var() + free.var()) / len(x))
    assert abs(float(binned.mean() - free.mean())) < 4 * error


@torch.no_grad()
def test_bound_is_below_the_evidence_by_the_divergence_of_the_posterior() -> None:
    model, x = tiny(), items()
    bound = model.log_weights(x, 4000, torch.Generator().manual_seed(3)).double()
    slack = 4 * bound.std(0) / math.sqrt(len(bound))
    assert (bound.mean(0) <= evidence(model, x) + slack).all()


def with_labels() -> VAE:
    model = build_vae(VAEConfig(latents=(2,), hidden=(8,), labels=3, seed=1), Space((2, 2), 2))
    with torch.no_grad():
        model.decoders[0].rest[-1].weight.mul_(30.0)  # type: ignore[union-attr,index]
        model.decoders[0].biases.weight.mul_(10.0)  # type: ignore[union-attr]
    return model.eval()


@torch.no_grad()
def test_a_model_with_labels_is_the_mixture_over_them() -> None:
    model, x = with_labels(), items()
    given = torch.stack([evidence(model, x, 81, label) for label in range(3)])
    assert float((given[0] - given[1]).abs().max()) > 0.1
    whole = torch.logsumexp(given, 0) - math.log(3)
    context = {"shape": (2, 2), "generator": torch.Generator().manual_seed(8)}
    weights = model.law().log_weights(x, context, 800).double()  # type: ignore[attr-defined]
    error = weights.exp().std(0) / math.sqrt(800)
    assert ((weights.exp().mean(0) - whole.exp()).abs() < 4.5 * error + 1e-5).all()
    told = torch.full((16,), 1)
    weights = model.log_weights(x, 800, torch.Generator().manual_seed(9), told).double()
    error = weights.exp().std(0) / math.sqrt(800)
    assert ((weights.exp().mean(0) - given[1].exp()).abs() < 4.5 * error + 1e-5).all()


def test_the_classifier_learns_beside_the_bound() -> None:
    model, x = with_labels(), items()
    label = torch.arange(16) % 3
    loss = model.loss(x, torch.Generator().manual_seed(1), label)
    bound = model._loss(x, torch.Generator().manual_seed(1), label)
    assert model.classifier is not None
    guess = torch.log_softmax(model.classifier(x.float()), 1)[torch.arange(16), label]
    assert float(loss.detach()) == pytest.approx(float((bound - guess.mean()).detach()), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.classifier.parameters())


def gradients(model: VAE, x: Tensor, seed: int, part: str) -> Tensor:
    model.zero_grad()
    model.loss(x, torch.Generator().manual_seed(seed)).backward()
    chosen = getattr(model, part)
    return torch.cat([p.grad.reshape(-1) for p in chosen.parameters() if p.grad is not None]).double()


@pytest.mark.parametrize("latents", [(2,), (2, 3)])
@pytest.mark.parametrize("part", ["encoders", "decoders"])
def test_doubly_reparameterised_gradient_has_the_mean_of_the_plain_one(part: str, latents: tuple[int, ...]) -> None:
    """Both are unbiased for the gradient of the k-sample bound (Tucker et al. 2019)."""
    x = items()
    plain, doubly = (
        tiny(samples=4, gradient=gradient, latents=latents) for gradient in ("plain", "doubly_reparameterised")
    )
    for model in (plain, doubly):
        with torch.no_grad():
            model.encoders[-1][-1].weight.mul_(3.0)
            model.decoders[-1][-1].weight.mul_(3.0)
    a = torch.stack([gradients(plain, x, seed, part) for seed in range(150)])
    b = torch.stack([gradients(doubly, x, seed, part) for seed in range(150, 300)])
    error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
    assert (((a.mean(0) - b.mean(0)).abs()) < 5 * error + 1e-6).all()
    assert a.mean(0).abs().max() > 5 * error.median()  # there is something to agree on


def test_doubly_reparameterised_gradient_leaves_the_decoder_gradient_alone() -> None:
    x = items()
    a = gradients(tiny(samples=4), x, 7, "decoders")
    b = gradients(tiny(samples=4, gradient="doubly_reparameterised"), x, 7, "decoders")
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_value_of_the_loss_is_the_k_sample_bound_under_either_gradient() -> None:
    x = items()
    values = []
    for gradient in ("plain", "doubly_reparameterised"):
        model = tiny(samples=5, gradient=gradient)
        values.append(float(model.loss(x, torch.Generator().manual_seed(5)).detach()))
    weights = tiny().log_weights(x, 5, torch.Generator().manual_seed(5))
    expected = math.log(5) - float(torch.logsumexp(weights, 0).mean().detach())
    assert values == pytest.approx([expected, expected], rel=1e-5)


def test_free_nats_hide_cheap_latents_and_warm_up_scales_their_cost() -> None:
    x, seed = items(), 6
    fit, costs, _ = tiny().terms(x, torch.Generator().manual_seed(seed))
    cost = float(costs[0].mean().detach())
    generous = tiny(free_nats=cost + 1.0)
    expected = cost + 1.0 - float(fit.mean().detach())
    assert float(generous.loss(x, torch.Generator().manual_seed(seed)).detach()) == pytest.approx(expected, rel=1e-5)
    warming = tiny(warmup_steps=4).train()
    first = float(warming.loss(x, torch.Generator().manual_seed(seed)).detach())
    assert first == pytest.approx(cost / 4 - float(fit.mean().detach()), rel=1e-5)
    assert int(warming.steps) == 1


def test_latents_mean_the_same_at_every_precision() -> None:
    """The same weights on a finer grid: the same decoder, the same bound up to the grid."""
    coarse, fine = tiny(latent_bits=9), tiny(latent_bits=14)
    fine.load_state_dict(coarse.state_dict())
    x = items().repeat(500, 1, 1)
    with torch.no_grad():
        a, b = (model.validation(x)["bound"].mean() for model in (coarse, fine))
    assert float(a) == pytest.approx(float(b), abs=0.01)


def test_a_grid_that_goes_further_holds_latents_beyond_the_usual_one() -> None:
    """Means far out are clamped to the edge of a grid, which the bound on the grid pays for; a wider one holds them."""
    near, far = tiny(latent_bits=12), tiny(latent_bits=12, reach=32)
    x = items().repeat(200, 1, 1)
    with torch.no_grad():
        far.load_state_dict(near.state_dict())
        generator = torch.Generator().manual_seed(1)
        a, b = near.log_prob(x, generator).double(), far.log_prob(x, generator).double()
        assert abs(float(a.mean() - b.mean())) < 4 * math.sqrt(float(a.var() + b.var()) / len(x))
        for model in (near, far):
            last = [p for p in model.encoders[0].parameters() if p.ndim == 1][-1]
            last.view(-1, 2)[:, 0] += 12.0
        continuous = float(far.validation(x)["bound"].mean())
        assert float(far.log_prob(x, generator).mean()) == pytest.approx(continuous, abs=0.5)
        assert abs(float(near.log_prob(x, generator).mean()) - continuous) > 5


def test_density_of_the_grid_integrates_to_one_and_its_bins_follow_it() -> None:
    leaf = Normal(256, reach=8)
    params = torch.tensor([[0.4, -0.3]])
    z = torch.arange(256.0)
    dense = leaf.log_density(params, z).exp()
    assert float(dense.sum()) == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose(dense, leaf.log_prob(params, z).exp(), atol=1e-4)
    standard = leaf.log_density(torch.zeros(1, 2), torch.tensor([127.5]))  # one deviation is 16 bins
    assert float(standard) == pytest.approx(-math.log(16) - 0.5 * math.log(2 * math.pi), abs=1e-6)


def on_grids(**changes: object) -> VAE:
    settings = {"latents": (2, 2), "strides": (2, 1), "channels": (6, 8), "blocks": (1, 1), "head": (8,), "seed": 1}
    space = Space((4, 6, 3), 5) if changes.pop("colour", False) else Space((4, 6), 5)
    model = build_vae(VAEConfig(**{**settings, **changes}), space)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model.eval()


def sparse_images(model: VAE, count: int) -> Tensor:
    x = torch.randint(0, 5, (count, *model.space.shape), generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    x[:, :, 2:] = 0
    x[0] = 0
    return x


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"colour": True}, {"neighbourhood": (2, 3)}, {"neighbourhood": (2, 3), "colour": True}]
)
def test_a_part_of_the_background_estimates_the_whole_without_bias(changes: dict[str, object]) -> None:
    model = on_grids(**changes)
    x = sparse_images(model, 4)
    z = 2048 + 300 * torch.randn(4, *model.shapes[0], generator=torch.Generator().manual_seed(4))
    whole = model._fit(x, (z,), 1.0, None)
    parts = torch.stack([model._fit(x, (z,), 0.3, torch.Generator().manual_seed(seed)) for seed in range(400)])
    error = parts.std(0) / 20
    assert float(error.min()) > 0
    assert ((parts.mean(0) - whole).abs() < 4.5 * error).all()
    lit = (x if x.ndim == 3 else x.amax(3)) > 0
    assert (pixel_weights(x, 0.3)[lit] == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("neighbourhood", [(), (2, 3)])
def test_parameters_of_some_pixels_are_those_of_all(neighbourhood: tuple[int, ...]) -> None:
    model = on_grids(neighbourhood=neighbourhood, colour=True)
    decoder = model.decoders[0]
    assert isinstance(decoder, Pixels)
    x = sparse_images(model, 3)
    z = 2048 + 300 * torch.randn(3, *model.shapes[0], generator=torch.Generator().manual_seed(4))
    given = (x.permute(0, 3, 1, 2).float(), z) if neighbourhood else (z,)
    whole = decoder(*given).permute(0, 2, 3, 1).reshape(3 * 24, -1)
    pixels = torch.tensor([5, 0, 71, 30])
    assert torch.allclose(decoder.at(decoder.features(*given), pixels), whole[pixels], atol=1e-4)


@torch.no_grad()
def test_a_neighbourhood_is_causal_and_of_its_size() -> None:
    """Changing one element changes the parameters of exactly those that follow it within the neighbourhood."""
    model = on_grids(neighbourhood=(2, 3), colour=True)
    generator = torch.Generator().manual_seed(5)
    differs = torch.zeros(3, 4, 6, dtype=torch.bool)
    for _ in range(16):  # a change can fall on units that are off, so it is looked for at many places
        z = 2048 + 300 * torch.randn(1, *model.shapes[0], generator=generator)
        x = torch.randint(0, 5, (1, 3, 4, 6), generator=generator).float()
        changed = x.clone()
        changed[0, 1, 1, 2] = (x[0, 1, 1, 2] + 2) % 5
        before, after = (model.decoders[0](each, z).reshape(3, -1, 4, 6) for each in (x, changed))
        differs |= (before - after).abs().amax(1) > 1e-4
    expected = torch.zeros(3, 4, 6, dtype=torch.bool)
    expected[2, 1, 2] = True  # the third colour of the pixel itself
    expected[:, 1, 3] = expected[:, 2, 1] = expected[:, 2, 2] = expected[:, 2, 3] = True
    assert (differs == expected).all()


@torch.no_grad()
def test_latents_of_grids_have_the_shapes_that_strides_give() -> None:
    assert on_grids().shapes == [(2, 3, 2), (2, 3, 2)]
    assert on_grids(strides=(2, 0)).shapes == [(2, 3, 2), (2,)]
    assert on_grids(latents=(7,), strides=(0,)).shapes == [(7,)]
    assert on_grids(strides=(1, 2)).shapes == [(4, 6, 2), (2, 3, 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": 1},
        {"strides": (2,)},
        {"strides": (3, 1)},
        {"strides": (0, 2)},
        {"strides": (4, 1)},
        {"strides": (2, 2), "channels": (4, 4, 4), "blocks": (1, 1, 1)},
        {"strides": (1, 1)},
        {"blocks": (1,)},
        {"blocks": (1, -1)},
        {"channels": (4, 0)},
        {"neighbourhood": (2, 2)},
        {"neighbourhood": (2,)},
        {"background": 0.0},
        {"background": 0.5, "samples": 2},
    ],
)
def test_grids_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        on_grids(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"background": 0.5},
        {"neighbourhood": (2, 3)},
        {"latents": ()},
        {"latents": (1,)},
        {"hidden": ()},
        {"latent_bits": 4},
        {"latent_bits": 17},
        {"reach": 6},
        {"reach": 2048},
        {"samples": 0},
        {"gradient": "sideways"},
        {"gradient": "doubly_reparameterised"},
        {"free_nats": 1.0, "samples": 2},
        {"leaf": "poisson"},
        {"free_nats": -1.0},
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        tiny(**changes)


def test_images_of_any_size_are_refused() -> None:
    with pytest.raises(RecipeError, match="one size"):
        build_vae(VAEConfig(), Space((None, None), 2))


@torch.no_grad()
def test_items_are_encoded_once_for_all_draws() -> None:
    model, passes = tiny(), []
    model.encoders[0].register_forward_hook(lambda *_: passes.append(1))
    x = torch.randint(0, 2, (3, *model.space.shape), generator=torch.Generator().manual_seed(1))
    context = {"shape": model.space.shape, "generator": torch.Generator().manual_seed(0)}
    with torch.no_grad():
        weights = model.law().log_weights(x, context, 7)  # type: ignore[attr-defined]
    assert weights.shape == (7, 3) and len(passes) == 1 and not torch.equal(weights[0], weights[1])


def test_log_weights_of_the_law_are_those_of_the_model() -> None:
    """Drawn on the grid, one after another; the mean weight is the evidence again."""
    model, x = tiny(), items()
    law = model.law()
    context = {"shape": (2, 2), "generator": torch.Generator().manual_seed(8)}
    weights = law.log_weights(x, context, 1200)  # type: ignore[attr-defined]
    assert weights.shape == (1200, 16)
    error = weights.exp().std(0) / math.sqrt(1200)
    assert ((weights.exp().mean(0) - evidence(model, x).exp()).abs() < 4.5 * error + 1e-5).all()
