"""The models that the contract tests run. A new model joins by one line in ``MODELS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import Bernoulli, Categorical, Normal
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.models.vae import VAEConfig, build_vae
from codelength.networks.conditionals import NetworkConditional, RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.coupling import AffineCoupling, GridOffset, UniformCell
from codelength.networks.masked import InputScale


class Lawful(nn.Module):
    """A model that states its law."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def law(self) -> Law:
        raise NotImplementedError


def bernoulli_made() -> nn.Module:
    return build_made(MADEConfig(hidden=(12,), seed=1), Space((3, 3), 2))


def mixture_of_orders() -> nn.Module:
    return build_made(MADEConfig(hidden=(12,), orders="random", masks=2, seed=2), Space((3, 3), 2))


def variational_autoencoder() -> nn.Module:
    """Two stochastic layers."""
    return build_vae(VAEConfig(latents=(3, 2), hidden=(12,), latent_bits=8, seed=3), Space((3, 3), 2))


def importance_weighted() -> nn.Module:
    config = VAEConfig(latents=(3,), hidden=(12,), samples=3, gradient="doubly_reparameterised", seed=4)
    return build_vae(config, Space((2, 2), 5))


def grids_of_latents() -> nn.Module:
    """Colour images, convolutional networks, a grid of latents under a vector of them."""
    config = VAEConfig(
        latents=(2, 3),
        strides=(2, 0),
        channels=(4, 6),
        blocks=(0, 1),
        head=(6,),
        latent_bits=8,
        leaf="logistic_mixture",
        components=2,
        seed=5,
    )
    return build_vae(config, Space((4, 4, 3), 8))


def pixel_autoencoder() -> nn.Module:
    """With labels."""
    config = VAEConfig(
        latents=(1, 1),
        strides=(2, 1),
        channels=(6, 4),
        blocks=(1, 1),
        head=(8,),
        neighbourhood=(2, 3),
        latent_bits=8,
        labels=2,
        seed=6,
    )
    return build_vae(config, Space((4, 4), 3))


def beta_binomial_autoencoder() -> nn.Module:
    """The likelihood of Townsend, Bird and Barber 2019."""
    config = VAEConfig(latents=(3,), hidden=(12,), latent_bits=8, leaf="beta_binomial", seed=7)
    return build_vae(config, Space((3, 3), 17))


class NestedMarginal(Lawful):
    """x (4,) of three symbols given z (2,), z given y (units,): the prior of one Marginal is another (Bit-Swap).

    Networks are given latents as bins and scale them themselves, or in standard units.
    """

    def __init__(self, units: int = 2, standard: bool = False) -> None:
        super().__init__(Space((4,), 3))

        def mlp(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, outputs))

        def conditional(network: nn.Module, leaf: Any, size: int, *inputs: str) -> NetworkConditional:
            if not standard and inputs and inputs != ("x of data",):
                network = Centred(network)
            names = tuple(name.split()[0] for name in inputs)
            return NetworkConditional(network, leaf, (size,), names, "standard" if standard else "bins")

        latent = Normal(64)
        self.top = conditional(Constant(2 * units), latent, units)
        self.middle = conditional(mlp(units, 4), latent, 2, "y")
        self.bottom = conditional(mlp(2, 12), Categorical(3), 4, "z")
        self.guess_z = conditional(mlp(4, 4), latent, 2, "x of data")
        self.guess_y = conditional(mlp(2, 2 * units), latent, units, "x")

    def law(self) -> Law:
        prior = Marginal("y", Independent(self.top), Independent(self.middle), Independent(self.guess_y))
        return Marginal("z", prior, Independent(self.bottom), Independent(self.guess_z))


class Constant(nn.Module):
    """The same parameters whatever the context."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(1, outputs))

    def forward(self) -> Tensor:
        return self.values


class Centred(nn.Module):
    """A network that sees latents of 64 grid points brought near zero, exactly."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.scale = InputScale(32, 4)
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        return self.network(self.scale(z))


