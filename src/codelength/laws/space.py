"""What an item is: its shape and its alphabet, stated once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codelength.coding.symbols import check_symbols
from codelength.errors import NotRepresentable


@dataclass(frozen=True)
class Space:
    """The set of items that a law gives probability to.

    shape: the event shape; ``None`` stands for a free size (height and width of images of any size).
    symbols: every element is an integer in ``[0, symbols)``.
    """

    shape: tuple[int | None, ...]
    symbols: int

    @property
    def is_free(self) -> bool:
        return any(size is None for size in self.shape)

    @property
    def dims(self) -> int:
        """Number of elements of one item; only for spaces without free sizes."""
        if self.is_free:
            raise ValueError(f"the space {self} has free sizes, so its items have no common dimension")
        return math.prod(size for size in self.shape if size is not None)

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether items of this shape belong to the space."""
        return len(shape) == len(self.shape) and all(
            mine is None or mine == theirs for mine, theirs in zip(self.shape, shape)
        )

    def _sizes(self, between: str) -> str:
        return between.join("any" if size is None else str(size) for size in self.shape)

    def __str__(self) -> str:
        return f"{self._sizes('x') or 'single elements'} of {self.symbols:,} symbols"

    def check(self, items: np.ndarray) -> np.ndarray:
        """Return ``items`` (n, *shape) if every element is in the alphabet.

        Raises NotRepresentable otherwise, and names the items that are outside.
        """
        if not self.admits(items.shape[1:]):
            if self.admits(items.shape):
                raise NotRepresentable(
                    f"expected items (n, *shape), got a single item of shape {items.shape}; add an axis for the "
                    "batch: items[None]"
                )
            raise NotRepresentable(
                f"expected items (n, {self._sizes(', ')}), got an array of shape {items.shape}; give n items of the "
                "model's shape, the first axis counting them"
            )
        check_symbols(items, self.symbols)
        return items
