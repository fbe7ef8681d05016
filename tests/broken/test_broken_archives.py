"""Whatever is wrong with an archive has a name and one sentence, costs no memory, and never passes for data."""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fake_model import UniformModel, loader
from forge import Parts
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sources import RawImages, mixed_source

from codelength.archive.extract import extract
from codelength.archive.layout import MAGIC
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource
from codelength.archive.verify import verify
from codelength.archive.wire import uint
from codelength.archive.writer import write_archive
from codelength.errors import (
    CodelengthError,
    CorruptBlock,
    CorruptHeader,
    DataError,
    NewerVersion,
    NotAnArchive,
    TooLarge,
    Truncated,
    UnknownFeature,
    WrongModel,
)
from codelength.laws.space import Space

MODEL = UniformModel(Space((4, 5), 16), group=2)
DATA = np.random.default_rng(0).integers(0, 16, (11, 4, 5)).astype(np.uint8)
DATA[5, 2, 2] = 99


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "a"
    write_archive(path, ArraySource(DATA), MODEL, block_items=4, model_loader=loader)
    return path


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "f"
    model = UniformModel(Space((None, None), 16))
    write_archive(path, mixed_source(), model, block_items=4, model_loader=loader)
    return path


def decode(path, **options):
    with Archive.open(path, model_loader=loader, features={1, 7}, **options) as archive:
        return archive.read()


def verify_file(path):
    with Archive.open(path, model_loader=loader, features={1, 7}) as archive:
        verify(archive)


def refused(path, error, match="."):
    with pytest.raises(error, match=match) as info:
        verify_file(path)
    sentence = str(info.value)
    assert "\n" not in sentence and len(sentence) < 400


def test_every_truncation_has_a_name(good, tmp_path):
    data, path = good.read_bytes(), tmp_path / "a"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(path, Truncated)
    path.write_bytes(data + b"\0")
    refused(path, Truncated, "added")


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_every_flipped_bit_is_seen(good, tmp_path, bit):
    data, path = bytearray(good.read_bytes()), tmp_path / "a"
    for position in range(len(data)):
        data[position] ^= 1 << bit
        path.write_bytes(data)
        refused(path, CodelengthError)
        with contextlib.suppress(CodelengthError):
            assert np.array_equal(decode(path), DATA)  # the flip was in what reading does not need
        data[position] ^= 1 << bit


