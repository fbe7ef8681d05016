"""Reading archives, without trusting them and without holding more than a block."""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np

from codelength.archive.blocks import Blocks, joined
from codelength.archive.damage import Damage
from codelength.archive.directory import Block, Directory
from codelength.archive.figures import Figures
from codelength.archive.frame import read_at, read_frame
from codelength.archive.layout import (
    END,
    FILE_DIGEST_BYTES,
    FILES,
    MODEL,
    NO_MODEL,
    VERSION,
    Header,
)
from codelength.archive.model import (
    Model,
    ModelLoader,
    ModelResolver,
    Program,
    ProgramLoader,
    known_features,
    load_model,
    load_program,
)
from codelength.archive.ordered import in_order
from codelength.archive.ragged import Values
from codelength.archive.selection import Selection, lost_with, output_bytes, select
from codelength.errors import (
    ArchiveError,
    CorruptBlock,
    CorruptHeader,
    DataError,
    TooLarge,
    UnknownFeature,
    UsageError,
)
from codelength.files import open_regular
from codelength.progress import task

MEMORY = 2**30

# Without a limit of one's own, output is refused beyond this ratio to the archive, or beyond this many bytes if that is
# more: a kilobyte can rightly hold a billion certain pixels, but rarely does.
OUTPUT_RATIO = 1000
OUTPUT_BYTES = 2**30


@dataclass(frozen=True)
class Items:
    """Decoded items of one block: ``values`` (n, *shape), or of several shapes, are the entries numbered ``entries``
    (n,)."""

    block: int
    mode: str
    entries: np.ndarray
    values: Values


