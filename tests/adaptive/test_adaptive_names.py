"""Adaptive models by name, through the Python interface and the command line."""

import json

import numpy as np
import pytest

import codelength as cl
from codelength.cli import main
from codelength.errors import UsageError


def test_a_name_says_size_kind_symbols_and_channels() -> None:
    model = cl.load("adaptive-fast-photo-16x2")
    assert model.space.symbols == 16 and model.space.shape == (None, None, 2)
    assert cl.load("adaptive-fast-drawn-7").space.shape == (None, None)
    for name in ("adaptive-fast-photo", "adaptive-huge-photo-16", "adaptive-fast-odd-16", "adaptive-fast-binary-3",
                 "adaptive-fast-photo-1", "adaptive-fast-photo-65537", "adaptive-fast-photo-16x5"):  # fmt: skip
        with pytest.raises(UsageError, match="expected"):
            cl.load(name)


def test_evaluation_is_prequential_whatever_the_batches(tmp_path) -> None:
    rng = np.random.default_rng(0)
    items = np.minimum(rng.geometric(0.3, (1500, 4, 5)) - 1, 7).astype(np.uint8)
    np.save(tmp_path / "items.npy", items)
    figures = tmp_path / "figures.json"
    name = "adaptive-fast-drawn-8"
    assert main(["evaluate", name, "--data", str(tmp_path / "items.npy"), "--json", str(figures), "--quiet"]) == 0
    found = json.loads(figures.read_text())
    bits = cl.load(name).code_length_bits(items)
    assert found["kind"] == "exact"
    assert found["nats"] == pytest.approx(-np.log(2) * bits.mean(), rel=1e-9)


def test_the_file_is_as_long_as_promised_and_comes_back(tmp_path) -> None:
    items = cl.load("adaptive-fast-drawn-4").sample(40, seed=2, shape=(6, 6)).astype(np.uint8)
    items[3] += 100  # not among the model's symbols, so kept by another codec
    np.save(tmp_path / "items.npy", items)
    archive = tmp_path / "items.clen"
    figures = cl.compress(tmp_path / "items.npy", archive, "adaptive-fast-drawn-4")
    assert figures["fallback_items"] == 1
    assert np.array_equal(cl.decompress(archive), items)
