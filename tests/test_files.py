"""What is no regular file is neither read nor replaced, and what a killed writer leaves is cleared up."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codelength import files
from codelength.cli import main
from codelength.data.scan import scan
from codelength.errors import DataError, UsageError

NULL = os.makedev(1, 3)  # a node of our own for the null device


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, NULL)
    except PermissionError:
        pytest.skip("only a privileged user makes nodes of devices")


def make_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("behind"))
    path.symlink_to("behind")


ODD = [make_pipe, make_socket, make_device, make_link_to_a_pipe]


def identity(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_ino, status.st_mode


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert status in (1, 2) and shown.out == "" and len(shown.err.splitlines()) == 1, shown
    return shown.err


@pytest.mark.parametrize("make", ODD)
def test_an_odd_output_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "odd"
    make(path)
    before = identity(path), sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match="never replaced"):
        files.write_atomically(path, b"data")
    assert (identity(path), sorted(os.listdir(tmp_path))) == before


@pytest.mark.parametrize("make", ODD)
def test_every_command_refuses_odd_outputs(
    make: Callable[[Path], None],
    pairs_file: Path,
    pair_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd, archive = tmp_path / "odd.npy", tmp_path / "a.clen"
    make(odd)
    picture = tmp_path / "odd.png"
    picture.symlink_to(odd)
    assert main(["compress", str(pair_data), str(archive), "--model", str(pairs_file), "-q"]) == 0
    before = identity(odd)
    for line in (
        ["compress", pair_data, odd, "--model", pairs_file],
        ["compress", pair_data, odd, "--model", pairs_file, "--force"],
        ["compress", pair_data, tmp_path / "b.clen", "--model", pairs_file, "--json", odd],
        ["evaluate", pairs_file, "--data", pair_data, "--json", odd],
        ["evaluate", pairs_file, "--data", pair_data, "--per-item", odd],
        ["sample", pairs_file, "--count", 1, "--out", odd],
        ["sample", pairs_file, "--count", 1, "--out", picture],
        ["decompress", archive, odd],
        ["decompress", archive, odd, "--force"],
        ["inspect", archive, "--json", odd],
    ):
        refused(capsys, *line)
    assert identity(odd) == before
    assert not (tmp_path / "b.clen").exists()
    assert not [name for name in os.listdir(tmp_path) if files.is_left_over(name)]


@pytest.mark.parametrize("make", ODD)
def test_odd_inputs_are_refused_without_waiting(
    make: Callable[[Path], None],
    pairs_file: Path,
    pair_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    odd = folder / "odd"
    make(odd)
    with pytest.raises(DataError, match=r"is a (pipe|socket|device)"):
        files.open_regular(odd)
    for suffix in ("", ".npy", ".npz", ".png", ".tif", ".gz"):
        named = tmp_path / f"data{suffix}"
        named.symlink_to(odd)
        refused(capsys, "compress", named, tmp_path / "b.clen", "--model", pairs_file)
        refused(capsys, "evaluate", pairs_file, "--data", named)
    refused(capsys, "compress", folder, tmp_path / "b.clen", "--model", pairs_file)
    refused(capsys, "evaluate", odd, "--data", pair_data)
    refused(capsys, "decompress", odd, tmp_path / "out")
    refused(capsys, "inspect", odd)
    refused(capsys, "verify", odd)
    refused(capsys, "train", odd, "--out", tmp_path / "run", "--data", pair_data)
    assert not (tmp_path / "b.clen").exists()


def test_names_of_the_system_are_never_replaced() -> None:
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/comm"):
        if os.path.lexists(name):
            before = identity(Path(name))
            with pytest.raises(UsageError, match=r"never replaced|in it"):
                files.check_destination(name)
            assert identity(Path(name)) == before


def test_a_link_to_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    files.write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "real").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link").read_bytes() == b"new"


# ---- killed writers ----------------------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from codelength.files import atomic_file
with atomic_file(Path(sys.argv[1])) as (file, temporary):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "writing\n"
    return child


def finish(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    child.kill()
    child.stdout.close()
    child.wait()


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    dead, other, alive = writer(tmp_path / "a"), writer(tmp_path / "b"), None
    try:
        finish(dead)
        finish(other)
        alive = writer(tmp_path / "a")  # which has cleared up, and is at work
        assert len([name for name in os.listdir(tmp_path) if files.is_left_over(name)]) == 2
        files.write_atomically(tmp_path / "a", b"whole")
        kept = [name for name in os.listdir(tmp_path) if files.is_left_over(name)]
        assert len(kept) == 2  # of the writer that is alive, and of another target
    finally:
        if alive is not None:
            finish(alive)
    files.write_atomically(tmp_path / "a", b"whole")
    files.write_atomically(tmp_path / "b", b"whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_what_a_killed_writer_left_is_no_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    finish(writer(tmp_path / "a"))
    (tmp_path / "real.txt").write_bytes(b"data")
    assert [entry.name for entry in scan(tmp_path)] == ["real.txt"]
    assert "1 unfinished files" in caplog.text
    (tmp_path / ".codelength-mine.tmp").write_bytes(b"a name like it")
    assert [entry.name for entry in scan(tmp_path)] == [".codelength-mine.tmp", "real.txt"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_command_and_leaves_nothing(
    name: str, pairs_file: Path, pair_data: Path, tmp_path: Path
) -> None:
    """The signal comes from within, while the archive is written: one from here could come too late."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.clen").write_bytes(b"")
    script = (
        "import os, signal, sys\n"
        "from codelength.cli import main\n"
        "from codelength.laws.frozen import FrozenModel\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whoever runs the tests may have ignored it
        "encode = FrozenModel.encode_block\n"
        "def ended(self, items, **options):\n"
        f"    if any(n.startswith('.codelength-') for n in os.listdir({str(out)!r})):\n"
        f"        os.kill(os.getpid(), signal.{name})\n"
        "    return encode(self, items, **options)\n"
        "FrozenModel.encode_block = ended\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["compress", str(pair_data), str(out / "b.clen"), "--model", str(pairs_file)]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 128 + getattr(signal, name), done.stderr
    said = [line for line in done.stderr.splitlines() if "compil" not in line]
    assert len(said) == 1 and re.fullmatch(r"codelength: .*no half-written file was left behind", said[0])
    assert os.listdir(out) == ["a.clen"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EFBIG, "raise the limit"),
        (errno.EROFS, "choose another place"),
        (errno.EACCES, "choose another place"),
        (errno.EIO, "error"),
    ],
)
def test_what_the_system_refuses_is_told(number: int, words: str) -> None:
    assert words in files.refusal(OSError(number, os.strerror(number)))


def test_a_limit_of_file_size_is_told(pairs_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (200, 40, 40)).astype(np.uint8))
    before = sorted(os.listdir(tmp_path))
    script = (
        "import resource, sys\n"
        "from codelength.cli import main\n"
        "main(['--version'])\n"
        "import numba\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["compress", str(tmp_path / "noise.npy"), str(tmp_path / "a.clen"), "--model", str(pairs_file)]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "larger than the system allows" in done.stderr, done.stderr
    assert sorted(os.listdir(tmp_path)) == before
