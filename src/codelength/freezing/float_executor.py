"""The executor of thawed networks: the operations of frozen ones in floating point, differentiable.

Rounding goes, clamps stay, and tables are interpolated between their entries. Weights, biases and tables come as
torch tensors, which may want gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from codelength.freezing.torch_executor import TorchArithmetic, pad


class FloatArithmetic(TorchArithmetic):
    """Whole-tensor rules in float32 on the device that the values are on."""

    name = "float"

    def prepare(self, tensor: Any) -> Any:
        return tensor

    def enter(self, x: Any) -> Any:
        return x.float()

    def linear(self, x: Any, weight: Any, bias: Any, parts: Sequence[int]) -> Any:
        return F.linear(x, weight, bias)

    def convolution(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        offset: Sequence[int],
        stride: int,
        parts: Sequence[int],
        rounding: tuple[Any, int, int] | None = None,
    ) -> Any:
        rows, columns = (-(-size // stride) for size in x.shape[2:])
        y = F.conv2d(pad(x, weight.shape[2:], offset, stride), weight, bias, stride)[:, :, :rows, :columns]
        return y if rounding is None else self.requantise(y, *rounding)

    def requantise(self, x: Any, shift: Any, low: int, high: int) -> Any:
        scale = torch.exp2(-shift).reshape(-1, *[1] * (x.ndim - 2))
        return (x * scale).clamp(low, high)

    def table(self, x: Any, table: Any, low: int) -> Any:
        return interpolate(table, x - low)

    def embed(self, x: Any, table: Any) -> Any:
        return table[x.long().reshape(-1)]


def interpolate(table: Tensor, position: Tensor) -> Tensor:
    """Between the entries of a table (K,), at positions of any shape: exact at integers, with a gradient in between."""
    position = position.clamp(0, len(table) - 1)
    below = position.detach().floor().clamp(max=max(len(table) - 2, 0)).long()
    above = (below + 1).clamp(max=len(table) - 1)
    part = position - below
    return table[below] * (1 - part) + table[above] * part


FLOAT = FloatArithmetic()
