"""Arrays as data sets, and back exactly as they came."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from codelength.data.dataset import DataSet, Member, Origin
from codelength.errors import DataError
from codelength.laws.space import Space

LAYOUTS = ("nd", "nhw", "nhwc", "nchw")


def guess_layout(shape: tuple[int, ...]) -> str:
    """The axes that an array likely has; channels are an axis of 1, 3 or 4, last if both ends qualify."""
    if len(shape) == 3:
        return "nhw"
    if len(shape) == 4 and shape[3] in (1, 3, 4):
        return "nhwc"
    if len(shape) == 4 and shape[1] in (1, 3, 4):
        return "nchw"
    return "nd"


def from_array(
    array: np.ndarray,
    name: str = "array",
    *,
    kind: str = "array",
    member: str = "",
    layout: str | None = None,
    symbols: int | None = None,
) -> DataSet:
    """A data set of the items of one array (items first).

    layout: ``nd``, ``nhw``, ``nhwc`` or ``nchw``; guessed where None.
    symbols: size of the alphabet; where None it is the least of 2, 256 and 65536 that holds the whole array.

    Raises DataError for arrays of objects, structures and text, for an array without axes, and for a layout
    that does not fit.
    """
    return from_members({member: array}, name, kind=kind, layout=layout, symbols=symbols)


def from_members(
    arrays: Mapping[str, np.ndarray],
    name: str,
    *,
    kind: str = "npz",
    layout: str | None = None,
    symbols: int | None = None,
) -> DataSet:
    """A data set of several arrays, as an ``.npz`` holds them.

    The largest array and all those with its item shape and type are the items, joined in order; the others
    are kept beside them as ``extras``.
    """
    if not arrays:
        raise DataError(f"expected at least one array in {name}, got none")
    for key, array in arrays.items():
        if array.dtype.kind not in "biufc":
            what = f"{name} ({key})" if key else name
            raise DataError(
                f"expected an array of numbers in {what}, got the type {array.dtype}; "
                "put the file into a folder and compress the folder to keep it as it is"
            )
    main = max(arrays.values(), key=lambda array: array.nbytes)
    if main.ndim == 0:
        raise DataError(f"expected an array with items along its first axis in {name}, got a single number")
    chosen = [key for key, array in arrays.items() if _alike(array, main)]
    members_chosen = set(chosen)
    joined = arrays[chosen[0]] if len(chosen) == 1 else np.concatenate([arrays[key] for key in chosen])
    axes = layout or guess_layout(joined.shape)
    if axes not in LAYOUTS:
        raise DataError(f"expected one of the layouts {', '.join(LAYOUTS)}, got {axes!r}")
    if axes != "nd" and len(axes) != joined.ndim:
        raise DataError(f"expected {len(axes)} axes for the layout {axes}, got the shape {joined.shape} in {name}")
    members = tuple(Member(key, arrays[key].dtype.str, arrays[key].shape, _is_fortran(arrays[key])) for key in chosen)
    items, found = _as_symbols(_channels_last(joined, axes))
    if symbols is not None and (found is None or (items.size and int(items.max()) >= symbols)):
        raise DataError(f"expected integers from 0 to {symbols - 1} in {name}, got other values")
    count = found if symbols is None else symbols
    return DataSet(
        items=items,
        space=None if count is None else Space(items.shape[1:], count),
        name=name,
        origin=Origin(kind, members=members, order=tuple(arrays), layout=axes),
        extras={key: array for key, array in arrays.items() if key not in members_chosen},
    )


def _alike(array: np.ndarray, main: np.ndarray) -> bool:
    return array.ndim == main.ndim and array.shape[1:] == main.shape[1:] and array.dtype == main.dtype


def _is_fortran(array: np.ndarray) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    if axes == "nchw":
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 1:
        array = array[:, None]
    return array


def _as_symbols(array: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Items as small unsigned integers with their alphabet, or in native byte order with None.

    Floating-point arrays count as integers only if converting there and back gives every bit again (a
    negative zero does not).
    """
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.kind == "c":
        return native, None
    if not array.size:
        return (native.astype(np.uint8), 256) if array.dtype.kind in "biu" else (native, None)
    low, high = float(native.min()), float(native.max())
    if not (low >= 0 and high < 2**16):  # also false for NaN
        return native, None
    small = native.astype(np.uint8 if high < 256 else np.uint16, copy=False)
    if array.dtype.kind == "f":
        back = small.astype(native.dtype)
        if back.tobytes() != native.tobytes():
            return native, None
    return small, 2 if high < 2 else 256 if high < 256 else 65536


def restore(items: np.ndarray, origin: Origin) -> dict[str, np.ndarray]:
    """The arrays that ``items`` (channels last) were read from: name, type, byte order, shape, memory order.

    The number of items may differ from the origin's when there is a single member (a range was decoded).

    Raises DataError if the items do not fit the description.
    """
    if not origin.members:
        return {"": items}
    counts = [member.shape[0] for member in origin.members]
    if len(counts) == 1:
        counts = [len(items)]
    if sum(counts) != len(items):
        raise DataError(f"expected {sum(counts)} items for the arrays described, got {len(items)}")
    if origin.layout == "nchw" and items.ndim == 4:
        items = items.transpose(0, 3, 1, 2)
    arrays, start = {}, 0
    for member, count in zip(origin.members, counts, strict=True):
        shape = (count, *member.shape[1:])
        part = items[start : start + count]
        if part.size != math.prod(shape):
            raise DataError(f"expected items of shape {member.shape[1:]}, got {items.shape[1:]}")
        part = part.reshape(shape).astype(member.dtype)
        arrays[member.name] = np.asfortranarray(part) if member.fortran_order else np.ascontiguousarray(part)
        start += count
    return arrays


def arrays_of(data: DataSet) -> dict[str, np.ndarray]:
    """All arrays that a data set came from, in the order of its file: its items restored, and its extras.

    Raises DataError for data sets of images that have no common shape.
    """
    if data.items is None:
        raise DataError(f"{data.name} holds images of different sizes, which are no array")
    table = {**restore(data.items, data.origin), **data.extras}
    return {name: table[name] for name in (*data.origin.order, *table) if name in table}
