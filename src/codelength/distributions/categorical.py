"""Symbols 0 .. A-1 with one logit each (nats, up to a common constant)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Categorical:
    family = "categorical"
    components = 1

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols
        self.parameters = symbols

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """params (..., A), x (...) -> nats (...)."""
        flat = functional.cross_entropy(params.reshape(-1, self.symbols), x.reshape(-1).long(), reduction="none")
        return -flat.reshape(x.shape)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., A) -> draws (...), int64."""
        chances = torch.softmax(params.reshape(-1, self.symbols), 1)
        return torch.multinomial(chances, 1, generator=generator).reshape(params.shape[:-1])

    def initial_parameters(self, frequencies: Tensor) -> Tensor:
        """frequencies (..., A), positive -> (..., A)."""
        return frequencies.log()
