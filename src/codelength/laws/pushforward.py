"""Change of variables, by steps that are exactly invertible on integers (iVPF, Zhang et al. 2021; iFlow, 2021).

``Pushforward(base, steps)`` is the law of x where steps(x) follows the base. On integers, scaling by a/b pops a
remainder r below a, divides x a + r by b, and pushes the remainder of that below b: the net cost is log2(b/a) bits,
which is minus the log2-determinant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from codelength.coding.symbols import refuse
from codelength.errors import NoMedian, NotRepresentable
from codelength.laws.arrays import library_of
from codelength.laws.contract import Context, Law, Placed
from codelength.laws.protocols import LowBits, Step


class Pushforward(Law):
    """log p(x) = log base(y) + log |dy/dx| with y = steps(x).

    Steps say whether they ``spend`` (``protocols.Step``): they scale then, and push and pop remainders. Without such
    steps the law is as exact as its base.

    shape: of an item. Items are integers from ``low`` to ``low + symbols - 1``; symbols is None where the items are
    what a flow around this one makes of its own, as in multi-scale flows: freezing then takes the range that it sees.
    """

    def __init__(
        self, base: Law, steps: Sequence[Step[Any]], shape: tuple[int, ...], symbols: int | None = None, low: int = 0
    ) -> None:
        self.base = base
        self.steps: list[Any] = list(steps)
        self.shape = tuple(shape)
        self.symbols = symbols
        self.low = low
        self.kind = "lower_bound" if any(step.spends for step in steps) else base.kind
        if base.grid() is not None:  # what steps on the grid see of their own numbers
            for step in steps:
                if hasattr(step, "see_on_grid"):
                    step.see_on_grid("x", base.grid())

    def children(self) -> dict[str, Law]:
        return {"base": self.base}

    def conditionals(self) -> dict[str, Any]:
        return {f"step{k}": step for k, step in enumerate(self.steps)}

    def placed(self, x: Any, context: Context) -> Iterator[Placed]:
        yield Placed("base", self.base, self.normal(x, context)[0], context)

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        return max(self.base.item_bytes(shape), *(step.item_bytes() for step in self.steps))

    def has_lengths(self) -> bool:
        return self.kind == "exact" and super().has_lengths()

    def has_median(self) -> bool:
        return super().has_median() and all(hasattr(step, "place") for step in self.steps)

    def normal(self, x: Any, context: Context) -> tuple[Any, Any]:
        """y = steps(x), the items in the normalising direction, and the log-determinant in nats, (n,) or a number."""
        total: Any = 0.0
        for step in self.steps:
            x, change = step.determinant(x, context)
            total = total + change
        return x, total

    def log_prob(self, x: Any, context: Context) -> Any:
        y, change = self.normal(x, context)
        return self.base.log_prob(y, context) + change

    def lengths(self, x: Any, context: Context) -> Any:
        if self.kind != "exact":
            raise TypeError("a flow whose steps scale has no exact code length")
        return self.base.lengths(self.normal(x, context)[0], context)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        """Draws on the grid of the items, (count, *shape): what steps lead to beside it or beyond it is brought to the
        nearest point, as it is on integers."""
        y = self.base.sample(count, context, generator)
        for step in reversed(self.steps):
            y = step.invert(y, context)
        return library_of(y).on_grid(y, self.low, None if self.symbols is None else self.low + self.symbols - 1)

    def draw(self, count: int, context: Context, generator: Any) -> tuple[Any, Any]:
        """Items, which steps that scale do not round to the grid in floating point, and their log-densities."""
        x, total = self.base.draw(count, context, generator)
        for step in reversed(self.steps):
            x, change = step.drawn(x, context)
            total = total + change
        if not any(step.spends for step in self.steps):
            x = library_of(x).on_grid(x, self.low, None)
        return x, total

    def median(self, x_context: Context, count: int) -> Any:
        """What the base's median leads to. Raises NoMedian where a step cannot go there without a stack."""
        for step in self.steps:
            if not hasattr(step, "place"):
                raise NoMedian(
                    "expected a flow whose steps place a value without a stack, as inverse autoregressive ones do, "
                    f"got the step {type(step).__name__}, which does not; take such a flow, or none, where a value is "
                    "chosen"
                )
        x = self.base.median(x_context, count)
        for step in reversed(self.steps):
            x = step.place(x, x_context)
        return x

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        """Raises NotRepresentable for items that a step, or the base, cannot take."""
        try:
            for step in self.steps:
                x = step.forward(stack, x, context, start)
            self.base.push(stack, x, context, start)
        except NotRepresentable as error:
            within = ", within a flow,"  # flows within flows say it once
            raise error if within in error.subject else error.about("item {}" + within) from None

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        y = self.base.pop(stack, count, context, start)
        for step in reversed(self.steps):
            y = step.inverse(stack, y, context, start)
        return y


class Floor(Law):
    """The item is a latent without its lowest bits: p(x | u) = 1 if x = u >> bits. The likelihood of dequantisation."""

    def __init__(self, latent: str, bits: int) -> None:
        self.latent = latent
        self.bits = bits

    def children(self) -> dict[str, Law]:
        return {}

    def log_prob(self, x: Any, context: Context) -> Any:
        return library_of(x).zeros(x)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return context[self.latent] >> self.bits

    def push(self, stack: Any, x: Any, context: Context, start: bool = False) -> None:
        """Nothing to spend: the latent says it all. Raises NotRepresentable where it says something else."""
        u = context[self.latent]
        refuse(u >> self.bits != x, u, f"expected a latent that is the item without its lowest {self.bits} bits")

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        return context[self.latent] >> self.bits


class Cell(Law):
    """q(u | x): uniform on the 2^bits grid points whose floor is x. The posterior of uniform dequantisation.

    Also in floating point, where the grid is fine enough to stand for the continuum: log q = -bits log 2 a dimension.
    """

    def __init__(self, bits: int, codec: LowBits[Any]) -> None:
        self.bits = bits
        self.codec = codec

    def children(self) -> dict[str, Law]:
        return {}

    def log_prob(self, u: Any, context: Context) -> Any:
        return self.codec.log_prob(context["x"], self.bits)

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return self.codec.sample(context["x"], self.bits, generator)

    def push(self, stack: Any, u: Any, context: Context, start: bool = False) -> None:
        self.codec.push(stack, u - (context["x"] << self.bits), self.bits)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        x = context["x"]
        return (x << self.bits) + self.codec.pop(stack, x.shape, self.bits)

    def median(self, x_context: Context, count: int) -> Any:
        return (x_context["x"] << self.bits) + (1 << self.bits >> 1)
