"""A data set: items, the space they live in, and what is needed to give them back exactly as they came."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from codelength.data.seeded import choose
from codelength.errors import DataError
from codelength.laws.space import Space


@dataclass(frozen=True)
class Member:
    """One array as it lay in its file.

    name: of the member in an ``.npz``; empty elsewhere.
    dtype: numpy's type string with byte order, such as ``|u1`` or ``>i2``.
    shape: of the whole array, items first.
    fortran_order: whether the elements lay in column-major order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    fortran_order: bool = False


@dataclass(frozen=True)
class Origin:
    """Where items came from, and how to write them back.

    kind: ``set`` (a named data set), ``array`` (in memory or ``.npy``), ``npz``, ``idx``, ``folder``,
    ``image``.
    members: the arrays that the items were joined from, in order (one unless an ``.npz`` held several).
    order: names of all arrays of the file, those that are not items included.
    layout: axes of the arrays as they came: ``nd``, ``nhw``, ``nhwc`` or ``nchw``. Items themselves are
        always channels-last.
    files: relative names of the images, in the order of the items (folders only).
    modes: how each image was stored (folders only; see ``codelength.data.images``).
    metadata: what each image file held besides pixels, to be written back (folders only).
    """

    kind: str
    members: tuple[Member, ...] = ()
    order: tuple[str, ...] = ()
    layout: str = "nd"
    files: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    metadata: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Item:
    """What is known of an item before it is read.

    name: of the file that it came as, empty for rows of arrays. shape, dtype: as it is read from the data set. mode,
    metadata: of its file, as ``Origin`` has them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    mode: str = ""
    metadata: bytes = b""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Items of one kind, with their labels and their origin.

    items: (n, *shape) integers, channels last, uint8 or uint16 where the values fit, or the array as it came
        where it is not made of small non-negative integers (``space`` is None then); None when the shapes of
        a folder's images differ.
    space: shape and alphabet; heights and widths are free (None) when images of one mode differ in size; None
        when no single space holds the items.
    images: for folders, a sequence of arrays (h, w) or (h, w, c), read when asked for; None otherwise.
    labels: (n,) integers, or None.
    preprocessing: in words, whatever a likelihood on these items depends on.
    binarize: ``"dynamic"`` marks grey items, 0..255, to be binarized anew on every visit with probability
        ``value / 255``; ``space`` is then the space of the binarized items.
    extras: further arrays of an ``.npz`` that are not items, as they came, by name.
    left_out: for folders, the names of files that are not items, each with the reason.
    """

    items: np.ndarray | None
    space: Space | None
    name: str
    preprocessing: str = "none"
    labels: np.ndarray | None = None
    origin: Origin = field(default_factory=lambda: Origin("array"))
    images: Sequence[np.ndarray] | None = None
    binarize: str | None = None
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"DataSet({self.name!r}, {len(self)} items, space={self.space}, preprocessing={self.preprocessing!r})"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def values(self) -> np.ndarray | Sequence[np.ndarray]:
        """The items, whether they are one array or images that are read when they are asked for."""
        found = self.items if self.items is not None else self.images
        return () if found is None else found

    def item(self, number: int) -> Item:
        """What is known of an item; images of a folder are not read for it."""
        values, origin = self.values, self.origin
        found: Any = values.about(number) if hasattr(values, "about") else np.asarray(values[number])
        if not origin.files:
            return Item("", found.shape, found.dtype)
        return Item(origin.files[number], found.shape, found.dtype, origin.modes[number], origin.metadata[number])

    def __getitem__(self, key: slice | np.ndarray) -> DataSet:
        """The items of a slice or of an array of indices, as a data set."""
        if isinstance(key, slice):
            indices: Any = key
            count = len(range(*key.indices(len(self))))
            suffix = f"[{'' if key.start is None else key.start}:{'' if key.stop is None else key.stop}"
            suffix += "]" if key.step is None else f":{key.step}]"
        else:
            indices = np.asarray(key)
            if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
                raise TypeError("a data set is indexed by a slice or by an array of integers")
            indices = indices.astype(np.int64)
            count, suffix = len(indices), f"[{len(indices)} chosen]"
        if count == len(self) and isinstance(key, slice) and key.step in (None, 1):
            return self
        return replace(
            self,
            items=None if self.items is None else self.items[indices],
            images=None if self.images is None else take(self.images, indices),
            labels=None if self.labels is None else self.labels[indices],
            name=self.name + suffix,
            origin=self._origin_of(indices, count),
            extras={},
        )

    def _origin_of(self, indices: Any, count: int) -> Origin:
        origin = self.origin
        members = origin.members[:1]
        if members:
            # Parts of several joined arrays cannot be told apart any more: they come back as one.
            first = members[0]
            name = first.name if len(origin.members) == 1 else "items"
            members = (replace(first, name=name, shape=(count, *first.shape[1:])),)
        chosen = range(len(origin.files))[indices] if isinstance(indices, slice) else indices
        return replace(
            origin,
            members=members,
            files=tuple(origin.files[i] for i in chosen) if origin.files else (),
            modes=tuple(origin.modes[i] for i in chosen) if origin.modes else (),
            metadata=tuple(origin.metadata[i] for i in chosen) if origin.metadata else (),
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The items, so that a data set can stand where numpy expects an array. Raises DataError for images of
        several sizes."""
        if self.items is None:
            raise DataError(f"{self.name} holds images of different sizes, which are no array")
        return np.array(self.items, dtype=dtype, copy=copy)

    def subset(self, n: int, seed: int = 0) -> DataSet:
        """``n`` items chosen at random (seeded, the same everywhere), in their order; all if n >= len.

        Data sets are rarely stored in random order, so a prefix would be a biased sample.
        """
        if n < 0:
            raise DataError(f"expected a number of items, got {n}")
        if n >= len(self):
            return self
        chosen = self[choose(len(self), n, seed)]
        return replace(chosen, name=f"{self.name} ({n} chosen with seed {seed})")

    @property
    def dims(self) -> int:
        """Elements of one item; raises DataError when the items have different shapes."""
        if self.space is not None and not self.space.is_free:
            return self.space.dims
        if self.items is not None:
            return int(np.prod(self.items.shape[1:], dtype=np.int64))
        raise DataError(f"the items of {self.name} have different shapes, so they have no common dimension")

    @cached_property
    def sha256(self) -> str:
        """Hash of the items (see ``items_sha256``), or of the list of images when their shapes differ."""
        if self.items is not None:
            return items_sha256(self.items)
        digest = hashlib.sha256(b"codelength images 1\n")
        for image in self.images or ():
            digest.update(items_sha256(np.asarray(image)[None]).encode() + b"\n")
        return digest.hexdigest()


def take(images: Sequence[np.ndarray], indices: Any) -> Sequence[np.ndarray]:
    """Part of a sequence of images, still lazy where it was lazy."""
    chosen = range(len(images))[indices] if isinstance(indices, slice) else indices
    if hasattr(images, "take"):
        return images.take([int(i) for i in chosen])
    return [images[int(i)] for i in chosen]


def items_sha256(items: np.ndarray, index: np.ndarray | None = None) -> str:
    """SHA-256 of items (n, *shape) by value: the same for every byte order, memory order and integer width.

    Hashed are the ASCII line ``codelength items 1 <type> <n>,<size>,...\\n`` and then the elements in
    row-major order, little-endian. Integers and booleans are written in the narrowest of uint8, uint16,
    uint32, uint64 that holds every value (of int8, int16, int32, int64 when one is negative), floats as they
    are.

    index: numbers (k,) of the items, which are read in pieces; all where None.
    """
    dtype = items.dtype
    count = len(items) if index is None else len(index)
    # In pieces of about 16 MiB, so that hashing a large mapped file does not load it.
    step = max(1, 2**24 // max(1, dtype.itemsize * int(np.prod(items.shape[1:], dtype=np.int64))))

    def pieces() -> Iterator[np.ndarray]:
        for start in range(0, count, step):
            yield items[start : start + step] if index is None else items[index[start : start + step]]

    if dtype.kind in "biu":
        ends = [(int(piece.min()), int(piece.max())) for piece in pieces() if piece.size]
        low, high = min((low for low, _ in ends), default=0), max((high for _, high in ends), default=0)
        for width in (1, 2, 4, 8):
            bits = 8 * width
            if low >= 0 and high < 2**bits:
                dtype = np.dtype(f"<u{width}")
                break
            if low < 0 and -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1):
                dtype = np.dtype(f"<i{width}")
                break
    dtype = dtype.newbyteorder("<")
    header = f"codelength items 1 {dtype.name} {','.join(map(str, (count, *items.shape[1:])))}\n"
    digest = hashlib.sha256(header.encode("ascii"))
    for piece in pieces():
        digest.update(np.ascontiguousarray(piece, dtype=dtype).data)
    return digest.hexdigest()
