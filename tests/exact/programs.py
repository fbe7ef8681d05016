"""Small random programs of every kind, valid by construction: what ``FrozenModel.create`` takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space

Record = dict[str, Any]
Tensors = dict[str, np.ndarray]
Program = tuple[Space, Record, Tensors]

BERNOULLI: Record = {"family": "bernoulli", "symbols": 2}
LEAVES: list[Record] = [
    BERNOULLI,
    {"family": "bernoulli", "symbols": 2, "bits": 12},
    {"family": "categorical", "symbols": 3, "bits": 16},
    {"family": "logistic_mixture", "symbols": 5, "components": 2, "bits": 20},
    {"family": "gaussian", "symbols": 4, "bits": 16},
    {"family": "beta_binomial", "symbols": 6, "bits": 18},
]


def base_parameters(rng: np.random.Generator, leaf: Record) -> list[int]:
    """One element's parameters in the middle of what makes sense."""
    symbols, k = leaf["symbols"], leaf.get("components", 1)
    if leaf["family"] == "logistic_mixture":
        return [*[0] * k, *rng.integers(0, 64 * symbols, k).tolist(), *rng.integers(-200, 100, k).tolist()]
    if leaf["family"] == "gaussian":
        return [32 * symbols, 50]
    if leaf["family"] == "beta_binomial":
        return rng.integers(-2000, 4000, 2).tolist()
    return rng.integers(-900, 900, symbols if leaf["family"] == "categorical" else 1).tolist()


class Draft:
    """A network in the making, and the tensors of its program."""

    def __init__(self, rng: np.random.Generator, inputs: list[str], tensors: Tensors) -> None:
        self.rng, self.inputs, self.tensors = rng, inputs, tensors
        self.operations: list[Record] = []

    def store(self, array: Any) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.asarray(array, np.int32)
        return name

    def noise(self, size: Any, reach: int) -> np.ndarray:
        return self.rng.integers(-reach, reach + 1, size=size)

    def op(self, name: str, **fields: Any) -> int:
        self.operations.append({"op": name, **{k: v for k, v in fields.items() if v is not None}})
        return len(self.inputs) + len(self.operations) - 1

    def linear(self, x: int, inputs: int, outputs: int, degrees: Any = None, bias: Any = None, **more: Any) -> int:
        weight = self.store(self.noise((outputs, inputs), 40))
        bias = self.store(self.noise(outputs, 90) if bias is None else bias)
        degrees = None if degrees is None else self.store(degrees)
        return self.op("linear", x=x, weight=weight, bias=bias, degrees=degrees, **more)

    def convolution(
        self,
        x: int,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int, int],
        degrees: Any = None,
        bias: Any = None,
    ) -> int:
        """kernel: its height and width, and the offset of its first tap."""
        weight = self.store(self.noise((outputs, inputs, *kernel[:2]), 40))
        bias = self.store(self.noise(outputs, 90) if bias is None else bias)
        degrees = None if degrees is None else self.store(degrees)
        return self.op("convolution", x=x, weight=weight, bias=bias, offset=list(kernel[2:]), degrees=degrees)

    def requantise(self, x: int, channels: int, low: int, high: int) -> int:
        return self.op("requantise", x=x, shift=self.store(self.rng.integers(-1, 4, channels)), low=low, high=high)

    def network(self, output: int) -> Record:
        return {"inputs": self.inputs, "operations": self.operations, "output": output}


def constant_law(rng: np.random.Generator, leaf: Record, shape: list[int], tensors: Tensors) -> Record:
    """Independent elements of a fixed distribution."""
    draft = Draft(rng, ["count"], tensors)
    elements = int(np.prod(shape))
    values = draft.store([v for _ in range(elements) for v in base_parameters(rng, leaf)])
    return {
        "law": "independent",
        "leaf": leaf,
        "shape": shape,
        "network": draft.network(draft.op("constant", x=0, values=values)),
    }


