"""Writing what an archive holds to files."""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from codelength.archive import names as naming
from codelength.archive.layout import NPY_MAGIC, ArrayInfo
from codelength.archive.reader import OUTPUT_BYTES, OUTPUT_RATIO, Archive, Damage, Selection
from codelength.errors import ArchiveError, CorruptBlock, TooLarge, UsageError
from codelength.files import atomic_file, exists_already, refusal

# Types of IDX files by dtype.
_IDX_TYPES = {"|u1": 0x08, "|i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


class ImageWriter(Protocol):
    """Makes image files of pixels; the data layer has one."""

    def written_name(self, name: str, mode: str) -> str:
        """The name to write to: the same if its format holds the mode without loss, else with an extension
        added.
        """
        ...

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        """The bytes of the image file."""
        ...


@dataclass
class Report:
    """What ``extract`` did.

    items, files: numbers of items and of kept files written.  paths: of the files made.
    renamed: names that were escaped or got an extension, with what became of them.
    damaged: blocks that could not be decoded; their items are zeros in arrays and missing from folders.
    """

    items: int = 0
    files: int = 0
    paths: list[Path] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)


def extract(
    archive: Archive,
    dest: Path,
    selection: Selection,
    *,
    force: bool = False,
    keep_going: bool = False,
    max_output: int | None = None,
    images: ImageWriter | None = None,
) -> Report:
    """Write the selected entries to ``dest``: an array if it ends in ``.npy`` or ``.npz``, else a folder.

    In a folder, what was an array, an ``.npz`` or an IDX file comes back under its name, and images under
    theirs.
    force: replace files that exist.
    keep_going: leave out what cannot be decoded (zeros in arrays) and report it, instead of raising.
    max_output: bytes that may be written; without it the free space, and ``OUTPUT_RATIO`` times the
    archive or
        ``OUTPUT_BYTES``, whichever is more.
    images: makes image files; needed for archives of folders unless the destination is an array.

    Everything is checked before the first byte is written. No file appears half-written, and none is written
    through a link. Raises TooLarge, UnsafeName, UsageError (a file exists), CorruptBlock, ArchiveError
    (disk full).
    """
    report = Report()
    damaged = report.damaged if keep_going else None
    _check_size(archive, dest, selection, max_output)
    suffix = dest.suffix.lower()
    try:
        if suffix in (".npy", ".npz"):
            _check_free(dest, force)
            _ArrayJob(archive, selection, damaged, report, force).write(dest, suffix)
        elif archive.header.kind == "folder":
            if images is None:
                raise UsageError("writing images needs something that makes image files; none was given")
            _extract_folder(archive, dest, selection, force, damaged, images, report)
        else:
            _extract_array(archive, dest, _ArrayJob(archive, selection, damaged, report, force))
    except OSError as error:
        raise ArchiveError(f"cannot write {dest}, and no half-written file was left: {refusal(error)}") from error
    return report


def _check_size(archive: Archive, dest: Path, selection: Selection, max_output: int | None) -> None:
    size = archive.output_bytes(selection)
    limit = max_output
    if limit is None:
        limit = max(OUTPUT_BYTES, OUTPUT_RATIO * archive.inspect().archive_bytes)
    if size > limit:
        raise TooLarge(
            f"decoding would write {size} bytes, more than the limit of {limit}; take a range, or raise "
            f"the limit "
            f"with --max-output if you trust this archive"
        )
    here = dest.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    free = shutil.disk_usage(here).free
    if size > free:
        raise TooLarge(f"decoding would write {size} bytes where {free} are free at {here}; make room or take a range")


def _check_free(path: Path, force: bool) -> None:
    if path.is_dir() and not path.is_symlink():
        raise UsageError(f"expected a file name, got the folder {path}; name a file in it")
    if os.path.lexists(path) and not force:
        raise exists_already(path)


def _make_folder(dest: Path) -> None:
    if dest.exists() and not dest.is_dir():
        raise UsageError(f"expected a folder at {dest}, got a file; choose another name, or one that ends in .npy")
    dest.mkdir(parents=True, exist_ok=True)


# ---- folders -----------------------------------------------------------------------------------------------


