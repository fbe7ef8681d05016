"""Programs at the corners of the document: what is allowed, but that no model of ours would do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from golden_models import (
    RESPONSIBILITIES,
    Net,
    Program,
    fixed,
    independent,
    index_prior,
    integers,
    leaf,
    marginal,
    sequential,
)

from codelength.laws.frozen import FrozenModel

ODD: dict[str, Callable[[], FrozenModel]] = {}


def odd(name: str) -> Callable[[Callable[[Program], FrozenModel]], None]:
    def note(function: Callable[[Program], FrozenModel]) -> None:
        ODD[name] = lambda: function(Program(name))

    return note


def linear(program: Program, name: str, inputs: int, outputs: int, shape: list[int] | None = None) -> Net:
    net = Net(name)
    x = 0 if shape is None else net("reshape", x=0, shape=[inputs])
    weight = program.random(outputs, inputs, low=-200, high=200)
    net("linear", x=x, weight=weight, bias=program.random(outputs))
    return net


@odd("an x of shape [1] is a vector, a latent of that shape an index")
def _(p: Program) -> FrozenModel:
    likelihood = Net("z")
    likelihood("embed", x=0, table=p.random(3, 5, low=-500, high=500))
    posterior = independent(leaf("categorical", 3), [1], linear(p, "x", 1, 3))
    law = marginal("z", index_prior(p, 3), independent(leaf("categorical", 5), [1], likelihood), posterior)
    return p.model((1,), 5, law)


@odd("items without axes")
def _(p: Program) -> FrozenModel:
    posterior, likelihood = Net("x"), Net("z")
    posterior("embed", x=0, table=p.random(5, 3, low=-500, high=500))
    likelihood("embed", x=0, table=p.random(3, 5, low=-500, high=500))
    prior = independent(leaf("categorical", 3), [], fixed(p, 0, -100, -500))
    given = independent(leaf("categorical", 5), [], likelihood)
    return p.model((), 5, marginal("z", prior, given, independent(leaf("categorical", 3), [], posterior)))


@odd("rows of a latent image, reshaped to an image, on items with channels")
def _(p: Program) -> FrozenModel:
    prior = independent(leaf("bernoulli", 2), [2, 3], fixed(p, *range(-300, 300, 100)))
    net = Net("z")
    image = net("reshape", x=0, shape=[1, 2, 3])
    weight = p.random(8, 1, 3, 3, low=-99, high=99)
    net("convolution", x=image, weight=weight, bias=p.random(8), offset=[-1, -1])
    posterior = independent(leaf("bernoulli", 2), [2, 3], linear(p, "x", 12, 6, [2, 3, 2]))
    law = marginal("z", prior, independent(leaf("categorical", 4), [2, 3, 2], net), posterior)
    return p.model((2, 3, 2), 4, law)


@odd("a latent of three axes seen as an image of as many channels as it has rows")
def _(p: Program) -> FrozenModel:
    prior = independent(leaf("bernoulli", 2), [2, 3, 2], fixed(p, *range(-600, 600, 100)))
    net = Net("z")
    weight = p.random(4, 2, 3, 2, low=-99, high=99)
    net("reshape", x=net("convolution", x=0, weight=weight, bias=p.random(4), offset=[-1, -1]), shape=[24])
    posterior = independent(leaf("bernoulli", 2), [2, 3, 2], linear(p, "x", 6, 12))
    return p.model((6,), 4, marginal("z", prior, independent(leaf("categorical", 4), [6], net), posterior))


def slope(s: int, channels: int) -> Callable[[Program], FrozenModel]:
    def build(p: Program) -> FrozenModel:
        weight = integers(p.name, (2 * channels, channels, 3, 3), -20, 60)
        for a in range(3):
            for b in range(3):
                if (a - 2) * s + b - 1 >= 0 and (a, b) != (2, 1):
                    weight[:, :, a, b] = 0
        net = Net("x")
        bias, degrees = p.tensor([400, 250] * channels), p.tensor(np.arange(2 * channels) // 2)
        net("convolution", x=0, weight=p.tensor(weight), bias=bias, offset=[-2, -1], degrees=degrees)
        shape = [5, 4, channels]
        return p.model(tuple(shape), 16, sequential(leaf("gaussian", 16), shape, net, kind="raster", slope=s))

    return build


for s, channels in [(1, 2), (2, 1), (3, 2), (100, 1)]:
    odd(f"fronts of slope {s}, {channels} channels")(slope(s, channels))


@odd("arithmetic with an index")
def _(p: Program) -> FrozenModel:
    net = Net("z", "count")
    moved = net("relu", x=net("offset", x=net("add", a=0, b=0, shift_a=1), value=-1))
    turned = net("table", x=net("product", a=moved, b=0), table=p.tensor([8, 3, 5, 1, 0, 2, 7, 4, 6]), low=1)
    given = net("embed", x=turned, table=p.random(9, 4, low=-500, high=500))
    net("add", a=given, b=net("constant", x=1, values=p.random(4)))
    law = marginal("z", index_prior(p, 3), independent(leaf("bernoulli", 2), [4], net), RESPONSIBILITIES)
    return p.model((4,), 2, law)


@odd("responsibilities within responsibilities, orders chosen by the outer index")
def _(p: Program) -> FrozenModel:
    net = Net("a", "b", "x")
    first = net("embed", x=0, table=p.random(2, 6, low=-500, high=500))
    both = net("add", a=first, b=net("embed", x=1, table=p.random(3, 6, low=-500, high=500)))
    weight, degrees = p.random(6, 6, low=-500, high=500), p.tensor(np.arange(6))
    net("add", a=both, b=net("linear", x=2, weight=weight, bias=p.random(6), degrees=degrees))
    orders = p.tensor([np.arange(6), np.arange(6)[::-1]])
    given = sequential(leaf("bernoulli", 2), [6], net, kind="degrees", orders=orders, index="a")
    inner = marginal("b", index_prior(p, 3), given, RESPONSIBILITIES)
    return p.model((6,), 2, marginal("a", index_prior(p, 2), inner, RESPONSIBILITIES))


@odd("a switch between a law with latents and one without")
def _(p: Program) -> FrozenModel:
    prior = independent(leaf("bernoulli", 2), [3], fixed(p, 1, 2, 3))
    given = independent(leaf("categorical", 4), [4], linear(p, "z", 3, 16))
    vae = marginal("z", prior, given, independent(leaf("bernoulli", 2), [3], linear(p, "x", 4, 3)))
    flat = independent(leaf("categorical", 4), [4], fixed(p, *[-100, 0, 50, 20] * 4))
    posterior = independent(leaf("categorical", 2, bits=20), [1], linear(p, "x", 4, 2))
    switch = {"law": "switch", "index": "k", "laws": [vae, flat]}
    return p.model((4,), 4, marginal("k", index_prior(p, 2), switch, posterior))


def extreme(family: str, symbols: int, bits: int, components: int) -> Callable[[Program], FrozenModel]:
    def build(p: Program) -> FrozenModel:
        more = {"components": components} if components > 1 else {}
        count = {"bernoulli": 1, "categorical": symbols, "gaussian": 2, "beta_binomial": 2}.get(family, 3 * components)
        parameters = integers(p.name, (3 * count,), -5000, 20000).tolist()
        law = independent(leaf(family, symbols, bits=bits, **more), [3], fixed(p, *parameters))
        return p.model((3,), symbols, law)

    return build


for limits in [
    ("bernoulli", 2, 2, 1),
    ("bernoulli", 2, 28, 1),
    ("categorical", 2, 2, 1),
    ("categorical", 4096, 28, 1),
    ("logistic_mixture", 300, 10, 256),
    ("logistic_mixture", 65536, 28, 3),
    ("gaussian", 2, 2, 1),
    ("gaussian", 65536, 28, 1),
    ("beta_binomial", 2, 2, 1),
    ("beta_binomial", 300, 28, 1),
]:
    odd(" ".join(map(str, limits)))(extreme(*limits))
