"""What an archive holds and what is to be added to it, as one source of which only a part is to be written."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from codelength.archive.damage import SHOWN
from codelength.archive.layout import FILES
from codelength.archive.names import show
from codelength.archive.reader import Archive
from codelength.archive.sources import ItemClass, Source
from codelength.errors import UsageError


@dataclass(frozen=True)
class Origin:
    """Where an entry comes from: number ``entry`` of what is added, or of the archive."""

    added: bool
    entry: int


class Addition:
    """The entries of an archive and of a source, items first, as a ``Source``.

    Its classes, files and metadata are those that are to be written: what is added, and ``anew``, entries of the
    archive (by their numbers there) that lie in the blocks ``dropped``, which are not to be copied. ``replaced``: from
    entries of the archive to those of what is added. ``origins``: of all entries, in their new order.
    """

    def __init__(self, archive: Archive, added: Source, replace_names: bool) -> None:
        check_kind(archive, added)
        self.archive, self.added = archive, added
        header, directory = archive.header, archive.directory
        self.kind, self.name, self.members, self.axes = header.kind, header.name, header.members, added.axes
        self.arrays = header.arrays
        if header.kind != "folder":
            (info,), (more,) = header.arrays, added.arrays
            self.arrays = (replace(info, shape=(info.shape[0] + more.shape[0], *info.shape[1:])),)
        self.replaced = self._replaced(replace_names)
        self.dropped, self.anew = written_anew(archive, self.replaced)
        gone = set(self.replaced.values())
        new = [entry for entry in range(_entries(added)) if entry not in gone]
        old = range(directory.entries)
        self.origins = [
            *(self._origin(entry) for entry in old[: directory.items]),
            *(Origin(True, entry) for entry in new if entry < added.items),
            *(self._origin(entry) for entry in old[directory.items :]),
            *(Origin(True, entry) for entry in new if entry >= added.items),
        ]
        self.items = directory.items + sum(entry < added.items for entry in new)

    def _origin(self, entry: int) -> Origin:
        return Origin(True, self.replaced[entry]) if entry in self.replaced else Origin(False, entry)

    def _replaced(self, replace_names: bool) -> dict[int, int]:
        old = {name: number for number, name in enumerate(self.archive.names)}
        both = {old[name]: number for number, name in enumerate(self.added.names or ()) if name in old}
        if both and not replace_names:
            names = [show(self.archive.names[number]) for number in sorted(both)]
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            raise UsageError(
                f"{self.archive.path} holds {', '.join(names[:SHOWN])}{more} already; leave them out, give them other "
                "names, or ask for them to be replaced"
            )
        for theirs, mine in both.items():
            name = show(self.archive.names[theirs])
            if (theirs < self.archive.items) != (mine < self.added.items):
                raise UsageError(f"{name} is an image in one place and another file in the other; give it another name")
            firsts = (self.archive.metadata(theirs), self.added.metadata(mine)) if theirs < self.archive.items else ()
            if any(metadata.startswith(b"M") for metadata in firsts):
                raise UsageError(f"{name} is a page of a file of several, which is not replaced; give it another name")
        return both

    @property
    def entries(self) -> int:
        return len(self.origins)

    @cached_property
    def new_numbers(self) -> np.ndarray:
        """The number of each entry of the archive among all, or -1 where it is to be written (anew) or is replaced."""
        numbers = np.full(self.archive.directory.entries, -1, np.int64)
        for number, origin in enumerate(self.origins):
            if not origin.added and origin.entry not in self.anew:
                numbers[origin.entry] = number
        return numbers

    def _is_written(self, origin: Origin) -> bool:
        return origin.added or origin.entry in self.anew

    # ---- as a source

    @property
    def names(self) -> Sequence[str] | None:
        if self.kind != "folder":
            return None
        mine, theirs = self.added.names or (), self.archive.names
        return [mine[origin.entry] if origin.added else theirs[origin.entry] for origin in self.origins]

    @property
    def features(self) -> tuple[int, ...]:
        return tuple(sorted({*self.added.features, *self.archive.header.container_features}))

    @property
    def has_metadata(self) -> bool:
        return self.added.has_metadata or self.archive.directory.metadata_stream is not None

    def classes(self) -> list[ItemClass]:
        return self._all_classes

    @cached_property
    def _all_classes(self) -> list[ItemClass]:
        numbers = {origin: number for number, origin in enumerate(self.origins) if self._is_written(origin)}
        found: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
        for item_class in self.added.classes():
            found.setdefault(_key(item_class), []).extend(
                numbers[Origin(True, int(entry))] for entry in item_class.entries
            )
        directory = self.archive.directory
        for entry in sorted(self.anew):
            (stream,), (rank,) = directory.locate(np.array([entry]))
            sort = directory.streams[stream]
            if sort.holds_items:
                (shape,) = directory.shapes_in(int(stream), int(rank), int(rank) + 1)
                found.setdefault((sort.mode, sort.dtype, shape), []).append(numbers[Origin(False, entry)])
        return [ItemClass(mode, np.dtype(dtype), shape, sorted(some)) for (mode, dtype, shape), some in found.items()]

    def read(self, item_class: ItemClass, start: int, stop: int) -> np.ndarray:
        values = np.empty((stop - start, *item_class.shape), item_class.dtype)
        origins = [self.origins[entry] for entry in item_class.entries[start:stop]]
        theirs, places = self._added_classes.get(_key(item_class), (item_class, {}))
        at = 0
        for added, group in itertools.groupby(origins, key=lambda origin: origin.added):
            some = [origin.entry for origin in group]
            if added:
                for low, high in _runs([places[entry] for entry in some]):
                    values[at : at + high - low] = self.added.read(theirs, low, high)
                    at += high - low
            else:
                for items in self.archive.iter_blocks(self.archive.select_numbers(some)):
                    for entry, value in zip(items.entries.tolist(), items.values):
                        values[at + some.index(entry)] = value
                at += len(some)
        return values

    @cached_property
    def _added_classes(self) -> dict[tuple[str, str, tuple[int, ...]], tuple[ItemClass, dict[int, int]]]:
        """The classes of what is added, and the positions of entries in each."""
        return {
            _key(item_class): (item_class, {int(entry): place for place, entry in enumerate(item_class.entries)})
            for item_class in self.added.classes()
        }

    def read_again(self, entry: int) -> np.ndarray | None:
        origin = self.origins[entry]
        return self.added.read_again(origin.entry) if origin.added else None

    def files(self) -> list[int]:
        mine = set(self.added.files())
        return [
            number
            for number, origin in enumerate(self.origins)
            if (origin.entry in mine if origin.added else self._is_written(origin) and self._is_file(origin.entry))
        ]

    def _is_file(self, entry: int) -> bool:
        return self.archive.file_size(entry) is not None

    def file_elements(self, entry: int) -> int:
        origin = self.origins[entry]
        return self.added.file_elements(origin.entry) if origin.added else 0

    def read_file(self, entry: int) -> Iterator[bytes]:
        origin = self.origins[entry]
        yield from (self.added if origin.added else self.archive).read_file(origin.entry)

    def metadata(self, entry: int) -> bytes:
        origin = self.origins[entry]
        return (self.added if origin.added else self.archive).metadata(origin.entry)


def _key(item_class: ItemClass) -> tuple[str, str, tuple[int, ...]]:
    return item_class.mode, item_class.dtype.str, tuple(item_class.shape)


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges (first, behind the last) of ascending positions, in their order."""
    start = 0
    for k in range(1, len(places) + 1):
        if k == len(places) or places[k] != places[k - 1] + 1:
            yield places[start], places[k - 1] + 1
            start = k


