"""Every model: train a step, freeze, log_prob, sample, push, pop, file. The oracles know nothing of the families."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_models import MODELS, Case, training_items
from reader_program import Model

from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource
from codelength.archive.writer import write_archive
from codelength.coding.stack import Stack
from codelength.errors import NotFrozen
from codelength.exact import arithmetic as executors
from codelength.freezing import FreezeReport, freeze
from codelength.freezing.thaw import thaw
from codelength.freezing.torch_executor import TorchArithmetic
from codelength.laws.chain import Define, Group
from codelength.laws.contract import Law
from codelength.laws.frozen import FrozenModel

# Standard errors that an estimate may be off: by chance it is off by more once in 10^8 times, of dozens here.
SIGMAS = 6
each_model = pytest.mark.parametrize("name", MODELS)


def tolerance(case: Case) -> float | None:
    """That of ``freeze`` for exact likelihoods; of a bound it would refuse one in some hundred by chance."""
    return None if case.enumerable else 1.0


class Trained(dict[str, tuple[Any, FrozenModel, np.ndarray]]):
    """Each model after a few steps of training, its frozen twin, and the items; made when it is first asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[str, FreezeReport] = {}

    def __missing__(self, name: str) -> tuple[Any, FrozenModel, np.ndarray]:
        case = MODELS[name]
        torch.manual_seed(0)
        model = case.build()
        items = training_items(case, model.space.symbols)
        x = torch.from_numpy(items)
        generator = torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        before = [p.detach().clone() for p in model.parameters()]
        for _ in range(10 if case.long else 30 if case.rounds else 20):
            context = {"shape": items.shape[1:], "generator": generator}
            loss = -model.law().log_prob(x, context).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))
        report = self.reports[name] = FreezeReport()
        self[name] = model, freeze(model, items, tolerance=tolerance(case), report=report), items
        return self[name]


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


@each_model
def test_the_frozen_model_codes_as_well_as_the_float_one(name, trained):
    model, frozen, items = trained[name]
    report = trained.reports[name]
    assert bool(report.layers) == any(name in frozen.to_bytes() for name in (b'"linear"', b'"convolution"'))
    if not MODELS[name].long:  # for those it takes its time, and others show it
        again = freeze(model, items, tolerance=tolerance(MODELS[name]))
        assert again.sha256 == frozen.sha256, "freezing is deterministic"
    context = {"shape": items.shape[1:], "generator": torch.Generator().manual_seed(1)}
    with torch.no_grad():
        bits = -model.law().log_prob(torch.from_numpy(items), context).double().numpy() / math.log(2)
    frozen_bits = frozen.code_length_bits(items)
    worse = frozen_bits - bits
    noise = 0.0 if frozen.kind == "exact" else SIGMAS * worse.std() / math.sqrt(len(items))
    assert report.frozen_bits == pytest.approx(frozen_bits.mean(), rel=1e-9)
    assert abs(report.float_bits - bits.mean()) < noise + 1e-5 * bits.mean()
    if frozen.kind == "exact":
        assert abs(worse.mean()) < 0.001 * bits.mean()
    else:
        assert worse.mean() < noise + 0.003 * bits.mean()


#: Bounds whose posteriors are wide enough that a mean of few draws comes near the evidence, of all items of a space.
WIDE = ("VAE of two layers", "importance-weighted VAE")


@pytest.mark.parametrize("name", WIDE)
def test_evidences_of_all_items_add_up_to_one(name, trained):
    """A draw z from q gives p(x, z) / q(z | x), whose mean is p(x) whatever q is; over all x that makes one. Each seed
    is an estimate of it, in floating point, frozen and thawed."""
    model, frozen, items = trained[name]
    symbols, shape = frozen.space.symbols, items.shape[1:]
    everything = np.array(list(itertools.product(range(symbols), repeat=math.prod(shape)))).reshape(-1, *shape)

    def nats(law: Law, seed: int) -> np.ndarray:
        context = {"shape": shape, "generator": torch.Generator().manual_seed(seed)}
        with torch.no_grad():
            return law.log_prob(torch.from_numpy(everything), context).double().numpy()

    laws = {"float": model.law(), "thawed": thaw(frozen).law()}
    for kind in ("frozen", *laws):
        draws = [
            frozen.log_prob(everything, seed=seed) if kind == "frozen" else nats(laws[kind], seed) for seed in range(16)
        ]
        totals = np.exp(draws).sum(1)
        error = totals.std(ddof=1) / math.sqrt(len(totals))
        assert error < 0.01 and abs(totals.mean() - 1) < SIGMAS * error, (kind, totals.mean(), error)


def places(law: Law) -> list[tuple[tuple[str, ...], str, list[str]]]:
    return [(path, type(part).__name__, list(part.conditionals())) for path, part in law.tree()]


