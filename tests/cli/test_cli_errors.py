"""Whatever goes wrong ends in one sentence on stderr and an exit status, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codelength import files
from codelength.cli import main
from codelength.laws.frozen import FrozenModel


def fails(capsys: pytest.CaptureFixture[str], status: int, *arguments: object) -> str:
    """Run a command that must fail; returns its one sentence."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == status
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == "" and len(lines) == 1 and lines[0].startswith("codelength: "), shown
    return lines[0]


@pytest.fixture
def archive(pairs_file: Path, pair_data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.clen"
    assert main(["compress", str(pair_data), str(path), "--model", str(pairs_file), "--quiet"]) == 0
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "no such command"),
        (["compres", "D"], "did you mean compress"),
        (["evaluate", "M", "--dat", "D"], "did you mean --data"),
        (["compress", "D", "--model", "M"], "expected ARCHIVE"),
        (["compress", "D", "OUT", "--model", "M", "-o", "OUT"], "leave one of them out"),
        (["decompress", "A"], "expected DEST"),
        (["evaluate"], "missing argument"),
        (["evaluate", "M"], "missing option"),
        (["sample", "M", "--count", "x", "--out", "a.png"], "a whole number for --count, got 'x'"),
        (["sample", "M", "--count", "1", "--out", "a.png", "--seed", "-3"], "at least 0 for --seed, got '-3'"),
        (["sample", "M", "--count", "1", "--out", "a.png", "--jobs", "1.5"], "a whole number for --jobs"),
        (["train", "made-digits", "--out", "OUT", "--max-minutes", "nan"], "a number of at least 0 for --max-minutes"),
        (["train", "made-digits", "--out", "OUT", "--seed", str(2**31)], "at most 2,147,483,647 for --seed"),
        (["datasets", "--colour"], "no such option"),
        (["evaluate", "no-such-model", "--data", "digits"], "neither a packaged model"),
        (["evaluate", "M", "--data", "no-such-data"], "neither a data set"),
        (["evaluate", "M", "--data", "D", "--estimator", "magic"], "estimators"),
        (["evaluate", "M", "--data", "D", "--samples", "0"], "at least one sample"),
        (["evaluate", "M", "--data", "D", "--limit", "0"], "limit of at least one"),
        (["evaluate", "M", "--data", "D", "--arithmetic", "float"], "run folder"),
        (["evaluate", "M", "--data", "D", "--arithmetic", "exact"], "float or frozen"),
        (["evaluate", "M", "--data", "D", "--per-item", "a.txt"], ".npy or .csv"),
        (["evaluate", "M", "--data", "D", "--jobs", "0"], "at least one job"),
        (["sample", "M", "--count", "0", "--out", "a.png"], "at least 1"),
        (["sample", "M", "--count", "1", "--out", "a.jpg"], ".png or .npy"),
        (["sample", "M", "--count", "1", "--out", "a.png", "--inpaint", "i.png"], "--mask"),
        (["sample", "M", "--count", "1", "--out", "a.png", "--shape", "9x9"], "no --shape"),
        (["compress", "D", "OUT", "--model", "M", "--max-memory", "much"], "size such as"),
        (["evaluate", "M", "--data", "D", "--max-memory", "1K"], "more than the 1,024 of --max-memory"),
        (
            ["sample", "M", "--count", "9", "--out", "a.png", "--max-memory", "1K"],
            "more than the 1,024 of --max-memory",
        ),
        (["compress", "D", "OUT", "--model", "M", "--block", "0"], "at least one item"),
        (["compress", "D", "OUT", "--model", "M", "--block", "1 minute"], "such as 0.5s"),
        (["compress", "D", "OUT", "--model", "M", "--layout", "hwc"], "layouts"),
        (["decompress", "A", "OUT", "--range", "1-2"], "range A:B"),
        (["decompress", "A", "OUT", "--range", "5:9999"], "range within"),
        (["decompress", "A", "OUT", "--name", "*.png"], "arrays"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    words: str,
    archive: Path,
    pairs_file: Path,
    pair_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"M": pairs_file, "D": pair_data, "A": archive, "OUT": tmp_path / "out.npy"}
    status = 1 if words == "neither a data set" else 2
    assert words in fails(capsys, status, *(places.get(argument, argument) for argument in arguments))
    assert not (tmp_path / "out.npy").exists()


