"""Running the application so that whatever happens ends in one sentence and an exit status."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import typer

from codelength.cli.usage import explain_usage
from codelength.errors import CodelengthError

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
    try:
        from codelength.cli.app import app

        command = typer.main.get_command(app)
        # Not command.main(), which has its own ideas about interrupts and closed pipes.
        # In a context of its own, so that what the command chooses for itself (a device) ends with it.
        contextvars.copy_context().run(_invoke, command, arguments)
        sys.stdout.flush()
        return 0
    except BaseException as error:
        status, sentence = explain(error)
        if sentence:
            _say(sentence)
        return status


def _invoke(command: Any, arguments: list[str]) -> None:
    with command.make_context("codelength", list(arguments)) as context:
        command.invoke(context)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and sentence for anything that a command can raise."""
    if isinstance(error, CodelengthError):
        return error.exit_status, str(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, ""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; no half-written file was left behind"
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
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no space left for the output{place}; make room, and run the command again"
    return f"the system refused{place}: {error.strerror or error}"


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"codelength: {sentence}", file=sys.stderr, flush=True)
