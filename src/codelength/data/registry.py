"""The named data sets: files pinned by hash, licences, splits, and the space of each.

Splits that a source defines are kept. Where it defines only training and test items, the last training items
serve as ``valid`` (so ``train`` is the rest, and ``trainvalid`` both). Where it defines none, the split is
ours: a seeded permutation (``codelength.data.seeded``), and the description says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codelength.data import sources
from codelength.data.fetch import File, obtain, present
from codelength.data.pinned import ITEMS
from codelength.data.seeded import binarize, permutation
from codelength.data.sources import Source
from codelength.errors import DataError, UsageError
from codelength.laws.space import Space

SPLIT_SEED = 0
BINARIZATION_SEED = 0


@dataclass(frozen=True)
class Piece:
    """A run of the items of one part of a source, in file order or, if ``shuffled``, in our seeded order."""

    part: str
    start: int
    stop: int
    shuffled: bool = False


@dataclass(frozen=True)
class Entry:
    """One named data set.

    transform: applied to the items of a split, given its name; None where items are taken as they are.
    """

    name: str
    title: str
    source: Source
    space: Space
    splits: Mapping[str, tuple[Piece, ...]]
    preprocessing: str
    transform: Callable[[np.ndarray, str], np.ndarray] | None = None
    dynamic: bool = False
    note: str = ""

    def count(self, split: str) -> int:
        return sum(piece.stop - piece.start for piece in self.splits[split])

    def check_split(self, split: str) -> None:
        """Raise UsageError for a split that is not there."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no split {split!r}; choose one of {', '.join(self.splits)}")


def _held_out(train: int, valid: int, test: int) -> dict[str, tuple[Piece, ...]]:
    """Source splits train and test; the last ``valid`` training items are held out."""
    return {
        "train": (Piece("train", 0, train - valid),),
        "valid": (Piece("train", train - valid, train),),
        "test": (Piece("test", 0, test),),
        "trainvalid": (Piece("train", 0, train),),
    }


def _three(train: int, valid: int, test: int) -> dict[str, tuple[Piece, ...]]:
    """Source splits train, valid and test."""
    return {
        "train": (Piece("train", 0, train),),
        "valid": (Piece("valid", 0, valid),),
        "test": (Piece("test", 0, test),),
        "trainvalid": (Piece("train", 0, train), Piece("valid", 0, valid)),
    }


def _ours(train: int, valid: int, test: int) -> dict[str, tuple[Piece, ...]]:
    """No split in the source: items in our seeded order, cut into test, valid and train."""
    a, b, c = test, test + valid, test + valid + train
    return {
        "train": (Piece("all", b, c, True),),
        "valid": (Piece("all", a, b, True),),
        "test": (Piece("all", 0, a, True),),
        "trainvalid": (Piece("all", a, c, True),),
    }


def _cifar() -> dict[str, tuple[Piece, ...]]:
    """The five training batches are read one by one: packed with LZMA, each takes seconds."""
    first = tuple(Piece(str(i), 0, 10000) for i in range(1, 5))
    return {
        "train": (*first, Piece("5", 0, 5000)),
        "valid": (Piece("5", 5000, 10000),),
        "test": (Piece("test", 0, 10000),),
        "trainvalid": (*first, Piece("5", 0, 10000)),
    }


def _threshold(level: int) -> Callable[[np.ndarray, str], np.ndarray]:
    return lambda items, split: (items >= level).astype(np.uint8)


def _frozen_draw(items: np.ndarray, split: str) -> np.ndarray:
    """Training items stay grey; validation and test items are drawn once, for everybody."""
    if split in ("train", "trainvalid"):
        return items
    return binarize(items, f"dynamic-mnist {split}", BINARIZATION_SEED)


_MNIST = _held_out(60000, 10000, 10000)
_DYNAMIC = (
    "dynamic binarization (training pixels are 1 with probability value/255, drawn anew on every visit; "
    f"valid and test drawn once with SHAKE-256, seed {BINARIZATION_SEED})"
)
_OURS = "the split is ours (seeded), since the source has none"

