"""The fast executor: frozen networks on torch, on the CPU or a GPU.

Integers are carried in float32 (float64 where sums are wider), as on numpy, so the results are the same to the bit
as long as every product is a plain sum of products. What would break that is switched off or avoided: TF32 and
reduced-precision accumulation, NNPACK's Winograd convolutions, and on GPUs cuDNN's choice of algorithms (there a
convolution is unfold and a matrix product). Each layer's outputs are checked against a checksum in float64.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codelength.exact.arithmetic import ArithmeticFault, NumpyArithmetic
from codelength.exact.layer import CHECK_EVERY, Layer, Rounding


class TorchArithmetic(NumpyArithmetic):
    """Whole-tensor rules on torch tensors of one device."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = torch.device(device)

    def prepare(self, tensor: np.ndarray) -> Any:
        key = id(tensor)
        if key not in self._prepared:
            forget = weakref.ref(tensor, lambda _: self._prepared.pop(key, None))
            self._prepared[key] = (forget, torch.from_numpy(tensor.astype(np.float32)).to(self.device))
        return self._prepared[key][1]

    def enter(self, x: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(self.device)

    def leave(self, x: Any) -> np.ndarray:
        return x.cpu().numpy()

    def _layer(self, layer: Layer) -> tuple[Any, Any]:
        """Weight in float32 and bias, in float64 where there are parts, on the device."""

        def make() -> tuple[Any, Any]:
            bias = torch.from_numpy(layer.bias.astype(np.float64 if layer.parts else np.float32))
            return torch.from_numpy(layer.weight.astype(np.float32)).to(self.device), bias.to(self.device)

        made: tuple[Any, Any] = layer.made(self.device, make)
        return made

    def linear(self, x: Any, layer: Layer) -> Any:
        w, bias = self._layer(layer)
        with exact_products():
            if not layer.parts:
                y = torch.addmm(bias, x.float(), w.t())
            else:
                y = bias.expand(len(x), -1).clone()
                for start, end in layer.edges:
                    y += x.float()[:, start:end] @ w[:, start:end].t()
        some = slice(None, None, CHECK_EVERY)
        expected = x[some].double() @ w.sum(0, dtype=torch.float64) + float(layer.bias.sum(dtype=np.int64))
        if not torch.equal(y[some].sum(1, dtype=torch.float64), expected):
            raise ArithmeticFault("the outputs of a linear layer do not add up")
        return y

    def convolution(self, x: Any, layer: Layer, rounding: Rounding | None = None) -> Any:
        (w, bias), stride = self._layer(layer), layer.stride
        rows, columns = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
        padded = pad(x.float(), layer.weight.shape[2:], layer.offset, stride)
        if self.device.type == "cpu":  # where direct convolutions are fastest with channels last
            padded = padded.contiguous(memory_format=torch.channels_last)
        y = bias[:, None, None]
        with exact_products():
            for start, end in layer.edges:
                y = y + self._convolve(padded[:, start:end], w[:, start:end], stride)[:, :, :rows, :columns]
            few = padded[::CHECK_EVERY].double()
            total = self._convolve(few, w.sum(0, keepdim=True, dtype=torch.float64), stride)
        expected = total[:, 0, :rows, :columns] + float(layer.bias.sum(dtype=np.int64))
        if not torch.equal(y[::CHECK_EVERY].sum(1, dtype=torch.float64), expected):
            raise ArithmeticFault("the outputs of a convolution do not add up")
        return y if rounding is None else self.requantise(y, rounding)

    def _convolve(self, x: Tensor, w: Tensor, stride: int) -> Tensor:
        if self.device.type == "cpu":
            return F.conv2d(x, w, stride=stride)
        outputs, _, height, width = w.shape
        rows = (x.shape[2] - height) // stride + 1
        columns = F.unfold(x, (height, width), stride=stride)
        return (w.reshape(outputs, -1) @ columns).reshape(len(x), outputs, rows, -1)

    def requantise(self, x: Any, rounding: Rounding) -> Any:
        scale, half, _, _ = rounding.numbers(np.float64)
        scale, half = (torch.from_numpy(each).to(self.device, x.dtype) for each in (scale, half))
        shape = (-1, *[1] * (x.ndim - 2))
        y = torch.floor(x * scale.reshape(shape) + half.reshape(shape)).clamp_(rounding.low, rounding.high)
        return y.float()

    def relu(self, x: Any) -> Any:
        return torch.relu(x)

    def offset(self, x: Any, value: int) -> Any:
        return x + value

    def table(self, x: Any, table: np.ndarray, low: int) -> Any:
        return self.prepare(table)[x.clamp(low, low + len(table) - 1).long() - low]

    def add(self, a: Any, b: Any, shift_a: int, shift_b: int) -> Any:
        return a * (1 << shift_a) + b * (1 << shift_b)

    def embed(self, x: Any, table: np.ndarray) -> Any:
        return self.prepare(table)[x.long()]

    def spread(self, x: Any, shape: tuple[int, ...]) -> Any:
        return x[:, :, None, None].expand(len(x), *shape)

    def concat(self, xs: Sequence[Any]) -> Any:
        return torch.cat(list(xs), 1)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return x.reshape(len(x), *shape)

    def permute(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.permute(0, *[axis + 1 for axis in axes])

    def upsample(self, x: Any, factor: int, zeros: bool) -> Any:
        if not zeros:
            return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        y = x.new_zeros(*x.shape[:2], x.shape[2] * factor, x.shape[3] * factor)
        y[:, :, ::factor, ::factor] = x
        return y

    def depth_to_space(self, x: Any, factor: int) -> Any:
        return F.pixel_shuffle(x, factor)

    def space_to_depth(self, x: Any, factor: int) -> Any:
        return F.pixel_unshuffle(x, factor)

    def sum_pool(self, x: Any, factor: int) -> Any:
        return F.pixel_unshuffle(x, factor).unflatten(1, (x.shape[1], factor**2)).sum(2)

    def constant(self, count: int, values: np.ndarray) -> Any:
        return self.prepare(values).expand(count, -1)


def pad(x: Tensor, size: Sequence[int], offset: Sequence[int], stride: int) -> Tensor:
    """As ``exact.arithmetic.pad_for``, on torch."""
    pads: list[int] = []
    for length, taps, start in reversed(list(zip(x.shape[2:], size, offset))):
        steps = -(-length // stride)
        end = start + (steps - 1) * stride + taps
        pads += [max(-start, 0), max(end - length, 0)]
    return F.pad(x, pads)[:, :, max(offset[0], 0) :, max(offset[1], 0) :]


class _ExactProducts:
    """Switches off what makes products of integers inexact while anybody needs it: TF32, reduced precision, Winograd.

    These switches of torch belong to the process. So the first thread that comes sets them, and the last that goes
    puts them back as they were: no thread loses what it relies upon, and none leaves its own setting behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: tuple[Any, ...] = ()

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
                torch.set_float32_matmul_precision("highest")
                torch.backends.cudnn.allow_tf32 = False
                self._before += torch.backends.nnpack.set_flags(False)
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                precision, tf32, nnpack = self._before
                torch.set_float32_matmul_precision(precision)
                torch.backends.cudnn.allow_tf32 = tf32
                torch.backends.nnpack.set_flags(nnpack)


_EXACT = _ExactProducts()


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Products of integers are exact within: no TF32, no reduced precision, no Winograd, in any thread."""
    _EXACT.enter()
    try:
        with torch.no_grad():
            yield
    finally:
        _EXACT.leave()
