"""The obvious way to evaluate programs: Python integers, nested loops, fractions. Judges everything that is fast.

Written from the rules of the format, and sharing no code with ``codelength.exact`` or ``codelength.laws``.
A value is a flat list of integers with a shape.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product as cartesian
from math import prod
from typing import Any

import numpy as np
from coding_oracles import cumulative

from codelength.coding.frequencies import Leaf

Value = tuple[tuple[int, ...], list[int]]


def value_of(array: Any) -> Value:
    array = np.asarray(array)
    return tuple(array.shape), [int(v) for v in array.reshape(-1)]


def at(value: Value, *where: int) -> int:
    shape, flat = value
    index = 0
    for size, i in zip(shape, where, strict=True):
        if not 0 <= i < size:
            return 0
        index = index * size + i
    return flat[index]


def make(shape: tuple[int, ...], function: Any) -> Value:
    return shape, [function(*where) for where in cartesian(*map(range, shape))]


def evaluate(
    network: Any, tensors: Any, inputs: dict[str, Value], degrees: dict[str, list[int]] | None = None
) -> Value:
    """The output for one item. ``degrees``: those of the inputs' channels, in a scheduled network."""
    values: list[Value] = [inputs[name] for name in network["inputs"]]
    seen: list[list[int]] = [(degrees or {}).get(name, []) for name in network["inputs"]]
    for operation in network["operations"]:
        value, channel_degrees = apply(operation, values, seen, tensors)
        values.append(value)
        seen.append(channel_degrees)
    return values[network["output"]]


