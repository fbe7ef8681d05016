"""Canonical JSON: one value, one byte string.

The structures inside model files and archives are a strict subset of JSON: objects, arrays, strings, integers,
``true``, ``false`` and ``null``; no floating-point numbers. ``dumps`` writes keys in sorted order, no spaces, ASCII
only. ``loads`` accepts exactly what ``dumps`` writes, so no two byte strings mean the same and none depends on the
habits of a parser (docs/format.md, "Canonical JSON").
"""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1


def dumps(value: Any) -> bytes:
    """The canonical bytes of a value made of dict, list, str, int, bool and None. Raises ValueError otherwise."""
    _check(value, 0)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def loads(data: bytes) -> Any:
    """The value of canonical bytes. Raises ValueError for anything that ``dumps`` would not have written."""
    try:
        value = json.loads(data.decode("ascii"), parse_float=_no_floats, parse_constant=_no_floats)
        again = dumps(value)
    except RecursionError:
        raise ValueError("a structure nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("a structure that is not ASCII") from None
    if again != data:
        raise ValueError("a structure that is not in canonical form")
    return value


def _no_floats(text: str) -> Any:
    raise ValueError(f"a structure with the number {text[:20]}, where only integers may stand")


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("a structure nested too deeply")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError("an integer that does not fit 64 bits")
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key that is not a string: {key!r}")
            _check(item, depth + 1)
        return
    raise ValueError(f"a value of type {type(value).__name__}, which has no canonical form")