def _extract_folder(
    archive: Archive,
    dest: Path,
    selection: Selection,
    force: bool,
    damaged: list[Damage] | None,
    images: ImageWriter,
    report: Report,
) -> None:
    directory = archive.directory
    existed = dest.exists()
    _make_folder(dest)
    try:
        names = archive.names
        numbers = range(selection.start, selection.stop) if selection.chosen is None else selection.chosen.tolist()
        for number in numbers:
            naming.safe_name(names[number])  # before an extension makes a harmless name of it
        modes = _modes(archive, selection)
        wanted = [images.written_name(names[n], modes[n]) if n in modes else names[n] for n in numbers]
        placed = dict(zip(numbers, naming.place(wanted, naming.file_system_key(dest))))
        for number, path in placed.items():
            if path != names[number]:
                report.renamed[names[number]] = path
            _check_free(dest / path, force)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                dest.rmdir()
        raise

    def write(number: int, pieces: Iterator[bytes]) -> None:
        target = naming.make_parents(dest, placed[number])
        _check_free(target, force)
        with atomic_file(target, replace=force) as (file, _):
            for piece in pieces:
                file.write(piece)
        report.paths.append(target)
        if number < directory.items:
            report.items += 1
        else:
            report.files += 1

    for items in archive.iter_blocks(selection, damaged=damaged):
        for number, values in zip(items.entries.tolist(), items.values):
            try:
                metadata = archive.metadata(number)
            except CorruptBlock as error:
                if damaged is None:
                    raise
                damaged.append(Damage(-1, (number,), str(error)))
                continue
            write(number, iter([images.encode(values, items.mode, metadata, placed[number])]))
    for number in numbers:
        if number in modes:
            continue
        try:
            write(number, archive.read_file(number))
        except CorruptBlock as error:
            if damaged is None:
                raise
            damaged.append(Damage(-1, (number,), str(error)))


def _modes(archive: Archive, selection: Selection) -> dict[int, str]:
    """The modes of the selected entries that are kept as values."""
    modes: dict[int, str] = {}
    entry = 0
    for stream, count in archive.directory.runs:
        if archive.directory.streams[stream].holds_items:
            for number in range(max(entry, selection.start), min(entry + count, selection.stop)):
                modes[number] = archive.directory.streams[stream].mode
        entry += count
    return modes


# ---- arrays ------------------------------------------------------------------------------------------------


def _extract_array(archive: Archive, dest: Path, job: _ArrayJob) -> None:
    """Into a folder, under the name and in the form that the data came as."""
    kind = archive.header.kind
    form = ".npz" if kind == "npz" else "idx" if kind == "idx" and archive.header.arrays else ".npy"
    [name] = naming.place([archive.header.name or "array" + form.replace("idx", ".idx")], naming.exact)
    if form != "idx" and not name.lower().endswith(form):
        name += form
    _check_free(dest / name, job.force)
    _make_folder(dest)
    target = naming.make_parents(dest, name)
    _check_free(target, job.force)
    job.write(target, form)


