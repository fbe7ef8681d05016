"""``load_data``: from a name, a path or an array to a data set."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codelength.data.arrays import from_array, from_members, read_idx, read_npy, read_npz
from codelength.data.dataset import DataSet, Member, Origin, items_sha256
from codelength.data.folders import from_folder, from_images
from codelength.data.images import FORMATS, JPEG_EXTENSIONS
from codelength.data.registry import REGISTRY, Entry, pinned_sha256, read_split
from codelength.errors import DataError, UsageError
from codelength.files import require_regular

_LAYOUTS = {2: "nd", 3: "nhw", 4: "nhwc"}
_RANGE = re.compile(r"\[\s*(-?\d+)?\s*:\s*(-?\d+)?\s*\]")


@dataclass(frozen=True)
class Spec:
    """What ``name[:split][[a:b]]`` or ``path[:member][[a:b]]`` asks for."""

    name: str
    part: str | None
    start: int | None
    stop: int | None

    @property
    def is_whole(self) -> bool:
        return self.start is None and self.stop is None


def parse_spec(text: str) -> Spec:
    """Read the grammar of data on the command line.  Raises UsageError."""
    if _exists(text):
        return Spec(text, None, None, None)
    rest, start, stop = text, None, None
    if text.endswith("]") and "[" in text:
        rest, _, inside = text.rpartition("[")
        match = _RANGE.fullmatch("[" + inside)
        if match is None:
            raise UsageError(f"expected a range such as [:5000] or [100:200] at the end of {text!r}")
        start, stop = (None if group is None else int(group) for group in match.groups())
    name, colon, part = rest.rpartition(":")
    if not colon or _exists(rest) or re.search(r"[/\\]", part):
        name, part = rest, ""
    if not name or (colon and not part and name != rest):
        raise UsageError(f"expected NAME, NAME:SPLIT or a path, got {text!r}")
    return Spec(name, part or None, start, stop)


def check_spec(spec: str | os.PathLike[str]) -> None:
    """Raise what ``load_data`` raises for data that is not there, without reading any."""
    parsed = parse_spec(spec) if isinstance(spec, str) else Spec(os.fspath(spec), None, None, None)
    if isinstance(spec, str) and parsed.name in REGISTRY:
        entry = REGISTRY[parsed.name]
        if parsed.part is not None:
            entry.check_split(parsed.part)
        return
    path = Path(parsed.name).expanduser()
    if not _exists(path):
        raise DataError(_missing(parsed.name))
    if not path.is_dir():
        require_regular(path, "a file of data")


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero in it
        return False


def load_data(
    spec: str | os.PathLike[str] | np.ndarray,
    *,
    layout: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    trust_download: bool = False,
    default_split: str = "test",
    symbols: int | None = None,
) -> DataSet:
    """Load a named data set, a file or folder, or wrap an array.

        >>> data = cl.load_data("threshold-digits:test[:100]")
        >>> data.items.shape, data.space.symbols
        ((100, 8, 8), 2)

    spec: ``name[:split][[a:b]]``; or the path of an ``.npy``, ``.npz`` (``file.npz:member`` takes one array),
        IDX file (gzipped or not), image or folder of images, with an optional ``[a:b]``; or an array, items
        first. A path with the name of a data set is written ``./name``.
    layout: axes of arrays, ``nd``, ``nhw``, ``nhwc`` or ``nchw``, where the guess would be wrong (an axis of
        size 1, 3 or 4 that is last, else second, of four is taken for the channels).
    limit: keep that many items, chosen at random with ``seed`` (never a prefix).
    trust_download: download files whose hash nobody has vouched for.
    default_split: of named data sets when the spec names none.
    symbols: size of the alphabet of arrays, where the least of 2, 256 and 65536 that holds them is not meant.

    Raises UsageError for a malformed spec or an unknown name or split, DataError for data that cannot be
    read, UntrustedDownload for unverified downloads.
    """
    if isinstance(spec, np.ndarray):
        data = from_array(spec, layout=layout, symbols=symbols)
    elif not isinstance(spec, str | os.PathLike):
        raise UsageError(f"expected the name of a data set, a path or an array, got {type(spec).__name__} {spec!r:.40}")
    elif not isinstance(spec, str):
        data = _load_path(Path(spec), None, layout, symbols)
    else:
        parsed = parse_spec(spec)
        if parsed.name in REGISTRY:
            entry = REGISTRY[parsed.name]
            split = parsed.part or (default_split if default_split in entry.splits else next(iter(entry.splits)))
            if layout is not None or symbols is not None:
                raise UsageError(f"layout and symbols belong to files and arrays, and {entry.name} has its own")
            data = _load_named(entry, split, trust_download)
        else:
            data = _load_path(Path(parsed.name).expanduser(), parsed.part, layout, symbols)
        if not parsed.is_whole:
            data = data[parsed.start : parsed.stop]
            if not len(data):
                raise DataError(f"the range of {spec!r} holds no items; its end comes first, or the data has fewer")
    return data if limit is None else data.subset(limit, seed)


def _load_named(entry: Entry, split: str, trust_download: bool) -> DataSet:
    items, labels = read_split(entry, split, trust_download=trust_download)
    name = f"{entry.name}:{split}"
    if isinstance(items, list):
        return from_images([(path.name, path) for path in items], name)
    pinned = pinned_sha256(entry.name, split)
    if pinned is not None and items_sha256(items) != pinned:
        raise DataError(f"expected the items of {name} to have the sha256 {pinned}, got others; report this")
    return DataSet(
        items=items,
        space=entry.space,
        labels=labels,
        name=name,
        preprocessing=entry.preprocessing,
        origin=Origin("set", (Member("", items.dtype.str, items.shape),), layout=_LAYOUTS[items.ndim]),
        binarize="dynamic" if entry.dynamic and split in ("train", "trainvalid") else None,
    )


def _load_path(path: Path, member: str | None, layout: str | None, symbols: int | None) -> DataSet:
    if not _exists(path):
        raise DataError(_missing(str(path)))
    if member is not None and path.suffix.lower() != ".npz":
        raise UsageError(f"expected an .npz file before :{member}, got {path}")
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in FORMATS or suffix in JPEG_EXTENSIONS:
        if layout is not None or symbols is not None:
            raise UsageError(f"layout and symbols belong to arrays, and {path} holds images")
        return from_folder(path) if path.is_dir() else from_images([(path.name, path)], path.name, kind="image")
    if suffix == ".npy":
        return from_array(read_npy(path), path.name, layout=layout, symbols=symbols)
    if suffix == ".npz":
        arrays = read_npz(path)
        if member is not None:
            if member not in arrays:
                raise DataError(f"{path} has no array {member!r}; it has {', '.join(arrays) or 'none'}")
            arrays = {member: arrays[member]}
        return from_members(arrays, path.name, layout=layout, symbols=symbols)
    array, gzipped = read_idx(path)
    return from_array(array, path.name, kind="idx", layout=layout, symbols=symbols, gzipped=gzipped)


def _missing(text: str) -> str:
    near = difflib.get_close_matches(text, REGISTRY, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see `codelength datasets` for the names"
    return f"{text!r} is neither a data set nor a file or folder; {hint}"
