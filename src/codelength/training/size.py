"""How large a model is, and what memory its training needs, known before it is built.

Recipes are built without values (on torch's meta device), and one step is taken through them that computes shapes
only. A module of one's own exists already; two items go through it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from codelength.distributions.continuum import continuum
from codelength.errors import UsageError
from codelength.laws.space import Space
from codelength.machine import free_memory
from codelength.models.registry import FAMILIES
from codelength.networks.masked import SMALL, MaskedLinear
from codelength.sizes import show_size
from codelength.training.config import Recipe, TrainingConfig

#: Items of a validation's passes.
VALIDATION_BATCH = 256
#: Copies of the largest value of a pass that are around at once beside what is kept for gradients.
COPIES = 3
#: Bytes of a run's libraries, and of what allocators keep.
BASE = 200 * 2**20


@dataclass(frozen=True)
class Footprint:
    """parameters: how many. weights: bytes of these, their gradients, averages and the optimiser's state. activations:
    bytes of what one step keeps of its batch, or one validation of its. tables: bytes of the symbol frequencies. data:
    bytes of the items."""

    parameters: int
    weights: int
    activations: int
    tables: int = 0
    data: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.activations + self.tables + self.data + BASE

    def __str__(self) -> str:
        return f"{self.parameters:,} parameters; training needs about {show_size(self.total)} of memory"


def footprint(
    module: nn.Module, space: Space, config: TrainingConfig, items: int, labels: int = 0, *, quick: bool = False
) -> Footprint:
    """What training a module takes, with or without values, on so many items of a space without free sizes.

    quick: without the activations, for which libraries are needed that take seconds to import.
    """
    parameters = sum(p.numel() for p in module.parameters())
    buffers = sum(b.numel() * b.element_size() for b in module.buffers())
    # Weights, gradients, two moments, averages; the best of these where there is patience; in single precision.
    weights = 4 * parameters * (5 + (config.patience > 0)) + 2 * buffers
    # Masked products keep the mask and the masked weights, in the model and in its average.
    large = [m.weight.numel() for m in module.modules() if isinstance(m, MaskedLinear) and m.weight.numel() >= SMALL]
    weights += 16 * sum(large)
    batch = min(config.batch, items)
    kept, largest = (0, 0) if quick else _activations(module, space, batch, labels)
    step, validation = kept + COPIES * largest, COPIES * largest * min(VALIDATION_BATCH, items) // max(1, batch)
    data = items * space.dims * (1 if space.symbols <= 256 else 2)
    return Footprint(parameters, weights, max(step, validation), data=data)


def recipe_footprint(recipe: Recipe, space: Space, items: int, *, quick: bool = False) -> Footprint:
    """What training a recipe takes, without building it. Raises RecipeError where it does not fit the space."""
    with torch.device("meta"):
        module = FAMILIES[recipe.model].build(recipe.section, space, None)
    labels = int(getattr(recipe.section, "labels", 0))
    found = footprint(module, space, recipe.training, items, labels, quick=quick)
    return dataclasses.replace(found, tables=32 * space.dims * space.symbols)


def check_recipe(recipe: Recipe, what: str, space: Space, items: int, limit: int | None) -> Footprint:
    """What training a recipe takes; raises UsageError as ``check_footprint`` does, with changes that would help."""
    for quick in (True, False):  # what is far too large is refused at once
        found = recipe_footprint(recipe, space, items, quick=quick)
        advice = partial(recipe_advice, recipe, space, items, quick=quick)
        check_footprint(found, what, limit, advice)
    return found


def check_footprint(found: Footprint, what: str, limit: int | None, advice: Callable[[int], str]) -> None:
    """Raise UsageError where training takes more than ``limit`` bytes, or where None than most of what is free.

    advice: what to do, given the bytes that there are.
    """
    allowed = free_memory() if limit is None else limit
    if allowed is None or found.total <= allowed:
        return
    where = "may be used" if limit is not None else "are to be had on this machine"
    batch = f"a batch {show_size(found.activations)}" if found.activations else "without its batches"
    raise UsageError(
        f"training {what} needs about {show_size(found.total)} of memory ({found.parameters:,} parameters with "
        f"gradients and averages {show_size(found.weights)}, {batch}), and {show_size(allowed)} {where}; "
        f"{advice(allowed)}"
    )


def recipe_advice(recipe: Recipe, space: Space, items: int, allowed: int, *, quick: bool = False) -> str:
    """Changes of a recipe under which its training fits into so many bytes."""
    allowed = allowed // 2 if quick else allowed  # room for the activations
    helpful: list[str] = []
    for ways in _smaller(recipe, space):
        for name, changed in ways:
            if recipe_footprint(changed, space, items, quick=quick).total <= allowed:
                helpful.append(f"--set {name}")
                break
    if helpful:
        return f"{' or '.join(helpful)} would do"
    return f"make {_widths(recipe)} smaller and training.batch, too, or give more memory"


def _widths(recipe: Recipe) -> str:
    """The key of a recipe that says how wide its networks are."""
    return f"{recipe.model}.{'channels' if getattr(recipe.section, 'strides', ()) else 'hidden'}"


def _smaller(recipe: Recipe, space: Space) -> Iterator[list[tuple[str, Recipe]]]:
    """Ways to make a recipe smaller, each as changes from little to much in the words of --set."""
    section, training = recipe.section, recipe.training
    if section.leaf in ("", "categorical") and space.symbols > 16:
        leaf = dataclasses.replace(section, leaf="logistic_mixture")
        yield [(f"{recipe.model}.leaf=logistic_mixture", dataclasses.replace(recipe, section=leaf))]
    batches = [training.batch >> k for k in range(1, training.batch.bit_length())]
    yield [
        (
            f"training.batch={batch}",
            dataclasses.replace(recipe, training=dataclasses.replace(training, batch=batch)),
        )
        for batch in batches
    ]
    key = _widths(recipe)
    field = key.partition(".")[2]
    widths: tuple[int, ...] = getattr(section, field)
    narrower = []
    for k in range(1, max(0, max(widths).bit_length() - 3)):
        fewer = tuple(max(1, width >> k) for width in widths)
        shown = str(list(fewer)).replace(" ", "")
        changed = dataclasses.replace(section, **{field: fewer})
        narrower.append((f"{key}={shown}", dataclasses.replace(recipe, section=changed)))
    yield narrower


class _Largest(TorchDispatchMode):
    """Notes the bytes of the largest value that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return out


