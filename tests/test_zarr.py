"""The Zarr codec: chunks come back bit for bit, alone and in shards, and what is no chunk is refused."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codelength as cl
from codelength.errors import CodelengthError, DataError, UsageError
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset

zarr = pytest.importorskip("zarr", minversion="3")

from zarr.registry import register_codec  # noqa: E402

from codelength.zarr import LEARNED, STORED, CodelengthCodec  # noqa: E402

register_codec("codelength", CodelengthCodec)  # as its entry point does where the package is installed
FAST = CodelengthCodec("fast")


def soft(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Walks with small steps along two axes: images that compress."""
    rng = np.random.default_rng(seed)
    walk = rng.integers(-2, 3, shape).cumsum(1).cumsum(2 if len(shape) > 2 else 0)
    top = 1 if dtype is bool else np.iinfo(dtype).max
    return (np.clip(walk + top // 2, 0, top) if top > 1 else walk > 0).astype(dtype)


def create(folder: Path, data: np.ndarray, chunks: tuple[int, ...], codec: Any = FAST, **options: Any) -> Any:
    made = zarr.create_array(
        folder, shape=data.shape, chunks=chunks, dtype=data.dtype, serializer=codec, compressors=None, **options
    )
    made[...] = data
    return made


def metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "zarr.json").read_text())


