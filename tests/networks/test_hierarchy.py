"""Encoders and decoders of latents: shapes that fit each other, parameters that keep their names, units of inputs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codelength.networks.hierarchy import (
    Hierarchy,
    StandardNormal,
    convolutional,
    convolutional_classifier,
    dense,
    dense_classifier,
)
from codelength.networks.residual import CausalPixels

STANDARD = (128, 4)
#: Shape and symbols of items, parameters of an element, options; and the shapes of latents that they make.
CASES: dict[str, tuple[tuple[int, ...], int, int, dict[str, Any], list[tuple[int, ...]]]] = {
    "dense": ((3, 4), 2, 1, {"latents": (5, 3), "hidden": (7, 6)}, [(5,), (3,)]),
    "dense with labels": ((4,), 9, 3, {"latents": (2,), "hidden": (6,), "labels": 4}, [(2,)]),
    "grids under a vector": (
        (4, 8, 3),
        256,
        2,
        {"latents": (2, 3), "strides": (2, 0), "channels": (4, 5), "blocks": (0, 1), "head": (6,)},
        [(2, 4, 2), (3,)],
    ),
    "three grids with labels": (
        (8, 4),
        2,
        1,
        {"latents": (2, 1, 3), "strides": (1, 2, 2), "channels": (4, 5, 6), "blocks": (1, 0, 1), "labels": 3},
        [(8, 4, 2), (4, 2, 1), (2, 1, 3)],
    ),
    "a neighbourhood": (
        (4, 4, 2),
        5,
        5,
        {"latents": (3,), "strides": (2,), "channels": (4, 4), "blocks": (1, 1), "head": (4,), "neighbourhood": (2, 3)},
        [(2, 2, 3)],
    ),
}


def made(name: str) -> Hierarchy:
    shape, symbols, parameters, options, _ = CASES[name]
    if "strides" in options:
        return convolutional(shape, symbols, parameters, standard=STANDARD, **options)
    return dense(math.prod(shape), symbols, parameters, standard=STANDARD, **options)


@pytest.mark.parametrize("name", CASES)
def test_networks_fit_each_other(name: str) -> None:
    shape, symbols, parameters, options, shapes = CASES[name]
    found = made(name)
    assert found.shapes == shapes
    label = (torch.tensor([0, 1]),) if options.get("labels") else ()
    generator = torch.Generator().manual_seed(0)
    below: Tensor = torch.randint(0, symbols, (2, *shape), generator=generator).float()
    item = below
    for level, (encoder, decoder) in enumerate(zip(found.encoders, found.decoders)):
        out = encoder(below, *label)
        assert out.numel() == 2 * 2 * math.prod(shapes[level])
        if len(shapes[level]) == 3:  # channels first, two for each of the grid
            assert out.shape == (2, 2 * shapes[level][2], *shapes[level][:2])
        z = torch.randint(0, 256, (2, *shapes[level]), generator=generator).float()
        image = (item.permute(0, 3, 1, 2),) if isinstance(decoder, CausalPixels) else ()
        back = decoder(*image, z, *label)
        assert back.numel() == 2 * math.prod(below.shape[1:]) * (parameters if level == 0 else 2)
        below = z


def test_parameters_keep_their_names() -> None:
    """Checkpoints of runs are read by them."""
    names = {
        "dense": {
            "encoders": ["0.2.", "0.4.", "0.6.", "1.1.", "1.3.", "1.5."],
            "decoders": ["0.1.", "0.3.", "0.5.", "1.1.", "1.3.", "1.5."],
        },
        "grids under a vector": {
            "encoders": [
                "0.2.0.", "0.2.1.first.", "0.2.1.second.", "0.3.", "1.2.0.", "1.2.1.first.", "1.2.1.second.", "1.4.",
            ],
            "decoders": [
                "0.head.0.first.", "0.head.0.second.", "0.last.", "0.trunk.2.0.", "0.trunk.2.1.first.",
                "0.trunk.2.1.second.", "0.trunk.2.3.0.", "1.0.1.", "1.0.3.0.", "1.0.3.1.first.", "1.0.3.1.second.",
                "1.2.",
            ],
        },
    }  # fmt: skip
    for name, kinds in names.items():
        for kind, wanted in kinds.items():
            found = nn.ModuleList(getattr(made(name), kind)).state_dict()
            assert sorted(found) == sorted(layer + end for layer in wanted for end in ("weight", "bias"))


def test_a_standard_normal_is_zero_in_both_parameters() -> None:
    assert StandardNormal(3)().tolist() == [[0.0] * 6]


def test_latents_reach_the_networks_in_standard_units() -> None:
    """Encoders of upper layers and decoders begin with (bin - centre) / 2^unit_bits."""
    found = made("dense")
    for network in (found.encoders[1], *found.decoders):
        assert isinstance(network, nn.Sequential)
        assert network[0](torch.tensor([128.0, 144.0, 96.0])).tolist() == [0.0, 1.0, -2.0]


def test_classifiers_give_a_logit_for_each_label() -> None:
    assert dense_classifier(12, 2, 5, (7,))(torch.zeros(2, 3, 4)).shape == (2, 5)
    for shape in ((4, 8), (4, 8, 3)):
        network = convolutional_classifier(shape, 256, 5, (4, 6), (0, 1))
        assert network(torch.zeros(2, *shape)).shape == (2, 5)
