"""Which ways of keeping a pile are to be taken: what is tried, and what follows from it.

How much is tried follows from the data and the profile alone, and so does what is chosen, unless time runs out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codelength.archive import general
from codelength.archive.layout import Channel, Coded, Constant
from codelength.archive.plan import ByCodecs, ByProgram, Plan, Way
from codelength.archive.ragged import gather
from codelength.laws.presets import preset
from codelength.packing.blocking import Blocking, Blocks, blocking
from codelength.packing.candidates import (
    Candidate,
    Clock,
    Form,
    Outcome,
    candidates,
    sample_of,
    trial_samples,
    try_out,
)
from codelength.packing.profiles import RATES, Profile
from codelength.packing.result import Trial
from codelength.packing.survey import MAX_SYMBOLS, Survey, first_fitting, kept_channels

GENERAL = "general codecs"
#: Bytes per second that general codecs code and decode, about, and bytes of a block of theirs.
PACKED, DECODED = 1e6, 2e7
CODEC_BLOCK = 4 * 2**20
#: General codecs are tried on so many bytes at most, and taken alone where they are clearly better; where they are
#: not, each block may still be kept by one.
GENERAL_BYTES = 2**19
CLEARLY = 0.97
#: Bytes that are read at a time.
PIECE = 2**22


@dataclass(frozen=True)
class Choice:
    """How a pile is to be kept.

    ways: in the order in which items are offered to them. trials: what was tried, the best first.
    bytes: expected of the pile with its programs; None where nothing was tried. seconds: expected of coding it on one
    core, decoding alike. item_seconds: of reading one item. memory: bytes that decoding needs.
    """

    survey: Survey
    ways: tuple[Way, ...]
    trials: tuple[Trial, ...]
    bytes: int | None
    seconds: float
    item_seconds: float
    memory: int

    @property
    def plan(self) -> Plan:
        return Plan(self.survey.pile.classes, self.ways)


def choose(
    survey: Survey,
    profile: Profile,
    *,
    seconds: float,
    blocks: Blocks | None = None,
    jobs: int = 1,
    clock: Clock = time.monotonic,
) -> Choice:
    """What to do with a pile. seconds: that choosing may take; 0 for the first guess. jobs: threads."""
    return _Chooser(survey, profile, seconds, blocks or Blocks(), jobs, clock).choose()


class _Chooser:
    def __init__(
        self, survey: Survey, profile: Profile, seconds: float, blocks: Blocks, jobs: int, clock: Clock
    ) -> None:
        self.survey, self.profile, self.seconds = survey, profile, seconds
        self.blocks, self.jobs, self.clock = blocks, jobs, clock
        self.pile = survey.pile
        self.deadline = clock() + seconds

    def choose(self) -> Choice:
        other = self._general() if self.seconds > 0 and self.pile.items else None
        if not self.survey.symbols:
            return self._by_codecs(other)
        fitting: dict[tuple[int, ...], list[np.ndarray]] = {}
        for picture in self.survey.images:
            fitting.setdefault(tuple(first_fitting(self.survey.maps, picture)), []).append(picture)
        main = max(fitting, key=lambda channels: sum(picture.size for picture in fitting[channels]))
        pictures, coded = fitting[main], len(kept_channels(main))
        samples = self.pile.dims * coded // len(main)
        found = [one for form in self._forms(main, pictures) for one in candidates(self.survey, form, self.profile)]
        outcome: Outcome | None = None
        if self.seconds > 0:
            most = trial_samples(len(found), samples, self.profile.rate, self.seconds)
            sample = sample_of(pictures, coded, most)
            outcome = try_out(found, sample, samples, jobs=self.jobs, deadline=self.deadline, clock=self.clock)
            found = outcome.order
        best, form = self._settled(found)
        if best is None or form is None:
            return self._by_codecs(other)
        stored = len(main) * self.pile.dtype.itemsize / coded
        block = blocking(self.blocks, self.pile.items, samples, stored, outcome, best.rate)
        trials = self._trials(found, best, outcome, samples, block) + ([other] if other else [])
        if other is not None and outcome is not None and other.bytes is not None:
            own = next(trial.bytes for trial in trials if trial.chosen)
            if own is not None and other.bytes < CLEARLY * own:
                return self._by_codecs(other, [trial for trial in trials if trial is not other])
        chosen = next((trial for trial in trials if trial.chosen), None)
        return Choice(
            self.survey,
            tuple(self._ways(best, form, block)),
            tuple(trials),
            None if chosen is None else chosen.bytes,
            samples / best.rate,
            block.read_samples / best.rate,
            self._memory(best, block),
        )

    # ---- forms

    def _forms(self, main: tuple[int, ...], pictures: Sequence[np.ndarray]) -> list[Form]:
        """The forms worth trying: values as they are, and by a table of those that occur."""
        kept = list(kept_channels(main))
        used = np.unique(np.concatenate([np.unique(picture[..., kept]) for picture in pictures])).astype(np.int64)
        direct = int(used[0]) >= 0 and int(used[-1]) < MAX_SYMBOLS
        table = Form(main, max(2, len(used)), _two_at_least(used))
        if self.survey.symbols == 2 and self.survey.levels:
            return [table]
        forms = [Form(main, self.survey.symbols)] if direct else []
        if (self.survey.levels or not direct) and len(used) <= MAX_SYMBOLS:
            forms.append(table)
        return forms

    def _settled(self, found: Sequence[Candidate]) -> tuple[Candidate | None, Form | None]:
        """The best candidate whose form holds the whole pile, and that form with the levels of the whole pile."""
        levels: tuple[int, ...] | None = None
        for one in found:
            if not one.form.levels or one.form.symbols == 2 or self.survey.is_whole:
                return one, one.form
            levels = self._all_levels() if levels is None else levels
            if levels:
                return one, Form(one.form.channels, max(2, len(levels)), levels)
        return None, None

    def _all_levels(self) -> tuple[int, ...]:
        """All values of the pile, () where they are too many for an alphabet, or no whole numbers."""
        used = np.zeros(0, np.int64)
        for items in self.pile.pieces(PIECE):
            for picture in self.pile.pictures(items):
                values = np.unique(picture[..., list(kept_channels(first_fitting(self.survey.maps, picture)))])
                if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
                    continue  # which goes to general codecs
                used = np.union1d(used, values.astype(np.int64))
            if len(used) > MAX_SYMBOLS:
                return ()
        return tuple(int(value) for value in used)

    # ---- ways

    def _ways(self, best: Candidate, form: Form, block: Blocking) -> list[Way]:
        """For each map of channels a way, and one for values beyond what was seen."""
        ways: list[Way] = [
            self._way(best, Form(channels, form.symbols, form.levels), block) for channels in self.survey.maps
        ]
        everything = 65536 if self.pile.dtype.itemsize == 2 else 256
        if self.pile.dtype.kind == "u" and self.pile.dtype.itemsize <= 2 and (form.levels or form.symbols < everything):
            kind = "photo" if best.kind == "binary" else best.kind
            ways.append(self._way(best, Form(self.survey.maps[-1], everything), block, kind))
        return ways

    def _way(self, best: Candidate, form: Form, block: Blocking, kind: str = "") -> ByProgram:
        kept = kept_channels(form.channels)
        program = preset(best.size, form.symbols, len(kept), kind or best.kind, frames=best.frames)
        channels: tuple[Channel, ...] = ()
        if len(form.channels) > 1 and kept != tuple(range(len(form.channels))):
            channels = tuple(Constant(~k) if k < 0 else Coded(kept.index(k)) for k in form.channels)
        assert self.pile.geometry is not None
        axes = self.pile.geometry.axes
        return ByProgram(
            program,
            form.levels,
            channels,
            axes if len(axes) > 1 else (),
            block_items=block.items,
            block_bytes=block.bytes,
            taught=block.taught,
        )

    def _memory(self, best: Candidate, block: Blocking) -> int:
        assert self.pile.geometry is not None
        sides = [[one.shape[axis] for axis in self.pile.geometry.axes] for one in self.pile.classes]
        height = max(side[0] if len(side) > 1 else 1 for side in sides)
        width = max(side[1] if len(side) > 1 else side[0] for side in sides)
        shape = (height, width) if best.channels == 1 else (height, width, best.channels)
        learners = (2 if block.taught else 1) * best.model.learner_bytes(shape)
        return learners + int(16 * block.samples)

    # ---- trials

    def _trials(
        self, found: Sequence[Candidate], best: Candidate, outcome: Outcome | None, samples: int, block: Blocking
    ) -> list[Trial]:
        trials = []
        for one in found if outcome is not None else ():
            assert outcome is not None
            seen = sum(outcome.sample.sizes[: len(one.bits)])
            bits = one.expected(outcome.sample.sizes, samples) * (1 + (block.cost if one is best else 0.0))
            trials.append(
                Trial(
                    one.name,
                    one is best,
                    math.ceil(sum(one.bits) / 8),
                    math.ceil(bits / 8) + one.program_bytes if seen else None,
                    samples / one.rate,
                    samples / one.rate,
                    block.read_samples / one.rate,
                    self._memory(one, block),
                )
            )
        if outcome is None:
            rate = RATES[best.size]
            read = block.read_samples / rate
            memory = self._memory(best, block)
            trials.append(Trial(best.name, True, None, None, samples / rate, samples / rate, read, memory))
        return trials

    def _general(self) -> Trial:
        """General codecs on a part of the pile."""
        pile, images = self.pile, self.survey.images
        items: list[np.ndarray] = []
        if images:
            assert pile.geometry is not None
            for image in images:
                rows = (GENERAL_BYTES - sum(item.nbytes for item in items)) // max(1, image[:1].nbytes)
                if rows <= 0:
                    break
                items.append(pile.geometry.item(image[:rows]))
        else:
            items = pile.read(0, max(1, min(pile.items, GENERAL_BYTES * pile.items // max(1, pile.raw_bytes))))
        start = time.thread_time()
        packed = general.pack(gather([item[None] for item in items]), alone=bool(images))
        assert packed is not None
        seen = sum(item.nbytes for item in items)
        seconds = (time.thread_time() - start) * pile.raw_bytes / max(1, seen)
        size = math.ceil(len(packed.data) * pile.raw_bytes / max(1, seen))
        block = self._codec_block
        decode = pile.raw_bytes / DECODED
        return Trial(GENERAL, False, len(packed.data), size, seconds, decode, block / DECODED, 4 * block)

    @property
    def _codec_items(self) -> int:
        """Items of a block of general codecs."""
        if self.blocks.items is not None:
            return self.blocks.items
        most = CODEC_BLOCK if self.blocks.seconds is None else min(CODEC_BLOCK, int(self.blocks.seconds * DECODED))
        return max(1, most * self.pile.items // max(1, self.pile.raw_bytes))

    @property
    def _codec_block(self) -> int:
        """Bytes of such a block, unpacked."""
        each = self.pile.raw_bytes / max(1, self.pile.items)
        return min(self.pile.raw_bytes, max(math.ceil(each), min(CODEC_BLOCK, int(self._codec_items * each))))

    def _by_codecs(self, tried: Trial | None, others: Sequence[Trial] = ()) -> Choice:
        block = self._codec_block
        if tried is None:
            decode = self.pile.raw_bytes / DECODED
            tried = Trial(GENERAL, True, None, None, self.pile.raw_bytes / PACKED, decode, block / DECODED, 4 * block)
        chosen = replace(tried, chosen=True)
        trials = (chosen, *(replace(trial, chosen=False) for trial in others))
        assert chosen.encode_seconds is not None and chosen.item_seconds is not None and chosen.memory is not None
        return Choice(
            self.survey,
            (ByCodecs(self._codec_items, CODEC_BLOCK),),
            trials,
            chosen.bytes,
            chosen.encode_seconds,
            chosen.item_seconds,
            chosen.memory,
        )


def _two_at_least(used: np.ndarray) -> tuple[int, ...]:
    """The values as levels; an alphabet has two symbols at least."""
    if len(used) == 1:
        return (int(used[0]) - 1, int(used[0])) if used[0] > 0 else (int(used[0]), int(used[0]) + 1)
    return tuple(int(value) for value in used)
