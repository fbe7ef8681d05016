"""Programs as data: the tree of laws of a frozen model, read from JSON and proved anew (docs/format.md, "Laws").

Nothing in a file is believed: every name, index, shape and bound is checked here or in ``exact`` before anything
is run. Unknown laws and operations are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from codelength.adaptive.program import Program
from codelength.coding.categories import pop_table, push_table
from codelength.coding.frequencies import Leaf
from codelength.coding.logarithm import LENGTH_BITS, exp2_fixed, log2_fixed, responsibilities
from codelength.coding.stack import Stack
from codelength.errors import ProgramError, UnknownFeature
from codelength.exact.autoregressive import AutoregressiveStep
from codelength.exact.conditional import FrozenFeatures, IndependentConditional, SequentialConditional
from codelength.exact.network import Network, is_integer, read_object
from codelength.exact.operations import Tensors, Type, require
from codelength.exact.schedule import DegreeSchedule, schedule_from_json
from codelength.exact.steps import PLAIN_STEPS, Step
from codelength.exact.uniform import CellCodec
from codelength.laws.adaptive import Adaptive
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import MAX_COMPONENTS, Marginal, Responsibilities
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.switch import Switch

if TYPE_CHECKING:
    from codelength.exact.conditional import Elements
    from codelength.laws import protocols

MAX_DEPTH = 16
#: Groups and features of a chain.
MAX_PARTS = 1024
MAX_DIMS = 1 << 24
#: Multiplications of parallel passes, and operations of raster schedules at their steps, for one item (docs/format.md,
#: "Limits"): each a minute or two of one processor.
MAX_WORK = 1 << 38
MAX_STEPS = 1 << 23
FEATURES = {
    "independent": 32,
    "sequential": 33,
    "marginal": 34,
    "responsibilities": 35,
    "switch": 36,
    "pushforward": 37,
    "floor": 38,
    "cell": 39,
    "coarse": 50,
    "chain": 60,
    "adaptive": 62,
}
#: Every kind of step of a flow that this version reads.
STEPS: dict[str, type[Step]] = {**PLAIN_STEPS, AutoregressiveStep.name: AutoregressiveStep}
#: Every feature number that this version reads: leaves, operations, laws, schedules.
LEAF_FEATURES = {"bernoulli": 1, "categorical": 2, "logistic_mixture": 3, "gaussian": 4, "beta_binomial": 5}


@dataclass
class Built:
    """A law, the type of its items, the features that it uses, and the types of what it hands on (``exports``)."""

    law: Law
    item: Type
    features: set[int]
    free: bool = False
    latents: bool = False
    work: int = 0
    steps: int = 0
    exports: dict[str, Type] = field(default_factory=dict)


def _shape(record: Any, what: str) -> tuple[int | None, ...]:
    require(isinstance(record, list) and len(record) <= 3, f"the shape of {what} is not a short list")
    for size in record:
        require(size is None or (is_integer(size) and 1 <= size <= MAX_DIMS), f"the shape of {what} has an odd size")
    require(math.prod(size or 1 for size in record) <= MAX_DIMS, f"{what} has more elements than allowed")
    require(None not in record[2:], f"the shape of {what} has another free size than height and width")
    return tuple(record)


def read_leaf(record: Any) -> Leaf:
    record = read_object(record, {"family", "symbols"}, "a leaf", {"bits", "components"})
    if not isinstance(record["family"], str) or record["family"] not in LEAF_FEATURES:
        raise UnknownFeature(f"this model needs the leaf {record['family']!r}, which this version does not know")
    return Leaf(record["family"], record["symbols"], record.get("bits", 24), record.get("components", 1))


class MixtureCodec:
    """Codes the index of a finite mixture from the integer code lengths of its components."""

    def __init__(self, count: int, bits: int = 24) -> None:
        self.bits = bits
        self.none = np.zeros(count, np.int64)

    def push(self, stack: Stack, index: np.ndarray, lengths: np.ndarray) -> None:
        push_table(responsibilities(lengths, self.none, self.bits), index.reshape(-1), self.bits, stack)

    def pop(self, stack: Stack, lengths: np.ndarray) -> np.ndarray:
        return pop_table(responsibilities(lengths, self.none, self.bits), self.bits, stack)[:, None]

    def evidence(self, lengths: np.ndarray) -> np.ndarray:
        """-log2 of the sum of the components' probabilities, in units of 2^-20 bits, by integers alone."""
        least = lengths.min(1)
        out = np.empty_like(least)
        for i, row in enumerate(lengths):
            total = sum(int(exp2_fixed(int(v - least[i]))) for v in row)
            out[i] = least[i] - (int(log2_fixed(total)) - (30 << LENGTH_BITS))
        return out