def dense_law(
    rng: np.random.Generator, leaf: Record, shape: list[int], source: str, inputs: int, tensors: Tensors, span: int = 8
) -> Record:
    """Independent elements given a vector of the context, through a hidden layer."""
    draft = Draft(rng, [source], tensors)
    elements = int(np.prod(shape))
    bias = [v for _ in range(elements) for v in base_parameters(rng, leaf)]
    h = draft.op("relu", x=draft.requantise(draft.linear(0, inputs, span), span, -60, 60))
    out = draft.linear(h, span, len(bias), bias=bias)
    return {"law": "independent", "leaf": leaf, "shape": shape, "network": draft.network(out)}


def made(
    rng: np.random.Generator,
    tensors: Tensors,
    shape: list[int],
    leaf: Record,
    *,
    orders: int = 1,
    index: str | None = None,
    residual: bool = False,
    direct: bool = False,
    gate: bool = False,
    parts: bool = False,
) -> Record:
    """A masked autoencoder; with ``index`` (a context entry below ``orders``), an order and an embedding for each."""
    draft = Draft(rng, ["x"] if index is None else ["x", index], tensors)
    dims, hidden = int(np.prod(shape)), int(rng.integers(4, 9))
    perms = np.stack([rng.permutation(dims) for _ in range(orders)])
    place = np.arange(dims) if index is not None else np.argsort(perms[0])  # the step at which a place is coded
    bias = np.array([base_parameters(rng, leaf) for _ in range(dims)])
    p = bias.shape[1]
    out_degrees = np.repeat(place, p)
    units = rng.integers(0, dims + 1, hidden)
    a = draft.linear(0, dims, hidden, units)
    if index is not None:
        vector = draft.op("embed", x=1, table=draft.store(draft.noise((orders, hidden), 40)))
        a = draft.op("add", a=a, b=vector, shift_b=int(rng.integers(0, 2)))
    a = draft.requantise(a, hidden, 0 if not residual else -90, 90)
    if residual:
        b = draft.linear(draft.op("relu", x=a), hidden, hidden, units)
        a = draft.op("add", a=a, b=draft.requantise(b, hidden, -90, 90), shift_a=1)
    if gate:
        tables = [draft.store(draft.noise(int(rng.integers(3, 30)), 60)) for _ in range(2)]
        sides = [draft.op("table", x=a, table=t, low=-int(rng.integers(0, 20))) for t in tables]
        a = draft.op("product", a=sides[0], b=sides[1])
        a = draft.requantise(draft.op("offset", x=a, value=-7), hidden, -90, 90)
    if rng.integers(2):
        cut = int(rng.integers(1, hidden))
        first = draft.op("slice", x=a, start=0, stop=cut)
        a = draft.op("concat", xs=[a, first])
        hidden, units = hidden + cut, np.concatenate([units, units[:cut]])
    cuts = sorted({int(v) for v in rng.integers(1, hidden, 2)}) if parts else None
    out = draft.linear(a, hidden, dims * p, out_degrees, bias.reshape(-1), parts=cuts)
    if direct:
        skip = draft.linear(0, dims, dims * p, out_degrees)
        out = draft.op("add", a=out, b=skip, shift_b=1)
    schedule: Record = {"kind": "degrees", "orders": draft.store(perms)}
    if index is not None:
        schedule["index"] = index
    return {"law": "sequential", "leaf": leaf, "shape": shape, "network": draft.network(out), "schedule": schedule}


