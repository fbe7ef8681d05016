"""Data as archives take it: everything, exactly as it lies there."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codelength.archive.layout import MODES
from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.data.arrays import arrays_of, guess_layout, read_arrays
from codelength.data.dataset import DataSet, items_sha256
from codelength.data.folders import channels_of
from codelength.data.images import (
    FORMATS,
    JPEG_EXTENSIONS,
    ImageFile,
    Pixels,
    Reduced,
    encode_image,
    expand,
    look,
    look_all,
    written_name,
)
from codelength.data.images import Entry as FileEntry
from codelength.data.load import load_data, parse_spec
from codelength.data.registry import REGISTRY
from codelength.errors import DataError, UsageError

# How an item's axes become those of a model's event, which has the channels last.
_AXES = {"nd": None, "nhw": (0, 1), "nhwc": (0, 1, 2), "nchw": (1, 2, 0)}


@dataclass(frozen=True)
class Opened:
    """Data that is to become an archive. sha256: of its items, as evaluations give it, where it can be had.

    size: bytes of the files or arrays that it came as. kept: reasons why images are kept as files, with how many there
    are of each, the most frequent first. shape: of the array, where it is one.
    """

    source: Source
    sha256: str | None
    size: int
    kept: dict[str, int] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None


def open_source(
    data: str | os.PathLike[str] | np.ndarray | DataSet,
    *,
    layout: str | None = None,
    trust_download: bool = False,
) -> Opened:
    """What an archive is made from: everything, exactly as it lies there.

    A folder is taken with all its files. Named data sets, arrays and data sets in memory give their items.
    """
    if isinstance(data, DataSet):
        return _from_data_set(data)
    if isinstance(data, np.ndarray):
        return _from_array(data, "array", "", layout)
    if not isinstance(data, str):
        return _from_path(Path(data).expanduser(), layout)
    spec = parse_spec(data)
    path = Path(spec.name).expanduser()
    named = spec.name in REGISTRY and not (spec.part is None and path.is_file())
    if not named and spec.part is None and spec.is_whole and path.exists():
        return _from_path(path, layout)
    return _from_data_set(load_data(data, layout=layout, trust_download=trust_download))


def _from_path(path: Path, layout: str | None) -> Opened:
    suffix = path.suffix.lower()
    is_image = suffix in FORMATS or suffix in JPEG_EXTENSIONS
    if path.is_dir() or is_image:
        if layout is not None:
            raise UsageError(f"a layout belongs to arrays, and {path} holds images")
        files = look_all(path) if path.is_dir() else [_look_at(path)]
        if not files:
            raise DataError(f"expected files in the folder {path}, got none")
        reasons = Counter(file.reason for file in files if file.is_image and not file.mode)
        sizes = (os.stat(file.path).st_size if file.stamp is None else file.stamp.size for file in files)
        return Opened(FolderSource(files), None, sum(sizes), dict(reasons.most_common()))
    kind, arrays = read_arrays(path)
    if kind != "npz":
        return replace(_from_array(arrays[""], kind, path.name, layout), size=path.stat().st_size)
    numbers = [member for member in arrays.values() if isinstance(member, np.ndarray)]
    main = max(numbers, key=lambda array: array.nbytes, default=np.zeros(0))
    source = ArraySource(arrays, kind=kind, name=path.name, axes=_axes(layout, main.ndim))
    return Opened(source, None, path.stat().st_size)


def _from_array(array: np.ndarray, kind: str, name: str, layout: str | None) -> Opened:
    axes = _axes(layout, array.ndim)
    source = ArraySource(array, kind=kind, name=name, axes=axes)
    if array.ndim < 2 or array.dtype.kind not in "biu":
        return Opened(source, None, array.nbytes, shape=array.shape)
    guess = _AXES[layout or guess_layout(array.shape)]
    items = array if guess is None else array.transpose(0, *(axis + 1 for axis in guess))
    return Opened(source, items_sha256(items), array.nbytes, shape=array.shape)


def _axes(layout: str | None, rank: int) -> tuple[int, ...] | None:
    if layout is None:
        return None
    if layout not in _AXES:
        raise UsageError(f"expected one of the layouts {', '.join(_AXES)}, got {layout!r}")
    axes = _AXES[layout]
    if axes is not None and len(axes) != rank - 1:
        raise UsageError(f"the layout {layout} has {len(axes) + 1} axes, and the array has {rank}")
    return axes


def _look_at(path: Path) -> ImageFile:
    kind = "jpeg" if path.suffix.lower() in JPEG_EXTENSIONS else "image"
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return look(FileEntry(path.name, path, size, kind))


def _from_data_set(data: DataSet) -> Opened:
    origin = data.origin
    if origin.files:
        images = [_MemoryImage.of(data, position) for position in range(len(data))]
        size = sum(math.prod(image.shape) * np.dtype(MODES[image.mode][0]).itemsize for image in images)
        return Opened(FolderSource(images), None, size)
    arrays = arrays_of(data)
    size = sum(array.nbytes for array in arrays.values())
    axes = _AXES[origin.layout]
    if origin.kind == "npz":
        coded = [member.name for member in origin.members]
        name = _file_name(data.name, ".npz")
        return Opened(ArraySource(arrays, kind="npz", name=name, axes=axes, coded=coded), data.sha256, size)
    (array,) = arrays.values()
    source = ArraySource(array, kind="array", name=_file_name(data.name, ".npy"), axes=axes)
    return Opened(source, data.sha256, size)


def _file_name(name: str, suffix: str) -> str:
    """A file name for data without one: ``mnist:test[:100]`` is kept as ``mnist-test-100.npy``."""
    stem = re.sub(r"[^A-Za-z0-9_.]+", "-", name.removesuffix(suffix)).strip("-.")
    return (stem or "array") + suffix


@dataclass(frozen=True)
class _MemoryImage:
    """An image of a data set as an entry of an archive."""

    data: DataSet
    position: int
    name: str
    mode: str
    shape: tuple[int, ...]
    metadata: bytes
    is_image: bool = True

    @staticmethod
    def of(data: DataSet, position: int) -> _MemoryImage:
        origin = data.origin
        pixels = _pixels_of(data, position)
        return _MemoryImage(
            data, position, origin.files[position], origin.modes[position], pixels.shape, origin.metadata[position]
        )

    def read_pixels(self) -> np.ndarray:
        return _pixels_of(self.data, self.position)

    def read_again(self) -> None:
        return None

    def read_bytes(self) -> Iterator[bytes]:
        yield encode_image(Pixels(self.read_pixels(), self.mode, self.metadata), self.name)


def _pixels_of(data: DataSet, position: int) -> np.ndarray:
    """The pixels of an image in its own mode, with what the data set left out put back."""
    source: Any = data.items if data.items is not None else data.images
    array = np.asarray(source[position])
    mode = data.origin.modes[position]
    if mode == "1":
        return array.astype(bool)
    channels = channels_of(mode)
    held = array.shape[2] if array.ndim == 3 else 0
    steps = (("opaque",) if channels in (2, 4) and held != channels else ()) + (
        ("grey",) if channels in (3, 4) and held == 0 else ()
    )
    return expand(Reduced(array, steps), mode)


class ImageFiles:
    """Makes the image files of an archive of a folder (``codelength.archive.job.ImageWriter``)."""

    def written_name(self, name: str, mode: str) -> str:
        return written_name(name, mode)

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        return encode_image(Pixels(values, mode, metadata), name)
