"""Archives that lie about programs, sizes, channels and teachers, under checksums that hold: refused by name, never
more memory than was stated, never other data than was written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import UniformModel, loader
from fake_program import FakeProgram, load_fake
from forge import Parts
from make_sources import File

from codelength.archive.layout import Coded, Constant
from codelength.archive.plan import ByProgram, Plan
from codelength.archive.reader import Archive
from codelength.archive.sources import FolderSource
from codelength.archive.verify import verify
from codelength.archive.writer import write_archive
from codelength.errors import (
    ArchiveError,
    CodelengthError,
    CorruptBlock,
    CorruptHeader,
    ProgramError,
    Truncated,
    UnknownFeature,
)
from codelength.laws.space import Space


def open_(path: Path, **options: Any) -> Archive:
    return Archive.open(path, model_loader=loader, program_loader=load_fake, **options)


def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(9, 8), (7, 12), (10, 10)]
    pixels = [rng.integers(0, 16, sizes[k % 3]).astype(np.uint8) for k in range(20)]
    for image in pixels[12:16]:
        image[:] = 0  # a block that xz makes smaller
    return pixels


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a"
    source = FolderSource([File(f"{k}.png", "L", image) for k, image in enumerate(images())])
    way = ByProgram(FakeProgram(), levels=tuple(range(16)), channels=(Coded(0),), block_items=4, taught=True)
    write_archive(path, source, plans=[Plan(tuple(source.classes()), (way,))], program_loader=load_fake)
    return path


def sizes_with(parts: Parts, **changes: int) -> dict[int, np.ndarray]:
    sizes = parts.directory.item_sizes[0].copy()
    sizes[2] = changes["height"], changes["width"]
    return {0: sizes}


LIES: dict[str, Any] = {
    "a stream of no size": lambda p: p.lie_about_stream(shape=(0, 0, 0), event=(0, 0)),
    "one free size": lambda p: p.lie_about_stream(shape=(0, 8), event=(0, 8)),
    "free sizes without a mode": lambda p: p.lie_about_stream(mode=""),
    "a mode of other channels": lambda p: p.lie_about_stream(mode="RGB"),
    "a type of a mode": lambda p: p.lie_about_stream(dtype="<u2"),
    "an unknown type": lambda p: p.lie_about_stream(dtype="|V1"),
    "free sizes that are transposed": lambda p: p.lie_about_stream(axes=(1, 0)),
    "axes that are none": lambda p: p.lie_about_stream(axes=(0, 2)),
    "an event of one axis": lambda p: p.lie_about_stream(event=(0,)),
    "an event of four axes": lambda p: p.lie_about_stream(event=(0, 0, 1, 1)),
    "an event of a size": lambda p: p.lie_about_stream(event=(9, 8)),
    "an event without channels": lambda p: p.lie_about_stream(event=(0, 0, 0)),
    "an event of more channels": lambda p: p.lie_about_stream(event=(0, 0, 2)),
    "channels that are not coded": lambda p: p.lie_about_stream(channels=(Coded(1),)),
    "channels that are not stored": lambda p: p.lie_about_stream(channels=(Constant(3),)),
    "too many channels": lambda p: p.lie_about_stream(channels=(Coded(0), Constant(255))),
    "levels that do not ascend": lambda p: p.lie_about_stream(levels=(0, 3, 3)),
    "levels beyond 63 bits": lambda p: p.lie_about_stream(levels=(2**62 - 1, 2**62 + 2**62)),
    "too many levels": lambda p: p.lie_about_stream(levels=tuple(range(2**16 + 1))),
    "a program that is not there": lambda p: p.lie_about_block(0, program=2),
    "a teacher of nobody": lambda p: p.lie_about_block(0, taught=True),
    "an unknown codec": lambda p: p.lie_about_block(3, codec=4),
    "words that are none": lambda p: p.lie_about_block(0, length=p.directory.blocks[0].length + 1),
    "an item of no height": lambda p: p.lie(item_sizes=sizes_with(p, height=0, width=8)),
    "an item of more elements than can be": lambda p: p.lie(item_sizes=sizes_with(p, height=2**25, width=2**25)),
    "sizes of fewer items": lambda p: p.lie(item_sizes={0: p.directory.item_sizes[0][1:]}),
    "no feature 64": lambda p: p.lie_about_header(features=()),
    "an unknown feature": lambda p: p.lie_about_header(features=(63, 64)),
    "no programs": lambda p: p.lie(programs=()),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_streams_and_blocks_are_refused_when_the_archive_is_opened(sound, tmp_path, lie):
    path = LIES[lie](Parts(sound)).write(tmp_path / "a")
    with pytest.raises((CorruptHeader, UnknownFeature)), open_(path, features=range(60)):
        pass


LATE: dict[str, Any] = {
    "a large item": (lambda p: p.lie(item_sizes=sizes_with(p, height=10**6, width=10**6)), "more than the header"),
    "a larger size": (lambda p: p.lie(item_sizes=sizes_with(p, height=11, width=10)), "exhausted|other data|stated"),
    "a level more": (lambda p: p.lie_about_stream(levels=tuple(range(1, 17))), "other data"),
    "a level less": (lambda p: p.lie_about_stream(levels=tuple(range(15))), "stands for no value"),
    "a level beyond the type": (lambda p: p.lie_about_stream(levels=(*range(15), 300)), "beyond the type"),
    "a block that learned alone": (lambda p: p.lie_about_block(1, taught=False), "other data"),
    "a codec in place of a program": (lambda p: p.lie_about_block(1, program=0, taught=False), "bytes where"),
    "a program in place of a codec": (lambda p: p.lie_about_block(3, program=1), "exhausted|stack|words"),
    "a sheet of several sizes": (lambda p: p.lie_about_block(3, codec=2), "several sizes"),
    "images of WebP that are none": (lambda p: p.lie_about_block(3, codec=3), "WebP|cannot be read"),
    "another program": (lambda p: p.lie(programs=(FakeProgram(256).to_bytes(),)), "exhausted|more than|other data"),
    "a program of other channels": (lambda p: p.lie(programs=(FakeProgram(16, 3).to_bytes(),)), "do not fit"),
    "a program that does not learn": (
        lambda p: p.lie(programs=(FakeProgram(states=0).to_bytes(),)),
        "none that learns",
    ),
    "no program at all": (lambda p: p.lie(programs=(b"?",)), "malformed"),
    "other checks": (lambda p: p.lie_about_block(0, check=bytes(8)), "other data"),
}


@pytest.mark.parametrize("lie", LATE)
def test_lies_that_only_decoding_tells_are_refused_by_the_block(sound, tmp_path, lie):
    change, reason = LATE[lie]
    parts = change(Parts(sound))
    if lie == "a program in place of a codec":
        length = parts.directory.blocks[3].length
        parts.lie_about_block(3, length=length - length % 4).lie_about_block(4, length=parts.directory.blocks[4].length)
        cut = parts.directory.blocks[3].offset + length - length % 4 - parts.directory.blocks[0].offset
        parts.blocks = parts.blocks[:cut] + parts.blocks[cut + length % 4 :]
    path = parts.write(tmp_path / "a")
    with open_(path) as archive:
        damaged: list = []
        back = [item.tobytes() for items in archive.iter_blocks(damaged=damaged) for item in items.values]
        assert damaged
        with pytest.raises(CorruptBlock, match=reason):
            verify(archive)
    whole = {image.tobytes() for image in images()}
    assert all(item in whole for item in back)


def test_a_program_with_an_unknown_feature_is_told_by_name(sound):
    def newer(data: bytes) -> Any:
        raise UnknownFeature("this program needs feature 99, which this version does not know")

    with Archive.open(sound, program_loader=newer) as archive, pytest.raises(UnknownFeature, match="99"):
        archive.read()


def test_memory_beyond_the_readers_limit_is_asked_for_first(sound):
    calls = []

    class Greedy(FakeProgram):
        def learner_bytes(self, shape):
            return 2**40

        def learner(self):
            calls.append(1)
            return super().learner()

    with (
        Archive.open(sound, program_loader=lambda data: Greedy()) as archive,
        pytest.raises(CodelengthError, match="raise the limit"),
    ):
        archive.read()
    assert not calls


def test_every_byte_of_the_directory_may_be_any(sound, tmp_path):
    """Under checksums that hold: what is read is what was written, or nothing."""
    whole = [image.tobytes() for image in images()]
    original = Parts(sound).directory.to_bytes()
    refused = 0
    for place in range(len(original) - 32):  # the digest of the data plays no role
        for flip in (1, 0x40, 0xFF):
            parts = Parts(sound)
            data = bytearray(original)
            data[place] ^= flip
            parts.directory_bytes = bytes(data)
            path = parts.write(tmp_path / "a")
            try:
                with open_(path) as archive:
                    back = [(k, item.tobytes()) for b in archive.iter_blocks() for k, item in zip(b.entries, b.values)]
                    # Names and figures are under no other check, and the order only under that of the directory.
                    assert sorted(item for _, item in back) == sorted(whole)
            except (ArchiveError, ProgramError):
                refused += 1
    assert refused > len(original)


def test_an_archive_that_is_cut_anywhere_is_refused(sound, tmp_path):
    data = sound.read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "a").write_bytes(data[:length])
        with pytest.raises((Truncated, CorruptHeader)), open_(tmp_path / "a"):
            pass


def test_an_archive_with_a_model_and_programs_states_the_features_of_both(sound, tmp_path):
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 16, (4, 5) if k % 2 else (6, 6)).astype(np.uint8) for k in range(600)]
    source = FolderSource([File(f"{k}.png", "L", image) for k, image in enumerate(pixels)])
    write_archive(
        tmp_path / "a", source, UniformModel(Space((4, 5), 16)), fallback=lambda classes: [ByProgram(FakeProgram())],
        model_loader=loader, program_loader=load_fake,
    )  # fmt: skip
    parts = Parts(tmp_path / "a")
    assert parts.header.features == (1, 7, 64)
    with pytest.raises(UnknownFeature, match="feature 1, 7"), open_(tmp_path / "a", features=()):
        pass
    for features in [(1, 64), (1, 7, 9, 64)]:
        path = parts.lie_about_header(features=features).write(tmp_path / "b")
        with open_(path) as archive, pytest.raises(CorruptHeader, match="other features"):
            archive.read()
    assert replace(parts.header, features=(1, 7, 64)).model_features == (1, 7)
