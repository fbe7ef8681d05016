"""A normal distribution on a uniform grid of bins 0 .. A-1; the end bins take the tails.

Parameters: the mean (bins) and the logarithm of the standard deviation (nats, of bins). Bin x covers
[x - 1/2, x + 1/2].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Logarithms of standard deviations are clamped to this range, as in the integer leaf.
LOG_SCALES = (-4.0, 12.0)


class Normal:
    """With `scaled`, outputs of about unit size cover the grid: mean = (A - 1) / 2 + output * A / 2 (A a power of
    two), log-deviation = log(A / 8) + output.

    With `reach` (a power of two) instead, one unit is A / (2 reach) bins in both: outputs (0, 0) are a standard normal
    distribution, and the grid covers that many deviations on either side. So latents on it have the same meaning
    whatever the precision A.
    """

    family = "gaussian"
    components = 1
    parameters = 2

    def __init__(self, symbols: int, scaled: bool = True, reach: int = 0) -> None:
        if symbols < 2 or symbols & (symbols - 1):
            raise ValueError(f"expected a power of two of bins, got {symbols}")
        if reach and (reach & (reach - 1) or 2 * reach > symbols):
            raise ValueError(f"expected a reach that is a power of two up to {symbols // 2}, got {reach}")
        self.symbols = symbols
        unit = symbols // (2 * reach) if reach else symbols // 2
        self.gain_bits = (unit.bit_length() - 1 if scaled else 0, 0)
        spread = math.log(unit if reach else symbols / 8) if scaled else 0.0
        self.offsets = ((symbols - 1) / 2 if scaled else 0.0, spread)
        #: How bins become standard units, (bin - centre) * 2^-unit_bits: deviations of the distribution of outputs
        #: (0, 0), up to half a bin; None where parameters are in bins themselves.
        self.standard = (symbols // 2, (unit if reach else max(symbols // 8, 1)).bit_length() - 1) if scaled else None

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mean = params[..., 0] * 2.0 ** self.gain_bits[0] + self.offsets[0]
        log_scale = params[..., 1] + self.offsets[1]
        return mean.clamp(-float(self.symbols), 2.0 * self.symbols), log_scale.clamp(*LOG_SCALES)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """params (..., 2), x (...) -> nats (...)."""
        mean, log_scale = self._split(params)
        width = torch.exp(-log_scale)  # of a bin, in standard deviations
        # Mirrored to the lower half, where logarithms of the cumulative function keep their precision.
        distance = (x - mean).abs()
        above, below = (0.5 - distance) * width, (-0.5 - distance) * width
        log_above, log_below = torch.special.log_ndtr(above), torch.special.log_ndtr(below)
        gap = (log_below - log_above).clamp(max=-1e-7)
        inside = log_above + torch.log(-torch.expm1(gap))
        first = torch.special.log_ndtr((x + 0.5 - mean) * width)
        last = torch.special.log_ndtr((mean - x + 0.5) * width)
        return torch.where(x <= 0, first, torch.where(x >= self.symbols - 1, last, inside))

    def log_density(self, params: Tensor, z: Tensor) -> Tensor:
        """Of the continuous distribution that the bins cut up, at z (...) in bins: nats (...), relative to one bin."""
        mean, log_scale = self._split(params)
        return -0.5 * ((z - mean) * torch.exp(-log_scale)) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)

    def moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the continuous distribution, in bins: (...) each."""
        mean, log_scale = self._split(params)
        return mean, log_scale.exp()

    def draw(self, params: Tensor, noise: Tensor) -> Tensor:
        """mean + deviation * noise, continuous and differentiable, in bins: the reparameterised draw (...)."""
        mean, log_scale = self._split(params)
        return mean + log_scale.exp() * noise

    def to_standard(self, z: Tensor) -> Tensor:
        """z (...) in bins -> (...) in standard units, as networks are given latents (``networks.conditionals``).

        Raises ValueError where parameters are in bins themselves, so that nothing is standard.
        """
        if self.standard is None:
            raise ValueError("expected a grid with standard units, got one whose parameters are in bins (scaled=False)")
        centre, unit_bits = self.standard
        return (z - centre) * 2.0**-unit_bits

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., 2) -> draws (...), int64."""
        mean, log_scale = self._split(params)
        noise = torch.randn(mean.shape, generator=generator, device=params.device)
        return (mean + log_scale.exp() * noise).round().clamp(0, self.symbols - 1).long()

    def initial_parameters(self, frequencies: Tensor) -> Tensor:
        """frequencies (..., A) -> the normal distribution of their mean and variance, (..., 2)."""
        values = torch.arange(self.symbols, dtype=frequencies.dtype)
        shares = frequencies / frequencies.sum(-1, keepdim=True)
        mean = (shares * values).sum(-1)
        variance = (shares * values**2).sum(-1) - mean**2
        log_scale = 0.5 * variance.clamp_min(1e-2).log()
        return torch.stack(
            [(mean - self.offsets[0]) * 2.0 ** -self.gain_bits[0], log_scale.clamp(*LOG_SCALES) - self.offsets[1]], -1
        )