def build(record: Any, tensors: Tensors, context: dict[str, Type], depth: int = 0) -> Built:
    """The law of a JSON record, given the types of the context in which it stands.

    Raises ProgramError where anything does not hold, UnknownFeature for a law that this version does not know.
    """
    require(depth <= MAX_DEPTH, "laws are nested too deeply")
    require(isinstance(record, dict) and isinstance(record.get("law"), str), "a law without a name")
    builder = _BUILDERS.get(record["law"])
    if builder is None:
        raise UnknownFeature(f"this model needs the law {record['law']!r}, which this version does not know")
    built = builder({k: v for k, v in record.items() if k != "law"}, tensors, context, depth + 1)
    built.features.add(FEATURES[record["law"]])
    require(built.work <= MAX_WORK, "to code one item takes more work than allowed")
    require(built.steps <= MAX_STEPS, "to decode one item takes more steps than allowed")
    return built


def _leafy(record: Any, keys: set[str], what: str) -> tuple[Leaf, Network, tuple[int | None, ...]]:
    read_object(record, keys, what)
    return read_leaf(record["leaf"]), Network.from_json(record["network"]), _shape(record["shape"], what)


def _item_type(shape: tuple[int | None, ...], leaf: Leaf) -> Type:
    return Type(tuple(8 if size is None else size for size in shape), 0, leaf.symbols - 1)


def _independent(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    leaf, network, shape = _leafy(record, {"leaf", "network", "shape"}, "an independent law")
    require(None not in shape, "an independent law needs items of one size")
    require(len(network.inputs) >= 1, "a network needs an input; a constant can hang on the count")
    conditional = IndependentConditional(leaf, network, shape, tensors, {**context, "count": _COUNT})
    features = network.features | {LEAF_FEATURES[leaf.family]}
    return Built(Independent(conditional), _item_type(shape, leaf), features, work=conditional.work)


#: The input of networks that depend on nothing: one zero per item.
_COUNT = Type((1,), 0, 0)


def _sequential(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    leaf, network, shape = _leafy(record, {"leaf", "network", "shape", "schedule"}, "a sequential law")
    schedule = schedule_from_json(record["schedule"])
    conditional = SequentialConditional(leaf, network, shape, tensors, {**context, "count": _COUNT}, schedule)
    features = network.features | {LEAF_FEATURES[leaf.family], schedule.feature}
    item = _item_type(shape, leaf)
    law = Sequential(conditional)
    return Built(law, item, features, free=None in shape, work=conditional.work, steps=conditional.steps)


def _marginal(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"latent", "prior", "likelihood", "posterior"}, "a marginal law", {"item"})
    latent, item = record["latent"], record.get("item", "x")
    require(isinstance(latent, str) and latent not in ("x", "count", "shape"), "a latent without a proper name")
    require(latent not in context, f"two latents share the name {latent!r}")
    require("item" not in record or _is_new(item, {**context, latent: _COUNT}), "an item without a name of its own")
    prior = build(record["prior"], tensors, context, depth)
    require(not prior.free, "a latent needs one size")
    require(latent not in prior.exports, f"a latent shares the name {latent!r} with what its prior hands on")
    given = {**context, latent: _as_context(prior.item), **prior.exports}
    likelihood = build(record["likelihood"], tensors, given, depth)
    features = prior.features | likelihood.features
    work, steps = prior.work + likelihood.work, prior.steps + likelihood.steps
    posterior_record = record["posterior"]
    if isinstance(posterior_record, dict) and posterior_record.get("law") == "responsibilities":
        read_object(posterior_record, {"law"}, "responsibilities")
        count = prior.item.high + 1
        require(prior.item.shape == (1,) and prior.item.low == 0, "responsibilities need a single index as latent")
        require(1 <= count <= MAX_COMPONENTS, f"a mixture of {count} components")
        require(item == "x", "responsibilities know the item as x")
        require(prior.law.has_lengths() and likelihood.law.has_lengths(), "responsibilities need exact components")
        work *= 1 + count
        posterior: Law = Responsibilities(latent, count, prior.law, likelihood.law, MixtureCodec(count))
        features.add(FEATURES["responsibilities"])
    else:
        require(not likelihood.free, "a posterior over images of free size")
        other = build(posterior_record, tensors, {**context, item: likelihood.item}, depth)
        same = other.item.shape == prior.item.shape
        inside = prior.item.low <= other.item.low and other.item.high <= prior.item.high
        require(same and inside, "posterior and prior are not about the same latent")
        require(other.law.has_median(), "a posterior that cannot choose the latents of a first item")
        posterior, features = other.law, features | other.features
        work, steps = work + other.work, steps + other.steps
    law = Marginal(latent, prior.law, likelihood.law, posterior, item)
    return Built(law, likelihood.item, features, free=likelihood.free, latents=True, work=work, steps=steps)


def _is_new(name: Any, context: Mapping[str, Type]) -> bool:
    """Whether something may stand in the context under this name."""
    return isinstance(name, str) and name not in ("x", "count", "shape") and name not in context


def _chain(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"parts", "shape"}, "a chain")
    shape = _shape(record["shape"], "a chain")
    require(None not in shape, "a chain needs items of one size")
    dims = math.prod(s for s in shape if s is not None)
    require(isinstance(record["parts"], list) and 1 <= len(record["parts"]) <= MAX_PARTS, "parts are not a short list")
    parts: list[Group | Define] = []
    built: list[Built] = []
    features: set[int] = set()
    exports: dict[str, Type] = {}
    work = steps = 0
    for part in record["parts"]:
        require(isinstance(part, dict) and ("define" in part) != ("group" in part), "a part is no group and no feature")
        given = {**context, **exports}
        name = part.get("define", part.get("group"))
        require(_is_new(name, given), f"a part of a chain has the name {name!r:.40}, which is none of its own")
        if "define" in part:
            read_object(part, {"define", "network"}, "a feature")
            network = Network.from_json(part["network"])
            require(len(network.inputs) >= 1, "a network needs an input; a constant can hang on the count")
            made = FrozenFeatures(network, tensors, {**given, "count": _COUNT})
            features |= network.features
            exports[name] = made.output
            work += made.work
            parts.append(Define(name, made))
            continue
        read_object(part, {"group", "law", "places"}, "a group")
        require(isinstance(part["places"], str) and part["places"] in tensors, "a group names no tensor of its places")
        places = tensors[part["places"]].astype(np.int64)
        law = build(part["law"], tensors, given, depth)
        require(not law.free, "a group needs items of one size")
        inside = bool(((places >= 0) & (places < dims)).all())
        require(places.shape == (math.prod(law.item.shape),) and inside, "a group's places do not fit its law")
        built.append(law)
        parts.append(Group(name, places, law.item.shape, law.law))
        exports[name] = _as_context(law.item)
        features |= law.features
        work, steps = work + law.work, steps + law.steps
    require(len(built) >= 1, "a chain without groups")
    everywhere = np.concatenate([part.places for part in parts if isinstance(part, Group)])
    require(np.array_equal(np.sort(everywhere), np.arange(dims)), "the groups of a chain do not make up its items")
    item = Type(
        tuple(s for s in shape if s is not None), min(b.item.low for b in built), max(b.item.high for b in built)
    )
    chain = Chain(parts, item.shape)
    latents = any(b.latents for b in built)
    return Built(chain, item, features, latents=latents, work=work, steps=steps, exports=exports)


