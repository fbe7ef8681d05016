"""Beta-binomial on 0 .. A-1: successes in A-1 trials, the chance of success being beta distributed.

As the likelihood of pixels in bits-back coding: Townsend, Bird, Barber 2019 (arXiv:1901.04866), section 3.2.
Parameters: log2 of the shapes alpha and beta. alpha = beta = 1 is the uniform distribution, large shapes come near a
binomial, small ones near a choice between 0 and A-1.

The logarithms of the shapes rather than logit of the mean and logarithm of alpha + beta: autoencoders trained on
either come out within half a percent (dense, 8 x 8 digits, two step sizes), and in integers the tables of a shape serve
every pair. The integer leaf rounds them to multiples of 2^-10. For n = A - 1 the Fisher information about each is at
most about n / 4 (nats^-2), so rounding costs about n / 4 * (ln(2) 2^-10)^2 / 12 nats: 2e-6 at A = 256.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: log2 of shapes are clamped to this range, as in the integer leaf.
LOG2_SHAPES = (-16.0, 14.0)


class BetaBinomial:
    family = "beta_binomial"
    components = 1
    parameters = 2

    def __init__(self, symbols: int) -> None:
        if symbols < 2:
            raise ValueError(f"expected two symbols or more, got {symbols}")
        self.symbols = symbols

    def _shapes(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and beta (...), float64: the log-gammas of large shapes nearly cancel, in float32 to the last digit."""
        shapes = torch.exp2(params.double().clamp(*LOG2_SHAPES))
        return shapes[..., 0], shapes[..., 1]

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """params (..., 2), x (...) -> nats (...), of the type of params."""
        alpha, beta = self._shapes(params)
        n, x = self.symbols - 1, x.double()
        ways = math.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
        joint = torch.lgamma(x + alpha) + torch.lgamma(n - x + beta) - torch.lgamma(n + alpha + beta)
        alone = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
        return (ways + joint - alone).to(params.dtype)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., 2) -> draws (...), int64."""
        chance = self._chance(params, generator)
        return torch.binomial(torch.full_like(chance, self.symbols - 1), chance, generator=generator).long()

    def _chance(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws from the beta distribution, (...) float64."""
        shapes = torch.exp2(params.double().clamp(*LOG2_SHAPES))
        # Gamma(a) is Gamma(a + 1) times U^(1 / a), whose logarithm does not vanish where a is small.
        gammas = torch._standard_gamma(shapes + 1, generator=generator).log()
        tiny = torch.finfo(torch.float64).tiny
        u = torch.rand(shapes.shape, generator=generator, dtype=torch.float64, device=params.device).clamp_min(tiny)
        logs = gammas + u.log() / shapes
        return torch.sigmoid(logs[..., 0] - logs[..., 1])

    def initial_parameters(self, frequencies: Tensor) -> Tensor:
        """frequencies (..., A) -> the shapes that match their mean and variance, (..., 2)."""
        n = self.symbols - 1
        values = torch.arange(self.symbols, dtype=torch.float64)
        shares = frequencies.double() / frequencies.double().sum(-1, keepdim=True)
        mean = ((shares * values).sum(-1) / n).clamp(1e-9, 1 - 1e-9)
        variance = (shares * values**2).sum(-1) - (shares * values).sum(-1) ** 2
        # Of the binomial's variance n m (1 - m) it has 1 + (n - 1) / (alpha + beta + 1) times as much.
        excess = (variance / (n * mean * (1 - mean))).clamp(1 + 1e-6, max(n - 1e-6, 1 + 1e-6))
        total = (n - excess) / (excess - 1) if n > 1 else torch.full_like(mean, 2.0)
        # Where the larger shape would be clamped, the mean matters more than the variance.
        total = torch.minimum(total, 2.0 ** LOG2_SHAPES[1] / torch.maximum(mean, 1 - mean))
        shapes = torch.stack([total * mean, total * (1 - mean)], -1).log2().clamp(*LOG2_SHAPES)
        return shapes.to(frequencies.dtype)
