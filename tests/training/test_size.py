"""The size of a model is known before it is built, and models that are too large are refused without memory."""

from __future__ import annotations

import dataclasses
import resource
import sys

import numpy as np
import pytest
import torch
from torch import nn

from codelength import machine
from codelength.cli import main
from codelength.errors import UsageError
from codelength.laws.space import Space
from codelength.models.registry import FAMILIES
from codelength.training.config import TrainingConfig, load_recipe, parse_recipe, recipe_names
from codelength.training.run import train
from codelength.training.size import _activations, check_footprint, footprint, recipe_advice, recipe_footprint

SPACES = {"cifar10": (32, 32, 3), "mnist": (28, 28), "digits": (8, 8)}


def space_of(recipe) -> Space:
    shape = next(shape for name, shape in SPACES.items() if name in recipe.data)
    grey = recipe.data in ("cifar10", "mnist", "fashion-mnist")
    return Space(shape, 256 if grey else 17 if recipe.data == "digits" else 2)


@pytest.mark.parametrize("name", recipe_names())
def test_sizes_are_those_of_the_model_that_is_built(name) -> None:
    recipe = load_recipe(name)
    space = space_of(recipe)
    found = recipe_footprint(recipe, space, 1000)
    module = FAMILIES[recipe.model].build(recipe.section, space, None)
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert found.weights >= 20 * found.parameters and found.activations > 0
    halved = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, batch=recipe.training.batch * 8))
    assert recipe_footprint(halved, space, 100000).activations > 2 * found.activations


def test_what_is_kept_for_gradients_is_counted() -> None:
    """By hand: ten items of 6 elements through 6 -> 20 -> 6."""

    class Model(nn.Module):
        space = Space((6,), 2)

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 20), nn.Linear(20, 6)

        def loss(self, x, generator):
            return self.last(torch.relu(self.first(x.float()))).sum()

    kept, largest = _activations(Model(), Model.space, 10, 0)
    # The floats, and the rectified units once, for the rectifier and for the layer after it.
    assert kept == 4 * 10 * (6 + 20)
    assert largest >= 4 * 10 * 20  # values or weights
    found = footprint(Model(), Model.space, TrainingConfig(batch=10), 100)
    assert found.parameters == 6 * 20 + 20 + 20 * 6 + 6 and found.weights == 20 * found.parameters


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sizes of processes are Linux's here")
def test_sixteen_bits_are_refused_before_memory_is_taken(tmp_path, capsys) -> None:
    array = np.zeros((100, 8, 8), np.uint16)
    array[:, 0, 0] = 65535
    np.save(tmp_path / "deep.npy", array)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        UsageError, match=r"needs about .* GiB .*parameters.* --set made\.leaf=logistic_mixture would do"
    ):
        train("made-digits", array, tmp_path / "run", max_memory=8 * 2**30)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB; the model has 9 GiB
    assert not (tmp_path / "run").exists()
    words = ["train", "made-digits", "--data", str(tmp_path / "deep.npy"), "--out", str(tmp_path / "run")]
    assert main([*words, "--max-memory", "8G"]) == 2
    assert "made.leaf=logistic_mixture" in capsys.readouterr().err.splitlines()[-1]


def test_the_advice_helps() -> None:
    recipe = parse_recipe('model = "vae"\n[vae]\nhidden = [4096]\n[training]\nbatch = 4096', "here")
    space, items = Space((28, 28), 256), 10000
    found = recipe_footprint(recipe, space, items)
    allowed = found.total // 2
    advice = recipe_advice(recipe, space, items, allowed)
    assert advice.endswith("would do") and "vae.hidden=" in advice and "vae.leaf=logistic_mixture" in advice
    for change in advice.removesuffix(" would do").replace("--set ", "").split(" or "):
        text = 'model = "vae"\n[vae]\nhidden = [4096]\n[training]\nbatch = 4096'
        assert recipe_footprint(parse_recipe(text, "here", [change]), space, items).total <= allowed
    assert "smaller" in recipe_advice(recipe, space, items, 1)


def test_what_the_machine_has_free_is_the_limit(monkeypatch) -> None:
    free = machine.free_memory()
    assert free is None or 0 < free < 2**50
    found = footprint(nn.Linear(2, 2), Space((2,), 2), TrainingConfig(), 10, quick=True)
    monkeypatch.setattr("codelength.training.size.free_memory", lambda: 2**20)
    with pytest.raises(UsageError, match=r"1,024\.0 KiB are to be had on this machine; pray"):
        check_footprint(found, "it", None, lambda allowed: "pray")
    check_footprint(found, "it", 2**40, lambda allowed: "pray")
    monkeypatch.setattr("codelength.training.size.free_memory", lambda: None)
    check_footprint(found, "it", None, lambda allowed: "pray")


def test_limits_of_control_groups_are_read(tmp_path, monkeypatch) -> None:
    """Both versions, the tightest group of all that are around the process."""
    root = tmp_path / "sys/fs/cgroup"
    for folder, limit in ((root / "a", "5000"), (root / "a/b", "max"), (root / "memory/c", "9000")):
        folder.mkdir(parents=True)
        second = "memory" in folder.parts
        (folder / ("memory.limit_in_bytes" if second else "memory.max")).write_text(limit)
        (folder / ("memory.usage_in_bytes" if second else "memory.current")).write_text("3000")
        (folder / "memory.stat").write_text("anon 100\ninactive_file 500\ntotal_inactive_file 700\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu,memory:/c\n3:pids:/elsewhere\n0::/a/b\n")
    plain = open
    monkeypatch.setattr(machine, "open", lambda path, **options: plain(f"{tmp_path}{path}", **options), raising=False)
    assert machine._left_in_groups() == [9000 - 3000 + 700, 5000 - 3000 + 500]
