"""``-`` as an input and as an output, through real pipes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codelength.cli import main


def piped(
    *arguments: object, given: bytes = b"", temporary: Path, status: int = 0
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with an input through a pipe; nothing may be left where temporary files lie."""
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "codelength", *map(str, arguments)],
        input=given,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == status, done.stderr
    assert list(temporary.iterdir()) == []
    return done


def npy(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data))


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    return tmp_path / "temporary"


def test_an_array_goes_through_pipes_to_an_archive_and_back(
    pairs_file: Path, pair_data: Path, pair_items: np.ndarray, tmp_path: Path, temporary: Path
) -> None:
    array = pair_data.read_bytes()
    done = piped("compress", "-", "-", "--model", pairs_file, given=array, temporary=temporary)
    archive = done.stdout
    assert b"wrote standard output" in done.stderr
    named = tmp_path / "array.npy"
    named.write_bytes(array)
    assert main(["compress", str(named), str(tmp_path / "a.clen"), "--model", str(pairs_file)]) == 0
    assert archive == (tmp_path / "a.clen").read_bytes()  # the name included

    back = piped("decompress", "-", "-", given=archive, temporary=temporary)
    assert (npy(back.stdout) == pair_items).all() and b"300 items to standard output" in back.stderr
    part = piped("decompress", "-", "-", "--range", "10:20", "-q", given=archive, temporary=temporary)
    assert (npy(part.stdout) == pair_items[10:20]).all() and part.stderr == b""
    told = piped("verify", "-", pair_data, given=archive, temporary=temporary).stdout
    assert told.startswith(b"standard input is sound: all 300 items")
    assert b"standard input" in piped("evaluate", pairs_file, "--data", "-", given=array, temporary=temporary).stdout


def test_what_is_piped_in_may_go_to_a_file_and_be_looked_at(
    pairs_file: Path,
    pair_data: Path,
    pair_items: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compress", str(pair_data), str(tmp_path / "a.clen"), "--model", str(pairs_file)]) == 0
    for command, seen in ((["decompress", "-", str(tmp_path / "back.npy")], "300 items"), (["inspect", "-"], "300")):
        capsys.readouterr()
        assert given_on_standard_input((tmp_path / "a.clen").read_bytes(), command, monkeypatch) == 0
        assert seen in "".join(capsys.readouterr())
    assert (np.load(tmp_path / "back.npy") == pair_items).all()


def test_one_file_of_a_folder_comes_out_as_its_bytes(pairs_file: Path, tmp_path: Path, temporary: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(folder / "a.png")
    (folder / "b.txt").write_bytes(b"\x00text\xff\n")
    (folder / "c.txt").write_bytes(b"more")
    archive = piped("compress", folder, "-", "--model", pairs_file, "-q", temporary=temporary).stdout
    text = piped("decompress", "-", "-", "--name", "b.txt", given=archive, temporary=temporary)
    assert text.stdout == b"\x00text\xff\n"
    image = piped("decompress", "-", "-", "--name", "*.png", given=archive, temporary=temporary)
    assert (np.asarray(Image.open(io.BytesIO(image.stdout))) == pixels).all()
    several = piped("decompress", "-", "-", "--name", "*.txt", given=archive, temporary=temporary, status=2)
    assert several.stdout == b"" and b"several sorts" in several.stderr


def given_on_standard_input(data: bytes, command: list[str], patch: pytest.MonkeyPatch) -> int:
    """The status of a command in this process, with these bytes in a pipe that is its standard input."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with patch.context() as inner, os.fdopen(reader) as given:
        inner.setattr(sys, "stdin", given)
        return main(command)


def test_what_cannot_go_through_pipes_is_refused(
    pairs_file: Path, pair_data: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, given, status, words in (
        (("compress", pair_data, "-", "--model", pairs_file, "--json", "-"), b"", 2, b"--json"),
        (("decompress", "-", "-", "--json", "-"), b"", 2, b"--json"),
        (("verify", "-", "-"), b"", 2, b"got it twice"),
        (("compress", "-", "-", "--model", pairs_file), b"no array", 1, b".npy"),
        (("evaluate", pairs_file, "--data", "-"), b"", 1, b".npy"),
        (("decompress", "-", "-"), b"no archive", 1, b"archive"),
        (("inspect", "-"), b"", 1, b"archive"),
        (("verify", "-"), b"CLEN", 1, b"archive"),
    ):
        found = given_on_standard_input(given, list(map(str, arguments)), monkeypatch)
        out, err = capfdbinary.readouterr()
        assert found == status and out == b"" and err.count(b"\n") == 1 and words in err, (arguments, out, err)


def test_terminals_are_refused(pairs_file: Path, pair_data: Path, temporary: Path) -> None:
    pty = pytest.importorskip("pty")
    leader, terminal = pty.openpty()
    try:
        for arguments, words in (
            (("compress", str(pair_data), "-", "--model", str(pairs_file)), "standard output is a terminal"),
            (("inspect", "-"), "it is a terminal"),
        ):
            command = [sys.executable, "-m", "codelength", *arguments]
            done = subprocess.run(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, text=True)
            assert done.returncode == 2 and words in done.stderr, done.stderr
    finally:
        os.close(leader)
        os.close(terminal)