class AffineFlow(Lawful):
    """Two pixels of four symbols under dequantisation on a grid of 2^6 steps each, two couplings, a normal base."""

    BITS = 6

    def __init__(self) -> None:
        super().__init__(Space((2,), 4))

        def network() -> nn.Module:
            net = nn.Sequential(InputScale(0, 7), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
            with torch.no_grad():
                net[-1].weight.mul_(0.3)
            return net

        self.steps = nn.ModuleList(
            [
                GridOffset(-128),
                AffineCoupling(torch.tensor([1, 0]), network(), shift_bits=5),
                AffineCoupling(torch.tensor([0, 1]), network(), shift_bits=5),
                GridOffset(2048),
            ]
        )
        self.base = NetworkConditional(BaseParameters(), Normal(4096, scaled=False), (2,), ())

    def law(self) -> Law:
        flow = Pushforward(Independent(self.base), list(self.steps), (2,), 4 << self.BITS)
        return Marginal("u", flow, Floor("u", self.BITS), Cell(self.BITS, UniformCell()))


class BaseParameters(nn.Module):
    """Mean 2048 and a learned log-deviation for both pixels of the flow's base."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([[2048.0, 4.5, 2048.0, 4.5]]))

    def forward(self) -> Tensor:
        return self.values


class CausalNetwork(nn.Module):
    """Three causal layers, a skip connection and a gate."""

    def __init__(self) -> None:
        super().__init__()
        nothing = torch.zeros(6)
        self.first = CausalConv2d(torch.ones(1), nothing, (2, 3))
        self.second = CausalConv2d(nothing, torch.zeros(12), (2, 3))
        self.last = CausalConv2d(nothing, torch.zeros(1), (1, 1), (0, 0))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        left, right = self.second(h).chunk(2, 1)
        return self.last(h + torch.tanh(left) * torch.sigmoid(right))


class FullyConvolutional(Lawful):
    """A causal network over images of any size."""

    def __init__(self) -> None:
        super().__init__(Space((None, None), 2))
        self.conditional = RasterConditional(CausalNetwork(), Bernoulli(), (None, None))

    def law(self) -> Law:
        return Sequential(self.conditional)


@dataclass(frozen=True)
class Case:
    """build: a fresh model. shapes: of items. enumerable: whether all items of the first shape can be listed."""

    build: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    enumerable: bool = True


MODELS = {
    "Bernoulli MADE": Case(bernoulli_made, ((3, 3),)),
    "mixture of two orders": Case(mixture_of_orders, ((3, 3),)),
    "nested marginals": Case(NestedMarginal, ((4,),), enumerable=False),
    "latents in standard units": Case(lambda: NestedMarginal(1, standard=True), ((4,),), enumerable=False),
    "VAE of two layers": Case(variational_autoencoder, ((3, 3),), enumerable=False),
    "importance-weighted VAE": Case(importance_weighted, ((2, 2),), enumerable=False),
    "VAE on grids": Case(grids_of_latents, ((4, 4, 3),), enumerable=False),
    "PixelVAE": Case(pixel_autoencoder, ((4, 4),), enumerable=False),
    "beta-binomial VAE": Case(beta_binomial_autoencoder, ((3, 3),), enumerable=False),
    "affine flow": Case(AffineFlow, ((2,),), enumerable=False),
    "convolutional, any size": Case(FullyConvolutional, ((3, 3), (2, 5), (6, 4))),
}


def training_items(case: Case, symbols: int, seed: int = 0) -> np.ndarray:
    """Items (300, *shape) with some structure: neighbours tend to be equal."""
    rng = np.random.default_rng(seed)
    shape = case.shapes[0]
    flat = rng.integers(0, symbols, size=(300, int(np.prod(shape))))
    for i in range(1, flat.shape[1]):
        keep = rng.random(300) < 0.7
        flat[keep, i] = flat[keep, i - 1]
    return flat.reshape(300, *shape)
