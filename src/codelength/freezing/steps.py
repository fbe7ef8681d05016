"""Freezing of the steps of flows: a record for each kind, which calibration gives its range."""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import numpy as np
from torch import Tensor

from codelength.errors import FreezeError
from codelength.exact.operations import FLOAT32_EXACT, Type
from codelength.exact.steps import Range
from codelength.freezing.draft import Draft, Scope
from codelength.freezing.quantity import Target
from codelength.networks.autoregressive import GATE_BITS, GATE_LIMIT, InverseAutoregressive
from codelength.networks.coupling import (
    DENOMINATOR_BITS,
    LOG_SCALE_BITS,
    AdditiveCoupling,
    AffineCoupling,
    ChannelScale,
    GridOffset,
    Permutation,
)


@singledispatch
def freeze_step(step: Any, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft) -> dict[str, Any]:
    """The record of a step that takes calibration items x (n, *shape), integers within ``before``, to y.

    Raises FreezeError for steps that have no exactly invertible form.
    """
    raise FreezeError(f"expected steps that are exactly invertible, got {type(step).__name__}")


@freeze_step.register
def _offset(step: GridOffset, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft) -> dict[str, Any]:
    return {"step": "offset", "value": step.value}


@freeze_step.register
def _permutation(step: Permutation, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft) -> dict[str, Any]:
    return {"step": "permute", "index": draft.store(f"{scope.path}index", step.index.cpu().numpy())}


@freeze_step.register
def _channel_scale(
    step: ChannelScale, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft
) -> dict[str, Any]:
    scale, shift = (values.double().cpu().numpy() for values in step.scale_and_shift())
    low, high = generous(y)
    return {
        "step": "scale",
        "denominator": DENOMINATOR_BITS,
        "scales": draft.store(f"{scope.path}scales", np.round(np.exp(scale) * (1 << DENOMINATOR_BITS))),
        "shifts": draft.store(f"{scope.path}shifts", np.round(shift)),
        "low": low,
        "high": high,
    }


@freeze_step.register
def _affine(step: AffineCoupling, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft) -> dict[str, Any]:
    low, high = generous(y)
    limit = int(step.limit * (1 << LOG_SCALE_BITS))
    exponents = np.arange(-limit, limit + 1) / (1 << LOG_SCALE_BITS)
    table = np.round(np.exp(exponents) * (1 << DENOMINATOR_BITS)).astype(np.int64)
    # The network's first outputs become indices into the table of scales, the others shifts in grid steps.
    outputs = ((LOG_SCALE_BITS, 0, step.limit), (0, step.shift_bits, 0.0))
    record = _coupling(step, x, (low, high), outputs, scope, draft)
    scales = draft.store("scales", table)
    return {
        "step": "coupling",
        "denominator": DENOMINATOR_BITS,
        "scales": scales,
        **record,
        "low": low,
        "high": high,
    }


@freeze_step.register
def _additive(
    step: AdditiveCoupling, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft
) -> dict[str, Any]:
    own = (step.low, step.low + step.symbols - 1)
    if own != before:
        raise FreezeError(
            f"expected additive couplings over what reaches them, integers from {before[0]} to {before[1]}, "
            f"got one over {own[0]} to {own[1]}; give it that alphabet"
        )
    return {"step": "additive", **_coupling(step, x, before, ((0, step.shift_bits, 0.0),), scope, draft)}


@freeze_step.register
def _autoregressive(
    step: InverseAutoregressive, x: Tensor, y: Tensor, before: Range, scope: Scope, draft: Draft
) -> dict[str, Any]:
    """Its network sees y, the numbers on the side of the base."""
    conditional: Any = step.conditional
    centre, unit_bits = conditional.leaf.standard
    zero = int(GATE_LIMIT * (1 << GATE_BITS))
    target = Target((GATE_BITS, 0), (0, unit_bits), (GATE_LIMIT, float(centre)))
    record = draft.scheduled(conditional, y, scope, conditional.leaf.symbols, target)
    logits = np.arange(-zero, zero + 1) / (1 << GATE_BITS)
    gates = np.round((1 << DENOMINATOR_BITS) / (1 + np.exp(-logits))).astype(np.int64)
    scales = draft.store("gates", np.clip(gates, 1, 1 << DENOMINATOR_BITS))
    return {"step": "autoregressive", "denominator": DENOMINATOR_BITS, "scales": scales, **record}


def _coupling(
    step: AffineCoupling | AdditiveCoupling,
    x: Tensor,
    seen: Range,
    outputs: tuple[tuple[int, int, float], ...],
    scope: Scope,
    draft: Draft,
) -> dict[str, Any]:
    """What records of couplings share. outputs: fraction, gain and offset of each number that a network gives."""
    dims = len(step.moves)
    shape = (dims,) if step.shape is None else (step.shape[2], *step.shape[:2])
    own = Type(shape, min(seen[0], 0), max(seen[1], 0))
    count = int(step.moves.sum()) if step.shape is None else step.shape[2]
    fractions, gains, offsets = (tuple(np.repeat(values, count).tolist()) for values in zip(*outputs))
    sample = step.kept(x.reshape(len(x), -1).round().float())
    network, _ = draft.network(step, scope, Target(fractions, gains, offsets), (own, sample))
    return {
        "moves": draft.store(f"{scope.path}moves", step.moves.cpu().numpy()),
        "network": network,
        "shape": [dims] if step.shape is None else list(step.shape),
    }


def generous(values: Tensor) -> Range:
    """A range for what calibration saw as ``values``, with as much room again on either side as they span."""
    low, high = math.floor(float(values.min())), math.ceil(float(values.max()))
    room = high - low + 64
    return max(low - room, -FLOAT32_EXACT), min(high + room, FLOAT32_EXACT)
