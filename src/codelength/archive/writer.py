"""Writing archives: item by item, block by block, and never a half-written file."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codelength.archive import codecs
from codelength.archive.directory import Block, Directory
from codelength.archive.figures import Figures
from codelength.archive.fitting import find_levels, fit_stream, join, representable, to_events, to_items
from codelength.archive.layout import (
    END,
    FILE_DIGEST_BYTES,
    FILES,
    ITEMS,
    MAGIC,
    METADATA,
    MODEL,
    VERSION,
    Header,
    Stream,
    model_block_memory,
    plain_block_memory,
)
from codelength.archive.model import Model, ModelLoader, load_model
from codelength.archive.read_cost import TRIAL_ITEMS, Clock, ReadCost, ReadTimes
from codelength.archive.reader import Archive
from codelength.archive.sources import ItemClass, Source, encode_name
from codelength.archive.wire import check_of, uint
from codelength.errors import ArchiveError, CorruptBlock, NotRepresentable, UsageError
from codelength.files import atomic_file, refusal
from codelength.progress import task

BLOCK_ITEMS = 1024
BLOCK_BYTES = 4 * 2**20
#: Where blocks are as large as they need to be, starting them may cost this share of what the items cost ...
STARTUP_SHARE = 0.004
#: ... as judged by so many items, and no block grows beyond so many times the usual size.
JUDGED_ITEMS = 16
LARGEST_BLOCK = 16 * BLOCK_ITEMS
MEMORY = 256 * 2**20
#: How much of a file is moved at a time.
MOVED_BYTES = 2**20


def write_archive(
    path: str | Path,
    source: Source,
    model: Model,
    *,
    block_items: int | None = None,
    block_seconds: float | None = None,
    block_bytes: int = BLOCK_BYTES,
    embed: bool = True,
    model_name: str = "",
    verify: bool = True,
    replace_file: bool = True,
    max_memory: int | None = None,
    data_sha256: str | None = None,
    progress: Callable[[int], None] | None = None,
    read_cost: Callable[[ReadCost], None] | None = None,
    clock: Clock = time.perf_counter,
    model_loader: ModelLoader = load_model,
) -> Figures:
    """Compress ``source`` with ``model`` into a new archive at ``path``.

    block_items, block_bytes: what a block holds at most (one item at least). Items where None: 1,024, or more where
    the model has so many latents that starting a block of them would cost more than 0.4%.
    block_seconds: in place of block_items, the time that decoding a block of the model may take: blocks get as many
    items as it is enough for by the rate of a trial block, one at least. So the bytes depend on the machine.
    embed: put the model into the file; otherwise it is named by its SHA-256 and ``model_name``. A model that turns out
    to code no item is left out in any case, and no reader asks for it.
    verify: decode every block, and read the file back, before it gets its name.
    replace_file: whether a file of that name is replaced; where not, UsageError is raised, even if it appears late.
    max_memory: bytes that decoding may need; blocks are made smaller to stay under it, and where the model needs more
    for one item alone, nothing is written. Where None, blocks are made for 256 MiB, and a large item may need more.
    data_sha256: 64 hexadecimal digits to record for the data; computed from it where None.
    progress: called with the number of items written since the last call.
    read_cost: called with what reading one item back costs, where blocks of the model were decoded. clock: to measure
    times by.

    The same source, model and options give the same bytes.

    Raises UsageError, DataError; ArchiveError if the file cannot be written; CorruptBlock if a block does not decode to
    what it was made from.
    """
    path = Path(path)
    if block_items is not None and block_items < 1:
        raise UsageError(f"expected blocks of at least one item, got {block_items}")
    if block_seconds is not None and not (block_items is None and 0 < block_seconds < math.inf):
        raise UsageError(f"expected blocks of some seconds above 0 or of some items, not both, got {block_seconds} s")
    if block_bytes < 1:
        raise UsageError(f"expected blocks of at least one byte, got {block_bytes}")
    if path.is_dir():
        raise ArchiveError(f"expected a file name for the archive, got the folder {path}; name a file in it")
    try:
        with atomic_file(path, replace=replace_file) as (file, temporary):
            writer = _Writer(
                file,
                source,
                model,
                block_items=block_items,
                block_seconds=block_seconds,
                block_bytes=block_bytes,
                max_memory=max_memory,
                clock=clock,
            )
            writer.verify_blocks = verify
            writer.progress = progress or (lambda count: None)
            writer.write_front(model.to_bytes() if embed else b"", model_name)
            writer.write_items()
            writer.write_files()
            writer.leave_out_model()
            writer.write_end(data_sha256)
            file.flush()
            if verify:
                _verify_file(temporary, None if embed else model, model_loader, model.features)
            with Archive.open(temporary, max_memory=None, features=model.features) as archive:
                figures = archive.inspect()
            cost = writer.read_times.cost()
    except OSError as error:
        raise ArchiveError(f"cannot write {path}, and nothing was left behind: {refusal(error)}") from error
    if cost is not None and read_cost is not None:
        read_cost(cost)
    return figures


def _verify_file(path: Path, model: Model | None, loader: ModelLoader, features: tuple[int, ...]) -> None:
    """Whether the finished file holds together; blocks of the model were decoded when they were written."""

    def resolve(sha256: str, name: str) -> Model | None:
        return model

    with Archive.open(path, resolve, max_memory=None, model_loader=loader, features=features) as archive:
        archive.check_file()
        if any(stream.type == MODEL for stream in archive.directory.streams):
            archive.load_model()
        for block in archive.directory.blocks:
            if archive.directory.streams[block.stream].type != MODEL:
                archive.decode_block(block)


@dataclass
class _Plan:
    """How a class of items is written. stream: None where the model cannot code it at all.

    plain_memory: bytes that decoding needs for what the model does not code; memory: for whatever is coded.
    """

    item_class: ItemClass
    stream: Stream | None
    model_items: int
    plain_items: int
    plain_memory: int
    memory: int


@dataclass
class _Encoded:
    """A block of the model. refused (n,): which of the events that were asked for are not in it; events (m, *event):
    those that are; lengths: their promised bits (m,); sizes, words: as ``Model.encode_block`` gives them."""

    refused: np.ndarray
    events: np.ndarray
    lengths: np.ndarray
    sizes: list[int]
    words: np.ndarray
    startup: float


class _Pending:
    """Items that wait until a block is full."""

    def __init__(self, size: int, write: Callable[[np.ndarray, np.ndarray], None]) -> None:
        self.size = size
        self.write = write
        self.entries: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.count = 0

    def add(self, entries: np.ndarray, values: np.ndarray) -> None:
        if not len(entries):
            return
        self.entries.append(entries)
        self.values.append(values)
        self.count += len(entries)
        if self.count < self.size:
            return
        entries, values = self._joined()
        whole = self.count - self.count % self.size
        for start in range(0, whole, self.size):
            self.write(entries[start : start + self.size], values[start : start + self.size])
        self.entries, self.values, self.count = [entries[whole:]], [values[whole:]], self.count - whole

    def finish(self) -> None:
        if self.count:
            self.write(*self._joined())
        self.entries, self.values, self.count = [], [], 0

    def _joined(self) -> tuple[np.ndarray, np.ndarray]:
        return join(self.entries), join(self.values)


class _Writer:
    verify_blocks = True
    progress: Callable[[int], None]

    def __init__(
        self,
        file: BinaryIO,
        source: Source,
        model: Model,
        *,
        block_items: int | None,
        block_bytes: int,
        max_memory: int | None,
        block_seconds: float | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.file = file
        self.source = source
        self.model = model
        self.block_bytes = block_bytes
        self.digest = hashlib.blake2b(digest_size=FILE_DIGEST_BYTES)
        self.position = 0
        self.clock = clock
        self.read_times = ReadTimes(clock)
        self.block_seconds = block_seconds
        self.decoded_elements: float | None = None  # per second, as soon as it has been measured
        self.plans = [self._plan(c, block_items, block_bytes, max_memory) for c in source.classes()]
        self.whole_files = source.files()
        self.streams: list[Stream] = []
        self.blocks: list[Block] = []
        self.filled: list[int] = []
        self.sizes: dict[int, list[int]] = {}
        self.kept = sum(entry >= source.items for entry in self.whole_files)
        self.owner = np.zeros(source.items + self.kept, np.int32)  # the stream of each entry
        self.code_length = 0.0
        self.startup = 0.0
        self.data_digest = _DataDigest(len(self.owner) if source.kind == "folder" else None)

    def _plan(self, item_class: ItemClass, block_items: int | None, block_bytes: int, max_memory: int | None) -> _Plan:
        limit = MEMORY if max_memory is None else max_memory
        item_bytes = math.prod(item_class.shape) * item_class.dtype.itemsize
        within_memory = limit // plain_block_memory(item_bytes)
        plain = max(1, min(block_items or BLOCK_ITEMS, block_bytes // item_bytes, within_memory))
        memory = plain_memory = plain_block_memory(plain * item_bytes)
        stream = fit_stream(item_class.mode, item_class.dtype, item_class.shape, self.model.space, self.source.axes)
        count = plain
        decodable = None if stream is None else self._decodable(item_class, stream)
        if decodable is not None:
            count = max(1, min(decodable, block_bytes // item_bytes))
        elif stream is not None and block_items is None:
            count = max(plain, min(self._started(item_class, stream), block_bytes // item_bytes))
        if stream is not None:
            while count > 1 and self._memory(stream, count) > limit:
                count = -(-count // 2)
            needed = self._memory(stream, count)
            if max_memory is not None and needed > max_memory:
                raise UsageError(
                    f"decoding one item of {' x '.join(map(str, item_class.shape))} with this model needs {needed:,} "
                    f"bytes, more than the {max_memory:,} that are allowed; allow as many, or choose a smaller model"
                )
            memory = max(memory, needed)
        return _Plan(item_class, stream, count, plain, plain_memory, memory)

    def _started(self, item_class: ItemClass, stream: Stream) -> int:
        """Items of a block whose start costs little enough, judged by the first items; 1 where that cannot be told."""
        if not getattr(self.model, "latents", True):
            return 1
        values = self.source.read(item_class, 0, min(JUDGED_ITEMS, len(item_class.entries)))
        stream = replace(stream, levels=find_levels(values, self.model.space.symbols))
        values = values[representable(values, stream, self.model.space.symbols)]
        events = to_events(values, stream)
        lengths = self.model.code_length_bits(events, refuse=False)
        events, lengths = events[np.isfinite(lengths)], lengths[np.isfinite(lengths)]
        if not len(events):
            return 1
        try:
            startup = float(self.model.startup_bits(events))
        except NotRepresentable:
            return 1
        each = float(np.mean(lengths)) if startup > 0 else math.inf
        return min(LARGEST_BLOCK, math.ceil(startup / (STARTUP_SHARE * max(each, 1e-9))))

    def _decodable(self, item_class: ItemClass, stream: Stream) -> int | None:
        """Items that are decoded in the seconds of a block; None where there is no such limit, or nothing to tell by.

        The rate is that of a trial block of the first class of which the model can code something.
        """
        if self.block_seconds is None:
            return None
        if self.decoded_elements is None:
            values = self.source.read(item_class, 0, min(TRIAL_ITEMS, len(item_class.entries)))
            stream = replace(stream, levels=find_levels(values, self.model.space.symbols))
            values = values[representable(values, stream, self.model.space.symbols)]
            found = self._encode(to_events(values, stream))
            if found is None:
                return None
            times = ReadTimes(self.clock)
            for _ in range(2):
                times.decode(lambda: self.model.decode_block(found.words, list(found.sizes), found.events.shape[1:]))
            cost = times.cost()
            assert cost is not None
            # A clock that stands still has seen no time pass: the block is as large as any may be.
            self.decoded_elements = found.events.size / cost.seconds if cost.seconds > 0 else math.inf
        items = self.block_seconds * self.decoded_elements / max(1, math.prod(item_class.shape))
        return max(1, int(min(items, LARGEST_BLOCK)))

    def _memory(self, stream: Stream, count: int) -> int:
        limit = getattr(self.model, "group_limit", None)
        group = count if limit is None else min(count, limit(stream.event))
        return model_block_memory(stream, count, self.model.memory_bytes(group, stream.event))

    def _files_memory(self) -> int:
        return plain_block_memory(self.block_bytes) if self.whole_files or self.source.has_metadata else 0

    # The parts of the file, in order.

    def write_front(self, model_file: bytes, model_name: str) -> None:
        self.model_file, self.model_name = model_file, model_name
        self.front = self._front(any(plan.stream is not None for plan in self.plans))
        self._write(self.front)

    def _front(self, with_model: bool) -> bytes:
        """What comes before the blocks. with_model: for an archive of which the model codes a part."""
        model_file = self.model_file if with_model else b""
        needs = [plan.memory if with_model else plan.plain_memory for plan in self.plans]
        header = Header(
            kind=self.source.kind,
            memory=max([*needs, self._files_memory()]),
            features=tuple(sorted(self.model.features)) if with_model else (),
            model_bytes=len(model_file),
            model_name=self.model_name,
            model_sha256=self.model.sha256,
            name=self.source.name,
            arrays=self.source.arrays,
            members=self.source.members,
        )
        data = header.to_bytes()
        digest = bytes.fromhex(self.model.sha256)
        Header.parse(data, digest)
        front = MAGIC + uint(VERSION) + uint(len(data)) + data + digest
        return front + model_file + check_of(front, model_file)

    def leave_out_model(self) -> None:
        """Write the front once more, and move the blocks up to it, where the model has coded nothing."""
        front = self._front(any(stream.type == MODEL for stream in self.streams))
        shift = len(self.front) - len(front)
        if front == self.front:
            return
        self.digest = hashlib.blake2b(front, digest_size=FILE_DIGEST_BYTES)
        self.file.seek(0)
        self.file.write(front)
        for start in range(len(self.front), self.position, MOVED_BYTES):
            self.file.seek(start)
            piece = self.file.read(min(MOVED_BYTES, self.position - start))
            self.file.seek(start - shift)
            self.file.write(piece)
            self.digest.update(piece)
        self.front, self.position = front, self.position - shift
        self.file.truncate(self.position)
        self.blocks = [replace(block, offset=block.offset - shift) for block in self.blocks]

    def write_items(self) -> None:
        total = sum(len(plan.item_class.entries) for plan in self.plans)
        what = "compressing and verifying" if self.verify_blocks else "compressing"
        with task(what, total) as advance:
            for plan in self.plans:
                self._write_class(plan, advance)

    def write_files(self) -> None:
        if self.whole_files:
            stream = self._open_stream(Stream(FILES))
            self.owner[self.whole_files] = stream
            with task("keeping files", len(self.whole_files), "files") as advance:
                self._write_bytes(stream, (self._file(entry) for entry in self.whole_files), advance)
        if self.source.has_metadata:
            stream = self._open_stream(Stream(METADATA))
            self._write_bytes(stream, ([self.source.metadata(entry)] for entry in range(self.source.items)))

    def write_end(self, data_sha256: str | None) -> None:
        source = self.source
        names = source.names
        directory = Directory(
            items=source.items,
            kept=self.kept,
            streams=tuple(self.streams),
            blocks=tuple(self.blocks),
            runs=_runs(self.owner),
            sizes=self.sizes,
            names=None if names is None else tuple(map(encode_name, names)),
            code_length=math.ceil(self.code_length),
            # A chosen latent can even be luckier than those that the code length was drawn with.
            startup=max(0, math.ceil(self.startup)),
            kept_elements=sum(source.file_elements(entry) for entry in self.whole_files if entry < source.items),
            data_digest=bytes.fromhex(data_sha256) if data_sha256 else self.data_digest.result(),
        ).to_bytes()
        length = len(directory).to_bytes(8, "little")
        self._write(directory)
        self._write(length)
        self._write(check_of(directory, length))
        self._write(self.digest.digest())
        self._write(END)

    def _write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.position += len(data)

    # Items.

    def _write_class(self, plan: _Plan, advance: Callable[[int], None]) -> None:
        item_class = plan.item_class
        # Items that are seen to be beyond the model at once, and those that it refuses later.
        plain = _Pending(plan.plain_items, self._plain_writer(item_class))
        rejects = _Pending(plan.plain_items, self._plain_writer(item_class))
        coded: _Pending | None = None
        stream = plan.stream
        for start in range(0, len(item_class.entries), plan.model_items):
            stop = min(start + plan.model_items, len(item_class.entries))
            entries = np.array(item_class.entries[start:stop], np.int64)
            values = self.source.read(item_class, start, stop)
            self.data_digest.add_items(entries, values)
            if stream is None:
                plain.add(entries, values)
            else:
                if coded is None:
                    stream = replace(stream, levels=find_levels(values, self.model.space.symbols))
                    coded = _Pending(plan.model_items, self._model_writer(stream, rejects))
                good = representable(values, stream, self.model.space.symbols)
                if good.all():
                    coded.add(entries, values)
                else:
                    coded.add(entries[good], values[good])
                    plain.add(entries[~good], values[~good])
            self.progress(len(entries))
            advance(len(entries))
        if coded is not None:
            coded.finish()
        plain.finish()
        rejects.finish()

    def _model_writer(self, stream: Stream, rejects: _Pending) -> Callable[[np.ndarray, np.ndarray], None]:
        number: int | None = None

        def write(entries: np.ndarray, values: np.ndarray) -> None:
            nonlocal number
            found = self._encode(to_events(values, stream))
            if found is None:
                rejects.add(entries, values)
                return
            rejects.add(entries[found.refused], values[found.refused])
            entries, values, sizes = entries[~found.refused], values[~found.refused], found.sizes
            if number is None:
                number = self._open_stream(stream)
            self.owner[entries] = number
            data = np.ascontiguousarray(found.words, "<u4").tobytes()
            if self.verify_blocks:
                self._verify_block(found)
                self._verify_items(to_items(found.events, stream), values)
            self._add_block(number, data, len(entries), values.tobytes(), sizes=tuple(int(size) for size in sizes))
            self.code_length += math.fsum(found.lengths)
            self.startup += found.startup

        return write

    def _encode(self, events: np.ndarray) -> _Encoded | None:
        """A block of those events (n, *event) that the model does not refuse; None where it refuses all."""
        # Other latents are drawn for this than in the block, and they can leave their range as well.
        lengths = self.model.code_length_bits(events, refuse=False)
        refused = ~np.isfinite(lengths)
        while not refused.all():
            some = events[~refused]
            try:
                sizes, words = self.model.encode_block(some)
                startup = float(self.model.startup_bits(some))
                return _Encoded(refused, some, lengths[~refused], list(sizes), words, startup)
            except NotRepresentable as error:
                left = np.flatnonzero(~refused)
                refused[left[list(error.items)] if error.items else left] = True
        return None

    def _verify_block(self, block: _Encoded) -> None:
        shape = block.events.shape[1:]
        decoded = self.read_times.decode(lambda: self.model.decode_block(block.words, list(block.sizes), shape))
        agrees = getattr(self.model, "agrees", None)
        if not np.array_equal(decoded, block.events) or (agrees is not None and not agrees(block.events)):
            raise self._spoilt()

    def _verify_items(self, restored: np.ndarray, values: np.ndarray) -> None:
        """The way from events back to items must give the very bytes that the block's check is made of."""
        if restored.tobytes() != values.tobytes():
            raise self._spoilt()

    def _spoilt(self) -> CorruptBlock:
        return CorruptBlock(
            f"block {len(self.blocks)} did not decode to what it was made from; no archive was written, "
            "and this is a fault of the program or the machine"
        )

    def _plain_writer(self, item_class: ItemClass) -> Callable[[np.ndarray, np.ndarray], None]:
        number: int | None = None
        stream = Stream(ITEMS, item_class.mode, item_class.dtype.str, item_class.shape)

        def write(entries: np.ndarray, values: np.ndarray) -> None:
            nonlocal number
            if number is None:
                number = self._open_stream(stream)
            self.owner[entries] = number
            codec, data = codecs.pack_items(values)
            self._add_block(number, data, len(entries), values.tobytes(), codec=codec)

        return write

    def _open_stream(self, stream: Stream) -> int:
        self.streams.append(stream)
        self.filled.append(0)
        if not stream.holds_items:
            self.sizes[len(self.streams) - 1] = []
        return len(self.streams) - 1

    def _add_block(
        self,
        stream: int,
        data: bytes,
        count: int,
        original: bytes,
        *,
        codec: int = 0,
        sizes: tuple[int, ...] = (),
    ) -> None:
        self.blocks.append(
            Block(
                len(self.blocks), stream, self.position, len(data), count, self.filled[stream], codec, sizes,
                check_of(original),
            )
        )  # fmt: skip
        self.filled[stream] += count
        self._write(data)

    # Whole files and metadata.

    def _file(self, entry: int) -> Iterable[bytes]:
        for piece in self.source.read_file(entry):
            self.data_digest.add_file(entry, piece)
            yield piece

    def _write_bytes(
        self, stream: int, files: Iterable[Iterable[bytes]], advance: Callable[[int], None] = lambda count: None
    ) -> None:
        """Join files end to end and cut the result into blocks."""
        buffer = bytearray()

        def write(size: int) -> None:
            original = bytes(buffer[:size])
            del buffer[:size]
            codec, data = codecs.pack_bytes(original)
            self._add_block(stream, data, len(original), original, codec=codec)

        for file in files:
            size = 0
            for piece in file:
                size += len(piece)
                buffer += piece
                while len(buffer) >= self.block_bytes:
                    write(self.block_bytes)
            self.sizes[stream].append(size)
            advance(1)
        if buffer:
            write(len(buffer))


