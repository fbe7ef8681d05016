"""Masked networks: what depends on what, and the staircase against the plain masked product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from codelength.networks import masked
from codelength.networks.masked import IndexBias, InputScale, MaskedLinear, MaskedMLP, symbol_scaling

D = 6


def sorted_degrees(units: int, seed: int, low: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, D, (units,), generator=generator).sort().values


def scramble(network: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)


def dependencies(network: MaskedMLP, seed: int = 0, **given: Tensor) -> Tensor:
    """Which input moves the parameters of which position: (position, input), from derivatives at many points."""
    generator = torch.Generator().manual_seed(seed)
    touched = torch.zeros(network.positions, network.positions, dtype=torch.bool)
    for _ in range(8):
        x = torch.randn(1, network.positions, generator=generator)
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x, **given)[0], x)  # (D, p, 1, D)
        touched |= (jacobian[:, :, 0] != 0).any(1)
    return touched


VARIANTS = {
    "one layer": dict(hidden_degrees=[sorted_degrees(40, 1)]),
    "three layers": dict(hidden_degrees=[sorted_degrees(40, s) for s in (1, 2, 3)]),
    "without direct connections": dict(hidden_degrees=[sorted_degrees(40, 1), sorted_degrees(40, 2)], direct=False),
    "residual": dict(hidden_degrees=[sorted_degrees(40, 1)], residual_blocks=2),
    "dropout": dict(hidden_degrees=[sorted_degrees(40, 1)], dropout=0.5, residual_blocks=1),
    "three parameters each": dict(hidden_degrees=[sorted_degrees(40, 1)], parameters_each=3),
    "scaled inputs": dict(hidden_degrees=[sorted_degrees(40, 1)], scale=(8, 3)),
    "unsorted": dict(hidden_degrees=[sorted_degrees(40, 1).roll(17), sorted_degrees(40, 2).flip(0)]),
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_parameters_depend_on_earlier_inputs_only(options):
    options = {"parameters_each": 1, **options}
    network = MaskedMLP(torch.arange(D) + 1, torch.arange(D), **options)
    scramble(network)
    for training in (True, False):
        touched = dependencies(network.train(training))
        # Position t sees 0 .. t - 1: all of them (there are units enough), and nothing else.
        assert torch.equal(touched | touched.T, ~torch.eye(D, dtype=torch.bool)) and not touched.triu().any()


def test_order_of_the_elements_may_be_any():
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    rank = torch.argsort(order)
    network = MaskedMLP(rank + 1, rank, [sorted_degrees(40, 1)], 1)
    scramble(network)
    assert torch.equal(dependencies(network), rank[None, :] < rank[:, None])


def test_changed_degrees_change_the_dependencies_and_nothing_else():
    network = MaskedMLP(torch.arange(D) + 1, torch.arange(D), [sorted_degrees(40, 1), sorted_degrees(40, 2)], 2)
    scramble(network)
    before = [p.clone() for p in network.parameters()]
    rank = torch.argsort(torch.tensor([3, 0, 5, 1, 4, 2]))
    network.set_degrees(rank + 1, rank, [sorted_degrees(40, 3), sorted_degrees(40, 4)])
    assert torch.equal(dependencies(network), rank[None, :] < rank[:, None])
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters()))


def test_biases_of_orders_and_labels():
    network = MaskedMLP(
        torch.arange(D) + 1, torch.arange(D), [sorted_degrees(40, 1)], 1, orders=(2, 3), labels=4, residual_blocks=1
    )
    scramble(network)
    given = {"index": torch.tensor([4]), "label": torch.tensor([1])}
    assert not dependencies(network, **given).triu().any()
    x = torch.zeros(24, D)
    out = network(x, torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6))
    assert out.reshape(24, -1).unique(dim=0).shape[0] == 24  # each combination speaks for itself


def test_index_bias_is_the_sum_of_its_factors():
    bias = IndexBias((2, 3), 5)
    scramble(bias)
    for k in range(6):
        expected = bias.tables[0][k // 3] + bias.tables[1][k % 3]
        torch.testing.assert_close(bias(torch.tensor([k]))[0], expected)
        torch.testing.assert_close(bias.table()[k], expected)


def test_input_scale_is_exact():
    x = torch.arange(256).float()
    assert torch.equal(InputScale(128, 7)(x) * 128 + 128, x)


def test_symbols_are_brought_near_zero():
    assert isinstance(symbol_scaling(2), nn.Identity)
    for symbols in (3, 16, 17, 256):
        scale = symbol_scaling(symbols)
        assert isinstance(scale, InputScale)
        values = scale(torch.arange(symbols).float())
        assert float(values.min()) == -1 and 0 <= float(values.max()) < 1


@pytest.mark.parametrize("sizes", [(37, 53), (64, 8), (8, 64), (1, 40), (40, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_staircase_equals_the_masked_product(monkeypatch, sizes, bias):
    monkeypatch.setattr(masked, "SMALL", 0)
    generator = torch.Generator().manual_seed(0)
    for high in (1, 5, 80):  # many ties, few ties; all of nothing
        degrees = [torch.randint(0, high, (n,), generator=generator).sort().values for n in sizes]
        degrees[0] += 1
        layer = MaskedLinear(*degrees, bias=bias)
        scramble(layer)
        assert layer.rows
        x = torch.randn(9, sizes[0], generator=generator, requires_grad=True)
        y = layer(x)
        gradient = torch.randn(y.shape, generator=generator)
        y.backward(gradient)
        found = [y.detach(), x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]
        layer.zero_grad()
        x.grad = None
        y = nn.functional.linear(x, layer.weight * layer.mask, layer.bias)
        y.backward(gradient)
        for ours, plain in zip(found, [y.detach(), x.grad, *(p.grad for p in layer.parameters())]):
            torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_staircase_follows_loaded_degrees(monkeypatch):
    monkeypatch.setattr(masked, "SMALL", 0)
    source = MaskedLinear(torch.arange(20) + 1, torch.arange(30) // 2)
    scramble(source)
    target = MaskedLinear(torch.ones(20).long(), torch.zeros(30).long())
    target.load_state_dict(source.state_dict())
    x = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(target(x), source(x))


def test_closed_weights_never_matter():
    layer = MaskedLinear(torch.arange(D) + 1, torch.arange(D))
    before = layer(torch.ones(1, D))
    with torch.no_grad():
        layer.weight[~layer.mask] = float("nan")
    torch.testing.assert_close(layer(torch.ones(1, D)), before)
    assert torch.equal(layer.masked_weight() == 0, ~layer.mask | (layer.weight == 0))


def test_forward_can_be_traced():
    network = MaskedMLP(
        torch.arange(D) + 1, torch.arange(D), [sorted_degrees(20, 1)], 2, orders=(3,), dropout=0.1, residual_blocks=1
    ).eval()
    scramble(network)

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, MaskedLinear | IndexBias | InputScale) or super().is_leaf_module(
                m, module_qualified_name
            )

    traced = fx.GraphModule(network, Tracer().trace(network, concrete_args={"label": None}))
    x, index = torch.randn(3, D, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1])
    torch.testing.assert_close(traced(x, index, None), network(x, index))
