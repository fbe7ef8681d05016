"""Writing the files of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from codelength.archive import names as naming
from codelength.archive.job import NAME_ERRORS, ImageWriter, Job, check_free, make_folder
from codelength.archive.selection import modes_of
from codelength.errors import CorruptBlock, DataError, TooLarge, UnsafeName
from codelength.files import atomic_file

# What is wrong with one item, and with no other.
_OF_ONE_ITEM = (CorruptBlock, DataError, TooLarge)


def extract_folder(job: Job, dest: Path, images: ImageWriter) -> None:
    """Write the entries that are selected below ``dest``, under their names as far as the file system takes them."""
    archive, selection, report = job.archive, job.selection, job.report
    existed = dest.exists()
    make_folder(dest)
    try:
        names = archive.names
        numbers = selection.numbers
        modes = modes_of(archive.directory, selection)
        wanted = {n: images.written_name(names[n], modes[n]) if n in modes else names[n] for n in numbers}
        rules = naming.rules_of(dest)
        paths = naming.place([names[n] for n in numbers], rules, list(wanted.values()))
        placed: dict[int, str] = {}
        for number, path in zip(numbers, paths):
            if path is None:
                job.leave_out(number, number + 1, _refusal(names[number], wanted[number], rules))
                continue
            placed[number] = path
            if path != names[number]:
                report.renamed.append((names[number], path))
            check_free(dest / naming.on_disk(path), job.force)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                dest.rmdir()
        raise

    def write(number: int, pieces: Iterator[bytes]) -> None:
        try:
            target = naming.make_parents(dest, placed[number])
            check_free(target, job.force)
            with atomic_file(target, replace=job.force) as (file, _):
                for piece in pieces:
                    file.write(piece)
        except UnsafeName as error:
            job.leave_out(number, number + 1, str(error))
            return
        except OSError as error:
            if error.errno not in NAME_ERRORS:
                raise
            why = error.strerror or str(error)
            job.leave_out(number, number + 1, f"the system refused {naming.show(placed[number])} ({why})")
            return
        report.paths.append(target)
        if number < archive.directory.items:
            report.items += 1
        else:
            report.files += 1

    for items in archive.iter_blocks(selection, damaged=job.damaged):
        for number, values in zip(items.entries.tolist(), items.values):
            if number not in placed:
                continue
            try:
                data = images.encode(values, items.mode, archive.metadata(number), wanted[number])
            except _OF_ONE_ITEM as error:
                job.lose(number, error)
                continue
            write(number, iter([data]))
    for number in numbers:
        if number in modes or number not in placed:
            continue
        try:
            write(number, archive.read_file(number))
        except _OF_ONE_ITEM as error:
            job.lose(number, error)


def _refusal(name: str, wanted: str, rules: naming.Rules) -> str:
    """Why ``naming.place`` refused a name."""
    try:
        for text in (name, wanted):
            naming.safe_name(text, windows=rules.windows)
    except UnsafeName as error:
        return str(error)
    return f"expected another name, got {naming.show(name)}"
