"""Torch conditionals for laws: a network whose output is the parameters of a leaf's elements.

They fulfil during training what ``exact.conditional`` fulfils in integers, so that one tree of laws serves both.
``freezing`` reads their attributes to turn them into programs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from codelength.errors import NotFrozen
from codelength.networks.masked import InputScale

if TYPE_CHECKING:
    from codelength.laws import protocols


class Uncoded:
    """What elements in floating point answer to whoever wants to code with them: NotFrozen."""

    def push(self, stack: Any, x: Tensor) -> None:
        raise not_frozen()

    def pop(self, stack: Any) -> Tensor:
        raise not_frozen()

    def lengths(self, x: Tensor) -> Tensor:
        raise not_frozen()

    def median(self) -> Tensor:
        raise not_frozen()


def not_frozen() -> NotFrozen:
    return NotFrozen("expected a frozen model for coding, got one in floating point; freeze it first")


class TorchElements(Uncoded):
    """Independent elements with parameters (n, D, p) in coding order; ``order`` as in ``exact.conditional``."""

    def __init__(self, leaf: Any, params: Tensor, shape: tuple[int, ...], order: Tensor | None = None) -> None:
        self.leaf = leaf
        self.params = params
        self.shape = shape
        self.order = order

    def log_prob(self, x: Tensor) -> Tensor:
        """Nats per item (n,)."""
        flat = x.reshape(len(x), -1)
        if self.order is not None:
            flat = flat[:, self.order] if self.order.ndim == 1 else flat.gather(1, self.order)
        return self.leaf.log_prob(self.params, flat).sum(1)

    def sample(self, generator: torch.Generator | None) -> Tensor:
        drawn = self.leaf.sample(self.params, generator)
        if self.order is not None:
            order = self.order.expand(len(drawn), -1) if self.order.ndim == 1 else self.order
            drawn = torch.empty_like(drawn).scatter_(1, order, drawn)
        return drawn.reshape(len(drawn), *self.shape)

    def draw(self, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Items, and their nats (n,)."""
        drawn = self.sample(generator)
        return drawn, self.log_prob(drawn)


#: What latents on a grid are for a network: deviations of a standard normal, or the numbers of their bins.
UNITS = ("standard", "bins")


class NetworkInputs(nn.Module):
    """Base of the conditionals over a network: what of a context the network is given, and in which units.

    inputs: names of context entries. units: of latents on a grid (``distributions.Normal``), one of ``UNITS``; in
    "standard" units they are deviations of a standard normal, whatever the precision of the grid, in "bins" they are
    the numbers from 0 on. Indices and data are given as they are. Raises ValueError for other units.
    """

    def __init__(self, inputs: tuple[str, ...], units: str, own: str | None = None) -> None:
        super().__init__()
        if units not in UNITS:
            raise ValueError(f"expected units {' or '.join(UNITS)}, got {units!r}")
        if own is not None and own in inputs:
            raise ValueError(
                f"expected inputs other than {own!r}, which is what the network calls the elements themselves; give "
                "the item another name where the law around is built: Marginal(..., item='data')"
            )
        self.inputs = tuple(inputs)
        self.units = units
        self.scales: dict[str, InputScale] = {}  # of the entries that are latents on a grid, "x" among them

    def see_on_grid(self, name: str, grid: Any) -> None:
        """See ``laws.Law.see_on_grid``."""
        self.scales[name] = InputScale(*grid.standard) if self.units == "standard" else InputScale(0, 0)

    def given(self, name: str, value: Any) -> Any:
        """A context entry as the network takes it: a single index without axes, other values as floats."""
        if name in self.scales:
            return self.scales[name](floats(value))
        if isinstance(value, Tensor) and value.dtype == torch.int64:
            return value.reshape(-1) if value.ndim == 2 and value.shape[1] == 1 else floats(value)
        return value

    def all_given(self, context: dict[str, Any], count: int) -> list[Any]:
        """What stands under ``inputs``, in their order."""
        return [torch.zeros(count, 1) if name == "count" else self.given(name, context[name]) for name in self.inputs]


