"""In-painting: items of which some elements are known.

Ancestral sampling with the known elements set in their turn draws each unknown element given what comes before it in
the model's order, and ignores what is known later. It is corrected by sampling importance resampling (Rubin 1988):
of several such draws, latents from the prior included, one is chosen with probability proportional to the
probability that the draw gave to the known elements. With many draws this is the conditional distribution; with one
it is the ancestral draw alone.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, UsageError
from codelength.exact.conditional import arrange
from codelength.laws.blocks import GROUP_MEMORY
from codelength.laws.chain import Chain, Group
from codelength.laws.coarse import Coarse
from codelength.laws.contract import Context, Law
from codelength.laws.frozen import FrozenModel
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.pushforward import Floor, Pushforward
from codelength.laws.sequential import Sequential
from codelength.laws.switch import Switch

Drawn = tuple[np.ndarray, np.ndarray]


def complete(
    model: FrozenModel, item: np.ndarray, mask: np.ndarray, count: int, *, seed: int = 0, draws: int = 64
) -> np.ndarray:
    """Completions (count, *shape) of ``item`` (*shape): elements where ``mask`` is set stay, the others are drawn.

    draws: ancestral draws among which each completion is chosen. The same seed gives the same items everywhere.

    Raises NotRepresentable for an item or a mask that does not fit the model, UsageError for counts below one and
    for flows: there is no moment at which a known element could be set and others still be drawn. Behind dequantisation
    the latents determine the item, and a discrete flow makes all of its elements at once.
    """
    if count < 1 or draws < 1:
        raise UsageError(f"expected at least one completion and one draw, got {count} and {draws}")
    shape = item.shape
    if mask.shape != shape:
        raise NotRepresentable(f"expected a mask of the item's shape {shape}, got {mask.shape}")
    _check(model.law)
    set_ = mask.astype(bool)
    model.space.check(np.where(set_, item, 0)[None])
    known = np.where(set_, item.astype(np.int64), -1).reshape(1, -1)  # unsigned items have no -1
    stack = Stack.seeded(seed)
    choice = np.random.default_rng(seed)
    step = max(1, GROUP_MEMORY // model.memory_bytes(draws, shape))
    parts = []
    for start in range(0, count, step):
        some = min(step, count - start)
        rows = np.broadcast_to(known, (some * draws, known.shape[1]))
        items, bits = _draw(model.law, stack, len(rows), {"shape": shape}, rows)
        weights = np.exp2(bits.reshape(some, draws) - bits.reshape(some, draws).max(1, keepdims=True))
        shares = (weights / weights.sum(1, keepdims=True)).cumsum(1)
        chosen = np.minimum((shares < choice.random((some, 1))).sum(1), draws - 1)
        parts.append(items.reshape(some, draws, *shape)[np.arange(some), chosen])
    return np.concatenate(parts)


@singledispatch
def _check(law: Law) -> None:
    """Raise UsageError for a law whose elements are not drawn in turn, before anything is drawn."""
    for part in law.children().values():
        _check(part)


@_check.register
def _check_marginal(law: Marginal) -> None:
    _check(law.likelihood)


@_check.register
def _check_floor(law: Floor) -> None:
    raise _refused("one whose latents determine its items (dequantisation, under a flow)")


@_check.register
def _check_pushforward(law: Pushforward) -> None:
    raise _refused("a flow, which makes all elements of an item at once from numbers drawn before them")


@singledispatch
def _draw(law: Law, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    """Ancestral draws with the ``known`` (count, D) elements set, -1 where unknown, and the log2 of the probability
    that each gave to them, (count,)."""
    raise _refused(f"a law {type(law).__name__}, of which nobody has said how")


@_draw.register
def _marginal(law: Marginal, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    z, exports = law.prior.pop_exporting(stack, count, context)
    return _draw(law.likelihood, stack, count, {**context, law.latent: z, **exports}, known)


@_draw.register
def _switch(law: Switch, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    parts = [
        (where, *_draw(part, stack, len(where), given, known[where])) for part, where, given in law.members(context)
    ]
    items = np.empty((count, *parts[0][1].shape[1:]), parts[0][1].dtype)
    bits = np.empty(count)
    for where, values, figures in parts:
        items[where], bits[where] = values, figures
    return items, bits


@_draw.register
def _chain(law: Chain, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    bits = np.zeros(count)

    def make(group: Group, given: Context) -> np.ndarray:
        nonlocal bits
        values, figures = _draw(group.law, stack, count, given, known[:, group.places])
        bits = bits + figures
        return values

    return law.made(context, count, make)[0], bits


@_draw.register
def _coarse(law: Coarse, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    """A known element has a known bin, and any place within it the same probability."""
    bins, bits = _draw(law.law, stack, count, context, np.where(known < 0, -1, known >> law.bits))
    drawn = (bins.astype(np.int64) << law.bits) + law.codec.pop(stack, bins.shape, law.bits)
    return _set(drawn, known), bits - law.bits * (known >= 0).sum(1)


@_draw.register
def _sequential(law: Sequential, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    conditional: Any = law.conditional
    items = conditional.advance(stack, count, context, known)
    return items, _probability(conditional.parallel(items, context), items, known)


@_draw.register
def _independent(law: Independent, stack: Stack, count: int, context: Context, known: np.ndarray) -> Drawn:
    elements = law.conditional(context, count)
    items = _set(elements.pop(stack), known)
    return items, _probability(elements, items, known)


def _refused(found: str) -> UsageError:
    return UsageError(
        f"expected a model that draws the elements of an item in turn, so that the known ones can be set, got {found}; "
        "complete items with an autoregressive model, a mixture of them, or a VAE"
    )


def _set(drawn: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Items with what is known in the place of what was drawn."""
    shaped = known.reshape(drawn.shape)
    return np.where(shaped < 0, drawn, shaped)


def _probability(elements: Any, items: np.ndarray, known: np.ndarray) -> np.ndarray:
    """log2 of the probability of the known elements, (count,)."""
    _, freqs = elements.intervals(items)
    given = arrange(known, elements.order) >= 0
    return np.where(given, np.log2(freqs) - elements.leaf.bits, 0.0).sum(1)
