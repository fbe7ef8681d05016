"""PixelCNN: a density by enumeration, nothing but earlier elements in every conditional, and images of any size."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from codelength.errors import RecipeError
from codelength.laws.space import Space
from codelength.models.configs import PixelCNNConfig
from codelength.models.pixelcnn import PixelCNN, build_pixelcnn


def randomised(model: PixelCNN) -> PixelCNN:
    """Weights far from where training begins, so that every connection matters."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model


@pytest.mark.parametrize(
    ("shape", "symbols", "config"),
    [
        ((2, 4), 2, PixelCNNConfig(units=4, layers=2)),
        ((3, 2), 3, PixelCNNConfig(units=4, layers=1, rows=2, reach=2)),
        ((2, 1, 3), 2, PixelCNNConfig(units=5, layers=2)),
        ((2, 3), 3, PixelCNNConfig(units=4, layers=0, leaf="logistic_mixture", components=2)),
    ],
)
def test_probabilities_of_all_images_add_up_to_one(shape, symbols, config):
    model = randomised(build_pixelcnn(config, Space(shape, symbols)))
    dims = math.prod(shape)
    every = torch.tensor(list(itertools.product(range(symbols), repeat=dims))).reshape(-1, *shape)
    with torch.no_grad():
        total = model.law().log_prob(every, {"shape": shape}).double().exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_element_depends_on_earlier_ones_alone_and_on_all_within_reach(channels):
    config, height, width = PixelCNNConfig(units=12, layers=2), 3, 4
    space = Space((height, width) if channels == 1 else (height, width, channels), 256)
    model = randomised(build_pixelcnn(config, space)).double()
    seen = torch.zeros(channels, height, width, channels, height, width, dtype=torch.bool)
    for _ in range(6):  # units may rest at some images, not at all
        x = torch.rand(1, channels, height, width, dtype=torch.float64) * 255
        total = lambda image: model.conditional.network(image).unflatten(1, (channels, -1)).sum(2)  # noqa: E731
        seen |= torch.autograd.functional.jacobian(total, x)[0, :, :, :, 0] != 0
    for c, r, s, d, i, j in itertools.product(*map(range, (channels, height, width, channels, height, width))):
        earlier = (i, j, d) < (r, s, c)
        # Below the rows above, by one column to the right for each row; in the row, all to the left within the layers.
        near = j - s <= r - i and (r, s) != (i, j) and max(r - i, abs(s - j)) <= config.layers
        assert not seen[c, r, s, d, i, j] or earlier, (c, r, s, d, i, j)
        if near and (i, j) < (r, s):
            assert seen[c, r, s, d, i, j], (c, r, s, d, i, j)
        if (i, j) == (r, s):
            assert seen[c, r, s, d, i, j] == (d < c)


def test_one_model_knows_images_of_every_size():
    model = randomised(build_pixelcnn(PixelCNNConfig(units=4, layers=2), Space((None, None), 2)))
    for shape in ((1, 1), (2, 3), (3, 2)):
        every = np.array(list(itertools.product(range(2), repeat=math.prod(shape)))).reshape(-1, *shape)
        with torch.no_grad():
            total = model.law().log_prob(torch.from_numpy(every), {"shape": shape}).double().exp().sum()
        assert float(total) == pytest.approx(1.0, abs=1e-5)


def test_weights_are_those_of_the_seed_and_leave_the_global_numbers_alone():
    def weights(seed: int) -> torch.Tensor:
        model = build_pixelcnn(PixelCNNConfig(units=4, layers=1, seed=seed), Space((4, 4), 2))
        return torch.cat([p.reshape(-1) for p in model.parameters()])

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("config", "shape", "words"),
    [
        (PixelCNNConfig(), (64,), "expected images"),
        (PixelCNNConfig(units=2), (4, 4, 3), "one unit for each of 3 channels"),
        (PixelCNNConfig(layers=-1), (4, 4), "layers of at least 0"),
        (PixelCNNConfig(reach=0), (4, 4), "reach of 1 to 60"),
        (PixelCNNConfig(rows=0), (4, 4), "1 to 120 rows"),
        (PixelCNNConfig(leaf="gaussian"), (4, 4), "leaf"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(config, shape, words):
    with pytest.raises(RecipeError, match=words):
        build_pixelcnn(config, Space(shape, 2))
