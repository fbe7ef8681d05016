"""Writing that was ended goes on where it was, with the same bytes in the end, and never takes left-overs for data."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import UniformModel, loader
from fake_program import FakeLearner, FakeProgram, load_fake
from make_sources import File

from codelength.archive.layout import Constant
from codelength.archive.plan import ByModel, ByProgram, Plan
from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.archive.writer import write_archive
from codelength.errors import ArchiveError, UsageError
from codelength.files import journal_path
from codelength.laws.space import Space


def folder(count: int = 24, seed: int = 0) -> FolderSource:
    rng = np.random.default_rng(seed)
    sizes = [(9, 8), (7, 12), (10, 10)]
    files = [File(f"{k}.png", "L", rng.integers(0, 16, sizes[k % 3]).astype(np.uint8)) for k in range(count)]
    files[5].pixels[0, 0] = 99  # beyond the program
    return FolderSource([*files, File("notes.txt", data=b"words " * 9, is_image=False)])


def write(path: Path, source: Source, *, stop: int | None = None, model: UniformModel | None = None, **options: Any):
    """stop: after so many blocks have been written, the user interrupts."""
    way: Any = ByModel(block_items=4) if model else options.pop("way", None)
    way = way or ByProgram(FakeProgram(), block_items=4, taught=options.pop("taught", True))
    written, notes = [], []

    def on_block(block):
        written.append(block)
        if len(written) == stop:
            raise KeyboardInterrupt

    write_archive(
        path, source, model, plans=[Plan(tuple(source.classes()), (way,))], on_block=on_block, note=notes.append,
        model_loader=loader, program_loader=load_fake, **{"resume": True, **options},
    )  # fmt: skip
    return notes


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call has encoded."""
    calls: list[int] = []
    original = FakeLearner.encode

    def counted(self, images, *more):
        calls.append(len(images))
        return original(self, images, *more)

    monkeypatch.setattr(FakeLearner, "encode", counted)
    return calls


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("taught", [False, True])
def test_an_interrupted_run_goes_on(tmp_path, encoded, jobs, taught):
    write(tmp_path / "whole", folder(), taught=taught, resume=False)
    blocks = len(encoded)
    assert blocks == 6
    for stop in range(1, blocks + 1):
        path = tmp_path / "a"
        with pytest.raises(KeyboardInterrupt):
            write(path, folder(), taught=taught, stop=stop, jobs=jobs)
        assert not path.exists() and journal_path(path).exists()
        encoded.clear()
        (note,) = write(path, folder(), taught=taught, jobs=jobs)
        # A teacher that was kept is taught once more, as far as another block needs it.
        assert len(encoded) <= blocks - stop + taught
        assert "were taken from an earlier run" in note and "changed" not in note
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()
        path.unlink()
        assert not list(tmp_path.glob(".*"))


