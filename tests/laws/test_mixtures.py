"""Finite mixtures: exact, and refused where prior and responsibilities do not speak of the same index."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from codelength.distributions import Bernoulli, Categorical
from codelength.errors import UsageError
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal, Responsibilities, mixture, values_of
from codelength.networks.conditionals import NetworkConditional, UniformIndex

LIKELIHOOD = Independent(NetworkConditional(nn.Embedding(3, 4), Bernoulli(), (4,), ("k",)))
EVERY = torch.tensor(list(itertools.product(range(2), repeat=4)))


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([[0.5, -1.0, 2.0]]))

    def forward(self) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize(
    "prior", [UniformIndex(3), NetworkConditional(Weights(), Categorical(3), (1,), ())], ids=["uniform", "learned"]
)
def test_it_is_the_weighted_sum_of_its_parts(prior):
    law = mixture("k", Independent(prior), LIKELIHOOD)
    assert law.kind == "exact" and values_of(law.prior) == 3
    with torch.no_grad():
        got = law.log_prob(EVERY, {}).double()
        parts = [
            LIKELIHOOD.log_prob(EVERY, {"k": torch.full((16, 1), k)}).double()
            + law.prior.log_prob(torch.full((16, 1), k), {}).double()
            for k in range(3)
        ]
    assert torch.allclose(got, torch.logsumexp(torch.stack(parts), 0), atol=1e-5)
    assert float(got.exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("latent", "count"), [("k", 2), ("k", 5), ("other", 3)])
def test_responsibilities_of_another_index_are_refused(latent, count):
    prior = Independent(UniformIndex(3))
    with pytest.raises(UsageError, match="'k' over its 3 values, got those of"):
        Marginal("k", prior, LIKELIHOOD, Responsibilities(latent, count, prior, LIKELIHOOD))


def test_an_index_of_more_values_than_a_file_may_sum_over_is_refused_when_the_law_is_built():
    assert values_of(mixture("k", Independent(UniformIndex(4096)), LIKELIHOOD).prior) == 4096
    with pytest.raises(UsageError, match=r"1 to 4,096 values under 'k'.* got 4,097"):
        mixture("k", Independent(UniformIndex(4097)), LIKELIHOOD)


def test_a_prior_of_more_than_an_index_makes_no_mixture():
    prior = Independent(NetworkConditional(nn.Embedding(1, 6), Categorical(3), (2,), ("count",)))
    with pytest.raises(UsageError, match="expected a prior of an index"):
        mixture("k", prior, LIKELIHOOD)
