"""The compiled steps of the incremental evaluation in ``dense.py``, and the products between its blocks."""

from __future__ import annotations

import numpy as np

from codelength.coding.compiled import inlined, kernel
from codelength.coding.frequencies import bernoulli_cut, search
from codelength.coding.stack import peek_one, pop_one

LINEAR, REQUANTISE, RELU, OFFSET, TABLE, ADD, PRODUCT, COPY, WIDE_LINEAR, WIDE_REQUANTISE = range(10)
FIELDS = 8  # kind, index of the result among values, index of an operand, and five numbers of the operation


@inlined
def _accumulate(out, units, row, weights, at, count):
    """out (n,) += sum_i weights[at + i] * units[row + i], i < count; four at a time, to load and store less."""
    n = out.shape[0]
    i = 0
    while i + 4 <= count:
        w0, w1, w2, w3 = weights[at + i], weights[at + i + 1], weights[at + i + 2], weights[at + i + 3]
        s0, s1, s2, s3 = units[row + i], units[row + i + 1], units[row + i + 2], units[row + i + 3]
        for j in range(n):
            out[j] += (w0 * s0[j] + w1 * s1[j]) + (w2 * s2[j] + w3 * s3[j])
        i += 4
    while i < count:
        w = weights[at + i]
        s = units[row + i]
        for j in range(n):
            out[j] += w * s[j]
        i += 1


