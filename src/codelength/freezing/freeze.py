"""Freezing: from a trained law in torch to a program of integers.

``freeze`` walks the tree of laws that a model states, emits every network (``emit``), builds and validates the
program, compares its rate with the float model's on the calibration items, and refuses where it is worse than the
project promises: 0.1% for exact models, 0.3% for bounds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codelength.errors import FreezeError, NotRepresentable
from codelength.exact.operations import FLOAT32_EXACT, Tensors, Type
from codelength.exact.schedule import DegreeSchedule, RasterSchedule
from codelength.exact.steps import AdditiveStep
from codelength.freezing.emit import NetworkEmitter
from codelength.freezing.emitter import store
from codelength.freezing.quantity import Target
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities, Switch
from codelength.laws.program import STEPS
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.networks.autoregressive import GATE_BITS, GATE_LIMIT, InverseAutoregressive
from codelength.networks.conditionals import (
    DegreeConditional,
    Features,
    NetworkConditional,
    NetworkInputs,
    RasterConditional,
    UniformIndex,
)
from codelength.networks.coupling import (
    DENOMINATOR_BITS,
    LOG_SCALE_BITS,
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    GridOffset,
    Permutation,
)
from codelength.networks.masked import InputScale

EXACT_TOLERANCE = 0.001
BOUND_TOLERANCE = 0.003
TOTAL_BITS = 24
#: Latents are drawn from their distributions: every bin has a frequency of at least one, so with fewer bits one in
#: some thousands would come from anywhere on the grid, where the likelihood knows nothing of it.
GRID_BITS = 28
#: Components of a mixture that each calibration item is seen under.
CALIBRATION_DRAWS = 4


@dataclass(frozen=True)
class FeatureType(Type):
    """Of a feature: integers in units of 2^-fraction."""

    fraction: int = 0


@dataclass
class FreezeReport:
    """Per layer: parts, median rms of the integer weights, log2 of the proved bound, signal-to-noise ratio in dB.

    float_bits and frozen_bits: mean bits per item on the calibration items, the same items for both; uniform_bits: of
    symbols that are all equally likely.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    float_bits: float = math.nan
    frozen_bits: float = math.nan
    uniform_bits: float = math.nan

    @property
    def notes(self) -> list[str]:
        """What to know of the model before it is used, a sentence each; mostly nothing."""
        if not self.frozen_bits > self.uniform_bits:
            return []
        return [
            f"{self.frozen_bits:.4f} bits an item are more than the {self.uniform_bits:.4f} of symbols that are all "
            "equally likely: the model is worse than none on the calibration items; see whether it was trained on "
            "data of this kind"
        ]

    @property
    def loss(self) -> float:
        """Relative rate lost to integers."""
        return self.frozen_bits / self.float_bits - 1 if self.float_bits else 0.0

    def lines(self) -> list[str]:
        out = [f"{'layer':32s} {'parts':>5s} {'rms':>7s} {'bound':>7s} {'SNR dB':>7s}"]
        for r in self.layers:
            snr = r.get("snr_db", math.nan)
            out.append(f"{r['layer']:32s} {r['parts']:5d} {r['rms']:7.1f} {r['bits']:7.2f} {snr:7.1f}")
        out.append(f"float {self.float_bits:.4f} bits, frozen {self.frozen_bits:.4f} bits an item ({self.loss:+.4%})")
        return out + [f"note: {note}" for note in self.notes]


def freeze(
    model: Any,
    calibration: Any,
    *,
    report: FreezeReport | None = None,
    tolerance: float | None = None,
) -> FrozenModel:
    """The frozen twin of a trained model.

    model: a torch module with ``space`` (laws.Space) and ``law()``, the tree of laws over its conditionals.
    calibration: items (n, *shape), a few hundred or more, from the data that the model was trained on.
    report: filled in where given. tolerance: relative rate that may be lost; None for the project's promise.

    Raises FreezeError where a module has no exact rule (naming it) or the rate is too much worse.
    """
    items = _items(calibration)
    if len(items) == 0:
        raise FreezeError("expected calibration items, got none")
    if not (hasattr(model, "law") and hasattr(model, "space")):
        raise FreezeError(f"expected a model with a space and a law, got {type(model).__name__} without")
    report = report if report is not None else FreezeReport()
    with _evaluating(model):
        frozen = _frozen(model, items, report)
        _compare(model, frozen, torch.from_numpy(items.astype(np.int64)), items, report, tolerance)
    return frozen


