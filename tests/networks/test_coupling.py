"""Steps of flows in floating point: against autograd, against loops over elements, and there and back."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from jacobians import check_log_determinant, jacobian, scrambled
from torch import Tensor, nn

from codelength.coding.stack import Stack
from codelength.errors import NotFrozen
from codelength.networks.coupling import (
    LOG_SCALE_LIMIT,
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    FloatStep,
    GridOffset,
    Permutation,
    UniformCell,
    channel_mask,
    checkerboard,
    squeeze,
)

IMAGE = (2, 4, 3)


class Given(nn.Module):
    """A network of its input and of a context entry, smooth, so that a Jacobian has no corners."""

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network = network
        self.bias = nn.Linear(2, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        bias = self.bias(context)
        return torch.tanh(self.network(x)) + (bias[:, :, None, None] if x.ndim == 4 else bias)


def dense(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 9), nn.Tanh(), nn.Linear(9, outputs))


def convolutions(channels: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 7, 3, padding=1), nn.Tanh(), nn.Conv2d(7, outputs, 3, padding=1))


def affine(kind: str) -> AffineCoupling:
    if kind == "vectors":
        moves = torch.tensor([1, 0, 0, 1, 1, 0, 1])
        return AffineCoupling(moves, dense(7, 8), shift_bits=2)
    if kind == "vectors with context":
        return AffineCoupling(torch.tensor([0, 1, 1, 0]), Given(dense(4, 4), 4), inputs=("c",))
    if kind == "images with context":
        return AffineCoupling(checkerboard(IMAGE, 0), Given(convolutions(3, 6), 6), shape=IMAGE, inputs=("c",))
    moves = checkerboard(IMAGE, 1) if kind == "pixels" else channel_mask(IMAGE, last=kind == "last channels")
    return AffineCoupling(moves, convolutions(3, 6), shift_bits=1, shape=IMAGE)


COUPLINGS = {
    "vectors": (7,),
    "vectors with context": (4,),
    "pixels": IMAGE,
    "first channels": IMAGE,
    "last channels": IMAGE,
    "images with context": IMAGE,
}


def made(name: str) -> tuple[FloatStep, tuple[int, ...]]:
    """A step by its name, with weights at random, and the shape of its items."""
    if name in COUPLINGS:
        return scrambled(affine(name)), COUPLINGS[name]
    if name == "offset":
        return GridOffset(-5), (3,)
    if name == "permutation":
        return Permutation(torch.tensor([2, 0, 1, 4, 3])), (5,)
    if name == "squeeze":
        return squeeze(IMAGE)[0], IMAGE
    if name == "scale of vectors":
        return scrambled(ChannelScale(4, shift_bits=3)), (4,)
    return scrambled(ChannelScale(3)), IMAGE


STEPS = [*COUPLINGS, "offset", "permutation", "squeeze", "scale of vectors", "scale of channels"]


def points(shape: tuple[int, ...], count: int = 3) -> Tensor:
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2


def context_of(x: Tensor) -> dict[str, Tensor]:
    return {"c": torch.linspace(-1, 1, 2 * len(x), dtype=torch.float64).reshape(len(x), 2)}


@pytest.mark.parametrize("name", STEPS)
def test_log_determinants_are_those_of_autograd(name: str) -> None:
    step, shape = made(name)
    x = points(shape)
    context = context_of(x)
    y, change = step.determinant(x, context)
    assert y.dtype == torch.float64 and y.shape == x.shape
    stated = torch.as_tensor(change, dtype=torch.float64).expand(len(x))
    for i in range(len(x)):
        mine = {"c": context["c"][i : i + 1]}
        matrix = jacobian(lambda v, mine=mine: step.determinant(v, mine)[0], x[i : i + 1])
        check_log_determinant(matrix, float(stated[i].detach()))
    assert step.spends == (float(stated.detach().abs().max()) > 0.1)


@pytest.mark.parametrize("name", STEPS)
def test_there_and_back_and_the_density_of_a_draw(name: str) -> None:
    step, shape = made(name)
    x = points(shape)
    context = context_of(x)
    y, change = step.determinant(x, context)
    torch.testing.assert_close(step.invert(y, context), x, rtol=1e-12, atol=1e-12)
    drawn, density = step.drawn(y, context)
    torch.testing.assert_close(drawn, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.as_tensor(density), torch.as_tensor(change), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", COUPLINGS)
def test_what_moves_is_seen_by_itself_alone(name: str) -> None:
    """Elements that stay are copied; one that moves sees itself and those that stay."""
    step, shape = made(name)
    assert isinstance(step, AffineCoupling)
    moves = step.moves.bool()
    x = points(shape, 1)
    context = context_of(x)
    matrix = jacobian(lambda v: step.determinant(v, context)[0], x)
    assert torch.equal(matrix[~moves], torch.eye(len(moves), dtype=torch.float64)[~moves])
    among = matrix[moves][:, moves]
    assert torch.equal(among, torch.diag(among.diagonal())) and bool((among.diagonal() > 0).all())
    assert bool((matrix[moves][:, ~moves] != 0).any(1).all())


@pytest.mark.parametrize("name", COUPLINGS)
def test_couplings_are_their_formula_element_by_element(name: str) -> None:
    step, shape = made(name)
    assert isinstance(step, AffineCoupling)
    x = points(shape)
    context = context_of(x)
    flat = x.reshape(len(x), -1)
    moves = step.moves.tolist()
    expected = flat.clone()
    volume = torch.zeros(len(x), dtype=torch.float64)
    for i in range(len(x)):
        stays = torch.tensor([0.0 if m else v for m, v in zip(moves, flat[i].tolist())], dtype=torch.float64)
        seen = stays[None] if step.shape is None else stays.reshape(1, *shape).permute(0, 3, 1, 2)
        given = [context["c"][i : i + 1]] if step.inputs else []
        out = step.network(seen, *given)[0].detach()
        places = [d for d, m in enumerate(moves) if m]
        for k, d in enumerate(places):
            if step.shape is None:
                scale, shift = out[k], out[len(places) + k]
            else:
                row, column, channel = (int(p) for p in torch.unravel_index(torch.tensor(d), shape))
                scale, shift = out[channel, row, column], out[shape[2] + channel, row, column]
            scale = max(-4.0, min(4.0, float(scale)))
            expected[i, d] = flat[i, d] * math.exp(scale) + float(shift) * 2**step.shift_bits
            volume[i] += scale
    y, change = step.determinant(x, context)
    torch.testing.assert_close(y.reshape(len(x), -1), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(change, volume, rtol=1e-12, atol=1e-12)


def test_log_scales_stop_at_their_limit() -> None:
    coupling = AffineCoupling(torch.tensor([1, 0]), nn.Linear(2, 2)).double()
    channel = ChannelScale(1).double()
    with torch.no_grad():
        coupling.network.weight.zero_()  # type: ignore[union-attr, operator]
        for sign in (-1, 1):
            coupling.network.bias.copy_(torch.tensor([sign * 100.0, 0.0]))  # type: ignore[union-attr, operator]
            channel.log_scales.fill_(sign * 100.0)
            x = torch.ones(1, 2, dtype=torch.float64)
            assert float(coupling.determinant(x, {})[1]) == sign * LOG_SCALE_LIMIT
            assert float(channel.determinant(x, {})[1]) == 2 * sign * LOG_SCALE_LIMIT


def test_a_scale_is_of_its_channel() -> None:
    step, shape = made("scale of channels")
    assert isinstance(step, ChannelScale)
    x = points(shape)
    y = step.determinant(x, {})[0]
    scales, shifts = step.log_scales.tolist(), step.shifts.tolist()
    for n, r, q, c in itertools.product(range(len(x)), *map(range, shape)):
        expected = float(x[n, r, q, c]) * math.exp(scales[c]) + shifts[c]
        assert y[n, r, q, c].item() == pytest.approx(expected, rel=1e-12)


# ---- integers ------------------------------------------------------------------------------------------------


def additive(low: int, context: bool = False) -> AdditiveCoupling:
    network = Given(dense(3, 2), 2) if context else dense(3, 2)
    more: dict[str, Any] = {"inputs": ("c",)} if context else {}
    moves = torch.tensor([0, 1, 1])
    return scrambled(AdditiveCoupling(moves, network, symbols=5, low=low, shift_bits=2, **more), deviation=1.0)


@pytest.mark.parametrize("low", [0, -2, 7])
@pytest.mark.parametrize("context", [False, True])
def test_additive_couplings_are_bijections_of_all_items(low: int, context: bool) -> None:
    step = additive(low, context)
    x = torch.tensor(list(itertools.product(range(low, low + 5), repeat=3)))
    given = {"c": torch.tensor([[0.3, -0.7]], dtype=torch.float64).expand(len(x), 2)}
    y, change = step.determinant(x, given)
    assert change == 0.0
    assert sorted(map(tuple, y.tolist())) == list(map(tuple, x.tolist()))
    assert not torch.equal(y, x)
    assert torch.equal(step.invert(y, given), x.to(y.dtype))
    by_hand = []
    for k, item in enumerate(x.tolist()):
        network = [torch.tensor([[item[0], 0, 0]], dtype=torch.float64)]
        shifts = step.network(*network, *([given["c"][k : k + 1]] if context else []))[0].tolist()
        moved = [low + (item[1 + j] + math.floor(4 * t + 0.5) - low) % 5 for j, t in enumerate(shifts)]
        by_hand.append([item[0], *moved])
    assert y.tolist() == by_hand


class Shifts(nn.Module):
    """The same shifts for all items."""

    def __init__(self, *shifts: float) -> None:
        super().__init__()
        self.shifts = nn.Parameter(torch.tensor([shifts]))

    def forward(self, x: Tensor) -> Tensor:
        return self.shifts.expand(len(x), -1)


def test_halves_are_rounded_up() -> None:
    """As integers are shifted: to the next whole number above, whatever the sign."""
    halves = (0.5, 1.5, 2.5, -0.5, -1.5)
    step = AdditiveCoupling(torch.ones(5), Shifts(*halves), symbols=16)
    x = torch.full((1, 5), 8)
    assert step.determinant(x, {})[0].tolist() == [[9, 10, 11, 8, 7]]
    assert step.invert(x, {}).tolist() == [[7, 6, 5, 8, 9]]


def test_gradients_pass_rounding_and_the_modulus() -> None:
    """As of x + 4 t, without either."""
    step = additive(0)
    x = torch.tensor([[1.0, 4.0, 2.0]], dtype=torch.float64)

    def plain(v: Tensor) -> Tensor:
        (shift,) = step.numbers(v, {})
        return torch.cat([v[:, :1], v[:, 1:] + 4 * shift], 1)

    torch.testing.assert_close(jacobian(lambda v: step.determinant(v, {})[0], x), jacobian(plain, x))


@pytest.mark.parametrize("bits", [0, 3])
def test_cells_are_uniform(bits: int) -> None:
    cell, coarse = UniformCell(), torch.arange(6).reshape(3, 2)
    x = cell.sample(coarse.repeat(500, 1), bits, torch.Generator().manual_seed(0))
    assert torch.equal(x >> bits, coarse.repeat(500, 1))
    counts = torch.bincount((x & ((1 << bits) - 1)).reshape(-1), minlength=1 << bits).double()
    n, p = counts.sum(), 0.5**bits
    assert bool(((counts - n * p).abs() <= 6 * (n * p * (1 - p)).sqrt()).all())
    assert cell.log_prob(coarse, bits).tolist() == pytest.approx([-2 * bits * math.log(2)] * 3)


# ---- masks and permutations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "factor"), [((4, 6, 1), 2), ((2, 2, 3), 2), ((6, 3, 2), 3), ((2, 3, 2), 1)])
def test_squares_of_pixels_become_channels(shape: tuple[int, int, int], factor: int) -> None:
    step, after = squeeze(shape, factor)
    x = torch.arange(2 * math.prod(shape)).reshape(2, *shape)
    y = step.determinant(x, {})[0].reshape(2, *after)
    for n, r, q, c in itertools.product(range(2), *map(range, shape)):
        channel = ((r % factor) * factor + q % factor) * shape[2] + c
        assert y[n, r // factor, q // factor, channel] == x[n, r, q, c]
    assert torch.equal(step.invert(y.reshape(2, *shape), {}), x)


def test_masks_by_rows_columns_and_channels() -> None:
    for parity in (0, 1):
        mask = checkerboard((3, 4, 2), parity)
        assert mask.shape == (3, 4, 2)
        assert all(
            int(mask[r, q, c]) == ((r + q) % 2 == parity) for r, q, c in itertools.product(*map(range, mask.shape))
        )
    for channels in (2, 3):
        first, last = (channel_mask((2, 2, channels), last=last) for last in (False, True))
        assert torch.equal(first + last, torch.ones(2, 2, channels, dtype=torch.int64))
        assert first[0, 0].tolist() == [1] * (channels // 2) + [0] * (channels - channels // 2)


def test_what_makes_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="a permutation of 0 to 2"):
        Permutation(torch.tensor([0, 2, 2]))
    with pytest.raises(ValueError, match="multiples of 2, got 3 x 4"):
        squeeze((3, 4, 1))
    with pytest.raises(ValueError, match="a shape of 4 elements"):
        AffineCoupling(torch.tensor([0, 1, 1, 0]), dense(4, 4), shape=(2, 2, 2))


def test_steps_in_floating_point_do_not_code() -> None:
    step = GridOffset(1)
    for code in (step.forward, step.inverse):
        with pytest.raises(NotFrozen, match="freeze it first"):
            code(Stack(), torch.zeros(1, 1), {}, True)
    with pytest.raises(NotFrozen, match="freeze it first"):
        UniformCell().push(Stack(), torch.zeros(1, 1), 2)
    with pytest.raises(NotFrozen, match="freeze it first"):
        UniformCell().pop(Stack(), (1, 1), 2)
