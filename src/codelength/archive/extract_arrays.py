"""Writing items as files of arrays: ``.npy``, ``.npz`` and IDX, a block at a time."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from codelength.archive import names as naming
from codelength.archive.directory import Block
from codelength.archive.job import Job, check_free, make_folder
from codelength.archive.kept import KeptBlocks
from codelength.archive.layout import IDX_TYPES, NPY_MAGIC, ArrayInfo
from codelength.archive.ragged import Values
from codelength.archive.reader import Archive
from codelength.archive.selection import Selection, modes_of
from codelength.errors import CorruptBlock, UnsafeName, UsageError
from codelength.files import atomic_file

# Bytes of an array that is put together in memory, not in its file.
IN_MEMORY = 2**22
# Of decoded blocks that other members of an ``.npz`` may lie in.
KEPT_BYTES = 2**26


def extract_array(job: Job, dest: Path, form: str) -> None:
    """Write the items that are selected to the file ``dest``. form: ``.npy``, ``.npz`` or ``idx``."""
    _ArrayJob(job).write(dest, form)


def extract_as_it_came(job: Job, dest: Path) -> None:
    """Into a folder, under the name and in the form that the data came as."""
    header = job.archive.header
    kind = header.kind
    form = ".npz" if kind == "npz" else "idx" if kind == "idx" and header.arrays else ".npy"
    usual = "array" + form.replace("idx", ".idx")

    def with_form(name: str) -> str:
        return name if form == "idx" or name.lower().endswith(form) else name + form

    make_folder(dest)
    rules = naming.rules_of(dest)
    given = header.name or usual
    [name] = naming.place([given], rules, [with_form(given)])
    if name is None:  # the only file that there is, so it gets a name that says nothing
        name = usual
    if name != given:
        job.report.renamed.append((given, name))
    check_free(dest / naming.on_disk(name), job.force)
    target = naming.make_parents(dest, name)
    check_free(target, job.force)
    extract_array(job, target, form)


class _ArrayJob:
    """Writes items as one array file, a block at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.archive = job.archive
        self.selection = job.selection
        self.report = job.report
        self._kept = KeptBlocks(KEPT_BYTES)
        self._corrupt: dict[int, CorruptBlock] = {}
        self._lock = threading.Lock()

    def _decode(self, block: Block) -> Values:
        """A block, decoded once for all members of an ``.npz`` that lie in it. Several threads may ask for blocks, each
        for another one."""
        with self._lock:
            if block.number in self._corrupt:
                raise self._corrupt[block.number]
            values = self._kept.get(block.number)
        if values is None:
            try:
                values = self.archive.decode_block(block)
            except CorruptBlock as error:
                self._corrupt[block.number] = error
                raise
            with self._lock:
                self._kept.put(block.number, values)
        return values

    def write(self, path: Path, form: str) -> None:
        archive = self.archive
        if form == ".npy" and not archive.header.arrays and archive.header.kind in ("array", "idx"):
            try:
                with atomic_file(path, replace=self.job.force) as (file, _):
                    for piece in archive.read_file(0):
                        file.write(piece)
            except CorruptBlock as error:
                self.job.lose(0, error)
                return
            self.report.files += 1
        elif form == ".npz":
            self._write_npz(path)
        else:
            info = self._joined()
            with atomic_file(path, replace=self.job.force) as (file, _):
                self._write_array(file, info, idx=form == "idx")
        self.report.paths.append(path)

    def _joined(self) -> ArrayInfo:
        """The selected items as one array."""
        archive = self.archive
        start, stop = self._range()
        if archive.header.kind == "folder":
            streams = {
                (s.mode, s.dtype, shape)
                for number, s in enumerate(archive.directory.streams)
                if s.holds_items
                for shape in archive.directory.shapes_in(number, *archive.directory.ranks_in(number, start, stop))
            }
            if (
                len(streams) != 1
                or len(modes_of(archive.directory, self.selection)) < stop - start
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
        """An array of items from number ``start`` on (that of the selection where None) as ``.npy`` or IDX."""
        first = self._range()[0] if start is None else start
        dtype = np.dtype(info.dtype)
        count = info.shape[0]
        if idx:
            sizes = b"".join(size.to_bytes(4, "big") for size in info.shape)
            file.write(bytes([0, 0, IDX_TYPES[info.dtype], len(info.shape)]) + sizes)
        else:
            header = {"descr": info.dtype, "fortran_order": info.fortran, "shape": info.shape}
            np.lib.format.write_array_header_1_0(file, header)
        base = file.tell()
        self.report.items += count
        total = dtype.itemsize * math.prod(info.shape)
        if not total:
            return  # an empty range
        order: Literal["C", "F"] = "F" if info.fortran else "C"
        mapped: np.memmap | None = None
        if total <= IN_MEMORY:
            array = np.zeros(info.shape, dtype, order)
        else:
            # Zeros first, really written: a full disk is then an error here, not a fault in a mapping.
            zeros = bytes(2**20)
            for position in range(0, total, len(zeros)):
                file.write(zeros[: total - position])
            file.flush()
            array = mapped = np.memmap(file, dtype, "r+", base, info.shape, order)
        part = Selection(first, first + count, self.selection.chosen)
        for items in self.archive.iter_blocks(part, damaged=self.job.damaged, decode=self._decode):
            if isinstance(items.values, np.ndarray):
                array[items.entries - first] = items.values
            else:
                for entry, value in zip(items.entries.tolist(), items.values):
                    array[entry - first] = value
        if mapped is None:
            file.write(array.tobytes(order))
        else:
            mapped.flush()
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
        with atomic_file(path, replace=self.job.force) as (file, _), zipfile.ZipFile(file, "w") as bundle:
            taken: set[str] = set()
            for name, info_or_entry, first in parts:
                # Through a scratch file: the members of a zip file can only be written from front to back, and one
                # that turns out to be damaged cannot be taken back.
                with tempfile.SpooledTemporaryFile(2 * IN_MEMORY, dir=str(path.parent)) as scratch:
                    if not self._write_member(scratch, info_or_entry, first):
                        continue
                    scratch.seek(0)
                    # What is no array lies in the bundle under its name as it is.
                    suffix = ".npy" if scratch.read(len(NPY_MAGIC)) == NPY_MAGIC else ""
                    scratch.seek(0)
                    try:
                        safe = naming.safe_member(name + suffix)
                        if safe in taken:
                            raise UnsafeName(f"expected members of different names, got {naming.show(name)} twice")
                    except UnsafeName as error:
                        count = 1 if isinstance(info_or_entry, int) else info_or_entry.shape[0]
                        number = info_or_entry if isinstance(info_or_entry, int) else first
                        self.job.leave_out(number, number + count, str(error))
                        if isinstance(info_or_entry, int):
                            self.report.files -= 1
                        else:
                            self.report.items -= count
                        continue
                    taken.add(safe)
                    if safe != name + suffix:
                        self.report.renamed.append((name + suffix, safe))
                    member = zipfile.ZipInfo(safe, (1980, 1, 1, 0, 0, 0))
                    if member.is_dir():
                        bundle.writestr(member, b"")
                        continue
                    with bundle.open(member, "w", force_zip64=True) as out:
                        shutil.copyfileobj(scratch, out, 2**20)

    def _write_member(self, scratch: IO[bytes], info_or_entry: ArrayInfo | int, first: int) -> bool:
        """The ``.npy`` file of a member; False where it is damaged and to be left out."""
        if not isinstance(info_or_entry, int):
            self._write_array(scratch, info_or_entry, start=first)
            return True
        try:
            for piece in self.archive.read_file(info_or_entry):
                scratch.write(piece)
        except CorruptBlock as error:
            self.job.lose(info_or_entry, error)
            return False
        self.report.files += 1
        return True


def _members(archive: Archive) -> Iterator[tuple[str, ArrayInfo | int, int]]:
    """Name, array or number of the kept file, and first item, of all members of an ``.npz`` in their order."""
    arrays = {array.name: array for array in archive.header.arrays}
    item, kept = 0, archive.directory.items
    for name in archive.header.members:
        if name in arrays:
            yield name, arrays[name], item
            item += arrays[name].shape[0]
        else:
            yield name, kept, 0
            kept += 1
