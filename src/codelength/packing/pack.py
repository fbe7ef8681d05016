"""Packing: look, choose, write, verify, compare."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from codelength.archive.layout import FILES, METADATA
from codelength.archive.pile import Written
from codelength.archive.plan import ByProgram, Plan
from codelength.archive.read_cost import ReadCost
from codelength.archive.reader import Archive
from codelength.archive.sources import ItemClass, Source
from codelength.archive.writer import write_archive
from codelength.data.opened import Opened
from codelength.errors import UsageError
from codelength.laws.frozen import FrozenModel
from codelength.machine import notice
from codelength.packing import peers
from codelength.packing.blocking import Blocks
from codelength.packing.choice import Choice, choose
from codelength.packing.findings import Finding
from codelength.packing.piles import ItemPile, geometry_of
from codelength.packing.profiles import DEFAULT, profile_of
from codelength.packing.result import PackResult, Peer, Pile
from codelength.packing.survey import Survey, look_at, survey
from codelength.packing.trained import better
from codelength.progress import task
from codelength.weights import packaged

#: Stored bytes of a pile by which an estimate judges general codecs.
PEER_PART = 2**17
#: Bytes that are looked at of what is beyond a trained model.
FALLBACK_SAMPLE = 2**20
#: Bytes of samples from which on measuring general codecs takes so long that it is worth a word.
LONG_COMPARISON = 2**21
#: Of a small archive: header, directory and checks.
FRAME_BYTES = 300


@dataclass(frozen=True)
class Settings:
    """What is asked of packing.

    profile: ``fast``, ``balanced`` or ``small``. max_minutes: that choosing may take; 0 for the first guess.
    compare: measure general codecs beside. jobs: threads. blocks: how large blocks are to be.
    max_memory: bytes that decoding may need. verify: decode everything before the archive gets its name.
    force: replace an archive that is there. resume: go on where a killed run has stopped.
    """

    profile: str = "balanced"
    max_minutes: float = 1.0
    compare: bool = True
    jobs: int = 1
    blocks: Blocks = field(default_factory=Blocks)
    max_memory: int | None = None
    verify: bool = True
    force: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        profile_of(self.profile)
        if not 0 <= self.max_minutes < math.inf:
            raise UsageError(f"expected minutes of at least 0 for choosing, got {self.max_minutes}")
        if self.jobs < 1:
            raise UsageError(f"expected at least one job, got {self.jobs}")


class Packing:
    """One run, step by step: ``look``, then ``estimate`` or ``write``, then ``compare``.

    name: of the data, for the record.
    """

    def __init__(self, opened: Opened, name: str, settings: Settings) -> None:
        self.opened, self.name, self.settings = opened, name, settings
        self.source: Source = opened.archived
        self.surveys: list[Survey] = []
        self.choices: list[Choice] = []
        self.model: FrozenModel | None = None
        self.model_name = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start

    # ---- before anything is written

    def look(self) -> PackResult:
        """What was found, and what is expected of the ways that were chosen."""
        with self._timed("look"):
            self.surveys = survey(self.source)
        profile = profile_of(self.settings.profile)
        left = 60 * self.settings.max_minutes
        raw = sum(found.pile.raw_bytes for found in self.surveys)
        with self._timed("choose"), task("trying what suits", len(self.surveys), "piles") as advance:
            for found in sorted(self.surveys, key=lambda found: found.pile.raw_bytes):
                start = time.monotonic()
                share = left * found.pile.raw_bytes / raw if raw else 0.0
                self.choices.append(
                    choose(found, profile, seconds=share, blocks=self.settings.blocks, jobs=self.settings.jobs)
                )
                left, raw = max(0.0, left - (time.monotonic() - start)), raw - found.pile.raw_bytes
                advance(1)
        order = {id(found): number for number, found in enumerate(self.surveys)}
        self.choices.sort(key=lambda choice: order[id(choice.survey)])
        if self.settings.max_minutes > 0:
            with self._timed("choose"):
                self._consider_trained(time.monotonic() + left)
        return self._record()

    def _consider_trained(self, deadline: float) -> None:
        """Take a packaged model where it saves something."""
        found = better(self.choices, packaged(), profile_of(self.settings.profile).rate, deadline)
        if found is not None:
            self.choices[found.number] = found.choice
            self.model, self.model_name = found.model, found.name

    def estimate(self) -> PackResult:
        """The same with general codecs judged by a part of the samples, where they are wanted."""
        record = self._record()
        if not self.settings.compare:
            return record
        with self._timed("compare"):
            found = peers.measure(
                self.surveys,
                jobs=self.settings.jobs,
                part=PEER_PART,
                kept_bytes=self._kept_size,
                kept_items=self._kept_items,
            )
        return replace(record, peers=tuple(found), seconds=dict(self.seconds))

    def _record(self) -> PackResult:
        """All that is known without an archive."""
        piles = tuple(
            Pile(
                found.pile.title,
                found.pile.items,
                found.pile.raw_bytes,
                len(found.sample),
                found.findings,
                choice.trials,
            )
            for found, choice in zip(self.surveys, self.choices)
        )
        expected = [choice.bytes for choice in self.choices]
        known = [size for size in expected if size is not None]
        raw = sum(found.pile.raw_bytes for found in self.surveys)
        names = self.source.names
        return PackResult(
            data=self.name,
            archive="",
            profile=self.settings.profile,
            items=self.source.items,
            dims=sum(found.pile.dims for found in self.surveys),
            source_bytes=self.opened.size,
            raw_bytes=raw,
            archive_bytes=None,
            expected_bytes=sum(known) + self._kept_size + FRAME_BYTES if len(known) == len(expected) else None,
            verified=False,
            piles=piles,
            findings=tuple(self._findings()),
            names=() if names is None else tuple(names[: self.source.items]),
            item_dims=self._item_dims(),
            seconds=dict(self.seconds),
            item_seconds=max((choice.item_seconds for choice in self.choices), default=None),
            memory=max((choice.memory for choice in self.choices), default=None),
            notes=tuple(self.opened.promise.sentences()),
        )

    def _findings(self) -> list[Finding]:
        """About files that are kept as they are."""
        files = [entry for entry in self.source.files() if entry < self.source.items]
        beside = len(self.source.files()) - len(files)
        found = []
        if files:
            reasons = self.opened.promise.kept
            most = f" ({next(iter(reasons))})" if len(reasons) == 1 else ""
            text = f"{_count(len(files), 'image')} kept byte for byte{most}"
            found.append(Finding("kept", text, len(files), len(files), about={"reasons": dict(reasons)}))
        if beside:
            what = "other array" if self.source.kind == "npz" else "other file"
            text = f"{_count(beside, what)} kept beside the images"
            found.append(Finding("kept", text, beside, beside, about={"files": beside}))
        return found

    @property
    def _kept_size(self) -> int:
        """Bytes of the files that are kept whole, as far as they are known before they are written."""
        entries = getattr(self.source, "entries", None)
        return 0 if entries is None else sum(getattr(entries[number], "size", 0) for number in self.source.files())

    @property
    def _kept_items(self) -> int:
        return sum(entry < self.source.items for entry in self.source.files())

    def _item_dims(self) -> tuple[int, ...]:
        dims = np.zeros(self.source.items, np.int64)
        for one in self.source.classes():
            dims[np.asarray(one.entries, np.int64)] = math.prod(one.shape)
        for entry in self.source.files():
            if entry < self.source.items:
                dims[entry] = self.source.file_elements(entry)
        return tuple(dims.tolist())

    @property
    def plans(self) -> list[Plan]:
        """What the writer is to do."""
        return [choice.plan for choice in self.choices]

    # ---- writing

    def write(
        self,
        archive: str | os.PathLike[str],
        *,
        progress: Callable[[int], None] | None = None,
        read_cost: Callable[[ReadCost], None] | None = None,
    ) -> PackResult:
        """Write the archive, every block of which is decoded and compared before it gets its name.

        progress, read_cost: as of ``write_archive``.
        """
        settings = self.settings
        bits: list[float | None] = [None] * self.source.items
        sizes = [0] * len(self.plans)
        cost: list[ReadCost] = []
        dims = self._item_dims()

        def on_block(written: Written) -> None:
            sizes[written.plan] += written.bytes
            entries = written.entries.tolist()
            each = written.bits if written.coder in ("model", "adaptive") else None
            if each is None:
                total = sum(dims[entry] for entry in entries)
                each = np.array([8 * written.bytes * dims[entry] / max(1, total) for entry in entries])
            for entry, value in zip(entries, each.tolist()):
                bits[entry] = value

        with self._timed("code"):
            figures = write_archive(
                Path(archive),
                self.source,
                self.model,
                model_name=self.model_name,
                plans=self.plans,
                jobs=settings.jobs,
                verify=settings.verify,
                replace_file=settings.force,
                max_memory=settings.max_memory,
                data_sha256=self.opened.sha256,
                on_block=on_block,
                progress=progress,
                read_cost=cost.append,
                resume=settings.resume,
                note=notice,
            )
        if cost and read_cost is not None:
            read_cost(cost[-1])
        record = self._record()
        piles = tuple(replace(pile, bytes=size) for pile, size in zip(record.piles, sizes))
        with Archive.open(Path(archive), max_memory=None) as written:
            memory = written.header.memory
        return replace(
            record,
            archive=str(archive),
            archive_bytes=figures.archive_bytes,
            verified=settings.verify,
            piles=piles,
            item_bits=tuple(bits),
            figures=figures.to_json(),
            item_seconds=cost[-1].seconds if cost else None,
            memory=memory,
        )

    def compare(self, record: PackResult) -> PackResult:
        """The record of a written archive with all general codecs on all items, or without them after an interrupt."""
        if record.raw_bytes > LONG_COMPARISON:
            notice("the archive is written; an interrupt (Ctrl-C) ends only the measuring of general codecs")
        try:
            found = self._rivals(record)
        except KeyboardInterrupt:
            note = "the comparison with general codecs was interrupted; the archive is whole"
            return replace(record, notes=(*record.notes, note))
        return replace(record, peers=tuple(found), seconds=dict(self.seconds))

    def _rivals(self, record: PackResult) -> list[Peer]:
        with self._timed("compare"):
            return peers.measure(
                self.surveys,
                jobs=self.settings.jobs,
                kept_bytes=kept_bytes(record.archive),
                kept_items=self._kept_items,
            )


def fallback_of(source: Source, blocks: Blocks) -> Callable[[Sequence[ItemClass]], list[ByProgram]]:
    """Gives programs for items of a source of which a trained model codes nothing, or not all."""

    def ways(classes: Sequence[ItemClass]) -> list[ByProgram]:
        # The classes may be those of an archive that the items are added to, with the numbers that they get there.
        own = {(one.mode, one.dtype.str, tuple(one.shape)): one for one in source.classes()}
        classes = [own[one.mode, one.dtype.str, tuple(one.shape)] for one in classes]
        first = classes[0]
        geometry = geometry_of(first.mode, first.shape, source.axes)
        found = look_at(ItemPile(source, first.mode, first.dtype, geometry, tuple(classes)), FALLBACK_SAMPLE)
        choice = choose(found, profile_of(DEFAULT), seconds=0, blocks=blocks)
        return [way for way in choice.ways if isinstance(way, ByProgram)]

    return ways


def kept_bytes(archive: str | os.PathLike[str]) -> int:
    """Bytes that an archive takes for whole files and metadata, which any codec of images would leave as they are."""
    with Archive.open(Path(archive), max_memory=None) as opened:
        directory = opened.directory
        return sum(
            block.length for block in directory.blocks if directory.streams[block.stream].type in (FILES, METADATA)
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
