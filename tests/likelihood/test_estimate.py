"""Evaluations: error bars against simulation, bounds against the truth, and NaN that stops them."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import codelength as cl
from codelength.data.arrays import from_array
from codelength.errors import EvaluationError, NotRepresentable, UsageError
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space
from codelength.likelihood import weights
from codelength.likelihood.batches import Batch, batches
from codelength.likelihood.comparison import compare
from codelength.likelihood.estimate import estimate
from codelength.likelihood.methods import draw_seed
from codelength.likelihood.result import Diagnostics, Estimate
from codelength.likelihood.settings import Settings
from codelength.report.text import show_comparison, show_estimate

LOG_2 = math.log(2)


class Table:
    """log p(x) of one-element items from a table, exact."""

    kind = "exact"
    arithmetic = "float"

    def __init__(self, nats: np.ndarray) -> None:
        self.nats = nats

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        return self.nats[items[:, 0]]


class Noisy:
    """A bound with known truth: log-weights log p + s e - s^2/2, whose exponential has the mean p."""

    kind = "lower_bound"
    arithmetic = "float"

    def __init__(self, truth: float, spread: float) -> None:
        self.truth, self.spread = truth, spread

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng([seed, 7]).normal(size=len(items))
        return self.truth + self.spread * noise - self.spread**2 / 2


def column(n: int) -> list[Batch]:
    return [Batch(np.arange(n), np.arange(n)[:, None])]


def test_exact_figures_are_the_textbook_ones() -> None:
    nats = np.array([-1.0, -2.0, -4.5, -3.0])
    result = estimate(Table(nats), column(4), Settings.of("annealed", samples=9))
    assert result.nats == pytest.approx(-2.625)
    assert result.nats_se == pytest.approx(np.std(nats, ddof=1) / 2)
    assert result.bits_per_dim == pytest.approx(2.625 / LOG_2)
    assert result.bits_per_dim_se == pytest.approx(result.nats_se / LOG_2)
    assert (result.kind, result.estimator, result.samples, result.mc_se) == ("exact", "exact", 0, 0.0)


def test_items_of_different_sizes_share_one_ratio() -> None:
    """Total bits over total dims, and the spread of that ratio over resampled data sets."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, size=400)
    nats = -(sizes * 2.0 + rng.normal(size=400))

    class Sized:
        kind, arithmetic = "exact", "float"

        def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
            return nats[items[:, 0]]

    parts = [
        Batch(index, np.repeat(index[:, None], size, axis=1))
        for size in range(1, 6)
        for index in [np.flatnonzero(sizes == size)]
    ]
    result = estimate(Sized(), parts)
    assert result.bits_per_dim == pytest.approx(-nats.sum() / sizes.sum() / LOG_2)
    draws = rng.integers(0, 400, size=(2000, 400))
    spread = np.std(-nats[draws].sum(1) / sizes[draws].sum(1) / LOG_2)
    assert result.bits_per_dim_se == pytest.approx(spread, rel=0.1)
    assert np.array_equal(result.item_index, np.arange(400))
    assert np.array_equal(result.item_dims, sizes)