def evolved(shape: tuple[int, ...], dtype: Any = "uint8", codec: CodelengthCodec = FAST) -> CodelengthCodec:
    array = zarr.create_array({}, shape=shape, chunks=shape, dtype=dtype, serializer=codec, compressors=None)
    return array.metadata.codecs[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", bool])
def test_arrays_come_back_with_shards_and_without(dtype: Any, tmp_path: Path) -> None:
    data = soft(5, 20, 30, dtype=np.uint16 if dtype == ">u2" else dtype).astype(dtype)
    for name, options in {"chunks": {}, "shards": {"shards": (4, 40, 32)}}.items():
        create(tmp_path / name, data, (2, 20, 16), **options)
        again = zarr.open_array(tmp_path / name, mode="r")
        assert again.dtype == data.dtype.newbyteorder("=") and np.array_equal(again[...], data)
        assert np.array_equal(again[3, 7:9, 20:], data[3, 7:9, 20:])  # one chunk of many, and a part of it
        assert again[4, 19, 29] == data[4, 19, 29]


def test_colours_are_coded_together_and_other_axes_by_transposition(tmp_path: Path) -> None:
    data = soft(3, 16, 18, 3)
    create(tmp_path / "last", data, (2, 16, 18, 3))
    assert np.array_equal(zarr.open_array(tmp_path / "last")[...], data)
    assert metadata(tmp_path / "last")["codecs"][0]["configuration"]["channels"] == 3
    first = np.ascontiguousarray(data.transpose(0, 3, 1, 2))
    turned = zarr.codecs.TransposeCodec(order=(0, 2, 3, 1))
    create(tmp_path / "first", first, (2, 3, 16, 18), CodelengthCodec("fast", channels=3), filters=[turned])
    assert np.array_equal(zarr.open_array(tmp_path / "first")[...], first)
    sizes = [(tmp_path / name / "c/0/0/0/0").stat().st_size for name in ("last", "first")]
    assert sizes[0] == sizes[1]


def test_metadata_hold_the_program_so_that_later_presets_change_nothing(tmp_path: Path) -> None:
    create(tmp_path / "a", soft(2, 12, 14), (1, 12, 14))
    held = metadata(tmp_path / "a")["codecs"][0]
    assert held["name"] == "codelength"
    set_ = dict(held["configuration"])
    model = FrozenModel.from_bytes(base64.b64decode(set_.pop("program")))
    assert set_ == {"profile": "fast", "kind": "photo", "channels": 1, "bits": 8}
    assert model.sha256 == preset("fast", 256).sha256
    other = base64.b64encode(preset("fast", 256, kind="drawn").to_bytes()).decode()
    data = soft(2, 12, 14)
    create(tmp_path / "b", data, (1, 12, 14), CodelengthCodec("fast", "photo", program=other))
    assert metadata(tmp_path / "b")["codecs"][0]["configuration"]["program"] == other
    assert np.array_equal(zarr.open_array(tmp_path / "b")[...], data)


def test_a_chunk_is_laid_out_as_the_document_says() -> None:
    data = soft(3, 12, 14, dtype=np.uint16)
    codec = evolved(data.shape, "uint16", CodelengthCodec("fast", bits=16))
    chunk = codec.encode_chunk(data)
    assert chunk[0] == LEARNED == 1 and chunk[1:9] == hashlib.sha256(data.astype("<u2").tobytes()).digest()[:8]
    words = preset("fast", 1 << 16).learner().encode(list(data))
    assert chunk[9:] == words.astype("<u4").tobytes()
    noise = np.random.default_rng(0).integers(0, 1 << 16, (2, 12, 14)).astype(np.uint16)
    kept = codec.encode_chunk(noise)
    assert kept[0] == STORED == 0 and kept[9:] == noise.astype("<u2").tobytes()
    assert kept[1:9] == hashlib.sha256(kept[9:]).digest()[:8]
    assert np.array_equal(codec.decode_chunk(kept, noise.shape, noise.dtype), noise)
    document = (Path(__file__).parent.parent / "docs" / "zarr.md").read_text("utf-8")
    assert "| 0 | 1 | " in document and "| 1 | 8 | " in document and "| 9 | | " in document


def test_values_beyond_the_stated_bits_are_kept(tmp_path: Path) -> None:
    data = soft(2, 12, 14, dtype=np.uint16) % 4096
    wide = data.copy()
    wide[1, 3, 5] = 60_000
    create(tmp_path / "a", wide, (1, 12, 14), CodelengthCodec("fast", bits=12))
    assert np.array_equal(zarr.open_array(tmp_path / "a")[...], wide)
    forms = [(tmp_path / "a" / f"c/{k}/0/0").read_bytes()[0] for k in range(2)]
    assert forms == [LEARNED, STORED]


def test_chunks_of_fill_values_are_not_written_and_edges_are_filled(tmp_path: Path) -> None:
    made = zarr.create_array(
        tmp_path / "a", shape=(5, 10, 10), chunks=(2, 8, 8), dtype="uint8", fill_value=7, serializer=FAST,
        compressors=None,
    )  # fmt: skip
    made[:2] = 7
    assert not list((tmp_path / "a").glob("c/0/*/*"))
    made[4, 9, 9] = 200
    whole = np.full((5, 10, 10), 7, np.uint8)
    whole[4, 9, 9] = 200
    assert np.array_equal(zarr.open_array(tmp_path / "a")[...], whole)


def test_each_kind_of_settings_is_coded_by_its_preset() -> None:
    for settings, shape, dtype, expected in [
        (CodelengthCodec("fast", "drawn"), (1, 9, 9), "uint8", preset("fast", 256, kind="drawn")),
        (CodelengthCodec("fast"), (1, 9, 9), "bool", preset("fast", 2, kind="binary")),
        (CodelengthCodec("fast", bits=1), (1, 9, 9), "uint8", preset("fast", 2, kind="binary")),
        (CodelengthCodec("fast"), (9, 9, 4), "uint8", preset("fast", 256, channels=4)),
        (CodelengthCodec("fast"), (9, 3), "uint8", preset("fast", 256)),
    ]:
        codec = evolved(shape, dtype, settings)
        assert codec.program == base64.b64encode(expected.to_bytes()).decode()
        assert pickle.loads(pickle.dumps(codec)) == codec == CodelengthCodec.from_dict(codec.to_dict())


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"profile": "best"}, "fast, balanced, small"),
        ({"kind": "text"}, "photo, drawn, binary"),
        ({"channels": 5}, "channels.*from 1 to 4"),
        ({"channels": True}, "channels"),
        ({"bits": 0}, "bits.*from 1 to 16"),
        ({"level": 3}, "newer version"),
        ({"program": "!!"}, "base 64"),
        ({"program": base64.b64encode(b"nothing").decode()}, "."),
        ({"program": base64.b64encode(cl.load("made-digits").to_bytes()).decode()}, "adaptive"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(CodelengthError, match=told):
        CodelengthCodec.from_dict({"name": "codelength", "configuration": settings})


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint32", "complex64"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(UsageError, match=f"uint8, uint16 or bool.*got {dtype}"):
        evolved((2, 8, 8), dtype)


def test_arrays_that_are_no_images_are_refused() -> None:
    with pytest.raises(UsageError, match="two axes or more"):
        evolved((100,))
    with pytest.raises(UsageError, match=r"\(\.\., any, any, 3\).*transpose"):
        evolved((1, 8, 8), codec=CodelengthCodec("fast", channels=3)).encode_chunk(np.zeros((1, 8, 8), np.uint8))


def test_damaged_chunks_are_refused_and_never_read_as_others() -> None:
    data = soft(2, 14, 15)
    codec = evolved(data.shape)
    good = codec.encode_chunk(data)
    assert np.array_equal(codec.decode_chunk(good, data.shape, data.dtype), data)
    rng = np.random.default_rng(1)
    bad = [b"", good[:1], good[:9], good[:-1], good[:-4], good + b"\0", good + b"\0\0\0\0", b"\x02" + good[1:]]
    bad += [b"\0" + good[1:], good[:9] + rng.bytes(len(good) - 9), good[:9] + b"\0" * 64, good[:9] + b"\xff" * 64]
    for place in rng.integers(0, 8 * len(good), 60).tolist():
        flipped = bytearray(good)
        flipped[place // 8] ^= 1 << place % 8
        bad.append(bytes(flipped))
    for chunk in bad:
        with pytest.raises(DataError, match="damaged"):
            codec.decode_chunk(chunk, data.shape, data.dtype)
    for shape in ((2, 15, 14), (1, 14, 15), (3, 14, 15)):
        with pytest.raises(DataError, match="damaged"):
            codec.decode_chunk(good, shape, data.dtype)


def test_a_program_of_more_symbols_than_the_type_has_is_no_way_past_it() -> None:
    wide = soft(1, 10, 10, dtype=np.uint16)
    chunk = evolved(wide.shape, "uint16").encode_chunk(wide)
    with pytest.raises(DataError, match="beyond the type"):
        evolved(wide.shape, "uint16").decode_chunk(chunk, wide.shape, np.dtype(np.uint8))


def test_the_package_registers_the_codec() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    module, name = project["entry-points"]["zarr.codecs"]["codelength"].split(":")
    assert getattr(importlib.import_module(module), name) is CodelengthCodec
    assert any(line.startswith("zarr>=3") for line in project["optional-dependencies"]["zarr"])
