"""Values on a finer grid than a law is about: the base of flows that need more bins than a leaf has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from codelength.laws.arrays import library_of
from codelength.laws.contract import Context, Law, Placed
from codelength.laws.protocols import LowBits


class Coarse(Law):
    """log p(y) = log law(y >> bits) - bits log 2 for each element: ``law`` says which bin of 2^bits neighbours, and
    within the bin all are equally likely. The mirror image of ``Cell``.

    In floating point, y between the points of the grid is given what the law makes of its place between the bins'
    centres, so that the density is smooth in y.
    """

    def __init__(self, law: Law, bits: int, codec: LowBits[Any]) -> None:
        self.law = law
        self.bits = bits
        self.codec = codec  # codes the low bits: ``exact.uniform.CellCodec``, ``networks.coupling.UniformCell``
        self.kind = law.kind

    def children(self) -> dict[str, Law]:
        return {"bins": self.law}

    def placed(self, y: Any, context: Context) -> Iterator[Placed]:
        yield Placed("bins", self.law, library_of(y).floor_divide(y, 1 << self.bits), context)

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        return self.law.item_bytes(shape) + 16 * math.prod(shape)

    def log_prob(self, y: Any, context: Context) -> Any:
        if library_of(y).is_integer(y):
            bins = y >> self.bits
        else:
            bins = (y + 0.5) * 2.0**-self.bits - 0.5
        return self.law.log_prob(bins, context) - self.bits * math.log(2) * math.prod(y.shape[1:])

    def sample(self, count: int, context: Context, generator: Any) -> Any:
        return self.codec.sample(self.law.sample(count, context, generator), self.bits, generator)

    def push(self, stack: Any, y: Any, context: Context, start: bool = False) -> None:
        bins = y >> self.bits
        self.codec.push(stack, y - (bins << self.bits), self.bits)
        self.law.push(stack, bins, context, start)

    def pop(self, stack: Any, count: int, context: Context, start: bool = False) -> Any:
        bins = self.law.pop(stack, count, context, start).astype("int64")
        return (bins << self.bits) + self.codec.pop(stack, bins.shape, self.bits)

    def lengths(self, y: Any, context: Context) -> Any:
        return self.law.lengths(y >> self.bits, context) + (self.bits * math.prod(y.shape[1:]) << 20)

    def median(self, x_context: Context, count: int) -> Any:
        """The middle of the bin that the law chooses."""
        return (self.law.median(x_context, count) << self.bits) + (1 << self.bits >> 1)
