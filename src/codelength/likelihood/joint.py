"""A model with normal latents as log p(x, z), the form that the estimators over log-densities take.

The latents z_1 .. z_L of a nest of `Marginal` laws, which files see on a grid, are taken as the continuous variables
that the grid cuts up (`distributions.continuum`): the width of the bins cancels between prior and posterior, so the
integral of the joint density is the evidence of the coded model up to the coarseness of the grid. All latents of an
item are one vector u (d,), z_1 first; densities are those of u, Jacobians being accounted for, so that the integral of
p(x, u) over u is p(x) in whatever units and coordinates.

Shapes: n items, d latents of each, k draws; u is (k, n, d), log-densities of it (k, n), nats.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from codelength.distributions.continuum import (
    ahead,
    continuum,
    coordinates_of,
    in_densities,
    is_continuous,
    reach,
    rewritten,
    shape_of,
    warps,
)
from codelength.errors import UsageError
from codelength.laws.contract import Context, Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.likelihood.annealed import Start
from codelength.likelihood.importance import DefensiveMixture, Proposal, StudentT
from codelength.likelihood.settings import PROPOSALS
from codelength.networks.conditionals import TorchElements

#: Draws that units are taken from where moments are not known, of the prior and of each item's posterior.
PRIOR_DRAWS = 1024
POSTERIOR_DRAWS = 32

#: The factor of the proposal ``widened``, against tails lighter than the true posterior's.
WIDENED = 1.2


class Nest:
    """The latents of a law over torch conditionals: z_1 next to the data, z_L at the top.

    law: ``Marginal`` laws, each the prior of the one before. Priors are ``Independent`` or ``Sequential`` normals on a
    grid or a ``Chain`` of such, posteriors likewise, or inverse autoregressive flows of such; the likelihood of the
    data is any exact law. Raises UsageError for other laws.
    """

    def __init__(self, law: Law) -> None:
        rest: Any = law
        found: list[Marginal] = []
        while isinstance(rest, Marginal):
            if isinstance(rest.posterior, Responsibilities):
                raise _other(f"a mixture over {rest.latent!r}")
            if not is_continuous(rest.posterior):
                raise _other(f"a posterior of {rest.latent!r} that is another law")
            if found and not is_continuous(rest.likelihood, flows=False):
                raise _other(f"a prior of {found[-1].latent!r} that is another law")
            found.append(rest)
            rest = rest.prior
        if not found:
            raise _other(f"a law {type(law).__name__} without latents")
        if not is_continuous(rest, flows=False):
            raise _other(f"a prior of {found[-1].latent!r} that is another law")
        if found[0].likelihood.kind != "exact":
            raise _other(f"a likelihood {type(found[0].likelihood).__name__} that is a bound itself")
        self.levels: list[Marginal] = []
        rest = continuum(law)
        while isinstance(rest, Marginal):
            self.levels.append(rest)
            rest = rest.prior
        self.top: Law = rest
        self.posteriors = [level.posterior for level in self.levels]
        self.shapes = [shape_of(posterior) for posterior in self.posteriors]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dims = sum(self.sizes)
        #: Whether posteriors are in coordinates other than the latents.
        self.warped = any(warps(posterior) for posterior in self.posteriors)

    def split(self, z: Tensor) -> list[Tensor]:
        """z (..., d) as the layers (rows, *shape)."""
        parts = z.reshape(-1, self.dims).split(self.sizes, dim=1)
        return [part.reshape(len(part), *shape) for part, shape in zip(parts, self.shapes)]

    def fit(self, x: Tensor, layers: list[Tensor], context: Context) -> Tensor:
        """log p(x | z_1) of items x, nats (rows,), for latents in bins."""
        bottom = self.levels[0]
        return bottom.likelihood.log_prob(x, self._given(bottom, layers[0], context))

    def log_prior(self, layers: list[Tensor], context: Context) -> Tensor:
        """log p(z_1 .. z_L), nats (rows,), of latents in bins."""
        total: Any = 0.0
        given, below = dict(context), layers[0]
        for level, upper, z in zip(self.levels, self.levels[1:], layers[1:]):
            given = self._given(upper, z, {**given, level.latent: below})
            total = total + upper.likelihood.log_prob(below, given)
            below = z
        return total + self.top.log_prob(below, {**given, self.levels[-1].latent: below})

    def climb(self, x: Tensor, context: Context, visit: Callable[[int, Context], Tensor]) -> None:
        """Call ``visit(level, context)`` for each layer from the data upwards, with the context of its posterior:
        q(z_1 | x), q(z_2 | z_1) and so on, z_l (rows, *shape) being what it gave before."""
        given, below = dict(context), x
        for number, law in enumerate(self.levels):
            below = visit(number, {**given, law.item: below})
            given = self._given(law, below, given)

    @torch.no_grad()
    def draw(self, count: int, context: Context, generator: torch.Generator) -> list[Tensor]:
        """The layers (count, *shape) of latents from the prior, in bins, continuous."""
        layers = [self.top.sample(count, context, generator)]
        for level in reversed(self.levels[1:]):
            layers.insert(0, level.likelihood.sample(count, self._given(level, layers[0], context), generator))
        return layers

    @torch.no_grad()
    def simulate(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Items (count, *shape) drawn from the model, and their latents (count, d) in bins: an exact draw of each
        item's posterior. On the CPU."""
        context: Context = {"shape": shape}
        layers = self.draw(count, context, generator)
        bottom = self.levels[0]
        x = bottom.likelihood.sample(count, self._given(bottom, layers[0], context), generator)
        return x, torch.cat([z.flatten(1) for z in layers], 1)

    def _given(self, level: Marginal, z: Tensor, context: Context) -> Context:
        return {**context, level.latent: z, **level.prior.exports(z, context)}


