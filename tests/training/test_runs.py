"""Runs: a folder from which the model comes back, from a recipe or from a module of one's own."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codelength.data.arrays import from_array
from codelength.errors import CheckpointError, DataError, FreezeError, RecipeError, UsageError
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.networks.conditionals import DegreeConditional
from codelength.networks.masked import MaskedLinear
from codelength.training import loop
from codelength.training.config import TrainingConfig, load_recipe
from codelength.training.data import load_split
from codelength.training.run import load_run, train

RNG = np.random.default_rng(0)
ITEMS = (RNG.random((300, 2, 3)) < RNG.random((300, 1, 1))).astype(np.uint8)
RECIPE = """
model = "made"
[made]
hidden = [8]
orders = "symmetries"
[training]
steps = 30
batch = 32
validate_every = 10
learning_rate = 1e-2
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_a_run_comes_back_from_its_folder(recipe, tmp_path):
    run = train(recipe, ITEMS, tmp_path / "run", seed=3)
    assert run.reason == "done" and run.figures["step"] == 30
    assert run.figures == json.loads((tmp_path / "run" / "run.json").read_text())
    assert load_recipe(tmp_path / "run" / "recipe.toml").section.seed == 3
    again = load_run(tmp_path / "run")
    x = torch.from_numpy(ITEMS[:50].astype(np.int64))
    assert torch.equal(again.model.log_prob(x), run.model.log_prob(x))
    assert again.frozen is not None and run.frozen is not None
    assert again.frozen.sha256 == run.frozen.sha256
    assert np.array_equal(again.frozen.log_prob(ITEMS), run.frozen.log_prob(ITEMS))
    assert run.frozen.log_prob(ITEMS).mean() == pytest.approx(run.model.log_prob(x).mean().item(), rel=0.1)
    assert "output" in (tmp_path / "run" / "freeze.txt").read_text()


def test_the_same_seed_gives_the_same_run(recipe, tmp_path):
    runs = [train(recipe, ITEMS, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    names = [run.frozen.sha256 for run in runs]
    assert names[0] == names[1] != names[2]


def test_a_run_is_resumed_from_its_own_recipe(recipe, tmp_path, monkeypatch):
    whole = train(recipe, ITEMS, tmp_path / "whole", changes=["made.hidden=[9]", "training.steps=40"])
    part = tmp_path / "part"
    clock = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
        short = train(
            recipe, ITEMS, part, changes=["made.hidden=[9]", "training.steps=40", "training.max_minutes=1e-9"]
        )
    assert (short.reason, short.figures["step"]) == ("minutes", 0)
    rest = train(recipe, ITEMS, part, resume=True, changes=["training.max_minutes=0"])
    assert rest.figures["step"] == 40
    assert rest.frozen.sha256 == whole.frozen.sha256


def test_a_run_starts_from_the_weights_of_another(recipe, tmp_path):
    first = train(recipe, ITEMS, tmp_path / "first", freeze=False)
    again = train(
        recipe, ITEMS, tmp_path / "again", start=tmp_path / "first", changes=["training.steps=1"], freeze=False
    )
    fresh = train(recipe, ITEMS, tmp_path / "fresh", changes=["training.steps=1"], freeze=False)
    x = torch.from_numpy(ITEMS.astype(np.int64))
    one, two, three = (float(run.model.log_prob(x).mean().detach()) for run in (first, again, fresh))
    assert abs(one - two) < 0.1 * abs(one - three)
    assert again.figures["start"] == "first" and "start" not in fresh.figures
    with pytest.raises(UsageError, match=r"no model\.pt"):
        train(recipe, ITEMS, tmp_path / "a", start=tmp_path)
    with pytest.raises(UsageError, match="do not fit"):
        train(recipe, ITEMS, tmp_path / "b", start=tmp_path / "first", changes=["made.hidden=[9]"])


def test_what_stands_in_the_way_is_named(recipe, tmp_path):
    train(recipe, ITEMS, tmp_path / "run", freeze=False)
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe, ITEMS, tmp_path / "run")
    with pytest.raises(CheckpointError, match="another model"):
        train(recipe, ITEMS, tmp_path / "run", resume=True, changes=["made.hidden=[9]", "training.steps=50"])
    with pytest.raises(CheckpointError, match="run to resume"):
        train(recipe, ITEMS, tmp_path / "none", resume=True)
    with pytest.raises(UsageError, match="finished run"):
        load_run(tmp_path)
    with pytest.raises(RecipeError, match="did you mean"):
        train(recipe, ITEMS, tmp_path / "other", changes=["training.step=3"])
    with pytest.raises(UsageError, match="data to train on"):
        train(recipe, None, tmp_path / "other")
    with pytest.raises(DataError, match="labelled"):
        train(recipe, ITEMS, tmp_path / "other", changes=["made.labels=2"])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="run folder"):
        train(recipe, ITEMS, tmp_path / "file" / "run")
    assert not (tmp_path / "other").exists()