def _activations(module: nn.Module, space: Space, batch: int, labels: int) -> tuple[int, int]:
    """Bytes that a step over a batch keeps for gradients, and those of its largest value; zeros where it cannot be
    told, as with code that looks at values."""
    first = next(module.parameters(), None)
    meta = first is not None and first.is_meta
    count = batch if meta else min(batch, 2)
    device = "cpu" if first is None else first.device
    own = {p.untyped_storage()._cdata for p in module.parameters()}
    own |= {b.untyped_storage()._cdata for b in module.buffers()}
    seen: dict[int, Tensor] = {}  # values are kept, so that no other takes their place

    def keep(value: Tensor) -> Tensor:
        if value.untyped_storage()._cdata not in own:
            seen[value.untyped_storage()._cdata] = value
        return value

    was_training = module.training
    module.train(meta)  # a module with values is not to change
    widest = _Largest()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            x = torch.zeros(count, *(int(s or 1) for s in space.shape), dtype=torch.int64, device=device)
            label = [torch.zeros(count, dtype=torch.int64, device=device)] if labels else []
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), widest:
                generator = None if meta else torch.Generator().manual_seed(0)
                if hasattr(module, "loss"):
                    module.loss(x, generator, *label)  # type: ignore[operator]
                else:
                    law = continuum(module.law())  # type: ignore[operator]
                    law.log_prob(x, {"shape": tuple(x.shape[1:]), "generator": generator})
    except Exception:  # whatever code of one's own raises without values is not what was asked
        if not meta:
            raise
        return 0, 0
    finally:
        module.train(was_training)
    kept = sum(value.untyped_storage().nbytes() for value in seen.values())
    # The largest value may be a weight's, which is there once whatever the batch.
    return math.ceil(kept * batch / count), math.ceil(widest.bytes * batch / count)
