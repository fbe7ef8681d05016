"""The ways to code a block of items: by a trained model, by a program that learns, by general codecs.

An encoder makes blocks of items and touches no file; what it makes does not depend on who else is at work, so blocks
may be encoded in several threads.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from codelength.archive import codecs, general
from codelength.archive.fitting import find_levels, representable, to_events, to_items
from codelength.archive.layout import MODEL, Stream
from codelength.archive.learned import items_of
from codelength.archive.model import Learner, Model, Program
from codelength.archive.ragged import Ragged, Values
from codelength.archive.wire import check_of
from codelength.errors import NotRepresentable

Clock = Callable[[], float]


@dataclass
class Encoded:
    """A block as encoders make it.

    values: the items in it; refused: which of those that were asked for are not (none where None). check: of the items.
    coded: words of the model or the program, None where it codes nothing; sizes: of the groups of a model.
    packed: by a general codec, None where it was seen not to be smaller.
    lengths: bits of each item as a model or a program codes it. startup: bits that buy no information.
    sound: whether it was decoded to what it was made from (or was not to be). seconds: that decoding took.
    learner: what a program knows when it has coded the block.
    """

    values: Values
    check: bytes
    coded: bytes | None = None
    packed: general.Packed | None = None
    refused: np.ndarray | None = None
    sizes: tuple[int, ...] = ()
    lengths: np.ndarray | None = None
    startup: float = 0.0
    sound: bool = True
    seconds: float | None = None
    learner: Learner | None = field(default=None, repr=False)


class Encoder(Protocol):
    """stream: how its blocks lie in the archive. items, size: a block's at most. memory: bytes that decoding needs."""

    stream: Stream
    items: int
    size: int
    memory: int

    def accepts(self, values: np.ndarray) -> np.ndarray:
        """(n,) booleans: which of ``values`` (n, *shape) come back bit for bit."""
        ...

    def key(self) -> bytes:
        """What the bytes of the next block depend on beside its items."""
        ...

    def encode(self, values: Values) -> Encoded: ...


def check_of_values(values: Values) -> bytes:
    return check_of(values.tobytes())


class CodecEncoder:
    """General codecs."""

    def __init__(self, stream: Stream, items: int, size: int, memory: int) -> None:
        self.stream, self.items, self.size, self.memory = stream, items, size, memory

    def accepts(self, values: np.ndarray) -> np.ndarray:
        return np.ones(len(values), bool)

    def key(self) -> bytes:
        return b"codecs" + self.stream.to_bytes()

    def encode(self, values: Values) -> Encoded:
        packed = general.pack(values, alone=self.stream.event != ())
        return Encoded(values, check_of_values(values), packed=packed)


class ModelEncoder:
    """A trained model. verify: whether blocks are decoded. clock: to measure that by."""

    def __init__(
        self, model: Model, stream: Stream, items: int, size: int, memory: int, *, verify: bool, clock: Clock
    ) -> None:
        self.model, self.stream = model, stream
        self.items, self.size, self.memory = items, size, memory
        self.verify, self.clock = verify, clock
        self._seen = False

    def accepts(self, values: np.ndarray) -> np.ndarray:
        if not self._seen:  # the first items decide what black and white are
            self.stream = replace(self.stream, levels=find_levels(values, self.model.space.symbols))
            self._seen = True
        return representable(values, self.stream, self.model.space.symbols)

    def key(self) -> bytes:
        return b"model" + self.stream.to_bytes() + self.model.sha256.encode()

    def encode(self, values: Values) -> Encoded:
        assert isinstance(values, np.ndarray)
        block = encode_with_model(self.model, to_events(values, self.stream))
        if block is None:
            return Encoded(values[:0], b"", refused=np.ones(len(values), bool))
        values = values[~block.refused]
        encoded = Encoded(
            values,
            check_of_values(values),
            np.ascontiguousarray(block.words, "<u4").tobytes(),
            refused=block.refused,
            sizes=tuple(int(size) for size in block.sizes),
            lengths=block.lengths,
            startup=block.startup,
        )
        if self.verify:
            start = self.clock()
            decoded = self.model.decode_block(block.words, list(block.sizes), block.events.shape[1:])
            encoded.seconds = self.clock() - start
            agrees = getattr(self.model, "agrees", None)
            encoded.sound = (
                np.array_equal(decoded, block.events)
                and (agrees is None or bool(agrees(block.events)))
                # The way from events back to items must give the very bytes that the block's check is made of.
                and to_items(block.events, self.stream).tobytes() == values.tobytes()
            )
        return encoded


