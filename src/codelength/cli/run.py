"""Running the application so that whatever happens ends in one sentence and an exit status."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from codelength.cli import pipes
from codelength.cli.streams import printable, tolerate_all_characters
from codelength.cli.usage import explain_usage
from codelength.errors import CodelengthError
from codelength.files import refusal, show_path

INTERRUPTED = 130
# Modules of extras, and the extra that brings them.
_EXTRAS = {
    "torch": "train",
    "sklearn": "train",
    "scipy": "train",
    "pooch": "train",
    "matplotlib": "train",
    "imagecodecs": "compare",
    "constriction": "compare",
    "zuko": "compare",
}

#: The command line of this process, for the JSON of its results.
command_line = "codelength"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    global command_line
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command_line = shlex.join(["codelength", *arguments])
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


class Terminated(BaseException):
    """The process was asked to end by a signal other than an interrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


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


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and sentence for anything that a command can raise."""
    if isinstance(error, CodelengthError):
        return error.exit_status, str(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, ""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; no half-written file was left behind"
    if isinstance(error, Terminated):
        return 128 + error.number, "ended by a signal; no half-written file was left behind"
    # Typer brings its own copy of click, or uses the one installed: known by what they offer.
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int):
        message = getattr(error, "format_message", lambda: "")()
        return (2, explain_usage(error)) if message else (exit_code, "")
    if isinstance(error, BrokenPipeError):
        # What is left in the buffer has nowhere to go, and the interpreter would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1, "the program that reads this output has stopped reading"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _EXTRAS:
        name = (error.name or "").split(".")[0]
        return 1, f"this needs {name}, which is not installed; pip install 'codelength[{_EXTRAS[name]}]'"
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return 1, "there is not enough memory for this; use smaller blocks, fewer items or a larger --max-memory"
    if isinstance(error, OSError):
        return 1, _system(error)
    if os.environ.get("CODELENGTH_TRACEBACK"):
        raise error
    first = (str(error).splitlines() or [""])[0]
    return 1, (
        f"internal error, {type(error).__name__}: {first}; run again with CODELENGTH_TRACEBACK=1 to see where, "
        f"and report it"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch says so: known by name and words, since torch need not be there."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "OutOfMemoryError" in names or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def _system(error: OSError) -> str:
    place = f" ({show_path(error.filename)})" if isinstance(error.filename, str) else ""
    return f"the system refused{place}: {refusal(error)}"


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"codelength: {printable(sentence)}", file=sys.stderr, flush=True)
