"""The chain rule over groups: enumeration, features computed once, and records that lie."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from codelength.coding.stack import Stack
from codelength.distributions import Bernoulli, Categorical, Normal
from codelength.errors import ProgramError
from codelength.exact.conditional import FrozenFeatures
from codelength.freezing import freeze
from codelength.freezing.thaw import thaw
from codelength.laws.chain import Chain, Define, Group
from codelength.laws.completion import complete
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.networks.conditionals import DegreeConditional, Features, NetworkConditional
from codelength.networks.masked import MaskedLinear


class Grouped(nn.Module):
    """Five elements of three symbols in groups of 2, 1 and 2 places, the last one autoregressive; two features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.space = Space((5,), 3)
        leaf = Categorical(3)
        self.first = NetworkConditional(Fixed(6), leaf, (2,), ())
        self.h = Features(nn.Sequential(nn.Linear(2, 6), nn.ReLU()), ("a",))
        self.second = NetworkConditional(nn.Linear(6, 3), leaf, (1,), ("h",))
        self.g = Features(Both(), ("h", "b"))
        self.third = DegreeConditional(Masked(), leaf, (2,), torch.arange(2)[None], inputs=("g",))  # type: ignore[arg-type]

    def law(self) -> Law:
        parts = [
            Group("a", torch.tensor([4, 1]), (2,), Independent(self.first)),
            Define("h", self.h),
            Group("b", torch.tensor([2]), (1,), Independent(self.second)),
            Define("g", self.g),
            Group("c", torch.tensor([0, 3]), (2,), Sequential(self.third)),
        ]
        return Chain(parts, (5,))


class Fixed(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(1, outputs))

    def forward(self) -> torch.Tensor:
        return self.values


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.h, self.b = nn.Linear(6, 4), nn.Embedding(3, 4)

    def forward(self, h: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.h(h) + self.b(b))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = MaskedLinear(torch.arange(2) + 1, torch.arange(2).repeat_interleave(3))
        self.seen = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.own(x) + self.seen(g)


EVERYTHING = np.array(list(itertools.product(range(3), repeat=5)))


@pytest.fixture(scope="module")
def grouped() -> tuple[Grouped, FrozenModel]:
    model = Grouped()
    return model, freeze(model, EVERYTHING, tolerance=0.01)


