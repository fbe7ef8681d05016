"""What is found in made piles, and what is never claimed of others."""

from __future__ import annotations

import numpy as np
import pytest

from codelength.data.opened import open_data
from codelength.packing.piles import geometry_of
from codelength.packing.survey import Survey, choose, first_fitting, kept_channels, survey

RNG = np.random.default_rng(0)


def smooth(count: int, height: int = 40, width: int = 50, noise: float = 6.0) -> np.ndarray:
    """Grey images like those of a camera, (count, height, width) uint8: waves and noise."""
    y, x = np.mgrid[:height, :width]
    waves = [120 + 60 * np.sin(x / (7 + k) + k) + 40 * np.cos(y / 9 + 2 * k) for k in range(count)]
    return np.clip(np.array(waves) + RNG.normal(0, noise, (count, height, width)), 0, 255).astype(np.uint8)


def only(data: object) -> Survey:
    (found,) = survey(open_data(data).archived)
    return found


def kinds(found: Survey) -> dict[str, dict[str, object]]:
    return {finding.kind: finding.about for finding in found.findings}


def test_photographs_have_nothing_to_be_said_of() -> None:
    found = only(smooth(4))
    assert set(kinds(found)) == {"images"}
    assert (found.symbols, found.levels, found.maps, found.kinds) == (256, False, ((0,),), ("photo",))
    assert found.findings[0].text == "4 grey images of 40x50"


def test_unused_bits() -> None:
    found = only(smooth(3).astype(np.uint16) * 16 + RNG.integers(0, 16, (3, 40, 50)).astype(np.uint16))
    assert kinds(found)["depth"] == {"bits": 12}
    assert found.symbols <= 4096
    assert "12 of 16 bits" in found.findings[1].text


def test_gaps_between_values() -> None:
    found = only(smooth(6).astype(np.uint16) * 257)
    assert found.levels
    assert kinds(found)["levels"]["levels"] <= 256
    assert not only(smooth(6)).levels


def test_values_that_are_rare_are_no_gaps() -> None:
    few = RNG.integers(0, 65536, (2, 20, 20)).astype(np.uint16)
    found = only(few)
    assert not found.levels and "levels" not in kinds(found)


def test_two_values() -> None:
    found = only((smooth(3) > 120).astype(np.uint8) * np.uint8(255))
    assert "binary" in kinds(found)
    assert (found.symbols, found.levels, found.kinds) == (2, True, ("binary",))
    assert only(smooth(3) > 120).levels is False


def test_grey_stored_as_rgba_and_opaque_alpha() -> None:
    grey = smooth(4)
    stored = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    found = only(stored)
    assert {"grey", "opaque"} <= set(kinds(found))
    assert found.maps == ((0, 0, 0, ~255), (0, 1, 2, 3))
    assert kept_channels(found.maps[0]) == (0,)


def test_colour_with_opaque_alpha_and_with_some_grey_images() -> None:
    colour = np.stack([smooth(10), smooth(10), smooth(10), np.full((10, 40, 50), 255, np.uint8)], axis=-1)
    assert only(colour).maps == ((0, 1, 2, ~255), (0, 1, 2, 3))
    colour[:5, :, :, 1] = colour[:5, :, :, 2] = colour[:5, :, :, 0]
    found = only(colour)
    assert found.maps == ((0, 0, 0, ~255), (0, 1, 2, ~255), (0, 1, 2, 3))
    fitting = [found.maps.index(tuple(first_fitting(found.maps, image))) for image in colour]
    assert fitting == [0] * 5 + [1] * 5
    clear = colour[0].copy()
    clear[3, 4, 3] = 0
    assert tuple(first_fitting(found.maps, clear)) == (0, 1, 2, 3)


def test_a_channel_of_one_value() -> None:
    stored = np.stack([smooth(3), np.full((3, 40, 50), 7, np.uint8), smooth(3)], axis=-1)
    found = only(stored)
    assert found.maps[0] == (0, ~7, 2)
    assert kinds(found)["constant"] == {"channels": [1]}


