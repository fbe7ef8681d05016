"""Hamiltonian Monte Carlo as a sampler of its own: a bent density whose moments are known, traces and energy errors.

    python examples/hamiltonian.py --plot chains.png

The density is a normal bent along a parabola: x is standard normal, and y given x is normal around BEND (x^2 - 1) with
deviation WIDTH. So the mean of y is 0 and its variance 2 BEND^2 + WIDTH^2, which chains must find. Two experiments:

* chains from a poor start, step sizes adapted and then frozen: where they go, how well the energy is kept, and the
  moments they give with the errors of their means (Neal 2011, section 5.3);
* the energy error of one trajectory of fixed length against its step size. Leapfrog steps are of second order: half
  the step, a quarter of the error (Neal 2011, section 5.2.3.4).

Needs torch; ``--plot`` needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codelength.likelihood import hmc

# A sharper bend would need shorter steps where it is far out than where chains mostly are, and chains whose steps are
# adapted to the middle would hardly ever go there.
BEND, WIDTH = 0.5, 1.0
#: Time that a trajectory of the second experiment runs for.
TIME = 2.0
STEPS = (2, 4, 8, 16, 32, 64)


def log_density(z: Tensor) -> Tensor:
    """z (..., 2) -> nats (...), normalised."""
    x, y = z[..., 0], z[..., 1]
    bent = (y - BEND * (x**2 - 1)) / WIDTH
    return -0.5 * (x**2 + bent**2) - math.log(2 * math.pi * WIDTH)


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Independent draws (count, 2)."""
    x, noise = torch.randn(2, count, generator=generator, dtype=torch.float64)
    return torch.stack([x, BEND * (x**2 - 1) + WIDTH * noise], 1)


def chains(count: int, transitions: int, warmup: int, seed: int) -> hmc.Trace:
    """Chains that all start at (3, -3), far from where the density is."""
    start = torch.tensor([3.0, -3.0], dtype=torch.float64).expand(count, 2)
    generator = torch.Generator().manual_seed(seed)
    return hmc.sample(log_density, start, transitions, generator, step_size=0.1, steps=10, warmup=warmup, target=0.9)


def moments(trace: hmc.Trace) -> list[dict[str, Any]]:
    """Means of known value, by the means of the chains: these are independent, so their spread gives the error."""
    x, y = trace.positions.unbind(-1)
    known = {"x": (x, 0.0), "y": (y, 0.0), "x squared": (x**2, 1.0), "y squared": (y**2, 2 * BEND**2 + WIDTH**2)}
    rows = []
    for name, (values, truth) in known.items():
        means = values.mean(0)
        error = float(means.std() / math.sqrt(len(means)))
        rows.append({"mean of": name, "found": float(means.mean()), "error": error, "truth": truth})
    return rows


def energy_errors(trajectories: int, seed: int) -> list[dict[str, float]]:
    """Root of the mean squared energy error of trajectories that start in equilibrium, by the size of their steps."""
    generator = torch.Generator().manual_seed(seed)
    start = draw(trajectories, generator)
    momenta = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    before = 0.5 * momenta.square().sum(-1) - log_density(start)
    rows = []
    for steps in STEPS:
        size = torch.full((trajectories,), TIME / steps, dtype=torch.float64)
        z, v = hmc.leapfrog(log_density, start, momenta, size, steps)
        error = 0.5 * v.square().sum(-1) - log_density(z) - before
        # A few starts far out make any average theirs where steps are large, so the median of the size it is.
        rows.append({"step": TIME / steps, "energy_error": float(error.abs().median())})
    return rows


def order(rows: list[dict[str, float]]) -> float:
    """The power of the step that the energy error grows with, over the three smallest steps."""
    first, last = rows[-3], rows[-1]
    return math.log(first["energy_error"] / last["energy_error"]) / math.log(first["step"] / last["step"])


def experiments(count: int = 64, transitions: int = 1000, seed: int = 0) -> tuple[dict[str, Any], hmc.Trace]:
    trace = chains(count, transitions, max(1, transitions // 2), seed)
    rows = energy_errors(1000, seed)
    figures = {
        "chains": count,
        "transitions": transitions,
        "acceptance": float(trace.acceptance.mean()),
        "step_sizes": [float(trace.step_sizes.min()), float(trace.step_sizes.max())],
        # Over stationary chains the mean of exp(-error) is 1 (Neal 2011, section 5.4.1), proposals refused or not.
        "mean_exp_minus_error": float((-trace.energy_errors).exp().mean()),
        "moments": moments(trace),
        "energy_errors": rows,
        "order": order(rows),
    }
    return figures, trace


def report(figures: dict[str, Any]) -> str:
    low, high = figures["step_sizes"]
    lines = [
        f"{figures['chains']} chains of {figures['transitions']} transitions; steps of {low:.3f} to {high:.3f} accept "
        f"{figures['acceptance']:.1%}; mean exp(-energy error) {figures['mean_exp_minus_error']:.3f} (truth 1)",
        f"{'mean of':>10}{'found':>10}{'error':>10}{'truth':>10}",
    ]
    for row in figures["moments"]:
        lines.append(f"{row['mean of']:>10}{row['found']:10.4f}{row['error']:10.4f}{row['truth']:10.4f}")
    lines += [
        f"a trajectory of time {TIME}: error of order {figures['order']:.2f}",
        f"{'step':>10}{'energy error':>14}",
    ]
    lines += [f"{row['step']:10.4f}{row['energy_error']:14.6f}" for row in figures["energy_errors"]]
    return "\n".join(lines)


def plot(figures: dict[str, Any], trace: hmc.Trace, path: Path) -> None:
    """Where chains go, their traces, the energy errors of proposals, and energy errors against the step."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ((where, along), (errors, steps)) = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    where.plot(*trace.positions.reshape(-1, 2)[:4000].T, ".", markersize=2, alpha=0.4)
    where.set(xlabel="x", ylabel="y", title="where chains go")
    for chain in range(min(2, trace.positions.shape[1])):
        along.plot(trace.positions[:200, chain, 1], linewidth=0.9, label=f"chain {chain + 1}")
    along.set(xlabel="transition", ylabel="y", title="trace")
    along.legend()
    finite = trace.energy_errors[torch.isfinite(trace.energy_errors)].clamp(-2, 3)
    errors.hist(finite.numpy(), bins=80)
    errors.set(xlabel="energy error of a proposal, nats", ylabel="proposals", title="energy errors")
    rows = figures["energy_errors"]
    sizes = [row["step"] for row in rows]
    steps.loglog(sizes, [row["energy_error"] for row in rows], "o-", label="median size of the error")
    last = rows[-1]
    steps.loglog(sizes, [last["energy_error"] * (s / last["step"]) ** 2 for s in sizes], "k--", label="second order")
    steps.set(xlabel="leapfrog step", ylabel="nats", title=f"trajectories of time {TIME:g}")
    steps.legend()
    for axes in (where, along, errors, steps):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Hamiltonian Monte Carlo on a bent density of known moments.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw them (needs matplotlib)")
    parser.add_argument("--chains", type=int, default=64, help="that run side by side (default 64)")
    parser.add_argument("--transitions", type=int, default=1000, help="of each, after half as many to warm up")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.chains < 2 or options.transitions < 1:
        parser.error(f"expected two chains and one transition at least, got {options.chains} and {options.transitions}")
    figures, trace = experiments(options.chains, options.transitions, options.seed)
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(figures, trace, options.plot)


if __name__ == "__main__":
    main()
