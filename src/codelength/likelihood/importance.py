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
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from codelength.errors import EvaluationError, UsageError

#: log p(x, z): latents (k, n, d) -> nats (k, n), the items x being held by the callable.
LogDensity = Callable[[Tensor], Tensor]

#: Draws per call of a proposal. Fixed, so that the draws of a seed depend neither on chunk nor on k (fewer draws
#: are the beginning of more).
DRAWS = 16

#: Groups of the jackknife, where there are as many draws.
GROUPS = 20

#: Fewest weights that a tail is fitted to (Vehtari et al. 2024).
SHORTEST_TAIL = 5


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


class Prior(Posterior):
    """The standard normal whatever the item: the naive estimate, and the wide part of a mixture."""

    def __init__(
        self, n: int, d: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> None:
        super().__init__(torch.zeros(n, d, dtype=dtype, device=device), torch.ones(n, d, dtype=dtype, device=device))


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


@dataclass(frozen=True)
class ImportanceResult:
    """What k draws say about each of n items; float64 arrays, in nats.

    bound (n,): log 1/k sum w, a stochastic lower bound of log p(x). samples: k.
    se (n,): its standard error by the delta method, sqrt((k / ess - 1) / (k - 1)); NaN for k = 1. It is itself an
        estimate from the weights seen, too small where a few of them dominate (see ``pareto_k``).
    ess (n,): effective sample size (sum w)^2 / sum w^2, between 1 and k (Kong 1992).
    pareto_k (n,): shape of a generalised Pareto tail fitted to the largest weights (Vehtari et al. 2024). Below 0.5
        their variance is finite; above 0.7 neither ``bound`` nor ``se`` should be believed. NaN where there are too few
        weights (k < 21), -inf where the largest are all alike.
    jackknife_bias (n,): estimate of E[bound] - log p(x), mostly negative; -inf where all weight is in one group. It
        is reported, never subtracted: a corrected figure would be no bound. NaN for k = 1.
    curve_k (s,): 1, 2, 5, 10, 20, 50 ... up to k, and k itself.
    curve (s, n): the bound for that many draws, averaged over the disjoint groups of them; the first row is the
        evidence lower bound (ELBO), the last is ``bound``.
    """

    bound: np.ndarray
    se: np.ndarray
    samples: int
    ess: np.ndarray
    pareto_k: np.ndarray
    jackknife_bias: np.ndarray
    curve_k: np.ndarray = field(repr=False)
    curve: np.ndarray = field(repr=False)
    kind: str = "lower_bound"


def importance(
    log_joint: LogDensity, proposal: Proposal, samples: int, generator: torch.Generator, *, chunk: int = 64
) -> ImportanceResult:
    """The k-sample bound of every item, k = ``samples``, with its diagnostics.

    log_joint: log p(x, z) for latents (c, n, d), nats (c, n), c at most ``chunk``. generator: on the device of the
    proposal. chunk: draws weighed at once; it bounds the memory and changes the result only by rounding.

    Raises EvaluationError for a log-weight that is NaN or +infinity and for an item all of whose weights are zero;
    UsageError for fewer than one draw.
    """
    if chunk < 1:
        raise UsageError(f"expected chunks of at least one draw, got {chunk}")
    stream = WeightStream(samples)
    block = -(-chunk // DRAWS) * DRAWS
    with torch.no_grad():
        for start in range(0, samples, block):
            count = min(block, samples - start)
            draws = [proposal.sample(generator, DRAWS) for _ in range(-(-count // DRAWS))]
            for z in torch.cat(draws)[:count].split(chunk):
                stream.add(log_joint(z).double() - proposal.log_prob(z).double())
    return stream.result()


class WeightStream:
    """The sums that `ImportanceResult` needs, from log-weights that arrive in chunks; memory O(n sqrt k).

    samples: how many draws there will be in all. Raises UsageError for fewer than one.
    """

    def __init__(self, samples: int) -> None:
        if samples < 1:
            raise UsageError(f"expected at least one sample, got {samples}")
        self.samples = samples
        self.seen = 0
        groups = min(samples, GROUPS)
        self._edges = [j * samples // groups for j in range(groups + 1)]
        # One weight more than the tail holds: it is the threshold of the tail.
        self._kept = tail_length(samples) + 1
        self._top = self._groups = self._log_squares = torch.zeros(0)
        self._curve = [_Curve(size) for size in curve_sizes(samples)]

    def add(self, log_weights: Tensor) -> None:
        """Take in log-weights (c, n), nats; -infinity is a weight of zero.

        Raises EvaluationError for NaN and +infinity; UsageError for more draws than were announced, and for
        another shape than (c, n).
        """
        if log_weights.ndim != 2 or (self.seen and log_weights.shape[1] != self._top.shape[1]):
            expected = f"(c, {self._top.shape[1]})" if self.seen else "(c, n)"
            raise UsageError(f"expected log-weights of shape {expected}, got {tuple(log_weights.shape)}")
        count = len(log_weights)
        if self.seen + count > self.samples:
            raise UsageError(f"expected {self.samples} draws in all, got {self.seen + count}")
        if count == 0:
            return
        chunk = log_weights.detach().double()
        _require_weights(chunk)
        if not self.seen:
            nothing = torch.full_like(chunk[0], -math.inf)
            self._log_squares = nothing
            self._groups = nothing.repeat(len(self._edges) - 1, 1)
            self._top = chunk[:0]
        self._log_squares = torch.logaddexp(self._log_squares, torch.logsumexp(2 * chunk, 0))
        for group, (first, last) in enumerate(zip(self._edges, self._edges[1:])):
            part = chunk[max(first - self.seen, 0) : max(last - self.seen, 0)]
            if len(part):
                self._groups[group] = torch.logaddexp(self._groups[group], torch.logsumexp(part, 0))
        largest = torch.cat([self._top, chunk])
        self._top = torch.topk(largest, min(self._kept, len(largest)), dim=0).values
        for point in self._curve:
            point.add(chunk)
        self.seen += count

    def result(self) -> ImportanceResult:
        """Raises UsageError before all draws have arrived; EvaluationError for items whose weights are all zero."""
        if self.seen != self.samples:
            raise UsageError(f"expected {self.samples} draws in all, got {self.seen}; add the others first")
        k = self.samples
        log_sum = torch.logsumexp(self._groups, 0)
        zero = torch.isneginf(log_sum)
        if bool(zero.any()):
            raise EvaluationError(
                f"all {k} weights of item {int(zero.nonzero()[0])} of the batch are zero, and so for {int(zero.sum())} "
                f"of {len(zero)} items; use another proposal or more samples"
            )
        bound = log_sum - math.log(k)
        # Rounding may carry the ratio past its limits, 1 and k, and a variance below zero.
        ess = torch.exp(2 * log_sum - self._log_squares).clamp(1.0, float(k))
        se = ((k / ess - 1) / (k - 1)).sqrt() if k > 1 else torch.full_like(bound, math.nan)
        curve = torch.stack([point.mean() for point in self._curve[:-1]] + [bound])
        sizes = np.array([point.size for point in self._curve])
        figures = (bound, se, ess, fit_pareto_k(self._top), self._jackknife(bound), curve)
        bound_, se_, ess_, pareto_k, bias, curve_ = (figure.cpu().numpy() for figure in figures)
        return ImportanceResult(bound_, se_, k, ess_, pareto_k, bias, sizes, curve_)

    def _jackknife(self, bound: Tensor) -> Tensor:
        """Delete-group jackknife for groups of unequal size (Busing, Meijer, van der Leeden 1999, section 2)."""
        k, groups = self.samples, len(self._groups)
        if groups < 2:
            return torch.full_like(bound, math.nan)
        bias = -(groups - 1) * bound
        for group, (first, last) in enumerate(zip(self._edges, self._edges[1:])):
            # A sum over the others, not total minus own: where this group dominates, that would cancel.
            others = torch.cat([self._groups[:group], self._groups[group + 1 :]])
            left = k - (last - first)
            bias = bias + (left / k) * (torch.logsumexp(others, 0) - math.log(left))
        return bias


class _Curve:
    """The mean over disjoint groups of ``size`` consecutive draws of the bound from one group."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.groups = 0
        self._sum: Tensor | float = 0.0
        self._filled = 0
        self._partial: Tensor | None = None

    def add(self, chunk: Tensor) -> None:
        while len(chunk):
            whole = len(chunk) // self.size
            if not self._filled and whole:
                taken = whole * self.size
                sums = torch.logsumexp(chunk[:taken].reshape(whole, self.size, -1), 1)
                self._close(sums.sum(0), whole)
            else:
                taken = min(self.size - self._filled, len(chunk))
                part = torch.logsumexp(chunk[:taken], 0)
                self._partial = part if self._partial is None else torch.logaddexp(self._partial, part)
                self._filled += taken
                if self._filled == self.size:
                    self._close(self._partial, 1)
                    self._filled, self._partial = 0, None
            chunk = chunk[taken:]

    def _close(self, sums: Tensor, groups: int) -> None:
        self._sum = self._sum + sums
        self.groups += groups

    def mean(self) -> Tensor:
        return torch.as_tensor(self._sum) / self.groups - math.log(self.size)


def curve_sizes(samples: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 ... up to ``samples``, which is always the last."""
    sizes = [m * 10**e for e in range(len(str(samples))) for m in (1, 2, 5)]
    return [size for size in sizes if size < samples] + [samples]


def tail_length(samples: int) -> int:
    """How many of the largest weights make the tail: min(k / 5, 3 sqrt k), rounded up (Vehtari et al. 2024)."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


def fit_pareto_k(largest: Tensor) -> Tensor:
    """Shape of the generalised Pareto tail of weights: (n,), float64.

    largest: log-weights (M + 1, n), descending; the last is the threshold that the others exceed. The estimator is
    the one of Zhang and Stephens 2009 (posterior mean of a profile likelihood on a grid), drawn towards 0.5 with the
    weight of ten observations as in Vehtari et al. 2024, appendix C.

    NaN for fewer than five exceedances; -inf where all of them are zero up to rounding, as with a perfect proposal.
    """
    largest = largest.double()
    length = len(largest) - 1
    if length < SHORTEST_TAIL:
        return torch.full_like(largest[0], math.nan)
    # Scale does not matter to the shape, so the largest weight may be 1.
    weights = torch.exp(largest - largest[:1])
    excess = (weights[:-1] - weights[-1:]).flip(0)
    alike = excess[-1] < 1e-12
    excess = torch.where(alike, torch.linspace(0, 1, length, dtype=excess.dtype, device=excess.device)[:, None], excess)

    points = 30 + int(math.sqrt(length))
    grid = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)
    # Ties with the threshold may make the quartile zero; the grid only has to stay finite then.
    quartile = excess[int(length / 4 + 0.5) - 1].clamp(min=1e-290)
    theta = 1 / excess[-1] + (1 - (points / (grid - 0.5)).sqrt())[:, None] / (3 * quartile)
    # One grid point at a time: (points, M, n) at once would be the largest thing in memory.
    shape = torch.stack([torch.log1p(-row * excess).mean(0) for row in theta])
    profile = length * (torch.log(-theta / shape) - shape - 1)
    mean_theta = (torch.softmax(profile, 0) * theta).sum(0)
    fitted = torch.log1p(-mean_theta * excess).mean(0)
    drawn = (length * fitted + 10 * 0.5) / (length + 10)
    return torch.where(alike, torch.full_like(drawn, -math.inf), drawn)


def _require_weights(chunk: Tensor) -> None:
    bad = (torch.isnan(chunk) | torch.isposinf(chunk)).any(0)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        column = chunk[:, first]
        value = float(column[torch.isnan(column) | torch.isposinf(column)][0])
        raise EvaluationError(
            f"expected log-weights that are numbers, got {value} for item {first} of the batch, and so for "
            f"{int(bad.sum())} of {len(bad)} items; a mean without them would be another figure, so there is none"
        )
