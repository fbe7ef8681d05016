"""From a torch network to the operations of a frozen one.

The network is traced with torch.fx, run on calibration data to learn the size of every value, and emitted operation
by operation. A value of the program is an integer tensor that stands for real = integer * 2^-fraction, the fraction
per channel. The precision rule (docs/architecture.md, "Freezing"):

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
import operator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from codelength.errors import FreezeError
from codelength.exact.network import Network
from codelength.exact.operations import (
    FLOAT32_EXACT,
    Add,
    Concat,
    Constant,
    Convolution,
    DepthToSpace,
    Embed,
    Linear,
    Offset,
    Operation,
    Permute,
    Product,
    Requantise,
    Reshape,
    Slice,
    Spread,
    Table,
    Tensors,
    Type,
    Upsample,
)
from codelength.freezing.folding import fold_batch_norms
from codelength.networks.convolution import CausalConv2d
from codelength.networks.masked import IndexBias, InputScale, MaskedLinear

WEIGHT_BITS = 10
ACTIVATION_BITS = 10
STREAM_BITS = 14
TABLE_BITS = 12
#: A channel may grow to this many times what calibration saw before it is clamped.
HEADROOM = 2.0
#: How many more fraction bits a quiet channel may have than the loudest.
MOST_EXTRA_BITS = 8
GUARD_BITS = 2
#: Calibration items on which the signal-to-noise ratios of layers are measured.
MEASURED = 128
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

_POINTWISE: dict[Any, Any] = {
    torch.tanh: torch.tanh,
    torch.sigmoid: torch.sigmoid,
    nn.functional.elu: nn.functional.elu,
    nn.functional.gelu: nn.functional.gelu,
    nn.functional.silu: nn.functional.silu,
    nn.functional.softplus: nn.functional.softplus,
    nn.functional.leaky_relu: nn.functional.leaky_relu,
}
_POINTWISE_MODULES: dict[type[nn.Module], Any] = {
    nn.Tanh: torch.tanh,
    nn.Sigmoid: torch.sigmoid,
    nn.ELU: nn.functional.elu,
    nn.GELU: nn.functional.gelu,
    nn.SiLU: nn.functional.silu,
    nn.Softplus: nn.functional.softplus,
    nn.LeakyReLU: nn.functional.leaky_relu,
}
LEAVES = (
    MaskedLinear,
    IndexBias,
    InputScale,
    CausalConv2d,
    nn.Linear,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.Embedding,
    nn.ReLU,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
    nn.Unflatten,
    nn.PixelShuffle,
    nn.Upsample,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    *_POINTWISE_MODULES,
)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


@dataclass
class Quantity:
    """A value of the program under construction.

    value: its number (None while deferred); fraction: per channel (or one for all); low, high: bounds as integers;
    relu: whether max(., 0) is still to be taken; largest, peaks: of the real values seen in calibration,
    in all and per channel;
    table: rows of a deferred embedding or constant (K, units), whose scale its consumer chooses.
    """

    value: int | None
    fraction: np.ndarray
    low: int
    high: int
    shape: tuple[int, ...]
    relu: bool = False
    largest: float = 1.0
    peaks: np.ndarray | None = None
    table: np.ndarray | None = None
    index: int | None = None
    narrowed: dict[Any, Quantity] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        return max(abs(self.low), abs(self.high))

    @property
    def scale(self) -> int:
        """The fraction of all channels, where they share one."""
        fractions = self.fraction.reshape(-1)
        assert (fractions == fractions[0]).all(), "channels of different scales where one is needed"
        return int(fractions[0])


@dataclass
class Seen:
    """What calibration saw of each node: the largest absolute value, that of each channel, and the first values."""

    sizes: dict[fx.Node, float] = field(default_factory=dict)
    peaks: dict[fx.Node, np.ndarray | None] = field(default_factory=dict)
    values: dict[fx.Node, Tensor] = field(default_factory=dict)


@dataclass
class Target:
    """What the output must be: integers of these fractions per parameter, after gain 2^gain and offset."""

    fractions: tuple[int, ...]
    gains: tuple[int, ...]
    offsets: tuple[float, ...]


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
        if q.value is not None and not q.relu and q.reach <= limit and len(set(q.fraction.tolist())) == 1:
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


class NetworkEmitter:
    """Traces one torch network, calibrates it, and emits its program.

    types: of the inputs, by the names of the forward's arguments in order; samples: calibration values of them.
    scales: of inputs that the network is given in other units than theirs, by name. target: of the output; None for
    features, whose shape, bounds and fraction ``given`` tells after ``run``.
    """

    def __init__(
        self,
        network: nn.Module,
        names: list[str],
        types: list[Type],
        samples: list[Tensor],
        tensors: Tensors,
        prefix: str,
        target: Target | None,
        scales: dict[str, InputScale] | None = None,
    ) -> None:
        # A layer by itself would be traced into what it is made of.
        self.network = nn.Sequential(network) if isinstance(network, LEAVES) else network
        self.names, self.types, self.samples = names, types, samples
        self.emitter = Emitter(tensors, prefix)
        self.target = target
        self.scales = scales or {}
        self.given: tuple[Any, ...] = ()

    def run(self) -> tuple[Network, list[dict[str, Any]]]:
        """The network of the program and a report of its layers. Raises FreezeError, naming what cannot be frozen."""
        was_training = self.network.training
        self.network.eval()
        try:
            module = self._trace()
            return self._emit(module, self._calibrate(module))
        finally:
            self.network.train(was_training)

    def _trace(self) -> fx.GraphModule:
        import inspect

        accepted = list(inspect.signature(self.network.forward).parameters)
        unused = {name: None for name in accepted[len(self.samples) :]}
        try:
            graph = _Tracer().trace(self.network, concrete_args=unused or None)
        except Exception as error:
            raise FreezeError(
                f"expected a network whose forward can be traced, but {type(self.network).__name__} cannot: {error}"
            ) from None
        return fold_batch_norms(fx.GraphModule(self.network, graph))

    def _calibrate(self, module: fx.GraphModule) -> Seen:
        seen = Seen()

        class Recorder(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                out = super().run_node(n)
                if isinstance(out, Tensor):
                    seen.sizes[n] = float(out.abs().max()) if out.numel() else 0.0
                    seen.peaks[n] = _peaks(out)
                    seen.values[n] = out[:MEASURED].clone()
                return out

        with torch.no_grad():
            extra = sum(1 for n in module.graph.nodes if n.op == "placeholder") - len(self.samples)
            given = [self.scales[n](x) if n in self.scales else x for n, x in zip(self.names, self.samples)]
            Recorder(module).run(*given, *[None] * extra)
        return seen

    def _emit(self, module: fx.GraphModule, seen: Seen) -> tuple[Network, list[dict[str, Any]]]:
        emitter, sizes = self.emitter, seen.sizes
        emitter.inputs = self.names if self.names else ["count"]
        types = iter(zip(self.names, self.types))
        env: dict[fx.Node, Any] = {}
        modules = dict(module.named_modules())
        to_output = _only_sums_to_output(module.graph)
        result: Quantity | None = None
        taken = 0
        for node in module.graph.nodes:
            if node.op == "placeholder":
                if taken >= len(self.names):
                    env[node] = None
                    continue
                name, kind = next(types)
                env[node] = self._input(taken, kind, sizes.get(node, 1.0))
                if name in self.scales:
                    if kind.shape == ():  # one latent, which is no index
                        env[node] = replace(env[node], value=emitter.emit(Reshape(taken, (1,))))
                    env[node] = self._module(name, self.scales[name], env[node])
                taken += 1
            elif node.op == "get_attr":
                tensor = module
                for part in str(node.target).split("."):
                    tensor = getattr(tensor, part)
                env[node] = tensor
                if isinstance(tensor, nn.Parameter | Tensor):
                    env[node] = self._constant(tensor)
            elif node.op == "output":
                source = node.args[0]
                result = self._finish(env[source])
            else:
                env[node] = self._node(node, env, modules, sizes, to_output)
                quantity = env[node]
                if isinstance(quantity, Quantity) and node in sizes:
                    if quantity.table is None:
                        quantity.largest = max(sizes[node], 1e-6)
                        peaks = seen.peaks[node]
                        quantity.peaks = peaks if peaks is not None and len(peaks) == quantity.shape[0] else None
                    if quantity.value is not None and quantity.table is None and node.op == "call_module":
                        emitter.layers.append((str(node.target), quantity.value, quantity.fraction, node))
        assert result is not None and result.value is not None
        network = Network(tuple(emitter.inputs), tuple(emitter.operations), result.value)
        self._measure(network, seen.values)
        return network, emitter.report

    def _measure(self, network: Network, values: dict[fx.Node, Tensor]) -> None:
        """Signal-to-noise ratio of each layer on the calibration data, in decibels, added to the report."""
        tensors = self.emitter.tensors
        known = dict(zip(self.emitter.inputs, self.types)) or {"count": Type((1,), 0, 0)}
        given = {
            name: sample[:MEASURED].detach().round().to(torch.int64).numpy().reshape(-1, *kind.shape)
            for name, sample, kind in zip(self.names, self.samples, self.types)
        } or {"count": np.zeros((1, 1), np.int64)}
        values_now = network.all_values(given, network.infer(known, tensors), tensors)
        by_name = {r["layer"]: r for r in self.emitter.report}
        for name, value, fraction, node in self.emitter.layers:
            record = by_name.get(name)
            if record is None or node not in values:
                continue
            got = np.asarray(values_now[value], np.float64)
            want = values[node].detach().double().numpy().reshape(got.shape)
            real = got * 2.0 ** -np.broadcast_to(fraction, got.shape[1:2]).reshape(-1, *[1] * (got.ndim - 2))
            noise = float(((real - want) ** 2).mean())
            signal = float((want**2).mean())
            record["snr_db"] = 10 * math.log10(max(signal, 1e-30) / max(noise, 1e-30))

    # ------------------------------------------------------------------------------------------------------- nodes

    def _input(self, position: int, kind: Type, largest: float) -> Quantity:
        return Quantity(
            position, np.zeros(1, np.int64), kind.low, kind.high, kind.shape or (1,), largest=max(largest, 1e-6)
        )

    def _constant(self, tensor: Tensor) -> Any:
        rows = tensor.detach().double().numpy().reshape(1, -1)
        return Quantity(
            0, np.zeros(1, np.int64), 0, 0, (rows.shape[1],), table=rows, largest=float(np.abs(rows).max(initial=1e-6))
        )

    def _finish(self, q: Any) -> Quantity:
        """The output in the leaf's units."""
        if not isinstance(q, Quantity):
            raise FreezeError("expected a network that returns one tensor of parameters")
        target, emitter = self.target, self.emitter
        if target is None:
            if q.table is not None:
                limit = (1 << ACTIVATION_BITS) - 1
                q = emitter.rescale(q, math.floor(math.log2(limit / q.largest)), -limit, limit)
            q = emitter.narrow(q, ACTIVATION_BITS)
            self.given = (q.shape, q.low, q.high, None, None, q.scale)
            return q
        p = len(target.fractions)
        channels = q.shape[0]
        wanted = np.tile(np.array(target.fractions) + np.array(target.gains), channels // p)
        if q.table is not None:
            q = emitter.rescale(q, int(wanted.max()) + GUARD_BITS, -(1 << 23), 1 << 23)
        shift = np.broadcast_to(q.fraction, (channels,)) - wanted
        room = math.floor(math.log2(FLOAT32_EXACT / max(q.reach, 1)))
        if (shift < -max(room, 0)).any() or (room < 0 and (shift < 0).any()):
            # Values so large that shifting them would leave 2^24 are beyond what the leaf tells apart, too.
            most = (FLOAT32_EXACT - 1) >> int(-shift.min())
            if most < 1:
                raise FreezeError("the output of a network is too coarse for its leaf's parameters")
            q = emitter.rescale(q, np.broadcast_to(q.fraction, (channels,)), -most, most)
        assert q.value is not None
        limit = (1 << 23) - 1
        value = emitter.emit(Requantise(q.value, emitter.tensor("shift", shift), 0 if q.relu else -limit, limit))
        out = replace(q, value=value, relu=False, fraction=wanted, low=-limit, high=limit)
        offsets = np.tile(np.array(target.offsets), channels // p) * 2.0 ** np.tile(target.fractions, channels // p)
        if offsets.any():
            vector = Constant(0, emitter.tensor("offset", np.round(offsets).astype(np.int64)))
            constant = emitter.emit(vector)
            if len(q.shape) == 3:
                constant = emitter.emit(Spread(constant, value))
            out.value = emitter.emit(Add(value, constant))
        return out

    def _node(
        self,
        node: fx.Node,
        env: dict[fx.Node, Any],
        modules: dict[str, nn.Module],
        sizes: dict[fx.Node, float],
        to_output: set[fx.Node],
    ) -> Any:
        emitter = self.emitter
        args: Any = fx.map_arg(node.args, lambda n: env[n])
        kwargs: Any = fx.map_arg(node.kwargs, lambda n: env[n])
        largest = max(sizes.get(node, 1.0), 1e-6)
        if node.op == "call_module":
            module = modules[str(node.target)]
            return self._module(str(node.target), module, args[0])
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        if node.target in (operator.add, torch.add) or name in ("add", "add_", "__add__"):
            a, b = args[0], args[1]
            if isinstance(a, Quantity) and isinstance(b, Quantity):
                if a.table is not None and b.table is not None and a.index is None and b.index is None:
                    return replace(a, table=a.table + b.table)
                last = self.target if node in to_output else None
                target = max(last.fractions) + max(last.gains) if last is not None else None
                a, b = self._same_rank(a, b)
                return emitter.add(a, b, largest, target)
        if node.target in (torch.relu, nn.functional.relu) or name in ("relu", "relu_"):
            return replace(args[0], relu=True, narrowed={})
        if node.target in _POINTWISE or name in ("tanh", "sigmoid"):
            function = _POINTWISE.get(node.target, getattr(torch, name, None))
            return self._table(args[0], function, largest)
        if (node.target in (operator.mul, torch.mul) or name in ("mul", "mul_")) and all(
            isinstance(a, Quantity) for a in args[:2]
        ):
            return self._product(args[0], args[1], largest)
        if node.target in (torch.cat, torch.concat) or name == "cat":
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            if axis == 1:
                return self._concat(list(args[0]), largest)
        if name == "chunk":
            parts, axis = args[1], args[2] if len(args) > 2 else kwargs.get("dim", 0)
            if axis == 1 and args[0].shape[0] % parts == 0:
                width = args[0].shape[0] // parts
                return [self._slice(args[0], i * width, (i + 1) * width) for i in range(parts)]
        if node.target is operator.getitem and args[1] == (slice(None), slice(None), None, None):
            return args[0]  # a vector about to be spread over an image
        if node.target is operator.getitem and isinstance(args[0], list):
            return args[0][args[1]]
        if name in ("reshape", "view", "flatten"):
            return self._reshape(node, args)
        if name == "permute" and len(args[0].shape) in (2, 3):
            axes = args[1] if isinstance(args[1], tuple | list) else args[1:]
            if axes[0] == 0:
                return self._permute(args[0], tuple(axis - 1 for axis in axes[1:]))
        if name in ("contiguous", "float", "clone", "detach"):
            return args[0]
        if node.target in (nn.functional.dropout,):
            return args[0]
        if name.startswith("_assert"):  # fx notes which arguments were left out
            return None
        raise FreezeError(
            f"expected operations that have an exact rule, but {node.name} ({name}) has none; use layers, relu, sums, "
            "gates, concatenation and tables of one variable"
        )

    def _same_rank(self, a: Quantity, b: Quantity) -> tuple[Quantity, Quantity]:
        """A vector added to an image is spread over it."""
        if len(a.shape) == len(b.shape):
            return a, b
        image, vector = (a, b) if len(a.shape) == 3 else (b, a)
        fraction = int(np.floor(np.log2((1 << (STREAM_BITS - 1)) / max(vector.largest, 1e-6))))
        vector = self.emitter.rescale(vector, fraction, -(1 << STREAM_BITS), 1 << STREAM_BITS)
        assert image.value is not None and vector.value is not None
        spread = self.emitter.emit(Spread(vector.value, image.value))
        return image, replace(vector, value=spread, shape=image.shape, narrowed={})

    def _module(self, name: str, module: nn.Module, x: Any) -> Any:
        if isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
            return x
        if isinstance(module, nn.ReLU):
            return replace(x, relu=True, narrowed={})
        if type(module) in _POINTWISE_MODULES:
            return self._table(x, _POINTWISE_MODULES[type(module)], None)
        if isinstance(module, InputScale):
            value = self.emitter.emit(Offset(x.value, -module.offset)) if module.offset else x.value
            fraction = np.full(1, module.scale_bits, np.int64)
            return replace(
                x, value=value, fraction=fraction, low=x.low - module.offset, high=x.high - module.offset, narrowed={}
            )
        if isinstance(module, IndexBias | nn.Embedding):
            rows = module.table() if isinstance(module, IndexBias) else module.weight
            table = rows.detach().double().numpy()
            return Quantity(
                x.value, np.zeros(1, np.int64), 0, 0, (table.shape[1],), table=table, index=x.value,
                largest=float(np.abs(table).max(initial=1e-6)),
            )  # fmt: skip
        if isinstance(module, MaskedLinear):
            return self._masked_linear(name, module, x)
        if isinstance(module, nn.Linear):
            weight = module.weight.detach().double().numpy()
            return self.emitter.layer(
                name,
                x,
                weight,
                _bias_of(module, len(weight)),
                lambda w, b, p, v: Linear(v, w, b, None, p),
                (len(weight),),
            )
        if isinstance(module, CausalConv2d):
            return self._causal(name, module, x)
        if isinstance(module, nn.Conv2d):
            return self._convolution(name, module, x)
        if isinstance(module, nn.ConvTranspose2d):
            return self._transposed(name, module, x)
        if isinstance(module, nn.PixelShuffle):
            f = module.upscale_factor
            shape = (x.shape[0] // f**2, x.shape[1] * f, x.shape[2] * f)
            x = self.emitter.narrow(x, STREAM_BITS)
            value = self.emitter.emit(DepthToSpace(x.value, f))
            return replace(x, value=value, shape=shape, fraction=np.full(1, x.scale), narrowed={})
        if isinstance(module, nn.Upsample) and module.mode == "nearest" and module.scale_factor:
            f = int(module.scale_factor)  # type: ignore[arg-type]
            shape = (x.shape[0], x.shape[1] * f, x.shape[2] * f)
            return replace(x, value=self.emitter.emit(Upsample(x.value, f)), shape=shape, narrowed={})
        if isinstance(module, nn.Flatten):
            return self._flat(x)
        if isinstance(module, nn.Unflatten) and module.dim == 1:
            return self._reshaped(x, tuple(module.unflattened_size))
        raise FreezeError(
            f"expected modules that have an exact rule, but {name} ({type(module).__name__}) has none: "
            + _reason(module)
        )

    def _masked_linear(self, name: str, module: MaskedLinear, x: Quantity) -> Quantity:
        weight = module.masked_weight().detach().double().numpy()
        degrees = self.emitter.tensor("degrees", module.out_degrees.numpy())
        return self.emitter.layer(
            name,
            x,
            weight,
            _bias_of(module, len(weight)),
            lambda w, b, p, v: Linear(v, w, b, degrees, p),
            (len(weight),),
            module.mask.numpy(),
        )

    def _causal(self, name: str, module: CausalConv2d, x: Quantity) -> Quantity:
        weight = module.masked_weight().detach().double().numpy()
        degrees = self.emitter.tensor("degrees", module.out_degrees.numpy())
        return self.emitter.layer(
            name,
            x,
            weight,
            module.bias.detach().double().numpy(),
            lambda w, b, p, v: Convolution(v, w, b, module.offset, 1, degrees, p),
            (len(weight), *x.shape[1:]),
            module.mask.numpy(),
        )

    def _convolution(self, name: str, module: nn.Conv2d, x: Quantity) -> Quantity:
        kernel, stride, padding = module.kernel_size, module.stride, module.padding
        plain = module.groups == 1 and tuple(module.dilation) == (1, 1) and module.padding_mode == "zeros"
        size = tuple(-(-s // stride[0]) for s in x.shape[1:])
        if not plain or stride[0] != stride[1] or isinstance(padding, str):
            raise FreezeError(f"expected a plain convolution with numeric padding, got {name} ({module})")
        got = tuple((s + 2 * p - k) // stride[0] + 1 for s, p, k in zip(x.shape[1:], padding, kernel))
        if got != size:
            raise FreezeError(f"expected {name} to give {size} pixels (its size over its stride), it gives {got}")
        weight = module.weight.detach().double().numpy()
        offset = (-int(padding[0]), -int(padding[1]))
        return self.emitter.layer(
            name,
            x,
            weight,
            _bias_of(module, len(weight)),
            lambda w, b, p, v: Convolution(v, w, b, offset, int(stride[0]), None, p),
            (len(weight), *size),
        )

    def _transposed(self, name: str, module: nn.ConvTranspose2d, x: Quantity) -> Quantity:
        """Zeros between the pixels, then a convolution with the kernel turned around."""
        stride, kernel, padding = module.stride[0], module.kernel_size, [int(p) for p in module.padding]
        size = tuple(s * stride for s in x.shape[1:])
        got = tuple(
            (s - 1) * stride - 2 * p + k + o for s, p, k, o in zip(x.shape[1:], padding, kernel, module.output_padding)
        )
        if module.groups != 1 or tuple(module.dilation) != (1, 1) or got != size or module.stride[1] != stride:
            raise FreezeError(f"expected {name} to multiply the size by its stride {stride}, it gives {got} for {size}")
        x = self.emitter.narrow(x, ACTIVATION_BITS)
        assert x.value is not None
        wide = replace(
            x, value=self.emitter.emit(Upsample(x.value, stride, True)), shape=(x.shape[0], *size), narrowed={}
        )
        weight = module.weight.detach().double().numpy().transpose(1, 0, 2, 3)[:, :, ::-1, ::-1].copy()
        offset = (padding[0] - (kernel[0] - 1), padding[1] - (kernel[1] - 1))
        return self.emitter.layer(
            name,
            wide,
            weight,
            _bias_of(module, len(weight)),
            lambda w, b, p, v: Convolution(v, w, b, offset, 1, None, p),
            (len(weight), *size),
        )

    def _table(self, x: Quantity, function: Any, largest: float | None) -> Quantity:
        """A function of one variable, by a table over 12-bit inputs."""
        q = self.emitter.narrow(x, TABLE_BITS, signed=not x.relu)
        fraction = q.scale
        inputs = np.arange(min(q.low, 0), q.high + 1) * 2.0**-fraction
        outputs = function(torch.from_numpy(inputs)).double().numpy()
        peak = max(float(np.abs(outputs).max()), 1e-6)
        out_fraction = math.floor(math.log2(((1 << ACTIVATION_BITS) - 1) / peak))
        table = np.round(outputs * 2.0**out_fraction).astype(np.int64)
        assert q.value is not None
        value = self.emitter.emit(Table(q.value, self.emitter.tensor("table", table), min(q.low, 0)))
        return Quantity(value, np.full(1, out_fraction), int(table.min()), int(table.max()), x.shape, largest=peak)

    def _product(self, a: Quantity, b: Quantity, largest: float) -> Quantity:
        a, b = self.emitter.narrow(a, ACTIVATION_BITS), self.emitter.narrow(b, ACTIVATION_BITS)
        assert a.value is not None and b.value is not None
        if a.shape != b.shape:
            raise FreezeError(f"expected gates of one shape, got {a.shape} and {b.shape}")
        value = self.emitter.emit(Product(a.value, b.value))
        reach = a.reach * b.reach
        return Quantity(value, np.full(1, a.scale + b.scale), -reach, reach, a.shape, largest=largest)

    def _concat(self, parts: list[Quantity], largest: float) -> Quantity:
        limit = (1 << (STREAM_BITS - 1)) - 1
        fraction = math.floor(math.log2(limit / max(largest, 1e-6)))
        same = [self.emitter.rescale(q, fraction, -limit, limit) for q in parts]
        values = tuple(q.value for q in same if q.value is not None)
        channels = sum(q.shape[0] for q in same)
        value = self.emitter.emit(Concat(values))
        fractions = np.concatenate([np.broadcast_to(q.fraction, q.shape[:1]) for q in same])
        return Quantity(
            value, fractions, min(q.low for q in same), max(q.high for q in same), (channels, *same[0].shape[1:]),
            largest=largest,
        )  # fmt: skip

    def _slice(self, x: Quantity, start: int, stop: int) -> Quantity:
        assert x.value is not None
        fraction = np.broadcast_to(x.fraction, x.shape[:1])[start:stop]
        value = self.emitter.emit(Slice(x.value, start, stop))
        return replace(x, value=value, fraction=fraction, shape=(stop - start, *x.shape[1:]), narrowed={})

    def _reshape(self, node: fx.Node, args: Any) -> Any:
        """Parameters reshaped to (n, D, p) on the way out stay as they lie; vectors become images and back."""
        x = args[0]
        sizes = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
        if all(user.op == "output" for user in node.users) and len(x.shape) == 1:
            return x
        if node.target == "flatten" or getattr(node.target, "__name__", "") == "flatten":
            return self._flat(x)
        shape = tuple(int(s) for s in sizes[1:] if isinstance(s, int))
        known = math.prod(s for s in shape if s > 0)
        shape = tuple(s if s > 0 else math.prod(x.shape) // known for s in shape)
        if len(shape) == 1 and len(x.shape) == 1:
            return x
        if math.prod(shape) != math.prod(x.shape) or len(shape) not in (1, 3):
            raise FreezeError(f"expected a reshape of {x.shape} to a vector or an image, got {shape}")
        return self._reshaped(x, shape)

    def _reshaped(self, x: Quantity, shape: tuple[int, ...]) -> Quantity:
        q = self.emitter.narrow(x, STREAM_BITS)
        assert q.value is not None
        fraction = np.full(1, q.scale)
        return replace(q, value=self.emitter.emit(Reshape(q.value, shape)), shape=shape, fraction=fraction, narrowed={})

    def _permute(self, x: Quantity, axes: tuple[int, ...]) -> Quantity:
        if len(set(x.fraction.tolist())) > 1 or x.relu:
            x = self.emitter.narrow(x, STREAM_BITS)  # channels are about to move, so they need one scale
        assert x.value is not None
        shape = tuple(x.shape[axis] for axis in axes)
        value = self.emitter.emit(Permute(x.value, axes))
        return replace(x, value=value, shape=shape, fraction=np.full(1, x.scale), narrowed={})

    def _flat(self, x: Quantity) -> Quantity:
        return x if len(x.shape) == 1 else self._reshaped(x, (math.prod(x.shape),))


def _peaks(values: Tensor) -> np.ndarray | None:
    """Largest absolute value per channel of values (n, channels, ...), None where the axes are others."""
    if values.ndim < 2 or not values.numel():
        return None
    return values.abs().amax([axis for axis in range(values.ndim) if axis != 1]).double().numpy()


def _bias_of(module: Any, outputs: int) -> np.ndarray:
    return np.zeros(outputs) if module.bias is None else module.bias.detach().double().numpy()


def _reason(module: nn.Module) -> str:
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.MultiheadAttention):
        return "its statistics depend on the data, which cannot be repeated exactly at the cost of a table"
    return "give it an exact rule, or write it with layers, relu, sums, gates and tables of one variable"


def _only_sums_to_output(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose value reaches nothing but the output, through sums and reshapes only."""
    good: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        passes = node.op in ("call_function", "call_method") and (
            node.target in (operator.add, torch.add) or node.target in ("add", "reshape", "view")
        )
        if passes and node.users and all(u.op == "output" or u in good for u in node.users):
            good.add(node)
    return good
