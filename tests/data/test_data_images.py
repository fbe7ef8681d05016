"""Image files: pixels come back exactly, or the file is left alone with a reason."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from codelength.data import containers
from codelength.data.images import HELD, decode_image, encode_image, written_name
from codelength.data.look import ImageFile, look
from codelength.data.pixels import MODES, Pixels
from codelength.data.reduced import Reduced, expand, reduce
from codelength.data.scan import Entry, scan
from codelength.errors import DataError

EXTENSION = {"PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp", "PPM": ".ppm"}


def look_all(folder, *, jpeg=False):
    return [look(entry, jpeg=jpeg) for entry in scan(folder)]


def noise(mode, height=5, width=7, seed=0):
    dtype, channels = MODES[mode]
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    if dtype == "|b1":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def picture(mode, **kwargs):
    array = noise(mode, **kwargs)
    if mode == "1":
        return Image.fromarray(array)
    return Image.frombytes(mode, array.shape[1::-1], array.tobytes())


def file_bytes(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


KEPT = [(form, mode) for form, modes in HELD.items() for mode in modes if (form, mode) != ("BMP", "1")]


@pytest.mark.parametrize("form, mode", KEPT)
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (8, 16)])
def test_every_format_gives_its_modes_back(form, mode, size):
    array = noise(mode, *size)
    name = "image" + EXTENSION[form]
    first = encode_image(Pixels(array, mode), name)
    if not mode.endswith(";16") or (mode == "I;16" and form != "PPM"):  # of the others Pillow has no mode
        with Image.open(io.BytesIO(first)) as image:
            assert image.format == form and image.mode == mode
    pixels = decode_image(first, name)
    assert isinstance(pixels, Pixels), pixels
    assert pixels.mode == mode and np.array_equal(pixels.array, array) and pixels.array.dtype == array.dtype
    second = encode_image(pixels, name)
    again = decode_image(second, name)
    assert np.array_equal(again.array, array) and again.metadata == pixels.metadata


@pytest.mark.parametrize(
    "name, data",
    [
        ("a.bmp", file_bytes(picture("RGB"), "BMP", dpi=(300, 300))),
        ("a.bmp", file_bytes(picture("L"), "BMP")),
        ("a.pgm", file_bytes(picture("L"), "PPM")),
        ("a.ppm", file_bytes(picture("RGB"), "PPM")),
        ("a.ppm", b"P6 # a comment\n# another\n2 1\n255\n" + bytes(range(6)) + b"\nmore behind"),
        ("a.tif", file_bytes(picture("L"), "TIFF", dpi=(72, 72), description="a note")),
        ("a.tif", file_bytes(picture("RGB"), "TIFF", software="a program")),
        ("a.tiff", file_bytes(picture("I;16"), "TIFF")),
        ("a.tiff", file_bytes(picture("RGBA"), "TIFF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_with_plain_pixels_come_back_byte_for_byte(name, data):
    pixels = decode_image(data, name)
    assert isinstance(pixels, Pixels), pixels
    assert encode_image(pixels, name) == data
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(pixels.array, np.asarray(image))
    changed = Pixels(np.invert(pixels.array), pixels.mode, pixels.metadata)
    assert encode_image(changed, name) != data


def big_endian_tiff(array):
    height, width = array.shape
    tags = [(256, 3, 1, width << 16), (257, 3, 1, height << 16), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16)]
    tags += [(262, 3, 1, 1 << 16), (273, 4, 1, 8), (277, 3, 1, 1 << 16), (278, 3, 1, height << 16)]
    tags += [(279, 4, 1, array.nbytes)]
    pixels = array.astype(">u2").tobytes()
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHII", *tag) for tag in tags)
    return b"MM\0*" + struct.pack(">I", 8 + len(pixels)) + pixels + directory + b"\0\0\0\0"


def test_big_endian_tiff():
    array = noise("I;16")
    data = big_endian_tiff(array)
    pixels = decode_image(data, "a.tif")
    assert isinstance(pixels, Pixels), pixels
    assert np.array_equal(pixels.array, array) and pixels.array.dtype.str == "<u2"
    assert encode_image(pixels, "a.tif") == data


def test_stored_microscopy_comes_back_byte_for_byte(stored):
    import zipfile

    with zipfile.ZipFile(stored / "bbbc039" / "bbbc039-30.zip") as archive:
        for name in archive.namelist()[:3]:
            data = archive.read(name)
            pixels = decode_image(data, name)
            assert isinstance(pixels, Pixels) and pixels.mode == "I;16" and pixels.symbols == 65536
            assert encode_image(pixels, name) == data
            assert len(pixels.metadata) < 4096


def test_chunks_of_a_png_survive_in_their_places():
    info = PngInfo()
    info.add_text("Author", "someone")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_bytes(picture("RGB"), "PNG", pnginfo=info, dpi=(300, 300), exif=exif, icc_profile=b"profile")
    data = data[:-12] + chunk(b"tIME", b"\x07\xea\x01\x01\0\0\0") + data[-12:]
    pixels = decode_image(data, "a.png")
    back = encode_image(pixels, "a.png")

    def others(png):
        found = containers.png_chunks(png)
        kinds = [kind for kind, _ in found]
        split = kinds.index(b"IDAT")
        return (
            [c for c in found[1:split]],
            [c for c in found[split:] if c[0] not in (b"IDAT", b"IEND")],
        )

    before, after = others(data)
    assert {kind for kind, _ in before} >= {b"iCCP", b"pHYs", b"tEXt"} and b"tIME" in {kind for kind, _ in after}
    assert others(back) == (before, after)
    with Image.open(io.BytesIO(back)) as image:
        assert np.array_equal(np.asarray(image), pixels.array)
        assert image.getexif()[0x0112] == 6, "the orientation is kept, and not applied to the pixels"


def palette_png():
    return file_bytes(picture("RGB").quantize(16), "PNG")


def png(depth, colour, body=b"", extra=b""):
    header = struct.pack(">IIBBBBB", 1, 1, depth, colour, 0, 0, 0)
    return (
        containers.SIGNATURE
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def animated(form):
    frames = [picture("RGB", seed=seed) for seed in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    return file_bytes(frames[0], form, save_all=True, append_images=frames[1:], **options)


def tiff(image, tags, **options):
    info = ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[tag] = value
    return file_bytes(image, "TIFF", tiffinfo=info, **options)


GREY = file_bytes(picture("L"), "PNG")


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.png", palette_png(), "palette"),
        ("a.png", png(2, 0, b"\0\x80"), "2-bit grey"),
        ("a.png", png(4, 0, b"\0\x80"), "4-bit grey"),
        ("a.png", png(16, 2, b"\0" + bytes(6)), "16-bit colours"),
        ("a.png", png(16, 6, b"\0" + bytes(8)), "16-bit colours"),
        ("a.png", png(8, 2, b"\0abc", chunk(b"tRNS", bytes(6))), "transparent colour"),
        ("a.png", animated("PNG"), "several images|animation"),
        ("a.png", GREY + b"behind", "follows its end"),
        ("a.png", GREY[:-20], "damaged"),
        ("a.png", GREY[:40] + b"\0\0" + GREY[42:], "damaged|decoded"),
        ("a.png", file_bytes(picture("RGB"), "JPEG"), "does not begin like a PNG"),
        ("a.png", b"no image at all", "does not begin like"),
        ("a.png", b"", "empty"),
        ("a.gif", file_bytes(picture("L"), "GIF"), "not an image"),
        ("a.txt", b"text", "not an image"),
        ("noextension", b"text", "not an image"),
        ("a.jpg", file_bytes(picture("RGB"), "JPEG"), "JPEG files are kept as they are"),
        ("a.webp", file_bytes(picture("RGB"), "WEBP"), "lossless WebP"),
        ("a.webp", animated("WEBP"), "lossless WebP"),
        ("a.webp", file_bytes(picture("RGB"), "WEBP", lossless=True, icc_profile=b"p"), "lossless WebP"),
        ("a.bmp", file_bytes(picture("RGBA"), "BMP"), "32 bits"),
        ("a.bmp", file_bytes(picture("1"), "BMP"), "one bit"),
        ("a.pgm", b"P5 2 1 100 " + bytes([3, 100]), "up to 255"),
        ("a.ppm", b"P3 1 1 255 1 2 3\n", "binary PGM"),
        ("a.pgm", b"P5 2 1 65535 " + bytes(3), "cut short"),
        ("a.tif", file_bytes(picture("RGB"), "TIFF", compression="jpeg"), "lossless|YCbCr"),
        ("a.tif", tiff(picture("L"), {64000: "note"}, compression="tiff_lzw"), r"cannot be moved \(64000\)"),
        ("a.tif", animated("TIFF"), "several images"),
        ("a.tif", file_bytes(Image.new("CMYK", (2, 2)), "TIFF"), "CMYK"),
        ("a.tif", file_bytes(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_would_not_come_back_is_left_alone_with_a_reason(name, data, words):
    reason = decode_image(data, name)
    assert isinstance(reason, str)
    assert re.search(words, reason), reason


def test_compressed_tiffs_without_anything_else_are_pixels():
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        pixels = decode_image(file_bytes(picture("RGB"), "TIFF", compression=compression), "a.tif")
        assert isinstance(pixels, Pixels), pixels
        assert np.array_equal(pixels.array, noise("RGB"))


def test_jpegs_are_pixels_on_request_and_come_back_as_png():
    data = file_bytes(picture("RGB", height=8, width=8), "JPEG")
    pixels = decode_image(data, "photo.JPG", jpeg=True)
    assert isinstance(pixels, Pixels)
    name = written_name("photo.JPG", pixels.mode)
    assert name == "photo.JPG.png"
    with Image.open(io.BytesIO(encode_image(pixels, "photo.JPG"))) as image:
        assert image.format == "PNG" and np.array_equal(np.asarray(image), pixels.array)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(file_bytes(picture("RGB"), "JPEG", exif=exif), "photo.jpg", jpeg=True)
    assert isinstance(turned, str) and "orientation" in turned


def test_enormous_images_are_left_alone(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "pixels" in decode_image(GREY, "a.png")


@given(st.binary(max_size=200), st.integers(0, 300), st.sampled_from(["png", "tif", "bmp", "ppm"]))
@settings(max_examples=150, deadline=None)
def test_damaged_files_never_raise(junk, at, kind):
    form = {"png": "PNG", "tif": "TIFF", "bmp": "BMP", "ppm": "PPM"}[kind]
    data = file_bytes(picture("RGB"), form)
    damaged = data[:at] + junk + data[at + len(junk) :]
    result = decode_image(damaged, f"a.{kind}")
    if isinstance(result, Pixels):
        again = decode_image(encode_image(result, f"a.{kind}"), f"a.{kind}")
        assert np.array_equal(again.array, result.array) and again.mode == result.mode


@given(st.binary(max_size=120))
@settings(max_examples=150, deadline=None)
def test_metadata_from_a_stranger_gives_a_file_or_a_sentence(junk):
    good = decode_image(file_bytes(picture("L"), "BMP"), "a.bmp").metadata
    for metadata in (junk, b"P" + junk, b"R" + junk, good[:6] + junk + good[6 + len(junk) :]):
        try:
            data = encode_image(Pixels(noise("L"), "L", metadata), "a.png")
        except DataError:
            continue
        assert len(data) < 5000


@given(st.binary(max_size=60), st.integers(0, 80), st.sampled_from(["L", "RGBA;16", "1"]))
@settings(max_examples=150, deadline=None)
def test_tags_from_a_stranger_give_a_file_or_a_sentence(junk, at, mode):
    tags = {282: 1.5, 270: "a note", 305: "a program"}
    good = decode_image(tiff(picture("L"), tags, compression="tiff_lzw"), "a.tif").metadata
    assert good[:1] == b"T"
    for metadata in (b"T" + junk, good[:at] + junk + good[at + len(junk) :]):
        try:
            data = encode_image(Pixels(noise(mode), mode, metadata), "a.tif")
        except DataError as error:
            assert "metadata" in str(error)
            continue
        assert len(data) < 5000
        assert decode_image(data, "a.tif")


def test_metadata_may_not_bring_chunks_that_change_the_picture():
    def entry(kind, body=b""):
        return struct.pack(">I", len(body)) + kind + body

    pixels = entry(b"IDAT")
    for bad in (
        pixels + entry(b"tRNS", bytes(2)),
        pixels + entry(b"acTL", bytes(8)),
        pixels + pixels,
        pixels + entry(b"PLTE", bytes(3)),
        entry(b"IHDR", bytes(13)) + pixels,
        entry(b"tEXt", b"a"),
        pixels + entry(b"tEXt", b"long")[:-1],
        pixels[:-1],
    ):
        with pytest.raises(DataError, match="metadata"):
            encode_image(Pixels(noise("L"), "L", b"P" + bad), "a.png")
    with pytest.raises(DataError, match="not for its format"):
        encode_image(Pixels(noise("L"), "L", b"P" + pixels), "a.tif")
    with pytest.raises(DataError, match="not for its format"):
        encode_image(Pixels(noise("L"), "L", b"T\0"), "a.png")


def test_names_of_modes_that_their_format_does_not_hold():
    assert written_name("a.png", "RGB;16") == "a.png.tif" and written_name("a.bmp", "LA;16") == "a.bmp.tif"
    assert written_name("a.ppm", "RGB;16") == "a.ppm" and written_name("a.TIFF", "RGBA;16") == "a.TIFF"
    assert written_name("a.webp", "I;16") == "a.webp.png" and written_name("photo.jpg", "L") == "photo.jpg.png"


@pytest.mark.parametrize("blanks", [b" ", b"\n\t ", b"#"])
def test_endless_headers_cost_little(blanks):
    """That they end at all is the test: a pattern with nested repetitions takes longer than anybody lives."""
    assert isinstance(decode_image(b"P6" + blanks * 2_000_000, "a.ppm"), str)
    assert isinstance(decode_image(b"P6 " + b"1" * 2_000_000 + b" 1 255 ", "a.ppm"), str)


@pytest.mark.parametrize(
    "pixels",
    [
        Pixels(noise("L"), "RGB"),
        Pixels(noise("RGB"), "L"),
        Pixels(noise("L").astype(np.int64), "L"),
        Pixels(noise("L"), "P"),
        Pixels(np.zeros((0, 3), np.uint8), "L"),
    ],
)
def test_arrays_and_modes_must_agree(pixels):
    with pytest.raises(DataError, match="expected"):
        encode_image(pixels, "a.png")


@given(st.sampled_from(sorted(MODES)), st.booleans(), st.booleans(), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_reducing_is_undone_by_expanding(mode, opaque, grey, seed):
    array = noise(mode, seed=seed)
    if array.ndim == 3 and opaque and array.shape[2] in (2, 4):
        array[..., -1] = 255
    if array.ndim == 3 and grey and array.shape[2] >= 3:
        array[..., :3] = array[..., :1]
    reduced = reduce(array)
    back = expand(reduced, mode)
    assert np.array_equal(back, array) and back.dtype == array.dtype
    if mode == "RGBA" and opaque and grey:
        assert reduced.array.ndim == 2 and reduced.steps == ("opaque", "grey")
    if mode == "RGB" and not grey:
        assert reduced == Reduced(reduced.array, ())


def make_tree(folder):
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    picture("RGB").save(folder / "b" / "deep" / "two.png")
    picture("L").save(folder / "b" / "one.PNG")
    picture("RGB").save(folder / "photo.jpeg")
    (folder / ".hidden").write_bytes(b"secret")
    (folder / "a.txt").write_text("a note")
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "b.png").write_bytes(palette_png())


def test_scanning_lists_everything_in_the_order_of_bytes(tmp_path):
    make_tree(tmp_path)
    entries = scan(tmp_path)
    names = [entry.name for entry in entries]
    expected = [".hidden", "a.txt", "b.png", "b/deep/two.png", "b/one.PNG", "broken.png", "photo.jpeg"]
    assert names == sorted(expected, key=str.encode) == expected
    assert [e.kind for e in entries] == ["other", "other", "image", "image", "image", "image", "jpeg"]
    assert all(entry.size == entry.path.stat().st_size for entry in entries)


def test_looking_at_a_folder_decides_for_every_file(tmp_path):
    make_tree(tmp_path)
    found = {file.name: file for file in look_all(tmp_path)}
    assert {name: file.mode for name, file in found.items() if file.mode} == {
        "b.png": "L",
        "b/deep/two.png": "RGB",
        "b/one.PNG": "L",
    }
    assert {name for name, file in found.items() if file.is_image} == {
        "b.png",
        "b/deep/two.png",
        "b/one.PNG",
        "photo.jpeg",
    }
    assert all(bool(file.mode) != bool(file.reason) for file in found.values())
    assert found["photo.jpeg"].shape == (5, 7, 3) and found["broken.png"].shape == ()
    assert np.array_equal(found["b/deep/two.png"].read_pixels(), noise("RGB"))
    assert b"".join(found["a.txt"].read_bytes()) == b"a note"
    assert {file.name: file.mode for file in look_all(tmp_path, jpeg=True)}["photo.jpeg"] == "RGB"


def test_a_file_that_changes_in_between_is_noticed(tmp_path):
    picture("L").save(tmp_path / "a.png")
    (file,) = look_all(tmp_path)
    picture("RGB").save(tmp_path / "a.png")
    with pytest.raises(DataError, match="changed while"):
        file.read_pixels()
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="readable"):
        list(ImageFile.read_bytes(file))


def grown(path):
    with path.open("ab") as stream:
        stream.write(b"more")


def shrunk(path):
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 3)


def rewritten(path):
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [grown, shrunk, rewritten, replaced, piped])
@pytest.mark.parametrize("name", ["a.png", "a.txt", "kept.png"])
def test_a_file_that_changes_after_it_was_looked_at_is_named(tmp_path, change, name):
    path = tmp_path / name
    if name == "a.png":
        picture("L").save(path)
    else:
        path.write_bytes(b"no image" * 1000)
    (file,) = look_all(tmp_path)
    assert b"".join(file.read_bytes()) == path.read_bytes()
    change(path)
    words = "expected a file, but .* is none" if change is piped else "changed while it was being read"
    for read in [lambda: list(file.read_bytes())] + [file.read_pixels, file.read_again] * (name == "a.png"):
        with pytest.raises(DataError, match=words) as caught:
            read()
        assert name in str(caught.value)


@pytest.mark.parametrize("change", [grown, shrunk, rewritten])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, change):
    path = tmp_path / "big.bin"
    path.write_bytes(bytes(3 * 2**20))
    (file,) = look_all(tmp_path)
    pieces = file.read_bytes()
    read = len(next(pieces))
    change(path)
    with pytest.raises(DataError, match=r"big.bin changed while"):
        for piece in pieces:
            read += len(piece)
    assert read <= 3 * 2**20


def test_a_file_that_never_ends_is_no_endless_read(tmp_path):
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("needs a file whose length is stated as zero and is not")
    with pytest.raises(DataError, match="changed while"):
        Entry(path.name, path, 0, "image").load()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_folders_are_no_image_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(DataError, match=r"is none|is not"):
            Entry(name, tmp_path / name, 0, "image").load()


def test_links_inside_are_files_and_all_others_are_refused(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "x.txt").write_text("x")
    (inside / "a.txt").write_text("a")
    (inside / "link.txt").symlink_to("a.txt")
    assert [entry.name for entry in scan(inside)] == ["a.txt", "link.txt"]
    for target in (outside / "x.txt", outside, inside, "nowhere"):
        (inside / "bad").symlink_to(target)
        with pytest.raises(DataError, match="links are not kept"):
            scan(inside)
        (inside / "bad").unlink()
    (tmp_path / "alias").symlink_to(inside)
    assert len(scan(tmp_path / "alias")) == 2, "the folder itself may be named through a link"


def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        scan(tmp_path)


def test_empty_and_missing_folders_get_a_sentence(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="expected files in the folder"):
        scan(tmp_path)
    with pytest.raises(DataError, match="expected a readable folder"):
        scan(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected a readable file"):
        Entry("nowhere.png", tmp_path / "nowhere.png", 0, "image").load()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_unreadable_folders_get_a_sentence(tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(DataError, match="Permission denied"):
            scan(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_names_that_are_not_utf8_survive(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    try:
        with open(raw, "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (entry,) = scan(tmp_path)
    assert os.fsencode(entry.name) == b"caf\xe9.txt"


def test_one_bit_images_hold_zeros_and_ones(tmp_path):
    path = tmp_path / "bits.png"
    Image.fromarray(np.eye(5, dtype=np.uint8) * 255).convert("1").save(path)
    pixels = decode_image(path.read_bytes(), path.name)
    assert pixels.array.dtype == bool and set(pixels.array.view(np.uint8).ravel()) == {0, 1}


@pytest.mark.parametrize(
    ("number", "type_", "values", "kept"),
    [
        (280, 3, (0, 0, 0), False),
        (280, 3, (0,), True),
        (281, 5, ((255, 1),) * 3, True),
        (281, 2, "255", True),
        (340, 3, (0,), True),
        (274, 3, (1,), False),
        (274, 2, "1", True),
        (318, 5, ((1, 3), (1, 3)), False),
        (318, 3, (1, 1), True),
        (305, 2, "a program", False),
        (305, 12, (1.5,), True),
    ],
)
def test_a_tag_that_some_readers_refuse_keeps_the_file(number, type_, values, kept):
    array = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    stream = io.BytesIO()
    if isinstance(values, str):
        value, count = values, 0
    else:
        value, count = [part for v in values for part in (v if isinstance(v, tuple) else (v,))], len(values)
    tifffile.imwrite(
        stream,
        array,
        photometric="rgb",
        compression="deflate",
        metadata=None,
        software=False,
        extratags=[(number, type_, count, value, True)],
    )
    found = decode_image(stream.getvalue(), "a.tif")
    assert isinstance(found, str) == kept, found
