"""Files of several images: every page is an item, and the files come back; judged by libtiff and by Pillow."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import codelength as cl
from codelength.archive.layout import FILES_FEATURE
from codelength.archive.reader import Archive
from codelength.archive.writer import write_archive
from codelength.data import pages, raw, tiff
from codelength.data.images import decode_image, decode_images, encode_images
from codelength.data.look import look
from codelength.data.opened import open_data
from codelength.data.pixels import MODES, Pixels, Unsuitable
from codelength.data.scan import Entry
from codelength.errors import DataError
from codelength.laws.frozen import FrozenModel

PAGES, HEIGHT, WIDTH = 3, 21, 18


def values(dtype: str, *channels: int, height: int = HEIGHT, width: int = WIDTH, top: int | None = None) -> np.ndarray:
    info = np.iinfo(dtype)
    rng = np.random.default_rng(height * width)
    return rng.integers(info.min, (info.max if top is None else top) + 1, (PAGES, height, width, *channels)).astype(
        dtype
    )


def written(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def by_pillow(array: np.ndarray, compression: str | None) -> bytes:
    images = [Image.fromarray(page) for page in array]
    stream = io.BytesIO()
    images[0].save(stream, "TIFF", save_all=True, append_images=images[1:], compression=compression)
    return stream.getvalue()


def by_opencv(array: np.ndarray, compression: int) -> bytes:
    good, data = cv2.imencodemulti(".tif", list(array), [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert good
    return bytes(data)


def stacks() -> Iterator[tuple[str, bytes]]:
    grey, colour = {"photometric": "minisblack"}, {"photometric": "rgb"}
    for compression, order, big in itertools.product((None, "deflate", "lzw"), "<>", (False, True)):
        options = {"compression": compression, "byteorder": order, "bigtiff": big}
        name = f"{compression}{'-be' * (order == '>')}{'-big' * big}"
        yield f"u1-{name}.tif", written(values("u1"), **options, **grey)
        yield f"u2-{name}.tif", written(values("u2"), **options, **grey)
        yield f"rgb-{name}.tif", written(values("u2", 3), **options, **colour)
        yield f"tiles-{name}.tif", written(values("u1", 3), tile=(16, 16), **options, **colour)
        yield f"tiles16-{name}.tif", written(values("u2"), tile=(16, 32), **options, **grey)
    for order in "<>":
        raw_only = {"byteorder": order}
        yield f"i2{order == '>'}.tif", written(values("i2"), **raw_only, **grey)
        yield f"i1{order == '>'}.tif", written(values("i1"), **raw_only, **grey)
        planes = np.moveaxis(values("u2", 3), -1, 1)
        yield f"planes{order == '>'}.tif", written(planes, planarconfig="separate", **raw_only, **colour)
        yield (
            f"tiled-planes{order == '>'}.tif",
            written(planes, planarconfig="separate", tile=(16, 16), **raw_only, **colour),
        )
    for compression in ("none", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"pillow-{compression}.tif", by_pillow(values("u1"), None if compression == "none" else compression)
        yield (
            f"pillow-bits-{compression}.tif",
            by_pillow(values("u1") > 99, None if compression == "none" else compression),
        )
    for compression in (1, 5, 8):
        yield f"opencv-{compression}.tif", by_opencv(values("u2", 3), compression)
    yield "imagej.tif", written(values("u2"), imagej=True, metadata={"axes": "ZYX", "unit": "um"})
    yield "ome.tif", written(values("u1"), ome=True, metadata={"axes": "ZYX"}, compression="deflate")
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for shape in ((8, 9), (21, 18), (3, 40)):
            writer.write(np.arange(np.prod(shape), dtype="u1").reshape(shape), photometric="minisblack")
        writer.write(values("u2", 3)[0], photometric="rgb")
    yield "sizes.tif", stream.getvalue()


STACKS = dict(stacks())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder of all stacks, an archive of it, and what came back."""
    root = tmp_path_factory.mktemp("pages")
    folder, archive, back = root / "in", root / "all.clen", root / "out"
    folder.mkdir()
    for name, data in STACKS.items():
        (folder / name).write_bytes(data)
    (folder / "alone.bmp").write_bytes(imagecodecs.bmp_encode(values("u1")[0]))
    write_archive(archive, open_data(folder).archived, cl.load("made-digits"), block_items=7)
    cl.decompress(archive, back)
    return folder, archive, back


