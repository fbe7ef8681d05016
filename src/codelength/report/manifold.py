"""What a model of two latent numbers makes of them: a picture of its manifold (Kingma and Welling 2014, figure 4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from codelength.errors import UsageError
from codelength.exact.conditional import Elements
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal

#: Up to so many symbols an element is shown by its mean, beyond by its median.
MEAN_SYMBOLS = 16


def manifold(model: FrozenModel, side: int) -> tuple[np.ndarray, int]:
    """Items over a grid of side x side latents, which lie at equal steps of the prior's probability.

    model: with one latent of two numbers, and elements that are independent given them. Returns items
    (side * side, *shape), the first latent growing downwards, the second to the right, and how many values an element
    can have: elements of up to sixteen symbols are shown by their means, on a scale of 0 .. 255, others by medians.

    Raises UsageError for any other model.
    """
    law: Any = model.law
    fits = isinstance(law, Marginal) and isinstance(law.prior, Independent) and isinstance(law.likelihood, Independent)
    if not (fits and law.prior.conditional.shape == (2,) and not model.space.is_free):
        raise UsageError(
            "expected a model with one latent of two numbers and independent elements given them, for a picture of its "
            "manifold; train one such as the recipe vae-manifold-digits"
        )
    if side < 1:
        raise UsageError(f"expected at least one latent a side, got {side}")
    prior = law.prior.conditional({"shape": model.space.shape}, 1)
    marks = np.concatenate([prior.quantile(2 * k + 1, 2 * side) for k in range(side)])  # (side, 2)
    rows, columns = np.divmod(np.arange(side * side), side)
    z = np.stack([marks[rows, 0], marks[columns, 1]], axis=1)
    parts = []
    for start in range(0, len(z), 256):
        some = z[start : start + 256]
        elements = law.likelihood.conditional({"shape": model.space.shape, law.latent: some}, len(some))
        parts.append(_means(elements, len(some), model) if _has_mean(model) else elements.median())
    return np.concatenate(parts), 256 if _has_mean(model) else model.space.symbols


def _has_mean(model: FrozenModel) -> bool:
    return model.space.symbols <= MEAN_SYMBOLS


def _means(elements: Elements, count: int, model: FrozenModel) -> np.ndarray:
    """Means of the elements, (count, *shape), from 0 for the first symbol to 255 for the last."""
    shape = (count, *[size or 0 for size in model.space.shape])
    total = np.zeros(shape)
    for symbol in range(1, model.space.symbols):
        _, widths = elements.intervals(np.full(shape, symbol, np.int32))
        total += symbol * np.asarray(widths, np.float64).reshape(shape)
    bits = elements.leaf.bits
    return np.round(total * (255 / (model.space.symbols - 1)) / (1 << bits)).astype(np.uint8)
