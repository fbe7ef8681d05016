"""What a step is trained on, drawn from the items of a data set when it is needed.

Items are taken as they are, cut out of images at random, or binarized anew. Whatever is drawn is read on demand, so an
array may be mapped from its file, and images may be files of any size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from codelength.data.dataset import items_sha256
from codelength.data.seeded import binarize, words

#: Bytes of the pieces in which all items are gone through.
PIECE = 2**24


class Draws(ABC):
    """Draws of numbered items, integers (n, *shape).

    What a step draws of an item may be another each time; ``fixed`` is always the same, to validate with, to calibrate
    by, and to know the data again. shape: of one draw.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Draws (n, *shape) of the items numbered ``index`` (n,)."""

    @abstractmethod
    def fixed(self, numbers: np.ndarray) -> np.ndarray:
        """One draw (n, *shape) of each of the items ``numbers`` (n,), the same every time."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Of all fixed draws by value, in their order."""

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """All fixed draws in their order, in pieces, each with the number of its first item."""
        rows = max(1, PIECE // max(1, int(np.prod(self.shape, dtype=np.int64))))
        for start in range(0, len(self), rows):
            yield start, self.fixed(np.arange(start, min(start + rows, len(self))))


class Items(Draws):
    """Items as they are: rows of ``values`` (n, *shape). seen: which of them, all where None."""

    def __init__(self, values: np.ndarray, seen: np.ndarray | None = None) -> None:
        self.values = values
        self.seen = np.arange(len(values)) if seen is None else seen
        self.shape = values.shape[1:]

    def __len__(self) -> int:
        return len(self.seen)

    def only(self, numbers: np.ndarray) -> Items:
        """The items ``numbers`` alone."""
        return Items(self.values, self.seen[numbers])

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        return torch.from_numpy(self.fixed(index.numpy()))

    def fixed(self, numbers: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.values[self.seen[numbers]])

    @cached_property
    def sha256(self) -> str:
        return items_sha256(self.values, self.seen)


class Crops(Draws):
    """Squares of ``side`` x ``side`` pixels; every position within an image is equally probable.

    images: arrays (h, w) or (h, w, channels), read when they are drawn from. purpose: what the fixed crops are a
    function of, beside the number of the image. seen: which of the images, all where None.
    """

    def __init__(
        self, images: Sequence[np.ndarray] | np.ndarray, side: int, purpose: str, seen: np.ndarray | None = None
    ) -> None:
        self.images, self.side, self.purpose = images, side, purpose
        self.seen = np.arange(len(images)) if seen is None else seen
        self.shape = (side, side, *(np.shape(images[0])[2:] if len(images) else ()))

    def __len__(self) -> int:
        return len(self.seen)

    def only(self, numbers: np.ndarray) -> Crops:
        """Crops of the images ``numbers`` alone, each with the fixed crop that it had."""
        return Crops(self.images, self.side, self.purpose, self.seen[numbers])

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        # Positions are fractions of what each image leaves free, so that an image takes as many draws as any other.
        where = torch.rand((len(index), 2), generator=generator, dtype=torch.float64).numpy()
        return torch.from_numpy(self._cut(self.seen[index.numpy()], where))

    def fixed(self, numbers: np.ndarray) -> np.ndarray:
        images = self.seen[numbers]
        return self._cut(images, self._places[images])

    @cached_property
    def _places(self) -> np.ndarray:
        """Positions (images, 2) of the fixed crops, as fractions."""
        return words(f"crops {self.purpose}", 0, 2 * len(self.images)).reshape(-1, 2) / 2.0**64

    @cached_property
    def sha256(self) -> str:
        return items_sha256(self.fixed(np.arange(len(self))))

    def _cut(self, images: np.ndarray, where: np.ndarray) -> np.ndarray:
        if not len(images):
            return np.zeros((0, *self.shape), np.uint8)
        return np.stack([self._one(np.asarray(self.images[k]), *at) for k, at in zip(images.tolist(), where.tolist())])

    def _one(self, image: np.ndarray, down: float, right: float) -> np.ndarray:
        top, left = (
            min(int(share * (size - self.side + 1)), size - self.side)
            for share, size in zip((down, right), image.shape[:2])
        )
        return image[top : top + self.side, left : left + self.side]


class Binarized(Draws):
    """Grey values 0 .. 255 of other draws as zeros and ones, one with probability value / 255, drawn at every visit.

    purpose: what the fixed draws are a function of, beside their number in the list that is asked for.
    """

    def __init__(self, grey: Draws, purpose: str = "calibration") -> None:
        self.grey, self.purpose = grey, purpose
        self.shape = grey.shape

    def __len__(self) -> int:
        return len(self.grey)

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        chance = self.grey(index, generator).float() / 255
        return torch.bernoulli(chance, generator=generator).to(torch.uint8)

    def fixed(self, numbers: np.ndarray) -> np.ndarray:
        return binarize(self.grey.fixed(numbers).astype(np.uint8), self.purpose, 0)

    @property
    def sha256(self) -> str:
        return self.grey.sha256
