"""Squares cut out of images at random, so that a model of one size is trained on images of any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codelength.data.seeded import words


class Crops:
    """Draws crops of ``side`` x ``side`` pixels; every position within an image is equally probable.

    images: arrays (h, w) or (h, w, channels), read when they are drawn from. seen: which of them, all where None.
    """

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray, side: int, seen: np.ndarray | None = None) -> None:
        self.images, self.side = images, side
        self.seen = np.arange(len(images)) if seen is None else seen

    def __len__(self) -> int:
        return len(self.seen)

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Crops (n, side, side) or (n, side, side, channels) of the images numbered ``index`` (n,), drawn anew."""
        # Positions are fractions of what each image leaves free, so that an image takes as many draws as any other.
        where = torch.rand((len(index), 2), generator=generator, dtype=torch.float64).numpy()
        found = [self._cut(int(number), *place) for number, place in zip(index.tolist(), where.tolist())]
        return torch.from_numpy(np.stack(found))

    def fixed(self, purpose: str) -> np.ndarray:
        """One crop of each image, as a function of the purpose alone: to validate with and to calibrate by."""
        where = words(f"crops {purpose}", 0, 2 * len(self)).reshape(-1, 2) / 2.0**64
        return np.stack([self._cut(number, *place) for number, place in enumerate(where.tolist())])

    def _cut(self, number: int, down: float, right: float) -> np.ndarray:
        image = np.asarray(self.images[int(self.seen[number])])
        top, left = (
            min(int(share * (size - self.side + 1)), size - self.side)
            for share, size in zip((down, right), image.shape[:2])
        )
        return image[top : top + self.side, left : left + self.side]
