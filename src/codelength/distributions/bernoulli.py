"""Symbols 0 and 1 with one parameter, the logit of 1 (nats)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Logits are clamped to plus and minus this, as in the integer leaf.
LIMIT = 16.0


class Bernoulli:
    family = "bernoulli"
    symbols = 2
    components = 1
    parameters = 1

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """params (..., 1), x (...) of zeros and ones -> nats (...)."""
        # One pass each for bounds, sign and logarithm, forward and backward: half the time of a cross-entropy.
        logit = functional.hardtanh(params[..., 0], -LIMIT, LIMIT)
        return functional.logsigmoid(logit * (2 * x.to(logit.dtype) - 1))

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., 1) -> draws (...), int64."""
        chance = torch.sigmoid(params[..., 0].clamp(-LIMIT, LIMIT))
        return torch.bernoulli(chance, generator=generator).long()

    def initial_parameters(self, frequencies: Tensor) -> Tensor:
        """frequencies (..., 2), positive -> (..., 1)."""
        return (frequencies[..., 1].log() - frequencies[..., 0].log())[..., None]
