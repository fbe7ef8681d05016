"""DICOM files come back byte for byte, or with the same pixels and all else; judged by pydicom and by the bytes."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.native import _encode_frame
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

import codelength as cl
from codelength.archive.writer import write_archive
from codelength.data import dicom, kernels, proof
from codelength.data.images import decode_images, encode_images
from codelength.data.look import ImageFile, look
from codelength.data.opened import open_data
from codelength.data.pixels import Unsuitable
from codelength.data.scan import Entry
from codelength.errors import DataError

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
HEIGHT, WIDTH = 9, 14


def values(bits: int, signed: bool, samples: int, frames: int) -> np.ndarray:
    """(frames, h, w[, samples]) with runs in it."""
    shape = (frames, HEIGHT, WIDTH, *([samples] if samples > 1 else []))
    info = np.iinfo(f"{'i' if signed else 'u'}{bits // 8}")
    rng = np.random.default_rng(bits + samples)
    smooth = np.repeat(rng.integers(info.min, info.max + 1, (*shape[:2], WIDTH // 2, *shape[3:])), 2, axis=2)
    return np.where(rng.random(shape) < 0.3, rng.integers(info.min, info.max + 1, shape), smooth).astype(info.dtype)


def made(array: np.ndarray, syntax: UID, *, planar: int = 0, filled: bool = True, **elements: Any) -> bytes:
    """A file of these frames (n, h, w[, samples]), with a sequence, a private element and something behind."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.3"
    meta.TransferSyntaxUID = syntax
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(range(128)))
    data.PatientName, data.PatientID = "Nobody^None", "7"
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3.4"
    data.ReferencedImageSequence = [inner, Dataset()]
    data.add_new(0x00091001, "UN", b"private")
    samples = array.shape[3] if array.ndim == 4 else 1
    data.Rows, data.Columns, data.SamplesPerPixel = *array.shape[1:3], samples
    data.BitsAllocated = data.BitsStored = 8 * array.dtype.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsAllocated - 1, int(array.dtype.kind == "i")
    data.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples > 1:
        data.PlanarConfiguration = planar
    if len(array) > 1:
        data.NumberOfFrames = len(array)
    for name, value in elements.items():
        setattr(data, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    stored = array.astype(array.dtype.newbyteorder(order))
    if syntax == RLELossless:
        frames = [encoded(frame, data) for frame in array]
        data.PixelData = encapsulate(frames, has_bot=filled)
        data["PixelData"].is_undefined_length = True
    else:
        raw = (np.moveaxis(stored, 3, 1) if planar else stored).tobytes()
        data.PixelData = raw + bytes(len(raw) % 2)
    data["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"
    data.add_new(0xFFFCFFFC, "OB", bytes(10))
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def encoded(frame: np.ndarray, data: Dataset) -> bytes:
    class Runner:
        bits_allocated, samples_per_pixel, columns = data.BitsAllocated, data.SamplesPerPixel, data.Columns

        def get_option(self, name: str, default: Any = None) -> Any:
            return default

    return _encode_frame(frame.astype(frame.dtype.newbyteorder("<")).tobytes(), Runner())  # type: ignore[arg-type]


def files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    kinds = [(8, False), (8, True), (16, False), (16, True)]
    for (bits, signed), samples, frames in itertools.product(kinds, (1, 3), (1, 3)):
        array = values(bits, signed, samples, frames)
        name = f"{'i' if signed else 'u'}{bits}x{samples}x{frames}"
        for label, syntax in (("implicit", ImplicitVRLittleEndian), ("explicit", ExplicitVRLittleEndian)):
            yield f"{name}-{label}.dcm", made(array, syntax), array
        yield f"{name}-rle.dcm", made(array, RLELossless), array
        yield f"{name}-rle-without-table.dcm", made(array, RLELossless, filled=False), array
        if samples == 3:
            yield f"{name}-planes.dcm", made(array, ExplicitVRLittleEndian, planar=1), array
        if bits == 16:
            yield f"{name}-big.dcm", made(array, ExplicitVRBigEndian), array


FILES = list(files())


def stored(data: bytes) -> list[np.ndarray]:
    return list(pydicom.pixels.iter_pixels(io.BytesIO(data), raw=True))


def looked(path: Path) -> ImageFile:
    return look(Entry(path.name, path, path.stat().st_size, "image"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dicom")
    for name, data, _ in FILES:
        (root / name).write_bytes(data)
    (root / "IM0001").write_bytes(FILES[0][1])
    (root / "1.2.840.5").write_bytes(FILES[2][1])
    (root / "no.ima").write_bytes(b"no DICOM")
    return root


def test_every_kind_comes_back(folder: Path, tmp_path: Path) -> None:
    opened = open_data(folder)
    assert opened.promise.exact == opened.promise.files and not opened.kept
    write_archive(tmp_path / "a.clen", opened.archived, cl.load("made-digits"), block_items=20)
    cl.verify(tmp_path / "a.clen", folder)
    cl.decompress(tmp_path / "a.clen", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in folder.iterdir())
    for path in folder.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    with cl.open(tmp_path / "a.clen") as items:
        for name, _, array in FILES:
            for number, frame in enumerate(array):
                item = items[f"{name}/{number + 1}" if len(array) > 1 else name]
                middle = 1 << 8 * array.dtype.itemsize - 1 if array.dtype.kind == "i" else 0
                assert np.array_equal(item.astype(int) - middle, frame), name
        assert "IM0001" in items.names and "1.2.840.5" in items.names and "no.ima" in items.files


@pytest.mark.parametrize(
    "name, mode",
    {
        "CT_small.dcm": "I;16",
        "MR_small_bigendian.dcm": "I;16",
        "MR_small_implicit.dcm": "I;16",
        "MR_small_RLE.dcm": "I;16",
        "MR_small_padded.dcm": "I;16",
        "SC_rgb_small_odd.dcm": "RGB",
        "SC_rgb_rle_16bit.dcm": "RGB;16",
        "ExplVR_BigEnd.dcm": "RGB",
        "MR_truncated.dcm": "cut short",
        "SC_ybr_full_422_uncompressed.dcm": "YBR_FULL_422",
        "SC_rgb_small_odd_big_endian.dcm": "different pixels",
        "MR_small_jp2klossless.dcm": "1.2.840.10008.1.2.4.90",
        "image_dfl.dcm": "deflated",
        "liver_1frame.dcm": "of 1 bits",
        "rtdose.dcm": "of 32 bits",
        "rtplan.dcm": "no pixels",
        "ExplVR_BigEndNoMeta.dcm": "begin like a DICOM",
    }.items(),
)
def test_files_of_other_makers(name: str, mode: str) -> None:
    if not (SAMPLES / name).is_file():
        pytest.skip("this pydicom comes without the file")
    file, data = looked(SAMPLES / name), (SAMPLES / name).read_bytes()
    if " " in mode or "_" in mode or "." in mode or mode == "deflated":
        assert not file.mode and mode in file.reason
        return
    assert file.mode == mode, file.reason
    images = decode_images(data, name)
    assert not isinstance(images, str)
    back = encode_images(images, name)
    assert (back == data) == (not file.anew)
    for left, right in zip(stored(data), stored(back), strict=True):
        assert np.array_equal(left, right)
    left, right = pydicom.dcmread(io.BytesIO(data)), pydicom.dcmread(io.BytesIO(back))
    del left.PixelData, right.PixelData
    assert left == right and left.file_meta == right.file_meta


def test_a_file_that_is_kept_counts_what_it_states() -> None:
    data = made(values(8, False, 3, 3), ExplicitVRLittleEndian)
    other = data.replace(ExplicitVRLittleEndian.encode() + b"\0", JPEG2000Lossless.encode()[:20], 1)
    assert dicom.stated_shape(data) == (3, HEIGHT, WIDTH, 3) and len(other) == len(data)
    many = decode_images(made(values(8, False, 1, 2), ExplicitVRLittleEndian, NumberOfFrames=10**8), "a.dcm")
    assert isinstance(many, str) and "how many frames" in many
    few = decode_images(made(values(8, False, 1, 2), ExplicitVRLittleEndian, NumberOfFrames=3), "a.dcm")
    assert isinstance(few, str) and "cut short" in few
    assert decode_images(data, "a.png") != decode_images(data, "a.dcm")


def test_other_runs_give_the_same_pixels(tmp_path: Path) -> None:
    """A writer that makes no runs at all."""
    array = values(8, False, 1, 1)[0]
    rows = b"".join(bytes([WIDTH - 1]) + row.tobytes() for row in array)
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + rows + bytes(len(rows) % 2)
    data = made(array[None], RLELossless)
    at = data.index(b"\xe0\x7f\x10\x00") + 12
    end = data.rindex(b"\xfe\xff\xdd\xe0")
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in (b"", frame))
    path = tmp_path / "a.dcm"
    path.write_bytes(data[:at] + items + data[end:])
    file = looked(path)
    assert file.mode == "L" and "other runs" in file.anew
    images = decode_images(path.read_bytes(), "a.dcm")
    assert not isinstance(images, str) and np.array_equal(images[0].array, array)
    back = encode_images(images, "a.dcm")
    assert np.array_equal(stored(back)[0], array) and back[:at] == data[:at] and back.endswith(data[end:])
    assert "1 file: DICOM by RLE" in open_data(path).promise.sentences()[0]


def test_runs_are_those_of_another_writer() -> None:
    rng = np.random.default_rng(0)

    class Runner:
        bits_allocated, samples_per_pixel = 8, 1

        def get_option(self, name: str, default: Any = None) -> Any:
            return default

    for width in (1, 2, 127, 128, 129, 130, 257, 400):
        for density in (0.01, 0.3, 1.0):
            changes = rng.random((3, width)) < density
            rows = (np.cumsum(changes, axis=1) * 37 % 251).astype(np.uint8)
            out = np.empty(3 * (2 * width + 2), np.uint8)
            used = kernels.pack_runs(rows, out)
            runner = Runner()
            runner.columns = width  # type: ignore[attr-defined]
            expected = _encode_frame(rows.tobytes(), runner)[64:]  # type: ignore[arg-type]
            assert out[:used].tobytes() + bytes(used % 2) == expected
            back = np.empty(rows.size, np.uint8)
            assert kernels.unpack_runs(out[:used], back, width) and np.array_equal(back.reshape(rows.shape), rows)


def test_without_pydicom_rle_is_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(proof, "_pydicom", lambda: None)
    assert looked(folder / "u16x1x1-explicit.dcm").mode == "I;16"
    file = looked(folder / "u16x1x1-rle.dcm")
    assert not file.mode and "codelength[dicom]" in file.reason


def test_a_lie_about_one_pixel_is_noticed(folder: Path) -> None:
    data = (folder / "u8x3x1-rle.dcm").read_bytes()
    images = decode_images(data, "a.dcm")
    assert not isinstance(images, str)
    wrong = images[0].array.copy()
    wrong[3, 4, 1] ^= 1
    other = [type(images[0])(wrong, images[0].mode, images[0].metadata)]
    proof.prove(data, "DICOM", images, encode_images(images, "a.dcm"))
    for some, written in ((other, images), (images, other), (other, other)):
        with pytest.raises(Unsuitable):
            proof.prove(data, "DICOM", some, encode_images(written, "a.dcm"))


@pytest.mark.parametrize("name", ["u16x3x3-rle.dcm", "i16x1x3-explicit.dcm", "u8x3x1-implicit.dcm"])
def test_damaged_files_come_back_or_are_kept(
    name: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = (folder / name).read_bytes()
    rng, path = np.random.default_rng(3), tmp_path / "a.dcm"
    for number in range(60):
        data = bytearray(good)
        for at in rng.integers(128, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        if number % 5 == 0:
            del data[int(rng.integers(len(data))) :]
        path.write_bytes(data)
        file = looked(path)
        if not file.parts[0].mode:
            assert file.reason and "\n" not in file.reason
            continue
        images = decode_images(bytes(data), "a.dcm")
        assert not isinstance(images, str) and (file.anew or encode_images(images, "a.dcm") == data)
    assert capfd.readouterr() == ("", "")


def test_sequences_without_end_are_no_stack_overflow() -> None:
    head = FILES[0][1]
    start = head.index(b"\x08\x00\x40\x11") if b"\x08\x00\x40\x11" in head else 400
    sequence, item = b"\x08\x00\x40\x11\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    nested = head[:start] + sequence + (item + sequence) * 5000
    assert "too deep" in str(decode_images(nested, "a.dcm"))


def test_metadata_of_an_archive_is_not_trusted(folder: Path) -> None:
    images = decode_images((folder / "u8x1x3-rle.dcm").read_bytes(), "a.dcm")
    assert not isinstance(images, str)
    arrays, good = [image.array for image in images], images[0].metadata[5:]
    for bad in (b"D", good[:1] + b"\4" + good[2:], good[:2] + b"\xff\xff\xff\x7f" + good[6:], good[:20], good[:-30]):
        with pytest.raises(DataError):
            dicom.encode(arrays, bad)
    with pytest.raises(DataError, match="does not suit"):
        dicom.encode([np.zeros((2, 2), bool)], good)
