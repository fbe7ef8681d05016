"""One sentence about a command line that cannot be parsed. Parsers are known by what their errors offer: Typer
brings its own copy of click, or uses the one installed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


def explain_usage(error: Any) -> str:
    """What is wrong with the command line, what may have been meant, and where to read on."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "codelength")
    return f"{_what(error, context)}; see `{command} --help`"


def near(word: str, known: Iterable[str]) -> str:
    """A question about the known words that are most like this one; empty where none is."""
    found = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _what(error: Any, context: Any) -> str:
    message = re.sub(r"\s+", " ", error.format_message()).strip().rstrip(".")
    option = getattr(error, "option_name", None)
    command = getattr(context, "command", None)
    if option is not None and message.lower().startswith("no such option"):
        known = [name for parameter in getattr(command, "params", ()) for name in parameter.opts if name[:2] == "--"]
        return f"no such option {option}{near(option, [*known, '--help'])}"
    found = re.match(r"No such command '(.*?)'", message)
    if found:
        return f"no such command {found[1]}{near(found[1], getattr(command, 'commands', ()))}"
    return f"{message[:1].lower()}{message[1:]}"
