"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

from codelength.errors import UsageError

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as 500000, 256M or 1.5GiB; units are powers of 1,024. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"expected a size such as 500000, 256M or 2G, got {text!r}")
    size = float(match[1]) * 1024 ** _UNITS[match[2].lower()]
    if size >= 2**63:
        raise UsageError(f"expected a size that a machine can have, got {text[:40]!r}")
    return int(size)


def show_size(count: int) -> str:
    """A number of bytes for people: with thousands separated, and in the next unit where that is shorter."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if count >= 10 * 1024**power:
            return f"{count / 1024**power:,.1f} {unit}"
    return f"{count:,} bytes"
