"""Training changes how the process computes, and puts that back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codelength.errors import EvaluationError
from codelength.training.run import train

TINY = float(np.nextafter(0.0, 1.0))


def switches() -> tuple[int, bool, float]:
    return torch.get_num_threads(), bool(torch.tensor(TINY, dtype=torch.float64) * 1.0 > 0), TINY * 1.0


@pytest.mark.parametrize("rate", [1e-3, 1e30])
def test_training_leaves_no_switch_behind(rate: float, tmp_path: Path) -> None:
    """Neither when it ends nor when its loss is no number."""
    items = np.random.default_rng(0).integers(0, 2, (40, 4, 4)).astype(np.uint8)
    before = switches()
    assert before[1] and before[2] == TINY
    changes = ["training.steps=4", "training.batch=20", "training.warmup_steps=0", "training.threads=1"]
    changes += [f"training.learning_rate={rate!r}", "made.hidden=[8]"]
    try:
        train("made-digits", items, tmp_path / "run", changes=changes, freeze=False)
    except EvaluationError:
        assert rate > 1
    assert switches() == before
