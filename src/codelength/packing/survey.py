"""A look at data before it is packed: all shapes, and the samples of some images.

What is said of a pile from a part of it need not hold for the rest. Nothing depends on it: every image is checked when
it is written, and one that does not fit what was found goes to another stream.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codelength.archive.sources import Source
from codelength.packing.findings import Finding
from codelength.packing.piles import ItemPile, piles_of

#: Bytes of samples that are looked at, in so many runs of neighbours; a pile of no more is looked at as a whole.
SAMPLE_BYTES = 6 * 2**20
RUNS = 6
#: Of the pixels of one image no more are looked at, in whole rows.
IMAGE_BYTES = 2**20
#: An alphabet has at most so many symbols.
MAX_SYMBOLS = 65536
#: Share of samples that equal their median-edge guess, above which an image counts as drawn, and below which as taken.
DRAWN, TAKEN = 0.7, 0.25
#: Share of images from which on those that are grey get a stream of their own.
MANY = 0.1


@dataclass(frozen=True)
class Survey:
    """What a pile was found to be like.

    pile: that was looked at. starts: numbers of the items in the sample. images: their pictures (h, w, channels),
    rows cut off at ``IMAGE_BYTES``.
    findings: in words. symbols: least alphabet that holds all samples that were seen, 0 where values are no symbols.
    levels: whether the values have gaps that a table may pay for. maps: ways to leave channels out, of which an image
    takes the first that fits it: for each stored channel, the stored channel that it equals (mostly itself), or a
    constant as ``~value``. The last one leaves nothing out.
    equal: share of samples that equal their median-edge guess. previous: whether the previous image of the same shape
    is a better guess than the neighbours within an image.
    """

    pile: ItemPile
    sample: tuple[int, ...]
    images: tuple[np.ndarray, ...]
    findings: tuple[Finding, ...]
    symbols: int = 0
    levels: bool = False
    maps: tuple[tuple[int, ...], ...] = ()
    equal: float = 0.0
    previous: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The trees worth trying, the likelier first: ``photo``, ``drawn``, ``binary``."""
        if self.symbols == 2:
            return ("binary",)
        if self.equal >= DRAWN:
            return ("drawn", "photo") if self.equal < (1 + DRAWN) / 2 else ("drawn",)
        return ("photo",) if self.equal < TAKEN else ("photo", "drawn")

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out of the look."""
        return len(self.sample) == self.pile.items and not self.cut

    @cached_property
    def cut(self) -> bool:
        seen = sum(image.size for image in self.images)
        return seen < sum(_dims(self.pile, number) for number in self.sample)


def kept_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """Numbers of the stored channels that a map of channels, as of ``Survey.maps``, keeps."""
    return tuple(k for k, channel in enumerate(channels) if channel == k)


def fits(channels: Sequence[int], image: np.ndarray) -> bool:
    """Whether the image (h, w, channels) follows from the channels that a map keeps."""
    return all(
        channel == k or bool((image[..., k] == (image[..., channel] if channel >= 0 else ~channel)).all())
        for k, channel in enumerate(channels)
    )


def first_fitting(maps: Sequence[Sequence[int]], image: np.ndarray) -> Sequence[int]:
    """The first map of channels that an image fits; the last one fits all."""
    return next((channels for channels in maps[:-1] if fits(channels, image)), maps[-1])


def survey(source: Source) -> list[Survey]:
    """A look at each pile of a source. Raises DataError where an item cannot be read."""
    return [look_at(pile) for pile in piles_of(source)]


def look_at(pile: ItemPile, most: int = SAMPLE_BYTES) -> Survey:
    """A look at about ``most`` bytes of a pile, a pair of neighbours at least."""
    numbers = choose(pile, most)
    if pile.geometry is None or pile.dtype.kind not in "buif" or pile.dtype.itemsize > 8:
        return Survey(pile, (), (), (_plain(pile),))
    images: list[np.ndarray] = []
    for start, stop in _runs(numbers):
        images += [_top(image) for image in pile.pictures(pile.read(start, stop))]
    return _Look(pile, numbers, images).survey()


def _dims(pile: ItemPile, number: int) -> int:
    return pile.ends[number] - (pile.ends[number - 1] if number else 0)


def choose(pile: ItemPile, most: int) -> list[int]:
    """Numbers of the items to look at, ascending: all where they are few, else runs of neighbours from all over."""
    if pile.items <= 2 or pile.raw_bytes <= most:
        return list(range(pile.items))
    runs = min(RUNS, pile.items // 2)
    chosen: set[int] = set()
    for run in range(runs):
        start = run * pile.items // runs
        limit = (pile.ends[start - 1] if start else 0) + most // runs // pile.dtype.itemsize
        stop = bisect.bisect_right(pile.ends, limit, start)
        chosen |= set(range(start, min(max(stop, start + 2), (run + 1) * pile.items // runs)))
    return sorted(chosen)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """[start, stop) of neighbours in ascending numbers, a few at a time."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number and number - runs[-1][0] < 256:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _top(image: np.ndarray) -> np.ndarray:
    """The first rows of an image that would take long to look at as a whole."""
    rows = max(1, IMAGE_BYTES // max(1, image[0].size * image.dtype.itemsize))
    return np.ascontiguousarray(image[:rows])


def _plain(pile: ItemPile) -> Finding:
    what = "are no images" if pile.dtype.kind != "f" else "hold numbers that are not whole"
    return Finding("kept", f"{pile.title} {what}: kept by general codecs", pile.items, 0)


class _Look:
    """The facts about the images of a sample, found one by one."""

    def __init__(self, pile: ItemPile, numbers: Sequence[int], images: Sequence[np.ndarray]) -> None:
        self.pile = pile
        self.numbers = tuple(numbers)
        self.images = tuple(images)
        self.sampled = len(numbers) < pile.items or any(
            image.size < _dims(pile, number) for number, image in zip(numbers, images)
        )
        self.found: list[Finding] = []

    def add(self, kind: str, text: str, items: int | None = None, **about: object) -> None:
        count = len(self.images)
        self.found.append(Finding(kind, text, count if items is None else items, count, self.sampled, about))

    def survey(self) -> Survey:
        pile = self.pile
        if pile.dtype.kind == "f" and not all(_is_whole(image) for image in self.images):
            return Survey(pile, self.numbers, (), (_plain(pile),))
        self.add("images", self._sizes(), pile.items)
        maps = self._maps()
        coded = [image[:, :, list(kept_channels(first_fitting(maps, image)))] for image in self.images]
        symbols, levels = self._values(coded)
        self._duplicates()
        if not symbols:
            return Survey(pile, self.numbers, (), tuple(self.found))
        equal = self._equal(coded, symbols)
        previous = self._previous(coded)
        return Survey(
            pile, self.numbers, self.images, tuple(self.found), symbols, levels, maps, equal, previous
        )  # fmt: skip

    def _sizes(self) -> str:
        sizes = {one.shape for one in self.pile.classes}
        return self.pile.title + (f", in {len(sizes):,} sizes" if len(sizes) > 1 else "")

    # Channels.

    def _maps(self) -> tuple[tuple[int, ...], ...]:
        """As of ``Survey``: what holds for all images looked at, and what holds for many of them."""
        count = self.pile.geometry.channels if self.pile.geometry is not None else 1
        everything = tuple(range(count))
        if count == 1:
            return (everything,)
        shared = list(everything)
        for k in everything:
            values = {int(v) for image in self.images for v in (image[..., k].min(), image[..., k].max())}
            if len(values) == 1 and min(values) >= 0:
                shared[k] = ~values.pop()
        opaque = ~(1 if self.pile.dtype.kind == "b" else np.iinfo(self.pile.dtype).max if self._is_int else -1)
        alpha = count in (2, 4) and shared[-1] == opaque
        same = [bool((image[..., 0:1] == image[..., 1:3]).all()) for image in self.images] if count >= 3 else [False]
        stored = "RGBA" if count == 4 else "RGB"
        if all(same):
            self.add("grey", f"the colour channels are equal: grey stored as {stored}", channels=count)
        elif sum(same) >= MANY * len(same):
            self.add("grey", f"{sum(same):,} of {len(same):,} images are grey stored as {stored}", sum(same))
        if alpha:
            self.add("opaque", "alpha is opaque", channels=count)
        left = [k for k in everything if shared[k] < 0 and not (alpha and k == count - 1)]
        if left and not all(same):
            some = ", ".join(f"{k} is {~shared[k]}" for k in left)
            self.add("constant", f"channels of one value: {some}", channels=left)
        if all(channel < 0 for channel in shared):
            shared[0] = 0  # something has to be coded
        maps = [tuple(shared), everything]
        if any(same) and sum(same) >= MANY * len(same):
            maps.insert(0, (0, 0, 0, *shared[3:]))
            if all(same):
                del maps[1]
        return tuple(dict.fromkeys(maps))

    @property
    def _is_int(self) -> bool:
        return self.pile.dtype.kind in "iu"

    # Values.

    def _values(self, coded: Sequence[np.ndarray]) -> tuple[int, bool]:
        """The alphabet, 0 for none, and whether a table of used values may pay."""
        used = np.unique(np.concatenate([np.unique(image) for image in coded])).astype(np.int64)
        low, high = int(used[0]), int(used[-1])
        count = sum(image.size for image in coded)
        stored = {"b": 1}.get(self.pile.dtype.kind, 8 * self.pile.dtype.itemsize)
        if len(used) == 1:
            self.add("constant", f"every sample is {low}", value=low)
        elif len(used) == 2:
            self.add("binary", f"two values, {low} and {high}" + (f", in {stored} bits" if stored > 1 else ""))
        needs_table = low < 0 or high >= MAX_SYMBOLS
        span = high - low + 1
        # New values turn up forever where few samples were seen: gaps count where all were, or where half of them
        # have shown nearly all values.
        gaps = len(used) <= 0.75 * span and count >= 8 * len(used) and (not self.sampled or self._settled(coded))
        if len(used) > 2:
            bits = max(1, high.bit_length()) if low >= 0 else 0
            if 0 < bits < stored:
                self.add("depth", f"{bits} of {stored} bits are used (values {low:,} to {high:,})", bits=bits)
            if gaps:
                self.add("levels", f"only {len(used):,} of the values {low:,} to {high:,} occur", levels=len(used))
        if len(used) <= 2:
            return 2, (low, high) not in ((0, 1), (0, 0), (1, 1))
        if needs_table:
            return (len(used) if len(used) <= MAX_SYMBOLS and (gaps or not self.sampled) else 0), True
        symbols = min(1 << high.bit_length(), MAX_SYMBOLS)  # with room for what was not seen, or comes later
        if not gaps and count >= 4 * span and len(used) >= 0.9 * span and self._noisy(coded, span):
            self.add("noise", "neighbours tell nothing of each other: noise")
        return symbols, gaps

    def _settled(self, coded: Sequence[np.ndarray]) -> bool:
        """Whether the second half of the samples brings hardly a new value."""
        flat = [image.reshape(-1) for image in coded]
        if len(flat) == 1:
            flat = np.array_split(flat[0], 2)
        half = (len(flat) + 1) // 2
        before = np.unique(np.concatenate([np.unique(part) for part in flat[:half]]))
        after = np.concatenate(flat[half:])
        return bool(np.isin(after, before, invert=True).mean() < 0.001)

    def _noisy(self, coded: Sequence[np.ndarray], span: int) -> bool:
        """Whether the differences of neighbours are as large as those of any two samples."""
        near = far = 0.0
        rng = np.random.default_rng(0)
        for image in coded[:16]:
            values = image.astype(np.float64)
            if values.shape[1] > 1:
                near += float(np.abs(np.diff(values, axis=1)).mean())
                mixed = rng.permutation(values.reshape(-1, values.shape[2]))
                far += float(np.abs(np.diff(mixed, axis=0)).mean())
        return far > 0 and near >= 0.97 * far

    def _equal(self, coded: Sequence[np.ndarray], symbols: int) -> float:
        """Share of samples that equal their median-edge guess."""
        equal = total = 0
        for image in coded:
            if image.shape[0] > 1 and image.shape[1] > 1:
                values = image.astype(np.int64)
                north, west, corner = values[:-1, 1:], values[1:, :-1], values[:-1, :-1]
                guess = np.clip(north + west - corner, np.minimum(north, west), np.maximum(north, west))
                equal += int((guess == values[1:, 1:]).sum())
                total += guess.size
        share = equal / total if total else 0.0
        if share >= DRAWN and symbols > 2:
            self.add("drawn", f"{share:.0%} of the samples equal the guess from their neighbours: flat or drawn")
        return share

    # Between images.

    def _duplicates(self) -> None:
        seen = {hashlib.sha256(image.tobytes() + repr(image.shape).encode()).digest() for image in self.images}
        twice = len(self.images) - len(seen)
        if twice:
            self.add("duplicates", f"{twice:,} of {len(self.images):,} images occurred before", twice)

    def _previous(self, coded: Sequence[np.ndarray]) -> bool:
        """Whether the previous image is a better guess than the median-edge one within an image."""
        between = within = 0.0
        pairs = 0
        for first, second, left, right in zip(self.numbers, self.numbers[1:], coded, coded[1:]):
            if second != first + 1 or left.shape != right.shape or min(left.shape[:2]) < 2:
                continue
            before, now = left.astype(np.int64), right.astype(np.int64)
            between += float(np.abs(now - before)[1:, 1:].mean())
            within += float(np.minimum(np.abs(now[1:, 1:] - now[:-1, 1:]), np.abs(now[1:, 1:] - now[1:, :-1])).mean())
            pairs += 1
        if pairs and between < within:
            self.add("frames", "each image is a good guess of the next: frames or slices in order", pairs)
            return True
        return False


def _is_whole(image: np.ndarray) -> bool:
    """Whether floats are whole numbers that 32 bits hold, none of them a negative zero."""
    with np.errstate(invalid="ignore"):
        fits = np.isfinite(image) & (np.abs(image) < 2**31)
    return bool(fits.all()) and bool((image == np.round(image)).all()) and not bool(np.signbit(image[image == 0]).any())
