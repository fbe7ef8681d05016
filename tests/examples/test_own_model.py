"""The example of a model of one's own, as a user runs it, but in a process that has PyTorch already."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path), "30"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "every pixel came back" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"own.clm", "digits.clen"}
