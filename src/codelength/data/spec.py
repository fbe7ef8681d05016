"""What users write for data: ``name[:split][[a:b]]`` or ``path[:member][[a:b]]``."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from codelength.data.registry import REGISTRY
from codelength.errors import DataError, UsageError
from codelength.files import require_regular

_RANGE = re.compile(r"\[\s*(-?\d+)?\s*:\s*(-?\d+)?\s*\]")


@dataclass(frozen=True)
class Spec:
    """What ``name[:split][[a:b]]`` or ``path[:member][[a:b]]`` asks for."""

    name: str
    part: str | None
    start: int | None
    stop: int | None

    @property
    def is_whole(self) -> bool:
        return self.start is None and self.stop is None


def parse_spec(text: str) -> Spec:
    """Read the grammar of data on the command line. Raises UsageError."""
    if exists(text):
        return Spec(text, None, None, None)
    rest, start, stop = text, None, None
    if text.endswith("]") and "[" in text:
        rest, _, inside = text.rpartition("[")
        match = _RANGE.fullmatch("[" + inside)
        if match is None:
            raise UsageError(f"expected a range such as [:5000] or [100:200] at the end of {text!r}")
        start, stop = (None if group is None else int(group) for group in match.groups())
    name, colon, part = rest.rpartition(":")
    if not colon or exists(rest) or re.search(r"[/\\]", part):
        name, part = rest, ""
    if not name or (colon and not part and name != rest):
        raise UsageError(f"expected NAME, NAME:SPLIT or a path, got {text!r}")
    return Spec(name, part or None, start, stop)


def check_spec(spec: str | os.PathLike[str]) -> None:
    """Raise what opening raises for data that is not there, without reading any."""
    parsed = parse_spec(spec) if isinstance(spec, str) else Spec(os.fspath(spec), None, None, None)
    if isinstance(spec, str) and parsed.name in REGISTRY:
        entry = REGISTRY[parsed.name]
        if parsed.part is not None:
            entry.check_split(parsed.part)
        return
    path = Path(parsed.name).expanduser()
    if not exists(path):
        raise DataError(missing(parsed.name))
    if not path.is_dir():
        require_regular(path, "a file of data")


def exists(path: str | Path) -> bool:
    """Whether something is at a path, whatever the text."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero in it
        return False


def missing(text: str) -> str:
    """What to say of a name that is neither that of a data set nor of anything on the disk."""
    near = difflib.get_close_matches(text, REGISTRY, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see `codelength datasets` for the names"
    return f"{text!r} is neither a data set nor a file or folder; {hint}"


def validation_of(spec: object) -> str | None:
    """The split that validates training on what ``spec`` names: that of a named data set, where its training split or
    no split is named and it has one. None for all else."""
    if not isinstance(spec, str):
        return None
    parsed = parse_spec(spec)
    splits = REGISTRY[parsed.name].splits if parsed.name in REGISTRY else {}
    return f"{parsed.name}:valid" if parsed.part in (None, "train") and {"train", "valid"} <= set(splits) else None
