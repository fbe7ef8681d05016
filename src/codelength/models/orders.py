"""Orders in which the elements of an image are coded, and the degrees that go with them."""

from __future__ import annotations

import numpy as np

from codelength.errors import RecipeError


def symmetries(grid: np.ndarray) -> list[np.ndarray]:
    """A grid of element indices (height, width) in its eight rotations and reflections; the first is itself.

    Read row by row, each is an order: the raster of the image seen from another side.
    """
    return [np.rot90(side, turns) for side in (grid, grid.T) for turns in range(4)]


def rolls(grid: np.ndarray, pixels: int) -> list[np.ndarray]:
    """A grid rolled by up to `pixels` in both directions, edges wrapping round; the middle one is itself."""
    shifts = range(-pixels, pixels + 1)
    return [np.roll(grid, (down, right), axis=(0, 1)) for down in shifts for right in shifts]


def degrees_by_information(units: int, information: np.ndarray) -> np.ndarray:
    """Degrees (units,), ascending, at even quantiles of what the positions tell.

    information (D,): non-negative, e.g. the entropy of the symbol at each position. A unit of degree d sees the
    positions before d, so units are dense where each further position brings much news. Never above D - 1: a unit that
    sees everything could serve no position.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(information)])  # known to a unit of degree 0 .. D
    quantiles = (np.arange(units) + 0.5) / units * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, quantiles), len(information) - 1)


def random_degrees(units: int, positions: int, lowest: int, generator: np.random.Generator) -> np.ndarray:
    """Degrees (units,), uniform from `lowest` to positions - 1 (MADE, section 4.2).

    `lowest` is the smallest degree of the layer below, so that no unit is left without inputs.
    """
    low = min(max(lowest, 0), positions - 1)
    return generator.integers(low, positions, size=units)


def image_size(shape: tuple[int, ...], what: str) -> tuple[int, int]:
    """Height and width of a grey image's shape; RecipeError for any other, naming `what` asked for it."""
    if len(shape) != 2:
        raise RecipeError(f"{what} are for grey images of shape (height, width), the data has shape {shape}")
    return shape[0], shape[1]
