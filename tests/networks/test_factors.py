"""What conditionals make of networks: factors against the chain rule element by element, and enumeration to one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from jacobians import scrambled
from torch import Tensor, nn

from codelength.distributions import Categorical
from codelength.networks.conditionals import (
    DegreeConditional,
    Features,
    NetworkConditional,
    RasterConditional,
    TorchElements,
    UniformIndex,
    elements_of,
)
from codelength.networks.convolution import CausalConv2d
from codelength.networks.gated import GatedPixelCNN
from codelength.networks.masked import MaskedMLP

SYMBOLS = 3
LEAF = Categorical(SYMBOLS)
ORDERS = torch.tensor([[2, 0, 1], [1, 2, 0]])


class Biased(nn.Module):
    """A network of items with a bias of its own for each value of a context entry."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.bias = nn.Linear(1, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        out = self.network(x)
        return out * self.bias(c).reshape(-1, *[1] * (out.ndim - 1))


def masked(input_degrees: Tensor, output_degrees: Tensor, **options: Any) -> MaskedMLP:
    return MaskedMLP(input_degrees, output_degrees, [torch.arange(16) % 3], LEAF.parameters, **options)


def pixels(channels: int) -> nn.Module:
    return GatedPixelCNN(channels, LEAF.parameters, units=4, layers=1)


#: Conditionals of three or four elements, and what stands in their context for every item.
CASES: dict[str, tuple[tuple[int, ...], list[int], dict[str, Any]]] = {
    "one order": ((3,), [2, 0, 1], {}),
    "one order, given more": ((3,), [2, 0, 1], {"c": 0.7}),
    "the first of two orders": ((3,), [2, 0, 1], {"k": 0}),
    "the second of two orders": ((3,), [1, 2, 0], {"k": 1}),
    "a grey image": ((2, 2), [0, 1, 2, 3], {}),
    "a colour image": ((1, 2, 2), [0, 1, 2, 3], {}),
    "an image, given more": ((2, 2), [0, 1, 2, 3], {"c": -0.4}),
    "an image of any size": ((3, 1), [0, 1, 2], {"shape": (3, 1)}),
}


def made(name: str) -> tuple[Any, tuple[int, ...], list[int]]:
    """The conditional, the shape of its items, and the order of their elements."""
    shape, order, context = CASES[name]
    inputs = ("c",) if "c" in context else ()
    if "image" not in name:
        if "k" in context:
            network: nn.Module = masked(torch.arange(3) + 1, torch.arange(3), orders=(2,))
            found: Any = DegreeConditional(network, LEAF, shape, ORDERS, index="k", inputs=("k",))
        else:
            rank = torch.argsort(torch.tensor(order))
            network = masked(rank + 1, rank)
            network = Biased(network) if inputs else network
            found = DegreeConditional(network, LEAF, shape, torch.tensor([order]), inputs=inputs)
    else:
        network = pixels(1 if len(shape) == 2 else shape[2])
        network = Biased(network) if inputs else network
        sizes = (None, None) if "shape" in context else shape
        found = RasterConditional(network, LEAF, sizes, inputs)
    return scrambled(found, deviation=0.8), shape, order


def context_of(name: str, count: int) -> dict[str, Any]:
    """The context of so many items."""
    given: dict[str, Any] = dict(CASES[name][2])
    if "c" in given:
        given["c"] = torch.full((count, 1), given["c"], dtype=torch.float64)
    if "k" in given:
        given["k"] = torch.full((count, 1), given["k"])
    return given


