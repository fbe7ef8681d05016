"""Linear-Gaussian models as laws over grids, whose evidence is known whatever their posterior.

z ~ N(0, C) of two latents, x = W z + b + sigma e of three elements, both on grids fine enough for the continuum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import Normal
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.pushforward import Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.networks.autoregressive import GateAndMean, InverseAutoregressive
from codelength.networks.conditionals import DegreeConditional, Features, NetworkConditional
from codelength.networks.masked import MaskedLinear

POSTERIORS = ("independent", "sequential", "chain", "flow")
ELEMENTS, LATENTS = 3, 2
ORDER = torch.arange(LATENTS)


class Parameters(nn.Module):
    """Means that are linear in what goes in, and constant log-deviations: (n, D, 2), in the leaf's units."""

    def __init__(self, weight: Tensor, bias: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        size, inputs = weight.shape
        self.linear = nn.Linear(inputs, 2 * size)
        with torch.no_grad():
            self.linear.weight.copy_(torch.stack([weight, torch.zeros_like(weight)], 1).reshape(2 * size, inputs))
            self.linear.bias.copy_(torch.stack([bias, log_scale], 1).reshape(-1))

    def forward(self, seen: Tensor) -> Tensor:
        return self.linear(seen)


class Constant(nn.Module):
    """The same parameters whatever the context."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.reshape(1, -1))

    def forward(self) -> Tensor:
        return self.values


class Conditioned(nn.Module):
    """(mean, log-deviation) of each latent, linear in those before it and in an item."""

    def __init__(self, own: Tensor, seen: Tensor | None, bias: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.own = MaskedLinear(ORDER + 1, ORDER.repeat_interleave(2))
        weight = torch.zeros(2 * LATENTS, LATENTS)
        weight[::2] = own
        with torch.no_grad():
            self.own.weight.copy_(weight)
            self.own.bias.copy_(torch.stack([bias, log_scale], 1).reshape(-1))
        self.item = None if seen is None else Parameters(seen, torch.zeros(LATENTS), torch.zeros(LATENTS))

    def forward(self, x: Tensor, data: Tensor | None = None) -> Tensor:
        out = self.own(x)
        return out if self.item is None else out + self.item(data)


class GaussianLaw(nn.Module):
    """posterior: one of ``POSTERIORS``, near the exact one, a little aside and too wide. With "sequential" the prior is
    so, too, and C is not the unit matrix; with "chain" both are chains of two groups."""

    def __init__(self, posterior: str, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.space = Space((ELEMENTS,), 256)
        self.kind_of_posterior = posterior
        self.data, self.grid = Normal(256, reach=8), Normal(4096, reach=8)
        W, b, sigma = normal(ELEMENTS, LATENTS), 0.3 * normal(ELEMENTS), 0.7
        self.slope = 0.0 if posterior in ("independent", "flow") else 0.8  # z_2 = slope z_1 + deviation e
        deviation = math.sqrt(1 - self.slope**2)
        L = torch.tensor([[1, 0], [self.slope, deviation]], dtype=torch.float64)
        C = L @ L.T
        # What networks see of a latent is half a bin less than deviations from the mean of its grid.
        half = 0.5 / 256
        self.mean = (b - W @ torch.full((LATENTS,), half, dtype=torch.float64)) * 16 + 127.5
        self.covariance = 256 * (W @ C @ W.T + sigma**2 * torch.eye(ELEMENTS, dtype=torch.float64))
        spread = torch.full((ELEMENTS,), math.log(sigma), dtype=torch.float64)
        self.decoder = NetworkConditional(Parameters(W, b, spread), self.data, (ELEMENTS,), ("z",))
        # The exact posterior, of z_1 and of z_2 given z_1, and what is taken in its place.
        precision = torch.linalg.inv(C) + W.T @ W / sigma**2
        inner = torch.linalg.inv(precision)
        towards = inner @ W.T / sigma**2 / 16  # per bin of x
        at = 0.1 - towards @ self.mean
        tilt = inner[1, 0] / inner[0, 0]
        narrow = torch.stack([inner[0, 0], inner[1, 1] - tilt * inner[1, 0]]).sqrt()
        self.guess: Any = None
        self.up: Any = None
        self.guesses = nn.ModuleList()
        self.steps = nn.ModuleList()
        zero = torch.zeros(2, dtype=torch.float64)
        if posterior == "sequential":
            own = torch.tensor([[0.0, 0.0], [self.slope, 0.0]])
            network = Conditioned(own, None, zero, torch.tensor([0.0, math.log(deviation)]))
            self.prior: Any = DegreeConditional(network, self.grid, (LATENTS,), ORDER[None])  # type: ignore[arg-type]
            own = torch.tensor([[0.0, 0.0], [float(tilt), 0.0]])
            aside = torch.stack([towards[0], towards[1] - tilt * towards[0]])
            begin = torch.stack([at[0], at[1] - tilt * at[0]])
            network = Conditioned(own, aside, begin, (1.2 * narrow).log())
            self.guess = DegreeConditional(network, self.grid, (LATENTS,), ORDER[None], inputs=("data",))  # type: ignore[arg-type]
        elif posterior == "chain":
            self.prior = nn.ModuleList(
                [
                    NetworkConditional(Constant(torch.zeros(2)), self.grid, (1,), ()),
                    NetworkConditional(_one([[self.slope]], [0.0], deviation), self.grid, (1,), ("first",)),
                ]
            )
            self.up = Features(_linear(towards, at), ("data",))
            second = [[-float(tilt), 1.0, float(tilt)]]
            self.guesses.append(
                NetworkConditional(_one([[1.0, 0.0]], [0.0], 1.2 * narrow[0]), self.grid, (1,), ("up",))
            )
            both = _Joined(_one(second, [0.0], 1.2 * narrow[1]))
            self.guesses.append(NetworkConditional(both, self.grid, (1,), ("up", "first")))
        else:
            self.prior = NetworkConditional(Constant(torch.zeros(2 * LATENTS)), self.grid, (LATENTS,), ())
            guess = Parameters(towards, at, (1.2 * inner.diagonal().sqrt()).log())
            self.guess = NetworkConditional(guess, self.grid, (LATENTS,), ("data",))
            for k in range(2 if posterior == "flow" else 0):
                way = ORDER if k == 0 else ORDER.flip(0)
                network = Step(way, 0.5 * normal(2 * LATENTS, LATENTS).float())
                self.steps.append(
                    InverseAutoregressive(
                        DegreeConditional(network, GateAndMean(self.grid), (LATENTS,), way[None], inputs=("data",))  # type: ignore[arg-type]
                    )
                )
        self.float()

    def law(self) -> Law:
        places, one = [torch.tensor([0]), torch.tensor([1])], (1,)
        prior: Law
        guess: Law
        if self.kind_of_posterior == "sequential":
            prior, guess = Sequential(self.prior), Sequential(self.guess)
        elif self.kind_of_posterior == "chain":
            names = ("first", "second")
            prior = Chain(
                [Group(name, at, one, Independent(each)) for name, at, each in zip(names, places, self.prior)], (2,)
            )
            groups = [Group(name, at, one, Independent(each)) for name, at, each in zip(names, places, self.guesses)]
            guess = Chain([Define("up", self.up), *groups], (2,))
        else:
            prior, guess = Independent(self.prior), Independent(self.guess)
            if self.kind_of_posterior == "flow":
                guess = Pushforward(guess, list(self.steps), (LATENTS,), self.grid.symbols)
        return Marginal("z", prior, Independent(self.decoder), guess, item="data")

    def draw(self, count: int, seed: int = 0) -> np.ndarray:
        """Items (count, D), uint8, as the model draws them."""
        normal = torch.distributions.MultivariateNormal(self.mean, self.covariance)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return normal.sample((count,)).round().clamp(0, 255).numpy().astype(np.uint8)

    def evidence(self, items: np.ndarray) -> np.ndarray:
        """log p(x), nats (n,), by the covariance of x: no latents in it. Bins are eleven to a deviation at least, so
        densities are masses to a few parts in ten thousand."""
        normal = torch.distributions.MultivariateNormal(self.mean, self.covariance)
        return normal.log_prob(torch.from_numpy(items.astype(np.float64))).numpy()


class Step(nn.Module):
    """Gates near one, and means, that depend on the latents before and on the item."""

    def __init__(self, way: Tensor, seen: Tensor) -> None:
        super().__init__()
        before = torch.argsort(way)
        self.own = MaskedLinear(before + 1, before.repeat_interleave(2))
        with torch.no_grad():
            self.own.weight.fill_(0.5)
            self.own.bias.copy_(torch.tensor([3.0, 0.2]).repeat(LATENTS))
        self.item = nn.Linear(ELEMENTS, 2 * LATENTS)
        with torch.no_grad():
            self.item.weight.copy_(torch.cat([seen, seen[:, :1]], 1) / 64)
            self.item.bias.copy_(-self.item.weight.sum(1) * 128)

    def forward(self, x: Tensor, data: Tensor) -> Tensor:
        return self.own(x) + self.item(data)


class _Joined(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, up: Tensor, first: Tensor) -> Tensor:
        return self.network(torch.cat([up, first], 1))


def _one(weight: list[list[float]], bias: list[float], scale: Any) -> Parameters:
    return Parameters(torch.tensor(weight), torch.tensor(bias), torch.tensor([float(scale)]).log())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
