"""Encoders and decoders of a hierarchy of latents: dense networks, or residual convolutions between grids.

Encoder l sees the layer below and gives two numbers for each latent of layer l, decoder l sees the latents and gives
two for each latent below, or the parameters of the elements of an item. Latents come as numbers of bins of a grid,
items as symbols; networks bring both near zero. ``standard``: (centre, unit_bits) of the grid, as of
``distributions.Normal``. With labels, networks take them last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codelength.networks.masked import InputScale, symbol_scaling
from codelength.networks.residual import CausalPixels, ChannelsFirst, Pixels, downwards, labelled, last, upwards


@dataclass
class Hierarchy:
    """shapes: of the latents of each layer, the one next to the items first."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    encoders: list[nn.Module] = field(default_factory=list)
    decoders: list[nn.Module] = field(default_factory=list)


class StandardNormal(nn.Module):
    """The parameters of a standard normal distribution on the grid, (1, 2 * units), whatever the context."""

    values: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(1, 2 * units), persistent=False)

    def forward(self) -> Tensor:
        return self.values


def dense(
    dims: int,
    symbols: int,
    parameters: int,
    *,
    latents: tuple[int, ...],
    hidden: tuple[int, ...],
    standard: tuple[int, int],
    labels: int = 0,
) -> Hierarchy:
    """Latents are vectors of so many units. Decoders have the hidden layers of encoders in the opposite order.

    parameters: of each of the ``dims`` elements of an item.
    """
    found = Hierarchy(shapes=[(units,) for units in latents])
    for level, units in enumerate(latents):
        below = dims if level == 0 else latents[level - 1]
        outputs = dims * parameters if level == 0 else 2 * below
        scale = symbol_scaling(symbols) if level == 0 else InputScale(*standard)
        encoder = _perceptron(scale, below, hidden, 2 * units, flatten=level == 0)
        found.encoders.append(labelled(encoder, labels))
        decoder = _perceptron(InputScale(*standard), units, hidden[::-1], outputs)
        found.decoders.append(labelled(decoder, labels))
    return found


def convolutional(
    shape: tuple[int, ...],
    symbols: int,
    parameters: int,
    *,
    latents: tuple[int, ...],
    strides: tuple[int, ...],
    channels: tuple[int, ...],
    blocks: tuple[int, ...],
    standard: tuple[int, int],
    head: tuple[int, ...] = (),
    neighbourhood: tuple[int, ...] = (),
    labels: int = 0,
) -> Hierarchy:
    """Latents are so many channels of grids (rows, columns, channels), or with stride 0 a vector on top.

    shape: of the items, (h, w) or (h, w, c). strides: how many times coarser each grid is than that below it.
    channels, blocks: of networks at full resolution, at half and so on. head: hidden units of the blocks that turn a
    pixel's features into its parameters. neighbourhood: (rows, columns) of the image itself that a pixel sees.
    """
    found = Hierarchy()
    colours = shape[2] if len(shape) == 3 else 1
    below, fine = shape, 0  # the shape of the layer below, and how often that has been halved
    for level, (units, stride) in enumerate(zip(latents, strides)):
        flat = stride == 0
        coarse = len(channels) - 1 if flat else fine + stride.bit_length() - 1
        grid = tuple(side >> (coarse - fine) for side in below[:2])
        here = (units,) if flat else (*grid, units)
        widths, some = channels[fine : coarse + 1], blocks[fine : coarse + 1]
        inputs = colours if level == 0 else below[2]
        scale = symbol_scaling(symbols) if level == 0 else InputScale(*standard)
        down = [scale, ChannelsFirst(below), downwards(inputs, widths, some)]
        up: list[nn.Module] = [InputScale(*standard)]
        if flat:
            features = widths[-1] * math.prod(grid)
            down += [nn.Flatten(), _last_linear(features, 2 * units)]
            up += [nn.Linear(units, features), nn.Unflatten(1, (widths[-1], *grid))]
        else:
            down.append(last(widths[-1], 2 * units, 3))
            up.append(ChannelsFirst(here))
        trunk = nn.Sequential(*up, upwards(widths[-1] if flat else units, widths, some))
        decoder: nn.Module
        if level > 0:
            decoder = labelled(nn.Sequential(trunk, nn.ReLU(), last(widths[0], 2 * inputs)), labels)
        elif neighbourhood:
            rows, columns = neighbourhood
            decoder = CausalPixels(
                labelled(trunk, labels), widths[0], head, colours, parameters, symbol_scaling(symbols), (rows, columns)
            )
        else:
            decoder = Pixels(labelled(trunk, labels), widths[0], head, colours, parameters)
        found.shapes.append(here)
        found.encoders.append(labelled(nn.Sequential(*down), labels))
        found.decoders.append(decoder)
        below, fine = here, coarse
    return found


def dense_classifier(dims: int, symbols: int, labels: int, hidden: tuple[int, ...]) -> nn.Module:
    """From items to logits of labels, as large as a dense encoder."""
    return _perceptron(symbol_scaling(symbols), dims, hidden, labels, flatten=True)


def convolutional_classifier(
    shape: tuple[int, ...], symbols: int, labels: int, channels: tuple[int, ...], blocks: tuple[int, ...]
) -> nn.Module:
    """From images to logits of labels, as large as a convolutional encoder."""
    inputs = shape[2] if len(shape) == 3 else 1
    features = channels[-1] * math.prod(side >> (len(channels) - 1) for side in shape[:2])
    body = downwards(inputs, channels, blocks)
    return nn.Sequential(symbol_scaling(symbols), ChannelsFirst(shape), body, nn.Flatten(), nn.Linear(features, labels))


def _perceptron(
    scale: nn.Module, inputs: int, hidden: tuple[int, ...], outputs: int, flatten: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [scale]
    if flatten:
        layers.append(nn.Flatten())
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, _last_linear(inputs, outputs))


def _last_linear(inputs: int, outputs: int) -> nn.Linear:
    """Small first outputs, as ``residual.last``: posteriors begin near the prior, decoders at the frequencies."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
    return layer
