"""Writing the items of a plan: each goes its way, and blocks of it to the archive."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from codelength.archive.encoders import Encoded, Encoder, ModelEncoder, ProgramEncoder, coder_name
from codelength.archive.ordered import Line
from codelength.archive.output import Output, program_cost
from codelength.archive.pending import Pending
from codelength.archive.plan import ByModel, Plan
from codelength.archive.ragged import Values, shapes_of
from codelength.archive.sizing import BLOCK_BYTES, Encoders
from codelength.archive.sources import ItemClass, Source
from codelength.errors import CorruptBlock


@dataclass(frozen=True)
class Written:
    """A block of items that has been written.

    plan, way: their numbers; the last way may be the one that goes without saying. entries (n,): of its items.
    raw_bytes: of the items; bytes: of the block. coder: ``adaptive``, ``model``, or the name of a general codec.
    bits (n,): of each item as a model or a program codes it, where one was asked. seconds: to decode it, and the
    block that has taught its program, where that was done.
    """

    plan: int
    way: int
    entries: np.ndarray
    raw_bytes: int
    bytes: int
    coder: str
    bits: np.ndarray | None = None
    seconds: float | None = None


class Encode(Protocol):
    """Encodes a block, or knows what has become of it before."""

    def __call__(self, encoder: Encoder, values: Values) -> Callable[[], Encoded]: ...


class PileWriter:
    """Writes the items of one plan.

    number: of the plan. encode: gives the task that makes a block. line: does these tasks. done: called for each block
    that has been written, with its promised bits and what its start costs. learn_from: lets a program that goes on with
    a stream know what the stream's first block has taught it.
    """

    def __init__(
        self,
        number: int,
        plan: Plan,
        encoders: Encoders,
        output: Output,
        encode: Encode,
        line: Line,
        done: Callable[[Written, Encoded], None],
        learn_from: Callable[[int, ProgramEncoder], None] = lambda stream, encoder: None,
    ) -> None:
        self.number, self.plan, self.learn_from = number, plan, learn_from
        self.output, self.encode, self.line, self.done = output, encode, line, done
        self._read, self._total = 0, sum(len(item_class.entries) for item_class in plan.classes)
        ways = encoders.of_plan(plan)
        self.ways = [_Way(self, way, encoder) for way, encoder in ways]
        # What a trained model refuses when it comes to it goes to streams of its own, which keep the entries' order.
        models = [way for way in plan.all_ways if isinstance(way, ByModel)]
        after = plan.all_ways.index(models[0]) + 1 if models else len(plan.all_ways)
        self.late = [_Way(self, way, encoder, late=True) for way, encoder in encoders.of_plan(plan, after)]

    @property
    def encoders(self) -> list[Encoder]:
        return [way.encoder for way in self.ways]

    def write(self, source: Source, read: Callable[[np.ndarray, np.ndarray], None]) -> None:
        """Write all items. read: called with entries and items as they are read."""
        for item_class, start, stop in self._pieces():
            entries = np.array(item_class.entries[start:stop], np.int64)
            values = source.read(item_class, start, stop)
            read(entries, values)
            self._read += len(entries)
            distribute(self.ways, entries, values)
        for way in self.ways:
            way.pending.finish()
        self.line.finish()
        for way in self.late:
            way.pending.finish()

    def still_to_come(self, items: int) -> float:
        """How many more items are expected where ``items`` of those that have been read so far have come."""
        return (self._total - self._read) * min(1.0, items / max(self._read, 1))

    def _pieces(self) -> Iterator[tuple[ItemClass, int, int]]:
        """Positions of a class to be read at once, all together in the order of the entries."""
        classes = self.plan.classes
        if len(classes) == 1:
            step = self.ways[0].encoder.items
            for start in range(0, len(classes[0].entries), step):
                yield classes[0], start, min(start + step, len(classes[0].entries))
            return
        owner = np.concatenate([np.full(len(c.entries), k, np.int64) for k, c in enumerate(classes)])
        entries = np.concatenate([np.asarray(c.entries, np.int64) for c in classes])
        order = np.argsort(entries, kind="stable")
        places = [0] * len(classes)
        for k, group in itertools.groupby(owner[order].tolist()):
            item_bytes = int(np.prod(classes[k].shape)) * classes[k].dtype.itemsize
            count, step = len(list(group)), max(1, BLOCK_BYTES // item_bytes)
            for start in range(places[k], places[k] + count, step):
                yield classes[k], start, min(start + step, places[k] + count)
            places[k] += count


def distribute(ways: Sequence[_Way], entries: np.ndarray, values: np.ndarray) -> None:
    """Hand items of one shape to the first way that accepts each."""
    for way in ways:
        good = way.encoder.accepts(values)
        if good.all():
            way.pending.add(entries, values)
            return
        if good.any():
            way.pending.add(entries[good], values[good])
            entries, values = entries[~good], values[~good]
    raise AssertionError("the last way takes every item")


class _Way:
    """A stream that is being written, as soon as it has a block."""

    def __init__(self, pile: PileWriter, number: int, encoder: Encoder, *, late: bool = False) -> None:
        self.pile, self.number, self.encoder, self.late = pile, number, encoder, late
        self.pending = Pending(encoder.items, encoder.size, self._block)
        self._stream: int | None = None
        self._items = 0
        self._teacher_seconds = 0.0
        if isinstance(encoder, ProgramEncoder) and not late:  # what it has learned there must be known at once
            self._stream = pile.output.going_on(encoder.stream, pile.plan.first)
            if self._stream is not None and encoder.taught:
                pile.learn_from(self._stream, encoder)

    def _block(self, entries: np.ndarray, values: Values, full: bool) -> None:
        pile, encoder = self.pile, self.encoder
        # A block that teaches all others comes before them; trained models have threads of their own.
        first = isinstance(encoder, ModelEncoder) or (isinstance(encoder, ProgramEncoder) and encoder.waits)
        if first and not self.late:
            pile.line.finish()
        task = pile.encode(encoder, values)
        self._items += len(entries)
        blocks = 1 + (self.pile.still_to_come(self._items) / len(entries) if full else 0)
        commit = partial(self._commit, entries, values, blocks)
        if self.late or first:
            commit(task())
        else:
            pile.line.add(task, commit)

    def _commit(self, entries: np.ndarray, values: Values, blocks: float, block: Encoded) -> None:
        """blocks: as many like this one are expected, this one included."""
        output = self.pile.output
        if block.refused is not None and block.refused.any():
            assert isinstance(values, np.ndarray)
            distribute(self.pile.late, entries[block.refused], values[block.refused])
            entries = entries[~block.refused]
            if not len(entries):
                return
        if not block.sound:
            raise CorruptBlock(
                f"block {len(output.blocks)} did not decode to what it was made from; no archive was written, "
                "and this is a fault of the program or the machine"
            )
        if self._stream is None and not self.late:
            self._stream = output.going_on(self.encoder.stream, int(entries[0]))
        if self._stream is None:
            self._stream = output.open_stream(self.encoder.stream)
        coded = block.coded if self._is_coded(block, blocks) else None
        program, taught = 0, False
        if isinstance(self.encoder, ProgramEncoder) and coded is not None:
            program, taught = output.number_of(self.encoder.program), self.encoder.taught and not self.encoder.waits
            if self.encoder.waits:
                self.encoder.teach(block.values, block.check, block.learner)
                self._teacher_seconds = block.seconds or 0.0
        codec = 0
        if coded is None:
            assert block.packed is not None
            codec, coded = block.packed.codec, block.packed.data
        output.add_items(self._stream, entries, shapes_of(block.values) if self.encoder.stream.is_free else ())
        output.add_block(
            self._stream, coded, len(entries), block.check, codec=codec, sizes=block.sizes, program=program,
            taught=taught,
        )  # fmt: skip
        seconds = block.seconds
        if taught and seconds is not None:
            seconds += self._teacher_seconds
        coder = coder_name(self.encoder.stream, bool(program), codec)
        written = Written(
            self.pile.number, self.number, entries, block.values.nbytes, len(coded), coder, block.lengths, seconds
        )
        self.pile.done(written, block)

    def _is_coded(self, block: Encoded, blocks: float) -> bool:
        """Whether the model or the program codes a block, and no general codec."""
        if block.coded is None or block.packed is None:
            return block.coded is not None
        gain = len(block.packed.data) - len(block.coded)
        if isinstance(self.encoder, ProgramEncoder) and not self.pile.output.knows(self.encoder.program):
            return blocks * gain > program_cost(self.encoder.program)  # which all blocks of the program share
        return gain > 0
