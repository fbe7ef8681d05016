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
TREES = ("residual", "value")
#: Places beyond the nearest twelve that stand in the features 34 and 35: rows and columns from the pixel.
FAR = (
    (-2, -2), (-2, 2), (-1, -3), (-1, 3), (0, -4), (-3, -1), (-3, 1),
    (-2, -3), (-2, 3), (-1, -4), (-1, 4), (-3, -2), (-3, 2), (-2, 4), (-2, -4),
)  # fmt: skip

#: Fields of a record that are plain numbers, with their ranges.
RANGES: dict[str, tuple[int, int]] = {
    "table_bits": (8, 22),
    "sets": (1, MAX_SETS),
    "most_class": (0, 14),
    "class_shift": (0, 4),
    "least_error": (1, 64),
    "scale_rate": (3, 10),
    "bias_rate": (3, 10),
    "whiten": (0, 22),
    "whiten_from": (0, 40),
    "regularise": (1, 4096),
    "gradient": (0, 1 << 18),
    "solve": (1, 64),
    "counter_limit": (1, 1023),
    "rate_first": (0, 127),
    "rate_last": (0, 127),
    "rate_final": (0, 127),
}
_FLAGS = ("double", "maps")


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
        width = max(map(len, self.contexts))
        contexts = -np.ones((len(self.contexts), width, 2), np.int32)
        for j, context in enumerate(self.contexts):
            contexts[j, : len(context)] = np.array(context, np.int32).reshape(-1, 2)
        tensors: Tensors = {"contexts": contexts}
        predictors = []
        for i, predictor in enumerate(self.predictors):
            tensors[f"taps{i}"] = np.array(predictor.taps, np.int32)
            predictors.append({"forget": predictor.forget, "split": predictor.split, "taps": f"taps{i}"})
        record: dict[str, Any] = {
            "law": "adaptive",
            "symbols": self.symbols,
            "shape": list(shape),
            "order": list(self.order),
            "tree": self.tree,
            "predictors": predictors,
            "contexts": "contexts",
        }
        record.update({name: getattr(self, name) for name in (*RANGES, *_FLAGS)})
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
        keys = {"symbols", "order", "tree", "predictors", "contexts", *RANGES, *_FLAGS}
        read_object(record, keys, "an adaptive law")
        symbols, order = record["symbols"], record["order"]
        require(is_integer(symbols) and 2 <= symbols <= 1 << 16, "an adaptive law has an odd alphabet")
        require(isinstance(order, list) and 1 <= len(order) <= MAX_CHANNELS, "an adaptive law has an odd order")
        require(
            all(map(is_integer, order)) and sorted(order) == list(range(len(order))), "an order of channels is none"
        )
        require(record["tree"] in TREES, f"an adaptive law has the tree {record['tree']!r:.40}, which is not known")
        for name, (low, high) in RANGES.items():
            require(is_integer(record[name]) and low <= record[name] <= high, f"{name} is not within {low} .. {high}")
        for name in _FLAGS:
            require(isinstance(record[name], bool), f"{name} is neither true nor false")
        predictors = record["predictors"]
        fine = isinstance(predictors, list) and 1 <= len(predictors) <= MAX_PREDICTORS
        require(fine, f"an adaptive law does not have 1 to {MAX_PREDICTORS} predictors")
        found = Program(
            symbols=symbols,
            order=tuple(order),
            tree=record["tree"],
            predictors=tuple(_predictor(predictor, tensors) for predictor in predictors),
            contexts=_contexts(record["contexts"], tensors),
            **{name: record[name] for name in (*RANGES, *_FLAGS)},
        )
        require(
            len(found.contexts) << found.table_bits <= MAX_COUNTERS, "an adaptive law has more counters than allowed"
        )
        return found


def _predictor(record: Any, tensors: Tensors) -> Predictor:
    read_object(record, {"taps", "forget", "split"}, "a predictor")
    taps = _tensor(record["taps"], tensors, "a predictor's taps")
    require(taps.ndim == 2 and 1 <= len(taps) <= MAX_TAPS and taps.shape[1] == 4, "taps are not 1 to 32 places")
    require(is_integer(record["forget"]) and 4 <= record["forget"] <= 13, "a predictor forgets too fast or too slowly")
    require(isinstance(record["split"], bool), "split is neither true nor false")
    for back, dy, dx, images in taps.tolist():
        require(0 <= back < MAX_CHANNELS and images in (0, 1), "a tap lies in no channel or image")
        if images:
            near = abs(dy) <= 2 and abs(dx) <= 2
        else:
            near = -3 <= dy <= 0 and abs(dx) <= 4 and (dy < 0 or dx < 0 or (back > 0 and dx == 0))
        require(near, "a tap lies too far away, or has not been decoded yet")
    require(len({tuple(tap) for tap in taps.tolist()}) == len(taps), "a predictor has a tap twice")
    require(any(back == 0 for back, *_ in taps.tolist()), "a predictor has no tap for the first channel")
    return Predictor(tuple(tuple(tap) for tap in taps.tolist()), record["forget"], record["split"])


def _contexts(name: Any, tensors: Tensors) -> tuple[tuple[tuple[int, int], ...], ...]:
    table = _tensor(name, tensors, "contexts")
    fine = table.ndim == 3 and 1 <= len(table) <= MAX_CONTEXTS and 1 <= table.shape[1] <= MAX_PARTS
    require(fine and table.shape[2] == 2, "contexts are not a short table")
    contexts = []
    for rows in table.tolist():
        parts = []
        for place, (code, shift) in enumerate(rows):
            if code == -1:
                require(all(row == [-1, -1] for row in rows[place:]), "a context goes on behind its end")
                break
            known = 0 <= code < 4 * KIND and 1 <= code % KIND < FEATURES
            require(known and 0 <= shift <= MAX_SHIFT, "a context asks for a feature that is not known")
            parts.append((code, shift))
        require(bool(parts), "a context is empty")
        contexts.append(tuple(parts))
    return tuple(contexts)


def _tensor(name: Any, tensors: Tensors, what: str) -> np.ndarray:
    require(isinstance(name, str) and name in tensors, f"{what} name no tensor")
    return tensors[name]
