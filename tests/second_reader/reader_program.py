"""Tensors, model files, networks, schedules, laws and blocks of docs/format.md, in numpy integers.

Items and values are int64 arrays whose first axis is the item of the group. Networks are evaluated channel by channel
where a degree schedule allows it (a channel of degree d is final once the elements before step d are known), and as a
whole for every step of a raster schedule. The proofs that the document asks of readers with compiled loops are left
out: Python checks its indices.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import reader_adaptive as adaptive
from reader_coding import (
    Bytes,
    Exhausted,
    Leaf,
    SeededStack,
    Stack,
    bits_of,
    check,
    clamp,
    evidence,
    number,
    parse_json,
    read_stack,
    responsibilities,
    write_stack,
)

Context = dict[str, np.ndarray]
Tensors = dict[str, np.ndarray]
Bounds = tuple[int, int]

LEAVES = {"bernoulli": 1, "categorical": 2, "logistic_mixture": 3, "gaussian": 4, "beta_binomial": 5}
OPERATIONS = [
    "linear",
    "convolution",
    "requantise",
    "relu",
    "offset",
    "table",
    "add",
    "product",
    "embed",
    "spread",
    "concat",
    "slice",
    "reshape",
    "upsample",
    "depth_to_space",
    "constant",
]
FEATURES = LEAVES | {name: 16 + place for place, name in enumerate(OPERATIONS)}
FEATURES |= {"permute": 40, "space_to_depth": 41, "sum_pool": 42, "degrees": 48, "raster": 49}
LAW_FEATURES = {
    name: 32 + place
    for place, name in enumerate(
        ["independent", "sequential", "marginal", "responsibilities", "switch", "pushforward", "floor", "cell"]
    )
}
LAW_FEATURES |= {"coarse": 50, "chain": 60, "adaptive": 62}
STEP_FEATURES = {"offset": 37, "affine": 37, "coupling": 51, "permute": 52, "scale": 53, "additive": 54}
STEP_FEATURES["autoregressive"] = 61
KNOWN_FEATURES = {*FEATURES.values(), *LAW_FEATURES.values(), *STEP_FEATURES.values()}


# ---- tensor storage ----------------------------------------------------------------------------------------


def packed_numbers(source: Bytes, count: int) -> list[int]:
    least, width = source.signed(), source.varint()
    check(abs(least) < 2**33 and width <= 33, "packed numbers beyond their limits")
    data = source.take(-(-count * width // 8))
    whole = int.from_bytes(data, "little")
    check(whole >> count * width == 0, "padding that is not zero")
    bits = bits_of(data)
    return [least + number(bits, width) for _ in range(count)]


def read_tensor(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    source, count = Bytes(data), prod(shape)
    method = source.fixed(1)
    check(method <= 2, f"a tensor stored by the unknown method {method}")
    if method == 2:
        values = read_coded(source, shape)
    else:
        values = np.array(packed_numbers(source, count), np.int64).reshape(shape)
        if method == 1 and shape:
            values = np.cumsum(values, axis=-1)
    check(source.end(), "bytes behind a tensor")
    check(not count or -(2**31) <= values.min() <= values.max() < 2**31, "a tensor beyond 32 bits")
    return values


def read_coded(source: Bytes, shape: tuple[int, ...]) -> np.ndarray:
    rows = shape[0] if len(shape) > 1 else 1
    columns = prod(shape) // rows if rows else 0
    least, A = source.signed(), source.varint()
    weight, narrow, wide = source.signed(), source.signed(), source.signed()
    check(-(2**15) < least <= 0 and 1 <= A <= 2**15 and -least < A, "symbols of a tensor beyond their limits")
    check(max(abs(weight), abs(narrow), abs(wide)) <= 4096, "parameters of a tensor beyond their limits")
    prefixes = list(accumulate(block_of_numbers(source, rows)))
    scales = block_of_numbers(source, rows)
    check(all(0 <= p <= columns for p in prefixes), "more values than a row has")
    check(all(abs(s) <= 128 for s in scales), "a scale beyond its limits")
    stack = read_stack(source.take(len(source.data) - source.at), 1)
    leaf = Leaf({"family": "logistic_mixture", "symbols": max(A, 2), "components": 2})
    values = np.zeros((rows, columns), np.int64)
    for i, (prefix, scale) in enumerate(zip(prefixes, scales)):
        C = leaf.cumulative([weight, 0, -64 * least, -64 * least, 32 * scale - narrow, 32 * scale + wide])
        C_of = [C(x) for x in range(leaf.symbols + 1)] if prefix else []
        for j in range(prefix):
            symbol = bisect_right(C_of, stack.slot(0, leaf.bits)) - 1
            stack.pop(0, C_of[symbol], C_of[symbol + 1] - C_of[symbol], leaf.bits)
            check(symbol < A, "a value beyond its symbols")
            values[i, j] = symbol + least
    check(stack.is_empty(), "words behind a tensor")
    return values.reshape(shape)


def block_of_numbers(source: Bytes, count: int) -> list[int]:
    inner = Bytes(source.take(source.varint()))
    numbers = packed_numbers(inner, count)
    check(inner.end(), "bytes behind packed numbers")
    return numbers


# ---- model file --------------------------------------------------------------------------------------------


class Model:
    """A model file: the program and its laws. Refuses what the document refuses, the proofs of bounds excepted."""

    def __init__(self, data: bytes, check_golden: bool = True):
        source = Bytes(data)
        check(source.take(8) == b"\x8eCLM\r\n\x1a\n", "not a model file")
        check(source.fixed(2) == 1, "a model file of another version")
        check(hashlib.blake2b(data[:-16], digest_size=16).digest() == data[-16:], "a damaged model file")
        structure = source.take(source.fixed(4))
        self.structure = record = parse_json(structure)
        check(set(record) - {"golden"} == {"features", "law", "space", "tensors"}, "unknown keys of a model")
        unknown = set(record["features"]) - KNOWN_FEATURES
        check(not unknown, f"unknown features {sorted(unknown)}")
        check(record["features"] == sorted(features_of(record["law"])), "features that the program does not use")
        self.shape: list[int | None] = record["space"]["shape"]
        self.symbols: int = record["space"]["symbols"]
        self.tensors = {
            name: read_tensor(source.take(source.fixed(4)), tuple(shape))
            for name, shape in sorted(record["tensors"].items())
        }
        source.take(16)
        check(source.end(), "bytes behind a model")
        named = hashlib.sha256(structure)
        for _, values in sorted(self.tensors.items()):
            named.update(values.astype("<i4").tobytes())
        self.sha256 = named.hexdigest()
        if record["law"]["law"] == "adaptive":
            self.law: Law = Adaptive(record["law"], self.tensors)
            covered = self.symbols <= self.law.program.A
            check(self.shape == self.law.program.shape and covered, "law and space differ")
        else:
            self.law = make_law(record["law"], self.tensors, {})
        if check_golden and "golden" in record:
            golden, shape = record["golden"], [6 if size is None else size for size in self.shape]
            check(golden == {"digest": self.golden(shape), "shape": shape}, "a model whose golden vector differs")

    @property
    def lanes(self) -> int:
        return 2 if self.law.has_latents else 4

    def learner(self) -> adaptive.Learner:
        """An untaught learner, which decodes blocks of type 4."""
        check(isinstance(self.law, Adaptive), "a program that learns nothing")
        return adaptive.Learner(self.law.program)  # type: ignore[attr-defined]

    # Blocks: start groups are the last in decoding order, the first that are pushed.

    def decode_block(self, data: bytes, sizes: list[int], shape: tuple[int, ...]) -> np.ndarray:
        stack, items = read_stack(data, self.lanes), []
        for place, n in enumerate(sizes):
            start = self.law.has_latents and place == len(sizes) - 1
            items.append(self.law.pop(stack, n, {"shape": shape}, start))
        check(stack.is_empty(), "a stack that is not empty behind its last group")
        return np.concatenate(items)

    def encode_block(self, items: np.ndarray, sizes: list[int], lanes: int = 0) -> bytes:
        """The words of items in groups of these sizes."""
        stack, context, end = Stack(lanes or self.lanes), {"shape": items.shape[1:]}, len(items)
        for n in reversed(sizes):
            self.law.push(stack, items[end - n : end], context, self.law.has_latents and end == len(items))
            end -= n
        return write_stack(stack)

    def sample(self, count: int, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        items = self.law.pop(SeededStack(seed, 4), count, {"shape": shape}, True)
        return np.clip(items, 0, self.symbols - 1)

    def golden(self, shape: list[int]) -> str:
        items = self.sample(2, 0, tuple(shape))
        sizes = [1, 1]
        try:
            words = self.encode_block(items, sizes, 4)
        except Exhausted:
            words = self.encode_block(items, sizes := [2], 4)
        data = items.astype("<i4").tobytes() + np.array(sizes, "<i4").tobytes() + words
        return hashlib.blake2b(data, digest_size=16).hexdigest()


def features_of(record: Any) -> set[int]:
    """The feature numbers of all leaves, operations, schedules, steps and laws in a record."""
    if isinstance(record, list):
        return set().union(*map(features_of, record))
    if not isinstance(record, dict):
        return set()
    named = [record[key] for key in ("family", "op", "kind") if key in record]
    check(all(name in FEATURES for name in named), f"one of {named} is unknown")
    found = {FEATURES[name] for name in named}
    if isinstance(record.get("law"), str):  # a group has a law of its own under this key
        check(record["law"] in LAW_FEATURES, f"the law {record['law']} is unknown")
        found.add(LAW_FEATURES[record["law"]])
    if "step" in record:
        check(record["step"] in STEP_FEATURES, f"the step {record['step']} is unknown")
        found.add(STEP_FEATURES[record["step"]])
    return found.union(*map(features_of, record.values()))


# ---- networks and operations -------------------------------------------------------------------------------

ALL = slice(None)


class Network:
    """Values from named inputs; ``channels`` of a rule says which channels of its result are wanted."""

    def __init__(self, record: dict, tensors: Tensors, item_degrees: np.ndarray | None = None):
        check(set(record) == {"inputs", "operations", "output"}, "unknown keys of a network")
        self.inputs: list[str] = record["inputs"]
        self.operations: list[dict] = record["operations"]
        self.output: int = record["output"]
        self.tensors = tensors
        self.scheduled = item_degrees is not None
        self.item_degrees = item_degrees

    def run(self, n: int, context: Context) -> np.ndarray:
        self.values, self.degrees = [], []
        for name in self.inputs:
            value = np.zeros((n, 1), np.int64) if name == "count" else context[name]
            if value.shape[1:] == (1,) and name not in ("x", "count"):
                value = value[:, 0]
            self.values.append(value)
            item = self.scheduled and name == "x"
            self.degrees.append(self.item_degrees if item else np.zeros(value.shape[1:2], np.int64))
        for place, op in enumerate(self.operations):
            check(max(operands(op), default=-1) < len(self.values), "an operand that does not exist yet")
            self.place = len(self.inputs) + place
            self.values.append(np.empty(0))
            self.degrees.append(self._degrees(op))
            self.values[-1] = self._rule(op, ALL)
        return self.values[self.output]

    def bounds(self, known: dict[str, Bounds]) -> Bounds:
        """What is proved of the output, outside of schedules (where masks would narrow it)."""
        values = [(0, 0) if name == "count" else known[name] for name in self.inputs]
        for op in self.operations:
            values.append(self._bounds(op, [values[v] for v in operands(op)]))
        return values[self.output]

    def _bounds(self, op: dict, of: list[Bounds]) -> Bounds:
        name, tensors = op["op"], self.tensors
        low, high = of[0]
        if name in ("linear", "convolution"):
            weight = tensors[op["weight"]].reshape(len(tensors[op["bias"]]), -1)
            if name == "convolution":
                low, high = min(low, 0), max(high, 0)
            P, N = np.maximum(weight, 0).sum(1), np.minimum(weight, 0).sum(1)
            bias = tensors[op["bias"]]
            return int((P * low + N * high + bias).min()), int((P * high + N * low + bias).max())
        if name == "requantise":
            t = [0, *tensors[op["shift"]].tolist()]
            ends = [shifted(v, s) for v in (low, high) for s in (min(t), max(t))]
            return tuple(clamp(v, op["low"], op["high"]) for v in (min(ends), max(ends)))
        if name == "relu":
            return max(low, 0), max(high, 0)
        if name == "offset":
            return low + op["value"], high + op["value"]
        if name in ("table", "embed", "constant"):
            entries = tensors[op["values" if name == "constant" else "table"]]
            zero = [] if name == "table" else [0]
            return min([*zero, int(entries.min())]), max([*zero, int(entries.max())])
        if name == "add":
            a, b = op.get("shift_a", 0), op.get("shift_b", 0)
            return (low << a) + (of[1][0] << b), (high << a) + (of[1][1] << b)
        if name == "product":
            ends = [v * w for v in of[0] for w in of[1]]
            return min(ends), max(ends)
        if name == "concat":
            return min(b[0] for b in of), max(b[1] for b in of)
        if name == "upsample" and op.get("zeros", False):
            return min(low, 0), max(high, 0)
        return low, high

    def advance(self, degree: int) -> np.ndarray:
        """The output, once all inputs of this degree are known too; only its channels of this degree are computed."""
        for place in range(len(self.inputs), len(self.values)):
            channels = np.flatnonzero(self.degrees[place] == degree)
            if len(channels):
                self.place = place
                self.values[place][:, channels] = self._rule(self.operations[place - len(self.inputs)], channels)
        return self.values[self.output]

    def _degrees(self, op: dict) -> np.ndarray:
        """Degrees of the channels of a result; meaningless outside of schedules."""
        name = op["op"]
        of = [self.degrees[v] for v in operands(op)]
        if name in ("linear", "convolution"):
            check(self.scheduled or "degrees" not in op, "a layer with degrees outside of a schedule")
            outputs = self.tensors[op["bias"]].shape
            return self.tensors[op["degrees"]] if "degrees" in op else np.zeros(outputs, np.int64)
        if name in ("add", "product"):
            return np.maximum(*of)
        if name == "concat":
            return np.concatenate(of)
        if name == "slice":
            return of[0][op["start"] : op["stop"]]
        if name in ("embed", "constant"):
            return np.zeros(self.tensors[op["table" if name == "embed" else "values"]].shape[-1], np.int64)
        if name in (
            "reshape",
            "permute",
            "depth_to_space",
            "space_to_depth",
        ):  # context only, so that no channel has another degree
            of_shape = self.values[op["x"]].shape
            sizes = {
                "reshape": lambda: op["shape"][0],
                "permute": lambda: of_shape[1 + op["axes"][0]],
                "depth_to_space": lambda: of_shape[1] // op["factor"] ** 2,
                "space_to_depth": lambda: of_shape[1] * op["factor"] ** 2,
            }
            return np.zeros(sizes[name](), np.int64)
        return of[0]  # spread: that of its vector; the rest have one operand, or stand outside of schedules

    def _weights(self, op: dict, channels: Any) -> np.ndarray:
        """A layer's weights (o, i, ...) for some outputs, zero where a mask closes them."""
        weight = self.tensors[op["weight"]][channels]
        if "degrees" not in op:
            return weight
        into, out = self.degrees[op["x"]], self.tensors[op["degrees"]][channels]
        open_ = into[None, :] <= out[:, None]
        if op["op"] == "linear":
            return weight * open_
        weight = weight.copy()
        for a in range(weight.shape[2]):
            for b in range(weight.shape[3]):
                tap = (a + op["offset"][0], b + op["offset"][1])
                weight[:, :, a, b] *= open_ if tap == (0, 0) else tap < (0, 0)
        return weight

    def _rule(self, op: dict, channels: Any) -> np.ndarray:
        values, tensors, name = self.values, self.tensors, op["op"]

        def only(v: int) -> np.ndarray:
            return values[v] if values[v].ndim == 1 else values[v][:, channels]

        def column(name: str, axes: int) -> np.ndarray:
            return tensors[op[name]][channels].reshape(-1, *[1] * (axes - 2))

        if name == "linear":
            return values[op["x"]] @ self._weights(op, channels).T + tensors[op["bias"]][channels]
        if name == "convolution":
            return self._convolution(op, channels)
        if name == "requantise":
            x = only(op["x"])
            t = column("shift", x.ndim)
            up, down = np.maximum(-t, 0), np.maximum(t, 0)
            return np.clip(((x << up) + (1 << down >> 1)) >> down, op["low"], op["high"])
        if name == "relu":
            return np.maximum(only(op["x"]), 0)
        if name == "offset":
            return only(op["x"]) + op["value"]
        if name == "table":
            entries = tensors[op["table"]]
            return entries[np.clip(only(op["x"]) - op["low"], 0, len(entries) - 1)]
        if name == "add":
            return (only(op["a"]) << op.get("shift_a", 0)) + (only(op["b"]) << op.get("shift_b", 0))
        if name == "product":
            return only(op["a"]) * only(op["b"])
        if name == "embed":
            check(np.all(values[op["x"]] >= 0), "an index below zero")
            return tensors[op["table"]][values[op["x"]]][:, channels]
        if name == "spread":
            return np.broadcast_to(
                only(op["x"])[:, :, None, None], (*only(op["x"]).shape, *values[op["like"]].shape[2:])
            )
        if name == "concat":
            return np.concatenate([values[v] for v in op["xs"]], axis=1)[:, channels]
        if name == "slice":
            return values[op["x"]][:, op["start"] : op["stop"]][:, channels]
        if name == "constant":
            return np.tile(tensors[op["values"]], (len(values[op["x"]]), 1))[:, channels]
        x, f = values[op["x"]], op.get("factor", 1)
        if name == "reshape":
            return x.reshape(len(x), *op["shape"])
        if name == "permute":
            return x.transpose(0, *[axis + 1 for axis in op["axes"]])
        n, c, h, w = x.shape
        if name == "upsample":
            y = x.repeat(f, axis=2).repeat(f, axis=3)
            if op.get("zeros", False):
                kept = np.zeros_like(y)
                kept[:, :, ::f, ::f] = x
                return kept
            return y
        if name in ("space_to_depth", "sum_pool"):
            check(h % f == w % f == 0, "squares that do not fill an image")
            tiles = [[x[:, :, a::f, b::f] for b in range(f)] for a in range(f)]
            if name == "sum_pool":
                return sum(sum(row) for row in tiles)  # type: ignore[return-value]
            return np.stack([np.stack(row, 2) for row in tiles], 2).reshape(n, c * f * f, h // f, w // f)
        check(name == "depth_to_space", f"the operation {name} is unknown")
        return x.reshape(n, c // f**2, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // f**2, h * f, w * f)

    def _convolution(self, op: dict, channels: Any) -> np.ndarray:
        x, weight, stride = self.values[op["x"]], self._weights(op, channels), op.get("stride", 1)
        n, _, h, w = x.shape
        high, wide = -(-h // stride), -(-w // stride)
        y = np.zeros((n, len(weight), high, wide), np.int64) + self.tensors[op["bias"]][channels][:, None, None]
        for a in range(weight.shape[2]):
            for b in range(weight.shape[3]):
                rows = np.arange(high) * stride + a + op["offset"][0]
                columns = np.arange(wide) * stride + b + op["offset"][1]
                r, s = np.flatnonzero((rows >= 0) & (rows < h)), np.flatnonzero((columns >= 0) & (columns < w))
                seen = x[:, :, rows[r][:, None], columns[s][None, :]]
                y[:, :, r[:, None], s[None, :]] += np.einsum("oi,nirs->nors", weight[:, :, a, b], seen)
        return y


def shifted(x: int, t: int) -> int:
    return (x + 2 ** (t - 1)) >> t if t > 0 else x << -t


def operands(op: dict) -> list[int]:
    return [op[key] for key in ("x", "a", "b", "like") if key in op] + op.get("xs", [])


# ---- laws --------------------------------------------------------------------------------------------------


def make_law(record: dict, tensors: Tensors, known: dict[str, Bounds]) -> Law:
    """A law in a context of which ``known`` gives the bounds."""
    kinds: dict[str, type[Law]] = {
        "independent": Independent,
        "sequential": Sequential,
        "marginal": Marginal,
        "switch": Switch,
        "pushforward": Pushforward,
        "floor": Floor,
        "cell": Cell,
        "chain": Chain,
        "coarse": Coarse,
    }
    check(record["law"] in kinds, f"a law {record['law']} within another")
    kind = kinds[record["law"]]
    keys = {"law", *kind.fields}
    check(keys <= set(record) <= keys | set(kind.optional), f"the keys of the law {record['law']} differ")
    return kind(record, tensors, known)


class Law:
    """A distribution over items, given a context of what is known of each."""

    fields: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    has_latents = False
    bounds: Bounds

    def handed_on(self, items: np.ndarray, context: Context) -> Context:
        """What a likelihood finds in its context beside a latent that follows this law."""
        return {}

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        raise NotImplementedError

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        raise NotImplementedError

    def median(self, n: int, context: Context) -> np.ndarray:
        raise NotImplementedError

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        raise NotImplementedError


class Adaptive(Law):
    """Images that follow one another, learned from as they are coded. It stands at the top only."""

    def __init__(self, record: dict, tensors: Tensors):
        self.program = adaptive.Program(record, tensors)
        self.bounds = (0, self.program.M)

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        learner = adaptive.Learner(self.program)
        return np.stack([learner.pop(stack, context["shape"]) for _ in range(n)])

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        segments = adaptive.Learner(self.program).segments(list(items))
        adaptive.push(stack, [decision for segment in segments for decision in segment])

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        return adaptive.Learner(self.program).lengths(list(items))


def lane_of(stack: Stack, item: int) -> int:
    return item % len(stack.states)


class Elements(Law):
    """What independent and sequential laws share: the leaf, and parameters (n, D, p) from a network's output."""

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.leaf = Leaf(record["leaf"])
        self.bounds = (0, self.leaf.symbols - 1)
        self.shape: list[int | None] = record["shape"]

    def item_shape(self, context: Context) -> tuple[int, ...]:
        return tuple(context["shape"][axis] if size is None else size for axis, size in enumerate(self.shape))

    def arrange(self, output: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        n, p = len(output), self.leaf.parameters
        if output.ndim == 2:
            return output.reshape(n, -1, p)
        by_channel = output.reshape(n, -1, p, *shape[:2])
        return by_channel.transpose(0, 3, 4, 1, 2).reshape(n, -1, p)

    def pop_element(self, stack: Stack, parameters: np.ndarray) -> list[int]:
        leaf, symbols = self.leaf, []
        for i, p in enumerate(parameters.tolist()):
            symbols.append(stack.pop_symbol(lane_of(stack, i), leaf.cumulative(p), leaf.symbols, leaf.bits))
        return symbols

    def push_element(self, stack: Stack, parameters: np.ndarray, symbols: np.ndarray) -> None:
        for i, p in reversed(list(enumerate(parameters.tolist()))):
            stack.push_symbol(lane_of(stack, i), self.leaf.cumulative(p), int(symbols[i]), self.leaf.bits)

    def all_parameters(self, items: np.ndarray, context: Context) -> np.ndarray:
        raise NotImplementedError

    def order(self, n: int, context: Context) -> np.ndarray:
        """Positions (n, D) in coding order."""
        return np.tile(np.arange(prod(self.item_shape(context))), (n, 1))

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        n = len(items)
        parameters, flat, order = self.all_parameters(items, context), items.reshape(n, -1), self.order(n, context)
        check(np.all((flat >= 0) & (flat < self.leaf.symbols)), "items beyond the symbols of a law")
        each = np.arange(n)
        for place in reversed(order.T):
            self.push_element(stack, parameters[each, place], flat[each, place])

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        parameters, flat = self.all_parameters(items, context).tolist(), items.reshape(len(items), -1).tolist()
        return [sum(map(self.leaf.length, ps, xs)) for ps, xs in zip(parameters, flat)]


class Independent(Elements):
    fields = ("leaf", "network", "shape")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        super().__init__(record, tensors, known)
        self.network = Network(record["network"], tensors)

    def parameters(self, n: int, context: Context) -> np.ndarray:
        return self.arrange(self.network.run(n, context), self.item_shape(context))

    def all_parameters(self, items: np.ndarray, context: Context) -> np.ndarray:
        return self.parameters(len(items), context)

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        parameters = self.parameters(n, context)
        columns = [self.pop_element(stack, parameters[:, d]) for d in range(parameters.shape[1])]
        return np.array(columns, np.int64).T.reshape(n, *self.item_shape(context))

    def median(self, n: int, context: Context) -> np.ndarray:
        medians = [[self.leaf.median(p) for p in ps] for ps in self.parameters(n, context).tolist()]
        return np.array(medians, np.int64).reshape(n, *self.item_shape(context))


class Sequential(Elements):
    fields = ("leaf", "network", "schedule", "shape")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        super().__init__(record, tensors, known)
        self.schedule = schedule = record["schedule"]
        if schedule["kind"] == "raster":
            check(set(schedule) <= {"kind", "slope"}, "an unknown key of a schedule")
            channels = self.shape[2] if len(self.shape) == 3 else 1
            degrees = np.arange(1, channels + 1)
        else:
            check(set(schedule) <= {"kind", "orders", "index"}, "an unknown key of a schedule")
            self.orders = tensors[schedule["orders"]]
            D = self.orders.shape[1]
            check(np.all(np.sort(self.orders) == np.arange(D)), "an order that is no permutation")
            degrees = np.arange(1, D + 1)
            if "index" not in schedule:
                degrees[self.orders[0]] = np.arange(1, D + 1)
        self.network = Network(record["network"], tensors, degrees)

    def order(self, n: int, context: Context) -> np.ndarray:
        if self.schedule["kind"] == "degrees":
            index = self.schedule.get("index")
            return self.orders[np.zeros(n, np.int64) if index is None else context[index].reshape(n)]
        return np.tile(np.concatenate(self.steps(context)), (n, 1))

    def steps(self, context: Context) -> list[np.ndarray]:
        """Positions of each step of a raster schedule."""
        H, W, C = (*self.item_shape(context), 1)[:3]
        r, q, c = (axis.ravel() for axis in np.indices((H, W, C)))
        if "slope" not in self.schedule:
            return [np.array([position]) for position in range(H * W * C)]
        front = r * self.schedule["slope"] + q
        order = np.lexsort((r, c, front))
        cuts = np.flatnonzero((np.diff(front[order]) != 0) | (np.diff(c[order]) != 0)) + 1
        return np.split(order, cuts)

    def seen(self, items: np.ndarray, context: Context) -> np.ndarray:
        """What the network sees of (partly known) items."""
        n = len(items)
        if self.schedule["kind"] == "raster":
            shape = (*self.item_shape(context), 1)[:3]
            return items.reshape(n, *shape).transpose(0, 3, 1, 2)
        flat = items.reshape(n, -1)
        return np.take_along_axis(flat, self.order(n, context), 1) if "index" in self.schedule else flat

    def all_parameters(self, items: np.ndarray, context: Context) -> np.ndarray:
        """Parameters (n, D, p) by position, in one pass."""
        output = self.network.run(len(items), {**context, "x": self.seen(items, context)})
        parameters = self.arrange(output, self.item_shape(context))
        if "index" not in self.schedule:
            return parameters
        by_position = np.empty_like(parameters)
        by_position[np.arange(len(items))[:, None], self.order(len(items), context)] = parameters
        return by_position

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        shape = self.item_shape(context)
        items = np.zeros((n, prod(shape)), np.int64)
        if self.schedule["kind"] == "raster":
            for positions in self.steps(context):
                parameters = self.all_parameters(items, context)
                for position in positions:
                    items[:, position] = self.pop_element(stack, parameters[:, position])
        else:
            order, each, p = self.order(n, context), np.arange(n), self.leaf.parameters
            seen = np.zeros_like(items)
            output = self.network.run(n, {**context, "x": seen})
            for step in range(order.shape[1]):
                if step:
                    output = self.network.advance(step)
                place = step if "index" in self.schedule else order[0, step]
                symbols = self.pop_element(stack, output[:, place * p : place * p + p])
                items[each, order[:, step]] = seen[:, place] = symbols
        return items.reshape(n, *shape)

    def median(self, n: int, context: Context) -> np.ndarray:
        """Medians, each given those before it: a whole pass for each."""
        shape = self.item_shape(context)
        items, each = np.zeros((n, prod(shape)), np.int64), np.arange(n)
        for place in self.order(n, context).T:
            parameters = self.all_parameters(items, context)[each, place].tolist()
            items[each, place] = [self.leaf.median(p) for p in parameters]
        return items.reshape(n, *shape)


class Chain(Law):
    """Groups of elements one after another, and features between them."""

    fields = ("parts", "shape")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.shape = tuple(record["shape"])
        self.parts: list[tuple[str, Any, Any]] = []
        known, bounds, places = dict(known), [], []
        for part in record["parts"]:
            if "define" in part:
                check(set(part) == {"define", "network"}, "the keys of a feature differ")
                network = Network(part["network"], tensors)
                self.parts.append((part["define"], None, network))
                known[part["define"]] = network.bounds(known)
                continue
            check(set(part) == {"group", "law", "places"}, "the keys of a group differ")
            law = make_law(part["law"], tensors, known)
            self.parts.append((part["group"], tensors[part["places"]], law))
            known[part["group"]] = law.bounds
            bounds.append(law.bounds)
            places += tensors[part["places"]].tolist()
            self.has_latents = self.has_latents or law.has_latents
        check(sorted(places) == list(range(prod(self.shape))), "groups that do not make up the items")
        self.bounds = min(low for low, _ in bounds), max(high for _, high in bounds)

    def walk(self, n: int, context: Context, make: Any) -> tuple[np.ndarray, Context]:
        """Items whose groups come from ``make(law, places, context)`` in order, and all that the context holds then."""
        flat = np.zeros((n, prod(self.shape)), np.int64)
        for name, places, what in self.parts:
            if places is None:
                context = {**context, name: what.run(n, context)}
            else:
                values = make(what, places, context)
                flat[:, places] = values.reshape(n, -1)
                context = {**context, name: values}
        return flat.reshape(n, *self.shape), context

    def given(self, items: np.ndarray, context: Context) -> list[tuple[Law, np.ndarray, Context]]:
        """Each group's law, its part of the items, and the context that it stands in."""
        steps: list[tuple[Law, np.ndarray, Context]] = []

        def take(law: Law, places: np.ndarray, context: Context) -> np.ndarray:
            values = items.reshape(len(items), -1)[:, places].reshape(len(items), *law_shape(law, context))
            steps.append((law, values, context))
            return values

        self.walk(len(items), context, take)
        return steps

    def handed_on(self, items: np.ndarray, context: Context) -> Context:
        steps = iter(self.given(items, context))
        _, after = self.walk(len(items), context, lambda law, places, context: next(steps)[1])
        return {name: after[name] for name, _, _ in self.parts}

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        return self.walk(n, context, lambda law, places, given: law.pop(stack, n, given, start))[0]

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        for law, values, given in reversed(self.given(items, context)):
            law.push(stack, values, given, start)

    def median(self, n: int, context: Context) -> np.ndarray:
        return self.walk(n, context, lambda law, places, given: law.median(n, given))[0]

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        columns = [law.lengths(values, given) for law, values, given in self.given(items, context)]
        return [sum(row) for row in zip(*columns)]


def law_shape(law: Law, context: Context) -> tuple[int, ...]:
    """The shape of one item of a law."""
    if isinstance(law, Elements):
        return law.item_shape(context)
    for name in ("likelihood", "base"):
        if hasattr(law, name):
            return law_shape(getattr(law, name), context)
    if isinstance(law, Switch):
        return law_shape(law.laws[0], context)
    check(isinstance(law, Chain), "a group whose shape is not known")
    return law.shape  # type: ignore[attr-defined]


class Marginal(Law):
    fields = ("latent", "likelihood", "posterior", "prior")
    optional = ("item",)
    has_latents = True

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.latent: str = record["latent"]
        self.item: str = record.get("item", "x")
        self.prior = make_law(record["prior"], tensors, known)
        self.likelihood = make_law(record["likelihood"], tensors, {**known, self.latent: self.prior.bounds})
        self.bounds = self.likelihood.bounds
        if record["posterior"] == {"law": "responsibilities"}:
            self.posterior: Law = Responsibilities(self, self.prior.bounds[1] + 1)
        else:
            self.posterior = make_law(record["posterior"], tensors, {**known, self.item: self.bounds})

    def with_latent(self, z: np.ndarray, context: Context) -> Context:
        return {**context, self.latent: z, **self.prior.handed_on(z, context)}

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        z = self.prior.pop(stack, n, context, start)
        x = self.likelihood.pop(stack, n, self.with_latent(z, context), start)
        if not start:
            self.posterior.push(stack, z, {**context, self.item: x}, False)
        return x

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        given = {**context, self.item: items}
        n = len(items)
        z = self.posterior.median(n, given) if start else self.posterior.pop(stack, n, given, False)
        self.likelihood.push(stack, items, self.with_latent(z, context), start)
        self.prior.push(stack, z, context, start)

    def joint_lengths(self, items: np.ndarray, context: Context, count: int) -> list[list[int]]:
        """For each item the lengths of it and each index."""
        rows = []
        for k in range(count):
            z = np.full((len(items), 1), k, np.int64)
            x_lengths = self.likelihood.lengths(items, self.with_latent(z, context))
            rows.append([a + b for a, b in zip(x_lengths, self.prior.lengths(z, context))])
        return [list(a) for a in zip(*rows)]

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        check(isinstance(self.posterior, Responsibilities), "a marginal without lengths")
        return [evidence(a) for a in self.joint_lengths(items, context, self.posterior.count)]


class Responsibilities(Law):
    """The exact posterior of an index."""

    def __init__(self, marginal: Marginal, count: int):
        self.marginal, self.count = marginal, count

    def all_lengths(self, context: Context) -> list[list[int]]:
        return self.marginal.joint_lengths(context["x"], context, self.count)

    def sums(self, a: list[int]) -> list[int]:
        return [0, *accumulate(responsibilities(a))]

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        z = []
        for i, a in enumerate(self.all_lengths(context)):
            z.append(stack.pop_symbol(lane_of(stack, i), self.sums(a).__getitem__, self.count, 24))
        return np.array(z, np.int64).reshape(n, 1)

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        for i, a in reversed(list(enumerate(self.all_lengths(context)))):
            stack.push_symbol(lane_of(stack, i), self.sums(a).__getitem__, int(items[i, 0]), 24)

    def median(self, n: int, context: Context) -> np.ndarray:
        return np.array([[a.index(min(a))] for a in self.all_lengths(context)], np.int64)


class Switch(Law):
    fields = ("index", "laws")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.index: str = record["index"]
        self.laws = [make_law(law, tensors, known) for law in record["laws"]]
        self.bounds = min(law.bounds[0] for law in self.laws), max(law.bounds[1] for law in self.laws)
        self.has_latents = any(law.has_latents for law in self.laws)

    def parts(self, n: int, context: Context) -> list[tuple[Law, np.ndarray, Context]]:
        """For each law that occurs: it, the numbers of its items, and their context."""
        index, parts = context[self.index].reshape(n), []
        for k, law in enumerate(self.laws):
            mine = np.flatnonzero(index == k)
            if len(mine):
                parts.append((law, mine, {name: v if name == "shape" else v[mine] for name, v in context.items()}))
        return parts

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        pieces = [(mine, law.pop(stack, len(mine), inner, start)) for law, mine, inner in self.parts(n, context)]
        items = np.zeros((n, *pieces[0][1].shape[1:]), np.int64)
        for mine, piece in pieces:
            items[mine] = piece
        return items

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        for law, mine, inner in reversed(self.parts(len(items), context)):
            law.push(stack, items[mine], inner, start)

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        lengths = [0] * len(items)
        for law, mine, inner in self.parts(len(items), context):
            for i, length in zip(mine, law.lengths(items[mine], inner)):
                lengths[i] = length
        return lengths


class Pushforward(Law):
    fields = ("base", "high", "low", "steps")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.base = make_law(record["base"], tensors, known)
        self.bounds = bounds = (record["low"], record["high"])
        self.steps: list[Step] = []
        for step in record["steps"]:
            kind = STEP_KINDS[step["step"]]
            check(set(step) == {"step", *kind.fields}, f"the keys of the step {step['step']} differ")
            if kind is Autoregressive:
                step = {**step, "shape": list(law_shape(self.base, {}))}
            self.steps.append(kind(step, tensors, known, bounds))
            bounds = self.steps[-1].after
        self.has_latents = self.base.has_latents or any(step.scales for step in self.steps)

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        u = self.base.pop(stack, n, context, start)
        for step in reversed(self.steps):
            u = step.backward(stack, u.reshape(n, -1), context, start).reshape(u.shape)
        return u

    def through(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> np.ndarray:
        y = items.reshape(len(items), -1)
        for step in self.steps:
            step.check_within(y, step.before)
            y = step.forward(stack, y, context, start)
            step.check_within(y, step.after)
        return y.reshape(items.shape)

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        self.base.push(stack, self.through(stack, items, context, start), context, start)

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        check(not any(step.scales for step in self.steps), "a flow that scales has no lengths")
        return self.base.lengths(self.through(Stack(1), items, context, False), context)

    def median(self, n: int, context: Context) -> np.ndarray:
        u = self.base.median(n, context)
        for step in reversed(self.steps):
            u = step.place(u, context)
        return u


class Step:
    fields: tuple[str, ...] = ()
    scales = False
    clamps = True

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        self.before = self.after = before
        if "low" in self.fields:
            self.after = (record["low"], record["high"])

    def check_within(self, values: np.ndarray, bounds: Bounds) -> None:
        check(bool(np.all((values >= bounds[0]) & (values <= bounds[1]))), "items that leave the bounds of a step")

    def backward(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        y = np.clip(y, *self.after) if self.clamps else y
        return np.clip(self.inverse(stack, y, context, start), *self.before)

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        raise NotImplementedError

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        raise NotImplementedError

    def place(self, y: np.ndarray, context: Context) -> np.ndarray:
        raise NotImplementedError


class Offset(Step):
    fields = ("value",)

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        self.value = record["value"]
        self.after = (before[0] + self.value, before[1] + self.value)

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return u + self.value

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return y - self.value


class Permute(Step):
    fields = ("index",)

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        self.index = tensors[record["index"]]

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return u[:, self.index]

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        u = np.empty_like(y)
        u[:, self.index] = y
        return u


def scaled(stack: Stack, u: np.ndarray, a: np.ndarray, t: np.ndarray, e: int, start: bool) -> np.ndarray:
    r = np.zeros_like(a) if start else pop_uniforms(stack, a)
    v = u * a + r
    push_uniforms(stack, v % 2**e, np.full_like(a, 2**e))
    return (v >> e) + t


def unscaled(stack: Stack, y: np.ndarray, a: np.ndarray, t: np.ndarray, e: int, start: bool) -> np.ndarray:
    v = ((y - t) << e) + pop_uniforms(stack, np.full_like(a, 2**e))
    if not start:
        push_uniforms(stack, v % a, a)
    return v // a


class Scale(Step):
    fields = ("denominator", "high", "low", "scales", "shifts")
    scales = True

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        self.a, self.t, self.e = tensors[record["scales"]], tensors[record["shifts"]], record["denominator"]

    def each(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        times = u.shape[1] // len(self.a)
        return np.tile(self.a, (len(u), times)), np.tile(self.t, (len(u), times)), self.e

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return scaled(stack, u, *self.each(u), start)

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return unscaled(stack, y, *self.each(y), start)


class Moving(Step):
    """A step whose network says what to do with moved elements, from those that stay."""

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        moves = tensors[record["moves"]]
        self.moved, self.still = np.flatnonzero(moves), np.flatnonzero(moves == 0)
        self.shape: list[int] = record.get("shape", [len(moves)])
        self.network = Network(record["network"], tensors)

    def numbers(self, u: np.ndarray, context: Context, count: int) -> np.ndarray:
        """(count, n, moved elements)."""
        x = u.copy()
        x[:, self.moved] = 0
        if len(self.shape) == 1:
            output = self.network.run(len(u), {**context, "x": x})
            return output.reshape(len(u), count, -1).transpose(1, 0, 2)
        H, W, C = self.shape
        image = np.moveaxis(x.reshape(-1, H, W, C), 3, 1)
        output = self.network.run(len(u), {**context, "x": image})
        return np.stack([np.moveaxis(output[:, j * C : j * C + C], 1, 3).reshape(len(u), -1) for j in range(count)])[
            :, :, self.moved
        ]


class Affine(Moving):
    fields: tuple[str, ...] = ("denominator", "moves", "network", "scales")
    scales = True
    clamps = False

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        self.table, self.e = tensors[record["scales"]], record["denominator"]
        if "low" not in self.fields:
            low, high = before
            reach = max(map(abs, self.network.bounds({**known, "x": (min(low, 0), max(high, 0))})))
            R = max(abs(low), abs(high)) * int(self.table.max()) // 2**self.e + reach + 2
            self.after = (min(low, -R), max(high, R))

    def each(self, u: np.ndarray, context: Context) -> tuple[np.ndarray, np.ndarray, int]:
        index, t = self.numbers(u, context, 2)
        return self.table[np.clip(index, 0, len(self.table) - 1)], t, self.e

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        y = u.copy()
        if self.clamps:
            self.check_within(u[:, self.still], self.after)
        y[:, self.moved] = scaled(stack, u[:, self.moved], *self.each(u, context), start)
        return y

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        u = y.copy()
        if not self.clamps:
            u[:, self.still] = np.clip(y[:, self.still], *self.before)
        u[:, self.moved] = unscaled(stack, y[:, self.moved], *self.each(u, context), start)
        return u


class Coupling(Affine):
    fields = (*Affine.fields, "high", "low", "shape")
    clamps = True


class Additive(Moving):
    fields = ("moves", "network", "shape")

    def shifted(self, u: np.ndarray, context: Context, sign: int) -> np.ndarray:
        y, (low, high) = u.copy(), self.before
        y[:, self.moved] = low + (u[:, self.moved] + sign * self.numbers(u, context, 1)[0] - low) % (high - low + 1)
        return y

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return self.shifted(u, context, 1)

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        return self.shifted(y, context, -1)


class Autoregressive(Step):
    """A step whose network sees the numbers on the side of the base, in the order of its schedule."""

    fields = ("denominator", "network", "scales", "schedule")
    scales = True

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds], before: Bounds):
        super().__init__(record, tensors, known, before)
        self.high, self.e = before[1], record["denominator"]
        self.table = tensors[record["scales"]]
        # Two numbers for each element, as many as a gaussian leaf has parameters; nothing is coded with it.
        leaf = {"family": "gaussian", "symbols": self.high + 1, "bits": 28}
        parts = {key: record[key] for key in ("network", "schedule", "shape")}
        self.elements = Sequential({**parts, "leaf": leaf}, tensors, known)

    def numbers(self, y: np.ndarray, context: Context) -> tuple[np.ndarray, np.ndarray]:
        output = self.elements.all_parameters(y, context)
        a = self.table[np.clip(output[..., 0], 0, len(self.table) - 1)]
        return a, (np.clip(output[..., 1], 0, self.high) * (2**self.e - a)) >> self.e

    def inverse(self, stack: Stack, y: np.ndarray, context: Context, start: bool) -> np.ndarray:
        a, t = self.numbers(y, context)
        v = y.reshape(len(y), -1) * a + pop_uniforms(stack, a)
        if not start:
            push_uniforms(stack, v % 2**self.e, np.full_like(a, 2**self.e))
        return ((v >> self.e) + t).reshape(y.shape)

    def forward(self, stack: Stack, u: np.ndarray, context: Context, start: bool) -> np.ndarray:
        flat = u.reshape(len(u), -1)
        full = np.full_like(flat, 2**self.e)
        rest = np.zeros_like(flat) if start else pop_uniforms(stack, full)
        y, remainders, each = np.zeros_like(flat), np.zeros_like(flat), np.arange(len(u))
        for place in self.elements.order(len(u), context).T:
            a, t = (values[each, place] for values in self.numbers(y.reshape(u.shape), context))
            v = ((flat[each, place] - t) << self.e) + rest[each, place]
            check(np.all((v >= 0) & (v // a <= self.high)), "a number that an autoregressive step cannot give")
            y[each, place], remainders[each, place] = v // a, v % a
        push_uniforms(stack, remainders, self.numbers(y.reshape(u.shape), context)[0])
        return y.reshape(u.shape)

    def place(self, y: np.ndarray, context: Context) -> np.ndarray:
        a, t = self.numbers(y, context)
        return (((y.reshape(len(y), -1) * a + a // 2) >> self.e) + t).reshape(y.shape)


STEP_KINDS: dict[str, type[Step]] = {
    "offset": Offset,
    "affine": Affine,
    "coupling": Coupling,
    "permute": Permute,
    "scale": Scale,
    "additive": Additive,
    "autoregressive": Autoregressive,
}


class Coarse(Law):
    fields = ("base", "bits")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.base, self.bits = make_law(record["base"], tensors, known), record["bits"]
        low, high = self.base.bounds
        self.bounds = (low << self.bits, ((high + 1) << self.bits) - 1)
        self.has_latents = self.base.has_latents

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        v = self.base.pop(stack, n, context, start)
        q = pop_uniforms(stack, np.full((n, prod(v.shape[1:])), 2**self.bits, np.int64))
        return (v << self.bits) + q.reshape(v.shape)

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        q = (items % 2**self.bits).reshape(len(items), -1)
        push_uniforms(stack, q, np.full_like(q, 2**self.bits))
        self.base.push(stack, items >> self.bits, context, start)

    def median(self, n: int, context: Context) -> np.ndarray:
        return (self.base.median(n, context) << self.bits) + (2**self.bits >> 1)

    def lengths(self, items: np.ndarray, context: Context) -> list[int]:
        more = self.bits * prod(items.shape[1:]) << 20
        return [length + more for length in self.base.lengths(items >> self.bits, context)]


def pop_uniforms(stack: Stack, m: np.ndarray) -> np.ndarray:
    """Values (n, elements) below m, element by element."""
    values = np.zeros_like(m)
    for d in range(m.shape[1]):
        for i in range(len(m)):
            values[i, d] = stack.pop_uniform(lane_of(stack, i), int(m[i, d]))
    return values


def push_uniforms(stack: Stack, values: np.ndarray, m: np.ndarray) -> None:
    for d in reversed(range(m.shape[1])):
        for i in reversed(range(len(m))):
            stack.push_uniform(lane_of(stack, i), int(values[i, d]), int(m[i, d]))


class Floor(Law):
    fields = ("bits", "latent")

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.latent, self.bits = record["latent"], record["bits"]
        low, high = known[self.latent]
        self.bounds = (low >> self.bits, high >> self.bits)

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        return context[self.latent] >> self.bits

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        check(np.array_equal(items, context[self.latent] >> self.bits), "items that are not those of their latent")


class Cell(Law):
    fields = ("bits",)

    def __init__(self, record: dict, tensors: Tensors, known: dict[str, Bounds]):
        self.bits = record["bits"]
        low, high = known["x"]
        self.bounds = (low << self.bits, ((high + 1) << self.bits) - 1)

    def pop(self, stack: Stack, n: int, context: Context, start: bool) -> np.ndarray:
        x = context["x"]
        inside = pop_uniforms(stack, np.full((n, prod(x.shape[1:])), 2**self.bits, np.int64))
        return (x << self.bits) + inside.reshape(x.shape)

    def push(self, stack: Stack, items: np.ndarray, context: Context, start: bool) -> None:
        inside = (items - (context["x"] << self.bits)).reshape(len(items), -1)
        push_uniforms(stack, inside, np.full_like(inside, 2**self.bits))

    def median(self, n: int, context: Context) -> np.ndarray:
        return (context["x"] << self.bits) + (2**self.bits >> 1)