def test_it_enumerates_to_one_and_is_the_product_of_its_groups(grouped: tuple[Grouped, FrozenModel]) -> None:
    model, frozen = grouped
    x = torch.from_numpy(EVERYTHING)
    with torch.no_grad():
        nats = model.law().log_prob(x, {})
        a, b, c = x[:, [4, 1]], x[:, [2]], x[:, [0, 3]]
        h = model.h.network(a.float())
        g = model.g.network(h, b[:, 0])
        leaf = Categorical(3)
        by_hand = leaf.log_prob(model.first.network().reshape(1, 2, 3).expand(len(x), -1, -1), a).sum(1)
        by_hand = by_hand + leaf.log_prob(model.second.network(h).reshape(-1, 1, 3), b).sum(1)
        by_hand = by_hand + leaf.log_prob(model.third.network(c.float(), g).reshape(-1, 2, 3), c).sum(1)
    assert torch.allclose(nats, by_hand, atol=1e-5)
    assert float(nats.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert frozen.kind == "exact"
    assert math.fsum(np.exp(frozen.log_prob(EVERYTHING))) == pytest.approx(1.0, abs=1e-5)
    # What is improbable is coded with few of the 2^16 steps of a total, and may be percents off.
    probabilities = nats.exp().numpy()
    assert (probabilities * np.abs(frozen.log_prob(EVERYTHING) - nats.numpy())).sum() < 0.01
    lengths = frozen.law.lengths(EVERYTHING, {})
    assert np.abs(lengths / 2**20 - frozen.code_length_bits(EVERYTHING)).max() < 1e-4
    with torch.no_grad():
        assert (probabilities * (thaw(frozen).log_prob(x) - nats).abs().numpy()).sum() < 0.01


def test_draws_carry_their_density(grouped: tuple[Grouped, FrozenModel]) -> None:
    law = grouped[0].law()
    with torch.no_grad():
        drawn, nats = law.draw(50, {}, torch.Generator().manual_seed(0))
        assert torch.allclose(nats, law.log_prob(drawn, {}), atol=1e-5)


def test_the_same_stack_comes_back_and_bits_are_those_promised(grouped: tuple[Grouped, FrozenModel]) -> None:
    frozen = grouped[1]
    stack = Stack.seeded(1)
    before = stack.copy()
    frozen.law.push(stack, EVERYTHING, {})
    assert stack.bits() == pytest.approx(float(frozen.code_length_bits(EVERYTHING).sum()), rel=1e-4)
    assert np.array_equal(frozen.law.pop(stack, len(EVERYTHING), {}), EVERYTHING)
    assert np.array_equal(stack.state, before.state)


def test_completions_follow_the_conditional_distribution(grouped: tuple[Grouped, FrozenModel]) -> None:
    """Of what comes later than all that is known: exactly its conditional distribution, up to the noise of 3,000."""
    frozen = grouped[1]
    item = np.array([0, 2, 1, 0, 1])
    known = np.array([False, True, True, False, True])  # groups a and b
    drawn = complete(frozen, item, known, 3000, seed=1, draws=1)
    assert (drawn[:, known] == item[known]).all()
    rows = EVERYTHING[(EVERYTHING[:, known] == item[known]).all(1)]
    shares = np.exp(frozen.log_prob(rows))
    shares /= shares.sum()
    counts = np.array([(drawn == row).all(1).sum() for row in rows])
    assert counts.sum() == 3000
    error = (counts - 3000 * shares) / np.sqrt(3000 * shares * (1 - shares))
    assert np.abs(error).max() < 6


def test_features_are_computed_once_for_prior_and_likelihood() -> None:
    """On the way in, and when latents are drawn."""
    calls = {"h": 0, "k": 0}

    class Counting:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, context: dict[str, Any], count: int) -> torch.Tensor:
            calls[self.name] += 1
            return context["a"].float() * 2

    grid = Normal(256, reach=8)

    def conditional(outputs: int, leaf: Any, size: int, *inputs: str) -> Independent:
        return Independent(NetworkConditional(nn.LazyLinear(outputs), leaf, (size,), inputs))

    prior = Chain(
        [
            Group("a", torch.tensor([0, 1]), (2,), Independent(NetworkConditional(Fixed(4), grid, (2,), ()))),
            Define("h", Counting("h")),
            Group("b", torch.tensor([2]), (1,), conditional(2, grid, 1, "h")),
            Define("k", Counting("k")),
        ],
        (3,),
    )
    law = Marginal("z", prior, conditional(4, Bernoulli(), 4, "k"), conditional(6, grid, 3, "x"))
    x = torch.zeros(5, 4, dtype=torch.int64)
    law.log_prob(x, {"generator": torch.Generator().manual_seed(0)})
    assert calls == {"h": 1, "k": 1}
    law.sample(3, {}, torch.Generator().manual_seed(0))
    assert calls == {"h": 2, "k": 2}


