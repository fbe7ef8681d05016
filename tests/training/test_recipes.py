"""Recipes: every key known, every value of its kind, and suggestions for what is not."""

from __future__ import annotations

import pytest

from codelength.errors import RecipeError
from codelength.laws.space import Space
from codelength.models.registry import FAMILIES
from codelength.training.config import load_recipe, parse_recipe, recipe_names

TEXT = """
model = "made"
data = "digits"
[made]
hidden = [16, 8]
dropout = 0.5
[training]
steps = 7
learning_rate = 1
"""

SPACES = {
    "threshold-digits": Space((8, 8), 2),
    "digits": Space((8, 8), 17),
    "binarized-mnist": Space((28, 28), 2),
    "dynamic-mnist": Space((28, 28), 2),
    "threshold-mnist": Space((28, 28), 2),
    "mnist": Space((28, 28), 256),
    "fashion-mnist": Space((28, 28), 256),
    "cifar10": Space((32, 32, 3), 256),
}


def test_recipe_is_read():
    recipe = parse_recipe(TEXT, "here")
    assert (recipe.model, recipe.data) == ("made", "digits")
    assert recipe.section.hidden == (16, 8) and recipe.section.dropout == 0.5
    assert recipe.training.steps == 7
    assert isinstance(recipe.training.learning_rate, float)


def test_changes_come_on_top():
    changes = ["training.steps=9", "made.hidden=[4]", "made.orders=random", "training.precision = 'bfloat16'", "data=x"]
    recipe = parse_recipe(TEXT, "here", [*changes, "made.direct=false", "made.dropout=0"])
    assert (recipe.training.steps, recipe.section.hidden, recipe.section.orders) == (9, (4,), "random")
    assert (recipe.training.precision, recipe.data) == ("bfloat16", "x")
    assert recipe.section.direct is False and recipe.section.dropout == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "mad"', "did you mean 'made'"),
        ("", "expected model"),
        ("model = 3", "expected model"),
        ('model = "made"\nmodle = 1', "unknown key 'modle' in here; did you mean 'model'"),
        ('modle = "made"', "unknown key 'modle' in here; did you mean 'model'"),
        ('model = "mad"\n[mad]\nhidden = [3]', "expected model to be one of"),
        ('model = "made"\n[made]\nhiden = [3]', "unknown key made.hiden in here; did you mean 'hidden'"),
        ('model = "made"\n[training]\nlearning-rate = 1.0', "did you mean 'learning_rate'"),
        ('model = "made"\n[training]\nzzz = 1.0', "known are"),
        ('model = "made"\n[training]\nsteps = 1.5', "training.steps in here to be a whole number, got 1.5"),
        ('model = "made"\n[training]\nsteps = true', "whole number"),
        ('model = "made"\n[training]\nema = "much"', "a number"),
        ('model = "made"\n[made]\ndirect = 1', "true or false"),
        ('model = "made"\n[made]\nhidden = ["a"]', "whole number"),
        ('model = "made"\nmade = 4', "section"),
        ('model = "made"\ndata = 4', "name of a data set"),
        ('model = "made"\n[training]\nsteps = 0', "at least 1"),
        ('model = "made"\n[training]\nema = 1.0', "below 1"),
        ('model = "made"\n[training]\nprecision = "half"', "float32"),
        ("model = [", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.stps=3", "did you mean 'steps'"),
        ("steps=abc", "unknown key 'steps' in here; did you mean 'training.steps'"),
        ("hidden=3", "did you mean 'made.hidden'"),
        ("stepz=3", "did you mean 'training.steps'"),
        ("made.steps=3", "unknown key made.steps in here; did you mean 'training.steps'"),
        ("training.steps", "training.steps=100"),
        ("=3", "training.steps=100"),
        ("training.steps=many", "whole number"),
        ("model.steps=3", "'model' to be a section"),
    ],
)
def test_wrong_changes_are_named(change, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(TEXT, "here", [change])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("made-digits", "made.masks=0", "section made of made-digits: expected counts that are not negative"),
        ("vae-digits", "vae.samples=0", "section vae of vae-digits: expected at least one sample, got 0"),
        ("vae-digits", "vae.hidden=[0]", "section vae of vae-digits: expected sizes of hidden layers"),
        ("vae-mnist", "vae.strides=[3, 1]", "section vae of vae-mnist: expected strides that are powers of two"),
    ],
)
def test_what_no_model_could_be_is_told_with_its_section_before_data_is_read(name, change, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(name, [change])


def test_resolved_recipe_reads_back_the_same():
    recipe = parse_recipe(TEXT, "here", ['data="an odd \\\\ \\"name\\""'])
    assert parse_recipe(recipe.to_toml(), "there") == recipe


def test_unknown_recipes_are_named(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'made-digits'"):
        load_recipe("made-digit")
    (tmp_path / "picture").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="UTF-8, but its byte 0 is not"):
        load_recipe(tmp_path / "picture")
    with pytest.raises(RecipeError, match=r"is a folder; give the name"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.toml").write_text(TEXT, "utf-8")
    with pytest.raises(RecipeError, match=r"is a folder; did you mean '.*recipe\.toml'"):
        load_recipe(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RecipeError, match="loop' cannot be read: "):
        load_recipe(tmp_path / "loop")


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_build_their_model(name):
    recipe = load_recipe(name)
    hidden = getattr(recipe.section, "hidden", ())
    if hidden:  # fewer units, to be fast
        recipe = load_recipe(name, [f"{recipe.model}.hidden=[{', '.join('8' for _ in hidden)}]"])
    space = SPACES[recipe.data.partition(":")[0]]
    model = FAMILIES[recipe.model].build(recipe.section, space, None)
    assert model.space == space
