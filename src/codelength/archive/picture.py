"""Writing one item to one image file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codelength.archive import names as naming
from codelength.archive.job import ImageWriter, Job
from codelength.archive.layout import Stream
from codelength.errors import CorruptBlock, UsageError
from codelength.files import atomic_file

# Extensions of image files; those of one format have one value. JPEG files are only ever kept as they are.
_FORMATS = {
    ".png": "png", ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff", ".webp": "webp",
    ".pgm": "pnm", ".ppm": "pnm", ".pnm": "pnm", ".jpg": "jpeg", ".jpeg": "jpeg",
}  # fmt: skip
_MODE_OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


def is_picture(dest: Path) -> bool:
    """Whether a destination is to be one image file: it is called like one and is no folder yet."""
    return _format(dest.name) != "" and not dest.is_dir()


def _format(name: str) -> str:
    return _FORMATS.get(Path(name).suffix.lower(), "")


def extract_picture(job: Job, dest: Path, images: ImageWriter) -> None:
    """Write the one entry that is selected to an image file of the format of ``dest``.

    An item of a folder has its own mode. An item of an array is grey, or RGB or RGBA where it has an axis of three or
    four channels, first or last: ``uint8`` with 8 bits, ``uint16`` (grey) with 16, and with one bit ``bool``, and the
    zeros and ones that a model of two symbols coded. A file that is kept whole is copied if its format is that of
    ``dest``. Raises UsageError for several entries and for whatever does not fit.
    """
    archive = job.archive
    number = _the_entry(job, dest)
    names = archive.names
    what = f"item {number}" + (f" ({naming.show(names[number])})" if names else "")
    if archive.file_size(number) is not None:
        _copy(job, number, what, dest)
        return
    for items in archive.iter_blocks(job.selection, damaged=job.damaged):
        block = archive.directory.blocks[items.block]
        values, mode, metadata = next(iter(items.values)), items.mode, b""
        if mode:
            metadata = archive.metadata(number)
            if metadata and _format(names[number]) != _format(dest.name):
                job.report.notes.append(
                    f"what the file of {what} held beside its pixels is not in {dest}, which has another format"
                )
                metadata = b""
        else:
            stream = archive.directory.streams[block.stream]
            values, mode = _of_array(values, stream, archive.symbols_of(block) == 2, what)
        if images.written_name(dest.name, mode, metadata) != dest.name:
            raise UsageError(
                f"{what} has the mode {mode}, which {dest.suffix} files do not hold without loss; "
                "choose a name that ends in .png"
            )
        data = images.encode(values, mode, metadata, dest.name)
        with atomic_file(dest, replace=job.force) as (file, _):
            file.write(data)
        job.report.items += 1
        job.report.paths.append(dest)


def _the_entry(job: Job, dest: Path) -> int:
    """The number of the only entry selected."""
    selection, items = job.selection, job.archive.items
    if selection.count == 1:
        return selection.start if selection.chosen is None else int(selection.chosen[0])
    if selection.chosen is None:
        pictures = max(min(selection.stop, items) - selection.start, 0)
        others = selection.count - pictures
    else:
        pictures = int((selection.chosen < items).sum())
        others = len(selection.chosen) - pictures
    got = f"{pictures:,} items" + (f" and {others:,} other files" if others else "")
    raise UsageError(
        f"expected one item for the image file {dest}, got {got}; choose one with --range N or --name NAME, "
        f"or name a folder without {dest.suffix}"
    )


def _copy(job: Job, number: int, what: str, dest: Path) -> None:
    archive = job.archive
    name = archive.names[number] if archive.names else ""
    if not name or _format(name) != _format(dest.name):
        how = f"choose a name that ends in {Path(name).suffix}" if _format(name) else "choose a folder"
        raise UsageError(f"{what} is kept as a whole file, which is not turned into a {dest.suffix} file; {how}")

    try:
        with atomic_file(dest, replace=job.force) as (file, _):
            for piece in archive.read_file(number):
                file.write(piece)
    except CorruptBlock as error:
        job.lose(number, error)
        return
    if number < archive.items:
        job.report.items += 1
    else:
        job.report.files += 1
    job.report.paths.append(dest)


def _of_array(values: np.ndarray, stream: Stream, binary: bool, what: str) -> tuple[np.ndarray, str]:
    """Pixels and mode of an item of an array; raises UsageError if it is no picture."""
    if values.ndim == 3 and _channels_first(stream):
        values = values.transpose(1, 2, 0)
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in _MODE_OF_CHANNELS:
        raise UsageError(
            f"{what} has the shape {'x'.join(map(str, values.shape))}, which is no picture of one, three or four "
            "channels; choose a name that ends in .npy"
        )
    mode = _MODE_OF_CHANNELS[channels]
    if channels == 1:
        values = values.reshape(values.shape[:2])
    kind = values.dtype.newbyteorder("=")
    if mode == "L" and (kind == np.bool_ or (kind == np.uint8 and binary and int(values.max()) <= 1)):
        return np.ascontiguousarray(values, bool), "1"
    if mode == "L" and kind == np.uint16:
        return np.ascontiguousarray(values, "<u2"), "I;16"
    if kind == np.uint8:
        return np.ascontiguousarray(values), mode
    raise UsageError(
        f"{what} has elements of {kind.name} in {channels} channels, and image files are written of uint8, and grey "
        "ones of uint16 or bool; choose a name that ends in .npy"
    )


def _channels_first(stream: Stream) -> bool:
    """Whether the first of three axes is the channels: the model's order says it, or else the sizes do."""
    if stream.axes:
        return stream.axes == (1, 2, 0)
    return stream.shape[2] not in _MODE_OF_CHANNELS and stream.shape[0] in _MODE_OF_CHANNELS
