"""Inverse autoregressive steps: exact inverses, within their range, at the bits that their determinants promise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from codelength.coding.stack import Stack
from codelength.distributions import Normal
from codelength.errors import NotRepresentable, ProgramError
from codelength.exact.autoregressive import AutoregressiveStep
from codelength.exact.network import Network
from codelength.exact.schedule import DegreeSchedule
from codelength.networks.autoregressive import GateAndMean, InverseAutoregressive
from codelength.networks.conditionals import DegreeConditional
from codelength.networks.masked import MaskedLinear

D, E = 4, 6


def made_step(high: int = 63, seed: int = 0, **changes: Any) -> AutoregressiveStep:
    """Four elements in an order of their own, with wild weights."""
    rng = np.random.default_rng(seed)
    order = np.array([2, 0, 3, 1])
    rank = np.argsort(order)
    tensors = {
        "w": rng.integers(-9, 10, (2 * D, D)).astype(np.int32),
        "b": np.tile([3, high // 2], D).astype(np.int32),
        "d": np.repeat(rank, 2).astype(np.int32),
        "s": np.tile([4, 0], D).astype(np.int32),
        "o": order[None].astype(np.int32),
        "scales": np.array([1, 5, 17, 40, 63, 64], np.int32),
    }
    tensors |= changes.pop("tensors", {})
    operations = [
        {"op": "linear", "x": 0, "weight": "w", "bias": "b", "degrees": "d"},
        {"op": "requantise", "x": 1, "shift": "s", "low": -300, "high": 300},
    ]
    network = Network.from_json({"inputs": ["x"], "operations": operations, "output": 2})
    given = {"denominator": E, "shape": (D,), "low": 0, "high": high} | changes
    return AutoregressiveStep(network, DegreeSchedule("o"), "scales", tensors=tensors, context={}, **given)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_comes_back_with_the_stack(seed: int) -> None:
    step = made_step(seed=seed)
    y = np.random.default_rng(seed).integers(0, 64, (200, D))
    y[:2] = [[0] * D, [63] * D]
    stack = Stack.seeded(seed)
    before = stack.copy()
    x = step.inverse(stack, y, {}, False)
    assert x.min() >= 0 and x.max() <= 63
    assert np.array_equal(step.forward(stack, x, {}, False), y)
    assert np.array_equal(stack.state, before.state) and stack.bits() == pytest.approx(0, abs=1e-6)


def test_no_number_leaves_the_range() -> None:
    """All y of two elements, with the least and the largest remainders."""
    step = made_step(high=15)
    y = np.array(list(itertools.product(range(16), repeat=2)))
    y = np.concatenate([y, y[:, ::-1]], axis=1)
    a, shift = step._of_all(y, {})
    for remainder in (np.zeros_like(a), a - 1):
        x = ((y * a + remainder) >> E) + shift
        assert x.min() >= 0 and x.max() <= 15


def test_the_slow_way_agrees_with_the_recursion() -> None:
    """Element by element, with Python integers and a list of remainders in the place of a stack."""
    step = made_step(seed=3)
    rng = np.random.default_rng(3)
    y = rng.integers(0, 64, (1, D))
    a, shift = (row[0].tolist() for row in step._of_all(y, {}))
    remainders = [int(rng.integers(0, n)) for n in a]
    scaled = [v * n + r for v, n, r in zip(y[0].tolist(), a, remainders)]
    x = [(s >> E) + t for s, t in zip(scaled, shift)]
    left = [s & 63 for s in scaled]
    back = [0] * D
    for place in (2, 0, 3, 1):
        n, t = (int(row[0, place]) for row in step._of_all(np.array([back]), {}))
        whole = ((x[place] - t) << E) + left[place]
        back[place] = whole // n
        assert whole % n == remainders[place]
    assert back == y[0].tolist()


def test_bits_spent_are_the_log_determinant() -> None:
    step = made_step(seed=1)
    spent, promised = [], []
    for seed in range(300):
        y = np.random.default_rng(seed).integers(0, 64, (1, D))
        stack = Stack.seeded(seed, lanes=1)
        x = step.inverse(stack, y, {}, False)
        spent.append(stack.bits())
        promised.append(-step.determinant(x, {})[1][0] / math.log(2))
    # Going to x, the stack gains what x is less sure about than y: minus log2 |dy/dx|.
    error = np.array(spent) + np.array(promised)
    assert abs(error.mean()) < 6 * error.std() / math.sqrt(len(error)) + 0.01 or np.allclose(spent, -np.array(promised))


def test_numbers_that_nothing_leads_to_are_refused_by_their_items() -> None:
    step = made_step(seed=2)
    x = np.full((3, D), 32)
    x[1] = 0
    stack = Stack.seeded(0)
    with pytest.raises(NotRepresentable) as caught:
        step.forward(stack, np.concatenate([x, [[64] * D]]), {}, False)
    assert 3 in caught.value.items
    with pytest.raises(NotRepresentable) as caught:
        for seed in range(50):
            step.forward(Stack.seeded(seed), np.random.default_rng(seed).integers(0, 64, (4, D)), {}, False)
    assert caught.value.items


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": 1}, "from 0 on"),
        ({"high": 1 << 16}, "below 2"),
        ({"denominator": 21}, "denominator"),
        ({"denominator": 5}, "scale is out of bounds"),
        ({"tensors": {"scales": np.zeros(3, np.int32)}}, "scale is out of bounds"),
        ({"tensors": {"scales": np.zeros((0,), np.int32)}}, "not a list"),
        ({"tensors": {"d": np.full(2 * D, D, np.int32)}}, "coded later"),
    ],
)
def test_records_that_lie_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProgramError, match=words):
        made_step(**changes)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rank = torch.argsort(torch.tensor([2, 0, 3, 1]))
        self.first = MaskedLinear(rank + 1, torch.arange(12) % D)
        self.last = MaskedLinear(torch.arange(12) % D, rank.repeat_interleave(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


def test_log_determinants_equal_autograds() -> None:
    """In float64; gates near one and means within the grid, so that the Jacobian is far from singular."""
    torch.manual_seed(0)
    grid = Normal(256, reach=8)
    conditional = DegreeConditional(Net(), GateAndMean(grid), (D,), torch.tensor([[2, 0, 3, 1]]))  # type: ignore[arg-type]
    step = InverseAutoregressive(conditional).double()
    y = torch.rand(6, D, dtype=torch.float64) * 160 + 48
    z, change = step.drawn(y, {})
    back, again = step.determinant(z, {})
    assert torch.allclose(back, y, atol=1e-8) and torch.allclose(change, again, atol=1e-10)
    for row in range(len(y)):
        jacobian = torch.autograd.functional.jacobian(lambda v: step.drawn(v[None], {})[0][0], y[row]).detach()
        assert float(torch.linalg.cond(jacobian)) < 1e3
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(-float(change[row].detach()), abs=1e-10)
