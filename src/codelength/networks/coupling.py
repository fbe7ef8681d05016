"""Affine coupling on an integer grid: the step of Real NVP (Dinh, Sohl-Dickstein, Bengio 2017, equations 4 to 8).

In floating point the grid stands for the continuum; frozen, the same step is an exactly invertible map of integers
(``laws.pushforward``), at the same number of bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codelength.errors import NotFrozen

#: Log-scales are frozen in units of 2^-LOG_SCALE_BITS nats, between plus and minus LOG_SCALE_LIMIT.
LOG_SCALE_BITS = 6
LOG_SCALE_LIMIT = 4.0
#: Numerators of frozen scales are over 2^DENOMINATOR_BITS.
DENOMINATOR_BITS = 12


class GridOffset(nn.Module):
    """y = x + value: moves the grid, changes no volume."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, float]:
        """(y, log-determinant in nats)."""
        return x + self.value, 0.0

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        return y - self.value


class AffineCoupling(nn.Module):
    """y = x exp(s) + t for the elements where ``moves`` is one; s and t from the others.

    moves (D,) of zeros and ones; network: kept elements (n, D), moved ones zero, to (n, 2 D'): log-scales in nats,
    then shifts in units of 2^shift_bits grid steps.
    """

    moves: Tensor

    def __init__(self, moves: Tensor, network: nn.Module, shift_bits: int = 0) -> None:
        super().__init__()
        self.register_buffer("moves", torch.as_tensor(moves, dtype=torch.int64).clone())
        self.network = network
        self.shift_bits = shift_bits

    def _scale_and_shift(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        where = torch.nonzero(self.moves)[:, 0]
        out = self.network(flat * (1 - self.moves))
        scale, shift = out[:, : len(where)], out[:, len(where) :]
        return where, scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT), shift * 2.0**self.shift_bits

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(y, log-determinant in nats (n,))."""
        flat = x.reshape(len(x), -1).float()
        where, scale, shift = self._scale_and_shift(flat)
        y = flat.clone()
        y[:, where] = flat[:, where] * scale.exp() + shift
        return y.reshape(x.shape), scale.sum(1)

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        flat = y.reshape(len(y), -1).float()
        where, scale, shift = self._scale_and_shift(flat)
        x = flat.clone()
        x[:, where] = (flat[:, where] - shift) * torch.exp(-scale)
        return x.reshape(y.shape)


class UniformCell:
    """Floating-point codec of ``laws.Cell``: uniform low bits."""

    def log_prob(self, x: Tensor, bits: int) -> Tensor:
        dims = x[0].numel() if len(x) else 0
        return torch.full((len(x),), -bits * 0.6931471805599453 * dims, device=x.device)

    def sample(self, x: Tensor, bits: int, generator: torch.Generator | None) -> Tensor:
        return (x << bits) + torch.randint(1 << bits, x.shape, generator=generator)

    def push(self, stack: Any, values: Tensor, bits: int) -> None:
        raise NotFrozen("expected a frozen model for coding, got one in floating point; freeze it first")

    def pop(self, stack: Any, shape: tuple[int, ...], bits: int) -> Tensor:
        raise NotFrozen("expected a frozen model for coding, got one in floating point; freeze it first")
