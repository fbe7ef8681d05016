"""The chain rule over groups of elements, and features that several groups share.

``Chain`` is the law of top-down hierarchies of latents (Sønderby et al. 2016), whose levels look at one deterministic
path, and of flows that factor elements out (Dinh, Sohl-Dickstein, Bengio 2017, section 3.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codelength.laws.arrays import library_of
from codelength.laws.contract import Context, Law, Placed
from codelength.laws.protocols import Features


@dataclass(frozen=True)
class Group:
    """The elements of an item at ``places`` (k,), row-major positions, as an array (*shape) that follows ``law``.

    Later parts find them in the context under ``name``.
    """

    name: str
    places: Any
    shape: tuple[int, ...]
    law: Law

    def of(self, flat: Any) -> Any:
        """The group (n, *shape) of items (n, D)."""
        return flat[:, self.places].reshape(len(flat), *self.shape)


@dataclass(frozen=True)
class Define:
    """What ``features(context, count)`` gives stands in the context as ``name`` from here on."""

    name: str
    features: Features[Any]


class Chain(Law):
    """p(x) = prod_k p(x_k | x_1 .. x_k-1, features), the x_k being groups that make up x (*shape).

    As the prior of a latent it hands groups and features on to the likelihood (``exports``), which therefore does not
    compute them again.
    """

    def __init__(self, parts: Sequence[Group | Define], shape: tuple[int, ...]) -> None:
        self.parts = list(parts)
        self.shape = tuple(shape)
        self.groups = [part for part in self.parts if isinstance(part, Group)]
        self.kind = "exact" if all(group.law.kind == "exact" for group in self.groups) else "lower_bound"

    def children(self) -> dict[str, Law]:
        return {group.name: group.law for group in self.groups}

    def conditionals(self) -> dict[str, Any]:
        return {part.name: part.features for part in self.parts if isinstance(part, Define)}

    def placed(self, x: Any, context: Context) -> Iterator[Placed]:
        for group, values, given in self.steps(x, context):
            yield Placed(group.name, group.law, values, given)

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Features stay for the parts that come later."""
        kept = sum(features.item_bytes() for features in self.conditionals().values())
        return kept + max(law.item_bytes(shape) for law in self.children().values())

    # ---- grids

    def grid(self) -> Any:
        grids = [group.law.grid() for group in self.groups]
        same = all(grid is not None and _alike(grid, grids[0]) for grid in grids)
        return grids[0] if same else None

    def see_items_on_grid(self) -> None:
        for position, part in enumerate(self.parts):
            if isinstance(part, Group):
                part.law.see_items_on_grid()
                if part.law.grid() is not None:
                    Chain(self.parts[position + 1 :], self.shape).see_on_grid(part.name, part.law.grid())

    def exported_grids(self) -> dict[str, Any]:
        return {group.name: group.law.grid() for group in self.groups if group.law.grid() is not None}

    # ---- contexts

    def walk(
        self,
        context: Context,
        count: int,
        make: Callable[[Group, Context], Any],
        define: Callable[[Define, Context], Any] | None = None,
    ) -> Context:
        """The context after the last part: groups come from ``make(group, given)``, in order, ``given`` being the
        context that the group's law stands in; features from ``define(part, given)``, by default what the part itself
        makes of it. What the context holds already under the name of a feature has been handed on, and stays."""
        given = dict(context)
        for part in self.parts:
            if isinstance(part, Group):
                given[part.name] = make(part, dict(given))
            elif part.name not in given:
                given[part.name] = define(part, dict(given)) if define is not None else part.features(given, count)
        return given

    def steps(self, x: Any, context: Context) -> list[tuple[Group, Any, Context]]:
        """Each group of items (n, *shape), with the context that its law stands in."""
        flat, found = x.reshape(len(x), -1), []

        def take(group: Group, given: Context) -> Any:
            values = group.of(flat)
            found.append((group, values, given))
            return values

        self.walk(context, len(x), take)
        return found

    def exports(self, x: Any, context: Context) -> Context:
        flat = x.reshape(len(x), -1)
        return self._exported(self.walk(context, len(x), lambda group, _: group.of(flat)))

    def _exported(self, given: Context) -> Context:
        return {part.name: given[part.name] for part in self.parts}

    def made(self, context: Context, count: int, make: Callable[[Group, Context], Any]) -> tuple[Any, Context]:
        """Items (count, *shape) of the groups that ``make`` gives, see ``walk``, and what they export."""
        given = self.walk(context, count, make)
        return self.joined([given[group.name] for group in self.groups]), self._exported(given)

    def joined(self, values: Sequence[Any]) -> Any:
        """Items (n, *shape) whose groups are ``values`` (n, ..), in the order of the groups."""
        flat = [value.reshape(len(value), -1) for value in values]
        items = library_of(flat[0]).joined(flat, [group.places for group in self.groups])
        return items.reshape(len(items), *self.shape)

    # ---- readings

    def log_prob(self, x: Any, context: Context) -> Any:
        return sum(group.law.log_prob(values, given) for group, values, given in self.steps(x, context))

    def lengths(self, x: Any, context: Context) -> Any:
        return sum(group.law.lengths(values, given) for group, values, given in self.steps(x, context))

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return self.sample_exporting(count, context, generator)[0]

    def sample_exporting(self, count: int, context: Context, generator: Any) -> tuple[Any, Context]:
        """Each group by its own ``sample``, which brings to the grid what a flow does not leave there."""
        return self.made(context, count, lambda group, given: group.law.sample(count, given, generator))

    def draw(self, count: int, context: Context, generator: Any) -> tuple[Any, Any]:
        logs = []

        def make(group: Group, given: Context) -> Any:
            values, log_prob = group.law.draw(count, given, generator)
            logs.append(log_prob)
            return values

        return self.made(context, count, make)[0], sum(logs)

    def median(self, x_context: Context, count: int) -> Any:
        return self.made(x_context, count, lambda group, given: group.law.median(given, count))[0]

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        for group, values, given in reversed(self.steps(x, context)):
            group.law.push(stack, values, given, start)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        return self.pop_exporting(stack, count, context, start)[0]

    def pop_exporting(self, stack: Any, count: int, context: Context, start: bool = False) -> tuple[Any, Context]:
        return self.made(context, count, lambda group, given: group.law.pop(stack, count, given, start))


def _alike(one: Any, other: Any) -> bool:
    return one is other or (one.symbols, one.standard) == (other.symbols, other.standard)
