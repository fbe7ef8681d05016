"""The picture of a manifold against the float decoder."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import codelength as cl
from codelength.cli.app import app
from codelength.errors import UsageError
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.models.vae import VAE, VAEConfig, build_vae
from codelength.report.manifold import manifold


def two_numbers(symbols: int, **changes: object) -> VAE:
    config = VAEConfig(**{"latents": (2,), "hidden": (8,), "seed": 1, **changes})  # type: ignore[arg-type]
    model = build_vae(config, Space((3, 2), symbols))
    with torch.no_grad():
        model.decoders[0][-1].weight.mul_(20.0)  # type: ignore[union-attr,index]
    return model.eval()


def frozen(model: torch.nn.Module) -> cl.FrozenModel:
    with torch.no_grad():
        return cl.freeze(model, model.sample(200, torch.Generator().manual_seed(1)).numpy(), tolerance=1.0)  # type: ignore[operator]


@pytest.mark.parametrize("symbols", [2, 5, 40])
def test_items_are_those_of_the_decoder_at_quantiles_of_the_prior(symbols: int) -> None:
    model, side = two_numbers(symbols), 4
    items, values = manifold(frozen(model), side)
    assert items.shape == (16, 3, 2)
    unit = 4096 / 16
    marks = np.array([NormalDist().inv_cdf((2 * k + 1) / (2 * side)) * unit + 2047.5 for k in range(side)])
    z = torch.tensor([[a, b] for a in marks for b in marks], dtype=torch.float32)
    with torch.no_grad():
        params = model.decoders[0](z).reshape(16, 6, model.leaf.parameters)
        chances = torch.stack(
            [model.leaf.log_prob(params, torch.full((16, 6), symbol)).exp() for symbol in range(symbols)], -1
        ).numpy()
    if values == 256:
        expected = (chances * np.arange(symbols)).sum(-1) * 255 / (symbols - 1)
        assert np.abs(items.reshape(16, 6) - expected).max() < 3
    else:
        assert values == symbols
        below = np.concatenate([np.zeros((16, 6, 1)), chances.cumsum(-1)], -1)
        x = items.reshape(16, 6, 1).astype(np.int64)
        assert (np.take_along_axis(below, x, -1) < 0.52).all()
        assert (np.take_along_axis(below, x + 1, -1) > 0.48).all()


def test_models_of_other_latents_are_refused() -> None:
    for model in (two_numbers(2, latents=(3,)), two_numbers(2, latents=(2, 2))):
        with pytest.raises(UsageError, match="one latent of two numbers"):
            manifold(frozen(model), 3)
    made = cl.freeze(
        build_made(MADEConfig(hidden=(4,)), Space((2, 2), 2)), np.zeros((4, 2, 2), np.uint8), tolerance=1.0
    )
    with pytest.raises(UsageError, match="one latent of two numbers"):
        manifold(made, 3)
    with pytest.raises(UsageError, match="at least one"):
        manifold(frozen(two_numbers(2)), 0)


def test_the_command_draws_the_manifold(tmp_path: Path) -> None:
    model = frozen(two_numbers(2))
    model.save(tmp_path / "two.clm")
    runner = CliRunner()
    base = ["sample", str(tmp_path / "two.clm"), "--count", "3", "--manifold"]
    assert runner.invoke(app, [*base, "--out", str(tmp_path / "m.npy")]).exit_code == 0
    assert np.array_equal(np.load(tmp_path / "m.npy"), manifold(model, 3)[0])
    assert runner.invoke(app, [*base, "--out", str(tmp_path / "m.png")]).exit_code == 0
    with Image.open(tmp_path / "m.png") as picture:
        wide, high = picture.size
        assert (wide - 2) % 3 == (high - 2) % 3 == 0 and wide < high  # three by three items of (3, 2), framed
