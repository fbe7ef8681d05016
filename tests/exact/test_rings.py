"""Deep causal networks, whose rows are kept in rings: the same items as by whole passes, within the bytes stated."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from codelength.coding.stack import Stack
from codelength.distributions import Categorical
from codelength.freezing import freeze
from codelength.laws.frozen import FrozenModel
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.networks.conditionals import RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.gated import GatedPixelCNN
from codelength.networks.masked import InputScale

Kernel = tuple[tuple[int, int], tuple[int, int]]


class Deep(nn.Module):
    """Convolutions of several kernels one after another, with skips; every later layer sees earlier pixels alone."""

    def __init__(self, kernels: list[Kernel], units: int = 3) -> None:
        super().__init__()
        nothing = torch.zeros(units)
        first = CausalConv2d(torch.ones(1), nothing, *kernels[0])
        self.layers = nn.ModuleList([first, *(CausalConv2d(nothing, nothing, *kernel) for kernel in kernels[1:])])
        self.last = CausalConv2d(nothing, torch.zeros(3), (1, 1), (0, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.layers[0](x))
        for layer in list(self.layers)[1:]:
            h = h + torch.relu(layer(h))
        return self.last(h)


class Model(nn.Module):
    def __init__(self, network: nn.Module, shape: tuple[int | None, ...], symbols: int, slope: int | None) -> None:
        super().__init__()
        self.space = Space(shape, symbols)
        self.conditional = RasterConditional(network, Categorical(symbols), shape, slope=slope)

    def law(self) -> Sequential:
        return Sequential(self.conditional)


def frozen(network: nn.Module, shape: tuple[int | None, ...], symbols: int, slope: int | None) -> FrozenModel:
    sizes = [6 if size is None else size for size in shape]
    items = np.random.default_rng(0).integers(0, symbols, (40, *sizes))
    return freeze(Model(network, shape, symbols, slope), items, tolerance=1.0)


def agrees(model: FrozenModel, shape: tuple[int, ...], count: int = 3) -> None:
    """The engine against a whole pass for every step, and the way back onto the same stack."""
    conditional = model.law.conditional  # type: ignore[attr-defined]
    stack, other = Stack.seeded(1), Stack.seeded(1)
    before = stack.copy()
    items = conditional.advance(stack, count, {"shape": shape})
    assert np.array_equal(items, conditional.advance_naively(other, count, {"shape": shape}))
    assert np.array_equal(stack.state, other.state)
    model.law.push(stack, items, {"shape": shape})
    assert np.array_equal(stack.state, before.state)
    made = conditional.recur(count, {"shape": shape}, recursion)
    assert np.array_equal(made, conditional.recur_naively(count, {"shape": shape}, recursion))
    medians = conditional.median(count, {"shape": shape})
    assert np.array_equal(conditional.parallel(medians, {"shape": shape}).median(), medians)


def recursion(params: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Some function of parameters and positions."""
    return (params.astype(np.int64).sum(2) + 7 * where) % 3


UP = ((1, 3), (-1, -1))
FAR = ((2, 3), (-4, -1))
LEFT = ((1, 3), (0, -2))
NEAR = ((2, 3), (-1, -1))
RIGHT = ((1, 2), (-1, 2))


@pytest.mark.parametrize(
    ("kernels", "slope"),
    [
        ([NEAR, NEAR, NEAR, NEAR], None),
        ([UP, FAR, LEFT, RIGHT, NEAR], None),
        ([NEAR, NEAR, NEAR], 2),
        ([NEAR, FAR, LEFT, UP], 3),
        ([RIGHT, FAR, LEFT, UP], 4),
        ([NEAR, FAR], 12),
    ],
    ids=str,
)
def test_the_engine_equals_whole_passes(kernels: list[Kernel], slope: int | None) -> None:
    torch.manual_seed(0)
    model = frozen(Deep(kernels), (None, None), 3, slope)
    for shape in ((1, 1), (1, 9), (9, 1), (5, 4), (4, 9), (11, 3)):
        agrees(model, shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_gated_networks_of_eight_layers(channels: int) -> None:
    torch.manual_seed(1)
    network = GatedPixelCNN(channels, 3, units=6, layers=8, rows=2, scaling=InputScale(1, 1))
    shape = (None, None) if channels == 1 else (None, None, 3)
    model = frozen(network, shape, 3, None)
    for size in ((1, 4), (4, 3)):
        agrees(model, size if channels == 1 else (*size, 3), count=2)


@pytest.mark.parametrize("slope", [None, 3])
def test_what_it_holds_is_what_it_states(slope: int | None) -> None:
    """Up to what is the same for any number of items; and rows are not kept for as long as the image is high."""
    torch.manual_seed(2)
    model = frozen(Deep([NEAR] * 6, units=12), (None, None), 3, slope)
    conditional = model.law.conditional  # type: ignore[attr-defined]
    stated, held = {}, {}
    for height in (8, 24):
        shape = (height, 16)
        stated[height] = conditional._engine_bytes(conditional.types_for(shape), shape)
        conditional.advance(Stack.seeded(0), 1, {"shape": shape})
        peaks = []
        for count in (10, 60):
            stack = Stack.seeded(0)
            stack.hold(count)
            tracemalloc.start()
            conditional.advance(stack, count, {"shape": shape})
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        held[height] = (peaks[1] - peaks[0]) / 50 - 64 * height * 16  # what every item takes anyway
        assert held[height] < stated[height]
    assert stated[24] < 1.5 * stated[8]
    if slope is None:
        assert stated[24] == stated[8] < 6 * 12 * 4 * (2 * 18 + 40)


def test_rows_come_and_go_by_hand() -> None:
    """A ring holds what a whole grid would, for all reads that the schedule allows."""
    from codelength.exact.raster import Ring, _rings
    from codelength.exact.schedule import RasterSchedule

    class Fake:
        inputs = ("x",)
        operations = (type("Op", (), {"operands": (0,)})(),)

    for taps, slope, height, width in itertools.product(
        ([(-1, 1), (0, -1)], [(-3, 0), (-1, 2)]), (None, 3, 5), (1, 4, 9), (1, 5, 7)
    ):
        ring: Ring = _rings(Fake(), {1: taps}, height, width, slope)[0]  # type: ignore[arg-type]
        kept = np.zeros((ring.rows, ring.columns), np.int64)
        for front in RasterSchedule(slope).fronts(height, width):
            rows, columns = np.divmod(front, width)
            for dy, dx in taps:
                got = kept[ring.place(rows + dy, columns + dx)]
                inside = (rows + dy >= 0) & (columns + dx >= 0) & (columns + dx < width)
                wanted = np.where(inside, (rows + dy) * width + columns + dx + 1, 0)
                assert np.array_equal(got, wanted), (taps, slope, height, width)
            kept[ring.place(rows, columns)] = front + 1
