"""Muon against the singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from codelength.training.config import TrainingConfig
from codelength.training.loop import _optimizers
from codelength.training.muon import Muon, is_hidden_matrix, orthogonalised


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (32, 32)])
def test_orthogonalised_keeps_singular_vectors_and_lifts_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    left, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=generator))
    right, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=generator))
    values = torch.logspace(0, -1.5, min(shape))
    got = orthogonalised(left @ torch.diag(values) @ right.t())
    inside = left.t() @ got @ right
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=1e-3)
    assert ((inside.diagonal() > 0.6) & (inside.diagonal() < 1.3)).all()


def test_kernels_are_updated_as_matrices_of_all_their_taps() -> None:
    """One step from zero momentum, by hand: Nesterov's look ahead is a multiple of the gradient, so its polar factor is
    the gradient's, scaled to entries as large as Adam's."""
    torch.manual_seed(2)
    kernel = torch.nn.Parameter(torch.randn(16, 16, 3, 3))
    before = kernel.detach().clone()
    kernel.grad = torch.randn(16, 16, 3, 3)
    Muon([kernel], lr=0.1).step()
    moved = ((before - kernel.detach()) / 0.1).flatten(1)
    u, _, v = torch.linalg.svd(kernel.grad.flatten(1), full_matrices=False)
    inside = u.t() @ moved @ v.t() / (0.2 * 144**0.5)
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=1e-3)
    assert ((inside.diagonal() > 0.6) & (inside.diagonal() < 1.3)).all()
    assert 0.1 < float(moved.pow(2).mean().sqrt()) < 0.3  # Adam's steps are about so large


def test_edges_and_biases_are_left_to_adam() -> None:
    shapes = {
        (64, 64): True,
        (64,): False,
        (64, 1, 5, 5): False,
        (256, 32, 1, 1): False,
        (128, 32, 3, 3): True,
        (8, 64): False,
    }
    for shape, expected in shapes.items():
        assert is_hidden_matrix(torch.zeros(shape)) is expected
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    adam, muon = _optimizers(parameters, TrainingConfig(optimizer="muon"))
    assert len(adam.param_groups[0]["params"]) == 4
    assert len(muon.param_groups[0]["params"]) == 2
    assert len(_optimizers(parameters, TrainingConfig())) == 1


def test_a_quadratic_is_minimised() -> None:
    torch.manual_seed(3)
    target, weight = torch.randn(16, 24), torch.nn.Parameter(torch.zeros(16, 24))
    optimizer = Muon([weight])
    for step in range(200):
        weight.grad = weight.detach() - target
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.step()
    assert float((weight - target).detach().pow(2).mean()) < 0.01 * float(target.pow(2).mean())
