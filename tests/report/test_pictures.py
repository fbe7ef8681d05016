"""Items as files to look at: what is in them is what was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codelength.laws.space import Space
from codelength.report.pictures import save_items
from codelength.report.sheet import contact_sheet

ITEMS = np.random.default_rng(0).integers(0, 16, (5, 6, 4))


@pytest.mark.parametrize(("symbols", "kind"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16)])
def test_arrays_hold_the_numbers_in_the_least_type(symbols: int, kind: type, tmp_path: Path) -> None:
    items = np.random.default_rng(symbols).integers(0, symbols, (3, 6, 4))
    items[0, 0, 0] = symbols - 1
    save_items(items, Space((6, 4), symbols), tmp_path / "a.NPY")
    found = np.load(tmp_path / "a.NPY")
    assert found.dtype == kind and np.array_equal(found, items)


@pytest.mark.parametrize("columns", [None, 2])
def test_pictures_are_contact_sheets(columns: int | None, tmp_path: Path) -> None:
    save_items(ITEMS, Space((6, 4), 16), tmp_path / "a.png", columns=columns)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), np.asarray(contact_sheet(ITEMS, 16, columns=columns)))


def test_a_file_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "a.npy"
    place.write_bytes(b"something else, and longer than the array that comes in its place" * 99)
    save_items(ITEMS, Space((6, 4), 16), place)
    assert np.array_equal(np.load(place), ITEMS) and list(tmp_path.iterdir()) == [place]
