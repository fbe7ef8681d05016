"""Integer conditionals: a frozen network that turns a context into the distribution of a leaf's elements.

They fulfil, for laws, what torch conditionals fulfil during training. Readings: docs/format.md, "Laws".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel
from codelength.coding.frequencies import (
    Leaf,
    code_lengths,
    code_lengths_fixed,
    element_lengths_fixed,
    intervals,
    pop_elements,
    push_elements,
    search,
)
from codelength.coding.stack import Stack
from codelength.coding.symbols import check_range
from codelength.exact import arithmetic as executors
from codelength.exact.dense import DensePlan
from codelength.exact.network import MAX_VALUES, Network, float_bytes
from codelength.exact.operations import Tensors, Type, require
from codelength.exact.raster import RasterPlan, engine_bytes
from codelength.exact.schedule import DegreeSchedule, RasterSchedule, as_image


class Elements:
    """Independent elements: parameters (n, D, p) in coding order, items of the given shape.

    order: (n, D) or (D,) positions in the row-major item of the elements in coding order; None: as they lie.
    """

    def __init__(self, leaf: Leaf, params: np.ndarray, shape: tuple[int, ...], order: np.ndarray | None = None):
        self.leaf = leaf
        self.params = params
        self.shape = shape
        self.order = order

    def _arranged(self, x: np.ndarray) -> np.ndarray:
        return arrange(x.reshape(len(x), -1), self.order)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Nats per item, float64 (n,)."""
        return code_lengths(self.leaf, self.params, self._arranged(x)) * -math.log(2.0)

    def lengths(self, x: np.ndarray) -> np.ndarray:
        return code_lengths_fixed(self.leaf, self.params, self._arranged(x))

    def element_lengths(self, x: np.ndarray) -> np.ndarray:
        """What each element adds to ``lengths``: int64 (n, *shape), units of 2^-20 bits."""
        each = element_lengths_fixed(self.leaf, self.params, self._arranged(x))
        return restore(each, self.order).reshape(x.shape)

    def push(self, stack: Stack, x: np.ndarray) -> None:
        push_elements(self.leaf, self.params, self._arranged(x), stack)

    def pop(self, stack: Stack) -> np.ndarray:
        x = pop_elements(self.leaf, self.params, stack)
        return restore(x, self.order).reshape(len(x), *self.shape)

    def median(self) -> np.ndarray:
        """The median of every element: the symbol whose interval holds half of the total."""
        return self.quantile(1, 2)

    def quantile(self, part: int, parts: int) -> np.ndarray:
        """Of every element, the symbol whose interval holds ``part`` of ``parts`` (below 1) of the total."""
        leaf = self.leaf
        target = np.int64((part << leaf.bits) // parts)
        x = np.empty(self.params.shape[:2], np.int32)
        params = np.ascontiguousarray(self.params)
        _quantiles(*leaf.numbers(), params, target, x)
        return restore(x, self.order).reshape(len(x), *self.shape)

    def intervals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return intervals(self.leaf, self.params, self._arranged(x))


@kernel
def _quantiles(symbols, bits, binary, sums, several, single, scratch, tables, params, target, x):
    for item in range(x.shape[0]):
        for position in range(x.shape[1]):
            x[item, position] = search(
                symbols, bits, binary, sums, several, single, scratch, tables, params[item, position], target
            )[0]


def arrange(x: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Elements (n, D) from item order into coding order."""
    if order is None:
        return x
    return x[:, order] if order.ndim == 1 else np.take_along_axis(x, order, axis=1)


def restore(x: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The inverse of ``arrange``."""
    if order is None:
        return x
    out = np.empty_like(x)
    if order.ndim == 1:
        out[:, order] = x
    else:
        np.put_along_axis(out, order, x, axis=1)
    return out


class FrozenConditional:
    """A network with the types and tensors of its program, evaluated in passes of bounded memory."""

    def __init__(self, leaf: Leaf, network: Network, shape: tuple[int | None, ...], tensors: Tensors) -> None:
        self.leaf = leaf
        self.network = network
        self.shape = shape
        self.tensors = tensors

    def concrete(self, context: dict[str, Any]) -> tuple[int, ...]:
        """The shape of one item, free sizes taken from the context."""
        if None not in self.shape:
            return self.shape  # type: ignore[return-value]
        return tuple(int(size) for size in context["shape"])

    def check_output(self, output: Type, shape: tuple[int, ...]) -> None:
        p = self.leaf.parameters
        expected: tuple[int, ...] = (math.prod(shape) * p,)
        if len(output.shape) == 3:
            height, width, channels = as_image(shape)
            expected = (channels * p, height, width)
        of = ", ".join(map(repr, self.network.inputs)) or "nothing"
        require(
            output.shape == expected,
            f"the network of {of} gives parameters of shape {output.shape} where items of shape {shape}, with {p} for "
            f"each element, need {expected}",
        )

    def parameters(self, inputs: dict[str, np.ndarray], types: list[Type], count: int) -> np.ndarray:
        """(n, D, p) in row-major item order, or in coding order for degree schedules."""
        p = self.leaf.parameters
        parts = []
        for out in self.network.passes(inputs, types, self.tensors, count):
            if out.ndim == 4:  # (n, C * p, H, W) -> (n, H, W, C, p)
                n, channels, height, width = out.shape
                out = out.reshape(n, channels // p, p, height, width).transpose(0, 3, 4, 1, 2)
            elements = math.prod(out.shape[1:]) // p
            parts.append(np.ascontiguousarray(out).reshape(len(out), elements, p))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def named_inputs(network: Network, context: dict[str, Any], types: list[Type], count: int) -> dict[str, np.ndarray]:
    """The context's arrays in the shapes that the network expects.

    Raises NotRepresentable for items that are beyond what the network was proved for: one law of a switch can have
    fewer symbols than another.
    """
    for name, kind in zip(network.inputs, types):
        if name == "x":
            check_range(np.asarray(context[name]), kind.low, kind.high)
    return {
        name: np.zeros((count, 1), np.int32)
        if name == "count"
        else np.asarray(context[name]).reshape(count, *kind.shape)
        for name, kind in zip(network.inputs, types)
    }


class IndependentConditional(FrozenConditional):
    """For ``laws.Independent``: the network sees the context only."""

    def __init__(
        self,
        leaf: Leaf,
        network: Network,
        shape: tuple[int | None, ...],
        tensors: Tensors,
        context: dict[str, Type],
    ) -> None:
        super().__init__(leaf, network, shape, tensors)
        fixed = tuple(8 if size is None else size for size in shape)
        self.types = network.infer(context, tensors)
        self.check_output(self.types[network.output], fixed)
        self.work = network.measure(self.types, tensors) + math.prod(fixed) * leaf.work

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that coding needs for each item."""
        return self.network.pass_bytes(self.types)

    def __call__(self, context: dict[str, Any], count: int) -> Elements:
        inputs = named_inputs(self.network, context, self.types, count)
        return Elements(self.leaf, self.parameters(inputs, self.types, count), self.concrete(context))


class FrozenFeatures:
    """For ``laws.chain.Define``: a network of the context whose output is handed on as it is."""

    def __init__(self, network: Network, tensors: Tensors, context: dict[str, Type]) -> None:
        self.network = network
        self.tensors = tensors
        self.types = network.infer(context, tensors)
        output = self.types[network.output]
        require(len(output.shape) in (1, 3), f"features of shape {output.shape}")
        require(output.largest <= 1 << 24, "features leave 2^24")
        self.output = Type(output.shape, output.low, output.high)
        self.work = network.measure(self.types, tensors)

    def item_bytes(self) -> int:
        """Bytes that computing and keeping the features needs for each item."""
        return self.network.pass_bytes(self.types) + 8 * math.prod(self.output.shape)

    def __call__(self, context: dict[str, Any], count: int) -> np.ndarray:
        inputs = named_inputs(self.network, context, self.types, count)
        return np.concatenate(list(self.network.passes(inputs, self.types, self.tensors, count)))


class SequentialConditional(FrozenConditional):
    """For ``laws.Sequential``: the network sees the item itself, under a schedule, as its input ``"x"``."""

    def __init__(
        self,
        leaf: Leaf,
        network: Network,
        shape: tuple[int | None, ...],
        tensors: Tensors,
        context: dict[str, Type],
        schedule: DegreeSchedule | RasterSchedule,
    ) -> None:
        super().__init__(leaf, network, shape, tensors)
        self.schedule = schedule
        self.context_types = {
            name: Type(t.shape, t.low, t.high, np.zeros(t.shape[0] if t.shape else 0, np.int64))
            for name, t in context.items()
        }
        if isinstance(schedule, DegreeSchedule):
            require(None not in shape, "a degree schedule needs items of one size")
            schedule.validate(shape, tensors, context)  # type: ignore[arg-type]
        self._types: dict[tuple[int, ...], list[Type]] = {}
        self._prepared: list[Any] = []
        self._plans: dict[tuple[int, ...], Any] = {}
        probe = tuple(8 if size is None else size for size in shape)
        types = self.types_for(probe)
        self.work = network.measure(types, tensors) + math.prod(probe) * leaf.work
        self.steps = 0  # how often an operation is done at a step of its own
        if isinstance(schedule, DegreeSchedule):
            # The engine notes for every value and step how many units it has computed.
            require(len(types) * (math.prod(probe) + 2) <= MAX_VALUES, "its schedule is longer than allowed")
            for on_item, kind in zip(network.follows("x"), types):
                require(
                    not on_item or len(kind.shape) == 1, "a network under a degree schedule makes more than vectors"
                )
        else:
            self.steps = len(network.operations) * math.prod(probe)

    def types_for(self, shape: tuple[int, ...]) -> list[Type]:
        known = self._types.get(shape)  # another thread may clear them at any time
        if known is not None:
            return known
        schedule = self.schedule
        own = {**self.context_types, "x": schedule.input_type(shape, self.leaf.symbols, self.tensors)}
        types = self.network.infer(own, self.tensors)
        depends = self.network.follows("x")
        for operation, on_item in zip(self.network.operations, depends[len(self.network.inputs) :]):
            require(operation.incremental or not on_item, f"a {operation.name} of values that depend on the item")
        if isinstance(schedule, RasterSchedule):
            schedule.validate(self.network, types)
        output = types[self.network.output]
        axes = 3 if isinstance(schedule, RasterSchedule) else 1
        require(len(output.shape) == axes, f"parameters of shape {output.shape} do not fit the schedule")
        self.check_output(output, shape)
        steps = len(output.degrees) // self.leaf.parameters if output.degrees is not None else 0
        allowed = np.arange(steps)
        if isinstance(schedule, DegreeSchedule):
            allowed[schedule.places(self.tensors)] = np.arange(steps)
        allowed = np.repeat(allowed, self.leaf.parameters)
        require(
            output.degrees is not None and bool((output.degrees <= allowed).all()),
            "parameters depend on elements that are coded later",
        )
        if len(self._types) >= 64:
            self._types.clear()
        # Masks do not depend on the size of an image, so all sizes share what was prepared for the first.
        self._prepared = self._prepared or [kind.prepared for kind in types]
        types = [replace(kind, prepared=prepared) for kind, prepared in zip(types, self._prepared)]
        self._types[shape] = types
        return types

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that coding needs for each item (of this shape, where sizes are free): what a parallel pass holds, or
        what the engine keeps while it advances, whichever is more."""
        shape = shape if None in self.shape else self.shape  # type: ignore[assignment]
        types = self.types_for(shape)
        return max(self.network.pass_bytes(types), self._engine_bytes(types, shape))

    def _engine_bytes(self, types: list[Type], shape: tuple[int, ...]) -> int:
        if isinstance(self.schedule, DegreeSchedule):
            return max(map(float_bytes, types)) * sum(sum(kind.shape[:1]) for kind in types)
        height, width, _ = as_image(shape)
        front = self.schedule.longest(height, width)
        return engine_bytes(self.network, types, height, width, front, self.schedule.slope)

    def _order(self, context: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        if isinstance(self.schedule, RasterSchedule):
            return self.schedule.order(*as_image(shape))
        orders = self.tensors[self.schedule.orders]
        if self.schedule.index is None:
            return orders[0]
        return orders[np.asarray(context[self.schedule.index]).reshape(-1)]

    def recur(
        self, count: int, context: dict[str, Any], step: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Items (count, *shape) int32 made along the schedule: at each step ``step(params (n, e, p), where (n, e))``
        gives the e elements at the row-major positions ``where`` from the parameters that the network gives them.

        Each unit of the network is evaluated once.
        """
        if executors.current() is executors.REFERENCE:
            return self.recur_naively(count, context, step)
        shape = self.concrete(context)
        order = self._order(context, shape) if isinstance(self.schedule, DegreeSchedule) else None

        def act(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            places = where if order is None else order[..., where]
            return step(params, np.broadcast_to(places, (count, len(where))))

        flat = self._plan(shape).walk(count, self._given(context, count), act)
        return (flat if order is None else restore(flat, order)).reshape(count, *shape)

    def recur_naively(
        self, count: int, context: dict[str, Any], step: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """The slow, obvious way: a whole parallel pass for every step. Judges ``recur``; needs no engine."""
        shape = self.concrete(context)
        x = np.zeros((count, math.prod(shape)), np.int32)
        done = 0
        for size in self._steps(shape):
            elements = self.parallel(x.reshape(count, *shape), context)
            here = slice(done, done + size)
            assert elements.order is not None
            where = np.broadcast_to(elements.order, x.shape)[:, here]
            np.put_along_axis(x, where, step(elements.params[:, here], where), axis=1)
            done += size
        return x.reshape(count, *shape)

    def median(self, count: int, context: dict[str, Any]) -> np.ndarray:
        """Items (count, *shape) of the median of every element, given those before it."""

        def step(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            return Elements(self.leaf, params, params.shape[1:2]).median()

        return self.recur(count, context, step)

    def parallel(self, x: np.ndarray, context: dict[str, Any]) -> Elements:
        """All conditionals of the items in one pass."""
        shape = x.shape[1:]
        types = self.types_for(shape)
        order = self._order(context, shape)
        if isinstance(self.schedule, DegreeSchedule):
            flat = x.reshape(len(x), -1)
            seen = flat if self.schedule.index is None else arrange(flat, order)
            params = self.parameters(self._inputs(seen, context, types), types, len(x))
            if self.schedule.index is None:
                params = params[:, order]
        else:
            height, width, channels = as_image(shape)
            seen = x.reshape(len(x), height, width, channels).transpose(0, 3, 1, 2)
            params = self.parameters(self._inputs(seen, context, types), types, len(x))[:, order]
        return Elements(self.leaf, params, shape, order)

    def _inputs(self, x: np.ndarray, context: dict[str, Any], types: list[Type]) -> dict[str, np.ndarray]:
        return named_inputs(self.network, {**context, "x": x}, types, len(x))

    def advance(self, stack: Stack, count: int, context: dict[str, Any], known: np.ndarray | None = None) -> np.ndarray:
        """Pop items step by step, evaluating each unit of the network once.

        known (count, D), row-major: symbols to set instead of those popped, -1 where there is none. What comes later
        is then drawn given them; what comes before is not.
        """
        shape = self.concrete(context)
        if executors.current() is executors.REFERENCE:
            return self.advance_naively(stack, count, context, known)
        if known is not None and isinstance(self.schedule, DegreeSchedule):
            known = arrange(known, self._order(context, shape))
        flat = self._plan(shape).advance(stack, count, self._given(context, count), known)
        if isinstance(self.schedule, DegreeSchedule):
            flat = restore(flat, self._order(context, shape))
        return flat.reshape(count, *shape)

    def advance_naively(
        self, stack: Stack, count: int, context: dict[str, Any], known: np.ndarray | None = None
    ) -> np.ndarray:
        """The slow, obvious way, as ``recur_naively`` goes. Judges ``advance``."""

        def pop(params: np.ndarray, where: np.ndarray) -> np.ndarray:
            drawn = pop_elements(self.leaf, params, stack)
            if known is None:
                return drawn
            fixed = np.take_along_axis(known, where, axis=1)
            return np.where(fixed < 0, drawn, fixed)

        return self.recur_naively(count, context, pop)

    def _plan(self, shape: tuple[int, ...]) -> Any:
        """The engine for items of this shape."""
        plan = self._plans.get(shape)
        if plan is None:
            kind: Any = DensePlan if isinstance(self.schedule, DegreeSchedule) else RasterPlan
            plan = kind(self.network, self.types_for(shape), self.tensors, self.leaf, self.schedule, shape)
            if len(self._plans) >= 8:
                self._plans.clear()
            self._plans[shape] = plan
        return plan

    def _given(self, context: dict[str, Any], count: int) -> dict[str, Any]:
        """What the network sees beside the item."""
        return {
            name: np.zeros((count, 1), np.int32) if name == "count" else context[name]
            for name in self.network.inputs
            if name != "x"
        }

    def _steps(self, shape: tuple[int, ...]) -> list[int]:
        """How many elements each step codes."""
        if isinstance(self.schedule, DegreeSchedule):
            return [1] * math.prod(shape)
        height, width, channels = as_image(shape)
        return [len(front) for front in self.schedule.fronts(height, width) for _ in range(channels)]
