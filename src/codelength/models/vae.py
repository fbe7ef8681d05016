"""VAE: variational autoencoder (Kingma and Welling, ICLR 2014; Rezende, Mohamed, Wierstra, ICML 2014).

Latents z_1 .. z_L explain the data from below: q(z_1 | x) q(z_2 | z_1) .. looks upwards, p(z_L) .. p(z_1 | z_2)
p(x | z_1) downwards. As laws this is one ``Marginal`` whose prior is the next, so bits-back coding takes and gives
the latents in the order of Bit-Swap (Kingma, Abbeel, Ho, ICML 2019) by construction.

Latents live on one uniform grid, which prior and posterior share, so the width of its bins cancels. Training sees
the continuous distributions that the grid cuts up; files and evaluation see the bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import Normal, named_leaf
from codelength.errors import RecipeError
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.space import Space
from codelength.networks.conditionals import NetworkConditional
from codelength.networks.masked import InputScale

#: The grid of the latents covers so many standard deviations of a standard normal prior on either side.
REACH = 8


@dataclass(frozen=True)
class VAEConfig:
    """latents: units of each stochastic layer, the one next to the data first. hidden: units of the hidden layers of
    each network (encoders and decoders alike, decoders in the opposite order).

    latent_bits: precision of the grid on which latents are coded. leaf: "bernoulli", "categorical" or
    "logistic_mixture" with so many `components`; empty for bernoulli on two symbols and categorical on more.

    samples: k of the importance-weighted objective (Burda, Grosse, Salakhutdinov 2016, equation 8), 1 for the plain
    bound. gradient: "plain", or "doubly_reparameterised" (Tucker, Lawson, Gu, Maddison 2019, equation 8), which keeps
    the encoder's signal as k grows; for one stochastic layer.

    free_nats: what each stochastic layer may cost, on average over a batch, before its cost counts (Kingma et al. 2016,
    equation 15; their lambda). warmup_steps: over which the cost of latents rises linearly from nothing. Both shape the
    training objective only; what is reported is the bound. seed: of the weights.
    """

    latents: tuple[int, ...] = (32,)
    hidden: tuple[int, ...] = (256, 256)
    latent_bits: int = 12
    leaf: str = ""
    components: int = 5
    samples: int = 1
    gradient: str = "plain"
    free_nats: float = 0.0
    warmup_steps: int = 0
    seed: int = 0


class VAE(nn.Module):
    """A hierarchy of latents over the items of a space.

    leaf: distribution of one element of an item. encoders[l](the layer below) and decoders[l](z_l) give the parameters
    of q(z_l | below) and of p(below | z_l).
    """

    steps: Tensor

    def __init__(
        self,
        space: Space,
        leaf: Any,
        latents: tuple[int, ...],
        encoders: list[nn.Module],
        decoders: list[nn.Module],
        config: VAEConfig,
    ) -> None:
        super().__init__()
        self.space = space
        self.leaf = leaf
        self.latent = Normal(1 << config.latent_bits, reach=REACH)
        self.latents = latents
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.config = config
        self.top = StandardNormal(latents[-1])
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # of training, for the warm-up

    def law(self) -> Law:
        """The model as an expression in the laws of probability."""
        law: Law = Independent(NetworkConditional(self.top, self.latent, (self.latents[-1],), ()))
        for level in reversed(range(len(self.latents))):
            name, units = f"z{level + 1}", self.latents[level]
            below, leaf = (self.space.shape, self.leaf) if level == 0 else ((self.latents[level - 1],), self.latent)
            decoder = NetworkConditional(self.decoders[level], leaf, below, (name,))  # type: ignore[arg-type]
            encoder = NetworkConditional(self.encoders[level], self.latent, (units,), ("x",))
            law = Marginal(name, law, Independent(decoder), Independent(encoder))
        return law

    def terms(
        self, x: Tensor, generator: torch.Generator | None = None, *, still: bool = False
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """One draw of the latents for items x (n, *shape), continuous.

        Returns log p(x | z_1), nats (n,); for each layer log q(z_l | below) - log p(z_l | above), nats (n,), the cost
        of its latents; and z_1 (n, units). still: the posteriors' parameters are constants inside log q.
        """
        below: Tensor = x.float()
        drawn: list[Tensor] = []
        spent: list[Tensor] = []  # log q of each layer
        for encoder, units in zip(self.encoders, self.latents):
            params = encoder(below).reshape(len(x), units, 2)
            noise = torch.randn(params.shape[:-1], generator=generator).to(params)
            below = self.latent.draw(params, noise)
            spent.append(self.latent.log_density(params.detach() if still else params, below).sum(1))
            drawn.append(below)
        costs = []
        for level, z in enumerate(drawn):
            if level + 1 < len(drawn):
                params = self.decoders[level + 1](drawn[level + 1])
            else:
                params = self.top().expand(len(x), -1)
            params = params.reshape(len(x), -1, 2)
            costs.append(spent[level] - self.latent.log_density(params, z).sum(1))
        params = self.decoders[0](drawn[0]).reshape(len(x), -1, self.leaf.parameters)
        fit = self.leaf.log_prob(params.float(), x.reshape(len(x), -1)).sum(1)
        return fit, costs, drawn[0]

    def log_weights(self, x: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
        """log p(x, z) - log q(z | x) of `count` draws for each item, with continuous latents: nats (count, n)."""
        fit, costs, _ = self.terms(x.repeat(count, *[1] * (x.ndim - 1)), generator)
        return (fit - sum(costs)).reshape(count, len(x))

    def loss(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The training objective, nats per item: minus the bound, with free nats, warm-up and samples as set."""
        config = self.config
        k = config.samples
        share = min(1.0, (int(self.steps) + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        if self.training:
            self.steps += 1
        if k == 1:
            fit, costs, _ = self.terms(x, generator)
            total = sum(cost.mean().clamp_min(config.free_nats) for cost in costs)
            return share * total - fit.mean()
        doubly = config.gradient == "doubly_reparameterised"
        fit, costs, z = self.terms(x.repeat(k, *[1] * (x.ndim - 1)), generator, still=doubly)
        weights = (fit - share * sum(costs)).reshape(k, len(x))
        if not doubly:
            return math.log(k) - torch.logsumexp(weights, 0).mean()
        shares = torch.softmax(weights.detach(), 0)  # (k, n)
        # The decoder's gradient is weighted once, that of the encoder, which passes through z, twice.
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * shares.reshape(-1, 1))
        bound = torch.logsumexp(weights.detach(), 0) - math.log(k)
        surrogate = (shares * (weights - weights.detach())).sum(0)  # zero, with the gradient
        return -(bound + surrogate).mean()

    def validation(self, x: Tensor) -> dict[str, Tensor]:
        """What to follow while training, nats (n,): the bound, and the importance-weighted one where it is trained."""
        generator = torch.Generator().manual_seed(0)
        fit, costs, _ = self.terms(x, generator)
        figures = {"bound": fit - sum(costs)}
        if self.config.samples > 1:
            k = self.config.samples
            weighted = torch.logsumexp(self.log_weights(x, k, generator), 0) - math.log(k)
            figures = {f"bound_of_{k}": weighted, **figures}
        for level, cost in enumerate(costs):
            figures[f"cost_of_z{level + 1}"] = -cost
        return figures

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The one-sample bound with latents on their grid, as files are coded: nats (n,)."""
        return self.law().log_prob(x, {"shape": tuple(x.shape[1:]), "generator": generator})

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Items (count, *shape)."""
        return self.law().sample(count, {"shape": self.space.shape}, generator)


class StandardNormal(nn.Module):
    """The parameters of a standard normal distribution on the grid, whatever the context."""

    values: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(1, 2 * units), persistent=False)

    def forward(self) -> Tensor:
        return self.values


