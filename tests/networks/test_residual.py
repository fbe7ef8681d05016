"""Residual networks between images: what they see, where they begin, and their pixel by pixel forms."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from jacobians import POINTS, dependencies, scrambled
from torch import Tensor, nn

from codelength.networks.masked import InputScale
from codelength.networks.residual import (
    CausalPixels,
    CausalResidualBlock,
    ChannelsFirst,
    Labelled,
    Pixels,
    ResidualBlock,
    double,
    downwards,
    halve,
    labelled,
    last,
    upwards,
)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_items_become_images_element_by_element() -> None:
    grey, colour = images(2, 3, 4), images(2, 3, 4, 5)
    first, second = ChannelsFirst((3, 4))(grey), ChannelsFirst((3, 4, 5))(colour)
    assert first.shape == (2, 1, 3, 4) and second.shape == (2, 5, 3, 4)
    for n, r, q in itertools.product(range(2), range(3), range(4)):
        assert first[n, 0, r, q] == grey[n, r, q]
        assert all(second[n, c, r, q] == colour[n, r, q, c] for c in range(5))


@pytest.mark.parametrize("kernel", [1, 3])
def test_blocks_begin_as_the_identity(kernel: int) -> None:
    x = images(2, 4, 5, 6).float()
    assert torch.equal(ResidualBlock(4, 7, kernel)(x), x)
    assert torch.equal(CausalResidualBlock(torch.zeros(4), torch.zeros(7), (kernel, kernel))(x), x)


def slow_convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Pixel by pixel and tap by tap, with zeros outside."""
    assert layer.bias is not None
    side, far = layer.kernel_size[0], layer.kernel_size[0] // 2
    n, _, height, width = x.shape
    out = layer.bias.detach().reshape(1, -1, 1, 1).expand(n, -1, height, width).clone()
    for r, q, a, b in itertools.product(range(height), range(width), range(side), range(side)):
        row, column = r + a - far, q + b - far
        if 0 <= row < height and 0 <= column < width:
            out[:, :, r, q] += x[:, :, row, column] @ layer.weight.detach()[:, :, a, b].T
    return out


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_block_is_its_formula(kernel: int) -> None:
    block = scrambled(ResidualBlock(3, 5, kernel))
    x = images(2, 3, 4, 3)
    hidden = slow_convolution(block.first, x.clamp(min=0))
    expected = x + slow_convolution(block.second, hidden.clamp(min=0))
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 5)])
def test_causal_blocks_see_earlier_pixels_and_lower_degrees(kernel: tuple[int, int]) -> None:
    """The residual connection is a channel's view of itself, so degrees hold with "at most"."""
    degrees, hidden = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2, 0])
    block = scrambled(CausalResidualBlock(degrees, hidden, kernel))
    height, width = 4, 5
    seen = dependencies(block, (4, height, width)).reshape(4, height, width, 4, height, width)
    found = set(map(tuple, seen.nonzero().tolist()))
    for o, s, t, c, r, q in itertools.product(
        range(4), range(height), range(width), range(4), range(height), range(width)
    ):
        reach = 0 <= s - r < kernel[0] and abs(q - t) <= kernel[1] // 2
        allowed = reach and ((r, q) < (s, t) or ((r, q) == (s, t) and degrees[c] <= degrees[o]))
        assert ((o, s, t, c, r, q) in found) <= allowed, ((o, s, t), (c, r, q))
        if reach and (r, q) < (s, t):
            assert (o, s, t, c, r, q) in found, "an earlier pixel within the kernel goes unseen"


