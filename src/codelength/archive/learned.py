"""Decoding blocks of programs that learn (docs/format.md, "Blocks of type 4"): programs proved once, teachers kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from codelength.archive.directory import Block, Directory
from codelength.archive.fitting import to_items
from codelength.archive.layout import Stream, values_memory
from codelength.archive.model import Learner, Program, ProgramLoader
from codelength.archive.ragged import Ragged, Values
from codelength.archive.wire import check_of
from codelength.errors import ProgramError, StackExhausted, UsageError

#: What blocks have taught is kept within so many bytes; that of the one used last in any case.
TAUGHT_BYTES = 2**28


def largest(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the largest height and width of these, by which memory is reckoned."""
    return (max(shape[0] for shape in shapes), max(shape[1] for shape in shapes), *shapes[0][2:])


def events_of(stream: Stream, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes of a program's images for items of these shapes."""
    if not stream.is_free:
        return [stream.event] * len(shapes)
    return [(*shape[:2], *stream.event[2:]) for shape in shapes]


def items_of(stream: Stream, images: Sequence[np.ndarray]) -> Values:
    """Items in the stream's dtype of a program's images. Raises ValueError, as ``to_items`` does."""
    if len({image.shape for image in images}) == 1:
        return to_items(np.stack(images), stream.sized(*images[0].shape[:2]))
    return Ragged(to_items(image[None], stream.sized(*image.shape[:2]))[0] for image in images)


@dataclass
class Programs:
    """The programs of an archive, loaded when the first block asks for them, and what first blocks have taught them."""

    directory: Directory
    loader: ProgramLoader
    read: Callable[[Block], bytes]
    _loaded: dict[int, Program] = field(default_factory=dict)
    _taught: OrderedDict[int, tuple[Learner, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of programs
    _lesson: threading.RLock = field(default_factory=threading.RLock)  # of what blocks have taught

    def load(self, number: int) -> Program:
        """A program by its number, from 1. Raises ProgramError, UnknownFeature."""
        with self._lock:
            if number not in self._loaded:
                program = self.loader(self.directory.programs[number - 1])
                sizes = program.space.shape
                try:
                    if len(sizes) not in (2, 3) or sizes[:2] != (None, None) or None in sizes[2:]:
                        raise UsageError(f"its items are {program.space}")
                    program.learner_bytes((1, 1, *(size or 1 for size in sizes[2:])))
                except UsageError as error:
                    raise ProgramError(f"program {number} is none that learns from images: {error}") from None
                self._loaded[number] = program
            return self._loaded[number]

    def memory(self, block: Block) -> int:
        """Bytes that decoding a block needs. Raises ValueError where its items do not fit the program."""
        program, stream = self.load(block.program), self.directory.streams[block.stream]
        if stream.is_free:
            shape = largest(events_of(stream, self.directory.shapes_of(block)))
        else:
            shape = stream.event
        if not program.space.admits(shape):
            raise ValueError("its items do not fit the program")
        return self.values_memory(block) + (2 if block.taught else 1) * program.learner_bytes(shape)

    def values_memory(self, block: Block) -> int:
        """The part of it that does not depend on the program."""
        elements = self.directory.elements(block.stream, block.first, block.first + block.count)
        return values_memory(elements, self.directory.streams[block.stream].dtype)

    def decode(self, block: Block, stored: bytes) -> Values:
        """Items of a block whose memory has been checked. Raises ValueError where its teacher is corrupt."""
        if not block.taught and (block.stream, block.program) in self._teaching:
            with self._lesson:  # so that whoever needs what it teaches waits, and need not decode it once more
                values, learner = self._decode(block, stored, None)
                if check_of(values.tobytes()) == block.check:
                    self._keep(block, learner)
                return values
        teacher = self._teacher(self.directory.teacher_of(block)).copy() if block.taught else None
        return self._decode(block, stored, teacher)[0]

    @cached_property
    def _teaching(self) -> set[tuple[int, int]]:
        """Streams and programs of which the first block has taught others."""
        return {(block.stream, block.program) for block in self.directory.blocks if block.taught}

    def _decode(self, block: Block, stored: bytes, learner: Learner | None) -> tuple[Values, Learner]:
        """Items of a block, and who knows them then; ``learner`` is who begins, one that knows nothing where None."""
        learner = learner or self.load(block.program).learner()
        stream = self.directory.streams[block.stream]
        shapes = events_of(stream, self.directory.shapes_of(block))
        images = [np.asarray(image) for image in learner.decode(np.frombuffer(stored, "<u4"), shapes)]
        if [image.shape for image in images] != shapes or any(image.dtype.kind not in "iu" for image in images):
            raise ValueError("the program returned other images than it was asked for")
        return items_of(stream, images), learner

    def _teacher(self, block: Block) -> Learner:
        """What a block has taught its program: never to be used but through a copy."""
        with self._lesson:
            if block.number in self._taught:
                self._taught.move_to_end(block.number)
                return self._taught[block.number][0]
            try:
                values, learner = self._decode(block, self.read(block), None)
            except (StackExhausted, ProgramError, ValueError) as error:
                raise ValueError(f"block {block.number}, which it needs, is corrupt: {error}") from error
            if check_of(values.tobytes()) != block.check:
                raise ValueError(f"block {block.number}, which it needs, is corrupt")
            self._keep(block, learner)
            return learner

    def _keep(self, block: Block, learner: Learner) -> None:
        stream = self.directory.streams[block.stream]
        shape = largest(events_of(stream, self.directory.shapes_of(block))) if stream.is_free else stream.event
        with self._lesson:
            self._taught[block.number] = learner, self.load(block.program).learner_bytes(shape)
            held = sum(size for _, size in self._taught.values())
            while held > TAUGHT_BYTES and len(self._taught) > 1:
                held -= self._taught.popitem(last=False)[1][1]
