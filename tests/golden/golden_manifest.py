"""The golden archives and what the manifest says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Golden:
    """``contents`` is the digest (``golden_digest``) of what comes back, ``sha256`` that of the archive itself.
    ``plans``: the name of those in ``golden_plans`` by which it was written; the features are its programs' then."""

    name: str
    features: list[int]
    options: dict[str, Any]
    model: str | None
    sha256: str
    contents: str
    plans: str = ""

    @property
    def path(self) -> Path:
        return HERE / f"{self.name}.clen"

    @property
    def model_path(self) -> Path | None:
        """The model file of an archive that only names its model."""
        return None if self.model is None else HERE / self.model

    def __str__(self) -> str:
        return self.name


GOLDEN = [Golden(name, **record) for name, record in json.loads((HERE / "manifest.json").read_text()).items()]
