"""Images as data sets for training and evaluation.

An archive of a folder is made from the files themselves (``codelength.data.look``): there, nothing is left out and
nothing reduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np

from codelength.data.dataset import DataSet, Item, Origin
from codelength.data.pixels import MODES, Pixels
from codelength.data.reduced import reduce
from codelength.errors import DataError
from codelength.laws.space import Space
from codelength.progress import shown

WORDS = {"opaque": "opaque alpha left out", "grey": "equal colour channels as one"}


class Picture(Protocol):
    """A file, or an image in memory, that is read when it is asked for. name: of the file."""

    @property
    def name(self) -> str: ...

    def load(self) -> Pixels | str:
        """The pixels, or in words why there are none."""
        ...


@dataclass(frozen=True)
class LazyImages(Sequence[np.ndarray]):
    """Images that are each read when they are asked for: arrays (h, w) or (h, w, channels).

    items: what is known of each without reading it. steps: of ``codelength.data.reduced.reduce``, what is left out of
    each.
    """

    pictures: tuple[Picture, ...]
    items: tuple[Item, ...]
    steps: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def about(self, number: int) -> Item:
        """What is known of an image."""
        return self.items[number]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> LazyImages: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | LazyImages:
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        name, pixels = self.pictures[index].name, self.pictures[index].load()
        if isinstance(pixels, str):
            raise DataError(f"{name} was an image a moment ago and is none now: {pixels}")
        found, known = _as_item(pixels, self.steps), self.items[index]
        if (found.shape, found.dtype) != (known.shape, known.dtype):
            raise DataError(f"{name} changed while it was in use: it had the shape {known.shape}, now {found.shape}")
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: Sequence[int]) -> LazyImages:
        """Some of the images, in the order given."""
        chosen = tuple(self.pictures[i] for i in indices)
        return LazyImages(chosen, tuple(self.items[i] for i in indices), self.steps)


def _as_item(pixels: Pixels, steps: tuple[str, ...]) -> np.ndarray:
    array = pixels.array.astype(np.uint8) if pixels.mode == "1" else pixels.array
    return reduce(array, steps).array


def from_pictures(pictures: Sequence[Picture], name: str, *, kind: str = "folder") -> DataSet:
    """A data set of image files, or of images in memory, in their order.

    What all images share is left out and said in ``preprocessing``: alpha that is opaque in every image, colour
    channels that are equal in every image. Images of one size become one array; otherwise they are read when asked for.
    Files that are not images, or whose pixels would not be exact, are in ``left_out``.

    Raises DataError where there are no images that can be read as pixels.
    """
    found: list[_Found] = []
    left_out: list[tuple[str, str]] = []
    for picture in shown(pictures, "reading", "files"):
        pixels = picture.load()
        if isinstance(pixels, str):
            left_out.append((picture.name, pixels))
        else:
            steps = frozenset(_applicable(pixels))
            found.append(_Found(picture, pixels.mode, pixels.metadata, pixels.array.shape[:2], steps))
    if not found:
        reason = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DataError(f"expected images in {name}, got none that can be read as pixels{reason}")
    shared = frozenset.intersection(*(image.steps for image in found))
    # Only what at least one image holds is worth a word.
    stored = {channels_of(image.mode) for image in found}
    opaque = "opaque" in shared and bool(stored & {2, 4})
    grey = "grey" in shared and bool(stored & {3, 4})
    taken = ("opaque",) * opaque + ("grey",) * grey
    images = LazyImages(tuple(image.picture for image in found), tuple(image.item(taken) for image in found), taken)
    channels = {_channels_left(channels_of(image.mode), taken) for image in found}
    symbols = {Pixels(np.empty(0), image.mode).symbols for image in found}
    sizes = {image.size for image in found}
    space = None
    if len(channels) == len(symbols) == 1:
        height, width = ({size[axis] for size in sizes} for axis in (0, 1))
        free: tuple[int | None, ...] = tuple(min(side) if len(side) == 1 else None for side in (height, width))
        last = channels.pop()
        space = Space(free + ((last,) if last else ()), symbols.pop())
    uniform = space is not None and not space.is_free
    return DataSet(
        items=np.stack(list(images)) if uniform else None,
        space=space,
        name=name if not left_out else f"{name} ({len(left_out)} files left out)",
        preprocessing=", ".join(WORDS[step] for step in taken) or "none",
        origin=Origin(
            kind,
            layout="nhw" if space is not None and len(space.shape) == 2 else "nhwc",
            files=tuple(image.picture.name for image in found),
            modes=tuple(image.mode for image in found),
            metadata=tuple(image.metadata for image in found),
        ),
        images=None if uniform else images,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True)
class _Found:
    picture: Picture
    mode: str
    metadata: bytes
    size: tuple[int, ...]  # height, width
    steps: frozenset[str]

    def item(self, taken: tuple[str, ...]) -> Item:
        channels = _channels_left(channels_of(self.mode), taken)
        dtype = np.dtype(np.uint8 if self.mode == "1" else MODES[self.mode][0])
        shape = (*self.size, channels) if channels else self.size
        return Item(self.picture.name, shape, dtype, self.mode, self.metadata)


def channels_of(mode: str) -> int:
    """Channels of a mode; 0 where arrays have no axis for them."""
    return MODES[mode][1]


def _applicable(pixels: Pixels) -> set[str]:
    """The steps of ``reduce`` that this image does not forbid, those with nothing to do included."""
    steps = set(reduce(pixels.array).steps)
    channels = channels_of(pixels.mode)
    if channels in (0, 3):
        steps.add("opaque")
    if channels in (0, 2):
        steps.add("grey")
    return steps


def _channels_left(channels: int, taken: tuple[str, ...]) -> int:
    if "opaque" in taken:
        channels = {2: 0, 4: 3}.get(channels, channels)
    if "grey" in taken and channels == 3:
        channels = 0
    return channels
