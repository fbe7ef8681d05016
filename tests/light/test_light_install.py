"""The plain install, without torch, scikit-learn or SciPy, in an environment that has nothing else: ``make light``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength.cli import main

ABSENT = ("torch", "sklearn", "scipy", "pooch", "matplotlib", "imagecodecs", "hypothesis")


def sentence(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command says that fails: one sentence, and no traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said and len(said.splitlines()) == 1, said
    return said


def figures(path: Path, *arguments: object) -> dict[str, Any]:
    assert main([*(str(argument) for argument in arguments), "--json", str(path)]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """What the packaged model draws, uint8 (60, 8, 8)."""
    return cl.load("made-digits").sample(60, seed=1).astype(np.uint8)


@pytest.fixture
def data(drawn: np.ndarray, tmp_path: Path) -> Path:
    np.save(tmp_path / "drawn.npy", drawn)
    return tmp_path / "drawn.npy"


def test_nothing_more_is_installed() -> None:
    assert [name for name in ABSENT if importlib.util.find_spec(name)] == []


def test_an_archive_of_a_packaged_model_goes_there_and_back(data: Path, tmp_path: Path) -> None:
    archive, back = tmp_path / "a.clen", tmp_path / "back.npy"
    written = figures(tmp_path / "c.json", "compress", data, archive, "--model", "made-digits")
    assert (written["items"], written["fallback_items"]) == (60, 0)
    assert main(["verify", str(archive), str(data)]) == 0
    assert main(["inspect", str(archive), "--list"]) == 0
    assert main(["decompress", str(archive), str(back)]) == 0
    assert back.read_bytes() == data.read_bytes()
    found = figures(tmp_path / "e.json", "evaluate", "made-digits", "--data", data)
    assert (found["arithmetic"], found["kind"], found["items"]) == ("frozen", "exact", 60)
    assert written["code_length_bits"] == pytest.approx(-found["nats"] * 60 / np.log(2), abs=1)
    assert 0 < written["payload_bytes"] - written["code_length_bits"] / 8 < 600  # the head and the directory


def test_pictures_keep_their_pixels(drawn: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, item in enumerate(drawn[:6]):
        Image.fromarray(item * np.uint8(255)).save(folder / f"{k}.png")
    assert main(["compress", str(folder), str(tmp_path / "p.clen"), "--model", "made-digits"]) == 0
    assert main(["decompress", str(tmp_path / "p.clen"), str(tmp_path / "back")]) == 0
    for k, item in enumerate(drawn[:6]):
        with Image.open(tmp_path / "back" / f"{k}.png") as picture:
            assert np.array_equal(np.asarray(picture.convert("L")), item * 255)


def test_a_bound_is_evaluated_and_coded(tmp_path: Path) -> None:
    model = cl.load("vae-dynamic-mnist")
    items = model.sample(6, seed=2).astype(np.uint8)
    np.save(tmp_path / "six.npy", items)
    found = figures(tmp_path / "e.json", "evaluate", "vae-dynamic-mnist", "--data", tmp_path / "six.npy")
    assert (found["arithmetic"], found["kind"]) == ("frozen", "lower_bound")
    assert found["nats"] * 6 == pytest.approx(float(model.log_prob(items).sum()))
    cl.compress(items, tmp_path / "six.clen", model)
    assert np.array_equal(cl.decompress(tmp_path / "six.clen"), items)


def test_samples_and_lists(drawn: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["sample", "made-digits", "--count", "60", "--seed", "1", "--out", str(tmp_path / "s.npy")]
    assert main(line) == 0
    assert np.array_equal(np.load(tmp_path / "s.npy"), drawn)
    assert main(["sample", "made-digits", "--count", "4", "--out", str(tmp_path / "s.png")]) == 0
    capsys.readouterr()
    assert main(["models"]) == 0 and "made-digits" in capsys.readouterr().out
    assert main(["datasets"]) == 0 and "binarized-mnist" in capsys.readouterr().out


def test_what_is_missing_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = sentence(capsys, "train", "made-digits", "--data", data, "--out", tmp_path / "run")
    floating = sentence(capsys, "evaluate", "made-digits", "--data", data, "--arithmetic", "float")
    digits = sentence(capsys, "evaluate", "made-digits", "--data", "threshold-digits:test")
    for said in (train, digits):
        assert "codelength[train]" in said
    assert "run folder" in floating
    assert "PyTorch" in train and "scikit-learn" in digits
    assert not (tmp_path / "run").exists()
