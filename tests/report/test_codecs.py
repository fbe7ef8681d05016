"""The general codecs that results are put beside: every size is that of a file that decodes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import numpy as np
import pytest
from PIL import Image

from codelength.errors import DataError
from codelength.report.codecs import STREAMS, codec_sizes, image_codecs, mosaic

RNG = np.random.default_rng(0)
BINARY = (RNG.random((7, 6, 5)) < 0.3).astype(np.uint8)
GREY = RNG.integers(0, 40, (5, 6, 7)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize("items", [BINARY, GREY, COLOUR])
def test_a_mosaic_holds_every_tile_once(items: np.ndarray) -> None:
    picture = mosaic(items)
    height, width = items.shape[1:3]
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    assert rows * columns - columns < len(items) <= rows * columns
    for k, item in enumerate(items):
        top, left = k // columns * height, k % columns * width
        assert np.array_equal(picture[top : top + height, left : left + width], item)


@pytest.mark.parametrize(("items", "symbols"), [(BINARY * np.uint8(255), 2), (GREY, 256), (COLOUR, 256)])
def test_image_codecs_lose_nothing(items: np.ndarray, symbols: int) -> None:
    for name, encode in image_codecs(symbols).items():
        data = encode(items[0])
        if name == "JPEG XL":
            back = pytest.importorskip("imagecodecs").jpegxl_decode(data)
        else:
            with Image.open(io.BytesIO(data)) as image:
                back = np.asarray(image.convert("RGB" if items.ndim == 4 else "L"))
        assert np.array_equal(back, items[0]), name


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("colours", [5, 1000])
def test_image_codecs_lose_nothing_of_any_type(dtype: type, channels: int, colours: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    table = RNG.integers(0, np.iinfo(dtype).max + 1, (colours, max(channels, 1))).astype(dtype)
    picture = table[RNG.integers(0, colours, (13, 17))]
    picture = picture if channels else picture[..., 0]
    found = image_codecs(65536, dtype, channels or 1)
    assert set(found) == {"PNG", "JPEG XL"} | ({"WebP"} if dtype == np.uint8 and channels != 2 else set())
    for name, encode in found.items():
        data = encode(picture)
        if name == "WebP" or (name == "PNG" and dtype == np.uint8):
            with Image.open(io.BytesIO(data)) as image:
                back = np.asarray(image.convert({0: "L", 1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]))
        else:
            back = (imagecodecs.jpegxl_decode if name == "JPEG XL" else imagecodecs.png_decode)(data)
        assert np.array_equal(back.reshape(picture.shape), picture), name


def test_few_colours_are_kept_by_a_palette() -> None:
    table = RNG.integers(0, 256, (4, 3)).astype(np.uint8)
    picture = table[RNG.integers(0, 4, (64, 64))]
    assert len(image_codecs(256, np.uint8, 3)["PNG"](picture)) < 64 * 64 // 4 + 200  # 2 bits a pixel, and the frame


def test_stream_codecs_lose_nothing() -> None:
    undo = {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
    data = RNG.integers(0, 4, 5000).astype(np.uint8).tobytes()
    if "brotli" in STREAMS:
        undo["brotli"] = pytest.importorskip("imagecodecs").brotli_decode
    assert set(undo) == set(STREAMS)
    for name, compress in STREAMS.items():
        assert undo[name](compress(data)) == data


def test_whole_sets_cost_less_than_a_file_for_each_item() -> None:
    sizes = codec_sizes(BINARY, 2)
    names = [size.name for size in sizes if size.name not in ("brotli", "JPEG XL")]
    assert names == ["gzip", "bz2", "xz", "PNG", "WebP"]
    assert all(size.whole < size.per_item for size in sizes)
    with pytest.raises(DataError, match="8 bits"):
        codec_sizes(GREY.astype(np.uint16), 65536)
