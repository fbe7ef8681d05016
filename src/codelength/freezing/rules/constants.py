"""Arithmetic with numbers that the network holds: scales and shifts per channel, embeddings of position, signs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from codelength.errors import FreezeError
from codelength.exact.operations import FLOAT32_EXACT, Constant, Product, Reshape, Spread
from codelength.freezing.emitter import ACTIVATION_BITS, STREAM_BITS, Emitter
from codelength.freezing.quantity import Quantity
from codelength.freezing.rules.pointwise import product, same_rank
from codelength.freezing.rules.registry import Call, NoRule, for_functions, for_modules


def is_constant(value: Any) -> bool:
    """Whether a value is the same for all items: a python number, or a parameter or buffer."""
    if isinstance(value, Quantity):
        return value.table is not None and value.index is None
    return isinstance(value, int | float)


def numbers(value: Any) -> np.ndarray:
    """A constant as an array of the shape that broadcasts."""
    if isinstance(value, Quantity):
        assert value.table is not None
        return value.table.reshape(value.shape if value.layout is None else value.layout)
    return np.array(value, np.float64)


def laid_out(emitter: Emitter, value: Any, like: Quantity, bits: int) -> Quantity:
    """A constant in ``bits`` bits, broadcast to the shape of ``like`` as torch does."""
    given = numbers(value)
    if given.ndim == len(like.shape) + 1 and len(given) == 1:
        given = given[0]
    try:
        full = np.broadcast_to(given, like.shape)
    except ValueError:
        raise FreezeError(
            f"expected a constant of one number, one for each channel, or one for each element of {like.shape}, "
            f"got the shape {given.shape}"
        ) from None
    assert like.value is not None
    per_channel = len(like.shape) == 1 or (given.ndim < 2 and given.size == 1) or given.shape[-2:] == (1, 1)
    flat = full.reshape(like.shape[0], -1)[:, 0] if per_channel else full.reshape(-1)
    limit = (1 << bits) - 1
    largest = float(np.abs(flat).max())
    whole = bool((flat == np.round(flat)).all()) and largest <= limit
    fraction = 0 if whole else math.floor(math.log2(limit / max(largest, 1e-6)))
    integers = np.round(flat * 2.0**fraction).astype(np.int64)
    if len(like.shape) == 3 and per_channel:
        vector = emitter.emit(Constant(0, emitter.tensor("constant", integers)))
        number = emitter.emit(Spread(vector, like.value))
    else:
        number = emitter.emit(Constant(0, emitter.tensor("constant", integers)))
        if not per_channel:
            number = emitter.emit(Reshape(number, like.shape))
    return Quantity(
        number, np.full(1, fraction), int(integers.min()), int(integers.max()), like.shape, largest=max(largest, 1e-6)
    )


def scaled(emitter: Emitter, x: Quantity, value: Any) -> Quantity:
    """x times a constant; a positive power of two only renames the fraction."""
    if is_constant(x):
        return replace(x, table=(numbers(x) * numbers(value)).reshape(1, -1), narrowed={})
    factor = numbers(value)
    largest = x.largest * max(float(np.abs(factor).max()), 1e-6)
    if x.table is not None:
        if factor.size > 1 and factor.reshape(-1).shape != x.shape:
            raise FreezeError(f"expected one factor, or one for each of {x.shape[0]} units, got {factor.shape}")
        return replace(x, table=x.table * factor.reshape(1, -1), largest=largest, narrowed={})
    if factor.ndim == 0 and factor > 0 and math.frexp(float(factor))[0] == 0.5:
        peaks = None if x.peaks is None else x.peaks * float(factor)
        shift = math.frexp(float(factor))[1] - 1
        return replace(x, fraction=x.fraction - shift, largest=largest, peaks=peaks, narrowed={})
    x = emitter.narrow(x, STREAM_BITS)
    constant = laid_out(emitter, value, x, ACTIVATION_BITS)
    assert x.value is not None and constant.value is not None
    reach = x.reach * constant.reach
    number = emitter.emit(Product(x.value, constant.value))
    return Quantity(number, np.full(1, x.scale + constant.scale), -reach, reach, x.shape, largest=largest)


def sum_of(call: Call, a: Any, b: Any) -> Any:
    """a + b, either of which may be a constant."""
    if is_constant(a) and is_constant(b):
        quantity = a if isinstance(a, Quantity) else b
        if not isinstance(quantity, Quantity):
            raise NoRule
        total = np.asarray(numbers(a) + numbers(b))
        return replace(quantity, table=total.reshape(1, -1), shape=(total.size,), layout=total.shape)
    if is_constant(a):
        a, b = b, a
    if not isinstance(a, Quantity):
        raise NoRule
    if is_constant(b):
        given = numbers(b)
        if given.ndim == len(a.shape) + 1 and len(given) == 1:
            given = given[0]
        vector = given.shape == (a.shape[0], *[1] * (len(a.shape) - 1))
        if a.table is not None:
            if given.size != 1 and given.shape != a.shape:
                raise FreezeError(f"expected one number, or one for each of {a.shape[0]} units, got {given.shape}")
            return replace(a, table=a.table + given.reshape(1, -1), narrowed={})
        if not (isinstance(b, Quantity) and vector):  # those are deferred until the scale of the sum is known
            b = laid_out(call.emitter, b, a, STREAM_BITS)
    if not isinstance(b, Quantity):
        raise NoRule
    a, b = same_rank(call.emitter, a, b)
    return call.emitter.add(a, b, call.largest, call.target)


@for_functions("add", "add_", "__add__", "__radd__", "iadd")
def add(call: Call) -> Any:
    a, b = call.argument(0, "input", None), call.argument(1, "other", None)
    alpha = call.kwargs.get("alpha", 1)
    return sum_of(call, a, b if alpha == 1 else times(call.emitter, b, alpha))


@for_functions("sub", "sub_", "__sub__", "isub", "subtract")
def subtract(call: Call) -> Any:
    a, b = call.argument(0, "input", None), call.argument(1, "other", None)
    return sum_of(call, a, times(call.emitter, b, -call.kwargs.get("alpha", 1)))


@for_functions("rsub", "__rsub__")
def subtract_from(call: Call) -> Any:
    return sum_of(call, call.args[1], times(call.emitter, call.args[0], -call.kwargs.get("alpha", 1)))


@for_functions("neg", "negative", "__neg__")
def negative(call: Call) -> Any:
    return times(call.emitter, call.args[0], -1)


def times(emitter: Emitter, x: Any, factor: float) -> Any:
    return scaled(emitter, x, factor) if isinstance(x, Quantity) else x * factor


@for_functions("mul", "mul_", "__mul__", "__rmul__", "imul", "multiply")
def multiply(call: Call) -> Quantity:
    a, b = call.argument(0, "input", None), call.argument(1, "other", None)
    if is_constant(a):
        a, b = b, a
    if not isinstance(a, Quantity):
        raise NoRule
    if is_constant(b):
        return scaled(call.emitter, a, b)
    if not isinstance(b, Quantity):
        raise NoRule
    return product(call.emitter, a, b, call.largest)


@for_functions("truediv", "div", "divide", "true_divide", "__truediv__")
def divide(call: Call) -> Quantity:
    a, b = call.args[:2]
    if not isinstance(a, Quantity) or not isinstance(b, int | float) or not b or call.kwargs:
        raise NoRule
    return scaled(call.emitter, a, 1 / b)


def clamped(emitter: Emitter, x: Quantity, low: float | None, high: float | None) -> Quantity:
    """x within low .. high, either of which may be missing, in 14 bits."""
    limit = (1 << STREAM_BITS) - 1
    if x.table is not None:
        return replace(x, table=np.clip(x.table, low, high), narrowed={})
    ends = [abs(end) for end in (low, high) if end is not None]
    largest = max(min([x.largest, max(ends)]) if len(ends) == 2 else x.largest, *ends, 1e-6)
    fraction = math.floor(math.log2(limit / largest))
    room = math.floor(math.log2(FLOAT32_EXACT / max(x.reach, 1)))
    fraction = min(fraction, int(x.fraction.min()) + max(room, 0))  # ``rescale`` takes it as it is then
    lowest = -limit if low is None else round(low * 2.0**fraction)
    highest = limit if high is None else round(high * 2.0**fraction)
    if x.relu:  # which comes before the clamp
        lowest, highest = max(lowest, 0), max(highest, 0)
    return emitter.rescale(x, fraction, lowest, highest)


@for_functions("clamp", "clip", "clamp_", "clamp_min", "clamp_max", "hardtanh", "relu6")
def clamp(call: Call) -> Quantity:
    if call.name == "relu6":
        bounds: tuple[Any, Any] = (0, 6)
    elif call.name == "hardtanh":
        bounds = (call.argument(1, "min_val", -1.0), call.argument(2, "max_val", 1.0))
    elif call.name == "clamp_max":
        bounds = (None, call.argument(1, "max", None))
    elif call.name == "clamp_min":
        bounds = (call.argument(1, "min", None), None)
    else:
        bounds = (call.argument(1, "min", None), call.argument(2, "max", None))
    if not all(end is None or isinstance(end, int | float) for end in bounds):
        raise NoRule
    return clamped(call.emitter, call.args[0], *bounds)


@for_modules(nn.Hardtanh)
def hard_tanh(emitter: Emitter, name: str, module: nn.Hardtanh, x: Quantity) -> Quantity:
    return clamped(emitter, x, module.min_val, module.max_val)