class Levels(nn.Module):
    """Four bits given z (3,): two elements, a feature h of them, one element given h, and a feature k of all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.space, grid = Space((4,), 2), Normal(256, reach=8)
        self.first = NetworkConditional(Fixed(4), grid, (2,), ())
        self.h = Features(nn.Sequential(nn.Linear(2, 5), nn.ReLU()), ("a",))
        self.second = NetworkConditional(nn.Linear(5, 2), grid, (1,), ("h",))
        self.k = Features(nn.Sequential(nn.Linear(5, 5), nn.ReLU()), ("h",))
        self.decoder = NetworkConditional(nn.Linear(5, 4), Bernoulli(), (4,), ("k",))
        self.guess = NetworkConditional(nn.Linear(4, 6), grid, (3,), ("x",))

    def law(self) -> Law:
        parts = [
            Group("a", torch.tensor([0, 2]), (2,), Independent(self.first)),
            Define("h", self.h),
            Group("b", torch.tensor([1]), (1,), Independent(self.second)),
            Define("k", self.k),
        ]
        return Marginal("z", Chain(parts, (3,)), Independent(self.decoder), Independent(self.guess))


def test_a_reader_computes_features_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (60, 4))
    frozen = freeze(Levels(), bits, tolerance=1.0)
    calls: list[FrozenFeatures] = []
    compute = FrozenFeatures.__call__

    def counted(self: FrozenFeatures, context: dict[str, Any], count: int) -> np.ndarray:
        calls.append(self)
        return compute(self, context, count)

    monkeypatch.setattr(FrozenFeatures, "__call__", counted)
    stack = Stack.seeded(3)
    before = stack.copy()
    frozen.law.push(stack, bits, {})
    assert len(calls) == len(set(calls)) == 2
    calls.clear()
    assert np.array_equal(frozen.law.pop(stack, len(bits), {}), bits)
    assert np.array_equal(stack.state, before.state)
    assert len(calls) == len(set(calls)) == 2
    calls.clear()
    complete(frozen, bits[0], np.arange(4) < 2, 5, draws=4)
    assert len(calls) == len(set(calls)) == 2


def test_later_groups_and_likelihoods_see_latents_in_standard_units() -> None:
    grid, seen = Normal(4096, reach=8), []

    class Spy(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            seen.append(z)
            return z.new_zeros(len(z), 2)

    def spying(name: str) -> Independent:
        return Independent(NetworkConditional(Spy(), grid, (1,), (name,)))

    first = Independent(NetworkConditional(Fixed(2), grid, (1,), ()))
    prior = Chain([Group("a", torch.tensor([0]), (1,), first), Group("b", torch.tensor([1]), (1,), spying("a"))], (2,))
    likelihood = Independent(NetworkConditional(Spy(), Bernoulli(), (2,), ("b",)))
    law = Marginal("z", prior, likelihood, Independent(NetworkConditional(nn.LazyLinear(4), grid, (2,), ("x",))))
    law.log_prob(torch.ones(7, 2, dtype=torch.int64), {"generator": torch.Generator().manual_seed(0)})
    assert len(seen) == 2 and all(z.shape == (7, 1) and float(z.abs().max()) < 8 for z in seen)


LIES: dict[str, tuple[Callable[[dict[str, Any], dict[str, np.ndarray]], object], str]] = {
    "no parts": (lambda law, t: law.update(parts=[]), "parts are not a short list"),
    "features alone": (lambda law, t: law.update(parts=[law["parts"][1]]), "not known|names"),
    "a group left out": (lambda law, t: law.update(parts=law["parts"][:4]), "do not make up its items"),
    "a group twice": (
        lambda law, t: law["parts"].append({**law["parts"][0], "group": "d"}),
        "do not make up its items",
    ),
    "a name twice": (lambda law, t: law["parts"][2].update(group="a"), "none of its own"),
    "a reserved name": (lambda law, t: law["parts"][2].update(group="x"), "none of its own"),
    "a name that is none": (lambda law, t: law["parts"][1].update(define=3), "none of its own"),
    "both": (lambda law, t: law["parts"][1].update(group="e"), "no group and no feature"),
    "a key too many": (lambda law, t: law["parts"][0].update(more=1), "unknown field"),
    "places of another number": (lambda law, t: law["parts"][2].update(places=law["parts"][0]["places"]), "do not fit"),
    "places out of range": (lambda law, t: t[law["parts"][2]["places"]].fill(5), "do not fit"),
    "negative places": (lambda law, t: t[law["parts"][2]["places"]].fill(-1), "do not fit"),
    "no such tensor": (lambda law, t: law["parts"][2].update(places="none"), "names no tensor"),
    "what comes later": (lambda law, t: law["parts"].reverse(), "not known|names|no input|takes"),
    "another shape": (lambda law, t: law.update(shape=[6]), "do not make up its items"),
    "a free size": (lambda law, t: law.update(shape=[None]), "one size"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_refused(grouped: tuple[Grouped, FrozenModel], name: str) -> None:
    frozen = grouped[1]
    law, tensors = copy.deepcopy(frozen.structure["law"]), {k: v.copy() for k, v in frozen.tensors.items()}
    lie, words = LIES[name]
    lie(law, tensors)
    with pytest.raises(ProgramError, match=words):
        FrozenModel.create(Space((5,), 3), law, tensors)


def test_features_state_what_they_need(grouped: tuple[Grouped, FrozenModel]) -> None:
    frozen = grouped[1]
    made = [part.features for part in frozen.law.parts if isinstance(part, Define)]  # type: ignore[attr-defined]
    assert all(isinstance(features, FrozenFeatures) for features in made)
    kept = sum(features.item_bytes() for features in made)
    assert kept < frozen.memory_bytes(1, (5,)) and frozen.features[-1] == 60