def libtiff(data: bytes) -> list[np.ndarray]:
    """All images of a TIFF as libtiff reads them."""
    found = []
    for index in itertools.count():
        try:
            found.append(imagecodecs.tiff_decode(data, index=index))
        except (IndexError, imagecodecs.TiffError):
            return found
    raise AssertionError


def test_every_stack_comes_back(made: tuple[Path, Path, Path]) -> None:
    folder, _, back = made
    assert sorted(os.listdir(folder)) == sorted(os.listdir(back))
    promised = {file.name: file for file in open_data(folder)._looked_at}
    exact = 0
    for name, data in STACKS.items():
        assert promised[name].images, (name, promised[name].reason)
        after = (back / name).read_bytes()
        if not promised[name].anew:
            assert after == data, name
            exact += 1
            continue
        before = libtiff(data)
        assert len(before) == PAGES, name
        for left, right in zip(before, libtiff(after), strict=True):
            assert left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=") and np.array_equal(left, right), name
        with tifffile.TiffFile(io.BytesIO(data)) as old, tifffile.TiffFile(io.BytesIO(after)) as new:
            assert (old.byteorder, old.is_bigtiff) == (new.byteorder, new.is_bigtiff)
            for left, right in zip(old.pages, new.pages, strict=True):
                for tag in set(left.tags.keys()) - set(tiff.STORAGE):
                    assert left.tags[tag].value == right.tags[tag].value, (name, tag)
    assert exact >= 30


