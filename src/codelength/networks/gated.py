"""Gated causal convolutions with a vertical and a horizontal stack.

The layers of van den Oord et al. 2016 ("Conditional Image Generation with PixelCNN Decoders", figure 2).

The vertical stack at a pixel sees rows above it, to both sides; the horizontal stack sees the pixels to the left in its
own row, and the vertical stack. Kernels of the vertical stack lie wholly above the row that they speak of, so every tap
is on an earlier pixel, as a schedule that goes pixel by pixel or by fronts asks for.

Of what comes before a pixel, a network of L > 0 layers after the first sees in the row d above it, d from 1 to
rows (L + 1), as far as reach (L + 1) columns to the left (reach L where d = 1) and reach min(d, L + 1) to the right; in
its own row as far as reach (L + 1) to the left. So the wedge further to the right than ``reach`` columns for each row
up stays unseen: a part of the blind spot that the article does away with, whose vertical kernels are centred on the
row. Such a kernel looks at later pixels of values that know earlier rows alone; rows would then have to be done as a
whole, one after another. A larger ``reach`` narrows the wedge, and makes fronts shorter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codelength.networks.convolution import CausalConv2d


class GatedLayer(nn.Module):
    """One layer of both stacks: v (n, units, H, W) and h (n, units, H, W), each with gates tanh(a) sigmoid(b).

    degrees (units,): of the horizontal stack, see ``CausalConv2d``. reach: columns to either side of a kernel above,
    and to the left of one in the row; rows: that a kernel goes up.
    """

    def __init__(self, degrees: Tensor, reach: int = 1, rows: int = 1) -> None:
        super().__init__()
        units = len(degrees)
        above, twice = torch.zeros(units, dtype=torch.int64), torch.cat([degrees, degrees])
        wide = (rows, 2 * reach + 1), (-rows, -reach)
        above_twice = torch.cat([above, above])
        self.upwards = CausalConv2d(above, above_twice, *wide)
        self.here = CausalConv2d(above, above_twice, (1, 1), (0, 0))
        self.leftwards = CausalConv2d(degrees, twice, (1, reach + 1), (0, -reach))
        self.link = CausalConv2d(above_twice, twice, (1, 1), (0, 0))
        self.out = CausalConv2d(degrees, degrees, (1, 1), (0, 0))

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        above = self.upwards(v) + self.here(v)
        a, b = above.chunk(2, 1)
        c, d = (self.leftwards(h) + self.link(above)).chunk(2, 1)
        return torch.tanh(a) * torch.sigmoid(b), h + self.out(torch.tanh(c) * torch.sigmoid(d))


class GatedPixelCNN(nn.Module):
    """Images (n, channels, H, W) of any size to parameters (n, channels * parameters, H, W) of every element.

    Channels of a pixel come one after another: those of the horizontal stack that have seen k of them have degree k.
    ``units`` of each stack (at least one per channel), ``layers`` after the first. scale, offset: what brings elements
    near zero, (x - offset) 2^-scale, as in ``InputScale``.
    """

    def __init__(
        self,
        channels: int,
        parameters: int,
        units: int = 16,
        layers: int = 8,
        reach: int = 1,
        rows: int = 1,
        scaling: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if units < channels:
            raise ValueError(f"expected at least one unit for each of {channels} channels, got {units}")
        before = torch.arange(1, channels + 1)
        degrees = torch.arange(units) * channels // units
        self.scaling = nn.Identity() if scaling is None else scaling
        wide = (rows, 2 * reach + 1), (-rows, -reach)
        self.first_above = CausalConv2d(before, torch.zeros(units, dtype=torch.int64), *wide)
        self.first_left = CausalConv2d(before, degrees, (1, reach + 1), (0, -reach))
        self.layers = nn.ModuleList(GatedLayer(degrees, reach, rows) for _ in range(layers))
        after = torch.arange(channels).repeat_interleave(parameters)
        self.last = CausalConv2d(degrees, after, (1, 1), (0, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.scaling(x)
        v, h = self.first_above(x), self.first_left(x)
        for layer in self.layers:
            v, h = layer(v, h)
        return self.last(torch.relu(h))
