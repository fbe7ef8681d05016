"""Adaptive programs that may suit a pile, tried side by side on its sample.

A program learns from what it codes, so that a small sample understates it: all candidates see the same images in the
same order, each with what it has learned so far, and what counts for the rest of the pile is how they did at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from codelength.adaptive.learner import Learner
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset
from codelength.packing.profiles import RATES, Profile
from codelength.packing.survey import Survey, kept_channels

#: Rounds of a trial, after each of which candidates that are so much behind the best are dropped.
ROUNDS = 3
BEHIND = 1.03
#: What a table of levels counts for.
LEVELS = 1.003
#: Trying takes this share of what coding is expected to take, in seconds within these bounds.
TRIAL_SHARE, LEAST_SECONDS, MOST_SECONDS = 0.1, 2.0, 12.0
#: Samples of a trial, at least where there are as many, and at most.
LEAST_SAMPLES, MOST_SAMPLES = 2**16, 2**20
#: Piles of fewer samples try all sizes of their profile: programs with fewer contexts learn sooner.
FEW_SAMPLES = 2**18

Clock = Callable[[], float]


@dataclass(frozen=True)
class Form:
    """How the images of a pile become those of a program.

    channels: a map of channels as of ``Survey.maps``. levels: the value that each symbol stands for; empty where
    symbols are the values. symbols: size of the alphabet.
    """

    channels: tuple[int, ...]
    symbols: int
    levels: tuple[int, ...] = ()

    def image(self, picture: np.ndarray) -> np.ndarray:
        """Symbols (h, w) or (h, w, c) of a picture (h, w, channels) whose values are all among the levels."""
        kept = list(kept_channels(self.channels))
        coded = picture[..., kept[0]] if len(kept) == 1 else picture[..., kept]
        if self.levels:
            return np.searchsorted(np.array(self.levels, np.int64), coded.astype(np.int64))
        return np.ascontiguousarray(coded if coded.dtype.kind in "bu" else coded.astype(np.int64))


@dataclass
class Candidate:
    """A program, and how it has done so far.

    size, kind, frames: as of ``laws.presets.preset``. bits: of each image of the trial. seconds, samples: that these
    took, and had.
    """

    form: Form
    size: str
    kind: str
    frames: bool
    model: FrozenModel
    bits: list[float] = field(default_factory=list)
    seconds: float = 0.0
    samples: int = 0

    @property
    def name(self) -> str:
        more = (", with levels" if self.form.levels else "") + (", frames" if self.frames else "")
        return f"adaptive {self.size}, {self.kind}{more}"

    @property
    def channels(self) -> int:
        """That are coded."""
        return len(kept_channels(self.form.channels))

    @property
    def rate(self) -> float:
        """Samples per second; as expected of its size where nothing was measured."""
        return self.samples / self.seconds if self.seconds > 0 else RATES[self.size]

    @property
    def program_bytes(self) -> int:
        """Of the program and its table of levels in an archive."""
        return len(self.model.to_bytes()) + len(self.form.levels)

    def expected(self, sizes: Sequence[int], samples: int) -> float:
        """Bits of a pile of so many samples, of which images of these sizes are the sample."""
        done = sizes[: len(self.bits)]
        seen, cost = sum(done), sum(self.bits)
        if not seen:
            return math.inf
        half = int(np.searchsorted(np.cumsum(done), seen / 2))
        late = sum(self.bits[half:]) / sum(done[half:])
        return cost + max(0, samples - seen) * late


def candidates(survey: Survey, form: Form, profile: Profile) -> list[Candidate]:
    """Programs worth trying for images in a form, the likeliest first."""
    few = survey.pile.dims <= FEW_SAMPLES
    sizes = profile.sizes[::-1] if few else profile.sizes[-1:]
    kinds = ("binary",) if form.symbols == 2 else tuple(kind for kind in survey.kinds if kind != "binary") or ("photo",)
    count = len(kept_channels(form.channels))
    return [
        Candidate(form, size, kind, frames, preset(size, form.symbols, count, kind, frames=frames))
        for size in sizes
        for kind in kinds
        for frames in ((True, False) if survey.previous else (False,))
    ]


@dataclass(frozen=True)
class Sample:
    """Pictures (h, w, channels) of a trial, in order. sizes: samples that are coded of each."""

    pictures: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]


def sample_of(pictures: Sequence[np.ndarray], coded: int, most: int) -> Sample:
    """About so many samples of pictures with so many coded channels: half of them from the first pictures and half from
    later ones, so that neighbours stay together. Pictures that are too long are cut off."""
    total = sum(picture.shape[0] * picture.shape[1] * coded for picture in pictures)
    chosen: list[np.ndarray] = []
    if total <= most:
        chosen = list(pictures)
    else:
        half = (len(pictures) + 1) // 2
        for part, room in ((pictures[:half], most / 2), (pictures[half:], most / 2)):
            left = room if half < len(pictures) else most
            for picture in part:
                row = picture.shape[1] * coded
                rows = int(min(picture.shape[0], left // row))
                if rows:
                    chosen.append(picture[:rows])
                left -= picture.shape[0] * row
                if left <= 0:
                    break
        chosen = chosen or [pictures[0][:1]]
    return Sample(tuple(chosen), tuple(picture.shape[0] * picture.shape[1] * coded for picture in chosen))


def trial_samples(count: int, samples: int, rate: float, most_seconds: float) -> int:
    """Coded samples of a trial of so many candidates for a pile of so many, by the rate of a profile."""
    seconds = min(most_seconds / 2, MOST_SECONDS, max(LEAST_SECONDS, TRIAL_SHARE * samples / rate))
    return int(min(MOST_SAMPLES, max(LEAST_SAMPLES, seconds * rate / max(1, count))))


@dataclass
class Outcome:
    """What a trial has shown.

    sample: that was tried. order: the candidates, the best for the pile first; those that fell behind on the way last.
    restart, taught: bits that coding the last round took more where the best candidate began untaught, or with what
    the first round has taught it, instead of with all that came before; last: samples of that round.
    """

    sample: Sample
    order: list[Candidate]
    restart: float = 0.0
    taught: float = 0.0
    last: int = 0

    @property
    def late(self) -> float:
        """Bits per sample of the best candidate in the last round."""
        best = self.order[0]
        done = np.cumsum(self.sample.sizes[: len(best.bits)])
        first = int(np.searchsorted(done, done[-1] - self.last, side="right"))
        return sum(best.bits[first:]) / max(1, self.last)


def try_out(
    found: Sequence[Candidate],
    sample: Sample,
    samples: int,
    *,
    jobs: int = 1,
    deadline: float = math.inf,
    clock: Clock = time.monotonic,
) -> Outcome:
    """Let candidates code the sample of a pile of so many samples.

    deadline: of the clock, after which no further round begins. jobs: threads.
    """
    for one in found:  # compiled code is loaded, or made, before the watch starts
        one.model.learner().lengths([one.form.image(sample.pictures[0][:1, :1])])
    runs = [_Run(one) for one in found]
    behind: list[_Run] = []
    ends = _rounds(sample.sizes)
    start = 0
    with ThreadPoolExecutor(max(1, min(jobs, len(runs)))) as pool:
        for number, stop in enumerate(ends):
            if number and clock() >= deadline:
                break
            pictures = sample.pictures[start:stop]
            list(pool.map(lambda run, pictures=pictures: run.advance(pictures, clock), runs))
            limit = BEHIND * min(run.last for run in runs)
            if number + 1 < len(ends):
                behind = [run for run in runs if run.last > limit] + behind
                runs = [run for run in runs if run.last <= limit]
            start = stop
    runs.sort(key=lambda run: _cost(run.candidate, sample.sizes, samples))
    outcome = Outcome(sample, [run.candidate for run in runs + behind])
    best = runs[0]
    if best.first is not None and clock() < deadline:
        outcome.last = sum(image.size for image in best.images)
        outcome.restart = float(best.candidate.model.learner().lengths(best.images).sum()) - best.last
        outcome.taught = float(best.first.lengths(best.images).sum()) - best.last
    return outcome


def _cost(one: Candidate, sizes: Sequence[int], samples: int) -> float:
    """Bits that a pile is expected to take. Tables of levels have to earn it: images with other values, which may be
    there or come later, go to another stream."""
    return (LEVELS if one.form.levels else 1.0) * one.expected(sizes, samples) + 8 * one.program_bytes


class _Run:
    """A candidate at work. last: bits of the last round, whose images are ``images``. first: what it knew after the
    first round, where there were more."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.learner = candidate.model.learner()
        self.first: Learner | None = None
        self.last = 0.0
        self.images: list[np.ndarray] = []

    def advance(self, pictures: Sequence[np.ndarray], clock: Clock) -> None:
        one = self.candidate
        if one.bits and self.first is None:
            self.first = self.learner.copy()
        self.images = [one.form.image(picture) for picture in pictures]
        began = clock()
        bits = self.learner.lengths(self.images)
        one.seconds += clock() - began
        one.bits += bits.tolist()
        one.samples += sum(image.size for image in self.images)
        self.last = float(bits.sum())


def _rounds(sizes: Sequence[int]) -> list[int]:
    """Where rounds of about the same number of samples end."""
    ends = np.cumsum(sizes)
    stops = {int(np.searchsorted(ends, ends[-1] * k / ROUNDS)) + 1 for k in range(1, ROUNDS + 1)}
    return sorted({min(stop, len(sizes)) for stop in stops})
