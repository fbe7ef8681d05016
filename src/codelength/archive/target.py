"""Where an archive may be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from codelength.archive.layout import MAGIC
from codelength.errors import UsageError
from codelength.files import check_destination, exists_already


def check_target(archive: str | os.PathLike[str], data: Any, *, force: bool) -> None:
    """Raise UsageError where writing the archive would replace a file that it must not, or be a part of the data."""
    path = Path(archive)
    check_destination(path)
    check_outside(path, data)
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
        if begin and begin != MAGIC:
            raise UsageError(f"{path} is there already and is no archive; choose another name or move it away")
    if os.path.lexists(path) and not force:
        raise exists_already(path)


def check_outside(archive: str | os.PathLike[str], data: Any) -> None:
    """Raise UsageError where the archive is, or would be, a part of the data."""
    if isinstance(data, str | os.PathLike) and os.path.exists(data):
        source, target = os.path.realpath(data), os.path.realpath(archive)
        if target == source or target.startswith(source + os.sep):
            raise UsageError(f"expected an archive outside of the data {data}, got {archive}; choose another place")
