"""Arrays come back as they came: values, type, byte order, shape, memory order and names."""

import gzip
import hashlib
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from written_arrays import idx_bytes, write_arrays

from codelength.data import load_data
from codelength.data.array_files import read_arrays, read_idx
from codelength.data.arrays import arrays_of, from_array, guess_layout
from codelength.data.dataset import items_sha256
from codelength.errors import DataError, UsageError
from codelength.laws.space import Space


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return (
        a.dtype.str == b.dtype.str
        and a.shape == b.shape
        and a.tobytes() == b.tobytes()
        and a.flags.f_contiguous == b.flags.f_contiguous
    )


TYPES = ["|b1", "|u1", "|i1", "<u2", ">u2", "<i2", ">i4", "<i8", ">u8", "<f2", "<f4", ">f4", ">f8", "<c8"]


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_array_comes_back_from_its_items(data):
    dtype = np.dtype(data.draw(st.sampled_from(TYPES)))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(dtype, shape))
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    loaded = from_array(array)
    assert len(loaded) == len(array)
    (back,) = arrays_of(loaded).values()
    assert same(back, array)
    if loaded.space is not None:
        loaded.space.check(loaded.items)
        assert loaded.items.dtype in (np.uint8, np.uint16)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["|u1", ">i2", "<f4"])
def test_files_of_arrays_come_back_byte_for_byte(tmp_path, suffix, dtype):
    array = np.arange(24).reshape(4, 3, 2).astype(dtype)
    arrays = {"": array} if suffix == ".npy" else {"b": array, "a": np.asfortranarray(array[:2])}
    write_arrays(tmp_path / f"first{suffix}", arrays)
    data = load_data(tmp_path / f"first{suffix}")
    assert len(data) == 4 if suffix == ".npy" else 6
    assert data.space == Space((3, 2), 256)
    write_arrays(tmp_path / f"second{suffix}", arrays_of(data))
    assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path):
    images, labels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4), np.array([1, 2, 3], ">i4")
    np.savez(tmp_path / "in.npz", labels=labels, images=images)
    data = load_data(tmp_path / "in.npz")
    assert np.array_equal(data.items, images)
    assert list(data.extras) == ["labels"]
    table = arrays_of(data)
    assert list(table) == ["labels", "images"], "the order of the file"
    write_arrays(tmp_path / "out.npz", table)
    with np.load(tmp_path / "out.npz") as back:
        assert same(back["images"], images) and same(back["labels"], labels)


def test_one_member_of_an_archive_of_arrays(tmp_path):
    np.savez(tmp_path / "two.npz", small=np.zeros((2, 3), np.uint8), large=np.ones((9, 9), np.uint8))
    assert len(load_data(str(tmp_path / "two.npz") + ":small")) == 2
    data = load_data(str(tmp_path / "two.npz") + ":large[2:5]")
    assert len(data) == 3
    assert list(arrays_of(data)) == ["large"]
    with pytest.raises(DataError, match="has no array 'medium'; it has small, large"):
        load_data(str(tmp_path / "two.npz") + ":medium")
    with pytest.raises(UsageError, match=r"expected an \.npz file"):
        np.save(tmp_path / "one.npy", np.zeros(3))
        load_data(str(tmp_path / "one.npy") + ":small")


@pytest.mark.parametrize("code, dtype", [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_files_of_every_type(tmp_path, code, dtype, compressed):
    array = np.arange(-6, 6).astype(dtype).reshape(3, 2, 2)
    data = bytes([0, 0, code, 3]) + struct.pack(">3I", 3, 2, 2) + array.tobytes()
    path = tmp_path / ("images-idx3.gz" if compressed else "images-idx3")
    path.write_bytes(gzip.compress(data) if compressed else data)
    found = read_idx(path)
    assert same(found, array)
    assert idx_bytes(found) == data
    loaded = load_data(path)
    assert loaded.origin.kind == "idx"
    write_arrays(tmp_path / "again", arrays_of(loaded))
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "does not begin like an IDX"),
        (b"\0\0\x08", "does not begin like an IDX"),
        (b"\0\0\x07\1\0\0\0\0", "does not begin like an IDX"),
        (b"\0\0\x08\3\0\0\0\1", "ends inside its header"),
        (b"\0\0\x08\1\0\0\0\4abc", "expected 12 bytes"),
        (b"\0\0\x08\1\0\0\0\2abc", "expected 10 bytes"),
        (b"\0\0\x08\2\xff\xff\xff\xff\xff\xff\xff\xff", "expected"),
        (b"\x1f\x8b\x08\0broken", "cannot be read"),
    ],
)
def test_broken_idx_files_are_named(tmp_path, data, words):
    (tmp_path / "broken").write_bytes(data)
    with pytest.raises(DataError, match=words):
        load_data(tmp_path / "broken")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_object_arrays_are_refused_and_not_executed(tmp_path, suffix):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / f"objects{suffix}"
    save = np.save if suffix == ".npy" else np.savez
    save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        load_data(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(2, [("x", "u1")]), np.zeros(2, "M8[s]")])
def test_arrays_of_other_things_than_numbers_are_refused(array):
    with pytest.raises(DataError, match="expected an array of numbers"):
        load_data(array)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("keep", [0, 5, 60, -7])
def test_truncated_arrays_are_named(tmp_path, suffix, keep):
    path = tmp_path / f"cut{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, np.zeros((10, 10)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="cannot be read"):
        load_data(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_claims_the_impossible_is_named(tmp_path, suffix):
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**15)}
    np.lib.format.write_array_header_1_0(stream, header)
    path = tmp_path / f"huge{suffix}"
    if suffix == ".npy":
        path.write_bytes(stream.getvalue() + bytes(80))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", stream.getvalue() + bytes(80))
    with pytest.raises(DataError, match=f"cannot be read: expected {2**58:,} bytes .* got 80; .* header is wrong"):
        load_data(path)


