"""Archives coded by the real programs that learn: the same bytes for any number of threads, and every item back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_sources import File

from codelength.archive.append import append_archive
from codelength.archive.layout import Coded, Constant
from codelength.archive.plan import ByProgram, Plan
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource
from codelength.archive.verify import verify
from codelength.archive.writer import write_archive
from codelength.laws.presets import preset


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    """A grey image of a wave with noise, uint8."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 3, (height, width))
    return (120 + 60 * np.sin((x + seed) / 5) + 40 * np.cos(y / 7) + noise).clip(0, 255).astype(np.uint8)


def folder(start: int = 0, stop: int = 14) -> FolderSource:
    return FolderSource([File(f"{k:02}.png", "L", smooth(18 + k % 3, 21 + k % 4, k)) for k in range(start, stop)])


def write(path: Path, source, way: ByProgram, **options):
    return write_archive(path, source, plans=[Plan(tuple(source.classes()), (way,))], **options)


@pytest.mark.parametrize("taught", [False, True])
def test_any_number_of_threads_gives_the_same_bytes(tmp_path, taught):
    way = ByProgram(preset("fast", 256), block_items=4, taught=taught)
    source = folder()
    figures = [write(tmp_path / str(jobs), source, way, jobs=jobs) for jobs in (1, 2, 4)]
    assert len({(tmp_path / str(jobs)).read_bytes() for jobs in (1, 2, 4)}) == 1
    assert figures[0].fallback_items == 0
    for jobs in (1, 2, 4):
        with Archive.open(tmp_path / str(jobs), jobs=jobs) as archive:
            verify(archive, source)
            assert np.array_equal(archive.read((13, 14))[0], source.entries[13].pixels)
            assert np.array_equal(archive.read(names=["05.png"])[0], source.entries[5].pixels)


def test_a_teacher_knows_the_same_whether_it_codes_or_reads(tmp_path):
    """What is added goes on with what the first block has taught: encoded anew here, decoded by readers."""
    way = ByProgram(preset("fast", 256), block_items=5, taught=True)
    write(tmp_path / "a", folder(0, 10), way)
    append_archive(tmp_path / "a", folder(10, 14))
    with Archive.open(tmp_path / "a") as archive:
        verify(archive, folder())
        assert [block.taught for block in archive.directory.blocks] == [False, True, True]
        assert len(archive.directory.programs) == 1 and len(archive.directory.streams) == 1


def test_sixteen_bits_with_gaps_and_grey_in_colour(tmp_path):
    grey = np.stack([smooth(24, 24, k) for k in range(24)])
    steps = grey.astype(np.uint16) * 257
    levels = tuple(int(value) for value in np.unique(steps))
    assert len(levels) > 100
    write(tmp_path / "a", ArraySource(steps), ByProgram(preset("fast", len(levels)), levels=levels))
    with Archive.open(tmp_path / "a") as archive:
        assert np.array_equal(archive.read(), steps) and archive.inspect().fallback_items == 0
    rgba = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    way = ByProgram(preset("fast", 256), channels=(Coded(0), Coded(0), Coded(0), Constant(255)))
    write(tmp_path / "b", ArraySource(rgba), way)
    with Archive.open(tmp_path / "b") as archive:
        assert np.array_equal(archive.read(), rgba) and archive.inspect().fallback_items == 0


def test_a_trained_program_is_none_that_learns(tmp_path):
    """A model file of another law among the programs is refused by the block that asks for it."""
    from codelength.archive.learned import Programs
    from codelength.archive.model import load_program
    from codelength.errors import ProgramError
    from codelength.resolve import frozen_model

    way = ByProgram(preset("fast", 256))
    write(tmp_path / "a", folder(), way)
    with Archive.open(tmp_path / "a") as archive:
        programs = Programs(archive.directory, load_program, lambda block: b"")
        object.__setattr__(archive.directory, "programs", (frozen_model("made-digits").to_bytes(),))
        with pytest.raises(ProgramError, match="none that learns"):
            programs.load(1)