@kernel
def advance_block(
    block_step,
    first_step,
    last_step,
    program,
    starts,
    bases,
    source_a,
    source_b,
    numbers,
    weights,
    tables,
    output_rows,
    x_row,
    parameters,
    symbols,
    bits,
    binary,
    sums,
    several,
    single,
    scratch,
    shapes,
    params,
    cuts,
    units,
    wide,
    piece,
    state,
    words,
    count,
    bounds,
    known,
):
    """Steps first_step .. last_step - 1 of all items; False if a stream is exhausted.

    block_step: the first step of their block; what comes from earlier blocks is in the sums already. program
    (operations, 8); starts (values, steps + 2): how many units of a value have a degree below d; bases (values,): first
    row of each value in ``units`` (rows, n), or in ``wide`` (wide rows, n) float64 for sums that are collected there,
    the units of this block only; source_a, source_b, numbers (rows, 2): per row, the rows
    of its operands and the constants of its operation; parameters: how many an element has; symbols to shapes: those of
    ``Leaf.numbers``; params: room for one element; cuts (n,) int64 and piece (n,): room for one row; known (steps, n):
    symbols that are given, -1 where one is drawn. A symbol is popped even where another is given.

    So as to compile what is needed only (``Leaf.numbers`` tells how), these are None where a program has no use for
    them: params but for leaves other than bernoulli, cuts for those; wide and piece without wide sums; tables and
    source_b without operations beyond layers, requantise, relu and copies; known where nothing is. With neither params
    nor cuts nothing is popped: the parameters of first_step are computed, and somebody else sets its elements before
    the next step. State, words, count and bounds are None then, and so are the leaf's numbers.
    """
    n = units.shape[1]
    for step in range(first_step, last_step):
        for k in range(program.shape[0]):
            kind, value = program[k, 0], program[k, 1]
            base = bases[value]
            for unit in range(starts[value, step], starts[value, step + 1]):
                row = base + unit
                if kind == LINEAR:
                    operand, at = program[k, 2], program[k, 3] + unit * program[k, 4]
                    begin, end = starts[operand, block_step], starts[operand, step + 1]
                    _accumulate(units[row], units, bases[operand] + begin, weights, at + begin, end - begin)
                    continue
                if wide is not None:
                    if kind == WIDE_LINEAR:
                        operand, at = program[k, 2], program[k, 3] + unit * program[k, 4]
                        begin, end = starts[operand, block_step], starts[operand, step + 1]
                        total = wide[row - starts[value, block_step]]
                        for start in range(begin, end, program[k, 5]):
                            for j in range(n):
                                piece[j] = 0
                            size = min(program[k, 5], end - start)
                            _accumulate(piece, units, bases[operand] + start, weights, at + start, size)
                            for j in range(n):
                                total[j] += piece[j]
                        continue
                    if kind == WIDE_REQUANTISE:
                        out = units[row]
                        total = wide[source_a[row] - starts[program[k, 2], block_step]]
                        wide_scale, wide_half = np.float64(numbers[row, 0]), np.float64(numbers[row, 1])
                        wide_low, wide_high = np.float64(program[k, 5]), np.float64(program[k, 6])
                        for j in range(n):
                            out[j] = min(max(np.floor(total[j] * wide_scale + wide_half), wide_low), wide_high)
                        continue
                out = units[row]
                a = units[source_a[row]]
                if kind == REQUANTISE:
                    scale, half = numbers[row, 0], numbers[row, 1]
                    low, high = units.dtype.type(program[k, 5]), units.dtype.type(program[k, 6])
                    for j in range(n):
                        out[j] = min(max(np.floor(a[j] * scale + half), low), high)
                elif kind == RELU:
                    for j in range(n):
                        out[j] = max(a[j], units.dtype.type(0))
                elif kind == COPY:
                    for j in range(n):
                        out[j] = a[j]
                elif source_b is not None:
                    b = units[source_b[row]]
                    if kind == OFFSET:
                        value_added = units.dtype.type(program[k, 5])
                        for j in range(n):
                            out[j] = a[j] + value_added
                    elif kind == TABLE:
                        low_index, size, at = program[k, 5], program[k, 6], program[k, 7]
                        for j in range(n):
                            index = min(max(np.int64(a[j]) - low_index, 0), size - 1)
                            out[j] = tables[at + index]
                    elif kind == ADD:
                        scale_a, scale_b = numbers[row, 0], numbers[row, 1]
                        for j in range(n):
                            out[j] = a[j] * scale_a + b[j] * scale_b
                    else:
                        for j in range(n):
                            out[j] = a[j] * b[j]
        drawn = units[x_row + step]
        if cuts is not None:
            lanes = state.shape[1]
            logits = units[output_rows[step]]
            for item in range(n):
                cuts[item] = bernoulli_cut(logits[item], bits)
            for stream in range(state.shape[0]):
                lane = 0
                for item in range(bounds[stream], bounds[stream + 1]):
                    cut = cuts[item]
                    bit = np.int64(peek_one(state, stream, lane, bits) >= cut)
                    freq = cut + bit * ((np.int64(1) << bits) - 2 * cut)
                    if not pop_one(state, words, count, stream, lane, bit * cut, freq, bits):
                        return False
                    drawn[item] = bit
                    lane = 0 if lane == lanes - 1 else lane + 1
        if params is not None:
            lanes = state.shape[1]
            for stream in range(state.shape[0]):
                lane = 0
                for item in range(bounds[stream], bounds[stream + 1]):
                    for p in range(parameters):
                        params[p] = np.int64(units[output_rows[step * parameters + p], item])
                    slot = peek_one(state, stream, lane, bits)
                    symbol, start, freq = search(
                        symbols, bits, binary, sums, several, single, scratch, shapes, params, slot
                    )
                    if not pop_one(state, words, count, stream, lane, start, freq, bits):
                        return False
                    drawn[item] = symbol
                    lane = 0 if lane == lanes - 1 else lane + 1
        if known is not None:
            for item in range(n):
                if known[step, item] >= 0:
                    drawn[item] = known[step, item]
    return True


@kernel
def collect(product, target, weight, totals):
    """target += product and totals[j] += sum_i weight[i] * product[i, j].

    product, target (rows, n); weight (at least rows,), totals (n,) float64.
    """
    for i in range(product.shape[0]):
        for j in range(product.shape[1]):
            target[i, j] += product[i, j]
            totals[j] += weight[i] * product[i, j]


@kernel
def sum_items(rows, weight, sums):
    """sums[i] = sum_j weight[j] * rows[i, j], in float64; four sums at a time, for one would wait for itself."""
    n = rows.shape[1]
    for i in range(rows.shape[0]):
        row = rows[i]
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        j = 0
        while j + 4 <= n:
            a += weight[j] * row[j]
            b += weight[j + 1] * row[j + 1]
            c += weight[j + 2] * row[j + 2]
            d += weight[j + 3] * row[j + 3]
            j += 4
        while j < n:
            a += weight[j] * row[j]
            j += 1
        sums[i] = (a + b) + (c + d)
