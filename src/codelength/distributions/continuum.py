"""The continuum that a grid of latents cuts up: the same laws over the same networks, with densities for masses.

Latents that files see in bins are normal variables before they are rounded. ``continuum(law)`` is the law with every
normal leaf of a latent replaced by the density that its bins cut up, so that each law's own ``log_prob``, ``sample``
and ``draw`` speak of continuous latents, in bins, and draws are differentiable in the parameters (reparameterised). It
shares the networks with the law that it was made of. As bins are of one width in prior and posterior, a bound on a
model is the same in either reading, up to the coarseness of the grid.

A posterior may warp what it draws: an inverse autoregressive flow maps normal variables to latents in one pass and back
in as many as there are latents. What needs the density at points of its own choosing, such as annealing, moves in the
**coordinates** of such a law, the variables before the flow: ``reach`` takes coordinates to latents, with the density
of the coordinates and the volume that the map spreads them over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from codelength.distributions.normal import Normal
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.contract import Context, Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.pushforward import Pushforward
from codelength.laws.sequential import Sequential
from codelength.networks.autoregressive import InverseAutoregressive
from codelength.networks.conditionals import TorchElements

#: Where the parameters of an ``Independent`` law stand that have been computed ahead.
_PARAMETERS = "parameters computed ahead"


class Continuous:
    """The density that a ``Normal`` leaf cuts into bins; positions in bins, nats relative to one bin.

    spread: factor of the standard deviation, for proposals wider than the posterior.
    """

    family = "continuous"
    components = 1
    parameters = 2
    dtype = torch.float32

    def __init__(self, leaf: Normal, spread: float = 1.0) -> None:
        self.leaf = leaf
        self.spread = spread
        self.symbols = leaf.symbols
        self.standard = leaf.standard

    def moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in bins, (...) each, of params (..., 2)."""
        mean, scale = self.leaf.moments(params.float())
        return mean, scale if self.spread == 1.0 else scale * self.spread

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        """params (..., 2), z (...) -> nats (...)."""
        if self.spread == 1.0:
            return self.leaf.log_density(params.float(), z)
        mean, scale = self.moments(params)
        return torch.distributions.Normal(mean, scale, validate_args=False).log_prob(z)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """params (..., 2) -> draws (...), differentiable in them."""
        mean, scale = self.moments(params)
        source = mean.device if generator is None else generator.device
        noise = torch.randn(mean.shape, generator=generator, device=source, dtype=mean.dtype)
        return mean + scale * noise.to(mean.device)


def continuum(law: Law) -> Law:
    """The law with continuous latents: those of its ``Marginal`` laws, nested as they may be, where posterior and prior
    are as ``is_continuous`` asks. Latents of other kinds, and what is no latent, are left as they are."""
    return _continuum(law, latent=False)


def _continuum(law: Law, latent: bool) -> Law:
    if not isinstance(law, Marginal):
        return in_densities(law) if latent else law
    if isinstance(law.posterior, Responsibilities):  # sums over what is as it is
        return law
    likelihood = _continuum(law.likelihood, latent)
    if is_continuous(law.posterior) and is_continuous(_next(law.prior), flows=False):
        return Marginal(law.latent, _continuum(law.prior, True), likelihood, in_densities(law.posterior), law.item)
    if likelihood is law.likelihood:
        return law
    return Marginal(law.latent, law.prior, likelihood, law.posterior, law.item)


def _next(prior: Law) -> Law:
    """What a prior says of the latent itself."""
    return _next(prior.likelihood) if isinstance(prior, Marginal) else prior


def is_continuous(law: Law, flows: bool = True) -> bool:
    """Whether a law is of normal latents that a grid cuts up: ``Independent`` or ``Sequential`` with normal leaves, a
    ``Chain`` of such, or, where ``flows`` are welcome, a ``Pushforward`` of such by inverse autoregressive steps."""
    if isinstance(law, Independent | Sequential):
        return isinstance(getattr(law.conditional, "leaf", None), Normal | Continuous)
    if isinstance(law, Chain):
        return all(is_continuous(group.law, flows) for group in law.groups)
    if isinstance(law, Pushforward):
        steps = all(isinstance(step, InverseAutoregressive) for step in law.steps)
        return flows and steps and is_continuous(law.base, flows)
    return False


def warps(law: Law) -> bool:
    """Whether the coordinates of a law are others than its latents."""
    return any(isinstance(part, Pushforward) for _, part in law.tree())


def shape_of(law: Any) -> tuple[int, ...]:
    """The shape of an item of a law of latents."""
    return tuple(law.conditional.shape if isinstance(law, Independent | Sequential) else law.shape)