class _ArrayJob:
    """Writes items as one array file, a block at a time."""

    def __init__(
        self, archive: Archive, selection: Selection, damaged: list[Damage] | None, report: Report, force: bool
    ) -> None:
        self.archive = archive
        self.selection = selection
        self.damaged = damaged
        self.report = report
        self.force = force

    def write(self, path: Path, form: str) -> None:
        archive = self.archive
        if form == ".npy" and not archive.header.arrays and archive.header.kind in ("array", "idx"):
            with atomic_file(path, replace=self.force) as (file, _):
                for piece in archive.read_file(0):
                    file.write(piece)
            self.report.files += 1
        elif form == ".npz":
            self._write_npz(path)
        else:
            info = self._joined()
            with atomic_file(path, replace=self.force) as (file, _):
                self._write_array(file, info, idx=form == "idx")
        self.report.paths.append(path)

    def _joined(self) -> ArrayInfo:
        """The selected items as one array."""
        archive = self.archive
        start, stop = self._range()
        if archive.header.kind == "folder":
            streams = {
                (s.mode, s.dtype, s.shape)
                for number, s in enumerate(archive.directory.streams)
                if s.holds_items and len(set(archive.directory.ranks_in(number, start, stop))) > 1
            }
            if (
                len(streams) != 1
                or len(_modes(archive, self.selection)) < stop - start
                or self.selection.chosen is not None
            ):
                raise UsageError(
                    "expected images of one size and mode for an array, got several sorts, other files or chosen "
                    "names; choose a folder as the destination"
                )
            ((_, dtype, shape),) = streams
            return ArrayInfo("", dtype, (stop - start, *shape))
        if not archive.header.arrays:
            raise UsageError("this archive keeps its arrays as whole files; choose a destination that ends in .npz")
        first = archive.header.arrays[0]
        fortran = first.fortran and len(archive.header.arrays) == 1
        return ArrayInfo(first.name, first.dtype, (stop - start, *first.shape[1:]), fortran)

    def _range(self) -> tuple[int, int]:
        """Items that are asked for; kept files do not count."""
        return self.selection.start, min(self.selection.stop, self.archive.items)

    def _write_array(self, file: Any, info: ArrayInfo, *, idx: bool = False, start: int | None = None) -> None:
        """An array of items from number ``start`` on (that of the selection where None) as ``.npy`` or
        IDX.
        """
        first = self._range()[0] if start is None else start
        dtype = np.dtype(info.dtype)
        count = info.shape[0]
        if idx:
            sizes = b"".join(size.to_bytes(4, "big") for size in info.shape)
            file.write(bytes([0, 0, _IDX_TYPES[info.dtype], len(info.shape)]) + sizes)
        else:
            header = {"descr": info.dtype, "fortran_order": info.fortran, "shape": info.shape}
            np.lib.format.write_array_header_1_0(file, header)
        base = file.tell()
        self.report.items += count
        total = dtype.itemsize * math.prod(info.shape)
        if not total:
            return  # an empty range
        # Zeros first, really written: a full disk is then an error here, not a fault in a mapping.
        zeros = bytes(min(total, 2**20))
        for position in range(0, total, len(zeros)):
            file.write(zeros[: total - position])
        file.flush()
        order = "F" if info.fortran else "C"
        array = np.memmap(file, dtype, "r+", base, info.shape, order)  # type: ignore[call-overload]
        part = Selection(first, first + count, self.selection.chosen)
        for items in self.archive.iter_blocks(part, damaged=self.damaged):
            array[items.entries - first] = items.values
        array.flush()
        file.seek(0, io.SEEK_END)

    def _write_npz(self, path: Path) -> None:
        archive = self.archive
        start, stop = self._range()
        whole = (start, stop) == (0, archive.items) and self.selection.stop >= archive.directory.entries
        if archive.header.kind == "npz" and whole:
            parts = list(_members(archive))
        else:
            info = self._joined()
            parts = [(info.name or "arr_0", info, start)]
        with atomic_file(path, replace=self.force) as (file, _), zipfile.ZipFile(file, "w") as bundle:
            for name, info_or_entry, first in parts:
                naming.safe_name(name.removesuffix("/"))
                pieces = archive.read_file(info_or_entry) if isinstance(info_or_entry, int) else iter([NPY_MAGIC])
                beginning = next(pieces, b"")
                # What is no array lies in the bundle under its name as it is.
                suffix = ".npy" if beginning.startswith(NPY_MAGIC) else ""
                member = zipfile.ZipInfo(name + suffix, (1980, 1, 1, 0, 0, 0))
                if member.is_dir():
                    bundle.writestr(member, b"")
                    self.report.files += 1
                    continue
                with bundle.open(member, "w", force_zip64=True) as out:
                    if isinstance(info_or_entry, int):
                        self.report.files += 1
                        out.write(beginning)
                        for piece in pieces:
                            out.write(piece)
                    else:
                        self._copy_array(path, info_or_entry, first, out)

    def _copy_array(self, path: Path, info: ArrayInfo, start: int, out: IO[bytes]) -> None:
        """Through a scratch file, because the members of a zip file can only be written from front to
        back.
        """
        with tempfile.TemporaryFile(dir=path.parent) as scratch:
            self._write_array(scratch, info, start=start)
            scratch.seek(0)
            shutil.copyfileobj(scratch, out, 2**20)


def _members(archive: Archive) -> Iterator[tuple[str, ArrayInfo | int, int]]:
    """Name, array or number of the kept file, and first item, of all members of an ``.npz`` in their
    order.
    """
    arrays = {array.name: array for array in archive.header.arrays}
    item, kept = 0, archive.directory.items
    for name in archive.header.members:
        if name in arrays:
            yield name, arrays[name], item
            item += arrays[name].shape[0]
        else:
            yield name, kept, 0
            kept += 1
