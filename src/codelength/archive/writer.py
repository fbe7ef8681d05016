"""Writing archives: item by item, block by block, and never a half-written file."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codelength.archive import codecs
from codelength.archive.data_digest import DataDigest
from codelength.archive.directory import Directory
from codelength.archive.encoders import Clock, Encoded, Encoder, ModelEncoder, ProgramEncoder
from codelength.archive.figures import Figures
from codelength.archive.journal import Journal, identity_of
from codelength.archive.layout import (
    FILES,
    LEARNED,
    METADATA,
    MODEL,
    NO_MODEL,
    PROGRAMS_FEATURE,
    Header,
    Stream,
    plain_block_memory,
)
from codelength.archive.model import Model, ModelLoader, ProgramLoader, load_model, load_program
from codelength.archive.ordered import Line
from codelength.archive.output import Output
from codelength.archive.pile import PileWriter, Written
from codelength.archive.plan import Fallback, Plan, check_plans, plan_for_model
from codelength.archive.ragged import Values
from codelength.archive.read_cost import ReadCost, ReadTimes
from codelength.archive.reader import Archive
from codelength.archive.sizing import BLOCK_BYTES, Encoders
from codelength.archive.sources import Source, encode_name
from codelength.archive.wire import check_of
from codelength.errors import ArchiveError, UsageError
from codelength.files import atomic_file, refusal
from codelength.progress import task


def write_archive(
    path: str | Path,
    source: Source,
    model: Model | None = None,
    *,
    plans: Sequence[Plan] | None = None,
    fallback: Fallback | None = None,
    block_items: int | None = None,
    block_seconds: float | None = None,
    block_bytes: int = BLOCK_BYTES,
    embed: bool = True,
    model_name: str = "",
    verify: bool = True,
    replace_file: bool = True,
    max_memory: int | None = None,
    jobs: int = 1,
    resume: bool = False,
    note: Callable[[str], None] | None = None,
    data_sha256: str | None = None,
    progress: Callable[[int], None] | None = None,
    on_block: Callable[[Written], None] | None = None,
    read_cost: Callable[[ReadCost], None] | None = None,
    clock: Clock = time.perf_counter,
    model_loader: ModelLoader = load_model,
    program_loader: ProgramLoader = load_program,
) -> Figures:
    """Compress ``source`` into a new archive at ``path``.

    model: a trained model; None where plans need none.
    plans: what is to be done with the items, each sort of them in one plan; where None, the model codes what it can,
    and what it cannot is kept by general codecs, or by the programs that ``fallback`` gives where those are smaller.
    block_items, block_bytes: what a block holds at most (one item at least). Items where None: 1,024, or more where
    the model has so many latents that starting a block of them would cost more than 0.4%.
    block_seconds: in place of block_items, the time that decoding a block of the model may take: blocks get as many
    items as it is enough for by the rate of a trial block, one at least. So the bytes depend on the machine.
    embed: put the model into the file; otherwise it is named by its SHA-256 and ``model_name``. A model that turns out
    to code no item is left out in any case, and no reader asks for it.
    verify: decode every block, and read the file back, before it gets its name.
    replace_file: whether a file of that name is replaced; where not, UsageError is raised, even if it appears late.
    max_memory: bytes that decoding may need; blocks are made smaller to stay under it, and where the model needs more
    for one item alone, nothing is written. Where None, blocks are made for 256 MiB, and a large item may need more.
    jobs: blocks that are worked on at a time, in threads.
    resume: keep finished blocks beside ``path`` while there is no archive of that name, and take those of a run before
    that did not finish, was killed for instance; what was made of other data or with other options is not used.
    note: called with sentences about that.
    data_sha256: 64 hexadecimal digits to record for the data; computed from it where None.
    progress: called with the number of items written since the last call. on_block: called for each block of items.
    read_cost: called with what reading one item back costs, where blocks of models or programs were decoded.
    clock: to measure times by.

    The same source, model and options give the same bytes, whatever the number of jobs.

    Raises UsageError, DataError; ArchiveError if the file cannot be written; CorruptBlock if a block does not decode to
    what it was made from.
    """
    path = Path(path)
    if block_items is not None and block_items < 1:
        raise UsageError(f"expected blocks of at least one item, got {block_items}")
    if block_seconds is not None and not (block_items is None and 0 < block_seconds < math.inf):
        raise UsageError(f"expected blocks of some seconds above 0 or of some items, not both, got {block_seconds} s")
    if block_bytes < 1:
        raise UsageError(f"expected blocks of at least one byte, got {block_bytes}")
    if jobs < 1:
        raise UsageError(f"expected at least one job, got {jobs}")
    if path.is_dir():
        raise ArchiveError(f"expected a file name for the archive, got the folder {path}; name a file in it")
    encoders = Encoders(source, model, block_items, block_seconds, block_bytes, max_memory, verify, clock)
    if plans is None:
        plans = plan_for_model(source.classes(), lambda some: encoders.stream_of(some) is not None, fallback)
    check_plans(plans, source.classes())
    features = () if model is None else model.features
    try:
        with contextlib.ExitStack() as stack:
            journal = None
            if resume:
                identity = identity_of(source, model, plans, encoders)
                journal = stack.enter_context(Journal(path, identity, note or (lambda sentence: None)))
            file, temporary = stack.enter_context(atomic_file(path, replace=replace_file))
            line = stack.enter_context(Line(jobs))
            output = Output(file, source.items + sum(entry >= source.items for entry in source.files()))
            writer = Writer(output, source, model, encoders, plans, line, embed=embed, model_name=model_name)
            writer.journal = journal
            writer.progress = progress or (lambda count: None)
            writer.on_block = on_block or (lambda written: None)
            writer.write_front()
            writer.write_items("compressing and verifying" if verify else "compressing")
            writer.write_files()
            writer.leave_out_model()
            writer.write_end(data_sha256)
            file.flush()
            if verify:
                _verify_file(temporary, None if embed else model, model_loader, program_loader, features)
            with Archive.open(temporary, max_memory=None, features=features) as archive:
                figures = archive.inspect()
            cost = writer.read_times.cost()
    except OSError as error:
        left = "what is finished is kept for when the command is run again" if resume else "nothing was left behind"
        raise ArchiveError(f"cannot write {path}, and {left}: {refusal(error)}") from error
    if cost is not None and read_cost is not None:
        read_cost(cost)
    return figures


def _verify_file(
    path: Path,
    model: Model | None,
    loader: ModelLoader,
    program_loader: ProgramLoader,
    features: tuple[int, ...],
) -> None:
    """Whether the finished file holds together; blocks of models were decoded when they were written."""

    def resolve(sha256: str, name: str) -> Model | None:
        return model

    with Archive.open(
        path, resolve, max_memory=None, model_loader=loader, program_loader=program_loader, features=features
    ) as archive:
        archive.check_file()
        archive.load_all()
        for block in archive.directory.blocks:
            if not archive.is_coded(block):
                archive.decode_block(block)


@dataclass(frozen=True)
class Before:
    """What an archive has before more is added to it: its header, its model file, the figures of its directory."""

    header: Header
    model_file: bytes
    code_length: int
    startup: int
    kept_elements: int
    data_digest: bytes


class Writer:
    """The parts of an archive in their order. before: what is in it already."""

    progress: Callable[[int], None]
    on_block: Callable[[Written], None]
    journal: Journal | None = None

    def __init__(
        self,
        output: Output,
        source: Source,
        model: Model | None,
        encoders: Encoders,
        plans: Sequence[Plan],
        line: Line,
        *,
        embed: bool = True,
        model_name: str = "",
        before: Before | None = None,
        learn_from: Callable[[int, ProgramEncoder], None] = lambda stream, encoder: None,
    ) -> None:
        self.output, self.source, self.model, self.before = output, source, model, before
        self.block_bytes = encoders.size
        self.model_file = model.to_bytes() if model is not None and embed else b""
        self.model_name = model_name
        self.model_sha256 = NO_MODEL if model is None else model.sha256
        self.model_features = () if model is None else tuple(model.features)
        if before is not None:
            header = before.header
            self.model_file, self.model_name = before.model_file, header.model_name
            self.model_sha256, self.model_features = header.model_sha256, header.model_features
        self.read_times = ReadTimes(encoders.clock)
        self.piles = [
            PileWriter(k, plan, encoders, output, self._encode, line, self._done, learn_from)
            for k, plan in enumerate(plans)
        ]
        self.whole_files = source.files()
        self.kept = output.entries - source.items
        self.code_length = 0.0
        self.startup = 0.0
        self.data_digest = DataDigest(self._entries() if source.kind == "folder" else None)
        self._advance: Callable[[int], None] = lambda count: None

    def _entries(self) -> list[int]:
        """All entries that are to be written."""
        items = (int(entry) for item_class in self.source.classes() for entry in item_class.entries)
        return sorted({*items, *self.whole_files})

    def _encode(self, encoder: Encoder, values: Values) -> Callable[[], Encoded]:
        if self.journal is None:
            return functools.partial(encoder.encode, values)
        return functools.partial(self.journal.encode, encoder, values)

    def _done(self, written: Written, block: Encoded) -> None:
        if written.coder == "model" and block.lengths is not None:
            self.code_length += math.fsum(block.lengths)
            self.startup += block.startup
        elif written.coder == "adaptive":
            self.code_length += 8 * written.bytes
        if written.coder in ("model", "adaptive") and written.seconds is not None:
            self.read_times.add(len(written.entries), written.seconds)
        self.on_block(written)
        self.progress(len(written.entries))
        self._advance(len(written.entries))

    # The parts of the file, in order.

    def write_front(self) -> None:
        encoders = [encoder for pile in self.piles for encoder in pile.encoders]
        kinds = {type(encoder) for encoder in encoders}
        learned = any(encoder.stream.type == LEARNED for encoder in encoders) or self.output.has(LEARNED)
        self._write_front(ModelEncoder in kinds or self.output.has(MODEL), ProgramEncoder in kinds, learned)

    def leave_out_model(self) -> None:
        """Write the front once more, and move the blocks up to it, where models or programs have coded nothing."""
        self.output.simplify()
        self._write_front(self.output.has(MODEL), bool(self.output.programs), self.output.has(LEARNED))

    def _write_front(self, with_model: bool, with_programs: bool, learned: bool) -> None:
        """What comes before the blocks, for an archive of which models and programs code a part."""
        left_out = ((ModelEncoder,) if not with_model else ()) + ((ProgramEncoder,) if not with_programs else ())
        needs = [
            encoder.memory for pile in self.piles for encoder in pile.encoders if not isinstance(encoder, left_out)
        ]
        features = {*(self.model_features if with_model else ()), *self.source.features}
        model_file = self.model_file if with_model else b""
        before = self.before.header.memory if self.before is not None else 0
        header = Header(
            kind=self.source.kind,
            memory=max([*needs, self._files_memory(), before]),
            features=tuple(sorted(features | ({PROGRAMS_FEATURE} if learned else set()))),
            model_bytes=len(model_file),
            model_name=self.model_name,
            model_sha256=self.model_sha256,
            name=self.source.name,
            arrays=self.source.arrays,
            members=self.source.members,
        )
        self.output.write_front(header, model_file)

    def _files_memory(self) -> int:
        return plain_block_memory(self.block_bytes) if self.whole_files or self.source.has_metadata else 0

    def write_items(self, what: str) -> None:
        total = sum(len(item_class.entries) for item_class in self.source.classes())
        with task(what, total) as self._advance:
            for pile in self.piles:
                pile.write(self.source, self.data_digest.add_items)

    def write_files(self) -> None:
        output = self.output
        if self.whole_files:
            stream = output.going_on(Stream(FILES), self.whole_files[0])
            if stream is None:
                stream = output.open_stream(Stream(FILES))
            output.owner[self.whole_files] = stream
            with task("keeping files", len(self.whole_files), "files") as advance:
                self._write_bytes(stream, (self._file(entry) for entry in self.whole_files), advance)
        stream = next((number for number, known in enumerate(output.streams) if known.type == METADATA), None)
        if stream is not None or self.source.has_metadata:
            if stream is None:
                stream = output.open_stream(Stream(METADATA))
            rest = range(len(output.sizes[stream]), self.source.items)
            self._write_bytes(stream, ([self.source.metadata(entry)] for entry in rest))

    def write_end(self, data_sha256: str | None) -> None:
        source, before = self.source, self.before
        names = source.names
        digest = bytes.fromhex(data_sha256) if data_sha256 else self.data_digest.result()
        kept = sum(source.file_elements(entry) for entry in self.whole_files if entry < source.items)
        if before is not None:
            digest = hashlib.sha256(before.data_digest + digest).digest()
        self.output.write_end(
            Directory,
            items=source.items,
            kept=self.kept,
            names=None if names is None else tuple(map(encode_name, names)),
            code_length=math.ceil(self.code_length) + (before.code_length if before is not None else 0),
            # A chosen latent can even be luckier than those that the code length was drawn with.
            startup=max(0, math.ceil(self.startup)) + (before.startup if before is not None else 0),
            kept_elements=kept + (before.kept_elements if before is not None else 0),
            data_digest=digest,
        )

    # Whole files and metadata.

    def _file(self, entry: int) -> Iterable[bytes]:
        for piece in self.source.read_file(entry):
            self.data_digest.add_file(entry, piece)
            yield piece

    def _write_bytes(
        self, stream: int, files: Iterable[Iterable[bytes]], advance: Callable[[int], None] = lambda count: None
    ) -> None:
        """Join files end to end and cut the result into blocks."""
        buffer = bytearray()

        def write(size: int) -> None:
            original = bytes(buffer[:size])
            del buffer[:size]
            codec, data = codecs.pack_bytes(original)
            self.output.add_block(stream, data, len(original), check_of(original), codec=codec)

        for file in files:
            size = 0
            for piece in file:
                size += len(piece)
                buffer += piece
                while len(buffer) >= self.block_bytes:
                    write(self.block_bytes)
            self.output.sizes[stream].append(size)
            advance(1)
        if buffer:
            write(len(buffer))
