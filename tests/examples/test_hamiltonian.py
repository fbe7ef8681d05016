"""The example of Hamiltonian Monte Carlo finds moments that are known, and shows second-order energy errors."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from example_modules import load_example  # noqa: E402

example = load_example("hamiltonian")


@pytest.fixture(scope="module")
def found():
    return example.experiments(count=32, transitions=300, seed=1)


def test_chains_find_the_moments_of_the_density(found) -> None:
    figures, _ = found
    for row in figures["moments"]:
        assert 0 < row["error"] < 0.3 and abs(row["found"] - row["truth"]) < 4 * row["error"], row
    assert 0.6 < figures["acceptance"] < 0.95
    assert abs(figures["mean_exp_minus_error"] - 1) < 0.1


def test_the_density_is_normalised_and_its_draws_have_these_moments() -> None:
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    x, y = torch.meshgrid(axis, torch.linspace(-8, 40, 2401, dtype=torch.float64), indexing="ij")
    mass = example.log_density(torch.stack([x, y], -1)).exp().sum() * 0.02 * 0.02
    assert float(mass) == pytest.approx(1.0, abs=1e-6)
    draws = example.draw(200_000, torch.Generator().manual_seed(0))
    assert float(draws[:, 1].mean()) == pytest.approx(0.0, abs=0.02)
    assert float(draws[:, 1].var()) == pytest.approx(2 * example.BEND**2 + example.WIDTH**2, abs=0.06)


def test_energy_errors_are_of_second_order(found) -> None:
    figures, _ = found
    assert figures["order"] == pytest.approx(2.0, abs=0.1)
    errors = [row["energy_error"] for row in figures["energy_errors"]]
    assert all(later < earlier for earlier, later in zip(errors, errors[1:]))


def test_report_and_plot(found, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "order 2.0" in example.report(found[0]) or "order 1.9" in example.report(found[0])
    example.plot(*found, tmp_path / "chains.png")
    assert (tmp_path / "chains.png").read_bytes()[:4] == b"\x89PNG"


def test_wrong_counts_are_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        example.main(["--chains", "1"])
    assert "two chains" in capsys.readouterr().err