def build_vae(config: VAEConfig, space: Space, frequencies: np.ndarray | None = None) -> VAE:
    """A fresh model.

    frequencies (D, symbols): how often each element takes each symbol in the training data, positive; they set the
    biases of the decoder. None: all symbols alike (for models about to be loaded).

    Raises RecipeError for a configuration that makes no sense for the space.
    """
    _check(config, space)
    shares = np.full((space.dims, space.symbols), 1.0) if frequencies is None else np.asarray(frequencies, np.float64)
    leaf = named_leaf(config.leaf, space.symbols, config.components)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoders: list[nn.Module] = []
        decoders: list[nn.Module] = []
        for level, units in enumerate(config.latents):
            below = space.dims if level == 0 else config.latents[level - 1]
            outputs = space.dims * leaf.parameters if level == 0 else 2 * below
            grid = InputScale(1 << (config.latent_bits - 1), config.latent_bits - REACH.bit_length())
            scale = _data_scale(space.symbols) if level == 0 else grid
            encoders.append(_perceptron(scale, below, config.hidden, 2 * units, flatten=level == 0))
            decoders.append(_perceptron(grid, units, config.hidden[::-1], outputs))
        last = decoders[0][-1]  # type: ignore[index]
        with torch.no_grad():
            start = torch.from_numpy(shares / shares.sum(1, keepdims=True))
            last.bias.copy_(leaf.initial_parameters(start).reshape(-1))
    return VAE(space, leaf, config.latents, encoders, decoders, config)


def _perceptron(
    scale: nn.Module, inputs: int, hidden: tuple[int, ...], outputs: int, flatten: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [scale]
    if flatten:
        layers.append(nn.Flatten())
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    last = nn.Linear(inputs, outputs)
    # Small first outputs: posteriors begin near the prior, the decoder at the frequencies of the data.
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(*layers, last)


def _data_scale(symbols: int) -> nn.Module:
    """Zeros and ones are fine as they are; larger alphabets are brought to about -1 .. 1."""
    bits = (symbols - 1).bit_length() - 1
    return nn.Identity() if symbols == 2 else InputScale(1 << bits, bits)


def _check(config: VAEConfig, space: Space) -> None:
    def need(condition: bool, message: str) -> None:
        if not condition:
            raise RecipeError(message)

    need(not space.is_free, f"expected items of one size for vae, got images of any size ({space.shape})")
    need(
        len(config.latents) > 0 and min(config.latents) >= 2,
        f"expected at least two units in each stochastic layer, got {config.latents}",
    )
    need(len(config.hidden) > 0 and min(config.hidden) > 0, f"expected sizes of hidden layers, got {config.hidden}")
    need(5 <= config.latent_bits <= 16, f"expected 5 to 16 latent_bits, got {config.latent_bits}")
    need(config.samples >= 1, f"expected at least one sample, got {config.samples}")
    need(
        config.gradient in ("plain", "doubly_reparameterised"),
        f"expected gradient = 'plain' or 'doubly_reparameterised', got {config.gradient!r}",
    )
    doubly = config.gradient == "doubly_reparameterised"
    need(not doubly or len(config.latents) == 1, "the doubly reparameterised gradient is for one stochastic layer")
    need(not doubly or config.samples > 1, "the doubly reparameterised gradient needs samples > 1")
    need(config.free_nats >= 0 and config.warmup_steps >= 0, "expected free_nats and warmup_steps of at least 0")
    need(
        config.samples == 1 or config.free_nats == 0,
        "free_nats are for one sample; the importance-weighted objective has no separate cost of latents",
    )
