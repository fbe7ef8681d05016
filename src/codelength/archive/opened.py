"""An archive as a sequence of its items, of which blocks are decoded when they are needed and then kept for a while."""

from __future__ import annotations

import io
import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from codelength.archive.blocks import joined
from codelength.archive.kept import KeptBlocks
from codelength.archive.layout import NPY_MAGIC
from codelength.archive.ragged import Values
from codelength.archive.reader import Archive
from codelength.errors import CorruptHeader, DataError, UsageError

if TYPE_CHECKING:
    from codelength.archive.model import Model

#: Bytes of decoded blocks that are kept: 64 of the largest blocks that are usual.
CACHE_BYTES = 256 * 2**20

Item = np.ndarray | bytes


class ArchiveItems:
    """The items of an open archive; ``codelength.open`` makes it.

    ``len(a)``, ``a[i]`` (also from the end), ``for item in a``, ``a[10:20]``, ``a[[3, 1]]``, ``a["folder/x.png"]``,
    ``"folder/x.png" in a``, ``numpy.asarray(a)``. An item is an array (*shape) in the type that it came in, or the
    bytes of a file that is kept as it is (only in archives of folders). Slices and lists of numbers give one array
    (n, *shape) where the archive holds arrays, and a list where it holds a folder.

    Whatever block an item lies in is decoded as a whole, and kept while no others have taken its room; going through
    the items in their order decodes every block once. What is handed out is a copy, and the caller's own. Several
    threads may share an archive: blocks are decoded one at a time. Copies in other processes (``pickle``) open the file
    again, so an archive can stand where PyTorch expects a map-style data set.

    path: of the file. decoded: how many blocks have been decoded so far.

    Reading raises IndexError and KeyError for items that are not there, CorruptBlock for damaged ones (others of the
    archive can still be read), WrongModel where the model is not at hand, TooLarge for suspiciously large output, and
    UsageError once the archive is closed.
    """

    def __init__(self, archive: Archive, reopen: Callable[[], ArchiveItems], *, cache: int = CACHE_BYTES) -> None:
        """reopen: opens the same file in another process. cache: bytes of decoded blocks to keep; the block used last
        is kept however large it is."""
        self._archive = archive  # first, so that whatever fails from here on closes it
        if cache < 0:
            raise UsageError(f"expected a cache of zero bytes or more, got {cache}")
        self.path = archive.path
        self.decoded = 0
        self._reopen = reopen
        self._blocks = KeptBlocks(cache)
        self._closed = False
        self._digest = archive.file_digest()
        self._renew_locks()
        _OPEN.add(self)

    def _renew_locks(self) -> None:
        self._bookkeeping = threading.Lock()
        self._decoding = threading.RLock()  # one block at a time, which bounds the memory

    # ---- what it holds

    def __len__(self) -> int:
        if not self._keeps_array:
            return self._archive.items
        if not self._whole.ndim:
            raise UsageError(f"{self.path} holds a single value, which has no items; use decompress")
        return len(self._whole)

    @property
    def names(self) -> list[str]:
        """Names of the items of a folder, in their order; empty for arrays."""
        return self._archive.names[: self._archive.items]

    @property
    def files(self) -> list[str]:
        """What else can be had by name: the other files of a folder (bytes), or the arrays of an ``.npz``."""
        if self._archive.header.kind == "npz":
            return list(self._archive.header.members)
        return self._archive.names[self._archive.items :]

    @property
    def model(self) -> Model:
        """The frozen model that codes the items."""
        self._require_open()
        with self._decoding:
            return self._archive.load_model()

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            raise TypeError(f"expected the name of a file or an array, got {type(name).__name__}")
        return name in self._entries or name in self._archive.header.members

    def __repr__(self) -> str:
        archive = self._archive
        holds = f"{archive.items:,} item{'s' * (archive.items != 1)}"
        if self._keeps_array:
            holds = "an array that no model codes"
        elif archive.header.arrays:
            info = archive.header.arrays[0]
            holds += f" of {'x'.join(map(str, info.shape[1:])) or 'one number'}, {np.dtype(info.dtype).name}"
        elif archive.header.kind == "folder":
            holds += f" and {archive.directory.kept:,} other files of a folder"
        state = "; closed" if self._closed else ""
        coder = f"model {archive.header.model_sha256[:12]}" if archive.has_model else "no trained model"
        return f"<archive {str(self.path)!r}: {holds}; {len(archive.directory.blocks):,} blocks; {coder}{state}>"

    # ---- items

    def __getitem__(self, key: Any) -> Any:
        self._require_open()
        if isinstance(key, str):
            return self._named(key)
        if isinstance(key, slice):
            return self._several(np.arange(len(self))[key])
        if isinstance(key, list | tuple | np.ndarray) and np.ndim(key):
            return self._several(self._numbers(key))
        number = self._number(key)
        if self._keeps_array:
            return self._whole[number].copy()
        streams, ranks = self._archive.directory.locate(np.array([number]))
        return self._at(int(streams[0]), int(ranks[0]))

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """A list of items, blocks decoded once for all of them; PyTorch's loaders ask for batches this way."""
        return list(self[list(numbers)]) if len(numbers) else []

    def __iter__(self) -> Iterator[Any]:
        self._require_open()
        if self._keeps_array:
            yield from (row.copy() for row in self._whole)
            return
        entry, ranks = 0, [0] * len(self._archive.directory.streams)
        for stream, count in self._archive.directory.runs:
            for rank in range(ranks[stream], ranks[stream] + min(count, self._archive.items - entry)):
                yield self._at(stream, rank)
            ranks[stream] += count
            entry += count

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All items as one array (n, *shape), in the memory order that it had.

        Raises DataError where the items of a folder differ in shape or type, or some are kept as files.
        """
        if copy is False:
            raise ValueError("the items of an archive are decoded, so they cannot be had without a copy")
        self._require_open()
        values: Any = self._whole.copy(order="K") if self._keeps_array else self._several(np.arange(len(self)))
        if isinstance(values, list):
            if not values or any(isinstance(item, bytes) for item in values):
                raise DataError(f"{self.path} keeps items as files, which are no array; take them one by one")
            if len({(item.dtype.str, item.shape) for item in values}) > 1:
                raise DataError(f"{self.path} holds images of different sizes or types, which are no array")
            values = np.stack(values)
        return values if dtype is None else values.astype(dtype, copy=False)

    def _number(self, key: Any) -> int:
        try:
            number = operator.index(key)
        except TypeError:
            raise TypeError(
                f"expected the number of an item, a slice, a list of numbers or a name, got {type(key).__name__}"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"expected the number of one of {len(self):,} items in {self.path}, got {number}")
        return number % len(self)

    def _numbers(self, keys: Any) -> np.ndarray:
        numbers = np.asarray(keys)
        if numbers.dtype == bool and numbers.shape == (len(self),):
            return np.flatnonzero(numbers)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise TypeError(f"expected a list of numbers of items, got {numbers.dtype} of shape {numbers.shape}")
        return np.array([self._number(key) for key in numbers.tolist()], np.int64)

    def _several(self, numbers: np.ndarray) -> np.ndarray | list[Item]:
        if self._keeps_array:
            return self._whole[numbers]
        directory, header = self._archive.directory, self._archive.header
        streams, ranks = directory.locate(numbers)
        self._archive.check_output(
            sum(
                directory.item_bytes(k, rank, rank + 1) if stream.holds_items else directory.sizes[k][rank]
                for k, stream in enumerate(directory.streams)
                for rank in ranks[streams == k].tolist()
            )
        )
        array: np.ndarray | None = None
        if header.arrays:
            info = header.arrays[0]
            order: Literal["C", "F"] = "F" if len(header.arrays) == 1 and info.fortran else "C"
            array = np.empty((len(numbers), *info.shape[1:]), info.dtype, order=order)
        found: dict[int, Item] = {}
        for stream in np.unique(streams).tolist():
            places = np.flatnonzero(streams == stream)
            if not directory.streams[stream].holds_items:
                found.update((place, self._file(stream, int(ranks[place]))) for place in places.tolist())
                continue
            blocks = directory.block_at(stream, ranks[places])
            for k in np.unique(blocks).tolist():  # every block once, whatever the order asked for
                some = places[blocks == k]
                block = directory.blocks_of[stream][k]
                values = self._block(block.number)[ranks[some] - block.first]
                if isinstance(values, np.ndarray) and array is not None:
                    array[some] = values
                else:
                    found.update(zip(some.tolist(), (value.copy() for value in values)))
        return [found[place] for place in range(len(numbers))] if array is None else array

    def _at(self, stream: int, rank: int) -> Item:
        directory = self._archive.directory
        if not directory.streams[stream].holds_items:
            return self._file(stream, rank)
        block = directory.blocks_of[stream][int(directory.block_at(stream, rank))]
        return next(iter(self._block(block.number)[np.array([rank - block.first])])).copy()

    def _file(self, stream: int, rank: int) -> bytes:
        """The bytes of an entry that is kept as a whole file."""
        directory = self._archive.directory
        size = directory.sizes[stream][rank]
        self._archive.check_output(size)
        start = directory.starts[stream][rank]
        return b"".join(joined(directory, stream, start, size, lambda block: self._block(block.number)))

    # ---- by name

    @cached_property
    def _entries(self) -> dict[str, int]:
        return {name: number for number, name in reversed(list(enumerate(self._archive.names)))}

    def _named(self, name: str) -> Any:
        header, directory = self._archive.header, self._archive.directory
        if name in header.members:
            first = 0
            for info in header.arrays:
                if info.name == name:
                    values = self._several(np.arange(first, first + info.shape[0]))
                    return np.asarray(values, order="F" if info.fortran else "C")
                first += info.shape[0]
            return self._kept_array(directory.items + header.kept_members.index(name))
        if name not in self._entries:
            raise KeyError(f"{self.path} holds nothing of the name {name!r}")
        streams, ranks = directory.locate(np.array([self._entries[name]]))
        return self._at(int(streams[0]), int(ranks[0]))

    def _kept_array(self, entry: int) -> np.ndarray | bytes:
        streams, ranks = self._archive.directory.locate(np.array([entry]))
        data = self._file(int(streams[0]), int(ranks[0]))
        if not data.startswith(NPY_MAGIC) and self._archive.header.kind == "npz":
            return data  # what lies beside the arrays
        try:
            return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise CorruptHeader(f"an array that {self.path} keeps as a file cannot be read ({error})") from None

    @property
    def _keeps_array(self) -> bool:
        """Whether the items are the rows of one array that is kept as a file, since it is of no type for blocks."""
        header = self._archive.header
        return header.kind in ("array", "idx") and not header.arrays

    @cached_property
    def _whole(self) -> np.ndarray:
        self._require_open()
        return np.asarray(self._kept_array(0))

    # ---- blocks

    def _block(self, number: int) -> Any:
        """A decoded block, which is not to be written to: items (n, *shape), of several shapes, or bytes as uint8
        (n,)."""
        values = self._look_up(number)
        if values is not None:
            return values
        with self._decoding:
            values = self._look_up(number)  # another thread may have been faster
            if values is not None:
                return values
            values = self._archive.decode_block(self._archive.directory.blocks[number])
            if isinstance(values, np.ndarray):
                values.flags.writeable = False
            with self._bookkeeping:
                self.decoded += 1
                self._blocks.put(number, values)
        return values

    def _look_up(self, number: int) -> Values | None:
        self._require_open()
        with self._bookkeeping:
            return self._blocks.get(number)

    # ---- opening and closing

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.path} has been closed; open it again")

    def close(self) -> None:
        """Close the file and give the memory back."""
        with self._decoding, self._bookkeeping:
            self._closed = True
            self._blocks.clear()
            self._archive.close()

    def __enter__(self) -> ArchiveItems:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self._archive.close()  # for those who ask for an item in passing

    def __reduce__(self) -> tuple[Any, ...]:
        self._require_open()
        return _open_again, (self._reopen, self._digest)


def _open_again(reopen: Callable[[], ArchiveItems], digest: bytes) -> ArchiveItems:
    items = reopen()
    if items._digest != digest:
        items.close()
        raise DataError(f"{items.path} is not the file that it was when it was opened first; open it anew")
    return items


def _after_fork() -> None:
    # A lock that another thread held in the parent would stay locked here for ever.
    for items in list(_OPEN):
        items._renew_locks()


_OPEN: weakref.WeakSet[ArchiveItems] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
