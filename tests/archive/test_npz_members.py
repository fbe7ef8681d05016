"""What lies beside the arrays of an .npz is kept, and comes back where it was."""

from __future__ import annotations

import io
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

import codelength as cl
from codelength.archive.reader import Archive
from codelength.cli import main
from codelength.laws.frozen import FrozenModel

sys.path.insert(0, str(Path(__file__).parents[1] / "second_reader"))


def make_npz(path: Path, items: np.ndarray) -> dict[str, bytes]:
    array = io.BytesIO()
    np.save(array, items)
    other = io.BytesIO()
    np.save(other, np.arange(3.0))
    members = {
        "sub/": b"",
        "README.txt": b"hello",
        "sub/items.npy": array.getvalue(),
        "empty": b"",
        "scale.npy": other.getvalue(),
        "sub/thumbs.db": bytes(range(256)) * 40,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return members


def test_all_members_come_back(pairs_file: Path, pair_items: np.ndarray, tmp_path: Path) -> None:
    members = make_npz(tmp_path / "data.npz", pair_items)
    line = ["compress", str(tmp_path / "data.npz"), str(tmp_path / "a.clen"), "--model", str(pairs_file), "--quiet"]
    assert main(line) == 0
    assert main(["verify", str(tmp_path / "a.clen"), str(tmp_path / "data.npz"), "--quiet"]) == 0
    assert main(["decompress", str(tmp_path / "a.clen"), str(tmp_path / "again"), "--quiet"]) == 0
    with zipfile.ZipFile(tmp_path / "again" / "data.npz") as archive:
        assert archive.namelist() == list(members)
        assert {name: archive.read(name) for name in members} == members
        assert archive.getinfo("sub/").is_dir()
    with cl.open(tmp_path / "a.clen") as opened:
        assert opened["README.txt"] == b"hello" and opened["empty"] == b""
        assert np.array_equal(opened["scale"], np.arange(3.0))
        assert np.array_equal(opened["sub/items"], pair_items)


def test_other_members_differ_from_the_data(pairs_file: Path, pair_items: np.ndarray, tmp_path: Path) -> None:
    make_npz(tmp_path / "data.npz", pair_items)
    line = ["compress", str(tmp_path / "data.npz"), str(tmp_path / "a.clen"), "--model", str(pairs_file), "--quiet"]
    assert main(line) == 0
    with zipfile.ZipFile(tmp_path / "data.npz") as old, zipfile.ZipFile(tmp_path / "other.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"hallo" if name == "README.txt" else old.read(name))
    assert main(["verify", str(tmp_path / "a.clen"), str(tmp_path / "other.npz"), "--quiet"]) == 1


def test_the_second_reader_gives_them(pairs_file: Path, pair_items: np.ndarray, tmp_path: Path) -> None:
    from second_reader import open_archive

    make_npz(tmp_path / "data.npz", pair_items)
    line = ["compress", str(tmp_path / "data.npz"), str(tmp_path / "a.clen"), "--model", str(pairs_file), "--quiet"]
    assert main([*line, "--block", "50"]) == 0
    arrays = open_archive(tmp_path / "a.clen").arrays()
    assert arrays["README.txt"] == b"hello" and arrays["sub/"] == b""
    assert np.array_equal(arrays["scale"], np.arange(3.0))


def test_evaluation_sees_the_arrays(pairs_file: Path, pair_items: np.ndarray, tmp_path: Path) -> None:
    make_npz(tmp_path / "data.npz", pair_items)
    data = cl.load_data(tmp_path / "data.npz")
    assert np.array_equal(data.items, pair_items) and list(data.extras) == ["scale"]


def test_many_small_arrays_decode_each_block_once(
    pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path, decoded: Counter[int]
) -> None:
    arrays: dict[str, np.ndarray] = {f"a{k}": pair_items[k : k + 1] for k in range(200)}
    arrays |= {f"b{k}": np.asfortranarray(pair_items[2 * k : 2 * k + 2]) for k in range(20)}
    arrays |= {f"c{k}": np.arange(k + 0.5) for k in range(20)}  # no items
    names = sorted(arrays, key=lambda name: (int(name[1:]), name))
    np.savez(tmp_path / "many.npz", **{name: arrays[name] for name in names})
    cl.compress(tmp_path / "many.npz", tmp_path / "many.clen", pairs, block=30)
    decoded.clear()
    cl.decompress(tmp_path / "many.clen", tmp_path / "again.npz")
    assert set(decoded.values()) == {1} and len(decoded) > 8
    with np.load(tmp_path / "many.npz") as old, np.load(tmp_path / "again.npz") as new:
        assert old.files == new.files == names
        for name in names:
            assert old[name].flags.f_contiguous == new[name].flags.f_contiguous
            assert np.array_equal(old[name], new[name]) and old[name].dtype == new[name].dtype


def test_a_damaged_block_is_tried_once_for_all_its_arrays(
    pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path, decoded: Counter[int]
) -> None:
    np.savez(tmp_path / "many.npz", **{f"a{k}": pair_items[k : k + 1] for k in range(60)})
    cl.compress(tmp_path / "many.npz", tmp_path / "many.clen", pairs, block=20)
    with Archive.open(tmp_path / "many.clen") as archive:
        middle = archive.directory.blocks[1]
    data = bytearray((tmp_path / "many.clen").read_bytes())
    data[middle.offset + middle.length // 2] ^= 1
    (tmp_path / "many.clen").write_bytes(data)
    decoded.clear()
    report = cl.decompress(tmp_path / "many.clen", tmp_path / "again.npz", keep_going=True)
    assert decoded == {0: 1, 1: 1, 2: 1}
    assert [(found.block, found.entries) for found in report.damaged] == [(1, tuple(range(20, 40)))]
