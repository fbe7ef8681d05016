"""Networks that see what they are asked to predict are found out before they are believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import codelength as cl
from codelength.distributions import Bernoulli, Categorical
from codelength.errors import NotCausal
from codelength.laws.contract import Law
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.likelihood.causality import check_causal
from codelength.models.made import MADEConfig, build_made
from codelength.models.vae import VAEConfig, build_vae
from codelength.networks.conditionals import DegreeConditional, RasterConditional

BITS = np.random.default_rng(0).integers(0, 2, (40, 3, 3), dtype=np.uint8)
GREY = np.random.default_rng(1).integers(0, 4, (40, 6, 5), dtype=np.uint8)


class Plain(nn.Module):
    """An autoregressive dense network by a mask that anybody could write."""

    def __init__(self, diagonal: int, zeros: bool = False) -> None:
        super().__init__()
        self.space = Space((3, 3), 2)
        self.weight = nn.Parameter(torch.zeros(9, 9) if zeros else torch.randn(9, 9))
        self.mask = torch.ones(9, 9).tril(diagonal)
        self.conditional = DegreeConditional(self, Bernoulli(), (3, 3), torch.arange(9)[None])  # type: ignore[arg-type]
        del self.conditional.network  # no module in itself
        object.__setattr__(self.conditional, "network", self.look)

    def look(self, x: Tensor) -> Tensor:
        return x @ (self.weight * self.mask).T

    def law(self) -> Law:
        return Sequential(self.conditional)


class Causal(nn.Module):
    """A convolution whose columns are shifted by ``right``; 0 is right."""

    def __init__(self, right: int, shape: tuple[int | None, ...] = (6, 5)) -> None:
        super().__init__()
        self.space = Space(shape, 4)
        self.net = nn.Conv2d(1, 4, (1, 2))
        self.right = right
        self.conditional = RasterConditional(self, Categorical(4), shape)
        del self.conditional.network
        object.__setattr__(self.conditional, "network", self.look)

    def look(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (2 - self.right, self.right))
        return self.net(padded)[..., : x.shape[3]]

    def law(self) -> Law:
        return Sequential(self.conditional)


@pytest.mark.parametrize("zeros", [False, True], ids=["drawn", "zeros"])
def test_a_mask_that_leaks_is_found_before_training(zeros: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(NotCausal, match=r"element \(0, 0\) changes with its own value"):
        cl.train(Plain(0, zeros), BITS, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    sound = Plain(-1, zeros)
    before = sound.weight.detach().clone()
    assert check_causal(sound, BITS, fresh=True) and torch.equal(sound.weight, before)


def test_a_convolution_off_by_one_is_found_in_evaluation() -> None:
    torch.manual_seed(0)
    assert cl.evaluate(Causal(0), GREY).kind == "exact"
    with pytest.raises(NotCausal, match=r"element \(0, 0\) changes with its own value"):
        cl.evaluate(Causal(1), GREY)
    with pytest.raises(NotCausal, match=r"element \(0, 0\) changes with its own value|\(0, 1\), which does not come"):
        cl.evaluate(Causal(2), GREY)
    large = np.random.default_rng(2).integers(0, 4, (3, 20, 20), dtype=np.uint8)
    with pytest.raises(NotCausal):
        cl.evaluate(Causal(1, (None, None)), large)
    assert cl.evaluate(Causal(0, (None, None)), large).kind == "exact"


def test_masks_of_the_package_that_are_broken_are_found() -> None:
    model: Any = build_made(MADEConfig(hidden=(16,)), Space((3, 3), 2))
    assert check_causal(model, BITS, fresh=True)
    model.networks[0].input.set_degrees(model.networks[0].input.in_degrees - 1, model.networks[0].input.out_degrees)
    model.networks[0].input.reset_parameters()
    with pytest.raises(NotCausal):
        check_causal(model, BITS, fresh=True)


class Hidden(Sequential):
    """Somebody's own conditional, which does not show its parameters."""

    def __init__(self) -> None:
        super().__init__(self)

    def parallel(self, x: Tensor, context: Any) -> Any:
        return self

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return torch.zeros(len(x)) - 1.0


class Opaque(nn.Module):
    space = Space((3, 3), 2)

    def law(self) -> Law:
        return Hidden()


def test_what_cannot_be_looked_at_is_not_called_exact() -> None:
    assert cl.evaluate(Opaque(), BITS).kind == "unchecked"


MADES = {
    "plain": MADEConfig(hidden=(16,)),
    "random": MADEConfig(hidden=(16, 16), orders="random", masks=3),
    "symmetries": MADEConfig(hidden=(16,), residual_blocks=1, orders="symmetries", rolls=1),
    "labels": MADEConfig(hidden=(16,), labels=3),
    "resampled": MADEConfig(hidden=(16,), masks=2, degrees="random", resample=True),
}


@pytest.mark.parametrize("name", MADES)
def test_families_pass(name: str) -> None:
    model = build_made(MADES[name], Space((3, 3), 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert check_causal(model, BITS, fresh=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_decoders_that_see_the_image_pass_and_are_looked_at() -> None:
    config = VAEConfig(latents=(4,), strides=(2,), channels=(8, 8), blocks=(0, 0), head=(8,), neighbourhood=(2, 3))
    model: Any = build_vae(config, Space((6, 6), 4))
    items = np.random.default_rng(0).integers(0, 4, (5, 6, 6))
    assert check_causal(model, items, fresh=True)
    model.decoders[0].first.mask.fill_(True)
    with pytest.raises(NotCausal):
        check_causal(model, items, fresh=True)
