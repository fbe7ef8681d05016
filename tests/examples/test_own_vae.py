"""The example of an autoencoder of one's own, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_vae.py"


def test_own_vae(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path, "300"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "every pixel came back" in done.stdout
    found = re.search(r"([\d.]+) bits/dim; every", done.stdout)
    assert found and float(found[1]) < 0.75  # far from the bit of a model that knows nothing
    assert {path.name for path in tmp_path.iterdir()} == {"run", "digits.clen"}
