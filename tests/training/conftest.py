"""Trainings of these tests look at a clock that stands still, so that what they do does not depend on the machine.

The loop validates, logs and saves by the time that has passed, too. Tests about that bring a clock of their own.
"""

from __future__ import annotations

import types

import pytest

from codelength.training import loop


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: 1000.0))
