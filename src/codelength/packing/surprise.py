"""Images of an archive with what each of their pixels cost there, for whoever looks at what packing did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codelength.archive.directory import Block
from codelength.archive.fitting import to_events
from codelength.archive.layout import Stream
from codelength.archive.reader import Archive
from codelength.laws.frozen import FrozenModel

#: Samples that are coded again for their maps: some seconds of work.
SAMPLES = 1_500_000
#: The part of the images that only teaches, since what comes first is dear whatever it shows.
TEACHING = 4
MOST_TEACHING = 256
#: Images that are shown on either side.
SHOWN = 3
#: Piles that are looked at, the largest ones.
PILES = 4


@dataclass(frozen=True)
class Shown:
    """An image with its map.

    number: of the item in the archive. name: empty for rows of arrays. pixels (h, w) or (h, w, c): values as coded.
    top: the highest value of a sample, for showing it. bits (h, w): float32, of each pixel, summed over channels.
    total: bits of the image.
    """

    number: int
    name: str
    pixels: np.ndarray
    top: int
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
    as the archive codes them, and of these ``taught_by``, the first ones of each pile, are not shown. piles: how many
    sorts of images they are of.
    """

    cheapest: tuple[Shown, ...]
    dearest: tuple[Shown, ...]
    looked_at: int
    taught_by: int
    piles: int


def find_surprise(path: str | Path) -> Surprise | None:
    """What the pixels of an archive's images cost, looked at in the blocks that begin the largest piles which programs
    code; None where general codecs keep everything, or a trained model.

    Decodes these blocks, and codes some of their images again. Raises what reading an archive does.
    """
    with Archive.open(path, max_memory=None) as archive:
        blocks = _first_blocks(archive)
        looked_at, taught_by, found = 0, 0, list[Shown]()
        for block in blocks:
            shown, taught = _of_block(archive, block, SAMPLES // len(blocks))
            looked_at, taught_by, found = looked_at + len(shown), taught_by + taught, found + shown[taught:]
    if not found:
        return None
    found.sort(key=lambda shown: (shown.per_sample, shown.number))
    dear = found[-min(SHOWN, (len(found) + 1) // 2) :][::-1]
    cheap = found[: min(SHOWN, len(found) - len(dear))]
    return Surprise(tuple(cheap), tuple(dear), looked_at, taught_by, len(blocks))


def _of_block(archive: Archive, block: Block, room: int) -> tuple[list[Shown], int]:
    """Images from the beginning of a block, of so many samples in all (one of them at least), and how many of them did
    no more than teach."""
    stream = archive.directory.streams[block.stream]
    entries = archive.directory.entries_of(block.stream, block.first, block.first + block.count).tolist()
    names = archive.names
    model = FrozenModel.from_bytes(archive.directory.programs[block.program - 1], check_golden=False)
    learner, found = model.learner(), list[Shown]()
    for entry, item in zip(entries, archive.decode_block(block)):
        event = to_events(item[None], stream.sized(*item.shape[:2]) if stream.is_free else stream)[0]
        if found and event.size > room:
            break
        room -= event.size
        pixels = _valued(event, stream)
        top = max(1, int(pixels.max()))
        if np.dtype(stream.dtype).itemsize == 1 and model.space.symbols > 2:
            top = 255
        name = names[entry] if names else ""
        found.append(Shown(entry, name, pixels, top, _pixel_bits(learner.maps([event])[0])))
    return found, min(len(found) // TEACHING, MOST_TEACHING)


def _first_blocks(archive: Archive) -> list[Block]:
    """The first untaught block of each stream that programs code, those of the most samples first."""
    directory = archive.directory
    sizes: dict[int, int] = {}
    for block in directory.blocks:
        if block.program:
            coded = directory.elements(block.stream, block.first, block.first + block.count)
            sizes[block.stream] = sizes.get(block.stream, 0) + coded
    largest = sorted(sizes, key=lambda stream: (-sizes[stream], stream))[:PILES]
    first = (next((one for one in directory.blocks_of[k] if one.program and not one.taught), None) for k in largest)
    return [block for block in first if block is not None]


def _valued(event: np.ndarray, stream: Stream) -> np.ndarray:
    return np.asarray(stream.levels, np.int64)[event] if stream.levels else event


def _pixel_bits(bits: np.ndarray) -> np.ndarray:
    if bits.ndim == 2:
        return bits
    each = bits.reshape(*bits.shape[:2], math.prod(bits.shape[2:]))
    return each.sum(axis=2, dtype=np.float64).astype(np.float32)
