"""The program of an adaptive law: what stands in a model file, proved (docs/format.md, "Adaptive law")."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from codelength.exact.network import is_integer, read_object
from codelength.exact.operations import Tensors, require

MAX_TAPS = 32
MAX_PREDICTORS = 4
MAX_CONTEXTS = 48
MAX_PARTS = 8
MAX_CHANNELS = 4
MAX_SETS = 3
MAX_COUNTERS = 1 << 26
MAX_SHIFT = 16
#: Features of the context by number (docs/format.md has the table); 29 .. 31 are there as far as there are predictors.
FEATURES = 51
#: What may be done with a feature: nothing, minus the guess, the class of that, its own class.
RAW, RELATIVE, RELATIVE_CLASS, OWN_CLASS = range(4)
KIND = 64
#: Part of a context: feature + KIND * kind + SHIFT * shift.
SHIFT = 256
TREES = ("residual", "value")
#: Places beyond the nearest twelve that stand in the features 34 and 35: rows and columns from the pixel.
FAR = (
    (-2, -2), (-2, 2), (-1, -3), (-1, 3), (0, -4), (-3, -1), (-3, 1),
    (-2, -3), (-2, 3), (-1, -4), (-1, 4), (-3, -2), (-3, 2), (-2, 4), (-2, -4),
)  # fmt: skip

#: Fields of a record that are plain numbers: their ranges, and what they are where they are left out.
NUMBERS: dict[str, tuple[int, int, int]] = {
    "table_bits": (8, 22, 20),
    "sets": (1, MAX_SETS, 2),
    "most_class": (0, 14, 4),
    "class_shift": (0, 4, 1),
    "least_error": (1, 64, 6),
    "scale_rate": (3, 10, 5),
    "bias_rate": (3, 10, 6),
    "whiten": (0, 22, 6),
    "whiten_from": (0, 40, 6),
    "regularise": (1, 4096, 64),
    "gradient": (0, 1 << 18, 24),
    "solve": (1, 64, 4),
    "counter_limit": (1, 1023, 255),
    "rate_first": (0, 127, 60),
    "rate_last": (0, 127, 40),
    "rate_final": (0, 127, 8),
}
FLAGS = {"double": False, "maps": True}
_ORDINARY_TREE = "residual"


@dataclass(frozen=True)
class Predictor:
    """A linear prediction by recursive least squares. taps (m, 4): channels back, row, column, images back. forget:
    log2 of the number of samples that count. split: whether regions of different slopes have weights of their own."""

    taps: tuple[tuple[int, int, int, int], ...]
    forget: int
    split: bool


@dataclass(frozen=True)
class Program:
    """The parts of an adaptive law. Raises ProgramError in ``read`` for anything outside its range."""

    symbols: int
    order: tuple[int, ...]
    tree: str
    predictors: tuple[Predictor, ...]
    contexts: tuple[tuple[tuple[int, int], ...], ...]
    double: bool
    maps: bool
    table_bits: int
    sets: int
    most_class: int
    class_shift: int
    least_error: int
    scale_rate: int
    bias_rate: int
    whiten: int
    whiten_from: int
    regularise: int
    gradient: int
    solve: int
    counter_limit: int
    rate_first: int
    rate_last: int
    rate_final: int

    @property
    def channels(self) -> int:
        return len(self.order)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether images of this shape are among its items."""
        fits = (len(shape) == 2 and self.channels == 1) or (len(shape) == 3 and shape[2] == self.channels)
        return fits and min(shape) >= 1

    @property
    def bits(self) -> int:
        """Of a symbol."""
        return (self.symbols - 1).bit_length()

    @property
    def weigh(self) -> int:
        """Twice the bits by which what the predictors learn from is scaled, before that is made less where much is
        going on."""
        return 22 - 2 * self.bits

    @property
    def inputs(self) -> int:
        """Of the mixers: the guesses, the contexts, and one that is constant."""
        return len(self.predictors) + 2 + len(self.contexts) * (2 if self.double else 1) + 1

    @cached_property
    def terms(self) -> tuple[tuple[int, int], ...]:
        """What contexts are made of: features and what is done with them, each once."""
        return tuple(dict.fromkeys((code % KIND, code // KIND) for parts in self.contexts for code, _ in parts))

    def record(self, shape: tuple[int | None, ...]) -> tuple[dict[str, Any], Tensors]:
        """The law's record over items of this shape, and its tensors: the inverse of ``read``."""
        numbers = [
            number for context in self.contexts for number in (*(code + SHIFT * shift for code, shift in context), 0)
        ]
        tensors: Tensors = {"contexts": np.array(numbers, np.int32)}
        predictors = []
        for i, predictor in enumerate(self.predictors):
            tensors[f"taps{i}"] = np.array(predictor.taps, np.int32)
            split = {"split": True} if predictor.split else {}
            predictors.append({"forget": predictor.forget, "taps": f"taps{i}", **split})
        record: dict[str, Any] = {
            "law": "adaptive",
            "symbols": self.symbols,
            "shape": list(shape),
            "order": list(self.order),
            "predictors": predictors,
            "contexts": "contexts",
        }
        usual = {name: usual for name, (_, _, usual) in NUMBERS.items()} | FLAGS | {"tree": _ORDINARY_TREE}
        record.update({name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value})
        return record, tensors

    @property
    def state_bytes(self) -> int:
        """Bytes of all that is learned, about: the counters, and what is small beside them."""
        systems = 4 * self.channels * len(self.predictors) * MAX_TAPS * (MAX_TAPS + 2) * 8
        return (
            (len(self.contexts) << (self.table_bits + 2))
            + systems
            + 4 * 4096 * self.sets * (self.inputs + 4)
            + (1 << 23)
        )

    @staticmethod
    def read(record: dict[str, Any], tensors: Tensors) -> Program:
        """The program in a record and its tensors. Raises ProgramError; believes nothing in it."""
        read_object(
            record, {"symbols", "order", "predictors", "contexts"}, "an adaptive law", {"tree", *NUMBERS, *FLAGS}
        )
        symbols, order, tree = record["symbols"], record["order"], record.get("tree", _ORDINARY_TREE)
        require(is_integer(symbols) and 2 <= symbols <= 1 << 16, "an adaptive law has an odd alphabet")
        require(isinstance(order, list) and 1 <= len(order) <= MAX_CHANNELS, "an adaptive law has an odd order")
        distinct = all(map(is_integer, order)) and sorted(order) == list(range(len(order)))
        require(distinct, "an order of channels is none")
        require(tree in TREES, f"an adaptive law has the tree {tree!r:.40}, which is not known")
        values: dict[str, Any] = {}
        for name, (low, high, usual) in NUMBERS.items():
            values[name] = record.get(name, usual)
            require(is_integer(values[name]) and low <= values[name] <= high, f"{name} is not within {low} .. {high}")
        for name, flag in FLAGS.items():
            values[name] = record.get(name, flag)
            require(isinstance(values[name], bool), f"{name} is neither true nor false")
        predictors = record["predictors"]
        fine = isinstance(predictors, list) and 1 <= len(predictors) <= MAX_PREDICTORS
        require(fine, f"an adaptive law does not have 1 to {MAX_PREDICTORS} predictors")
        found = Program(
            symbols=symbols,
            order=tuple(order),
            tree=tree,
            predictors=tuple(_predictor(predictor, tensors) for predictor in predictors),
            contexts=_contexts(record["contexts"], tensors),
            **values,
        )
        require(
            len(found.contexts) << found.table_bits <= MAX_COUNTERS, "an adaptive law has more counters than allowed"
        )
        return found


def _predictor(record: Any, tensors: Tensors) -> Predictor:
    read_object(record, {"taps", "forget"}, "a predictor", {"split"})
    split = record.get("split", False)
    taps = _tensor(record["taps"], tensors, "a predictor's taps")
    require(taps.ndim == 2 and 1 <= len(taps) <= MAX_TAPS and taps.shape[1] == 4, "taps are not 1 to 32 places")
    require(is_integer(record["forget"]) and 4 <= record["forget"] <= 13, "a predictor forgets too fast or too slowly")
    require(isinstance(split, bool), "split is neither true nor false")
    for back, dy, dx, images in taps.tolist():
        require(0 <= back < MAX_CHANNELS and images in (0, 1), "a tap lies in no channel or image")
        if images:
            near = abs(dy) <= 2 and abs(dx) <= 2
        else:
            near = -3 <= dy <= 0 and abs(dx) <= 4 and (dy < 0 or dx < 0 or (back > 0 and dx == 0))
        require(near, "a tap lies too far away, or has not been decoded yet")
    require(len({tuple(tap) for tap in taps.tolist()}) == len(taps), "a predictor has a tap twice")
    require(any(back == 0 for back, *_ in taps.tolist()), "a predictor has no tap for the first channel")
    return Predictor(tuple(tuple(tap) for tap in taps.tolist()), record["forget"], split)


def _contexts(name: Any, tensors: Tensors) -> tuple[tuple[tuple[int, int], ...], ...]:
    table = _tensor(name, tensors, "contexts")
    fine = table.ndim == 1 and 2 <= len(table) <= MAX_CONTEXTS * (MAX_PARTS + 1) and table[-1] == 0
    require(fine, "contexts are not a short list that ends in zero")
    contexts: list[tuple[tuple[int, int], ...]] = []
    parts: list[tuple[int, int]] = []
    for number in table.tolist():
        if number == 0:
            require(1 <= len(parts) <= MAX_PARTS, f"a context does not have 1 to {MAX_PARTS} parts")
            contexts.append(tuple(parts))
            parts = []
            continue
        code, shift = number % SHIFT, number // SHIFT
        known = number > 0 and 1 <= code % KIND < FEATURES and shift <= MAX_SHIFT
        require(known, "a context asks for a feature that is not known")
        parts.append((code, shift))
    require(len(contexts) <= MAX_CONTEXTS, f"an adaptive law has more than {MAX_CONTEXTS} contexts")
    return tuple(contexts)


def _tensor(name: Any, tensors: Tensors, what: str) -> np.ndarray:
    require(isinstance(name, str) and name in tensors, f"{what} name no tensor")
    return tensors[name]
