"""Commands on archives. None of them imports PyTorch unless a device is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codelength.cli import options, pipes
from codelength.cli.output import say, silent, warn, write_json
from codelength.device import use_device
from codelength.files import exists_already
from codelength.report.text import show_archive, show_compression, show_read_cost, table

if TYPE_CHECKING:
    from codelength.archive.read_cost import ReadCost
    from codelength.archive.reader import Archive

#: Name of the temporary file of an archive that is piped in.
PIPED = "archive.clen"


def compress(
    data: options.DataArgument,
    archive: Annotated[
        Path | None,
        typer.Argument(metavar="ARCHIVE", help="The file to write; - for stdout.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A packaged name, a run folder or a model file; programs that learn while they code without it.",
        ),
    ] = None,
    out: options.Out = None,
    block: Annotated[
        str | None,
        typer.Option(
            "--block",
            metavar="N|SECONDSs",
            parser=options.block,
            help=(
                "Items of a block at most, of which all are decoded to read one: 1,024 by default, and more where "
                "latents make it dear to start one. Or the time that decoding a block may take, such as 0.5s: that is "
                "tried out, so that the bytes of the file depend on the machine."
            ),
        ),
    ] = None,
    no_embed_model: Annotated[
        bool, typer.Option("--no-embed-model", help="Name the model by its hash; readers must have it.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not decode everything before the file gets its name.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an archive that exists.")] = False,
    layout: options.Layout = None,
    trust_download: options.Trust = False,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Write data to an archive with a frozen model: every item comes back bit for bit.

    What the model cannot represent is kept by programs that learn while they code, or by general codecs. Without a
    model, all of it is, by the first guess of what suits it; pack tries more, and says what it saves.
    """
    options.prepare(resources, quiet)
    limit = resources.memory()
    archive = options.one_place(archive, out, "ARCHIVE")
    pipes.check_inputs(data)
    output = pipes.Output(archive, "archive.clen", json)
    from codelength import api
    from codelength.archive.target import check_target

    check_target(output.path, data, force=force)
    options.check_names(model, None if pipes.is_pipe(data) else data, device=resources.device)
    costs: list[ReadCost] = []
    figures = api.compress(
        str(pipes.received(data, "array.npy")) if pipes.is_pipe(data) else data,
        output.path,
        model,
        block=block,
        embed_model=not no_embed_model,
        verify=not no_verify,
        force=force,
        max_memory=limit,
        layout=layout,
        trust_download=trust_download,
        read_cost=costs.append,
        jobs=resources.jobs or 1,
    )
    lines = [show_compression(figures), f"wrote {output.shown}", show_archive(figures), *map(show_read_cost, costs)]
    say("\n".join(lines), quiet=silent(quiet, json))
    write_json(json, figures)
    output.deliver()


