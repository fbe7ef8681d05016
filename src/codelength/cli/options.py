"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codelength.cli.ticker import watcher
from codelength.device import use_device
from codelength.errors import UsageError
from codelength.files import check_destination, show_path
from codelength.likelihood.settings import LEAPFROG, SAMPLES, TEMPERATURES
from codelength.machine import tell_notices, use_threads
from codelength.progress import watch
from codelength.sizes import parse_size

if TYPE_CHECKING:
    from codelength.laws.space import Space


def whole(option: str, least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from ``least`` to ``most``; raises UsageError that names the option."""

    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", str(text).strip()) else None
        low, high = value is not None and least is not None and value < least, most is not None and (value or 0) > most
        if value is None or low or high:
            bounds = (f" of at least {least:,}" if low else "") + (f" of at most {most:,}" if high else "")
            raise UsageError(f"expected a whole number{bounds} for {option}, got {str(text)[:40]!r}")
        return value

    return parse


def real(option: str) -> Callable[[str], float]:
    """A parser of finite numbers from 0 on; raises UsageError that names the option."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UsageError(f"expected a number of at least 0 for {option}, got {str(text)[:40]!r}")
        return value

    return parse


def block(text: str) -> str:
    """The size of a block as it was given. Raises UsageError where it is none."""
    from codelength.archive.read_cost import parse_block

    parse_block(text)
    return text


def destination(path: Path | None) -> Path | None:
    """Refuse at once what could not be written when all the work is done."""
    if path is not None and str(path) != "-":
        check_destination(path)
    return path


def page(path: Path | None) -> Path | None:
    """Refuse at once a page that could not be written: a folder, or in none that is there."""
    if path is not None:
        check_destination(path)
        if not os.path.isdir(path.parent):
            raise UsageError(f"expected a folder that exists for {show_path(path)}; make it, or choose another name")
    return path


DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A data set NAME[:SPLIT][[A:B]], a path, or - for .npy on stdin.",
    ),
]
ArchiveArgument = Annotated[
    Path, typer.Argument(metavar="ARCHIVE", help="An archive; - for stdin.", show_default=False)
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A packaged name, a run folder or a model file.", show_default=False)
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="The model, for archives that do not hold theirs.")
]
DataOption = Annotated[
    str,
    typer.Option("--data", metavar="DATA", help="A data set, a path, or - for .npy on stdin.", show_default=False),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="AXES", help="Axes of an array (nhwc, nchw, nhw or nd) if the guess is wrong."),
]
Trust = Annotated[bool, typer.Option("--trust-download", help="Download data sets whose hash nobody has vouched for.")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", callback=destination, help="Write the figures as JSON (- for standard output)."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="PATH", help="The same, as an option.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", parser=whole("--seed", 0, 2**63 - 1), help="Seed of whatever is random."),
]


@dataclass(frozen=True)
class Resources:
    """What of the machine a command may take."""

    device: Annotated[str, typer.Option("--device", help="Where networks run: cpu, cuda, cuda:1, ...")] = "cpu"
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", parser=whole("--jobs"), help="Threads to use.", show_default="all"),
    ] = None
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Memory to use, such as 2G.")
    ] = None

    def memory(self) -> int | None:
        """Bytes, None where there is no limit. Raises UsageError for what is no size."""
        return size(self.max_memory)

    def arguments(self) -> list[str]:
        """As they stand on a command line; what is at its default is left out."""
        given = {"--device": self.device if self.device != "cpu" else None, "--jobs": self.jobs}
        given["--max-memory"] = self.max_memory
        return [text for name, value in given.items() if value is not None for text in (name, str(value))]


#: Where none of them is given.
RESOURCES = Resources()


