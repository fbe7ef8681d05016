"""The likelihood of a model with continuous latents by importance sampling, in memory that does not grow with k.

For an item x and draws z_1 .. z_k from a proposal q, the log-weights are log w_j = log p(x, z_j) - log q(z_j), and

    L_k = log 1/k sum_j w_j                       (Burda, Grosse, Salakhutdinov 2016, equation 8)

has exp(L_k) unbiased for p(x), so L_k is a stochastic lower bound whose mean rises with k. `importance` draws and
weighs in chunks and keeps only running sums (`WeightStream`); everything beside the bound is a diagnostic that is
computed from these sums and never changes it.

Shapes: n items, d latents, k draws; z is (k, n, d), log-densities of it are (k, n). All log-densities are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from codelength.errors import UsageError
from codelength.likelihood.weights import ImportanceResult, WeightStream

#: log p(x, z): latents (k, n, d) -> nats (k, n), the items x being held by the callable.
LogDensity = Callable[[Tensor], Tensor]

#: Draws per call of a proposal. Fixed, so that the draws of a seed depend neither on chunk nor on k (fewer draws
#: are the beginning of more).
DRAWS = 16


class Proposal(Protocol):
    """A distribution over the latents of n items that can be drawn from and evaluated."""

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """k independent draws per item, (k, n, d)."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """z (k, n, d) -> nats (k, n), normalised."""
        ...


class Posterior:
    """A normal with independent latents, as an encoder states it. mean, scale: (n, d); scale is positive.

    Raises UsageError for shapes that differ and scales that are not positive.
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        if mean.ndim != 2 or mean.shape != scale.shape:
            raise UsageError(
                f"expected mean and scale of one shape (n, d), got {tuple(mean.shape)} and {tuple(scale.shape)}"
            )
        if not bool((scale > 0).all()):
            raise UsageError(f"expected positive scales, got {float(scale.min())}; give standard deviations")
        self.mean, self.scale = mean, scale

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """(k, n, d)."""
        return self.mean + self.scale * _normal(self.mean, generator, k)

    def log_prob(self, z: Tensor) -> Tensor:
        """z (k, n, d) -> nats (k, n)."""
        standard = (z - self.mean) / self.scale
        return (-0.5 * standard.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


class WidenedPosterior(Posterior):
    """The posterior with scales times ``factor`` (positive), against tails lighter than the true posterior's."""

    def __init__(self, mean: Tensor, scale: Tensor, factor: float = 1.2) -> None:
        super().__init__(mean, scale * factor)


class StudentT(Posterior):
    """A multivariate Student t with diagonal scale: all latents of a draw share one chi-squared variable.

    Independent t's would put draws in the tail of *some* latent nearly always, and weights would degenerate with d.
    degrees: of freedom, a whole number of at least 1. Raises UsageError for others.
    """

    def __init__(self, mean: Tensor, scale: Tensor, degrees: int = 5) -> None:
        super().__init__(mean, scale)
        if degrees != int(degrees) or degrees < 1:
            raise UsageError(f"expected a whole number of degrees of freedom, at least 1, got {degrees}")
        self.degrees = int(degrees)

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """(k, n, d)."""
        shape = (k, len(self.mean), self.degrees)
        normals = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        squared = normals.square().mean(-1, keepdim=True)
        return self.mean + self.scale * _normal(self.mean, generator, k) / squared.sqrt()

    def log_prob(self, z: Tensor) -> Tensor:
        """z (k, n, d) -> nats (k, n)."""
        nu, d = self.degrees, z.shape[-1]
        constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)
        distance = ((z - self.mean) / self.scale).square().sum(-1)
        return constant - self.scale.log().sum(-1) - 0.5 * (nu + d) * torch.log1p(distance / nu)


class DefensiveMixture:
    """Mostly ``posterior``, and ``prior`` with probability ``share`` (Hesterberg 1995; Owen and Zhou 2000).

    With the model's own prior, no weight exceeds p(x | z) / share, so the weights have a finite variance however
    wrong the posterior is, wherever the likelihood is bounded. Raises UsageError unless 0 < share < 1.
    """

    def __init__(self, posterior: Proposal, prior: Proposal, share: float = 0.1) -> None:
        if not 0 < share < 1:
            raise UsageError(f"expected the share of the prior strictly between 0 and 1, got {share}")
        self.posterior, self.prior, self.share = posterior, prior, share

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """(k, n, d)."""
        near, far = self.posterior.sample(generator, k), self.prior.sample(generator, k)
        chance = torch.rand(near.shape[:-1], generator=generator, dtype=near.dtype, device=near.device)
        return torch.where((chance < self.share)[..., None], far, near)

    def log_prob(self, z: Tensor) -> Tensor:
        """z (k, n, d) -> nats (k, n)."""
        return torch.logaddexp(
            self.posterior.log_prob(z) + math.log1p(-self.share), self.prior.log_prob(z) + math.log(self.share)
        )


def _normal(like: Tensor, generator: torch.Generator, k: int) -> Tensor:
    return torch.randn((k, *like.shape), generator=generator, dtype=like.dtype, device=like.device)


def importance(
    log_joint: LogDensity,
    proposal: Proposal,
    samples: int,
    generator: torch.Generator,
    *,
    chunk: int = 64,
    index: np.ndarray | None = None,
) -> ImportanceResult:
    """The k-sample bound of every item, k = ``samples``, with its diagnostics.

    log_joint: log p(x, z) for latents (c, n, d), nats (c, n), c at most ``chunk``. generator: on the device of the
    proposal. chunk: draws weighed at once; it bounds the memory and changes the result only by rounding. index: numbers
    of the items (n,), for messages.

    Raises EvaluationError for a log-weight that is NaN or +infinity and for an item all of whose weights are zero;
    UsageError for fewer than one draw.
    """
    if chunk < 1:
        raise UsageError(f"expected chunks of at least one draw, got {chunk}")
    stream = WeightStream(samples, index)
    block = -(-chunk // DRAWS) * DRAWS
    with torch.no_grad():
        for start in range(0, samples, block):
            count = min(block, samples - start)
            draws = [proposal.sample(generator, DRAWS) for _ in range(-(-count // DRAWS))]
            for z in torch.cat(draws)[:count].split(chunk):
                stream.add((log_joint(z).double() - proposal.log_prob(z).double()).cpu())
    return stream.result()
