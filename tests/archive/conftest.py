import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codelength.archive.reader import Archive

for folder in (Path(__file__).parent, Path(__file__).parent.parent / "golden"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each block is decoded, whoever asks for it."""
    counts: Counter[int] = Counter()
    original = Archive.decode_block

    def counted(self: Archive, block: Any) -> np.ndarray:
        counts[block.number] += 1
        return original(self, block)

    monkeypatch.setattr(Archive, "decode_block", counted)
    return counts