def test_images_of_one_value() -> None:
    found = only(np.full((3, 9, 9), 200, np.uint8))
    assert kinds(found)["constant"] == {"value": 200}
    assert found.symbols == 2 and found.levels
    assert kept_channels(only(np.full((3, 9, 9, 3), 200, np.uint8)).maps[0]) == (0,)


def test_drawn_images() -> None:
    flat = np.repeat(np.repeat(RNG.integers(0, 5, (4, 5, 5)), 10, axis=1), 10, axis=2).astype(np.uint8) * np.uint8(40)
    found = only(flat)
    assert "drawn" in kinds(found) and found.kinds[0] == "drawn"


def test_duplicates() -> None:
    images = smooth(4)
    found = only(np.concatenate([images, images[:2]]))
    (twice,) = [finding for finding in found.findings if finding.kind == "duplicates"]
    assert twice.items == 2


def test_frames_in_order() -> None:
    still = smooth(1, noise=30)[0].astype(np.int64)
    frames = np.clip(still + RNG.integers(-2, 3, (6, *still.shape)), 0, 255).astype(np.uint8)
    assert only(frames).previous and "frames" in kinds(only(frames))
    assert not only(smooth(6, noise=30)).previous


def test_noise() -> None:
    assert "noise" in kinds(only(RNG.integers(0, 256, (4, 60, 60)).astype(np.uint8)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_are_not_whole_are_kept(dtype: type) -> None:
    found = only(RNG.normal(0, 1, (3, 8, 8)).astype(dtype))
    assert set(kinds(found)) == {"kept"} and found.symbols == 0


def test_whole_floats_and_signed_numbers_have_levels() -> None:
    for dtype in (np.float32, np.int16, np.int64):
        found = only(smooth(4).astype(dtype) - dtype(1000))
        assert found.symbols and found.levels, dtype
    assert only(RNG.integers(-(2**40), 2**40, (3, 300, 300))).symbols == 0
    minus = np.zeros((2, 8, 8), np.float32)
    minus[0, 0, 0] = -0.0
    assert only(minus).symbols == 0


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 7, 1), (1, 1, 9), (2, 60000, 1), (1, 3, 5, 4), (5, 3), (4, 3, 16, 16)]
)
def test_any_shape(shape: tuple[int, ...]) -> None:
    found = only(RNG.integers(0, 200, shape).astype(np.uint8))
    assert found.pile.items == shape[0] and found.symbols
    assert all(image.ndim == 3 for image in found.images)


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (0,)])
def test_nothing(shape: tuple[int, ...]) -> None:
    assert all(found.symbols == 0 for found in survey(open_data(np.zeros(shape, np.uint8)).archived))


def test_planes_and_volumes() -> None:
    assert geometry_of("", (3, 20, 30)).axes == (1, 2, 0)  # type: ignore[union-attr]
    assert geometry_of("", (20, 30, 3)).axes == (0, 1, 2)  # type: ignore[union-attr]
    assert geometry_of("", (20, 30, 40)) is None
    assert geometry_of("", ()) is None and geometry_of("", (4, 0)) is None


def test_a_look_stays_small_however_many_there_are() -> None:
    images = np.broadcast_to(np.zeros((1, 64, 64), np.uint8), (100_000, 64, 64))
    found = only(images)
    assert len(found.sample) < 2000 and not found.is_whole
    assert all(finding.sampled for finding in found.findings)
    chosen = choose(found.pile, 2**20)
    assert chosen[0] == 0 and chosen[-1] > 80_000 and chosen == sorted(set(chosen))


def test_one_large_image_is_looked_at_in_part() -> None:
    found = only(np.zeros((1, 4000, 2000), np.uint8))
    assert found.images[0].shape[0] < 4000 and not found.is_whole


def test_images_of_several_sizes_are_one_pile_in_their_order() -> None:
    images = [smooth(1, 20 + k % 3, 30)[0] for k in range(7)]
    found = only(images)
    assert found.pile.items == 7 and "in 3 sizes" in found.findings[0].text
    assert all(np.array_equal(a, b) for a, b in zip(found.pile.read(2, 6), images[2:6]))
    assert [len(piece) for piece in found.pile.pieces(1300)] == [2, 2, 2, 1]
    assert found.pile.dims == sum(image.size for image in images)
