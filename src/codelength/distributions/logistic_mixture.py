"""Discretised mixture of K logistics on 0 .. A-1 (Salimans et al. 2017, PixelCNN++, section 2.1).

Symbol x covers [x - 1/2, x + 1/2]; the end symbols take the tails. Parameters: K logits, K means (symbols), K
logarithms of scales (nats, of symbols).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Logarithms of scales are clamped to this range, as in the integer leaf.
LOG_SCALES = (-4.0, 12.0)


class LogisticMixture:
    """With `scaled`, outputs of about unit size cover the alphabet: mean = (A - 1) / 2 + output * A / 2 (rounded up
    to a power of two), log-scale = log(A / 16) + output."""

    family = "logistic_mixture"

    def __init__(self, symbols: int, components: int, scaled: bool = True) -> None:
        self.symbols = symbols
        self.components = components
        self.parameters = 3 * components
        gain = max((symbols - 1).bit_length() - 1, 0) if scaled else 0
        centre = (symbols - 1) / 2 if scaled else 0.0
        log_scale = math.log(max(symbols / 16, 0.5)) if scaled else 0.0
        self.gain_bits = (0,) * components + (gain,) * components + (0,) * components
        self.offsets = (0.0,) * components + (centre,) * components + (log_scale,) * components

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales (..., K) from outputs (..., 3 K)."""
        k = self.components
        logits, means, log_scales = params.split(k, -1)
        means = means * 2.0 ** self.gain_bits[k] + self.offsets[k]
        means = means.clamp(-float(self.symbols), 2.0 * self.symbols)
        log_scales = (log_scales + self.offsets[2 * k]).clamp(*LOG_SCALES)
        return torch.log_softmax(logits, -1), means, log_scales

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """params (..., 3 K), x (...) -> nats (...)."""
        log_weights, means, log_scales = self._split(params)
        width = torch.exp(-log_scales)  # of a symbol, in scales
        below = (x[..., None] - 0.5 - means) * width  # (..., K)
        above = below + width
        log_left = functional.logsigmoid(above)  # of the mass up to the symbol's upper end
        log_right = functional.logsigmoid(-below)  # of the mass from its lower end on
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), without cancellation.
        inside = log_left + log_right + torch.log(-torch.expm1(-width))
        place = x[..., None]
        masses = torch.where(place <= 0, log_left, torch.where(place >= self.symbols - 1, log_right, inside))
        return torch.logsumexp(log_weights + masses, -1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., 3 K) -> draws (...), int64."""
        log_weights, means, log_scales = self._split(params)
        chances = log_weights.exp().reshape(-1, self.components)
        k = torch.multinomial(chances, 1, generator=generator).reshape(*params.shape[:-1], 1)
        tiny = torch.finfo(params.dtype).eps
        u = torch.rand(k.shape, generator=generator, device=params.device).clamp(tiny, 1 - tiny)
        value = means.gather(-1, k) + log_scales.gather(-1, k).exp() * (u.log() - torch.log1p(-u))
        return value[..., 0].round().clamp(0, self.symbols - 1).long()

    def initial_parameters(self, frequencies: Tensor) -> Tensor:
        """Equal weights, means spread over one standard deviation on either side of the mean, one common scale."""
        k = self.components
        values = torch.arange(self.symbols, dtype=frequencies.dtype)
        shares = frequencies / frequencies.sum(-1, keepdim=True)
        mean = (shares * values).sum(-1, keepdim=True)  # (..., 1)
        deviation = ((shares * values**2).sum(-1, keepdim=True) - mean**2).clamp_min(1e-2).sqrt()
        spread = (torch.arange(k, dtype=frequencies.dtype) + 0.5) * 2 / k - 1
        means = (mean + spread * deviation - self.offsets[k]) * 2.0 ** -self.gain_bits[k]
        scales = (deviation * (math.sqrt(3) / math.pi)).log().clamp(*LOG_SCALES) - self.offsets[2 * k]
        return torch.cat([torch.zeros_like(means), means, scales.expand_as(means)], -1)
