"""Names, single images and lists of damage on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codelength.archive.reader import Archive
from codelength.cli.options import item_range
from codelength.cli.run import main
from codelength.errors import UsageError

MODEL = "made-digits"


def compress(data: Path, archive: Path, *more: str) -> Path:
    assert main(["compress", str(data), str(archive), "--model", MODEL, "--quiet", *more]) == 0
    return archive


def read(path: Path) -> tuple[str, np.ndarray]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


@pytest.mark.parametrize(
    "text, expected",
    [(None, None), ("5", (5, 6)), ("0", (0, 1)), ("2:4", (2, 4)), (":4", (0, 4)), ("4:", (4, 10)), (":", (0, 10))],
)
def test_ranges(text: str | None, expected: tuple[int, int] | None) -> None:
    assert item_range(text, 10) == expected


@pytest.mark.parametrize(
    "text, word",
    [("-1", "from the end"), ("-3:", "from the end"), ("4:2", "begins before"), ("10", "below 10"),
     ("a", "item number"),
     ("9" * 5000, "item number"), ("", "item number"), ("٣", "item number"), ("1:2:3", "item number")],
)  # fmt: skip
def test_ranges_that_are_wrong(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as info:
        item_range(text, 10)
    assert len(str(info.value)) < 200


def test_items_of_arrays_as_image_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "grey": (rng.integers(0, 256, (3, 5, 7)).astype(np.uint8), "L", "png"),
        "rgb": (rng.integers(0, 256, (3, 5, 7, 3)).astype(np.uint8), "RGB", "bmp"),
        "first": (rng.integers(0, 256, (3, 3, 5, 7)).astype(np.uint8), "RGB", "tif"),
        "deep": (rng.integers(0, 65536, (3, 5, 7)).astype(">u2"), "I;16", "png"),
        "truth": (rng.integers(0, 2, (3, 5, 7)).astype(bool), "1", "png"),
    }
    for name, (array, mode, form) in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        archive = compress(tmp_path / f"{name}.npy", tmp_path / f"{name}.clen")
        target = tmp_path / f"{name}.{form}"
        assert main(["decompress", str(archive), str(target), "--range", "1", "--quiet"]) == 0
        item = array[1].transpose(1, 2, 0) if name == "first" else array[1]
        held, pixels = read(target)
        assert held == mode and np.array_equal(pixels, item), name
        capsys.readouterr()
        assert main(["decompress", str(archive), str(tmp_path / "all.png")]) == 2
        assert "got 3 items; choose one with --range" in capsys.readouterr().err
        assert main(["decompress", str(archive), str(tmp_path / f"{name}.webp"), "--range", "1"]) == (
            0 if mode == "RGB" else 2
        )
    np.save(tmp_path / "table.npy", rng.normal(size=(3, 4)))
    archive = compress(tmp_path / "table.npy", tmp_path / "table.clen")
    assert main(["decompress", str(archive), str(tmp_path / "t.png"), "--range", "0"]) == 2
    assert "no picture" in capsys.readouterr().err and not (tmp_path / "t.png").exists()


def test_two_symbols_are_black_and_white(tmp_path: Path) -> None:
    from codelength import api

    frozen = api.load(MODEL)
    bits = frozen.sample(2, seed=0).astype(np.uint8)
    assert frozen.space.symbols == 2
    shape = (2, 8, 8) if bits[0].size == 64 else bits.shape
    np.save(tmp_path / "bits.npy", bits)
    archive = compress(tmp_path / "bits.npy", tmp_path / "bits.clen")
    if bits.ndim == 3:
        assert main(["decompress", str(archive), str(tmp_path / "one.png"), "--range", "1", "--quiet"]) == 0
        mode, pixels = read(tmp_path / "one.png")
        assert mode == "1" and np.array_equal(pixels, bits[1].astype(bool)) and shape


def test_items_of_folders_as_image_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.bmp")
    Image.fromarray(pixels[::-1].copy()).save(folder / "b.png")
    Image.fromarray(pixels).save(folder / "c.jpg")
    archive = compress(folder, tmp_path / "a.clen")
    for name in ("a.bmp", "c.jpg"):
        assert main(["decompress", str(archive), str(tmp_path / name), "--name", name, "--quiet"]) == 0
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert main(["decompress", str(archive), str(tmp_path / "a.png"), "--name", "a.bmp", "--quiet"]) == 0
    assert "beside its pixels is not in" in capsys.readouterr().err
    assert read(tmp_path / "a.png")[0] == "RGB" and np.array_equal(read(tmp_path / "a.png")[1], pixels)
    assert main(["decompress", str(archive), str(tmp_path / "c.png"), "--name", "c.jpg"]) == 2
    assert "ends in .jpg" in capsys.readouterr().err
    assert main(["decompress", str(archive), str(tmp_path / "all.png")]) == 2
    assert not (tmp_path / "c.png").exists() and not (tmp_path / "all.png").exists()


def damage(archive: Path, *numbers: int) -> None:
    with Archive.open(archive) as opened:
        blocks = [opened.directory.blocks[number] for number in numbers]
    data = bytearray(archive.read_bytes())
    for block in blocks:
        data[block.offset + block.length // 2] ^= 0x10
    archive.write_bytes(bytes(data))


def test_every_damaged_block_and_item_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (60, 5, 7)).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    archive = compress(tmp_path / "x.npy", tmp_path / "x.clen", "--block", "10")
    capsys.readouterr()
    assert main(["verify", str(archive), "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["sound"] is True and figures["damaged"] == [] and figures["blocks"] == 6
    damage(archive, 1, 2, 4)
    assert main(["verify", str(archive), "--json", str(tmp_path / "v.json")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line[:35] for line in lines[:-1]] == [f"codelength: block {n}, entries {n}0-{n}9: "[:35] for n in (1, 2, 4)]
    assert "3 of 6 blocks are corrupt, and 30 of 60 entries are lost: 10-29, 40-49" in lines[-1]
    figures = json.loads((tmp_path / "v.json").read_text())
    found = [(d["block"], d["entries"], d["names"]) for d in figures["damaged"]]
    assert found == [(1, [[10, 20]], []), (2, [[20, 30]], []), (4, [[40, 50]], [])] and figures["sound"] is False
    assert figures["items"] == 60 and "3 of 6 blocks are corrupt" in figures["reason"]
    assert main(["decompress", str(archive), str(tmp_path / "y.npy"), "--keep-going", "--json", "-"]) == 1
    shown = capsys.readouterr()
    figures = json.loads(shown.out)
    assert [d["entries"] for d in figures["damaged"]] == [[[10, 20]], [[20, 30]], [[40, 50]]]
    assert "30 of 60 entries could not be given back (10-29, 40-49)" in shown.err
    assert np.array_equal(np.load(tmp_path / "y.npy")[50:], array[50:])


def test_what_is_no_sound_archive_of_the_data_is_told_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 5, 7)).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    archive = compress(tmp_path / "x.npy", tmp_path / "x.clen")
    for name, other in (("value", array ^ 1), ("shape", array[:, :4]), ("less", array[:5])):
        np.save(tmp_path / f"{name}.npy", other)
        assert main(["verify", str(archive), str(tmp_path / f"{name}.npy"), "--json", str(tmp_path / "v.json")]) == 1
        figures = json.loads((tmp_path / "v.json").read_text())
        assert figures["sound"] is False and figures["damaged"] == [] and figures["items"] == 6
        assert "does not hold this data" in figures["reason"] and figures["command"].startswith("codelength verify ")
        assert figures["reason"] in capsys.readouterr().err
    archive.write_bytes(archive.read_bytes()[:-9])
    assert main(["verify", str(archive), "--json", "-"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["sound"] is False and figures["damaged"] == [] and "items" not in figures


def test_any_name_on_any_terminal(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name in (b"\x1b[31m.txt", b"\xff.txt", "日本.txt".encode(), b"two\nlines"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    compress(Path(os.fsdecode(folder)), tmp_path / "a.clen")
    missing = b"inspect \xe6\x97\xa5\xff\x1b"
    commands = (b"inspect a.clen --list", b"decompress a.clen out -f", b"verify a.clen in", missing)
    code = (
        "import os; from codelength.cli import main\n"
        f"assert [main(os.fsdecode(command).split()) for command in {commands}] == [0, 0, 0, 1]"
    )
    for variables in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **variables}, capture_output=True
        )
        shown = result.stdout + result.stderr
        assert result.returncode == 0, shown
        assert b"\x1b" not in shown and b"Error" not in shown and b"Traceback" not in shown, shown
        assert b"%1B[31m.txt" in shown and b"%FF.txt" in shown and b"two%0Alines" in shown
    back = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert back["%FF.txt"] == b"\xff.txt" and back["日本.txt"] == "日本.txt".encode() and len(back) == 4


def test_a_name_that_was_escaped_is_shown_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "two\nlines").write_bytes(b"x")
    (tmp_path / "in" / os.fsdecode(b"\xff.txt")).write_bytes(b"y")
    archive = compress(tmp_path / "in", tmp_path / "a.clen")
    capfd.readouterr()
    assert main(["decompress", str(archive), str(tmp_path / "out")]) == 0
    shown = capfd.readouterr().err
    assert r"'two\nlines' was written as 'two%0Alines'" in shown
    assert r"'\udcff.txt' was written as '%FF.txt'" in shown
