"""Between items as they came and the events of a model (docs/format.md, "Blocks of type 0")."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from codelength.archive.layout import MODEL, Stream
from codelength.laws.space import Space


def fit_stream(
    mode: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    space: Space,
    axes: tuple[int, ...] | None = None,
    levels: tuple[int, ...] = (),
) -> Stream | None:
    """How a model of ``space`` can code items of this dtype and shape, or None if it cannot.

    axes: the transposition to apply; without it the item's own axes are tried first, then the channels moved to the
    end or to the front, as far as the space admits the result. A space with fixed sizes admits every shape with as many
    elements.
    levels: the value that stands for each symbol; empty if symbols are the values themselves.
    """
    if not shape:
        orders: list[tuple[int, ...]] = [()]
    elif axes is not None:
        orders = [axes]
    else:
        orders = [tuple(range(len(shape)))]
        if len(shape) == 3:
            orders += [(1, 2, 0), (2, 0, 1)]
    for order in orders:
        moved = tuple(shape[axis] for axis in order)
        candidates = [moved, (*moved, 1), (1, *moved)]
        if len(moved) == 3 and 1 in moved:
            candidates.append(tuple(size for size in moved if size != 1))
        for event in candidates:
            if space.admits(event) and math.prod(event) == math.prod(shape):
                return Stream(MODEL, mode, dtype.str, shape, order, event, levels)
    if not space.is_free and space.dims == math.prod(shape):
        event = tuple(size for size in space.shape if size is not None)
        return Stream(MODEL, mode, dtype.str, shape, orders[0], event, levels)
    return None


def representable(items: np.ndarray, stream: Stream, symbols: int) -> np.ndarray:
    """(n,) booleans: which of ``items`` (n, *shape) come back bit for bit from symbols below ``symbols``."""
    n = len(items)
    if items.dtype.kind not in "biuf" or (items.dtype.kind == "f" and items.dtype.itemsize > 8):
        return np.zeros(n, bool)  # complex numbers and wider floats hold what no integer does
    values = _whole_numbers(items)
    if stream.levels:
        table = np.array(stream.levels, np.int64)
        found = np.minimum(np.searchsorted(table, values), len(table) - 1)
        good = table[found] == values
    else:
        good = (values >= 0) & (values < symbols)
    if items.dtype.kind == "f":
        # Bit for bit, so that a negative zero does not come back as zero.
        words = f"u{items.dtype.itemsize}"
        native = np.ascontiguousarray(items, items.dtype.newbyteorder("="))
        with np.errstate(over="ignore"):  # what does not fit is not equal
            back = values.astype(native.dtype)
        good &= back.view(words) == native.view(words)
    elif items.dtype.kind == "u" and items.dtype.itemsize == 8:
        good &= items < 2**63
    elif items.dtype.kind == "b":  # true may hide behind any byte, and comes back as 1
        good &= np.ascontiguousarray(items).view(np.uint8) <= 1
    return good.reshape(n, -1).all(axis=1)


def _whole_numbers(items: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return items.astype(np.int64)


def to_events(items: np.ndarray, stream: Stream) -> np.ndarray:
    """The model's events (n, *event) of representable ``items`` (n, *shape): int64 symbols."""
    values = _whole_numbers(items)
    if stream.levels:
        values = np.searchsorted(np.array(stream.levels, np.int64), values)
    moved = values.transpose(0, *(axis + 1 for axis in stream.axes))
    return np.ascontiguousarray(moved.reshape(len(items), *stream.event))


def to_items(events: np.ndarray, stream: Stream) -> np.ndarray:
    """Inverse of ``to_events``: (n, *shape) in the stream's dtype.

    Raises ValueError for symbols without a level or beyond the dtype.
    """
    n = len(events)
    dtype = np.dtype(stream.dtype)
    moved = events.reshape(n, *(stream.shape[axis] for axis in stream.axes))
    inverse = np.argsort(stream.axes)
    values = moved.transpose(0, *(int(axis) + 1 for axis in inverse))
    if stream.levels:
        if values.size and int(values.max()) >= len(stream.levels):
            raise ValueError("a symbol that stands for no value")
        values = np.array(stream.levels, np.int64)[values]
    if values.size and dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if int(values.min()) < low or int(values.max()) > high:
            raise ValueError(f"a value beyond the type {dtype.str}")
    return np.ascontiguousarray(values.astype(dtype))


def join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one dtype, one behind the other. (``np.concatenate`` alone would give up their byte order.)"""
    if len(parts) == 1:
        return parts[0]
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    return np.concatenate(parts, out=joined)


def find_levels(items: np.ndarray, symbols: int) -> tuple[int, ...]:
    """The two values of black-and-white ``items`` that are stored as 0 and 255, say, for a model of two
    symbols.

    Empty if the values are symbols already, or are more or no integers, or the model has another alphabet.
    """
    if symbols != 2 or not items.size or items.dtype.kind not in "iuf":
        return ()
    values = np.unique(items)
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if len(values) > symbols or not (whole == values).all() or (whole[0] >= 0 and whole[-1] < symbols):
        return ()
    return tuple(int(value) for value in whole)
