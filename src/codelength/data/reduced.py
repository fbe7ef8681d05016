"""Pixels without an opaque alpha channel and without equal colours, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codelength.data.pixels import MODES


@dataclass(frozen=True)
class Reduced:
    """Pixels without what all of them share.

    array: (h, w) or (h, w, 3): without alpha where alpha is 255 throughout, and with one channel where red,
        green and blue are equal throughout.
    steps: what was left out, for ``expand``: ``opaque``, ``grey``, both or none.
    """

    array: np.ndarray
    steps: tuple[str, ...]


def reduce(array: np.ndarray, steps: tuple[str, ...] | None = None) -> Reduced:
    """Leave out an opaque alpha channel and equal colour channels (uint8 or uint16), exactly.

    steps: leave out only these, without looking again whether they apply.
    """
    taken = []
    if array.ndim == 3 and array.shape[2] in (2, 4):
        full = np.iinfo(array.dtype).max
        if "opaque" in steps if steps is not None else bool((array[..., -1] == full).all()):
            array = array[..., :-1]
            taken.append("opaque")
    if array.ndim == 3 and array.shape[2] == 3:
        equal = (array[..., 0] == array[..., 1]).all() and (array[..., 1] == array[..., 2]).all()
        if "grey" in steps if steps is not None else bool(equal):
            array = array[..., :1]
            taken.append("grey")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return Reduced(np.ascontiguousarray(array), tuple(taken))


def expand(reduced: Reduced, mode: str) -> np.ndarray:
    """The array of a mode from its reduced form; inverse of ``reduce``."""
    dtype, channels = MODES[mode]
    array = reduced.array
    if not channels:
        return array
    if array.ndim == 2:
        array = array[..., None]
    if "grey" in reduced.steps:
        array = np.repeat(array, 3, axis=2)
    if "opaque" in reduced.steps:
        full = np.full((*array.shape[:2], 1), np.iinfo(np.dtype(dtype)).max, dtype)
        array = np.concatenate([array, full], axis=2)
    return np.ascontiguousarray(array)
