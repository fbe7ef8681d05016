"""Every kind of image file goes into an archive and comes back, judged by readers that the package does not use.

The package reads TIFF by its own code, tifffile and (LZW without imagecodecs) Pillow, PNG by its own code and Pillow,
WebP by Pillow and imagecodecs. The judges here are libtiff, in imagecodecs and in OpenCV, libpng in imagecodecs and
OpenCV, libwebp in OpenCV, and for what is no pixel a few lines of our own.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from image_files import image_files

import codelength as cl
from codelength.archive.writer import write_archive
from codelength.data import images, proof, tiff
from codelength.data.images import encode_image
from codelength.data.look import ImageFile, look
from codelength.data.opened import open_data
from codelength.data.pixels import MODES, Pixels
from codelength.data.scan import Entry, scan
from codelength.errors import DataError
from codelength.laws.frozen import FrozenModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("matrix")
    for name, data in image_files().items():
        (root / name).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def looked_at(folder: Path) -> list[ImageFile]:
    return [look(entry) for entry in scan(folder)]


def outcome(read: Callable[[bytes], np.ndarray], data: bytes) -> tuple[Any, ...]:
    """Type, shape and elements; whatever goes wrong counts as nothing."""
    try:
        array = read(data)
    except Exception:
        return ()
    if array is None:
        return ()
    array = array.astype(array.dtype.newbyteorder("="))
    return array.dtype.str, array.shape, array.tobytes()


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


JUDGES: dict[str, list[Callable[[bytes], np.ndarray]]] = {
    ".tif": [imagecodecs.tiff_decode, opencv],
    ".png": [imagecodecs.png_decode, opencv],
    ".webp": [opencv],
    ".bmp": [opencv],
    ".ppm": [opencv],
}


def tags(data: bytes) -> dict[object, object]:
    """The tags of the only directory but those of how pixels are stored, and byte order and kind of the file."""
    order, big = {b"II": "<", b"MM": ">"}[data[:2]], data[2:4] in (b"+\0", b"\0+")
    count, entry, offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    found: dict[object, object] = {"order": order, "big": big, 258: [1], 277: [1], 284: [1]}
    (number,) = struct.unpack_from(order + count, data, at)
    for i in range(number):
        start = at + struct.calcsize(order + count) + i * struct.calcsize(order + entry)
        tag, kind, length, raw = struct.unpack_from(order + entry, data, start)
        size = length * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}.get(kind, 0)
        if size > len(raw):
            (place,) = struct.unpack(order + offset, raw)
            raw = data[place : place + size]
        if tag in (258, 277, 284):
            found[tag] = np.frombuffer(raw[:size], order + {1: "u1", 3: "u2", 4: "u4"}[kind]).tolist()
        elif tag not in (256, 257, 259, 266, 273, 278, 279, 317, 322, 323, 324, 325):
            found[tag] = (kind, length, raw[:size])
    return found


def others(png: bytes) -> list[bytes]:
    """Everything of a PNG but its header and pixels, those shown by their first place."""
    parts, at = [], 8
    while at < len(png):
        size = 12 + int.from_bytes(png[at : at + 4], "big")
        kind, body = png[at + 4 : at + 8], png[at + 4 : at + size]
        if kind != b"IDAT":
            parts.append(body if kind != b"IHDR" else body[:-5])  # but for whether it is interlaced, and the checksum
        elif b"IDAT" not in parts:
            parts.append(b"IDAT")
        at += size
    return parts


def judge(name: str, before: bytes, after: bytes) -> str:
    """What is wrong with a file that came back; "" if nothing is."""
    if before == after:
        return ""
    kind = Path(name).suffix
    readings = [(outcome(read, before), outcome(read, after)) for read in JUDGES[kind]]
    judges = [(left, right) for left, right in readings if left]
    if not judges:
        return "changed, and nobody can read it"
    for left, right in judges:
        # OpenCV makes one sample of two, and some nonsense of two in tiles.
        if left != right and math.prod(left[1]) == math.prod(judges[0][0][1]):
            return f"{left[:2]} became {right[:2]}" + (", other values" if left[:2] == right[:2] else "")
    if kind == ".png" and others(before) != others(after):
        return f"chunks {others(before)} became {others(after)}"
    if kind == ".tif" and tags(before) != tags(after):
        return f"tags {tags(before)} became {tags(after)}"
    if kind == ".webp" and (before[12:16] != b"VP8L" or before[24] & 16 != after[24] & 16):
        return "the form or the alpha bit changed"
    return ""


def test_hundreds_of_files_come_back_from_one_archive(
    folder: Path, pairs: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda number: None)  # which takes longer than all the rest
    archive, back = tmp_path / "all.clen", tmp_path / "back"
    write_archive(archive, open_data(folder).archived, pairs)  # without programs that learn, which take their time
    cl.decompress(archive, back)
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in back.iterdir()) == names and len(names) > 1300
    wrong = {
        name: reason
        for name in names
        if (reason := judge(name, (folder / name).read_bytes(), (back / name).read_bytes()))
    }
    assert not wrong, (len(wrong), list(wrong.items())[:5])


def test_what_is_common_is_pixels(looked_at: list[ImageFile]) -> None:
    """Nothing is lost by keeping files, but the point is to code pixels."""
    modes = {file.name: file.mode for file in looked_at}
    for name, mode in {
        "opencv-u2x3-lzw-2.tif": "RGB;16",
        "opencv-u2x4-deflate-1.tif": "RGBA;16",
        "opencv-u1x1-lzw-1.tif": "L",
        "pillow-RGB-lzw-dpi.tif": "RGB",
        "pillow-1-packbits.tif": "1",
        "pillow-LA-deflate-big.tif": "LA",
        "tifffile-u2-minisblack-contig-[0]-lzw-tiles.tif": "LA;16",
        "tifffile-u2-rgb-deflate-be-predicted.tif": "RGB;16",
        "tifffile-u2-rgb-None.tif": "RGB;16",
        "tifffile-u1-rgb-[1]-packbits-big.tif": "RGBA",
        "tifffile-ome-deflate.tif": "RGB;16",
        "tifffile-imagej-deflate.tif": "I;16",
        "tifffile-geo-deflate.tif": "RGB;16",
        "hand-16x3be-8.tif": "RGB;16",
        "hand-8x4le-8.tif": "RGBA",
        "hand-8x2le-8-extra0.tif": "LA",
        "hand-16-0-1.png": "I;16",
        "hand-8-6-1.png": "RGBA",
        "pillow-3-chunks.png": "RGB",
        "pillow-4-3.webp": "RGBA",
        "alpha-bit-3.webp": "RGBA",
        "alpha-bit-4.webp": "RGBA",
        "opencv-3.webp": "RGB",
        "pillow-RGB.bmp": "RGB",
        "pillow-RGB-tail.bmp": "RGB",
        "pillow-RGB-filling.bmp": "",
        "hand-12x1le-1.tif": "I;16",
        "hand-16-2-0.png": "RGB;16",
        "hand-16-4-1.png": "LA;16",
        "hand-16-6-text.png": "RGBA;16",
        "hand-1-3-0.png": "L",
        "hand-2-3-1.png": "L",
        "hand-4-3-clear.png": "L",
        "hand-4-0-1.png": "L",
        "hand-8-2-clear.png": "RGB",
        "palette.png": "L",
        "hand-3-65535.ppm": "RGB;16",
        "hand-1-65535-second.ppm": "I;16",
    }.items():
        assert modes[name] == mode, (name, next(file.reason for file in looked_at if file.name == name))
    count = Counter(file.mode for file in looked_at)
    assert all(count[mode] >= 20 for mode in MODES), count


def test_what_would_be_lost_keeps_the_file_and_says_so(looked_at: list[ImageFile]) -> None:
    reasons = {file.name: file.reason for file in looked_at}
    for name, words in {
        "opencv-i1x1-lzw-1.tif": "signed",
        "tifffile-f4-minisblack-deflate.tif": "floating-point",
        "hand-4x1le-8.tif": "one sample of 4 bits",
        "hand-12x1le-8.tif": "one sample of 12 bits",
        "hand-16x3le-8-tail.tif": "follows its end",
        "hand-16x3le-8-gap.tif": "between its parts",
        "hand-16x3le-8-behind.tif": "follows its compressed data",
        "hand-16x3le-8-more.tif": "more than the pixels",
        "hand-16x3le-8-less.tif": "cut short",
        "hand-16x3le-8-planes.tif": "separate planes",
        "hand-16x3le-8-reversed.tif": "reverse order",
        "hand-8x1le-8-photometric0.tif": "inverted",
        "hand-8x1le-8-photometric3.tif": "palette",
        "hand-8x3le-8-depths.tif": "several depths",
        "hand-8x2le-8-extra3.tif": "further samples",
        "hand-8x3le-8-unknown.tif": "cannot be moved (64123)",
        "hand-8x3le-8-sub.tif": "cannot be moved (330)",
        "tifffile-u1-rgb-[0, 0]-lzw.tif": "5 samples",
        "tail.png": "follows its end",
        "iend-body.png": "IEND",
        "between.png": "between its pixels",
        "behind-zlib.png": "follows its compressed data",
        "hand-16-2-critical.png": "PrVt",
        "tail-3.webp": "follows its pixels",
        "longer-1-4.webp": "follows its pixels",
        "longer-9-3.webp": "follows its pixels",
        "unknown-3.webp": "follows its pixels",
        "icc-4.webp": "lossless WebP without further parts",
        "pillow-RGB-top.bmp": "from the top",
        "hand-1-100.ppm": "255 or 65535",
    }.items():
        assert words in reasons[name], (name, reasons[name])
    for file in looked_at:
        assert all(bool(part.mode) != bool(file.reason) for part in file.parts)


def test_files_whose_pixels_are_kept_count_what_their_headers_state(looked_at: list[ImageFile]) -> None:
    shapes = {file.name: file.shape for file in looked_at if not file.mode}
    for name, shape in {
        "hand-4x1le-8.tif": (19, 21),
        "hand-16x3le-8-less.tif": (19, 21, 3),
        "tifffile-pages-None.tif": (3, 19, 21),
        "tifffile-u1-rgb-[0, 0]-lzw.tif": (19, 21, 5),
        "hand-16-2-critical.png": (19, 21, 3),
        "hand-4-3-critical.png": (19, 21),
        "short-4.webp": (19, 21, 4),
        "lossy-3.webp": (19, 21, 3),
        "icc-4.webp": (19, 21, 4),
        "pillow-RGB-short.bmp": (19, 21, 3),
        "hand-3-255-short.ppm": (19, 21, 3),
        "text-1-255.ppm": (19, 21),
    }.items():
        assert shapes[name] == shape, name
    assert all(shapes.values()), [name for name, shape in shapes.items() if not shape]


def test_a_lie_about_one_pixel_or_tag_is_noticed(looked_at: list[ImageFile], folder: Path) -> None:
    """The proof itself: a reader or writer that errs in one sample, in the mode or in a tag does not pass."""
    seen = set()
    for file in looked_at:
        key = Path(file.name).suffix, file.mode, file.metadata[:1]
        if not file.mode or file.metadata[:1] == b"R" or key in seen:
            continue
        seen.add(key)
        data = (folder / file.name).read_bytes()
        array = file.read_pixels()
        pixels, form = Pixels(array, file.mode, file.metadata), images.FORMATS[Path(file.name).suffix]
        written = encode_image(pixels, file.name)
        proof.prove(data, form, [pixels], written)
        wrong = array.copy()
        wrong.reshape(-1)[-1] ^= 1
        other = Pixels(wrong, file.mode, file.metadata)
        with pytest.raises(proof.Unsuitable):
            proof.prove(data, form, [other], encode_image(other, file.name))
        with pytest.raises(proof.Unsuitable):
            proof.prove(data, form, [pixels], encode_image(other, file.name))
        if file.metadata:
            with pytest.raises(proof.Unsuitable):
                proof.prove(data, form, [pixels], encode_image(Pixels(array, file.mode), file.name))
    assert len(seen) >= 24


def test_verifying_asks_a_second_library(
    folder: Path, pairs: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["opencv-u2x3-lzw-2.tif", "pillow-3.png", "pillow-RGB.bmp", "hand-1-255.ppm", "pillow-4-3.webp"]
    names += ["tifffile-u2-rgb-None.tif", "hand-3-65535.ppm", "pillow-1-packbits.tif", "bits.png", "tail.png"]
    some, archive = tmp_path / "some", tmp_path / "some.clen"
    some.mkdir()
    for name in names:
        (some / name).write_bytes((folder / name).read_bytes())
    write_archive(archive, open_data(some).archived, pairs)
    cl.verify(archive, some)
    for form in ("TIFF", "PNG", "BMP", "PPM", "WEBP"):
        asked = []

        def shifted(file: ImageFile, wanted: str = form, asked: list[str] = asked) -> np.ndarray | None:
            kind = images.FORMATS[Path(file.name).suffix]
            asked.append(kind)
            return file.read_pixels() + (kind == wanted)

        with monkeypatch.context() as patch:
            patch.setattr(ImageFile, "read_again", shifted)
            with pytest.raises(DataError, match="second library"):
                cl.verify(archive, some)
        assert form in asked


def test_without_imagecodecs_what_lacks_a_second_reader_keeps_its_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    monkeypatch.setattr(proof, "_has_imagecodecs", lambda: False)
    whole = tifffile.TiffPage.asarray

    def without(page: tifffile.TiffPage) -> np.ndarray:
        assert page.compression != 5, "tifffile cannot read LZW by itself"
        return whole(page)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", without)

    def mode(name: str) -> str:
        file = look(Entry(name, folder / name, 0, "image"))
        assert file.mode or "codelength[compare]" in file.reason
        return file.mode

    assert mode("opencv-u2x3-deflate-2.tif") == mode("opencv-u2x3-none-1.tif") == "RGB;16"
    assert mode("opencv-u2x3-lzw-2.tif") == mode("tifffile-u1-minisblack-contig-[0]-lzw.tif") == ""
    assert mode("tifffile-u1-rgb-[1]-lzw.tif") == ""
    assert mode("pillow-RGB-lzw.tif") == "RGB" and mode("pillow-I;16-lzw.tif") == "I;16"
    assert mode("tifffile-u1-rgb-[2]-lzw-tiles.tif") == "RGBA" and mode("pillow-1-lzw.tif") == "1"
    assert mode("pillow-3-3.webp") == ""


def test_damaged_tiffs_are_no_noise(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries in C write to the standard error behind Python's back."""
    rng = np.random.default_rng(0)
    names = [
        "pillow-RGB-lzw.tif",
        "opencv-u1x3-deflate-2.tif",
        "tifffile-geo-deflate.tif",
        "tifffile-u2-rgb-lzw-tiles.tif",
        "pillow-L-none-dpi.tif",
    ]
    kept = 0
    for number in range(60):
        data = bytearray((folder / names[number % len(names)]).read_bytes())
        for at in rng.integers(0, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        if number % 4 == 0:
            del data[int(rng.integers(8, len(data))) :]
        path = tmp_path / f"{number}.tif"
        path.write_bytes(data)
        kept += not look(Entry(path.name, path, len(data), "image")).mode
    assert kept > 40
    # A number of samples that no reader believes, and a directory that lies elsewhere.
    data = (folder / "hand-8x3le-8.tif").read_bytes()
    samples = b"\x15\x01\x03\0\x01\0\0\0"
    for odd in (data.replace(samples + b"\3\0", samples + b"\xff\xff"), data[:-40], data[:9]):
        assert odd != data
        (tmp_path / "odd.tif").write_bytes(odd)
        assert not look(Entry("odd.tif", tmp_path / "odd.tif", len(odd), "image")).mode
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_written_tiffs_are_the_same_to_all_readers(flags: int) -> None:
    import tifffile
    from image_files import values

    array = values("u2", 3, height=300, width=200)
    tags = b"\x06\x01\x03\0\x01\0\0\0" + (2).to_bytes(2, "big" if flags & 1 else "little")
    data = tiff.encode([Pixels(array, "RGB;16", b"T" + bytes([flags]) + tags)])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert (file.byteorder, file.is_bigtiff) == (">" if flags & 1 else "<", flags >= 2)
        assert len(file.pages[0].dataoffsets) > 1
    for read in (lambda data: tifffile.imread(io.BytesIO(data)), imagecodecs.tiff_decode):
        assert np.array_equal(read(data), array)
    assert np.array_equal(opencv(data)[:, :, ::-1], array)
    assert np.array_equal(tiff.read(data)[0].array, array)
