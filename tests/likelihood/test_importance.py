"""Importance sampling against closed forms, one-shot formulas and known densities."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from gaussian_models import LinearGaussian, standard_normal
from scipy import stats

from codelength.errors import EvaluationError, UsageError
from codelength.likelihood.importance import (
    DefensiveMixture,
    Posterior,
    Proposal,
    StudentT,
    WidenedPosterior,
    importance,
)
from codelength.likelihood.weights import LONGEST_TAIL, WeightStream, curve_sizes, fit_pareto_k, tail_length


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def proposals(model: LinearGaussian) -> dict[str, Proposal]:
    mean, scale = model.mean, model.marginal_scale()
    posterior, prior = Posterior(mean, scale), standard_normal(model.n, model.d)
    return {
        "prior": prior,
        "posterior": posterior,
        "widened": WidenedPosterior(mean, scale, 1.5),
        "student": StudentT(mean, scale, 4),
        "mixture": DefensiveMixture(posterior, prior, 0.3),
    }


NAMES = sorted(proposals(LinearGaussian()))


def noise(k: int, n: int, spread: float, seed: int = 3) -> torch.Tensor:
    return spread * torch.randn((k, n), generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_the_evidence_of_a_linear_gaussian_model(name: str) -> None:
    model = LinearGaussian(n=60, sigma=1.0)
    result = importance(model.log_joint, proposals(model)[name], 4000, generator())
    errors = (result.bound - model.log_evidence().numpy()) / result.se
    assert np.abs(errors).max() < 5
    assert np.sqrt(np.mean(errors**2)) < 1.6  # the errors stated are neither too small ...
    assert np.sqrt(np.mean(errors**2)) > 0.5  # ... nor too large
    assert np.median(result.se) < 0.06


@pytest.mark.parametrize("name", NAMES)
def test_the_exponentiated_bound_is_unbiased(name: str) -> None:
    model = LinearGaussian(n=1, d=1, D=2, sigma=1.0)
    repeats = 40_000
    wide = LinearGaussian(n=1, d=1, D=2, sigma=1.0)
    # Every column is an independent run with k = 2: the item repeated, rather than a seed at a time.
    wide.x, wide.n = model.x.expand(repeats, -1), repeats
    wide.mean = model.mean.expand(repeats, -1)
    result = importance(wide.log_joint, proposals(wide)[name], 2, generator(5))
    ratio = np.exp(result.bound - float(model.log_evidence()))
    error = ratio.std(ddof=1) / math.sqrt(repeats)
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error + 1e-12  # the posterior itself has no error but rounding
    # The bound itself is below, for the prior by far more than its error.
    slack = result.bound - float(model.log_evidence())
    assert slack.mean() < 4 * slack.std() / math.sqrt(repeats) + 1e-12


def test_the_perfect_proposal_has_no_error() -> None:
    model = LinearGaussian(d=1)
    result = importance(model.log_joint, Posterior(model.mean, model.marginal_scale()), 200, generator())
    np.testing.assert_allclose(result.bound, model.log_evidence().numpy(), rtol=1e-12)
    np.testing.assert_allclose(result.ess, 200)
    assert result.se.max() < 1e-6
    assert np.isneginf(result.pareto_k).all()
    np.testing.assert_allclose(result.jackknife_bias, 0, atol=1e-11)


@pytest.mark.parametrize("chunks", [[1] * 137, [137], [60, 60, 17], [16, 1, 120]])
def test_streaming_equals_one_shot(chunks: list[int]) -> None:
    log_weights = noise(137, 6, 2.0) - torch.tensor([0.0, 900.0, -900.0, 3.0, 1.0, 2.0])
    log_weights[5, 3] = -math.inf
    stream = WeightStream(137)
    for part in log_weights.split(chunks):
        stream.add(part)
    result = stream.result()
    values = log_weights.numpy()
    top = values.max(0)
    weights = np.exp(values - top)
    np.testing.assert_allclose(result.bound, top + np.log(weights.mean(0)), rtol=1e-13)
    np.testing.assert_allclose(result.se, weights.std(0, ddof=1) / math.sqrt(137) / weights.mean(0), rtol=1e-11)
    np.testing.assert_allclose(result.ess, weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-11)
    assert result.curve_k.tolist() == [1, 2, 5, 10, 20, 50, 100, 137]
    for size, row in zip(result.curve_k.tolist(), result.curve):
        groups = [weights[i : i + size].mean(0) for i in range(0, 137 // size * size, size)]
        with np.errstate(divide="ignore"):  # a weight of zero: the mean of log-weights is -inf for k = 1
            np.testing.assert_allclose(row, top + np.mean(np.log(groups), 0), rtol=1e-12)
    expected = fit_pareto_k(log_weights.sort(0, descending=True).values[: tail_length(137) + 1])
    np.testing.assert_allclose(result.pareto_k, expected, rtol=1e-12)


def test_the_draws_depend_neither_on_chunks_nor_on_k() -> None:
    model = LinearGaussian()
    for name in NAMES:
        proposal = proposals(model)[name]
        results = [importance(model.log_joint, proposal, 100, generator(), chunk=size) for size in (1, 7, 16, 100, 999)]
        for other in results[1:]:
            np.testing.assert_allclose(other.bound, results[0].bound, rtol=1e-12)
            np.testing.assert_allclose(other.pareto_k, results[0].pareto_k, rtol=1e-6)
        longer = importance(model.log_joint, proposal, 200, generator())
        fewer = importance(model.log_joint, proposal, 1, generator())
        drawn: list[torch.Tensor] = []
        importance(lambda z, drawn=drawn: drawn.append(z) or model.log_joint(z), proposal, 200, generator(), chunk=50)
        weights = (model.log_joint(torch.cat(drawn)) - proposal.log_prob(torch.cat(drawn))).numpy()
        np.testing.assert_allclose(fewer.bound, weights[0], rtol=1e-12)
        np.testing.assert_allclose(results[0].bound, np.log(np.exp(weights[:100]).mean(0)), rtol=1e-10)
        np.testing.assert_allclose(longer.bound, np.log(np.exp(weights).mean(0)), rtol=1e-10)


def test_chunks_bound_what_the_model_sees() -> None:
    sizes: list[int] = []
    model = LinearGaussian()

    def log_joint(z: torch.Tensor) -> torch.Tensor:
        sizes.append(len(z))
        return model.log_joint(z)

    importance(log_joint, proposals(model)["prior"], 75, generator(), chunk=20)
    assert sum(sizes) == 75
    assert max(sizes) == 20


def test_the_curve_rises_and_ends_at_the_bound() -> None:
    model = LinearGaussian(n=30, sigma=0.5)
    result = importance(model.log_joint, proposals(model)["prior"], 5000, generator())
    assert result.curve_k.tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    rises = np.diff(result.curve, axis=0)
    errors = rises.std(1, ddof=1) / math.sqrt(30)
    assert (rises.mean(1) > -4 * errors).all()
    assert (rises.mean(1) > 4 * errors)[:2].all()  # from one draw to five: far beyond any doubt
    np.testing.assert_array_equal(result.curve[-1], result.bound)


@pytest.mark.parametrize("samples", [2, 7, 20, 33])
def test_the_jackknife_is_the_slow_one(samples: int) -> None:
    values = noise(samples, 3, 1.0)
    stream = WeightStream(samples)
    stream.add(values)
    weights = values.exp().numpy()
    groups = min(samples, 20)
    edges = [j * samples // groups for j in range(groups + 1)]
    corrected = groups * np.log(weights.mean(0))
    for first, last in zip(edges, edges[1:]):
        rest = np.delete(weights, slice(first, last), axis=0)
        corrected -= len(rest) / samples * np.log(rest.mean(0))
    np.testing.assert_allclose(stream.result().jackknife_bias, np.log(weights.mean(0)) - corrected, atol=1e-11)


def test_the_jackknife_sees_the_bias() -> None:
    # Log-normal weights with mean one: the bias is the mean of the bound, to first order -var / (2 k).
    spread, k, n = 0.8, 40, 20_000
    stream = WeightStream(k)
    stream.add(noise(k, n, spread) - spread**2 / 2)
    result = stream.result()
    truth = -(math.exp(spread**2) - 1) / (2 * k)
    for found in (result.bound, result.jackknife_bias):
        error = found.std(ddof=1) / math.sqrt(n)
        assert found.mean() == pytest.approx(truth, abs=4 * error - 0.15 * truth)
        assert error < -truth / 8  # it is seen, and not only allowed for


def test_a_dominating_group_does_not_cancel() -> None:
    values = noise(40, 1, 1.0)
    values[11] += 800
    stream = WeightStream(40)
    stream.add(values)
    result = stream.result()
    assert result.ess[0] == pytest.approx(1)
    # One deletion of twenty (groups of two) takes the 801 nats away.
    assert result.jackknife_bias[0] == pytest.approx(-0.95 * 800, rel=0.02)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.8, 1.1])
def test_the_tail_fit_finds_the_shape(shape: float) -> None:
    # Weights that are exactly Pareto, so that every tail of them is.
    uniform = torch.rand((4000, 50), generator=generator(2), dtype=torch.float64)
    stream = WeightStream(4000)
    stream.add(-shape * uniform.log())
    found = stream.result().pareto_k
    length = tail_length(4000)
    drawn = (length * shape + 5) / (length + 10)
    assert found.mean() == pytest.approx(drawn, abs=0.06)
    # The spread of the maximum-likelihood estimate is (1 + k) / sqrt(M).
    assert 0.6 < found.std() / ((1 + shape) / math.sqrt(length)) < 1.5


def test_the_tail_fit_against_maximum_likelihood() -> None:
    tail = stats.genpareto.rvs(0.6, scale=3.0, size=200, random_state=np.random.default_rng(4))
    largest = torch.from_numpy(np.log(np.append(np.sort(tail)[::-1] + 5.0, 5.0)))[:, None]
    by_likelihood = stats.genpareto.fit(tail, floc=0)[0]
    assert float(fit_pareto_k(largest)[0]) == pytest.approx((200 * by_likelihood + 5) / 210, abs=0.03)


def test_short_and_tied_tails() -> None:
    short = WeightStream(20)
    short.add(noise(20, 2, 1.0))
    assert np.isnan(short.result().pareto_k).all()
    tied = torch.zeros(40, 1, dtype=torch.float64)
    tied[0] = 3.0
    assert np.isfinite(fit_pareto_k(tied)).all() or np.isposinf(fit_pareto_k(tied)).all()


def test_memory_does_not_grow_with_the_draws() -> None:
    def peak(samples: int) -> int:
        stream, rng = WeightStream(samples), np.random.default_rng(0)
        tracemalloc.start()
        for _ in range(samples // 50):
            stream.add(rng.normal(size=(50, 20)))
        stream.result()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert tail_length(10_000) == tail_length(60_000) == LONGEST_TAIL
    peak(1000)  # what the first use allocates for good
    assert peak(60_000) < 1.1 * peak(10_000)


def test_one_draw_states_no_error() -> None:
    model = LinearGaussian()
    result = importance(model.log_joint, proposals(model)["prior"], 1, generator())
    assert np.isnan(result.se).all()
    assert np.isnan(result.jackknife_bias).all()
    assert result.curve.shape == (1, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_an_error(value: float) -> None:
    weights = torch.zeros(5, 3)
    weights[4, 1] = value
    stream = WeightStream(10)
    stream.add(torch.zeros(5, 3))
    with pytest.raises(EvaluationError, match=f"got {value} for item 1 of the batch, and so for 1 of 3"):
        stream.add(weights)


def test_items_without_any_weight_are_an_error() -> None:
    stream = WeightStream(2)
    stream.add(torch.tensor([[0.0, -math.inf], [-math.inf, -math.inf]]))
    with pytest.raises(EvaluationError, match="all 2 weights of item 1"):
        stream.result()


def test_wrong_usage_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one sample, got 0"):
        WeightStream(0)
    stream = WeightStream(3)
    with pytest.raises(UsageError, match="add the others first"):
        stream.result()
    with pytest.raises(UsageError, match=r"expected log-weights of shape \(c, n\), got \(3,\)"):
        stream.add(torch.zeros(3))
    stream.add(torch.zeros(2, 2))
    with pytest.raises(UsageError, match=r"\(c, 2\), got \(1, 3\)"):
        stream.add(torch.zeros(1, 3))
    with pytest.raises(UsageError, match="expected 3 draws in all, got 4"):
        stream.add(torch.zeros(2, 2))
    with pytest.raises(UsageError, match="one shape"):
        Posterior(torch.zeros(2, 3), torch.ones(2, 2))
    with pytest.raises(UsageError, match="positive scales, got 0"):
        Posterior(torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(UsageError, match="degrees"):
        StudentT(torch.zeros(2, 2), torch.ones(2, 2), degrees=0)
    with pytest.raises(UsageError, match="share"):
        DefensiveMixture(standard_normal(2, 2), standard_normal(2, 2), share=1.0)


def test_densities_of_the_proposals() -> None:
    mean, scale = np.array([[0.3, -1.0], [2.0, 0.1]]), np.array([[0.5, 2.0], [1.5, 0.2]])
    z = np.random.default_rng(0).normal(size=(7, 2, 2)) * 3
    m, s, points = torch.from_numpy(mean), torch.from_numpy(scale), torch.from_numpy(z)
    normal = stats.norm.logpdf(z, mean, scale).sum(-1)
    prior = stats.norm.logpdf(z).sum(-1)
    student = np.stack(
        [stats.multivariate_t.logpdf(z[:, i], mean[i], np.diag(scale[i] ** 2), df=3) for i in range(2)], 1
    )
    expected = {
        Posterior(m, s): normal,
        standard_normal(2, 2): prior,
        WidenedPosterior(m, s, 2.0): stats.norm.logpdf(z, mean, 2 * scale).sum(-1),
        StudentT(m, s, 3): student,
        DefensiveMixture(StudentT(m, s, 3), standard_normal(2, 2), 0.25): np.log(
            0.75 * np.exp(student) + 0.25 * np.exp(prior)
        ),
    }
    for proposal, values in expected.items():
        np.testing.assert_allclose(proposal.log_prob(points).numpy(), values, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_density(name: str) -> None:
    # Integrals over a grid, of a density in one dimension, against shares of draws per bin.
    model = LinearGaussian(n=1, d=1, D=2)
    proposal = proposals(model)[name]
    draws = proposal.sample(generator(1), 40_000)[:, 0, 0].numpy()
    grid = torch.linspace(-60, 60, 240_001, dtype=torch.float64)
    density = proposal.log_prob(grid[:, None, None])[:, 0].exp().numpy()
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) * 0.0005])
    assert cumulative[-1] == pytest.approx(1, abs=1e-5)
    edges = np.interp(np.linspace(0.02, 0.98, 25), cumulative, grid.numpy())
    counts = np.bincount(np.searchsorted(edges, draws), minlength=26)
    shares = np.array([0.02] + [0.04] * 24 + [0.02])
    assert stats.chisquare(counts, shares * len(draws)).pvalue > 1e-5


def test_sizes_of_the_curve() -> None:
    assert curve_sizes(1) == [1]
    assert curve_sizes(10) == [1, 2, 5, 10]
    assert curve_sizes(12) == [1, 2, 5, 10, 12]


def test_gradients_are_not_recorded() -> None:
    model = LinearGaussian()
    model.W.requires_grad_(True)
    result = importance(model.log_joint, proposals(LinearGaussian())["posterior"], 3, generator())
    assert isinstance(result.bound, np.ndarray)
