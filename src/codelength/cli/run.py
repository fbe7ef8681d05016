"""Running the application so that whatever happens ends in one sentence and an exit status."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from codelength.cli import pipes
from codelength.cli.invocation import command_line
from codelength.cli.status import Terminated, explain
from codelength.cli.streams import printable, tolerate_all_characters


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command_line.set(shlex.join(["codelength", *arguments]))
    tolerate_all_characters()
    try:
        from codelength.cli.app import app

        command = typer.main.get_command(app)
        # Not command.main(), which has its own ideas about interrupts and closed pipes.
        # In a context of its own, so that what the command chooses for itself (a device) ends with it.
        with _logged_to_stderr(), _ended_by_signals():
            contextvars.copy_context().run(_invoke, command, arguments)
        sys.stdout.flush()
        return 0
    except BaseException as error:
        status, sentence = explain(error)
        if sentence:
            _say(sentence)
        return status


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the command as an interrupt does, so that nothing half-written stays behind.

    A signal that was ignored before (by nohup) stays so.
    """

    def end(number: int, frame: Any) -> None:
        raise Terminated(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _logged_to_stderr() -> Iterator[None]:
    """What the library has to say beside its results becomes a line like those of this program."""
    log, handler = logging.getLogger("codelength"), _ToStderr()
    before, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


def _invoke(command: Any, arguments: list[str]) -> None:
    with pipes.scope(), command.make_context("codelength", list(arguments)) as context:
        command.invoke(context)


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"codelength: {printable(sentence)}", file=sys.stderr, flush=True)
