"""Resuming goes on with what a run began with: its data, its recipe; whatever ended it."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codelength.cli import main
from codelength.data.arrays import from_array
from codelength.errors import CheckpointError, DataError, UsageError
from codelength.files import left_over_prefix
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.training import loop
from codelength.training.checkpoint import load_checkpoint
from codelength.training.config import TrainingConfig, load_recipe
from codelength.training.data import stored_spec
from codelength.training.loop import train_model
from codelength.training.run import train

RNG = np.random.default_rng(7)
ITEMS = (RNG.random((300, 2, 3)) < RNG.random((300, 1, 1))).astype(np.uint8)
OTHERS = 1 - ITEMS
RECIPE = """
model = "made"
data = "threshold-digits"
[made]
hidden = [8]
[training]
steps = 30
batch = 32
learning_rate = 1e-2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch):
    """Makes the next run end at a step as if by SIGINT, or by a machine that fails."""

    def stop(step: int, fail: bool = False) -> None:
        original = loop._Run._step

        def stepping(self, rate):
            if self.step + 1 == step:
                monkeypatch.setattr(loop._Run, "_step", original)
                if fail:
                    raise SystemError("the machine fails")
                self.stopping = True
            return original(self, rate)

        monkeypatch.setattr(loop._Run, "_step", stepping)

    return stop


