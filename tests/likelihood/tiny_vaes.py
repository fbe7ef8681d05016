"""Variational autoencoders on items of four bits, small enough to integrate and to enumerate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codelength.laws.space import Space
from codelength.models.vae import VAE, VAEConfig, build_vae


def tiny_vae(**changes: Any) -> VAE:
    """Two latents (or as ``changes`` say) that matter, and a posterior that is rough."""
    config = VAEConfig(**{"latents": (2,), "hidden": (8,), "seed": 1, **changes})
    model: Any = build_vae(config, Space((2, 2), 2))
    with torch.no_grad():
        for decoder in model.decoders:
            decoder[-1].weight.mul_(30.0 if decoder is model.decoders[0] else 6.0)
        for encoder in model.encoders:
            encoder[-1].weight.mul_(10.0)
    return model.eval()


def all_bits() -> np.ndarray:
    """All sixteen items, (16, 2, 2)."""
    return np.array(list(np.ndindex(2, 2, 2, 2)), np.uint8).reshape(16, 2, 2)


@torch.no_grad()
def evidence(model: VAE, x: Tensor, points: int = 161) -> np.ndarray:
    """log p(x) (n,) of a model of one layer of two latents, by the trapezoid rule over the continuous latents."""
    z = torch.linspace(-8, 8, points, dtype=torch.float64)
    pairs = torch.cartesian_prod(z, z)
    log_prior = -0.5 * (pairs**2).sum(1) - math.log(2 * math.pi) + 2 * math.log(16 / (points - 1))
    unit = model.latent.symbols / 16
    params = model.decoders[0]((pairs * unit + (model.latent.symbols - 1) / 2).float()).reshape(len(pairs), 4, 1)
    out = [
        torch.logsumexp(log_prior + model.leaf.log_prob(params, item.reshape(1, 4).expand(len(pairs), -1)).sum(1), 0)
        for item in x
    ]
    return torch.stack(out).numpy()


@torch.no_grad()
def grid_evidence(law: Any, x: Tensor) -> np.ndarray:
    """log p(x) (n,) of a law of one layer of two latents, by the sum over all pairs of bins: what files see."""
    symbols = law.prior.conditional.leaf.symbols
    z = torch.cartesian_prod(torch.arange(symbols), torch.arange(symbols))
    context = {"shape": tuple(x.shape[1:])}
    log_prior = law.prior.log_prob(z, context).double()
    given = {**context, law.latent: z}
    out = [
        torch.logsumexp(log_prior + law.likelihood.log_prob(item.expand(len(z), *item.shape), given).double(), 0)
        for item in x
    ]
    return torch.stack(out).numpy()