def decompress(
    archive: options.ArchiveArgument,
    dest: Annotated[
        Path | None,
        typer.Argument(
            metavar="DEST",
            help="A folder, an array (NAME.npy, NAME.npz), or an image file for one item; - for standard output.",
            show_default=False,
        ),
    ] = None,
    out: options.Out = None,
    range_: Annotated[
        str | None,
        typer.Option("--range", metavar="A:B", help="Only items A to B - 1, in their original order; A alone for one."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="PATTERN", help="Only files whose names match; repeatable.")
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Leave out what is damaged.")] = False,
    max_output: Annotated[
        str | None, typer.Option("--max-output", metavar="SIZE", help="Refuse to write more than this.")
    ] = None,
    model: options.ModelOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Write what an archive holds to an array or a folder, or one item to an image file.

    With --keep-going, damaged items are zeros in arrays and missing from folders; they are listed, and the exit status
    is 1.
    """
    options.prepare(resources, quiet)
    memory, most = resources.memory(), options.size(max_output)
    dest = options.one_place(dest, out, "DEST")
    pipes.check_inputs(archive)
    output = pipes.Output(dest, "item", json)
    options.check_names(model)
    if dest.suffix and dest.is_file() and not force:
        raise exists_already(dest)
    from codelength import api
    from codelength.archive import damage
    from codelength.archive.extract import extract
    from codelength.archive.names import show
    from codelength.data.images import ImageFiles
    from codelength.errors import CorruptBlock

    with api.open_archive(pipes.received(archive, PIPED), model, max_memory=memory) as opened:
        wanted = options.item_range(range_, opened.items)
        use_device(resources.device)
        report = extract(
            opened,
            _piped_form(opened, output.path, wanted, name) if output.is_pipe else dest,
            wanted,
            name,
            force=force,
            keep_going=keep_going,
            max_output=most,
            images=ImageFiles(),
        )
        names, entries = opened.names, opened.directory.entries
    parts = [f"{report.items:,} items"] + ([f"{report.files:,} other files"] if report.files else [])
    say(f"wrote {' and '.join(parts)} to {output.shown}", quiet=silent(quiet, json))
    for old, new in report.renamed:
        # Not show(old), which often is the very name that was written.
        warn(f"{old[:120]!r} was written as {show(new)}")
    for note in report.notes:
        warn(note)
    lines = list(damage.show_lines(report.damaged, names))
    for line in lines[: damage.SHOWN]:
        warn(f"not given back: {line}")
    if len(lines) > damage.SHOWN:
        warn(f"not given back: what is lost for {len(lines) - damage.SHOWN:,} more reasons; --json lists all of it")
    write_json(json, {**report.to_json(names), **api.about("decompress")})
    output.deliver()
    if report.damaged:
        gone = damage.lost(report.damaged)
        raise CorruptBlock(
            f"{damage.how_many(gone):,} of {entries:,} entries could not be given back ({damage.show_ranges(gone)}); "
            f"all else that was asked for is written"
        )


def _piped_form(opened: Archive, path: Path, wanted: tuple[int, int] | None, names: list[str] | None) -> Path:
    """What standard output is to hold: one file of a folder as it is, an ``.npz`` as such, else one array."""
    if opened.header.kind == "folder" and opened.select(wanted, names).count == 1:
        return path  # a folder
    return path.with_suffix(".npz" if opened.header.kind == "npz" else ".npy")


def inspect(
    archive: options.ArchiveArgument,
    list_: Annotated[bool, typer.Option("--list", help="List what it holds, item by item.")] = False,
    json: options.Json = None,
    quiet: options.Quiet = False,
    resources: options.Resources = options.RESOURCES,
) -> None:
    """Tell what an archive holds and what it costs, without decoding it."""
    options.prepare(resources, quiet)
    limit = resources.memory()
    from codelength import api

    pipes.check_inputs(archive)
    with api.open_archive(pipes.received(archive, PIPED), max_memory=limit) as opened:
        use_device(resources.device)
        figures = {**opened.inspect().to_json(), **api.about("inspect")}
        if not silent(quiet, json):
            header = opened.header
            held = "embedded" if header.model_bytes else f"not embedded {header.model_name}".rstrip()
            if not opened.needs_model:
                held = "it codes nothing here, and is not needed"
            model = f"model {figures['model_sha256']} ({held})" if opened.has_model else "no trained model"
            if programs := len(opened.directory.programs):
                model += f", {programs} program{'s' * (programs > 1)} that learn{'s' * (programs == 1)} from the items"
            say(show_archive(figures))
            say(f"kind {header.kind}, format version {figures['format_version']}, memory to decode {header.memory:,}")
            say(f"{model}\ndata {figures['data_sha256']}")
        if list_:
            say(_listing(opened))
    write_json(json, figures)


def _listing(opened: Archive) -> str:
    """One line per entry: number, how it is kept, type, shape or bytes, name."""
    from codelength.archive.layout import ITEMS, LEARNED, MODEL
    from codelength.archive.names import printable

    kinds = {MODEL: "model", ITEMS: "general codec"}
    directory, names = opened.directory, opened.names
    rows = []
    ranks = [0] * len(directory.streams)
    entry = 0
    for number, count in directory.runs:
        stream = directory.streams[number]
        for k in range(entry, entry + count):
            rank, kind, shape = ranks[number], kinds.get(stream.type, "file"), f"{opened.file_size(k)} bytes"
            if stream.holds_items:
                ((*sizes,),) = directory.shapes_in(number, rank, rank + 1)
                shape = "x".join(map(str, sizes))
            if stream.type == LEARNED:
                block = directory.blocks_of[number][int(directory.block_at(number, rank))]
                kind = "adaptive" if block.program else "general codec"
            rows.append([str(k), kind, stream.mode or stream.dtype, shape, printable(names[k]) if names else ""])
            ranks[number] += 1
        entry += count
    return table(["entry", "kept by", "type", "shape", "name"], rows)


def verify(
    archive: options.ArchiveArgument,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="The data to compare with.")] = None,
    model: options.ModelOption = None,
    layout: options.Layout = None,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Decode everything and compare all checksums, and the data where it is given.

    Every damaged block is named, with the items that are lost with it.
    """
    options.prepare(resources, quiet)
    limit = resources.memory()
    options.check_names(model)
    from codelength import api
    from codelength.archive import damage
    from codelength.errors import ArchiveError, DataError

    pipes.check_inputs(archive, data)
    options.check_names(model, None if pipes.is_pipe(data) else data)
    shown = "standard input" if pipes.is_pipe(archive) else str(archive)
    archive = pipes.received(archive, PIPED)
    figures: dict[str, Any] = {**api.about("verify"), "sound": False}
    names: Sequence[str] = ()
    try:
        with api.open_archive(archive, model, max_memory=limit) as opened:
            names = opened.names
            figures = {**opened.inspect().to_json(), **figures}
        if pipes.is_pipe(data):
            data = str(pipes.received("-", "array.npy"))
        use_device(resources.device)
        figures = api.verify(archive, data, model=model, layout=layout, max_memory=limit)
    except (ArchiveError, DataError) as error:
        damaged = getattr(error, "damaged", ())
        for line in damage.show_lines(damaged if len(damaged) > 1 or names else (), names):
            warn(line)
        write_json(json, {**figures, "reason": str(error), "damaged": [found.to_json(names) for found in damaged]})
        raise
    what = f"all {figures['items']:,} items decode" + ("" if data is None else f" to those of {data}")
    say(f"{shown} is sound: {what}", quiet=silent(quiet, json))
    write_json(json, figures)