@each_model
def test_frozen_parts_mirror_those_in_floating_point(name, trained):
    model, frozen, _ = trained[name]
    assert places(frozen.law) == places(model.law()) == places(thaw(frozen).law())


def records(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a program that stand for a leaf's conditional, a feature or a step, however deep they lie."""
    if isinstance(value, dict):
        if {"leaf", "define", "step"} & set(value):
            yield value
        for inner in value.values():
            yield from records(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from records(inner)


def held(value: Any, found: dict[int, Any]) -> dict[int, Any]:
    """The modules that a law holds, by identity, found by looking into whatever it is made of."""
    if isinstance(value, torch.nn.Module):
        found[id(value)] = value
    elif isinstance(value, Law | Group | Define):
        held(list(vars(value).values()), found)
    elif isinstance(value, list | tuple):
        for inner in value:
            held(inner, found)
    return found


@each_model
def test_every_conditional_is_reached_once(name, trained):
    model, frozen, _ = trained[name]
    reached = [part for _, law in frozen.law.tree() for part in law.conditionals().values()]
    assert len({id(part) for part in reached}) == len(reached) == len(list(records(frozen.structure["law"])))
    # In floating point prior and posterior may share what they look at, so modules are counted, not the ways to them.
    law = model.law()
    assert {id(part) for _, one in law.tree() for part in one.conditionals().values()} == set(held(law, {}))


@each_model
def test_parts_are_placed_where_they_can_be_evaluated(name, trained):
    """With all of their context, and items that they give a probability; of alternatives only those chosen."""
    model, _, items = trained[name]
    law, x = model.law(), torch.from_numpy(items[:3])
    seen = set()

    def look(law: Law, x: Any, context: dict[str, Any], path: tuple[str, ...]) -> None:
        seen.add(path)
        assert torch.as_tensor(law.log_prob(x, context)).isfinite().all()
        for part in law.placed(x, context):
            assert part.law is law.children()[part.name]
            look(part.law, part.x, part.context, (*path, part.name))

    with torch.no_grad():
        look(law, x, {"shape": items.shape[1:], "generator": torch.Generator().manual_seed(0)}, ())
    every = {path for path, _ in law.tree()}
    assert seen <= every and all(any(name.isdigit() for name in path) for path in every - seen)


@each_model
def test_tiny_models_enumerate_to_one(name, trained):
    _, frozen, items = trained[name]
    case: Case = MODELS[name]
    if not case.enumerable:
        pytest.skip("the likelihood of this model is a bound, not a sum over its items")
    dims, symbols = items[0].size, frozen.space.symbols
    everything = np.array(list(itertools.product(range(symbols), repeat=dims)))
    total = math.fsum(np.exp(frozen.log_prob(everything.reshape(-1, *items.shape[1:]))))
    assert total == pytest.approx(1.0, abs=1e-5)


@each_model
def test_float_and_frozen_agree_item_by_item(name, trained):
    model, frozen, items = trained[name]
    if frozen.kind != "exact":
        pytest.skip("bounds are drawn with noise of their own on either side")
    with torch.no_grad():
        nats = model.law().log_prob(torch.from_numpy(items[:50]), {"shape": items.shape[1:]}).numpy()
    difference = np.abs(frozen.log_prob(items[:50]) - nats)
    if MODELS[name].rounds:  # a shift near the middle between two symbols may go to either
        assert np.quantile(difference, 0.8) < 0.05 and difference.mean() < 0.05
    else:
        assert difference.max() < max(0.05, 0.003 * np.abs(nats).mean())


@each_model
def test_same_data_and_same_stack_come_back(name, trained):
    _, frozen, _ = trained[name]
    for shape in MODELS[name].shapes:
        items = frozen.sample(40, seed=3, shape=shape)
        context = {"shape": shape}
        stack = Stack.seeded(5)
        before = stack.copy()
        frozen.law.push(stack, items, context)
        popped = frozen.law.pop(stack, len(items), context)
        np.testing.assert_array_equal(popped, items)
        assert np.array_equal(stack.state, before.state)
        assert stack.bits() == pytest.approx(0.0, abs=1e-6)


@each_model
def test_bits_spent_are_bits_promised(name, trained):
    """With fresh random bits per item, so that no pop reads what the push before it wrote."""
    _, frozen, _ = trained[name]
    shape = MODELS[name].shapes[0]
    items = frozen.sample(20 if MODELS[name].long else 60, seed=8, shape=shape)
    spent = np.empty(len(items))
    for i in range(len(items)):
        stack = Stack.seeded(1000 + i, lanes=1)
        frozen.law.push(stack, items[i : i + 1], {"shape": shape})
        spent[i] = stack.bits()
    if frozen.kind == "exact":
        promised = frozen.code_length_bits(items)
    else:  # the bound, from other noise
        promised = np.mean([frozen.code_length_bits(items, seed=s) for s in range(4)], axis=0)
    error = (spent - promised).mean()
    noise = (spent - promised).std() / math.sqrt(len(items))
    assert abs(error) < SIGMAS * noise + 0.01


@each_model
def test_samples_repeat_and_follow_the_law(name, trained):
    _, frozen, _ = trained[name]
    shape = MODELS[name].shapes[0]
    count = 500 if frozen.kind == "exact" else 30
    first, again = (frozen.sample(count, seed=1, shape=shape) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, frozen.sample(count, seed=2, shape=shape))
    if frozen.kind != "exact":
        return
    # The mean code length of samples is the entropy: compare with its estimate from other samples.
    bits, other = frozen.code_length_bits(first), frozen.code_length_bits(frozen.sample(500, seed=7, shape=shape))
    spread = math.sqrt((bits.var() + other.var()) / 500)
    assert abs(bits.mean() - other.mean()) < SIGMAS * spread


@each_model
def test_executors_agree_to_the_bit(name, trained):
    _, frozen, _ = trained[name]
    shape = MODELS[name].shapes[-1]
    items = frozen.sample(6, seed=4, shape=shape)
    sizes, words = frozen.encode_block(items)
    for other in (TorchArithmetic(), executors.REFERENCE):
        with executors.using(other):
            again_sizes, again = frozen.encode_block(items)
            assert again_sizes == sizes and np.array_equal(again, words)
            np.testing.assert_array_equal(frozen.decode_block(words, sizes, shape), items)
    assert frozen.verify_block(words, sizes, items)


@each_model
def test_model_file_and_archive(name, trained, tmp_path: Path):
    _, frozen, _ = trained[name]
    data = frozen.to_bytes()
    read = FrozenModel.from_bytes(data)
    assert read.sha256 == frozen.sha256 and read.to_bytes() == data
    shape = MODELS[name].shapes[-1]
    items = frozen.sample(12, seed=6, shape=shape).astype(np.uint8)
    figures = write_archive(tmp_path / "a.clen", ArraySource(items), frozen, block_items=5)
    assert figures.items == 12 and figures.blocks == 3
    with Archive.open(tmp_path / "a.clen") as archive:
        whole = archive.read()
        np.testing.assert_array_equal(whole, items)
        assert whole.dtype == items.dtype
        np.testing.assert_array_equal(archive.read((4, 8)), items[4:8])


@each_model
def test_the_second_reader_writes_the_same_words(name, trained):
    """Written from the document alone, with other arithmetic: the same samples, words and items."""
    _, frozen, _ = trained[name]
    second = Model(frozen.to_bytes())
    shape = MODELS[name].shapes[0]
    items = frozen.sample(2, seed=9, shape=shape)
    np.testing.assert_array_equal(second.sample(2, 9, shape), items)
    sizes, words = frozen.encode_block(items)
    data = words.astype("<u4").tobytes()
    assert second.encode_block(items, list(sizes)) == data
    np.testing.assert_array_equal(second.decode_block(data, list(sizes), shape), items)


@each_model
def test_thawed_it_gives_the_figures_of_the_float_model(name, trained):
    model, frozen, items = trained[name]
    thawed = thaw(frozen)
    x, context = torch.from_numpy(items[:100]), {"shape": items.shape[1:]}
    with torch.no_grad():
        wanted, got = (
            torch.stack(
                [
                    law.log_prob(x, {**context, "generator": torch.Generator().manual_seed(seed)}).double()
                    for seed in range(1 if frozen.kind == "exact" else 6)
                ]
            ).mean(0)
            for law in (model.law(), thawed.law())
        )
    difference = got - wanted
    if frozen.kind == "exact":
        most = difference.abs().quantile(0.8 if MODELS[name].rounds else 1.0)
        assert most < max(0.05, 0.003 * float(wanted.abs().mean()))
    noise = float(difference.std()) / math.sqrt(len(x))
    assert abs(float(difference.mean())) < SIGMAS * noise + 0.003 * float(wanted.mean().abs())
    parameters = [p for p in thawed.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(thawed.log_prob(x[:2]).sum(), parameters, allow_unused=True)
    assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients)


@each_model
def test_a_float_model_draws_items_of_its_space(name, trained):
    model, _, items = trained[name]
    shape = items.shape[1:]
    drawn = model.law().sample(4, {"shape": shape}, torch.Generator().manual_seed(0))
    model.space.check(drawn.numpy())
    assert drawn.shape == (4, *shape)


@each_model
def test_a_float_model_neither_pushes_nor_pops(name, trained):
    model, _, items = trained[name]
    with pytest.raises(NotFrozen, match="freeze it first"):
        model.law().push(Stack(), torch.from_numpy(items[:2]), {"shape": items.shape[1:]})
