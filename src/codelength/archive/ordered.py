"""Work that is done in several threads and handed on in its order."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def in_order(
    tasks: Iterable[tuple[Key, Callable[[], Result]]], jobs: int
) -> Iterator[tuple[Key, Callable[[], Result]]]:
    """Keys and results, in the order of the tasks, as functions that give the result or raise what the task raised.

    jobs: how many tasks are worked on at a time; with 1 each is done when its result is asked for. No more results
    than that wait for whoever takes them. A task sees the context variables of the caller.
    """
    if jobs <= 1:
        yield from tasks
        return
    waiting: deque[tuple[Key, Future[Result]]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for key, task in tasks:
                waiting.append((key, pool.submit(contextvars.copy_context().run, task)))
                if len(waiting) >= jobs:
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result
        finally:
            for _, future in waiting:
                future.cancel()


class Line:
    """A queue of tasks whose results are handed on in the order in which they came.

    jobs: threads. With one, a task is done as soon as it comes. What a task and what is done with its result give does
    not depend on their number.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool = ThreadPoolExecutor(jobs) if jobs > 1 else None
        self._waiting: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def add(self, task: Callable[[], Result], done: Callable[[Result], None]) -> None:
        """``done`` is called with the task's result, in this thread, when those of all tasks before it have been."""
        if self._pool is None:
            done(task())
            return
        self._waiting.append((self._pool.submit(contextvars.copy_context().run, task), done))
        while len(self._waiting) > self.jobs:
            self._next()

    def finish(self) -> None:
        """Wait for all tasks."""
        while self._waiting:
            self._next()

    def _next(self) -> None:
        future, done = self._waiting.popleft()
        done(future.result())

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
