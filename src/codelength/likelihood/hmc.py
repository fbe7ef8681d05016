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

#: The t-th transition of a warm-up moves the logarithm of a step by RATE t^-DECAY times the excess of its acceptance.
ADAPTATION_RATE = 3.0
ADAPTATION_DECAY = 0.75


@dataclass(frozen=True)
class Step:
    """One transition: where chains are (..., d), whether they moved (bool), the acceptance probability, the energy
    error H(arrival) - H(start) of the proposal (infinite where it diverged), and log f at the position; all (...).
    slope (..., d): the gradient of log f there."""

    positions: Tensor
    accepted: Tensor
    acceptance: Tensor
    energy_errors: Tensor
    log_density: Tensor
    slope: Tensor


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
    """log f (...) and its gradient (..., d), whether or not gradients are enabled outside.

    A density that goes through chains in parts, to need less memory, has a method ``gradient`` that answers the same.
    """
    own = getattr(log_density, "gradient", None)
    if own is not None:
        value, slope = own(positions)
        return value, slope
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
    slope = gradient(log_density, positions)[1]
    return _trajectory(log_density, positions, momenta, slope, step_sizes, steps)[:2]


def _trajectory(
    log_density: LogDensity, z: Tensor, v: Tensor, slope: Tensor, step_sizes: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions, momenta, log f and its gradient after ``steps``, from those of the start: one evaluation a step."""
    size = step_sizes[..., None]
    for _ in range(steps):
        v = v + 0.5 * size * slope
        z = z + size * v
        value, slope = gradient(log_density, z)
        v = v + 0.5 * size * slope
    return z, v, value, slope


def transition(
    log_density: LogDensity,
    positions: Tensor,
    step_sizes: Tensor,
    steps: int,
    generator: torch.Generator,
    known: tuple[Tensor, Tensor] | None = None,
) -> Step:
    """One transition that leaves f invariant: positions (..., d), step_sizes (...).

    known: log f (...) and its gradient (..., d) at the positions, where they have been evaluated; else they cost one
    evaluation on top of one for each of the ``steps`` (at least one).

    A proposal whose energy is not finite is rejected. Raises EvaluationError where log f of a start is not finite.
    """
    momenta = torch.randn(positions.shape, generator=generator, dtype=positions.dtype, device=positions.device)
    start, slope = gradient(log_density, positions) if known is None else known
    if not bool(torch.isfinite(start).all()):
        bad = ~torch.isfinite(start)
        raise EvaluationError(
            f"expected a finite log-density where chains start, got {float(start[bad][0])} for {int(bad.sum())} of "
            f"{bad.numel()} chains; start them elsewhere"
        )
    arrival, velocity, end, end_slope = _trajectory(log_density, positions, momenta, slope, step_sizes, steps)
    error = (start - end) + 0.5 * (velocity.square().sum(-1) - momenta.square().sum(-1))
    error = torch.where(torch.isfinite(error), error, torch.full_like(error, torch.inf))
    acceptance = torch.exp(-error.clamp(min=0))
    chance = torch.rand(error.shape, generator=generator, dtype=error.dtype, device=error.device)
    accepted = chance < acceptance
    moved = accepted[..., None]
    return Step(
        torch.where(moved, arrival, positions),
        accepted,
        acceptance,
        error,
        torch.where(accepted, end, start),
        torch.where(moved, end_slope, slope),
    )


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
    """Positions and step sizes after ``transitions`` that bring the acceptance of each chain to ``target``.

    Robbins-Monro on the logarithm of the step (Andrieu and Thoms 2008, algorithm 4), then the average of the second
    half of its path (Polyak and Juditsky 1992). The path must be nearly at rest by then: acceptance bends down over the
    logarithm of the step, so the average of a path that swings widely accepts more often than its steps did.

    While step sizes depend on the past, f is not invariant: what is drawn here is for warming up only.
    """
    log_size = torch.log(step_sizes)
    kept = []
    known = None
    for t in range(1, transitions + 1):
        step = transition(log_density, positions, log_size.exp(), steps, generator, known)
        positions, known = step.positions, (step.log_density, step.slope)
        log_size = log_size + ADAPTATION_RATE * t**-ADAPTATION_DECAY * (step.acceptance - target)
        if 2 * t > transitions:
            kept.append(log_size)
    return positions, torch.stack(kept).mean(0).exp() if kept else step_sizes


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
    taken: list[Step] = []
    known = None
    for _ in range(transitions):
        taken.append(transition(log_density, positions, sizes, steps, generator, known))
        positions, known = taken[-1].positions, (taken[-1].log_density, taken[-1].slope)
    return Trace(
        positions=torch.stack([step.positions for step in taken]),
        energies=-torch.stack([step.log_density for step in taken]),
        energy_errors=torch.stack([step.energy_errors for step in taken]),
        acceptance=torch.stack([step.acceptance for step in taken]),
        accepted=torch.stack([step.accepted for step in taken]),
        step_sizes=sizes,
    )
