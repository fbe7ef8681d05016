"""Whether networks keep to the order that a law states, found out by poking.

The chain rule gives a probability only where the distribution of each element depends on elements before it. A network
that sees its own element, or a later one, gives figures that look like likelihoods and are none. So elements are
changed one by one, and what changes with them must come after them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.errors import NotCausal
from codelength.exact.schedule import RasterSchedule, as_image
from codelength.laws.contract import Context, Law
from codelength.laws.marginal import Marginal, Responsibilities
from codelength.laws.sequential import Sequential
from codelength.laws.switch import select
from codelength.networks.conditionals import DegreeConditional, RasterConditional

#: Items of at most so many elements are poked everywhere, larger ones in so many places.
ALL_ELEMENTS = 256
SOME_ELEMENTS = 64
#: Items that are poked, and components of a mixture that are looked at.
ITEMS = 2
COMPONENTS = 4
#: Parameters that differ by less, relative to the largest, differ by rounding.
ROUNDING = 1e-5
#: Items of one pass.
ROWS = 64


def check_causal(model: Any, items: np.ndarray, *, fresh: bool = False, device: Any = "cpu") -> bool:
    """Raise NotCausal where a network of the model's law sees an element that it is asked to predict, or a later one.

    model: with ``law()``. items (n, *shape): integers, of which a few are used. fresh: whether the model has not been
    trained. Layers that begin as zeros hide what they will see, so such weights are drawn at random while it is poked,
    and are zeros again afterwards.

    Returns whether everything could be looked at: False where there are laws or conditionals of somebody's own that
    do not show their parameters.
    """
    if not len(items):
        return True
    x = torch.from_numpy(np.ascontiguousarray(items[:ITEMS]).astype(np.int64)).to(device)
    was_training = model.training
    hidden = _zeros(model) if fresh else []
    cuda = [x.device] if x.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(cuda):
        model.eval()
        generator = torch.Generator().manual_seed(0)
        try:
            for weight in hidden:
                fan_in = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) / max(fan_in, 1) ** 0.5)
            torch.manual_seed(0)
            draws = torch.Generator(x.device).manual_seed(0)
            return _look(model.law(), x, {"shape": tuple(x.shape[1:]), "generator": draws})
        finally:
            for weight in hidden:
                weight.zero_()
            model.train(was_training)


def _zeros(model: nn.Module) -> list[Tensor]:
    """Weights that are zeros as yet. Those whose gradients somebody changes are left alone: they may have to stay."""
    return [
        weight
        for weight in model.parameters()
        if weight.ndim >= 2 and weight.numel() and not weight._backward_hooks and not bool(weight.detach().any())
    ]


def _look(law: Law, x: Tensor, context: Context) -> bool:
    """Poke every sequential law in a tree of laws, x being items that follow it."""
    if isinstance(law, Sequential):
        return _poke(law.conditional, x, context)
    if isinstance(law, Marginal) and isinstance(law.posterior, Responsibilities):
        count = law.posterior.count
        chosen = np.random.default_rng(0).permutation(count)[:COMPONENTS]
        seen = True
        for k in sorted(chosen.tolist()):
            index = torch.full((len(x), 1), k, dtype=torch.int64, device=x.device)
            seen &= _look(law.prior, index, context) & _look(law.likelihood, x, {**context, law.latent: index})
        return seen
    if law.children() and type(law).placed is Law.placed:  # somebody's own, which does not tell
        return False
    return all([_look(part.law, part.x, part.context) for part in law.placed(x, context)])


def _poke(conditional: Any, x: Tensor, context: Context) -> bool:
    shape, dims = tuple(x.shape[1:]), x[0].numel()
    symbols = getattr(getattr(conditional, "leaf", None), "symbols", None)
    if symbols is None or not hasattr(conditional.parallel(x[:1], select(context, slice(0, 1), len(x))), "params"):
        return False
    places = np.arange(dims)
    if dims > ALL_ELEMENTS:
        places = np.sort(np.random.default_rng(0).permutation(dims)[:SOME_ELEMENTS])
    first: tuple[int, int, int] | None = None  # where what changed comes, and what was poked
    for row in range(len(x)):
        given = select(context, slice(row, row + 1), len(x))
        rank = _rank(conditional, given, shape)
        for start in range(0, len(places), ROWS):
            poked = torch.from_numpy(places[start : start + ROWS]).to(x.device)
            base = x[row].reshape(1, -1).expand(len(poked) + 1, -1)
            changed = base.clone()
            old = base[0, poked]
            # To the far end of the alphabet: what is seen at all is seen best so.
            changed[torch.arange(len(poked), device=x.device), poked] = torch.where(2 * old < symbols, symbols - 1, 0)
            # The same number of the same rows tells how far rows of one batch differ by rounding alone.
            params, noise = (_parameters(conditional, rows, given, shape) for rows in (changed, base))
            size = params.abs().nan_to_num(0, 0, 0).max()
            limit = ROUNDING * torch.clamp(size, min=1.0) + 4 * (noise - noise[-1]).abs().nan_to_num(0).max()
            moved = ((params[:-1] - params[-1]).abs().amax(2) > limit).cpu().numpy()  # (poked, D)
            for k, place in enumerate(places[start : start + ROWS].tolist()):
                wrong = np.flatnonzero(moved[k] & (rank <= rank[place]))
                if len(wrong):
                    seeing = int(wrong[rank[wrong].argmin()])
                    found = (int(rank[seeing]), seeing, place)
                    first = found if first is None else min(first, found)
    if first is not None:
        _, seeing, place = first
        what = "its own value" if seeing == place else f"element {_name(place, shape)}, which does not come before it"
        network = type(getattr(conditional, "network", conditional)).__name__
        raise NotCausal(
            f"expected the distribution of each element to depend on those before it alone, but that of element "
            f"{_name(seeing, shape)} changes with {what}; mend the masks of {network}, its figures would be no "
            "likelihoods"
        )
    return True


def _parameters(conditional: Any, rows: Tensor, given: Context, shape: tuple[int, ...]) -> Tensor:
    """Parameters (n, D, p) of the elements where they lie."""
    many = {
        name: value.expand(len(rows), *value.shape[1:]) if isinstance(value, Tensor) and value.ndim else value
        for name, value in given.items()
    }
    elements = conditional.parallel(rows.reshape(-1, *shape), many)
    params = elements.params.float()
    order = getattr(elements, "order", None)
    if order is None:
        return params
    place = order.expand(len(params), -1) if order.ndim == 1 else order
    return torch.empty_like(params).scatter_(1, place[:, :, None].expand_as(params), params)


def _rank(conditional: Any, given: Context, shape: tuple[int, ...]) -> np.ndarray:
    """When each element comes (D,), as far as that is stated: row by row where it is not."""
    dims = int(np.prod(shape))
    order = np.arange(dims)
    if isinstance(conditional, DegreeConditional):
        member = 0 if conditional.index is None else int(given[conditional.index].reshape(-1)[0])
        order = conditional.orders[member].cpu().numpy()
    elif isinstance(conditional, RasterConditional):
        order = RasterSchedule(conditional.slope).order(*as_image(shape))
    rank = np.empty(dims, np.int64)
    rank[order] = np.arange(dims)
    return rank


def _name(element: int, shape: tuple[int, ...]) -> str:
    place = tuple(int(i) for i in np.unravel_index(element, shape))
    return str(place[0] if len(place) == 1 else place)