_ENTRIES = [
    Entry(
        "digits", "UCI optical digits as bundled with scikit-learn", sources.DIGITS,
        Space((8, 8), 17), _ours(1257, 180, 360), "none", note=_OURS,
    ),
    Entry(
        "threshold-digits", "digits, thresholded", sources.DIGITS,
        Space((8, 8), 2), _ours(1257, 180, 360), "threshold at 8 of 16", _threshold(8), note=_OURS,
    ),
    Entry("mnist", "MNIST", sources.MNIST, Space((28, 28), 256), _MNIST, "none"),
    Entry(
        "threshold-mnist", "MNIST rounded at one half", sources.MNIST,
        Space((28, 28), 2), _MNIST, "threshold at 128", _threshold(128),
        note="another data set than binarized-mnist: figures are not comparable",
    ),
    Entry(
        "binarized-mnist", "Static binarized MNIST", sources.BINARIZED_MNIST,
        Space((28, 28), 2), _three(50000, 10000, 10000),
        "static binarization (Salakhutdinov & Murray)",
        note="the test split is nearly sorted by class: take seeded subsets, never a prefix",
    ),
    Entry(
        "dynamic-mnist", "MNIST binarized anew while training", sources.MNIST,
        Space((28, 28), 2), _MNIST, _DYNAMIC, _frozen_draw, dynamic=True,
    ),
    Entry("fashion-mnist", "Fashion-MNIST", sources.FASHION_MNIST, Space((28, 28), 256), _MNIST, "none"),
    Entry(
        "omniglot-small", "Omniglot, the two small background sets, 105x105", sources.OMNIGLOT_SMALL,
        Space((105, 105), 2), _ours(3840, 400, 600), "ink = 1",
        note=_OURS + "; not the 28x28 set of the importance-weighted autoencoder",
    ),
    Entry(
        "silhouettes", "Caltech 101 silhouettes, 28x28", sources.SILHOUETTES,
        Space((28, 28), 2), _ours(4100, 2264, 2307), "object = 0, background = 1",
        note="the split is ours (seeded, of the usual sizes): not comparable with figures on split1",
    ),
    Entry(
        "frey-faces", "Frey faces", sources.FREY_FACES,
        Space((28, 20), 256), _ours(1565, 200, 200), "none",
        note=_OURS + "; frames of one film, so test frames have near twins in train",
    ),
    Entry("cifar10", "CIFAR-10", sources.CIFAR10, Space((32, 32, 3), 256), _cifar(), "none"),
    Entry(
        "kodak", "Kodak PhotoCD, the 16 images whose files were checked", sources.KODAK,
        Space((None, None, 3), 256), {"test": (Piece("test", 0, 16),)}, "none",
    ),
    Entry(
        "kodak24", "Kodak PhotoCD, all 24 images", sources.KODAK24,
        Space((None, None, 3), 256), {"test": (Piece("test", 0, 24),)}, "none",
        note="eight of the files are unverified",
    ),
    *(
        Entry(
            f"debd/{name}", f"Binary density estimation: {name}", sources.debd(name),
            Space((size,), 2), _three(train, valid, test), "none",
            note="1,600/400 items in train/valid; MADE and NADE use 1,400/600" if name == "dna" else "",
        )
        for name, (size, train, valid, test) in sources.DEBD_SHAPES.items()
    ),
]  # fmt: skip

REGISTRY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def read_split(
    entry: Entry, split: str, *, trust_download: bool = False
) -> tuple[np.ndarray | list[Path], np.ndarray | None]:
    """Items (n, *shape) uint8 and labels (n,) or None of a split; the image paths where shapes differ.

    Raises UsageError for an unknown split, DataError for files that cannot be had or whose contents are not
    those expected.
    """
    entry.check_split(split)
    kept, kept_labels = [], []
    for piece in entry.splits[split]:
        items, labels = _read_part(entry.source, piece.part, trust_download)
        if isinstance(items, list):
            return items, None
        chosen: slice | np.ndarray = slice(piece.start, piece.stop)
        if piece.shuffled:
            order = permutation(f"split of {entry.source.name}", SPLIT_SEED, len(items))
            chosen = np.sort(order[piece.start : piece.stop])
        kept.append(items[chosen])
        if labels is not None:
            kept_labels.append(labels[chosen])
    items = kept[0] if len(kept) == 1 else np.concatenate(kept)
    if entry.transform is not None:
        items = entry.transform(items, split)
    labels = np.concatenate(kept_labels) if kept_labels else None
    if items.shape[1:] != entry.space.shape or len(items) != entry.count(split):
        raise DataError(
            f"expected {entry.count(split)} items of shape {entry.space.shape} in {entry.name}:{split}, "
            f"got the shape {items.shape}"
        )
    return items, labels


def _read_part(source: Source, part: str, trust_download: bool) -> tuple[np.ndarray | list[Path], np.ndarray | None]:
    """One part of a source from the first form whose files are all here, else from the one to download."""
    forms = [form for form in source.forms if part in form.files]
    for form in forms:
        if all(present(file) for file in form.files[part]):
            break
    else:
        form = next((form for form in forms if all(file.urls for file in form.files[part])), forms[0])
    paths = [obtain(file, trust_download=trust_download) for file in form.files[part]]
    return form.read(paths, part)


def pinned_sha256(name: str, split: str) -> str | None:
    """The hash that the items of a split must have (``codelength.data.dataset.items_sha256``)."""
    return ITEMS.get(f"{name}:{split}")


@dataclass(frozen=True)
class Description:
    """One line of ``codelength datasets``."""

    name: str
    title: str
    splits: dict[str, int]
    shape: tuple[int | None, ...]
    symbols: int
    preprocessing: str
    licence: str
    citation: str
    home: str
    note: str
    available: bool


def datasets() -> list[Description]:
    """What can be loaded by name, and whether all its files are on this machine (unchecked).

    >>> [entry.symbols for entry in cl.datasets() if entry.name == "threshold-digits"]
    [2]
    """
    return [
        Description(
            name=entry.name,
            title=entry.title,
            splits={split: entry.count(split) for split in entry.splits},
            shape=entry.space.shape,
            symbols=entry.space.symbols,
            preprocessing=entry.preprocessing,
            licence=entry.source.licence,
            citation=entry.source.citation,
            home=entry.source.home,
            note=entry.note,
            available=_available(entry.source),
        )
        for entry in REGISTRY.values()
    ]


def _available(source: Source) -> bool:
    if source is sources.DIGITS:
        return importlib.util.find_spec("sklearn") is not None
    return any(all(present(file) for file in form.all_files()) for form in source.forms)


def files(source: Source) -> list[File]:
    """Every file of every form of a source."""
    return [file for form in source.forms for file in form.all_files()]
