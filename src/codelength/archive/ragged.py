"""Items of one type and several shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Ragged:
    """A sequence of arrays of one dtype, as far as it stands in for an array (n, *shape)."""

    def __init__(self, items: Iterable[np.ndarray]) -> None:
        self.items = list(items)

    @property
    def dtype(self) -> np.dtype:
        return self.items[0].dtype

    @property
    def nbytes(self) -> int:
        return sum(item.nbytes for item in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.items)

    def __getitem__(self, numbers: np.ndarray) -> Ragged:
        """Those of the numbers given, or those that are true, as with arrays."""
        chosen = np.flatnonzero(numbers) if numbers.dtype == bool else numbers
        return Ragged(self.items[number] for number in chosen.tolist())

    def tobytes(self) -> bytes:
        return b"".join(item.tobytes() for item in self.items)


#: Items of one shape (n, *shape), or of several.
Values = np.ndarray | Ragged


def join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one dtype, one behind the other. (``np.concatenate`` alone would give up their byte order.)"""
    if len(parts) == 1:
        return parts[0]
    joined = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    return np.concatenate(parts, out=joined)


def gather(parts: Sequence[np.ndarray]) -> Values:
    """Items (n, *shape) of one dtype, each part of a shape of its own, one behind the other."""
    if len({part.shape[1:] for part in parts}) == 1:
        return join(parts)
    return Ragged(item for part in parts for item in part)


def split(data: bytes, dtype: np.dtype, shapes: Sequence[tuple[int, ...]]) -> Values:
    """The items of these shapes whose bytes in C order follow each other; raises ValueError where they are others."""
    values = np.frombuffer(data, dtype)
    if len(set(shapes)) == 1:
        return values.reshape(len(shapes), *shapes[0])
    ends = np.cumsum([int(np.prod(shape, dtype=object)) for shape in shapes])
    if int(ends[-1]) != len(values):
        raise ValueError(f"{len(values)} elements where {int(ends[-1])} were stated")
    return Ragged(part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes))


def shapes_of(values: Values) -> list[tuple[int, ...]]:
    return [item.shape for item in values]
