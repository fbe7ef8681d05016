"""Data as the events of a model, in batches: fitted as for archives, so that both speak of the same symbols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codelength.archive.fitting import find_levels, fit_stream, representable, to_events
from codelength.data.dataset import DataSet
from codelength.errors import NotRepresentable
from codelength.laws.space import Space


@dataclass(frozen=True)
class Batch:
    """Events of one shape: ``items`` (n, *shape) symbols, ``index`` (n,) their numbers in the data."""

    index: np.ndarray
    items: np.ndarray


def batches(data: DataSet, space: Space, index: np.ndarray | None = None, *, size: int = 1024) -> Iterator[Batch]:
    """The items of ``data`` as events of ``space``, items of one shape together.

    index: numbers of the items to take, ascending; all where None. size: items of a batch at most.

    Raises NotRepresentable for items that do not belong to the space: none is left out.
    """
    chosen = np.arange(len(data)) if index is None else np.asarray(index)
    source = data.values
    if not len(source):
        return
    levels = _levels(source, space)
    if isinstance(source, np.ndarray):
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield _fitted(data, source[part], space, part, levels)
        return
    waiting: dict[tuple[int, ...], tuple[list[int], list[np.ndarray]]] = {}
    for number in chosen.tolist():
        image = np.asarray(source[number])
        numbers, images = waiting.setdefault(image.shape, ([], []))
        numbers.append(number)
        images.append(image)
        if len(numbers) == size:
            yield _fitted(data, np.stack(images), space, np.array(numbers), levels)
            del waiting[image.shape]
    for numbers, images in waiting.values():
        yield _fitted(data, np.stack(images), space, np.array(numbers), levels)


def as_they_are(data: DataSet, index: np.ndarray | None = None, *, size: int = 1024) -> Iterator[Batch]:
    """The items of ``data`` for a model that does not say what it is of: whole numbers, as they are.

    index, size: as for ``batches``. Raises NotRepresentable for items that are no whole numbers.
    """
    chosen = np.arange(len(data)) if index is None else np.asarray(index)
    source = data.values
    step = size if isinstance(source, np.ndarray) else 1
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        items = source[part] if isinstance(source, np.ndarray) else np.asarray(source[int(part[0])])[None]
        whole = items
        if items.dtype.kind not in "iub":
            with np.errstate(invalid="ignore"):
                whole = items.astype(np.int64) if items.dtype.kind == "f" else np.zeros(items.shape, np.int64)
        wrong = np.flatnonzero((whole != items).reshape(len(items), -1).any(1))
        if len(wrong):
            raise NotRepresentable(
                f"expected whole numbers, but item {part[wrong[0]]} of {data.name} holds others; give integers, or a "
                "model with a space"
            )
        yield Batch(part, whole)


def _levels(source: np.ndarray | Sequence[np.ndarray], space: Space) -> tuple[int, ...]:
    """The two values of black-and-white items that a model of two symbols codes as 0 and 1; often empty."""
    if isinstance(source, np.ndarray) or space.symbols != 2:
        return find_levels(np.asarray(source), space.symbols) if isinstance(source, np.ndarray) else ()
    return find_levels(np.unique(np.concatenate([np.unique(image) for image in source])), space.symbols)


def _fitted(data: DataSet, items: np.ndarray, space: Space, index: np.ndarray, levels: tuple[int, ...]) -> Batch:
    stream = fit_stream("", items.dtype, items.shape[1:], space, levels=levels)
    if stream is None:
        if data.items is not None and space.admits(data.items.shape):
            raise NotRepresentable(
                f"expected items (n, *shape), got a single item of shape {_shape(data.items.shape)} in {data.name}; "
                "add an axis for the batch: items[None]"
            )
        raise NotRepresentable(
            f"expected items of shape {_shape(space.shape)}, got {_shape(items.shape[1:])} in {data.name}"
        )
    good = representable(items, stream, space.symbols)
    if not good.all():
        first = int(index[np.flatnonzero(~good)[0]])
        raise NotRepresentable(
            f"expected whole numbers from 0 to {space.symbols - 1}, but item {first} of {data.name} holds others; "
            f"choose data that the model was made for"
        )
    return Batch(index, to_events(items, stream))


def _shape(shape: tuple[int | None, ...]) -> str:
    return "x".join("any" if size is None else str(size) for size in shape)
