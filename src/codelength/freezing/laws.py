"""Freezing of laws: a record for each kind, by the side of what the laws around it need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codelength.errors import FreezeError
from codelength.exact.operations import Type
from codelength.freezing.draft import TOTAL_BITS, Draft, FeatureType, Scope, leaf_record, target_of
from codelength.freezing.steps import freeze_step, generous
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.program import STEPS
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.switch import Switch
from codelength.networks.conditionals import Features, NetworkConditional, UniformIndex

#: Components of a mixture that each calibration item is seen under.
CALIBRATION_DRAWS = 4


@dataclass(frozen=True)
class Frozen:
    """record: of the program. low, high: bounds of the items. exports: types of ``Law.exports``."""

    record: dict[str, Any]
    low: int
    high: int
    exports: dict[str, Type] = field(default_factory=dict)

    def as_context(self, z: Tensor) -> Type:
        """Of items z (n, *shape) that others see: a single number has no axes."""
        shape = tuple(z.shape[1:])
        return Type(() if shape == (1,) else shape, self.low, self.high)


@singledispatch
def freeze_law(law: Law, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    """The law on integers; x (n, *shape) are calibration items that follow it where it stands.

    Raises FreezeError for laws that have no record.
    """
    raise FreezeError(f"expected a law that can be frozen, got {type(law).__name__}")


@freeze_law.register
def _sequential(law: Sequential, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    conditional = law.conditional
    leaf, symbols = leaf_record(conditional.leaf), int(conditional.leaf.symbols)
    record = draft.scheduled(conditional, x, scope, symbols, target_of(conditional.leaf))
    shape = list(conditional.shape)
    return Frozen({"law": "sequential", "leaf": leaf, **record, "shape": shape}, 0, symbols - 1)


@freeze_law.register
def _independent(law: Independent, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    conditional = law.conditional
    if isinstance(conditional, UniformIndex):
        leaf: dict[str, Any] = {"family": "categorical", "symbols": conditional.count, "bits": TOTAL_BITS}
        zeros = draft.store("zeros", np.zeros(conditional.count, np.int64))
        constant = {"op": "constant", "x": 0, "values": zeros}
        network: dict[str, Any] = {"inputs": ["count"], "operations": [constant], "output": 1}
    elif isinstance(conditional, NetworkConditional):
        leaf = leaf_record(conditional.leaf)
        network, _ = draft.network(conditional, scope, target_of(conditional.leaf))
    else:
        raise FreezeError(f"expected a network conditional, got {type(conditional).__name__}")
    shape = list(conditional.shape)
    return Frozen({"law": "independent", "leaf": leaf, "network": network, "shape": shape}, 0, leaf["symbols"] - 1)


@freeze_law.register
def _marginal(law: Marginal, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    generator = torch.Generator().manual_seed(0)
    if isinstance(law.posterior, Responsibilities):
        # Every component meets calibration items, and each item several of them: a unit may speak up in one
        # order only, and what calibration has not seen of it would be clamped.
        x = x.repeat(CALIBRATION_DRAWS, *[1] * (x.ndim - 1))
        scope = replace(scope, context={name: _repeated(value, len(x)) for name, value in scope.context.items()})
        z = law.prior.sample(len(x), scope.context, generator)
    else:
        z = law.posterior.sample(len(x), {**scope.context, law.item: x}, generator)
    prior = freeze_law(law.prior, z, scope.within(f"{law.latent}.prior"), draft)
    given = {law.latent: z, **law.prior.exports(z, scope.context)}
    types = {law.latent: prior.as_context(z), **prior.exports}
    likelihood = freeze_law(law.likelihood, x, scope.knowing(given, types), draft)
    item = Type(tuple(x.shape[1:]), likelihood.low, likelihood.high)
    seen = scope.knowing({law.item: x}, {law.item: item}).within(f"{law.latent}.posterior")
    posterior = freeze_law(law.posterior, z, seen, draft)
    record = {
        "law": "marginal",
        "latent": law.latent,
        "likelihood": likelihood.record,
        "posterior": posterior.record,
        "prior": prior.record,
    }
    return Frozen(record if law.item == "x" else {**record, "item": law.item}, likelihood.low, likelihood.high)


@freeze_law.register
def _responsibilities(law: Responsibilities, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    return Frozen({"law": "responsibilities"}, 0, law.count - 1)


@freeze_law.register
def _switch(law: Switch, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    """Every component is shown all items, whatever chooses among them."""
    parts = [freeze_law(part, x, scope.within(name), draft) for name, part in law.children().items()]
    record = {"law": "switch", "index": law.index, "laws": [part.record for part in parts]}
    return Frozen(record, min(part.low for part in parts), max(part.high for part in parts))


@freeze_law.register
def _chain(law: Chain, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    parts: list[dict[str, Any]] = []
    groups: list[Frozen] = []
    exports: dict[str, Type] = {}
    flat = x.reshape(len(x), -1)

    def here(part: Group | Define, context: dict[str, Any]) -> Scope:
        return Scope(context, {**scope.types, **exports}, scope.path).within(part.name)

    def group(part: Group, context: dict[str, Any]) -> Tensor:
        values = part.of(flat)
        place = here(part, context)
        frozen = freeze_law(part.law, values, place, draft)
        places = draft.store(f"{place.path}places", np.asarray(part.places))
        parts.append({"group": part.name, "law": frozen.record, "places": places})
        groups.append(frozen)
        exports[part.name] = frozen.as_context(values)
        return values

    def define(part: Define, context: dict[str, Any]) -> Tensor:
        if not isinstance(part.features, Features):
            raise FreezeError(f"expected features of a network, got {type(part.features).__name__}")
        network, given = draft.network(part.features, here(part, context), None)
        parts.append({"define": part.name, "network": network})
        exports[part.name] = FeatureType(*given)
        return part.features(context, len(x))

    law.walk(scope.context, len(x), group, define)
    low, high = min(part.low for part in groups), max(part.high for part in groups)
    return Frozen({"law": "chain", "parts": parts, "shape": list(law.shape)}, low, high, exports)


@freeze_law.register
def _pushforward(law: Pushforward, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    """Steps on integers, each proved like the loader does it; each keeps a range that calibration chooses."""
    low, high = (law.low, law.low + law.symbols - 1) if law.symbols is not None else generous(x)
    before, steps = (low, high), []
    for name, step in law.conditionals().items():
        y, _ = step.determinant(x, scope.context)
        record = freeze_step(step, x, y, before, scope.within(name), draft)
        fields = {key: value for key, value in record.items() if key != "step"}
        before = STEPS[record["step"]].read(fields, draft.tensors, scope.types, law.shape, before).after
        steps.append(record)
        x = y
    base = freeze_law(law.base, x, scope.within("base"), draft)
    return Frozen({"law": "pushforward", "base": base.record, "high": high, "low": low, "steps": steps}, low, high)


@freeze_law.register
def _coarse(law: Coarse, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    (bins,) = law.placed(x, scope.context)
    base = freeze_law(bins.law, bins.x, scope, draft)
    low, high = base.low << law.bits, ((base.high + 1) << law.bits) - 1
    return Frozen({"law": "coarse", "base": base.record, "bits": law.bits}, low, high)


@freeze_law.register
def _floor(law: Floor, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    latent = scope.types[law.latent]
    record = {"law": "floor", "bits": law.bits, "latent": law.latent}
    return Frozen(record, latent.low >> law.bits, latent.high >> law.bits)


@freeze_law.register
def _cell(law: Cell, x: Tensor, scope: Scope, draft: Draft) -> Frozen:
    item = scope.types["x"]
    return Frozen({"law": "cell", "bits": law.bits}, item.low << law.bits, ((item.high + 1) << law.bits) - 1)


def _repeated(value: Any, count: int) -> Any:
    """A context entry with one row per item, as often as the items are repeated; others as they are."""
    if not isinstance(value, Tensor):
        return value
    return value.repeat(count // len(value), *[1] * (value.ndim - 1))
