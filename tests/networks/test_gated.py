"""Layers of gated causal convolutions: their formula, and what each stack sees of the other."""

from __future__ import annotations

import itertools

import pytest
import torch
from jacobians import dependencies, scrambled
from torch import Tensor

from codelength.networks.convolution import CausalConv2d
from codelength.networks.gated import GatedLayer, GatedPixelCNN

DEGREES = torch.tensor([0, 1, 2])
UNITS, HEIGHT, WIDTH = len(DEGREES), 3, 4
each_reach = pytest.mark.parametrize(("reach", "rows"), [(1, 1), (2, 1), (1, 2)])


def at(layer: CausalConv2d, x: Tensor, row: int, column: int) -> Tensor:
    """What a causal convolution gives for one pixel, (n, out), tap by tap."""
    weight = layer.masked_weight()
    out = layer.bias.expand(len(x), -1)
    for a, b in itertools.product(range(layer.kernel[0]), range(layer.kernel[1])):
        r, c = row + a + layer.offset[0], column + b + layer.offset[1]
        if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]:
            out = out + x[:, :, r, c] @ weight[:, :, a, b].T
    return out


@each_reach
def test_a_layer_is_its_formula_pixel_by_pixel(reach: int, rows: int) -> None:
    layer = scrambled(GatedLayer(DEGREES, reach, rows))
    v, h = (
        torch.randn(2, UNITS, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    with torch.no_grad():
        new_v, new_h = layer(v, h)
        for row, column in itertools.product(range(HEIGHT), range(WIDTH)):
            place = (..., row, column)
            above = at(layer.upwards, v, row, column) + at(layer.here, v, row, column)
            beside = at(layer.leftwards, h, row, column) + above @ layer.link.masked_weight()[:, :, 0, 0].T
            beside = beside + layer.link.bias
            gated = [torch.tanh(s[:, :UNITS]) * torch.sigmoid(s[:, UNITS:]) for s in (above, beside)]
            torch.testing.assert_close(new_v[place], gated[0], rtol=1e-12, atol=1e-12)
            added = gated[1] @ layer.out.masked_weight()[:, :, 0, 0].T + layer.out.bias
            torch.testing.assert_close(new_h[place], h[place] + added, rtol=1e-12, atol=1e-12)


@each_reach
def test_stacks_see_what_they_may(reach: int, rows: int) -> None:
    """The vertical stack sees itself at its pixel and rows above it; the horizontal one that, and itself to the left
    and, by degrees, at its pixel. The vertical stack sees nothing of the horizontal one, which knows its own row."""
    layer = scrambled(GatedLayer(DEGREES, reach, rows))

    def both(x: Tensor) -> Tensor:
        return torch.stack(layer(*x.unbind(1)), 1)

    shape = (2, UNITS, HEIGHT, WIDTH)
    seen = dependencies(both, shape).reshape(*shape, *shape).numpy()
    units = range(UNITS)
    for s, t, r, q in itertools.product(range(HEIGHT), range(WIDTH), range(HEIGHT), range(WIDTH)):
        near = (r, q) == (s, t) or (1 <= s - r <= rows and abs(q - t) <= reach)
        left = r == s and 0 < t - q <= reach
        here = (r, q) == (s, t)
        for o, c in itertools.product(units, units):
            found = [[bool(seen[a, o, s, t, b, c, r, q]) for b in (0, 1)] for a in (0, 1)]
            by_degrees = here and bool(DEGREES[c] <= DEGREES[o])
            assert found == [[near, False], [near, left or by_degrees]], ((o, s, t), (c, r, q))


@pytest.mark.parametrize(("reach", "rows", "layers"), [(1, 1, 2), (2, 1, 1), (1, 2, 1)])
def test_a_network_sees_what_its_module_says_and_nothing_else(reach: int, rows: int, layers: int) -> None:
    network = scrambled(GatedPixelCNN(1, 1, units=2, layers=layers, reach=reach, rows=rows))
    far = reach * (layers + 1)
    height, width = rows * (layers + 1) + 2, 2 * far + 3
    seen = dependencies(network, (1, height, width)).reshape(height, width, height, width)[-1, width // 2]
    for row, column in itertools.product(range(height), range(width)):
        up, right = height - 1 - row, column - width // 2
        left = reach * layers if up == 1 else far
        within = 1 <= up <= rows * (layers + 1) and -left <= right <= reach * min(up, layers + 1)
        assert bool(seen[row, column]) == (within or (up == 0 and -far <= right < 0)), (up, right)
