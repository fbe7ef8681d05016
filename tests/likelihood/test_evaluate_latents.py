"""Evaluating models with latents, float and frozen, by every estimator, against their evidence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_vaes import all_bits, evidence, grid_evidence, tiny_vae

import codelength as cl
from codelength.cli import main
from codelength.errors import NotRepresentable, UsageError
from codelength.freezing.thaw import thaw
from codelength.laws.frozen import FrozenModel
from codelength.likelihood.batches import Batch
from codelength.likelihood.continuous import Continuous
from codelength.likelihood.importance import DRAWS
from codelength.likelihood.settings import Settings
from codelength.report.text import show_estimate

BITS = torch.from_numpy(all_bits().astype(np.int64))


@pytest.fixture(scope="module")
def frozen() -> FrozenModel:
    return cl.freeze(tiny_vae(latent_bits=7), all_bits(), tolerance=2.0)


@pytest.fixture(scope="module")
def truth(frozen: FrozenModel) -> np.ndarray:
    """log p(x) of the sixteen items, from sums over all bins."""
    return grid_evidence(thaw(frozen).law(), BITS)


def within(result: cl.Estimate, truth: np.ndarray) -> bool:
    """Whether the mean is the truth within the stated Monte Carlo error, and what the grid and freezing blur."""
    assert result.mc_se is not None and 0 < result.mc_se < 0.05
    return abs(result.nats - truth.mean()) < 4.5 * result.mc_se + 3e-3


@pytest.mark.parametrize("proposal", ["posterior", "prior", "widened", "student", "defensive"])
def test_importance_finds_the_evidence_of_a_frozen_model(proposal: str, frozen: FrozenModel, truth: np.ndarray) -> None:
    samples = 100 if proposal == "posterior" else 1000
    result = cl.evaluate(frozen, all_bits(), estimator="importance", samples=samples, proposal=proposal, seed=1)
    assert within(result, truth)
    assert result.arithmetic == ("frozen" if proposal == "posterior" else "float")
    assert (result.kind, result.estimator, result.samples) == ("lower_bound", "importance", samples)
    assert result.diagnostics is not None and result.diagnostics.about == {"proposal": proposal}


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_annealing_finds_the_evidence_of_a_frozen_model(start: str, frozen: FrozenModel, truth: np.ndarray) -> None:
    options: dict[str, Any] = {"samples": 48, "temperatures": 12, "leapfrog": 4, "start": start}
    result = cl.evaluate(frozen, all_bits(), estimator="annealed", **options)
    assert within(result, truth)
    assert (result.kind, result.estimator, result.samples) == ("lower_bound", "annealed", 48)
    assert result.arithmetic == "float"
    figures = result.to_json()["diagnostics"]
    assert {"start": start, "temperatures": 12, "leapfrog": 4}.items() <= figures.items()
    assert 0.4 < figures["acceptance_min"] <= figures["acceptance"] < 0.85
    assert 0 < figures["step_size_min"] <= figures["step_size_max"]
    one = all_bits()[:1]
    again = [cl.evaluate(frozen, one, estimator="annealed", samples=2, temperatures=3, seed=5) for _ in range(2)]
    assert again[0] == again[1]


def test_a_module_in_floating_point_is_evaluated_itself() -> None:
    model = tiny_vae(latents=(2,))
    exact = evidence(model, BITS, 101)
    result = cl.evaluate(model, all_bits(), estimator="annealed", samples=48, temperatures=10, leapfrog=4)
    assert within(result, exact)
    assert within(cl.evaluate(model, all_bits(), estimator="importance", samples=800, proposal="defensive"), exact)
    deep = tiny_vae(latents=(3, 2))
    both = [
        cl.evaluate(deep, all_bits(), estimator="annealed", samples=24, temperatures=10, leapfrog=4),
        cl.evaluate(deep, all_bits(), estimator="importance", samples=1500, proposal="widened"),
    ]
    error = np.hypot(both[0].mc_se or 0.0, both[1].mc_se or 0.0)
    assert abs(both[0].nats - both[1].nats) < 4.5 * error + 1e-3
    assert np.exp(both[0].item_nats).sum() == pytest.approx(1, abs=0.1)


def test_the_sandwich_closes_on_what_the_model_draws() -> None:
    model = tiny_vae()
    gaps, errors = [], []
    for temperatures in (1, 16):
        options: dict[str, Any] = {"samples": 2, "temperatures": temperatures, "leapfrog": 3, "two_sided": 400}
        both = cl.evaluate(model, all_bits()[:1], estimator="annealed", **options).two_sided
        assert both is not None and both.items == 400
        assert both.lower_mc_se is not None and both.upper_mc_se is not None and both.gap_se is not None
        assert both.gap == pytest.approx(both.upper - both.lower)
        gaps.append(both.gap)
        errors.append(both.gap_se)
    assert gaps[0] > 4 * errors[0] and abs(gaps[1]) < gaps[0] / 2 + 4 * errors[1]
    settings = Settings.of("annealed", 8, temperatures=25, leapfrog=4)
    continuous = Continuous(model, settings)
    x, _ = continuous.nest.simulate(200, (2, 2), torch.Generator().manual_seed(1))
    # Items come as often as they are probable.
    counts = np.bincount(x.reshape(200, 4).numpy() @ np.array([8, 4, 2, 1]), minlength=16)
    chances = np.exp(evidence(model, BITS, 81))
    assert (np.abs(counts - 200 * chances) < 4.5 * np.sqrt(200 * chances * (1 - chances)) + 1).all()


def test_passes_through_the_networks_are_bounded_whatever_the_number_of_draws() -> None:
    model = tiny_vae()
    seen: list[int] = []
    model.decoders[0].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    for estimator, samples in (("importance", 40), ("importance", 400), ("annealed", 5), ("annealed", 100)):
        more = {"proposal": "prior"} if estimator == "importance" else {"temperatures": 3, "leapfrog": 1}
        settings = Settings.of(estimator, samples, **more)  # type: ignore[arg-type]
        method = Continuous(model, settings, rows=2 * DRAWS).method()
        seen.clear()
        method.answer(Batch(np.arange(method.batch), all_bits()[: method.batch]))
        assert 0 < max(seen) <= 2 * DRAWS


def test_exact_models_answer_exactly(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    plain = cl.evaluate(pairs, pair_items)
    for options in (
        {"estimator": "importance", "proposal": "student"},
        {"estimator": "annealed", "temperatures": 9, "two_sided": 3},
    ):
        result = cl.evaluate(pairs, pair_items, **options)  # type: ignore[arg-type]
        assert result == plain and (result.estimator, result.kind, result.samples) == ("exact", "exact", 0)


def test_frozen_arithmetic_has_no_continuous_latents(frozen: FrozenModel) -> None:
    with pytest.raises(UsageError, match="leave --arithmetic out"):
        cl.evaluate(frozen, all_bits(), estimator="annealed", arithmetic="frozen")
    with pytest.raises(UsageError, match="leave --arithmetic out"):
        cl.evaluate(frozen, all_bits(), estimator="importance", proposal="prior", arithmetic="frozen")


@pytest.fixture
def places(frozen: FrozenModel, tmp_path: Path) -> list[object]:
    frozen.save(tmp_path / "vae.clm")
    np.save(tmp_path / "bits.npy", all_bits())
    return [tmp_path / "vae.clm", "--data", tmp_path / "bits.npy"]


def run(*arguments: object) -> dict[str, Any]:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(Path(str(arguments[-1])).read_text())


def test_the_command_states_its_diagnostics(
    places: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--json", tmp_path / "e.json"]
    common = {"curve", "jackknife_nats_not_a_bound", "ess_mean", "ess_min", "pareto_k_max", "pareto_k_above_0.7"}
    figures = run("evaluate", *places, "--estimator", "importance", "--samples", 30, "--proposal", "student", *out)
    assert (figures["estimator"], figures["samples"], figures["arithmetic"]) == ("importance", 30, "float")
    assert set(figures["diagnostics"]) == common | {"proposal"}
    assert "effective samples per item" in capsys.readouterr().out
    annealed = ["--estimator", "annealed", "--samples", 4, "--temperatures", 5, "--leapfrog", 2, "--start", "prior"]
    figures = run("evaluate", *places, *annealed, "--two-sided", 3, *out)
    assert set(figures["diagnostics"]) == common | {
        "start", "temperatures", "leapfrog", "acceptance", "acceptance_min", "step_size_min", "step_size_max",
    }  # fmt: skip
    assert set(figures["two_sided"]) == {
        "items", "lower", "lower_mc_se", "upper", "upper_mc_se", "gap", "gap_se",
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert "annealed with 4 chains per item" in shown and "on 3 items that the model drew, between" in shown
    plain = run("evaluate", *places, *out)
    assert plain["estimator"] == "elbo" and plain["samples"] == 1 and "diagnostics" not in plain


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--proposal", "prior"], "option of the estimator importance"),
        (["--estimator", "importance", "--proposal", "magic"], "expected one of the proposals"),
        (["--estimator", "annealed", "--start", "magic"], "expected a start"),
        (["--estimator", "annealed", "--arithmetic", "frozen"], "leave --arithmetic out"),
        (["--estimator", "importance", "--temperatures", "9"], "option of the estimator annealed"),
        (["--estimator", "annealed", "--two-sided", "0"], "at least one two-sided item"),
    ],
)
def test_what_makes_no_sense_ends_in_one_sentence(
    arguments: list[str], words: str, places: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(argument) for argument in ["evaluate", *places, *arguments]]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and words in shown.err and len(shown.err.splitlines()) == 1


def test_weights_that_one_draw_decides_are_called_so(frozen: FrozenModel) -> None:
    result = cl.evaluate(frozen, all_bits(), estimator="importance", samples=30, proposal="student")
    assert result.diagnostics is not None and "loose" not in show_estimate("bits", result)
    alone = dataclasses.replace(result.diagnostics, ess=np.ones(len(result.diagnostics.ess)))
    assert "loose" in show_estimate("bits", dataclasses.replace(result, diagnostics=alone))


@pytest.mark.parametrize("rows", [1, 7, 64, None])
def test_draws_and_items_share_passes_for_the_same_numbers(rows: int | None, frozen: FrozenModel) -> None:
    items, seeds = all_bits()[:5], [3, 0, 2**31]
    expected = np.stack([frozen.log_prob(items, seed=seed) for seed in seeds])
    assert np.array_equal(frozen.log_probs(items, seeds, rows=rows), expected)


def test_draws_that_a_law_refuses_are_refused_as_one_by_one(frozen: FrozenModel) -> None:
    items = np.full((2, 2, 2), 1, np.uint8)
    items[1, 0, 0] = 2
    with pytest.raises(NotRepresentable):
        frozen.log_probs(items, [0, 1])
