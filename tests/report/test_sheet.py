"""Contact sheets show every item, unaltered but for whole enlargement."""

from __future__ import annotations

import numpy as np
import pytest

from codelength.errors import UsageError
from codelength.report.sheet import contact_sheet


def test_every_item_is_shown() -> None:
    items = np.random.default_rng(0).integers(0, 17, (5, 8, 8))
    picture = np.asarray(contact_sheet(items, 17, columns=3))
    factor = (picture.shape[1] - 2) // 3 - 2
    scale = factor // 8
    for k, item in enumerate(items):
        top, left = 2 + k // 3 * (8 * scale + 2), 2 + k % 3 * (8 * scale + 2)
        shown = picture[top : top + 8 * scale : scale, left : left + 8 * scale : scale]
        assert np.array_equal(shown, item * 255 // 16)


def test_colours_vectors_and_nothing() -> None:
    assert contact_sheet(np.zeros((4, 6, 6, 3), int), 256).mode == "RGB"
    assert contact_sheet(np.ones((4, 180), int), 2).size == (184, 4 * 3 + 2)
    assert contact_sheet(np.ones((2, 5, 5, 1), int), 2).mode == "L"
    with pytest.raises(UsageError, match="none"):
        contact_sheet(np.zeros((0, 8, 8), int), 2)
    with pytest.raises(UsageError, match="no picture"):
        contact_sheet(np.zeros((2, 8, 8, 5), int), 2)
