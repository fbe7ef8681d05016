"""What lies in a folder."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codelength.data.images import ARRAY_EXTENSIONS, DICOM_EXTENSIONS, FORMATS, JPEG_EXTENSIONS, decode_image, extension
from codelength.data.pixels import Pixels
from codelength.data.stable import Stamp, read_pieces
from codelength.errors import DataError
from codelength.files import is_left_over, show_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A file below a folder, or within a zip or tar file (``codelength.data.bundles``).

    name: relative, with ``/`` between parts; bytes that are not UTF-8 are surrogates, as in ``os.fsdecode``.
    path: where it lies; of members, the zip or tar file.
    size: in bytes.
    kind: ``image`` if its extension is that of a format that can be written back, ``jpeg``, ``array`` (images for
        archives alone), or ``other``.
    """

    name: str
    path: Path
    size: int
    kind: str

    @property
    def shown(self) -> str:
        """Where it lies, for messages."""
        return show_path(self.path)

    def stamp(self) -> Stamp:
        """What tells that it has not changed. Raises DataError if it is not there."""
        try:
            return Stamp.of(self.path, self.path.stat())
        except OSError as error:
            raise DataError(f"expected a readable file, but {self.shown} is not ({error.strerror})") from None

    def read_pieces(self, expected: Stamp | None = None) -> Iterator[tuple[bytes, Stamp]]:
        """Its bytes in pieces, with its stamp; never without a last piece.

        Raises DataError if it cannot be read, or changes meanwhile (or since ``expected``).
        """
        return read_pieces(self.path, expected)

    def read_whole(self, expected: Stamp | None = None) -> tuple[bytes, Stamp]:
        """Its bytes and its stamp; raises what ``read_pieces`` raises."""
        pieces = list(self.read_pieces(expected))
        return b"".join(piece for piece, _ in pieces), pieces[-1][1]

    def begin(self) -> bytes:
        """Its first bytes, a hundred or more where it has as many; raises what ``read_pieces`` raises."""
        return next(self.read_pieces())[0]

    def load(self) -> Pixels | str:
        """Its pixels, or in words why its bytes must be kept instead (``decode_image``)."""
        return decode_image(self.read_whole()[0], self.name) if self.kind != "array" else "not an image"


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
                entries.append(Entry(name, path, status.st_size, kind_of_name(name)))
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


def kind_of_name(name: str) -> str:
    """The ``kind`` of an entry of this name."""
    ending = extension(name)
    if ending in FORMATS or ending in DICOM_EXTENSIONS:
        return "image"
    if ending in ARRAY_EXTENSIONS:
        return "array"
    return "jpeg" if ending in JPEG_EXTENSIONS else "other"