def test_every_flipped_byte_of_a_folder_is_seen(good_folder, tmp_path):
    data, path = bytearray(good_folder.read_bytes()), tmp_path / "a"
    step = max(1, len(data) // 600)
    for position in range(0, len(data), step):
        data[position] ^= 0xFF
        path.write_bytes(data)
        refused(path, CodelengthError)
        data[position] ^= 0xFF


def test_a_damaged_block_is_named_by_its_number(good, tmp_path):
    parts = Parts(good)
    for block in parts.directory.blocks:
        start = sum(b.length for b in parts.directory.blocks[: block.number])
        damaged = bytearray(Parts(good).blocks)
        damaged[start] ^= 1
        other = Parts(good)
        other.blocks = bytes(damaged)
        refused(other.write(tmp_path / "a"), CorruptBlock, f"block {block.number} ")


def test_other_files_are_no_archives(tmp_path):
    path = tmp_path / "a"
    for data in [b"\x89PNG\r\n\x1a\n" + bytes(500), b"hello", bytes(300), MAGIC[:3] + b"x" * 50]:
        path.write_bytes(data)
        refused(path, NotAnArchive, "does not begin")
    path.write_bytes(MAGIC.replace(b"\r\n", b"\n") + bytes(100))
    refused(path, NotAnArchive, "text mode")
    for missing in [tmp_path / "none", tmp_path]:
        refused(missing, DataError, "expected an archive")


def test_a_newer_version_and_unknown_features(good, tmp_path):
    parts = Parts(good)
    parts.version = 2
    refused(parts.write(tmp_path / "a"), NewerVersion, "version 2")
    parts.version = 0
    refused(parts.write(tmp_path / "a"), CorruptHeader)
    refused(Parts(good).lie_about_header(features=(1, 7, 99)).write(tmp_path / "a"), UnknownFeature, "99")
    refused(Parts(good).lie_about_header(features=(1,)).write(tmp_path / "a"), CorruptHeader, "features")
    number = next(b.number for b in Parts(good).directory.blocks if not b.sizes)
    refused(Parts(good).lie_about_block(number, codec=9).write(tmp_path / "a"), UnknownFeature, "codec 9")
    refused(Parts(good).lie_about_header(model_sha256="0" * 64).write(tmp_path / "a"), WrongModel)


HEADER_LIES = {
    "items": {"arrays": lambda h: (replace(h.arrays[0], shape=(10**15, 4, 5)),)},
    "no items": {"arrays": lambda h: (replace(h.arrays[0], shape=(0, 4, 5)),)},
    "other shape": {"arrays": lambda h: (replace(h.arrays[0], shape=(11, 5, 4)),)},
    "vast shape": {"arrays": lambda h: (replace(h.arrays[0], shape=(11, 2**40, 2**40)),)},
    "type": {"arrays": lambda h: (replace(h.arrays[0], dtype="|O"),)},
    "wide type": {"arrays": lambda h: (replace(h.arrays[0], dtype="<u99999999"),)},
    "no arrays": {"arrays": lambda h: ()},
    "kind": {"kind": lambda h: "tar"},
    "folder": {"kind": lambda h: "folder"},
    "npz": {"kind": lambda h: "npz"},
    "model size": {"model_bytes": lambda h: 2**62},
    "order of features": {"features": lambda h: (7, 1)},
}


@pytest.mark.parametrize("name", HEADER_LIES)
def test_lies_in_the_header(good, tmp_path, name):
    parts = Parts(good)
    parts.lie_about_header(**{key: change(parts.header) for key, change in HEADER_LIES[name].items()})
    refused(parts.write(tmp_path / "a"), CorruptHeader)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[" * 5000,
        b'{"a":1.5}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1,"a":2}',
        b'{"b":1, "a":2}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b"null",
    ],
)
def test_headers_that_are_not_canonical(good, tmp_path, text):
    parts = Parts(good)
    parts.header_bytes = text
    refused(parts.write(tmp_path / "a"), CorruptHeader)
    data = json.loads(parts.header.to_bytes())
    parts.header_bytes = json.dumps(data).encode()  # the same, with spaces
    refused(parts.write(tmp_path / "a"), CorruptHeader, "canonical")
    data["name"] = ""
    parts.header_bytes = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    refused(parts.write(tmp_path / "a"), CorruptHeader, "goes without saying")
    data["more"] = 1
    parts.header_bytes = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    refused(parts.write(tmp_path / "a"), CorruptHeader, "may have the keys")


