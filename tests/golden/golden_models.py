"""Small frozen models that together use every feature of the format.

Their tensors come from SHAKE-256, so that they are the same with every version of numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from codelength.adaptive.program import Predictor as AdaptivePredictor
from codelength.adaptive.program import Program as AdaptiveProgram
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space


def integers(seed: str, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Integers low .. high (int64) that depend on the seed alone; nearly uniform."""
    data = hashlib.shake_256(seed.encode()).digest(4 * prod(shape))
    return (np.frombuffer(data, "<u4").astype(np.int64) % (high - low + 1) + low).reshape(shape)


class Program:
    """Collects the tensors of a model's networks."""

    def __init__(self, name: str):
        self.name = name
        self.tensors: dict[str, np.ndarray] = {}

    def tensor(self, values: Any) -> str:
        name = f"t{len(self.tensors):02}"
        self.tensors[name] = np.asarray(values, np.int32)
        return name

    def random(self, *shape: int, low: int = -9, high: int = 9) -> str:
        return self.tensor(integers(f"{self.name} {len(self.tensors)}", shape, low, high))

    def model(self, shape: tuple[int | None, ...], symbols: int, law: dict[str, Any]) -> FrozenModel:
        return FrozenModel.create(Space(shape, symbols), law, self.tensors)


class Net:
    """A network that is written operation by operation; each call gives the number of a value."""

    def __init__(self, *inputs: str):
        self.inputs = list(inputs)
        self.operations: list[dict[str, Any]] = []

    def __call__(self, op: str, **fields: Any) -> int:
        self.operations.append({"op": op, **fields})
        return len(self.inputs) + len(self.operations) - 1

    def record(self) -> dict[str, Any]:
        output = len(self.inputs) + len(self.operations) - 1
        return {"inputs": self.inputs, "operations": self.operations, "output": output}


def leaf(family: str, symbols: int, **more: int) -> dict[str, Any]:
    return {"family": family, "symbols": symbols, **more}


def independent(leaf: dict[str, Any], shape: list[int | None], net: Net) -> dict[str, Any]:
    return {"law": "independent", "leaf": leaf, "shape": shape, "network": net.record()}


def sequential(leaf: dict[str, Any], shape: list[int | None], net: Net, **schedule: Any) -> dict[str, Any]:
    return {"law": "sequential", "leaf": leaf, "shape": shape, "network": net.record(), "schedule": schedule}


def marginal(latent: str, prior: dict, likelihood: dict, posterior: dict) -> dict[str, Any]:
    return {"law": "marginal", "latent": latent, "prior": prior, "likelihood": likelihood, "posterior": posterior}


RESPONSIBILITIES = {"law": "responsibilities"}


def fixed(program: Program, *parameters: int) -> Net:
    """The same parameters for every item."""
    net = Net("count")
    net("constant", x=0, values=program.tensor(parameters))
    return net


def index_prior(program: Program, count: int) -> dict[str, Any]:
    logits = [-700 * k for k in range(count)]
    return independent(leaf("categorical", count, bits=20), [1], fixed(program, *logits))


# ---- one function per model --------------------------------------------------------------------------------


