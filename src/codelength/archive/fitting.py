"""Between items as they came and the events of a model (docs/format.md, "Blocks of type 0" and "type 4")."""

from __future__ import annotations

import math

import numpy as np

from codelength.archive.layout import LEARNED, MODEL, Channel, Coded, Constant, Stream
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
    good = np.ones(items.shape, bool)
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
    fine = good.reshape(n, -1).all(axis=1)
    if stream.channels:
        stored = _as_channels(values, stream)
        values = _coded(stored, stream)
        for channel, source in enumerate(stream.channels):
            same = stored[..., channel] == (
                source.value if isinstance(source, Constant) else values[..., source.number]
            )
            fine &= same.reshape(n, -1).all(axis=1)
    if stream.levels:
        table = np.array(stream.levels, np.int64)
        within = table[np.minimum(np.searchsorted(table, values), len(table) - 1)] == values
    else:
        within = (values >= 0) & (values < symbols)
    return fine & within.reshape(n, -1).all(axis=1)


def _as_channels(values: np.ndarray, stream: Stream) -> np.ndarray:
    """Stored items (n, *shape) as (n, height, width, stored channels)."""
    return _moved(values, stream).reshape(len(values), *stream.event[:2], len(stream.channels))


def _coded(stored: np.ndarray, stream: Stream) -> np.ndarray:
    """The coded channels (n, height, width, C) of stored ones."""
    first = [stream.channels.index(Coded(number)) for number in range(stream.coded_channels)]
    return stored[..., first]


def _moved(values: np.ndarray, stream: Stream) -> np.ndarray:
    return values.transpose(0, *(axis + 1 for axis in stream.axes))


def _whole_numbers(items: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return items.astype(np.int64)


def to_events(items: np.ndarray, stream: Stream) -> np.ndarray:
    """The model's events (n, *event) of representable ``items`` (n, *shape): int64 symbols."""
    values = _whole_numbers(items)
    if stream.channels:
        values = _coded(_as_channels(values, stream), stream)
    else:
        values = _moved(values, stream)
    if stream.levels:
        values = np.searchsorted(np.array(stream.levels, np.int64), values)
    return np.ascontiguousarray(values.reshape(len(items), *stream.event))


def to_items(events: np.ndarray, stream: Stream) -> np.ndarray:
    """Inverse of ``to_events``: (n, *shape) in the stream's dtype.

    Raises ValueError for symbols without a level or beyond the dtype.
    """
    n = len(events)
    dtype = np.dtype(stream.dtype)
    values = events
    if stream.levels:
        if values.size and int(values.max()) >= len(stream.levels):
            raise ValueError("a symbol that stands for no value")
        values = np.array(stream.levels, np.int64)[values]
    if stream.channels:
        values = _stored(values, stream)
    inverse = np.argsort(stream.axes)
    moved = values.reshape(n, *(stream.shape[axis] for axis in stream.axes))
    values = moved.transpose(0, *(int(axis) + 1 for axis in inverse))
    if values.size and dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if int(values.min()) < low or int(values.max()) > high:
            raise ValueError(f"a value beyond the type {dtype.str}")
    return np.ascontiguousarray(values.astype(dtype))


def _stored(values: np.ndarray, stream: Stream) -> np.ndarray:
    """The stored channels (n, height, width, S) of events (n, *event)."""
    coded = values.reshape(len(values), *stream.event[:2], stream.coded_channels)
    stored = np.empty((*coded.shape[:3], len(stream.channels)), np.int64)
    for channel, source in enumerate(stream.channels):
        stored[..., channel] = source.value if isinstance(source, Constant) else coded[..., source.number]
    return stored


def learned_stream(
    mode: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    space: Space,
    *,
    axes: tuple[int, ...] = (),
    event: tuple[int, ...] = (),
    levels: tuple[int, ...] = (),
    channels: tuple[Channel, ...] = (),
) -> Stream | None:
    """How a program of ``space``, (None, None) or (None, None, C), can code items of this dtype and shape, which begins
    with two zeros where heights and widths are free; None if it cannot.

    axes: the transposition to apply; guessed where empty, as by ``fit_stream``. event: where it does not follow from
    the shape, such as (28, 28) for rows of 784.
    """
    free = shape[:2] == (0, 0)
    stored = len(channels) or (space.shape[2:] and space.shape[2]) or 1
    orders = [axes] if axes else [tuple(range(len(shape)))]
    if not axes and len(shape) == 3 and not free:
        orders += [(1, 2, 0)]
    for order in orders:
        moved = tuple(shape[axis] for axis in order)
        if event:
            fitting = event
        elif len(moved) == 2 and stored == 1:
            fitting = moved
        elif len(moved) == 3 and moved[2] == stored:
            fitting = moved[:2]
        elif len(moved) == 3 and moved[0] == stored == 1:
            fitting = moved[1:]
        else:
            continue
        fitting = (*fitting[:2], *(size or 1 for size in space.shape[2:]))
        stream = Stream(LEARNED, mode, dtype.str, shape, order, fitting, levels, channels)
        if not stream.fault():
            return stream
    return None


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