BIG = 2**40
LIES = {
    "huge block": lambda p: p.lie_about_block(0, length=BIG),
    "many items in a block": lambda p: p.lie_about_block(0, count=BIG, sizes=(BIG,)),
    "groups": lambda p: p.lie_about_block(0, sizes=(5, -1)),
    "empty block": lambda p: p.lie_about_block(0, count=0, sizes=()),
    "stream of a block": lambda p: p.lie(blocks=(*p.directory.blocks, replace(p.directory.blocks[0], length=0))),
    "no blocks": lambda p: p.lie(blocks=()),
    "no streams": lambda p: p.lie(streams=(), blocks=(), runs=()),
    "items": lambda p: p.lie(items=BIG),
    "kept files": lambda p: p.lie(kept=1),
    "runs": lambda p: p.lie(runs=((0, BIG),)),
    "runs of nothing": lambda p: p.lie(runs=((0, 0), *p.directory.runs)),
    "run of another stream": lambda p: p.lie(runs=((7, 11),)),
    "stream type": lambda p: p.lie_about_stream(0, dtype="<f8"),
    "stream shape": lambda p: p.lie_about_stream(0, shape=(BIG, BIG)),
    "stream mode": lambda p: p.lie_about_stream(0, mode="RGB"),
    "event": lambda p: p.lie_about_stream(0, event=(4, 6)),
    "event that the model does not know": lambda p: p.lie_about_stream(0, event=(20,)),
    "axes": lambda p: p.lie_about_stream(0, axes=(0, 0)),
    "axes out of range": lambda p: p.lie_about_stream(0, axes=(0, 9)),
    "levels": lambda p: p.lie_about_stream(0, levels=(1, 2)),
    "levels beyond the type": lambda p: p.lie_about_stream(0, levels=tuple(range(300, 316))),
    "check": lambda p: p.lie_about_block(0, check=bytes(8)),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_in_the_directory(good, tmp_path, name):
    try:
        path = LIES[name](Parts(good)).write(tmp_path / "a")
    except ValueError:  # a number that cannot even be written
        return
    refused(path, (CorruptHeader, CorruptBlock))


def bounded(path, megabytes=40):
    """Decode within a bound of memory; returns the error, or None."""
    tracemalloc.start()
    try:
        decode(path)
    except CodelengthError as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < megabytes * 2**20
    return None


def huge_claims(parts, count):
    """An archive that is right in every sum, but claims ``count`` items in its first block."""
    shape = (count, 4, 5)
    parts.lie_about_header(arrays=(replace(parts.header.arrays[0], shape=shape),))
    block = replace(parts.directory.blocks[0], count=count, sizes=(count,), first=0)
    parts.blocks = parts.blocks[: block.length]
    return parts.lie(items=count, runs=((0, count),), blocks=(block,), streams=parts.directory.streams[:1])


def test_claims_of_much_data_allocate_nothing(good, tmp_path):
    for count in [10**9, 10**15]:
        error = bounded(huge_claims(Parts(good), count).write(tmp_path / "a"))
        assert isinstance(error, TooLarge) and "limit" in str(error)
    # Within the limit of output, but beyond what the header states for memory.
    error = bounded(huge_claims(Parts(good), 10**6).write(tmp_path / "a"), 80)
    assert isinstance(error, CorruptBlock) and "memory" in str(error)


def test_claims_of_much_memory_are_refused(good, tmp_path):
    error = bounded(Parts(good).lie_about_header(memory=2**50).write(tmp_path / "a"))
    assert isinstance(error, TooLarge) and "memory" in str(error)
    with pytest.raises(TooLarge):
        decode(good, max_memory=1000)


def test_more_output_than_allowed_is_refused(good, good_folder, tmp_path):
    with Archive.open(good, model_loader=loader) as archive:
        with pytest.raises(TooLarge, match="220 bytes"):
            archive.read(max_output=219)
        with pytest.raises(TooLarge, match="220 bytes"):
            extract(archive, tmp_path / "x.npy", max_output=219)
        assert archive.read(max_output=220).size == 220
    with Archive.open(good_folder, model_loader=loader) as archive, pytest.raises(TooLarge):
        extract(archive, tmp_path / "out", max_output=1000, images=RawImages())
    assert not list(tmp_path.iterdir())


def test_packed_parts_never_unpack_beyond_their_claim(good_folder, tmp_path):
    bomb = lzma.compress(bytes(2**26), check=lzma.CHECK_NONE)
    for codec, claim, match in [(1, 100, "exactly"), (1, 2**50, "at most"), (0, 2**20, "stated"), (5, 100, "codec 5")]:
        parts = Parts(good_folder)
        plain = parts.directory.to_bytes()
        names = parts.directory.names_part(parts.directory.names)
        lie = uint(codec) + uint(claim) + uint(len(bomb)) + bomb
        assert plain.count(names) == 1
        parts.directory_bytes = plain.replace(names, lie)
        error = bounded(parts.write(tmp_path / "a"))
        assert isinstance(error, (CorruptHeader, UnknownFeature)) and match in str(error)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_directory_with_right_checksums_is_refused_or_right(good, good_folder, tmp_path_factory, data):
    parts = Parts(data.draw(st.sampled_from([good, good_folder])))
    directory = bytearray(parts.directory.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(directory) - 1))
        new = data.draw(st.binary(max_size=12) | st.sampled_from([uint(2**62), uint(BIG), b"\0", b"\1", b"\x80"]))
        directory[position : position + data.draw(st.integers(0, 4))] = new
        directory = directory or bytearray(b"\0")
    parts.directory_bytes = bytes(directory)
    path = parts.write(tmp_path_factory.getbasetemp() / f"forged{os.getpid()}")
    bounded(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_header_with_right_checksums_is_refused_or_right(good, tmp_path_factory, data):
    parts = Parts(good)
    header = json.loads(parts.header.to_bytes())
    value = st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2**63) | st.text(max_size=5) | st.sampled_from([4, 5, 11, "|u1"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    )
    target = data.draw(st.sampled_from([header, header["model"], header["arrays"][0]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(value)
    parts.header_bytes = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    bounded(parts.write(tmp_path_factory.getbasetemp() / f"forged{os.getpid()}"))


def test_keep_going_loses_only_the_damaged_block(good, tmp_path):
    parts = Parts(good)
    damaged = bytearray(parts.blocks)
    damaged[parts.directory.blocks[1].offset - parts.directory.blocks[0].offset] ^= 1
    parts.blocks = bytes(damaged)
    path = parts.write(tmp_path / "a")
    with Archive.open(path, model_loader=loader) as archive:
        found = []
        back = archive.read(damaged=found)
        report = extract(archive, tmp_path / "out.npy", keep_going=True)
        with pytest.raises(CorruptBlock):
            extract(archive, tmp_path / "none.npy")
    [damage] = found
    lost = list(damage.entries)
    assert damage.block == 1 and lost and not back[lost].any()
    rest = [number for number in range(len(DATA)) if number not in lost]
    assert np.array_equal(back[rest], DATA[rest])
    assert np.array_equal(np.load(tmp_path / "out.npy"), back) and report.damaged == found
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out.npy"]


def test_keep_going_through_a_folder(good_folder, tmp_path):
    parts = Parts(good_folder)
    path = tmp_path / "a"
    for block in parts.directory.blocks:
        other = Parts(good_folder)
        damaged = bytearray(other.blocks)
        damaged[block.offset - other.directory.blocks[0].offset + block.length // 2] ^= 0x55
        other.blocks = bytes(damaged)
        other.write(path)
        with Archive.open(path, model_loader=loader) as archive:
            out = tmp_path / str(block.number)
            report = extract(archive, out, keep_going=True, images=RawImages())
            lost = {entry for damage in report.damaged for entry in damage.entries}
            assert lost and all(f"block {block.number} " in damage.reason for damage in report.damaged)
            present = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
            entries = range(archive.directory.entries)
            modes = {n: archive.names[n] for n in entries if n not in lost}
            assert present == {RawImages().written_name(modes[n], "L") if n not in (7, 8) and n < archive.items
                               else modes[n] for n in modes}  # fmt: skip


def keep_going(path, out, megabytes=80):
    """Extract what can be had, within a bound of memory: the report, or the error that leaves nothing to be had."""
    tracemalloc.start()
    try:
        with Archive.open(path, model_loader=loader) as archive:
            return extract(archive, out, keep_going=True, images=RawImages())
    except CodelengthError as error:
        assert not out.exists() or not list(out.iterdir())
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < megabytes * 2**20


@pytest.mark.parametrize("name", LIES)
def test_keep_going_past_lies_in_the_directory(good, tmp_path, name):
    """A lie about the whole is refused as always; one about a block costs that block."""
    try:
        path = LIES[name](Parts(good)).write(tmp_path / "a")
    except ValueError:
        return
    found = keep_going(path, tmp_path / "out.npy")
    if isinstance(found, CodelengthError):
        assert isinstance(found, (CorruptHeader, TooLarge)) and not (tmp_path / "out.npy").exists()
        return
    lost = {entry for damage in found.damaged for entry in damage.entries}
    assert lost
    rest = [number for number in range(len(DATA)) if number not in lost]
    assert np.array_equal(np.load(tmp_path / "out.npy")[rest], DATA[rest])


def test_keep_going_past_a_block_of_impossible_size(good, tmp_path):
    """Right in every sum, within the limit of output, and impossible: lost as a range that nobody writes out."""
    count = 10**6
    found = keep_going(huge_claims(Parts(good), count).write(tmp_path / "a"), tmp_path / "out.npy")
    assert [damage.ranges for damage in found.damaged] == [((0, count),)] and "memory" in found.damaged[0].reason
    assert not np.load(tmp_path / "out.npy", mmap_mode="r")[:: count // 7].any()
    found = keep_going(huge_claims(Parts(good), 10**15).write(tmp_path / "a"), tmp_path / "more.npy")
    assert isinstance(found, TooLarge) and not (tmp_path / "more.npy").exists()
