"""Data is opened here, whatever it is that users name.

``open_data`` gives one object with two readings, which are made when they are asked for: ``archived`` is everything
exactly as it lies there, for archives; ``data_set`` is the items as symbols of a space, for evaluation and training.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.data.array_files import read_arrays
from codelength.data.arrays import arrays_of, from_members, guess_layout
from codelength.data.bundles import bundle_kind, read_bundle
from codelength.data.dataset import DataSet, Member, Origin, items_sha256
from codelength.data.folders import from_pictures
from codelength.data.images import DICOM_EXTENSIONS, FORMATS, JPEG_EXTENSIONS
from codelength.data.look import ImageFile, look
from codelength.data.memory import MemoryImage, pictures_of, sequence_of
from codelength.data.promise import Promise, counted
from codelength.data.registry import REGISTRY, pinned_sha256, read_split
from codelength.data.registry import Entry as Named
from codelength.data.scan import Entry, kind_of_name, scan
from codelength.data.spec import exists, missing, parse_spec
from codelength.errors import DataError, UsageError
from codelength.progress import shown

_LAYOUTS = {2: "nd", 3: "nhw", 4: "nhwc"}
_BUNDLE = (
    "of {} the files in it come back, as a folder; not itself, nor the times and permissions that it holds; "
    "--keep-files keeps its own bytes instead"
)
# How an item's axes become those of a model's event, which has the channels last.
_AXES = {"nd": None, "nhw": (0, 1), "nhwc": (0, 1, 2), "nchw": (1, 2, 0)}


class Opened(ABC):
    """Data in one of the forms that users name."""

    @cached_property
    @abstractmethod
    def data_set(self) -> DataSet:
        """The items as symbols of a space. Raises DataError for data that models cannot be asked about."""

    @cached_property
    @abstractmethod
    def archived(self) -> Source:
        """Everything, exactly as it lies there; a folder with all its files. Raises DataError."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes of the files or arrays that the data came as."""

    @property
    @abstractmethod
    def sha256(self) -> str | None:
        """Of the items, as evaluations give it; None where archives keep more than the items."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of the array, where the data is one."""
        return None

    @property
    def promise(self) -> Promise:
        """What comes back from an archive of it; files are looked at for that."""
        return Promise(1, 1)

    @property
    def kept(self) -> Mapping[str, int]:
        """Reasons why archives keep images as files, with how many there are of each, the most frequent first."""
        return self.promise.kept


def open_data(
    data: Any,
    *,
    layout: str | None = None,
    symbols: int | None = None,
    split: str = "test",
    trust_download: bool = False,
    keep_files: bool = False,
) -> Opened:
    """Data in any form: the name of a data set, a path, an array, a sequence of arrays, an open archive, a data set.

    layout: axes of arrays, where the guess would be wrong. symbols: size of their alphabet, where the least that holds
    them is not meant. split: of named data sets where none is named, and they have it. trust_download: download files
    whose hash nobody has vouched for. keep_files: archives keep the bytes of every file, and those of a file of arrays,
    a zip or a tar as one.

    Raises UsageError for what is nothing of that, DataError for what is not there or cannot be read, UntrustedDownload.
    """
    if isinstance(data, str):
        spec = parse_spec(data)
        if keep_files and (spec.name in REGISTRY or spec.part is not None or not spec.is_whole):
            raise UsageError(f"expected files of which every byte can be kept, got a part of a data set, {data!r}")
        if spec.name in REGISTRY:
            opened = _open_named(REGISTRY[spec.name], spec.part, split, layout, symbols, trust_download)
        else:
            opened = _open_path(Path(spec.name).expanduser(), spec.part, layout, symbols, keep_files)
        if spec.is_whole:
            return opened
        some = opened.data_set[spec.start : spec.stop]
        if not len(some):
            raise DataError(f"the range of {data!r} holds no items; its end comes first, or the data has fewer")
        return _Loaded(some)
    if isinstance(data, os.PathLike):
        return _open_path(Path(data).expanduser(), None, layout, symbols, keep_files)
    if keep_files:
        raise UsageError(f"expected files of which every byte can be kept, got {type(data).__name__} in memory")
    if isinstance(data, DataSet):
        return _Loaded(data)
    if isinstance(data, np.ndarray):
        return _Arrays("array", {"": data}, layout, symbols)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, Mapping | bytes | bytearray):
        return _open_sequence(data, layout, symbols)
    raise UsageError(
        "expected data (the name of a data set, a path, an array, a sequence of arrays, or a data set), got "
        f"{type(data).__name__} {data!r:.40}"
    )


