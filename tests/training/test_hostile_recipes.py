"""Recipes that nobody would write: a named error at once, whatever they hold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from codelength.errors import RecipeError
from codelength.training.config import load_recipe, parse_recipe

GOOD = 'model = "made"\n[training]\nsteps = 5\n'

HOSTILE = {
    "a key of many parts": ".".join(["a"] * 50_000) + " = 1",
    "a table of many parts": "[" + ".".join(["a"] * 50_000) + "]",
    "a quoted key of many parts": ".".join(['"a"'] * 50_000) + " = 1",
    "deep arrays": "model = " + "[" * 5_000 + "]" * 5_000,
    "deep tables": "model = " + "{a = " * 5_000 + "1" + "}" * 5_000,
    "shallow arrays": "model = " + "[" * 150 + "]" * 150,
    "an endless number": "training.steps = 1" + "0" * 5_000,
    "a long number": "training.steps = 1" + "0" * 4_000,
    "a long learning rate": 'model = "made"\ntraining.learning_rate = 1' + "0" * 4_000,
    "an infinite rate": 'model = "made"\ntraining.learning_rate = inf',
    "no number": 'model = "made"\ntraining.max_minutes = nan',
    "a long name": 'model = "' + "x" * 100_000 + '"',
    "a long key": "x" * 100_000 + " = 1",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_recipe_is_a_named_error(kind: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(HOSTILE[kind], "the recipe")
    assert len(str(caught.value)) < 1_500


@pytest.mark.parametrize(
    "change",
    [
        ".".join(["training"] * 50_000) + "=1",
        "training.steps=1" + "0" * 5_000,
        "training.steps=1" + "0" * 4_000,
        "training.steps=" + "[" * 5_000 + "]" * 5_000,
        "training.steps={" + ".".join(["a"] * 50_000) + " = 1}",
        "training.optimizer=" + "x" * 1_000_000,
        "training.learning_rate=inf",
        "made=5",
    ],
    ids=range(8),
)
def test_a_hostile_change_is_a_named_error(change: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(GOOD, "the recipe", [change])
    assert len(str(caught.value)) < 1_500


def test_any_text_is_a_recipe_or_a_named_error() -> None:
    chance = random.Random(0)
    pieces = [
        *GOOD,
        "[",
        "]",
        "{",
        "}",
        ".",
        "=",
        '"',
        "'",
        "\n",
        "1e999",
        "0x",
        "true",
        "\0",
        "é",
        "inf",
        "[[",
        "made",
    ]
    for _ in range(400):
        text = list(GOOD)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(text))
            text[at : at + chance.randrange(3)] = chance.choices(pieces, k=chance.randrange(4))
        try:
            parse_recipe("".join(text), "the recipe")
        except RecipeError:
            continue


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_recipe(path) == parse_recipe(GOOD, "the recipe")


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    with open(path, "wb") as file:
        file.truncate(2**40)  # a hole: no block of it lies on the disk
    with pytest.raises(RecipeError, match="at most"):
        load_recipe(path)
