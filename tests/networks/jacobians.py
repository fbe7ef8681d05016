"""Jacobians by autograd, wholly in float64: what depends on what, and how volumes change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

#: At which dependencies are looked for: a unit may be off at some of them.
POINTS = 48
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


def dependencies(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], points: int = POINTS) -> Tensor:
    """Which outputs change with which elements at any of some points: (outputs, elements) of booleans.

    The function takes many items at once and each by itself, so that one Jacobian of the sum has those of all.
    """
    x = torch.randn(points, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.functional.jacobian(lambda v: function(v).sum(0), x)
    return (found.reshape(-1, points, x[0].numel()) != 0).any(1)


def check_log_determinant(matrix: Tensor, stated: float) -> None:
    """An LU factorisation gives log |det| with an error of some D eps cond, which is the tolerance."""
    condition = float(torch.linalg.cond(matrix))
    found = float(torch.linalg.slogdet(matrix).logabsdet)
    error, allowed = abs(found - stated), 8 * EPS * len(matrix) * condition
    assert condition < 1e8, f"a Jacobian of condition {condition:.3g} leaves too few digits to compare"
    assert error <= allowed, f"log |det J| is {found}, {stated} was stated; the condition number is {condition:.3g}"