def test_each_page_is_an_item_of_its_own(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder, archive, _ = made
    with cl.open(archive) as items:
        assert {f"u2-None.tif/{k}" for k in (1, 2, 3)} <= set(items.names)
        for name in ("u2-deflate-be.tif", "rgb-None.tif", "tiles16-None-big.tif"):
            for page, expected in enumerate(tifffile.imread(folder / name)):
                assert np.array_equal(items[f"{name}/{page + 1}"], expected)
        assert np.array_equal(items["i2True.tif/3"].astype(int) - 2**15, tifffile.imread(folder / "i2True.tif")[2])
    cl.verify(archive, folder)
    # Some of the pages come back by themselves, one as any file.
    report = cl.decompress(
        archive, tmp_path / "some", names=["rgb-deflate-be.tif/[13]", "u1-None.tif/2", "i1True.tif/*"]
    )
    assert sorted(path.relative_to(tmp_path / "some").as_posix() for path in report.paths) == [
        "i1True.tif",
        "rgb-deflate-be.tif/1.tif",
        "rgb-deflate-be.tif/3.tif",
        "u1-None.tif/2.tif",
    ]
    assert report.items == 6
    expected = tifffile.imread(folder / "rgb-deflate-be.tif")
    for page in (1, 3):
        data = (tmp_path / f"some/rgb-deflate-be.tif/{page}.tif").read_bytes()
        assert data[:2] == b"MM" and np.array_equal(imagecodecs.tiff_decode(data), expected[page - 1])
    cl.decompress(archive, tmp_path / "one.png", names=["u1-None.tif/2"])
    assert np.array_equal(imagecodecs.png_decode((tmp_path / "one.png").read_bytes()), values("u1")[1])
    with Archive.open(archive) as opened:
        assert FILES_FEATURE in opened.header.features


def test_pages_of_several_streams_make_one_file(tmp_path: Path) -> None:
    """Where a model codes some pages and refuses others, they lie in streams of their own."""
    folder = tmp_path / "in"
    folder.mkdir()
    array = np.random.default_rng(0).integers(0, 2, (4, 8, 8)).astype("u1")
    array[1] = 200
    for name in ("a.tif", "b.tif"):
        (folder / name).write_bytes(written(array, photometric="minisblack"))
    figures = write_archive(tmp_path / "a.clen", open_data(folder).archived, cl.load("made-digits"))
    assert 0 < figures.fallback_items < 8
    cl.decompress(tmp_path / "a.clen", tmp_path / "out")
    for name in ("a.tif", "b.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_a_damaged_page_leaves_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    array = np.random.default_rng(0).integers(0, 256, (6, 32, 32)).astype("u1")
    (folder / "a.tif").write_bytes(written(array, photometric="minisblack"))
    (folder / "b.bmp").write_bytes(imagecodecs.bmp_encode(array[0]))
    write_archive(tmp_path / "a.clen", open_data(folder).archived, cl.load("made-digits"), block_items=2)
    with Archive.open(tmp_path / "a.clen") as archive:
        place = archive.directory.blocks[1].offset
    data = bytearray((tmp_path / "a.clen").read_bytes())
    data[place + 70] ^= 1
    (tmp_path / "a.clen").write_bytes(data)
    with pytest.raises(cl.CodelengthError, match="block 1"):
        cl.decompress(tmp_path / "a.clen", tmp_path / "strict")
    report = cl.decompress(tmp_path / "a.clen", tmp_path / "out", keep_going=True)
    assert [damage.entries for damage in report.damaged] == [(2, 3)]
    assert sorted(os.listdir(tmp_path / "out/a.tif")) == ["1.tif", "2.tif", "5.tif", "6.tif"]
    assert np.array_equal(imagecodecs.imread(tmp_path / "out/a.tif/6.tif"), array[5])
    assert (tmp_path / "out/b.bmp").read_bytes() == (folder / "b.bmp").read_bytes()


def test_a_stack_is_read_once_and_must_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(written(values("u1"), photometric="minisblack"))
    file = look(Entry("a.tif", path, 0, "image"))
    reads = []
    whole = Entry.read_whole
    monkeypatch.setattr(Entry, "read_whole", lambda *args: reads.append(1) or whole(*args))
    for page, expected in zip(file.images, values("u1")):
        assert np.array_equal(page.read_pixels(), expected)
    assert len(reads) == 1
    for number in (0, 1, 2, 0, 2):
        assert np.array_equal(file.images[number].read_again(), values("u1")[number])
    assert len(reads) == 3  # once for the first three in their order, and once for the others
    other = look(Entry("a.tif", path, 0, "image"))
    path.write_bytes(written(values("u1")[:2], photometric="minisblack"))
    with pytest.raises(DataError, match="changed"):
        other.images[2].read_pixels()


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_several_images_are_written_and_read(mode: str, flags: int) -> None:
    dtype, channels = MODES[mode]
    rng = np.random.default_rng(flags)
    arrays = [
        rng.integers(0, 2 if mode == "1" else 256, (5, k, *([channels] if channels else []))).astype(dtype)
        for k in (3, 8)
    ]
    plain = b"" if not flags else b"T" + bytes([flags]) + struct.pack("<HHI", 262, 3, 1)
    plain += struct.pack(">H" if flags & 1 else "<H", 2 if channels > 2 else 1) if flags else b""
    images = [Pixels(array, mode, plain) for array in arrays]
    data = encode_images(pages.marked(images), "a.tif")
    back = decode_images(data, "a.tif")
    assert not isinstance(back, str), back
    assert [image.mode for image in back] == [mode, mode] and pages.count(back[0].metadata) == 2
    for array, image, again in zip(arrays, back, libtiff(data)):
        assert np.array_equal(array, image.array) and np.array_equal(np.squeeze(again).astype(dtype), np.squeeze(array))
    assert decode_image(data, "a.tif") == "it holds several images (2)"


ORDERS = [
    raw.Order(*flags[:1], False, *flags[1:3], tiles, False)
    for flags in itertools.product((False, True), repeat=3)
    for tiles in ((0, 0), (16, 16), (3, 7), (64, 64))
] + [raw.Order(packed=True)]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_order_gives_its_elements_back(order: raw.Order) -> None:
    for mode, (dtype, channels) in MODES.items():
        if mode == "1" or (order.planes and not channels) or (order.packed and dtype != "<u2"):
            continue
        shape = (21, 19, channels) if channels else (21, 19)
        array = np.random.default_rng(1).integers(0, 4096 if order.packed else 2**16, shape).astype(dtype)
        data = order.to_bytes(array)
        assert np.array_equal(order.to_array(data, shape, mode), array)
        runs = [(10, 7), (20, len(data) - 7)]
        file = bytes(10) + data[:7] + b"abc" + data[7:] + b"tail"
        metadata = raw.metadata(file, [array], order, runs)
        assert raw.joined([array], metadata) == file
        assert raw.is_new(metadata) == (order._number() > 2)
        # Any other elements give another file.
        other = array.copy()
        other.flat[5] ^= 1
        assert raw.joined([other], metadata) != file


def test_orders_are_what_the_document_says() -> None:
    array = np.arange(12, dtype="<u2").reshape(2, 3, 2)
    assert raw.Order(planes=True).to_bytes(array) == array.transpose(2, 0, 1).tobytes()
    assert raw.Order(big_endian=True).to_bytes(array) == array.astype(">u2").tobytes()
    assert raw.Order(signed=True).to_bytes(array) == (array.astype("<i4") - 2**15).astype("<i2").tobytes()
    assert raw.Order(signed=True).to_bytes(array.astype("u1")) == (array.astype("i4") - 128).astype("i1").tobytes()
    tiles = [array[0:2, 0:2], array[0:2, 2:4]]
    assert raw.Order(tiles=(2, 2)).to_bytes(array) == b"".join(tile.tobytes() for tile in tiles)
    assert raw.Order(packed=True).to_bytes(np.array([[0x123, 0x456], [0x789, 0xABC]], "<u2")).hex() == "123456789abc"
    assert raw.Order(packed=True).to_bytes(np.array([[0x123], [0x789]], "<u2")).hex() == "12307890"
    numbers = {raw.Order(packed=True): 40, raw.Order(signed=True, big_endian=True): 11, raw.Order(planes=True): 12}
    for order, number in numbers.items():
        assert order._number() == number


def test_metadata_of_an_archive_is_not_trusted() -> None:
    array = np.arange(40, dtype="u1").reshape(5, 8)
    good = raw.metadata(b"head" + array.tobytes(), [array], raw.Order(), [(4, 40)])
    rng = np.random.default_rng(0)
    for _ in range(300):
        bad = bytearray(good)
        bad[int(rng.integers(1, len(bad)))] = int(rng.integers(256))
        del bad[int(rng.integers(5, len(bad) + 20)) :]
        with contextlib.suppress(DataError):
            raw.joined([array], bytes(bad))
    for number in (3, 7, 8, 9, 8 + 64, 8 + 33, 8 + 48, 255):
        with pytest.raises(DataError):
            raw.joined([array], good[:1] + bytes([number]) + good[2:] + bytes(8))
    tiled = raw.metadata(b"head" + array.tobytes(), [array], raw.Order(tiles=(8, 8)), [(4, 40)])
    for at in (22, 26):
        with pytest.raises(DataError, match="without pixels"):
            raw.joined([array], tiled[:at] + bytes(4) + tiled[at + 4 :])
    with pytest.raises(DataError, match="below 4,096"):
        raw.Order(packed=True).to_bytes(np.full((2, 2), 4096, "<u2"))
    with pytest.raises(DataError, match="pages of a TIFF"):
        encode_images([Pixels(array, "L"), Pixels(array, "L")], "a.png")


def test_what_lies_between_pages_keeps_the_file() -> None:
    data = by_pillow(values("u1"), "tiff_lzw")
    assert not isinstance(decode_images(data, "a.tif"), str)
    at = data.rindex(b"II*\0")
    with pytest.raises(Unsuitable, match="between"):
        tiff.read(data[: at - 1] + b"x" + data[at:])
    with pytest.raises(Unsuitable, match="follows its end"):
        tiff.read(data + b"x")


@pytest.mark.parametrize("name", ["u2-None.tif", "u2-deflate.tif", "tiles-None-be.tif"])
def test_damaged_stacks_are_kept_or_come_back(name: str, tmp_path: Path, pairs: FrozenModel) -> None:
    rng = np.random.default_rng(2)
    for number in range(40):
        data = bytearray(STACKS[name])
        for at in rng.integers(0, 300 if number % 2 else len(data), 2):
            data[at] ^= int(rng.integers(1, 256))
        path = tmp_path / "a.tif"
        path.write_bytes(data)
        file = look(Entry("a.tif", path, len(data), "image"))
        if file.images and not file.anew:
            assert encode_images([Pixels(p.read_pixels(), p.mode, p.metadata) for p in file.images], "a.tif") == data


@pytest.mark.parametrize("change", ["cut", "gone", "longer", "other"])
def test_a_stack_that_changes_leaves_no_archive(change: str, tmp_path: Path, pairs: FrozenModel) -> None:
    folder, archive = tmp_path / "in", tmp_path / "a.clen"
    folder.mkdir()
    for name in ("u1-None.tif", "u2-deflate.tif"):
        (folder / name).write_bytes(STACKS[name])
    source = open_data(folder).archived
    data, path = STACKS["u2-deflate.tif"], folder / "u2-deflate.tif"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-9], "longer": data + b"x", "other": STACKS["u2-lzw.tif"]}[change])
    with pytest.raises(DataError, match=r"changed|No such file"):
        write_archive(archive, source, pairs)
    assert os.listdir(tmp_path) == ["in"]
