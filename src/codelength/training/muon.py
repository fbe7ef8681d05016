"""Muon: momentum whose matrices are orthogonalised (Jordan et al. 2024, "Muon: an optimizer for hidden layers").

The update of a weight matrix is the nearest semi-orthogonal matrix to its momentum, found by five steps of a
Newton-Schulz iteration and scaled so that its entries are as large as those of Adam's updates (Liu et al. 2025, "Muon
is scalable for LLM training", section 2.2): learning rates carry over. Kernels of convolutions count as matrices of
(outputs, inputs * taps). Everything that is no matrix, and layers at the edges of a network, are left to AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

#: Coefficients of x -> a x + b x^3 + c x^5, which lifts singular values towards one (Jordan et al. 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
#: Layers with fewer inputs or outputs have no use for it.
NARROW = 16


def is_hidden_matrix(parameter: Tensor) -> bool:
    """Whether Muon is to have this weight: a matrix or kernel that is neither narrow nor far wider than it is deep."""
    if parameter.ndim < 2:
        return False
    outputs, inputs = parameter.shape[0], parameter.shape[1]
    return min(outputs, inputs) >= NARROW and outputs < 8 * inputs


def orthogonalised(matrix: Tensor) -> Tensor:
    """(m, n): all singular values brought to about one (0.7 to 1.2), the singular vectors kept."""
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    if flipped := len(x) > x.shape[1]:
        x = x.t()
    for _ in range(ITERATIONS):
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.t() if flipped else x


class Muon(torch.optim.Optimizer):
    """For hidden weight matrices. lr: as for Adam. momentum: of Nesterov's kind."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = torch.lerp(parameter.grad, momentum, group["momentum"]).flatten(1)
                update = orthogonalised(ahead)
                scale = 0.2 * math.sqrt(max(ahead.shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * scale)
        return loss
