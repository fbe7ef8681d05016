"""What an adaptive law has learned, and room to work in, as the arrays that the compiled loop takes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from codelength.adaptive import tables
from codelength.adaptive.kernel import ABOVE, ASIDE, KINDS, LINES, SLOTS, TEXTURES
from codelength.adaptive.program import FAR, KIND, MAX_PARTS, MAX_TAPS, TREES, Program
from codelength.adaptive.tables import CLASSES

#: Knots of the probability maps: 256 units of the logit apart.
KNOTS = 25
_NEAR = 64


class Settings(NamedTuple):
    """The plain numbers of a program. line_bits: log2 of the number of lines of sixteen counters; uses_far: whether any
    context asks for pixels beyond the nearest six. The others are ``Program``'s."""

    top: int
    value_tree: int
    value_bits: int
    classes_at: int
    most_class: int
    least_error: int
    scale_rate: int
    bias_rate: int
    whiten: int
    whiten_from: int
    regular: int
    gradient: int
    solve: int
    weigh: int
    counter_limit: int
    rate_first: int
    rate_last: int
    rate_final: int
    maps: int
    double: int
    line_bits: int
    sets: int
    coarse_shift: int
    uses_far: int


class Lists(NamedTuple):
    """The tables of a program: taps by predictor and channel, and contexts as numbers of terms."""

    taps: np.ndarray
    tap_counts: np.ndarray
    split: np.ndarray
    forget: np.ndarray
    terms: np.ndarray
    parts: np.ndarray
    part_counts: np.ndarray
    far: np.ndarray


class Tables(NamedTuple):
    squash: np.ndarray
    stretch: np.ndarray
    cumulative: np.ndarray
    classes: np.ndarray
    rates: np.ndarray
    confidence: np.ndarray


class State(NamedTuple):
    """What is carried from pixel to pixel and image to image. K predictors, G = K + 2 guesses, C channels, N contexts,
    S sets of weights, I inputs."""

    counts: np.ndarray  # images, rows, decisions so far
    errors: np.ndarray  # (G, C, 3, W + 8) int32: sizes of the errors of the last rows, Q6
    signed: np.ndarray  # (C, 2, W + 8) int32: what the last guess was short of
    weights: np.ndarray  # (K, 4 C, 32) int32, Q16
    products: np.ndarray  # (K, 4 C, 32, 32) int32
    targets: np.ndarray  # (K, 4 C, 32) int32
    scales: np.ndarray  # (G, C, 40) int64: mean errors by class, Q16
    bias: np.ndarray  # (C, 512) int64, Q14
    counters: np.ndarray  # (N, 2^table) uint32: probability of a one in 22 bits, times seen in 10
    mixers: np.ndarray  # (S, rows, I) int32, Q16
    seen: np.ndarray  # (S, rows) int64
    finals: np.ndarray  # (nodes, S) int32, Q16
    maps: np.ndarray  # (nodes * knots) int32
    near_maps: np.ndarray

    def copy(self) -> State:
        copies = State(*(aligned(array.shape, array.dtype) for array in self))
        for copy, array in zip(copies, self):
            copy[...] = array
        return copies

    def of_width(self, width: int) -> State:
        """The same, which shares its arrays but for those as wide as an image."""
        shape = (*self.errors.shape[:3], width + 2 * ASIDE)
        return self._replace(errors=np.zeros(shape, np.int32), signed=np.zeros((shape[1], 2, shape[3]), np.int32))

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self)


class Work(NamedTuple):
    """Room for what belongs to one sample."""

    features: np.ndarray
    terms: np.ndarray
    near: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray
    scale_index: np.ndarray
    low_mass: np.ndarray
    high_mass: np.ndarray
    mass: np.ndarray
    mass2: np.ndarray
    seen: np.ndarray
    xs: np.ndarray
    hashes: np.ndarray
    places: np.ndarray
    held: np.ndarray
    inputs: np.ndarray
    rows: np.ndarray
    logits: np.ndarray
    chances: np.ndarray


def aligned(shape: tuple[int, ...], dtype: DTypeLike, value: int = 0) -> np.ndarray:
    """An array filled with a value that begins with a line of the processor's cache: sixteen counters are one."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, np.uint8)  # numpy asks for large pages where memory is not zeroed by the system
    start = -room.ctypes.data % 64
    array = room[start : start + size].view(dtype).reshape(shape)
    array.fill(value)
    return array


def padded(inputs: int) -> int:
    """Whole vectors of the processor's: the inputs behind the last are zero, and so their weights stay."""
    return (inputs + 7) & ~7


TABLES = Tables(
    tables.SQUASH, tables.STRETCH, tables.CUMULATIVE, tables.CLASS, tables.RATE, tables.CONFIDENCE
)  # fmt: skip


