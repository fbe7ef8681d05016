"""Residual convolutional networks between images of several resolutions (He et al. 2016, pre-activation form).

Items of shape (h, w) or (h, w, c) enter, values (n, c, h, w) leave. No normalisation: networks that are to be frozen
have no statistics of the data in them, and blocks that begin at zero train without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codelength.networks.convolution import CausalConv2d


class ChannelsFirst(nn.Module):
    """Items (n, h, w) or (n, h, w, c) as (n, c, h, w)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        if len(self.shape) == 2:
            return x.reshape(-1, 1, *self.shape)
        return x.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))); the second convolution begins at zero.

    kernel: of both, 3 for 3 x 3, 1 for a function of each pixel by itself.
    """

    def __init__(self, channels: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, hidden, kernel, padding=kernel // 2)
        self.second = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.second.weight.zero_()
            assert self.second.bias is not None
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class CausalResidualBlock(nn.Module):
    """The same between channels that have seen earlier pixels only; kernel (rows, columns) ends at the pixel's row."""

    def __init__(self, degrees: Tensor, hidden: Tensor, kernel: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.first = CausalConv2d(degrees, hidden, kernel)
        self.second = CausalConv2d(hidden, degrees, (1, 1))
        with torch.no_grad():
            self.second.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


def halve(inputs: int, outputs: int) -> nn.Conv2d:
    """Half as many rows and columns, each pixel seeing four by four."""
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Twice as many rows and columns."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))


def blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels, channels) for _ in range(count)]


def downwards(inputs: int, channels: tuple[int, ...], counts: tuple[int, ...]) -> nn.Sequential:
    """From (n, inputs, h, w) to (n, channels[-1], h', w'), halving between neighbours of ``channels``.

    counts: residual blocks at each resolution. The finest has none where the image is halved at once, since
    convolutions there cost most and see least.
    """
    layers: list[nn.Module] = []
    if len(channels) == 1:
        layers += [nn.Conv2d(inputs, channels[0], 3, padding=1), *blocks(channels[0], counts[0])]
    for k in range(1, len(channels)):
        layers += [nn.ReLU()] if k > 1 else []
        layers += [halve(inputs if k == 1 else channels[k - 1], channels[k]), *blocks(channels[k], counts[k])]
    return nn.Sequential(*layers, nn.ReLU())


def upwards(inputs: int, channels: tuple[int, ...], counts: tuple[int, ...]) -> nn.Sequential:
    """From (n, inputs, h', w') to (n, channels[0], h, w), doubling between neighbours of ``channels``."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, channels[-1], 3, padding=1), *blocks(channels[-1], counts[-1])]
    for k in reversed(range(len(channels) - 1)):
        layers += [nn.ReLU(), double(channels[k + 1], channels[k]), *blocks(channels[k], counts[k])]
    return nn.Sequential(*layers)


def last(inputs: int, outputs: int, kernel: int = 1) -> nn.Conv2d:
    """Small first outputs: posteriors begin near the prior, decoders at the frequencies of the data."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        assert layer.bias is not None
        layer.bias.zero_()
    return layer


def _pointwise(layer: Any, rows: Tensor) -> Tensor:
    """A 1 x 1 convolution on rows (N, channels), which a matrix product does faster than a convolution."""
    weight = layer.masked_weight() if isinstance(layer, CausalConv2d) else layer.weight
    return nn.functional.linear(rows, weight.flatten(1), layer.bias)


class Labelled(nn.Module):
    """A network whose first layer has a bias of its own for each label: forward(x, label (n,) integers)."""

    def __init__(self, first: nn.Module, rest: nn.Module, labels: int, width: int, image: bool) -> None:
        super().__init__()
        self.first, self.rest, self.image = first, rest, image
        self.biases = nn.Embedding(labels, width)
        with torch.no_grad():
            self.biases.weight.mul_(0.1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        bias = self.biases(label)
        return self.rest(self.first(x) + (bias[:, :, None, None] if self.image else bias))


def _flattened(network: nn.Sequential) -> list[nn.Module]:
    """Its layers in order, those of sequences within it in their place."""
    layers: list[nn.Module] = []
    for layer in network:
        layers += _flattened(layer) if isinstance(layer, nn.Sequential) else [layer]
    return layers


def labelled(network: nn.Sequential, labels: int) -> nn.Module:
    """The same network with labels, entering at its first layer; the network itself where there are none."""
    if not labels:
        return network
    layers = _flattened(network)
    place = next(k for k, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d))
    width = layers[place].bias.shape[0]  # type: ignore[index]
    image = isinstance(layers[place], nn.Conv2d)
    return Labelled(nn.Sequential(*layers[: place + 1]), nn.Sequential(*layers[place + 1 :]), labels, width, image)  # type: ignore[arg-type]


class Pixels(nn.Module):
    """From latents to the parameters of every pixel: ``trunk`` gives features (n, f, h, w), and the same function of
    each pixel's features, residual blocks of ``head`` hidden units, the parameters (n, channels * parameters, h, w).
    """

    def __init__(self, trunk: nn.Module, features: int, head: tuple[int, ...], channels: int, parameters: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.channels = channels
        self.head = nn.Sequential(*[ResidualBlock(features, hidden, 1) for hidden in head], nn.ReLU())
        self.last: nn.Module = last(features, channels * parameters)

    def features(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.trunk(z) if label is None else self.trunk(z, label)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        return self.last(self.head(self.features(z, label)))

    def at(self, features: Tensor, pixels: Tensor) -> Tensor:
        """The parameters (N, channels * parameters) of some pixels, by their row-major numbers (N,) in the batch."""
        rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])[pixels]
        block: Any
        for block in list(self.head)[:-1]:
            rows = rows + _pointwise(block.second, torch.relu(_pointwise(block.first, torch.relu(rows))))
        return _pointwise(self.last, torch.relu(rows))


class CausalPixels(Pixels):
    """The same, with a neighbourhood of earlier pixels seen beside the latents.

    forward(x (n, channels, h, w), latents). kernel: (rows, columns) of the neighbourhood, the pixel in the middle of
    the last row. Only the first layer looks at other pixels, so pixels whose distance along a row is beyond the
    neighbourhood are independent: slope is the schedule's.
    """

    def __init__(
        self,
        trunk: nn.Module,
        features: int,
        head: tuple[int, ...],
        channels: int,
        parameters: int,
        scale: nn.Module,
        kernel: tuple[int, int],
    ) -> None:
        super().__init__(trunk, features, (), channels, parameters)
        own = torch.arange(features) * channels // features
        outputs = torch.arange(channels).repeat_interleave(parameters)
        self.slope = kernel[1] // 2 + 1
        self.scale = scale
        self.first = CausalConv2d(torch.arange(1, channels + 1), own, kernel)
        hidden = [torch.arange(width) * channels // width for width in head]
        self.head = nn.Sequential(*[CausalResidualBlock(own, degrees) for degrees in hidden], nn.ReLU())
        end = CausalConv2d(own, outputs, (1, 1))
        with torch.no_grad():
            end.weight.mul_(0.1)
        self.last = end

    def features(self, x: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.first(self.scale(x)) + super().features(z, label)

    def forward(self, x: Tensor, z: Tensor, label: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.last(self.head(self.features(x, z, label)))
