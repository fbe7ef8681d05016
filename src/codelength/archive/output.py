"""The file of an archive that is being written: its front, its blocks one after another, its directory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np

from codelength.archive.codecs import ALONE
from codelength.archive.directory import Block, Directory
from codelength.archive.layout import (
    END,
    FILE_DIGEST_BYTES,
    ITEMS,
    LEARNED,
    MAGIC,
    METADATA,
    VERSION,
    Header,
    Stream,
)
from codelength.archive.model import Program
from codelength.archive.wire import check_of, packed, uint

#: How much of a file is moved at a time.
MOVED_BYTES = 2**20
#: What a stream of type LEARNED, and the feature in the header, take more than a stream of general codecs.
STREAM_BYTES = 40


@dataclass
class Output:
    """file: open for writing and reading. entries: how many there are.

    streams, blocks, owner (of each entry: its stream), sizes, item_sizes, programs: what the directory will say.
    """

    file: BinaryIO
    entries: int
    front: bytes = b""
    position: int = 0
    streams: list[Stream] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    sizes: dict[int, list[int]] = field(default_factory=dict)
    programs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owner = np.full(self.entries, -1, np.int32)
        self.shapes: dict[int, list[tuple[int, int]]] = {}
        self._filled: list[int] = []
        self._idle: dict[int, int] = {}  # streams that may go on, and the first entry that may
        self._digest = hashlib.blake2b(digest_size=FILE_DIGEST_BYTES)

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.position += len(data)

    # ---- front

    def write_front(self, header: Header, model_file: bytes) -> None:
        """What comes before the blocks; when there are blocks already, they are moved up to it."""
        front = front_of(header, model_file)
        if not self.front:
            self.write(front)
            self.front = front
            return
        if front == self.front:
            return
        shift = len(self.front) - len(front)
        if shift < 0:
            raise AssertionError("a front grows no longer")
        self._digest = hashlib.blake2b(front, digest_size=FILE_DIGEST_BYTES)
        self.file.seek(0)
        self.file.write(front)
        for start in range(len(self.front), self.position, MOVED_BYTES):
            self.file.seek(start)
            piece = self.file.read(min(MOVED_BYTES, self.position - start))
            self.file.seek(start - shift)
            self.file.write(piece)
            self._digest.update(piece)
        self.front, self.position = front, self.position - shift
        self.file.truncate(self.position)
        self.blocks = [replace(block, offset=block.offset - shift) for block in self.blocks]

    # ---- streams, programs and blocks

    def carry_on(self, streams: Sequence[Stream], programs: Sequence[bytes]) -> None:
        """Begin with the streams and programs of another archive, whose blocks and entries come next."""
        for stream in streams:
            self.open_stream(stream)
        self.programs = list(programs)

    def may_go_on(self) -> None:
        """From now on a stream that is there is used for more entries, where they come after all that it has."""
        for number, stream in enumerate(self.streams):
            held = np.flatnonzero(self.owner == number)
            if stream.type != METADATA:
                self._idle[number] = int(held[-1]) + 1 if len(held) else 0

    def going_on(self, stream: Stream, first: int) -> int | None:
        """The number of a stream like this one that entries from ``first`` on can be added to, once; None if there is
        none."""
        for number, after in self._idle.items():
            if self.streams[number] == stream and first >= after:
                del self._idle[number]
                return number
        return None

    def open_stream(self, stream: Stream) -> int:
        self.streams.append(stream)
        self._filled.append(0)
        number = len(self.streams) - 1
        if not stream.holds_items:
            self.sizes[number] = []
        if stream.is_free:
            self.shapes[number] = []
        return number

    def knows(self, program: Program) -> bool:
        """Whether a block is coded by this program already, so that another costs nothing more."""
        return program.to_bytes() in self.programs

    def number_of(self, program: Program) -> int:
        """The number of a program, from 1; from now on it is a part of the archive."""
        if not self.knows(program):
            self.programs.append(program.to_bytes())
        return self.programs.index(program.to_bytes()) + 1

    def add_items(self, stream: int, entries: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> None:
        """The next block of a stream holds these entries."""
        self.owner[entries] = stream
        if self.streams[stream].is_free:
            self.shapes[stream] += [(shape[0], shape[1]) for shape in shapes]

    def add_block(
        self,
        stream: int,
        data: bytes,
        count: int,
        check: bytes,
        *,
        codec: int = 0,
        sizes: tuple[int, ...] = (),
        program: int = 0,
        taught: bool = False,
    ) -> None:
        self.blocks.append(
            Block(
                len(self.blocks), stream, self.position, len(data), count, self._filled[stream], codec, sizes, check,
                program, taught,
            )
        )  # fmt: skip
        self._filled[stream] += count
        self.write(data)

    def copy_block(self, block: Block, pieces: Iterable[bytes]) -> None:
        """Another archive's block, as it is."""
        first = self._filled[block.stream]
        self.blocks.append(replace(block, number=len(self.blocks), offset=self.position, first=first))
        self._filled[block.stream] += block.count
        for piece in pieces:
            self.write(piece)

    def simplify(self) -> None:
        """Streams of one size of which general codecs keep every block need not say how a program would see them."""
        for number, stream in enumerate(self.streams):
            own = [block for block in self.blocks if block.stream == number]
            plain = not any(block.program or block.codec == ALONE for block in own)
            if stream.type == LEARNED and not stream.is_free and plain:
                self.streams[number] = Stream(ITEMS, stream.mode, stream.dtype, stream.shape)

    def has(self, type_: int) -> bool:
        """Whether a stream of this type has been opened."""
        return any(stream.type == type_ for stream in self.streams)

    # ---- end

    def write_end(self, directory: Callable[..., Directory], **figures: object) -> None:
        """directory, figures: make it of what is known here and of what they say."""
        data = directory(
            streams=tuple(self.streams),
            blocks=tuple(self.blocks),
            runs=runs_of(self.owner),
            sizes=self.sizes,
            item_sizes={number: np.array(pairs, np.int64).reshape(-1, 2) for number, pairs in self.shapes.items()},
            programs=tuple(self.programs),
            **figures,
        ).to_bytes()
        length = len(data).to_bytes(8, "little")
        self.write(data)
        self.write(length)
        self.write(check_of(data, length))
        self.write(self._digest.digest())
        self.write(END)


def front_of(header: Header, model_file: bytes) -> bytes:
    data = header.to_bytes()
    digest = bytes.fromhex(header.model_sha256)
    Header.parse(data, digest)
    front = MAGIC + uint(VERSION) + uint(len(data)) + data + digest
    return front + model_file + check_of(front, model_file)


def runs_of(owner: np.ndarray) -> tuple[tuple[int, int], ...]:
    """(stream, how many) for the stream of each entry."""
    if not len(owner):
        return ()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(owner)) + 1, [len(owner)]])
    return tuple((int(owner[start]), int(stop - start)) for start, stop in itertools.pairwise(starts))


def program_cost(program: Program) -> int:
    """Bytes that a program takes in an archive, with what a stream says more for it."""
    return len(packed(program.to_bytes())) + STREAM_BYTES
