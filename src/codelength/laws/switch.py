"""A choice among laws by an index: with a ``Marginal`` over the index around it, a mixture of different laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from codelength.errors import NotRepresentable, StackExhausted
from codelength.laws.arrays import library_of
from codelength.laws.contract import Context, Law, Placed


class Switch(Law):
    """One law per value of an index in the context: p(x | k) = p_k(x). Items are handled component by component."""

    def __init__(self, index: str, laws: list[Law]) -> None:
        self.index = index
        self.laws = laws
        self.kind = "exact" if all(law.kind == "exact" for law in laws) else "lower_bound"

    def grid(self) -> Any:
        grids = {id(law.grid()): law.grid() for law in self.laws}
        return next(iter(grids.values())) if len(grids) == 1 else None

    def children(self) -> dict[str, Law]:
        return {str(k): law for k, law in enumerate(self.laws)}

    def placed(self, x: Any, context: Context) -> Iterator[Placed]:
        """Components that no item has chosen are left out."""
        for k, law, where, given in self._members(context):
            yield Placed(str(k), law, x[where], given)

    def see_items_on_grid(self) -> None:
        for law in self.laws:
            law.see_items_on_grid()

    def members(self, context: Context) -> list[tuple[Law, Any, Context]]:
        """For each component that occurs: its law, the positions of its items, and their context."""
        return [(law, where, given) for _, law, where, given in self._members(context)]

    def _members(self, context: Context) -> Iterator[tuple[int, Law, Any, Context]]:
        chosen = context[self.index].reshape(len(context[self.index]))
        for k, law in enumerate(self.laws):
            where = library_of(chosen).where(chosen == k)
            if len(where):
                yield k, law, where, select(context, where, len(chosen))

    def _gather(self, parts: list[tuple[Any, Any]], count: int) -> Any:
        first = parts[0][1]
        out = library_of(first).empty(first, count)
        for where, values in parts:
            out[where] = values
        return out

    def _each(self, members: list[tuple[Law, Any, Context]], read: Callable[[Law, Any, Context], Any]) -> list[Any]:
        """``read(law, where, context)`` for each component: (where, result). All go their turn before NotRepresentable
        is raised, so that it names what each of them refuses."""
        parts, refused = [], []
        for law, where, given in members:
            try:
                parts.append((where, read(law, where, given)))
            except NotRepresentable as error:
                if not error.items:
                    raise
                refused.append(error.placed(where))
            except StackExhausted:
                if not refused:
                    raise
                break  # perhaps only because of what was laid down before a component gave up
        if refused:
            raise NotRepresentable.joined(refused)
        return parts

    def log_prob(self, x: Any, context: Context) -> Any:
        members = self.members(context)
        return self._gather(self._each(members, lambda law, at, given: law.log_prob(x[at], given)), len(x))

    def lengths(self, x: Any, context: Context) -> Any:
        members = self.members(context)
        return self._gather(self._each(members, lambda law, at, given: law.lengths(x[at], given)), len(x))

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        parts = [(where, law.sample(len(where), given, generator)) for law, where, given in self.members(context)]
        return self._gather(parts, count)

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        def push(law: Law, where: Any, given: Context) -> None:
            with stack.part(where):
                law.push(stack, x[where], given, start)

        self._each(self.members(context)[::-1], push)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        parts = []
        for law, where, given in self.members(context):
            with stack.part(where):
                parts.append((where, law.pop(stack, len(where), given, start)))
        return self._gather(parts, count)


def select(context: Context, where: Any, count: int) -> Context:
    """The rows ``where`` of every per-item entry of a context."""
    return {
        name: value[where] if hasattr(value, "ndim") and value.ndim and len(value) == count else value
        for name, value in context.items()
    }
