"""The models that the contract tests run. A new model joins by one line in ``MODELS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import Bernoulli, Categorical, LogisticMixture, Normal
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, mixture
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.configs import PixelCNNConfig
from codelength.models.made import MADEConfig, build_made
from codelength.models.pixelcnn import build_pixelcnn
from codelength.models.vae import VAEConfig, build_vae
from codelength.networks.autoregressive import GateAndMean, InverseAutoregressive
from codelength.networks.conditionals import DegreeConditional, Features, NetworkConditional, RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    GridOffset,
    UniformCell,
    channel_mask,
    checkerboard,
    squeeze,
)
from codelength.networks.masked import InputScale, MaskedLinear


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


class Hidden(nn.Module):
    """A masked network of one hidden layer over D elements that also sees a context, wherever its masks let it."""

    def __init__(
        self, elements: int, context: int, parameters: int, hidden: int = 16, order: Tensor | None = None
    ) -> None:
        super().__init__()
        before = torch.arange(elements) if order is None else torch.argsort(order)
        middle = torch.arange(hidden) % elements
        after = before.repeat_interleave(parameters)
        self.first = MaskedLinear(before + 1, middle)
        self.second = MaskedLinear(middle, after)
        self.seen = nn.Linear(context, hidden) if context else None
        for layer in (self.first, self.second):
            layer.reset_parameters()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = self.first(x)
        if self.seen is not None:
            hidden = hidden + self.seen(context)
        return self.second(torch.relu(hidden))


class SequentialLatents(Lawful):
    """x (4,) of three symbols given z (3,); prior and posterior of z are autoregressive."""

    def __init__(self) -> None:
        super().__init__(Space((4,), 3))
        grid, order = Normal(256, reach=8), torch.arange(3)[None]
        self.prior = DegreeConditional(Hidden(3, 0, 2), grid, (3,), order)  # type: ignore[arg-type]
        self.decoder = NetworkConditional(
            nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 12)), Categorical(3), (4,), ("z",)
        )
        self.guess = DegreeConditional(Hidden(3, 4, 2), grid, (3,), order, inputs=("data",))  # type: ignore[arg-type]

    def law(self) -> Law:
        return Marginal("z", Sequential(self.prior), Independent(self.decoder), Sequential(self.guess), item="data")


class InverseFlow(Lawful):
    """x (6,) of three symbols given z (4,), whose posterior goes through four inverse autoregressive steps, every other
    one backwards (Kingma et al. 2016); they see features of the item."""

    def __init__(self) -> None:
        super().__init__(Space((6,), 3))
        grid, order = Normal(256, reach=8), torch.arange(4)
        self.prior = NetworkConditional(Constant(8), grid, (4,), ())
        self.decoder = NetworkConditional(
            nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 18)), Categorical(3), (6,), ("z",)
        )
        self.up = Features(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), ("data",))
        self.guess = NetworkConditional(nn.Linear(8, 8), grid, (4,), ("up",))
        self.steps = nn.ModuleList()
        for k in range(4):
            way = order if k % 2 == 0 else order.flip(0)
            network = Hidden(4, 8, 2, order=way)
            conditional = DegreeConditional(network, GateAndMean(grid), (4,), way[None], inputs=("up",))  # type: ignore[arg-type]
            self.steps.append(InverseAutoregressive(conditional))

    def law(self) -> Law:
        flow = Pushforward(Independent(self.guess), list(self.steps), (4,), self.prior.leaf.symbols)
        posterior = Chain([Define("up", self.up), Group("own", torch.arange(4), (4,), flow)], (4,))
        return Marginal("z", Independent(self.prior), Independent(self.decoder), posterior, item="data")


class MaskedConvolutions(nn.Module):
    """Two causal convolutions over a grid of latents, and features of the same size."""

    def __init__(self, channels: int, context: int, hidden: int = 6) -> None:
        super().__init__()
        before = torch.arange(channels) + 1
        middle = torch.arange(hidden) % channels
        after = torch.arange(channels).repeat_interleave(2)
        self.first = CausalConv2d(before, middle, (2, 3))
        self.seen = nn.Conv2d(context, hidden, 1)
        self.second = CausalConv2d(middle, after, (2, 3))

    def forward(self, x: Tensor, up: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x) + self.seen(up)))


class InverseFlowOnGrid(Lawful):
    """Images (6, 6) of three symbols given a grid (3, 3, 2) of latents, with steps of masked convolutions."""

    def __init__(self) -> None:
        super().__init__(Space((6, 6), 3))
        grid, shape = Normal(256, reach=8), (3, 3, 2)
        self.prior = NetworkConditional(Constant(36), grid, shape, ())
        self.decoder = NetworkConditional(UpFrom(), Categorical(3), (6, 6), ("z",))
        self.up = Features(DownTo(), ("data",))
        self.guess = NetworkConditional(nn.Conv2d(5, 4, 1), grid, shape, ("up",))
        self.steps = nn.ModuleList(
            InverseAutoregressive(RasterConditional(MaskedConvolutions(2, 5), GateAndMean(grid), shape, inputs=("up",)))
            for _ in range(4)
        )

    def law(self) -> Law:
        flow = Pushforward(Independent(self.guess), list(self.steps), (3, 3, 2), self.prior.leaf.symbols)
        posterior = Chain([Define("up", self.up), Group("own", torch.arange(18), (3, 3, 2), flow)], (3, 3, 2))
        return Marginal("z", Independent(self.prior), Independent(self.decoder), posterior, item="data")


class DownTo(nn.Module):
    """Images (n, 6, 6) to features (n, 5, 3, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 5, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x.reshape(-1, 1, 6, 6)))


