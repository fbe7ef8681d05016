"""What a network does, and how large its values get: torch.fx tracing, and a run on calibration data."""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from codelength.errors import FreezeError
from codelength.freezing.folding import fold_batch_norms
from codelength.freezing.rules import MODULES

#: Calibration items on which the signal-to-noise ratios of layers are measured.
MEASURED = 128
#: Modules that are not traced into: those that have a rule, and those that fold into one that has.
LEAVES = (*MODULES, nn.BatchNorm1d, nn.BatchNorm2d)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


@dataclass
class Seen:
    """What calibration saw of each node: the largest absolute value, that of each channel, and the first values."""

    sizes: dict[fx.Node, float] = field(default_factory=dict)
    peaks: dict[fx.Node, np.ndarray | None] = field(default_factory=dict)
    values: dict[fx.Node, Tensor] = field(default_factory=dict)


def trace(network: nn.Module, given: int) -> fx.GraphModule:
    """The graph of a network whose forward gets its first ``given`` arguments, batch norms folded.

    Raises FreezeError for a forward that depends on numbers.
    """
    accepted = list(inspect.signature(network.forward).parameters)
    unused = {name: None for name in accepted[given:]}
    try:
        graph = _Tracer().trace(network, concrete_args=unused or None)
    except Exception as error:
        raise FreezeError(
            f"expected a network whose forward can be traced, but {type(network).__name__} cannot: {error}"
        ) from None
    return fold_batch_norms(fx.GraphModule(network, graph))


def calibrate(module: fx.GraphModule, samples: list[Tensor]) -> Seen:
    """What every node of a traced network gives on samples (n, *shape) of its inputs."""
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
        extra = sum(1 for n in module.graph.nodes if n.op == "placeholder") - len(samples)
        Recorder(module).run(*samples, *[None] * extra)
    return seen


def _peaks(values: Tensor) -> np.ndarray | None:
    """Largest absolute value per channel of values (n, channels, ...), None where the axes are others."""
    if values.ndim < 2 or not values.numel():
        return None
    return values.abs().amax([axis for axis in range(values.ndim) if axis != 1]).double().numpy()


def only_sums_to_output(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose value reaches nothing but the output, through sums and reshapes only."""
    good: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        passes = node.op in ("call_function", "call_method") and (
            node.target in (operator.add, torch.add) or node.target in ("add", "reshape", "view")
        )
        if passes and node.users and all(u.op == "output" or u in good for u in node.users):
            good.add(node)
    return good
