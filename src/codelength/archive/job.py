"""What one extraction is to do, what became of it, and the places that it may write to."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from codelength.archive.damage import Damage, how_many, lost, merge, show_ranges
from codelength.archive.reader import Archive
from codelength.archive.selection import Selection
from codelength.errors import CodelengthError, CorruptBlock, UnsafeName, UsageError
from codelength.files import exists_already, kind_of

# What a file system says to a name that it does not take.
NAME_ERRORS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}


class ImageWriter(Protocol):
    """Makes image files of pixels; the data layer has one."""

    def written_name(self, name: str, mode: str, metadata: bytes = b"") -> str:
        """The name to write to: the same if its format holds the mode without loss, or the metadata gives the file back
        byte for byte; else with an extension added.
        """
        ...

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        """The bytes of the image file."""
        ...

    def pages(self, metadata: bytes) -> int:
        """Of how many items, this one and those behind it, a file is made whose first image has this metadata."""
        ...

    def page_of_its_own(self, name: str, metadata: bytes) -> tuple[str, bytes]:
        """Name and metadata of the file that one of several pages is written to by itself."""
        ...

    def encode_pages(
        self, values: Sequence[np.ndarray], modes: Sequence[str], metadata: Sequence[bytes], name: str
    ) -> bytes:
        """The bytes of a file of several pages."""
        ...


@dataclass
class Report:
    """What ``extract`` did.

    items, files: numbers of items and of kept files written. paths: of the files made.
    renamed: names that were escaped or got an extension, with what became of them.
    damaged: what could not be given back, by blocks and names; such items are zeros in arrays and missing from folders.
    notes: what else should be known of the files, in sentences.
    """

    items: int = 0
    files: int = 0
    paths: list[Path] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """names: of all entries of a folder; empty for arrays."""
        return {
            "items": self.items,
            "files": self.files,
            "renamed": [list(pair) for pair in self.renamed],
            "damaged": [damage.to_json(names) for damage in self.damaged],
            "notes": self.notes,
        }


@dataclass
class Job:
    """What is to be extracted, and what became of it."""

    archive: Archive
    selection: Selection
    force: bool
    keep_going: bool
    report: Report
    unnamed: list[Damage] = field(default_factory=list)  # left out for their names

    @property
    def damaged(self) -> list[Damage] | None:
        return self.report.damaged if self.keep_going else None

    def lose(self, number: int, error: CodelengthError) -> None:
        """An entry cannot be decoded: note it, or raise."""
        if not self.keep_going:
            raise error
        block = error.block if isinstance(error, CorruptBlock) else -1
        self.report.damaged.append(Damage(block, ((number, number + 1),), str(error)))

    def leave_out(self, start: int, stop: int, reason: str) -> None:
        """Entries cannot be written under their name."""
        self.unnamed.append(Damage(-1, ((start, stop),) if start < stop else (), reason))

    def finish(self) -> Report:
        unnamed = merge(self.unnamed)
        self.report.damaged = merge([*self.report.damaged, *unnamed])
        if unnamed and not self.keep_going:
            gone = lost(unnamed)
            numbers = f" ({show_ranges(gone)})" if gone else ""
            error = UnsafeName(
                f"{how_many(gone):,} entries{numbers} were left out, since they cannot be written under their names: "
                f"{unnamed[0].reason}; all else is written"
            )
            error.damaged = unnamed
            raise error
        return self.report


def check_free(path: Path, force: bool) -> None:
    """Raise UsageError where a folder is at ``path``, or a file that is not to be replaced."""
    try:
        is_folder, exists = path.is_dir() and not path.is_symlink(), os.path.lexists(path)
    except OSError as error:
        if error.errno in NAME_ERRORS:
            return  # nothing can be there, and writing will say why
        raise
    if is_folder:
        raise UsageError(f"expected a file name, got the folder {path}; name a file in it")
    if exists and not force:
        raise exists_already(path)


def make_folder(dest: Path) -> None:
    """The folder ``dest``, made with those above it where it is not there; raises UsageError."""
    if dest.exists() and not dest.is_dir():
        kind = kind_of(dest.stat().st_mode) or "a file"
        raise UsageError(f"expected a folder at {dest}, got {kind}; choose another name, or one that ends in .npy")
    dest.mkdir(parents=True, exist_ok=True)
