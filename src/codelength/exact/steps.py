"""Exactly invertible steps on integers, and the uniform symbols that they push and pop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codelength.coding.compiled import kernel
from codelength.coding.stack import Stack, peek_one, pop_one, push_one
from codelength.coding.symbols import check_range, refuse
from codelength.exact.network import Network
from codelength.exact.operations import Tensors, Type, require

UNIFORM_BITS = 28
MAX_UNIFORM = 1 << 20
#: Values between steps stay within this; x * a + r then fits 63 bits.
MAX_VALUE = 1 << 40


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
    """Uniform low bits of dequantised items, for ``laws.Cell`` on integers."""

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


class OffsetStep:
    """y = x + value, for every element: no bits."""

    name = "offset"

    def __init__(self, value: int, low: int = -MAX_VALUE, high: int = MAX_VALUE) -> None:
        self.value = value
        self.low, self.high = low, high

    def forward(self, stack: Stack, x: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        """Raises NotRepresentable for what ``inverse`` would not give back."""
        check_range(x, self.low, self.high)
        return x.astype(np.int64) + self.value

    def inverse(self, stack: Stack, y: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        return np.clip(y.astype(np.int64) - self.value, self.low, self.high)

    def determinant(self, x: np.ndarray, context: dict[str, Any]) -> tuple[np.ndarray, float]:
        check_range(x, self.low, self.high)
        return x.astype(np.int64) + self.value, 0.0

    def bounds(self, low: int, high: int) -> tuple[int, int]:
        return low + self.value, high + self.value

    def item_bytes(self) -> int:
        """Bytes that the step needs for an item beyond the item itself."""
        return 0


class AffineStep:
    """Affine coupling: the elements where ``moves`` is one become floor(x a / b) + shift, a and shift from the rest.

    The network sees all elements, moved ones as zero, as its input ``"x"`` (D,), and gives for each moved element an
    index into the table ``scales`` of numerators a and a shift: (2 D',), all indices first. b = 2^denominator.

    ``low`` and ``high`` bound x. The base can hold values that no x leads to; ``inverse`` takes those to the nearest
    bound, so that whatever lies on a stack, networks see what was proved and every reader sees the same.
    """

    name = "affine"

    def __init__(
        self,
        network: Network,
        moves: str,
        scales: str,
        denominator: int,
        dims: int,
        low: int,
        high: int,
        tensors: Tensors,
        context: dict[str, Type],
    ) -> None:
        require(0 <= denominator <= 20, "a denominator is out of bounds")
        for name in (moves, scales):
            require(name in tensors, f"a step names a tensor {name!r} that the program does not hold")
        self.table, moved = tensors[scales].astype(np.int64), tensors[moves]
        require(moved.shape == (dims,) and bool(np.isin(moved, (0, 1)).all()), "moves are not zeros and ones")
        require(self.table.ndim == 1 and len(self.table) >= 1, "the scales are not a list")
        require(int(self.table.min()) >= 1 and int(self.table.max()) <= MAX_UNIFORM, "a scale is out of bounds")
        self.network, self.tensors, self.denominator = network, tensors, denominator
        self.moved = np.flatnonzero(moved)
        require(max(-low, high) <= 1 << 24, "a step's network needs inputs within 2^24")
        self.types = network.infer({**context, "x": Type((dims,), min(low, 0), max(high, 0))}, tensors)
        out = self.types[network.output]
        require(out.shape == (2 * len(self.moved),), f"a step's network gives {out.shape} numbers")
        largest = max(abs(low), abs(high)) * int(self.table.max()) // (1 << denominator) + out.largest + 2
        require(largest <= MAX_VALUE, "a step can leave the range of its arithmetic")
        self._bounds = (min(low, -largest), max(high, largest))
        self.low, self.high = low, high
        self.work = network.measure(self.types, tensors)

    def bounds(self, low: int, high: int) -> tuple[int, int]:
        return self._bounds

    def item_bytes(self) -> int:
        """Bytes that the step needs for an item beyond the item itself."""
        return self.network.pass_bytes(self.types) + 64 * len(self.moved)

    def _parameters(self, x: np.ndarray, context: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        kept = x.copy()
        kept[:, self.moved] = 0
        inputs = {
            name: kept if name == "x" else np.asarray(context[name]).reshape(len(x), *kind.shape)
            for name, kind in zip(self.network.inputs, self.types)
        }
        out = self.network.run(inputs, self.types, self.tensors).astype(np.int64)
        index, shift = out[:, : len(self.moved)], out[:, len(self.moved) :]
        return self.table[np.clip(index, 0, len(self.table) - 1)], shift

    def forward(self, stack: Stack, x: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        """y; with ``start`` nothing is popped, and the remainder is zero.

        Raises NotRepresentable for what the network is not proved for, and ``inverse`` would not give back.
        """
        check_range(x, self.low, self.high)
        flat = x.reshape(len(x), -1).astype(np.int64)
        a, shift = self._parameters(flat, context)
        scaled = flat[:, self.moved] * a
        if not start:
            scaled += pop_uniform(stack, a)
        out = flat.copy()
        out[:, self.moved] = (scaled >> self.denominator) + shift
        push_uniform(stack, scaled & ((1 << self.denominator) - 1), np.full(a.shape, 1 << self.denominator))
        return out.reshape(x.shape)

    def inverse(self, stack: Stack, y: np.ndarray, context: dict[str, Any], start: bool) -> np.ndarray:
        flat = y.reshape(len(y), -1).astype(np.int64)
        out = np.clip(flat, self.low, self.high)
        a, shift = self._parameters(out, context)
        rest = pop_uniform(stack, np.full(a.shape, 1 << self.denominator))
        scaled = ((flat[:, self.moved] - shift) << self.denominator) + rest
        out[:, self.moved] = np.clip(scaled // a, self.low, self.high)
        if not start:
            push_uniform(stack, scaled % a, a)
        return out.reshape(y.shape)

    def determinant(self, x: np.ndarray, context: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """y without its random rounding, and the log-determinant in nats (n,): for the figure only."""
        check_range(x, self.low, self.high)
        flat = x.reshape(len(x), -1).astype(np.int64)
        a, shift = self._parameters(flat, context)
        out = flat.copy()
        out[:, self.moved] = ((flat[:, self.moved] * a + a // 2) >> self.denominator) + shift
        return out.reshape(x.shape), np.log(a / (1 << self.denominator)).sum(1)
