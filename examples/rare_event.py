"""A rare event by importance sampling: will the project overrun its deadline?

    python examples/rare_event.py [--deadline DAYS] [--samples N] [--seed N]

Ten tasks, some of which wait for others, take exponential times; the project ends with the last task. With every task
at its mean that takes 15 days, so an overrun of 70 is a matter of a few in 100,000. Plain Monte Carlo hardly ever sees
one. Importance sampling draws longer durations, under which overruns are common, and weights each draw by how much
likelier it was under the true law than under the one it came from. The task is like one in Owen, "Monte Carlo theory,
methods and examples" (2013), chapter 9.

The same happens to a model with latent variables: drawn from the prior, hardly any latent explains a given image, and
the estimate of its likelihood hangs on few. ``codelength.likelihood`` draws from the approximate posterior instead.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Project:
    """Tasks in an order in which they may be done.

    means: mean duration of each task, in days; durations are independent and exponential.
    after: for each task the tasks that must be done before it begins, all of lower number.

    Raises ValueError for other lengths, means that are not positive, or a task that waits for none before it.
    """

    means: tuple[float, ...]
    after: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.means or len(self.means) != len(self.after):
            raise ValueError(
                f"expected as many means as lists of predecessors, got {len(self.means)}, {len(self.after)}"
            )
        if min(self.means) <= 0:
            raise ValueError(f"expected positive means, got {min(self.means)}")
        for task, before in enumerate(self.after):
            if not all(0 <= other < task for other in before):
                raise ValueError(f"expected task {task} to wait for tasks below {task}, got {before}")

    def completion(self, durations: np.ndarray) -> np.ndarray:
        """When the last task ends, (n,), for durations (n, tasks), in days."""
        ends = np.empty_like(durations)
        for task, before in enumerate(self.after):
            begin = ends[:, before].max(axis=1) if before else 0.0
            ends[:, task] = begin + durations[:, task]
        return ends.max(axis=1)

    def critical(self) -> tuple[int, ...]:
        """The tasks of a longest path with every task at its mean: those whose delay delays the project."""
        ends: list[float] = []
        for mean, before in zip(self.means, self.after):
            ends.append(mean + max((ends[other] for other in before), default=0.0))
        path = [max(range(len(ends)), key=ends.__getitem__)]
        while self.after[path[-1]]:
            path.append(max(self.after[path[-1]], key=ends.__getitem__))
        return tuple(reversed(path))


# 0 planning; 1 database design; 2 module layout; 3 database capture; 4 database interface; 5 input module; 6 output
# module; 7 graphical interface; 8 joining the interfaces; 9 final tests.
PROJECT = Project(
    means=(4, 4, 2, 5, 2, 3, 2, 3, 2, 2),
    after=((), (0,), (0,), (1,), (1,), (2,), (2,), (2,), (4, 5, 6), (3, 7, 8)),
)
DEADLINE = 70.0


def chain(tasks: int, mean: float) -> Project:
    """One task after the other, all of one mean: the completion time has an Erlang distribution."""
    return Project((mean,) * tasks, tuple((task - 1,) if task else () for task in range(tasks)))


def erlang_tail(tasks: int, mean: float, deadline: float) -> float:
    """The probability that a chain overruns: that fewer than ``tasks`` events of a Poisson process happen in time."""
    rate = deadline / mean
    return math.exp(-rate) * math.fsum(rate**k / math.factorial(k) for k in range(tasks))


@dataclass(frozen=True)
class Estimate:
    """An estimate of a probability by n weighted draws.

    probability: the mean of weight * overrun over the draws, unbiased whatever the factors.
    standard_error: of that mean, from the spread of the draws; worth nothing when hits is small.
    hits: how many draws overran.
    effective: (sum w)^2 / sum w^2 over all draws: as many unweighted draws of the durations would serve as well for
        an average over all of them (Kong 1992).
    effective_hits: the same over the draws that overran, which is what counts here.
    """

    probability: float
    standard_error: float
    hits: int
    effective: float
    effective_hits: float


def _effective(weights: np.ndarray) -> float:
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0


def overrun(
    project: Project,
    deadline: float,
    samples: int,
    rng: np.random.Generator,
    factors: float | Sequence[float] | np.ndarray = 1.0,
) -> Estimate:
    """The probability that the project takes longer than ``deadline`` days.

    factors: what each task's mean is multiplied by for the draws, one for all tasks or (tasks,). A duration t drawn
        with factor k instead of 1 has the weight k exp(-(1 - 1 / k) t / mean), and a draw the product of its tasks'.
        With 1 (the default) all weights are 1, and this is plain Monte Carlo. Factors above 1 bound the weights;
        those of 1/2 and below may leave them without variance.

    Raises ValueError for less than two samples, or factors that are not positive.
    """
    if samples < 2:
        raise ValueError(f"expected at least 2 samples, for a standard error, got {samples}")
    means = np.array(project.means)
    factor = np.broadcast_to(np.asarray(factors, float), means.shape)
    if not (factor > 0).all():
        raise ValueError(f"expected positive factors, got {factor.min()}")
    standard = rng.standard_exponential((samples, len(means)))
    weights = np.exp(np.log(factor).sum() - standard @ (factor - 1))  # t / mean = factor * standard
    late = project.completion(standard * (factor * means)) > deadline
    values = np.where(late, weights, 0.0)
    return Estimate(
        probability=float(values.mean()),
        standard_error=float(values.std(ddof=1) / math.sqrt(samples)),
        hits=int(late.sum()),
        effective=_effective(weights),
        effective_hits=_effective(values),
    )


def critical_factors(project: Project, factor: float) -> np.ndarray:
    """(tasks,): ``factor`` for the tasks of the critical path and 1 for all others, so that weights vary less."""
    factors = np.ones(len(project.means))
    factors[list(project.critical())] = factor
    return factors


def _row(name: str, estimate: Estimate) -> str:
    relative = f"{estimate.standard_error / estimate.probability:9.1%}" if estimate.hits else "no overrun"
    return (
        f"{name:<26}{estimate.probability:12.3e}{estimate.standard_error:12.1e}{relative:>12}{estimate.hits:9d}"
        f"{estimate.effective:12.1f}{estimate.effective_hits:12.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The probability that a project overruns its deadline.")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="days (default 70)")
    parser.add_argument("--samples", type=int, default=100_000, help="draws of each estimate (default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default 0)")
    options = parser.parse_args(arguments)
    if options.samples < 2:
        parser.error(f"expected at least 2 samples, got {options.samples}")
    ways: dict[str, float | np.ndarray] = {
        "plain": 1.0,
        "all means x 4": 4.0,
        "critical path x 4": critical_factors(PROJECT, 4.0),
    }
    head = f"{'probability':>12}{'std error':>12}{'relative':>12}{'hits':>9}{'effective':>12}{'of hits':>12}"
    print(f"{'ten tasks, ' + format(options.deadline, 'g') + ' days':<26}" + head)
    for name, factors in ways.items():
        rng = np.random.default_rng(options.seed)
        print(_row(name, overrun(PROJECT, options.deadline, options.samples, rng, factors)))

    tasks, mean = 4, 3.75  # as long as the critical path
    print(f"\na chain of four: exactly {erlang_tail(tasks, mean, options.deadline):.3e}")
    for name, factor in {"plain": 1.0, "all means x 4": 4.0}.items():
        rng = np.random.default_rng(options.seed)
        print(_row(name, overrun(chain(tasks, mean), options.deadline, options.samples, rng, factor)))


if __name__ == "__main__":
    main()
