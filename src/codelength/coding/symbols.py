"""Whether values can be coded, and which items hold those that cannot."""

from __future__ import annotations

import numpy as np

from codelength.errors import NotRepresentable


def check_symbols(x: np.ndarray, symbols: int) -> None:
    """Raise NotRepresentable unless x (n, ...) holds integers from 0 to ``symbols`` - 1; names the items."""
    check_range(x, 0, symbols - 1)


def check_range(x: np.ndarray, low: int, high: int) -> None:
    """Raise NotRepresentable unless x (n, ...) holds integers from ``low`` to ``high``; names the items."""
    if x.dtype.kind not in "iub":
        raise NotRepresentable(f"expected integers from {low} to {high}, got values of type {x.dtype}")
    if not x.size or (int(x.min()) >= low and int(x.max()) <= high):
        return
    refuse((x < low) | (x > high), x, f"expected integers from {low} to {high}")


def refuse(bad: np.ndarray, x: np.ndarray, expected: str) -> None:
    """Raise NotRepresentable for the items of x (n, ...) of which something is ``bad`` (n, ...), if there are any."""
    items = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    if len(items):
        first = items[0]
        value = x[first].reshape(-1)[np.flatnonzero(bad[first].reshape(-1))[0]]
        raise NotRepresentable(expected, items.tolist(), f"{value.item()}")
