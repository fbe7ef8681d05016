"""What a run is trained on: its items, those that validate it, and how a run folder knows them again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codelength.data import DataSet
from codelength.data.opened import open_data
from codelength.data.registry import REGISTRY
from codelength.data.seeded import choose
from codelength.data.spec import parse_spec, validation_of
from codelength.errors import DataError
from codelength.laws.space import Space
from codelength.training.config import TrainingConfig
from codelength.training.draws import Binarized, Crops, Draws, Items

#: Of data without a validation split, every so many-th item (chosen at random) is set aside.
HELD_OUT = 10
CALIBRATION_ITEMS = 1024


@dataclass(frozen=True)
class Split:
    """Items to train on and to validate with, their labels (n,) or None, and the space they live in when trained on.

    items: grey, where ``binarize`` says that they are binarized at every visit. shape: of the array that the items came
    from, None where they came from none. valid_name: of the split that the validation items are, empty where they are
    set aside from the data that was named. index, valid_index: the numbers of the items in their split. images_sha256:
    of the images where items are cut out of them, else empty.
    """

    items: Draws
    labels: np.ndarray | None
    valid_items: Draws
    valid_labels: np.ndarray | None
    space: Space
    name: str
    binarize: str
    shape: tuple[int, ...] | None = None
    valid_name: str = ""
    index: np.ndarray | None = None
    valid_index: np.ndarray | None = None
    images_sha256: str = ""

    @cached_property
    def sha256(self) -> str:
        """Of all items by value, in their order: those to train on and those to validate with."""
        digest = hashlib.sha256(b"codelength training 1\n")
        for items in (self.items, self.valid_items):
            digest.update(items.sha256.encode() + b"\n")
        digest.update(self.images_sha256.encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        shape = "x".join(map(str, self.space.shape)) or "one element"
        cropped = ", cut out at random at every visit" if self.images_sha256 else ""
        dynamic = ", binarized anew at every visit" if self.binarize else ""
        valid = "of their own split" if self.valid_name else "set aside"
        text = (
            f"{len(self.items):,} items of {shape}, {self.space.symbols:,} symbols{cropped}{dynamic}; "
            f"{len(self.valid_items):,} {valid} to validate with"
        )
        if self.shape is not None and len(self.shape) == 2 and self.shape[0] <= self.shape[1]:
            # Fewer rows than columns: hardly a table, but perhaps one image.
            array = "x".join(map(str, self.shape))
            text += f"\nnote: each row of the array {array} is an item; one image by itself would be array[None]"
        return text

    def parts(self) -> Iterator[tuple[Draws, np.ndarray | None, Callable[[int], str]]]:
        """Items and labels to train on, then those to validate with; each with a function that names the item of a
        row."""

        def named(index: np.ndarray | None, name: str) -> Callable[[int], str]:
            return lambda row: f"item {int(row if index is None else index[row])} of {name}"

        yield self.items, self.labels, named(self.index, self.name)
        yield self.valid_items, self.valid_labels, named(self.valid_index, self.valid_name or self.name)

    def some(self, count: int) -> np.ndarray:
        """At most so many of the items to train on, chosen at random (seeded), as the model sees them."""
        seen = Binarized(self.items) if self.binarize else self.items
        return seen.fixed(choose(len(self.items), min(count, len(self.items)), seed=0))


def stored_spec(data: Any) -> str:
    """How a recipe says where this data is, from whatever folder it is read; empty for what lies in memory."""
    if isinstance(data, os.PathLike):
        spec = os.path.abspath(Path(data).expanduser())
    elif isinstance(data, str):
        name = parse_spec(data).name
        spec = data if name in REGISTRY else os.path.abspath(Path(name).expanduser()) + data[len(name) :]
    else:
        return ""
    return spec if spec.isascii() or not any("\ud800" <= c <= "\udfff" for c in spec) else ""  # no text in UTF-8


def load_split(data: Any, config: TrainingConfig, trust_download: bool = False) -> Split:
    """What ``data`` (all that ``open_data`` takes) gives to train on and to validate with. Raises DataError for what
    cannot be trained on, and what ``open_data`` raises."""
    valid = validation_of(data)
    train_set = open_data(data, split="train", trust_download=trust_download).data_set
    valid_set = None if valid is None else open_data(valid, trust_download=trust_download).data_set
    items, space = _draws(train_set, config.crop, train_set.name)
    labels, valid_labels = train_set.labels, None
    index = valid_index = None
    if valid_set is not None:
        valid_items, _ = _draws(valid_set, config.crop, f"validation of {valid_set.name}")
        valid_labels = valid_set.labels
    else:
        valid_index = choose(len(items), max(1, len(items) // HELD_OUT), seed=0)
        index = np.setdiff1d(np.arange(len(items)), valid_index)
        items, valid_items = items.only(index), items.only(valid_index)
        if labels is not None:
            labels, valid_labels = labels[index], labels[valid_index]
    if len(items) == 0:
        raise DataError(f"expected at least two items to train on, got {len(train_set)} in {train_set.name}")
    if len(valid_items) == 0:
        raise DataError(f"expected items to validate with, got none in the split of {train_set.name} for them")
    dynamic = config.binarize == "dynamic" or train_set.binarize == "dynamic"
    if dynamic:
        if train_set.binarize != "dynamic" and space.symbols != 256:
            raise DataError(f"dynamic binarization needs grey values 0 .. 255, {train_set.name} has {space.symbols}")
        space = Space(space.shape, 2)
        # A split that comes with the data was drawn once for everybody.
        if valid_set is None or any(piece.max(initial=0) > 1 for _, piece in valid_items.pieces()):
            drawn = Binarized(valid_items, f"validation of {train_set.name}").fixed(np.arange(len(valid_items)))
            valid_items = Items(drawn)
    members = train_set.origin.members
    return Split(
        items,
        labels,
        valid_items,
        valid_labels,
        space,
        train_set.name,
        "dynamic" if dynamic else "",
        shape=members[0].shape if len(members) == 1 and not config.crop else None,
        valid_name="" if valid_set is None else valid_set.name,
        index=index,
        valid_index=valid_index,
        images_sha256=train_set.sha256 if config.crop else "",
    )


def _draws(data: DataSet, side: int, purpose: str) -> tuple[Items | Crops, Space]:
    """What is drawn from a data set, and its space: crops of a side, or whole items where that is 0."""
    if side:
        space = _of_crops(data, side)
        return Crops(data.values, side, purpose), space
    items, space = _checked(data)
    return Items(items), space


def _of_crops(data: DataSet, side: int) -> Space:
    """The space of square crops of images. Raises DataError where there are none of that size."""
    if data.space is None or len(data.space.shape) not in (2, 3):
        raise DataError(
            f"expected images of one mode to cut squares out of, got {data.name}; leave training.crop out, or choose "
            "images that are all grey or all in colour"
        )
    if not len(data):
        raise DataError(f"expected at least two items to train on, got none in {data.name}")
    for number in range(len(data)):
        item = data.item(number)
        height, width = item.shape[:2]
        if min(height, width) < side:
            name = item.name or f"item {number}"
            raise DataError(
                f"expected images of at least {side}x{side} pixels to cut squares out of, but {name} of {data.name} "
                f"has {height}x{width}; lower training.crop, or leave that image out"
            )
    return Space((side, side, *data.space.shape[2:]), data.space.symbols)


def _checked(data: DataSet) -> tuple[np.ndarray, Space]:
    """The items and their space, where they are symbols of one shape."""
    items, space = data.items, data.space
    if items is None:
        raise DataError(
            f"expected items of one size to train on, got {data.name} with images of several sizes; set training.crop "
            "to the side of squares to cut out of them, or scale them"
        )
    if len(items) == 0:
        raise DataError(f"expected at least two items to train on, got none in {data.name}")
    if space is None:
        raise DataError(f"{_not_symbols(items, data.name)}; {_advice(items)}")
    if space.is_free:
        raise DataError(
            f"expected items of one size to train on, got {data.name} with images of several sizes; set training.crop"
        )
    return items, space


def _not_symbols(items: np.ndarray, name: str) -> str:
    """What of these items is no symbol, with the first of them that is none."""
    if items.dtype.kind not in "iub":
        what = f"expected whole numbers from 0 on to train on, got {items.dtype} in {name}"
        values = items.reshape(len(items), -1)
        bad = ~np.isfinite(values) | (values != np.round(values)) if items.dtype.kind == "f" else np.isnan(values)
        rows = np.flatnonzero(bad.any(1))
        if len(rows):
            what += f" (item {rows[0]} holds {values[rows[0]][bad[rows[0]]][0]:.6g})"
        return what
    low, high = int(items.min()), int(items.max())
    worst = low if low < 0 else high
    row = int(np.flatnonzero((items.reshape(len(items), -1) == worst).any(1))[0])
    return f"expected whole numbers from 0 to 65,535 to train on, but item {row} of {name} holds {worst:,}"


def _advice(items: np.ndarray) -> str:
    if items.dtype.kind == "f" and items.size and float(np.nanmin(items)) >= 0 and float(np.nanmax(items)) <= 1:
        return "pixels from 0 to 1 are given as (255 * array).round().astype('uint8')"
    if items.dtype.kind in "fc":
        return "choose how fine the values are to be told apart, and give those steps as integers"
    return "shift or coarsen the values into that range"
