"""Where an archive's items come from: arrays, or the images of a folder.

A source hands out items in pieces, so that a writer never holds more than a block. Reading files and pixels is the
business of the data layer; here they arrive as arrays and as entries with methods to read them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codelength.archive import names as naming
from codelength.archive.layout import MAX_AXES, MODES, ArrayInfo, is_item_dtype
from codelength.archive.ragged import join
from codelength.errors import DataError, UnsafeName, UsageError

PIECE = 2**22


@dataclass(frozen=True)
class ItemClass:
    """Items of one mode, dtype and shape. ``entries``: their numbers, ascending."""

    mode: str
    dtype: np.dtype
    shape: tuple[int, ...]
    entries: Sequence[int]


class Source(Protocol):
    """What ``write_archive`` compresses.

    kind, name, arrays, members: as in the header. names: of all entries of a folder, None elsewhere.
    axes: transposition from items to the model's events where it is not to be guessed.
    features: numbers of what a reader must know of the container beyond its first version.
    """

    kind: str
    name: str
    arrays: tuple[ArrayInfo, ...]
    members: tuple[str, ...]
    axes: tuple[int, ...] | None

    @property
    def features(self) -> tuple[int, ...]: ...

    @property
    def items(self) -> int:
        """Number of items that have entries."""
        ...

    @property
    def names(self) -> Sequence[str] | None: ...

    @property
    def has_metadata(self) -> bool: ...

    def classes(self) -> list[ItemClass]:
        """The items that are kept as values; all others are whole files."""
        ...

    def read(self, item_class: ItemClass, start: int, stop: int) -> np.ndarray:
        """Items (stop - start, *shape): positions ``start`` to ``stop`` of ``item_class.entries``."""
        ...

    def read_again(self, entry: int) -> np.ndarray | None:
        """The item of an entry as another library than that behind ``read`` reads it; None where there is none."""
        ...

    def files(self) -> list[int]:
        """Entry numbers, ascending, of items and kept files that are kept as whole files."""
        ...

    def file_elements(self, entry: int) -> int:
        """Elements of an item that is kept as a whole file, where known, else 0."""
        ...

    def read_file(self, entry: int) -> Iterator[bytes]:
        """The bytes of a whole file, in pieces."""
        ...

    def metadata(self, entry: int) -> bytes:
        """What an image file holds beside its pixels; empty for most."""
        ...


class ArraySource:
    """Items that are the rows of one array, or of several arrays of one dtype and item shape.

    arrays: an array, or the members of an ``.npz`` by name: the arrays that hold the items are joined, the others, and
        what is no array (bytes), are kept whole. Arrays may be memory-mapped.
    kind: "array", "npz" or "idx". name: of the file they came from.
    axes: transposition from an item to the model's event; guessed where None.
    coded: names of the arrays whose rows are the items; without it, the largest with several axes (the largest of all
        if none has) and those like it.

    Raises DataError for arrays of Python objects.
    """

    features: tuple[int, ...] = ()

    def __init__(
        self,
        arrays: np.ndarray | Mapping[str, np.ndarray | bytes],
        *,
        kind: str | None = None,
        name: str = "",
        axes: tuple[int, ...] | None = None,
        coded: Sequence[str] | None = None,
    ) -> None:
        self.kind = kind or ("npz" if isinstance(arrays, Mapping) else "array")
        self.name = name
        self.axes = axes
        members = dict(arrays) if isinstance(arrays, Mapping) else {"": np.asanyarray(arrays)}
        if self.kind != "npz" and len(members) != 1:
            raise UsageError(f"expected one array for data of kind {self.kind}, got {len(members)}")
        table = {key: member for key, member in members.items() if isinstance(member, np.ndarray)}
        for key, array in table.items():
            if array.dtype.hasobject:
                raise DataError(
                    f"expected numbers in {key or name or 'the array'}, got Python objects, which are not kept"
                )
        self.members = tuple(members) if self.kind == "npz" else ()
        for key in self.members:
            try:
                naming.safe_member(key + ".npy")
            except UnsafeName as error:
                raise DataError(f"{error}; rename it") from None
        listed = set(_coded_members(table) if coded is None else coded)
        coded = [key for key in table if key in listed]
        self.arrays = tuple(
            ArrayInfo(key, table[key].dtype.str, table[key].shape, _is_fortran(table[key])) for key in coded
        )
        self._parts = [table[key] for key in coded]
        self._kept = [member for key, member in members.items() if key not in listed]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    @property
    def items(self) -> int:
        return int(self._starts[-1])

    @property
    def names(self) -> None:
        return None

    @property
    def has_metadata(self) -> bool:
        return False

    def classes(self) -> list[ItemClass]:
        if not self.items:
            return []
        first = self._parts[0]
        return [ItemClass("", first.dtype, first.shape[1:], range(self.items))]

    def read(self, item_class: ItemClass, start: int, stop: int) -> np.ndarray:
        pieces = []
        for offset, part in zip(self._starts[:-1], self._parts):
            low, high = max(start - int(offset), 0), min(stop - int(offset), len(part))
            if low < high:
                _check_mapped(part)
                pieces.append(np.asarray(part[low:high]))
        return np.ascontiguousarray(join(pieces))

    def read_again(self, entry: int) -> None:
        return None

    def files(self) -> list[int]:
        return [self.items + k for k in range(len(self._kept))]

    def file_elements(self, entry: int) -> int:
        return 0

    def read_file(self, entry: int) -> Iterator[bytes]:
        member = self._kept[entry - self.items]
        if isinstance(member, bytes):
            yield from _pieces(member)
            return
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, member, allow_pickle=False)
        yield from _pieces(buffer.getbuffer())

    def metadata(self, entry: int) -> bytes:
        return b""


def _check_mapped(array: np.ndarray) -> None:
    """Raise DataError where the file behind a mapped array has become shorter: reading on would end the process."""
    name = getattr(array, "filename", None)
    if isinstance(array, np.memmap) and name is not None:
        try:
            size = os.stat(name).st_size
        except OSError:
            return  # the name is gone, but the file is still there as long as it is mapped
        if size < array.offset + array.nbytes:
            raise DataError(f"{name} became shorter while it was being read; start again when nothing writes to it")


def _coded_members(table: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays whose rows are the items: the largest and all like it."""
    fitting = {key: array for key, array in table.items() if 1 <= array.ndim <= MAX_AXES and is_item_dtype(array.dtype)}
    if not any(array.size for array in fitting.values()):
        return []
    main = max(fitting.values(), key=lambda array: (array.ndim > 1 and array.size > 0, array.nbytes))
    return [key for key, array in fitting.items() if array.dtype == main.dtype and array.shape[1:] == main.shape[1:]]