@dataclass
class ModelBlock:
    """A block of the model. refused (n,): which of the events that were asked for are not in it; events (m, *event):
    those that are; lengths: their promised bits (m,); sizes, words: as ``Model.encode_block`` gives them."""

    refused: np.ndarray
    events: np.ndarray
    lengths: np.ndarray
    sizes: list[int]
    words: np.ndarray
    startup: float


def encode_with_model(model: Model, events: np.ndarray) -> ModelBlock | None:
    """A block of those events (n, *event) that the model does not refuse; None where it refuses all."""
    # Other latents are drawn for this than in the block, and they can leave their range as well.
    lengths = model.code_length_bits(events, refuse=False)
    refused = ~np.isfinite(lengths)
    while not refused.all():
        some = events[~refused]
        try:
            sizes, words = model.encode_block(some)
            startup = float(model.startup_bits(some))
            return ModelBlock(refused, some, lengths[~refused], list(sizes), words, startup)
        except NotRepresentable as error:
            left = np.flatnonzero(~refused)
            refused[left[list(error.items)] if error.items else left] = True
    return None


class ProgramEncoder:
    """A program that learns, with general codecs for blocks that they make smaller.

    taught: blocks begin with what the first one that it codes has taught it; until there is one, blocks must be encoded
    one by one.
    """

    def __init__(
        self, program: Program, stream: Stream, items: int, size: int, memory: int, *, taught: bool, verify: bool
    ) -> None:
        self.program, self.stream = program, stream
        self.items, self.size, self.memory = items, size, memory
        self.taught, self.verify = taught, verify
        self._teacher: Learner | None = None
        self._lesson: Values | None = None
        self._lesson_check = b""
        self._lock = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether the next block may be the one that teaches all others."""
        return self.taught and self._lesson is None

    def teach(self, values: Values, check: bytes, learner: Learner | None) -> None:
        """From now on blocks begin with what these items have taught: ``learner``, or who is to be taught yet."""
        self._teacher, self._lesson, self._lesson_check = learner, values, check

    def accepts(self, values: np.ndarray) -> np.ndarray:
        return representable(values, self._sized(values), self.program.space.symbols)

    def key(self) -> bytes:
        return b"program" + self.stream.to_bytes() + self.program.sha256.encode() + self._lesson_check

    def encode(self, values: Values) -> Encoded:
        encoded = Encoded(values, check_of_values(values))
        images = self._images(values)
        learner = self._begin()
        try:
            encoded.lengths = np.empty(len(images))
            words = np.ascontiguousarray(learner.encode(images, encoded.lengths), "<u4")
        except NotRepresentable:  # beyond a limit of programs, such as that on the work of one image
            encoded.lengths, encoded.packed = None, general.pack(values, alone=True)
            return encoded
        encoded.learner = learner if self.waits else None
        encoded.coded = words.tobytes()
        if self.verify:
            start = time.perf_counter()
            decoded = [np.asarray(image) for image in self._begin().decode(words, [image.shape for image in images])]
            encoded.seconds = time.perf_counter() - start
            encoded.sound = [image.shape for image in decoded] == [image.shape for image in images] and items_of(
                self.stream, decoded
            ).tobytes() == values.tobytes()
        encoded.packed = general.pack(values, alone=True, below=len(encoded.coded))
        return encoded

    def _begin(self) -> Learner:
        """One that knows what blocks begin with."""
        if self._lesson is None:
            return self.program.learner()
        with self._lock:
            if self._teacher is None:
                self._teacher = self.program.learner()
                self._teacher.encode(self._images(self._lesson))
            return self._teacher.copy()

    def _images(self, values: Values) -> Sequence[np.ndarray]:
        small = np.uint8 if self.program.space.symbols <= 256 else np.uint16
        if isinstance(values, Ragged):
            return [to_events(item[None], self._sized(item[None]))[0].astype(small) for item in values]
        return list(to_events(values, self._sized(values)).astype(small))

    def _sized(self, values: np.ndarray) -> Stream:
        return self.stream.sized(*values.shape[1:3]) if self.stream.is_free else self.stream


def digest_of(encoder: Encoder, values: Values) -> bytes:
    """What the bytes of a block depend on, in sixteen bytes."""
    digest = hashlib.blake2b(encoder.key(), digest_size=16)
    digest.update(str(values.dtype.str).encode())
    for item in values:
        digest.update(str(item.shape).encode())
        digest.update(np.ascontiguousarray(item).tobytes())
    return digest.digest()


def coder_name(stream: Stream, by_program: bool, codec: int) -> str:
    """Who codes a block, in a word."""
    return "model" if stream.type == MODEL else "adaptive" if by_program else codecs.NAMES[codec]
