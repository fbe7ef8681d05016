"""README and documents: links lead somewhere, commands exist, code runs, tables are those of the results."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from benchmarks.tables import insert
from PIL import Image

from codelength.cli import main
from codelength.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_these_options(document: Path) -> None:
    command = typer.main.get_command(app)
    context = command.make_context("codelength", [], resilient_parsing=True)
    for line in re.findall(r"^codelength .*$", document.read_text(), re.MULTILINE):
        words = line.split("#")[0].split()
        found = command.get_command(context, words[1])
        assert found is not None, line
        known = {name for parameter in found.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-") and word != "-"} <= known, line


def test_the_example_of_adding_a_family_quotes_the_files_as_they_are() -> None:
    text = (ROOT / "docs" / "adding-a-family.md").read_text()
    places = ["src/codelength/models", "src/codelength/recipes", "tests/contract"]
    files = [
        path.read_text() for place in places for path in (ROOT / place).iterdir() if path.suffix in (".py", ".toml")
    ]
    quoted = re.findall(r"```(?:python|toml)\n(.*?)```", text, re.DOTALL)
    assert len(quoted) == 6 and text.count("\n") < 150
    for block in quoted:
        assert any(block in file for file in files), block


def test_every_command_is_in_the_readme() -> None:
    command = typer.main.get_command(app)
    text = (ROOT / "README.md").read_text()
    for name in command.commands:
        assert f"codelength {name}" in text or f"make {name}" in text, name


def test_the_readme_shows_current_results() -> None:
    text = (ROOT / "README.md").read_text()
    assert "<!-- benchmarks:" in text and insert(text) == text


def test_the_picture_of_the_readme_is_what_its_command_draws(tmp_path: Path) -> None:
    (line,) = re.findall(r"`codelength (sample [^`]*)`", (ROOT / "README.md").read_text())
    *words, published = line.split()
    assert main([*words, str(tmp_path / "drawn.png"), "--quiet"]) == 0
    with Image.open(ROOT / published) as old, Image.open(tmp_path / "drawn.png") as new:
        assert np.array_equal(np.asarray(old), np.asarray(new))


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "bits/dim" in done.stdout and (tmp_path / "digits.clen").exists()
