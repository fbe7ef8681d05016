"""``train`` and ``demo``, on networks too small to be good."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength import api
from codelength.cli import main

TINY = ["made.hidden=[24]", "made.rolls=0", "training.steps=40", "training.validate_every=20", "training.threads=1"]
SETTINGS = [word for change in TINY for word in ("--set", change)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "made-digits", "--out", str(folder), "--quiet", "--seed", "3", *SETTINGS]) == 0
    return folder


def figures_of(*arguments: str, path: Path) -> dict[str, Any]:
    assert main([*arguments, "--json", str(path), "--quiet"]) == 0
    return json.loads(path.read_text())


def test_a_run_folder_holds_both_models(run: Path) -> None:
    assert {"recipe.toml", "model.pt", "model.clm", "log.csv"} <= {path.name for path in run.iterdir()}
    assert cl.load(run).space == cl.Space((8, 8), 2)


def test_both_arithmetics_agree_within_the_promise(run: Path, tmp_path: Path) -> None:
    line = ["evaluate", str(run), "--data", "threshold-digits:test", "--limit", "100"]
    frozen = figures_of(*line, path=tmp_path / "a.json")
    floating = figures_of(*line, "--arithmetic", "float", path=tmp_path / "b.json")
    assert (frozen["arithmetic"], floating["arithmetic"]) == ("frozen", "float")
    assert math.isclose(frozen["nats"], floating["nats"], rel_tol=1e-3) and frozen["nats"] != floating["nats"]
    assert frozen["model_sha256"] == floating["model_sha256"] and frozen["data_sha256"] == floating["data_sha256"]


def test_wrong_recipes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, hint in (
        (["made-digits", "--out", tmp_path / "a", "--set", "training.stepz=4"], "steps"),
        (["made-digitz", "--out", tmp_path / "a"], "made-digits"),
        (["made-digits", "--out", run], "resume"),
        (["made-digits", "--out", tmp_path / "a", "--resume"], "resume"),
    ):
        capsys.readouterr()
        assert main(["train", *map(str, words)]) in (1, 2)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and hint in lines[0]
    assert not (tmp_path / "a").exists()


def test_an_interrupted_run_says_how_to_go_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = functools.partial(api.train, "made-digits", None)
    result = stopped(tmp_path / "r", changes=TINY)
    monkeypatch.setattr(api, "train", lambda *a, **k: type(result)(result.path, result.model, None, "interrupted", {}))
    capsys.readouterr()
    assert main(["train", "made-digits", "--out", "anywhere"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "train", functools.partial(api.train, changes=TINY))
    monkeypatch.delenv("CODELENGTH_DATA", raising=False)
    assert main(["demo", "--out", str(tmp_path / "demo"), "--json", str(tmp_path / "demo.json")]) == 0
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert figures["round_trip"] is True
    assert {"nats", "nats_se", "bits_per_dim", "kind", "model_sha256", "data_sha256", "version"} <= set(figures)
    archive = figures["archive"]
    assert archive["archive_bytes"] == (tmp_path / "demo" / "digits.clen").stat().st_size
    assert {codec["name"] for codec in figures["codecs"]} >= {"gzip", "bz2", "xz", "PNG", "WebP"}
    with Image.open(tmp_path / "demo" / "samples.png") as picture:
        assert np.asarray(picture).std() > 0
    said = capsys.readouterr().out
    assert "gave back all 23,040 pixels" in said and "LOSES" in said
    packed = figures["pack"]
    assert packed["archive_bytes"] == (tmp_path / "demo" / "all-digits.clen").stat().st_size
    assert packed["items"] == 1797 and packed["of_best_peer"] < 1
    assert "gave back all 115,008 pixels" in said and "smaller than the best of these" in said