def _as_context(item: Type) -> Type:
    """How a latent is seen by networks: a single index has no axes."""
    return Type((), item.low, item.high) if item.shape == (1,) else item


def _switch(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"index", "laws"}, "a switch")
    name, records = record["index"], record["laws"]
    require(isinstance(name, str) and name in context, f"a switch on {name!r}, which is not known there")
    require(isinstance(records, list) and 1 <= len(records) <= MAX_COMPONENTS, "a switch without a list of laws")
    index = context[name]
    require(index.shape == () and index.low >= 0 and index.high < len(records), "an index can leave its switch")
    parts = [build(r, tensors, context, depth) for r in records]
    first = parts[0]
    for part in parts:
        require(part.item.shape == first.item.shape and part.free == first.free, "laws of a switch differ in shape")
    item = Type(first.item.shape, min(p.item.low for p in parts), max(p.item.high for p in parts))
    law = Switch(name, [p.law for p in parts])
    features = set().union(*(part.features for part in parts))
    latents = any(part.latents for part in parts)
    work, steps = sum(part.work for part in parts), sum(part.steps for part in parts)
    return Built(law, item, features, first.free, latents, work, steps)


def _pushforward(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"base", "steps", "low", "high"}, "a pushforward")
    base = build(record["base"], tensors, context, depth)
    require(not base.free, "a pushforward needs items of one size")
    low, high = record["low"], record["high"]
    require(is_integer(low) and is_integer(high) and -(1 << 24) <= low <= high <= 1 << 24, "odd bounds of a flow")
    require(isinstance(record["steps"], list) and 1 <= len(record["steps"]) <= 256, "steps are not a short list")
    features, work = set(base.features), base.work
    steps: list[Step] = []
    bounds = (low, high)
    for step in record["steps"]:
        require(isinstance(step, dict), "a step is not an object")
        kind = STEPS.get(step.get("step")) if isinstance(step.get("step"), str) else None
        if kind is None:
            raise UnknownFeature(f"this model needs the step {step.get('step')!r}, which this version does not know")
        fields = {key: value for key, value in step.items() if key != "step"}
        steps.append(kind.read(fields, tensors, context, base.item.shape, bounds))
        bounds = steps[-1].after
        features |= steps[-1].features
        work += steps[-1].work
    if any(isinstance(step, AutoregressiveStep) for step in steps):  # as posteriors they may not clip what they draw
        inside = bounds[0] <= base.item.low and base.item.high <= bounds[1]
        require(inside, "the base of an autoregressive step leaves its range")
    law = Pushforward(base.law, steps, base.item.shape, high - low + 1, low)
    latents = base.latents or any(step.spends for step in steps)
    recursive = base.steps + sum(step.steps for step in steps)
    return Built(law, Type(base.item.shape, low, high), features, False, latents, work, recursive)


