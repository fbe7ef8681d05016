"""Recipes: what to train on what data, and how. Small TOML files; nothing unknown is silently accepted.

model = "made"            # a family of codelength.models.registry
data = "binarized-mnist"  # what it is meant for; another may be given

[made]                    # the family's section: fields of its configuration
hidden = [1024]

[training]                # fields of TrainingConfig
steps = 50000
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from codelength.errors import DataError, RecipeError
from codelength.files import kind_of, open_regular
from codelength.models.configs import need
from codelength.models.registry import FAMILIES

#: Bytes of a recipe; dots in it, since tomllib takes time that grows with the square of a key's parts.
MAX_RECIPE = 2**18
MAX_DOTS = 4096
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    steps: of the optimiser, in all. batch: items per step. learning_rate is reached after `warmup_steps` linear steps
    and falls to zero along a half cosine. weight_decay: decoupled (AdamW). clip: largest norm of the gradient, 0 for
    none. ema: decay per step of the averaged weights, which are the model's in the end; 0 for the weights themselves.

    precision: "float32", or "bfloat16" for mixed precision (autocast). binarize: "dynamic" to draw training items of
    0 .. 255 as 0 or 1 with probability value / 255, anew at every visit. crop: side of the squares that are cut out of
    images at random, anew at every visit, so that images may differ in size; 0 for whole items. The model is then one
    of items of that size.

    optimizer: "adamw", or "muon" for Muon on hidden weight matrices and AdamW on the rest (codelength.training.muon).

    validate_every: steps between validations; validate_items: how many items they look at, a seeded random subset, 0
    for all. patience: stop after so many validations without a better figure and keep the best weights, 0 for never.
    A run validates ten times at least: where so many steps would be too few, also in between, for the log alone.

    max_minutes: stop then (the rate falls to zero by then, too), 0 for never; runs under it cannot be repeated bit for
    bit. checkpoint_minutes: between checkpoints. threads: for torch's operations, 0 to leave them as they are.
    """

    steps: int = 2000
    batch: int = 256
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.999
    precision: str = "float32"
    binarize: str = ""
    crop: int = 0
    validate_every: int = 500
    validate_items: int = 1000
    patience: int = 0
    max_minutes: float = 0.0
    checkpoint_minutes: float = 5.0
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        def check(condition: bool, name: str, expected: str) -> None:
            need(condition, f"expected training.{name} to be {expected}, got {getattr(self, name)!r}")

        for name in ("steps", "batch", "validate_every"):
            check(getattr(self, name) >= 1, name, "at least 1")
        for name in (
            "warmup_steps",
            "weight_decay",
            "clip",
            "crop",
            "validate_items",
            "patience",
            "max_minutes",
            "threads",
        ):
            check(getattr(self, name) >= 0, name, "at least 0")
        check(self.learning_rate > 0, "learning_rate", "above 0")
        check(self.checkpoint_minutes > 0, "checkpoint_minutes", "above 0")
        check(0 <= self.ema < 1, "ema", "from 0 to below 1")
        check(self.precision in ("float32", "bfloat16"), "precision", "'float32' or 'bfloat16'")
        check(self.optimizer in ("adamw", "muon"), "optimizer", "'adamw' or 'muon'")
        check(self.binarize in ("", "dynamic"), "binarize", "'' or 'dynamic'")


