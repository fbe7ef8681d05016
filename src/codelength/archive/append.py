"""Adding items to an archive: a new file is written beside it, and takes its name when it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codelength.archive.addition import Addition
from codelength.archive.directory import Block
from codelength.archive.encoders import Clock, ProgramEncoder, check_of_values
from codelength.archive.figures import Figures
from codelength.archive.fitting import fit_stream
from codelength.archive.layout import FILES, LEARNED
from codelength.archive.model import ModelLoader, ModelResolver, ProgramLoader, load_model, load_program
from codelength.archive.ordered import Line
from codelength.archive.output import Output
from codelength.archive.pile import Written
from codelength.archive.plan import ByModel, ByProgram, Fallback, Plan, Way, check_plans
from codelength.archive.reader import Archive
from codelength.archive.sizing import BLOCK_BYTES, Encoders
from codelength.archive.sources import ItemClass, Source
from codelength.archive.writer import Before, Writer
from codelength.errors import ArchiveError, UsageError
from codelength.files import atomic_file, refusal

#: From the sorts of items that are to be written to plans for them.
Planner = Callable[[Sequence[ItemClass]], Sequence[Plan]]


def append_archive(
    path: str | Path,
    source: Source,
    model_resolver: ModelResolver | None = None,
    *,
    planner: Planner | None = None,
    fallback: Fallback | None = None,
    replace_names: bool = False,
    block_bytes: int = BLOCK_BYTES,
    verify: bool = True,
    max_memory: int | None = None,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
    on_block: Callable[[Written], None] | None = None,
    clock: Clock = time.perf_counter,
    model_loader: ModelLoader = load_model,
    program_loader: ProgramLoader = load_program,
) -> Figures:
    """Add the entries of ``source`` to the archive at ``path``: items behind its items, other files behind its files.

    planner: says what is to be done with the items; where None, the archive's own streams go on with its own model and
    programs, and what fits none of them is kept by the programs that ``fallback`` gives where those are smaller, or by
    general codecs.
    replace_names: entries of a name that is there already take the place of what is there; the blocks that held it are
    written anew. model_resolver: finds the archive's model, where it is needed and not in the file.

    Old blocks are copied as they are. Whatever happens, ``path`` is the old archive or the new one, and readers that
    have it open keep the old one. The other parameters are those of ``write_archive``.

    Raises UsageError, where names are there already or the source does not go with the archive; DataError, ArchiveError
    as ``write_archive`` and ``Archive.open`` do, also where the old archive is damaged.
    """
    path = Path(path)
    if jobs < 1:
        raise UsageError(f"expected at least one job, got {jobs}")
    with Archive.open(
        path, model_resolver, max_memory=None, model_loader=model_loader, program_loader=program_loader, jobs=jobs
    ) as archive:
        archive.check_file()
        addition = Addition(archive, source, replace_names)
        classes = addition.classes()
        plans = own_plans(archive, classes, addition, fallback) if planner is None else list(planner(classes))
        check_plans(plans, classes)
        by_model = any(isinstance(way, ByModel) for plan in plans for way in plan.ways)
        model = archive.load_model() if by_model else None
        encoders = Encoders(addition, model, None, None, block_bytes, max_memory, verify, clock)
        try:
            with atomic_file(path) as (file, temporary), Line(jobs) as line:
                output = Output(file, addition.entries)
                kept = carry_over(archive, addition, output)
                writer = Writer(
                    output, addition, model, encoders, plans, line, before=_before(archive, addition),
                    learn_from=lambda stream, encoder: _learn(archive, kept, stream, encoder),
                )  # fmt: skip
                writer.progress = progress or (lambda count: None)
                writer.on_block = on_block or (lambda written: None)
                writer.write_front()
                _copy_blocks(archive, output, kept)
                writer.write_items("adding and verifying" if verify else "adding")
                writer.write_files()
                writer.leave_out_model()
                writer.write_end(None)
                file.flush()
                with Archive.open(
                    temporary, max_memory=None, model_loader=model_loader, program_loader=program_loader
                ) as written:
                    if verify:
                        _verify(written, len(kept))
                    figures = written.inspect()
        except OSError as error:
            raise ArchiveError(f"cannot write {path}, which is as it was: {refusal(error)}") from error
    return figures


def _before(archive: Archive, addition: Addition) -> Before:
    directory = archive.directory
    # What is written anew counts anew; what its blocks took is about what was promised.
    gone = sum(8 * directory.blocks[k].length for k in addition.dropped if archive.is_coded(directory.blocks[k]))
    return Before(
        archive.header, archive.model_file(), max(0, directory.code_length - gone), directory.startup,
        directory.kept_elements, directory.data_digest,
    )  # fmt: skip


def carry_over(archive: Archive, addition: Addition, output: Output) -> list[Block]:
    """Let ``output`` begin with the archive's streams, and with those of its entries that are not written anew; the
    blocks that are to be copied."""
    directory = archive.directory
    output.carry_on(directory.streams, directory.programs)
    numbers = addition.new_numbers
    for number, stream in enumerate(directory.streams):
        own = [block for block in directory.blocks_of[number] if block.number not in addition.dropped]
        if stream.holds_items or stream.type == FILES:
            ranks = sum(count for owner, count in directory.runs if owner == number)
            entries = directory.entries_of(number, 0, ranks) if ranks else np.zeros(0, np.int64)
            staying = entries[numbers[entries] >= 0]
            output.owner[numbers[staying]] = number
        if stream.is_free:
            output.shapes[number] = [(shape[0], shape[1]) for block in own for shape in directory.shapes_of(block)]
        if not stream.holds_items and len(own) == len(directory.blocks_of[number]):
            output.sizes[number] = list(directory.sizes[number])
    output.may_go_on()
    return [block for block in directory.blocks if block.number not in addition.dropped]


def _copy_blocks(archive: Archive, output: Output, blocks: Sequence[Block]) -> None:
    for block in blocks:
        output.copy_block(block, archive.stored(block))


def _learn(archive: Archive, kept: Sequence[Block], stream: int, encoder: ProgramEncoder) -> None:
    """Teach an encoder that goes on with a stream what the first block of it has taught its program."""
    file = encoder.program.to_bytes()
    programs = archive.directory.programs
    for block in kept:
        if block.stream == stream and block.program and programs[block.program - 1] == file:
            values = archive.decode_block(block)
            encoder.teach(values, check_of_values(values), None)
            return


def _verify(archive: Archive, first: int) -> None:
    """Whether the file holds together from block number ``first`` on; what models and programs coded is decoded
    already."""
    archive.check_file()
    for block in archive.directory.blocks[first:]:
        if not archive.is_coded(block):
            archive.decode_block(block)


def own_plans(
    archive: Archive, classes: Sequence[ItemClass], addition: Addition, fallback: Fallback | None = None
) -> list[Plan]:
    """Plans for items to be kept as the archive keeps its own: by its model, by its programs, by those that
    ``fallback`` gives for what is new to it, by general codecs."""

    def ways_of(some: Sequence[ItemClass]) -> tuple[Way, ...]:
        return (*_ways(archive, some), *(fallback(some) if fallback is not None else ()))

    plans: list[Plan] = []
    others: dict[tuple[str, str, tuple[int, ...]], list[ItemClass]] = {}
    for item_class in classes:
        if archive.needs_model and fit_stream(
            item_class.mode, item_class.dtype, item_class.shape, archive.load_model().space, addition.axes
        ):
            plans.append(Plan((item_class,), (ByModel(), *ways_of([item_class]))))
        elif item_class.mode:
            key = item_class.mode, item_class.dtype.str, tuple(item_class.shape[2:])
            others.setdefault(key, []).append(item_class)
        else:
            plans.append(Plan((item_class,), ways_of([item_class])))
    for some in others.values():
        free = any(
            stream.is_free and (stream.mode, stream.dtype) == (some[0].mode, some[0].dtype.str)
            for stream in archive.directory.streams
        )
        plans.append(Plan(tuple(some), ways_of(some), free=free))
    return plans


def _ways(archive: Archive, classes: Sequence[ItemClass]) -> tuple[Way, ...]:
    """How the archive's streams of type LEARNED keep items like these."""
    directory = archive.directory
    ways: list[Way] = []
    for number, stream in enumerate(directory.streams):
        like = stream.type == LEARNED and (stream.mode, stream.dtype) == (classes[0].mode, classes[0].dtype.str)
        one_size = {tuple(item_class.shape) for item_class in classes} == {stream.shape}
        if not like or not (stream.mode or one_size):
            continue
        blocks = directory.blocks_of[number]
        limits = {
            "block_items": max((block.count for block in blocks), default=None),
            "block_bytes": max(
                [BLOCK_BYTES, *(directory.item_bytes(number, b.first, b.first + b.count) for b in blocks)]
            ),
        }
        for program in sorted({block.program for block in blocks} - {0}):
            ways.append(
                ByProgram(
                    archive.load_program(program),
                    levels=stream.levels,
                    channels=stream.channels,
                    axes=stream.axes if one_size else (),
                    event=stream.event if one_size else (),
                    taught=any(block.taught and block.program == program for block in blocks),
                    **limits,
                )
            )
    return tuple(ways)
