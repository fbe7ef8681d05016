"""PNGs with palettes, transparent colours, few and many bits: the same to all readers when they come back."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from image_files import HEIGHT, WIDTH, chunk, png_by_hand, values
from PIL import Image

import codelength as cl
from codelength.archive.writer import write_archive
from codelength.data import png, proof
from codelength.data.images import decode_image, decode_images, encode_image
from codelength.data.look import look
from codelength.data.opened import open_data
from codelength.data.pixels import Pixels, Unsuitable
from codelength.data.scan import Entry
from codelength.errors import DataError

CLEAR = chunk(b"tRNS", bytes(2))
KINDS = {
    f"{bits}-{colour}{'-clear' if extra else ''}{'-interlaced' if interlaced else ''}": png_by_hand(
        bits, colour, interlaced=interlaced, extra=extra
    )
    for colour, depths in {0: (2, 4), 3: (1, 2, 4, 8), 2: (16,), 4: (16,), 6: (16,)}.items()
    for bits in depths
    for interlaced in (False, True)
    for extra in ((b"", CLEAR) if colour in (0, 3) else (b"",))
} | {"8-0-clear": png_by_hand(8, 0, extra=CLEAR), "16-0-clear": png_by_hand(16, 0, extra=CLEAR)}


def one(data: bytes) -> Pixels:
    images = decode_images(data, "a.png")
    assert not isinstance(images, str), images
    return images[0]


def shown(data: bytes) -> list[np.ndarray]:
    """As libpng has it, in two libraries."""
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return [imagecodecs.png_decode(data), opencv]


@pytest.mark.parametrize("name", KINDS)
def test_it_comes_back_and_looks_the_same(name: str) -> None:
    data = KINDS[name]
    pixels = one(data)
    assert pixels.metadata[:3] == b"I" + bytes([data[24], data[25]])
    back = encode_image(pixels, "a.png")
    for left, right in zip(shown(data), shown(back)):
        assert left.dtype == right.dtype and np.array_equal(left, right)
    again = one(back)
    assert np.array_equal(again.array, pixels.array) and again.metadata == pixels.metadata
    proof.prove(data, "PNG", [pixels], back)
    wrong = pixels.array.copy()
    wrong.reshape(-1)[-1] ^= 1
    other = Pixels(wrong, pixels.mode, pixels.metadata)
    for some, written in ((other, back), (pixels, encode_image(other, "a.png"))):
        with pytest.raises(Unsuitable):
            proof.prove(data, "PNG", [some], written)
    # Pixels by themselves are not the picture.
    assert isinstance(decode_image(data, "a.png"), str)


def test_palettes_in_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in KINDS.items():
        (folder / f"{name}.png").write_bytes(data)
    write_archive(tmp_path / "a.clen", open_data(folder).archived, cl.load("made-digits"))
    cl.verify(tmp_path / "a.clen", folder)
    cl.decompress(tmp_path / "a.clen", tmp_path / "out")
    for name, data in KINDS.items():
        left, right = (Image.open(path / f"{name}.png") for path in (folder, tmp_path / "out"))
        assert left.mode == right.mode and np.array_equal(np.asarray(left), np.asarray(right)), name
        assert data[25] != 3 or left.getpalette() == right.getpalette()
        assert left.info.get("transparency") == right.info.get("transparency")
    cl.decompress(tmp_path / "a.clen", tmp_path / "one.png", names=["16-2.png"])
    assert np.array_equal(imagecodecs.png_decode((tmp_path / "one.png").read_bytes()), shown(KINDS["16-2"])[0])
    with pytest.raises(cl.CodelengthError, match="got none"):
        cl.load_data(str(folder))


def test_filters_make_it_smaller_and_undo() -> None:
    smooth = np.add.outer(np.arange(60) * 300, np.arange(80) * 200)[..., None] + np.array([0, 9000, 20000])
    pixels = Pixels(smooth.astype("<u2"), "RGB;16", b"I\x10\x02" + struct.pack(">I4s", 0, b"IDAT"))
    data = encode_image(pixels, "a.png")
    assert len(data) < smooth.size * 2 // 20
    assert np.array_equal(imagecodecs.png_decode(data), smooth)
    assert set(zlib.decompress(data[41:-16])[:: 1 + 80 * 6]) <= set(range(5))
    for seed in range(20):
        array = np.random.default_rng(seed).integers(0, 65536, (5, 4, 4)).astype("<u2")
        data = encode_image(Pixels(array, "RGBA;16", b"I\x10\x06" + struct.pack(">I4s", 0, b"IDAT")), "a.png")
        assert np.array_equal(imagecodecs.png_decode(data), array)


@pytest.mark.parametrize(
    "extra, words",
    [
        (chunk(b"PLTE", bytes(6)), "palette is damaged"),
        (chunk(b"tRNS", bytes(2)) * 2, "several chunks"),
        (chunk(b"acTL", bytes(8)), "animation"),
        (chunk(b"PrVt", bytes(8)), "PrVt"),
    ],
    ids=["palette", "transparent", "animated", "unknown"],
)
def test_what_cannot_be_put_back_keeps_the_file(extra: bytes, words: str) -> None:
    assert words in str(decode_images(png_by_hand(8, 3, extra=extra), "a.png"))


def test_without_a_palette_or_with_it_too_late() -> None:
    good = png_by_hand(8, 3)
    palette = chunk(b"PLTE", bytes(range(48)))
    assert "palette is damaged" in str(decode_images(good.replace(palette, b""), "a.png"))
    end = good[-12:]
    late = good.replace(palette, b"")[:-12] + palette + end
    assert isinstance(decode_images(late, "a.png"), str)
    longer = good.replace(palette, chunk(b"PLTE", bytes(770)))
    assert "palette is damaged" in str(decode_images(longer, "a.png"))


def test_without_imagecodecs_16_bit_colours_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_has_imagecodecs", lambda: False)
    for name in ("16-2", "4-3"):
        (tmp_path / f"{name}.png").write_bytes(KINDS[name])
    assert "codelength[compare]" in look(Entry("a.png", tmp_path / "16-2.png", 9, "image")).reason
    assert look(Entry("a.png", tmp_path / "4-3.png", 9, "image")).mode == "L"


def test_metadata_of_an_archive_is_not_trusted() -> None:
    array = values("u1")
    good = one(KINDS["8-3"]).metadata
    for bad in (b"I", b"I\x08", b"I\x09\x03" + good[3:], b"I\x08\x02" + good[3:], good[:-1], good[:20], good + b"x"):
        with pytest.raises(DataError):
            png.encode(Pixels(array, "L", bad))
    with pytest.raises(DataError, match="of 4 bits"):
        png.encode(Pixels(array, "L", b"I\x04\x03" + good[3:]))
    with pytest.raises(DataError, match="acTL"):
        png.encode(Pixels(array, "L", good + struct.pack(">I4s", 0, b"acTL")))


def test_damaged_pngs_come_back_or_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(80):
        data = bytearray(KINDS["4-3-clear"])
        at = int(rng.integers(16, len(data) - 12))
        data[at] ^= int(rng.integers(1, 256))
        # With the checksums made right, so that more than these is tried.
        place = 8
        while place < len(data) - 12:
            size = int.from_bytes(data[place : place + 4], "big")
            if place + 12 + size > len(data):
                break
            check = zlib.crc32(data[place + 4 : place + 8 + size])
            data[place + 8 + size : place + 12 + size] = check.to_bytes(4, "big")
            place += 12 + size
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        file = look(Entry(path.name, path, len(data), "image"))
        if file.mode:
            back = encode_image(Pixels(file.read_pixels(), file.mode, file.metadata), "a.png")
            with Image.open(io.BytesIO(data)) as left, Image.open(io.BytesIO(back)) as right:
                assert np.array_equal(left.convert("RGBA"), right.convert("RGBA"))
    assert (HEIGHT, WIDTH) == (19, 21)
