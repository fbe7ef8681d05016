"""The benchmarks of models with latents, on a tiny autoencoder: the arithmetic of their figures, never a time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks import bits_back, codecs, importance, tables
from codelength import load, train
from codelength.coding.stack import Stack
from codelength.data import load_data
from codelength.errors import UsageError
from codelength.laws.frozen import FrozenModel
from codelength.report.codecs import JPEGXL_EFFORTS
from codelength.training.run import load_run

# Of the autoencoder below: 64 symbols, 4 latents, 2 latents above them, 16 hidden units.
ENCODER, UPPER_ENCODER = 64 * 16 + 16 * 8, 4 * 16 + 16 * 4
DECODER, UPPER_DECODER = 4 * 16 + 16 * 64, 2 * 16 + 16 * 8

#: A stack counts the bits of an item up to so much, either way: totals of 2^28 beside states of 2^32 and more.
NOISE = 0.1


@pytest.fixture(autouse=True)
def one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of time are not looked at here."""
    for benchmark in (bits_back, importance):
        monkeypatch.setattr(benchmark, "RUNS", 1)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on 8 x 8 digits."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    small = ["vae.latents=[4,2]", "vae.hidden=[16]", "training.steps=20", "training.validate_every=20"]
    train("vae-digits", None, out, changes=small)
    return out


@pytest.fixture(scope="module")
def model(run_folder: Path) -> FrozenModel:
    return load(run_folder)


@pytest.fixture(scope="module")
def items() -> np.ndarray:
    return np.asarray(load_data("threshold-digits:test").subset(24, 0).items).astype(np.int32)


def test_the_grid_that_a_run_was_trained_with_gives_its_very_model(run_folder, model, items):
    (coarse_bits, coarse, _), (own_bits, own, loss) = bits_back.on_grids(run_folder, [6, 12])
    assert (coarse_bits, own_bits) == (6, 12)
    assert own.sha256 == model.sha256 and abs(loss) < 0.01
    symbols = [leaf["symbols"] for leaf in bits_back._leaves(coarse.structure["law"])]
    assert sorted(symbols) == [2, 64, 64, 64, 64]
    ratio = coarse.code_length_bits(items).sum() / own.code_length_bits(items).sum()
    assert abs(ratio - 1) < 0.05


def test_latents_sent_outright_cost_what_pushing_chosen_ones_costs(model, items):
    bits = bits_back.outright_bits(model.law, items, {"shape": (8, 8)})
    assert np.allclose(bits, bits_back.in_passes(model, items), atol=1e-9)
    for k, item in enumerate(items[:4]):
        stack = Stack(1)
        model.law.push(stack, item[None], {"shape": (8, 8)}, start=True)
        assert stack.bits() == pytest.approx(bits[k], abs=NOISE)


def test_models_without_latents_are_refused_where_latents_are_asked_for(pairs, pairs_file, tmp_path):
    path = tmp_path / "b.json"
    spec = f"threshold-digits:test={pairs_file}"
    parts = ["--part", "precision", "--part", "clean"]
    bits_back.main(["--case", spec, "--limit", "10", *parts, "--json", str(path)])
    rows = json.loads(path.read_text())["results"]
    assert [row["part"] for row in rows] == ["precision", "clean"]
    assert all("not measured" in row["note"] for row in rows)
    assert np.allclose(bits_back.outright_bits(pairs.law, np.zeros((2, 8, 8), np.int32), {"shape": (8, 8)}),
                       pairs.code_length_bits(np.zeros((2, 8, 8), np.int32)))  # fmt: skip
    with pytest.raises(UsageError, match="precision"):
        bits_back.draw(json.loads(path.read_text()), tmp_path / "none.svg")


