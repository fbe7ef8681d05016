"""Options in groups: the same to a user as if each stood in the command."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from codelength.cli.groups import ungrouped
from codelength.cli.options import RESOURCES, Resources
from codelength.errors import UsageError


@dataclass(frozen=True)
class Size:
    height: Annotated[int, typer.Option("--height", help="Rows.")] = 3
    width: Annotated[int, typer.Option("--width", help="Columns.")] = 4


SEEN: list[object] = []


def grouped(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    size: Size = Size(),
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """What it does."""
    SEEN.append((name, size.height, size.width, loud))


def plain(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    height: Annotated[int, typer.Option("--height", help="Rows.")] = 3,
    width: Annotated[int, typer.Option("--width", help="Columns.")] = 4,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """What it does."""
    SEEN.append((name, height, width, loud))


def run(command: object, *arguments: str) -> tuple[int, str]:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name="it")(command)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("a",), ("a", "--width", "7", "--loud"), ("--height", "1", "b"), ("a", "--height", "x"), ("a", "b")],
)
def test_a_group_is_its_options(arguments: tuple[str, ...]) -> None:
    SEEN.clear()
    found, expected = run(ungrouped(grouped), *arguments), run(plain, *arguments)
    assert found == expected
    assert len(SEEN) in (0, 2) and SEEN[:1] == SEEN[1:]
    assert bool(SEEN) == (found[0] == 0 and arguments != ("--help",))


def test_names_must_not_repeat() -> None:
    def twice(size: Size = Size(), height: int = 0) -> None:
        pass

    with pytest.raises(ValueError, match="height"):
        ungrouped(twice)


def test_the_command_keeps_its_name_and_its_words() -> None:
    command = ungrouped(grouped)
    assert command.__name__ == "grouped" and command.__doc__ == "What it does."
    assert list(inspect.signature(command).parameters) == ["name", "height", "width", "loud"]


def test_resources_on_a_command_line() -> None:
    assert RESOURCES.arguments() == [] and RESOURCES.memory() is None
    given = Resources("cuda:1", 3, "2G")
    assert given.arguments() == ["--device", "cuda:1", "--jobs", "3", "--max-memory", "2G"]
    assert given.memory() == 2 * 2**30
    with pytest.raises(UsageError):
        Resources(max_memory="much").memory()
