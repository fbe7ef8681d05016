"""Symbols under explicit frequencies, and under the uniform distribution.

A *table* is a row of K positive integers with sum 2^bits; symbol k has the interval that starts at the sum of
those before it. The *uniform* distribution over [0, K), K <= 2^28, has 28 bits and the cumulative function
C(k) = floor(k * 2^28 / K): exact for powers of two, otherwise within a factor 1 +- K / 2^28 of 1 / K.
"""

from __future__ import annotations

import numpy as np

from codelength.coding.compiled import kernel
from codelength.coding.stack import MAX_BITS, Stack, peek_one, pop_one, push_intervals, push_one
from codelength.coding.symbols import check_symbols


@kernel
def _are_tables(table, bits):
    for row in range(table.shape[0]):
        left = np.int64(1) << bits
        for k in range(table.shape[1]):
            if not 1 <= table[row, k] <= left:
                return False
            left -= table[row, k]
        if left:
            return False
    return True


@kernel
def _table_intervals(table, x, starts, freqs):
    for item in range(table.shape[0]):
        start = np.int64(0)
        for k in range(x[item]):
            start += table[item, k]
        starts[item, 0] = start
        freqs[item, 0] = table[item, x[item]]


def _checked_table(frequencies: np.ndarray, bits: int) -> np.ndarray:
    table = np.ascontiguousarray(np.atleast_2d(frequencies), np.int64)
    if not 0 <= bits <= MAX_BITS:
        raise ValueError(f"expected totals of at most {MAX_BITS} bits, got {bits}")
    if table.ndim != 2 or not _are_tables(table, bits):
        raise ValueError(f"expected rows of positive frequencies with sum 2^{bits}")
    return table


@kernel
def _pop_tables(table, bits, x, state, words, count, bounds):
    lanes = state.shape[1]
    for stream in range(state.shape[0]):
        lane = 0
        for item in range(bounds[stream], bounds[stream + 1]):
            slot = peek_one(state, stream, lane, bits)
            symbol, start = 0, np.int64(0)
            while start + table[item, symbol] <= slot:
                start += table[item, symbol]
                symbol += 1
            if not pop_one(state, words, count, stream, lane, start, table[item, symbol], bits):
                return False
            x[item] = symbol
            lane = 0 if lane == lanes - 1 else lane + 1
    return True


@kernel
def _push_shared(cumulative, bits, x, state, words, count, bounds):
    """x (D, n): position by position."""
    lanes = state.shape[1]
    for position in range(x.shape[0] - 1, -1, -1):
        for stream in range(state.shape[0]):
            first = bounds[stream]
            last = bounds[stream + 1] - 1
            lane = (last - first) % lanes
            for item in range(last, first - 1, -1):
                symbol = np.uint64(x[np.uint64(position), np.uint64(item)])
                start = cumulative[symbol]
                freq = cumulative[symbol + np.uint64(1)] - start
                push_one(state, words, count, stream, lane, start, freq, bits)
                lane = lanes - 1 if lane == 0 else lane - 1


@kernel
def _pop_shared(cumulative, guide, guide_shift, bits, x, state, words, count, bounds):
    """x (D, n): position by position."""
    lanes = state.shape[1]
    for position in range(x.shape[0]):
        for stream in range(state.shape[0]):
            lane = 0
            for item in range(bounds[stream], bounds[stream + 1]):
                slot = peek_one(state, stream, lane, bits)
                symbol = np.uint64(guide[np.uint64(slot >> guide_shift)])
                while cumulative[symbol + np.uint64(1)] <= slot:
                    symbol += np.uint64(1)
                start = cumulative[symbol]
                freq = cumulative[symbol + np.uint64(1)] - start
                if not pop_one(state, words, count, stream, lane, start, freq, bits):
                    return False
                x[np.uint64(position), np.uint64(item)] = symbol
                lane = 0 if lane == lanes - 1 else lane + 1
    return True


@kernel
def _pop_uniform(symbols, x, state, words, count, bounds):
    lanes = state.shape[1]
    for position in range(x.shape[1]):
        for stream in range(state.shape[0]):
            lane = 0
            for item in range(bounds[stream], bounds[stream + 1]):
                slot = peek_one(state, stream, lane, MAX_BITS)
                # The largest k with C(k) <= slot, that is, with k * 2^28 < (slot + 1) * K.
                symbol = ((slot + 1) * symbols - 1) >> MAX_BITS
                start = (symbol << MAX_BITS) // symbols
                freq = ((symbol + 1) << MAX_BITS) // symbols - start
                if not pop_one(state, words, count, stream, lane, start, freq, MAX_BITS):
                    return False
                x[item, position] = symbol
                lane = 0 if lane == lanes - 1 else lane + 1
    return True


