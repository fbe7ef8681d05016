"""Torch modules that say how probable items are, and little else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import codelength as cl
from codelength.errors import EvaluationError, NotRepresentable, UsageError

ITEMS = np.random.default_rng(0).integers(0, 6, (40, 2, 3), dtype=np.uint8)


class Uniform(nn.Module):
    """Integers as they come; all six values alike."""

    def log_prob(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.int64 and not self.training
        return torch.full((len(x),), -math.log(6) * x[0].numel())


class Noisy(Uniform):
    kind = "lower_bound"

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) - torch.rand(len(x))


def stated(kind: str) -> nn.Module:
    module = Uniform()
    module.kind = kind  # type: ignore[assignment]
    return module


def test_a_module_with_log_prob_alone_is_evaluated_and_not_called_exact() -> None:
    found = cl.evaluate(Uniform(), ITEMS)
    assert found.bits_per_dim == pytest.approx(math.log2(6)) and found.items == 40 and found.dims == 240
    assert (found.kind, found.estimator, found.arithmetic) == ("unchecked", "log_prob", "float")
    assert found.to_json()["kind"] == "unchecked" and "(unchecked, float" in str(found)
    exact = cl.evaluate(stated("exact"), ITEMS)
    assert (exact.kind, exact.estimator, exact.mc_se) == ("exact", "exact", 0.0)
    assert "nothing is known" in cl.compare(found, exact).notes[0]
    assert cl.evaluate(Uniform(), ITEMS, limit=7, seed=1).items == 7
    wide = cl.evaluate(Uniform(), ITEMS.astype(np.float32))  # whole numbers all the same
    assert wide.nats == pytest.approx(found.nats)


def test_draws_of_a_stated_bound_are_seeded() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (cl.evaluate(Noisy(), ITEMS, samples=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.nats == same.nats != other.nats
    assert (one.kind, one.estimator, one.samples) == ("lower_bound", "elbo", 5) and one.mc_se
    assert one.nats < -6 * math.log(6) < one.nats + 1


def test_a_space_fits_items_and_refuses_others() -> None:
    module = Uniform()
    module.space = cl.Space((2, 3), 6)  # type: ignore[assignment]
    assert cl.evaluate(module, ITEMS).symbols == 6
    with pytest.raises(NotRepresentable, match="from 0 to 5, but item 3 of"):
        cl.evaluate(module, np.where(np.arange(40)[:, None, None] == 3, 6, ITEMS))


def test_what_a_module_says_wrongly_is_named() -> None:
    class PerElement(nn.Module):
        def log_prob(self, x: Tensor) -> Tensor:
            return torch.zeros(x.shape)

    class Broken(nn.Module):
        def log_prob(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), math.nan)

    with pytest.raises(UsageError, match=r"nats \(40,\) for 40 items, got a tensor \(40, 2, 3\); sum over"):
        cl.evaluate(PerElement(), ITEMS)
    with pytest.raises(EvaluationError, match="item 0 is nan"):
        cl.evaluate(Broken(), ITEMS)
    with pytest.raises(UsageError, match="'exact' or 'lower_bound', got 'good'"):
        cl.evaluate(stated("good"), ITEMS)
    with pytest.raises(UsageError, match=r"a Noisy has no law\(\)"):
        cl.evaluate(Noisy(), ITEMS, estimator="importance")
    with pytest.raises(UsageError, match=r"expected a model .* got a Linear"):
        cl.evaluate(nn.Linear(2, 2), ITEMS)
    with pytest.raises(NotRepresentable, match="whole numbers, but item 4 of"):
        cl.evaluate(Uniform(), np.where(np.arange(40)[:, None, None] == 4, 0.5, ITEMS))