@dataclass(frozen=True)
class Estimation:
    """How an evaluation goes about bounds, as ``likelihood.settings.Settings.of`` takes it."""

    estimator: Annotated[
        str, typer.Option("--estimator", help="elbo, importance or annealed; exact models answer exactly.")
    ] = "elbo"
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            metavar="K",
            parser=whole("--samples"),
            help="Draws per item, for bounds; chains, for annealed.",
            show_default=", ".join(f"{count} for {name}" for name, count in SAMPLES.items()),
        ),
    ] = None
    proposal: Annotated[
        str | None,
        typer.Option(
            "--proposal",
            help="Where importance draws latents from: posterior (on the grid of files), or, in floating point, prior, "
            "widened, student or defensive.",
            show_default="posterior",
        ),
    ] = None
    start: Annotated[
        str | None,
        typer.Option("--start", help="Where annealed begins: posterior or prior.", show_default="posterior"),
    ] = None
    temperatures: Annotated[
        int | None,
        typer.Option(
            "--temperatures",
            metavar="T",
            parser=whole("--temperatures"),
            help="Temperatures of annealed.",
            show_default=str(TEMPERATURES),
        ),
    ] = None
    leapfrog: Annotated[
        int | None,
        typer.Option(
            "--leapfrog",
            metavar="N",
            parser=whole("--leapfrog"),
            help="Leapfrog steps of annealed at each.",
            show_default=str(LEAPFROG),
        ),
    ] = None
    two_sided: Annotated[
        int | None,
        typer.Option(
            "--two-sided",
            metavar="N",
            help="Besides, let the model draw N items, and bound theirs from both sides by annealed chains.",
        ),
    ] = None
    arithmetic: Annotated[
        str | None,
        typer.Option("--arithmetic", help="float (run folders only) or frozen.", show_default="frozen"),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            parser=whole("--limit"),
            help="Only N items, chosen at random with the seed.",
        ),
    ] = None


#: Where none of it is given.
ESTIMATION = Estimation()

_RANGE = re.compile(r"(\d{1,18})|(\d{0,18}):(\d{0,18})", re.ASCII)


def one_place(argument: Path | None, option: Path | None, name: str) -> Path:
    """Where to write, given as an argument or by ``-o``. Raises UsageError where neither or both are there."""
    if argument is None and option is None:
        raise UsageError(f"expected {name}, the place to write to, or -o {name}; got neither")
    if argument is not None and option is not None:
        raise UsageError(f"expected one place to write to, got {argument} and -o {option}; leave one of them out")
    place = option if argument is None else argument
    assert place is not None
    return place


def size(text: str | None) -> int | None:
    return None if text is None else parse_size(text)


def item_range(text: str | None, count: int) -> tuple[int, int] | None:
    """``A:B`` of ``count`` items, either end left out for the first and the last, or ``A`` alone; None stays None."""
    if text is None:
        return None
    match = _RANGE.fullmatch(text)
    if match is None:
        why = "; items are counted from 0, and not from the end" if "-" in text else ""
        raise UsageError(f"expected an item number or a range A:B of them, such as 100:200, got {text[:40]!r}{why}")
    if match[1] is not None:
        start, stop = int(match[1]), int(match[1]) + 1
        if start >= count:
            raise UsageError(f"expected an item number below {count:,}, got {start}")
        return start, stop
    start, stop = int(match[2] or 0), int(match[3]) if match[3] else count
    if start > stop:
        raise UsageError(f"expected a range A:B that begins before it ends, got {text!r}, of {count:,} items")
    return start, stop


def prepare(resources: Resources, quiet: bool) -> None:
    """Set the process up before a command imports what it needs, and let the user know what the command waits for and
    how far it is, unless it is to be quiet."""
    tell_notices(None if quiet else lambda text: print(text, file=sys.stderr, flush=True))
    watch(watcher(quiet))
    use_threads(resources.jobs)


def check_names(model: str | Path | None, data: str | None = None, *, device: str = "cpu") -> None:
    """Refuse a model or data that is not there, then make the device ready, which takes PyTorch."""
    from codelength import resolve

    resolve.check_names(model, data)
    use_device(device)


def image_shape(text: str | None, space: Space) -> tuple[int, ...]:
    """The shape of items to draw: the space's own, with free sizes as the user gave them."""
    free = [side for side in space.shape if side is None]
    if text is None and not free:
        return tuple(side for side in space.shape if side is not None)
    sides = (text or "").lower().split("x")
    if len(sides) != len(free) or not all(side.isdecimal() and int(side) > 0 for side in sides):
        need = "--shape HxW, such as 32x32" if free else "no --shape, since the model has its own"
        raise UsageError(f"expected {need}, got {text!r}")
    given = iter(sides)
    return tuple(int(next(given)) if side is None else side for side in space.shape)