def check_freezable(model: Any, items: Any) -> None:
    """Freeze a model, trained or not, for a few items (n, *shape), and judge no rate: what has no exact rule is found
    out before it is trained. Raises FreezeError, naming it."""
    with _evaluating(model), torch.random.fork_rng([]):
        _frozen(model, _items(items), FreezeReport())


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _frozen(model: Any, items: np.ndarray, report: FreezeReport) -> FrozenModel:
    """The program of a model in evaluation mode."""
    walker = _Walker(report)
    x = torch.from_numpy(np.ascontiguousarray(items).astype(np.int64))
    law = walker.law(model.law(), x, {"shape": tuple(items.shape[1:])}, {}, "")
    try:
        return FrozenModel.create(model.space, law, walker.tensors)
    except NotRepresentable as error:  # ranges come from the calibration items, and the model's own draws leave them
        raise FreezeError(
            f"expected a model whose own draws can be coded, as items like those of calibration are, got one where not "
            f"({error}); train it for longer"
        ) from None


def _items(calibration: Any) -> np.ndarray:
    return np.asarray(getattr(calibration, "items", calibration))


def _compare(
    model: Any, frozen: FrozenModel, x: Tensor, items: np.ndarray, report: FreezeReport, tolerance: float | None
) -> None:
    """Paired rates on the same items; refuses a frozen model that is too much worse."""
    context = {"shape": tuple(items.shape[1:]), "generator": torch.Generator().manual_seed(0)}
    some = slice(0, 512)
    nats = torch.cat([model.law().log_prob(part, context) for part in x[some].split(128)])
    bits = nats.double().numpy() / -math.log(2)
    frozen_bits = frozen.code_length_bits(items[some])
    report.float_bits, report.frozen_bits = float(bits.mean()), float(frozen_bits.mean())
    report.uniform_bits = math.prod(items.shape[1:]) * math.log2(frozen.space.symbols)
    allowed = tolerance
    if allowed is None:
        allowed = EXACT_TOLERANCE if frozen.kind == "exact" else BOUND_TOLERANCE
        chance = frozen.kind != "exact" or AdditiveStep.feature in frozen.features
        if chance and math.isfinite(report.float_bits):
            # Bounds are drawn with noise of their own on either side, and a shift near the middle between two symbols
            # may be rounded to either. What chance explains is not held against freezing.
            noise = float((frozen_bits - bits).std()) / math.sqrt(len(bits))
            allowed += 3 * noise / abs(report.float_bits)
    if not math.isfinite(report.float_bits):
        raise FreezeError("expected a finite likelihood of the calibration items, got NaN or infinity; train again")
    if report.loss > allowed:
        raise FreezeError(
            f"the frozen model would cost {report.loss:.3%} more bits than the float model ({report.frozen_bits:.3f} "
            f"against {report.float_bits:.3f} an item), and {allowed:.1%} is allowed; the layers with the lowest "
            "signal-to-noise ratio in the report are where to look"
        )