def test_halving_and_doubling_see_their_own_squares() -> None:
    down, up = scrambled(halve(1, 1)), scrambled(double(1, 1))
    seen = dependencies(down, (1, 6, 8)).reshape(3, 4, 6, 8)
    for s, t, r, q in itertools.product(range(3), range(4), range(6), range(8)):
        assert bool(seen[s, t, r, q]) == (-1 <= r - 2 * s <= 2 and -1 <= q - 2 * t <= 2)
    seen = dependencies(up, (1, 3, 4)).reshape(6, 8, 3, 4)
    for s, t, r, q in itertools.product(range(6), range(8), range(3), range(4)):
        assert bool(seen[s, t, r, q]) == ((s // 2, t // 2) == (r, q))


@pytest.mark.parametrize(("channels", "counts"), [((5,), (1,)), ((3, 4), (0, 2)), ((2, 3, 4), (1, 0, 1))])
def test_sizes_go_down_and_up_again(channels: tuple[int, ...], counts: tuple[int, ...]) -> None:
    factor = 2 ** (len(channels) - 1)
    x = images(2, 3, 8, 12).float()
    small = downwards(3, channels, counts)(x)
    assert small.shape == (2, channels[-1], 8 // factor, 12 // factor) and bool((small >= 0).all())
    assert upwards(channels[-1], channels, counts)(small).shape == (2, channels[0], 8, 12)
    own = [
        sum(isinstance(m, ResidualBlock) for m in net.modules())
        for net in (downwards(3, channels, counts), upwards(1, channels, counts))
    ]
    assert own == [sum(counts) if len(channels) == 1 else sum(counts[1:]), sum(counts)]


def test_last_layers_begin_small_and_without_biases() -> None:
    torch.manual_seed(5)
    plain = nn.Conv2d(3, 4, 3, padding=1)
    torch.manual_seed(5)
    layer = last(3, 4, 3)
    assert torch.equal(layer.weight, plain.weight * 0.1) and layer.bias is not None and not layer.bias.any()


@pytest.mark.parametrize("image", [True, False])
def test_a_label_is_a_bias_of_the_first_layer(image: bool) -> None:
    """The same as a network of its own for each label, which differs in that bias alone."""
    network = nn.Sequential(
        InputScale(2, 1),
        nn.Sequential(nn.Conv2d(2, 5, 3, padding=1) if image else nn.Linear(2, 5), nn.ReLU()),
        nn.Conv2d(5, 3, 1) if image else nn.Linear(5, 3),
    )
    assert labelled(network, 0) is network
    found = scrambled(labelled(network, 4))
    assert isinstance(found, Labelled)
    x = images(6, 2, 3, 4) if image else images(6, 2)
    labels = torch.tensor([0, 3, 1, 2, 2, 0])
    first: Any = network[1][0]  # type: ignore[index]
    bias = first.bias.detach().clone()
    out = found(x, labels)
    for n, label in enumerate(labels.tolist()):
        with torch.no_grad():
            first.bias.copy_(bias + found.biases.weight[label])
        torch.testing.assert_close(out[n], network(x[n : n + 1])[0], rtol=1e-12, atol=1e-12)


class Trunk(nn.Module):
    """Features (n, f, h, w) from latents (n, 2)."""

    def __init__(self, features: int, height: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, features * height * width), nn.Unflatten(1, (features, height, width)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


HEIGHT, WIDTH = 4, 5


def pixels(channels: int) -> Pixels:
    return scrambled(Pixels(Trunk(6, HEIGHT, WIDTH), 6, (7, 5), channels, 2))


def causal_pixels(channels: int, kernel: tuple[int, int]) -> CausalPixels:
    trunk = Trunk(6, HEIGHT, WIDTH)
    return scrambled(CausalPixels(trunk, 6, (9, 8), channels, 2, InputScale(1, 0), kernel))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_functions_of_their_own_features(channels: int) -> None:
    network = pixels(channels)
    seen = dependencies(lambda f: network.last(network.head(f)), (6, HEIGHT, WIDTH))
    seen = seen.reshape(2 * channels, HEIGHT * WIDTH, 6, HEIGHT * WIDTH)
    assert torch.equal(seen.any(0).any(1), torch.eye(HEIGHT * WIDTH, dtype=torch.bool))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_some_pixels_get_what_the_whole_pass_gives_them(channels: int, causal: bool) -> None:
    z, x = images(3, 2), images(3, channels, HEIGHT, WIDTH, seed=1)
    network: Any = causal_pixels(channels, (2, 3)) if causal else pixels(channels)
    given = (x, z) if causal else (z,)
    whole = network(*given)
    chosen = torch.tensor([0, 7, 7, HEIGHT * WIDTH, 3 * HEIGHT * WIDTH - 1])
    some = network.at(network.features(*given), chosen)
    for found, pixel in zip(some, chosen.tolist()):
        n, place = divmod(pixel, HEIGHT * WIDTH)
        torch.testing.assert_close(found, whole[n, :, place // WIDTH, place % WIDTH], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", [(1, 3), (2, 3), (3, 5), (2, 1)])
def test_causal_pixels_see_earlier_elements_of_earlier_fronts(channels: int, kernel: tuple[int, int]) -> None:
    """No element sees itself or a later one, and pixels of one front, column + slope * row, do not see each other."""
    network = causal_pixels(channels, kernel)
    z = images(POINTS, 2, seed=1)
    seen = dependencies(lambda x: network(x, z), (channels, HEIGHT, WIDTH))
    seen = seen.reshape(channels, 2, HEIGHT, WIDTH, channels, HEIGHT, WIDTH).any(1).numpy()
    ranges = (range(channels), range(HEIGHT), range(WIDTH))
    for (o, s, t), (c, r, q) in itertools.product(itertools.product(*ranges), itertools.product(*ranges)):
        near = 0 <= s - r < kernel[0] and abs(q - t) <= kernel[1] // 2
        earlier = (r, q, c) < (s, t, o)
        assert bool(seen[o, s, t, c, r, q]) == (near and earlier), ((o, s, t), (c, r, q))
        if seen[o, s, t, c, r, q] and (r, q) != (s, t):
            assert q + network.slope * r < t + network.slope * s


@pytest.mark.parametrize("causal", [True, False])
def test_all_pixels_see_the_latents(causal: bool) -> None:
    x = images(POINTS, 3, HEIGHT, WIDTH, seed=1)
    if causal:
        network: Any = causal_pixels(3, (2, 3))
        seen = dependencies(lambda z: network(x, z), (2,))
    else:
        seen = dependencies(pixels(3), (2,))
    assert bool(seen.all())