@dataclass
class Archive:
    """An open archive; use ``Archive.open``, and close it or use it in a ``with`` statement."""

    path: Path
    header: Header
    directory: Directory
    _file: BinaryIO
    _size: int
    _blocks: Blocks
    _last_block: tuple[int, np.ndarray] = (-1, np.zeros(0, np.uint8))
    jobs: int = 1

    @staticmethod
    def open(
        path: str | Path,
        model_resolver: ModelResolver | None = None,
        *,
        max_memory: int | None = MEMORY,
        model_loader: ModelLoader = load_model,
        program_loader: ProgramLoader = load_program,
        features: Collection[int] | None = None,
        jobs: int = 1,
    ) -> Archive:
        """Open an archive and check all of it but its blocks.

        model_resolver: finds a model that is not embedded, by SHA-256 and name.
        max_memory: bytes of memory that decoding may need (None: any).
        features: numbers of those of models that are known; the model's own list where None.
        jobs: blocks that ``iter_blocks`` decodes at a time, each within that memory.

        Raises DataError if the file cannot be read; NotAnArchive, NewerVersion, Truncated, CorruptHeader,
        UnknownFeature, TooLarge.
        """
        path = Path(path)
        file = open_regular(path, "an archive")
        try:
            limit = math.inf if max_memory is None else max_memory
            frame = read_frame(path, file, limit)
            header, directory = frame.header, frame.directory
            blocks = Blocks(
                path, file, header, directory, frame.model_start, model_resolver, model_loader, program_loader, limit
            )
            archive = Archive(path, header, directory, file, frame.size, blocks, jobs=jobs)
            if features is None and model_loader is load_model:
                features = known_features()
            unknown = [] if features is None else [n for n in archive.header.model_features if n not in features]
            if unknown:
                raise UnknownFeature(
                    f"{path} needs feature {', '.join(map(str, unknown))}, which this version does not know; "
                    "a newer version of codelength will read it"
                )
            return archive
        except OSError as error:
            file.close()
            raise DataError(f"cannot read {path}: {error.strerror or error}") from None
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # What it holds.

    @property
    def items(self) -> int:
        return self.directory.items

    @property
    def names(self) -> list[str]:
        """Names of all entries of a folder, items first; empty for arrays."""
        return [name.decode("utf-8", "surrogateescape") for name in self.directory.names or ()]

    @property
    def dims(self) -> int:
        """Elements of all items, as far as known."""
        directory = self.directory
        return directory.kept_elements + sum(
            directory.elements(block.stream, block.first, block.first + block.count)
            for block in directory.blocks
            if directory.streams[block.stream].holds_items
        )

    @property
    def coded_dims(self) -> int:
        """Elements of the items that the model codes."""
        streams = self.directory.streams
        return sum(n * streams[k].elements for k, n in self.directory.runs if streams[k].type == MODEL)

    def is_coded(self, block: Block) -> bool:
        """Whether the model or a program codes a block, and no general codec."""
        return self.directory.streams[block.stream].type == MODEL or block.program > 0

    def inspect(self) -> Figures:
        """Sizes and rates, without decoding anything."""
        directory = self.directory
        coded = sum(block.count for block in directory.blocks if self.is_coded(block))
        return Figures(
            items=self.items,
            dims=self.dims,
            archive_bytes=self._size,
            model_bytes=self.header.model_bytes + directory.programs_bytes,
            names_bytes=directory.names_bytes,
            fallback_bytes=sum(block.length for block in directory.blocks if not self.is_coded(block)),
            fallback_items=directory.items - coded,
            code_length_bits=directory.code_length,
            startup_bits=directory.startup,
            blocks=len(directory.blocks),
            format_version=VERSION,
            model_sha256=self.header.model_sha256,
            data_sha256=directory.data_digest.hex(),
        )

    # Decoding.

    @property
    def needs_model(self) -> bool:
        """Whether decoding asks for the model: not where it codes no item of the archive."""
        return any(stream.type == MODEL for stream in self.directory.streams)

    @property
    def has_model(self) -> bool:
        """Whether it was written with a trained model, needed or not."""
        return self.header.model_sha256 != NO_MODEL

    def load_model(self) -> Model:
        """The frozen model, embedded or found by the resolver; raises WrongModel, ProgramError, UnknownFeature."""
        return self._blocks.load_model()

    def model_file(self) -> bytes:
        """The model file as it lies in the archive; empty where there is none."""
        return self._bytes(self._blocks.model_start, self.header.model_bytes)

    def stored(self, block: Block) -> Iterator[bytes]:
        """The bytes of a block as they lie in the file, in pieces."""
        for start in range(0, block.length, 2**20):
            yield self._bytes(block.offset + start, min(2**20, block.length - start))

    def load_program(self, number: int) -> Program:
        """A program that codes blocks, by its number from 1; raises ProgramError, UnknownFeature."""
        return self._blocks.programs.load(number)

    def symbols_of(self, block: Block) -> int | None:
        """How many symbols the model or the program that codes a block tells apart; None where none does."""
        if self.directory.streams[block.stream].type == MODEL:
            return self.load_model().space.symbols
        return self._blocks.programs.load(block.program).space.symbols if block.program else None

    def load_all(self) -> None:
        """The model and the programs that the blocks need, proved; raises as decoding does."""
        if self.needs_model:
            self.load_model()
        for number in sorted({block.program for block in self.directory.blocks} - {0}):
            self._blocks.programs.load(number)

    def decode_block(self, block: Block) -> Any:
        """Original data of a block: items (n, *shape), or ``Ragged`` where shapes differ, or bytes as uint8 (n,).

        Raises CorruptBlock, and whatever ``load_model`` raises.
        """
        return self._blocks.decode(block)

    def select(self, range: tuple[int, int] | None = None, names: Sequence[str] | None = None) -> Selection:
        """The entries asked for, as ``codelength.archive.selection.select`` finds them."""
        return select(self.directory, self.names, range, names)

    def select_numbers(self, numbers: Sequence[int]) -> Selection:
        """The entries of these numbers, which ascend."""
        return Selection(0, self.directory.entries, np.array(numbers, np.int64))

    def iter_blocks(
        self,
        selection: Selection | None = None,
        *,
        damaged: list[Damage] | None = None,
        decode: Callable[[Block], Values] | None = None,
    ) -> Iterator[Items]:
        """Items of every block that holds some of the selection (all where None), in the file's order, a block at a
        time.

        damaged: blocks that cannot be decoded are reported here and left out; where None, the first one raises.
        decode: in place of ``decode_block``, for callers that keep blocks.
        """
        selection = selection or self.select()
        with task("decoding", min(selection.count, self.items)) as advance:
            for items in self._iter_blocks(selection, damaged, decode or self.decode_block):
                yield items
                advance(len(items.entries))

    def _iter_blocks(
        self, selection: Selection, damaged: list[Damage] | None, decode: Callable[[Block], Values]
    ) -> Iterator[Items]:
        def wanted() -> Iterator[tuple[Block, Callable[[], Items | None]]]:
            for block in self.directory.blocks_in(selection.start, selection.stop):
                if self.directory.streams[block.stream].holds_items:
                    yield block, functools.partial(self._decode_wanted, block, selection, decode)

        for block, result in in_order(wanted(), self.jobs):
            try:
                items = result()
            except CorruptBlock as error:
                if damaged is None:
                    raise
                damaged.append(Damage(block.number, lost_with(self.directory, block, selection), str(error)))
                continue
            if items is not None:
                yield items

    def _decode_wanted(self, block: Block, selection: Selection, decode: Callable[[Block], Values]) -> Items | None:
        """The part of a block that is asked for; None if there is none."""
        entries = self._wanted(block, selection)
        if entries is None:
            return None
        numbers, positions = entries
        values = decode(block)
        if len(positions) != block.count:
            values = values[positions]
        return Items(block.number, self.directory.streams[block.stream].mode, numbers, values)

    def _wanted(self, block: Block, selection: Selection) -> tuple[np.ndarray, np.ndarray] | None:
        """Entry numbers and slots of the part of a block that is asked for; None if there is none.

        Nothing of the size of the block's count is built before the block's memory has been checked.
        """
        first, last = self.directory.ranks_in(block.stream, selection.start, selection.stop)
        low, high = max(first, block.first), min(last, block.first + block.count)
        if low >= high:
            return None
        last_rank = block.first + block.count
        self._blocks.check_memory(block, self.directory.elements(block.stream, block.first, last_rank))
        numbers = self.directory.entries_of(block.stream, low, high)
        positions = selection.positions(numbers)
        if not len(positions):
            return None
        return numbers[positions], positions + (low - block.first)

    def file_size(self, entry: int) -> int | None:
        """Bytes of an entry that is kept as a whole file; None for others."""
        if not 0 <= entry < self.directory.entries:
            return None
        number, rank = self._place(entry)
        return self.directory.sizes[number][rank] if self.directory.streams[number].type == FILES else None

    def _place(self, entry: int) -> tuple[int, int]:
        """Stream and rank of an entry."""
        streams, ranks = self.directory.locate(np.array([entry]))
        return int(streams[0]), int(ranks[0])

    def read_file(self, entry: int) -> Iterator[bytes]:
        """The bytes of an entry that is kept as a whole file, in pieces; raises UsageError for others."""
        size = self.file_size(entry)
        if size is None:
            raise UsageError(f"expected an entry that is kept as a file, got number {entry}")
        number, rank = self._place(entry)
        yield from self._joined(number, self.directory.starts[number][rank], size)

    def metadata(self, item: int) -> bytes:
        """What the file of an item held beside its pixels; empty for most."""
        number = self.directory.metadata_stream
        size = 0 if number is None else self.directory.sizes[number][item]
        if number is None or not size:
            return b""
        self.check_output(size, None)
        return b"".join(self._joined(number, self.directory.starts[number][item], size))

    def _joined(self, stream: int, start: int, size: int) -> Iterator[bytes]:
        """The bytes ``start`` to ``start + size`` of a stream of files; the block used last is kept for the next
        call."""

        def decode(block: Block) -> np.ndarray:
            if self._last_block[0] != block.number:
                self._last_block = block.number, self.decode_block(block)
            return self._last_block[1]

        return joined(self.directory, stream, start, size, decode)

    # In memory.

    def check_output(self, size: int, max_output: int | None = None) -> None:
        """Raise TooLarge where so many bytes of output are suspicious, or more than ``max_output``."""
        limit = max(OUTPUT_BYTES, OUTPUT_RATIO * self._size) if max_output is None else max_output
        if size > limit:
            raise TooLarge(
                f"decoding would produce {size} bytes, more than the limit of {limit}; take a range, or raise the "
                f"limit with max_output if you trust this archive of {self._size} bytes"
            )

    def read(
        self,
        range: tuple[int, int] | None = None,
        *,
        names: Sequence[str] | None = None,
        damaged: list[Damage] | None = None,
        max_output: int | None = None,
    ) -> np.ndarray | list[np.ndarray | bytes]:
        """Items in memory: one array (n, *shape) for arrays; for folders a list in the original order, with bytes for
        items that are kept as whole files.

        damaged: report damaged blocks here instead of raising; their items are zeros (for folders: empty bytes).
        max_output: bytes that may be produced; without it ``OUTPUT_RATIO`` and ``OUTPUT_BYTES`` rule.

        Raises CorruptBlock, TooLarge, UsageError.
        """
        selection = self.select((0, self.items) if range is None else range, names)
        self.check_output(output_bytes(self.directory, selection), max_output)
        if self.header.kind == "folder":
            return self._read_list(selection, damaged)
        if not self.header.arrays:
            return self._read_kept_array()
        info = self.header.arrays[0]
        order: Literal["C", "F"] = "F" if len(self.header.arrays) == 1 and info.fortran else "C"
        result = np.zeros((selection.count, *info.shape[1:]), info.dtype, order=order)
        for items in self.iter_blocks(selection, damaged=damaged):
            result[items.entries - selection.start] = items.values
        return result

    def _read_list(self, selection: Selection, damaged: list[Damage] | None) -> list[np.ndarray | bytes]:
        numbers = selection.numbers
        found: dict[int, np.ndarray | bytes] = {}
        for items in self.iter_blocks(selection, damaged=damaged):
            found.update(zip(items.entries.tolist(), items.values))
        for entry in numbers:
            if self.file_size(entry) is not None:
                try:
                    found[entry] = b"".join(self.read_file(entry))
                except CorruptBlock as error:
                    if damaged is None:
                        raise
                    damaged.append(Damage(error.block, ((entry, entry + 1),), str(error)))
        return [found.get(entry, b"") for entry in numbers]

    def _read_kept_array(self) -> np.ndarray:
        data = io.BytesIO(b"".join(self.read_file(0)))
        try:
            array = np.lib.format.read_array(data, allow_pickle=False)
        except ValueError as error:
            raise CorruptHeader(f"the array that this archive keeps as a file cannot be read ({error})") from None
        return array

    # Checking.

    def check_blocks(self, blocks: Sequence[Block], failed: Callable[[Block, CorruptBlock], None]) -> Iterator[Block]:
        """Decode blocks, and give each when it has been; ``failed`` is called for those that cannot be decoded."""
        tasks = ((block, functools.partial(self._check_block, block)) for block in blocks)
        for block, result in in_order(tasks, self.jobs):
            try:
                result()
            except CorruptBlock as error:
                failed(block, error)
            yield block

    def _check_block(self, block: Block) -> None:
        self.decode_block(block)

    def check_file(self) -> None:
        """Compare the checksum of the whole file; raises ArchiveError."""
        digest = hashlib.blake2b(digest_size=FILE_DIGEST_BYTES)
        end = self._size - FILE_DIGEST_BYTES - len(END)
        for start in range(0, end, 2**20):
            digest.update(self._bytes(start, min(2**20, end - start)))
        if digest.digest() != self._bytes(end, FILE_DIGEST_BYTES):
            raise ArchiveError(
                "the checksum of this archive does not agree with its bytes; get a fresh copy of the file"
            )

    def file_digest(self) -> bytes:
        """The checksum of the whole file that its trailer states."""
        return self._bytes(self._size - len(END) - FILE_DIGEST_BYTES, FILE_DIGEST_BYTES)

    def _bytes(self, start: int, count: int) -> bytes:
        return read_at(self._file, start, count)
