"""The arithmetic of the benchmarks' figures and the form of their files, on tiny settings; never a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from benchmarks.common import RESULTS
from benchmarks.networks import OneOrder

from benchmarks import all as every
from benchmarks import codecs, float_tables, overhead, pack, sampling, tables
from codelength.data import load_data
from codelength.freezing import freeze
from codelength.models.made import MADEConfig, build_made
from codelength.report.codecs import JPEGXL_EFFORTS

FRAME = {
    "benchmark", "command", "version", "versions", "machine", "threads", "seed", "loaded", "other_cores_busy",
    "seconds", "settings", "results",
}  # fmt: skip


def written(path: Path, name: str) -> list[dict]:
    """The rows of a file, which has the form of all."""
    report = json.loads(path.read_text())
    assert set(report) == FRAME
    assert report["benchmark"] == name and report["command"].startswith(f"python -m benchmarks.{name} ")
    assert report["threads"] == 1 and report["seed"] == 0 and report["versions"]["numpy"] == np.__version__
    lines = tables.table(report).splitlines()
    assert len({line.count("|") for line in lines[: 2 + len(report["results"])]}) == 1
    return report["results"]


def test_plain_layers_are_the_network_and_its_frozen_twin_decodes_itself():
    network = OneOrder(20, 30, 2, seed=3)
    x = torch.randint(0, 2, (5, 20), generator=torch.Generator().manual_seed(0)).float()
    assert torch.allclose(network.dense()(x), network.network(x)[..., 0], atol=1e-5)
    logits = network.dense()(x)
    x[:, 7:] = 1 - x[:, 7:]
    assert torch.equal(network.dense()(x)[:, :8], logits[:, :8])  # each sees the elements before it only


def test_ratios_of_sampling_are_times_over_the_density_evaluation_of_the_same_row(tmp_path):
    path = tmp_path / "s.json"
    small = [
        "--elements",
        "12",
        "--hidden",
        "16",
        "--repeats",
        "1",
        "--peer-repeats",
        "1",
        "--batch",
        "2",
        "5",
        "--peer-batch",
        "3",
    ]
    sampling.main([*small, "--json", str(path)])
    rows = written(path, "sampling")
    assert [(row["system"], row["batch"]) for row in rows] == [
        ("codelength", 2), ("codelength", 5), ("zuko", 3), ("nflows", 3),
    ]  # fmt: skip
    for row in rows:
        if "note" in row:
            assert row["system"] == "nflows" and "not measured" in row["note"]
            continue
        assert row["sample_ratio"] == pytest.approx(row["sample_ms"] / row["density_ms"])
    assert rows[0]["decode_ratio"] == pytest.approx(rows[0]["decode_ms"] / rows[0]["density_ms"])


def test_rates_of_codecs_are_bits_over_elements_of_items(tmp_path, pairs_file):
    path = tmp_path / "c.json"
    spec = f"threshold-digits:test={pairs_file}"
    codecs.main(["--case", spec, "--limit", "30", "--per-image", "3", "--json", str(path)])
    rows = written(path, "codecs")
    assert {row["form"] for row in rows} == {"stream", "mosaic", "per image", "archive"}
    for row in rows:
        assert row["items"] == (3 if row["form"] == "per image" else 30)
        assert row["bits_per_dim"] == pytest.approx(8 * row["bytes"] / (64 * row["items"]))
    ours = rows[-1]
    assert ours["bytes"] == ours["archive_bytes"] - ours["model_bytes"]
    assert ours["bits_per_dim_with_model"] == pytest.approx(8 * ours["archive_bytes"] / (64 * 30))
    if codecs.imagecodecs.JPEGXL.available:
        efforts = {row["codec"].removeprefix("JPEG XL effort ") for row in rows if row["codec"].startswith("JPEG XL")}
        assert efforts == set(map(str, JPEGXL_EFFORTS))
    best = min(row["bits_per_dim"] for row in rows[:-1])
    assert ours["of_best_codec"] == pytest.approx(ours["bits_per_dim"] / best)


def test_a_model_that_is_not_there_is_said_to_be_missing(tmp_path):
    path = tmp_path / "o.json"
    overhead.main(["--case", "threshold-digits:test=no-such-model", "--json", str(path)])
    (row,) = written(path, "overhead")
    assert "not measured" in row["note"] and "no-such-model" in row["note"]


def test_overhead_is_the_payload_over_the_code_length(tmp_path, pairs_file, pairs):
    path = tmp_path / "o.json"
    spec = f"threshold-digits:test={pairs_file}"
    overhead.main(["--case", spec, "--limit", "50", "--block", "20", "--json", str(path)])
    (row,) = written(path, "overhead")
    items = np.asarray(load_data("threshold-digits:test").subset(50, 0).items)
    bits = float(pairs.code_length_bits(items).sum())
    assert abs(row["code_length_bits"] - bits) < 1 and row["blocks"] == 3
    assert row["overhead"] >= 8 * row["payload_bytes"] / bits - 1 - 0.2  # names, and bits rounded up
    assert row["nats"] == pytest.approx(pairs.log_prob(items).mean(), abs=0.02)


def test_the_natural_order_of_a_mixture_is_its_member_to_the_bit():
    data = np.asarray(load_data("threshold-digits:train").items)[:64]
    space = load_data("threshold-digits").space
    config = MADEConfig(hidden=(16,), residual_blocks=1, orders="symmetries", rolls=1)
    module = build_made(config, space, None)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    mixture = freeze(module, data, tolerance=1.0)
    found = overhead.natural_order(mixture)
    assert found is not None
    one, member = found
    assert np.array_equal(mixture.tensors["orders"][member], np.arange(64))
    given = {"member": np.full((len(data), 1), member), "shape": data.shape[1:]}
    assert np.array_equal(one.log_prob(data), mixture.law.likelihood.log_prob(data, given))
    assert one.kind == "exact" and overhead.natural_order(one) is None


def test_shares_count_tables_and_images_that_differ():
    base = np.zeros((4, 5), np.uint16)
    other = base.copy()
    other[1, :2] = 1
    other[3, 4] = 7
    assert float_tables.shares(base, other) == (3 / 20, 2 / 4)
    ends = float_tables.float_frequencies(np.array([0, 0.5, 1], np.float32))
    assert ends.tolist() == [1, 32768, 65535]


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_a_process_apart_evaluates_the_network_that_it_was_given(tmp_path, library, monkeypatch):
    from codelength.exact import arithmetic as executors

    network = OneOrder(10, 12, 2, seed=1)
    items = np.random.default_rng(0).integers(0, 2, (7, 10)).astype(np.int32)
    np.save(tmp_path / "items.npy", items)
    frozen = network.freeze(0)
    frozen.save(tmp_path / "model.clm")
    for k, layer in enumerate(m for m in network.dense() if isinstance(m, torch.nn.Linear)):
        np.savez(tmp_path / f"{k}.npz", weight=layer.weight.numpy(), bias=layer.bias.numpy())
    with executors.using(executors.current()):  # the process that it is written for may keep what it chooses
        float_tables.evaluate(tmp_path, float_tables.Configuration("", batch=3, library=library))
    shares = torch.sigmoid(network.dense()(torch.from_numpy(items).float())).detach().numpy()
    assert np.abs(np.load(tmp_path / "float.npy") / 65536 - shares).max() < 1e-4
    ones = np.load(tmp_path / "frozen.npy")
    bits = np.where(items == 1, ones, (1 << 24) - ones.astype(np.int64))
    assert np.allclose(np.log(bits / 2**24).sum(1), frozen.log_prob(items))


def test_tables_stand_between_their_marks():
    report = {
        "benchmark": "codecs",
        "command": "python -m benchmarks.codecs",
        "machine": {"processor": "P", "cores": 3},
        "threads": 2,
        "versions": {"numpy": "9"},
        "loaded": True,
        "results": [
            {"data": "d", "codec": "gzip", "bits_per_dim": 0.12345, "encode_mb_s": 1234.5},
            {"data": "e", "note": "not measured: none"},
        ],
    }
    text = "a\n<!-- benchmarks:x -->\nold\n<!-- /benchmarks:x -->\nb\n<!-- benchmarks:y -->\n"
    new = tables.insert(text, lambda name: report)
    assert new.startswith("a\n<!-- benchmarks:x -->\n") and new.endswith("b\n<!-- benchmarks:y -->\n")
    assert "| d | gzip | 0.1235 | 1,234 |" in new and "| e |  |  | not measured: none |" in new
    assert "old" not in new and "P, 3 cores; 2 threads; numpy 9; **timed while other work was running**." in new
    assert tables.insert(new, lambda name: report) == new

    def nothing(name: str) -> dict:
        raise FileNotFoundError(name)

    assert tables.insert(text, nothing) == text


def test_every_benchmark_has_a_table_and_committed_results_have_their_form():
    assert set(every.COMMANDS) <= tables.BENCHMARKS
    for path in RESULTS.glob("*.json"):
        assert tables.table(path).startswith("| ")


def test_archives_of_piles_are_put_beside_the_smallest_codec(tmp_path):
    path = tmp_path / "p.json"
    pack.main(["--case", "threshold-digits:test[:60]", "--profile", "fast", "--compare", "--json", str(path)])
    own, *others = written(path, "pack")
    assert (own["codec"], own["form"], own["items"], own["raw_bytes"]) == ("codelength", "fast", 60, 60 * 64)
    assert {"PNG", "WebP", "xz"} <= {row["codec"] for row in others}
    assert own["of_best_codec"] == own["bytes"] / min(row["bytes"] for row in others)


def test_piles_by_name_lie_in_the_data_folder(monkeypatch):
    monkeypatch.setenv("CODELENGTH_DATA", "/data")
    assert pack.spec_of("kodak") == "/data/kodak"
    assert pack.spec_of("mnist[:200]") == "mnist:test[:200]"
    assert pack.spec_of("scans/") == "scans/"
