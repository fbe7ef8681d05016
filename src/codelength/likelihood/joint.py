"""A model with normal latents as log p(x, z), the form that the estimators over log-densities take.

The latents z_1 .. z_L of a nest of `Marginal` laws, which files see on a grid, are taken as the continuous variables
that the grid cuts up: the width of the bins cancels between prior and posterior, so the integral of the joint density
is the evidence of the coded model up to the coarseness of the grid. All latents of an item are one vector u (d,), z_1
first, and z = centre + scale * u element by element; densities are those of u, the Jacobian being accounted for, so
that the integral of p(x, u) over u is p(x) in whatever units.

Shapes: n items, d latents of each, k draws; u is (k, n, d), log-densities of it (k, n), nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from codelength.distributions import Normal
from codelength.errors import UsageError
from codelength.laws.contract import Context, Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.sequential import Sequential
from codelength.likelihood.importance import DefensiveMixture, Posterior, Proposal, StudentT, WidenedPosterior
from codelength.likelihood.settings import PROPOSALS

#: Draws from above that the units of a layer in the middle are averaged over.
PRIOR_DRAWS = 256


class Nest:
    """The latents of a law over torch conditionals: z_1 next to the data, z_L at the top.

    law: ``Marginal`` laws, each the prior of the one before, whose priors and posteriors are ``Independent`` normals on
    a grid; over an ``Independent`` or ``Sequential`` likelihood. Raises UsageError for other laws.
    """

    def __init__(self, law: Law) -> None:
        self.levels: list[Marginal] = []
        rest: Any = law
        while isinstance(rest, Marginal):
            if isinstance(rest.posterior, Responsibilities):
                raise _other(f"a mixture over {rest.latent!r}")
            if not _is_normal(rest.posterior):
                raise _other(f"a posterior of {rest.latent!r} that is another law than independent normals")
            if self.levels and not _is_normal(rest.likelihood):
                raise _other(f"a prior of {self.levels[-1].latent!r} that is another law than independent normals")
            self.levels.append(rest)
            rest = rest.prior
        if not self.levels:
            raise _other(f"a law {type(law).__name__} without latents")
        if not _is_normal(rest):
            raise _other(f"a prior of {self.levels[-1].latent!r} that is another law than independent normals")
        bottom = self.levels[0].likelihood
        if not isinstance(bottom, Independent | Sequential):
            raise _other(f"a likelihood {type(bottom).__name__}")
        self.top = rest
        posteriors: list[Any] = [level.posterior for level in self.levels]
        self.shapes = [tuple(posterior.conditional.shape) for posterior in posteriors]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dims = sum(self.sizes)

    def prior_moments(self, level: int, above: Tensor | None, context: Context, rows: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation (rows, d_l), in bins, of z_l given z_l+1 (rows, d_l+1), None above the top."""
        if level + 1 == len(self.levels):
            return _moments(self.top, context, rows)
        assert above is not None
        upper = self.levels[level + 1]
        given = {**context, upper.latent: above.reshape(rows, *self.shapes[level + 1])}
        return _moments(upper.likelihood, given, rows)

    def posterior_moments(self, level: int, below: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Mean and deviation (rows, d_l), in bins, of z_l given z_l-1 (rows, d_l-1), or the items where l = 0."""
        rows = len(below)
        shaped = below if level == 0 else below.reshape(rows, *self.shapes[level - 1])
        return _moments(self.levels[level].posterior, {**context, "x": shaped}, rows)

    def fit(self, x: Tensor, bottom: Tensor, context: Context) -> Tensor:
        """log p(x | z_1), nats (rows,), for items and z_1 (rows, d_1) in bins."""
        given = {**context, self.levels[0].latent: bottom.reshape(len(x), *self.shapes[0])}
        return self.levels[0].likelihood.log_prob(x, given)

    def split(self, z: Tensor) -> list[Tensor]:
        """z (..., d) as the layers (rows, d_l)."""
        return list(z.reshape(-1, self.dims).split(self.sizes, dim=1))

    @torch.no_grad()
    def draw(self, count: int, context: Context, generator: torch.Generator, device: torch.device) -> Tensor:
        """Latents (count, d) from the prior, in bins, continuous."""
        layers: list[Tensor] = []
        for level in reversed(range(len(self.levels))):
            mean, scale = self.prior_moments(level, layers[0] if layers else None, context, count)
            noise = torch.randn(mean.shape, generator=generator, device=device, dtype=mean.dtype)
            layers.insert(0, mean + scale * noise)
        return torch.cat(layers, 1)

    @torch.no_grad()
    def simulate(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Items (count, *shape) drawn from the model, and their latents (count, d) in bins: an exact draw of each
        item's posterior. On the CPU."""
        context: Context = {"shape": shape}
        z = self.draw(count, context, generator, torch.device("cpu"))
        given = {**context, self.levels[0].latent: self.split(z)[0].reshape(count, *self.shapes[0])}
        return self.levels[0].likelihood.sample(count, given, generator), z


class Joint:
    """log p(x, u) of n items, differentiable in u, with the distributions that estimators start from.

    x: items (n, *shape), int64, on the device of the networks. units: "prior", u in standard deviations of the prior
    from its mean; or "posterior", in those of each item's approximate posterior (of upper layers, at the mean of the
    lower ones), in which one size of step serves all latents.
    """

    def __init__(self, nest: Nest, x: Tensor, units: str = "prior") -> None:
        if units not in ("prior", "posterior"):
            raise UsageError(f"expected units of the prior or the posterior, got {units!r}")
        self.nest = nest
        self.x = x
        self.n, self.d = len(x), nest.dims
        self.context: Context = {"shape": tuple(x.shape[1:])}
        self._repeated = x
        with torch.no_grad():
            self.bottom = nest.posterior_moments(0, x, self.context)  # of z_1 given the items, known once and for all
            self.centre, self.scale = self._prior_units() if units == "prior" else self._posterior_units()
        self.log_scale = self.scale.log().sum(-1)  # (n,)

    def _posterior_units(self) -> tuple[Tensor, Tensor]:
        moments = [self.bottom]
        for level in range(1, len(self.nest.levels)):
            moments.append(self.nest.posterior_moments(level, moments[-1][0], self.context))
        return torch.cat([mean for mean, _ in moments], 1), torch.cat([scale for _, scale in moments], 1)

    def _prior_units(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every latent under the prior: exact at the top, averaged over draws from above below it
        (their noise is in the units alone, and these are accounted for)."""
        device = self.x.device
        generator = torch.Generator(device).manual_seed(0)
        moments: list[tuple[Tensor, Tensor]] = []
        above = None
        for level in reversed(range(len(self.nest.levels))):
            mean, scale = self.nest.prior_moments(level, above, self.context, PRIOR_DRAWS)
            noise = torch.randn(mean.shape, generator=generator, device=device, dtype=mean.dtype)
            above = mean + scale * noise
            spread = (scale.square().mean(0) + mean.var(0, correction=0)).sqrt()
            moments.insert(0, (mean.mean(0), spread))
        centre, scale = (torch.cat(part) for part in zip(*moments))
        return centre.expand(self.n, -1), scale.expand(self.n, -1)

    def to_bins(self, u: Tensor) -> Tensor:
        """Latents (..., n, d) in bins."""
        return self.centre + self.scale * u

    def to_units(self, z: Tensor) -> Tensor:
        """The inverse of ``to_bins``."""
        return (z - self.centre) / self.scale

    def _items(self, k: int) -> Tensor:
        if len(self._repeated) != k * self.n:
            self._repeated = self.x.repeat(k, *[1] * (self.x.ndim - 1))
        return self._repeated

    def log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u): (k, n, d) -> nats (k, n)."""
        k = len(u)
        layers = self.nest.split(self.to_bins(u))
        fit = self.nest.fit(self._items(k), layers[0], self.context)
        return fit.reshape(k, self.n) + self._log_prior(layers, k)

    def _log_prior(self, layers: list[Tensor], k: int) -> Tensor:
        total: Any = self.log_scale
        for level, z in enumerate(layers):
            above = layers[level + 1] if level + 1 < len(layers) else None
            moments = self.nest.prior_moments(level, above, self.context, len(z))
            total = total + normal_log_density(z, *moments).reshape(k, self.n)
        return total

    @property
    def prior(self) -> Proposal:
        """p(u), with ``sample(generator, k)`` and ``log_prob(u)``."""
        return _Prior(self)

    def posterior(self, layer: Callable[[Tensor, Tensor], Posterior] = Posterior) -> Proposal:
        """q(u | x) in its own order, z_1 given the items, z_2 given z_1 and so on.

        layer: what takes the place of a normal distribution of mean and deviation (rows, d_l) in every layer, such as
        ``WidenedPosterior`` and ``StudentT``.
        """
        return _Upwards(self, layer)

    def proposal(self, name: str) -> Proposal:
        """One of ``settings.PROPOSALS``. Raises UsageError for another name."""
        if name == "prior":
            return self.prior
        if name == "posterior":
            return self.posterior()
        if name == "widened":
            return self.posterior(WidenedPosterior)
        if name == "student":
            return self.posterior(StudentT)
        if name == "defensive":
            return DefensiveMixture(self.posterior(), self.prior)
        raise UsageError(f"expected one of the proposals {', '.join(PROPOSALS)}, got {name!r}")


class _Prior:
    def __init__(self, joint: Joint) -> None:
        self.joint = joint

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        joint = self.joint
        z = joint.nest.draw(k * joint.n, joint.context, generator, joint.x.device)
        return joint.to_units(z.reshape(k, joint.n, joint.d))

    def log_prob(self, u: Tensor) -> Tensor:
        joint = self.joint
        return joint._log_prior(joint.nest.split(joint.to_bins(u)), len(u))


class _Upwards:
    def __init__(self, joint: Joint, layer: Callable[[Tensor, Tensor], Posterior]) -> None:
        self.joint = joint
        self.layer = layer

    @torch.no_grad()
    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        joint = self.joint
        layers = [self.layer(*joint.bottom).sample(generator, k).reshape(k * joint.n, -1)]
        for level in range(1, len(joint.nest.levels)):
            moments = joint.nest.posterior_moments(level, layers[-1], joint.context)
            layers.append(self.layer(*moments).sample(generator, 1)[0])
        return joint.to_units(torch.cat(layers, 1).reshape(k, joint.n, joint.d))

    def log_prob(self, u: Tensor) -> Tensor:
        joint, k = self.joint, len(u)
        layers = joint.nest.split(joint.to_bins(u))
        total = self.layer(*joint.bottom).log_prob(layers[0].reshape(k, joint.n, -1)) + joint.log_scale
        for level in range(1, len(layers)):
            moments = joint.nest.posterior_moments(level, layers[level - 1], joint.context)
            total = total + self.layer(*moments).log_prob(layers[level][None]).reshape(k, joint.n)
        return total


def normal_log_density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Of independent normals: z, mean, scale (rows, d) -> nats (rows,)."""
    terms = -0.5 * ((z - mean) / scale).square() - scale.log()
    return terms.sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def _moments(law: Any, context: Context, rows: int) -> tuple[Tensor, Tensor]:
    elements = law.conditional(context, rows)
    mean, scale = elements.leaf.moments(elements.params.float())
    return mean, scale


def _is_normal(law: Law) -> bool:
    return isinstance(law, Independent) and isinstance(getattr(law.conditional, "leaf", None), Normal)


def _other(found: str) -> UsageError:
    return UsageError(
        f"expected a model whose latents are independent normals in one or more layers (such as vae), got {found}; "
        "this estimator is for those: use elbo, or importance with the proposal posterior"
    )