class _DataDigest:
    """SHA-256 of the data: of the bytes in order for arrays, of the entries' own digests for folders."""

    def __init__(self, entries: int | None) -> None:
        self.whole = hashlib.sha256()
        self.entries = entries
        self.each: dict[int, bytes] = {}
        self.current: tuple[int, hashlib._Hash] | None = None

    def add_items(self, entries: np.ndarray, values: np.ndarray) -> None:
        if self.entries is None:
            self.whole.update(np.ascontiguousarray(values).data)
            return
        for entry, value in zip(entries.tolist(), values):
            self.each[entry] = hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()

    def add_file(self, entry: int, piece: bytes) -> None:
        if self.entries is None:
            self.whole.update(piece)
            return
        if self.current is None or self.current[0] != entry:
            self._close()
            self.current = entry, hashlib.sha256()
        self.current[1].update(piece)

    def _close(self) -> None:
        if self.current is not None:
            self.each[self.current[0]] = self.current[1].digest()

    def result(self) -> bytes:
        if self.entries is None:
            return self.whole.digest()
        self._close()
        empty = hashlib.sha256().digest()
        return hashlib.sha256(b"".join(self.each.get(entry, empty) for entry in range(self.entries))).digest()


def _runs(owner: np.ndarray) -> tuple[tuple[int, int], ...]:
    """(stream, how many) for the stream of each entry."""
    if not len(owner):
        return ()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(owner)) + 1, [len(owner)]])
    return tuple((int(owner[start]), int(stop - start)) for start, stop in itertools.pairwise(starts))