def convnet(
    rng: np.random.Generator,
    tensors: Tensors,
    shape: list[int | None],
    leaf: Record,
    *,
    slope: int | None = None,
    label: str | None = None,
    labels: int = 1,
) -> Record:
    """A causal convolutional network with gates, skips and channel degrees, for images of any size."""
    draft = Draft(rng, ["x"] if label is None else ["x", label], tensors)
    channels = shape[2] if len(shape) == 3 else 1
    assert channels is not None
    reach = 1 if slope is None else slope - 1  # how far to the right earlier rows may be seen
    reach = min(reach, 2)

    def kernel() -> tuple[int, int, int, int]:
        up, left, right = int(rng.integers(0, 3)), int(rng.integers(0, 3)), int(rng.integers(0, reach + 1))
        if slope is not None and up == 0:
            right = 0
        return up + int(rng.integers(1, 3 if slope is None else 2)), left + right + 1, -up, -left

    hidden = 2 * int(rng.integers(2, 4))
    units = rng.integers(0, channels + 1, hidden)
    a = draft.convolution(0, channels, hidden, kernel(), units)
    if label is not None:
        vector = draft.op("embed", x=1, table=draft.store(draft.noise((labels, hidden), 40)))
        a = draft.op("add", a=a, b=draft.op("spread", x=vector, like=0))
    a = draft.requantise(a, hidden, -50, 90)
    for _ in range(int(rng.integers(1, 3))):
        b = draft.convolution(draft.op("relu", x=a), hidden, hidden, kernel(), units)
        b = draft.requantise(b, hidden, -40, 40)
        half = hidden // 2
        sides = [draft.op("slice", x=b, start=0, stop=half), draft.op("slice", x=b, start=half, stop=hidden)]
        tables = [draft.store(draft.noise(int(rng.integers(3, 90)), 60)) for _ in range(2)]
        gates = [draft.op("table", x=s, table=t, low=-30) for s, t in zip(sides, tables)]
        c = draft.requantise(draft.op("product", a=gates[0], b=gates[1]), half, -50, 50)
        joint = np.maximum(units[:half], units[half:])
        d = draft.convolution(c, half, hidden, (1, 1, 0, 0), np.maximum(units, joint.min()))
        a = draft.requantise(draft.op("add", a=a, b=d, shift_a=2), hidden, -90, 90)
        units = np.maximum(units, joint.min())
    bias = np.array([base_parameters(rng, leaf) for _ in range(channels)])
    degrees = np.repeat(np.arange(channels), bias.shape[1])
    out = draft.convolution(a, hidden, bias.size, kernel(), degrees, bias.reshape(-1))
    schedule: Record = {"kind": "raster"} if slope is None else {"kind": "raster", "slope": slope}
    return {"law": "sequential", "leaf": leaf, "shape": shape, "network": draft.network(out), "schedule": schedule}


def index_prior(rng: np.random.Generator, count: int, tensors: Tensors) -> Record:
    return constant_law(rng, {"family": "categorical", "symbols": count}, [1], tensors)


def mixture(prior: Record, likelihood: Record, latent: str = "k") -> Record:
    return {
        "law": "marginal",
        "latent": latent,
        "prior": prior,
        "likelihood": likelihood,
        "posterior": {"law": "responsibilities"},
    }


def made_program(rng: np.random.Generator, dims: int = 4, **options: Any) -> Program:
    tensors: Tensors = {}
    leaf = options.pop("leaf", None) or LEAVES[int(rng.integers(len(LEAVES)))]
    flags = {key: bool(rng.integers(2)) for key in ("residual", "direct", "gate", "parts")} | options
    return Space((dims,), leaf["symbols"]), made(rng, tensors, [dims], leaf, **flags), tensors


def orders_program(rng: np.random.Generator, dims: int = 4, orders: int = 3, leaf: Record = BERNOULLI) -> Program:
    tensors: Tensors = {}
    prior = index_prior(rng, orders, tensors)
    law = made(rng, tensors, [dims], leaf, orders=orders, index="k", residual=bool(rng.integers(2)))
    return Space((dims,), leaf["symbols"]), mixture(prior, law), tensors


def switch_program(rng: np.random.Generator, dims: int = 4, leaf: Record = BERNOULLI) -> Program:
    """A mixture of a masked autoencoder, of independent elements, and of a mixture of two orders."""
    tensors: Tensors = {}
    laws = [
        made(rng, tensors, [dims], leaf),
        constant_law(rng, leaf, [dims], tensors),
        mixture(index_prior(rng, 2, tensors), made(rng, tensors, [dims], leaf, orders=2, index="j"), "j"),
    ]
    law = mixture(index_prior(rng, 3, tensors), {"law": "switch", "index": "k", "laws": laws})
    return Space((dims,), leaf["symbols"]), law, tensors


