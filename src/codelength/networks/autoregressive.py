"""Inverse autoregressive steps on a grid of latents (Kingma et al. 2016, equations 10 to 14).

The update is the paper's second one, a mixture of what comes in and a mean: drawing is one pass of a masked network,
and since it mixes, no value leaves the grid. Frozen, the same step is an exactly invertible map of integers
(``exact.autoregressive``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from codelength.networks.conditionals import DegreeConditional, RasterConditional, floats, not_frozen
from codelength.networks.coupling import FloatStep

if TYPE_CHECKING:
    from codelength.laws import protocols

#: Gates are frozen as rational numbers below one, of logits in units of 2^-GATE_BITS up to plus and minus GATE_LIMIT.
GATE_BITS = 6
GATE_LIMIT = 8.0


class GateAndMean:
    """What a network says of each element of a step, in the place of a leaf: a logit, and a mean in standard units."""

    family = "step"
    components = 1
    parameters = 2

    def __init__(self, grid: Any) -> None:
        self.symbols = grid.symbols
        self.standard = grid.standard


class InverseAutoregressive(FloatStep):
    """z = g y + (1 - g) m with the gate g = sigmoid(s); s and m of element i from the y of those before it.

    conditional: ``DegreeConditional`` or ``RasterConditional`` over a network that gives (s, m) for each element, its
    leaf being ``GateAndMean(grid)``. It sees y as ``x``, in standard units unless its conditional asks for bins, and
    whatever of the context it names. y and z lie on the grid, in bins; m is in standard units.
    """

    spends = True

    def __init__(self, conditional: DegreeConditional | RasterConditional) -> None:
        super().__init__()
        self.conditional = conditional
        if conditional.leaf.standard is not None:
            conditional.see_on_grid("x", conditional.leaf)

    def see_on_grid(self, name: str, grid: Any) -> None:
        self.conditional.see_on_grid(name, grid)

    def gates_and_means(self, y: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logarithms of the gates, and means in bins, (n, D) each, by element."""
        elements = self.conditional.parallel(y, context)
        params = elements.params
        if elements.order is not None:
            order = elements.order.expand(len(params), -1) if elements.order.ndim == 1 else elements.order
            params = torch.empty_like(params).scatter_(1, order[:, :, None].expand_as(params), params)
        log_gate, mean = self.read(params)
        return log_gate, mean.clamp(0, self.conditional.leaf.symbols - 1)

    def read(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """What the network's output (n, D, 2) says: logarithms of gates, and means in bins, (n, D) each."""
        centre, unit_bits = self.conditional.leaf.standard
        logit = params[..., 0].clamp(-GATE_LIMIT, GATE_LIMIT)
        return nn.functional.logsigmoid(logit), params[..., 1] * 2.0**unit_bits + centre

    def drawn(self, y: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(z, log |dy/dz| in nats (n,)): one pass."""
        log_gate, mean = self.gates_and_means(y, context)
        gate = log_gate.exp()
        z = gate * y.reshape(len(y), -1) + (1 - gate) * mean
        return z.reshape(y.shape), -log_gate.sum(1)

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        return self.drawn(y, context)[0]

    def place(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        raise not_frozen()

    def determinant(self, z: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(y, log |dy/dz| in nats (n,)) of any z: one whole pass per element, slow and plain. Integers lie on the grid,
        and so does where they come from; floating-point numbers are of the continuum, which ends nowhere."""
        flat = floats(z.reshape(len(z), -1))
        y = torch.zeros_like(flat)
        for _ in range(flat.shape[1]):  # the k-th pass sets right whatever comes k-th, and nothing undoes it
            log_gate, mean = self.gates_and_means(y.reshape(z.shape), context)
            gate = log_gate.exp()
            y = (flat - (1 - gate) * mean) / gate
            if not z.is_floating_point():
                y = y.clamp(0, self.conditional.leaf.symbols - 1)
        return y.reshape(z.shape), -log_gate.sum(1)


if TYPE_CHECKING:  # what laws ask of these classes, which mypy holds them to
    _step: type[protocols.FloatStep[Tensor]] = InverseAutoregressive
