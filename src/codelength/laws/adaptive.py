"""The law that learns while it codes: a prequential likelihood (Dawid 1984).

p(x_1, .., x_n) = product over items and their samples of p(sample | all samples before it), where the conditional
distributions come from ``adaptive``: integer predictors, counters under contexts, and mixing, taught by what they have
seen. So the items of a group are a sequence: the probability of one depends on those before it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from codelength.adaptive.learner import MOST_DECISIONS, SEGMENT, Learner, push_decisions
from codelength.adaptive.program import Program
from codelength.coding.logarithm import LENGTH_BITS
from codelength.coding.stack import Stack
from codelength.laws.contract import Context, Law


class Adaptive(Law):
    """Images (H, W) or (H, W, C) of any sizes, each given those before it in its group; a group begins untaught."""

    prequential = True

    def __init__(self, program: Program) -> None:
        self.program = program

    def children(self) -> dict[str, Law]:
        return {}

    def item_bytes(self, shape: tuple[int, ...]) -> int:
        """What a stack's decisions take while an item is pushed; what is learned counts once, see ``learner_bytes``."""
        return 4 * 8 * math.prod(shape)

    def learner_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that coding images of this shape takes beside the images and their words, however many they are."""
        height, width = (*shape, 1)[:2]
        planes = 8 * self.program.channels * (height + 3) * (width + 8)
        segment = 4 * (SEGMENT + width * self.program.channels * MOST_DECISIONS)
        return self.program.state_bytes + planes + segment

    def lengths(self, x: Any, context: Context) -> np.ndarray:
        return np.array([int(bits.sum()) for bits in Learner(self.program).sample_lengths(list(x))], np.int64)

    def has_lengths(self) -> bool:
        return True

    def log_prob(self, x: Any, context: Context) -> np.ndarray:
        return self.lengths(x, context) * (-math.log(2.0) / (1 << LENGTH_BITS))

    def sample(self, count: int, context: Context, generator: Any) -> np.ndarray:
        """generator: a seed."""
        return self.pop(Stack.seeded(int(generator), lanes=1), count, context)

    def push(self, stack: Stack, x: Any, context: Context, start: bool = False) -> None:
        stack.hold(len(x))
        segments = [decisions.copy() for decisions in Learner(self.program).segments(list(x))]
        for decisions in reversed(segments):
            push_decisions(stack, decisions)

    def pop(self, stack: Stack, count: int, context: Context, start: bool = False) -> np.ndarray:
        stack.hold(count)
        return np.stack(Learner(self.program).pop(stack, [tuple(context["shape"])] * count))