class _Walker:
    """Turns laws into JSON, networks into operations, and weights into integer tensors."""

    def __init__(self, report: FreezeReport) -> None:
        self.report = report
        self.tensors: Tensors = {}

    def law(self, law: Law, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str) -> dict[str, Any]:
        """The record of a law; x are items that follow it, with the context in which they stand."""
        if isinstance(law, Sequential):
            return self._sequential(law.conditional, x, context, types, path)
        if isinstance(law, Independent):
            return self._independent(law.conditional, context, types, path)
        if isinstance(law, Marginal):
            return self._marginal(law, x, context, types, path)
        if isinstance(law, Switch):
            return self._switch(law, x, context, types, path)
        if isinstance(law, Chain):
            return self._chain(law, x, context, types, path)[0]
        if isinstance(law, Pushforward):
            return self._pushforward(law, x, context, types, path)
        if isinstance(law, Coarse):
            bins = torch.div(x, 1 << law.bits, rounding_mode="floor")
            return {"law": "coarse", "base": self.law(law.law, bins, context, types, path), "bits": law.bits}
        if isinstance(law, Floor):
            return {"law": "floor", "bits": law.bits, "latent": law.latent}
        if isinstance(law, Cell):
            return {"law": "cell", "bits": law.bits}
        raise FreezeError(f"expected a law that can be frozen, got {type(law).__name__}")

    def network(
        self,
        module: torch.nn.Module,
        names: list[str],
        types: list[Type],
        samples: list[Tensor],
        target: Target,
        path: str,
        scales: dict[str, InputScale] | None = None,
    ) -> dict[str, Any]:
        emitter = NetworkEmitter(module, names, types, samples, self.tensors, path, target, scales)
        network, layers = emitter.run()
        self.report.layers += [{**r, "layer": path + r["layer"]} for r in layers]
        return network.to_json()

    def _sequential(
        self, conditional: Any, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        leaf = leaf_record(conditional.leaf)
        target, symbols = target_of(conditional.leaf), int(conditional.leaf.symbols)
        record = self._scheduled(conditional, x, context, types, path, symbols, target)
        return {"law": "sequential", "leaf": leaf, **record, "shape": list(conditional.shape)}

    def _scheduled(
        self,
        conditional: Any,
        x: Tensor,
        context: dict[str, Any],
        types: dict[str, Type],
        path: str,
        symbols: int,
        target: Target,
    ) -> dict[str, Any]:
        """Network and schedule of a conditional that sees elements x, integers 0 .. symbols - 1, in their order."""
        if isinstance(conditional, DegreeConditional):
            orders = conditional.orders.numpy()
            name = self._store(f"{path}orders", orders)
            degrees = DegreeSchedule(name, conditional.index)
            own = degrees.input_type(conditional.shape, symbols, self.tensors)
            flat = x.reshape(len(x), -1)
            if conditional.index is not None:
                flat = flat.gather(1, conditional.orders[context[conditional.index].reshape(-1)])
            seen, schedule = flat.float(), degrees.to_json()
        elif isinstance(conditional, RasterConditional):
            raster = RasterSchedule(conditional.slope)
            own = raster.input_type(tuple(x.shape[1:]), symbols, self.tensors)
            image = x[..., None] if x.ndim == 3 else x
            seen, schedule = image.permute(0, 3, 1, 2).float(), raster.to_json()
        else:
            raise FreezeError(f"expected a masked or causal conditional, got {type(conditional).__name__}")
        given_types, given = self._context(conditional, context, types, scheduled=True)
        network = self.network(
            conditional.network,
            ["x", *conditional.inputs],
            [own, *given_types],
            [seen, *given],
            target,
            path,
            self._scales(conditional, types),
        )
        return {"network": network, "schedule": schedule}

    def _context(
        self, conditional: NetworkInputs, context: dict[str, Any], types: dict[str, Type], scheduled: bool
    ) -> tuple[list[Type], list[Tensor]]:
        """Types and calibration values of the context entries that a network is given, before their scales."""
        names, scales = conditional.inputs, conditional.scales
        kinds, values = [], []
        for name in names:
            if name not in types:
                raise FreezeError(f"expected a context entry {name!r} where a network asks for it, got none")
            kind = types[name]
            degrees = np.zeros(kind.shape[0] if kind.shape else 0, np.int64) if scheduled else None
            kinds.append(Type(kind.shape, kind.low, kind.high, degrees))
            value = context[name]
            if isinstance(kind, FeatureType):  # as the program has them, in integers
                value = (value * 2.0**kind.fraction).round().clamp(kind.low, kind.high)
            values.append(value.reshape(-1) if kind.shape == () and name not in scales else value.float())
        return kinds, values

    def _independent(
        self, conditional: Any, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        if isinstance(conditional, UniformIndex):
            zeros = self._store("zeros", np.zeros(conditional.count, np.int64))
            constant = {"op": "constant", "x": 0, "values": zeros}
            return {
                "law": "independent",
                "leaf": {"family": "categorical", "symbols": conditional.count, "bits": TOTAL_BITS},
                "network": {"inputs": ["count"], "operations": [constant], "output": 1},
                "shape": [1],
            }
        if not isinstance(conditional, NetworkConditional):
            raise FreezeError(f"expected a network conditional, got {type(conditional).__name__}")
        kinds, values = self._context(conditional, context, types, scheduled=False)
        network = self.network(
            conditional.network,
            list(conditional.inputs),
            kinds,
            values,
            target_of(conditional.leaf),
            path,
            self._scales(conditional, types),
        )
        return {
            "law": "independent",
            "leaf": leaf_record(conditional.leaf),
            "network": network,
            "shape": list(conditional.shape),
        }

    def _marginal(
        self, law: Marginal, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        mixture = isinstance(law.posterior, Responsibilities)
        if mixture:
            # Every component meets calibration items, and each item several of them: a unit may speak up in one
            # order only, and what calibration has not seen of it would be clamped.
            x = x.repeat(CALIBRATION_DRAWS, *[1] * (x.ndim - 1))
            context = {k: _repeated(v, len(x)) for k, v in context.items()}
            z = law.prior.sample(len(x), context, generator)
        else:
            z = law.posterior.sample(len(x), {**context, law.item: x}, generator)
        exported: dict[str, Type] = {}
        if isinstance(law.prior, Chain):
            prior, exported = self._chain(law.prior, z, context, types, f"{path}{law.latent}.prior.")
        else:
            prior = self.law(law.prior, z, context, types, f"{path}{law.latent}.prior.")
        latent = _latent_type(prior, z)
        given = {**types, law.latent: latent, **exported}
        seen = {**context, law.latent: z, **law.prior.exports(z, context)}
        likelihood = self.law(law.likelihood, x, seen, given, path)
        if mixture:
            posterior: dict[str, Any] = {"law": "responsibilities"}
        else:
            symbols = (latent.high >> likelihood["bits"]) + 1 if likelihood["law"] == "floor" else _symbols(likelihood)
            own = {**types, law.item: Type(tuple(x.shape[1:]), 0, symbols - 1)}
            posterior = self.law(law.posterior, z, {**context, law.item: x}, own, f"{path}{law.latent}.posterior.")
        record = {
            "law": "marginal",
            "latent": law.latent,
            "likelihood": likelihood,
            "posterior": posterior,
            "prior": prior,
        }
        return record if law.item == "x" else {**record, "item": law.item}

    def _chain(
        self, law: Chain, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> tuple[dict[str, Any], dict[str, Type]]:
        """The record, and the types of what the law exports."""
        parts: list[dict[str, Any]] = []
        exported: dict[str, Type] = {}
        flat = x.reshape(len(x), -1)

        def group(part: Group, seen: dict[str, Any]) -> Tensor:
            values = part.of(flat)
            record = self.law(part.law, values, seen, {**types, **exported}, f"{path}{part.name}.")
            places = self._store(f"{path}{part.name}.places", np.asarray(part.places))
            parts.append({"group": part.name, "law": record, "places": places})
            exported[part.name] = _latent_type(record, values)
            return values

        def define(part: Define, seen: dict[str, Any]) -> Tensor:
            if not isinstance(part.features, Features):
                raise FreezeError(f"expected features of a network, got {type(part.features).__name__}")
            given = {**types, **exported}
            network, exported[part.name] = self._features(part.features, seen, given, f"{path}{part.name}.")
            parts.append({"define": part.name, "network": network})
            return part.features(seen, len(x))

        law.walk(context, len(x), group, define)
        return {"law": "chain", "parts": parts, "shape": list(law.shape)}, exported

    def _features(
        self, features: Features, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> tuple[dict[str, Any], FeatureType]:
        """The network, and the type of what it gives."""
        kinds, values = self._context(features, context, types, scheduled=False)
        scales = self._scales(features, types)
        emitter = NetworkEmitter(
            features.network, list(features.inputs), kinds, values, self.tensors, path, None, scales
        )
        network, layers = emitter.run()
        self.report.layers += [{**r, "layer": path + r["layer"]} for r in layers]
        return network.to_json(), FeatureType(*emitter.given)

    def _scales(self, conditional: NetworkInputs, types: dict[str, Type]) -> dict[str, InputScale]:
        """Of the context entries that are latents on a grid, and of those that are features."""
        scales = dict(conditional.scales)
        for name in conditional.inputs:
            kind = types.get(name)
            if isinstance(kind, FeatureType):
                scales[name] = InputScale(0, kind.fraction)
        return scales

    def _switch(
        self, law: Switch, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        records = [self.law(part, x, context, types, f"{path}{k}.") for k, part in enumerate(law.laws)]
        return {"law": "switch", "index": law.index, "laws": records}

    def _pushforward(
        self, law: Pushforward, x: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        """Steps on integers, each proved like the loader does it; each keeps a range that calibration chooses."""
        low, high = (law.low, law.low + law.symbols - 1) if law.symbols is not None else _generous(x)
        before, steps = (low, high), []
        for k, step in enumerate(law.steps):
            y, _ = step.determinant(x, context)
            record = self._step(step, x, y, before, context, types, f"{path}step{k}.")
            fields = {key: value for key, value in record.items() if key != "step"}
            before = STEPS[record["step"]].read(fields, self.tensors, types, law.shape, before).after
            steps.append(record)
            x = y
        base = self.law(law.base, x, context, types, f"{path}base.")
        return {"law": "pushforward", "base": base, "high": high, "low": low, "steps": steps}

    def _step(
        self,
        step: Any,
        x: Tensor,
        y: Tensor,
        before: tuple[int, int],
        context: dict[str, Any],
        types: dict[str, Type],
        path: str,
    ) -> dict[str, Any]:
        """The record of a step that takes x to y."""
        if isinstance(step, GridOffset):
            return {"step": "offset", "value": step.value}
        if isinstance(step, Permutation):
            return {"step": "permute", "index": self._store(f"{path}index", step.index.cpu().numpy())}
        if isinstance(step, InverseAutoregressive):
            return self._autoregressive(step, y, context, types, path)
        keeps = _generous(y)
        kept = {"low": keeps[0], "high": keeps[1]}
        if isinstance(step, ChannelScale):
            scale, shift = (values.double().cpu().numpy() for values in step.scale_and_shift())
            return {
                "step": "scale",
                "denominator": DENOMINATOR_BITS,
                "scales": self._store(f"{path}scales", np.round(np.exp(scale) * (1 << DENOMINATOR_BITS))),
                "shifts": self._store(f"{path}shifts", np.round(shift)),
                **kept,
            }
        if isinstance(step, AffineCoupling):
            limit = int(step.limit * (1 << LOG_SCALE_BITS))
            exponents = np.arange(-limit, limit + 1) / (1 << LOG_SCALE_BITS)
            table = np.round(np.exp(exponents) * (1 << DENOMINATOR_BITS)).astype(np.int64)
            # The network's first outputs become indices into the table of scales, the others shifts in grid steps.
            outputs = ((LOG_SCALE_BITS, 0, step.limit), (0, step.shift_bits, 0.0))
            record = self._coupling(step, x, keeps, outputs, context, types, path)
            scales = self._store("scales", table)
            return {"step": "coupling", "denominator": DENOMINATOR_BITS, "scales": scales, **record, **kept}
        if isinstance(step, AdditiveCoupling):
            own = (step.low, step.low + step.symbols - 1)
            if own != before:
                raise FreezeError(
                    f"expected additive couplings over what reaches them, integers from {before[0]} to {before[1]}, "
                    f"got one over {own[0]} to {own[1]}; give it that alphabet"
                )
            record = self._coupling(step, x, before, ((0, step.shift_bits, 0.0),), context, types, path)
            return {"step": "additive", **record}
        raise FreezeError(f"expected steps that are exactly invertible, got {type(step).__name__}")

    def _autoregressive(
        self, step: InverseAutoregressive, y: Tensor, context: dict[str, Any], types: dict[str, Type], path: str
    ) -> dict[str, Any]:
        """The step whose numbers are y on the side of the base, which its network sees."""
        conditional: Any = step.conditional
        symbols = conditional.leaf.symbols
        centre, unit_bits = conditional.leaf.standard
        zero = int(GATE_LIMIT * (1 << GATE_BITS))
        target = Target((GATE_BITS, 0), (0, unit_bits), (GATE_LIMIT, float(centre)))
        record = self._scheduled(conditional, y, context, types, path, symbols, target)
        logits = np.arange(-zero, zero + 1) / (1 << GATE_BITS)
        gates = np.round((1 << DENOMINATOR_BITS) / (1 + np.exp(-logits))).astype(np.int64)
        scales = self._store("gates", np.clip(gates, 1, 1 << DENOMINATOR_BITS))
        return {"step": "autoregressive", "denominator": DENOMINATOR_BITS, "scales": scales, **record}

    def _coupling(
        self,
        step: AffineCoupling | AdditiveCoupling,
        x: Tensor,
        seen: tuple[int, int],
        outputs: tuple[tuple[int, int, float], ...],
        context: dict[str, Any],
        types: dict[str, Type],
        path: str,
    ) -> dict[str, Any]:
        """What records of couplings share. outputs: fraction, gain and offset of each number that a network gives."""
        dims = len(step.moves)
        own = Type(
            (dims,) if step.shape is None else (step.shape[2], *step.shape[:2]), min(seen[0], 0), max(seen[1], 0)
        )
        count = int(step.moves.sum()) if step.shape is None else step.shape[2]
        fractions, gains, offsets = (tuple(np.repeat(values, count).tolist()) for values in zip(*outputs))
        given_types, given = self._context(step, context, types, scheduled=False)
        sample = step.kept(x.reshape(len(x), -1).round().float())
        network = self.network(
            step.network,
            ["x", *step.inputs],
            [own, *given_types],
            [sample, *given],
            Target(fractions, gains, offsets),
            path,
            self._scales(step, types),
        )
        return {
            "moves": self._store(f"{path}moves", step.moves.cpu().numpy()),
            "network": network,
            "shape": [dims] if step.shape is None else list(step.shape),
        }

    def _store(self, name: str, values: np.ndarray) -> str:
        return store(self.tensors, name, values)


def _repeated(value: Any, count: int) -> Any:
    """A context entry with one row per item, as often as the items are repeated; others as they are."""
    if not isinstance(value, Tensor):
        return value
    return value.repeat(count // len(value), *[1] * (value.ndim - 1))


def _generous(values: Tensor) -> tuple[int, int]:
    """A range for what calibration saw as ``values``, with as much room again on either side as they span."""
    low, high = math.floor(float(values.min())), math.ceil(float(values.max()))
    room = high - low + 64
    return max(low - room, -FLOAT32_EXACT), min(high + room, FLOAT32_EXACT)


def _range(record: dict[str, Any]) -> tuple[int, int]:
    """The bounds of the items of a law's record."""
    if "leaf" in record:
        return 0, int(record["leaf"]["symbols"]) - 1
    if record["law"] == "marginal":
        return _range(record["likelihood"])
    if record["law"] == "switch":
        return _range(record["laws"][0])
    if record["law"] == "pushforward":
        return int(record["low"]), int(record["high"])
    if record["law"] == "coarse":
        low, high = _range(record["base"])
        return low << record["bits"], ((high + 1) << record["bits"]) - 1
    if record["law"] == "chain":
        ranges = [_range(part["law"]) for part in record["parts"] if "law" in part]
        return min(low for low, _ in ranges), max(high for _, high in ranges)
    raise FreezeError(f"the alphabet of a law {record['law']!r} is not known")


def _symbols(record: dict[str, Any]) -> int:
    """The alphabet of the items of a law's record."""
    return _range(record)[1] + 1


def _latent_type(prior: dict[str, Any], z: Tensor) -> Type:
    shape = tuple(z.shape[1:])
    return Type(() if shape == (1,) else shape, *_range(prior))


def leaf_record(leaf: Any) -> dict[str, Any]:
    bits = GRID_BITS if leaf.family == "gaussian" else TOTAL_BITS
    record = {"family": leaf.family, "symbols": int(leaf.symbols), "bits": bits}
    if leaf.components > 1:
        record["components"] = int(leaf.components)
    return record


def target_of(leaf: Any) -> Target:
    """The integer units of a leaf's parameters, and the gain and offset that its torch form applies to them."""
    from codelength.coding.frequencies import Leaf

    fractions = Leaf(leaf.family, int(leaf.symbols), TOTAL_BITS, int(leaf.components)).fraction_bits
    gains = tuple(getattr(leaf, "gain_bits", (0,) * len(fractions)))
    offsets = tuple(getattr(leaf, "offsets", (0.0,) * len(fractions)))
    return Target(fractions, gains, offsets)
