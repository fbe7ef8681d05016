"""Images in memory, with what archives of folders have to know of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.data.dataset import DataSet
from codelength.data.images import encode_image, features_of
from codelength.data.pixels import MODES, Pixels
from codelength.data.reduced import Reduced, expand
from codelength.errors import DataError


@dataclass(frozen=True)
class MemoryImage:
    """An image that is no file, or not any more.

    name, mode, shape, metadata: as of ``codelength.data.look.ImageFile``. read: gives its pixels.
    """

    name: str
    mode: str
    shape: tuple[int, ...]
    metadata: bytes
    read: Callable[[], np.ndarray]
    is_image: bool = True

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return math.prod(self.shape) * np.dtype(MODES[self.mode][0]).itemsize

    @property
    def features(self) -> tuple[int, ...]:
        """What a reader must know (``codelength.archive.sources.FolderEntry``)."""
        return features_of(self.name, self.mode, self.metadata)

    @property
    def parts(self) -> tuple[MemoryImage]:
        """What an archive has entries of."""
        return (self,)

    def load(self) -> Pixels:
        return Pixels(self.read_pixels(), self.mode, self.metadata)

    def read_pixels(self) -> np.ndarray:
        return self.read()

    def read_again(self) -> None:
        return None

    def read_bytes(self) -> Iterator[bytes]:
        yield encode_image(self.load(), self.name)


def pictures_of(data: DataSet) -> list[MemoryImage]:
    """The images of a data set in their own modes, with what it left out put back when they are read."""
    return [_picture_of(data, number) for number in range(len(data))]


def _picture_of(data: DataSet, number: int) -> MemoryImage:
    item = data.item(number)
    channels = MODES[item.mode][1]
    held = item.shape[2] if len(item.shape) == 3 else 0
    steps = (("opaque",) if channels in (2, 4) and held != channels else ()) + (
        ("grey",) if channels in (3, 4) and held == 0 else ()
    )

    def read() -> np.ndarray:
        array = np.asarray(data.values[number])
        return array.astype(bool) if item.mode == "1" else expand(Reduced(array, steps), item.mode)

    shape = item.shape[:2] + ((channels,) if channels else ())
    return MemoryImage(item.name, item.mode, shape, item.metadata, read)


def sequence_of(items: Sequence[Any]) -> np.ndarray | list[MemoryImage]:
    """Arrays in a sequence, one an item: one array (n, *shape) where shapes and types agree, else images that are read
    from the sequence when they are asked for.

    Raises DataError for what is no array, and for items that differ and are no images.
    """
    names = list(getattr(items, "names", ())) or [f"{number:06}.png" for number in range(len(items))]
    alike: list[np.ndarray] | None = []  # all items so far, while they agree
    kinds: list[tuple[np.dtype, tuple[int, ...]]] = []
    for number in range(len(items)):
        array = _array_of(items, number)
        kinds.append((array.dtype, array.shape))
        if kinds[0] != kinds[-1]:
            alike = None
        if alike is not None:
            alike.append(array)
    if alike is not None:
        return np.stack(alike) if alike else np.zeros((0, 0), np.uint8)
    return [
        MemoryImage(name, _mode_of(number, *kind), kind[1], b"", _reader(items, number))
        for number, (name, kind) in enumerate(zip(names, kinds))
    ]


def _array_of(items: Sequence[Any], number: int) -> np.ndarray:
    item = items[number]
    try:
        if not isinstance(item, bytes | str):
            return np.asarray(item)
    except ValueError:  # tuples of arrays, say
        pass
    raise DataError(f"expected an array for each item, got {type(item).__name__} for item {number}; give arrays alone")


def _reader(items: Sequence[Any], number: int) -> Callable[[], np.ndarray]:
    return lambda: _array_of(items, number)


def _mode_of(number: int, dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """The first mode whose pixels have this type and shape."""
    for mode, (held, channels) in MODES.items():
        if dtype == np.dtype(held) and len(shape) in (2, 3) and shape[2:] == ((channels,) if channels else ()):
            return mode
    raise DataError(
        "expected items of one shape and type, or images of bool, uint8 or uint16 (h, w) or (h, w, channels), got "
        f"{dtype} {shape} for item {number}; scale the items, or convert them with astype"
    )