class UpFrom(nn.Module):
    """Latents (n, 3, 3, 2) to parameters (n, 3, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.last = nn.ConvTranspose2d(6, 3, 2, stride=2)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(z.permute(0, 3, 1, 2))))


class TopDown(Lawful):
    """x (4, 4) of three symbols under 32 layers of two latents each.

    One deterministic path h_1 .. h_33 goes down from layer to layer, h_l+1 seeing h_l and z_l; prior, posterior and the
    likelihood look at it, and the posterior at features of the data besides (Sønderby et al. 2016).
    """

    def __init__(self, levels: int = 32, latents: int = 2, width: int = 8) -> None:
        super().__init__(Space((4, 4), 3))
        self.levels, self.latents = levels, latents
        grid = Normal(256, reach=8)

        class Down(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.path, self.latent = nn.Linear(width, width), nn.Linear(latents, width)

            def forward(self, h: Tensor, z: Tensor) -> Tensor:
                return torch.relu(self.path(h) + self.latent(z))

        class Guess(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.path, self.data = nn.Linear(width, width), nn.Linear(width, width)
                self.last = nn.Linear(width, 2 * latents)

            def forward(self, h: Tensor, up: Tensor) -> Tensor:
                return self.last(torch.relu(self.path(h) + self.data(up)))

        self.start = Features(Constant(width, 0.5), ())
        self.down = nn.ModuleList(Features(Down(), (f"h{k}", f"z{k}")) for k in range(1, levels + 1))
        self.priors = nn.ModuleList(
            NetworkConditional(nn.Linear(width, 2 * latents), grid, (latents,), (f"h{k}",))
            for k in range(1, levels + 1)
        )
        self.up = Features(nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU()), ("x",))
        self.guesses = nn.ModuleList(
            NetworkConditional(Guess(), grid, (latents,), (f"h{k}", "up")) for k in range(1, levels + 1)
        )
        self.decoder = NetworkConditional(nn.Linear(width, 48), Categorical(3), (4, 4), (f"h{levels + 1}",))

    def _chain(self, conditionals: nn.ModuleList, first: list[Define], whole: bool) -> Chain:
        parts: list[Group | Define] = [*first, Define("h1", self.start)]
        for k, (conditional, down) in enumerate(zip(conditionals, self.down), 1):
            places = torch.arange((k - 1) * self.latents, k * self.latents)
            parts.append(Group(f"z{k}", places, (self.latents,), Independent(conditional)))
            if whole or k < self.levels:
                parts.append(Define(f"h{k + 1}", down))
        return Chain(parts, (self.levels * self.latents,))

    def law(self) -> Law:
        prior = self._chain(self.priors, [], whole=True)
        posterior = self._chain(self.guesses, [Define("up", self.up)], whole=False)
        return Marginal("z", prior, Independent(self.decoder), posterior)


class Constant(nn.Module):
    """The same parameters whatever the context."""

    def __init__(self, outputs: int, value: float = 0.0) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((1, outputs), value))

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


class Around(nn.Module):
    """Two small convolutions over (C, H, W): what couplings of images make of the elements that stay."""

    def __init__(self, channels: int, outputs: int, offset: int = 0, scale_bits: int = 7, gain: float = 0.3) -> None:
        super().__init__()
        self.scale = InputScale(offset, scale_bits)
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.last = nn.Conv2d(6, outputs, 3, padding=1)
        with torch.no_grad():
            self.last.weight.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(self.scale(x))))


class FromGroup(nn.Module):
    """The same for a group of a chain, which stands in the context as an image (H, W, C)."""

    def __init__(self, channels: int, outputs: int, offset: int = 0, scale_bits: int = 7) -> None:
        super().__init__()
        self.around = Around(channels, outputs, offset, scale_bits)

    def forward(self, x: Tensor) -> Tensor:
        return self.around(x.permute(0, 3, 1, 2))


class MultiscaleFlow(Lawful):
    """Eight affine couplings on 8x8 images of eight symbols, dequantised on 2^6 steps each, on two scales.

    Each scale: factors of channels, two checkerboards, squares of pixels made channels, two masks of channels. After
    the first, half of the channels is coded given the rest, on four times the bins of its leaf.
    """

    BITS = 6

    def __init__(self, channels: int) -> None:
        super().__init__(Space((8, 8) if channels == 1 else (8, 8, channels), 8))

        def scale(shape: tuple[int, int, int]) -> tuple[list[nn.Module], tuple[int, int, int]]:
            squeezed, after = squeeze(shape)
            steps: list[nn.Module] = [ChannelScale(shape[2], shift_bits=6)]
            steps += [self._coupling(checkerboard(shape, parity), shape) for parity in (0, 1)]
            steps += [squeezed]
            return steps + [self._coupling(channel_mask(after, last), after) for last in (True, False)], after

        first, (height, width, depth) = scale((8, 8, channels))
        self.kept = (height, width, depth // 2)
        second, _ = scale(self.kept)
        self.first = nn.ModuleList([GridOffset(-256), *first, GridOffset(2048)])
        self.second = nn.ModuleList([GridOffset(-2048), *second, GridOffset(2048)])
        self.base = NetworkConditional(Constant(2 * math.prod(self.kept)), Normal(4096, reach=16), self.kept, ())
        self.left = NetworkConditional(
            FromGroup(depth // 2, 2 * (depth // 2), 2048), Normal(1024, reach=16), self.kept, ("rest",)
        )

    def _coupling(self, moves: Tensor, shape: tuple[int, int, int]) -> AffineCoupling:
        return AffineCoupling(moves, Around(shape[2], 2 * shape[2]), 6, shape)

    def law(self) -> Law:
        places = torch.arange(2 * math.prod(self.kept)).reshape(-1, 2, self.kept[2])
        shape = self.space.shape
        rest = Pushforward(Independent(self.base), list(self.second), self.kept)
        left = Coarse(Independent(self.left), 2, UniformCell())
        groups = [
            Group("rest", places[:, 0].reshape(-1), self.kept, rest),
            Group("left", places[:, 1].reshape(-1), self.kept, left),
        ]
        flow = Pushforward(Chain(groups, shape), list(self.first), shape, 8 << self.BITS)
        return Marginal("u", flow, Floor("u", self.BITS), Cell(self.BITS, UniformCell()))


class DiscreteFlow(Lawful):
    """Images of five symbols under additive couplings: exact, no bits are taken back. Half of the elements is coded
    given the other half."""

    def __init__(self, side: int = 2) -> None:
        super().__init__(Space((side, side), 5))
        shape = (side, side, 1)
        squeezed, after = squeeze(shape)

        def coupling(moves: Tensor, shape: tuple[int, int, int]) -> AdditiveCoupling:
            return AdditiveCoupling(moves, Around(shape[2], shape[2], 2, 1, gain=3.0), 5, shape=shape)

        self.steps = nn.ModuleList(
            [
                *(coupling(checkerboard(shape, parity), shape) for parity in (0, 1)),
                squeezed,
                *(coupling(channel_mask(after, last), after) for last in (True, False)),
            ]
        )
        self.half = (after[0], after[1], 2)
        leaf = LogisticMixture(5, 2)
        self.first = NetworkConditional(Constant(6 * math.prod(self.half)), leaf, self.half, ())
        self.second = NetworkConditional(FromGroup(2, 12, 2, 1), leaf, self.half, ("first",))

    def law(self) -> Law:
        places = torch.arange(2 * math.prod(self.half)).reshape(-1, 2, 2)
        groups = [
            Group("first", places[:, 0].reshape(-1), self.half, Independent(self.first)),
            Group("second", places[:, 1].reshape(-1), self.half, Independent(self.second)),
        ]
        return Pushforward(Chain(groups, self.space.shape), list(self.steps), self.space.shape, 5)


class LatticesOfPixels(Lawful):
    """Images (4, 4, 3) of eight symbols in three groups of pixels, each coded given those before it: every second pixel
    of every second row, those between them on the diagonals, and the rest. Discretised mixtures, no couplings."""

    def __init__(self) -> None:
        super().__init__(Space((4, 4, 3), 8))
        leaf = LogisticMixture(8, 2)

        class Both(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scales = nn.ModuleList([InputScale(4, 2), InputScale(4, 2)])
                self.around = Around(6, 36)
                self.around.scale = nn.Identity()

            def forward(self, first: Tensor, second: Tensor) -> Tensor:
                a, b = self.scales[0](first.permute(0, 3, 1, 2)), self.scales[1](second.permute(0, 3, 1, 2))
                return self.around(torch.cat([a, b], 1))

        self.first = NetworkConditional(Constant(72), leaf, (2, 2, 3), ())
        self.second = NetworkConditional(FromGroup(3, 18, 4, 2), leaf, (2, 2, 3), ("first",))
        self.third = NetworkConditional(Both(), leaf, (2, 2, 6), ("first", "second"))

    def law(self) -> Law:
        places = torch.arange(48).reshape(2, 2, 2, 2, 3)  # row, its parity, column, its parity, channel
        rest = torch.cat([places[:, 0, :, 1], places[:, 1, :, 0]], -1)
        groups = [
            Group("first", places[:, 0, :, 0].reshape(-1), (2, 2, 3), Independent(self.first)),
            Group("second", places[:, 1, :, 1].reshape(-1), (2, 2, 3), Independent(self.second)),
            Group("third", rest.reshape(-1), (2, 2, 6), Independent(self.third)),
        ]
        return Chain(groups, (4, 4, 3))


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


def gated(channels: int, symbols: int) -> nn.Module:
    """A gated PixelCNN of eight layers, images of any size, of one channel or of three."""
    shape = (None, None) if channels == 1 else (None, None, channels)
    return build_pixelcnn(PixelCNNConfig(units=6, layers=8), Space(shape, symbols))


class MixtureOfProducts(Lawful):
    """Three products of distributions of four elements, their weights learned: tables alone, no layer."""

    def __init__(self) -> None:
        super().__init__(Space((4,), 3))
        self.prior = NetworkConditional(Constant(3), Categorical(3), (1,), ())
        self.elements = NetworkConditional(nn.Embedding(3, 12), Categorical(3), (4,), ("k",))

    def law(self) -> Law:
        return mixture("k", Independent(self.prior), Independent(self.elements))


class EveryLayerOnImages(Lawful):
    """Every layer that freezes, where a scheduled network of images may have it.

    Images (4, 4) of three symbols given latents (2, 2, 2): pooled and rearranged on the way to the latents, shuffled on
    the way back; channels split, gathered, scaled, shifted, negated, clamped and gated where pixels see earlier ones.
    """

    class Upwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = InputScale(1, 0)
            self.first = nn.Conv2d(1, 4, 3, padding=1)
            self.pool, self.squares = nn.AvgPool2d(2), nn.PixelUnshuffle(2)
            self.last = nn.Conv2d(5, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.scale(x.reshape(-1, 1, 4, 4))
            h = torch.cat([self.squares(x), self.pool(nn.functional.gelu(self.first(x)))[:, 1:2]], 1)
            return self.last(nn.functional.silu(h))

    class Downwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nothing = torch.zeros(8)
            self.shuffle = nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 6, 1))
            self.scale = InputScale(1, 0)
            self.first = CausalConv2d(torch.ones(1), nothing, (2, 3))
            self.register_buffer("order", torch.tensor([4, 0, 2]))
            self.gain, self.shift = nn.Parameter(torch.randn(6, 1, 1)), nn.Parameter(torch.randn(1, 6, 1, 1))
            self.position = nn.Parameter(torch.randn(6, 4, 4))
            self.gate = CausalConv2d(nothing[:6], torch.zeros(12), (1, 2), (0, -1))
            self.last = CausalConv2d(nothing[:6], torch.zeros(3), (1, 1), (0, 0))

        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            context = self.shuffle(z.permute(0, 3, 1, 2))
            a, b = torch.split(self.first(self.scale(x)), [3, 5], 1)
            h = torch.cat([a, torch.index_select(b, 1, self.order)], 1) * self.gain + self.shift
            h = (h - context).clamp(-1.5, 2.0) + self.position
            h = nn.functional.elu(1 - h) - nn.functional.glu(self.gate(-h), 1)
            return self.last(h)

    def __init__(self) -> None:
        super().__init__(Space((4, 4), 3))
        grid, shape = Normal(64), (2, 2, 2)
        self.prior = NetworkConditional(Constant(16), grid, shape, ())
        self.guess = NetworkConditional(self.Upwards(), grid, shape, ("data",))
        self.pixels = RasterConditional(self.Downwards(), Categorical(3), (4, 4), ("z",))

    def law(self) -> Law:
        return Marginal("z", Independent(self.prior), Sequential(self.pixels), Independent(self.guess), item="data")


class EveryLayerOfVectors(Lawful):
    """The same for a masked network of vectors: five elements of three symbols, in an order of their own."""

    class Masked(nn.Module):
        def __init__(self, order: Tensor) -> None:
            super().__init__()
            before = torch.argsort(order)
            middle = torch.arange(6) % 5
            self.first = MaskedLinear(before + 1, torch.cat([middle, middle]))
            self.second = MaskedLinear(middle, torch.cat([middle, middle]))
            self.last = MaskedLinear(middle, before.repeat_interleave(3))
            for layer in (self.first, self.second, self.last):
                layer.reset_parameters()
            self.gain, self.shift = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6))
            self.position = nn.Parameter(torch.randn(5))
            self.register_buffer("order", torch.tensor([5, 0, 1, 2, 3, 4]))

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.first(x - 1 + self.position).chunk(2, 1)
            h = (torch.tanh(a) * self.gain + self.shift).clamp(-1.0, 2.0) - torch.relu(b) / 3
            h = h + 0.5 * nn.functional.silu(b[:, self.order][:, [1, 2, 3, 4, 5, 0]])
            return self.last(nn.functional.leaky_relu(1 - nn.functional.glu(self.second(-h), 1), 0.2))

    def __init__(self) -> None:
        super().__init__(Space((5,), 3))
        order = torch.tensor([3, 0, 4, 1, 2])
        self.conditional = DegreeConditional(self.Masked(order), Categorical(3), (5,), order[None])

    def law(self) -> Law:
        return Sequential(self.conditional)


@dataclass(frozen=True)
class Case:
    """build: a fresh model. shapes: of items. enumerable: whether all items of the first shape can be listed. rounds:
    whether its networks are rounded to symbols, so that a last digit may decide about a likelihood."""

    build: Callable[[], Any]
    shapes: tuple[tuple[int, ...], ...]
    enumerable: bool = True
    rounds: bool = False
    #: many networks one after another, so that fewer items are coded
    long: bool = False


MODELS = {
    "Bernoulli MADE": Case(bernoulli_made, ((3, 3),)),
    "mixture of two orders": Case(mixture_of_orders, ((3, 3),)),
    "nested marginals": Case(NestedMarginal, ((4,),), enumerable=False),
    "latents in standard units": Case(lambda: NestedMarginal(1, standard=True), ((4,),), enumerable=False),
    "autoregressive latents": Case(SequentialLatents, ((4,),), enumerable=False),
    "inverse autoregressive posterior": Case(InverseFlow, ((6,),), enumerable=False),
    "inverse autoregressive posterior on a grid": Case(InverseFlowOnGrid, ((6, 6),), enumerable=False),
    "top-down hierarchy of 32 layers": Case(TopDown, ((4, 4),), enumerable=False, long=True),
    "VAE of two layers": Case(variational_autoencoder, ((3, 3),), enumerable=False),
    "importance-weighted VAE": Case(importance_weighted, ((2, 2),), enumerable=False),
    "VAE on grids": Case(grids_of_latents, ((4, 4, 3),), enumerable=False),
    "PixelVAE": Case(pixel_autoencoder, ((4, 4),), enumerable=False),
    "beta-binomial VAE": Case(beta_binomial_autoencoder, ((3, 3),), enumerable=False),
    "affine flow": Case(AffineFlow, ((2,),), enumerable=False),
    "gated PixelCNN": Case(lambda: gated(1, 3), ((3, 3), (2, 4), (4, 3)), long=True),
    "gated PixelCNN in colour": Case(lambda: gated(3, 2), ((2, 2, 3), (1, 3, 3), (3, 2, 3)), long=True),
    "flow on images": Case(lambda: MultiscaleFlow(1), ((8, 8),), enumerable=False),
    "flow on colour images": Case(lambda: MultiscaleFlow(3), ((8, 8, 3),), enumerable=False),
    "discrete flow": Case(DiscreteFlow, ((2, 2),), rounds=True),
    "discrete flow on images": Case(lambda: DiscreteFlow(4), ((4, 4),), enumerable=False, rounds=True),
    "lattices of pixels": Case(LatticesOfPixels, ((4, 4, 3),), enumerable=False),
    "mixture of products": Case(MixtureOfProducts, ((4,),)),
    "every layer, images": Case(EveryLayerOnImages, ((4, 4),), enumerable=False),
    "every layer, vectors": Case(EveryLayerOfVectors, ((5,),)),
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
