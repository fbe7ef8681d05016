"""The rare-event example against closed forms and plain Monte Carlo."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from example_modules import EXAMPLES, load_example

EXAMPLE = EXAMPLES / "rare_event.py"
rare = load_example("rare_event")


def test_the_project_takes_fifteen_days_along_its_critical_path() -> None:
    project = rare.PROJECT
    assert project.completion(np.array([project.means], float)).tolist() == [15.0]
    assert project.critical() == (0, 1, 3, 9)


def test_completion_is_the_longest_of_all_paths() -> None:
    """By enumeration of the paths from a task without predecessors to any task."""
    project = rare.PROJECT

    def paths(task: int) -> list[tuple[int, ...]]:
        before = project.after[task]
        return [(*path, task) for other in before for path in paths(other)] or [(task,)]

    durations = np.random.default_rng(0).exponential(size=(50, 10)) * np.array(project.means)
    every = [list(path) for task in range(10) for path in paths(task)]
    longest = np.max([durations[:, path].sum(axis=1) for path in every], axis=0)
    assert np.allclose(project.completion(durations), longest, rtol=1e-12)


def test_the_erlang_tail_is_the_integral_of_its_density() -> None:
    for tasks, mean, deadline in ((1, 2.0, 5.0), (4, 3.75, 70.0), (10, 1.5, 20.0)):
        t = np.linspace(deadline, deadline + 60 * mean, 200_001)
        log_density = (tasks - 1) * np.log(t) - t / mean - tasks * math.log(mean) - math.lgamma(tasks)
        density = np.exp(log_density)
        integral = float(((density[1:] + density[:-1]) / 2 * np.diff(t)).sum())
        assert rare.erlang_tail(tasks, mean, deadline) == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize(
    "tasks, mean, deadline, factor", [(1, 3.0, 40.0, 8.0), (4, 3.75, 70.0, 4.0), (10, 2.0, 60.0, 3.0)]
)
def test_the_tilted_estimate_agrees_with_the_erlang_tail(
    tasks: int, mean: float, deadline: float, factor: float
) -> None:
    exact = rare.erlang_tail(tasks, mean, deadline)
    assert exact < 1e-4
    found = rare.overrun(rare.chain(tasks, mean), deadline, 50_000, np.random.default_rng(1), factor)
    assert abs(found.probability - exact) <= 4 * found.standard_error
    assert found.standard_error < 0.05 * exact


def test_the_standard_error_is_the_spread_of_the_estimates() -> None:
    """Over 300 seeds: unbiased, and spread as each of them says."""
    exact = rare.erlang_tail(4, 3.75, 70.0)
    found = [rare.overrun(rare.chain(4, 3.75), 70.0, 1000, np.random.default_rng(seed), 4.0) for seed in range(300)]
    values = np.array([estimate.probability for estimate in found])
    stated = math.sqrt(np.mean([estimate.standard_error**2 for estimate in found]))
    assert values.std(ddof=1) == pytest.approx(stated, rel=0.15)
    assert abs(values.mean() - exact) <= 4 * stated / math.sqrt(300)


@pytest.mark.parametrize("way", ["all", "critical", "uneven"])
def test_tilted_and_plain_agree_where_overruns_are_common(way: str) -> None:
    project, deadline = rare.PROJECT, 30.0
    factors = {
        "all": 1.3,
        "critical": rare.critical_factors(project, 2.0),
        "uneven": np.linspace(0.9, 1.6, 10),
    }[way]
    plain = rare.overrun(project, deadline, 100_000, np.random.default_rng(2))
    tilted = rare.overrun(project, deadline, 100_000, np.random.default_rng(3), factors)
    assert 0.02 < plain.probability < 0.2
    together = math.hypot(plain.standard_error, tilted.standard_error)
    assert abs(plain.probability - tilted.probability) <= 4 * together
    assert together < 0.05 * plain.probability


def test_tilting_finds_what_plain_sampling_misses() -> None:
    rng = np.random.default_rng
    plain = rare.overrun(rare.PROJECT, rare.DEADLINE, 10_000, rng(4))
    uniform = rare.overrun(rare.PROJECT, rare.DEADLINE, 100_000, rng(5), 4.0)
    path = rare.overrun(rare.PROJECT, rare.DEADLINE, 100_000, rng(6), rare.critical_factors(rare.PROJECT, 4.0))
    assert plain.hits <= 3
    assert path.hits > 20_000 and path.effective_hits > 1000
    assert path.standard_error < 0.03 * path.probability
    # Tilting only what matters keeps the weights alike, by more than tenfold in sample size.
    assert path.effective > 10 * uniform.effective
    # It is no rarer than the critical path alone being late, and the two agree within their errors.
    late = rare.erlang_tail(4, 3.75, rare.DEADLINE)
    assert path.probability > late - 4 * path.standard_error
    assert abs(path.probability - uniform.probability) <= 4 * math.hypot(path.standard_error, uniform.standard_error)


def test_plain_monte_carlo_is_the_case_of_equal_weights() -> None:
    found = rare.overrun(rare.PROJECT, 20.0, 5000, np.random.default_rng(8))
    p = found.hits / 5000
    assert found.probability == p
    assert found.standard_error == pytest.approx(math.sqrt(p * (1 - p) / 4999))
    assert found.effective == 5000 and found.effective_hits == found.hits


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="tasks below 1"):
        rare.Project((1.0, 1.0), ((), (1,)))
    with pytest.raises(ValueError, match="positive means"):
        rare.Project((0.0,), ((),))
    with pytest.raises(ValueError, match="as many"):
        rare.Project((1.0,), ((), ()))
    with pytest.raises(ValueError, match="2 samples"):
        rare.overrun(rare.PROJECT, 70.0, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="positive factors"):
        rare.overrun(rare.PROJECT, 70.0, 10, np.random.default_rng(0), 0.0)


def test_the_program_prints_both_estimates() -> None:
    command = [sys.executable, str(EXAMPLE), "--samples", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("plain", "all means", "critical path"))]
    assert [row.split("  ")[0] for row in rows] == [
        "plain",
        "all means x 4",
        "critical path x 4",
        "plain",
        "all means x 4",
    ]
    assert subprocess.run(command, capture_output=True, text=True, timeout=600).stdout == done.stdout
