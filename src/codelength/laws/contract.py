"""The contract that every law keeps.

A law is a probability distribution over items, possibly given a context, with three readings:

    log_prob(x, context)          how probable is this?        nats per item
    sample(count, context, ...)   what does it believe in?     items
    push(stack, x, context)       how many bits is that?       -log2 p(x) bits, really spent
    pop(stack, count, context)    push backwards: the same items, the same stack

A law calls only the methods of its conditionals (and of other laws), so one class serves conditionals in torch
(training, estimation) and conditionals in integers (coding). ``push`` and ``pop`` exist for integers only.

x: (n, *shape) integers. context: a dictionary of named arrays, one row per item: latents, component indices, labels,
and, for laws over images of free size, ``"shape"``: the shape of one item.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codelength.errors import NoMedian

Context = dict[str, Any]


@dataclass(frozen=True)
class Placed:
    """A law within another, with items that follow it and the context in which it stands."""

    name: str
    law: Law
    x: Any
    context: Context


class Law(ABC):
    """Base of all laws. ``start`` marks the first item of a block: latents are chosen, nothing is popped."""

    #: "exact", or "lower_bound" where ``log_prob`` is a stochastic lower bound of the log-likelihood
    kind: str = "exact"
    #: whether the items of a group are a sequence, each with a probability given those before it
    prequential: bool = False

    # ---- what it is put together from

    @abstractmethod
    def children(self) -> dict[str, Law]:
        """The laws that it is put together from, by what they are to it ("prior", "base", the name of a group), in the
        order in which a draw goes through them. Each stands in one place: a law that asks others' parts, as
        ``Responsibilities`` do, has none of its own."""

    def conditionals(self) -> dict[str, Any]:
        """What it asks itself, by name: the conditional of ``Independent`` and ``Sequential``, the features of a
        ``Chain``, the steps of a ``Pushforward``; those of its children are theirs."""
        return {}

    def tree(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Law]]:
        """Every law from here on down, parents first, each with the names that lead to it."""
        yield path, self
        for name, law in self.children().items():
            yield from law.tree((*path, name))

    def placed(self, x: Any, context: Context) -> Iterator[Placed]:
        """The children with what stands before them when items x (n, *shape) are evaluated: latents are drawn from
        posteriors with ``context["generator"]``, steps of flows are gone through."""
        if self.children():
            raise NotImplementedError(f"{type(self).__name__} does not place the laws that it is put together from")
        return iter(())

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that evaluating the parameters of one item of this shape needs, at most: its parts take turns. For
        integer laws only."""
        parts = (*self.children().values(), *self.conditionals().values())
        return max((part.item_bytes(shape) for part in parts), default=0)

    def has_lengths(self) -> bool:
        """Whether ``lengths`` can be asked: of a law that has them itself where all its children do."""
        return type(self).lengths is not Law.lengths and all(law.has_lengths() for law in self.children().values())

    def has_median(self) -> bool:
        """Whether ``median`` can be asked, likewise."""
        return type(self).median is not Law.median and all(law.has_median() for law in self.children().values())

    # ---- grids

    def grid(self) -> Any:
        """The leaf on whose grid the items lie, where it states standard units (``distributions.Normal``); or None."""
        return None

    def see_on_grid(self, name: str, grid: Any) -> None:
        """Tell the conditionals that ``context[name]`` is a latent on this grid: networks in torch are given it in
        standard units. ``Marginal`` calls it; programs of integers have no use for it."""
        for part in (*self.children().values(), *self.conditionals().values()):
            if hasattr(part, "see_on_grid"):  # others take latents as they lie on the grid
                part.see_on_grid(name, grid)

    def see_items_on_grid(self) -> None:  # noqa: B027 - most laws have nobody to tell
        """Tell the conditionals the same of the items, because they are the latents of another law."""

    # ---- readings

    @abstractmethod
    def log_prob(self, x: Any, context: Context) -> Any:
        """log p(x | context) in nats, or a lower bound of it (see ``kind``), shape (n,)."""

    @abstractmethod
    def sample(self, count: int, context: Context, generator: Any) -> Any:
        """Draw items in floating point; ``generator`` is the source of randomness of the conditionals."""

    def draw(self, count: int, context: Context, generator: Any) -> tuple[Any, Any]:
        """Items as ``sample`` gives them, and the log-probability of each, nats (n,). Laws whose density is cheap at
        what they draw themselves say so here, such as inverse autoregressive flows."""
        drawn = self.sample(count, context, generator)
        return drawn, self.log_prob(drawn, context)

    def exports(self, x: Any, context: Context) -> Context:
        """What stands in the context of a likelihood whose latent follows this law, beside the latent itself."""
        return {}

    def sample_exporting(self, count: int, context: Context, generator: Any) -> tuple[Any, Context]:
        """Items as ``sample`` gives them, and their ``exports``, which a law that has them by then does not compute
        again."""
        drawn = self.sample(count, context, generator)
        return drawn, self.exports(drawn, context)

    def exported_grids(self) -> dict[str, Any]:
        """The grids (see ``grid``) of those ``exports`` that lie on one, by name."""
        return {}

    @abstractmethod
    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        """Put the items on the stack.

        Raises NotRepresentable for items that the law cannot code, and names them by their rows; the stack then holds
        nothing of use.
        """

    @abstractmethod
    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        """Take ``count`` items off the stack: the mirror image of ``push``."""

    def pop_exporting(self, stack: Any, count: int, context: Context, start: bool = False) -> tuple[Any, Context]:
        """Items as ``pop`` gives them, and their ``exports``, see ``sample_exporting``."""
        popped = self.pop(stack, count, context, start)
        return popped, self.exports(popped, context)

    def lengths(self, x: Any, context: Context) -> Any:
        """Code length per item in fixed point (units of 2^-20 bits), int64 (n,): for exact integer laws only."""
        raise TypeError(f"{type(self).__name__} has no exact code length")

    def element_lengths(self, x: Any, context: Context) -> Any:
        """What each element adds to ``lengths``, int64 (n, *shape): for integer laws that code every element once, by
        itself. Raises TypeError for others, see ``has_element_lengths``."""
        raise TypeError(f"{type(self).__name__} has no code lengths of single elements")

    def has_element_lengths(self) -> bool:
        """Whether ``element_lengths`` can be asked."""
        return type(self).element_lengths is not Law.element_lengths

    def held(self, context: Context, count: int) -> Any:
        """The law of ``count`` items at one context, for several draws from it: it has ``draw(generator)``, items and
        their log-probabilities. Networks that see only the context are evaluated once where the law knows how."""
        return _Held(self, context, count)

    def median(self, x_context: Context, count: int) -> Any:
        """A probable value, without touching a stack: how the latent of a block's first item is chosen. Raises NoMedian
        where there is none, see ``has_median``."""
        raise NoMedian(
            "expected a law that can choose a value without a stack, as the posterior of a block's first item must, "
            f"got the law {type(self).__name__}, which cannot; take Independent, Sequential, Chain, Coarse, or a "
            "Pushforward of inverse autoregressive steps"
        )


class ConditionalLaw(Law):
    """Base of the laws over one conditional."""

    def __init__(self, conditional: Any) -> None:
        self.conditional = conditional

    def children(self) -> dict[str, Law]:
        return {}

    def conditionals(self) -> dict[str, Any]:
        return {"conditional": self.conditional}

    def grid(self) -> Any:
        leaf = getattr(self.conditional, "leaf", None)
        return leaf if getattr(leaf, "standard", None) is not None else None


@dataclass(frozen=True)
class _Held:
    law: Law
    context: Context
    count: int

    def draw(self, generator: Any) -> tuple[Any, Any]:
        return self.law.draw(self.count, self.context, generator)