def _coarse(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"base", "bits"}, "a coarse law")
    base = build(record["base"], tensors, context, depth)
    bits = record["bits"]
    require(is_integer(bits) and 0 <= bits <= 20, "the bits of a coarse law are out of bounds")
    require(not base.free, "a coarse law needs items of one size")
    low, high = base.item.low << bits, ((base.item.high + 1) << bits) - 1
    require(max(-low, high) <= 1 << 24, "a coarse law leaves 2^24")
    law = Coarse(base.law, bits, CellCodec())
    item = Type(base.item.shape, low, high)
    return Built(law, item, base.features, False, base.latents, base.work, base.steps)


def _adaptive(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    require(depth == 1, "an adaptive law stands within another: its items are no items but a sequence")
    require("shape" in record, "an adaptive law has no shape")
    shape = _shape(record["shape"], "an adaptive law")
    program = Program.read({key: value for key, value in record.items() if key != "shape"}, tensors)
    # Of any size, always: so a golden vector, and with it loading a program, is never the work of a large image.
    require(shape[:2] == (None, None), "an adaptive law is one over images of any height and width")
    sizes = tuple(8 if size is None else size for size in shape)
    require(program.admits(sizes), "the shape of an adaptive law does not fit its channels")
    samples = math.prod(sizes)
    item = Type(sizes, 0, program.symbols - 1)
    return Built(Adaptive(program), item, set(), True, work=samples << 12, steps=samples)


def _floor(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"latent", "bits"}, "a floor")
    require(isinstance(record["latent"], str) and record["latent"] in context, "a floor of an unknown latent")
    require(is_integer(record["bits"]) and 0 <= record["bits"] <= 20, "the bits of a floor are out of bounds")
    u = context[record["latent"]]
    require(len(u.shape) >= 1, "a floor of a single index")
    law = Floor(record["latent"], record["bits"])
    return Built(law, Type(u.shape, u.low >> law.bits, u.high >> law.bits), set())


def _cell(record: Any, tensors: Tensors, context: dict[str, Type], depth: int) -> Built:
    read_object(record, {"bits"}, "a cell")
    require(is_integer(record["bits"]) and 0 <= record["bits"] <= 20, "the bits of a cell are out of bounds")
    require("x" in context, "a cell stands where no item is known")
    x, bits = context["x"], record["bits"]
    low, high = x.low << bits, ((x.high + 1) << bits) - 1
    require(max(-low, high) <= 1 << 24, "a cell leaves 2^24")
    return Built(Cell(bits, CellCodec()), Type(x.shape, low, high), set())


_BUILDERS = {
    "independent": _independent,
    "sequential": _sequential,
    "marginal": _marginal,
    "switch": _switch,
    "pushforward": _pushforward,
    "floor": _floor,
    "cell": _cell,
    "coarse": _coarse,
    "chain": _chain,
    "adaptive": _adaptive,
}

__all__ = ["Built", "DegreeSchedule", "ProgramError", "build", "read_leaf"]


if TYPE_CHECKING:  # what laws ask of these classes, which mypy holds them to
    _leaf: type[protocols.IntegerLeaf] = Leaf
    _elements: type[protocols.IntegerElements] = Elements
    _conditional: type[protocols.IntegerConditional] = IndependentConditional
    _scheduled: type[protocols.IntegerScheduled] = SequentialConditional
    _features: type[protocols.IntegerFeatures] = FrozenFeatures
    _step: type[protocols.IntegerStep] = Step
    _placing: type[protocols.PlacingStep] = AutoregressiveStep
    _low_bits: type[protocols.LowBits[np.ndarray]] = CellCodec
