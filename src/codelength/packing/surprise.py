"""Images of an archive with what each of their pixels cost there, for whoever looks at what packing did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codelength.archive.directory import Block
from codelength.archive.fitting import to_events
from codelength.archive.layout import LEARNED, Stream
from codelength.archive.reader import Archive
from codelength.laws.frozen import FrozenModel

#: Samples that are coded again for their maps: some seconds of work.
SAMPLES = 1_500_000
#: The part of the images that only teaches, since what comes first is dear whatever it shows.
TEACHING = 4
#: Images that are shown on either side.
SHOWN = 3


@dataclass(frozen=True)
class Shown:
    """An image with its map.

    number: of the item in the archive. name: empty for rows of arrays. pixels (h, w) or (h, w, c): values as coded.
    bits (h, w): float32, of each pixel, summed over channels. total: bits of the image.
    """

    number: int
    name: str
    pixels: np.ndarray
    bits: np.ndarray

    @property
    def total(self) -> float:
        return float(self.bits.sum(dtype=np.float64))

    @property
    def per_sample(self) -> float:
        """Bits per coded sample."""
        return self.total / max(1, self.pixels.size)


@dataclass(frozen=True)
class Surprise:
    """The cheapest and dearest of some images, in bits per coded sample.

    cheapest, dearest: the extreme one first; no image is in both. looked_at: how many images were coded in their order
    as the archive codes them, and of these ``taught_by``, the first ones, are not shown. top: the highest value of a
    sample, for showing it.
    """

    cheapest: tuple[Shown, ...]
    dearest: tuple[Shown, ...]
    looked_at: int
    taught_by: int
    top: int


def find_surprise(path: str | Path) -> Surprise | None:
    """What the pixels of an archive's images cost, looked at in the block that begins the largest pile which a program
    codes; None where general codecs keep everything, or a trained model with latents.

    Decodes that block, and codes some of its images again. Raises what reading an archive does.
    """
    with Archive.open(path, max_memory=None) as archive:
        block = _first_block(archive)
        if block is None:
            return None
        stream = archive.directory.streams[block.stream]
        entries = archive.directory.entries_of(block.stream, block.first, block.first + block.count)
        values = archive.decode_block(block)
        names = archive.names
        model = FrozenModel.from_bytes(archive.directory.programs[block.program - 1], check_golden=False)
    events: list[np.ndarray] = []
    room = SAMPLES
    for number in range(block.count):
        item = np.asarray(values[number])
        event = to_events(item[None], stream.sized(*item.shape[:2]) if stream.is_free else stream)[0]
        if events and event.size > room:
            break
        room -= event.size
        events.append(event)
    maps = model.learner().maps(events)
    taught = min(len(events) // TEACHING, 256)
    found = [
        Shown(int(entries[k]), names[entries[k]] if names else "", _valued(events[k], stream), _pixel_bits(maps[k]))
        for k in range(taught, len(events))
    ]
    found.sort(key=lambda shown: (shown.per_sample, shown.number))
    dear = found[-min(SHOWN, (len(found) + 1) // 2) :][::-1]
    cheap = found[: min(SHOWN, len(found) - len(dear))]
    top = max((int(shown.pixels.max()) for shown in (*cheap, *dear)), default=1)
    if np.dtype(stream.dtype).itemsize == 1 and top > 127:
        top = 255
    return Surprise(tuple(cheap), tuple(dear), len(events), taught, max(1, top))


def _first_block(archive: Archive) -> Block | None:
    """The first untaught block of the stream of which programs code the most samples."""
    directory = archive.directory
    sizes: dict[int, int] = {}
    for block in directory.blocks:
        if directory.streams[block.stream].type == LEARNED and block.program:
            coded = directory.elements(block.stream, block.first, block.first + block.count)
            sizes[block.stream] = sizes.get(block.stream, 0) + coded
    if not sizes:
        return None
    largest = max(sizes, key=lambda stream: sizes[stream])
    of_it: Sequence[Block] = directory.blocks_of[largest]
    return next((block for block in of_it if block.program and not block.taught), None)


def _valued(event: np.ndarray, stream: Stream) -> np.ndarray:
    return np.asarray(stream.levels, np.int64)[event] if stream.levels else event


def _pixel_bits(bits: np.ndarray) -> np.ndarray:
    if bits.ndim == 2:
        return bits
    each = bits.reshape(*bits.shape[:2], math.prod(bits.shape[2:]))
    return each.sum(axis=2, dtype=np.float64).astype(np.float32)
