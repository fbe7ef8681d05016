"""Coding sequences of images with a law that learns from them (docs/format.md, "Adaptive law")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from codelength.adaptive.kernel import code
from codelength.adaptive.program import Program
from codelength.adaptive.state import TABLES, new_planes, new_work, numbers_of, untaught
from codelength.coding.compiled import kernel
from codelength.coding.logarithm import LENGTH_BITS, log2_fixed
from codelength.coding.stack import EMPTY_STATE, Stack, push_one
from codelength.errors import NotRepresentable, ProgramError

#: A stack is closed at the end of the row that brings its decisions to this number, and the next one begun.
SEGMENT = 1 << 20
#: No decision tree is deeper: a flag, a sign, and the buckets and bits of a magnitude.
MOST_DECISIONS = 48
#: Samples that go through the compiled loop at a time.
_AT_ONCE = 1 << 22
_NO_DECISIONS = np.zeros(0, np.uint32)
_NO_ENDS = np.zeros(0, np.int64)
_NO_STACK = np.zeros((1, 1), np.uint64), np.zeros((1, 0), np.uint32), np.zeros(1, np.int64)


class Learner:
    """A program and what it has learned so far. One thread at a time; copies are independent."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._settings, self._lists = numbers_of(program)
        self._state = untaught(program)
        self._work = new_work(program)
        self._planes = new_planes(program.channels, 1, 1)
        self._shape: tuple[int, ...] | None = None

    def copy(self) -> Learner:
        """An independent learner that knows the same."""
        twin = object.__new__(Learner)
        twin.program, twin._settings, twin._lists = self.program, self._settings, self._lists
        twin._state, twin._planes, twin._shape = self._state.copy(), self._planes.copy(), self._shape
        twin._work = new_work(self.program)
        return twin

    @property
    def nbytes(self) -> int:
        """Bytes of what it knows."""
        return self._state.nbytes + self._planes.nbytes

    # ---------------------------------------------------------------------------------------------------- three uses

    def encode(self, images: Sequence[np.ndarray], lengths: np.ndarray | None = None) -> np.ndarray:
        """The words (uint32) of images (H, W) or (H, W, C), integers, coded one after another.

        lengths: float64 (n,), to be given the bits of each image.

        Raises NotRepresentable for images with other channels or symbols, and names them.
        """
        words: list[np.ndarray] = []
        for decisions in self.segments(images, lengths):
            stack = Stack(1)
            push_decisions(stack, decisions)
            words.append(stack.to_words())
        return np.concatenate(words) if words else np.zeros(0, np.uint32)

    def segments(self, images: Sequence[np.ndarray], lengths: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """The decisions (uint32: twice the probability of a one in 22 bits, plus the bit) of each segment.

        lengths: as of ``encode``.
        """
        pixels = self._ordered(images)
        buffer = np.empty(_room(pixels), np.uint32)
        made = self._state.counts
        if lengths is not None:
            lengths[:] = 0
        number = 0
        for batch in _batches(pixels):
            self._begin(batch.shape[1:])
            ends = _NO_ENDS if lengths is None else np.zeros(batch.size, np.int64)
            item = row = 0
            while item < len(batch):
                first, begun = _samples(batch, item, row), int(made[2])
                item, row, _ = self._code(batch, item, row, SEGMENT, decisions=buffer, ends=ends)
                if lengths is not None:
                    last, each = _samples(batch, item, row), batch[0].size
                    numbers = np.arange(first // each, -(-last // each))
                    stops = ends[np.minimum((numbers + 1) * each, last) - 1] - begun
                    bits = np.zeros(len(numbers), np.int64)
                    count_lengths(buffer[begun : made[2]], stops, bits)
                    lengths[number + numbers] += bits / (1 << LENGTH_BITS)
                if made[2] >= SEGMENT:
                    yield buffer[: made[2]]
                    made[2] = 0
            number += len(batch)
        if made[2]:
            yield buffer[: made[2]]
            made[2] = 0

    def decode(self, words: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """The images of these shapes, int32, whose words ``encode`` gave.

        Raises ProgramError or StackExhausted where the words are not those of such images.
        """
        rest = np.asarray(words, np.uint32)
        stack: Stack | None = None
        images = []
        for batch in _batches([self._blank(shape) for shape in shapes]):
            self._begin(batch.shape[1:])
            item = row = 0
            while item < len(batch):
                stack = stack or _opened(rest)
                item, row, fine = self._code(batch, item, row, SEGMENT, stack=stack)
                stack.check(fine)
                if self._state.counts[2] >= SEGMENT:
                    rest, stack = self._closed(stack), None
            images += list(batch)
        if stack is not None:
            rest = self._closed(stack)
        if len(rest):
            raise ProgramError("words are left over at the end of a block")
        return [self._as_given(image, shape) for image, shape in zip(images, shapes)]

    def pop(self, stack: Stack, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Images of these shapes from the first lane of a stack, as one segment. Raises StackExhausted."""
        images = []
        for batch in _batches([self._blank(shape) for shape in shapes]):
            self._begin(batch.shape[1:])
            item = row = 0
            while item < len(batch):
                stack.reserve(pops=batch.shape[2] * batch.shape[3] * MOST_DECISIONS)
                item, row, fine = self._code(batch, item, row, 1, stack=stack)  # a row at a time
                stack.check(fine)
                self._state.counts[2] = 0
            images += list(batch)
        return [self._as_given(image, shape) for image, shape in zip(images, shapes)]

    def lengths(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Bits of each image given those before it, float64 (n,). Raises NotRepresentable."""
        return np.array([int(bits.sum()) for bits in self.sample_lengths(images)], np.float64) / (1 << LENGTH_BITS)

    def maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Bits of each sample, float32 arrays of the images' shapes. Raises NotRepresentable."""
        lengths = self.sample_lengths(images)
        return [
            (self._as_given(bits, image.shape) / (1 << LENGTH_BITS)).astype(np.float32)
            for bits, image in zip(lengths, images)
        ]

    def sample_lengths(self, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """For each image the code lengths of its samples in coding order, (H, W, C) int64, units of 2^-20 bits."""
        pixels = self._ordered(images)
        buffer = np.empty(_room(pixels), np.uint32)
        for batch in _batches(pixels):
            self._begin(batch.shape[1:])
            lengths, ends = np.zeros(batch.size, np.int64), np.zeros(batch.size, np.int64)
            item = row = first = 0
            while item < len(batch):
                item, row, _ = self._code(batch, item, row, SEGMENT, decisions=buffer, ends=ends)
                last = (item * batch.shape[1] + row) * batch.shape[2] * batch.shape[3]
                count_lengths(buffer, ends[first:last], lengths[first:last])
                first = last
                self._state.counts[2] = 0
            yield from lengths.reshape(batch.shape)

    # --------------------------------------------------------------------------------------------------------- passes

    def _begin(self, shape: tuple[int, ...]) -> None:
        """Make room for images of a shape. Those of another shape before them are no longer seen."""
        if shape != self._shape:
            height, width, channels = shape
            self._planes = new_planes(channels, height, width)
            if self._shape is None or self._shape[1] != width:
                self._state = self._state.of_width(width)
            self._shape = shape

    def _code(
        self,
        pixels: np.ndarray,
        item: int,
        row: int,
        limit: int,
        *,
        decisions: np.ndarray = _NO_DECISIONS,
        ends: np.ndarray = _NO_ENDS,
        stack: Stack | None = None,
    ) -> tuple[int, int, bool]:
        arrays = _NO_STACK if stack is None else (stack.state, stack.words, stack.count)
        return code(
            stack is not None, pixels, item, row, self._settings, self._lists, TABLES, self._state, self._planes,
            self._work, decisions, ends, limit, *arrays,
        )  # fmt: skip

    def _closed(self, stack: Stack) -> np.ndarray:
        """The words behind a segment that has been read."""
        if (stack.state != EMPTY_STATE).any():
            raise ProgramError("bits are left over at the end of a segment")
        self._state.counts[2] = 0
        return stack.words[0, : stack.count[0]][::-1]

    # --------------------------------------------------------------------------------------------------------- images

    def _blank(self, shape: tuple[int, ...]) -> np.ndarray:
        if not self.program.admits(shape):
            raise ProgramError(f"an image of shape {shape}, where {self.program.channels} channels were expected")
        return np.zeros((*shape[:2], self.program.channels), np.int32)

    def _ordered(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Images as (H, W, C) int32, channels in coding order."""
        program, ordered, wrong = self.program, [], []
        for number, image in enumerate(images):
            image = np.asarray(image)
            fits = program.admits(image.shape) and image.dtype.kind in "biu"
            if fits and int(image.min()) >= 0 and int(image.max()) < program.symbols:
                pixels = image.reshape(*image.shape[:2], program.channels)
                ordered.append(np.ascontiguousarray(pixels[..., list(program.order)], np.int32))
            else:
                wrong.append(number)
        if wrong:
            raise NotRepresentable(
                f"expected images of {program.channels} channels and whole numbers from 0 to {program.symbols - 1:,}",
                wrong,
                _described(np.asarray(images[wrong[0]])),
            )
        return ordered

    def _as_given(self, image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        back = np.argsort(self.program.order)
        return np.ascontiguousarray(image[..., back]).reshape(shape)


def _described(image: np.ndarray) -> str:
    values = f" from {image.min()} to {image.max()}" if image.size and image.dtype.kind in "biuf" else ""
    return f"{image.dtype} of shape {image.shape}{values}"


def _batches(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Runs of images of one shape, as arrays (n, H, W, C)."""
    for shape, group in itertools.groupby(images, key=lambda image: image.shape):
        step = max(1, _AT_ONCE // math.prod(shape))
        while run := list(itertools.islice(group, step)):
            yield np.stack(run)


def _samples(batch: np.ndarray, item: int, row: int) -> int:
    """Samples of a batch (n, H, W, C) before a row of an item."""
    return (item * batch.shape[1] + row) * batch.shape[2] * batch.shape[3]


def _room(images: Sequence[np.ndarray]) -> int:
    """Decisions that may be made before a segment ends: it does at the end of a row only."""
    row = max((image.shape[1] * image.shape[2] for image in images), default=0)
    return min(SEGMENT + row * MOST_DECISIONS, sum(image.size for image in images) * MOST_DECISIONS)


def _opened(words: np.ndarray) -> Stack:
    try:
        return Stack.from_words([words], 1)
    except ValueError as error:
        raise ProgramError(f"the words of a block are not a stack: {error}") from None


@kernel
def _push_decisions(decisions, state, words, count):
    """Push bits, the last one first; a one lies below a zero."""
    for i in range(decisions.size - 1, -1, -1):
        decision = np.int64(decisions[np.uint64(i)])
        chance = decision >> 1
        if decision & 1:
            push_one(state, words, count, 0, 0, 0, chance, 22)
        else:
            push_one(state, words, count, 0, 0, chance, 4194304 - chance, 22)


def push_decisions(stack: Stack, decisions: np.ndarray) -> None:
    """Put decisions (n,), as ``Learner.segments`` gives them, on the first lane of a stack."""
    stack.reserve(pushes=len(decisions))
    _push_decisions(np.ascontiguousarray(decisions), stack.state, stack.words, stack.count)


@kernel
def count_lengths(decisions, ends, lengths):
    """lengths[i] = code length of the decisions that end before ends[i], units of 2^-20 bits."""
    at = np.int64(0)
    for i in range(ends.size):
        total = np.int64(0)
        while at < ends[i]:
            decision = np.int64(decisions[np.uint64(at)])
            chance = decision >> 1
            if not decision & 1:
                chance = 4194304 - chance
            total += 23068672 - log2_fixed(chance)
            at += 1
        lengths[i] = total
