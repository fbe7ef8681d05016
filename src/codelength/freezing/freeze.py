"""Freezing: from a trained law in torch to a program of integers.

``freeze`` goes through the tree of laws that a model states (``laws``, ``steps``), emits every network (``emit``),
builds and validates the program, compares its rate with the float model's on the calibration items, and refuses where
it is worse than the project promises: 0.1% for exact models, 0.3% for bounds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codelength.errors import FreezeError, NotRepresentable
from codelength.exact.conditional import SequentialConditional
from codelength.exact.steps import AdditiveStep
from codelength.freezing.draft import Draft, Scope
from codelength.freezing.laws import freeze_law
from codelength.freezing.report import FreezeReport
from codelength.laws.frozen import FrozenModel

EXACT_TOLERANCE = 0.001
BOUND_TOLERANCE = 0.003

__all__ = ["FreezeReport", "check_freezable", "freeze"]


def freeze(
    model: Any,
    calibration: Any,
    *,
    report: FreezeReport | None = None,
    tolerance: float | None = None,
) -> FrozenModel:
    """The frozen twin of a trained model.

    model: a torch module with ``space`` (laws.Space) and ``law()``, the tree of laws over its conditionals.
    calibration: items (n, *shape), a few hundred or more, from the data that the model was trained on.
    report: filled in where given. tolerance: relative rate that may be lost; None for the project's promise.

    Raises FreezeError where a module has no exact rule (naming it) or the rate is too much worse.
    """
    items = _items(calibration)
    if len(items) == 0:
        raise FreezeError("expected calibration items, got none")
    if not (hasattr(model, "law") and hasattr(model, "space")):
        raise FreezeError(f"expected a model with a space and a law, got {type(model).__name__} without")
    report = report if report is not None else FreezeReport()
    with _evaluating(model):
        frozen = _frozen(model, items, report)
        _compare(model, frozen, torch.from_numpy(items.astype(np.int64)), items, report, tolerance)
    return frozen


def check_freezable(model: Any, items: Any) -> None:
    """Freeze a model, trained or not, for a few items (n, *shape), and judge no rate: what has no exact rule is found
    out before it is trained. Raises FreezeError, naming it."""
    with _evaluating(model), torch.random.fork_rng([]):
        _frozen(model, _items(items), FreezeReport())


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _frozen(model: Any, items: np.ndarray, report: FreezeReport) -> FrozenModel:
    """The program of a model in evaluation mode."""
    draft = Draft(report)
    x = torch.from_numpy(np.ascontiguousarray(items).astype(np.int64))
    law = freeze_law(model.law(), x, Scope({"shape": tuple(items.shape[1:])}, {}), draft)
    try:
        frozen = FrozenModel.create(model.space, law.record, draft.tensors)
    except NotRepresentable as error:  # ranges come from the calibration items, and the model's own draws leave them
        raise FreezeError(
            f"expected a model whose own draws can be coded, as items like those of calibration are, got one where not "
            f"({error}); train it for longer"
        ) from None
    report.closed = _closed_weights(frozen)
    return frozen


def _closed_weights(frozen: FrozenModel) -> dict[str, int]:
    """See ``FreezeReport.closed``: masks in integers follow from what is proved of inputs, whatever a layer says."""
    found = {}
    conditionals = [each for _, law in frozen.law.tree() for each in law.conditionals().values()]
    for conditional in (getattr(each, "conditional", each) for each in conditionals):  # of steps of flows, too
        if not isinstance(conditional, SequentialConditional):
            continue
        network, shape = conditional.network, tuple(8 if size is None else size for size in conditional.shape)
        for operation, out in zip(network.operations, conditional.types_for(shape)[len(network.inputs) :]):
            if getattr(operation, "degrees", None) is not None:
                stored = frozen.tensors[operation.weight]  # type: ignore[attr-defined]
                lost = int(np.count_nonzero(stored)) - int(np.count_nonzero(out.prepared.weight))
                if lost:
                    found[operation.weight] = lost  # type: ignore[attr-defined]
    return found


def _items(calibration: Any) -> np.ndarray:
    return np.asarray(getattr(calibration, "items", calibration))


def _compare(
    model: Any, frozen: FrozenModel, x: Tensor, items: np.ndarray, report: FreezeReport, tolerance: float | None
) -> None:
    """Paired rates on the same items; refuses a frozen model that is too much worse."""
    context = {"shape": tuple(items.shape[1:]), "generator": torch.Generator().manual_seed(0)}
    some = slice(0, 512)
    nats = torch.cat([model.law().log_prob(part, context) for part in x[some].split(128)])
    bits = nats.double().numpy() / -math.log(2)
    frozen_bits = frozen.code_length_bits(items[some])
    report.float_bits, report.frozen_bits = float(bits.mean()), float(frozen_bits.mean())
    report.uniform_bits = math.prod(items.shape[1:]) * math.log2(frozen.space.symbols)
    allowed = tolerance
    if allowed is None:
        allowed = EXACT_TOLERANCE if frozen.kind == "exact" else BOUND_TOLERANCE
        chance = frozen.kind != "exact" or AdditiveStep.feature in frozen.features
        if chance and math.isfinite(report.float_bits):
            # Bounds are drawn with noise of their own on either side, and a shift near the middle between two symbols
            # may be rounded to either. What chance explains is not held against freezing.
            noise = float((frozen_bits - bits).std()) / math.sqrt(len(bits))
            allowed += 3 * noise / abs(report.float_bits)
    if not math.isfinite(report.float_bits):
        raise FreezeError("expected a finite likelihood of the calibration items, got NaN or infinity; train again")
    if report.loss > allowed:
        raise FreezeError(
            f"the frozen model would cost {report.loss:.3%} more bits than the float model ({report.frozen_bits:.3f} "
            f"against {report.float_bits:.3f} an item), and {allowed:.1%} is allowed; the layers with the lowest "
            "signal-to-noise ratio in the report are where to look"
        )