def image_program(rng: np.random.Generator, shape: tuple[int | None, ...], leaf: Record | None = None) -> Program:
    tensors: Tensors = {}
    leaf = leaf or LEAVES[int(rng.integers(len(LEAVES)))]
    slope = [None, 2, 3][int(rng.integers(3))]
    if rng.integers(3):
        law = convnet(rng, tensors, list(shape), leaf, slope=slope)
    else:
        prior = index_prior(rng, 2, tensors)
        law = mixture(prior, convnet(rng, tensors, list(shape), leaf, slope=slope, label="k", labels=2))
    return Space(shape, leaf["symbols"]), law, tensors


def nested_program(rng: np.random.Generator, dims: int = 2, grid: int = 4) -> Program:
    """Two levels of latents on grids, gaussian and categorical, each given the one above."""
    tensors: Tensors = {}
    wide, top = {"family": "gaussian", "symbols": grid, "bits": 18}, {"family": "categorical", "symbols": 3, "bits": 16}
    prior = {
        "law": "marginal",
        "latent": "upper",
        "prior": constant_law(rng, top, [2], tensors),
        "likelihood": dense_law(rng, wide, [2], "upper", 2, tensors),
        "posterior": dense_law(rng, top, [2], "x", 2, tensors),
    }
    law = {
        "law": "marginal",
        "latent": "lower",
        "prior": prior,
        "likelihood": dense_law(rng, BERNOULLI, [dims], "lower", 2, tensors),
        "posterior": dense_law(rng, wide, [2], "x", dims, tensors),
    }
    return Space((dims,), 2), law, tensors


def flow_program(rng: np.random.Generator, bits: int = 6, symbols: int = 4, grid: int = 1 << 13) -> Program:
    """A flow on two pixels under uniform dequantisation: each pixel is scaled and shifted given the other."""
    tensors: Tensors = {}
    high = (symbols << bits) - 1

    def coupling(moves: list[int]) -> Record:
        draft = Draft(rng, ["x"], tensors)
        h = draft.requantise(draft.op("offset", x=0, value=-high // 2), 2, -90, 90)
        out = draft.requantise(draft.linear(h, 2, 2), 2, -9, 9)
        scales = draft.store(rng.integers(1 << 9, 1 << 11, 8))
        out = draft.op("offset", x=out, value=3)
        return {
            "step": "affine",
            "network": draft.network(out),
            "moves": draft.store(moves),
            "scales": scales,
            "denominator": 10,
        }

    steps = [coupling([1, 0]), coupling([0, 1]), {"step": "offset", "value": grid // 2 - high // 2}]
    draft = Draft(rng, ["count"], tensors)
    values = draft.store([32 * grid, 256 * 5] * 2)
    base = {
        "law": "independent",
        "leaf": {"family": "gaussian", "symbols": grid, "bits": 26},
        "shape": [2],
        "network": draft.network(draft.op("constant", x=0, values=values)),
    }
    law = {
        "law": "marginal",
        "latent": "u",
        "prior": {"law": "pushforward", "base": base, "steps": steps, "low": 0, "high": high},
        "likelihood": {"law": "floor", "latent": "u", "bits": bits},
        "posterior": {"law": "cell", "bits": bits},
    }
    return Space((2,), symbols), law, tensors


KINDS = {
    "made": made_program,
    "orders": orders_program,
    "switch": switch_program,
    "grey": lambda rng: image_program(rng, (None, None)),
    "colour": lambda rng: image_program(rng, (None, None, 3)),
    "fixed": lambda rng: image_program(rng, (3, 2, 2)),
    "nested": nested_program,
    "flow": flow_program,
}


@lru_cache(maxsize=64)
def model(kind: str, seed: int) -> FrozenModel:
    """A random frozen model; the same one each time."""
    return FrozenModel.create(*KINDS[kind](np.random.default_rng(seed)))


def models(*kinds: str, seeds: int = 1000) -> st.SearchStrategy[FrozenModel]:
    """Random frozen models of these kinds (of all where none is named)."""
    return st.builds(model, st.sampled_from(kinds or tuple(KINDS)), st.integers(0, seeds - 1))


def an_item_shape(frozen: FrozenModel, rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(rng.integers(1, 6)) if size is None else size for size in frozen.space.shape)
