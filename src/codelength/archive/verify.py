"""Whether an archive is sound, and whether it holds the data that it should."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from codelength.archive.damage import Damage, how_many, lost, show_ranges
from codelength.archive.directory import Block
from codelength.archive.figures import Figures
from codelength.archive.names import safe_name
from codelength.archive.ragged import Values
from codelength.archive.reader import Archive, Items
from codelength.archive.selection import lost_with
from codelength.archive.sources import ItemClass, Source, encode_name
from codelength.errors import ArchiveError, CorruptBlock, DataError, UnsafeName
from codelength.progress import task


def verify(archive: Archive, source: Source | None = None) -> Figures:
    """Decode everything, compare all checksums, and compare the data with ``source`` if one is given.

    Raises CorruptBlock, or UnsafeName if only names are wrong, whose ``damaged`` names every block and entry that
    cannot be given back; ArchiveError; DataError (the data differ).
    """
    damaged: list[Damage] = []

    def failed(block: Block, error: CorruptBlock) -> None:
        damaged.append(Damage(block.number, lost_with(archive.directory, block), str(error)))

    blocks_of_all = archive.directory.blocks
    with task("verifying", len(blocks_of_all), "blocks") as advance:
        for _ in archive.check_blocks(blocks_of_all, failed):
            advance(1)
    blocks = len(damaged)
    damaged += _refused_names(archive.names)
    if damaged:
        raise _damaged(archive, damaged, blocks)
    archive.check_file()
    if source is not None:
        compare(archive, source)
    return archive.inspect()


def _refused_names(names: Sequence[str]) -> list[Damage]:
    """Entries whose names are never written, since they would lead out of their folder, say."""
    found: list[Damage] = []
    for number, name in enumerate(names):
        try:
            safe_name(name, windows=False)
        except UnsafeName as error:
            found.append(Damage(-1, ((number, number + 1),), str(error)))
    return found


def _damaged(archive: Archive, damaged: list[Damage], blocks: int) -> ArchiveError:
    error: ArchiveError
    if blocks:
        gone = lost(damaged)
        others = f", {len(damaged) - blocks:,} names are not safe to write" if len(damaged) > blocks else ""
        error = CorruptBlock(
            f"{blocks:,} of {len(archive.directory.blocks):,} blocks are corrupt{others}, and {how_many(gone):,} of "
            f"{archive.directory.entries:,} entries are lost: {show_ranges(gone)}; the first "
            f"is that {damaged[0].reason}"
        )
        error.block = damaged[0].block if len(damaged) == 1 else -1
    else:
        error = UnsafeName(
            f"{len(damaged):,} of {archive.directory.entries:,} names are not safe to write: {damaged[0].reason}; "
            "decompress leaves them out"
        )
    error.damaged = damaged
    return error


def compare(archive: Archive, source: Source) -> None:
    """Raise DataError unless ``archive`` gives back exactly what ``source`` holds.

    Images are compared twice: with what the reader of their format makes of them, and another library.
    """
    header, directory = archive.header, archive.directory
    if (header.kind, header.arrays, header.members) != (source.kind, source.arrays, source.members):
        raise _differ("it holds arrays of other names, shapes or types")
    names = source.names
    if directory.items != source.items or (
        names is not None and list(archive.directory.names or ()) != list(map(encode_name, names))
    ):
        raise _differ("it holds files of other names, or more or fewer of them")
    classes = {(c.mode, c.dtype.str, tuple(c.shape)): (c, np.asarray(c.entries)) for c in source.classes()}
    for items in archive.iter_blocks():
        for shape, numbers in _by_shape(items):
            key = items.mode, items.values.dtype.str, shape
            if key not in classes:
                raise _differ(f"image {items.entries[numbers[0]]} has another shape or mode")
            _compare_items(items.entries[numbers], items.values[numbers], *classes[key], source)
    kept = [entry for entry in range(directory.entries) if archive.file_size(entry) is not None]
    if kept != list(source.files()):
        raise _differ("it keeps other files whole")
    for entry in kept:
        if not _same_bytes(archive.read_file(entry), source.read_file(entry)):
            raise _differ(f"the file number {entry} differs")
    for entry in range(source.items) if source.has_metadata else ():
        if archive.metadata(entry) != source.metadata(entry):
            raise _differ(f"what the file of image {entry} holds beside its pixels differs")


def _by_shape(items: Items) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """The numbers within ``items`` of those of each shape."""
    if isinstance(items.values, np.ndarray):
        return [(items.values.shape[1:], np.arange(len(items.values)))]
    found: dict[tuple[int, ...], list[int]] = {}
    for number, value in enumerate(items.values):
        found.setdefault(value.shape, []).append(number)
    return [(shape, np.array(numbers)) for shape, numbers in found.items()]


def _compare_items(
    numbers: np.ndarray, values: Values, item_class: ItemClass, entries: np.ndarray, source: Source
) -> None:
    """Compare items of one shape with those of these numbers in the source."""
    positions = np.minimum(np.searchsorted(entries, numbers), len(entries) - 1)
    strangers = np.flatnonzero(entries[positions] != numbers)
    if len(strangers):
        raise _differ(f"image {numbers[strangers[0]]} has another shape or mode")
    mine = list(values)
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for start, stop in itertools.pairwise([0, *breaks.tolist(), len(positions)]):
        theirs = source.read(item_class, int(positions[start]), int(positions[stop - 1]) + 1)
        for offset, (own, other) in enumerate(zip(mine[start:stop], theirs)):
            if own.tobytes() != other.tobytes():
                raise _differ(f"item {numbers[start + offset]} differs")
    for entry, own in zip(numbers.tolist(), mine):
        again = source.read_again(entry)
        if again is not None and not np.array_equal(again, own):
            raise _differ(f"item {entry} differs from what a second library reads")


def _differ(reason: str) -> DataError:
    return DataError(f"the archive does not hold this data: {reason}")


def _same_bytes(left: Iterable[bytes], right: Iterable[bytes]) -> bool:
    """Whether two sequences of pieces join to the same bytes, holding a piece of each at a time."""
    left, right = iter(left), iter(right)
    mine, other = b"", b""
    while True:
        mine = mine or next((piece for piece in left if piece), b"")
        other = other or next((piece for piece in right if piece), b"")
        common = min(len(mine), len(other))
        if not common or mine[:common] != other[:common]:
            return not mine and not other
        mine, other = mine[common:], other[common:]
