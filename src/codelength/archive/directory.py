"""What lies where in an archive (docs/format.md, "Entries" and "Directory")."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import numpy as np

from codelength.archive.codecs import NAMES, WEBP
from codelength.archive.damage import Ranges, union
from codelength.archive.layout import DATA_DIGEST_BYTES, ITEMS, METADATA, MODEL, Header, Stream
from codelength.archive.wire import CHECK_BYTES, Cursor, packed, uint, uints
from codelength.errors import UnknownFeature


@dataclass(frozen=True)
class Block:
    """Where a block lies and what it holds.

    number: in the file's order. stream: number of its stream. offset, length: bytes in the file.
    count: items, or bytes of files. first: items (bytes) of its stream that lie before it.
    codec: of types other than MODEL. sizes: of the groups (MODEL). check: of the original data.
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

    def to_bytes(self, type_: int) -> bytes:
        data = uint(self.stream) + uint(self.length) + uint(self.count)
        return data + (uints(self.sizes[:-1]) if type_ == MODEL else uint(self.codec)) + self.check


Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Directory:
    """What lies where.

    items, kept: numbers of items and of kept files that have entries.
    runs: (stream, how many entries) in the order of the entries.
    sizes: of the files, for each stream of type FILES and METADATA, by stream number.
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

    def to_bytes(self) -> bytes:
        data = bytearray(uint(self.items) + uint(self.kept) + uint(len(self.streams)))
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
        if self.names is not None:
            data += self.names_part(self.names)
        data += uint(self.code_length) + uint(self.startup) + uint(self.kept_elements) + self.data_digest
        return bytes(data)

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
        streams = tuple(Stream.parse(cursor) for _ in range(cursor.count()))
        if sum(stream.type == METADATA for stream in streams) > 1:
            raise cursor.fail("it has two streams of metadata")
        blocks = _parse_blocks(cursor, streams, start)
        runs = _parse_runs(cursor, streams, entries)
        sizes = _parse_sizes(cursor, streams, runs, items)
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


def _parse_blocks(cursor: Cursor, streams: Sequence[Stream], offset: int) -> tuple[Block, ...]:
    blocks = []
    filled = [0] * len(streams)
    for number in range(cursor.count()):
        stream = cursor.uint()
        if stream >= len(streams):
            raise cursor.fail(f"block {number} belongs to stream {stream} of {len(streams)}")
        length, count = cursor.uint(2**62), cursor.uint(2**62)
        codec = 0
        sizes: tuple[int, ...] = ()
        if not count:
            raise cursor.fail(f"block {number} is empty")
        if streams[stream].type == MODEL:
            sizes = tuple(cursor.uints())
            sizes = (*sizes, count - sum(sizes))
            if min(sizes) < 1:
                raise cursor.fail(f"block {number} has groups that do not add up")
            if length % 4:
                raise cursor.fail(f"block {number} is no sequence of words")
        else:
            codec = cursor.uint()
            if codec not in NAMES or (codec == WEBP and streams[stream].type != ITEMS):
                raise UnknownFeature(
                    f"block {number} of this archive uses the codec {codec}, which this version does not know; upgrade "
                    "codelength"
                )
        blocks.append(
            Block(number, stream, offset, length, count, filled[stream], codec, sizes, cursor.take(CHECK_BYTES))
        )
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


def _parse_sizes(cursor: Cursor, streams: Sequence[Stream], runs: Runs, items: int) -> dict[int, list[int]]:
    sizes = {}
    totals = [0] * len(streams)
    for number, count in runs:
        totals[number] += count
    for number, stream in enumerate(streams):
        if stream.holds_items:
            continue
        part = Cursor(cursor.packed(), "directory")
        values = []
        while part.left:
            values.append(part.uint(2**62))
        expected = items if stream.type == METADATA else totals[number]
        if len(values) != expected:
            raise cursor.fail(f"it states {len(values)} sizes for {expected} files")
        sizes[number] = values
    return sizes


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