def test_the_command_that_an_interrupt_prints_goes_on_with_the_data_of_the_run(
    recipe, tmp_path, capsys, stop_at, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a b.npy", ITEMS)
    words = ["train", str(recipe), "--data", "a b.npy", "--out", "the run", "--set", "made.hidden=[9]", "--seed", "4"]
    assert main(["train", str(recipe), "--data", "a b.npy", "--out", "whole", *words[6:]]) == 0
    stop_at(12)
    capsys.readouterr()
    assert main([*words, "--jobs", "1", "--max-memory", "4G"]) == 130
    command = capsys.readouterr().err.splitlines()[-1]
    again = shlex.split(command)
    expected = ["codelength", "train", "--resume", "--out", "the run", "--jobs", "1", "--max-memory", "4G"]
    assert again == expected
    stored = load_recipe(Path("the run/recipe.toml"))
    assert stored.data == str(tmp_path / "a b.npy") and len(stored.data_sha256) == 64
    assert main(again[1:]) == 0
    assert Path("the run/model.clm").read_bytes() == Path("whole/model.clm").read_bytes()
    assert json.loads(Path("the run/run.json").read_text())["data_sha256"] == stored.data_sha256


def test_other_data_and_other_recipes_are_refused(recipe, tmp_path, stop_at) -> None:
    path, out = tmp_path / "items.npy", tmp_path / "run"
    np.save(path, ITEMS)
    stop_at(5)
    assert train(recipe, str(path), out, changes=["made.hidden=[9]"]).reason == "interrupted"
    before = (out / "recipe.toml").read_bytes()
    with pytest.raises(CheckpointError, match=r"trained on .*items\.npy.*leave --data out"):
        train(None, OTHERS, out, resume=True)
    np.save(tmp_path / "moved.npy", ITEMS)
    (tmp_path / "other.toml").write_text(RECIPE.replace("batch = 32", "batch = 31"))
    with pytest.raises(UsageError, match=r"training\.batch = 32.*other\.toml' says 31"):
        train(tmp_path / "other.toml", None, out, resume=True)
    with pytest.raises(UsageError, match=r"made\.orders"):
        train("made-paper-binarized-mnist", None, out, resume=True)
    with pytest.raises(UsageError, match="model = 'made'"):
        train("vae-digits", None, out, resume=True)
    with pytest.raises(CheckpointError, match="another model"):
        train(None, None, out, resume=True, changes=["made.hidden=[10]"])
    np.save(path, OTHERS)
    with pytest.raises(CheckpointError, match="bring the data back"):
        train(None, None, out, resume=True)
    assert (out / "recipe.toml").read_bytes() == before  # nothing of what was refused is left behind
    # The same items in another place are the same data, and the recipe of the beginning is the same recipe.
    run = train(recipe, str(tmp_path / "moved.npy"), out, resume=True)
    assert run.reason == "done" and load_recipe(out / "recipe.toml").data == str(path)


def test_data_in_memory_is_handed_over_again(recipe, tmp_path, stop_at) -> None:
    out = tmp_path / "run"
    stop_at(5)
    train(recipe, ITEMS, out, freeze=False)
    assert "in memory" in (out / "recipe.toml").read_text() and load_recipe(out / "recipe.toml").data == ""
    with pytest.raises(UsageError, match="hand the same data over"):
        train(None, None, out, resume=True)
    with pytest.raises(CheckpointError, match="data in memory"):
        train(recipe, OTHERS, out, resume=True)
    with pytest.raises(CheckpointError, match="data in memory"):  # other validation items are other data, too
        train(recipe, np.concatenate([ITEMS, ITEMS[:1]]), out, resume=True)
    assert train(recipe, from_array(ITEMS.astype(np.int64)), out, resume=True, freeze=False).reason == "done"


def test_modules_and_their_arrays(tmp_path, stop_at) -> None:
    def module():
        return build_made(MADEConfig(hidden=(8,)), Space((2, 3), 2))

    out, changes = tmp_path / "run", ["training.steps=20", "training.batch=16"]
    stop_at(5)
    train(module(), ITEMS, out, changes=changes, freeze=False)
    with pytest.raises(CheckpointError, match="sha256"):
        train(module(), OTHERS, out, resume=True, changes=changes)
    with pytest.raises(UsageError, match="resume it in Python"):
        train(None, None, out, resume=True)
    with pytest.raises(UsageError, match="hand the same data over"):
        train(module(), None, out, resume=True, changes=changes)
    whole = train(module(), ITEMS, tmp_path / "whole", changes=changes, freeze=False)
    rest = train(module(), ITEMS, out, resume=True, changes=changes, freeze=False)
    x = torch.from_numpy(ITEMS.astype(np.int64))
    assert torch.equal(whole.model.log_prob(x), rest.model.log_prob(x))


def test_a_run_that_dies_can_be_resumed_or_begun_anew(recipe, tmp_path, stop_at, monkeypatch) -> None:
    whole = train(recipe, ITEMS, tmp_path / "whole")
    out = tmp_path / "run"
    stop_at(1, fail=True)
    with pytest.raises(SystemError):
        train(recipe, ITEMS, out)
    assert load_checkpoint(out / "checkpoint.pt")["step"] == 0
    assert train(None, ITEMS, out, resume=True).frozen.sha256 == whole.frozen.sha256
    # Before there is a checkpoint, nothing is in the way of another start.
    begun = tmp_path / "begun"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", lambda state, path: (_ for _ in ()).throw(SystemError("dies")))
        with pytest.raises(SystemError):
            train(recipe, ITEMS, begun)
    assert (begun / "recipe.toml").exists() and not (begun / "checkpoint.pt").exists()
    left_over = begun / (left_over_prefix(begun / "checkpoint.pt") + "0" * 12 + ".tmp")
    left_over.write_bytes(b"half")
    with pytest.raises(CheckpointError, match="without --resume"):
        train(None, None, begun, resume=True)
    assert train(recipe, ITEMS, begun).frozen.sha256 == whole.frozen.sha256
    assert not left_over.exists()


def test_a_process_that_is_killed_leaves_something_to_resume(tmp_path) -> None:
    """A real process, killed at its first step."""
    out = tmp_path / "run"
    np.save(tmp_path / "items.npy", ITEMS)
    (tmp_path / "small.toml").write_text(RECIPE)
    code = (
        "import os, signal, sys\n"
        "from codelength.training import loop\n"
        "loop._Run._step = lambda self, rate: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from codelength.training.run import train\n"
        "train(sys.argv[1], sys.argv[2], sys.argv[3])\n"
    )
    words = [str(tmp_path / name) for name in ("small.toml", "items.npy", "run")]
    done = subprocess.run([sys.executable, "-c", code, *words], env=os.environ, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert main(["train", "--resume", "--out", str(out), "--quiet"]) == 0
    assert train(words[0], words[1], tmp_path / "whole").frozen.to_bytes() == (out / "model.clm").read_bytes()


def test_an_interrupt_while_freezing_says_how_to_go_on(recipe, tmp_path, capsys, monkeypatch) -> None:
    from codelength.training import run

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run, "_freeze", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["train", str(recipe), "--out", str(out), "--quiet"]) == 130
    assert (
        capsys.readouterr().err.splitlines()[-1] == f"codelength train --resume --out {shlex.quote(str(out))} --quiet"
    )
    before = json.loads((out / "run.json").read_text())
    assert main(["train", "--resume", "--out", str(out), "--quiet"]) == 0
    after = json.loads((out / "run.json").read_text())
    assert after["validation_nats"] == before["validation_nats"] != {} and (out / "model.clm").exists()


def test_where_data_is_said_to_be(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("two.npz", a=ITEMS)
    assert stored_spec("mnist:train[:100]") == "mnist:train[:100]"
    assert stored_spec("two.npz:a[:10]") == f"{tmp_path}/two.npz:a[:10]"
    assert stored_spec(Path("two.npz")) == f"{tmp_path}/two.npz"
    assert stored_spec(ITEMS) == stored_spec(from_array(ITEMS)) == ""
    odd = load_recipe("made-digits")
    for name in ("a\x7fb", 'quo"te\\', "日本 \U0001f600", "line\nbreak"):
        path = tmp_path / "odd.toml"
        path.write_text(type(odd)(odd.model, odd.section, name, odd.training, changes=(name,)).to_toml())
        assert load_recipe(path).data == name and load_recipe(path).changes == (name,)


def test_short_runs_are_logged_ten_times_and_patience_does_not_count_it(tmp_path, monkeypatch) -> None:
    def steps(config: TrainingConfig, name: str) -> list[int]:
        (tmp_path / name).mkdir()
        train_model(build_made(MADEConfig(hidden=(8,)), Space((2, 3), 2)), ITEMS, ITEMS, config, tmp_path / name)
        return [int(line.split(",")[0]) for line in (tmp_path / name / "log.csv").read_text().splitlines()[1:]]

    assert steps(TrainingConfig(steps=25, batch=8), "short") == [*range(2, 25, 2), 25]
    assert steps(TrainingConfig(steps=7, batch=8), "shorter") == list(range(1, 8))
    clock = itertools.count()
    with monkeypatch.context() as patch:  # a clock of a hundredth of a second for each look at it
        patch.setattr(loop.time, "monotonic", lambda: next(clock) / 100)
        timed = TrainingConfig(steps=10**9, batch=8, max_minutes=0.1, validate_items=50)
        assert 8 <= len(steps(timed, "timed")) <= 12
    patient = TrainingConfig(steps=40, batch=8, learning_rate=1e-12, validate_every=10, patience=2, ema=0.0)
    # Hardly anything changes, so that every planned validation after the first may be the one that is worse.
    assert steps(patient, "patient")[-1] >= 20


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RNG.random((20, 2, 3)), r"float64 in array \(item 0 holds 0\.\d+\); pixels from 0 to 1"),
        (np.where(np.arange(20)[:, None] == 7, np.nan, 3.0), r"item 7 holds nan"),
        (np.where(np.arange(20)[:, None] == 3, -1, 5), r"item 3 of array holds -1"),
        (np.where(np.arange(20)[:, None] == 4, 70000, 5), r"item 4 of array holds 70,000"),
        (np.zeros((0, 2, 3), np.uint8), r"got none"),
        (np.zeros((20, 2), np.complex64), r"complex64"),
        ([[1, 2]], "at least two items to train on, got 1"),
        ({"x": [1, 2]}, "got dict"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_named(recipe, tmp_path, array, message) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        train(recipe, array, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_items_that_a_model_does_not_take_are_named(tmp_path) -> None:
    def module(**changes):
        return build_made(MADEConfig(hidden=(8,), **changes), Space((2, 3), 17))

    with pytest.raises(DataError, match=r"one item by itself .*array\[None\]"):
        train(module(), ITEMS[0], tmp_path / "run")
    items = np.full((40, 2, 3), 16, np.uint8)
    items[23, 1, 1] = 17
    with pytest.raises(DataError, match=r"from 0 to 16.*item 23 of array holds 17"):
        train(module(), items, tmp_path / "run")
    items[23] = 0
    labels = np.arange(40) % 2
    labels[31] = 2
    data = type(from_array(items))(items=items, space=Space((2, 3), 17), name="few", labels=labels)
    with pytest.raises(DataError, match="labels from 0 to 1, but item 31 of few has the label 2"):
        train(module(labels=2), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(module(), items, tmp_path / "run", changes=["training.steps=1"], freeze=False)  # 256 symbols that all fit
