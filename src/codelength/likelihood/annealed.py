"""Annealed importance sampling (Neal 2001) of log p(x), and its two-sided form on simulated data.

Chains go from a density that can be drawn from, f_0 (the prior, or an approximate posterior), to the joint
f_1(z) = p(x, z) along the geometric path log f_b = (1 - b) log f_0 + b log f_1, one Hamiltonian transition at each
temperature (Wu, Burda, Salakhutdinov, Grosse 2017, section 2.3). The mean weight is p(x) without bias, so its
logarithm is a stochastic lower bound. Chains that start from an exact draw of the posterior, which is known for data
drawn from the model itself, run backwards and bound log p(x) from above (Grosse, Ghahramani, Adams 2015): bidirectional
Monte Carlo.

Step sizes are adapted in a pilot run of its own and then frozen: adapted along the way, transitions would not leave
their densities invariant and the bounds would not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from codelength.errors import EvaluationError, UsageError
from codelength.likelihood.hmc import LogDensity, adapt, transition
from codelength.likelihood.importance import Proposal

#: Pilot chains change their steps by so much (in logarithm) for a transition accepted wholly instead of never, on their
#: first walk and on later ones.
PILOT_RATES = (1.0, 0.5)

#: Transitions at the first temperature before the first walk.
WARMUP = 20

#: Pilot chains visit so many temperatures at most. Step sizes change slowly along a path, and those in between are
#: found by interpolation, so that the pilot of a long path costs no more than that of a short one.
PILOT_TEMPERATURES = 50


class Start(Proposal, Protocol):
    """Where chains begin, together with where they go."""

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log f_0, normalised, and log f_1 = log p(x, z) at z (k, n, d): nats (k, n) each."""
        ...

    def among(self, items: slice) -> Start:
        """The same for some of the n items."""
        ...


@dataclass(frozen=True)
class Passes:
    """How many chains and items are evaluated at once, all where 0. It bounds what is kept for gradients, and changes
    results only by rounding."""

    chains: int = 0
    items: int = 0


WHOLE = Passes()