def bernoulli_order() -> FrozenModel:
    """One order, a masked network with a gate, a skip connection and a sum in parts: binary items (3, 4)."""
    program, D, hidden = Program("bernoulli_order"), 12, 16
    order = np.argsort(integers("order", (D,), 0, 10**6), kind="stable")
    rank = np.empty(D, int)
    rank[order] = np.arange(D)
    places, inner = program.tensor(rank), program.tensor(np.arange(2 * hidden) % D)
    net = Net("x")
    signs = net("offset", x=net("add", a=0, b=0), value=-1)
    a = net(
        "linear",
        x=signs,
        weight=program.random(2 * hidden, D, low=-60, high=60),
        bias=program.random(2 * hidden),
        degrees=inner,
    )
    gate = net("table", x=net("slice", x=a, start=0, stop=hidden), table=program.random(64, low=0, high=9), low=-32)
    held = net("slice", x=a, start=0, stop=hidden)
    gated = net("product", a=gate, b=net("relu", x=held))
    shift = program.tensor([2, -1, 0, 3] * (hidden // 4))
    small = net("requantise", x=gated, shift=shift, low=-100, high=100)
    both = net("concat", xs=[small, net("slice", x=a, start=hidden, stop=2 * hidden)])
    wide = net(
        "linear",
        x=both,
        weight=program.random(D, 2 * hidden, low=-4000, high=9000),
        bias=program.random(D),
        degrees=places,
        parts=[7, 16, 25],
    )
    logits = net("requantise", x=wide, shift=program.tensor([11] * D), low=-(2**15), high=2**15)
    skip = net("linear", x=signs, weight=program.random(D, D, low=-40, high=40), bias=program.random(D), degrees=places)
    net("add", a=logits, b=skip, shift_b=4)
    orders = program.tensor(order[None])
    law = sequential(leaf("bernoulli", 2), [3, 4], net, kind="degrees", orders=orders)
    return program.model((3, 4), 2, law)


def categorical_images() -> FrozenModel:
    """Independent pixels (4, 6) of five symbols by way of strided and transposed convolutions."""
    program = Program("categorical_images")
    net = Net("count")
    start = net("linear", x=0, weight=program.random(24, 1), bias=program.random(24))
    more = net("constant", x=0, values=program.random(24))
    image = net("reshape", x=net("add", a=start, b=more), shape=[4, 2, 3])
    spread = net("upsample", x=image, factor=2, zeros=True)
    conv = net(
        "convolution",
        x=spread,
        weight=program.random(3, 4, 3, 2),
        bias=program.random(3),
        offset=[-1, 0],
    )
    repeated = net("upsample", x=conv, factor=3)
    strided = net(
        "convolution",
        x=repeated,
        weight=program.random(20, 3, 3, 3),
        bias=program.random(20),
        offset=[-1, -1],
        stride=6,
    )
    net("depth_to_space", x=strided, factor=2)
    return program.model((4, 6), 5, independent(leaf("categorical", 5), [4, 6], net))


def raster_colours() -> FrozenModel:
    """Images (3, 4, 3) of sixteen levels, pixel by pixel and channel after channel, mixtures of two logistics."""
    program, K = Program("raster_colours"), 2
    p = 3 * K
    inner, outer = program.tensor(np.arange(12) % 4), program.tensor(np.arange(3 * p) // p)
    net = Net("x")
    a = net(
        "convolution",
        x=0,
        weight=program.random(12, 3, 3, 3, low=-30, high=30),
        bias=program.random(12, low=-99, high=99),
        offset=[-2, -1],
        degrees=inner,
    )
    b = net("requantise", x=net("relu", x=a), shift=program.tensor([1] * 12), low=0, high=500)
    c = net(
        "convolution",
        x=b,
        weight=program.random(3 * p, 12, 1, 1, low=-2, high=2),
        bias=program.random(3 * p, low=0, high=300),
        offset=[0, 0],
        degrees=outer,
    )
    net("table", x=c, table=program.tensor(np.arange(-300, 900)), low=-300)
    law = sequential(leaf("logistic_mixture", 16, components=K), [3, 4, 3], net, kind="raster")
    return program.model((3, 4, 3), 16, law)


def raster_fronts() -> FrozenModel:
    """Grey images of any size in fronts of slope 2, Gaussians on sixteen levels."""
    program = Program("raster_fronts")
    weight = integers("fronts", (2, 1, 2, 3), -20, 40)
    weight[:, :, 1, 2] = 0
    net = Net("x")
    net(
        "convolution",
        x=0,
        weight=program.tensor(weight),
        bias=program.tensor([300, 250]),
        offset=[-1, -1],
        degrees=program.tensor([0, 0]),
    )
    law = sequential(leaf("gaussian", 16, bits=16), [None, None], net, kind="raster", slope=2)
    return program.model((None, None), 16, law)


def mixture_of_orders() -> FrozenModel:
    """Three orders of six elements of four symbols, their weights shared; the order is a latent."""
    program, D, K, A = Program("mixture_of_orders"), 6, 3, 4
    orders = np.argsort(integers("orders", (K, D), 0, 10**6), axis=1, kind="stable")
    net = Net("x", "order")
    flat = net("linear", x=0, weight=program.random(D * A, D, low=-300, high=300), bias=program.random(D * A),
               degrees=program.tensor(np.arange(D * A) // A))  # fmt: skip
    hint = net("embed", x=1, table=program.random(K, D * A, low=-200, high=200))
    net("add", a=flat, b=hint)
    likelihood = sequential(
        leaf("categorical", A), [D], net, kind="degrees", orders=program.tensor(orders), index="order"
    )
    law = marginal("order", index_prior(program, K), likelihood, RESPONSIBILITIES)
    return program.model((D,), A, law)


def switched() -> FrozenModel:
    """Two experts of different kinds for five elements of eight symbols; which one is a latent."""
    program, D, A = Program("switched"), 5, 8
    first = independent(
        leaf("logistic_mixture", A), [D], fixed(program, *[v for k in range(D) for v in (0, 64 * k, -100)])
    )
    net = Net("x")
    net(
        "linear",
        x=0,
        weight=program.random(2 * D, D, low=0, high=30),
        bias=program.random(2 * D, low=100, high=200),
        degrees=program.tensor(np.arange(2 * D) // 2),
    )
    second = sequential(leaf("gaussian", A), [D], net, kind="degrees", orders=program.tensor(np.arange(D)[None]))
    switch = {"law": "switch", "index": "expert", "laws": [first, second]}
    return program.model((D,), A, marginal("expert", index_prior(program, 2), switch, RESPONSIBILITIES))


def nested() -> FrozenModel:
    """Two levels of latents with posteriors of their own: z2 over z1 over x, nine elements of four symbols."""
    program, D, A = Program("nested"), 9, 4

    def layer(given: list[str], sizes: list[int], outputs: int, symbols: int) -> dict[str, Any]:
        net = Net(*given)
        joined = net("concat", xs=list(range(len(given))))
        weight = program.random(outputs * symbols, sum(sizes), low=-150, high=150)
        net("linear", x=joined, weight=weight, bias=program.random(outputs * symbols))
        return independent(leaf("categorical", symbols), [outputs], net)

    inner = marginal(
        "z1",
        layer(["z2"], [3], 4, 3),
        layer(["z1", "z2"], [4, 3], D, A),
        layer(["x", "z2"], [D, 3], 4, 3),
    )
    prior = independent(leaf("bernoulli", 2, bits=12), [3], fixed(program, 100, -200, 300))
    net = Net("x")
    net("linear", x=0, weight=program.random(3, D, low=-200, high=200), bias=program.random(3))
    law = marginal("z2", prior, inner, independent(leaf("bernoulli", 2, bits=12), [3], net))
    return program.model((D,), A, law)


def flow() -> FrozenModel:
    """Dequantised pairs of eight symbols under two affine steps and an offset over Gaussians on a grid."""
    program, D, bits = Program("flow"), 2, 4
    scales = program.tensor([2**k for k in range(6)] + [40, 51, 64])

    def affine(moved: list[int]) -> dict[str, Any]:
        net = Net("x")
        h = net("linear", x=0, weight=program.random(2, D, low=-3, high=3), bias=program.tensor([300, 0]))
        net("requantise", x=h, shift=program.tensor([6, 0]), low=-300, high=300)
        moves = program.tensor(moved)
        return {"step": "affine", "network": net.record(), "moves": moves, "scales": scales, "denominator": 5}

    base = independent(leaf("gaussian", 2048), [D], fixed(program, 64 * 1070, 1300, 64 * 1010, 1250))
    steps = [affine([1, 0]), affine([0, 1]), {"step": "offset", "value": 1024}]
    prior = {"law": "pushforward", "base": base, "low": 0, "high": 8 * 2**bits - 1, "steps": steps}
    law = marginal("u", prior, {"law": "floor", "latent": "u", "bits": bits}, {"law": "cell", "bits": bits})
    return program.model((D,), 8, law)


def wide_flow() -> FrozenModel:
    """A flow whose base reaches far beyond what its items can be, so that drawing from it meets every clamp."""
    program, D = Program("wide_flow"), 3
    scales = program.tensor([1, 3, 6, 17])

    def affine(moved: list[int]) -> dict[str, Any]:
        net, k = Net("x"), 2 * sum(moved)
        weight, bias = program.random(k, D, low=-3, high=3), program.random(k, low=-3, high=3)
        h = net("linear", x=0, weight=weight, bias=bias)
        net("requantise", x=h, shift=program.tensor([3] * k), low=-300, high=300)
        moves = program.tensor(moved)
        return {"step": "affine", "network": net.record(), "moves": moves, "scales": scales, "denominator": 3}

    base = independent(leaf("gaussian", 2**16), [D], fixed(program, *[2**21, 1600] * D))
    offsets = [{"step": "offset", "value": 150}, {"step": "offset", "value": 2**15}]
    steps = [affine([1, 0, 1]), offsets[0], affine([0, 1, 0]), affine([1, 1, 1]), offsets[1]]
    prior = {"law": "pushforward", "base": base, "low": 0, "high": 127, "steps": steps}
    law = marginal("u", prior, {"law": "floor", "latent": "u", "bits": 4}, {"law": "cell", "bits": 4})
    return program.model((D,), 8, law)


def labelled() -> FrozenModel:
    """Grey images (4, 4) given a label and a context image made from it."""
    program, A, labels = Program("labelled"), 8, 3
    net = Net("x", "label")
    vector = net("embed", x=1, table=program.random(labels, 4, low=-90, high=90))
    everywhere = net("spread", x=vector, like=0)
    context = net(
        "convolution",
        x=everywhere,
        weight=program.random(6, 4, 3, 3, low=-2, high=2),
        bias=program.random(6),
        offset=[-1, -1],
    )
    image = net(
        "convolution",
        x=net("concat", xs=[0, everywhere]),
        weight=program.random(6, 5, 2, 3, low=-9, high=9),
        bias=program.random(6),
        offset=[-1, -1],
        degrees=program.tensor([0, 1, 1, 0, 1, 1]),
    )
    both = net("concat", xs=[net("add", a=context, b=image, shift_a=1), context])
    net(
        "convolution",
        x=both,
        weight=program.random(A, 12, 1, 1),
        bias=program.random(A),
        offset=[0, 0],
        degrees=program.tensor([0] * A),
    )
    likelihood = sequential(leaf("categorical", A), [4, 4], net, kind="raster")
    law = marginal("label", index_prior(program, labels), likelihood, RESPONSIBILITIES)
    return program.model((4, 4), A, law)


def grids() -> FrozenModel:
    """Images (4, 6, 2) of five symbols in raster order, given a grid of latents (2, 3, 2) on a normal's bins."""
    program, A, bins = Program("grids"), 5, 64
    prior = independent(leaf("gaussian", bins), [2, 3, 2], fixed(program, *[504 + 3 * k for k in range(24)]))
    net = Net("z", "x")
    grid = net("permute", x=0, axes=[2, 0, 1])
    context = net("upsample", x=grid, factor=2)
    turned = net("permute", x=net("permute", x=context, axes=[1, 2, 0]), axes=[2, 0, 1])
    folded = net("reshape", x=turned, shape=[8, 2, 3])
    wide = net("depth_to_space", x=folded, factor=2)
    context = net(
        "convolution",
        x=net("add", a=turned, b=wide),
        weight=program.random(4, 2, 3, 3, low=-3, high=4),
        bias=program.random(4),
        offset=[-1, -1],
    )
    earlier = net(
        "convolution",
        x=1,
        weight=program.random(4, 2, 2, 3, low=-90, high=90),
        bias=program.random(4),
        offset=[-1, -1],
        degrees=program.tensor([0, 0, 1, 1]),
    )
    net(
        "convolution",
        x=net("requantise", x=net("add", a=earlier, b=context), shift=program.tensor([2] * 4), low=-300, high=300),
        weight=program.random(2 * A, 4, 1, 1, low=-5, high=5),
        bias=program.random(2 * A, low=-200, high=200),
        offset=[0, 0],
        degrees=program.tensor(np.arange(2 * A) // A),
    )
    likelihood = sequential(leaf("categorical", A), [4, 6, 2], net, kind="raster")
    net = Net("x")
    image = net("permute", x=0, axes=[2, 0, 1])
    net(
        "convolution",
        x=image,
        weight=program.random(4, 2, 2, 2, low=-20, high=20),
        bias=program.tensor([504, 30, 520, 40]),
        offset=[0, 0],
        stride=2,
    )
    posterior = independent(leaf("gaussian", bins), [2, 3, 2], net)
    return program.model((4, 6, 2), A, marginal("z", prior, likelihood, posterior))


def pooled() -> FrozenModel:
    """Images (4, 6, 2) of five symbols in raster order, given latents (2, 3, 2) whose posterior looks at squares of
    pixels: laid out as channels, and added up."""
    program, A, bins = Program("pooled"), 5, 64
    prior = independent(leaf("gaussian", bins), [2, 3, 2], fixed(program, *[504 + 3 * k for k in range(24)]))
    net = Net("z", "x")
    context = net("upsample", x=net("permute", x=0, axes=[2, 0, 1]), factor=2)
    earlier = net(
        "convolution",
        x=1,
        weight=program.random(2 * A, 2, 2, 3, low=-90, high=90),
        bias=program.random(2 * A),
        offset=[-1, -1],
        degrees=program.tensor(np.arange(2 * A) // A),
    )
    spread = net(
        "convolution", x=context, weight=program.random(2 * A, 2, 1, 1), bias=program.random(2 * A), offset=[0, 0]
    )
    net("add", a=earlier, b=spread)
    likelihood = sequential(leaf("categorical", A), [4, 6, 2], net, kind="raster")
    net = Net("x")
    image = net("permute", x=0, axes=[2, 0, 1])
    squares = net("space_to_depth", x=image, factor=2)
    sums = net("sum_pool", x=image, factor=2)
    net(
        "convolution",
        x=net("concat", xs=[squares, sums]),
        weight=program.random(4, 10, 1, 1, low=-9, high=9),
        bias=program.tensor([504, 30, 520, 40]),
        offset=[0, 0],
    )
    posterior = independent(leaf("gaussian", bins), [2, 3, 2], net)
    return program.model((4, 6, 2), A, marginal("z", prior, likelihood, posterior))


def beta_binomial() -> FrozenModel:
    """Eight binary latents and pixels (2, 4) of 256 levels given them, from near certain to wide and to either end."""
    program, D, Z = Program("beta_binomial"), 8, 8
    prior = independent(leaf("bernoulli", 2), [Z], fixed(program, *[150 * k - 500 for k in range(Z)]))
    net = Net("z")
    base = integers("beta_binomial shapes", (2 * D,), -1500, 6000)
    base[:4] = -14000, 9000, 30000, -30000
    net("linear", x=0, weight=program.random(2 * D, Z, low=-900, high=900), bias=program.tensor(base))
    likelihood = independent(leaf("beta_binomial", 256), [2, 4], net)
    net = Net("x")
    flat = net("reshape", x=0, shape=[D])
    h = net("linear", x=flat, weight=program.random(Z, D, low=-9, high=9), bias=program.random(Z))
    net("requantise", x=h, shift=program.tensor([3] * Z), low=-300, high=300)
    law = marginal("z", prior, likelihood, independent(leaf("bernoulli", 2), [Z], net))
    return program.model((2, 4), 256, law)


def chained() -> FrozenModel:
    """Two groups of latents, of 4 and 2 places and of different alphabets, with features between and above them; a
    posterior whose first group is autoregressive; six elements of three symbols."""
    program, D, A = Program("chained"), 6, 3
    first, second = program.tensor([0, 3, 5, 1]), program.tensor([4, 2])

    def layer(given: list[str], sizes: list[int], outputs: int, narrow: bool = False) -> Net:
        net = Net(*given)
        x = net("concat", xs=list(range(len(given)))) if len(given) > 1 else 0
        weight = program.random(outputs, sum(sizes), low=-150, high=150)
        y = net("linear", x=x, weight=weight, bias=program.random(outputs))
        if narrow:
            net("requantise", x=y, shift=program.tensor([2] * outputs), low=0, high=200)
        return net

    def group(name: str, places: str, law: dict[str, Any]) -> dict[str, Any]:
        return {"group": name, "places": places, "law": law}

    def feature(name: str, net: Net) -> dict[str, Any]:
        return {"define": name, "network": net.record()}

    bits, trits = leaf("bernoulli", 2), leaf("categorical", 3)
    prior = [
        group("a", first, independent(bits, [4], fixed(program, 100, -200, 300, 0))),
        feature("h", layer(["a"], [4], 5, narrow=True)),
        group("b", second, independent(trits, [2], layer(["h", "a"], [5, 4], 6))),
        feature("k", layer(["h", "b"], [5, 2], 7, narrow=True)),
    ]
    likelihood = independent(trits, [D], layer(["k", "a"], [7, 4], D * A))
    net = Net("x", "u")
    masked = net("linear", x=0, weight=program.random(4, 4, low=-300, high=300), bias=program.random(4),
                 degrees=program.tensor([0, 1, 2, 3]))  # fmt: skip
    seen = net("linear", x=1, weight=program.random(4, 3, low=-9, high=9), bias=program.random(4),
               degrees=program.tensor([0, 1, 2, 3]))  # fmt: skip
    net("add", a=masked, b=seen)
    orders = program.tensor([[0, 1, 2, 3]])
    posterior = [
        feature("u", layer(["data"], [D], 3, narrow=True)),
        group("a", first, sequential(bits, [4], net, kind="degrees", orders=orders)),
        group("b", second, independent(trits, [2], layer(["u", "a"], [3, 4], 6))),
    ]
    law = marginal(
        "z",
        {"law": "chain", "parts": prior, "shape": [D]},
        likelihood,
        {"law": "chain", "parts": posterior, "shape": [D]},
    )
    return program.model((D,), A, {**law, "item": "data"})


def inverse_flow() -> FrozenModel:
    """A posterior of two autoregressive steps, one under each schedule, over a grid (2, 3) of latents of 64 values.

    Five elements of three symbols.
    """
    program, D, A, high = Program("inverse_flow"), 5, 3, 63
    scales = program.tensor([1, 9, 20, 33, 47, 60, 64])
    prior = independent(leaf("gaussian", high + 1), [2, 3], fixed(program, *[64 * 31, 700] * 6))
    net = Net("z")
    flat = net("reshape", x=0, shape=[6])
    net("linear", x=flat, weight=program.random(D * A, 6, low=-40, high=40), bias=program.random(D * A))
    likelihood = independent(leaf("categorical", A), [D], net)

    net = Net("data")
    weight = program.random(12, D, low=-300, high=300)
    net("linear", x=0, weight=weight, bias=program.tensor([64 * 31, 600] * 6))
    base = independent(leaf("gaussian", high + 1), [2, 3], net)

    order = [4, 0, 5, 2, 1, 3]
    rank = np.argsort(order)
    degrees = program.tensor(np.repeat(rank, 2))
    net = Net("x", "data")
    own = net("linear", x=0, weight=program.random(12, 6, low=-3, high=3), bias=program.tensor([150, 40] * 6),
              degrees=degrees)  # fmt: skip
    seen = net("linear", x=1, weight=program.random(12, D, low=-9, high=9), bias=program.random(12), degrees=degrees)
    both = net("add", a=own, b=seen)
    net("requantise", x=both, shift=program.tensor([6, 0] * 6), low=-4, high=200)
    dense = {
        "step": "autoregressive",
        "network": net.record(),
        "schedule": {"kind": "degrees", "orders": program.tensor([order])},
        "scales": scales,
        "denominator": 6,
    }
    net = Net("x")
    taps = net("convolution", x=0, weight=program.random(2, 1, 2, 3, low=-3, high=3), bias=program.tensor([120, 40]),
               offset=[-1, -1], degrees=program.tensor([0, 0]))  # fmt: skip
    net("requantise", x=taps, shift=program.tensor([5, 0]), low=-4, high=200)
    causal = {**dense, "network": net.record(), "schedule": {"kind": "raster"}}
    posterior = {"law": "pushforward", "base": base, "low": 0, "high": high, "steps": [dense, causal]}
    return program.model((D,), A, {**marginal("z", prior, likelihood, posterior), "item": "data"})


def multiscale() -> FrozenModel:
    """Dequantised images (4, 4) of eight symbols: a checkerboard, squares of pixels made channels, scales per channel,
    a mask of channels; then half of the channels is coded given the rest, on more bins than its leaf has, and the rest
    goes through a flow of its own that sees vectors."""
    program, bits = Program("multiscale"), 3
    scales = program.tensor([5, 6, 7, 8, 9, 10, 11])

    def moves(net: Net, fields: int, shift: int) -> None:
        net("requantise", x=len(net.inputs) + len(net.operations) - 1, shift=program.tensor([shift] * fields),
            low=-40, high=40)  # fmt: skip

    def image(shape: list[int], moved: list[int], low: int, high: int) -> dict[str, Any]:
        net, C = Net("x"), shape[2]
        net("convolution", x=0, weight=program.random(2 * C, C, 3, 3, low=-6, high=6), bias=program.random(2 * C),
            offset=[-1, -1])  # fmt: skip
        moves(net, 2 * C, 6)
        return {"step": "coupling", "network": net.record(), "moves": program.tensor(moved), "scales": scales,
                "denominator": 3, "shape": shape, "low": low, "high": high}  # fmt: skip

    def vector(moved: list[int], low: int, high: int) -> dict[str, Any]:
        net, count = Net("x"), 2 * sum(moved)
        net("linear", x=0, weight=program.random(count, len(moved), low=-5, high=5), bias=program.random(count))
        moves(net, count, 7)
        return {"step": "coupling", "network": net.record(), "moves": program.tensor(moved), "scales": scales,
                "denominator": 3, "shape": [len(moved)], "low": low, "high": high}  # fmt: skip

    rows, columns = np.indices((4, 4))
    squeeze = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(-1)
    factors = {"step": "scale", "scales": program.tensor([300, 256, 200, 411]), "denominator": 8,
               "shifts": program.tensor([-20, 5, 0, 9]), "low": -300, "high": 300}  # fmt: skip
    steps = [
        image([4, 4, 1], ((rows + columns) % 2).ravel().tolist(), -90, 160),
        {"step": "permute", "index": program.tensor(squeeze)},
        factors,
        image([2, 2, 4], [0, 0, 1, 1] * 4, -300, 300),
        {"step": "offset", "value": 512},
    ]
    offsets = [{"step": "offset", "value": -512}, {"step": "offset", "value": 480}]
    rest = {
        "law": "pushforward",
        "base": independent(leaf("gaussian", 1024), [2, 2, 2], fixed(program, *[64 * 500, 1150] * 8)),
        "low": 0,
        "high": 1023,
        "steps": [offsets[0], vector([1, 0, 0, 1] * 2, -700, 700), offsets[1]],
    }
    net = Net("rest")
    flat = net("reshape", x=0, shape=[8])
    weight = program.random(16, 8, low=-1, high=1)
    net("linear", x=flat, weight=weight, bias=program.tensor([64 * 64, 700] * 8))
    left = {"law": "coarse", "base": independent(leaf("gaussian", 128), [2, 2, 2], net), "bits": 3}
    places = np.arange(16).reshape(4, 2, 2)
    base = {
        "law": "chain",
        "parts": [
            {"group": "rest", "law": rest, "places": program.tensor(places[:, 0].ravel())},
            {"group": "left", "law": left, "places": program.tensor(places[:, 1].ravel())},
        ],
        "shape": [4, 4],
    }
    prior = {"law": "pushforward", "base": base, "low": 0, "high": 8 * 2**bits - 1, "steps": steps}
    law = marginal("u", prior, {"law": "floor", "latent": "u", "bits": bits}, {"law": "cell", "bits": bits})
    return program.model((4, 4), 8, law)


def discrete() -> FrozenModel:
    """Images (4, 4) of five symbols under additive steps: exact, without latents. An image step, then a vector step."""
    program, A = Program("discrete"), 5
    net = Net("x")
    y = net("convolution", x=0, weight=program.random(1, 1, 3, 3), bias=program.random(1), offset=[-1, -1])
    net("requantise", x=y, shift=program.tensor([3]), low=-30, high=30)
    rows, columns = np.indices((4, 4))
    checkers = program.tensor(((rows + columns) % 2).ravel())
    image = {"step": "additive", "network": net.record(), "moves": checkers, "shape": [4, 4, 1]}
    net = Net("x")
    y = net("linear", x=0, weight=program.random(8, 16), bias=program.random(8))
    net("requantise", x=y, shift=program.tensor([4] * 8), low=-9, high=9)
    vector = {"step": "additive", "network": net.record(), "moves": program.tensor([0, 1] * 8), "shape": [16]}
    index = {"step": "permute", "index": program.tensor(np.arange(16)[::-1])}
    base = independent(leaf("categorical", A), [4, 4], fixed(program, *[0, 700, 1400, 300, -900] * 16))
    return program.model(
        (4, 4), A, {"law": "pushforward", "base": base, "low": 0, "high": A - 1, "steps": [image, index, vector]}
    )


def learning() -> FrozenModel:
    """A program that learns, for colours: every feature, in every way that fits it, and every kind of tap."""
    taps = [(0, 0, -1, 0), (0, -1, 0, 0), (0, -3, 4, 0), (1, 0, 0, 0), (1, -1, -4, 0), (2, 0, -2, 0), (0, 0, 0, 1)]
    predictors = (
        AdaptivePredictor(tuple(taps), 5, True),
        AdaptivePredictor(((0, 0, -4, 0), (2, 0, 0, 0), (3, 0, 0, 0), (0, 2, -2, 1)), 13, False),
    )
    codes = [feature + 64 * (feature % 4) for feature in range(1, 51)]
    contexts = tuple(tuple((code, place % 3) for place, code in enumerate(codes[k::9])) for k in range(9))
    program = AdaptiveProgram(
        symbols=200, order=(2, 0, 1), tree="residual", predictors=predictors, contexts=contexts, double=True,
        maps=True, table_bits=9, sets=3, most_class=3, class_shift=0, least_error=3, scale_rate=4, bias_rate=5,
        whiten=4, whiten_from=9, regularise=100, gradient=40, solve=3, counter_limit=30, rate_first=70, rate_last=20,
        rate_final=9,
    )  # fmt: skip
    law, tensors = program.record((None, None, 3))
    return FrozenModel.create(Space((None, None, 3), 200), law, tensors)


def learning_values() -> FrozenModel:
    """A program that learns, for few values: the tree of values, one set of weights, no maps."""
    program = AdaptiveProgram(
        symbols=21, order=(0,), tree="value",
        predictors=(AdaptivePredictor(((0, 0, -1, 0), (0, -1, 1, 0)), 8, False),),
        contexts=(((1, 0), (2, 0)), ((32, 0), (64 + 13, 1)), ((17, 0),)), double=False, maps=False, table_bits=8,
        sets=1, most_class=4, class_shift=1, least_error=6, scale_rate=5, bias_rate=6, whiten=6, whiten_from=6,
        regularise=64, gradient=24, solve=4, counter_limit=255, rate_first=60, rate_last=40, rate_final=8,
    )  # fmt: skip
    law, tensors = program.record((None, None))
    return FrozenModel.create(Space((None, None), 21), law, tensors)


MODELS: dict[str, Callable[[], FrozenModel]] = {
    function.__name__: function
    for function in (
        bernoulli_order,
        categorical_images,
        raster_colours,
        raster_fronts,
        mixture_of_orders,
        switched,
        nested,
        flow,
        wide_flow,
        labelled,
        grids,
        pooled,
        beta_binomial,
        chained,
        inverse_flow,
        multiscale,
        discrete,
        learning,
        learning_values,
    )
}
