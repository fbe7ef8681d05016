"""The chain rule."""

from __future__ import annotations

from typing import Any

from codelength.laws.contract import ConditionalLaw, Context
from codelength.laws.protocols import Scheduled


class Sequential(ConditionalLaw):
    """p(x | context) = prod_t p(x_t | x_<t, context) along a schedule.

    ``conditional.parallel(x, context)`` gives all the factors in one pass; ``conditional.advance(stack, count,
    context)`` and ``conditional.sample(count, context, generator)`` go through the schedule step by step.
    """

    def __init__(self, conditional: Scheduled[Any]) -> None:
        super().__init__(conditional)

    def see_items_on_grid(self) -> None:
        if self.grid() is not None:
            self.see_on_grid("x", self.grid())

    def log_prob(self, x: Any, context: Context) -> Any:
        return self.conditional.parallel(x, context).log_prob(x)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return self.conditional.sample(count, context, generator)

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        self.conditional.parallel(x, context).push(stack, x)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        return self.conditional.advance(stack, count, context)

    def lengths(self, x: Any, context: Context) -> Any:
        return self.conditional.parallel(x, context).lengths(x)

    def element_lengths(self, x: Any, context: Context) -> Any:
        return self.conditional.parallel(x, context).element_lengths(x)

    def median(self, x_context: Context, count: int) -> Any:
        return self.conditional.median(count, x_context)
