"""A frozen program in the making: its integer tensors, and the networks that are emitted into it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from codelength.coding.frequencies import Leaf
from codelength.errors import FreezeError
from codelength.exact.operations import Tensors, Type
from codelength.exact.schedule import DegreeSchedule, RasterSchedule
from codelength.freezing.emit import NetworkEmitter
from codelength.freezing.emitter import store
from codelength.freezing.quantity import Target
from codelength.freezing.report import FreezeReport
from codelength.networks.conditionals import DegreeConditional, RasterConditional
from codelength.networks.masked import InputScale

TOTAL_BITS = 24
#: Latents are drawn from their distributions: every bin has a frequency of at least one, so with fewer bits one in
#: some thousands would come from anywhere on the grid, where the likelihood knows nothing of it.
GRID_BITS = 28


@dataclass(frozen=True)
class FeatureType(Type):
    """Of a feature: integers in units of 2^-fraction."""

    fraction: int = 0


@dataclass(frozen=True)
class Scope:
    """Where a law stands while it is frozen.

    context: as in ``laws.Context``, with the values that calibration items give it. types: what the program knows of
    its entries. path: what the names of tensors begin with.
    """

    context: dict[str, Any]
    types: dict[str, Type]
    path: str = ""

    def within(self, name: str) -> Scope:
        return replace(self, path=f"{self.path}{name}.")

    def knowing(self, values: dict[str, Any], types: dict[str, Type]) -> Scope:
        return replace(self, context={**self.context, **values}, types={**self.types, **types})


class Draft:
    """Tensors by their names in the program, and the report of the layers so far."""

    def __init__(self, report: FreezeReport) -> None:
        self.report = report
        self.tensors: Tensors = {}

    def store(self, name: str, values: np.ndarray) -> str:
        """The name under which the integers are found in the program, which may be that of an equal tensor."""
        return store(self.tensors, name, values)

    def network(
        self,
        conditional: Any,
        scope: Scope,
        target: Target | None,
        x: tuple[Type, Tensor] | None = None,
        scheduled: bool = False,
    ) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """The record of a conditional's network, and its ``NetworkEmitter.given``.

        x: type and calibration values of the elements themselves, where it sees them first. scheduled: whether it
        does so along a schedule.
        """
        kinds, values = self._context(conditional, scope, scheduled)
        names = list(conditional.inputs)
        if x is not None:
            names, kinds, values = ["x", *names], [x[0], *kinds], [x[1], *values]
        scales = self._scales(conditional, scope.types)
        emitter = NetworkEmitter(conditional.network, names, kinds, values, self.tensors, scope.path, target, scales)
        network, layers = emitter.run()
        self.report.layers += [{**r, "layer": scope.path + r["layer"]} for r in layers]
        return network.to_json(), emitter.given

    def scheduled(self, conditional: Any, x: Tensor, scope: Scope, symbols: int, target: Target) -> dict[str, Any]:
        """Network and schedule of a conditional that sees elements x, integers 0 .. symbols - 1, in their order."""
        if isinstance(conditional, DegreeConditional):
            orders = conditional.orders.numpy()
            degrees = DegreeSchedule(self.store(f"{scope.path}orders", orders), conditional.index)
            own = degrees.input_type(conditional.shape, symbols, self.tensors)
            flat = x.reshape(len(x), -1)
            if conditional.index is not None:
                flat = flat.gather(1, conditional.orders[scope.context[conditional.index].reshape(-1)])
            seen, schedule = flat.float(), degrees.to_json()
        elif isinstance(conditional, RasterConditional):
            raster = RasterSchedule(conditional.slope)
            own = raster.input_type(tuple(x.shape[1:]), symbols, self.tensors)
            image = x[..., None] if x.ndim == 3 else x
            seen, schedule = image.permute(0, 3, 1, 2).float(), raster.to_json()
        else:
            raise FreezeError(f"expected a masked or causal conditional, got {type(conditional).__name__}")
        network, _ = self.network(conditional, scope, target, (own, seen), scheduled=True)
        return {"network": network, "schedule": schedule}

    def _context(self, conditional: Any, scope: Scope, scheduled: bool) -> tuple[list[Type], list[Tensor]]:
        """Types and calibration values of the context entries that a network is given, before their scales."""
        kinds, values = [], []
        for name in conditional.inputs:
            if name not in scope.types:
                raise FreezeError(f"expected a context entry {name!r} where a network asks for it, got none")
            kind = scope.types[name]
            degrees = np.zeros(kind.shape[0] if kind.shape else 0, np.int64) if scheduled else None
            kinds.append(Type(kind.shape, kind.low, kind.high, degrees))
            value = scope.context[name]
            if isinstance(kind, FeatureType):  # as the program has them, in integers
                value = (value * 2.0**kind.fraction).round().clamp(kind.low, kind.high)
            index = kind.shape == () and name not in conditional.scales
            values.append(value.reshape(-1) if index else value.float())
        return kinds, values

    def _scales(self, conditional: Any, types: dict[str, Type]) -> dict[str, InputScale]:
        """Of the context entries that are latents on a grid, and of those that are features."""
        scales = dict(conditional.scales)
        for name in conditional.inputs:
            kind = types.get(name)
            if isinstance(kind, FeatureType):
                scales[name] = InputScale(0, kind.fraction)
        return scales


def leaf_record(leaf: Any) -> dict[str, Any]:
    bits = GRID_BITS if leaf.family == "gaussian" else TOTAL_BITS
    record = {"family": leaf.family, "symbols": int(leaf.symbols), "bits": bits}
    if leaf.components > 1:
        record["components"] = int(leaf.components)
    return record


def target_of(leaf: Any) -> Target:
    """The integer units of a leaf's parameters, and the gain and offset that its torch form applies to them."""
    fractions = Leaf(leaf.family, int(leaf.symbols), TOTAL_BITS, int(leaf.components)).fraction_bits
    gains = tuple(getattr(leaf, "gain_bits", (0,) * len(fractions)))
    offsets = tuple(getattr(leaf, "offsets", (0.0,) * len(fractions)))
    return Target(fractions, gains, offsets)
