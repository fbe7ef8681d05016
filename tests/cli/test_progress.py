"""What takes long shows count, rate and time left; what is quick, and what is to be quiet, shows nothing."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codelength import progress
from codelength.cli import main, ticker


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ((0, 100, 3.2), "decoding: 0 of 100 files, 3 s so far"),
        ((50, 100, 5.0), "decoding: 50 of 100 files, 10 files/s, about 5 s left"),
        ((1, 1000, 10.0), "decoding: 1 of 1,000 files, 0.1 files/s, about 2:46 h left"),
        ((1000, 1000, 10.0), "decoding: 1,000 of 1,000 files, 100 files/s"),
        ((30, None, 10.0), "decoding: 30 files, 3 files/s"),
        ((0, None, 100.0), "decoding: 1:40 min so far"),
    ],
)
def test_a_line_says_count_rate_and_time_left(state: tuple[int, int | None, float], line: str) -> None:
    done, total, seconds = state
    assert ticker.status("decoding", done, total, "files", seconds) == line


def test_tasks_are_seen_by_who_watches_and_parts_of_them_are_not() -> None:
    seen: list[object] = []

    def watcher(what: str, total: int | None, unit: str):
        import contextlib

        @contextlib.contextmanager
        def manager():
            seen.append((what, total, unit))
            yield seen.append
            seen.append("over")

        return manager()

    def work() -> None:
        progress.watch(watcher)
        with progress.task("outer", 3) as advance:
            assert list(progress.shown([1, 2], "inner")) == [1, 2]
            advance(3)
        assert list(progress.shown("ab", "after", "letters")) == ["a", "b"]

    thread = threading.Thread(target=work)  # a context of its own
    thread.start()
    thread.join()
    assert seen == [("outer", 3, "items"), 3, "over", ("after", 2, "letters"), 1, 1, "over"]
    with progress.task("nobody sees it", 1) as advance:
        advance(1)
    assert len(seen) == 7


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a line is made, which is at once."""
    told = threading.Event()
    status = ticker.status

    def seen(*state: object) -> str:
        told.set()
        return status(*state)  # type: ignore[arg-type]

    monkeypatch.setattr(ticker, "FIRST", 0.0)
    monkeypatch.setattr(ticker, "status", seen)
    return told


def test_lines_appear_without_a_terminal(told: threading.Event, capfd: pytest.CaptureFixture[str]) -> None:
    """The work goes on until a line has been seen: no time is measured."""
    watcher = ticker.watcher(quiet=False)
    assert watcher is not None and ticker.watcher(quiet=True) is None
    with watcher("waiting", 5, "items") as advance:
        advance(2)
        assert told.wait(600)
    assert re.match(r"waiting: [02] of 5 items", capfd.readouterr().err)


def test_a_bar_appears_on_a_terminal(told: threading.Event, capfd: pytest.CaptureFixture[str]) -> None:
    with ticker._shown("waiting", 5, "items", terminal=True) as advance:
        advance(2)
        assert told.wait(600)
    assert capfd.readouterr().out == ""


@pytest.fixture
def folder(tmp_path: Path, pair_items: np.ndarray) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, item in enumerate(pair_items[:20]):
        Image.fromarray(item * 255).convert("1").save(folder / f"{number:02}.png")
    Image.fromarray(pair_items[0]).convert("P").save(folder / "palette.tif")
    Image.fromarray(pair_items[1]).save(folder / "lossy.jpg")
    (folder / "notes.txt").write_text("hello")
    return folder


def test_every_long_part_of_the_commands_is_a_task(
    folder: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int | None, int]] = []

    def watcher(what: str, total: int | None, unit: str):
        import contextlib

        @contextlib.contextmanager
        def manager():
            done = [0]

            def advance(count: int) -> None:
                done[0] += count

            yield advance
            seen.append((what, total, done[0]))

        return manager()

    from codelength.cli import options

    monkeypatch.setattr(options, "watcher", lambda quiet: watcher)
    archive = str(tmp_path / "a.clen")
    for line, tasks in (
        (
            ["compress", str(folder), archive, "--model", str(pairs_file)],
            [("looking at files", 23, 23), ("compressing and verifying", 20, 20), ("keeping files", 3, 3)],
        ),
        (["decompress", archive, str(tmp_path / "again")], [("decoding", 22, 20)]),
        (["verify", archive], [("verifying", None, None)]),
        (["sample", str(pairs_file), "--count", "2", "-o", str(tmp_path / "s.png")], [("drawing 2 items", None, 0)]),
        (["evaluate", str(pairs_file), "--data", str(folder)], [("reading", 23, 23), ("evaluating", 20, 20)]),
    ):
        seen.clear()
        assert main(line) == 0
        for what, total, done in tasks:
            found = [task for task in seen if task[0] == what]
            assert found, (line, what, seen)
            if done is not None:
                assert found[0] == (what, total, done)


def test_compress_ends_with_what_a_person_wants(
    folder: Path, pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", str(folder), str(tmp_path / "a.clen"), "--model", str(pairs_file)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    size = sum(path.stat().st_size for path in folder.iterdir())
    after = (tmp_path / "a.clen").stat().st_size
    shown = f"{size / 1000:.2f} kB" if size < 10_000 else f"{size / 1000:.1f} kB"
    assert first.startswith(f"{shown} -> ") and first.endswith(f"({after / size:.0%}), 22 items, all verified")
    assert second.startswith("2 of them are kept as files (") and "palette" in second and "JPEG" in second


def test_an_archive_larger_than_its_data_is_pointed_out(
    pair_data: Path, pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.npy"
    np.save(small, np.load(pair_data)[:2])
    line = ["compress", str(small), str(tmp_path / "a.clen"), "--model", str(pairs_file), "--no-verify"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "not verified" in out and "more than the" in out
