"""Inverse autoregressive steps in floating point: Jacobians, order, and the way back."""

from __future__ import annotations

import math

import pytest
import torch
from jacobians import EPS, check_log_determinant, jacobian, scrambled
from torch import Tensor, nn

from codelength.distributions import Normal
from codelength.networks.autoregressive import GATE_LIMIT, GateAndMean, InverseAutoregressive
from codelength.networks.conditionals import DegreeConditional, RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.masked import MaskedMLP

GRID = Normal(256, reach=8)
ORDER = torch.tensor([2, 0, 4, 3, 1])
ORDERS = torch.stack([torch.arange(5), ORDER.flip(0)])
SHAPE = (2, 3, 2)


class Dense(nn.Module):
    """Masked for the order, with a bias from the context."""

    def __init__(self) -> None:
        super().__init__()
        rank = torch.argsort(ORDER)
        self.masked = MaskedMLP(rank + 1, rank, [torch.arange(20) % 5], 2)
        self.bias = nn.Linear(3, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.masked(x) + self.bias(c)[:, None]


class Ordered(nn.Module):
    """Sees elements in the order of their row, with a bias for each of two orders."""

    def __init__(self) -> None:
        super().__init__()
        self.masked = MaskedMLP(torch.arange(5) + 1, torch.arange(5), [torch.arange(20) % 5], 2, orders=(2,))

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        return self.masked(x, k)


class Raster(nn.Module):
    """Two causal layers between images of two channels."""

    def __init__(self) -> None:
        super().__init__()
        hidden = torch.arange(8) % 2
        self.first = CausalConv2d(torch.tensor([1, 2]), hidden, (2, 3))
        self.last = CausalConv2d(hidden, torch.tensor([0, 0, 1, 1]), (1, 1), (0, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def made(kind: str) -> tuple[InverseAutoregressive, tuple[int, ...], list[int]]:
    """A step, the shape of its items, and the order of their elements."""
    leaf = GateAndMean(GRID)
    if kind == "dense":
        dense = DegreeConditional(Dense(), leaf, (5,), ORDER[None], inputs=("c",))
        return scrambled(InverseAutoregressive(dense), deviation=0.3), (5,), ORDER.tolist()
    if kind == "ordered":
        ordered = DegreeConditional(Ordered(), leaf, (5,), ORDERS, index="k", inputs=("k",))
        return scrambled(InverseAutoregressive(ordered), deviation=0.3), (5,), ORDERS[1].tolist()
    step = InverseAutoregressive(RasterConditional(Raster(), leaf, SHAPE))
    return scrambled(step, deviation=0.3), SHAPE, list(range(math.prod(SHAPE)))


def points(shape: tuple[int, ...], count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, *shape, dtype=torch.float64, generator=generator) * 128 + 64


def context_of(count: int) -> dict[str, Tensor]:
    given = torch.linspace(-1, 1, 3 * count, dtype=torch.float64).reshape(count, 3)
    return {"c": given, "k": torch.ones(count, 1, dtype=torch.int64)}  # the second of the two orders


each_kind = pytest.mark.parametrize("kind", ["dense", "ordered", "raster"])


@each_kind
def test_log_determinants_are_those_of_autograd_and_jacobians_triangular(kind: str) -> None:
    step, shape, order = made(kind)
    y = points(shape)
    context = context_of(len(y))
    z, change = step.drawn(y, context)
    assert z.shape == y.shape and z.dtype == change.dtype == torch.float64
    later = torch.zeros(len(order), len(order), dtype=torch.bool)
    for i in range(len(y)):
        mine = {name: value[i : i + 1] for name, value in context.items()}
        matrix = jacobian(lambda v, mine=mine: step.drawn(v, mine)[0], y[i : i + 1])[order][:, order]
        assert not matrix.triu(1).any(), "an element of z depends on what comes later in y"
        check_log_determinant(matrix, -float(change[i].detach()))
        later |= matrix.tril(-1) != 0
    assert bool(later.any(1)[1:].all())


@each_kind
def test_the_slow_way_back(kind: str) -> None:
    step, shape, _ = made(kind)
    y = points(shape)
    context = context_of(len(y))
    with torch.no_grad():
        z, change = step.drawn(y, context)
        back, again = step.determinant(z, context)
        torch.testing.assert_close(step.invert(y, context), z, rtol=0, atol=0)
    torch.testing.assert_close(back, y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(again, change, rtol=1e-9, atol=1e-9)


@each_kind
def test_each_element_is_its_mixture(kind: str) -> None:
    """z = g y + (1 - g) m of what the network says, whose parameters come in pairs of a logit and a mean."""
    step, shape, _ = made(kind)
    y = points(shape, 2)
    context = context_of(len(y))
    with torch.no_grad():
        z = step.drawn(y, context)[0].reshape(len(y), -1)
        seen = (y - 128) / 16  # sixteen standard deviations of 256 bins
        if kind == "dense":
            out = step.conditional.network(seen, context["c"])
        elif kind == "ordered":
            out = torch.zeros(2, 5, 2, dtype=torch.float64)
            out[:, ORDERS[1]] = step.conditional.network(seen[:, ORDERS[1]], context["k"][:, 0])
        else:
            out = step.conditional.network(seen.permute(0, 3, 1, 2)).reshape(2, 2, 2, 2, 3)  # (n, C, p, H, W)
            out = out.permute(0, 3, 4, 1, 2).reshape(2, -1, 2)
    for n in range(len(y)):
        for d, value in enumerate(y[n].reshape(-1).tolist()):
            gate = 1 / (1 + math.exp(-float(out[n, d, 0])))
            mean = min(max(float(out[n, d, 1]) * 16 + 128, 0), 255)
            assert z[n, d].item() == pytest.approx(gate * value + (1 - gate) * mean, rel=1e-12)


@each_kind
def test_no_value_leaves_the_grid(kind: str) -> None:
    """Whatever the weights: gates are between 0 and 1, and means on the grid."""
    step, shape, _ = made(kind)
    scrambled(step, deviation=30.0)
    corners = torch.randint(0, 2, (64, *shape), generator=torch.Generator().manual_seed(0)).double() * 255
    with torch.no_grad():
        z, change = step.drawn(corners, context_of(64))
        log_gate, mean = step.gates_and_means(corners, context_of(64))
    assert float(z.min()) >= 0 and float(z.max()) <= 255 * (1 + 4 * EPS)
    assert float(mean.min()) == 0 and float(mean.max()) == 255
    assert float(log_gate.min()) >= math.log(1 / (1 + math.exp(GATE_LIMIT))) - 1e-12
    assert bool((change > 0).all())
