"""Hamiltonian Monte Carlo (Neal 2011) for many independent chains at once.

A chain at z draws a momentum v ~ N(0, I), follows the Hamiltonian H(z, v) = -log f(z) + v'v / 2 by leapfrog steps, and
accepts where it arrives with probability min(1, exp(-error)), error = H(arrival) - H(start). f need not be normalised.
Chains are all axes but the last: positions (..., d), log-densities (...), nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from codelength.errors import EvaluationError, UsageError

#: log f: positions (..., d) -> nats (...); differentiable, every chain on its own.
LogDensity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One transition: where chains are (..., d), whether they moved (bool), the acceptance probability, the energy
    error H(arrival) - H(start) of the proposal (infinite where it diverged), and log f at the position; all (...)."""

    positions: Tensor
    accepted: Tensor
    acceptance: Tensor
    energy_errors: Tensor
    log_density: Tensor


@dataclass(frozen=True)
class Trace:
    """T transitions. positions (T, ..., d); energies -log f at them, energy_errors, acceptance, accepted (T, ...);
    step_sizes (...), frozen throughout."""

    positions: Tensor
    energies: Tensor
    energy_errors: Tensor
    acceptance: Tensor
    accepted: Tensor
    step_sizes: Tensor


def gradient(log_density: LogDensity, positions: Tensor) -> tuple[Tensor, Tensor]:
    """log f (...) and its gradient (..., d), whether or not gradients are enabled outside."""
    with torch.enable_grad():
        z = positions.detach().clone().requires_grad_(True)
        value = log_density(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def leapfrog(
    log_density: LogDensity, positions: Tensor, momenta: Tensor, step_sizes: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Positions and momenta (..., d) after ``steps`` leapfrog steps (Neal 2011, equations 2.28 to 2.30).

    Volume-preserving, and undone by the same steps with the momenta negated. step_sizes: (...), one per chain.
    """
    size = step_sizes[..., None]
    z, v = positions, momenta
    slope = gradient(log_density, z)[1]
    for _ in range(steps):
        v = v + 0.5 * size * slope
        z = z + size * v
        slope = gradient(log_density, z)[1]
        v = v + 0.5 * size * slope
    return z, v


def transition(
    log_density: LogDensity, positions: Tensor, step_sizes: Tensor, steps: int, generator: torch.Generator
) -> Step:
    """One transition that leaves f invariant: positions (..., d), step_sizes (...).

    A proposal whose energy is not finite is rejected. Raises EvaluationError where log f of a start is not finite.
    """
    momenta = torch.randn(positions.shape, generator=generator, dtype=positions.dtype, device=positions.device)
    with torch.no_grad():
        start = log_density(positions)
    if not bool(torch.isfinite(start).all()):
        bad = ~torch.isfinite(start)
        raise EvaluationError(
            f"expected a finite log-density where chains start, got {float(start[bad][0])} for {int(bad.sum())} of "
            f"{bad.numel()} chains; start them elsewhere"
        )
    arrival, velocity = leapfrog(log_density, positions, momenta, step_sizes, steps)
    with torch.no_grad():
        end = log_density(arrival)
    error = (start - end) + 0.5 * (velocity.square().sum(-1) - momenta.square().sum(-1))
    error = torch.where(torch.isfinite(error), error, torch.full_like(error, torch.inf))
    acceptance = torch.exp(-error.clamp(min=0))
    chance = torch.rand(error.shape, generator=generator, dtype=error.dtype, device=error.device)
    accepted = chance < acceptance
    moved = torch.where(accepted[..., None], arrival, positions)
    return Step(moved, accepted, acceptance, error, torch.where(accepted, end, start))


def adapt(
    log_density: LogDensity,
    positions: Tensor,
    step_sizes: Tensor,
    steps: int,
    transitions: int,
    generator: torch.Generator,
    *,
    target: float = 0.8,
) -> tuple[Tensor, Tensor]:
    """Positions and step sizes after ``transitions`` of dual averaging per chain (Hoffman and Gelman 2014, equation 6).

    While step sizes depend on the past, f is not invariant: what is drawn here is for warming up only.
    The averaged step is usually somewhat smaller, and accepts more often, than ``target``: acceptance falls steeply
    near the largest stable step, and the average leans to the safe side of it.
    """
    centre = torch.log(10 * step_sizes)
    shortfall = torch.zeros_like(step_sizes)
    averaged = log_size = torch.log(step_sizes)
    for t in range(1, transitions + 1):
        step = transition(log_density, positions, log_size.exp(), steps, generator)
        positions = step.positions
        share = 1 / (t + 10)
        shortfall = (1 - share) * shortfall + share * (target - step.acceptance)
        log_size = centre - (t**0.5 / 0.05) * shortfall
        weight = t**-0.75
        averaged = weight * log_size + (1 - weight) * averaged
    return positions, averaged.exp()


def sample(
    log_density: LogDensity,
    positions: Tensor,
    transitions: int,
    generator: torch.Generator,
    *,
    step_size: float | Tensor = 0.1,
    steps: int = 10,
    warmup: int = 0,
    target: float = 0.8,
) -> Trace:
    """Run chains from ``positions`` (..., d).

    step_size: of leapfrog steps, one or (...). steps: leapfrog steps per transition. warmup: transitions that adapt
    step sizes towards the acceptance rate ``target``; they are left out of the trace, and step sizes frozen after.

    Raises UsageError for counts and step sizes that are not positive; EvaluationError for a start without density.
    """
    sizes = torch.as_tensor(step_size, dtype=positions.dtype, device=positions.device)
    if transitions < 1 or steps < 1 or warmup < 0 or not bool((sizes > 0).all()):
        raise UsageError(
            f"expected positive transitions, steps and step sizes, got {transitions}, {steps} and {float(sizes.min())}"
        )
    sizes = sizes.expand(positions.shape[:-1]).clone()
    if warmup:
        positions, sizes = adapt(log_density, positions, sizes, steps, warmup, generator, target=target)
    taken = []
    for _ in range(transitions):
        taken.append(transition(log_density, positions, sizes, steps, generator))
        positions = taken[-1].positions
    return Trace(
        positions=torch.stack([step.positions for step in taken]),
        energies=-torch.stack([step.log_density for step in taken]),
        energy_errors=torch.stack([step.energy_errors for step in taken]),
        acceptance=torch.stack([step.acceptance for step in taken]),
        accepted=torch.stack([step.accepted for step in taken]),
        step_sizes=sizes,
    )
