"""Thawing: a frozen program read back as differentiable floats.

For estimators that need gradients or continuous latents (annealed importance sampling, Hamiltonian Monte Carlo) and
for looking at what freezing cost. The same weights, biases and tables; clamps stay, rounding goes, tables are
interpolated. Its figures carry ``arithmetic: float``.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.coding.frequencies import Leaf
from codelength.distributions import leaf_of
from codelength.errors import FreezeError
from codelength.exact.autoregressive import AutoregressiveStep
from codelength.exact.conditional import SequentialConditional
from codelength.exact.network import Network
from codelength.exact.operations import Type
from codelength.exact.schedule import DegreeSchedule
from codelength.exact.steps import AdditiveStep, AffineStep, OffsetStep, PermuteStep, ScaleStep, Step
from codelength.freezing.float_executor import FLOAT, interpolate
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.switch import Switch
from codelength.networks.autoregressive import InverseAutoregressive
from codelength.networks.conditionals import DegreeConditional, Features, NetworkConditional, RasterConditional
from codelength.networks.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    FloatStep,
    GridOffset,
    Permutation,
    UniformCell,
)


class ThawedNetwork(nn.Module):
    """A program's network in floating point; its output is in the leaf's real units, shape (n, *), or without a leaf in
    those of the program's integers."""

    def __init__(self, network: Network, types: list[Type], tensors: dict[str, np.ndarray], leaf: Leaf | None) -> None:
        super().__init__()
        self.program = network
        self.numbers = nn.ParameterDict()
        self.fields: list[dict[str, str]] = []  # for each operation, the names of its tensors by field
        self.types = types[len(network.inputs) :]
        for k, (operation, out) in enumerate(zip(network.operations, self.types)):
            names = {field.name: getattr(operation, field.name) for field in fields(operation)}  # type: ignore[arg-type]
            mine = {field: name for field, name in names.items() if isinstance(name, str)}
            # Equal tensors are stored once, so a bias may bear the name of degrees: what is learned goes last.
            self.fields.append(dict(sorted(mine.items(), key=lambda item: item[0] in operation.learned)))
            for field, name in self.fields[k].items():
                integers = out.prepared.weight if field == "weight" else tensors[name]
                floats = torch.from_numpy(integers.astype(np.float32))
                self.numbers[f"{k}_{field}"] = nn.Parameter(floats, requires_grad=field in operation.learned)
        outputs = types[network.output].shape[0]
        fractions = np.zeros(1) if leaf is None else np.array(leaf.fraction_bits, np.float64)
        units = np.exp2(-np.tile(fractions, outputs // len(fractions)))
        self.register_buffer("units", torch.from_numpy(units.astype(np.float32)))

    def forward(self, *inputs: Tensor) -> Tensor:
        values: list[Any] = [FLOAT.enter(x) for x in inputs]
        for k, (operation, out) in enumerate(zip(self.program.operations, self.types)):
            mine = {field: self.numbers[f"{k}_{field}"] for field in self.fields[k]}
            tensors: Any = {name: mine[field] for field, name in self.fields[k].items()}
            # The weights of a layer are those that its mask leaves open.
            out = replace(out, prepared=operation.prepare(tensors, mine.get("weight")))
            values.append(operation.run(FLOAT, values, tensors, out))
        result = values[self.program.output]
        units: Tensor = self.units  # type: ignore[assignment]
        return result * units.reshape(-1, *[1] * (result.ndim - 2))


class Thawed(nn.Module):
    """A model in floating point with ``space``, ``law()`` and ``log_prob``."""

    def __init__(self, frozen: FrozenModel) -> None:
        super().__init__()
        self.space = frozen.space
        self._law = thaw_law(frozen.law)
        self._modules_of_law = nn.ModuleList(
            module for _, law in self._law.tree() for module in law.conditionals().values()
        )

    def law(self) -> Law:
        return self._law

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Nats per item (n,)."""
        return self._law.log_prob(x, {"shape": tuple(x.shape[1:]), "generator": generator})


@singledispatch
def thaw_law(law: Law) -> Law:
    """The same law over conditionals in floating point. Raises FreezeError for laws that exist on integers only."""
    raise FreezeError(f"expected laws that exist in floating point, got {type(law).__name__}")


@thaw_law.register
def _independent(law: Independent) -> Law:
    conditional = law.conditional
    network, leaf = conditional.network, leaf_of(conditional.leaf)
    thawed = ThawedNetwork(network, conditional.types, conditional.tensors, conditional.leaf)
    return Independent(NetworkConditional(thawed, leaf, conditional.shape, network.inputs, units="bins"))


@thaw_law.register
def _sequential(law: Sequential) -> Law:
    conditional = law.conditional
    return Sequential(_scheduled(conditional, leaf_of(conditional.leaf), conditional.leaf))


@thaw_law.register
def _marginal(law: Marginal) -> Law:
    prior, likelihood = thaw_law(law.prior), thaw_law(law.likelihood)
    if isinstance(law.posterior, Responsibilities):
        posterior: Law = Responsibilities(law.latent, law.posterior.count, prior, likelihood)
    else:
        posterior = thaw_law(law.posterior)
    return Marginal(law.latent, prior, likelihood, posterior, law.item)


@thaw_law.register
def _chain(law: Chain) -> Law:
    return Chain([_part(part) for part in law.parts], law.shape)


def _part(part: Group | Define) -> Group | Define:
    if isinstance(part, Group):
        return Group(part.name, torch.from_numpy(part.places), part.shape, thaw_law(part.law))
    frozen: Any = part.features
    thawed = ThawedNetwork(frozen.network, frozen.types, frozen.tensors, None)
    return Define(part.name, Features(thawed, frozen.network.inputs, units="bins"))


@thaw_law.register
def _switch(law: Switch) -> Law:
    return Switch(law.index, [thaw_law(part) for part in law.laws])


@thaw_law.register
def _pushforward(law: Pushforward) -> Law:
    return Pushforward(thaw_law(law.base), [thaw_step(step) for step in law.steps], law.shape, law.symbols, law.low)


@thaw_law.register
def _coarse(law: Coarse) -> Law:
    return Coarse(thaw_law(law.law), law.bits, UniformCell())


@thaw_law.register
def _cell(law: Cell) -> Law:
    return Cell(law.bits, UniformCell())


@thaw_law.register
def _floor(law: Floor) -> Law:
    return law


def _scheduled(conditional: SequentialConditional, leaf: Any, frozen_leaf: Leaf | None) -> Any:
    """The conditional of a scheduled network in floating point; without a frozen leaf its output is integers'."""
    network, tensors, shape = conditional.network, conditional.tensors, conditional.shape
    fixed = tuple(8 if size is None else size for size in shape)
    thawed = ThawedNetwork(network, conditional.types_for(fixed), tensors, frozen_leaf)
    names = tuple(name for name in network.inputs if name != "x")
    ordered = _InOrder(thawed, network.inputs)
    schedule = conditional.schedule
    if isinstance(schedule, DegreeSchedule):
        orders = torch.from_numpy(tensors[schedule.orders].astype(np.int64))
        return DegreeConditional(ordered, leaf, shape, orders, schedule.index, names, units="bins")  # type: ignore[arg-type]
    return RasterConditional(ordered, leaf, shape, names, schedule.slope, units="bins")


class ThawedAutoregressive(InverseAutoregressive):
    """A frozen step with its table of gates, interpolated, in floating point."""

    gates: Tensor

    def __init__(self, conditional: DegreeConditional | RasterConditional, step: AutoregressiveStep) -> None:
        super().__init__(conditional)
        gates = step.table.astype(np.float64) / (1 << step.denominator)
        self.register_buffer("gates", torch.from_numpy(gates.astype(np.float32)))

    def read(self, params: Tensor) -> tuple[Tensor, Tensor]:
        return interpolate(self.gates, params[..., 0]).log(), params[..., 1]


class _InOrder(nn.Module):
    """Conditionals pass x first; a program names its inputs in an order of its own."""

    def __init__(self, network: ThawedNetwork, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        given = ["x", *[name for name in names if name != "x"]]
        self.places = [given.index(name) for name in names]

    def forward(self, *values: Tensor) -> Tensor:
        return self.network(*[values[place] for place in self.places])


class _ScalesAndShifts(nn.Module):
    """The network of an affine coupling; its first numbers, places in a table of scales, as logarithms of these."""

    def __init__(self, network: nn.Module, table: np.ndarray, denominator: int) -> None:
        super().__init__()
        self.network = network
        logs = np.log(table / (1 << denominator))
        self.log_scales = nn.Parameter(torch.from_numpy(logs.astype(np.float32)))

    def forward(self, *values: Tensor) -> Tensor:
        index, shift = self.network(*values).chunk(2, 1)
        return torch.cat([interpolate(self.log_scales, index), shift], 1)


@singledispatch
def thaw_step(step: Step) -> FloatStep:
    """The step of a flow in floating point. Raises FreezeError for steps that exist on integers only."""
    raise FreezeError(f"expected steps that exist in floating point, got {type(step).__name__}")


@thaw_step.register
def _offset(step: OffsetStep) -> FloatStep:
    return GridOffset(step.value)


@thaw_step.register
def _permutation(step: PermuteStep) -> FloatStep:
    return Permutation(torch.from_numpy(step.index))


@thaw_step.register
def _channel_scale(step: ScaleStep) -> FloatStep:
    scale = ChannelScale(len(step.scales), limit=math.inf)
    with torch.no_grad():
        scale.log_scales.copy_(torch.from_numpy(np.log(step.scales / (1 << step.denominator))))
        scale.shifts.copy_(torch.from_numpy(step.shifts))
    return scale


@thaw_step.register
def _autoregressive(step: AutoregressiveStep) -> FloatStep:
    return ThawedAutoregressive(_scheduled(step.conditional, step.conditional.leaf, None), step)


@thaw_step.register
def _affine(step: AffineStep) -> FloatStep:
    moves, network, named = _coupling(step)
    scales_and_shifts = _ScalesAndShifts(network, step.table, step.denominator)
    coupling = AffineCoupling(moves, scales_and_shifts, **named)
    coupling.limit = math.inf  # the table ends where it ends
    return coupling


@thaw_step.register
def _additive(step: AdditiveStep) -> FloatStep:
    moves, network, named = _coupling(step)
    low, high = step.before
    return AdditiveCoupling(moves, network, high - low + 1, low, **named)


def _coupling(step: AffineStep | AdditiveStep) -> tuple[Tensor, nn.Module, dict[str, Any]]:
    """What moves, the network, and further arguments of a coupling."""
    moves = torch.zeros(math.prod(step.shape), dtype=torch.int64)
    moves[torch.from_numpy(step.places)] = 1
    network = _InOrder(ThawedNetwork(step.network, step.types, step.tensors, None), step.network.inputs)
    names = tuple(name for name in step.network.inputs if name != "x")
    shape = step.shape if len(step.shape) == 3 else None
    return moves, network, {"shape": shape, "inputs": names, "units": "bins"}


def thaw(frozen: FrozenModel) -> Thawed:
    """The frozen model as a differentiable torch module. Raises FreezeError for laws that exist on integers only."""
    return Thawed(frozen)