def apply(o: Any, values: list[Value], seen: list[list[int]], tensors: Any) -> tuple[Value, list[int]]:
    """The result of one operation, and the degrees of its channels."""

    def tensor(name: str) -> Value:
        return value_of(tensors[name])

    kind = o["op"]
    x = values[o.get("x", o.get("a", (o.get("xs") or [0])[0]))]
    d = seen[o.get("x", o.get("a", (o.get("xs") or [0])[0]))]
    if kind == "linear":
        w, b = tensor(o["weight"]), tensor(o["bias"])
        out_degrees = tensor(o["degrees"])[1] if "degrees" in o else [0] * w[0][0]
        masked = "degrees" in o
        y = make(
            (w[0][0],),
            lambda k: (
                at(b, k) + sum(at(w, k, j) * at(x, j) for j in range(w[0][1]) if not masked or d[j] <= out_degrees[k])
            ),
        )
        new = out_degrees
    elif kind == "convolution":
        w, b = tensor(o["weight"]), tensor(o["bias"])
        (outputs, inputs_, kh, kw), (dy, dx), stride = w[0], o["offset"], o.get("stride", 1)
        masked = "degrees" in o
        out_degrees = tensor(o["degrees"])[1] if masked else [0] * outputs

        def open_(k: int, j: int, i: int, l: int) -> bool:
            r, c = i + dy, l + dx
            return not masked or (r, c) < (0, 0) or ((r, c) == (0, 0) and d[j] <= out_degrees[k])

        size = tuple(-(-s // stride) for s in x[0][1:])
        y = make(
            (outputs, *size),
            lambda k, r, c: (
                at(b, k)
                + sum(
                    at(w, k, j, i, l) * at(x, j, r * stride + i + dy, c * stride + l + dx)
                    for j in range(inputs_)
                    for i in range(kh)
                    for l in range(kw)
                    if open_(k, j, i, l)
                )
            ),
        )
        new = out_degrees
    elif kind == "requantise":
        shift = tensor(o["shift"])[1]

        def rounded(v: int, s: int) -> int:
            exact = Fraction(v) / Fraction(2) ** s + (Fraction(1, 2) if s > 0 else 0)
            return min(max(exact.numerator // exact.denominator, o["low"]), o["high"])

        y = make(x[0], lambda c, *rest: rounded(at(x, c, *rest), shift[c]))
        new = d
    elif kind == "relu":
        y, new = (x[0], [max(v, 0) for v in x[1]]), d
    elif kind == "offset":
        y, new = (x[0], [v + o["value"] for v in x[1]]), d
    elif kind == "table":
        t = tensor(o["table"])[1]
        y, new = (x[0], [t[min(max(v - o["low"], 0), len(t) - 1)] for v in x[1]]), d
    elif kind in ("add", "product"):
        z, e = values[o["b"]], seen[o["b"]]
        if kind == "add":
            shifts = 2 ** o.get("shift_a", 0), 2 ** o.get("shift_b", 0)
            y = x[0], [p * shifts[0] + q * shifts[1] for p, q in zip(x[1], z[1], strict=True)]
        else:
            y = x[0], [p * q for p, q in zip(x[1], z[1], strict=True)]
        new = [max(p, q) for p, q in zip(d, e)]
    elif kind == "embed":
        t = tensor(o["table"])
        y, new = make((t[0][1],), lambda k: at(t, x[1][0], k)), [0] * t[0][1]
    elif kind == "spread":
        y, new = make((x[0][0], *values[o["like"]][0][1:]), lambda c, r, s: at(x, c)), d
    elif kind == "concat":
        parts = [values[i] for i in o["xs"]]
        y = (sum(p[0][0] for p in parts), *x[0][1:]), [v for p in parts for v in p[1]]
        new = [v for i in o["xs"] for v in seen[i]]
    elif kind == "slice":
        y = make((o["stop"] - o["start"], *x[0][1:]), lambda c, *rest: at(x, c + o["start"], *rest))
        new = d[o["start"] : o["stop"]]
    elif kind == "reshape":
        y, new = (tuple(o["shape"]), x[1]), [0] * o["shape"][0]
    elif kind == "permute":
        axes = o["axes"]
        sizes = tuple(x[0][axis] for axis in axes)
        y = make(sizes, lambda *places: at(x, *[places[axes.index(k)] for k in range(len(axes))]))
        new = [0] * sizes[0]
    elif kind == "upsample":
        f, zeros = o["factor"], o.get("zeros", False)
        c, h, w_ = x[0]
        y = make(
            (c, h * f, w_ * f),
            lambda c, r, s: 0 if zeros and (r % f or s % f) else at(x, c, r // f, s // f),
        )
        new = d
    elif kind == "depth_to_space":
        f = o["factor"]
        c, h, w_ = x[0]
        y = make((c // f**2, h * f, w_ * f), lambda c, r, s: at(x, (c * f + r % f) * f + s % f, r // f, s // f))
        new = [0] * (c // f**2)
    elif kind == "space_to_depth":
        f = o["factor"]
        c, h, w_ = x[0]
        y = make(
            (c * f * f, h // f, w_ // f),
            lambda c, r, s: at(x, c // f**2, r * f + c % f**2 // f, s * f + c % f),
        )
        new = [0] * (c * f * f)
    elif kind == "sum_pool":
        f = o["factor"]
        c, h, w_ = x[0]
        y = make(
            (c, h // f, w_ // f),
            lambda c, r, s: sum(at(x, c, r * f + a, s * f + b) for a in range(f) for b in range(f)),
        )
        new = [0] * c
    else:
        assert kind == "constant"
        y = tensor(o["values"])
        new = [0] * len(y[1])
    return y, new


def leaf_of(record: Any) -> Leaf:
    return Leaf(record["family"], record["symbols"], record.get("bits", 24), record.get("components", 1))


def element_parameters(law: Any, tensors: Any, item: Any, context: dict[str, Value]) -> list[list[int]]:
    """The parameters of each element of an item, in row-major order of the elements."""
    network, p = law["network"], leaf_of(law["leaf"]).parameters
    inputs = {**context, "count": ((1,), [0])}
    item = np.asarray(item)
    if law["law"] == "independent":
        out = evaluate(network, tensors, inputs)
        assert len(out[0]) == 1
        return [out[1][i * p : (i + 1) * p] for i in range(item.size)]
    degrees = {name: [0] * (inputs[name][0][0] if inputs[name][0] else 0) for name in network["inputs"] if name != "x"}
    schedule = law["schedule"]
    if schedule["kind"] == "degrees":
        orders = np.asarray(tensors[schedule["orders"]])
        order = [int(v) for v in orders[context[schedule["index"]][1][0] if "index" in schedule else 0]]
        flat = [int(v) for v in item.reshape(-1)]
        places = order if "index" in schedule else list(range(len(flat)))
        step_of = {element: step for step, element in enumerate(order)}
        x = (len(flat),), [flat[e] for e in places]
        degrees["x"] = [step_of[e] + 1 for e in places]
        out = evaluate(network, tensors, {**inputs, "x": x}, degrees)[1]
        rows = {e: out[i * p : (i + 1) * p] for i, e in enumerate(places)}
        return [rows[e] for e in range(len(flat))]
    image = item if item.ndim == 3 else item[:, :, None]
    degrees["x"] = list(range(1, image.shape[2] + 1))
    out = evaluate(network, tensors, {**inputs, "x": value_of(image.transpose(2, 0, 1))}, degrees)
    h, w, c = image.shape
    return [[at(out, k * p + j, r, s) for j in range(p)] for r, s, k in cartesian(range(h), range(w), range(c))]


def probability(law: Any, tensors: Any, item: Any, context: dict[str, Value] | None = None) -> Fraction:
    """The exact probability that a law gives to an item; latents are summed over."""
    context = context or {}
    item = np.asarray(item)
    kind = law["law"]
    if kind in ("independent", "sequential"):
        leaf, total = leaf_of(law["leaf"]), Fraction(1)
        for symbol, parameters in zip(item.reshape(-1), element_parameters(law, tensors, item, context), strict=True):
            c = cumulative(leaf, parameters)
            total *= Fraction(c[int(symbol) + 1] - c[int(symbol)], 2**leaf.bits)
        return total
    if kind == "switch":
        return probability(law["laws"][context[law["index"]][1][0]], tensors, item, context)
    assert kind == "marginal"
    return sum(
        (
            probability(law["prior"], tensors, z, context)
            * probability(law["likelihood"], tensors, item, given(context, law["latent"], z))
            for z in all_items(*support(law["prior"]))
        ),
        Fraction(0),
    )


def given(context: dict[str, Value], name: str, z: Any) -> dict[str, Value]:
    shape, flat = value_of(z)
    return {**context, name: (() if shape == (1,) else shape, flat)}


def support(law: Any) -> tuple[tuple[int, ...], int]:
    """Shape and alphabet of a law's items."""
    while law["law"] == "marginal":
        law = law["likelihood"]
    if law["law"] == "switch":
        return support(law["laws"][0])
    return tuple(law["shape"]), law["leaf"]["symbols"]


def all_items(shape: tuple[int, ...], symbols: int) -> list[np.ndarray]:
    return [np.array(v).reshape(shape) for v in cartesian(range(symbols), repeat=prod(shape))]
