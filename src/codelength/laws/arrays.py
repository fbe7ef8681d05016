"""The few array functions that laws need, for numpy arrays and torch tensors alike.

Laws must work on both without importing torch, so the library is found from the array in hand.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class _Numpy:
    def full_like(self, x: Any, value: int, rows: int) -> Any:
        return np.full((rows, 1), value, np.int64)

    def zeros(self, x: Any) -> Any:
        """A number of nats for each item."""
        return np.zeros(len(x))

    def stack(self, columns: list[Any]) -> Any:
        return np.stack(columns, axis=1)

    def rows(self, rows: list[Any]) -> Any:
        return np.stack(rows)

    def logsumexp(self, joint: Any) -> Any:
        top = joint.max(1)
        return top + np.log(np.exp(joint - top[:, None]).sum(1))

    def pick(self, joint: Any, index: Any) -> Any:
        return joint[np.arange(len(joint)), index.reshape(-1)]

    def draw(self, joint: Any, generator: Any) -> Any:
        noise = generator.gumbel(size=joint.shape)
        return (joint + noise).argmax(1)[:, None]

    def where(self, mask: Any) -> Any:
        return np.flatnonzero(mask)

    def empty(self, like: Any, rows: int) -> Any:
        return np.empty((rows, *like.shape[1:]), like.dtype)

    def is_integer(self, x: Any) -> bool:
        return x.dtype.kind in "iub"

    def floor_divide(self, x: Any, by: int) -> Any:
        return x // by

    def on_grid(self, x: Any, low: int, high: int | None) -> Any:
        """The nearest integers within low .. high; where high is None, the nearest integers."""
        x = np.rint(x).astype(np.int64)
        return x if high is None else x.clip(low, high)

    def joined(self, parts: list[Any], places: list[Any]) -> Any:
        """An array (n, D) whose columns ``places[k]`` are those of ``parts[k]``, in order."""
        flat = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), np.result_type(*parts))
        for part, where in zip(parts, places):
            flat[:, where] = part
        return flat


class _Torch:
    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def full_like(self, x: Any, value: int, rows: int) -> Any:
        return self.torch.full((rows, 1), value, dtype=self.torch.int64, device=x.device)

    def zeros(self, x: Any) -> Any:
        return self.torch.zeros(len(x), device=x.device)

    def stack(self, columns: list[Any]) -> Any:
        return self.torch.stack(columns, dim=1)

    def rows(self, rows: list[Any]) -> Any:
        return self.torch.stack(rows)

    def logsumexp(self, joint: Any) -> Any:
        return self.torch.logsumexp(joint, 1)

    def pick(self, joint: Any, index: Any) -> Any:
        return joint.gather(1, index.reshape(-1, 1))[:, 0]

    def draw(self, joint: Any, generator: Any) -> Any:
        return self.torch.multinomial(self.torch.softmax(joint, 1), 1, generator=generator)

    def where(self, mask: Any) -> Any:
        return self.torch.nonzero(mask)[:, 0]

    def empty(self, like: Any, rows: int) -> Any:
        return self.torch.empty((rows, *like.shape[1:]), dtype=like.dtype, device=like.device)

    def is_integer(self, x: Any) -> bool:
        return not x.is_floating_point()

    def floor_divide(self, x: Any, by: int) -> Any:
        return self.torch.div(x, by, rounding_mode="floor")

    def on_grid(self, x: Any, low: int, high: int | None) -> Any:
        x = x.round().long() if x.is_floating_point() else x
        return x if high is None else x.clamp(low, high)

    def joined(self, parts: list[Any], places: list[Any]) -> Any:
        order = self.torch.cat([self.torch.as_tensor(where) for where in places])
        return self.torch.cat(parts, 1)[:, self.torch.argsort(order).to(parts[0].device)]


_NUMPY = _Numpy()


def library_of(x: Any) -> Any:
    """The functions for the library that ``x`` belongs to."""
    if isinstance(x, np.ndarray):
        return _NUMPY
    return _Torch(sys.modules["torch"])
