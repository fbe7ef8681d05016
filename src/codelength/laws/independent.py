"""Elements that are independent given the context."""

from __future__ import annotations

from typing import Any

from codelength.laws.contract import ConditionalLaw, Context
from codelength.laws.protocols import Conditional


class Independent(ConditionalLaw):
    """p(x | context) = prod_i p(x_i | context). ``conditional(context, count)`` is the distribution of all elements."""

    def __init__(self, conditional: Conditional[Any]) -> None:
        super().__init__(conditional)

    def log_prob(self, x: Any, context: Context) -> Any:
        return self.conditional(context, len(x)).log_prob(x)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return self.conditional(context, count).sample(generator)

    def draw(self, count: int, context: Context, generator: Any) -> tuple[Any, Any]:
        return self.conditional(context, count).draw(generator)

    def held(self, context: Context, count: int) -> Any:
        return self.conditional(context, count)

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        self.conditional(context, len(x)).push(stack, x)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        return self.conditional(context, count).pop(stack)

    def lengths(self, x: Any, context: Context) -> Any:
        return self.conditional(context, len(x)).lengths(x)

    def element_lengths(self, x: Any, context: Context) -> Any:
        return self.conditional(context, len(x)).element_lengths(x)

    def median(self, x_context: Context, count: int) -> Any:
        return self.conditional(x_context, count).median()
