"""Freezing: what torch computes, integers compute too; what they cannot is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codelength.distributions import Bernoulli, Categorical
from codelength.errors import FreezeError
from codelength.exact.operations import Type
from codelength.freezing import FreezeReport, freeze, thaw
from codelength.freezing.emit import NetworkEmitter
from codelength.freezing.quantity import Target
from codelength.freezing.thaw import ThawedNetwork
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.networks.conditionals import DegreeConditional, NetworkConditional
from codelength.networks.masked import InputScale, MaskedLinear

FRACTION = 10


def emitted(network: nn.Module, samples: Tensor, low: int, high: int) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Outputs (n, ...) of a network in float and in integers, on the same integer inputs, and the report."""
    kind = Type(tuple(samples.shape[1:]), low, high)
    target = Target((FRACTION,), (0,), (0.0,))
    tensors: dict[str, np.ndarray] = {}
    program, report = NetworkEmitter(network, ["x"], [kind], [samples.float()], tensors, "", target).run()
    types = program.infer({"x": kind}, tensors)
    integers = program.run({"x": samples.numpy()}, types, tensors)
    with torch.no_grad():
        floats = network.eval()(samples.float())
    return floats.double().numpy(), np.asarray(integers, np.float64) * 2.0**-FRACTION, report


def decibels(floats: np.ndarray, integers: np.ndarray) -> float:
    noise = float(((floats - integers.reshape(floats.shape)) ** 2).mean())
    return 10 * np.log10(float(floats.var()) / max(noise, 1e-30))


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 12, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.layer(x).chunk(2, 1)
        return self.last(torch.tanh(a) * torch.sigmoid(b))


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 32)
        self.second = nn.Linear(32, 32)
        self.last = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + self.second(torch.relu(h))
        return self.last(torch.cat([torch.relu(h), nn.functional.elu(h)], 1))


