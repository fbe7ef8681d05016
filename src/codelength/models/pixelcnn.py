"""PixelCNN: images element by element in raster order, by gated causal convolutions.

The network is that of van den Oord et al. 2016 (``networks/gated.py``): the parameters of every element are a function
of the pixels before its own, and of the earlier channels of its own. The likelihood is exact. Nothing in the model
depends on the size of an image, so it may be trained on crops and code images of any size.
"""

from __future__ import annotations

import torch
from torch import nn

from codelength.distributions import named_leaf
from codelength.laws.contract import Law
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.configs import PixelCNNConfig, need
from codelength.networks.conditionals import RasterConditional
from codelength.networks.gated import GatedPixelCNN
from codelength.networks.masked import symbol_scaling


class PixelCNN(nn.Module):
    """The chain rule over the elements of an image (H, W) or (H, W, C), the channels of a pixel one after another."""

    def __init__(self, space: Space, conditional: RasterConditional) -> None:
        super().__init__()
        self.space, self.conditional = space, conditional

    def law(self) -> Law:
        return Sequential(self.conditional)


def build_pixelcnn(config: PixelCNNConfig, space: Space) -> PixelCNN:
    """A fresh model. Raises RecipeError for a configuration that makes no sense for the space."""
    channels = _channels(config, space)
    leaf = named_leaf(config.leaf, space.symbols, config.components)
    scaling = symbol_scaling(space.symbols)  # elements are 0 .. symbols - 1, and layers want about -1 .. 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = GatedPixelCNN(
            channels, leaf.parameters, config.units, config.layers, config.reach, config.rows, scaling
        )
    # No pixel sees further to the right than ``reach`` columns for each row up, so whole fronts are coded at a time.
    return PixelCNN(space, RasterConditional(network, leaf, space.shape, slope=config.reach + 1))


def _channels(config: PixelCNNConfig, space: Space) -> int:
    """How many channels images of this space have, once all of the configuration is found to be possible."""
    config.check()
    need(
        len(space.shape) in (2, 3),
        f"expected images (height, width) or (height, width, channels) for pixelcnn, got items of shape {space.shape}",
    )
    channels = 1 if len(space.shape) == 2 else space.shape[2]
    assert channels is not None  # heights and widths may be free, channels never are
    need(config.units >= channels, f"expected at least one unit for each of {channels} channels, got {config.units}")
    return channels
