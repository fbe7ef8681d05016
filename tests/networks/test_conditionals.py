"""What networks are given of a context: latents in standard units, unless bins are asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codelength.distributions import Bernoulli, Categorical, Normal
from codelength.freezing import freeze
from codelength.freezing.thaw import thaw
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.networks.conditionals import DegreeConditional, NetworkConditional, RasterConditional

ITEMS = torch.tensor([[0, 1, 1], [1, 0, 0]])


class Spy(nn.Module):
    """Gives the same parameters to everything, and remembers what it was given."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(1, outputs))
        self.given: list[tuple[Tensor, ...]] = []

    def forward(self, *given: Tensor) -> Tensor:
        self.given.append(given)
        return self.values.expand(len(given[0]), -1) if given else self.values


def nested(grid: Normal, units: str = "standard") -> tuple[Marginal, dict[str, Spy]]:
    """x (3,) given z (2,), z given y (2,), on one grid."""
    spies = {"x|z": Spy(3), "z|x": Spy(4), "z|y": Spy(4), "y|z": Spy(4), "y": Spy(4)}

    def conditional(name: str, leaf: Any, size: int, *inputs: str) -> Independent:
        return Independent(NetworkConditional(spies[name], leaf, (size,), inputs, units))

    upper = Marginal("y", conditional("y", grid, 2), conditional("z|y", grid, 2, "y"), conditional("y|z", grid, 2, "x"))
    law = Marginal("z", upper, conditional("x|z", Bernoulli(), 3, "z"), conditional("z|x", grid, 2, "x"))
    return law, spies


@pytest.mark.parametrize("bits", [6, 12, 16])
@pytest.mark.parametrize("reach", [0, 4, 8])
def test_latents_are_standard_normal_whatever_the_grid(bits: int, reach: int) -> None:
    law, spies = nested(Normal(1 << bits, reach=reach))
    items = torch.zeros(4000, 3, dtype=torch.int64)
    law.log_prob(items, {"generator": torch.Generator().manual_seed(0)})
    for name in ("x|z", "z|y", "y|z"):
        ((z,),) = spies[name].given
        n = z.numel()
        assert abs(float(z.mean())) < 6 / n**0.5 + 2.0**-bits * 16, name
        assert abs(float(z.square().mean()) - 1) < 6 * (2 / n) ** 0.5 + 0.02, name  # bins, and the tails of short grids
    ((x,),) = spies["z|x"].given
    assert x.equal(items.float())  # data are given as they are


def test_bins_where_they_are_asked_for() -> None:
    law, spies = nested(Normal(4096, reach=8), units="bins")
    law.log_prob(ITEMS, {"generator": torch.Generator().manual_seed(0)})
    ((z,),) = spies["x|z"].given
    assert z.equal(z.round()) and float(z.mean()) == pytest.approx(2048, abs=1000)


def test_grids_in_raw_units_are_given_as_they_are() -> None:
    grid = Normal(64, scaled=False)
    law, spies = nested(grid)
    law.log_prob(ITEMS, {"generator": torch.Generator().manual_seed(0)})
    ((z,),) = spies["x|z"].given
    assert z.equal(z.round())
    with pytest.raises(ValueError, match="standard units"):
        grid.to_standard(z)


def test_other_units_are_refused() -> None:
    with pytest.raises(ValueError, match="expected units standard or bins, got 'metres'"):
        NetworkConditional(Spy(3), Bernoulli(), (3,), (), "metres")


def test_causal_networks_are_given_standard_latents_too() -> None:
    grid, top = Normal(256, reach=8), Spy(8)
    dense, causal = Spy(3), Spy(4)
    prior = Independent(NetworkConditional(top, grid, (4,), ()))
    guess = Independent(NetworkConditional(Spy(8), grid, (4,), ("x",)))
    z = torch.randint(0, 256, (2, 4), generator=torch.Generator().manual_seed(0))
    flat = Sequential(DegreeConditional(dense, Bernoulli(), (3,), torch.arange(3)[None], inputs=("z",)))  # type: ignore[arg-type]
    Marginal("z", prior, flat, guess)
    flat.log_prob(ITEMS, {"z": z})
    x, given = dense.given[0]
    assert x.equal(ITEMS.float()) and given.equal((z - 128) / 16)

    image = Sequential(RasterConditional(_Shaped(causal), Bernoulli(), (2, 2), ("z",)))
    Marginal("z", prior, image, guess)
    image.log_prob(torch.zeros(2, 2, 2, dtype=torch.int64), {"z": z})
    assert causal.given[0][0].equal((z - 128) / 16)


def test_an_autoregressive_prior_sees_its_own_latents_in_standard_units() -> None:
    grid, network = Normal(256, reach=8), Spy(6)
    prior = Sequential(DegreeConditional(network, grid, (3,), torch.arange(3)[None]))  # type: ignore[arg-type]
    likelihood = Independent(NetworkConditional(Spy(3), Bernoulli(), (3,), ("z",)))
    Marginal("z", prior, likelihood, Independent(NetworkConditional(Spy(6), grid, (3,), ("x",))))
    z = torch.tensor([[0, 128, 255]])
    prior.log_prob(z, {})
    assert network.given[0][0].equal((z - 128) / 16)


class _Shaped(nn.Module):
    """Parameters (n, 1, 2, 2) from a spy on the context."""

    def __init__(self, spy: Spy) -> None:
        super().__init__()
        self.spy = spy

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.spy(z).reshape(-1, 1, 2, 2)


class Zeros(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(1, 4))

    def forward(self) -> Any:
        return self.values


class OwnDecoder(nn.Module):
    """A plain network on latents, as one would write it without knowing of grids."""

    def __init__(self, units: str, scale: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.space = Space((5,), 3)
        self.grid = Normal(1 << 12, reach=8)
        self.prior = Zeros()
        self.decoder = nn.Sequential(scale, nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 15))
        self.encoder = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 4))
        self.units = units

    def law(self) -> Marginal:
        prior = NetworkConditional(self.prior, self.grid, (2,), ())
        likelihood = NetworkConditional(self.decoder, Categorical(3), (5,), ("z",), self.units)
        posterior = NetworkConditional(self.encoder, self.grid, (2,), ("x",))
        return Marginal("z", Independent(prior), Independent(likelihood), Independent(posterior))


def test_frozen_and_thawed_the_units_are_the_same() -> None:
    """What the law scales by itself is the program that an explicit layer gives, bit for bit."""
    from codelength.networks.masked import InputScale

    items = torch.randint(0, 3, (400, 5), generator=torch.Generator().manual_seed(1)).numpy()
    default = OwnDecoder("standard", nn.Identity())
    explicit = OwnDecoder("bins", InputScale(2048, 8))
    with torch.no_grad():
        first = default.law().log_prob(torch.from_numpy(items), {"generator": torch.Generator().manual_seed(2)})
        second = explicit.law().log_prob(torch.from_numpy(items), {"generator": torch.Generator().manual_seed(2)})
    assert first.equal(second)
    # Bounds of 400 items are drawn within a percent or so.
    frozen = freeze(default, items, tolerance=0.1)
    again = freeze(explicit, items, tolerance=0.1)
    assert (frozen.code_length_bits(items) == again.code_length_bits(items)).all()
    thawed = thaw(frozen)
    with torch.no_grad():
        back = thawed.log_prob(torch.from_numpy(items), torch.Generator().manual_seed(2))
    # Roundings of parameters alone, while one draw of z can fall into the next bin.
    assert float((back - first).mean().abs()) < 0.02
