"""The executor of thawed networks: the operations of frozen ones in floating point, differentiable.

Rounding goes, clamps stay, and tables are interpolated between their entries. Weights, biases and tables come as
torch tensors, which may want gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from codelength.exact.layer import Layer, Rounding
from codelength.freezing.torch_executor import TorchArithmetic, pad


class FloatArithmetic(TorchArithmetic):
    """Whole-tensor rules in float32 on the device that the values are on."""

    name = "float"

    def prepare(self, tensor: Any) -> Any:
        return tensor

    def enter(self, x: Any) -> Any:
        return x.float()

    def linear(self, x: Any, layer: Layer) -> Any:
        return F.linear(x, layer.weight, layer.bias)

    def convolution(self, x: Any, layer: Layer, rounding: Rounding | None = None) -> Any:
        rows, columns = (-(-size // layer.stride) for size in x.shape[2:])
        padded = pad(x, layer.weight.shape[2:], layer.offset, layer.stride)
        y = F.conv2d(padded, layer.weight, layer.bias, layer.stride)[:, :, :rows, :columns]
        return y if rounding is None else self.requantise(y, rounding)

    def requantise(self, x: Any, rounding: Rounding) -> Any:
        scale = torch.exp2(-rounding.shift).reshape(-1, *[1] * (x.ndim - 2))
        return (x * scale).clamp(rounding.low, rounding.high)

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