def test_blocks_of_a_trained_model_are_kept_too(tmp_path, monkeypatch):
    model = UniformModel(Space((4, 5), 16), group=3, refused=15)
    source = ArraySource(np.random.default_rng(0).integers(0, 16, (30, 4, 5)).astype(np.uint8))
    write(tmp_path / "whole", source, model=model, resume=False)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", source, model=model, stop=3)
    calls = []
    original = UniformModel.decode_block
    monkeypatch.setattr(UniformModel, "decode_block", lambda *a: calls.append(1) or original(*a))
    assert write(tmp_path / "a", source, model=model)
    assert len(calls) < 8 and (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()


def test_other_options_and_other_data_begin_anew(tmp_path, encoded):
    path = tmp_path / "a"
    others: list[tuple[Source, dict[str, Any]]] = [
        (folder(25), {}),
        (folder(), {"taught": False}),
        (folder(), {"block_bytes": 1000}),
        (folder(), {"verify": False}),
        (folder(), {"way": ByProgram(FakeProgram(salt="x"), block_items=4, taught=True)}),
        (folder(), {"way": ByProgram(FakeProgram(), levels=tuple(range(16)), block_items=4, taught=True)}),
        (folder(), {"way": ByProgram(FakeProgram(), channels=(Constant(1),), block_items=4)}),
    ]
    for source, options in others:
        write(tmp_path / "whole", source, **{**options, "resume": False})
        with pytest.raises(KeyboardInterrupt):
            write(path, folder(), stop=4)
        (note,) = write(path, source, **options)
        assert "other data or options" in note
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(path, folder(), stop=4)
    changed = folder()
    changed.entries[6].pixels[0, 0] ^= 1  # in the second block
    write(tmp_path / "whole", changed, resume=False)
    encoded.clear()
    (note,) = write(path, changed)
    assert "since the data have changed" in note and path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(encoded) == 4  # the teacher, the block that changed, and two that were not reached


def test_a_journal_that_was_cut_or_damaged_anywhere_is_never_taken_for_data(tmp_path):
    path = tmp_path / "a"
    write(tmp_path / "whole", folder(), resume=False)
    with pytest.raises(KeyboardInterrupt):
        write(path, folder(), stop=3)
    journal = journal_path(path).read_bytes()
    rng = np.random.default_rng(0)
    for length in {0, 3, *range(8, len(journal), 97)}:
        journal_path(path).write_bytes(journal[:length])
        write(path, folder())
        assert path.read_bytes() == (tmp_path / "whole").read_bytes() and not journal_path(path).exists()
    for place in rng.integers(0, len(journal), 20).tolist():
        journal_path(path).write_bytes(journal[:place] + bytes([journal[place] ^ 4]) + journal[place + 1 :])
        write(path, folder())
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    journal_path(path).write_bytes(b"something else" * 99)
    assert "begins anew" in write(path, folder())[0]


def test_without_resuming_left_overs_are_removed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", folder(), stop=3)
    assert not write(tmp_path / "a", folder(), resume=False)
    assert os.listdir(tmp_path) == ["a"]
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "b", folder(), stop=3, resume=False)
    assert os.listdir(tmp_path) == ["a"]


def test_two_writers_of_one_name_do_not_share_a_journal(tmp_path):
    def second(block):
        with pytest.raises(UsageError, match="another process"):
            write(tmp_path / "a", folder())

    source = folder()
    write_archive(
        tmp_path / "a", source, plans=[Plan(tuple(source.classes()))], resume=True, on_block=second,
        program_loader=load_fake,
    )  # fmt: skip
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    from codelength.archive import journal

    original, records = journal.Journal._add, []

    def full(self, *arguments):
        if len(records) == 3:
            raise OSError(28, "No space left on device")
        records.append(1)
        original(self, *arguments)

    monkeypatch.setattr(journal.Journal, "_add", full)
    with pytest.raises(ArchiveError, match=r"what is finished is kept.*no space left"):
        write(tmp_path / "a", folder())
    monkeypatch.setattr(journal.Journal, "_add", original)
    (note,) = write(tmp_path / "a", folder())
    assert note.startswith("3 blocks")


def in_a_process_of_its_own(path: Path, stop: int) -> int:
    """Write ``path``, killed at the call number ``stop`` within the package; how many calls there were, or -1."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call" and "codelength" in frame.f_code.co_filename
            if calls == stop:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        write(path, folder())
        sys.setprofile(None)
        os.write(theirs, str(calls).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return int(result or b"-1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_process_that_is_killed_at_any_time_leaves_what_the_next_one_needs(tmp_path, encoded):
    path = tmp_path / "a"
    calls = in_a_process_of_its_own(path, 2**40)
    whole = path.read_bytes()
    path.unlink()
    for stop in np.linspace(1, calls - 1, 25).astype(int).tolist():
        assert in_a_process_of_its_own(path, stop) == -1
        if path.exists():
            assert path.read_bytes() == whole
            path.unlink()
        # What is left are the journal and the archive as far as it went, and the next run removes both.
        assert all(name.startswith(".codelength-") for name in os.listdir(tmp_path))
        encoded.clear()
        notes = write(path, folder())
        assert path.read_bytes() == whole and os.listdir(tmp_path) == ["a"]
        taken = int(notes[0].split()[0]) if notes else 0
        assert len(encoded) == 6 if not taken else len(encoded) <= 6 - taken + 1  # who teaches is taught once more
        path.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_one_run_after_another_is_killed_and_comes_to_an_end(tmp_path):
    """Each gets a little further than the one before it."""
    write(tmp_path / "whole", folder(), resume=False)
    calls = in_a_process_of_its_own(tmp_path / "a", 2**40)
    (tmp_path / "a").unlink()
    for run in range(60):
        if in_a_process_of_its_own(tmp_path / "a", calls // 2 + 100 * run) >= 0:
            break
    assert (tmp_path / "a").read_bytes() == (tmp_path / "whole").read_bytes()
