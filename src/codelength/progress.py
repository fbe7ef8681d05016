"""What the library is about, for whoever watches: tasks with a name, and how much of each is done.

Code that may take long says ``with task("decoding", count) as advance: ...`` and calls ``advance(n)`` as it goes. A
caller that wants to know sets a watcher for its context (``watch``); nobody else pays for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Advance = Callable[[int], None]
#: Called with a task's name, its total (None where unknown) and the unit that it is counted in.
Watcher = Callable[[str, "int | None", str], AbstractContextManager[Advance]]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def watch(watcher: Watcher | None) -> None:
    """Let ``watcher`` see the tasks of this context from now on."""
    _watcher.set(watcher)


@contextlib.contextmanager
def task(what: str, total: int | None, unit: str = "items") -> Iterator[Advance]:
    """Yields a function to call with the number of units done since. A task within a task is a part of it, and is not
    shown by itself."""
    watcher = _watcher.get()
    if watcher is None:
        yield _nobody
        return
    token = _watcher.set(None)
    try:
        with watcher(what, total, unit) as advance:
            yield advance
    finally:
        _watcher.reset(token)


def shown(things: Sequence[T], what: str, unit: str = "items") -> Iterator[T]:
    """The things one by one, as a task."""
    with task(what, len(things), unit) as advance:
        for thing in things:
            yield thing
            advance(1)


def _nobody(count: int) -> None:
    pass


def show_seconds(seconds: float) -> str:
    """A time for people, such as ``8 s``, ``3:20 min`` or ``2:05 h``."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 90 else f"{minutes // 60}:{minutes % 60:02} h"