def test_a_named_data_set_validates_on_its_own_split(recipe, tmp_path):
    run = train(recipe, "threshold-digits", tmp_path / "run", changes=["training.steps=1"], freeze=False)
    assert run.figures["data"] == "threshold-digits:train" and run.figures["shape"] == [8, 8]
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert len(state["batches"]["order"]) == 1257  # nothing held out of the training split
    train(recipe, "threshold-digits[:100]", tmp_path / "some", changes=["training.steps=1"], freeze=False)
    state = torch.load(tmp_path / "some" / "checkpoint.pt", weights_only=True)
    assert len(state["batches"]["order"]) == 100


def test_labels_reach_the_model(recipe, tmp_path):
    data = from_array(ITEMS)
    labels = (ITEMS.sum((1, 2)) > 3).astype(np.int64)
    labelled = type(data)(items=ITEMS, space=Space((2, 3), 2), name="labelled", labels=labels)
    changes = ["made.labels=2", "made.orders=natural", "training.steps=300"]
    run = train(recipe, labelled, tmp_path / "run", changes=changes, freeze=False)
    x, y = torch.from_numpy(ITEMS.astype(np.int64)), torch.from_numpy(labels)
    with torch.no_grad():
        right, wrong = run.model.log_prob(x, y).mean(), run.model.log_prob(x, 1 - y).mean()
    assert right > wrong + 1


def test_grey_data_is_binarized_while_training(recipe, tmp_path):
    grey = RNG.integers(0, 256, (200, 2, 3), dtype=np.uint8)
    run = train(recipe, grey, tmp_path / "run", changes=["training.binarize=dynamic"])
    assert run.model.space == Space((2, 3), 2) and run.frozen.space.symbols == 2
    assert load_recipe(tmp_path / "run" / "recipe.toml").training.binarize == "dynamic"
    assert load_run(tmp_path / "run").model.space == Space((2, 3), 2)


class OwnModel(nn.Module):
    """The least that the contract asks for: a space and a law."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space((2, 3), 2)
        self.network = nn.Sequential(MaskedLinear(torch.arange(6) + 1, torch.arange(6)))
        self.leaf = build_made(MADEConfig(hidden=(2,)), self.space).leaf

    def law(self) -> Sequential:
        return Sequential(DegreeConditional(self.network, self.leaf, (2, 3), torch.arange(6)[None]))  # type: ignore[arg-type]


def test_a_module_of_ones_own_is_trained(tmp_path):
    run = train(OwnModel(), ITEMS, tmp_path / "run", changes=["training.steps=200", "training.learning_rate=0.02"])
    x: Tensor = torch.from_numpy(ITEMS.astype(np.int64))
    with torch.no_grad():
        nats = run.model.law().log_prob(x, {}).mean().item()  # type: ignore[operator]
    assert -6 * math.log(2) + 0.3 < nats < 0
    assert run.frozen.log_prob(ITEMS).mean() == pytest.approx(nats, rel=0.02)
    with pytest.raises(UsageError, match="module of its own"):
        load_run(tmp_path / "run")
    assert torch.equal(load_run(tmp_path / "run", OwnModel()).model.network[0].weight, run.model.network[0].weight)
    with pytest.raises(RecipeError, match="training of a module"):
        train(OwnModel(), ITEMS, tmp_path / "other", changes=["made.hidden=[3]"])
    with pytest.raises(UsageError, match="space and a law"):
        train(nn.Linear(2, 2), ITEMS, tmp_path / "other")
    with pytest.raises(DataError, match="space"):
        train(OwnModel(), np.zeros((10, 3, 3), np.uint8), tmp_path / "other")


class Unfreezable(OwnModel):
    """Each element's logit goes through a function that has no exact rule."""

    def __init__(self) -> None:
        super().__init__()
        self.network.append(nn.Hardswish())


def test_what_cannot_be_frozen_is_said_before_training(tmp_path, monkeypatch):
    def no_step(*arguments, **options):
        raise AssertionError("training has begun")

    monkeypatch.setattr("codelength.training.run.train_model", no_step)
    model = Unfreezable()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FreezeError, match="Hardswish"):
        train(model, ITEMS, tmp_path / "run")
    assert not (tmp_path / "run").exists() and model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(AssertionError, match="training has begun"):
        train(model, ITEMS, tmp_path / "run", freeze=False)


def test_one_image_by_itself_is_pointed_out() -> None:
    rng = np.random.default_rng(0)
    config = TrainingConfig()
    for shape, noted in (((28, 28), True), ((20, 28), True), ((40, 28), False), ((20, 4, 7), False)):
        told = str(load_split(rng.integers(0, 2, shape).astype(np.uint8), config))
        assert ("one image by itself would be array[None]" in told) == noted, shape


def test_a_recipe_that_does_not_fit_the_items_is_told_with_its_section(tmp_path) -> None:
    with pytest.raises(RecipeError, match="section pixelcnn of pixelcnn-digits: expected images"):
        train("pixelcnn-digits", np.zeros((20, 5), np.uint8), tmp_path / "run", quiet=True)