def test_other_totals_change_the_leaves_whose_alphabet_permits_them(model):
    even, changed, leaves = bits_back.with_totals(model, 24)
    assert changed == leaves == 5
    assert {leaf["bits"] for leaf in bits_back._leaves(even.structure["law"])} == {24}
    assert bits_back.with_totals(even, 24)[0].sha256 == even.sha256
    coarse, changed, _ = bits_back.with_totals(model, 12)  # 4,096 bins do not fit into so few
    assert changed == 1
    assert sorted(leaf["bits"] for leaf in bits_back._leaves(coarse.structure["law"])) == [12, 28, 28, 28, 28]
    assert bits_back.with_totals(model, 13)[1] == 5


def test_bits_on_fresh_randomness_are_the_code_length_and_chained_ones_what_the_stack_holds(model, items):
    places = np.stack([np.arange(24), np.arange(24)[::-1]], 1)
    fresh = bits_back.fresh_bits(model, items, places, seed=5)
    assert np.array_equal(fresh[:, 0], model.code_length_bits(items, seed=5))
    first = 4
    chained = bits_back.chained_bits(model, items, places, first)
    chosen = bits_back.outright_bits(model.law, items, {"shape": (8, 8)})
    assert np.allclose(chained[:first, 0], chosen[:first], rtol=0, atol=NOISE)
    alone = bits_back.chained_bits(model, items, places[:, 1:], first)
    assert np.array_equal(chained[:, 1], alone[:, 0])  # stacks do not meet


def test_the_difference_of_clean_bits_has_the_error_that_it_states(model, items):
    row = bits_back.clean_bits(model, items, orders=16, seed=3)
    assert row["difference_bits"] == pytest.approx(row["chained_bits"] - row["fresh_bits"])
    assert abs(row["difference_bits"]) < 4 * row["difference_se"]


def test_multiply_adds_are_those_of_the_layers_and_metering_leaves_no_trace(model, items):
    total = sum(
        bits_back.multiply_adds(c.network, c.types, c.tensors) for c in bits_back.conditionals(model.law)
    )  # fmt: skip
    assert total == ENCODER + UPPER_ENCODER + DECODER + UPPER_DECODER
    plain = Stack.seeded(0)
    model.law.push(plain, items, {"shape": (8, 8)})
    with bits_back.metered(model) as passes:
        stack = Stack.seeded(0)
        model.law.push(stack, items, {"shape": (8, 8)})
    assert stack.bits() == plain.bits()
    assert passes.multiply_adds == len(items) * total and passes.seconds > 0
    model.law.push(plain, items, {"shape": (8, 8)})
    assert passes.multiply_adds == len(items) * total


def test_all_parts_stand_in_one_file_each_with_a_table_and_the_figure_is_drawn_from_it(run_folder, tmp_path):
    path, drawn = tmp_path / "b.json", [tmp_path / "a.svg", tmp_path / "b.svg"]
    small = ["--limit", "12", "--block", "12", "--draw-items", "12", "--orders", "4", "--draws", "2"]
    grids = ["--latent-bits", "6", "12", "--total-bits", "12", "20"]
    spec = f"threshold-digits:test={run_folder}"
    bits_back.main(["--case", spec, *small, *grids, "--json", str(path)])
    report = json.loads(path.read_text())
    rows = {part: [row for row in report["results"] if row["part"] == part] for part in bits_back.PARTS}
    peers = 1 + (len(JPEGXL_EFFORTS) if codecs.imagecodecs.JPEGXL.available else 0)  # gzip, and JPEG XL
    assert [len(each) for each in rows.values()] == [2, 2, 1, 1 + peers]
    for row in [*rows["precision"], *rows["frequencies"]]:
        assert row["bits_per_dim"] == pytest.approx(8 * row["payload_bytes"] / (12 * 64), rel=0.05)
        assert row["bound_bits_per_dim"] == pytest.approx(row["code_length_bits"] / (12 * 64))
    ours = rows["speed"][0]
    assert ours["codec"] == "codelength"
    assert ours["encode_beyond_ms"] == pytest.approx(ours["encode_ms"] - ours["encode_networks_ms"])
    assert ours["decode_beyond_ms"] == pytest.approx(ours["decode_ms"] - ours["decode_networks_ms"])
    assert ours["compress_ms"] == pytest.approx(64 / ours["encode_mb_s"] / 1e3)
    share = ours["network_multiply_adds_s"] / ours["product_multiply_adds_s"]
    assert ours["network_share_of_product"] == pytest.approx(share)
    text = tables.table(report)
    assert text.count("| --: |") >= 4 and len(text.split("\n\n")) == 5  # four tables and how they were made
    for file in drawn:
        bits_back.main(["--json", str(path), "--figure", str(file)])
    assert drawn[0].read_bytes() == drawn[1].read_bytes() and b"<svg" in drawn[0].read_bytes()


