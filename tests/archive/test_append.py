"""Items are added to archives: all is there, in order, and whatever happens the old archive or the new one is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_model import UniformModel, loader
from fake_program import FakeLearner, FakeProgram, load_fake
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sources import File, RawImages

from codelength.archive.append import append_archive
from codelength.archive.extract import extract
from codelength.archive.layout import ITEMS, LEARNED, METADATA, MODEL
from codelength.archive.plan import ByProgram, Plan
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.archive.verify import verify
from codelength.archive.writer import write_archive
from codelength.errors import ArchiveError, CodelengthError, UsageError
from codelength.laws.space import Space

SIZES = [(9, 8), (7, 12), (10, 10)]
LOADERS: dict[str, Any] = dict(model_loader=loader, program_loader=load_fake)
WAY = ByProgram(FakeProgram(), block_items=4, taught=True)


def images(start: int, stop: int, **options: Any) -> list[File]:
    files = []
    for k in range(start, stop):
        pixels = np.random.default_rng(k).integers(0, 16, SIZES[k * k % 3]).astype(np.uint8)
        files.append(File(f"{k:03}.png", "L", pixels, **options))
    return files


def others(*names: str) -> list[File]:
    return [File(name, data=name.encode() * 30, is_image=False) for name in names]


def write(path: Path, source: Source, *ways: Any, **options: Any) -> None:
    plans = [Plan((c,), ways) for c in source.classes()] if source.kind != "folder" else by_mode(source, ways)
    write_archive(path, source, plans=plans, **LOADERS, **options)


def by_mode(source: Source, ways: Sequence[Any]) -> list[Plan]:
    modes = dict.fromkeys(c.mode for c in source.classes())
    return [Plan(tuple(c for c in source.classes() if c.mode == mode), tuple(ways)) for mode in modes]


def append(path: Path, source: Source, **options: Any) -> Any:
    return append_archive(path, source, **{**LOADERS, **options})


def whole(archive: Archive) -> list[tuple[str, Any, bytes]]:
    """Name, pixels or bytes, and metadata of all entries."""
    pixels = {k: v for items in archive.iter_blocks() for k, v in zip(items.entries.tolist(), items.values)}
    found: list[tuple[str, Any, bytes]] = []
    for number, name in enumerate(archive.names):
        content = (pixels[number].shape, pixels[number].tobytes()) if number in pixels else b""
        if number not in pixels:
            content = b"".join(archive.read_file(number))
        found.append((name, content, archive.metadata(number) if number < archive.items else b""))
    return found


def expected(*files: File) -> list[tuple[str, Any, bytes]]:
    order = [file for file in files if file.is_image] + [file for file in files if not file.is_image]
    return [(f.name, f.data if f.pixels is None else (f.pixels.shape, f.pixels.tobytes()), f.metadata) for f in order]


def check(path: Path, *files: File) -> None:
    with Archive.open(path, **LOADERS) as archive:
        assert whole(archive) == expected(*files)
        verify(archive)
        verify(archive, FolderSource(files))


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_folder_grows(tmp_path, jobs):
    path = tmp_path / "a"
    first = [*images(0, 10), File("x.jpg", data=b"jpeg" * 9), *others("notes.txt")]
    second = [*images(10, 17, metadata=b"Pnew"), File("y.jpg", data=b"more" * 9), *others("more.txt", "again.txt")]
    third = images(17, 18)
    write(path, FolderSource(first), WAY)
    figures = append(path, FolderSource(second), jobs=jobs)
    with Archive.open(path, **LOADERS) as archive:
        directory = archive.directory
        # The stream and its program go on, taught by the block that has taught the others.
        types = [stream.type for stream in directory.streams]
        assert types.count(LEARNED) == 1 and len(directory.programs) == 1 and METADATA in types
        coded = [block for block in directory.blocks if block.program]
        assert [block.taught for block in coded] == [False, True, True, True, True]
        assert [block.count for block in coded] == [4, 4, 2, 4, 3]
        assert archive.inspect() == figures and figures.items == 19
    images_of_all = [*images(0, 10), first[10], *second[:8], *others("notes.txt"), *second[8:]]
    check(path, *images_of_all)
    append(path, FolderSource(third), jobs=jobs)
    check(path, *images_of_all[:19], *third, *images_of_all[19:])
    with Archive.open(path, **LOADERS) as archive:
        report = extract(archive, tmp_path / "out", images=RawImages())
        assert report.items == 20 and report.files == 3
    assert sorted(os.listdir(tmp_path)) == ["a", "out"]


def test_old_blocks_are_copied_and_nothing_of_them_is_decoded_but_the_teacher(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write(path, FolderSource(images(0, 12)), WAY)
    with Archive.open(path, **LOADERS) as archive:
        before = [b"".join(archive.stored(block)) for block in archive.directory.blocks]
    counts = []
    original = FakeLearner.decode
    monkeypatch.setattr(FakeLearner, "decode", lambda self, w, s: counts.append(len(s)) or original(self, w, s))
    append(path, FolderSource(images(12, 15)))
    assert counts == [4, 3]  # the teacher, and the new block for verification
    with Archive.open(path, **LOADERS) as archive:
        after = [b"".join(archive.stored(block)) for block in archive.directory.blocks]
    assert after[: len(before)] == before and len(after) == len(before) + 1


def test_rows_are_added_to_an_array(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 16, (50, 6, 5)).astype(">u2")
    data[44, 0, 0] = 999
    model = UniformModel(Space((6, 5), 16), group=3)
    for name, way, by in (("learned", WAY, None), ("model", None, model), ("plain", None, None)):
        path = tmp_path / name
        source = ArraySource(np.asfortranarray(data[:20]))
        if by is None:
            write(path, source, *([way] if way else []))
        else:
            write_archive(path, source, by, block_items=8, **LOADERS)
        for start, stop in ((20, 21), (21, 50)):
            figures = append(path, ArraySource(data[start:stop]))
        assert figures.items == 50 and figures.fallback_items == (50 if name == "plain" else 1)
        with Archive.open(path, **LOADERS) as archive:
            back = archive.read()
            assert back.dtype.str == ">u2" and back.flags.f_contiguous and np.array_equal(back, data)
            types = [stream.type for stream in archive.directory.streams]
            assert types == ([ITEMS] if name == "plain" else [LEARNED if name == "learned" else MODEL, ITEMS])
            verify(archive, ArraySource(np.asfortranarray(data)))


def test_black_and_white_of_other_values_gets_a_stream_of_its_own(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, (12, 20)).astype(np.uint8)
    write_archive(tmp_path / "a", ArraySource(bits[:6]), UniformModel(Space((20,), 2)), **LOADERS)
    append(tmp_path / "a", ArraySource(bits[6:] * 255))
    with Archive.open(tmp_path / "a", **LOADERS) as archive:
        assert np.array_equal(archive.read(), np.concatenate([bits[:6], bits[6:] * 255]))
        assert [stream.levels for stream in archive.directory.streams] == [(), (0, 255)]


def test_an_array_that_came_as_idx_or_was_kept_whole(tmp_path):
    data = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write(tmp_path / "idx", ArraySource(data, kind="idx", name="x-idx3-ubyte"))
    append(tmp_path / "idx", ArraySource(data))
    with Archive.open(tmp_path / "idx", **LOADERS) as archive:
        assert archive.header.kind == "idx" and np.array_equal(archive.read(), np.concatenate([data, data]))


@pytest.mark.parametrize(
    "old, new, message",
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "rows of float64"),
        (np.zeros((3, 4)), np.zeros((3, 4), np.float32), "rows of float64"),
        (np.zeros((3, 4)), FolderSource(images(0, 1)), "expected one array"),
        (FolderSource(images(0, 1)), np.zeros((3, 4)), "holds a folder"),
        ({"a": np.zeros((3, 4))}, np.zeros((3, 4)), "an .npz"),
        (np.zeros((3, 4), complex), np.zeros((3, 4), complex), "kept as a file"),
        (FolderSource(images(0, 5)), FolderSource(images(3, 9)), "'003.png', '004.png' already"),
        (FolderSource([*images(0, 2), *others("a")]), FolderSource(others("a")), "holds 'a' already"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, old, new, message):
    path = tmp_path / "a"
    sources = [each if isinstance(each, FolderSource) else ArraySource(each) for each in (old, new)]
    write(path, sources[0])
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message):
        append(path, sources[1])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("replaced", [(1,), (9,), (0, 5, 10), (11,), tuple(range(12))])
def test_names_that_are_there_are_replaced_where_that_is_asked_for(tmp_path, taught, replaced):
    path = tmp_path / "a"
    old = [*images(0, 12), File("x.jpg", data=b"jpeg" * 9), *others("notes.txt", "b", "c")]
    for file in old[2:4]:
        file.metadata = b"Pold"
    write(path, FolderSource(old), ByProgram(FakeProgram(), block_items=4, taught=taught))
    new = [File(f"{k:03}.png", "L", 15 - old[k].pixels, metadata=b"Pnew" * (k == 9)) for k in replaced]
    if 5 in replaced:
        new[replaced.index(5)] = File("005.png", "L", np.full((4, 4), 3, np.uint8))  # of another size
    if 11 in replaced:
        new += [File("x.jpg", data=b"other" * 99), File("b", data=b"", is_image=False)]
    added = images(20, 22)
    append(path, FolderSource([*new, *added]), replace_names=True)
    by_name = {file.name: file for file in new}
    files = [by_name.get(file.name, file) for file in old]
    check(path, *files[:13], *added, *files[13:])
    append(path, FolderSource(images(30, 31)))
    check(path, *files[:13], *added, *images(30, 31), *files[13:])


def test_pages_and_files_of_another_sort_are_not_replaced(tmp_path):
    path = tmp_path / "a"
    paged = File("s.tif/1", "L", np.zeros((3, 3), np.uint8), metadata=b"M\2\0\0\0")
    write(path, FolderSource([paged, *images(0, 2), *others("n")]))
    for new, message in (
        (File("s.tif/1", "L", np.zeros((3, 3), np.uint8)), "a page of a file"),
        (File("n", "L", np.zeros((3, 3), np.uint8)), "an image in one place"),
    ):
        with pytest.raises(UsageError, match=message):
            append(path, FolderSource([new]), replace_names=True)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**20), taught=st.booleans())
def test_any_sequence_of_additions_gives_all_that_was_added(tmp_path_factory, seed, taught):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("any") / "a"

    def some(count: int) -> list[File]:
        files: list[File] = []
        for _ in range(count):
            name, metadata = str(int(rng.integers(40))), b"P" * int(rng.integers(3))
            if name in {file.name for file in files}:
                continue
            sort = rng.integers(6) if name not in sorts else sorts[name]
            sorts[name] = sort
            if sort < 3:
                pixels = rng.integers(0, 16 if rng.integers(5) else 256, SIZES[rng.integers(3)]).astype(np.uint8)
                files.append(File(name, "L", pixels, metadata=metadata))
            elif sort == 3:
                files.append(File(name, "RGB", rng.integers(0, 256, (3, 4, 3)).astype(np.uint8)))
            else:
                files.append(File(name, data=rng.bytes(int(rng.integers(40))), is_image=bool(sort == 4)))
        return files

    sorts: dict[str, int] = {}
    held = {file.name: file for file in some(12)}
    source = FolderSource(list(held.values()))
    write(path, source, ByProgram(FakeProgram(), block_items=3, taught=taught), block_bytes=200)
    for _ in range(3):
        new = {file.name: file for file in some(6)}
        append(path, FolderSource(list(new.values())), replace_names=True, block_bytes=200)
        held |= new
    items = [file for file in held.values() if file.is_image]
    check(path, *items, *(file for file in held.values() if not file.is_image))


def test_a_planner_may_say_what_is_done_with_what_is_added(tmp_path):
    path = tmp_path / "a"
    write(path, FolderSource(images(0, 5)))
    other = ByProgram(FakeProgram(salt="other"))
    figures = append(path, FolderSource(images(5, 9)), planner=lambda classes: [Plan(tuple(classes), (other,))])
    assert figures.fallback_items == 5
    check(path, *images(0, 9))


def test_a_damaged_archive_is_not_added_to(tmp_path):
    path = tmp_path / "a"
    write(path, FolderSource(images(0, 9)), WAY)
    data = bytearray(path.read_bytes())
    with Archive.open(path, **LOADERS) as archive:
        data[archive.directory.blocks[1].offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="checksum"):
        append(path, FolderSource(images(9, 10)))
    assert path.read_bytes() == data and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("stop", [1, 2])
def test_an_interruption_leaves_the_old_archive(tmp_path, stop):
    path = tmp_path / "a"
    write(path, FolderSource(images(0, 9)), WAY)
    before, count = path.read_bytes(), []

    def interrupt(block):
        count.append(block)
        if len(count) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append(path, FolderSource(images(9, 20)), on_block=interrupt)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]


def in_a_process_of_its_own(path: Path, source: Source, stop: int) -> int:
    """Append, and be killed at the call number ``stop`` within the package; how many calls there were, or -1."""
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
        append(path, source)
        sys.setprofile(None)
        os.write(theirs, str(calls).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return int(result or b"-1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_process_that_is_killed_at_any_time_leaves_one_of_the_two(tmp_path):
    path = tmp_path / "a"
    write(path, FolderSource(images(0, 9)), WAY)
    before, more = path.read_bytes(), FolderSource(images(9, 20))
    calls = in_a_process_of_its_own(path, more, 2**40)
    after = path.read_bytes()
    assert after != before
    for stop in [1, *np.linspace(calls // 8, calls - 1, 30).astype(int).tolist()]:
        path.write_bytes(before)
        assert in_a_process_of_its_own(path, more, stop) == -1
        assert path.read_bytes() in (before, after)
    path.write_bytes(before)
    append(path, more)  # and left-overs are removed
    assert path.read_bytes() == after and os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_old_archive(tmp_path, monkeypatch):
    from codelength.archive.output import Output

    path = tmp_path / "a"
    write(path, FolderSource(images(0, 9)), WAY)
    before = path.read_bytes()
    original = Output.write

    def full(self, data):
        if self.position > len(before):
            raise OSError(28, "No space left on device")
        original(self, data)

    monkeypatch.setattr(Output, "write", full)
    with pytest.raises(CodelengthError, match=r"as it was.*no space left"):
        append(path, FolderSource(images(9, 20)))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]