def numbers_of(program: Program) -> tuple[Settings, Lists]:
    """A program as the compiled loop takes it."""
    k, c = len(program.predictors), program.channels
    taps = np.zeros((k, c, MAX_TAPS, 4), np.int64)
    counts = np.zeros((k, c), np.int64)
    for i, predictor in enumerate(program.predictors):
        for channel in range(c):
            seen = [(channel - back, *rest) for back, *rest in predictor.taps if back <= channel]
            counts[i, channel] = len(seen)
            if seen:
                taps[i, channel, : len(seen)] = seen
    terms = {term: place for place, term in enumerate(program.terms)}
    parts = np.zeros((len(program.contexts), MAX_PARTS, 2), np.int64)
    for j, context in enumerate(program.contexts):
        for i, (code, shift) in enumerate(context):
            parts[j, i] = terms[code % KIND, code // KIND], shift
    settings = Settings(
        top=program.symbols - 1,
        value_tree=TREES.index(program.tree),
        value_bits=program.bits,
        classes_at=program.class_shift,
        most_class=program.most_class,
        least_error=program.least_error,
        scale_rate=program.scale_rate,
        bias_rate=program.bias_rate,
        whiten=program.whiten,
        whiten_from=program.whiten_from,
        regular=program.regularise,
        gradient=program.gradient,
        solve=program.solve,
        weigh=program.weigh,
        counter_limit=program.counter_limit,
        rate_first=program.rate_first,
        rate_last=program.rate_last,
        rate_final=program.rate_final,
        maps=int(program.maps),
        double=int(program.double),
        line_bits=program.table_bits - 4,
        sets=program.sets,
        coarse_shift=max(0, program.bits - 2),
        uses_far=int(any(32 < feature < 36 or feature == 38 for feature, _ in program.terms)),
    )
    return settings, Lists(
        taps=taps,
        tap_counts=counts,
        split=np.array([p.split for p in program.predictors]),
        forget=np.array([p.forget for p in program.predictors], np.int64),
        terms=np.array(program.terms or [(0, 0)], np.int64).reshape(-1, 2),
        parts=parts,
        part_counts=np.array([len(context) for context in program.contexts], np.int64),
        far=np.array(FAR, np.int64),
    )


def untaught(program: Program, width: int = 1) -> State:
    """The state before the first image."""
    k, n, c, s = len(program.predictors), len(program.contexts), program.channels, program.sets
    guesses, inputs, nodes = k + 2, program.inputs, c * LINES * SLOTS
    weights = np.zeros((k, 4 * c, MAX_TAPS), np.int32)
    weights[..., :2] = 1 << 15
    products = np.zeros((k, 4 * c, MAX_TAPS, MAX_TAPS), np.int32)
    diagonal = np.arange(MAX_TAPS)
    for i, predictor in enumerate(program.predictors):
        products[i][..., diagonal, diagonal] = program.regularise << 6 >> max(0, predictor.forget - 11)
    mixers = aligned((s, max(nodes, KINDS * CLASSES, KINDS * TEXTURES * 4), padded(inputs)), np.int32)
    mixers[..., :guesses] = 45875 // guesses
    mixers[..., guesses : inputs - 1] = 19660 // (n * (2 if program.double else 1))
    knots = [tables.SQUASH[min(max(256 * j - 3072, -3071), 3071) + 3071] for j in range(KNOTS)]
    ladder = np.array(knots, np.int32)
    scales = [max(19660, math.isqrt(1 << (23 + j))) for j in range(CLASSES)]
    counters = aligned((n, 1 << program.table_bits), np.uint32, 1 << 31)
    return State(
        counts=np.zeros(3, np.int64),
        errors=np.zeros((guesses, c, 3, width + 2 * ASIDE), np.int32),
        signed=np.zeros((c, 2, width + 2 * ASIDE), np.int32),
        weights=weights,
        products=products,
        targets=np.zeros((k, 4 * c, MAX_TAPS), np.int32),
        scales=np.broadcast_to(np.array(scales, np.int64), (guesses, c, CLASSES)).copy(),
        bias=np.zeros((c, 512), np.int64),
        counters=counters,
        mixers=mixers,
        seen=np.zeros(mixers.shape[:2], np.int64),
        finals=np.full((nodes, s), (1 << 16) // s, np.int32),
        maps=np.tile(ladder, nodes if program.maps else 1),
        near_maps=np.tile(ladder, KINDS * 32 * _NEAR if program.maps else 1),
    )


def new_planes(channels: int, height: int, width: int) -> np.ndarray:
    return np.zeros((2, channels, height + ABOVE, width + 2 * ASIDE), np.int32)


def new_work(program: Program) -> Work:
    k, n = len(program.predictors), len(program.contexts)
    numbers = lambda *shape: np.zeros(shape, np.int64)  # noqa: E731
    return Work(
        features=numbers(64),
        near=numbers(12),
        terms=numbers(max(1, len(program.terms))),
        mean=numbers(k + 2),
        inverse=numbers(k + 2),
        scale_index=numbers(k + 2),
        low_mass=numbers(k + 2),
        high_mass=numbers(k + 2),
        mass=numbers(k + 2),
        mass2=numbers(k + 2),
        seen=numbers(k, MAX_TAPS),
        xs=np.zeros(MAX_TAPS, np.int32),
        hashes=np.zeros(n, np.uint64),
        places=np.zeros(n, np.uint64),
        held=numbers(n),
        inputs=np.zeros(padded(program.inputs), np.int32),
        rows=numbers(3),
        logits=numbers(3),
        chances=numbers(3),
    )
