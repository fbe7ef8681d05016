"""Comparing an archive with the data that it should hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from codelength.archive.sources import encode_name
from codelength.errors import DataError

if TYPE_CHECKING:
    from codelength.archive.reader import Archive, Items
    from codelength.archive.sources import ItemClass, Source


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
        key = items.mode, items.values.dtype.str, items.values.shape[1:]
        if key not in classes:
            raise _differ(f"image {items.entries[0]} has another shape or mode")
        _compare_items(items, *classes[key], source)
    kept = [entry for entry in range(directory.entries) if archive.file_size(entry) is not None]
    if kept != list(source.files()):
        raise _differ("it keeps other files whole")
    for entry in kept:
        if not _same_bytes(archive.read_file(entry), source.read_file(entry)):
            raise _differ(f"the file number {entry} differs")
    for entry in range(source.items) if source.has_metadata else ():
        if archive.metadata(entry) != source.metadata(entry):
            raise _differ(f"what the file of image {entry} holds beside its pixels differs")


def _compare_items(items: Items, item_class: ItemClass, entries: np.ndarray, source: Source) -> None:
    positions = np.minimum(np.searchsorted(entries, items.entries), len(entries) - 1)
    strangers = np.flatnonzero(entries[positions] != items.entries)
    if len(strangers):
        raise _differ(f"image {items.entries[strangers[0]]} has another shape or mode")
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for start, stop in itertools.pairwise([0, *breaks.tolist(), len(positions)]):
        theirs = source.read(item_class, int(positions[start]), int(positions[stop - 1]) + 1)
        for offset, (mine, other) in enumerate(zip(items.values[start:stop], theirs)):
            if mine.tobytes() != other.tobytes():
                raise _differ(f"item {items.entries[start + offset]} differs")
    for entry, mine in zip(items.entries.tolist(), items.values):
        again = source.read_again(entry)
        if again is not None and not np.array_equal(again, mine):
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
