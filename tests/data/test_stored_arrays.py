"""Arrays in folders are images where they can be, and come back byte for byte."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codelength as cl
from codelength.data.images import decode_images, encode_images
from codelength.data.opened import open_data
from codelength.data.stored_arrays import is_idx


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i1": 9, "i2": 11}[array.dtype.str[1:]]
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def values(dtype: str, *shape: int) -> np.ndarray:
    if dtype == "?":
        return np.random.default_rng(0).integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    return np.random.default_rng(0).integers(info.min, info.max + 1, shape).astype(dtype)


# The shape of the array, and the images in it: (how many, their shape).
SHAPES = {
    (7, 9): (1, (7, 9)),
    (5, 7, 9): (5, (7, 9)),
    (7, 9, 3): (1, (7, 9, 3)),
    (7, 9, 4): (1, (7, 9, 4)),
    (3, 7, 9): (3, (7, 9)),
    (1, 7, 9): (1, (7, 9)),
    (5, 7, 9, 3): (5, (7, 9, 3)),
    (5, 7, 9, 2): (5, (7, 9, 2)),
    (5, 7, 9, 1): (5, (7, 9)),
    (5, 3, 7, 9): (5, (7, 9, 3)),
    (5, 1, 7, 9): (5, (7, 9)),
    (2, 1, 7, 1): (2, (1, 7)),
}


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "?"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_of_an_array(dtype: str, shape: tuple[int, ...]) -> None:
    array = values(dtype, *shape)
    data = npy(array)
    images = decode_images(data, "a.npy")
    assert not isinstance(images, str), images
    count, form = SHAPES[shape]
    assert [image.array.shape for image in images] == [form] * count
    assert encode_images(images, "a.npy") == data
    # Elements are those of the array, in whatever order, signed ones moved up.
    lowest = 0 if array.dtype.kind != "i" else np.iinfo(array.dtype).min
    planes = len(shape) > 2 and images[0].array.ndim == 3 and shape[-1] not in (2, 3, 4)
    channels_last = np.moveaxis(array, -3, -1) if planes else array
    expected = channels_last.astype(int).reshape(count, *form) - lowest
    assert np.array_equal(np.stack([image.array for image in images]).astype(int), expected)


def test_they_lie_in_folders_beside_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    files = {
        "a.npy": npy(values("u1", 4, 8, 9)),
        "b.npy": npy(values("<u2", 8, 9)),
        "floats.npy": npy(np.linspace(0, 1, 30).reshape(3, 10)),
        "labels.npy": npy(np.arange(9)),
        "columns.npy": npy(np.asfortranarray(values("u1", 8, 9))),
        "c.npz": npz(x=values("u1", 2, 8, 9), labels=np.arange(4), y=values("u1", 3, 8, 9), other=values(">u2", 4, 4)),
        "t10k-images-idx3-ubyte": idx(values("u1", 5, 6, 6)),
        "labels-idx1-ubyte": idx(values("u1", 9)),
        "deep.idx": idx(values("i2", 6, 6)),
        "idx.txt": b"nothing",
        "cut.npy": npy(values("u1", 4, 8, 9))[:-5],
        "more.npy": npy(values("u1", 4, 8, 9)) + b"more",
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, x=values("u1", 2, 8, 9))
    files["packed.npz"] = stream.getvalue()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    opened = open_data(folder)
    images = {file.name: max(len(file.images), bool(file.mode)) for file in opened._looked_at}
    assert images == {name: 0 for name in files} | {
        "a.npy": 4, "b.npy": 1, "c.npz": 5, "t10k-images-idx3-ubyte": 5, "deep.idx": 1, "more.npy": 4,
    }  # fmt: skip
    reasons = {file.name: file.reason for file in opened._looked_at}
    assert "float64" in reasons["floats.npy"] and "int64" in reasons["labels.npy"]
    assert "by columns" in reasons["columns.npy"] and "cut short" in reasons["cut.npy"]
    assert "compressed" in reasons["packed.npz"]
    assert opened.promise.exact == len(files)
    cl.compress(folder, tmp_path / "a.clen", "made-digits")
    cl.verify(tmp_path / "a.clen", folder)
    cl.decompress(tmp_path / "a.clen", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    with cl.open(tmp_path / "a.clen") as items:
        assert np.array_equal(items["a.npy/3"], values("u1", 4, 8, 9)[2])
        assert np.array_equal(items["c.npz/4"], values("u1", 3, 8, 9)[1])


def test_arrays_by_themselves_stay_arrays(tmp_path: Path) -> None:
    """What a file of arrays was as data, it still is; a folder is trained on for its images as before."""
    np.save(tmp_path / "a.npy", values("u1", 4, 8, 9))
    assert open_data(tmp_path / "a.npy").archived.kind == "array"
    with pytest.raises(cl.CodelengthError, match="got none"):
        cl.load_data(tmp_path)


def test_only_idx_is_taken_for_it() -> None:
    assert is_idx("x/train-images-idx3-ubyte", idx(values("u1", 2, 2, 2)))
    assert not is_idx("idx/readme", idx(values("u1", 2, 2, 2))) and not is_idx("a.idx", b"\0\0\7\1")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a-idx3-ubyte"])
def test_damaged_arrays_come_back_or_are_kept(name: str) -> None:
    make = {"a.npy": npy, "a.npz": lambda array: npz(x=array), "a-idx3-ubyte": idx}[name]
    good, rng = make(values("u1", 3, 5, 5)), np.random.default_rng(0)
    for number in range(200):
        data = bytearray(good)
        for at in rng.integers(0, min(len(data), 150), 2):
            data[at] ^= int(rng.integers(1, 256))
        if number % 5 == 0:
            del data[int(rng.integers(len(data))) :]
        images = decode_images(bytes(data), name)
        assert isinstance(images, str) or encode_images(images, name) == data
