"""Image files that nobody writes in good faith, or that libraries read differently.

Each must come back byte for byte, take no more memory than its size explains, and leave an archive that ``verify``
finds sound.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import HEIGHT, WIDTH, by_hand, chunk, packed, png_by_hand, pnms, saved, tiff, values
from PIL import Image

import codelength as cl
from codelength.data import containers, proof
from codelength.data.images import decode_image
from codelength.data.look import ImageFile, look
from codelength.data.pixels import Pixels
from codelength.data.png import read as read_png
from codelength.data.scan import Entry
from codelength.laws.frozen import FrozenModel


def seen(path: Path, data: bytes) -> ImageFile:
    path.write_bytes(data)
    return look(Entry(path.name, path, len(data), "image"))


def grey_tags(samples: int = 1, compression: int = 8) -> dict[int, tuple[int, tuple[int, ...]]]:
    tags = {256: (3, (WIDTH,)), 257: (3, (HEIGHT,)), 258: (3, (8,) * samples), 259: (3, (compression,))}
    return tags | {262: (3, (1,)), 277: (3, (samples,)), 278: (3, (HEIGHT,))}


DEFLATED = zlib.compress(packed(8, 1, "<"))


@pytest.mark.parametrize("number", [323, 324, 325])
def test_tile_tags_of_a_file_in_strips_are_not_dropped(number: int, tmp_path: Path) -> None:
    """What is stored where is up to the writer, but for a file in strips such a tag is a place to keep anything."""
    assert seen(tmp_path / "good.tif", by_hand(grey_tags(), DEFLATED)).mode == "L"
    file = seen(tmp_path / "odd.tif", by_hand(grey_tags() | {number: (3, tuple(range(9)))}, DEFLATED))
    assert not file.mode and "parts of either" in file.reason


def test_rows_of_a_strip_that_libtiff_refuses_keep_the_file(tmp_path: Path) -> None:
    array = values("u1", height=32, width=32)
    tiled = by_hand_in_tiles(array.tobytes())
    assert seen(tmp_path / "good.tif", tiled).mode == "L"
    assert seen(tmp_path / "rows.tif", by_hand_in_tiles(array.tobytes(), rows=(3, 1, 32))).mode == "L"
    assert not seen(tmp_path / "odd.tif", by_hand_in_tiles(array.tobytes(), rows=(7, 3, 32))).mode
    big = tiff(array, compression="deflate", bigtiff=True, metadata=None)
    assert seen(tmp_path / "big.tif", big).mode == "L"
    entry = struct.pack("<HHQ", 278, 4, 1)
    at = big.index(entry)
    more = big[:at] + struct.pack("<HHQQ", 278, 16, 1, 2**40) + big[at + 20 :]
    assert "1099511627776 rows" in seen(tmp_path / "more.tif", more).reason


def by_hand_in_tiles(pixels: bytes, rows: tuple[int, int, int] | None = None) -> bytes:
    """A TIFF of one tile of 32x32. rows: type, count and value of the tag of rows of a strip."""
    body = zlib.compress(pixels)
    body += bytes(len(body) % 2)
    tags = {256: (3, 1, 32), 257: (3, 1, 32), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1), 322: (3, 1, 32)}
    tags |= {323: (3, 1, 32), 324: (4, 1, 8), 325: (4, 1, len(zlib.compress(pixels)))} | ({278: rows} if rows else {})
    head = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    return head + directory([(number, *rest) for number, rest in tags.items()])


@pytest.mark.parametrize("number", [280, 281])
def test_least_and_largest_samples_that_libtiff_refuses_keep_the_file(number: int, tmp_path: Path) -> None:
    """libtiff wants short integers, the same for all samples."""
    body = zlib.compress(packed(8, 2, "<"))
    for kind, both, mode in [(3, (3, 3), "LA"), (3, (3, 4), ""), (4, (3, 3), ""), (4, (2**31, 2**31), "")]:
        file = seen(tmp_path / "any.tif", by_hand(grey_tags(2) | {number: (kind, both)}, body))
        assert file.mode == mode and bool(file.reason) != bool(mode), (kind, both, file.reason)


@pytest.mark.parametrize("kind", [b"prVt", b"prvt", b"PrVt"])
def test_chunks_of_a_png_that_libpng_refuses_keep_the_file(kind: bytes, tmp_path: Path) -> None:
    """A third letter that is not a capital is reserved, and libpng calls the file damaged."""
    file = seen(tmp_path / "any.png", png_by_hand(8, 2, extra=chunk(kind, b"\0\1")))
    assert (file.mode == "RGB") == (kind == b"prVt")
    if kind != b"PrVt":
        # Archives that hold one are still read.
        png = png_by_hand(8, 2)
        metadata = b"P" + struct.pack(">I4s", 2, kind) + b"\0\1" + struct.pack(">I4s", 0, b"IDAT")
        back = containers.png_with(png, metadata)
        assert chunk(kind, b"\0\1") in back and read_png(png).mode == "RGB"


def test_what_only_one_library_reads_or_both_differently_is_no_unsound_archive(
    pairs: FrozenModel, tmp_path: Path
) -> None:
    folder, archive, back = tmp_path / "in", tmp_path / "a.clen", tmp_path / "out"
    folder.mkdir()
    # The pixels are said to begin within the palette, which libraries look for in different places then.
    bitmap = bytearray(saved(Image.fromarray(values("u1", height=8, width=8)), "BMP"))
    assert bitmap[10:14] == struct.pack("<I", 14 + 40 + 1024)
    bitmap[10:14] = struct.pack("<I", 14 + 40)
    (folder / "palette.bmp").write_bytes(bitmap)
    # A comment right behind a number: ours reads on behind it, as netpbm does, and Pillow takes it for a long number.
    good = dict(pnms())["hand-3-255"]
    (folder / "comment.ppm").write_bytes(good.replace(b"21 19\n", b"21 19#comment\n"))
    # Subsampled colours where there are none, which only tifffile minds.
    subsampled = by_hand(grey_tags(compression=1) | {530: (3, (2, 2))}, packed(8, 1, "<"))
    (folder / "subsampled.tif").write_bytes(subsampled)
    for name, form in (("comment.ppm", "PPM"), ("subsampled.tif", "TIFF")):
        data = (folder / name).read_bytes()
        pixels = decode_image(data, name)
        assert isinstance(pixels, Pixels) and list(proof.read_again(data, form, [pixels])) == [None]
    for path in folder.iterdir():
        file = look(Entry(path.name, path, path.stat().st_size, "image"))
        assert bool(file.mode) == (path.name != "palette.bmp"), (path.name, file.reason)
        if not file.mode:
            assert "two libraries read different pixels" in file.reason
    cl.compress(folder, archive, pairs)
    cl.verify(archive, folder)
    cl.decompress(archive, back)
    for path in folder.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()


def test_a_second_library_that_fails_is_an_objection_only_where_bytes_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise proof.Unsuitable("no")

    monkeypatch.setattr(proof, "_tiff", fails)
    assert seen(tmp_path / "stored.tif", by_hand(grey_tags(compression=1), packed(8, 1, "<"))).mode == "L"
    assert not seen(tmp_path / "deflated.tif", by_hand(grey_tags(), DEFLATED)).mode


# ---- files that ask for more than they are worth ---------------------------------------------------------------


def directory(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    packed_entries = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + packed_entries + struct.pack("<I", following)


def many_tags_that_share_their_values() -> bytes:
    count = 8000
    size = 8 + 2 + 12 * count + 4
    entries = [(number, 1, size - 1, 1) for number in range(1000, 1000 + count)]
    return b"II*\0" + struct.pack("<I", 8) + directory(entries)


def directories_that_share_their_tags() -> bytes:
    """Directory k begins at the last two bytes of the k-th tag, which say how many tags it has."""
    count, tags = 1500, 5000
    data = bytearray()
    for k in range(tags + count):
        data += struct.pack("<HHIHH", (2 * k + 1) % 65536, 3, 1, 0, tags)
    for k in range(count):
        data[12 * (k + tags) : 12 * (k + tags) + 4] = struct.pack("<I", 12 * (k + 1) + 8 if k < count - 1 else 0)
    return b"II*\0" + struct.pack("<IH", 8, tags) + bytes(data)


def strips_that_share_their_pixels() -> bytes:
    rows = 4000
    tags = {256: (3, 1, 64), 257: (3, 1, rows), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 278: (3, 1, 1)}
    at = 8 + 2 + 12 * 8 + 4
    tags |= {273: (4, rows, at), 279: (4, rows, at + 4 * rows)}
    head = b"II*\0" + struct.pack("<I", 8) + directory([(number, *rest) for number, rest in tags.items()])
    return head + bytes(4 * rows) + struct.pack("<I", at + 8 * rows) * rows


def a_tile_that_is_far_larger_than_the_image(compression: int = 8) -> bytes:
    side = 12000
    body = zlib.compress(bytes(side * side), 9)
    tags = {256: (3, 1, 8), 257: (3, 1, 8), 258: (3, 1, 8), 259: (3, 1, compression), 262: (3, 1, 1)}
    tags |= {322: (3, 1, side), 323: (3, 1, side), 324: (4, 1, 8), 325: (4, 1, len(body))}
    head = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    return head + directory([(number, *rest) for number, rest in tags.items()])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (many_tags_that_share_their_values, "tag 256 is missing"),
        (directories_that_share_their_tags, "overlap"),
        (strips_that_share_their_pixels, "behind the other"),
        (a_tile_that_is_far_larger_than_the_image, "far beyond its pixels"),
    ],
)
def test_a_small_file_takes_little_memory(make: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    data = make()
    assert len(data) < 200_000
    tracemalloc.start()
    try:
        file = seen(tmp_path / "any.tif", data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not file.mode and words in file.reason
    assert peak < 100 * len(data) + 2**22
