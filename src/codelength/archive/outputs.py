"""Which files come back of the entries of a folder: mostly one of each, and one of all pages of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codelength.archive.job import ImageWriter
from codelength.archive.layout import FILES_FEATURE
from codelength.archive.reader import Archive
from codelength.archive.selection import Selection, modes_of
from codelength.errors import CorruptBlock


@dataclass(frozen=True)
class Output:
    """A file that is to be written.

    first, count: the entries that it is made of. name: of the entry, or of the file that pages are of. wanted: the name
    to write to. is_image: whether it is made of values. page: whether it is a page of a file that is not written whole.
    """

    first: int
    count: int
    name: str
    wanted: str
    is_image: bool
    page: bool = False

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


def outputs(archive: Archive, selection: Selection, images: ImageWriter) -> list[Output]:
    """The files that come back of the entries that are selected, in the order of their first entries.

    Pages of a file of which not all are selected come back by themselves.
    """
    names, modes = archive.names, modes_of(archive.directory, selection)
    new = FILES_FEATURE in archive.header.features
    found: list[Output] = []
    pages: dict[int, bool] = {}  # pages, and whether they are part of a file that is written whole
    if new:
        selected = set(selection.numbers)
        for first, count, name in stacks(archive, images):
            numbers = range(first, first + count)
            whole = selected.issuperset(numbers) and all(number in modes for number in numbers)
            pages |= dict.fromkeys(numbers, whole)
            if whole:
                wanted = images.written_name(name, modes[first], _metadata(archive, first))
                found.append(Output(first, count, name, wanted, True))
    for number in selection.numbers:
        if pages.get(number):
            continue
        name, mode = names[number], modes.get(number)
        if mode is None:
            found.append(Output(number, 1, name, name, False))
        elif number in pages:
            found.append(alone(number, name, images))
        else:
            metadata = _metadata(archive, number) if new else b""
            found.append(Output(number, 1, name, images.written_name(name, mode, metadata), True))
    return sorted(found, key=lambda output: output.first)


def alone(number: int, name: str, images: ImageWriter) -> Output:
    """The file of a page by itself."""
    return Output(number, 1, name, images.page_of_its_own(name, b"")[0], True, page=True)


def stacks(archive: Archive, images: ImageWriter) -> Iterator[tuple[int, int, str]]:
    """First page, number of pages and name of each file of several pages."""
    names, number = archive.names, 0
    while number < archive.items:
        count = images.pages(_metadata(archive, number))
        name, page = names[number].rpartition("/")[::2]
        rest = names[number : number + count]
        if 1 < count <= archive.items - number and page == "1" and rest == [f"{name}/{k + 1}" for k in range(count)]:
            yield number, count, name
            number += count
        else:
            number += 1


def _metadata(archive: Archive, number: int) -> bytes:
    """The metadata of an item; nothing where it is damaged, which is told when the item is written."""
    try:
        return archive.metadata(number)
    except CorruptBlock:
        return b""
