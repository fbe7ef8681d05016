"""Items that a law refuses are named by it, and only they are kept by other means."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import forged
import numpy as np
import pytest

import codelength as cl
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource
from codelength.archive.writer import write_archive
from codelength.coding.categories import push_shared, push_table
from codelength.coding.frequencies import Leaf, code_lengths, code_lengths_fixed
from codelength.coding.stack import Stack
from codelength.coding.symbols import check_range
from codelength.errors import NotRepresentable
from codelength.exact.network import Network
from codelength.exact.operations import Type
from codelength.exact.steps import OffsetStep
from codelength.exact.uniform import push_uniform
from codelength.laws.frozen import FrozenModel
from codelength.laws.program import build
from codelength.laws.pushforward import Floor
from codelength.laws.space import Space

#: Of the flow below: always within the range of its base, always outside, and here or there as latents fall.
GOOD, BAD, DOUBTFUL = [(0, 0), (1, 0)], [(2, 0), (3, 0), (0, 3), (1, 3)], [(0, 1), (1, 2)]


def narrow_flow() -> FrozenModel:
    """Pairs of four symbols under a flow whose base ends where half of them lie."""
    structure, tensors = forged.flow()
    prior = structure["law"]["prior"]
    prior["base"]["leaf"]["symbols"] = 256
    prior["steps"][1]["value"] = 128
    tensors["p"] = forged.array(32 * 256, 1280, 32 * 256, 1280)
    return FrozenModel.from_bytes(forged.pack(structure, tensors))


def experts() -> FrozenModel:
    """Triples of four symbols, the first of which mostly says which of three experts has the item: the flow, a table
    for two symbols only, and a table for all."""
    structure, tensors = forged.flow()
    flow = structure["law"]
    base = flow["prior"]["base"]
    base["leaf"]["symbols"], base["shape"] = 256, [3]
    flow["prior"]["steps"][1]["value"] = 128
    tensors |= {
        "p": forged.array(*[32 * 256, 1280] * 3),
        "m": forged.array(0, 0, 1),
        "w": forged.array([0, 1, 0], [0, 2, 0]),
        "index": forged.array(0, 0, 0),
        "choose": forged.array([-4000, 0, 0], [0, 0, 0], [4000, 0, 0]),
        "chosen": forged.array(4000, 3000, -6000),
        "two": forged.array(0, 0, 0),
        "four": forged.array(*[0] * 12),
    }

    def table(family: str, symbols: int, values: str, shape: list[int]) -> dict[str, Any]:
        network = {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": values}], "output": 1}
        return {
            "law": "independent",
            "leaf": {"family": family, "symbols": symbols},
            "shape": shape,
            "network": network,
        }

    choice = {
        "inputs": ["x"],
        "operations": [{"op": "linear", "x": 0, "weight": "choose", "bias": "chosen"}],
        "output": 1,
    }
    law = {
        "law": "marginal",
        "latent": "expert",
        "prior": table("categorical", 3, "index", [1]),
        "likelihood": {
            "law": "switch",
            "index": "expert",
            "laws": [flow, table("bernoulli", 2, "two", [3]), table("categorical", 4, "four", [3])],
        },
        "posterior": {
            "law": "independent",
            "leaf": {"family": "categorical", "symbols": 3},
            "shape": [1],
            "network": choice,
        },
    }
    return FrozenModel.create(Space((3,), 4), law, tensors)


def pairs(*kinds: list[tuple[int, int]], count: int, seed: int) -> np.ndarray:
    rows = [pair for kind in kinds for pair in kind]
    return np.array(rows, np.uint8)[np.random.default_rng(seed).integers(0, len(rows), count)]


def bad_ones(items: np.ndarray) -> list[int]:
    return [i for i, item in enumerate(items.tolist()) if tuple(item) in BAD]


class Counted:
    """How often a model was asked for a block."""

    def __init__(self, model: FrozenModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        encode = model.encode_block

        def counting(items: np.ndarray, **options: Any) -> Any:
            self.asked += 1
            return encode(items, **options)

        monkeypatch.setattr(model, "encode_block", counting)


def kept_by_model(path: Path) -> list[int]:
    """The items of an archive of an array that the model coded."""
    with Archive.open(path) as archive:
        kinds = [
            archive.directory.streams[stream].type for stream, count in archive.directory.runs for _ in range(count)
        ]
    return [i for i, kind in enumerate(kinds) if kind == 0]


@pytest.mark.parametrize("limit", [None, 1, 7])
def test_a_flow_names_all_that_leaves_its_range(limit):
    frozen, items = narrow_flow(), pairs(GOOD, BAD, count=50, seed=0)
    bad = bad_ones(items)
    assert 5 < len(bad) < 45
    with pytest.raises(NotRepresentable) as caught:
        frozen.encode_block(items, limit=limit)
    assert list(caught.value.items) == bad
    assert str(caught.value).startswith("expected integers from 0 to 255, but ")
    assert f"the latent 'u' of item {bad[0]}, within a flow, holds " in str(caught.value)
    assert f"(and {len(bad) - 1} more items are refused)" in str(caught.value)
    kept = np.delete(items, bad, axis=0)
    sizes, words = frozen.encode_block(kept, limit=limit)
    assert np.array_equal(frozen.decode_block(words, sizes, (2,)), kept)


def test_log_prob_names_what_is_refused_whatever_the_groups(monkeypatch):
    frozen, items = narrow_flow(), pairs(GOOD, BAD, count=50, seed=1)
    for group in (1000, 7):
        monkeypatch.setattr(frozen, "group_limit", lambda shape, group=group: group)
        with pytest.raises(NotRepresentable, match=rf"item {bad_ones(items)[0]}, within a flow") as caught:
            frozen.log_prob(items)
        assert list(caught.value.items) == bad_ones(items)
    assert np.isfinite(frozen.log_prob(np.delete(items, bad_ones(items), axis=0))).all()


def test_what_starting_a_block_costs_names_the_item_that_starts_it():
    frozen = narrow_flow()
    with pytest.raises(NotRepresentable) as caught:
        frozen.startup_bits(np.array([(0, 0), (1, 0), (3, 0)]))
    assert caught.value.items == (2,)


def test_evaluate_names_items_by_their_numbers_in_the_data():
    items = np.zeros((1500, 2), np.uint8)
    items[[1300, 1400]] = 3, 3
    with pytest.raises(NotRepresentable, match="the latent 'u' of item 1300, within a flow, holds") as caught:
        cl.evaluate(narrow_flow(), items)
    assert caught.value.items == (1300, 1400)


@pytest.mark.parametrize("embed", [True, False])
def test_only_the_refused_items_of_a_flow_are_kept_by_other_means(tmp_path, monkeypatch, embed):
    frozen, items = narrow_flow(), pairs(GOOD, BAD, count=300, seed=2)
    counted = Counted(frozen, monkeypatch)
    path = tmp_path / "a.clen"
    figures = write_archive(path, ArraySource(items), frozen, embed=embed)
    assert counted.asked == 1  # when items are priced, all of them become known
    assert figures.fallback_items == len(bad_ones(items))
    with Archive.open(path, lambda sha256, name: frozen) as archive:
        assert np.array_equal(archive.read(), items)
    if embed:
        assert kept_by_model(path) == [i for i in range(300) if i not in bad_ones(items)]


def test_items_that_leave_the_range_now_and_then_are_kept_whichever_way_it_falls(tmp_path, monkeypatch):
    frozen, items = narrow_flow(), pairs(GOOD, BAD, DOUBTFUL, count=400, seed=3)
    counted = Counted(frozen, monkeypatch)
    path = tmp_path / "a.clen"
    figures = write_archive(path, ArraySource(items), frozen, block_items=100)
    assert counted.asked <= 2 * 5  # four blocks, and another where the first item of one is refused
    doubtful = sum(tuple(item) in DOUBTFUL for item in items.tolist())
    assert len(bad_ones(items)) < figures.fallback_items <= len(bad_ones(items)) + doubtful
    assert not set(kept_by_model(path)) & set(bad_ones(items))
    with Archive.open(path) as archive:
        assert np.array_equal(archive.read(), items)


def test_laws_of_a_switch_name_their_own(tmp_path, monkeypatch):
    """A flow refuses what it moves beyond its base, a table what it has no symbol for, and both are named at once."""
    frozen = experts()
    rng = np.random.default_rng(4)
    first = rng.integers(0, 4, 200)
    items = np.stack([first, rng.choice([0, 0, 0, 3], 200), np.zeros(200, int)], axis=1).astype(np.uint8)
    # A block starts with its last items, and nobody refuses these: they pay for the latents of all others.
    items[160:] = 0
    # Of the experts, the flow mostly has the zeros, the table of two symbols the ones, and the table for all hardly any
    # of these: one of those that the flow refuses may fall to it, but not two.
    with pytest.raises(NotRepresentable) as caught:
        frozen.encode_block(items)
    refused = set(caught.value.items)
    assert len({i for i, item in enumerate(items.tolist()) if item[:2] == [0, 3]} - refused) <= 1
    assert {i for i, item in enumerate(items.tolist()) if item[:2] == [1, 3]} & refused
    counted = Counted(frozen, monkeypatch)
    figures = write_archive(tmp_path / "a.clen", ArraySource(items), frozen)
    assert counted.asked <= 6  # a block that starts with more items draws other latents
    assert 0 < figures.fallback_items < 120
    with Archive.open(tmp_path / "a.clen") as archive:
        assert np.array_equal(archive.read(), items)


def test_a_network_never_sees_what_it_was_not_proved_for(monkeypatch):
    """Of a switch between laws of two and of four symbols, the first is given items of the second."""
    tensors = {
        "one": forged.array(0),
        "four": forged.array(0, 0, 0, 0),
        "orders": forged.array([0]),
        "w": forged.array([0]),
    }

    def law(family: str, symbols: int, inputs: list[str], operation: dict[str, Any], **more: Any) -> dict[str, Any]:
        network = {"inputs": inputs, "operations": [operation], "output": 1}
        leaf = {"family": family, "symbols": symbols}
        return {"law": "sequential" if more else "independent", "leaf": leaf, "shape": [1], "network": network, **more}

    masked = {"op": "linear", "x": 0, "weight": "w", "bias": "one", "degrees": "one"}
    two = law("bernoulli", 2, ["x"], masked, schedule={"kind": "degrees", "orders": "orders"})
    four = law("categorical", 4, ["count"], {"op": "constant", "x": 0, "values": "four"})
    built = build({"law": "switch", "index": "k", "laws": [two, four]}, tensors, {"k": Type((), 0, 1)}).law
    seen = []
    run = Network.run
    monkeypatch.setattr(Network, "run", lambda self, inputs, *rest: (seen.append(inputs), run(self, inputs, *rest))[1])
    items = np.array([[0], [1], [3], [0], [2]])
    zeros = {"shape": (1,), "k": np.zeros((5, 1), np.int64)}
    for read in (
        lambda: built.push(Stack(4), items, zeros),
        lambda: built.lengths(items, zeros),
        lambda: built.log_prob(items, zeros),
    ):
        with pytest.raises(NotRepresentable, match=r"expected integers from 0 to 1, but item 2 holds 3") as caught:
            read()
        assert caught.value.items == (2, 4)
    assert not seen
    built.push(Stack(4), items, {**zeros, "k": np.array([[0], [0], [1], [0], [1]])})
    assert max(int(inputs["x"].max()) for inputs in seen if "x" in inputs) == 1


def test_a_space_names_the_items_outside():
    space = Space((2, 2), 256)
    items = np.zeros((9, 2, 2), np.int64)
    items[5, 1, 0], items[7, 0, 0] = 300, -1
    with pytest.raises(
        NotRepresentable, match=r"from 0 to 255, but item 5 holds 300 \(and 1 more item is refused"
    ) as caught:
        space.check(items)
    assert caught.value.items == (5, 7)
    with pytest.raises(NotRepresentable, match="values of type float64") as caught:
        space.check(items.astype(float))
    assert caught.value.items == ()


def test_every_piece_that_refuses_names_the_rows():
    bad = np.array([[0, 0], [0, 9], [1, 1], [-2, 0]])
    leaf, params = Leaf("bernoulli", 2), np.zeros((4, 2, 1), np.float32)
    step, values = OffsetStep(3, (0, 1)), np.array([[7, 3], [7, 2], [4, 3], [7, 9]])
    calls = {
        "lengths": lambda: code_lengths(leaf, params, bad),
        "fixed lengths": lambda: code_lengths_fixed(leaf, params, bad),
        "tables": lambda: push_table(np.full((4, 2), 2), bad[:, 1] - bad[:, 0], 2, Stack(2)),
        "one table": lambda: push_shared(np.array([2, 2]), bad, 2, Stack(2)),
        "uniform": lambda: push_uniform(Stack(2), bad, np.full(bad.shape, 2)),
        "offset": lambda: step.forward(Stack(2), bad, {}, True),
        "floor": lambda: Floor("u", 2).push(None, np.array([[1, 0], [1, 7], [1, 0], [-1, 2]]), {"u": values}),
    }
    for name, call in calls.items():
        with pytest.raises(NotRepresentable) as caught:
            call()
        assert caught.value.items == (1, 3), name
        assert "but item 1 holds" in str(caught.value), name


def test_errors_keep_their_items_wherever_they_go():
    with pytest.raises(NotRepresentable) as caught:
        check_range(np.array([[5], [1], [8]]), 0, 4)
    error = caught.value
    assert str(error) == "expected integers from 0 to 4, but item 0 holds 5 (and 1 more item is refused)"
    moved = error.placed(range(10, 13)).about("item {}, within a flow,").about("the latent 'z' of item {}")
    assert moved.items == (10, 12)
    assert "but the latent 'z' of item 10, within a flow, holds 5 (and" in str(moved)
    both = NotRepresentable.joined([moved, NotRepresentable("expected less", [3, 12], "9")])
    assert both.items == (3, 10, 12) and str(both).startswith("expected less, but item 3 holds 9 (and 2 more items are")
    again = pickle.loads(pickle.dumps(both))
    assert str(again) == str(both) and again.items == both.items
    assert (
        NotRepresentable("expected a mask").items == ()
        and str(NotRepresentable("expected a mask")) == "expected a mask"
    )
