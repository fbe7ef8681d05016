"""Adaptive programs whose fields lie: each is refused, by the package and by the second reader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import forged
import numpy as np
import pytest

from codelength.errors import ProgramError
from codelength.laws.frozen import FrozenModel

sys.path.insert(0, str(Path(__file__).parents[1] / "second_reader"))

from reader_adaptive import RANGES

from second_reader import Model, Refused

GONE = object()
Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


def honest() -> Parts:
    tensors = {
        "contexts": forged.array(1, 2, 0, 16 + 64, 17, 0),
        "taps0": forged.array([0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]),
        "taps1": forged.array([0, 0, -1, 0], [0, 2, 2, 1]),
    }
    law = {
        "law": "adaptive",
        "symbols": 16,
        "shape": [None, None, 2],
        "order": [1, 0],
        "predictors": [{"taps": "taps0", "forget": 9}, {"taps": "taps1", "forget": 5, "split": True}],
        "contexts": "contexts",
        "table_bits": 8,
    }
    structure = {
        "features": [62],
        "law": law,
        "space": {"shape": [None, None, 2], "symbols": 16},
        "tensors": {name: list(values.shape) for name, values in tensors.items()},
    }
    return structure, tensors


def refused(structure: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    data = forged.pack(structure, tensors)
    with pytest.raises(ProgramError) as caught:
        FrozenModel.from_bytes(data)
    assert str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises((Refused, KeyError, TypeError)):
        Model(data)


def test_the_honest_program_loads() -> None:
    data = forged.pack(*honest())
    assert FrozenModel.from_bytes(data).sha256 == Model(data).sha256


@pytest.mark.parametrize("name", RANGES)
def test_numbers_beyond_their_ranges(name: str) -> None:
    least, most, default = RANGES[name]
    assert least <= default <= most
    for value in (least - 1, most + 1, 2**62, -(2**62), None, True, "8", [least], {}):
        structure, tensors = honest()
        structure["law"][name] = value
        refused(structure, tensors)


LIES: list[tuple[str, Any]] = [
    *(("symbols", value) for value in (0, 1, -16, 65537, 2**62, None, True, "16", [16])),
    *(("order", value) for value in ([], [0], [0, 0], [1, 2], [0, 1, 2], [1, -1], [False, True], None, "10", {})),
    *(("shape", value) for value in ([], [None], [2], [None, None], [None, None, None], [None, None, 3],
                                      [0, None, 2], [None, -1, 2], [8, 8, 2], [None, 8, 2], [None, None, 2, 1],
                                      [True, None, 2], None)),
    *(("tree", value) for value in ("", "Value", 0, None, ["value"], {})),
    *(("double", value) for value in (0, 1, None, "true")),
    *(("maps", value) for value in (0, 1, None, [])),
    *(("contexts", value) for value in ("none", None, 7, [1, 0], {})),
    *(("predictors", value) for value in ([], {}, None, "taps0", [None], [[]], [{}])),
    ("predictors", [{"taps": "taps0", "forget": 9}] * 5),
    *((name, GONE) for name in ("law", "symbols", "shape", "order", "predictors", "contexts")),
    ("spilt", True), ("golden", None), ("taps", "taps0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), LIES, ids=[f"{n} {'gone' if v is GONE else v}"[:40] for n, v in LIES])
def test_fields_that_lie(name: str, value: Any) -> None:
    structure, tensors = honest()
    if value is GONE:
        del structure["law"][name]
    else:
        structure["law"][name] = value
    refused(structure, tensors)


@pytest.mark.parametrize(
    "predictor",
    [
        {"taps": "taps0"},
        {"forget": 9},
        *({"taps": "taps0", "forget": value} for value in (3, 14, -1, None, True, "9", 2**40)),
        *({"taps": "taps0", "forget": 9, "split": value} for value in (0, 1, None, "true")),
        *({"taps": value, "forget": 9} for value in (None, 0, "taps9", ["taps0"], "contexts")),
        {"taps": "taps0", "forget": 9, "rate": 1},
    ],
    ids=str,
)
def test_predictors_that_lie(predictor: Any) -> None:
    structure, tensors = honest()
    structure["law"]["predictors"][0] = predictor
    refused(structure, tensors)


def with_tensor(name: str, values: np.ndarray) -> Parts:
    structure, tensors = honest()
    tensors[name] = values
    structure["tensors"][name] = list(values.shape)
    return structure, tensors


@pytest.mark.parametrize(
    "tap",
    [
        [0, 0, 0, 0],  # the sample itself
        [0, 0, 1, 0],  # not known yet
        [1, 0, 1, 0],
        [1, 0, 4, 0],
        [0, 1, 0, 0],
        [0, 1, -1, 0],
        [-1, -1, 0, 0],
        [4, -1, 0, 0],
        [0, -4, 0, 0],
        [0, -1, 5, 0],
        [0, -1, -5, 0],
        [0, 3, 0, 1],
        [0, -3, 0, 1],
        [0, 0, 3, 1],
        [0, 0, -3, 1],
        [0, -1, 0, 2],
        [0, -1, 0, -1],
        [0, 0, -1, 0],  # twice
        [2**31 - 1, -(2**31), 2**31 - 1, 2**31 - 1],
    ],
)
def test_taps_that_lie(tap: list[int]) -> None:
    refused(*with_tensor("taps0", forged.array([0, 0, -1, 0], tap)))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0, 4), np.int32),
        np.zeros((1, 5), np.int32),
        np.zeros(4, np.int32),
        np.zeros((1, 1, 4), np.int32),
        np.array([[1, -1, 0, 0], [2, 0, -1, 0]], np.int32),  # none for the first channel
        np.array([[b, dy, dx, 0] for b in range(2) for dy in (-1, -2) for dx in range(-4, 5)][:33], np.int32),
    ],
    ids=lambda values: str(values.shape),
)
def test_shapes_of_taps_that_lie(values: np.ndarray) -> None:
    refused(*with_tensor("taps0", values))


@pytest.mark.parametrize(
    "numbers",
    [
        [],
        [0],
        [1],  # no end
        [1, 0, 2],
        [1, 0, 0],  # no parts
        [0, 1, 0],
        [*[1] * 9, 0],
        [1, 0] * 49,
        [51, 0],
        [63 + 64, 0],
        [64, 0],  # the feature 0
        [1 + 256 * 17, 0],
        [2**31 - 1, 0],
        [-1, 0],
        [-255, 0],
        [-(2**31), 0],
    ],
    ids=str,
)
def test_contexts_that_lie(numbers: list[int]) -> None:
    refused(*with_tensor("contexts", np.array(numbers, np.int32)))


def test_contexts_of_other_axes() -> None:
    refused(*with_tensor("contexts", np.array([[1, 0]], np.int32)))
    refused(*with_tensor("contexts", np.array(0, np.int32)))


def test_more_counters_than_allowed() -> None:
    structure, tensors = with_tensor("contexts", np.array([1, 0] * 17, np.int32))
    structure["law"]["table_bits"] = 22
    refused(structure, tensors)


def test_other_spaces() -> None:
    for space in ({"shape": [None, None, 2], "symbols": 17}, {"shape": [None, 4, 2], "symbols": 16},
                  {"shape": [None, None, 1], "symbols": 16}, {"shape": [None, None], "symbols": 16}):  # fmt: skip
        structure, tensors = honest()
        structure["space"] = space
        refused(structure, tensors)


def test_within_another_law() -> None:
    structure, tensors = honest()
    structure["law"] = {"law": "coarse", "base": structure["law"], "bits": 1}
    structure["features"] = [50, 62]
    structure["space"]["symbols"] = 32
    refused(structure, tensors)
    structure, tensors = honest()
    structure["law"] = {"law": "pushforward", "base": structure["law"], "steps": [], "low": 0, "high": 15}
    structure["features"] = [37, 62]
    refused(structure, tensors)


def test_a_golden_vector_that_differs() -> None:
    structure, tensors = honest()
    structure["golden"] = {"digest": "0" * 32, "shape": [6, 6, 2]}
    refused(structure, tensors)
