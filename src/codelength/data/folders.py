"""Folders of images as data sets for training and evaluation.

(An archive of a folder is made from the files themselves, see ``codelength.data.images``: there, nothing is
left out and nothing reduced.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from codelength.data.dataset import DataSet, Origin
from codelength.data.images import MODES, Pixels, read_pixels, reduce, scan
from codelength.errors import DataError
from codelength.laws.space import Space
from codelength.progress import shown

WORDS = {"opaque": "opaque alpha left out", "grey": "equal colour channels as one"}


@dataclass(frozen=True)
class LazyImages(Sequence[np.ndarray]):
    """The images of a folder, each read when it is asked for: arrays (h, w) or (h, w, channels)."""

    paths: tuple[Path, ...]
    steps: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> LazyImages: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | LazyImages:
        if isinstance(index, slice):
            return LazyImages(self.paths[index], self.steps)
        pixels = read_pixels(self.paths[index])
        if isinstance(pixels, str):
            raise DataError(f"{self.paths[index]} was an image a moment ago and is none now: {pixels}")
        return _as_item(pixels, self.steps)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: Sequence[int]) -> LazyImages:
        """Some of the images, in the order given."""
        return LazyImages(tuple(self.paths[i] for i in indices), self.steps)


def _as_item(pixels: Pixels, steps: tuple[str, ...]) -> np.ndarray:
    array = pixels.array.astype(np.uint8) if pixels.mode == "1" else pixels.array
    return reduce(array, steps).array


def from_folder(folder: Path) -> DataSet:
    """All images below a folder, in the order of their names.

    Raises DataError for a folder that holds no images that can be read as pixels.
    """
    entries = scan(folder)
    return from_images([(entry.name, entry.path) for entry in entries], folder.name or str(folder), kind="folder")


def from_images(files: list[tuple[str, Path]], name: str, *, kind: str = "folder") -> DataSet:
    """A data set of image files, given as (relative name, path).

    What all images share is left out and said in ``preprocessing``: alpha that is opaque in every image,
    colour channels that are equal in every image.  Images of one size become one array; otherwise they are
    read when asked for.  Files that are not images, or whose pixels would not be exact, are in ``left_out``.
    """
    found: list[_Found] = []
    left_out: list[tuple[str, str]] = []
    for relative, path in shown(files, "reading", "files"):
        pixels = read_pixels(path)
        if isinstance(pixels, str):
            left_out.append((relative, pixels))
        else:
            steps = frozenset(_applicable(pixels))
            found.append(_Found(relative, path, pixels.mode, pixels.metadata, pixels.array.shape[:2], steps))
    if not found:
        reason = f"; {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise DataError(f"expected images in {name}, got none that can be read as pixels{reason}")
    shared = frozenset.intersection(*(image.steps for image in found))
    # Only what at least one image holds is worth a word.
    stored = {channels_of(image.mode) for image in found}
    opaque = "opaque" in shared and bool(stored & {2, 4})
    grey = "grey" in shared and bool(stored & {3, 4})
    taken = ("opaque",) * opaque + ("grey",) * grey
    images = LazyImages(tuple(image.path for image in found), taken)
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
            files=tuple(image.name for image in found),
            modes=tuple(image.mode for image in found),
            metadata=tuple(image.metadata for image in found),
        ),
        images=None if uniform else images,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True)
class _Found:
    name: str
    path: Path
    mode: str
    metadata: bytes
    size: tuple[int, ...]  # height, width
    steps: frozenset[str]


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