class Arithmetic(nn.Module):
    """Numbers of the network's own: scales and shifts per channel, an embedding of position, signs, clamps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.randn(6, 1, 1))
        self.shift = nn.Parameter(torch.randn(1, 6, 1, 1))
        self.position = nn.Parameter(torch.randn(6, 8, 8))
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x) * self.scale + self.shift
        h = h - 0.3 * torch.relu(h - self.position) + self.position
        return self.last(1 - (-h).clamp(-0.7, 1.9) / 3 + torch.nn.functional.hardtanh(2 * h))


class Channels(nn.Module):
    """Channels split, sliced, gathered, and gated by one another."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor([3, 4, 0, 5, 1, 2]))
        self.layer = nn.Conv2d(2, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.glu(self.layer(x), 1)[:, self.order]
        a, b = torch.split(h, [2, 4], 1)
        rest = torch.cat([h[:, 1:4], torch.index_select(h, 1, self.order)[:, ::2]], 1)
        return self.last(torch.cat([torch.tanh(b), a, rest], 1))


def randomised(module: nn.Module) -> nn.Module:
    """Batch norms with statistics that are not trivial."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, -1.5, 1.5)
            nn.init.normal_(part.bias)
    return module


IMAGES = (2, 8, 8)
NETWORKS = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 7)), (12,)),
    "skip, concatenation, table": (Skip, (12,)),
    "tanh, sigmoid, SiLU": (
        lambda: nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 20), nn.SiLU(), nn.Linear(20, 4)),
        (12,),
    ),
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 4)),
        (12,),
    ),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(12, 20)), nn.ReLU(), nn.Linear(20, 4)),
        (12,),
    ),
    "strided, batch norm, flatten": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 4, 2, 1), nn.Flatten(),
            nn.Linear(32, 6),
        ),
        IMAGES,
    ),
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 4, 2, 1)),
        IMAGES,
    ),
    "upsampled, shuffled": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 5, 1, 2), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, 1, 1),
            nn.PixelShuffle(2), nn.Conv2d(2, 3, 1),
        ),
        IMAGES,
    ),
    "gate": (Gate, IMAGES),
    "constants": (Arithmetic, IMAGES),
    "channels": (Channels, IMAGES),
    "pooled, squares as channels, GLU, GELU": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, 1, 1), nn.GLU(1), nn.AvgPool2d(2), nn.PixelUnshuffle(2), nn.Conv2d(16, 4, 1), nn.GELU(),
            nn.Conv2d(4, 4, 1), nn.ELU(0.5), nn.Conv2d(4, 2, 1), nn.LeakyReLU(0.3), nn.Conv2d(2, 2, 1),
        ),
        IMAGES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_follow_the_floats(name):
    torch.manual_seed(3)
    build, shape = NETWORKS[name]
    network = randomised(build())
    samples = torch.randint(0, 256, (64, *shape)) - 128
    with torch.no_grad():  # inputs of this size would saturate most of the tables
        first = next(p for p in network.parameters() if p.ndim > 1)
        first.mul_(1 / 64)
    floats, integers, report = emitted(network, samples, -128, 127)
    assert decibels(floats, integers) > 33
    assert all(record["snr_db"] > 33 for record in report)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_thawed_network_follows_the_floats(name):
    torch.manual_seed(3)
    build, shape = NETWORKS[name]
    network = randomised(build()).eval()
    samples = torch.randint(0, 256, (64, *shape)) - 128
    with torch.no_grad():
        next(p for p in network.parameters() if p.ndim > 1).mul_(1 / 64)
        floats = network(samples.float())
    kind, tensors = Type(tuple(shape), -128, 127), {}
    target = Target((FRACTION,), (0,), (0.0,))
    program, _ = NetworkEmitter(network, ["x"], [kind], [samples.float()], tensors, "", target).run()
    thawed = ThawedNetwork(program, program.infer({"x": kind}, tensors), tensors, None)
    got = thawed(samples)
    assert decibels(floats.double().numpy(), got.detach().double().numpy() * 2.0**-FRACTION) > 33
    got.sum().backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in thawed.parameters())


def test_a_wide_layer_is_split_into_parts_and_keeps_its_precision():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8000, 16), nn.ReLU(), nn.Linear(16, 4))
    samples = torch.randint(0, 1024, (64, 8000))
    floats, integers, report = emitted(network, samples, 0, 1023)
    assert report[0]["parts"] > 1
    assert decibels(floats, integers) > 33


REFUSED = {
    "LayerNorm": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    "GroupNorm": nn.Sequential(nn.Linear(4, 4), nn.GroupNorm(2, 4)),
    "Softmax": nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)),
    "BatchNorm": nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)),
    "Conv1d": nn.Sequential(nn.Conv1d(1, 1, 3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_rule_is_named(name):
    shape = (1, 4) if name == "Conv1d" else (4,)
    with pytest.raises(FreezeError, match="expected"):
        emitted(REFUSED[name], torch.ones(4, *shape, dtype=torch.int64), 0, 1)


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(9, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x.long())


class Truncated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x).long()


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (nn.AvgPool2d(3), (2, 8, 8), "sizes that 3 divides"),
        (nn.AvgPool2d(2, 1), (2, 8, 8), "side by side"),
        (nn.GLU(2), (4, 8, 8), "even number of channels"),
        (Rows(), (4,), "single index"),
        (Truncated(), (4,), "whole numbers"),
    ],
)
def test_what_a_rule_cannot_do_is_told_before_any_program_is_made(network, shape, words):
    with pytest.raises(FreezeError, match=words):
        emitted(nn.Sequential(network, nn.Identity()), torch.ones(4, *shape, dtype=torch.int64), 0, 1)


class Halves(Rows):
    """Parts of a row of a table, whose scale only those who use them choose."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = torch.chunk(super().forward(x), 3, 1)
        return self.last(a + torch.tanh(b)) + self.last(c)


def test_parts_of_an_embedding():
    torch.manual_seed(0)
    floats, integers, _ = emitted(Halves(), torch.arange(9), 0, 8)
    assert decibels(floats, integers) > 33


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_pooling_by_any_factor(factor):
    torch.manual_seed(factor)
    network = nn.Sequential(nn.Conv2d(2, 5, 3, 1, 1), nn.AvgPool2d(factor), nn.ReLU(), nn.Conv2d(5, 3, 1))
    floats, integers, _ = emitted(network, torch.randint(-20, 20, (64, 2, 12, 12)), -20, 20)
    assert decibels(floats, integers) > 33


def test_a_forward_that_cannot_be_traced_is_refused():
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(FreezeError, match="Branch"):
        emitted(Branch(), torch.ones(4, 4, dtype=torch.int64), 0, 1)


def test_the_report_shows_every_layer_and_both_rates():
    torch.manual_seed(0)
    model = build_made(MADEConfig(hidden=(16,)), Space((3, 3), 2))
    items = np.random.default_rng(0).integers(0, 2, (100, 3, 3))
    report = FreezeReport()
    freeze(model, items, report=report)
    text = "\n".join(report.lines())
    assert "input" in text and "output" in text and "SNR dB" in text
    assert abs(report.loss) < 0.001
    assert report.float_bits == pytest.approx(9, rel=0.5)


def test_a_rate_that_is_too_much_worse_is_refused():
    torch.manual_seed(0)
    model = build_made(MADEConfig(hidden=(16,)), Space((3, 3), 2))
    items = np.random.default_rng(0).integers(0, 2, (100, 3, 3))
    with pytest.raises(FreezeError, match="more bits than the float model"):
        freeze(model, items, tolerance=-1.0)


def test_nan_weights_are_refused():
    model = build_made(MADEConfig(hidden=(16,)), Space((3, 3), 2))
    with torch.no_grad():
        model.networks[0].output.bias[0] = float("nan")
    with pytest.raises(FreezeError):
        freeze(model, np.zeros((10, 3, 3), np.uint8))


class Autoencoder(nn.Module):
    """A small variational autoencoder: the shape that later families have."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space((6,), 2)
        self.prior = NetworkConditional(Rows(6), Categorical(3), (2,), ())
        self.decoder = NetworkConditional(
            nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 6)), Bernoulli(), (6,), ("z",)
        )
        self.encoder = NetworkConditional(
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 6)), Categorical(3), (2,), ("x",)
        )

    def law(self) -> Law:
        return Marginal("z", Independent(self.prior), Independent(self.decoder), Independent(self.encoder))


class Rows(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.linspace(-1, 1, outputs)[None])

    def forward(self) -> Tensor:
        return self.values


@pytest.mark.parametrize(
    "config",
    [
        MADEConfig(hidden=(16,)),
        MADEConfig(hidden=(16,), residual_blocks=1, orders="symmetries"),
        MADEConfig(hidden=(16,), masks=2, orders="random", labels=2),
    ],
    ids=["plain", "orders", "mask sets and labels"],
)
def test_a_thawed_model_has_the_rate_of_the_frozen_one(config):
    torch.manual_seed(0)
    model = build_made(config, Space((3, 3), 2))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    items = np.random.default_rng(0).integers(0, 2, (60, 3, 3))
    frozen = freeze(model, items)
    thawed = thaw(frozen)
    nats = thawed.log_prob(torch.from_numpy(items))
    np.testing.assert_allclose(nats.detach().numpy(), frozen.log_prob(items), atol=0.02)
    nats.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in thawed.parameters())


def test_a_model_with_latents_thaws_too():
    torch.manual_seed(0)
    model = Autoencoder()
    items = np.random.default_rng(0).integers(0, 2, (300, 6))
    frozen = freeze(model, items)
    generator = torch.Generator().manual_seed(0)
    nats = thaw(frozen).log_prob(torch.from_numpy(np.repeat(items, 20, 0)), generator)
    assert float(nats.detach().mean()) == pytest.approx(float(frozen.log_prob(items).mean()), rel=0.02)


class ScaledLate(nn.Module):
    """An input scaled behind a concatenation, which has given its values a scale of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = InputScale(4, 2), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.scale(torch.cat([x, x], 1))))


