"""The packaged models: frozen, named, part of every release from their first on, and never changed.

``NAME.clm`` is the model file; ``NAME.json`` beside it holds the figures that ``codelength evaluate`` printed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
#: Of one model file, and of all together: the package stays light.
MOST_BYTES = 8 << 20
MOST_BYTES_TOGETHER = 24 << 20


@dataclass(frozen=True)
class Packaged:
    """A model of this release: its name, its file, and the figures it was published with."""

    name: str
    path: Path
    figures: dict[str, Any] = field(default_factory=dict)


def packaged() -> dict[str, Packaged]:
    """All packaged models by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.clm"), key=lambda path: path.stem):
        beside = path.with_suffix(".json")
        figures = json.loads(beside.read_text("utf-8")) if beside.exists() else {}
        found[path.stem] = Packaged(path.stem, path, figures)
    return found
