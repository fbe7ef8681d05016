"""``pack`` and ``unpack`` as people run them, in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codelength.cli import main
from codelength.packing.result import PackResult

RNG = np.random.default_rng(0)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Twelve grey images stored as RGBA."""
    folder = tmp_path / "scans"
    folder.mkdir()
    y, x = np.mgrid[:40, :50]
    for k in range(12):
        grey = 100 + 60 * np.sin(x / 9 + k) + 30 * np.cos(y / 7) + RNG.normal(0, 3, (40, 50))
        pixels = np.clip(grey, 0, 255).astype(np.uint8)
        Image.fromarray(np.dstack([pixels] * 3 + [np.full_like(pixels, 255)])).save(folder / f"{k:02}.png")
    return folder


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_pack_says_what_it_found_expects_and_saved(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, figures = tmp_path / "scans.clen", tmp_path / "figures.json"
    run("pack", scans, archive, "--json", figures)
    shown = capsys.readouterr().out
    for words in (
        "12 RGBA images of 40x50: the colour channels are equal: grey stored as RGBA; alpha is opaque",
        "to be kept by: adaptive",
        "come back byte for byte; --keep-files keeps all so",
        "expected: ",
        f"wrote {archive}",
        "12 items, all verified",
        "one item is read in about",
        "beside: ",
        "the best of these, ",
    ):
        assert words in shown, words
    written = read(figures)
    fields = set(PackResult.__dataclass_fields__)
    assert set(written) == fields | {"best_peer", "of_best_peer", "seed", "version", "command"}
    assert written["archive_bytes"] == archive.stat().st_size and written["command"].startswith("codelength pack")
    run("unpack", archive, tmp_path / "back", "-q")
    for path in scans.iterdir():
        with Image.open(path) as a, Image.open(tmp_path / "back" / path.name) as b:
            assert a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b))


def test_an_estimate(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    run("pack", scans, "--estimate")
    shown = capsys.readouterr().out
    assert "expected: " in shown and "beside: " in shown and "wrote" not in shown
    run("pack", scans, "--estimate", "--no-compare", "--quiet")
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_kept_files_come_back_byte_for_byte(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("pack", scans, tmp_path / "a.clen", "--keep-files", "--no-compare")
    assert "12 images kept byte for byte" in capsys.readouterr().out
    run("unpack", tmp_path / "a.clen", tmp_path / "back", "-q")
    assert all(path.read_bytes() == (tmp_path / "back" / path.name).read_bytes() for path in scans.iterdir())


def test_options_of_place_and_force(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.clen"
    options = ("--no-compare", "--max-minutes", 0, "--block", 4, "--jobs", 2, "--profile", "fast")
    run("pack", scans, "-o", archive, "--quiet", *options)
    first = archive.read_bytes()
    assert capsys.readouterr().out == ""
    assert main(["pack", str(scans), str(archive)]) == 2
    assert "--force" in capsys.readouterr().err
    run("pack", scans, archive, "-f", *options)
    assert archive.read_bytes() == first
    assert "nothing was tried" in capsys.readouterr().out


def test_compress_needs_no_model(scans: Path, tmp_path: Path) -> None:
    run("compress", scans, tmp_path / "a.clen", "--json", tmp_path / "c.json", "-q")
    figures = read(tmp_path / "c.json")
    assert figures["verified"] and figures["items"] == 12 and figures["fallback_items"] == 0
    run("verify", tmp_path / "a.clen", scans)
    assert main(["compress", str(scans), str(tmp_path / "b.clen"), "--no-embed-model"]) == 2


def test_append_adds_files_and_replaces_them_when_told(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (scans / "10.png").rename(more / "10.png")
    (scans / "11.png").rename(more / "11.png")
    Image.fromarray(RNG.integers(0, 255, (9, 8), np.uint8)).save(more / "grey.png")
    archive = tmp_path / "a.clen"
    run("pack", scans, archive, "--no-compare", "-q")
    run("append", archive, more, "--json", tmp_path / "figures.json")
    assert "now holds 13 items" in capsys.readouterr().out
    figures = read(tmp_path / "figures.json")
    assert figures["items"] == 13 and figures["archive_bytes"] == archive.stat().st_size and figures["verified"]
    before = archive.read_bytes()
    assert main(["append", str(archive), str(more)]) == 2
    assert "10.png" in capsys.readouterr().err and archive.read_bytes() == before
    Image.fromarray(np.zeros((40, 50, 4), np.uint8)).save(more / "10.png")
    run("append", archive, more, "--replace", "-q")
    run("unpack", archive, tmp_path / "back", "-q")
    with Image.open(tmp_path / "back" / "10.png") as image:
        assert not np.asarray(image).any()
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [f"{k:02}.png" for k in range(12)] + [
        "grey.png"
    ]


@pytest.mark.parametrize("data", ["inside", "missing"])
def test_append_refuses(data: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "a.clen"
    if data == "missing":
        assert main(["append", str(archive), str(scans)]) == 2
        assert "codelength pack makes one" in capsys.readouterr().err
        return
    run("pack", scans, archive, "--no-compare", "-q", "--max-minutes", 0)
    archive.rename(scans / "a.clen")
    assert main(["append", str(scans / "a.clen"), str(scans)]) == 2
    assert "outside of the data" in capsys.readouterr().err


def test_a_page_is_written(scans: Path, tmp_path: Path) -> None:
    options = ("--no-compare", "--max-minutes", 0, "-q", "--profile", "fast")
    run("pack", scans, tmp_path / "a.clen", "--report", tmp_path / "page.html", *options)
    page = (tmp_path / "page.html").read_text()
    assert "<h1>scans packed</h1>" in page and "data:image/png" in page
    run("pack", scans, "--estimate", "--report", tmp_path / "look.html", *options)
    assert "<h1>scans looked at</h1>" in (tmp_path / "look.html").read_text()


def test_a_page_that_cannot_be_written_is_told_before_anything_is_done(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, told in (("none/page.html", "expected a folder that exists"), ("scans", "name a file in it")):
        assert main(["pack", str(scans), str(tmp_path / "a.clen"), "--report", str(tmp_path / place)]) == 2
        assert told in capsys.readouterr().err and not (tmp_path / "a.clen").exists()
