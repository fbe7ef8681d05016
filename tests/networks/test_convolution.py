"""Causal convolutions, by poking: what each element changes, whatever the kernel and its offset."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from codelength.distributions import Categorical
from codelength.errors import NotCausal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.likelihood.causality import check_causal
from codelength.networks.conditionals import RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.gated import GatedPixelCNN

SIZES = [(1, 1), (1, 5), (4, 1), (3, 4), (6, 5)]
KERNELS = [
    ((3, 3), None),
    ((1, 1), (0, 0)),
    ((1, 3), (0, -2)),
    ((1, 3), (-1, -1)),  # wholly above
    ((2, 3), (-2, -1)),
    ((2, 2), (-3, -3)),  # far above and to the left
    ((2, 2), (-1, 1)),  # to the right of the pixel, in the row above alone
    ((3, 3), (-1, -1)),  # centred: half of it closed
    ((2, 2), (0, 0)),  # from the pixel on: all but one tap closed
    ((2, 2), (1, 1)),  # wholly later: nothing is seen
]


def by_hand(layer: CausalConv2d, x: Tensor) -> Tensor:
    """Tap by tap, pixel by pixel."""
    n, _, height, width = x.shape
    weight = layer.masked_weight()
    out = layer.bias.reshape(1, -1, 1, 1).expand(n, -1, height, width).clone()
    for (a, b), r, c in itertools.product(
        itertools.product(range(layer.kernel[0]), range(layer.kernel[1])), range(height), range(width)
    ):
        row, column = r + a + layer.offset[0], c + b + layer.offset[1]
        if 0 <= row < height and 0 <= column < width:
            out[:, :, r, c] += x[:, :, row, column] @ weight[:, :, a, b].T
    return out


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("kernel", "offset"), KERNELS, ids=str)
def test_it_is_what_its_definition_says(
    kernel: tuple[int, int], offset: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = CausalConv2d(torch.tensor([1, 2]), torch.tensor([0, 1, 2]), kernel, offset)
    x = torch.randn(2, 2, *size)
    with torch.no_grad():
        assert layer(x).shape == (2, 3, *size)
        assert torch.allclose(layer(x), by_hand(layer, x), atol=1e-5)


def changes(network: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """(channels, H, W, outputs, H, W): whether an output changes with an element."""
    x = torch.randn(1, channels, *size)
    with torch.no_grad():
        base = network(x)
        moved = []
        for place in itertools.product(range(channels), range(size[0]), range(size[1])):
            poked = x.clone()
            poked[(0, *place)] += 1.0
            moved.append((network(poked) - base)[0] != 0)
    return torch.stack(moved).reshape(channels, *size, *moved[0].shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kernel", "offset"), KERNELS, ids=str)
def test_elements_change_what_comes_later_and_their_pixel_by_degrees(
    kernel: tuple[int, int], offset: tuple[int, int] | None, channels: int
) -> None:
    torch.manual_seed(0)
    before, after = torch.arange(1, channels + 1), torch.arange(channels + 1)
    layer = CausalConv2d(before, after, kernel, offset)
    for size in SIZES:
        moved = changes(layer, channels, size)
        for c, r, q, o, s, t in moved.nonzero().tolist():
            earlier = (r, q) < (s, t)
            assert earlier or ((r, q) == (s, t) and before[c] <= after[o]), (size, (c, r, q), (o, s, t))
    if offset == (1, 1):
        assert not moved.any()
    elif (offset or (0, 0)) == (0, 0):
        assert moved.any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_gated_stacks_see_what_comes_before_and_all_of_it_nearby(channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    network = GatedPixelCNN(channels, 2, units=8 * channels, layers=3)
    for layer in network.layers:
        nn.init.normal_(layer.out.weight)  # type: ignore[union-attr, arg-type]
    moved = changes(network, channels, size)
    for c, r, q, o, s, t in moved.nonzero().tolist():
        element = o // 2  # two parameters each
        assert (r, q, c) < (s, t, element), (size, (c, r, q), (o, s, t))
    height, width = size
    for s, t in itertools.product(range(height), range(width)):
        for r, q in itertools.product(range(height), range(width)):
            in_row = r == s and t - 4 <= q < t
            above = r < s and s - r <= 4 and q - t <= s - r and t - q <= s - r
            if in_row or above:
                assert moved[:, r, q, :, s, t].any(), (size, (r, q), (s, t))


class Broken(nn.Module):
    """A gated network one of whose masks lets a pixel see itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.space = Space((4, 4), 3)
        self.network = GatedPixelCNN(1, 3, units=4, layers=2)
        self.conditional = RasterConditional(self.network, Categorical(3), (4, 4))

    def law(self) -> Sequential:
        return Sequential(self.conditional)


def test_a_gated_network_is_found_causal_and_a_broken_one_is_not() -> None:
    items = torch.randint(0, 3, (4, 4, 4), generator=torch.Generator().manual_seed(0)).numpy()
    model = Broken()
    check_causal(model, items)
    model.network.first_left.mask.fill_(True)
    with pytest.raises(NotCausal, match="its own value"):
        check_causal(model, items)


def test_fewer_units_than_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one unit for each of 3 channels"):
        GatedPixelCNN(3, 1, units=2)
