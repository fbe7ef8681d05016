"""Packing piles of images, for people who want smaller files and no choice of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codelength.cli import options, pipes
from codelength.cli.output import say, silent, write_json
from codelength.errors import UsageError
from codelength.packing.profiles import DEFAULT, PROFILES, profile_of

if TYPE_CHECKING:
    from codelength.packing.result import PackResult


def _profile(text: str) -> str:
    return profile_of(text).name


def pack(
    data: options.DataArgument,
    archive: Annotated[
        Path | None,
        typer.Argument(metavar="ARCHIVE", help="The file to write; - for stdout.", show_default=False),
    ] = None,
    out: options.Out = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            metavar="|".join(PROFILES),
            parser=_profile,
            help="How much time coding may take: about 1.2, 0.4 or 0.2 MB/s on a core, decoding alike.",
        ),
    ] = DEFAULT,
    max_minutes: Annotated[
        float,
        typer.Option(
            "--max-minutes",
            metavar="M",
            parser=options.real("--max-minutes"),
            help="Time that choosing may take; mostly it takes seconds. 0 takes the first guess.",
        ),
    ] = 1.0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Stop after the look: nothing is written, and ARCHIVE may be left out.")
    ] = False,
    no_compare: Annotated[
        bool,
        typer.Option("--no-compare", help="Do not measure general codecs as well, which takes longer than packing."),
    ] = False,
    block: Annotated[
        str | None,
        typer.Option(
            "--block",
            metavar="N|SECONDSs",
            parser=options.block,
            help=(
                "Items of a block at most, of which all are decoded to read one; or the time that reading one item may "
                "take, such as 0.5s. As large as learning pays for unless given."
            ),
        ),
    ] = None,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Keep every byte of the files, rather than the pixels of images.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not decode everything before the file gets its name.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an archive that exists.")] = False,
    layout: options.Layout = None,
    trust_download: options.Trust = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="PAGE",
            callback=options.page,
            help="Write a page with sizes, findings, and where the bits went (.html).",
            show_default=False,
        ),
    ] = None,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Write images to an archive with whatever suits them best: every item comes back bit for bit.

    Nothing has to be trained: programs learn from the images while they code them. What was found, and what is
    expected of it, is said before anything is written; then the archive is written, decoded as a whole and compared,
    and general codecs are measured on the same images. Interrupting these (Ctrl-C) leaves the archive as it is.
    """
    options.prepare(resources, quiet)
    limit = resources.memory()
    place: Path | None = None
    if not estimate:
        place = options.one_place(archive, out, "ARCHIVE")
    elif archive is not None and out is not None:
        options.one_place(archive, out, "ARCHIVE")
    pipes.check_inputs(data)
    output = None if place is None else pipes.Output(place, "archive.clen", json)
    from codelength import api
    from codelength.archive.target import check_target

    if output is not None:
        check_target(output.path, data, force=force)
    options.check_names(None, None if pipes.is_pipe(data) else data, device=resources.device)
    from codelength.packing.text import show_look, show_packed, show_peers

    hushed = silent(quiet, json)

    def told(record: PackResult) -> None:
        if output is None or not record.archive:
            say(show_look(record), quiet=hushed)
        else:
            say(f"wrote {output.shown}\n{show_packed(record)}", quiet=hushed)

    result = api.pack(
        str(pipes.received(data, "array.npy")) if pipes.is_pipe(data) else data,
        None if output is None else output.path,
        profile=profile,
        max_minutes=max_minutes,
        estimate=estimate,
        compare=not no_compare,
        jobs=resources.jobs,
        block=block,
        keep_files=keep_files,
        verify=not no_verify,
        force=force,
        max_memory=limit,
        layout=layout,
        trust_download=trust_download,
        told=told,
    )
    beside = show_peers(result)
    say(beside, quiet=hushed or not beside)
    if report is not None:
        from codelength.packing.page import write_page

        write_page(result, None if output is None else output.path, report)
        say(f"wrote {report}", quiet=hushed)
    write_json(json, {**result.to_json(), **api.about("pack")})
    if output is not None:
        output.deliver()


def append(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="An archive that is there.", show_default=False)],
    data: options.DataArgument,
    replace: Annotated[
        bool, typer.Option("--replace", help="Files of names that are there already take their place.")
    ] = False,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Keep every byte of the files, rather than the pixels of images.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not decode what is added before the file gets its name.")
    ] = False,
    model: options.ModelOption = None,
    layout: options.Layout = None,
    trust_download: options.Trust = False,
    json: options.Json = None,
    resources: options.Resources = options.RESOURCES,
    quiet: options.Quiet = False,
) -> None:
    """Add files to an archive of a folder, or rows to one of an array, kept as it keeps its own.

    The archive is written anew beside the old one, whose blocks are copied as they are, and takes its place when it is
    whole.
    """
    options.prepare(resources, quiet)
    limit = resources.memory()
    pipes.check_inputs(data)
    if not archive.is_file():
        raise UsageError(f"expected an archive that is there, got {archive}; codelength pack makes one")
    options.check_names(model, None if pipes.is_pipe(data) else data, device=resources.device)
    from codelength import api
    from codelength.report.text import show_bytes

    before = archive.stat().st_size
    figures = api.append(
        archive,
        str(pipes.received(data, "array.npy")) if pipes.is_pipe(data) else data,
        replace=replace,
        verify=not no_verify,
        jobs=resources.jobs,
        keep_files=keep_files,
        max_memory=limit,
        layout=layout,
        trust_download=trust_download,
        model=model,
    )
    added = figures["archive_bytes"] - before
    say(
        f"{show_bytes(figures['source_bytes'])} added in {show_bytes(max(0, added))}; {archive} now holds "
        f"{figures['items']:,} items in {show_bytes(figures['archive_bytes'])}",
        quiet=silent(quiet, json),
    )
    write_json(json, figures)