def push_table(frequencies: np.ndarray, x: np.ndarray, bits: int, stack: Stack) -> None:
    """Push one symbol an item, x (n,), under a table of its own: frequencies (n, K).

    Raises ValueError for rows that are no tables, NotRepresentable for a symbol outside [0, K).
    """
    table = _checked_table(frequencies, bits)
    check_symbols(x, table.shape[1])
    if x.shape != table.shape[:1]:
        raise ValueError(f"expected {len(table)} symbols, one for each row, got shape {x.shape}")
    starts, freqs = np.empty((len(x), 1), np.uint32), np.empty((len(x), 1), np.uint32)
    _table_intervals(table, np.ascontiguousarray(x, np.int64), starts, freqs)
    push_intervals(starts, freqs, bits, stack)


def pop_table(frequencies: np.ndarray, bits: int, stack: Stack) -> np.ndarray:
    """Pop the symbols (n,) int32 that ``push_table`` pushed. Raises StackExhausted."""
    table = _checked_table(frequencies, bits)
    x = np.empty(len(table), np.int32)
    stack.hold(len(x))
    stack.reserve(pops=int(stack.sizes.max()))
    stack.check(_pop_tables(table, bits, x, stack.state, stack.words, stack.count, stack.bounds))
    return x


def push_shared(frequencies: np.ndarray, x: np.ndarray, bits: int, stack: Stack) -> None:
    """Push x (n, D) under one table for all: frequencies (K,).

    Raises ValueError for a row that is no table, NotRepresentable for a symbol outside [0, K).
    """
    row = _checked_table(frequencies, bits)[0]
    check_symbols(x, len(row))
    cumulative = np.concatenate([np.zeros(1, np.int64), np.cumsum(row)])
    stack.hold(x.shape[0])
    stack.reserve(pushes=int(stack.sizes.max()) * x.shape[1])
    arrays = stack.state, stack.words, stack.count, stack.bounds
    _push_shared(cumulative, bits, np.ascontiguousarray(x.T, np.int32), *arrays)


def pop_shared(frequencies: np.ndarray, shape: tuple[int, int], bits: int, stack: Stack) -> np.ndarray:
    """Pop the symbols (n, D) int32 that ``push_shared`` pushed, ``shape`` being (n, D).

    Raises StackExhausted.
    """
    row = _checked_table(frequencies, bits)[0]
    cumulative = np.concatenate([np.zeros(1, np.int64), np.cumsum(row)])
    # A guide table (Chen and Asau, 1974): the first symbol of each of up to 4,096 equal parts of the total.
    shift = max(0, bits - 12)
    guide = np.searchsorted(cumulative, np.arange(0, 1 << bits, 1 << shift), side="right") - 1
    x = np.empty(shape, np.int32)
    stack.hold(shape[0])
    stack.reserve(pops=int(stack.sizes.max()) * shape[1])
    arrays = stack.state, stack.words, stack.count, stack.bounds
    guide = guide.astype(np.int32)
    # A few positions at a time, for writing to every item in turn is slow.
    buffer = np.empty((min(shape[1], 64), shape[0]), np.int32)
    for base in range(0, shape[1], 64):
        part = buffer[: shape[1] - base]
        stack.check(_pop_shared(cumulative, guide, shift, bits, part, *arrays))
        x[:, base : base + 64] = part.T
    return x


def push_uniform(symbols: int, x: np.ndarray, stack: Stack) -> None:
    """Push x (n, D), every symbol of [0, symbols) being equally likely.

    Raises ValueError unless 1 <= symbols <= 2^28, NotRepresentable for a symbol outside.
    """
    _check_uniform(symbols)
    check_symbols(x, symbols)
    x = x.astype(np.int64)
    starts = (x << MAX_BITS) // symbols
    push_intervals(starts, ((x + 1) << MAX_BITS) // symbols - starts, MAX_BITS, stack)


def pop_uniform(symbols: int, shape: tuple[int, int], stack: Stack) -> np.ndarray:
    """Pop the symbols (n, D) int32 that ``push_uniform`` pushed, ``shape`` being (n, D).

    Raises StackExhausted.
    """
    _check_uniform(symbols)
    x = np.empty(shape, np.int32)
    stack.hold(shape[0])
    stack.reserve(pops=int(stack.sizes.max()) * shape[1])
    stack.check(_pop_uniform(symbols, x, stack.state, stack.words, stack.count, stack.bounds))
    return x


def _check_uniform(symbols: int) -> None:
    if not 1 <= symbols <= 1 << MAX_BITS:
        raise ValueError(f"expected 1 to 2^{MAX_BITS} symbols, got {symbols}")
