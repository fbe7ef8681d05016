"""How a command ends: the exit status and the one sentence for anything that it can raise."""

from __future__ import annotations

import os
import sys

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


class Terminated(BaseException):
    """The process was asked to end by a signal other than an interrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


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
