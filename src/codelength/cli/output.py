"""What commands print: answers on stdout, progress and warnings on stderr, JSON into files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from codelength.cli.invocation import command_line
from codelength.cli.streams import printable


def say(text: str = "", *, quiet: bool = False) -> None:
    """A line of the command's answer."""
    if not quiet:
        print(printable(text))


def silent(quiet: bool, json: Path | None) -> bool:
    """Whether the answer is not printed: where the user wants it so, and where stdout is for the JSON."""
    return quiet or str(json) == "-"


def warn(text: str) -> None:
    """Something the user should know, beside the answer; also when quiet."""
    print(f"codelength: {printable(text)}", file=sys.stderr)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """The figures with this process's command line, to a file that appears whole, or to stdout for ``-``."""
    if path is None:
        return
    figures = {**figures, "command": command_line.get()}
    text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    from codelength.files import write_atomically

    write_atomically(path, text.encode())
