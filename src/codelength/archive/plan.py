"""What is to be done with the items of a source: which ways there are to keep each, and how large blocks get."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codelength.archive.layout import Channel
from codelength.archive.model import Program
from codelength.archive.sources import ItemClass
from codelength.errors import UsageError


@dataclass(frozen=True)
class ByProgram:
    """By a program that learns from the images of a block while it codes them: a stream of type LEARNED.

    Single blocks of it are kept by a general codec where that is smaller.

    levels: the value that each symbol stands for, ascending; empty where symbols are the values.
    channels: what each stored channel is, ``Coded`` or ``Constant``; empty where stored channels are the coded ones.
        Grey and opaque pixels stored as RGBA: ``(Coded(0), Coded(0), Coded(0), Constant(255))``, a program of one.
    axes: transposition from an item to (height, width, channels); guessed where empty. event: the shape of an image
        where it does not follow from the item's, such as (28, 28) for rows of 784.
    block_items, block_bytes: what a block holds at most, one item at least; None: as the archive has it.
    taught: blocks begin with what the first one has taught the program, so that reading one decodes two.
    """

    program: Program
    levels: tuple[int, ...] = ()
    channels: tuple[Channel, ...] = ()
    axes: tuple[int, ...] = ()
    event: tuple[int, ...] = ()
    block_items: int | None = None
    block_bytes: int | None = None
    taught: bool = False


@dataclass(frozen=True)
class ByModel:
    """By the trained model of the archive: a stream of type MODEL. Only for items of one shape."""

    block_items: int | None = None
    block_bytes: int | None = None


@dataclass(frozen=True)
class ByCodecs:
    """By whichever general codec is smallest, block by block."""

    block_items: int | None = None
    block_bytes: int | None = None


Way = ByProgram | ByModel | ByCodecs

#: Items of fewer bytes altogether are left to general codecs where a trained model does not code them.
FALLBACK_BYTES = 8192

#: From classes that the trained model codes nothing of, or not all of, to programs for the rest of their items.
Fallback = Callable[[Sequence[ItemClass]], Sequence[ByProgram]]


@dataclass(frozen=True)
class Plan:
    """Items that share streams and blocks, and the ways to keep them: each item goes to the first that represents it.

    classes: of one mode, dtype and number of axes; of several sizes only where they have a mode. ways: ``ByCodecs``
    goes without saying as the last. free: lay out streams for items of any sizes, even where these have one.
    """

    classes: tuple[ItemClass, ...]
    ways: tuple[Way, ...] = ()
    free: bool = False

    @property
    def all_ways(self) -> tuple[Way, ...]:
        """The ways, the last of which takes every item."""
        return self.ways if any(isinstance(way, ByCodecs) for way in self.ways) else (*self.ways, ByCodecs())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the items, beginning with two zeros where their sizes differ."""
        shapes = {tuple(item_class.shape) for item_class in self.classes}
        first = next(iter(shapes))
        return first if len(shapes) == 1 and not self.free else (0, 0, *first[2:])

    @property
    def bytes(self) -> int:
        """Of all items."""
        return sum(len(c.entries) * math.prod(c.shape) * c.dtype.itemsize for c in self.classes)

    @property
    def first(self) -> int:
        """The number of the first entry."""
        return min(int(item_class.entries[0]) for item_class in self.classes)

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest height and width, and what follows them; the shape itself where there is one."""
        shapes = [tuple(item_class.shape) for item_class in self.classes]
        if len(set(shapes)) == 1:
            return shapes[0]
        return (max(shape[0] for shape in shapes), max(shape[1] for shape in shapes), *shapes[0][2:])


def plan_for_model(
    classes: Sequence[ItemClass], fits: Callable[[ItemClass], bool], fallback: Fallback | None
) -> list[Plan]:
    """Plans for a trained model, and for what is beyond it. fits: whether the model may code items of a class."""

    def rest(some: Sequence[ItemClass]) -> tuple[ByProgram, ...]:
        return tuple(fallback(some)) if fallback is not None and Plan(tuple(some)).bytes >= FALLBACK_BYTES else ()

    strangers: dict[tuple[str, str, tuple[int, ...]], list[ItemClass]] = {}
    for item_class in classes:
        if not fits(item_class):
            strangers.setdefault(_sort(item_class), []).append(item_class)
    plans: list[Plan] = []
    for item_class in classes:
        alike = strangers.get(_sort(item_class), [])
        if item_class not in alike:
            plans.append(Plan((item_class,), (ByModel(), *rest([item_class]))))
            continue
        together = alike if item_class.mode else [item_class]
        programs = rest(together)
        if not programs:
            plans.append(Plan((item_class,)))
        elif item_class is together[0]:
            plans.append(Plan(tuple(together), programs))
    return plans


def _sort(item_class: ItemClass) -> tuple[str, str, tuple[int, ...]]:
    """What items of several sizes must share to lie in one stream."""
    return item_class.mode, item_class.dtype.str, tuple(item_class.shape[2:])


def check_plans(plans: Sequence[Plan], classes: Sequence[ItemClass]) -> None:
    """Raise UsageError unless each class is in one plan, and those of a plan go together."""
    planned = [item_class for plan in plans for item_class in plan.classes]

    def key(item_class: ItemClass) -> tuple[str, str, tuple[int, ...]]:
        return item_class.mode, item_class.dtype.str, tuple(item_class.shape)

    if sorted(map(key, planned)) != sorted(map(key, classes)):
        raise UsageError(f"expected a plan for each of {len(classes)} sorts of items, once; got {len(planned)}")
    for plan in plans:
        for a, b in itertools.pairwise(plan.classes):
            if not a.mode or (a.mode, a.dtype.str, a.shape[2:]) != (b.mode, b.dtype.str, b.shape[2:]):
                raise UsageError(
                    f"expected items of one mode in a plan, got {a.mode!r} {a.dtype} {a.shape} and {b.mode!r} "
                    f"{b.dtype} {b.shape}"
                )
        if len(plan.classes) > 1 and any(isinstance(way, ByModel) for way in plan.ways):
            raise UsageError("expected items of one shape for a trained model, got several; plan them one by one")