def _open_named(
    entry: Named, part: str | None, split: str, layout: str | None, symbols: int | None, trust_download: bool
) -> Opened:
    chosen = part or (split if split in entry.splits else next(iter(entry.splits)))
    if layout is not None or symbols is not None:
        raise UsageError(f"layout and symbols belong to files and arrays, and {entry.name} has its own")
    items, labels = read_split(entry, chosen, trust_download=trust_download)
    name = f"{entry.name}:{chosen}"
    if isinstance(items, list):
        return _Images("folder", name, [_entry_of(path) for path in items])
    pinned = pinned_sha256(entry.name, chosen)
    if pinned is not None and items_sha256(items) != pinned:
        raise DataError(f"expected the items of {name} to have the sha256 {pinned}, got others; report this")
    return _Loaded(
        DataSet(
            items=items,
            space=entry.space,
            labels=labels,
            name=name,
            preprocessing=entry.preprocessing,
            origin=Origin("set", (Member("", items.dtype.str, items.shape),), layout=_LAYOUTS[items.ndim]),
            binarize="dynamic" if entry.dynamic and chosen in ("train", "trainvalid") else None,
        )
    )


def _open_path(path: Path, member: str | None, layout: str | None, symbols: int | None, keep_files: bool) -> Opened:
    if not exists(path):
        raise DataError(missing(str(path)))
    suffix = path.suffix.lower()
    if member is not None and suffix != ".npz":
        raise UsageError(f"expected an .npz file before :{member}, got {path}")
    bundle = bundle_kind(path.name) is not None and not path.is_dir()
    if path.is_dir() or bundle or suffix in (*FORMATS, *JPEG_EXTENSIONS, *DICOM_EXTENSIONS):
        if layout is not None or symbols is not None:
            raise UsageError(f"layout and symbols belong to arrays, and {path} holds images")
        if path.is_dir():
            return _Images("folder", path.name or str(path), scan(path), keep_files=keep_files)
        if bundle and not keep_files:
            return _Images("folder", path.name, read_bundle(path), bundle=path.stat().st_size)
        return _Images("image", path.name, [_entry_of(path)], keep_files=keep_files)
    if keep_files:
        return _Images("image", path.name, [_entry_of(path)], keep_files=True)
    kind, arrays = read_arrays(path)
    if member is not None:
        found = [name for name, array in arrays.items() if isinstance(array, np.ndarray)]
        if member not in found:
            raise DataError(f"{path} has no array {member!r}; it has {', '.join(found) or 'none'}")
        return _Arrays(kind, {member: arrays[member]}, layout, symbols, path.name, member=member)
    return _Arrays(kind, arrays, layout, symbols, path.name, stored=path.stat().st_size)


