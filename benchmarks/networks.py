"""A masked network with random weights for timings: how fast it runs does not depend on what it has learned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions.bernoulli import Bernoulli
from codelength.freezing import freeze
from codelength.laws.frozen import FrozenModel
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.networks.conditionals import DegreeConditional
from codelength.networks.masked import MaskedLinear, MaskedMLP


class OneOrder(nn.Module):
    """p(x) of binary vectors in their natural order: hidden layers of ReLU units with degrees evenly spread."""

    def __init__(self, elements: int, hidden: int, layers: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        degrees = torch.arange(hidden) * elements // hidden
        self.space = Space((elements,), 2)
        self.network = MaskedMLP(
            torch.arange(1, elements + 1), torch.arange(elements), [degrees] * layers, 1, direct=False
        )
        self.network.reset_parameters(generator)
        self.network.output.reset_parameters(2.0, generator)  # logits that differ from item to item
        self.conditional = DegreeConditional(self.network, Bernoulli(), (elements,), torch.arange(elements)[None])

    def law(self) -> Sequential:
        return Sequential(self.conditional)

    def freeze(self, seed: int) -> FrozenModel:
        """The frozen twin, calibrated on fair coins."""
        generator = torch.Generator().manual_seed(seed)
        coins = torch.randint(0, 2, (512, self.space.shape[0] or 0), generator=generator)
        return self.freeze_on(coins.numpy())

    def freeze_on(self, items: np.ndarray) -> FrozenModel:
        """The frozen twin, calibrated on items (n, D)."""
        return freeze(self.eval(), items)

    def dense(self) -> nn.Sequential:
        """The same function as plain layers with the masks multiplied in: the parallel pass as torch does it best."""
        layers: list[nn.Module] = []
        for masked in (self.network.input, *self.network.hidden, self.network.output):
            layers += [_plain(masked), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).eval()


def _plain(masked: MaskedLinear) -> nn.Linear:
    layer = nn.Linear(len(masked.in_degrees), len(masked.out_degrees))
    weight: Tensor = masked.masked_weight().detach()
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    assert masked.bias is not None
    layer.bias = nn.Parameter(masked.bias.detach().clone(), requires_grad=False)
    return layer