def damaged(archive: Path, how: str) -> bytes:
    data = bytearray(archive.read_bytes())
    if how == "truncated":
        return bytes(data[:-30])
    if how == "cut short":
        return bytes(data[:5])
    if how == "empty":
        return b""
    if how == "foreign":
        return b"\x89PNG\r\n\x1a\n" + bytes(100)
    if how == "newer":
        data[8] = 77
    elif how == "header":
        data[40] ^= 4
    elif how == "block":
        data[len(data) // 2] ^= 16
    return bytes(data)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated"),
        ("cut short", "beginning of an archive"),
        ("empty", "bytes"),
        ("foreign", "expected a codelength archive"),
        ("newer", "version"),
        ("header", "corrupt"),
        ("block", "corrupt"),
    ],
)
def test_broken_archives(
    how: str, words: str, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.clen"
    broken.write_bytes(damaged(archive, how))
    before = sorted(tmp_path.iterdir())
    assert words in fails(capsys, 1, "decompress", broken, tmp_path / "out.npy")
    assert words in fails(capsys, 1, "verify", broken)
    assert sorted(tmp_path.iterdir()) == before


def test_damage_costs_a_block_and_is_reported(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "blocks.clen"
    main(["compress", str(pair_data), str(archive), "--model", str(pairs_file), "--block", "100", "--quiet"])
    data = bytearray(archive.read_bytes())
    data[-400] ^= 1
    archive.write_bytes(bytes(data))
    status = main(["decompress", str(archive), str(tmp_path / "out.npy"), "--keep-going", "--quiet"])
    assert status == 1 and "100 of 300 entries could not be given back (200-299)" in capsys.readouterr().err
    found, original = np.load(tmp_path / "out.npy"), np.load(pair_data)
    assert sorted((found != original).any(axis=(1, 2)).reshape(3, 100).any(axis=1).tolist()) == [False, False, True]


def test_other_data_and_other_models(
    archive: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = np.load(pair_data)
    items[17] ^= 1
    np.save(tmp_path / "other.npy", items)
    assert "17" in fails(capsys, 1, "verify", archive, tmp_path / "other.npy")
    (tmp_path / "model.clm").write_bytes(b"not a model")
    words = fails(capsys, 1, "compress", pair_data, tmp_path / "b.clen", "--model", tmp_path / "model.clm")
    assert "not a codelength model" in words
    (tmp_path / "run").mkdir()
    assert "model.clm" in fails(capsys, 2, "evaluate", tmp_path / "run", "--data", pair_data)


def test_folders_of_images(pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(capsys, 1, "compress", tmp_path / "empty", tmp_path / "a.clen", "--model", pairs_file)
    (tmp_path / "mixed").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "mixed" / "small.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "mixed" / "large.png")
    assert "9x9" in fails(capsys, 1, "evaluate", pairs_file, "--data", tmp_path / "mixed")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "no.png").write_text("no image")
    assert "none that can be read" in fails(capsys, 1, "evaluate", pairs_file, "--data", tmp_path / "text")
    np.save(tmp_path / "objects.npy", np.array([{}, {}], object), allow_pickle=True)
    assert "objects" in fails(capsys, 1, "evaluate", pairs_file, "--data", tmp_path / "objects.npy")
    assert not (tmp_path / "a.clen").exists()


def test_existing_files_are_kept(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.npy").write_text("mine")
    assert "--force" in fails(capsys, 2, "decompress", archive, tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_text() == "mine"
    assert main(["decompress", str(archive), str(tmp_path / "out.npy"), "--force", "--quiet"]) == 0


def test_limits(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--max-output" in fails(capsys, 1, "decompress", archive, tmp_path / "out.npy", "--max-output", "1K")
    assert "memory" in fails(capsys, 1, "decompress", archive, tmp_path / "out.npy", "--max-memory", "100K")
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is kept on Linux only")
@pytest.mark.parametrize("command", [["train", "made-digits"], ["demo"]])
def test_too_little_memory_for_training(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, 2, *command, "--out", tmp_path / "run", "--max-memory", "1K")
    assert "at least 512.0 MiB for training, got 1,024 bytes, which is too little" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_disk_that_refuses(
    number: int,
    archive: Path,
    pairs_file: Path,
    pair_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(files.os, "fsync", refuse)
    for line in (
        ["decompress", archive, tmp_path / "out.npy"],
        ["compress", pair_data, tmp_path / "b.clen", "--model", pairs_file],
        ["sample", pairs_file, "--count", "2", "--out", tmp_path / "s.png"],
    ):
        fails(capsys, 1, *line)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), 1, "not enough memory"),
        (PermissionError(errno.EACCES, "Permission denied", "a.npy"), 1, "a.npy"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "codelength[train]"),
        (ZeroDivisionError("surprise"), 1, "internal error, ZeroDivisionError: surprise"),
    ],
)
def test_what_no_command_expects(
    error: BaseException,
    status: int,
    words: str,
    pairs_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(FrozenModel, "sample", fail)
    assert words in fails(capsys, status, "sample", pairs_file, "--count", 1, "--out", "never.png")


def test_a_reader_that_stops_reading() -> None:
    script = "import sys; from codelength.cli import main; input(); sys.exit(main(['datasets']))"
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdin is not None and child.stderr is not None
    child.stdout.close()
    child.stdin.write("\n")
    child.stdin.close()
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=600) == 1
    assert said == "codelength: the program that reads this output has stopped reading\n"


def test_an_interrupt_while_compressing(
    pairs: FrozenModel, pairs_file: Path, pair_items: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "many.npy", np.tile(pair_items, (10, 1, 1)))
    out = tmp_path / "out"
    out.mkdir()
    # The signal comes from within, while the second block is coded: a signal from here could come too late.
    script = (
        "import os, signal, sys\n"
        "from codelength.cli import main\n"
        "from codelength.laws.frozen import FrozenModel\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job may have been told to ignore it
        "encode, calls = FrozenModel.encode_block, []\n"
        "def interrupted(self, items, **options):\n"
        "    calls.append(len(items))\n"
        f"    if len(items) > 2 and any(os.scandir({str(out)!r})) and sum(n > 2 for n in calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return encode(self, items, **options)\n"
        "FrozenModel.encode_block = interrupted\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["compress", str(tmp_path / "many.npy"), str(out / "a.clen"), "--model", str(pairs_file)]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=900)
    said = "codelength: interrupted; no half-written file was left behind\n"
    assert (done.returncode, done.stderr) == (130, said)
    assert list(out.iterdir()) == []


def test_compress_replaces_archives_when_forced_and_nothing_else(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pair_data.read_bytes()
    assert "outside of the data" in fails(capsys, 2, "compress", pair_data, pair_data, "--model", pairs_file)
    inside = pair_data.parent / "a.clen"
    assert "outside of the data" in fails(capsys, 2, "compress", pair_data.parent, inside, "--model", pairs_file)
    (tmp_path / "below").mkdir()
    precious = tmp_path / "letter.txt"
    precious.write_text("dear all")
    assert "no archive" in fails(capsys, 2, "compress", pair_data, precious, "--model", pairs_file)
    assert "no archive" in fails(capsys, 2, "compress", pair_data, precious, "--model", pairs_file, "--force")
    assert "the folder" in fails(capsys, 2, "compress", pair_data, tmp_path / "below", "--model", pairs_file, "-f")
    assert (pair_data.read_bytes(), precious.read_text(), inside.exists()) == (before, "dear all", False)


def test_an_archive_is_replaced_only_when_forced(
    pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.clen"
    command = ["compress", str(pair_data), str(archive), "--model", str(pairs_file), "--quiet"]
    assert main(command) == 0
    before = archive.read_bytes()
    assert "--force" in fails(capsys, 2, *command, "--block", "100")
    assert archive.read_bytes() == before
    assert main([*command, "--block", "100", "--force"]) == 0
    assert archive.read_bytes() != before
    (tmp_path / "link.clen").symlink_to(tmp_path / "nowhere.clen")
    command[2] = str(tmp_path / "link.clen")
    assert "--force" in fails(capsys, 2, *command)
    assert not (tmp_path / "nowhere.clen").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_while_the_output_is_made_is_kept(
    links: bool, archive: Path, pairs_file: Path, pair_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    target = tmp_path / "late.npy"
    sync = os.fsync

    def appear(descriptor: int) -> None:
        target.write_text("mine")
        sync(descriptor)

    if not links:
        monkeypatch.setattr(files.os, "link", refuse)
    monkeypatch.setattr(files.os, "fsync", appear)
    before = sorted([*tmp_path.iterdir(), target])
    assert "--force" in fails(capsys, 2, "compress", pair_data, target, "--model", pairs_file)
    target.unlink()
    assert "--force" in fails(capsys, 2, "decompress", archive, target)
    assert target.read_text() == "mine" and sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr(files.os, "fsync", sync)
    target.unlink()
    assert main(["decompress", str(archive), str(target), "--quiet"]) == 0
    assert target.read_bytes() == pair_data.read_bytes() and sorted(tmp_path.iterdir()) == before