def everything(shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(list(itertools.product(range(SYMBOLS), repeat=math.prod(shape)))).reshape(-1, *shape)


def log_probs(name: str, found: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return found.parallel(x.double(), context_of(name, len(x))).log_prob(x)


each_case = pytest.mark.parametrize("name", CASES)


@each_case
def test_probabilities_of_all_items_add_up_to_one(name: str) -> None:
    found, shape, _ = made(name)
    nats = log_probs(name, found, everything(shape))
    assert nats.dtype == torch.float64
    assert math.fsum(nats.exp().tolist()) == pytest.approx(1.0, abs=1e-12)
    assert float(nats.std()) > 0.1, "the weights make all items alike, which shows nothing"


@each_case
def test_factors_are_those_of_the_chain_rule(name: str) -> None:
    """Each factor is a ratio of sums over all items: p(x_t | those before it) = p(x_1 .. x_t) / p(x_1 .. x_t-1)."""
    found, shape, order = made(name)
    items = everything(shape)
    probabilities = log_probs(name, found, items).exp()
    flat = items.reshape(len(items), -1)
    x = items[[5, len(items) - 2]]
    elements = found.parallel(x.double(), context_of(name, len(x)))
    for n, item in enumerate(x.reshape(len(x), -1)):
        before = torch.ones(len(flat), dtype=torch.bool)
        for step, place in enumerate(order):
            row = step if elements.order is not None else place
            nats = torch.log_softmax(elements.params[n, row].detach(), -1)
            for symbol in range(SYMBOLS):
                among = before & (flat[:, place] == symbol)
                expected = float(probabilities[among].sum() / probabilities[before].sum())
                assert math.exp(nats[symbol].item()) == pytest.approx(expected, rel=1e-9)
            before &= flat[:, place] == item[place]


@each_case
def test_samples_come_as_often_as_they_are_probable(name: str) -> None:
    found, shape, _ = made(name)
    items = everything(shape)
    expected = log_probs(name, found, items).exp()
    count = 3000
    context = {key: value.float() if key == "c" else value for key, value in context_of(name, count).items()}
    drawn = found.float().sample(count, context, torch.Generator().manual_seed(0))
    assert drawn.shape == (count, *shape) and drawn.dtype == torch.int64
    weights = SYMBOLS ** torch.arange(math.prod(shape)).flip(0)
    often = torch.bincount((drawn.reshape(count, -1) * weights).sum(1), minlength=len(items))
    deviation = (count * expected * (1 - expected)).sqrt()
    assert bool(((often - count * expected).abs() < 6 * deviation + 2).all())


def test_each_item_may_have_an_order_of_its_own() -> None:
    found, shape, _ = made("the first of two orders")
    x = everything(shape)[3:11]
    k = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])[:, None]
    with torch.no_grad():
        mixed = found.parallel(x.double(), {"k": k}).log_prob(x)
        alone = [found.parallel(x.double(), {"k": torch.full_like(k, index)}).log_prob(x) for index in (0, 1)]
    assert torch.equal(mixed, torch.where(k[:, 0] == 0, *alone))


# ---- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [1, 3])
def test_outputs_by_elements(parameters: int) -> None:
    image = torch.arange(2 * 2 * parameters * 3 * 4).reshape(2, 2 * parameters, 3, 4)
    found = elements_of(image, parameters)
    assert found.shape == (2, 3 * 4 * 2, parameters)
    for n, r, q, c, p in itertools.product(range(2), range(3), range(4), range(2), range(parameters)):
        assert found[n, (r * 4 + q) * 2 + c, p] == image[n, c * parameters + p, r, q]
    flat = torch.arange(2 * 5 * parameters).reshape(2, 5 * parameters)
    assert torch.equal(elements_of(flat, parameters), flat.reshape(2, 5, parameters))
    assert torch.equal(elements_of(flat.reshape(2, 5, parameters), parameters), flat.reshape(2, 5, parameters))


class Certain:
    """A leaf whose draws are its parameters."""

    parameters = 1

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return torch.where(params[..., 0] == x, 0.0, -torch.inf)

    def sample(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        return params[..., 0].long()


@pytest.mark.parametrize("order", [None, [2, 0, 3, 1], [[2, 0, 3, 1], [3, 1, 0, 2]]])
def test_draws_go_where_the_order_says(order: Any) -> None:
    values = torch.tensor([[10, 11, 12, 13], [20, 21, 22, 23]])
    places = None if order is None else torch.tensor(order)
    elements = TorchElements(Certain(), values[..., None], (2, 2), places)
    drawn, nats = elements.draw(None)
    assert nats.tolist() == [0.0, 0.0]
    for n, t in itertools.product(range(2), range(4)):
        place = t if places is None else int(places.expand(2, 4)[n, t])
        assert drawn.reshape(2, 4)[n, place] == values[n, t]


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([[0.5, 1.5]]))

    def forward(self) -> Tensor:
        return self.values


def test_what_no_context_is_needed_for_serves_all_items() -> None:
    elements = NetworkConditional(Constant(), Certain(), (2,), ())({}, 3)
    assert elements.params.tolist() == [[[0.5], [1.5]]] * 3
    assert Features(Constant(), ())({}, 3).tolist() == [[0.5, 1.5]] * 3
    counted = NetworkConditional(nn.Linear(1, 2), Certain(), (2,), ("count",))
    assert torch.equal(counted({}, 3).params[..., 0], counted.network.bias.expand(3, 2))  # type: ignore[union-attr, operator]


def test_an_index_takes_all_values_alike() -> None:
    draws = UniformIndex(5)({}, 2000)
    index, nats = draws.draw(torch.Generator().manual_seed(0))
    assert index.shape == (2000, 1) and nats.tolist() == pytest.approx([-math.log(5)] * 2000)
    often = torch.bincount(index[:, 0], minlength=5)
    assert len(often) == 5 and bool(((often - 400).abs() < 6 * math.sqrt(2000 * 0.2 * 0.8)).all())


def test_an_element_may_not_be_an_input_beside_itself() -> None:
    with pytest.raises(ValueError, match="inputs other than 'x'"):
        RasterConditional(CausalConv2d(torch.tensor([1]), torch.zeros(3)), LEAF, (2, 2), ("x",))
