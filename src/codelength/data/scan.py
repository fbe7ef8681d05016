"""What lies in a folder."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from codelength.data.images import FORMATS, JPEG_EXTENSIONS, extension, read_pixels
from codelength.data.pixels import Pixels
from codelength.errors import DataError
from codelength.files import is_left_over, show_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A file below a folder.

    name: relative, with ``/`` between parts; bytes that are not UTF-8 are surrogates, as in ``os.fsdecode``.
    path: where it lies.
    size: in bytes.
    kind: ``image`` if its extension is that of a format that can be written back, ``jpeg``, or ``other``.
    """

    name: str
    path: Path
    size: int
    kind: str

    def load(self) -> Pixels | str:
        """Its pixels, or in words why its bytes must be kept instead (``read_pixels``)."""
        return read_pixels(self.path)


def scan(folder: Path) -> list[Entry]:
    """All files below a folder, hidden ones included, sorted by the bytes of their relative names.

    A link to a file inside the folder is listed like the file; empty folders are not listed, and the log says so.
    Every other link, and whatever is neither file nor folder, is an error, because it would be lost. What this
    program was writing when it was killed is no data: it is passed over, and the log says how many such files
    there are.

    Raises DataError, also for a folder that cannot be read or holds no files.
    """
    root = Path(os.path.realpath(folder))
    entries: list[Entry] = []
    left_over: list[Path] = []
    empty: list[Path] = []
    pending = [root]
    while pending:
        here = pending.pop()
        try:
            listing = sorted(os.scandir(here), key=lambda item: item.name)
            if not listing and here != root:
                empty.append(here)
            for item in listing:
                path = here / item.name
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                if item.is_symlink():
                    target = Path(os.path.realpath(path))
                    if not (target.is_file() and target.is_relative_to(root)):
                        raise DataError(
                            f"{show_path(path)} is a link that leaves the folder or leads to no file, and links "
                            "are not kept; replace it by what it points to, or remove it"
                        )
                status = item.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{show_path(path)} is neither a file nor a folder; remove it")
                if is_left_over(item.name):
                    left_over.append(path)
                    continue
                name = path.relative_to(root).as_posix()
                entries.append(Entry(name, path, status.st_size, _kind(name)))
        except OSError as error:
            raise DataError(f"expected a readable folder, but {show_path(here)} is not ({error.strerror})") from None
    if left_over:
        _log.warning(
            "%d unfinished files of earlier runs are passed over, such as %s; remove them",
            len(left_over),
            show_path(left_over[0]),
        )
    if not entries:
        raise DataError(f"expected files in the folder {show_path(root)}, got none")
    if empty:
        _log.warning(
            "%d empty folders are not kept, such as %s; put a file into those that are needed",
            len(empty),
            show_path(empty[0].relative_to(root)),
        )
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _kind(name: str) -> str:
    ending = extension(name)
    return "image" if ending in FORMATS else "jpeg" if ending in JPEG_EXTENSIONS else "other"
