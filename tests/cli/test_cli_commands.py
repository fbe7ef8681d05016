"""Every command once, in process: what it writes, and the keys that others script against."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import codelength
from codelength.cli import main
from codelength.cli.app import app
from codelength.cli.examples import EXAMPLES
from codelength.laws.frozen import FrozenModel

EVALUATE_KEYS = {
    "model", "data", "items", "dims", "nats", "nats_se", "mc_se", "bits_per_dim", "bits_per_dim_se", "kind",
    "estimator", "samples", "arithmetic", "preprocessing", "notes",
}  # fmt: skip
ARCHIVE_KEYS = {
    "items", "dims", "archive_bytes", "model_bytes", "payload_bytes", "names_bytes", "fallback_bytes",
    "fallback_items", "bits_per_dim", "bits_per_dim_with_model", "code_length_bits", "overhead", "startup_bits",
    "blocks", "format_version",
}  # fmt: skip
COMMON_KEYS = {"model_sha256", "data_sha256", "seed", "version", "command"}


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.fixture
def archive(pairs_file: Path, pair_data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.clen"
    run("compress", pair_data, path, "--model", pairs_file, "--quiet", "--block", 128)
    return path


def test_evaluate(pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("evaluate", pairs_file, "--data", pair_data, "--json", tmp_path / "e.json", "--per-item", tmp_path / "e.npy")
    figures = read(tmp_path / "e.json")
    assert set(figures) == EVALUATE_KEYS | COMMON_KEYS
    assert np.load(tmp_path / "e.npy").mean() == pytest.approx(figures["nats"])
    assert figures["bits_per_dim"] == pytest.approx(-figures["nats"] * 300 / (figures["dims"] * np.log(2)))
    assert (figures["items"], figures["kind"], figures["arithmetic"]) == (300, "exact", "frozen")
    assert f"{figures['bits_per_dim']:.4f} ± " in capsys.readouterr().out


def test_evaluate_against_another_model(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", pair_data, "--limit", 80, "--seed", 2, "--json", tmp_path / "e.json")
    run("evaluate", pairs_file, "--against", "made-digits", *options)
    figures, shown = read(tmp_path / "e.json"), capsys.readouterr().out
    theirs = figures["against"]
    assert theirs["difference"] == pytest.approx(figures["nats"] - theirs["nats"])
    assert theirs["difference"] > 0 and theirs["wins"] > 0.9  # the data was drawn from the first model
    assert 0 < theirs["difference_se"] < theirs["difference"] and theirs["difference_mc_se"] == 0
    assert f"{theirs['difference']:+.4f} ± {theirs['difference_se']:.4f} nats per item against it" in shown
    run("evaluate", pairs_file, "--against", pairs_file, *options)
    itself = read(tmp_path / "e.json")["against"]
    assert (itself["difference"], itself["difference_se"], itself["wins"]) == (0.0, 0.0, 0.0)


def test_data_of_fewer_symbols_than_the_model_has_is_pointed_out(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "bits.npy", np.zeros((2, 28, 28), np.uint8))
    run("evaluate", "vae-mnist", "--data", tmp_path / "bits.npy", "--quiet")
    assert "has 2 symbols, vae-mnist models 256" in capsys.readouterr().err
    run("evaluate", pairs_file, "--data", pair_data, "--quiet")
    assert "symbols" not in capsys.readouterr().err


def test_json_on_standard_output_stands_alone(
    pairs_file: Path, pair_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("evaluate", pairs_file, "--data", pair_data, "--json", "-", "--limit", 20, "--seed", 4)
    figures = json.loads(capsys.readouterr().out)
    assert (figures["items"], figures["seed"]) == (20, 4)
    assert figures["command"].startswith("codelength evaluate ") and figures["version"] == codelength.__version__


def test_compress_says_what_reading_an_item_costs(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compress", pair_data, tmp_path / "a.clen", "--model", pairs_file, "--block", "90000s")
    assert "to read back (blocks of 300 items)" in capsys.readouterr().out
    run("decompress", tmp_path / "a.clen", tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(pair_data))
    run("compress", pair_data, tmp_path / "b.clen", "--model", pairs_file, "--no-verify")
    assert "to read back" not in capsys.readouterr().out


def test_compress_inspect_verify_decompress(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "pairs.clen"
    run("compress", pair_data, archive, "--model", pairs_file, "--json", tmp_path / "c.json", "--block", 100)
    figures = read(tmp_path / "c.json")
    assert set(figures) == ARCHIVE_KEYS | COMMON_KEYS | {"notes", "source_bytes", "kept_files", "verified"}
    assert figures["archive_bytes"] == archive.stat().st_size == figures["model_bytes"] + figures["payload_bytes"]
    assert (figures["items"], figures["dims"], figures["blocks"]) == (300, 300 * 64, 3)
    assert figures["bits_per_dim"] == pytest.approx(8 * figures["payload_bytes"] / figures["dims"])

    run("evaluate", pairs_file, "--data", pair_data, "--json", tmp_path / "e.json")
    evaluated = read(tmp_path / "e.json")
    assert {key: evaluated[key] for key in ("model_sha256", "data_sha256")} == {
        key: figures[key] for key in ("model_sha256", "data_sha256")
    }
    promised = -evaluated["nats"] * 300 / np.log(2)
    assert figures["code_length_bits"] == pytest.approx(promised, abs=1)

    run("inspect", archive, "--json", tmp_path / "i.json", "--list")
    inspected = read(tmp_path / "i.json")
    assert {k: v for k, v in inspected.items() if k != "command"} == {
        k: v for k, v in figures.items() if k not in ("command", "notes", "source_bytes", "kept_files", "verified")
    }
    assert sum(line.split()[:2] == ["299", "model"] for line in capsys.readouterr().out.splitlines()) == 1

    run("verify", archive, pair_data)
    run("decompress", archive, tmp_path / "all.npy")
    assert (tmp_path / "all.npy").read_bytes() == pair_data.read_bytes()
    run("decompress", archive, tmp_path / "some.npy", "--range", "90:210")
    assert np.array_equal(np.load(tmp_path / "some.npy"), np.load(pair_data)[90:210])
    run("decompress", archive, tmp_path / "folder")
    assert (tmp_path / "folder" / "pairs.npy").read_bytes() == pair_data.read_bytes()


def test_a_named_model_serves_those_who_have_it(pairs_file: Path, pair_data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "named.clen"
    run("compress", pair_data, archive, "--model", pairs_file, "--no-embed-model", "--json", tmp_path / "c.json")
    assert read(tmp_path / "c.json")["model_bytes"] == 0
    assert main(["decompress", str(archive), str(tmp_path / "a.npy")]) == 1
    run("decompress", archive, tmp_path / "a.npy", "--model", pairs_file)
    assert (tmp_path / "a.npy").read_bytes() == pair_data.read_bytes()


def test_a_folder_of_images_comes_back_as_one(
    pairs_file: Path, pair_items: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images" / "below"
    folder.mkdir(parents=True)
    for k, item in enumerate(pair_items[:20]):
        Image.fromarray(item * np.uint8(255)).save(folder / f"{k:02}.png")
    Image.fromarray(np.arange(63, dtype=np.uint8).reshape(9, 7)).save(folder / "grey.png")
    (tmp_path / "images" / "notes.txt").write_text("kept as it is")
    archive = tmp_path / "images.clen"
    run("compress", tmp_path / "images", archive, "--model", pairs_file, "--json", tmp_path / "c.json")
    figures = read(tmp_path / "c.json")
    assert (figures["items"], figures["fallback_items"]) == (21, 1) and figures["names_bytes"] > 0
    run("verify", archive, tmp_path / "images")
    run("decompress", archive, tmp_path / "back")
    for path in (tmp_path / "images").rglob("*.*"):
        other = tmp_path / "back" / path.relative_to(tmp_path / "images")
        if path.suffix == ".txt":
            assert other.read_bytes() == path.read_bytes()
        else:
            with Image.open(path) as one, Image.open(other) as two:
                assert np.array_equal(np.asarray(one), np.asarray(two)) and one.mode == two.mode
    run("decompress", archive, tmp_path / "part", "--name", "*/1?.png")
    assert len(list((tmp_path / "part").rglob("*.png"))) == 10


def test_sample(pairs: FrozenModel, pairs_file: Path, tmp_path: Path) -> None:
    run("sample", pairs_file, "--count", 5, "--out", tmp_path / "s.npy", "--seed", 9)
    assert np.array_equal(np.load(tmp_path / "s.npy"), pairs.sample(5, seed=9))
    run("sample", pairs_file, "--count", 5, "--out", tmp_path / "s.png", "--seed", 9)
    with Image.open(tmp_path / "s.png") as picture:
        assert set(np.unique(np.asarray(picture))) == {0, 128, 255}


def test_inpaint_keeps_what_the_mask_keeps(pairs_file: Path, pair_items: np.ndarray, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(pair_items[0] * np.uint8(255)).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ["--inpaint", tmp_path / "image.png", "--mask", tmp_path / "mask.png", "--draws", 8]
    run("sample", pairs_file, "--count", 6, "--out", tmp_path / "p.npy", *options)
    found = np.load(tmp_path / "p.npy")
    assert (found[:, :, 4:] == pair_items[0][:, 4:]).all()
    assert len(np.unique(found.reshape(6, -1), axis=0)) > 1


def test_listings(capsys: pytest.CaptureFixture[str]) -> None:
    run("datasets", "--quiet")
    names = capsys.readouterr().out.split()
    assert {"digits", "binarized-mnist", "cifar10", "debd/dna"} <= set(names)
    run("models", "--quiet")
    assert capsys.readouterr().out.split() == sorted(codelength.packaged_models())
    run("models")
    run("datasets")
    assert "CC BY 4.0" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--version", "-V"):
        run(option)
        assert capsys.readouterr().out.strip() == codelength.__version__
    for arguments in ((), ("--help",), ("-h",)):
        run(*arguments)
        overview = capsys.readouterr().out
        assert all(f"\n  {command} " in overview for command in EXAMPLES)


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_help_has_common_options_and_examples_that_parse(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(command, "--help")
    text = capsys.readouterr().out
    run(command, "-h")
    assert capsys.readouterr().out == text
    assert all(option in text for option in ("--device", "--jobs", "--max-memory", "-q, --quiet", "-h, --help"))
    assert 2 <= len(EXAMPLES[command]) <= 5
    group = typer.main.get_command(app)
    for line in EXAMPLES[command]:
        assert f"    {line}\n" in text + "\n"
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("codelength", command)
        arguments = list(itertools.takewhile(lambda word: word not in "<>", arguments))  # the rest is the shell's
        with group.make_context("codelength", [], resilient_parsing=True) as above:
            found = group.get_command(above, name)  # type: ignore[attr-defined]
            found.make_context(name, arguments, parent=above).close()  # raises where an option or value is wrong


def test_examples_name_what_there_is() -> None:
    known = {*codelength.packaged_models(), *(entry.name for entry in codelength.datasets())}
    recipes = {path.stem for path in (Path(codelength.__file__).parent / "recipes").glob("*.toml")}
    for lines in EXAMPLES.values():
        for line in lines:
            for word in map(str, shlex.split(line)[2:]):
                name = re.split(r"[:\[]", word)[0]
                if re.fullmatch(r"(\w+-)+\w+", name) and "out" not in name:
                    assert name in known | recipes, line


def test_places_to_write_may_be_options(pairs_file: Path, pair_data: Path, tmp_path: Path) -> None:
    run("compress", pair_data, "-o", tmp_path / "a.clen", "--model", pairs_file, "-q")
    run("decompress", tmp_path / "a.clen", "-o", tmp_path / "back.npy", "-q")
    run("decompress", tmp_path / "a.clen", "--out", tmp_path / "back.npy", "-q", "-f")
    assert (tmp_path / "back.npy").read_bytes() == pair_data.read_bytes()
    run("sample", pairs_file, "--count", 2, "-o", tmp_path / "s.npy", "-q")
    assert np.load(tmp_path / "s.npy").shape == (2, 8, 8)


READER = """
import sys

for name in ("torch", "scipy", "sklearn", "pooch", "matplotlib", "imagecodecs"):
    sys.modules[name] = None  # as if it were not installed
from codelength.cli import main
from codelength.cli.app import app
from codelength.cli.examples import EXAMPLES
import codelength.cli.app

assert "numpy" not in sys.modules, "the commands import too much before they know how many threads to use"
model, data, archive, back = sys.argv[1:]
for line in (
    ["compress", data, archive, "--model", model, "--jobs", "1"],
    ["evaluate", model, "--data", data],
    ["inspect", archive, "--list"],
    ["verify", archive, data],
    ["decompress", archive, back],
    ["sample", model, "--count", "2", "--out", back + ".png"],
    ["models"],
    ["datasets"],
):
    status = main(line)
    if status:
        sys.exit(f"{line[0]} ended with {status}")
"""


def test_reading_and_coding_need_no_torch(pairs_file: Path, pair_data: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.npy"
    arguments = [pairs_file, pair_data, tmp_path / "a.clen", back]
    done = subprocess.run(
        [sys.executable, "-c", READER, *map(str, arguments)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == pair_data.read_bytes()