def _entry_of(path: Path) -> Entry:
    """One image by itself, as ``scan`` lists those of folders."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return Entry(path.name, path, size, kind_of_name(path.name))


def _open_sequence(items: Any, layout: str | None, symbols: int | None) -> Opened:
    """Items of one shape and type are an array; images that differ stay where they are."""
    if hasattr(items, "__array__") and not getattr(items, "names", None):
        return _Arrays("array", {"": np.asarray(items)}, layout, symbols)
    found = sequence_of(items)
    if isinstance(found, np.ndarray):
        return _Arrays("array", {"": found}, layout, symbols)
    if layout is not None or symbols is not None:
        raise UsageError("layout and symbols belong to items of one shape, and these are images of several sizes")
    return _Images("folder", "images", found)


# ---- the forms -----------------------------------------------------------------------------------------------


@dataclass
class _Arrays(Opened):
    """Arrays whose rows are the items, by name; what is no array in an ``.npz`` is bytes.

    kind: as in an archive. file: name of the file, empty for arrays in memory. member: the only array that was asked
    for. stored: bytes of the file, None where there is none.
    """

    kind: str
    arrays: Mapping[str, Any]
    layout: str | None
    symbols: int | None
    file: str = ""
    member: str | None = None
    stored: int | None = None

    @property
    def _single(self) -> np.ndarray | None:
        """The array, where there is one by itself."""
        return self.arrays[self.member or ""] if self.kind != "npz" or self.member is not None else None

    @cached_property
    def data_set(self) -> DataSet:
        arrays = {name: array for name, array in self.arrays.items() if isinstance(array, np.ndarray)}
        name = self.file or "array"
        return from_members(arrays, name, kind=self.kind, layout=self.layout, symbols=self.symbols)

    @cached_property
    def archived(self) -> Source:
        numbers = [array for array in self.arrays.values() if isinstance(array, np.ndarray)]
        main = max(numbers, key=lambda array: array.nbytes, default=np.zeros(0))
        return ArraySource(self.arrays, kind=self.kind, name=self.file, axes=_axes(self.layout, main.ndim))

    @property
    def size(self) -> int:
        if self.stored is not None:
            return self.stored
        return sum(len(array) if isinstance(array, bytes) else array.nbytes for array in self.arrays.values())

    @property
    def promise(self) -> Promise:
        if self.kind == "npz" and self.stored is not None:
            return Promise(1, 0, {"npz: the same arrays and members in their order, not compressed": 1})
        if self.kind == "idx" and self.file.lower().endswith(".gz"):
            return Promise(1, 0, {"gzipped IDX: the file that was compressed, not compressed itself": 1})
        return Promise(1, 1)

    @property
    def shape(self) -> tuple[int, ...] | None:
        return None if self.kind == "npz" or self._single is None else self._single.shape

    @cached_property
    def sha256(self) -> str | None:
        array = self._single
        if array is None or array.ndim < 2 or array.dtype.kind not in "biu":
            return None
        guess = _AXES[self.layout or guess_layout(array.shape)]
        return items_sha256(array if guess is None else array.transpose(0, *(axis + 1 for axis in guess)))


def _axes(layout: str | None, rank: int) -> tuple[int, ...] | None:
    if layout is None:
        return None
    if layout not in _AXES:
        raise UsageError(f"expected one of the layouts {', '.join(_AXES)}, got {layout!r}")
    axes = _AXES[layout]
    if axes is not None and len(axes) != rank - 1:
        raise UsageError(f"the layout {layout} has {len(axes) + 1} axes, and the array has {rank}")
    return axes


@dataclass
class _Images(Opened):
    """Files of which some are images, or images in memory. kind: ``folder``, or ``image`` for one by itself.

    keep_files: archives keep the bytes of them all. bundle: bytes of the zip or tar file that they are members of.
    """

    kind: str
    name: str
    entries: Sequence[Entry | MemoryImage]
    keep_files: bool = False
    bundle: int | None = None

    @cached_property
    def data_set(self) -> DataSet:
        return from_pictures(self.entries, self.name, kind=self.kind)

    @cached_property
    def _looked_at(self) -> list[ImageFile | MemoryImage]:
        entries = self.entries if self.kind == "image" else shown(self.entries, "looking at files", "files")
        return [look(entry, keep=self.keep_files) if isinstance(entry, Entry) else entry for entry in entries]

    @cached_property
    def archived(self) -> Source:
        return FolderSource([part for file in self._looked_at for part in file.parts])

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self._looked_at) if self.bundle is None else self.bundle

    @cached_property
    def promise(self) -> Promise:
        files = [entry for entry in self._looked_at if isinstance(entry, ImageFile)]
        anew = counted(file.anew for file in files)
        return Promise(
            files=len(self._looked_at),
            exact=len(self._looked_at) - sum(anew.values()),
            anew=anew,
            kept=counted(file.reason for file in files if file.is_image),
            notes=() if self.bundle is None else (_BUNDLE.format(self.name),),
        )

    @property
    def sha256(self) -> None:
        return None


@dataclass
class _Loaded(Opened):
    """A data set that is in memory, or a part of one."""

    loaded: DataSet

    @property
    def data_set(self) -> DataSet:
        return self.loaded

    @cached_property
    def archived(self) -> Source:
        data = self.loaded
        if data.origin.files:
            return FolderSource(pictures_of(data))
        axes = _AXES[data.origin.layout]
        if data.origin.kind == "npz":
            coded = [member.name for member in data.origin.members]
            name = _file_name(data.name, ".npz")
            return ArraySource(self._arrays, kind="npz", name=name, axes=axes, coded=coded)
        (array,) = self._arrays.values()
        return ArraySource(array, kind="array", name=_file_name(data.name, ".npy"), axes=axes)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return arrays_of(self.loaded)

    @property
    def size(self) -> int:
        if self.loaded.origin.files:
            return sum(image.size for image in pictures_of(self.loaded))
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def sha256(self) -> str | None:
        return None if self.loaded.origin.files else self.loaded.sha256


def _file_name(name: str, suffix: str) -> str:
    """A file name for data without one: ``mnist:test[:100]`` is kept as ``mnist-test-100.npy``."""
    stem = re.sub(r"[^A-Za-z0-9_.]+", "-", name.removesuffix(suffix)).strip("-.")
    return (stem or "array") + suffix
