"""Writing the files of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from codelength.archive import names as naming
from codelength.archive.job import NAME_ERRORS, ImageWriter, Job, check_free, make_folder
from codelength.archive.outputs import Output, alone, outputs
from codelength.archive.reader import Archive
from codelength.archive.selection import Selection
from codelength.errors import CorruptBlock, DataError, TooLarge, UnsafeName
from codelength.files import atomic_file

# What is wrong with one item, and with no other.
_OF_ONE_ITEM = (CorruptBlock, DataError, TooLarge)
# Values and mode of the pages of a file, by number.
_Pages = dict[int, tuple[np.ndarray, str]]


def extract_folder(job: Job, dest: Path, images: ImageWriter) -> None:
    """Write the entries that are selected below ``dest``, under their names as far as the file system takes them."""
    existed = dest.exists()
    make_folder(dest)
    try:
        files = outputs(job.archive, job.selection, images)
        rules = naming.rules_of(dest)
        paths = naming.place([file.name for file in files], rules, [file.wanted for file in files])
        placed: dict[int, tuple[Output, str]] = {}  # by the first entry
        for file, path in zip(files, paths):
            if path is None:
                job.leave_out(file.first, file.first + file.count, _refusal(file.name, file.wanted, rules))
                continue
            placed[file.first] = file, path
            if path != file.name:
                job.report.renamed.append((file.name, path))
            check_free(dest / naming.on_disk(path), job.force)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                dest.rmdir()
        raise
    _Folder(job, dest, images).write_all(placed)


class _Folder:
    """Writes files below a folder."""

    def __init__(self, job: Job, dest: Path, images: ImageWriter) -> None:
        self.job = job
        self.archive = job.archive
        self.dest = dest
        self.images = images

    def write_all(self, placed: dict[int, tuple[Output, str]]) -> None:
        """placed: what is to be written, with its name on the disk, by the first entry."""
        owner = {number: first for first, (file, _) in placed.items() if file.is_image for number in file.numbers}
        # Pages in several streams do not come one behind the other: such files are put together at the end, each alone.
        scattered = {k for k, (file, _) in placed.items() if file.count > 1 and not _together(self.archive, file)}
        pages: dict[int, _Pages] = {}
        for items in self.archive.iter_blocks(self.job.selection, damaged=self.job.damaged):
            for number, values in zip(items.entries.tolist(), items.values):
                first = owner.get(number)
                if first is None or first in scattered:
                    continue
                file, path = placed[first]
                if file.count == 1:
                    self._write_image(file, path, values, items.mode)
                    continue
                pages.setdefault(first, {})[number] = values.copy(), items.mode
                if len(pages[first]) == file.count:
                    self._write_pages(file, path, pages.pop(first))
        for first in sorted(scattered | set(pages)):
            file, path = placed[first]
            self._write_pages(file, path, pages[first] if first in pages else self._gather(file))
        for file, path in placed.values():
            if not file.is_image:
                try:
                    self._write(file, path, self.archive.read_file(file.first))
                except _OF_ONE_ITEM as error:
                    self.job.lose(file.first, error)

    def _gather(self, file: Output) -> _Pages:
        """The pages of a file, without those that cannot be decoded, which have been reported."""
        some = Selection(file.first, file.first + file.count)
        found: _Pages = {}
        for items in self.archive.iter_blocks(some, damaged=[]):
            found |= {
                number: (values.copy(), items.mode) for number, values in zip(items.entries.tolist(), items.values)
            }
        return found

    def _write_image(self, file: Output, path: str, values: np.ndarray, mode: str) -> None:
        try:
            metadata = self.archive.metadata(file.first)
            if file.page:
                metadata = self.images.page_of_its_own(file.name, metadata)[1]
            data = self.images.encode(values, mode, metadata, file.wanted)
        except _OF_ONE_ITEM as error:
            self.job.lose(file.first, error)
            return
        self._write(file, path, iter([data]))

    def _write_pages(self, file: Output, path: str, pages: _Pages) -> None:
        """A file of several pages; where some are damaged, the others one by one."""
        if len(pages) < file.count:
            for number, (values, mode) in sorted(pages.items()):
                page = alone(number, self.archive.names[number], self.images)
                self._write_image(page, f"{path}/{page.wanted.rpartition('/')[2]}", values, mode)
            return
        arrays, modes = zip(*(pages[number] for number in file.numbers))
        try:
            metadata = [self.archive.metadata(number) for number in file.numbers]
            data = self.images.encode_pages(arrays, modes, metadata, file.wanted)
        except _OF_ONE_ITEM as error:
            for number in file.numbers:
                self.job.lose(number, error)
            return
        self._write(file, path, iter([data]))

    def _write(self, file: Output, path: str, pieces: Iterator[bytes]) -> None:
        job, report = self.job, self.job.report
        stop = file.first + file.count
        try:
            target = naming.make_parents(self.dest, path)
            check_free(target, job.force)
            with atomic_file(target, replace=job.force) as (out, _):
                for piece in pieces:
                    out.write(piece)
        except UnsafeName as error:
            job.leave_out(file.first, stop, str(error))
            return
        except OSError as error:
            if error.errno not in NAME_ERRORS:
                raise
            why = error.strerror or str(error)
            job.leave_out(file.first, stop, f"the system refused {naming.show(path)} ({why})")
            return
        report.paths.append(target)
        if file.first < self.archive.directory.items:
            report.items += file.count
        else:
            report.files += 1


def _together(archive: Archive, file: Output) -> bool:
    """Whether all pages of a file lie in one stream, and so come one behind the other."""
    streams, _ = archive.directory.locate(np.array(file.numbers))
    return len(set(streams.tolist())) == 1


def _refusal(name: str, wanted: str, rules: naming.Rules) -> str:
    """Why ``naming.place`` refused a name."""
    try:
        for text in (name, wanted):
            naming.safe_name(text, windows=rules.windows)
    except UnsafeName as error:
        return str(error)
    return f"expected another name, got {naming.show(name)}"
