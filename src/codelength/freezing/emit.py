"""From a torch network to a network of a frozen program.

The network is traced with torch.fx, run on calibration data to learn the size of every value (``trace``), and emitted
node by node by the rules of ``rules`` under the precision of ``emitter``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from codelength.errors import FreezeError
from codelength.exact.network import Network
from codelength.exact.operations import FLOAT32_EXACT, Add, Constant, Requantise, Reshape, Spread, Tensors, Type
from codelength.freezing.emitter import ACTIVATION_BITS, GUARD_BITS, Emitter
from codelength.freezing.quantity import Quantity, Target
from codelength.freezing.rules import Call, apply_function, apply_module
from codelength.freezing.trace import LEAVES, MEASURED, Seen, calibrate, only_sums_to_output, trace
from codelength.networks.masked import InputScale


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
            module = trace(self.network, len(self.samples))
            given = [self.scales[n](x) if n in self.scales else x for n, x in zip(self.names, self.samples)]
            return self._emit(module, calibrate(module, given))
        finally:
            self.network.train(was_training)

    def _emit(self, module: fx.GraphModule, seen: Seen) -> tuple[Network, list[dict[str, Any]]]:
        emitter, sizes = self.emitter, seen.sizes
        emitter.inputs = self.names if self.names else ["count"]
        types = iter(zip(self.names, self.types))
        env: dict[fx.Node, Any] = {}
        modules = dict(module.named_modules())
        to_output = only_sums_to_output(module.graph)
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
                    env[node] = apply_module(emitter, name, self.scales[name], env[node])
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
            0, np.zeros(1, np.int64), 0, 0, (rows.shape[1],), table=rows, largest=float(np.abs(rows).max(initial=1e-6)),
            layout=tuple(tensor.shape),
        )  # fmt: skip

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
        args: Any = fx.map_arg(node.args, lambda n: env[n])
        kwargs: Any = fx.map_arg(node.kwargs, lambda n: env[n])
        if node.op == "call_module":
            return apply_module(self.emitter, str(node.target), modules[str(node.target)], args[0])
        last = self.target if node in to_output else None
        target = max(last.fractions) + max(last.gains) if last is not None else None
        leaves = all(user.op == "output" for user in node.users)
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        call = Call(self.emitter, name, node.name, args, kwargs, max(sizes.get(node, 1.0), 1e-6), target, leaves)
        return apply_function(call)
