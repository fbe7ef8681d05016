"""Array files that nobody would write: a named error at once, whatever they hold."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from codelength.archive.sources import ArraySource
from codelength.data import array_files
from codelength.data.array_files import read_arrays
from codelength.data.load import load_data
from codelength.errors import CodelengthError, DataError


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin-1") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + body


def stated(shape: str, dtype: str = "|u1") -> bytes:
    return npy(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}")


def bomb(total: int) -> bytes:
    """The beginning of an IDX file, and then so many zeros, gzipped a piece at a time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b"\0\0\x08\x01" + struct.pack(">I", 10))]
    parts += [packer.compress(bytes(2**20)) for _ in range(total >> 20)]
    return b"".join([*parts, packer.flush()])


HOSTILE = {
    "endless empty items.npy": stated("(10**18, 0)".replace("10**18", str(10**18))),
    "empty items.npy": stated(f"({2**40}, 3, 0)"),
    "a huge shape.npy": stated(f"({10**15},)"),
    "a shape beyond integers.npy": stated(f"({10**60}, {10**60})"),
    "a shape of many digits.npy": stated("(1" + "0" * 5_000 + ",)"),
    "a negative shape.npy": stated("(-5,)"),
    "a shape of floats.npy": stated("(1.5,)"),
    "a deep header.npy": npy("(" * 5_000 + ")" * 5_000),
    "deeper lists.npy": npy("[" * 9_000),
    "a long header.npy": npy("{" + "'a': 1, " * 20_000 + "}", version=(2, 0)),
    "a header of arithmetic.npy": npy("2**99999999"),
    "many axes.npy": stated("(" + "1, " * 200 + ")"),
    "a strange type.npy": stated("(1,)", "|V9999999999999"),
    "objects.npy": stated("(1,)", "|O"),
    "a longer header than the file.npy": b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * 50,
    "255 axes": b"\0\0\x08\xff" + struct.pack(">I", 1) * 255 + b"\0",
    "endless axes": b"\0\0\x08\x02" + struct.pack(">II", 2**32 - 1, 0),
    "a huge shape": b"\0\0\x08\x03" + struct.pack(">III", *[2**32 - 1] * 3),
    "nothing": b"",
    "no gz.gz": b"\x1f\x8b\x08\0" + bytes(20),
    "what follows.gz": gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"abc"),
    "what is missing.gz": gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"a"),
    "a gz cut short.gz": gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"ab")[:-6],
    "too much stated.gz": gzip.compress(b"\0\0\x08\x02" + struct.pack(">II", 2**31, 2**31)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_array_is_a_named_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / name)
    assert len(str(caught.value)) < 1_000


def test_a_stream_is_read_as_far_as_its_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(bomb(2**28))
    inflated = 0
    read = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal inflated
        data = read(self, size)
        inflated += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(DataError, match="got more"):
        read_arrays(path)
    assert inflated < 100


@pytest.mark.parametrize("name", ["endless empty items.npy", "a deep header.npy", "a huge shape.npy", "nothing"])
def test_a_hostile_member_is_a_named_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.npy", stated("(0,)"))
        archive.writestr("bad.npy", HOSTILE[name])
    with pytest.raises(DataError):
        read_arrays(path)


def test_any_bytes_are_an_array_or_a_named_error(tmp_path: Path) -> None:
    """Good files with a few bytes changed, taken out or put in, under every ending."""
    chance = random.Random(0)
    array = np.arange(24, dtype="<u2").reshape(2, 3, 4)
    plain, bundle, deflated = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(plain, array)
    np.savez(bundle, a=array, b=array[:1])
    np.savez_compressed(deflated, a=array)
    idx = b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(range(6))
    good = {
        ".npy": [plain.getvalue()],
        ".npz": [bundle.getvalue(), deflated.getvalue()],
        "": [idx, gzip.compress(idx, mtime=0)],
    }
    for turn in range(600):
        suffix = chance.choice(list(good))
        data = bytearray(chance.choice(good[suffix]))
        for _ in range(chance.randrange(1, 5)):
            # Headers stand at the beginning, but for the directory of a zip file.
            at = chance.randrange(min(len(data), 120) if chance.random() < 0.6 else len(data))
            data[at : at + chance.randrange(3)] = bytes(chance.choices(range(256), k=chance.randrange(3)))
            if not data:
                break
        path = tmp_path / f"{turn}{suffix}"
        path.write_bytes(data)
        try:
            load_data(path)
        except CodelengthError:
            continue
        finally:
            path.unlink()


def test_a_member_that_would_be_taken_for_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", stated("(1,)") + b"\0")
    with pytest.raises(DataError, match="rename it"):
        read_arrays(path)


def test_members_beyond_what_is_free_are_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", bytes(10**6))
    assert read_arrays(path) == ("npz", {"README.txt": bytes(10**6)})
    monkeypatch.setattr(array_files, "free_memory", lambda: 10**6 - 1)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("a member was read"))
    with pytest.raises(DataError, match="not enough memory"):
        read_arrays(path)


def test_a_mapped_file_that_becomes_shorter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "_MAPPED_ABOVE", 0)
    path = tmp_path / "large.npy"
    np.save(path, np.zeros((100, 4096), np.uint8))
    source = ArraySource(read_arrays(path)[1][""])
    (rows,) = source.classes()
    assert source.read(rows, 0, 100).shape == (100, 4096)
    with open(path, "r+b") as file:
        file.truncate(4096)
    with pytest.raises(DataError, match="became shorter"):
        source.read(rows, 50, 100)