class NetworkConditional(NetworkInputs):
    """For ``laws.Independent``: ``network(*context entries)`` gives the parameters, reshaped to (n, D, p).

    inputs: names of the context entries that the network's forward takes, in its order; "count" stands for zeros
    (n, 1), for networks that need to be told how many items there are. units: see ``NetworkInputs``.
    """

    def __init__(
        self,
        network: nn.Module,
        leaf: Any,
        shape: tuple[int, ...],
        inputs: tuple[str, ...],
        units: str = "standard",
    ) -> None:
        super().__init__(inputs, units)
        self.network = network
        self.leaf = leaf
        self.shape = tuple(shape)

    def forward(self, context: dict[str, Any], count: int) -> TorchElements:
        params = elements_of(self.network(*self.all_given(context, count)), self.leaf.parameters)
        return TorchElements(self.leaf, params.expand(count, -1, -1), self.shape)


class Features(NetworkInputs):
    """For ``laws.chain.Define``: what ``network(*context entries)`` gives, (n, units) or (n, channels, rows, columns).

    inputs and units as in ``NetworkConditional``. Frozen, features are integers of ten bits and a sign.
    """

    def __init__(self, network: nn.Module, inputs: tuple[str, ...], units: str = "standard") -> None:
        super().__init__(inputs, units)
        self.network = network

    def forward(self, context: dict[str, Any], count: int) -> Tensor:
        out = self.network(*self.all_given(context, count))
        return out.expand(count, *out.shape[1:])


