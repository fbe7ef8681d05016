"""Progress on stderr: a bar on a terminal, a line now and then without one, nothing for what is quick."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from codelength.progress import Advance, Watcher, show_seconds

#: Seconds until anything is shown, between two looks at a terminal, and between the first two lines without one; from
#: line to line that doubles, up to the last.
FIRST, LOOK, SECOND, LAST = 2.0, 0.25, 10.0, 60.0


def status(what: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """One line: what is done, count, rate and time left, as far as they are known."""
    parts = [f"{done:,} of {total:,} {unit}"] if total is not None else [f"{done:,} {unit}"] if done else []
    if done and seconds > 0:
        rate = done / seconds
        parts.append(f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s")
        if total is not None and done < total:
            parts.append(f"about {show_seconds((total - done) / rate)} left")
    else:
        parts.append(f"{show_seconds(seconds)} so far")
    return f"{what}: {', '.join(parts)}"


def watcher(quiet: bool) -> Watcher | None:
    """What shows the tasks of a command; None if it is to be quiet."""
    if quiet:
        return None
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return lambda what, total, unit: _shown(what, total, unit, terminal)


@contextlib.contextmanager
def _shown(what: str, total: int | None, unit: str, terminal: bool) -> Iterator[Advance]:
    done, begun, ended = 0, time.monotonic(), threading.Event()

    def advance(count: int) -> None:
        nonlocal done
        done += count

    def line() -> str:
        return status(what, done, total, unit, time.monotonic() - begun)

    show = _bar if terminal else _lines
    thread = threading.Thread(target=show, args=(ended, line, lambda: (done, total)), daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        ended.set()
        thread.join()


def _lines(ended: threading.Event, line: Callable[[], str], state: Any) -> None:
    wait = FIRST
    while not ended.wait(wait):
        print(line(), file=sys.stderr, flush=True)
        wait = min(LAST, max(SECOND, 2 * wait))


def _bar(ended: threading.Event, line: Callable[[], str], state: Callable[[], tuple[int, int | None]]) -> None:
    if ended.wait(FIRST):
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        number = bar.add_task(line())
        while True:
            done, total = state()
            bar.update(number, completed=done, total=total, description=line(), refresh=True)
            if ended.wait(LOOK):
                return