class Joint:
    """log p(x, u) of n items, differentiable in u, with the distributions that estimators start from.

    x: items (n, *shape), int64, on the device of the networks. units: "prior", u being the latents in standard
    deviations of the prior from its mean; or "posterior", the coordinates of each item's approximate posterior (the
    latents, or where it is a flow the variables before it) in its own standard deviations, in which one size of step
    serves all of them. What of the posterior depends on the item alone is computed once.
    """

    def __init__(self, nest: Nest, x: Tensor, units: str = "prior") -> None:
        if units not in ("prior", "posterior"):
            raise UsageError(f"expected units of the prior or the posterior, got {units!r}")
        self.nest = nest
        self.x = x
        self.n, self.d = len(x), nest.dims
        self.context: Context = {"shape": tuple(x.shape[1:])}
        self.warped = nest.warped and units == "posterior"
        with torch.no_grad():
            seen = {**self.context, nest.levels[0].item: x}
            first, self._seen = ahead(nest.posteriors[0], seen, self.n)
            self.posteriors = [first, *nest.posteriors[1:]]
            self.centre, self.scale = self._prior_units() if units == "prior" else self._posterior_units()
        self.log_scale = self.scale.log().sum(-1)  # (n,)
        self._repeated: tuple[int, Tensor, Context] = (1, x, self._seen)

    # ---- units

    def _posterior_units(self) -> tuple[Tensor, Tensor]:
        if all(isinstance(law, Independent) for law in self.posteriors):  # at the mean of the layers below
            moments: list[tuple[Tensor, Tensor]] = []

            def visit(level: int, context: Context) -> Tensor:
                elements = self.posteriors[level].conditional(context, self.n)  # type: ignore[attr-defined]
                mean, scale = elements.leaf.moments(elements.params)
                moments.append((mean.expand(self.n, -1), scale.expand(self.n, -1)))
                return mean.expand(self.n, -1).reshape(self.n, *self.nest.shapes[level])

            self.nest.climb(self.x, self._seen, visit)
            return torch.cat([mean for mean, _ in moments], 1), torch.cat([scale for _, scale in moments], 1)
        generator = torch.Generator(self.x.device).manual_seed(0)
        draws = [self._drawn(self.posteriors, self.x, self._seen, generator) for _ in range(POSTERIOR_DRAWS)]
        found = torch.stack(draws)
        return found.mean(0), found.std(0)

    def _prior_units(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every latent under the prior, from draws (their noise is in the units alone, and these
        are accounted for); exact where the law at the top says it."""
        generator = torch.Generator(self.x.device).manual_seed(0)
        layers = self.nest.draw(PRIOR_DRAWS, self.context, generator)
        centre, scale = [z.flatten(1).mean(0) for z in layers], [z.flatten(1).std(0) for z in layers]
        if isinstance(self.nest.top, Independent):
            elements = self.nest.top.conditional(self.context, 1)
            centre[-1], scale[-1] = (part[0] for part in elements.leaf.moments(elements.params))
        return torch.cat(centre).expand(self.n, -1), torch.cat(scale).expand(self.n, -1)

    def _drawn(self, posteriors: list[Law], x: Tensor, context: Context, generator: torch.Generator) -> Tensor:
        """Coordinates (rows, d), in bins, of draws from posteriors."""
        found: list[Tensor] = []

        def visit(level: int, given: Context) -> Tensor:
            reached = reach(posteriors[level], given, len(x), generator=generator)
            found.append((reached.coordinates if self.warped else reached.latents).flatten(1))
            return reached.latents

        self.nest.climb(x, context, visit)
        return torch.cat(found, 1)

    @torch.no_grad()
    def to_units(self, z: Tensor) -> Tensor:
        """Latents (..., n, d) in bins as u. Where the posterior is a flow, a pass for every latent of each of its
        steps."""
        if self.warped:
            k = z.numel() // (self.n * self.d)
            x, context = self._rows(k)
            layers, found = self.nest.split(z), []

            def visit(level: int, given: Context) -> Tensor:
                found.append(coordinates_of(self.posteriors[level], layers[level], given).flatten(1))
                return layers[level]

            self.nest.climb(x, context, visit)
            z = torch.cat(found, 1).reshape(z.shape)
        return (z - self.centre) / self.scale

    def to_bins(self, u: Tensor) -> Tensor:
        """u (..., n, d) as coordinates in bins; they are the latents where no posterior is a flow."""
        return self.centre + self.scale * u

    def _rows(self, k: int) -> tuple[Tensor, Context]:
        """The items, and the context of their posteriors, k times."""
        if self._repeated[0] != k:

            def repeat(value: Any) -> Any:
                if not isinstance(value, Tensor) or len(value) != self.n:
                    return value  # the same for all items
                return value.repeat(k, *[1] * (value.ndim - 1))

            context = {name: repeat(value) for name, value in self._seen.items()}
            self._repeated = (k, repeat(self.x), context)
        return self._repeated[1:]

    # ---- densities

    def place(self, u: Tensor, posteriors: list[Law]) -> tuple[list[Tensor], Tensor, Tensor]:
        """The layers of latents (k n, *shape), in bins, that u (k, n, d) leads to; log q(u | x), nats (k, n); and
        log |dz/du|, (k, n) or (n,). posteriors: the model's own, or others in the same coordinates."""
        k = len(u)
        x, context = self._rows(k)
        layers = self.nest.split(self.to_bins(u))
        spent: Any = self.log_scale
        volume: Any = self.log_scale

        def visit(level: int, given: Context) -> Tensor:
            nonlocal volume, spent
            at = reach(posteriors[level], given, len(x), coordinates=layers[level])
            spent = spent + at.nats.reshape(k, self.n)
            volume = volume + (at.volume.reshape(k, self.n) if isinstance(at.volume, Tensor) else at.volume)
            layers[level] = at.latents
            return at.latents

        self.nest.climb(x, context, visit)
        return layers, spent, volume

    def latents(self, u: Tensor) -> tuple[list[Tensor], Tensor]:
        """The first and the last of ``place``, without a look at posteriors where these are not needed."""
        if not self.warped:
            return self.nest.split(self.to_bins(u)), self.log_scale
        layers, _, volume = self.place(u, self.posteriors)
        return layers, volume

    def fit(self, layers: list[Tensor], k: int) -> Tensor:
        """log p(x | z), nats (k, n)."""
        return self.nest.fit(self._rows(k)[0], layers, self.context).reshape(k, self.n)

    def log_prior(self, layers: list[Tensor], k: int) -> Tensor:
        """log p(z), nats (k, n)."""
        return self.nest.log_prior(layers, self.context).reshape(k, self.n)

    def log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u): (k, n, d) -> nats (k, n)."""
        layers, volume = self.latents(u)
        return self.fit(layers, len(u)) + self.log_prior(layers, len(u)) + volume

    def among(self, items: slice) -> Joint:
        """The same for some of the items, in the same units."""
        part = copy.copy(self)
        part.x, part.centre, part.scale = self.x[items], self.centre[items], self.scale[items]
        part.n, part.log_scale = len(part.x), self.log_scale[items]
        part._seen = {
            name: value[items] if isinstance(value, Tensor) and len(value) == self.n else value
            for name, value in self._seen.items()
        }
        part._repeated = (1, part.x, part._seen)
        return part

    @property
    def prior(self) -> Start:
        """p(u), with ``sample(generator, k)``, ``log_prob(u)`` and ``densities(u)``, log p(u) and log p(x, u)."""
        return _Prior(self)

    def posterior(self, name: str = "posterior") -> Start:
        """q(u | x) in its own order, z_1 given the items, z_2 given z_1 and so on; with the methods of ``prior``.

        name: "widened", deviations times ``WIDENED``, or "student", a Student t for each layer and group of latents.
        Raises UsageError where a t is asked of latents that are not independent, and, in units of the prior, where a
        posterior is a flow, whose density is known in its own coordinates.
        """
        if self.nest.warped and not self.warped:
            raise UsageError(
                "expected units of the posterior, since one is a flow, whose density at points that it has not drawn "
                "takes a pass for every latent; ask for Joint(.., units='posterior'), or draw from the prior"
            )
        if name == "widened":
            return _Upwards(self, [in_densities(law, WIDENED) for law in self.posteriors])
        if name == "student":
            return _Upwards(self, [rewritten(law, _heavy) for law in self.posteriors])
        return _Upwards(self, self.posteriors)

    def proposal(self, name: str) -> Proposal:
        """One of ``settings.PROPOSALS``. Raises UsageError for another name."""
        if name not in PROPOSALS:
            raise UsageError(f"expected one of the proposals {', '.join(PROPOSALS)}, got {name!r}")
        if name == "prior":
            return self.prior
        if name == "defensive":
            return DefensiveMixture(self.posterior(), self.prior)
        return self.posterior(name)


class _Prior:
    def __init__(self, joint: Joint) -> None:
        self.joint = joint

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        joint = self.joint
        layers = joint.nest.draw(k * joint.n, joint.context, generator)
        return joint.to_units(torch.cat([z.flatten(1) for z in layers], 1).reshape(k, joint.n, joint.d))

    def log_prob(self, u: Tensor) -> Tensor:
        layers, volume = self.joint.latents(u)
        return self.joint.log_prior(layers, len(u)) + volume

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        layers, volume = self.joint.latents(u)
        prior = self.joint.log_prior(layers, len(u)) + volume
        return prior, self.joint.fit(layers, len(u)) + prior

    def among(self, items: slice) -> Start:
        return _Prior(self.joint.among(items))


class _Upwards:
    def __init__(self, joint: Joint, posteriors: list[Law]) -> None:
        self.joint = joint
        self.posteriors = posteriors

    @torch.no_grad()
    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        joint = self.joint
        x, context = joint._rows(k)
        drawn = joint._drawn(self.posteriors, x, context, generator).reshape(k, joint.n, joint.d)
        return (drawn - joint.centre) / joint.scale

    def log_prob(self, u: Tensor) -> Tensor:
        return self.joint.place(u, self.posteriors)[1]

    def densities(self, u: Tensor) -> tuple[Tensor, Tensor]:
        joint, k = self.joint, len(u)
        layers, spent, volume = joint.place(u, self.posteriors)
        return spent, joint.fit(layers, k) + joint.log_prior(layers, k) + volume

    def among(self, items: slice) -> Start:
        return _Upwards(self.joint.among(items), self.posteriors)


def _heavy(law: Law) -> Law:
    if not isinstance(law, Independent):
        raise UsageError(
            "the proposal student needs latents that are independent in the posterior, and these come one after "
            "another; choose widened or defensive"
        )
    return Independent(_Heavy(law.conditional))


class _Heavy:
    """A conditional whose elements share one Student t with the moments of normal ones."""

    def __init__(self, conditional: Any) -> None:
        self.conditional = conditional

    def __call__(self, context: Context, count: int) -> TorchElements:
        return _HeavyElements(self.conditional(context, count), count)


class _HeavyElements(TorchElements):
    def __init__(self, elements: TorchElements, count: int) -> None:
        super().__init__(elements.leaf, elements.params, elements.shape)
        mean, scale = elements.leaf.moments(elements.params)
        self.law = StudentT(mean.expand(count, -1), scale.expand(count, -1))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.law.log_prob(x.reshape(1, len(x), -1))[0]

    def sample(self, generator: Any) -> Tensor:
        drawn = self.law.sample(generator, 1)[0]
        return drawn.reshape(len(drawn), *self.shape)


def _other(found: str) -> UsageError:
    return UsageError(
        "expected a model of continuous latents, such as vae: layers of normal variables, independent, sequential or "
        "a chain of such, whose posteriors may besides be inverse autoregressive flows of them; got "
        f"{found}; use elbo, or importance with the proposal posterior"
    )
