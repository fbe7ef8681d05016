"""Operations under the precision rule: scales, bounds and parts of layers.

A value of the program is an integer tensor that stands for real = integer * 2^-fraction, the fraction per channel.
The precision rule (docs/architecture.md, "Freezing"):

* weights: per output channel the largest power-of-two scale that keeps them within 10 bits and the proved bound of
  the sums within 2^24; where the bound, not the 10 bits, leaves the median channel an rms weight under 32,
  or any under 8, the inputs are split into parts whose sums are added in float64;
* activations 10 bits, each channel scaled by what calibration saw of it, with room for as much again (the
  scales fold into the next layer's weights, and keep its proved bound close to what really occurs);
* values between layers (skip connections) 14 bits, inputs of tables 12 bits;
* parameters of a leaf in the leaf's own units, with two bits more until the last sum.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from codelength.errors import FreezeError
from codelength.exact.operations import (
    FLOAT32_EXACT,
    Add,
    Constant,
    Embed,
    Operation,
    Requantise,
    Tensors,
)
from codelength.freezing.quantity import Quantity

WEIGHT_BITS = 10
ACTIVATION_BITS = 10
STREAM_BITS = 14
TABLE_BITS = 12
#: A channel may grow to this many times what calibration saw before it is clamped.
HEADROOM = 2.0
#: How many more fraction bits a quiet channel may have than the loudest.
MOST_EXTRA_BITS = 8
GUARD_BITS = 2
#: Least rms of the integer weights of a layer's median channel, and of its worst. (Measured at a fan-in of 1,024:
#: lifting the worst channels too from 8 to 32 gains 0.2 dB and costs twice the time.)
MEDIAN_RMS = 32.0
WORST_RMS = 8.0
#: The same for convolutions. Their inputs are alike across a blank background, so that sums of many terms nearly cancel
#: and what rounding does to the weights counts for more. (Measured on 8-bit MNIST: a PixelVAE loses 0.1% where the
#: figures above cost it 1.4%.)
KERNEL_BITS = 13
KERNEL_MEDIAN_RMS = 150.0
KERNEL_WORST_RMS = 60.0
#: Sums stay this far under 2^24, so that the half added in rounding still fits.
SUM_LIMIT = FLOAT32_EXACT - (1 << 20)


def store(tensors: Tensors, name: str, values: np.ndarray) -> str:
    """Add integers to the tensors of a program, under a name like this one; equal tensors are stored once."""
    values = np.ascontiguousarray(values, np.int32)
    for known, tensor in tensors.items():
        if tensor.shape == values.shape and np.array_equal(tensor, values):
            return known
    unique, k = name, 1
    while unique in tensors:
        unique, k = f"{name}.{k}", k + 1
    tensors[unique] = values
    return unique


class Emitter:
    """Emits one network. ``tensors`` is shared by the whole program; equal tensors are stored once."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self.tensors = tensors
        self.prefix = prefix
        self.operations: list[Operation] = []
        self.inputs: list[str] = []
        self.report: list[dict[str, Any]] = []
        self.layers: list[tuple[str, int, np.ndarray, fx.Node]] = []

    # ------------------------------------------------------------------------------------------------- bookkeeping

    def emit(self, operation: Operation) -> int:
        self.operations.append(operation)
        return len(self.inputs) + len(self.operations) - 1

    def tensor(self, name: str, values: np.ndarray) -> str:
        """Store integers under a name of their own, or find the equal tensor that is there already."""
        return store(self.tensors, f"{self.prefix}{name}", values)

    # ------------------------------------------------------------------------------------------------- conversions

    def narrow(self, q: Quantity, bits: int, signed: bool | None = None) -> Quantity:
        """The quantity in ``bits`` bits (and a sign where it can be negative), scaled by what calibration saw."""
        signed = (q.low < 0 and not q.relu) if signed is None else signed
        limit = (1 << bits) - 1
        ready = q.value is not None and q.table is None and not q.relu
        if ready and q.reach <= limit and len(set(q.fraction.tolist())) == 1:
            return q
        key = (bits, signed)
        if key not in q.narrowed:
            fraction = math.floor(math.log2(limit / max(q.largest, 1e-6)))
            q.narrowed[key] = self.rescale(q, fraction, -limit if signed else 0, limit)
        return q.narrowed[key]

    def for_layer(self, q: Quantity) -> Quantity:
        """The quantity as the input of a layer: 10 bits a channel, each with a scale of its own."""
        limit = (1 << ACTIVATION_BITS) - 1
        if q.value is not None and not q.relu and q.reach <= limit and q.table is None:
            return q
        if q.peaks is None or q.table is not None:
            return self.narrow(q, ACTIVATION_BITS)
        key = "layer"
        if key not in q.narrowed:
            headroom = 1.0 if len(q.shape) == 3 else HEADROOM  # many pixels have been seen of each channel
            fractions = np.floor(np.log2(limit / (headroom * np.maximum(q.peaks, 1e-6)))).astype(np.int64)
            fractions = np.minimum(fractions, fractions.min() + MOST_EXTRA_BITS)
            q.narrowed[key] = self.rescale(q, fractions, 0 if q.relu or q.low >= 0 else -limit, limit)
        return q.narrowed[key]

    def rescale(self, q: Quantity, fraction: int | np.ndarray, low: int, high: int) -> Quantity:
        """The quantity at one fraction for all channels, or at one for each, clamped to [low, high]."""
        channels = q.shape[0]
        if q.table is not None:
            assert not isinstance(fraction, np.ndarray)
            limit = max(abs(low), abs(high), 1)
            table = np.clip(np.round(q.table * 2.0**fraction), -limit, limit).astype(np.int64)
            name = self.tensor("table", table if q.index is not None else table[0])
            assert q.value is not None
            kind: Operation = Embed(q.value, name) if q.index is not None else Constant(q.value, name)
            value = self.emit(kind)
            out = replace(q, value=value, table=None, index=None, narrowed={})
            out.fraction, out.low, out.high = np.full(channels, fraction), int(table.min()), int(table.max())
            return out
        if q.relu:
            low = max(low, 0)
        assert q.value is not None
        # A left shift must not leave the exact range, so a fraction that would need one is lowered for all.
        room = math.floor(math.log2(FLOAT32_EXACT / max(q.reach, 1)))
        each = np.broadcast_to(q.fraction, (channels,))
        if isinstance(fraction, np.ndarray):
            shift = each - np.minimum(fraction, each + max(room, 0))
        else:
            shift = each - min(fraction, int(each.min()) + max(room, 0))
        value = self.emit(Requantise(q.value, self.tensor("shift", shift), int(low), int(high)))
        out = replace(q, value=value, relu=False, narrowed={})
        out.fraction = each - shift
        out.low, out.high = (0 if q.relu else max(low, -(1 << 24))), high
        return out

    # ----------------------------------------------------------------------------------------------------- layers

    def layer(
        self,
        name: str,
        x: Quantity,
        weight: np.ndarray,
        bias: np.ndarray,
        build: Any,
        size: tuple[int, ...],
        opened: np.ndarray | None = None,
    ) -> Quantity:
        """A linear layer: weight (out, in, ...) and bias (out,) real; ``build(weight, bias, parts)`` the operation."""
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise FreezeError(f"expected finite weights, but {name} holds NaN or infinity; train again")
        x = self.for_layer(x)
        outputs = weight.shape[0]
        # Channels of finer scale than the coarsest have the difference folded into their weights.
        scale_in = int(x.fraction.min())
        finer = np.broadcast_to(x.fraction, (weight.shape[1],)) - scale_in
        weight = weight * 2.0 ** -finer.reshape(1, -1, *[1] * (weight.ndim - 2))
        flat = np.abs(weight.reshape(outputs, -1))
        peak = flat.max(1, initial=0.0)
        count = (
            np.maximum(opened.reshape(outputs, -1).sum(1), 1) if opened is not None else np.full(outputs, flat.shape[1])
        )
        rms = np.sqrt((flat**2).sum(1) / count)
        kernel = weight.ndim == 4
        limit = (1 << ((KERNEL_BITS if kernel else WEIGHT_BITS) - 1)) - 1
        median_rms = KERNEL_MEDIAN_RMS if kernel else MEDIAN_RMS
        worst_rms = KERNEL_WORST_RMS if kernel else WORST_RMS
        with np.errstate(divide="ignore"):
            widest = np.floor(np.log2(limit / np.maximum(peak, 1e-9)))
        widest = np.minimum(widest, 20 - scale_in if scale_in > 0 else 20)  # biases must stay representable
        biases = np.abs(bias)
        parts: tuple[int, ...] = ()
        pieces = 1
        while True:
            exponent = widest.copy()
            edges = [0, *parts, weight.shape[1]]
            for start, end in zip(edges, edges[1:]):
                reach = np.abs(weight[:, start:end]).reshape(outputs, -1).sum(1) * x.reach
                if not parts:
                    reach = reach + biases * 2.0**scale_in
                room = np.floor(np.log2(SUM_LIMIT / np.maximum(reach, 1e-9)))
                exponent = np.minimum(exponent, room)
            # Rounding may lift a sum by half a unit a term: step down where the proved bound does not hold.
            integers = np.round(weight * 2.0 ** exponent.reshape(-1, *[1] * (weight.ndim - 1)))
            bound = exponent < widest  # channels that the bound, not the 10 bits, keeps small
            strength = rms * 2.0**exponent
            starved = bool((strength[bound] < worst_rms).any()) or (
                bool(bound.any()) and float(np.median(strength)) < median_rms and 2 * int(bound.sum()) > outputs
            )
            if not starved or pieces >= min(64, weight.shape[1]):
                break
            pieces *= 2
            parts = tuple(weight.shape[1] * i // pieces for i in range(1, pieces))
        for _ in range(4):
            spans = [
                np.abs(integers[:, a:b]).reshape(outputs, -1).sum(1) * x.reach
                for a, b in zip([0, *parts], [*parts, weight.shape[1]])
            ]
            bias_integers = np.round(bias * 2.0 ** (exponent + scale_in))
            worst = np.max(spans, axis=0) if parts else spans[0] + np.abs(bias_integers)
            over = worst > SUM_LIMIT
            if not over.any():
                break
            exponent = np.where(over, exponent - 1, exponent)
            integers = np.round(weight * 2.0 ** exponent.reshape(-1, *[1] * (weight.ndim - 1)))
        bias_integers = np.clip(np.round(bias * 2.0 ** (exponent + scale_in)), -(1 << 30), 1 << 30)
        assert x.value is not None
        operation = build(
            self.tensor(f"{name}.weight", integers), self.tensor(f"{name}.bias", bias_integers), parts, x.value
        )
        value = self.emit(operation)
        total = (sum(spans) + np.abs(bias_integers)).max(initial=0)
        fraction = (exponent + scale_in).astype(np.int64)
        self.report.append(
            {
                "layer": name,
                "parts": len(parts) + 1,
                "rms": float(np.median(rms * 2.0**exponent)),
                "bits": float(np.log2(max(float(total), 1.0))),
            }
        )
        return Quantity(value, fraction, -int(total), int(total), size)

    def add(self, a: Quantity, b: Quantity, largest: float, target: int | None) -> Quantity:
        """The sum, both operands brought to one fraction: the target's, or that of a 14-bit stream."""
        if target is not None:
            fraction, limit = target + GUARD_BITS, (1 << 22) - 1
        else:
            limit = (1 << (STREAM_BITS - 1)) - 1
            peak = max(largest, a.largest if a.table is None else 0.0, 1e-6)
            fraction = math.floor(math.log2(limit / peak))
        # The scales that both can take without leaving the exact range.
        for q in (a, b):
            if q.table is None:
                room = math.floor(math.log2(FLOAT32_EXACT / max(q.reach, 1)))
                fraction = min(fraction, int(q.fraction.min()) + max(room, 0))
        left, right = (self._at(q, fraction, limit) for q in (a, b))
        assert left.value is not None and right.value is not None
        fractions = np.broadcast_to(left.fraction, left.shape[:1])
        value = self.emit(Add(left.value, right.value))
        out = Quantity(value, fractions, left.low + right.low, left.high + right.high, left.shape, largest=largest)
        if target is None and out.reach > limit:
            out = self.rescale(out, fraction, -limit, limit)
        return out

    def _at(self, q: Quantity, fraction: int, limit: int) -> Quantity:
        same = q.table is None and not q.relu and bool((q.fraction == fraction).all()) and q.reach <= limit
        return q if same else self.rescale(q, fraction, -limit, limit)
