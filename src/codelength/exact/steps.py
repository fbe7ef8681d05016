"""Steps of flows on integers, each exactly invertible (docs/format.md, "Steps").

A step is one class with all its rules: how it is read and proved (``read``), how it takes items forward, pushing and
popping remainders, and how it takes them back. On integers, scaling by a / b pops a remainder r below a, divides
x a + r by b and pushes the remainder of that: log2(b / a) bits, minus the log2-determinant.

Every step has the range of what it takes, ``before``, and of what it gives, ``after``: (low, high) each. A step whose
arithmetic could lead further *keeps* a range that its record states: items that leave it are refused by name when they
are coded, and what lies beyond it on the way back is brought to its nearest end. So networks see what was proved
whatever lies on a stack, and bounds do not grow from step to step.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from codelength.coding.stack import Stack
from codelength.coding.symbols import check_range
from codelength.exact.network import Network, is_integer, read_object
from codelength.exact.operations import FLOAT32_EXACT, Tensors, Type, require
from codelength.exact.uniform import MAX_UNIFORM, pop_uniform, push_uniform

#: Values between steps stay within this; x * a + r then fits 63 bits.
MAX_VALUE = 1 << 40
#: Exponents of denominators.
MAX_DENOMINATOR = 20

Range = tuple[int, int]
Context = dict[str, Any]


class Step:
    """Base of all steps. Items are arrays (n, *shape) of integers, taken as (n, D) in row-major order."""

    name: ClassVar[str]
    feature: ClassVar[int]
    #: Whether it pushes and pops: remainders are latents, and the law of the items is a bound then.
    spends: ClassVar[bool] = False
    #: Whether what lies beyond ``after`` is brought to its nearest end on the way back, before anything else.
    clamps: ClassVar[bool] = True

    def __init__(self, before: Range, after: Range) -> None:
        self.before, self.after = before, after
        self.work = 0  # roughly what it costs an item, in multiplications
        self.steps = 0  # and how often an operation is done at a step of a schedule

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        """The step of a record without its key ``step``, of items (*shape). Raises ProgramError where anything does not
        hold."""
        raise NotImplementedError

    @property
    def features(self) -> set[int]:
        """Of the step and its network."""
        return {self.feature}

    def item_bytes(self) -> int:
        """Bytes that the step needs for an item beyond the item itself."""
        return 0

    def forward(self, stack: Stack, x: np.ndarray, context: Context, start: bool) -> np.ndarray:
        """y (n, *shape); with ``start`` nothing is popped, and remainders are zero.

        Raises NotRepresentable for items that ``inverse`` would not give back, and names them.
        """
        check_range(x, *self.before)
        y = self._forward(stack, x.reshape(len(x), -1).astype(np.int64), context, start)
        check_range(y, *self.after)
        return y.reshape(x.shape)

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        """The mirror image of ``forward``, which takes any integers."""
        flat = y.reshape(len(y), -1).astype(np.int64)
        flat = np.clip(flat, *self.after) if self.clamps else flat
        return np.clip(self._inverse(stack, flat, context, start), *self.before).reshape(y.shape)

    def determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        """y without its random rounding, and the log-determinant in nats (n,). Exact where the step spends nothing."""
        check_range(x, *self.before)
        y, change = self._determinant(x.reshape(len(x), -1).astype(np.int64), context)
        check_range(y, *self.after)
        return y.reshape(x.shape), change

    def _forward(self, stack: Stack, x: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return self._determinant(x, context)[0]

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        raise NotImplementedError

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        raise NotImplementedError


class OffsetStep(Step):
    """y = x + value, for every element."""

    name = "offset"
    feature = 37

    def __init__(self, value: int, before: Range) -> None:
        super().__init__(before, (before[0] + value, before[1] + value))
        self.value = value

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"value"}, "an offset step")
        require(is_integer(record["value"]) and abs(record["value"]) <= 1 << 24, "an offset is out of bounds")
        return cls(record["value"], before)

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return x + self.value, 0.0

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return y - self.value


class PermuteStep(Step):
    """y_d = x_index[d]: elements move, such as from squares of pixels into channels (squeezing)."""

    name = "permute"
    feature = 52

    def __init__(self, index: np.ndarray, before: Range) -> None:
        super().__init__(before, before)
        self.index, self.back = index, np.argsort(index)

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"index"}, "a permute step")
        index = _named(record["index"], tensors, "an index").astype(np.int64)
        require(index.shape == (math.prod(shape),), "the index of a permute step does not fit the items")
        require(np.array_equal(np.sort(index), np.arange(len(index))), "the index of a permute step is no permutation")
        return cls(index, before)

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return x[:, self.index], 0.0

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return y[:, self.back]


class ScaleStep(Step):
    """y = floor(x a / 2^denominator) + shift, a and shift being constants of a channel (the last axis)."""

    name = "scale"
    feature = 53
    spends = True

    def __init__(
        self, scales: np.ndarray, shifts: np.ndarray, denominator: int, dims: int, before: Range, keeps: Range
    ) -> None:
        super().__init__(before, keeps)
        self.scales, self.shifts, self.denominator, self.dims = scales, shifts, denominator, dims

    def item_bytes(self) -> int:
        return 64 * self.dims

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"scales", "shifts", "denominator", "low", "high"}, "a scale step")
        scales, shifts = (_named(record[name], tensors, name).astype(np.int64) for name in ("scales", "shifts"))
        check_scales(scales, record["denominator"])
        require(
            shifts.shape == scales.shape and math.prod(shape) % len(scales) == 0,
            "scales and shifts do not fit the channels",
        )
        require(int(np.abs(shifts).max()) <= 1 << 24, "a shift is out of bounds")
        _check_reach(before)
        return cls(scales, shifts, record["denominator"], math.prod(shape), before, _keeps(record))

    def _parameters(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels = np.arange(x.shape[1]) % len(self.scales)
        return np.broadcast_to(self.scales[channels], x.shape), self.shifts[channels]

    def _forward(self, stack: Stack, x: np.ndarray, context: Context, start: bool) -> np.ndarray:
        a, shift = self._parameters(x)
        return _scaled(stack, x, a, self.denominator, start) + shift

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        a, shift = self._parameters(y)
        return _unscaled(stack, y - shift, a, self.denominator, start)

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        a, shift = self._parameters(x)
        return ((x * a + a // 2) >> self.denominator) + shift, np.log(a / (1 << self.denominator)).sum(1)


class _Coupling(Step):
    """Base of the steps that move some elements by what a network says of the others.

    places (m,): the elements that move, increasing. shape: (D,), or (H, W, C): how the network sees the items, as a
    vector or as an image (C, H, W), with zeros for elements that move. It gives ``each`` numbers for every element
    that moves, as a vector (each m,), the first number of all of them first; or as an image (each C, H, W), in which
    others count for nothing.
    """

    each: ClassVar[int]

    def __init__(
        self,
        network: Network,
        places: np.ndarray,
        shape: tuple[int, ...],
        tensors: Tensors,
        context: dict[str, Type],
        before: Range,
        seen: Range,
    ) -> None:
        super().__init__(before, before)
        self.network, self.places, self.shape, self.tensors, self.seen = network, places, shape, tensors, seen
        require(max(-seen[0], seen[1]) <= FLOAT32_EXACT, "a step's network needs inputs within 2^24")
        own = shape if len(shape) == 1 else (shape[2], *shape[:2])
        self.types = network.infer({**context, "x": Type(own, min(seen[0], 0), max(seen[1], 0))}, tensors)
        self.out = self.types[network.output]
        fits = (self.each * len(places),) if len(shape) == 1 else (self.each * shape[2], *shape[:2])
        require(self.out.shape == fits, f"a step's network gives {self.out.shape} numbers")
        require(self.out.largest <= MAX_VALUE // 2, "a step's network can leave the range of its arithmetic")
        self.work = network.measure(self.types, tensors)

    @property
    def features(self) -> set[int]:
        return {self.feature, *self.network.features}

    def item_bytes(self) -> int:
        return self.network.pass_bytes(self.types) + 64 * len(self.places)

    def given(self, x: np.ndarray, context: Context) -> list[np.ndarray]:
        """What the network gives for the elements of x (n, D) that move: ``each`` arrays (n, m)."""
        kept = x.copy()
        kept[:, self.places] = 0
        if len(self.shape) == 3:
            kept = kept.reshape(-1, *self.shape).transpose(0, 3, 1, 2)
        inputs = {
            name: kept if name == "x" else np.asarray(context[name]).reshape(len(x), *kind.shape)
            for name, kind in zip(self.network.inputs, self.types)
        }
        parts = []
        for out in self.network.passes(inputs, self.types, self.tensors, len(x)):
            whole = out.astype(np.int64)
            if len(self.shape) == 1:
                parts.append(whole.reshape(len(out), self.each, -1))
            else:
                height, width, channels = self.shape
                image = whole.reshape(len(out), self.each, channels, height, width).transpose(0, 1, 3, 4, 2)
                parts.append(image.reshape(len(out), self.each, -1)[:, :, self.places])
        return list(np.concatenate(parts).transpose(1, 0, 2))


class AffineStep(_Coupling):
    """Affine coupling of vectors, which keeps no range of its own: what can come of it follows from its scales.

    The elements where ``moves`` is one become floor(x a / 2^denominator) + shift. The network gives an index into the
    table ``scales`` of numerators a, and a shift. Several in a row soon leave any range; see ``CouplingStep``.
    """

    name = "affine"
    feature = 37
    spends = True
    clamps = False
    each = 2

    def __init__(
        self,
        network: Network,
        places: np.ndarray,
        scales: np.ndarray,
        denominator: int,
        shape: tuple[int, ...],
        tensors: Tensors,
        context: dict[str, Type],
        before: Range,
        keeps: Range | None = None,
    ) -> None:
        super().__init__(network, places, shape, tensors, context, before, keeps or before)
        self.table, self.denominator = scales, denominator
        _check_reach(before)
        largest = max(abs(before[0]), abs(before[1])) * int(scales.max()) // (1 << denominator) + self.out.largest + 2
        require(keeps is not None or largest <= MAX_VALUE, "a step can leave the range of its arithmetic")
        self.after = keeps or (min(before[0], -largest), max(before[1], largest))

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"network", "moves", "scales", "denominator"}, "an affine step")
        places, scales = _moved(record, tensors, shape), _named(record["scales"], tensors, "scales").astype(np.int64)
        check_scales(scales, record["denominator"])
        network = Network.from_json(record["network"])
        return cls(network, places, scales, record["denominator"], (math.prod(shape),), tensors, context, before)

    def _parameters(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, np.ndarray]:
        index, shift = self.given(x, context)
        return self.table[np.clip(index, 0, len(self.table) - 1)], shift

    def _forward(self, stack: Stack, x: np.ndarray, context: Context, start: bool) -> np.ndarray:
        a, shift = self._parameters(x, context)
        out = x.copy()
        out[:, self.places] = _scaled(stack, x[:, self.places], a, self.denominator, start) + shift
        return out

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        out = np.clip(y, *self.seen)
        a, shift = self._parameters(out, context)
        out[:, self.places] = _unscaled(stack, y[:, self.places] - shift, a, self.denominator, start)
        return out

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        a, shift = self._parameters(x, context)
        out = x.copy()
        out[:, self.places] = ((x[:, self.places] * a + a // 2) >> self.denominator) + shift
        return out, np.log(a / (1 << self.denominator)).sum(1)


class CouplingStep(AffineStep):
    """Affine coupling of vectors or images that keeps a range: its network is proved for that range."""

    name = "coupling"
    feature = 51
    clamps = True

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        keys = {"network", "moves", "scales", "denominator", "shape", "low", "high"}
        read_object(record, keys, "a coupling step")
        places, scales = _moved(record, tensors, shape), _named(record["scales"], tensors, "scales").astype(np.int64)
        check_scales(scales, record["denominator"])
        network, seen = Network.from_json(record["network"]), _seen_shape(record["shape"], shape)
        keeps = _keeps(record)
        return cls(network, places, scales, record["denominator"], seen, tensors, context, before, keeps)

    def _parameters(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, np.ndarray]:
        # Elements that stay may lie beyond the range that is kept; they are refused before a network sees them.
        still = x.copy()
        still[:, self.places] = self.after[0]
        check_range(still, *self.after)
        return super()._parameters(x, context)


class AdditiveStep(_Coupling):
    """y = x + shift, modulo the alphabet, for elements that move: a bijection of the integers from low to high.

    Nothing is pushed or popped (integer discrete flows, Hoogeboom et al. 2019). Modulo, because then every item has a
    code whatever the network says, and the probabilities of all items add up to one.
    """

    name = "additive"
    feature = 54
    each = 1

    @classmethod
    def read(
        cls, record: dict[str, Any], tensors: Tensors, context: dict[str, Type], shape: tuple[int, ...], before: Range
    ) -> Step:
        read_object(record, {"network", "moves", "shape"}, "an additive step")
        places, seen = _moved(record, tensors, shape), _seen_shape(record["shape"], shape)
        return cls(Network.from_json(record["network"]), places, seen, tensors, context, before, before)

    def _shifted(self, x: np.ndarray, context: Context, sign: int) -> np.ndarray:
        low, high = self.before
        (shift,) = self.given(x, context)
        out = x.copy()
        out[:, self.places] = (x[:, self.places] + sign * shift - low) % (high - low + 1) + low
        return out

    def _determinant(self, x: np.ndarray, context: Context) -> tuple[np.ndarray, Any]:
        return self._shifted(x, context, 1), 0.0

    def _inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return self._shifted(y, context, -1)


PLAIN_STEPS: dict[str, type[Step]] = {
    kind.name: kind for kind in (OffsetStep, AffineStep, CouplingStep, PermuteStep, ScaleStep, AdditiveStep)
}


def _scaled(stack: Stack, x: np.ndarray, a: np.ndarray, denominator: int, start: bool) -> np.ndarray:
    """floor((x a + r) / 2^denominator), r popped (zero with ``start``) and the remainder pushed; all (n, m)."""
    scaled = x * a
    if not start:
        scaled += pop_uniform(stack, a)
    push_uniform(stack, scaled & ((1 << denominator) - 1), np.full(a.shape, 1 << denominator))
    return scaled >> denominator


def _unscaled(stack: Stack, y: np.ndarray, a: np.ndarray, denominator: int, start: bool) -> np.ndarray:
    """The inverse of ``_scaled``."""
    scaled = (y << denominator) + pop_uniform(stack, np.full(a.shape, 1 << denominator))
    if not start:
        push_uniform(stack, scaled % a, a)
    return scaled // a


def _named(name: Any, tensors: Tensors, what: str) -> np.ndarray:
    require(isinstance(name, str), f"{what} of a step: expected the name of a tensor")
    require(name in tensors, f"{what} of a step: the tensor {name!r:.40} is named, which the program does not hold")
    return tensors[name]


def _moved(record: dict[str, Any], tensors: Tensors, shape: tuple[int, ...]) -> np.ndarray:
    moves = _named(record["moves"], tensors, "moves")
    require(moves.shape == (math.prod(shape),) and bool(np.isin(moves, (0, 1)).all()), "moves are not zeros and ones")
    return np.flatnonzero(moves)


def check_scales(scales: np.ndarray, denominator: Any) -> None:
    """Raise ProgramError unless these are numerators over 2^denominator."""
    require(is_integer(denominator) and 0 <= denominator <= MAX_DENOMINATOR, "a denominator is out of bounds")
    require(scales.ndim == 1 and len(scales) >= 1, "the scales are not a list")
    require(int(scales.min()) >= 1 and int(scales.max()) <= MAX_UNIFORM, "a scale is out of bounds")


def _check_reach(before: Range) -> None:
    require(max(-before[0], before[1]) <= FLOAT32_EXACT, "a step that scales needs values within 2^24")


def _keeps(record: dict[str, Any]) -> Range:
    low, high = record["low"], record["high"]
    fine = is_integer(low) and is_integer(high) and -FLOAT32_EXACT <= low <= high <= FLOAT32_EXACT
    require(fine, "the range that a step keeps is not one within 2^24")
    return low, high


def _seen_shape(record: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    fine = isinstance(record, list) and len(record) in (1, 3) and all(is_integer(s) and s >= 1 for s in record)
    require(fine, "the shape of a step is neither that of a vector nor that of an image")
    require(math.prod(record) == math.prod(shape), "the shape of a step does not fit the items")
    return tuple(record)
