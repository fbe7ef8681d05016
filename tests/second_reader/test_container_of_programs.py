"""Streams of type 4, written by the package and read by the second reader and by the program of the format document.

The programs are stand-ins: what is told apart here is the container.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reader_archive

sys.path.insert(0, str(Path(__file__).parent.parent / "archive"))

from fake_program import FakeProgram, load_fake
from make_sources import File
from test_container_chapter import part

from codelength.archive.layout import Coded, Constant
from codelength.archive.plan import ByCodecs, ByProgram, Plan
from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.archive.writer import write_archive
from codelength.laws.presets import preset
from second_reader import open_archive


class SecondProgram:
    """The stand-in as the second reader asks for programs."""

    def __init__(self, data: bytes) -> None:
        self.learner_of = load_fake(data)

    def learner(self) -> Any:
        learner = self.learner_of.learner()

        class Learner:
            def decode(self, data: bytes, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
                return learner.decode(np.frombuffer(data, "<u4"), shapes)

        return Learner()


def noise(*size: int, seed: int = 0, symbols: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, symbols, size).astype(np.uint8)


def mixed() -> FolderSource:
    sizes = [(9, 8), (7, 12), (10, 10)]
    pixels = [noise(*sizes[k % 3], seed=k) for k in range(23)]
    for image in pixels[10:15]:  # a block
        image[:] = 0
    files = [File(f"{k}.png", "L", image, metadata=b"P" * (k % 3)) for k, image in enumerate(pixels)]
    return FolderSource([*files, File("notes.txt", data=b"words " * 9, is_image=False)])


def opaque() -> FolderSource:
    grey = noise(18, 8, 8)
    return FolderSource(
        [File(f"{k}.png", "RGBA", np.stack([g, g, g, np.full_like(g, 255)], axis=2)) for k, g in enumerate(grey)]
    )


def drawn() -> FolderSource:
    y, x = np.mgrid[:150, :160]
    image = np.stack([x * 3 % 251, y, x * y // 7 % 256], axis=2).astype(np.uint8)
    return FolderSource([File(f"{k}.png", "RGB", image[: 90 + k, : 100 + k].copy()) for k in range(3)])


GREY = ByProgram(FakeProgram(), block_items=5, taught=True)
SOURCES: dict[str, tuple[Source, Any]] = {
    "mixed": (mixed(), GREY),
    "opaque": (
        opaque(),
        ByProgram(FakeProgram(), channels=(Coded(0), Coded(0), Coded(0), Constant(255)), block_items=6),
    ),
    "drawn": (drawn(), ByCodecs()),
    "gaps": (
        ArraySource(np.array([-5, 0, 300, 301], ">i2")[noise(30, 3, 6, 5, symbols=4)]),
        ByProgram(FakeProgram(4, 3), levels=(-5, 0, 300, 301), block_items=8),
    ),
    "rows": (ArraySource(noise(20, 30)), ByProgram(FakeProgram(), event=(6, 5))),
}


@pytest.mark.parametrize("name", SOURCES)
def test_both_readers_of_the_container_agree_with_the_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_archive, "Model", SecondProgram)
    source, way = SOURCES[name]
    plans = [Plan(tuple(source.classes()), (way,))]
    write_archive(tmp_path / "a", source, plans=plans, program_loader=load_fake)
    second = open_archive(tmp_path / "a")
    assert 64 in second.header["features"]
    second.verify()
    scope: dict[str, Any] = {}
    exec(part("reader"), scope)
    _, entries = scope["contents"]((tmp_path / "a").read_bytes())
    assert len(entries) == len(second.order)
    (item_class,) = source.classes() if isinstance(source, ArraySource) else [None]
    for number, (_, what, found) in enumerate(entries):
        entry = second.entry(number)
        if isinstance(source, FolderSource):
            expected = source.entries[number].pixels
        else:
            expected = source.read(item_class, number, number + 1)[0]  # type: ignore[arg-type]
        if expected is None:
            assert entry.data == b"words " * 9 == found and what == "file"
            continue
        assert entry.values is not None and entry.values.tobytes() == expected.tobytes()
        assert entry.values.dtype.str == expected.dtype.str and entry.values.shape == expected.shape
        assert found in (None, expected.tobytes())
    kept = sum(found is not None for _, what, found in entries if what != "file")
    assert kept == (5 if name == "mixed" else 0)


def test_the_second_reader_refuses_what_the_document_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_archive, "Model", SecondProgram)
    source, way = SOURCES["mixed"]
    write_archive(tmp_path / "a", source, plans=[Plan(tuple(source.classes()), (way,))], program_loader=load_fake)
    second = open_archive(tmp_path / "a")
    stream = second.streams[0]
    for wrong in [
        dict(event=(0,)),
        dict(event=(0, 0, 2)),
        dict(axes=(1, 0)),
        dict(shape=(0, 5)),
        dict(mode=""),
        dict(levels=[3, 3]),
        dict(channels=[(1, 0)]),
        dict(channels=[(-1, 5)]),
        dict(event=(3, 3)),
    ]:
        for name, value in wrong.items():
            true = getattr(stream, name)
            setattr(stream, name, value)
            with pytest.raises(reader_archive.Refused):
                stream.check()
            setattr(stream, name, true)
    stream.check()


def test_the_second_reader_decodes_what_the_adaptive_coder_has_written(tmp_path: Path) -> None:
    steps = np.random.default_rng(3).integers(-2, 3, (96, 3, 4)).cumsum(0)
    images = (steps % 8 * 3 + 5).astype(np.int16)
    levels = tuple(range(5, 29, 3))
    ways = (ByProgram(preset("fast", 8, 1, "drawn"), levels=levels, block_items=8, taught=True),)
    source = ArraySource(images)
    write_archive(tmp_path / "a", source, plans=[Plan(tuple(source.classes()), ways)])
    archive = open_archive(tmp_path / "a")
    blocks = archive.streams[0].blocks
    assert [block.taught for block in blocks if block.program] == [0, *[1] * 11]
    assert all(block.program for block in blocks)
    (found,) = dict(archive.arrays().items()).values()
    assert np.array_equal(found, images) and found.dtype == images.dtype