@dataclass(frozen=True)
class Recipe:
    """model: name of a family; section: its configuration; data: a data set or a path, empty for data in memory.

    The recipe in a run folder also has recipe, the name or the file that it was made from; changes, made to that; and
    data_sha256, of the items that the run trains on and validates with.
    """

    model: str
    section: Any
    data: str = ""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    recipe: str = ""
    changes: tuple[str, ...] = ()
    data_sha256: str = ""

    def to_toml(self) -> str:
        """The recipe with every default filled in."""
        lines = [f"model = {_toml(self.model)}"]
        if self.data_sha256 and not self.data:
            lines.append("# Trained on data in memory: to resume, the same data must be handed over again.")
        lines.append(f"data = {_toml(self.data)}")
        origin = {"data_sha256": self.data_sha256, "recipe": self.recipe, "changes": self.changes}
        lines += [f"{name} = {_toml(value)}" for name, value in origin.items() if value]
        for name, section in ((self.model, self.section), ("training", self.training)):
            lines += ["", f"[{name}]"]
            lines += [f"{f.name} = {_toml(getattr(section, f.name))}" for f in dataclasses.fields(section)]
        return "\n".join(lines) + "\n"


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("codelength") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(spec: str | Path, changes: list[str] | None = None) -> Recipe:
    """A recipe by name or from a file, with changes such as "training.steps=100" applied.

    Raises RecipeError for an unknown recipe, a file that cannot be read, unknown keys, and values of the wrong kind.
    """
    names = recipe_names()
    if str(spec) in names:
        text = (resources.files("codelength") / "recipes" / f"{spec}.toml").read_text("utf-8")
    else:
        text = _read(Path(spec), names)
    return parse_recipe(text, str(spec), changes)


def _read(path: Path, names: list[str]) -> str:
    """The text of a recipe's file; ``names`` are those it could have been instead."""
    try:
        kind = kind_of(path.stat().st_mode)
        if kind == "a folder":
            raise IsADirectoryError
        if kind:
            raise RecipeError(f"expected the file of a recipe, but {str(path)!r} is {kind}; name a file")
        with open_regular(path, "the file of a recipe") as file:
            data = file.read(MAX_RECIPE + 1)
        if len(data) > MAX_RECIPE:
            raise RecipeError(f"expected a recipe of at most {MAX_RECIPE:,} bytes, but {str(path)!r} is longer")
        # Some editors put a byte order mark before the text.
        return data.decode("utf-8-sig")
    except DataError as error:
        raise RecipeError(str(error)) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"expected {str(path)!r} to be a recipe, which is text in UTF-8, but its byte {error.start} is not; "
            f"save it as UTF-8, or give another file"
        ) from None
    except IsADirectoryError:
        inner = path / "recipe.toml"
        hint = f"did you mean {str(inner)!r}?" if inner.is_file() else "give the name or the file of a recipe"
        raise RecipeError(f"expected the file of a recipe, but {str(path)!r} is a folder; {hint}") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a null character
        hint = _suggestion(str(path), names)
        raise RecipeError(f"expected the name or the file of a recipe, got {str(path)!r}{hint}") from None
    except OSError as error:
        raise RecipeError(
            f"the recipe {str(path)!r} cannot be read: {error.strerror or error}; make it readable, or give another"
        ) from None


def parse_recipe(text: str, where: str, changes: list[str] | None = None) -> Recipe:
    """A recipe from its text; `where` names it in errors."""
    try:
        if text.count(".") > MAX_DOTS:
            raise ValueError(f"it has more than {MAX_DOTS:,} dots, and keys of many parts take long to read")
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{where} is not valid TOML: {_reason(error)}") from None
    for change in changes or []:
        _apply(values, change)
    model = values.get("model")
    # A misspelt key first: it may be why there is no model.
    families = [model] if isinstance(model, str) and model in FAMILIES else list(FAMILIES)
    sections = {**{name: FAMILIES[name].config for name in families}, "training": TrainingConfig}
    origin: dict[str, Any] = {"recipe": str, "data_sha256": str, "changes": tuple[str, ...]}
    known = ["model", "data", *origin, *sections]
    for key in values:
        if key not in known and (not isinstance(model, str) or key != model):
            raise RecipeError(f"unknown key {_short(key)} in {where}{_suggestion(key, known, sections)}")
    if not isinstance(model, str) or model not in FAMILIES:
        hint = _suggestion(model if isinstance(model, str) else "", FAMILIES)
        raise RecipeError(f"expected model to be one of {', '.join(FAMILIES)} in {where}, got {_short(model)}{hint}")
    data = values.get("data", "")
    if not isinstance(data, str):
        raise RecipeError(f"expected data to be the name of a data set in {where}, got {_short(data)}")
    section = _section(sections, values.get(model, {}), model, where)
    try:
        section.check()
    except RecipeError as error:
        raise RecipeError(f"in the section {model} of {where}: {error}") from None
    training = _section(sections, values.get("training", {}), "training", where)
    more = {name: _typed(kind, values[name], f"{name} in {where}") for name, kind in origin.items() if name in values}
    return Recipe(model, section, data, training, **more)


