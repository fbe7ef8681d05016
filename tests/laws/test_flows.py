"""Flows: determinants against autograd, steps against their ranges and prices, coarse laws, and records that lie.

The models are those of the contract tests and of the golden archives.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import contract_models
import golden_models
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codelength.coding.stack import Stack
from codelength.errors import FreezeError, NoMedian, NotFrozen, NotRepresentable, ProgramError, UnknownFeature
from codelength.exact.steps import AdditiveStep, CouplingStep, PermuteStep, ScaleStep, Step
from codelength.exact.uniform import MAX_UNIFORM, push_uniform
from codelength.freezing import freeze
from codelength.freezing.thaw import thaw
from codelength.laws.chain import Chain, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.program import build
from codelength.laws.pushforward import Cell, Floor, Pushforward
from codelength.laws.space import Space
from codelength.networks.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    GridOffset,
    Permutation,
    UniformCell,
    channel_mask,
    checkerboard,
    squeeze,
)
from codelength.networks.masked import InputScale

#: Bits an element: states of lanes are whole numbers, so that symbols cost a little more or less than promised.
NOISE = 2e-4
AFFINE = ("affine flow", "flow on images", "flow on colour images")
DISCRETE = ("discrete flow", "discrete flow on images")


def perturbed(name: str, seed: int = 0) -> Any:
    """A model of the contract tests with weights that leave no step an identity."""
    torch.manual_seed(seed)
    model = contract_models.MODELS[name].build()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def flows(law: Law, x: Tensor) -> Iterator[tuple[Pushforward, Tensor]]:
    """The flows of a law, those within chains too, each with items that reach it."""
    if isinstance(law, Pushforward):
        yield law, x
        yield from flows(law.base, law.normal(x, {})[0])
    elif isinstance(law, Chain):
        for group in law.groups:
            yield from flows(group.law, group.of(x.reshape(len(x), -1)))


def flow_of(model: Any) -> Law:
    law = model.law()
    return law.prior if isinstance(law, Marginal) else law


# ---- floating point ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AFFINE)
def test_log_determinants_are_those_of_autograd(name: str) -> None:
    """In float64 throughout. An LU factorisation gives log |det J| with an error of some D eps cond(J), so the
    tolerance is that, and the condition number (1e2 to 1e5 here) is asserted to leave ten digits."""
    model = perturbed(name).double()
    shape = contract_models.MODELS[name].shapes[0]
    u = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 400
    found = list(flows(flow_of(model), u))
    assert len(found) == (1 if name == "affine flow" else 2)
    for law, x in found:
        x = x.detach()
        y, change = law.normal(x, {})
        assert y.dtype == torch.float64 and change.dtype == torch.float64
        change = change.expand(len(x))
        for i in range(len(x)):
            jacobian = torch.autograd.functional.jacobian(
                lambda flat, law=law, x=x: law.normal(flat.reshape(1, *x.shape[1:]), {})[0].reshape(-1),
                x[i].reshape(-1),
            )
            condition = float(torch.linalg.cond(jacobian))
            assert condition < 1e6
            error = abs(float(torch.linalg.slogdet(jacobian).logabsdet) - float(change[i].detach()))
            assert error < 4 * torch.finfo(torch.float64).eps * len(jacobian) * condition
            assert abs(float(change[i].detach())) > 0.1
        back = y
        for step in reversed(law.steps):
            back = step.invert(back, {})
        assert float((back - x).abs().max().detach()) < 1e-9


@pytest.mark.parametrize("name", [*AFFINE, *DISCRETE, "lattices of pixels"])
def test_training_reaches_every_weight(name: str) -> None:
    model = perturbed(name)
    items = torch.from_numpy(contract_models.training_items(contract_models.MODELS[name], model.space.symbols)[:100])
    context = {"shape": items.shape[1:], "generator": torch.Generator().manual_seed(0)}
    (-model.law().log_prob(items, context).mean()).backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not without


@pytest.mark.parametrize("name", [*AFFINE, *DISCRETE])
def test_draws_lie_on_the_grid_of_the_items(name: str) -> None:
    law = flow_of(perturbed(name))
    assert isinstance(law, Pushforward) and law.symbols is not None
    drawn = law.sample(50, {}, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and drawn.min() >= law.low and drawn.max() < law.low + law.symbols


def test_squares_of_pixels_become_channels() -> None:
    step, shape = squeeze((4, 6, 3))
    assert shape == (2, 3, 12)
    x = torch.arange(2 * 72).reshape(2, 4, 6, 3)
    y = step.determinant(x, {})[0].reshape(2, *shape)
    for n, i, j, a, b, c in itertools.product(range(2), range(2), range(3), range(2), range(2), range(3)):
        assert y[n, i, j, (a * 2 + b) * 3 + c] == x[n, 2 * i + a, 2 * j + b, c]
    assert torch.equal(step.invert(y.reshape(x.shape), {}), x)
    with pytest.raises(ValueError, match="multiples of 2, got 3 x 4"):
        squeeze((3, 4, 1))
    with pytest.raises(ValueError, match="a permutation of 0 to 2"):
        Permutation(torch.tensor([0, 2, 2]))


def test_masks() -> None:
    assert checkerboard((2, 3, 2), 1)[:, :, 1].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert channel_mask((1, 1, 4), last=False).reshape(-1).tolist() == [1, 1, 0, 0]
    assert torch.equal(channel_mask((2, 2, 4), last=True) + channel_mask((2, 2, 4), last=False), torch.ones(2, 2, 4))


def test_additive_couplings_over_another_alphabet_are_refused() -> None:
    class Odd(contract_models.DiscreteFlow):
        def law(self) -> Law:
            law = super().law()
            return Pushforward(law.base, [GridOffset(1), *law.steps], law.shape, 5)

    torch.manual_seed(0)
    with pytest.raises(FreezeError, match="integers from 1 to 5, got one over 0 to 4"):
        freeze(Odd(), np.zeros((40, 2, 2), np.int64))


class Conditional(contract_models.Lawful):
    """Two groups of two elements; the second follows a flow whose couplings, of vectors, see the first as context."""

    def __init__(self) -> None:
        super().__init__(Space((4,), 4))

        class Both(nn.Module):
            def __init__(self, outputs: int) -> None:
                super().__init__()
                self.own, self.other = InputScale(0, 5), InputScale(0, 5)
                self.first, self.second = nn.Linear(2, 8), nn.Linear(2, 8)
                self.last = nn.Linear(8, outputs)

            def forward(self, x: Tensor, first: Tensor) -> Tensor:
                return self.last(torch.relu(self.first(self.own(x)) + self.second(self.other(first))))

        self.base = contract_models.NetworkConditional(
            contract_models.Constant(4), contract_models.Normal(1024, reach=8), (2,), ()
        )
        self.steps = nn.ModuleList(
            [
                GridOffset(-64),
                *(AffineCoupling(torch.tensor(moves), Both(2), 3, inputs=("first",)) for moves in ([1, 0], [0, 1])),
                GridOffset(512),
            ]
        )

    def law(self) -> Law:
        offset = Pushforward(Independent(self.base), [GridOffset(400)], (2,))
        flow = Pushforward(Independent(self.base), list(self.steps), (2,))
        groups = [Group("first", torch.tensor([0, 2]), (2,), offset), Group("second", torch.tensor([1, 3]), (2,), flow)]
        prior = Pushforward(Chain(groups, (4,)), [GridOffset(0)], (4,), 4 << 5)
        return Marginal("u", prior, Floor("u", 5), Cell(5, UniformCell()))


def test_couplings_see_what_stands_in_the_context() -> None:
    torch.manual_seed(0)
    model = Conditional()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    items = np.random.default_rng(0).integers(0, 4, (300, 4))
    frozen = freeze(model, items)
    steps = frozen.structure["law"]["prior"]["base"]["parts"][1]["law"]["steps"]
    assert [step["step"] for step in steps] == ["offset", "coupling", "coupling", "offset"]
    assert steps[1]["network"]["inputs"] == ["x", "first"]
    x, context = torch.from_numpy(items), {"shape": (4,)}
    sizes, words = frozen.encode_block(items)
    assert np.array_equal(frozen.decode_block(words, sizes, (4,)), items)
    with torch.no_grad():
        found = [
            torch.stack(
                [
                    law.log_prob(x, {**context, "generator": torch.Generator().manual_seed(seed)}).double()
                    for seed in range(10)
                ]
            ).mean(0)
            for law in (model.law(), thaw(frozen).law())
        ]
    assert float((found[0] - found[1]).abs().max()) < 0.05 * float(found[0].abs().mean())
    bits = np.mean([frozen.code_length_bits(items, seed=seed) for seed in range(10)])
    assert bits == pytest.approx(-float(found[0].mean()) / math.log(2), rel=0.01)


def test_a_chain_samples_on_the_grid_what_its_flows_draw_beside_it() -> None:
    torch.manual_seed(0)
    chain = Conditional().law().prior.base  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = chain.draw(50, {}, generator)[0]
        sampled, exports = chain.sample_exporting(50, {}, generator.manual_seed(0))
    assert not torch.equal(drawn, drawn.round())  # scales leave the grid
    assert not sampled.is_floating_point() and sampled.shape == (50, 4)
    assert torch.equal(sampled[:, [1, 3]], exports["second"])


# ---- steps on integers -----------------------------------------------------------------------------------------


def steps_of(frozen: FrozenModel) -> list[Step]:
    """All steps of a golden model, those within its chain too."""
    law: Any = frozen.law.prior if isinstance(frozen.law, Marginal) else frozen.law
    steps = list(law.steps)
    if isinstance(law.base, Chain):
        steps += [step for group in law.base.groups if isinstance(group.law, Pushforward) for step in group.law.steps]
    return steps


STEPS = [*steps_of(golden_models.multiscale()), *steps_of(golden_models.discrete())]
each_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name} {step.before} {step.after}")


def elements(step: Step) -> int:
    if isinstance(step, CouplingStep | AdditiveStep):
        return math.prod(step.shape)
    return len(step.index) if isinstance(step, PermuteStep) else 8


def fitting(step: Step, count: int, seed: int) -> np.ndarray:
    """Items (count, D) that a step takes: those that it gives for values well within its range."""
    rng = np.random.default_rng(seed)
    low, high = max(step.before[0], step.after[0]), min(step.before[1], step.after[1])
    if step.name == "offset":
        low, high = step.before
    middle, half = (low + high) // 2, max((high - low) // 6, 1)
    if isinstance(step, AdditiveStep):
        return rng.integers(low, high + 1, (count, elements(step)))
    return np.clip(rng.integers(middle - half, middle + half, (count, elements(step))), low, high)


@each_step
@pytest.mark.parametrize("start", [False, True])
def test_a_step_is_undone_exactly_and_costs_minus_its_determinant(step: Step, start: bool) -> None:
    x = fitting(step, 300, 1)
    stack = Stack.seeded(2)
    before = stack.copy()
    y = step.forward(stack, x, {}, start)
    assert step.after[0] <= y.min() and y.max() <= step.after[1]
    _, nats = step.determinant(x, {})
    promised = -np.broadcast_to(nats, (300,)).sum() / math.log(2)
    if start and step.spends:
        assert stack.bits() > promised
    else:
        assert stack.bits() == pytest.approx(promised, abs=NOISE * x.size)
    assert np.array_equal(step.inverse(stack, y, {}, start), x)
    assert np.array_equal(stack.state, before.state)


@each_step
def test_whatever_lies_on_a_stack_steps_keep_their_range_and_mirror_it(step: Step) -> None:
    far = 1 << 24
    y = np.random.default_rng(3).integers(-far, far, (60, elements(step)))
    y[0], y[1] = -far, far
    x = step.inverse(Stack.seeded(4), y, {}, False)
    assert step.before[0] <= x.min() and x.max() <= step.before[1]


@each_step
def test_items_that_leave_a_range_are_refused_by_name(step: Step) -> None:
    x = fitting(step, 6, 5)
    x[2, 0], x[4, -1] = step.before[1] + 1, step.before[0] - 1
    with pytest.raises(NotRepresentable) as caught:
        step.forward(Stack.seeded(0), x, {}, False)
    assert caught.value.items == (2, 4)
    if step.spends and step.after[1] < step.before[1]:
        x = fitting(step, 6, 5)
        x[3] = step.before[1]
        with pytest.raises(NotRepresentable, match=f"from {step.after[0]} to {step.after[1]}, but item 3") as caught:
            step.forward(Stack.seeded(0), x, {}, False)


def test_a_flow_names_the_item_once_however_deep_the_step() -> None:
    frozen = golden_models.multiscale()
    items = frozen.sample(8, seed=1)
    law: Any = frozen.law.prior
    rest = law.base.groups[0].law
    u = np.repeat(items[:4].astype(np.int64) * 8, 1, 0)
    with pytest.raises(NotRepresentable) as caught:
        Pushforward(rest, [], (2, 2, 2), 8).push(Stack.seeded(0), np.full((3, 2, 2, 2), -1), {})
    assert str(caught.value).count("within a flow") == 1 and caught.value.items == (0, 1, 2)
    law.push(Stack.seeded(0), u, {})


def test_what_needs_integers_is_refused_in_floating_point() -> None:
    model = contract_models.InverseFlow()
    law: Any = model.law()
    x = torch.zeros(2, 6, dtype=torch.int64)
    with pytest.raises(NotFrozen, match="freeze it first"):
        law.posterior.median({"data": x}, 2)
    with pytest.raises(NotFrozen, match="freeze it first"):
        model.steps[0].place(x[:, :4], {})  # type: ignore[operator]
    with pytest.raises(NotFrozen, match="freeze it first"):
        law.likelihood.lengths(x, {"z": x[:, :4]})
    with pytest.raises(NoMedian, match="got the step GridOffset, which does not"):
        contract_models.AffineFlow().law().prior.median({}, 1)  # type: ignore[attr-defined]


def test_additive_steps_permute_all_items() -> None:
    frozen = golden_models.discrete()
    step = next(step for step in steps_of(frozen) if isinstance(step, AdditiveStep))
    rng = np.random.default_rng(0)
    rest = rng.integers(0, 5, 16)
    moving = step.places[:3]
    x = np.repeat(rest[None], 125, 0)
    x[:, moving] = list(itertools.product(range(5), repeat=3))
    y = step.forward(Stack(1), x, {}, False)
    assert len({tuple(row) for row in y.tolist()}) == 125 and y.min() >= 0 and y.max() <= 4


def test_an_exact_flow_has_lengths_and_no_latents() -> None:
    frozen = golden_models.discrete()
    assert frozen.kind == "exact" and not frozen.latents
    items = frozen.sample(30, seed=2)
    lengths = frozen.law.lengths(items, {"shape": (4, 4)}) / 2**20
    np.testing.assert_allclose(lengths, frozen.code_length_bits(items), atol=1e-3)
    stack = Stack(4)
    frozen.law.push(stack, items, {"shape": (4, 4)})
    assert stack.bits() == pytest.approx(lengths.sum(), abs=NOISE * items.size)
    assert golden_models.multiscale().law.prior.kind == "lower_bound"


# ---- prices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 4097, 223_000, 777_777, MAX_UNIFORM - 1, MAX_UNIFORM])
def test_uniform_symbols_cost_what_the_document_says(size: int) -> None:
    ends = np.arange(size + 1, dtype=np.int64) * (1 << 28) // size
    bits = 28 - np.log2(np.diff(ends).astype(np.float64))
    more = float(np.mean(bits) - math.log2(size))
    assert -1e-9 <= more <= 0.19 * (size / 2**28) ** 2 + 1e-12 and more < 2.8e-6
    assert size & (size - 1) or more == pytest.approx(0, abs=1e-12)


def test_uniform_symbols_cost_that_on_a_stack() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, MAX_UNIFORM, (400, 50))
    stack = Stack.seeded(1)
    push_uniform(stack, rng.integers(0, sizes), sizes)
    assert stack.bits() / sizes.size == pytest.approx(np.log2(sizes).mean(), abs=1e-4)


# ---- coarse laws ---------------------------------------------------------------------------------------------


def coarse_record(bits: int, symbols: int = 8) -> dict[str, Any]:
    network = {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "p"}], "output": 1}
    leaf = {"family": "gaussian", "symbols": symbols, "bits": 24}
    base = {"law": "independent", "leaf": leaf, "network": network, "shape": [2]}
    return {"law": "coarse", "base": base, "bits": bits}


PARAMETERS = {"p": np.array([64 * 3, 200, 64 * 5, 100], np.int32)}


def test_a_coarse_law_enumerates_to_one_and_codes_at_its_lengths() -> None:
    built = build(coarse_record(2), PARAMETERS, {})
    law = built.law
    assert isinstance(law, Coarse) and (built.item.low, built.item.high) == (0, 31) and not built.latents
    everything = np.array(list(itertools.product(range(32), repeat=2)))
    nats = law.log_prob(everything, {})
    assert math.fsum(np.exp(nats)) == pytest.approx(1, abs=1e-6)
    lengths = law.lengths(everything, {})
    np.testing.assert_allclose(lengths / 2**20, -nats / math.log(2), atol=1e-4)
    stack = Stack.seeded(3)
    before = stack.copy()
    law.push(stack, everything, {})
    assert stack.bits() == pytest.approx(-nats.sum() / math.log(2), abs=NOISE * everything.size)
    assert np.array_equal(law.pop(stack, len(everything), {}), everything)
    assert np.array_equal(stack.state, before.state)
    middle = law.median({}, 1)
    assert middle.tolist() == [[3 * 4 + 2, 5 * 4 + 2]]
    with pytest.raises(NotRepresentable) as caught:
        law.push(Stack(1), np.array([[0, 0], [31, 32]]), {})
    assert caught.value.items == (1,)


def test_a_coarse_density_is_smooth_and_agrees_with_its_bins() -> None:
    model = contract_models.MultiscaleFlow(1)
    law: Any = model.law().prior.base.groups[1].law
    context = {"rest": torch.full((40, *model.kept), 2100.0)}
    y = torch.linspace(1800, 2200, 40)[:, None, None, None].expand(40, *model.kept).clone().requires_grad_()
    smooth = law.log_prob(y, context)
    exact = law.log_prob(y.detach().round().long(), context)
    assert (smooth - exact).abs().max() < 0.01 * exact.abs().max()
    (gradient,) = torch.autograd.grad(smooth.sum(), y)
    assert bool((gradient != 0).any())


# ---- lies ----------------------------------------------------------------------------------------------------

Lie = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def put(value: Any, *path: Any) -> Lie:
    def lie(law: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        place: Any = law
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return lie


def tensor(value: Any, *path: Any) -> Lie:
    """Another tensor under the name that stands at a path."""

    def lie(law: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors["lie"] = np.asarray(value, np.int32)
        put("lie", *path)(law, tensors)

    return lie


COUPLING, PERMUTE, SCALE = (("prior", "steps", k) for k in range(3))
LIES = [
    ("no range", put(None, *COUPLING, "low"), "the range that a step keeps"),
    ("range upside down", put(-91, *COUPLING, "high"), "the range that a step keeps"),
    ("range beyond 2^24", put(2**24 + 1, *SCALE, "high"), "the range that a step keeps"),
    ("range of true", put(True, *SCALE, "high"), "the range that a step keeps"),
    ("shape of two sizes", put([4, 4], *COUPLING, "shape"), "neither that of a vector nor that of an image"),
    ("shape of another size", put([4, 5, 1], *COUPLING, "shape"), "does not fit the items"),
    ("shape of nothing", put([0], *COUPLING, "shape"), "neither that of a vector"),
    ("shape of a vector", put([16], *COUPLING, "shape"), "needs channels, rows and columns"),
    ("index that repeats", tensor([0] * 16, *PERMUTE, "index"), "no permutation"),
    ("index of another length", tensor(range(8), *PERMUTE, "index"), "does not fit"),
    ("index that is not there", put("nowhere", *PERMUTE, "index"), "does not hold"),
    ("scales of zero", tensor([0, 1, 2, 3], *SCALE, "scales"), "scale is out"),
    ("scales of three channels", tensor([1, 2, 3], *SCALE, "scales"), "do not fit the channels"),
    ("five channels", tensor([1] * 5, *SCALE, "shifts"), "do not fit the channels"),
    ("far shifts", tensor([2**25] * 4, *SCALE, "shifts"), "shift is out"),
    ("large denominator", put(21, *SCALE, "denominator"), "denominator"),
    ("unknown field", put(1, *PERMUTE, "low"), "unknown field"),
    ("unknown step", put("shear", *PERMUTE, "step"), "step 'shear'"),
    ("step of no name", put(["permute"], *PERMUTE, "step"), "which this version does not know"),
    ("coarse bits", put(21, "prior", "base", "parts", 1, "law", "bits"), "bits of a coarse law"),
    ("coarse beyond 2^24", put(20, "prior", "base", "parts", 1, "law", "bits"), "leaves 2\\^24"),
    ("coarse over nothing", put(3, "prior", "base", "parts", 1, "law", "base"), "without a name"),
]


@pytest.mark.parametrize(("lie", "sentence"), [pytest.param(lie, s, id=name) for name, lie, s in LIES])
def test_each_lie_is_refused_with_its_sentence(lie: Lie, sentence: str) -> None:
    frozen = golden_models.multiscale()
    law, tensors = copy.deepcopy(frozen.structure["law"]), dict(frozen.tensors)
    lie(law, tensors)
    with pytest.raises(ProgramError, match=sentence) as caught:
        build(law, tensors, {})
    assert isinstance(caught.value, UnknownFeature) == ("does not know" in str(caught.value))


def test_features_name_the_steps() -> None:
    assert {50, 51, 52, 53} <= set(golden_models.multiscale().features)
    assert {52, 54} <= set(golden_models.discrete().features) and 51 not in golden_models.discrete().features


def test_three_steps_of_the_old_kind_still_leave_every_range() -> None:
    """What ranges are for: a coupling that keeps none cannot follow two others."""
    law = copy.deepcopy(golden_models.flow().structure["law"])
    tensors = dict(golden_models.flow().tensors)
    steps = law["prior"]["steps"]
    tensors[steps[0]["scales"]] = tensors[steps[0]["scales"]] * 40
    law["prior"]["steps"] = [steps[0], steps[1]] * 3
    with pytest.raises(ProgramError, match="within 2\\^24"):
        build(law, tensors, {})


def test_scales_of_channels_start_as_the_identity() -> None:
    step = ChannelScale(3)
    x = torch.arange(12.0).reshape(2, 2, 3)
    y, change = step.determinant(x, {})
    assert torch.equal(x, y) and float(change.detach()) == 0
    assert isinstance(ScaleStep, type) and isinstance(AdditiveCoupling(torch.ones(2), nn.Identity(), 3), nn.Module)
