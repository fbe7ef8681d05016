"""A linear-Gaussian model, whose evidence and posterior are known: z ~ N(0, I), x = W z + b + sigma e."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from codelength.likelihood.importance import Posterior


def standard_normal(n: int, d: int, dtype: torch.dtype = torch.float64) -> Posterior:
    """The standard normal of n items with d latents, as something to draw from."""
    return Posterior(torch.zeros(n, d, dtype=dtype), torch.ones(n, d, dtype=dtype))


class LinearGaussian:
    """n items of D elements drawn from the model itself, with d latents; float64.

    latents (n, d): the z that each item was made with, an exact draw from its posterior.
    """

    def __init__(self, n: int = 4, d: int = 2, D: int = 5, sigma: float = 0.7, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.W, self.b, self.sigma = normal(D, d), normal(D), sigma
        self.latents = normal(n, d)
        self.x = self.latents @ self.W.T + self.b + sigma * normal(n, D)
        self.n, self.d, self.D = n, d, D
        precision = torch.eye(d, dtype=torch.float64) + self.W.T @ self.W / sigma**2
        self.covariance = torch.linalg.inv(precision)
        self.mean = (self.x - self.b) @ self.W @ self.covariance / sigma**2

    def log_prior(self, z: Tensor) -> Tensor:
        return -0.5 * z.square().sum(-1) - 0.5 * self.d * math.log(2 * math.pi)

    def log_joint(self, z: Tensor) -> Tensor:
        """z (..., n, d) -> log p(x, z), (..., n)."""
        error = (self.x - self.b - z @ self.W.T) / self.sigma
        constant = self.D * (math.log(self.sigma) + 0.5 * math.log(2 * math.pi))
        return self.log_prior(z) - 0.5 * error.square().sum(-1) - constant

    def log_evidence(self) -> Tensor:
        """log p(x), (n,), from the covariance of x: no latents in it."""
        covariance = self.W @ self.W.T + self.sigma**2 * torch.eye(self.D, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, covariance).log_prob(self.x)

    def marginal_scale(self) -> Tensor:
        """Standard deviations of the posterior, (n, d)."""
        return self.covariance.diagonal().sqrt().expand(self.n, self.d).clone()