def _apply(values: dict[str, Any], change: str) -> None:
    """One change "a.b=value": the value is read as TOML, and as a string where it is none."""
    path, equals, text = change.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > 2:
        raise RecipeError(f"expected a change such as training.steps=100, got {_short(change)}")
    if len(text) > MAX_RECIPE or text.count(".") > MAX_DOTS:
        raise RecipeError(f"expected a value that a recipe can hold, got one of {len(text):,} characters for {path}")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"expected a value that a recipe can hold for {path}, got {_reason(error)}") from None
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise RecipeError(f"expected {key!r} to be a section in {_short(change)}, it is a value")
    values[keys[-1]] = value


def _section(sections: dict[str, type], values: Any, name: str, where: str) -> Any:
    """The dataclass of the section `name` from a table, every key known and every value of the field's type."""
    kind = sections[name]
    if not isinstance(values, dict):
        raise RecipeError(f"expected {name} to be a section in {where}, got {_short(values)}")
    wanted = typing.get_type_hints(kind)
    given = {}
    for key, value in values.items():
        if key not in wanted:
            others = {other: sections[other] for other in sections if other != name}
            raise RecipeError(f"unknown key {name}.{key} in {where}{_suggestion(key, wanted, others)}")
        given[key] = _typed(wanted[key], value, f"{name}.{key} in {where}")
    return kind(**given)


def _typed(kind: Any, value: Any, what: str) -> Any:
    """The value as the annotation `kind` (bool, int, float, str, tuple[...] of one of them) wants it."""
    if isinstance(kind, types.GenericAlias):
        inner = typing.get_args(kind)[0]
        values = value if isinstance(value, list) else [value]
        return tuple(_typed(inner, entry, what) for entry in values)
    if kind is float and type(value) is int and abs(value) <= MAX_INTEGER:
        return float(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise RecipeError(f"expected {what} to be {names[kind]}, got {_short(value)}")
    if kind is int and abs(value) > MAX_INTEGER:
        raise RecipeError(f"expected {what} to be a whole number that fits 64 bits, got one of many digits")
    return value


def _short(value: Any) -> str:
    """A value for a message; without its end, and without what is nested too deeply to be shown."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= 200 else text[:200] + "..."


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "values nested too deeply"
    text = str(error)
    return "a number of too many digits" if "integer string conversion" in text else text[:200]


def _suggestion(word: str, known: Any, sections: Mapping[str, type] = types.MappingProxyType({})) -> str:
    """What may have been meant by an unknown `word`: one of `known`, or `section.field` of one of `sections`."""
    fields: dict[str, list[str]] = {}
    for name, kind in sections.items():
        for entry in dataclasses.fields(kind):
            fields.setdefault(entry.name, []).append(f"{name}.{entry.name}")
    # The same word in another section comes before similar words, and those known here before similar ones elsewhere.
    exact = [word] if word in fields else []
    for close in (exact, difflib.get_close_matches(word, list(known), 1), difflib.get_close_matches(word, fields, 1)):
        if close:
            meant = [close[0]] if close[0] in known else fields[close[0]]
            return f"; did you mean {' or '.join(map(repr, meant))}?"
    return f"; known are {', '.join(sorted(known))}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for pairs of surrogates and the character 7f
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
