"""The example of an autoencoder of one's own, as a user runs it, but in a process that has PyTorch already."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_vae.py"


def test_own_vae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path), "300"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    shown = capsys.readouterr().out
    assert "every pixel came back" in shown
    found = re.search(r"([\d.]+) bits/dim; every", shown)
    assert found and float(found[1]) < 0.75  # far from the bit of a model that knows nothing
    assert {path.name for path in tmp_path.iterdir()} == {"run", "digits.clen"}