def _is_fortran(array: np.ndarray) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _pieces(data: bytes | memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield bytes(data[start : start + PIECE])


class FolderEntry(Protocol):
    """A file of a folder, found by the data layer.

    name: relative, with ``/`` between parts.
    is_image: whether it counts as an item; other files are kept beside the items.
    mode: one of ``layout.MODES`` if its pixels are to be kept as values, "" if it is to be kept as a whole file.
    shape: of the pixels, (h, w) or (h, w, channels), with the number of images before it where a whole file is known to
        hold several; () where unknown.
    metadata: what the file holds beside its pixels.
    features: as of ``Source``.
    """

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> tuple[int, ...]: ...

    @property
    def is_image(self) -> bool: ...

    @property
    def mode(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def metadata(self) -> bytes: ...

    def read_pixels(self) -> np.ndarray: ...

    def read_again(self) -> np.ndarray | None:
        """The pixels as another library reads them; None where there is no other."""
        ...

    def read_bytes(self) -> Iterable[bytes]:
        """The whole file, in pieces."""
        ...


class FolderSource:
    """The files of a folder; images are items in the order given, other files follow them.

    Raises DataError for entries with impossible modes or the same name.
    """

    kind = "folder"
    name = ""
    arrays: tuple[ArrayInfo, ...] = ()
    members: tuple[str, ...] = ()
    axes: tuple[int, ...] | None = None

    def __init__(self, entries: Iterable[FolderEntry]) -> None:
        entries = list(entries)
        self.entries = [e for e in entries if e.is_image] + [e for e in entries if not e.is_image]
        self._items = sum(entry.is_image for entry in entries)
        seen: set[str] = set()
        for entry in self.entries:
            name = naming.show(entry.name)
            if entry.name in seen:
                raise DataError(f"expected files of different names, got {name} twice")
            seen.add(entry.name)
            try:
                if "\0" in entry.name:
                    raise UnsafeName(f"expected a file name, got {name}")
                naming.safe_name(entry.name, windows=False)
            except UnsafeName as error:
                raise DataError(f"{error}; rename it or shorten its path") from None
            if entry.mode and (entry.mode not in MODES or not entry.is_image or not all(entry.shape)):
                raise DataError(f"expected an image of a known mode in {name}, got {entry.mode!r}, {entry.shape}")

    @property
    def items(self) -> int:
        return self._items

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    @property
    def features(self) -> tuple[int, ...]:
        return tuple(sorted({number for entry in self.entries for number in entry.features}))

    @property
    def has_metadata(self) -> bool:
        return any(entry.metadata for entry in self.entries[: self._items])

    def classes(self) -> list[ItemClass]:
        groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for number, entry in enumerate(self.entries):
            if entry.mode:
                groups.setdefault((entry.mode, tuple(entry.shape)), []).append(number)
        return [ItemClass(mode, np.dtype(MODES[mode][0]), shape, numbers) for (mode, shape), numbers in groups.items()]

    def read(self, item_class: ItemClass, start: int, stop: int) -> np.ndarray:
        items = np.empty((stop - start, *item_class.shape), item_class.dtype)
        for position in range(start, stop):
            entry = self.entries[item_class.entries[position]]
            pixels = entry.read_pixels()
            if pixels.shape != item_class.shape:
                raise DataError(
                    f"expected {naming.show(entry.name)} to have the shape {item_class.shape}, got {pixels.shape}; "
                    "it changed, so start again"
                )
            items[position - start] = pixels
            if not np.array_equal(items[position - start], pixels):
                raise DataError(
                    f"expected {naming.show(entry.name)} to hold pixels of mode {item_class.mode}, got other values"
                )
        return items

    def read_again(self, entry: int) -> np.ndarray | None:
        return self.entries[entry].read_again()

    def files(self) -> list[int]:
        return [number for number, entry in enumerate(self.entries) if not entry.mode]

    def file_elements(self, entry: int) -> int:
        shape = self.entries[entry].shape
        return int(np.prod(shape, dtype=object)) if shape and self.entries[entry].is_image else 0

    def read_file(self, entry: int) -> Iterator[bytes]:
        for piece in self.entries[entry].read_bytes():
            yield from _pieces(piece)

    def metadata(self, entry: int) -> bytes:
        return self.entries[entry].metadata


def encode_name(name: str) -> bytes:
    """A relative name as the bytes of the file system that it came from."""
    return name.encode("utf-8", "surrogateescape")
