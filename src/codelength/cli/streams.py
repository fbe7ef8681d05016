"""Output that any terminal can show: no character that it cannot encode, none that it would obey."""

from __future__ import annotations

import contextlib
import re
import sys

# All control characters but the ends of lines and tabs, and what changes the direction of a line or ends it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def tolerate_all_characters() -> None:
    """Let stdout and stderr write what their encoding does not hold as ``\\u0123``, surrogates included."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def printable(text: str) -> str:
    """``text`` with its control characters as ``\\x1b``: names of files come from anywhere."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
