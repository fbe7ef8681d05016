"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file open for writing and reading, with a temporary name beside ``path``.

    At the end of the block it is flushed to the disk and renamed; a link at ``path`` is replaced, not
    followed. If
    the block raises, an interrupt included, the temporary file is removed and ``path`` stays as it was.
    """
    temporary = path.with_name(f".codelength-{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb+") as file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable; not every platform lets a folder be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