def test_multiply_adds_of_a_draw_share_the_encoding_of_an_item(run_folder, tmp_path):
    path = tmp_path / "i.json"
    few = ["--items", "6", "--draws", "8", "--chunk", "4", "--many", "0"]
    importance.main(["--case", f"threshold-digits:test={run_folder}", *few, "--json", str(path)])
    alone, evaluated = json.loads(path.read_text())["results"]
    assert (alone["system"], evaluated["system"]) == ("log_weights", "evaluate")
    assert alone["multiply_adds"] == ENCODER / 4 + UPPER_ENCODER + DECODER + UPPER_DECODER
    assert evaluated["multiply_adds"] >= alone["multiply_adds"]
    for row in (alone, evaluated):
        rate = row["draws_s"] * row["multiply_adds"]
        assert row["share_of_product"] == pytest.approx(rate / row["product_multiply_adds_s"])
        assert "growth_mib" not in row
    assert tables.table(path).startswith("| data |")


def test_importance_sampling_of_frozen_models_is_timed_in_the_arithmetic_of_files(run_folder, tmp_path):
    path = tmp_path / "i.json"
    few = ["--items", "4", "--draws", "3", "--chunk", "2", "--many", "0"]
    importance.main(["--case", f"threshold-digits:test={run_folder / 'model.clm'}", *few, "--json", str(path)])
    rows = {row["system"]: row for row in json.loads(path.read_text())["results"]}
    assert list(rows) == ["log_weights", "evaluate", "frozen"]
    assert rows["frozen"]["multiply_adds"] == ENCODER + UPPER_ENCODER + DECODER + UPPER_DECODER


def test_streamed_weights_are_those_of_one_call_for_runs_and_for_frozen_models(run_folder, model, items):
    x = torch.from_numpy(items.astype(np.int64))
    for module in (load_run(run_folder).model, importance.float_model(str(run_folder / "model.clm"))):
        weights = torch.cat([importance.weigher(module, 1)(x, 3)]).double()
        expected = torch.logsumexp(weights, 0) - math.log(3)
        result = importance.streamed(importance.weigher(module, 1), x, 3, 3)
        assert np.allclose(result.bound, expected.detach().numpy())
        parts = importance.streamed(importance.weigher(module, 1), x, 3, 2)
        again = importance.weigher(module, 1)
        weights = torch.cat([again(x, 2), again(x, 1)]).double()
        expected = torch.logsumexp(weights, 0) - math.log(3)
        assert parts.samples == 3 and np.allclose(parts.bound, expected.detach().numpy())


def test_a_model_with_an_exact_likelihood_has_no_weights(pairs_file, tmp_path):
    path = tmp_path / "i.json"
    importance.main(["--case", f"threshold-digits:test={pairs_file}", "--items", "3", "--json", str(path)])
    (row,) = json.loads(path.read_text())["results"]
    assert "not measured" in row["note"] and "exact" in row["note"]


def test_the_peak_of_memory_covers_what_was_held():
    before = importance.peak_bytes()
    held = np.ones(1 << 23)
    assert importance.peak_bytes() >= held.nbytes and importance.peak_bytes() >= before
