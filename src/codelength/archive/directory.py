"""What lies where in an archive (docs/format.md, "Entries" and "Directory")."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from codelength.archive.codecs import ALONE, NAMES, WEBP
from codelength.archive.damage import Ranges, union
from codelength.archive.layout import (
    DATA_DIGEST_BYTES,
    ITEMS,
    LEARNED,
    MAX_ELEMENTS,
    METADATA,
    MODEL,
    PROGRAMS_FEATURE,
    Header,
    Stream,
)
from codelength.archive.wire import CHECK_BYTES, Cursor, packed, uint, uints
from codelength.errors import UnknownFeature


@dataclass(frozen=True)
class Block:
    """Where a block lies and what it holds.

    number: in the file's order. stream: number of its stream. offset, length: bytes in the file.
    count: items, or bytes of files. first: items (bytes) of its stream that lie before it.
    codec: of types other than MODEL. sizes: of the groups (MODEL). check: of the original data.
    program, taught: which of the archive's programs codes it, counted from 1, and whether it begins with what the first
    block of its stream and program has taught it (LEARNED; program 0 stands for ``codec``).
    """

    number: int
    stream: int
    offset: int
    length: int
    count: int
    first: int
    codec: int
    sizes: tuple[int, ...]
    check: bytes
    program: int = 0
    taught: bool = False

    def to_bytes(self, type_: int) -> bytes:
        data = uint(self.stream) + uint(self.length) + uint(self.count)
        if type_ == MODEL:
            return data + uints(self.sizes[:-1]) + self.check
        if type_ == LEARNED:
            data += uint(self.program)
        return data + uint(int(self.taught) if self.program else self.codec) + self.check


Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Directory:
    """What lies where.

    items, kept: numbers of items and of kept files that have entries.
    runs: (stream, how many entries) in the order of the entries.
    sizes: of the files, for each stream of type FILES and METADATA, by stream number.
    item_sizes: heights and widths (n, 2) of the items of each stream whose sizes are free, by stream number.
    programs: model files of the programs that code blocks of streams of type LEARNED.
    names: of all entries, as bytes (folders), else None; ``names_bytes`` is what they take in the file.
    code_length, startup: bits. kept_elements: of items that are kept as whole files.
    """

    items: int
    kept: int
    streams: tuple[Stream, ...]
    blocks: tuple[Block, ...]
    runs: Runs
    sizes: dict[int, list[int]] = field(default_factory=dict)
    names: tuple[bytes, ...] | None = None
    code_length: int = 0
    startup: int = 0
    kept_elements: int = 0
    data_digest: bytes = bytes(DATA_DIGEST_BYTES)
    names_bytes: int = 0
    item_sizes: dict[int, np.ndarray] = field(default_factory=dict, compare=False)
    programs: tuple[bytes, ...] = ()
    programs_bytes: int = 0

    def to_bytes(self) -> bytes:
        data = bytearray(uint(self.items) + uint(self.kept))
        if any(stream.type == LEARNED for stream in self.streams):
            data += self.programs_part(self.programs)
        data += uint(len(self.streams))
        for stream in self.streams:
            data += stream.to_bytes()
        data += uint(len(self.blocks))
        for block in self.blocks:
            data += block.to_bytes(self.streams[block.stream].type)
        if len(_entry_streams(self.streams)) > 1:
            data += packed(b"".join(uint(number) for run in self.runs for number in run))
        for number, stream in enumerate(self.streams):
            if not stream.holds_items:
                data += packed(b"".join(map(uint, self.sizes[number])))
            elif stream.is_free:
                data += packed(b"".join(map(uint, self.item_sizes[number].ravel().tolist())))
        if self.names is not None:
            data += self.names_part(self.names)
        data += uint(self.code_length) + uint(self.startup) + uint(self.kept_elements) + self.data_digest
        return bytes(data)

    @staticmethod
    def programs_part(programs: Sequence[bytes]) -> bytes:
        return uint(len(programs)) + b"".join(map(packed, programs))

    @staticmethod
    def names_part(names: Iterable[bytes]) -> bytes:
        return packed(b"\0".join(names))

    @staticmethod
    def parse(data: bytes, header: Header, start: int, limit: int) -> Directory:
        """start: offset of the first block. limit: bytes that a packed part may unpack to.

        Raises CorruptHeader, UnknownFeature.
        """
        cursor = Cursor(data, "directory", limit)
        items, kept = cursor.uint(2**62), cursor.uint(2**62)
        entries = items + kept
        before = cursor.position
        programs: tuple[bytes, ...] = ()
        if PROGRAMS_FEATURE in header.features:
            programs = tuple(cursor.packed() for _ in range(cursor.count()))
        programs_bytes = cursor.position - before
        streams = tuple(Stream.parse(cursor) for _ in range(cursor.count()))
        if sum(stream.type == METADATA for stream in streams) > 1:
            raise cursor.fail("it has two streams of metadata")
        if any(stream.type == LEARNED for stream in streams) != (PROGRAMS_FEATURE in header.features):
            raise cursor.fail(f"its streams and the header's feature {PROGRAMS_FEATURE} do not agree")
        blocks = _parse_blocks(cursor, streams, start, len(programs))
        runs = _parse_runs(cursor, streams, entries)
        sizes, item_sizes = _parse_sizes(cursor, streams, runs, items)
        _check_sums(cursor, streams, blocks, runs, sizes)
        before = cursor.position
        names = _parse_names(cursor, entries) if header.kind == "folder" else None
        names_bytes = cursor.position - before
        code_length, startup, kept_elements = cursor.uint(), cursor.uint(), cursor.uint()
        digest = cursor.take(DATA_DIGEST_BYTES)
        cursor.finish()
        directory = Directory(
            items,
            kept,
            streams,
            blocks,
            runs,
            sizes,
            names,
            code_length,
            startup,
            kept_elements,
            digest,
            names_bytes,
            item_sizes,
            programs,
            programs_bytes,
        )
        _check_kind(cursor, directory, header)
        return directory

    @property
    def entries(self) -> int:
        return self.items + self.kept

    @cached_property
    def metadata_stream(self) -> int | None:
        """Number of the stream of metadata, if there is one."""
        return next((number for number, stream in enumerate(self.streams) if stream.type == METADATA), None)

    @cached_property
    def blocks_of(self) -> dict[int, list[Block]]:
        """The blocks of each stream, in order."""
        blocks: dict[int, list[Block]] = {number: [] for number in range(len(self.streams))}
        for block in self.blocks:
            blocks[block.stream].append(block)
        return blocks

    def shapes_of(self, block: Block) -> list[tuple[int, ...]]:
        """The shape of each item of a block; nothing of its count is built where its stream is not free."""
        stream = self.streams[block.stream]
        if not stream.is_free:
            return [stream.shape] * block.count
        sizes = self.item_sizes[block.stream][block.first : block.first + block.count]
        return [(height, width, *stream.shape[2:]) for height, width in sizes.tolist()]

    def shapes_in(self, stream: int, first: int, last: int) -> set[tuple[int, ...]]:
        """The shapes that the items of ranks ``first <= rank < last`` of a stream have."""
        sort = self.streams[stream]
        if not sort.is_free:
            return {sort.shape} if first < last else set()
        sizes = np.unique(self.item_sizes[stream][first:last], axis=0)
        return {(height, width, *sort.shape[2:]) for height, width in sizes.tolist()}

    def elements(self, stream: int, first: int, last: int) -> int:
        """Elements of the items of ranks ``first <= rank < last`` of a stream of items."""
        sort = self.streams[stream]
        if not sort.is_free:
            return (last - first) * sort.elements
        before = self._elements_before[stream]
        return int(before[last] - before[first])

    def item_bytes(self, stream: int, first: int, last: int) -> int:
        """Bytes of these items as they came."""
        return self.elements(stream, first, last) * np.dtype(self.streams[stream].dtype).itemsize

    @cached_property
    def _elements_before(self) -> dict[int, np.ndarray]:
        """For each stream of free sizes, the elements of all items before each rank, and of all (n + 1,)."""
        tables = {}
        for number, sizes in self.item_sizes.items():
            each = sizes.prod(axis=1) * math.prod(self.streams[number].shape[2:])
            tables[number] = np.concatenate([[0], np.cumsum(each)])
        return tables

    def teacher_of(self, block: Block) -> Block:
        """The first block of a block's stream and program, which is the one that has taught it if any has."""
        return next(other for other in self.blocks_of[block.stream] if other.program == block.program)

    @cached_property
    def starts(self) -> dict[int, list[int]]:
        """For each stream of files, where each of its entries begins, as bytes of the joined files."""
        return {number: [0, *accumulate(sizes)][:-1] for number, sizes in self.sizes.items()}

    @cached_property
    def _placements(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each stream: where its runs start, as entry numbers and as ranks within the stream."""
        starts: dict[int, list[tuple[int, int]]] = {number: [] for number in range(len(self.streams))}
        ranks = [0] * len(self.streams)
        entry = 0
        for stream, count in self.runs:
            starts[stream].append((entry, ranks[stream]))
            ranks[stream] += count
            entry += count
        tables = {}
        for stream, pairs in starts.items():
            table = np.array(pairs, np.int64).reshape(-1, 2)
            tables[stream] = table[:, 0], table[:, 1]
        return tables

    @cached_property
    def _run_starts(self) -> np.ndarray:
        """Entry numbers at which the runs start."""
        counts = np.array([count for _, count in self.runs], np.int64)
        return np.cumsum(counts) - counts

    def blocks_in(self, start: int, stop: int) -> list[Block]:
        """The blocks of entries in ``start <= entry < stop``, in the file's order."""
        low = max(int(np.searchsorted(self._run_starts, start, side="right")) - 1, 0)
        high = int(np.searchsorted(self._run_starts, stop, side="left"))
        found: list[Block] = []
        for stream in {stream for stream, _ in self.runs[low:high]}:
            first, last = self.ranks_in(stream, start, stop)
            blocks = self.blocks_of[stream]
            begin = bisect.bisect_right(blocks, first, key=lambda block: block.first) - 1
            found += blocks[max(begin, 0) : bisect.bisect_left(blocks, last, key=lambda block: block.first)]
        return sorted(found, key=lambda block: block.number)

    def entries_of(self, stream: int, first: int, last: int) -> np.ndarray:
        """Entry numbers (int64) of the ranks ``first <= rank < last`` of a stream."""
        entry_starts, rank_starts = self._placements[stream]
        ranks = np.arange(first, last)
        run = np.searchsorted(rank_starts, ranks, side="right") - 1
        return entry_starts[run] + (ranks - rank_starts[run])

    def ranks_in(self, stream: int, start: int, stop: int) -> tuple[int, int]:
        """The ranks of a stream, first and behind last, whose entries lie in ``start <= entry < stop``."""

        def rank_of(entry: int) -> int:
            entry_starts, rank_starts = self._placements[stream]
            run = int(np.searchsorted(entry_starts, entry, side="right")) - 1
            if run < 0:
                return 0
            end = int(rank_starts[run + 1]) if run + 1 < len(rank_starts) else self._totals[stream]
            return min(int(rank_starts[run]) + entry - int(entry_starts[run]), end)

        return rank_of(start), rank_of(stop)

    def runs_of(self, stream: int, first: int, last: int) -> Ranges:
        """The entries of the ranks ``first <= rank < last`` of a stream, as ranges (first, behind the last)."""
        entry_starts, rank_starts = self._placements[stream]
        ranges = []
        rank = first
        run = int(np.searchsorted(rank_starts, rank, side="right")) - 1
        while rank < last:
            end = min(int(rank_starts[run + 1]) if run + 1 < len(rank_starts) else last, last)
            start = int(entry_starts[run]) + rank - int(rank_starts[run])
            ranges.append((start, start + end - rank))
            rank, run = end, run + 1
        return union(ranges)

    def locate(self, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Streams and ranks (n,) of entry numbers (n,)."""
        starts, streams, ranks = self._run_table
        run = np.searchsorted(starts, entries, side="right") - 1
        return streams[run], ranks[run] + (entries - starts[run])

    @cached_property
    def _run_table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every run: its first entry, its stream, and the rank of that entry in the stream."""
        ranks = [0] * len(self.streams)
        rows = []
        entry = 0
        for stream, count in self.runs:
            rows.append((entry, stream, ranks[stream]))
            ranks[stream] += count
            entry += count
        table = np.array(rows, np.int64).reshape(-1, 3)
        return table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy()

    def block_at(self, stream: int, places: np.ndarray | int) -> np.ndarray:
        """Which of the stream's blocks, counted from 0, hold these ranks of items (or bytes of joined files)."""
        return np.searchsorted(self._block_starts[stream], places, side="right") - 1

    @cached_property
    def _block_starts(self) -> dict[int, np.ndarray]:
        return {k: np.array([block.first for block in blocks], np.int64) for k, blocks in self.blocks_of.items()}

    @cached_property
    def _totals(self) -> list[int]:
        """Number of entries of each stream."""
        totals = [0] * len(self.streams)
        for stream, count in self.runs:
            totals[stream] += count
        return totals


def _entry_streams(streams: Sequence[Stream]) -> list[int]:
    return [number for number, stream in enumerate(streams) if stream.type != METADATA]


def _parse_blocks(cursor: Cursor, streams: Sequence[Stream], offset: int, programs: int) -> tuple[Block, ...]:
    blocks = []
    teachers: set[tuple[int, int]] = set()
    filled = [0] * len(streams)
    for number in range(cursor.count()):
        stream = cursor.uint()
        if stream >= len(streams):
            raise cursor.fail(f"block {number} belongs to stream {stream} of {len(streams)}")
        length, count = cursor.uint(2**62), cursor.uint(2**62)
        codec = program = 0
        taught = False
        sizes: tuple[int, ...] = ()
        if not count:
            raise cursor.fail(f"block {number} is empty")
        if streams[stream].type == MODEL:
            sizes = tuple(cursor.uints())
            sizes = (*sizes, count - sum(sizes))
            if min(sizes) < 1:
                raise cursor.fail(f"block {number} has groups that do not add up")
        elif streams[stream].type == LEARNED and (program := cursor.uint(programs)):
            taught = bool(cursor.uint(1))
            if taught and (stream, program) not in teachers:
                raise cursor.fail(f"block {number} was taught by no block before it")
            teachers.add((stream, program))
        else:
            codec = cursor.uint()
            type_ = streams[stream].type
            if (
                codec not in NAMES
                or (codec == WEBP and type_ not in (ITEMS, LEARNED))
                or (codec == ALONE and type_ != LEARNED)
            ):
                raise UnknownFeature(
                    f"block {number} of this archive uses the codec {codec}, which this version does not know; upgrade "
                    "codelength"
                )
        if (streams[stream].type == MODEL or program) and length % 4:
            raise cursor.fail(f"block {number} is no sequence of words")
        blocks.append(
            Block(
                number, stream, offset, length, count, filled[stream], codec, sizes, cursor.take(CHECK_BYTES), program,
                taught,
            )
        )  # fmt: skip
        offset += length
        filled[stream] += count
    return tuple(blocks)


def _parse_runs(cursor: Cursor, streams: Sequence[Stream], entries: int) -> Runs:
    usable = dict.fromkeys(_entry_streams(streams))
    if len(usable) <= 1:
        if entries and not usable:
            raise cursor.fail("it has entries but nothing that holds them")
        return tuple((number, entries) for number in usable if entries)
    part = Cursor(cursor.packed(), "directory")
    runs = []
    while part.left:
        stream, count = part.uint(), part.uint(2**62)
        if stream not in usable or not count:
            raise cursor.fail("its order of entries is malformed")
        runs.append((stream, count))
    if sum(count for _, count in runs) != entries:
        raise cursor.fail(f"it does not order {entries} entries")
    return tuple(runs)


def _parse_sizes(
    cursor: Cursor, streams: Sequence[Stream], runs: Runs, items: int
) -> tuple[dict[int, list[int]], dict[int, np.ndarray]]:
    """Sizes of files, and heights and widths of items, by the streams that list them."""
    sizes: dict[int, list[int]] = {}
    item_sizes: dict[int, np.ndarray] = {}
    totals = [0] * len(streams)
    for number, count in runs:
        totals[number] += count
    for number, stream in enumerate(streams):
        if stream.holds_items and not stream.is_free:
            continue
        part = Cursor(cursor.packed(), "directory")
        values = []
        while part.left:
            values.append(part.uint(2**62))
        expected = items if stream.type == METADATA else (2 if stream.is_free else 1) * totals[number]
        if len(values) != expected:
            raise cursor.fail(f"it states {len(values)} sizes for {expected} files")
        if stream.is_free:
            item_sizes[number] = _item_sizes(cursor, stream, values)
        else:
            sizes[number] = values
    return sizes, item_sizes


def _item_sizes(cursor: Cursor, stream: Stream, values: list[int]) -> np.ndarray:
    channels = math.prod(stream.shape[2:])
    total = 0
    for height, width in zip(values[::2], values[1::2]):
        if not 0 < height * width * channels <= MAX_ELEMENTS:
            raise cursor.fail("it states an impossible size of an item")
        total += height * width * channels
    if total > 2**62:
        raise cursor.fail("its items have an impossible number of elements")
    return np.array(values, np.int64).reshape(-1, 2)


def _check_sums(
    cursor: Cursor,
    streams: Sequence[Stream],
    blocks: Sequence[Block],
    runs: Runs,
    sizes: dict[int, list[int]],
) -> None:
    held = [0] * len(streams)
    for block in blocks:
        held[block.stream] += block.count
    wanted = [sum(sizes.get(number, ())) for number in range(len(streams))]
    for stream, count in runs:
        if streams[stream].holds_items:
            wanted[stream] += count
    if held != wanted:
        raise cursor.fail("its blocks do not hold what its entries need")
    if max(held, default=0) > 2**62:
        raise cursor.fail("its blocks hold an impossible number of entries")


def _parse_names(cursor: Cursor, entries: int) -> tuple[bytes, ...]:
    data = cursor.packed()
    names = tuple(data.split(b"\0")) if data or entries == 1 else ()
    if len(names) != entries:
        raise cursor.fail(f"it has {len(names)} names for {entries} entries")
    return names


def _check_kind(cursor: Cursor, directory: Directory, header: Header) -> None:
    """The entries must be what the header says the data came as."""
    entry = 0
    for number, count in directory.runs:
        holds_items = directory.streams[number].holds_items
        if holds_items and entry + count > directory.items:
            raise cursor.fail("it has an item among the kept files")
        if not holds_items and entry < directory.items and header.kind != "folder":
            raise cursor.fail("it has a file among the items of an array")
        entry += count
    if header.kind == "folder":
        if any(stream.holds_items and not stream.mode for stream in directory.streams):
            raise cursor.fail("it has images without a mode")
        return
    if directory.items != header.items:
        raise cursor.fail(f"it has {directory.items} items where the header's arrays have {header.items}")
    kept = len(header.kept_members) if header.kind == "npz" else int(not header.arrays)
    if directory.kept != kept:
        raise cursor.fail(f"it has {directory.kept} kept files where the header needs {kept}")
    for stream in directory.streams:
        expected = ("", header.arrays[0].dtype, header.item_shape) if header.arrays else None
        if stream.holds_items and (stream.mode, stream.dtype, stream.shape) != expected:
            raise cursor.fail("it has items that are not rows of the header's arrays")
