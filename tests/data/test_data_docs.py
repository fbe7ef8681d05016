"""The page on data says what the registry says."""

import subprocess
import sys
from pathlib import Path

from codelength.data.table import table

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_tables_are_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert f"-->\n{table()}\n<!-- end -->" in text, "run `python -m codelength.data` and paste its output"


def test_the_command_prints_the_tables():
    command = [sys.executable, "-m", "codelength.data"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout == table() + "\n"