def test_bounds_are_below_the_truth_and_their_errors_are_honest() -> None:
    density = Noisy(truth=-10.0, spread=0.7)
    elbo = estimate(density, column(500), Settings.of("elbo", samples=8))
    importance = estimate(density, column(500), Settings.of("importance", samples=64))
    assert elbo.mc_se is not None and importance.mc_se is not None and importance.mc_se < elbo.mc_se
    assert elbo.nats == pytest.approx(-10 - 0.7**2 / 2, abs=4 * elbo.mc_se)
    assert importance.nats == pytest.approx(-10, abs=4 * importance.mc_se + 0.7**2 / 64)  # less its own small gap
    assert importance.nats - elbo.nats > 4 * math.hypot(elbo.mc_se, importance.mc_se)
    assert elbo.mc_se == pytest.approx(0.7 / math.sqrt(8 * 500), rel=0.1)
    assert estimate(density, column(5)).mc_se is None
    assert {elbo.kind, importance.kind} == {"lower_bound"}
    with pytest.raises(UsageError, match="annealed"):
        estimate(density, column(5), Settings.of("annealed"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_errors_that_name_the_item(bad: float) -> None:
    nats = np.full(5, -1.0)
    nats[3] = bad
    with pytest.raises(EvaluationError, match="item 3"):
        estimate(Table(nats), column(5))


def test_no_items_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="none"):
        estimate(Table(np.zeros(1)), [])


def test_figures_per_item_come_in_the_order_of_the_data(tmp_path: Path) -> None:
    result = estimate(Table(np.array([-1.0, -2.0, -3.0])), [Batch(np.array([2, 0]), np.array([[2], [0]]))])
    result.save_items(tmp_path / "items.npy")
    assert np.load(tmp_path / "items.npy").tolist() == [-1.0, -3.0]
    result.save_items(tmp_path / "items.csv")
    rows = list(csv.DictReader((tmp_path / "items.csv").read_text().splitlines()))
    assert [(row["item"], float(row["nats"]), row["dims"]) for row in rows] == [("0", -1.0, "1"), ("2", -3.0, "1")]
    with pytest.raises(UsageError, match=r"\.npy or \.csv"):
        result.save_items(tmp_path / "items.txt")


def test_a_subset_is_random_seeded_and_never_a_prefix(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    first = cl.evaluate(pairs, pair_items, limit=40, seed=3)
    again = cl.evaluate(pairs, pair_items, limit=40, seed=3)
    assert np.array_equal(first.item_index, again.item_index) and first == again
    assert len(first.item_index) == 40 and not np.array_equal(first.item_index, np.arange(40))
    assert np.array_equal(first.item_nats, pairs.log_prob(pair_items)[first.item_index])


def test_a_frozen_evaluation_is_the_code_length(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    result = cl.evaluate(pairs, pair_items)
    assert result.nats * len(pair_items) == pytest.approx(-pairs.code_length_bits(pair_items).sum() * LOG_2)
    assert (result.arithmetic, result.items, result.dims) == ("frozen", 300, 300 * 64)
    json.dumps(result.to_json(), allow_nan=False)


def test_data_is_fitted_to_the_model_as_archives_fit_it(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    plain = cl.evaluate(pairs, pair_items)
    for other in (pair_items * 255, pair_items[..., None], pair_items.reshape(-1, 64), pair_items.astype(bool)):
        assert cl.evaluate(pairs, other).nats == plain.nats


def test_items_outside_the_space_are_refused_not_dropped(pairs: FrozenModel) -> None:
    items = np.zeros((4, 8, 8), np.uint8)
    items[2, 0, 0], items[3, 0, 0] = 7, 9
    with pytest.raises(NotRepresentable, match="item 2"):
        cl.evaluate(pairs, items)
    with pytest.raises(NotRepresentable, match="5x5"):
        cl.evaluate(pairs, np.zeros((4, 5, 5), np.uint8))


def test_batches_of_images_of_several_sizes_hold_every_image_once() -> None:
    data = from_array(np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
    sizes = [(2, 3), (4, 1), (2, 3), (2, 2), (4, 1), (2, 3)]
    images = [np.full(size, k, np.uint8) for k, size in enumerate(sizes)]
    mixed = type(data)(items=None, space=Space((None, None), 256), name="mixed", images=images)
    found = [
        (int(number), item.shape, int(item.flat[0]))
        for batch in batches(mixed, Space((None, None), 256), size=2)
        for number, item in zip(batch.index, batch.items)
    ]
    assert sorted(found) == [(k, size, k) for k, size in enumerate(sizes)]


class Drawn:
    """A bound whose draws are given: log-weights (draws, n)."""

    kind = "lower_bound"
    arithmetic = "float"

    def __init__(self, draws: np.ndarray) -> None:
        self.draws = iter(draws)

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        return next(self.draws)[items[:, 0]]


@pytest.mark.parametrize("spread", [0.0, 1.0, 400.0])
def test_draws_that_stream_by_give_what_all_at_once_would(spread: float) -> None:
    """In any order of magnitude: weights of exp(-2000) and exp(+400) beside each other."""
    draws = np.random.default_rng(3).normal(-700, spread, size=(40, 7))
    for estimator in ("elbo", "importance"):
        result = estimate(Drawn(draws), column(7), Settings.of(estimator, samples=40))
        if estimator == "elbo":
            expected, variance = draws.mean(0), draws.var(0, ddof=1) / 40
        else:
            weights = np.exp(draws - draws.max(0))
            expected = draws.max(0) + np.log(weights.mean(0))
            variance = weights.var(0, ddof=1) / 40 / weights.mean(0) ** 2
        np.testing.assert_allclose(result.item_nats, expected, rtol=1e-12)
        assert result.mc_se == pytest.approx(math.sqrt(variance.sum()) / 7, rel=1e-6, abs=1e-6)


def test_many_draws_take_no_more_memory_than_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LONGEST_TAIL", 8)  # reached with fewer draws

    def peak(samples: int) -> int:
        tracemalloc.start()
        estimate(Noisy(-3.0, 1.0), column(20), Settings.of("importance", samples=samples))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(100)  # what the first use allocates for good
    assert peak(1600) < 1.1 * peak(200)


def test_draws_of_batches_and_seeds_are_independent() -> None:
    """Draw 0 of a batch has the noise of a block; all others differ between batches, draws and seeds."""
    assert draw_seed(7, 0, 0) == draw_seed(7, 1024, 0) == 7
    seeds = {draw_seed(seed, first, k) for seed in range(4) for first in (0, 1024) for k in range(1, 20)}
    assert len(seeds) == 4 * 2 * 19 and all(0 <= seed < 2**63 for seed in seeds)

    def halves(seed: int) -> Estimate:
        parts = [Batch(np.arange(250) + at, np.arange(250)[:, None]) for at in (0, 250)]
        return estimate(Noisy(-3.0, 1.0), parts, Settings.of("elbo", samples=30, seed=seed))

    found = halves(1)
    gaps = found.item_nats[:250] - found.item_nats[250:]
    assert gaps.std() == pytest.approx(math.sqrt(2 / 30), rel=0.3)


def test_diagnostics_say_how_the_draws_fared_and_leave_the_bound_alone() -> None:
    spread, truth = 0.6, -10.0
    result = estimate(Noisy(truth, spread), column(400), Settings.of("importance", samples=200))
    assert result.diagnostics is not None
    figures = result.to_json()["diagnostics"]
    assert [point["samples"] for point in figures["curve"]] == [1, 2, 5, 10, 20, 50, 100, 200]
    curve = [point["nats"] for point in figures["curve"]]
    assert curve[-1] == pytest.approx(result.nats)
    # Nearly all of the rise is in the first points; what is left afterwards is below the noise of single points.
    noise = spread / math.sqrt(200 * 400)
    assert all(later > earlier - 4 * noise for earlier, later in zip(curve, curve[1:]))
    assert all(later > earlier + 4 * noise for earlier, later in zip(curve[:3], curve[1:4]))
    assert curve[0] == pytest.approx(truth - spread**2 / 2, abs=4 * spread / math.sqrt(200 * 400))
    corrected = figures["jackknife_nats_not_a_bound"]
    assert result.nats < corrected
    assert corrected == pytest.approx(truth, abs=4 * result.mc_se)
    assert figures["ess_mean"] == pytest.approx(200 / math.exp(spread**2), rel=0.05)
    assert 1 <= figures["ess_min"] == result.diagnostics.ess.min() < figures["ess_mean"]
    assert figures["pareto_k_above_0.7"] < 0.05 and figures["proposal"] == "posterior"
    heavy = estimate(Noisy(truth, 4.0), column(100), Settings.of("importance", samples=200)).to_json()["diagnostics"]
    assert heavy["pareto_k_above_0.7"] > 0.6 and heavy["ess_min"] < 5
    few = estimate(Noisy(truth, spread), column(5), Settings.of("importance", samples=1)).to_json()
    json.dumps(few, allow_nan=False)
    assert few["diagnostics"]["pareto_k_above_0.7"] is few["diagnostics"]["jackknife_nats_not_a_bound"] is None
    assert "diagnostics" not in estimate(Table(np.zeros(3)), column(3), Settings.of("importance")).to_json()


def test_figures_per_item_hold_the_diagnostics(tmp_path: Path) -> None:
    result = estimate(Noisy(-3.0, 1.0), column(4), Settings.of("importance", samples=50))
    result.save_items(tmp_path / "items.csv")
    rows = list(csv.DictReader((tmp_path / "items.csv").read_text().splitlines()))
    assert result.diagnostics is not None
    assert [float(row["ess"]) for row in rows] == result.diagnostics.ess.tolist()
    assert [float(row["pareto_k"]) for row in rows] == result.diagnostics.pareto_k.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"estimator": "magic"}, "estimators elbo, importance, annealed"),
        ({"samples": 0}, "at least one sample"),
        ({"proposal": "prior"}, "option of the estimator importance, and the estimator is elbo"),
        ({"estimator": "importance", "leapfrog": 3}, "leapfrog is an option of the estimator annealed"),
        ({"estimator": "importance", "two_sided": 3}, "two-sided is an option of the estimator annealed"),
        ({"estimator": "importance", "proposal": "magic"}, "proposals posterior, prior"),
        ({"estimator": "annealed", "start": "magic"}, "start of posterior or prior"),
        ({"estimator": "annealed", "temperatures": 0}, "at least one temperature"),
        ({"estimator": "annealed", "two_sided": 0}, "at least one two-sided item"),
        ({"arithmetic": "fixed"}, "arithmetic float or frozen"),
        ({"limit": 0}, "limit of at least one item"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.of(**options)  # type: ignore[arg-type]


def test_settings_are_checked_however_they_are_made() -> None:
    for options, words in (({"samples": 0}, "sample"), ({"leapfrog": 0}, "leapfrog"), ({"two_sided": -1}, "two-sided")):
        with pytest.raises(UsageError, match=words):
            Settings(**options)


def test_settings_left_out_are_those_of_the_estimator() -> None:
    assert Settings.of() == Settings("elbo", 1)
    assert Settings.of("importance").samples == 100 and Settings.of("importance").on_the_grid
    assert Settings.of("annealed").samples == 16 and not Settings.of("annealed").on_the_grid
    assert not Settings.of("importance", proposal="student").on_the_grid


def test_a_paired_comparison_cancels_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(5)
    hard = rng.normal(-90, 20, size=500)  # the same items are hard for both
    gain = rng.normal(0.3, 0.5, size=500)
    a, b = (estimate(Table(nats), column(500)) for nats in (hard + gain, hard))
    result = compare(a, b)
    assert result.nats == pytest.approx(gain.mean())
    assert result.nats_se == pytest.approx(gain.std(ddof=1) / math.sqrt(500))
    assert a.nats_se is not None and result.nats_se is not None and result.nats_se < a.nats_se / 20
    assert result.wins == pytest.approx((gain > 0).mean())
    assert result.mc_se == 0.0
    figures = result.to_json()
    assert (figures["nats"], figures["kind"], figures["difference"]) == (b.nats, "exact", result.nats)
    back = compare(b, a)
    assert (back.nats, back.nats_se) == (pytest.approx(-result.nats), pytest.approx(result.nats_se))


def test_only_estimates_of_the_same_items_are_compared() -> None:
    nats = np.linspace(-5, -1, 9)
    a = estimate(Table(nats), column(9))
    b = estimate(Table(nats), [Batch(np.arange(1, 9), np.arange(1, 9)[:, None])])
    with pytest.raises(UsageError, match="same items"):
        compare(a, b)


def test_a_model_worse_than_none_is_pointed_out(pairs: FrozenModel) -> None:
    flips = (np.indices((3, 8, 8)).sum(0) % 2).astype(np.uint8)  # a chessboard, under a chain that likes to stay
    result = cl.evaluate(pairs, flips)
    assert result.bits_per_dim > 1
    (note,) = result.notes
    assert "worse than none" in note and result.to_json()["notes"] == [note]
    assert note in show_estimate("flips", result)
    fine = cl.evaluate(pairs, pairs.sample(200, seed=2))
    assert fine.notes == [] and "note" not in show_estimate("draws", fine)


def test_an_exact_figure_against_a_bound_is_no_plain_difference(pairs: FrozenModel) -> None:
    exact = cl.evaluate(pairs, pairs.sample(20, seed=2))
    bound = dataclasses.replace(exact, kind="lower_bound", item_nats=exact.item_nats - 1)
    for gap, whose in ((cl.compare(exact, bound), "the other"), (cl.compare(bound, exact), "this")):
        (note,) = gap.notes
        assert f"that of {whose} model a lower bound" in note and gap.to_json()["notes"] == [note]
        assert note in show_comparison("b", gap)
    assert cl.compare(exact, exact).notes == cl.compare(bound, bound).notes == []


def test_few_effective_draws_come_with_what_to_do(pairs: FrozenModel) -> None:
    result = cl.evaluate(pairs, pairs.sample(20, seed=2))
    for estimator, ess, advice in (("importance", 1.1, "--proposal"), ("annealed", 1.5, "--temperatures")):
        found = Diagnostics({}, np.ones(1), np.ones(1), None, np.full(20, ess), np.full(20, np.nan))
        some = dataclasses.replace(result, kind="lower_bound", estimator=estimator, samples=100, diagnostics=found)
        assert advice in some.notes[-1]
        enough = dataclasses.replace(found, ess=np.full(20, 50.0))
        assert dataclasses.replace(some, diagnostics=enough).notes == []


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused_and_lose_no_part(pairs: FrozenModel, pair_items: np.ndarray, dtype: str) -> None:
    with pytest.raises(NotRepresentable, match="whole numbers from 0 to"):
        cl.evaluate(pairs, pair_items.astype(dtype) + np.array(1j, dtype))
