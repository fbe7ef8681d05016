"""Writing what an archive holds to files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from codelength.archive.extract_arrays import extract_array, extract_as_it_came
from codelength.archive.extract_folder import extract_folder
from codelength.archive.job import ImageWriter, Job, Report, check_free
from codelength.archive.picture import extract_picture, is_picture
from codelength.archive.reader import OUTPUT_BYTES, OUTPUT_RATIO, Archive
from codelength.archive.selection import Selection, output_bytes
from codelength.errors import ArchiveError, TooLarge, UsageError
from codelength.files import refusal


def extract(
    archive: Archive,
    dest: str | os.PathLike[str],
    range: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    *,
    force: bool = False,
    keep_going: bool = False,
    max_output: int | None = None,
    images: ImageWriter | None = None,
) -> Report:
    """Write the entries asked for (as ``Archive.select`` finds them) to ``dest``: an array if it ends in ``.npy`` or
    ``.npz``, one image if it ends like an image file and is no folder yet, else a folder.

    In a folder, what was an array, an ``.npz`` or an IDX file comes back under its name, and images under theirs.
    force: replace files that exist.
    keep_going: leave out what cannot be decoded (zeros in arrays) and report it, instead of raising.
    max_output: bytes that may be written; without it the free space, and ``OUTPUT_RATIO`` times the archive or
        ``OUTPUT_BYTES``, whichever is more.
    images: makes image files; needed for archives of folders unless the destination is an array.

    Size, names and what is there already are checked before the first byte is written. No file appears half-written,
    and none is written through a link. An entry whose name cannot be written is left out; when all others are
    written, this is raised as UnsafeName, or reported with ``keep_going``.

    Raises TooLarge, UsageError (a file exists), CorruptBlock, UnsafeName, ArchiveError (disk full).
    """
    dest, selection = Path(dest), archive.select(range, names)
    job = Job(archive, selection, force, keep_going, Report())
    _check_size(archive, dest, selection, max_output)
    suffix = dest.suffix.lower()
    try:
        if suffix in (".npy", ".npz"):
            check_free(dest, force)
            extract_array(job, dest, suffix)
        elif is_picture(dest):
            check_free(dest, force)
            extract_picture(job, dest, _needed(images))
        elif archive.header.kind == "folder":
            extract_folder(job, dest, _needed(images))
        else:
            extract_as_it_came(job, dest)
    except OSError as error:
        raise ArchiveError(f"cannot write {dest}, and no half-written file was left: {refusal(error)}") from error
    return job.finish()


def _needed(images: ImageWriter | None) -> ImageWriter:
    if images is None:
        raise UsageError("writing images needs something that makes image files; none was given")
    return images


def _check_size(archive: Archive, dest: Path, selection: Selection, max_output: int | None) -> None:
    size = output_bytes(archive.directory, selection)
    limit = max_output
    if limit is None:
        limit = max(OUTPUT_BYTES, OUTPUT_RATIO * archive.inspect().archive_bytes)
    if size > limit:
        raise TooLarge(
            f"decoding would write {size} bytes, more than the limit of {limit}; take a range, or raise the limit "
            "with --max-output if you trust this archive"
        )
    here = dest.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    free = shutil.disk_usage(here).free
    if size > free:
        raise TooLarge(f"decoding would write {size} bytes where {free} are free at {here}; make room or take a range")
