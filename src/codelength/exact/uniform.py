"""Uniform symbols on a stack (docs/format.md, "Uniform symbols"): remainders of steps, low bits of items."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel
from codelength.coding.stack import Stack, peek_one, pop_one, push_one
from codelength.coding.symbols import refuse

UNIFORM_BITS = 28
MAX_UNIFORM = 1 << 20


@kernel
def _push_uniform(values, sizes, bits, state, words, count, bounds):
    """Push values[i, d] as uniform below sizes[i, d]: start = v * 2^bits div size. Last position, last item first."""
    lanes = state.shape[1]
    for position in range(values.shape[1] - 1, -1, -1):
        for stream in range(state.shape[0]):
            first, last = bounds[stream], bounds[stream + 1] - 1
            lane = (last - first) % lanes
            for item in range(last, first - 1, -1):
                size = sizes[item, position]
                start = (values[item, position] << bits) // size
                end = ((values[item, position] + 1) << bits) // size
                push_one(state, words, count, stream, lane, start, end - start, bits)
                lane = lanes - 1 if lane == 0 else lane - 1


@kernel
def _pop_uniform(values, sizes, bits, state, words, count, bounds):
    lanes = state.shape[1]
    for position in range(values.shape[1]):
        for stream in range(state.shape[0]):
            lane = 0
            for item in range(bounds[stream], bounds[stream + 1]):
                size = sizes[item, position]
                value = ((peek_one(state, stream, lane, bits) + 1) * size - 1) >> bits
                start = (value << bits) // size
                end = ((value + 1) << bits) // size
                if not pop_one(state, words, count, stream, lane, start, end - start, bits):
                    return False
                values[item, position] = value
                lane = 0 if lane == lanes - 1 else lane + 1
    return True


def push_uniform(stack: Stack, values: np.ndarray, sizes: np.ndarray) -> None:
    """Push values (n, D), each uniform on 0 .. sizes - 1 (sizes (n, D), at most 2^20).

    Raises NotRepresentable for a value outside; names the items.
    """
    refuse((values < 0) | (values >= sizes), values, "expected a number within its uniform distribution")
    stack.hold(len(values))
    stack.reserve(pushes=int(stack.sizes.max(initial=0)) * values.shape[1])
    _push_uniform(
        np.ascontiguousarray(values, np.int64),
        np.ascontiguousarray(sizes, np.int64),
        UNIFORM_BITS,
        stack.state,
        stack.words,
        stack.count,
        stack.bounds,
    )


def pop_uniform(stack: Stack, sizes: np.ndarray) -> np.ndarray:
    """The mirror of ``push_uniform``. Raises StackExhausted."""
    values = np.empty(sizes.shape, np.int64)
    stack.hold(len(sizes))
    stack.reserve(pops=int(stack.sizes.max(initial=0)) * sizes.shape[1])
    succeeded = _pop_uniform(
        values,
        np.ascontiguousarray(sizes, np.int64),
        UNIFORM_BITS,
        stack.state,
        stack.words,
        stack.count,
        stack.bounds,
    )
    stack.check(succeeded)
    return values


class CellCodec:
    """Uniform low bits, for ``laws.Cell`` and ``laws.Coarse`` on integers."""

    def log_prob(self, x: np.ndarray, bits: int) -> np.ndarray:
        return np.full(len(x), -bits * math.log(2) * math.prod(x.shape[1:]))

    def sample(self, x: np.ndarray, bits: int, generator: Any) -> np.ndarray:
        return (x.astype(np.int64) << bits) + generator.integers(0, 1 << bits, size=x.shape)

    def push(self, stack: Stack, values: np.ndarray, bits: int) -> None:
        flat = values.reshape(len(values), -1)
        push_uniform(stack, flat, np.full(flat.shape, 1 << bits))

    def pop(self, stack: Stack, shape: tuple[int, ...], bits: int) -> np.ndarray:
        sizes = np.full((shape[0], math.prod(shape[1:])), 1 << bits)
        return pop_uniform(stack, sizes).reshape(shape)
