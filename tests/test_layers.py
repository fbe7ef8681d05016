"""Imports point one way: as the map in docs/architecture.md has it between packages, and without circles within."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "codelength"

#: What may point back, and why.
EXCEPTIONS = {
    # An error lists what of an archive is lost; nothing but the type's name is needed for that.
    ("errors", "archive.damage"),
}


def layers() -> dict[str, int]:
    """The number of the line, in the map of the architecture page, on which each package or module begins."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = text.split("## Layers", 1)[1].split("```")[1]
    found: dict[str, int] = {}
    for number, line in enumerate(block.splitlines()):
        if line and not line.startswith(" "):
            head = re.sub(r"\(.*?\)", "", re.split(r"\s{2,}", line)[0])
            found |= {name.strip().rstrip("/"): number for name in head.split("·")}
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, within functions and for types too. ``import codelength``, the
    package that is being imported itself, is how its version is asked for and counts for nothing."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("codelength.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            if (node.module or "").split(".")[0] == "codelength":
                found |= {_module(f"{node.module}.{alias.name}") for alias in node.names}
    return {name.removeprefix("codelength.") for name in found}


def _module(dotted: str) -> str:
    """The module that a dotted name is or lies in."""
    parts = dotted.split(".")[1:]
    place = SOURCE.joinpath(*parts)
    if place.with_suffix(".py").is_file():
        return dotted
    if (place / "__init__.py").is_file():
        return f"{dotted}.__init__"
    return _module_of_parent(parts[:-1])


def _module_of_parent(parts: list[str]) -> str:
    inside = SOURCE.joinpath(*parts)
    ending = ["__init__"] if inside.is_dir() else []
    return ".".join(["codelength", *parts, *ending])


GRAPH = {module_of(path): imports(path) for path in sorted(SOURCE.rglob("*.py"))}


def test_every_package_stands_in_the_map():
    known = layers()
    missing = {name.split(".")[0] for name in GRAPH} - set(known) - {"__init__", "__main__"}
    assert not missing
    assert not [name for name in known if not list(SOURCE.glob(name)) and not (SOURCE / f"{name}.py").is_file()]


def test_imports_point_from_a_lower_line_to_those_above():
    known = layers()
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in sorted(others)
        if name not in ("__init__", "__main__")
        and known[other.split(".")[0]] > known[name.split(".")[0]]
        and (name, other) not in EXCEPTIONS
    ]
    assert not wrong


def test_no_modules_import_each_other():
    graph = {name: {other for other in others if (name, other) not in EXCEPTIONS} for name, others in GRAPH.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_every_exception_is_needed():
    assert all(other in GRAPH[name] for name, other in EXCEPTIONS)
