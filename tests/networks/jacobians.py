"""Jacobians by autograd, wholly in float64: what depends on what, and how volumes change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

EPS = torch.finfo(torch.float64).eps


def scrambled(network: Module, seed: int = 0, deviation: float = 0.5) -> Module:
    """The network in float64 with weights that leave nothing an identity."""
    generator = torch.Generator().manual_seed(seed)
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, deviation, generator=generator)
    return network


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of function(x (1, *shape)) -> (1, *other): (outputs, elements of x), both in row-major order."""
    assert x.dtype == torch.float64 and len(x) == 1
    found = torch.autograd.functional.jacobian(function, x)
    assert found.dtype == torch.float64
    return found.reshape(-1, x.numel()).detach()


def dependencies(
    function: Callable[[Tensor], Tensor], shape: tuple[int, ...], seed: int = 0, points: int = 4
) -> Tensor:
    """Which outputs change with which elements at any of some points: (outputs, elements) of booleans."""
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randn(1, *shape, dtype=torch.float64, generator=generator) for _ in range(points))
    return torch.stack([jacobian(function, x) != 0 for x in draws]).any(0)


def check_log_determinant(matrix: Tensor, stated: float) -> None:
    """An LU factorisation gives log |det| with an error of some D eps cond, which is the tolerance."""
    condition = float(torch.linalg.cond(matrix))
    found = float(torch.linalg.slogdet(matrix).logabsdet)
    error, allowed = abs(found - stated), 8 * EPS * len(matrix) * condition
    assert condition < 1e8, f"a Jacobian of condition {condition:.3g} leaves too few digits to compare"
    assert error <= allowed, f"log |det J| is {found}, {stated} was stated; the condition number is {condition:.3g}"