def in_densities(law: Law, spread: float = 1.0) -> Law:
    """A law of latents (see ``is_continuous``) with densities for its leaves."""

    def change(leaf_law: Any) -> Law:
        conditional = copy.copy(leaf_law.conditional)
        leaf = conditional.leaf
        conditional.leaf = Continuous(leaf.leaf if isinstance(leaf, Continuous) else leaf, spread)
        return type(leaf_law)(conditional)

    return rewritten(law, change)


def rewritten(law: Law, change: Callable[[Law], Law]) -> Law:
    """A law of latents whose ``Independent`` and ``Sequential`` parts are what ``change`` makes of them."""
    if isinstance(law, Chain):
        parts = [
            Group(part.name, part.places, part.shape, rewritten(part.law, change)) if isinstance(part, Group) else part
            for part in law.parts
        ]
        return Chain(parts, law.shape)
    if isinstance(law, Pushforward):
        return Pushforward(rewritten(law.base, change), law.steps, law.shape, law.symbols, law.low)
    return change(law)


# ---- coordinates


@dataclass(frozen=True)
class Reached:
    """coordinates and latents (rows, *shape), in bins; nats (rows,): log-density of the coordinates, relative to one
    bin; volume (rows,) or a number: log |d latents / d coordinates|, so that the latents have nats - volume."""

    coordinates: Tensor
    latents: Tensor
    nats: Tensor
    volume: Any


def reach(
    law: Law,
    context: Context,
    rows: int,
    *,
    coordinates: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Reached:
    """Where coordinates (rows, *shape) lead to, or those of a draw of the law where there are none; one pass of each
    network, and for draws of ``Sequential`` parts one for each element.

    law: of latents, as ``in_densities`` gives it. Features that stand in the context already are not computed again.
    """
    if isinstance(law, Chain):
        found: list[Reached] = []
        flat = None if coordinates is None else coordinates.reshape(rows, -1)

        def make(group: Group, given: Context) -> Tensor:
            own = None if flat is None else group.of(flat)
            found.append(reach(group.law, given, rows, coordinates=own, generator=generator))
            return found[-1].latents

        law.walk(context, rows, make)
        at, z = (law.joined(parts) for parts in zip(*((one.coordinates, one.latents) for one in found)))
        return Reached(at, z, _sum(one.nats for one in found), _sum(one.volume for one in found))
    if isinstance(law, Pushforward):
        base = reach(law.base, context, rows, coordinates=coordinates, generator=generator)
        z, volume = base.latents, base.volume
        for step in reversed(law.steps):
            z, change = step.drawn(z, context)
            volume = volume - change
        return Reached(base.coordinates, z, base.nats, volume)
    if coordinates is None:
        drawn, nats = law.draw(rows, context, generator)
        return Reached(drawn, drawn, nats, 0.0)
    return Reached(coordinates, coordinates, law.log_prob(coordinates, context), 0.0)


def coordinates_of(law: Law, z: Tensor, context: Context) -> Tensor:
    """The coordinates of latents (rows, *shape): the inverse of ``reach``, for which each step of a flow needs a pass
    for every element."""
    if isinstance(law, Chain):
        joined: Tensor = law.joined(
            [coordinates_of(group.law, values, given) for group, values, given in law.steps(z, context)]
        )
        return joined
    if isinstance(law, Pushforward):
        y, _ = law.normal(z, context)
        return coordinates_of(law.base, y, context)
    return z


def ahead(law: Law, context: Context, rows: int) -> tuple[Law, Context]:
    """The law with what of it depends on the context alone computed ahead, once for many draws: features, and the
    parameters of the first latents, which stand in the context that is returned beside it, a row for each item."""
    if isinstance(law, Independent):
        elements = law.conditional(context, rows)
        return Independent(_Known(elements)), {**context, _PARAMETERS: elements.params}
    if isinstance(law, Pushforward):
        base, given = ahead(law.base, context, rows)
        return Pushforward(base, law.steps, law.shape, law.symbols, law.low), given
    if isinstance(law, Chain):
        given = dict(context)
        for position, part in enumerate(law.parts):
            if isinstance(part, Define):
                given[part.name] = part.features(given, rows)
            else:
                first, given = ahead(part.law, given, rows)
                parts = [*law.parts[:position], Group(part.name, part.places, part.shape, first)]
                return Chain([*parts, *law.parts[position + 1 :]], law.shape), given
    return law, context


class _Known:
    """A conditional whose parameters stand in the context."""

    def __init__(self, elements: TorchElements) -> None:
        self.leaf = elements.leaf
        self.shape = elements.shape

    def __call__(self, context: Context, count: int) -> TorchElements:
        return TorchElements(self.leaf, context[_PARAMETERS], self.shape)


def _sum(values: Any) -> Any:
    total: Any = 0.0
    for value in values:
        total = total + value
    return total