def test_a_number_without_items_is_refused():
    with pytest.raises(DataError, match="a single number"):
        load_data(np.array(3))


@pytest.mark.parametrize(
    "array, symbols",
    [
        (np.array([[0, 1]], np.int64), 2),
        (np.array([[True]]), 2),
        (np.array([[0, 2]], np.uint8), 256),
        (np.array([[0, 255]], np.uint16), 256),
        (np.array([[0, 256]], np.uint16), 65536),
        (np.array([[0, 65536]], np.int64), None),
        (np.array([[-1, 0]], np.int8), None),
        (np.array([[0.0, 1.0]], np.float32), 2),
        (np.array([[-0.0, 1.0]], np.float32), None),
        (np.array([[0.0, 0.5]], np.float32), None),
        (np.array([[0.0, np.nan]]), None),
        (np.array([[1 + 0j]]), None),
    ],
)
def test_the_alphabet_is_read_off_the_values(array, symbols):
    data = load_data(array)
    assert (data.space.symbols if data.space else None) == symbols


def test_an_alphabet_can_be_stated():
    assert load_data(np.array([[0, 1]]), symbols=17).space.symbols == 17
    with pytest.raises(DataError, match="integers from 0 to 16"):
        load_data(np.array([[0, 17]]), symbols=17)


@pytest.mark.parametrize(
    "shape, layout, item",
    [
        ((7,), "nd", (1,)),
        ((7, 5), "nd", (5,)),
        ((7, 5, 6), "nhw", (5, 6)),
        ((7, 5, 6, 3), "nhwc", (5, 6, 3)),
        ((7, 3, 5, 6), "nchw", (5, 6, 3)),
        ((7, 3, 5, 3), "nhwc", (3, 5, 3)),
        ((7, 5, 6, 2), "nd", (5, 6, 2)),
        ((7, 2, 3, 4, 5), "nd", (2, 3, 4, 5)),
    ],
)
def test_axes_are_guessed_and_items_have_their_channels_last(shape, layout, item):
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
    data = load_data(array)
    assert guess_layout(shape) == data.origin.layout == layout
    assert data.space.shape == item and data.items.shape == (7, *item)


def test_a_stated_layout_overrules_the_guess():
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    data = load_data(array, layout="nchw")
    assert data.space.shape == (5, 3, 3)
    assert np.array_equal(data.items[1, 4, 2], array[1, :, 4, 2])
    assert same(arrays_of(data)[""], array)
    for wrong in ("nhw", "hwn"):
        with pytest.raises(DataError, match="layout"):
            load_data(array, layout=wrong)


def test_the_hash_is_of_values():
    values = np.arange(60).reshape(3, 4, 5)
    expected = items_sha256(values.astype(np.uint8))
    for dtype in ("<u2", ">u2", "<i8", ">i4"):
        assert items_sha256(values.astype(dtype)) == expected
        assert items_sha256(np.asfortranarray(values.astype(dtype))) == expected
    assert items_sha256(values.reshape(3, 20)) != expected
    assert items_sha256(values[::-1]) != expected
    assert items_sha256(values.astype(float)) != expected
    assert items_sha256(np.array([0, 1], bool)) == items_sha256(np.array([0, 1], np.int64))
    assert items_sha256(np.array([-1, 1], np.int8)) == items_sha256(np.array([-1, 1], ">i8"))


def test_the_hash_as_documented():
    items = np.array([[[1, 300]], [[2, 3]]], ">u4")
    by_hand = b"codelength items 1 uint16 2,1,2\n" + struct.pack("<4H", 1, 300, 2, 3)
    assert items_sha256(items) == hashlib.sha256(by_hand).hexdigest()


def test_slices_and_subsets_stay_data_sets():
    data = from_array(np.arange(100, dtype=">u2").reshape(50, 2))
    part = data[10:20]
    assert len(part) == 10 and part.items[0, 0] == 20
    assert arrays_of(part)[""].dtype.str == ">u2"
    assert part.origin.members[0].shape == (10, 2)
    assert data[:] is data
    chosen = data.subset(7, seed=3)
    assert len(chosen) == 7 and (np.diff(chosen.items[:, 0].astype(int)) > 0).all()
    assert np.array_equal(chosen.items, data.subset(7, seed=3).items)
    assert not np.array_equal(chosen.items, data.subset(7, seed=4).items)
    assert not np.array_equal(chosen.items, data.items[:7])
    assert data.subset(50) is data and data.subset(99) is data
    assert len(data[np.array([3, 1])]) == 2
    with pytest.raises(DataError, match="number of items"):
        data.subset(-1)


def test_a_subset_follows_the_documented_rule():
    stream = hashlib.shake_256(b"codelength subset of 1000 seed 5").digest(8000)
    keys = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(1000)]
    expected = sorted(sorted(range(1000), key=lambda i: keys[i])[:20])
    assert from_array(np.arange(1000)[:, None]).subset(20, seed=5).items[:, 0].tolist() == expected


def test_large_files_are_mapped_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("codelength.data.array_files._MAPPED_ABOVE", 100)
    np.save(tmp_path / "large.npy", np.arange(1000, dtype=np.float64)[:, None] / 3)
    kind, arrays = read_arrays(tmp_path / "large.npy")
    assert kind == "array" and isinstance(arrays[""], np.memmap)
    assert np.array_equal(load_data(tmp_path / "large.npy").items[:, 0], np.arange(1000) / 3)