@dataclass(frozen=True)
class From:
    """Chains from ``start`` to ``log_joint``, two densities that know nothing of each other."""

    start: Proposal
    log_joint: LogDensity

    def sample(self, generator: torch.Generator, k: int) -> Tensor:
        """(k, n, d)."""
        return self.start.sample(generator, k)

    def log_prob(self, z: Tensor) -> Tensor:
        """z (k, n, d) -> nats (k, n)."""
        return self.start.log_prob(z)

    def densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Start``."""
        return self.start.log_prob(z), self.log_joint(z)

    def among(self, items: slice) -> Start:
        """Nothing is known of how these densities hold their items. Raises UsageError."""
        raise UsageError(
            "expected passes of all items for densities that hold them themselves; leave Passes.items at 0"
        )


@dataclass(frozen=True)
class AnnealedResult:
    """nats (n,) float64: log of the mean weight over chains (forward), or minus the log of the mean inverse weight
    (backward). se (n,): its standard error over chains to first order (the delta method), NaN for one chain.

    log_weights (chains, n): estimates of log p(x) of each chain. acceptance (T, n): mean over chains at each
    temperature. kind: "lower_bound", or "upper_bound" for backward chains (in expectation, both).
    """

    nats: np.ndarray
    se: np.ndarray
    log_weights: np.ndarray
    acceptance: np.ndarray
    kind: str


@dataclass(frozen=True)
class Path:
    """Temperatures 0 = b_0 < .. < b_T = 1 (T + 1,) and the step sizes (T, n) of the transitions at b_1 .. b_T."""

    temperatures: Tensor
    step_sizes: Tensor
    steps: int


def sigmoid_temperatures(count: int, spread: float = 4.0) -> Tensor:
    """``count`` + 1 temperatures from 0 to 1, closest at both ends: the scaled sigmoid of Wu et al. 2017, section 4."""
    if count < 1:
        raise UsageError(f"expected at least one temperature above 0, got {count}")
    raw = torch.sigmoid(torch.linspace(-spread, spread, count + 1, dtype=torch.float64))
    out = (raw - raw[0]) / (raw[-1] - raw[0])
    out[0], out[-1] = 0.0, 1.0
    return out


def pilot(
    start: Start,
    temperatures: Tensor,
    generator: torch.Generator,
    *,
    chains: int = 8,
    steps: int = 10,
    step_size: float = 0.1,
    target: float = 0.65,
    rounds: int = 2,
    passes: Passes = WHOLE,
) -> Path:
    """Step sizes for the transitions at every temperature, from chains that are then thrown away.

    steps: of the leapfrog. target: acceptance.
    Each item has step sizes of its own. They are adapted at the first temperature, then carried along the path and
    corrected at each of ``PILOT_TEMPERATURES`` at most; further ``rounds`` correct the sizes of each temperature by
    what was accepted there.
    """
    _positive(chains=chains, steps=steps, rounds=rounds)
    b = temperatures[1:].tolist()
    visited = sorted({round(t) for t in np.linspace(0, len(b) - 1, min(len(b), PILOT_TEMPERATURES))})
    z = start.sample(generator, chains)
    first = z.new_full(z.shape[:2], step_size)
    ends = _Ends(start, z.shape[1], passes)
    z, found = adapt(_Between(ends, b[0]), z, first, steps, WARMUP, generator, target=target)
    log_size = found.log().mean(0)
    log_sizes: list[Tensor] = []
    for repeat in range(rounds):
        if repeat:
            z = start.sample(generator, chains)
        for k, t in enumerate(visited):
            log_size = log_sizes[k] if repeat else log_size
            sizes = log_size.exp().expand(chains, -1)
            step = transition(_Between(ends, b[t]), z, sizes, steps, generator)
            z = step.positions
            log_size = log_size + PILOT_RATES[min(repeat, 1)] * (step.acceptance.mean(0) - target)
            if repeat:
                log_sizes[k] = log_size
            else:
                log_sizes.append(log_size)
    return Path(temperatures, _in_between(torch.stack(log_sizes), visited, len(b)).exp(), steps)


def _in_between(values: Tensor, places: list[int], count: int) -> Tensor:
    """Values (k, n) at places that begin with 0 and end with count - 1, as (count, n), linear from each to the next."""
    where = torch.arange(count)
    at = torch.tensor(places)
    right = torch.searchsorted(at, where).clamp(min=1 if len(places) > 1 else 0)
    left = (right - 1).clamp(min=0)
    share = (where - at[left]) / (at[right] - at[left]).clamp(min=1)
    share = share.to(values)[:, None]
    return (1 - share) * values[left.to(values.device)] + share * values[right.to(values.device)]


def annealed(
    start: Start, path: Path, chains: int, generator: torch.Generator, *, passes: Passes = WHOLE
) -> AnnealedResult:
    """Forward chains from ``start`` to the joint: p(x) without bias, whose logarithm is a lower bound of log p(x).

    Raises EvaluationError for a log-weight that is NaN or infinite, UsageError for no chains.
    """
    _positive(chains=chains)
    z = start.sample(generator, chains)
    weights, acceptance = z.new_zeros(z.shape[:2], dtype=torch.float64), []
    ends = _Ends(start, z.shape[1], passes)
    b = path.temperatures.tolist()
    for t in range(1, len(b) - 1):
        # One evaluation serves the weight and the beginning of the transition.
        between = _Between(ends, b[t])
        known = between.gradient(z)
        weights += (b[t] - b[t - 1]) * between.gap
        sizes = path.step_sizes[t - 1].expand(chains, -1)
        step = transition(between, z, sizes, path.steps, generator, known)
        z = step.positions
        acceptance.append(step.acceptance.mean(0))
    # A transition at the last temperature would change no weight.
    weights += (b[-1] - b[-2]) * ends.gap(z)
    return _result(weights, acceptance, 1.0)


def annealed_backwards(
    start: Start, path: Path, chains: int, posterior: Tensor, generator: torch.Generator, *, passes: Passes = WHOLE
) -> AnnealedResult:
    """Backward chains from an exact draw of the posterior (n, d): the logarithm is an upper bound of log p(x).

    posterior: the latents that the items were simulated with. All chains of an item start there; a first transition
    at temperature 1 sets them apart.

    Raises EvaluationError for a log-weight that is NaN or infinite, UsageError for no chains.
    """
    _positive(chains=chains)
    z = posterior.expand(chains, *posterior.shape)
    weights, acceptance = z.new_zeros(z.shape[:2], dtype=torch.float64), []
    ends = _Ends(start, z.shape[1], passes)
    b = path.temperatures.tolist()
    for t in range(len(b) - 1, 0, -1):
        between = _Between(ends, b[t])
        known = between.gradient(z)
        if t + 1 < len(b):
            weights += (b[t + 1] - b[t]) * between.gap
        sizes = path.step_sizes[t - 1].expand(chains, -1)
        step = transition(between, z, sizes, path.steps, generator, known)
        z = step.positions
        acceptance.append(step.acceptance.mean(0))
    weights += (b[1] - b[0]) * ends.gap(z)
    return _result(weights, acceptance[::-1], -1.0)


class _Ends:
    """Both ends of a path, gone through pass by pass."""

    def __init__(self, start: Start, n: int, passes: Passes) -> None:
        self.chains = passes.chains
        self.parts: list[tuple[slice, Start]] = [(slice(0, n), start)]
        if 0 < passes.items < n:
            slices = [slice(first, min(first + passes.items, n)) for first in range(0, n, passes.items)]
            self.parts = [(items, start.among(items)) for items in slices]

    def gradient(self, z: Tensor, b: float) -> tuple[Tensor, Tensor, Tensor]:
        """log f_b (k, n) at z (k, n, d), its gradient (k, n, d), and log f_1 - log f_0, float64 (k, n)."""

        def one(start: Start, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with torch.enable_grad():
                at = z.detach().clone().requires_grad_(True)
                begin, end = start.densities(at)
                value = (1 - b) * begin + b * end
                (slope,) = torch.autograd.grad(value.sum(), at)
            return value.detach(), slope, (end - begin).detach().double()

        rows = []
        for some in z.split(self.chains or len(z)):
            found = [one(start, some[:, items]) for items, start in self.parts]
            rows.append([torch.cat(part, 1) for part in zip(*found)])
        value, slope, gap = (torch.cat(part) for part in zip(*rows))
        return value, slope, gap

    @torch.no_grad()
    def gap(self, z: Tensor) -> Tensor:
        """log f_1 - log f_0, float64 (k, n), at z (k, n, d)."""
        rows = []
        for some in z.split(self.chains or len(z)):
            found = [start.densities(some[:, items]) for items, start in self.parts]
            rows.append(torch.cat([(end - begin).double() for begin, end in found], 1))
        return torch.cat(rows)


class _Between:
    """The density at one temperature. gap: log f_1 - log f_0 where its gradient was taken last."""

    gap: Tensor

    def __init__(self, ends: _Ends, b: float) -> None:
        self.ends = ends
        self.b = b

    def __call__(self, z: Tensor) -> Tensor:
        return self.gradient(z)[0]

    def gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See ``hmc.gradient``."""
        value, slope, self.gap = self.ends.gradient(z, self.b)
        return value, slope


def _result(weights: Tensor, acceptance: list[Tensor], sign: float) -> AnnealedResult:
    bad = ~torch.isfinite(weights)
    if bool(bad.any()):
        raise EvaluationError(
            f"expected finite log-weights, got {float(weights[bad][0])} in {int(bad.sum())} of {bad.numel()} chains; "
            "check the densities, or take more temperatures"
        )
    chains = len(weights)
    signed = sign * weights
    top = signed.amax(0)
    shares = torch.exp(signed - top)
    mean = shares.mean(0)
    if chains > 1:
        se = shares.std(0) / math.sqrt(chains) / mean
    else:
        se = torch.full_like(mean, torch.nan)
    rates = torch.stack(acceptance) if acceptance else weights.new_zeros(0, weights.shape[1])
    return AnnealedResult(
        (sign * (top + mean.log())).cpu().numpy(),
        se.cpu().numpy(),
        weights.cpu().numpy(),
        rates.cpu().numpy(),
        "lower_bound" if sign > 0 else "upper_bound",
    )


def _positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"expected at least 1 for {name}, got {count}")