def test_inputs_may_be_scaled_after_they_are_put_together() -> None:
    torch.manual_seed(0)
    samples = torch.randint(0, 8, (200, 6), generator=torch.Generator().manual_seed(0))
    floats, integers, _ = emitted(ScaledLate(), samples, 0, 7)
    assert decibels(floats, integers) > 40


@pytest.mark.parametrize("honest", [True, False])
def test_layers_whose_inputs_know_more_than_their_masks_say_are_named(honest: bool) -> None:
    """The second layer takes units of degrees 1 to 3 for ones of degree 1."""
    inputs, hidden, outputs = torch.arange(1, 4), torch.tensor([1, 2, 3]), torch.arange(3)

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.space = Space((3,), 2)
            self.first = MaskedLinear(inputs, hidden)
            self.second = MaskedLinear(hidden if honest else torch.ones(3, dtype=torch.int64), outputs)
            with torch.no_grad():
                for weight in self.parameters():
                    weight.fill_(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

        def law(self) -> Sequential:
            return Sequential(DegreeConditional(self, Bernoulli(), (3,), torch.arange(3)[None]))

    report = FreezeReport()
    freeze(Three(), np.random.default_rng(0).integers(0, 2, (200, 3)), report=report, tolerance=math.inf)
    assert list(report.closed.values()) == ([] if honest else [3])
    assert all("second" in name for name in report.closed)
    assert any("3 weights that the float network uses are closed" in note for note in report.notes) == (not honest)