class UniformIndex(nn.Module):
    """For ``laws.Independent``: an index on 0 .. count - 1, shape (1,), all values equally probable."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.shape = (1,)

    def forward(self, context: dict[str, Any], count: int) -> UniformIndex.Draws:
        return UniformIndex.Draws(self.count, count)

    class Draws(Uncoded):
        def __init__(self, values: int, count: int) -> None:
            self.values, self.count = values, count

        def log_prob(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), -math.log(self.values), device=x.device)

        def sample(self, generator: torch.Generator | None) -> Tensor:
            return torch.randint(self.values, (self.count, 1), generator=generator)

        def draw(self, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
            drawn = self.sample(generator)
            return drawn, self.log_prob(drawn)


class Scheduled(NetworkInputs):
    """Base of the conditionals of ``laws.Sequential``, whose networks see the elements themselves as their first input.

    Going through a schedule to code, or to choose likely values, is for integers.
    """

    def __init__(self, inputs: tuple[str, ...], units: str) -> None:
        super().__init__(inputs, units, own="x")

    def advance(self, stack: Any, count: int, context: dict[str, Any]) -> Tensor:
        raise not_frozen()

    def median(self, count: int, context: dict[str, Any]) -> Tensor:
        raise not_frozen()


class DegreeConditional(Scheduled):
    """For ``laws.Sequential`` over a masked network (see ``exact.schedule.DegreeSchedule``).

    orders (K, D). With ``index`` (a context entry) the network sees items in the coding order of their row; without
    it K = 1 and the network sees and describes the elements where they lie. ``inputs``: further context entries for
    the network's forward after x. units: see ``NetworkInputs``.
    """

    orders: Tensor

    def __init__(
        self,
        network: nn.Module,
        leaf: Any,
        shape: tuple[int, ...],
        orders: Tensor,
        index: str | None = None,
        inputs: tuple[str, ...] = (),
        units: str = "standard",
    ) -> None:
        super().__init__(inputs, units)
        self.network = network
        self.leaf = leaf
        self.shape = tuple(shape)
        self.index = index
        self.register_buffer("orders", orders, persistent=False)

    def parallel(self, x: Tensor, context: dict[str, Any]) -> TorchElements:
        flat = x.reshape(len(x), -1)  # (n, D)
        given = [self.given(name, context[name]) for name in self.inputs]
        if self.index is None:
            params = elements_of(self.network(self.given("x", floats(flat)), *given), self.leaf.parameters)
            return TorchElements(self.leaf, params, self.shape)
        order = self.orders[context[self.index].reshape(-1)]
        params = elements_of(self.network(self.given("x", floats(flat.gather(1, order))), *given), self.leaf.parameters)
        return TorchElements(self.leaf, params, self.shape, order)

    def sample(self, count: int, context: dict[str, Any], generator: torch.Generator | None) -> Tensor:
        """One whole pass per element: slow and plain. Frozen models sample at the cost of one pass in all."""
        dims = math.prod(self.shape)
        rows = self.orders[:1].expand(count, -1) if self.index is None else self.orders[context[self.index].reshape(-1)]
        with _gradients_of(self.leaf):
            x = torch.zeros(count, dims, dtype=_dtype_of(self.leaf), device=self.orders.device)
            for step in range(dims):
                elements = self.parallel(x.reshape(count, *self.shape), context)
                place = rows[:, step] if self.index is None else torch.full((count,), step, device=x.device)
                params = elements.params[torch.arange(count, device=x.device), place]
                x = x.scatter(1, rows[:, step : step + 1], self.leaf.sample(params[:, None], generator))
        return x.reshape(count, *self.shape)


class RasterConditional(Scheduled):
    """For ``laws.Sequential`` over a causal convolutional network (see ``exact.schedule.RasterSchedule``).

    ``network(x (n, C, H, W), *context)`` gives (n, C * p, H, W). Items are (H, W) or (H, W, C); free sizes are None.
    units: see ``NetworkInputs``.
    """

    def __init__(
        self,
        network: nn.Module,
        leaf: Any,
        shape: tuple[int | None, ...],
        inputs: tuple[str, ...] = (),
        slope: int | None = None,
        units: str = "standard",
    ) -> None:
        super().__init__(inputs, units)
        self.network = network
        self.leaf = leaf
        self.shape = tuple(shape)
        self.slope = slope

    def parallel(self, x: Tensor, context: dict[str, Any]) -> TorchElements:
        image = x[..., None] if x.ndim == 3 else x  # (n, H, W, C)
        given = [self.given(name, context[name]) for name in self.inputs]
        out = self.network(self.given("x", floats(image.permute(0, 3, 1, 2))), *given)
        return TorchElements(self.leaf, elements_of(out, self.leaf.parameters), tuple(x.shape[1:]))

    def sample(self, count: int, context: dict[str, Any], generator: torch.Generator | None) -> Tensor:
        given: Any = context["shape"] if None in self.shape else self.shape
        shape = tuple(int(s) for s in given)
        with _gradients_of(self.leaf):
            device = next((values.device for values in self.network.parameters()), torch.device("cpu"))
            x = torch.zeros(count, math.prod(shape), dtype=_dtype_of(self.leaf), device=device)
            for element in range(x.shape[1]):
                params = self.parallel(x.reshape(count, *shape), context).params[:, element]
                place = torch.full((count, 1), element, device=device)
                x = x.scatter(1, place, self.leaf.sample(params[:, None], generator))
        return x.reshape(count, *shape)


def _dtype_of(leaf: Any) -> torch.dtype:
    """Of what a leaf draws: integers, but for the leaves of ``distributions.continuum``."""
    dtype: torch.dtype = getattr(leaf, "dtype", torch.int64)
    return dtype


def _gradients_of(leaf: Any) -> Any:
    """Draws of integers have no gradients, so that nothing need be kept for any."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and _dtype_of(leaf).is_floating_point)


def floats(x: Tensor) -> Tensor:
    """Integers in single precision; what is of floating point already, as it is."""
    return x if x.is_floating_point() else x.float()


def elements_of(out: Tensor, parameters: int) -> Tensor:
    """A network's output as (n, D, p): from (n, D, p), (n, D * p) or (n, C * p, H, W)."""
    if out.ndim == 4:
        n, channels, height, width = out.shape
        out = out.reshape(n, channels // parameters, parameters, height, width).permute(0, 3, 4, 1, 2)
    return out.reshape(len(out), -1, parameters)


if TYPE_CHECKING:  # what laws ask of these classes, which mypy holds them to
    _elements: tuple[type[protocols.FloatElements[Tensor]], ...] = (TorchElements, UniformIndex.Draws)
    _conditionals: tuple[type[protocols.FloatConditional[Tensor]], ...] = (NetworkConditional, UniformIndex)
    _scheduled: tuple[type[protocols.FloatScheduled[Tensor]], ...] = (DegreeConditional, RasterConditional)
    _features: type[protocols.Features[Tensor]] = Features