def _entries(source: Source) -> int:
    return source.items + sum(entry >= source.items for entry in source.files())


def check_kind(archive: Archive, added: Source) -> None:
    """Raise UsageError where what is added does not go with what the archive holds."""
    header = archive.header
    if header.kind == "folder":
        if added.kind != "folder":
            raise UsageError(f"expected a folder or files to add to {archive.path}, which holds a folder; got an array")
        return
    if header.kind == "npz" or not header.arrays:
        raise UsageError(
            f"{archive.path} holds an .npz or an array that is kept as a file, to which nothing is added; make a new "
            "archive of it all"
        )
    mine = header.arrays[0]
    if added.kind == "folder" or len(added.arrays) != 1 or added.members:
        raise UsageError(f"expected one array to add to {archive.path}, which holds an array")
    more = added.arrays[0]
    if (more.dtype, more.shape[1:]) != (mine.dtype, mine.shape[1:]):
        raise UsageError(
            f"expected rows of {np.dtype(mine.dtype)} of shape {mine.shape[1:]} to add to {archive.path}, got "
            f"{np.dtype(more.dtype)} of shape {more.shape[1:]}"
        )


def written_anew(archive: Archive, replaced: Collection[int]) -> tuple[set[int], set[int]]:
    """Blocks that cannot be copied where some entries are replaced, and the other entries that lie in them."""
    directory = archive.directory
    blocks: set[int] = set()
    for entry in replaced:
        (stream,), (rank,) = (part.tolist() for part in directory.locate(np.array([entry])))
        own = directory.blocks_of[stream]
        if directory.streams[stream].type == FILES:  # files run over the edges of blocks
            blocks |= {block.number for block in own}
            continue
        block = own[int(directory.block_at(stream, rank))]
        blocks.add(block.number)
        if block.program and not block.taught and directory.teacher_of(block) is block:
            blocks |= {other.number for other in own if other.taught and other.program == block.program}
    if replaced and directory.metadata_stream is not None:
        blocks |= {block.number for block in directory.blocks_of[directory.metadata_stream]}
    entries: set[int] = set()
    for number in blocks:
        block = directory.blocks[number]
        stream = directory.streams[block.stream]
        if stream.holds_items:
            entries |= set(directory.entries_of(block.stream, block.first, block.first + block.count).tolist())
        elif stream.type == FILES:
            entries |= set(directory.entries_of(block.stream, 0, len(directory.sizes[block.stream])).tolist())
    return blocks, entries - set(replaced)
