"""The example of a model of one's own, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_own_model(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path, "30"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "every pixel came back" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"own.clm", "digits.clen"}
