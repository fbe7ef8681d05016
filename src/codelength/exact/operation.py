"""What an operation of a frozen network is: the type it proves, and its rules (docs/format.md, "Operations").

Every value is an array of integers, one per item of a batch: shape (n, *Type.shape). Degrees carry the dependency
structure of scheduled networks: a channel of degree d may depend on steps before d only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from codelength.errors import ProgramError

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
MAX_SHIFT = 40


@dataclass(frozen=True)
class Type:
    """What is proved of a value: item shape, inclusive bounds, and a degree per channel (None: no schedule).

    prepared: what ``Operation.prepare`` made for executors of the operation whose result this is, or None.
    """

    shape: tuple[int, ...]
    low: int
    high: int
    degrees: np.ndarray | None = None
    prepared: Any = None

    @property
    def largest(self) -> int:
        return max(abs(self.low), abs(self.high))


Tensors = dict[str, np.ndarray]


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ProgramError(f"this program is not valid: {message}")


class Operation:
    """Base of all operations, each of which has all of its rules in its class.

    * ``infer``: the type of the result (shape, bounds, degrees) from those of the operands, or ProgramError;
    * ``prepare``: what executors are given of the operation's tensors, made once;
    * ``run``: whole tensors, on one of the executors of integers (``arithmetic.py``) or of floats (thawed networks);
    * ``at_steps``, ``at_pixels``: the units of one degree, where the network sees the item under a schedule of vectors
      (``dense.py``) or of images (``raster.py``).
    """

    name: ClassVar[str]
    feature: ClassVar[int]
    asks: ClassVar[tuple[str, ...]] = ("x",)  # the fields that number operands
    measures: ClassVar[tuple[str, ...]] = ()  # those of them of which only the size matters
    learned: ClassVar[tuple[str, ...]] = ()  # the fields that name tensors of learned numbers
    incremental: ClassVar[bool] = False  # whether it may see the item; if not, context only
    rounds: ClassVar[bool] = False  # whether it brings sums back, so that they may leave float32 before it
    sums: ClassVar[bool] = False  # whether its results may be collected in float64, for what rounds them
    fuses: ClassVar[bool] = False  # whether ``run`` takes the rounding that follows it, to do both at once

    @cached_property  # every pass asks for these
    def operands(self) -> tuple[int, ...]:
        """The earlier values that it is made of."""
        found: list[int] = []
        for name in self.asks:
            value = getattr(self, name)
            found.extend(value if isinstance(value, tuple) else (value,))
        return tuple(found)

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """The operands whose numbers matter; of the others only the size does."""
        if not self.measures:
            return self.operands
        return tuple(getattr(self, name) for name in self.asks if name not in self.measures)

    def work(self, out: Type, tensors: Tensors) -> int:
        """Roughly the multiplications and memory accesses for one item."""
        return math.prod(out.shape)

    def infer(self, types: list[Type], tensors: Tensors) -> Type:
        raise NotImplementedError

    def prepare(self, tensors: Any, weight: Any = None) -> Any:
        """What ``run`` gives to executors.

        tensors: integers, or floats of a thawed network; weight: that of a layer, where its mask closes some.
        """
        return None

    def run(self, arithmetic: Any, values: list[Any], tensors: Tensors, out: Type) -> Any:
        raise NotImplementedError

    def looks(self, out: Type) -> list[tuple[int, int]]:
        """Where it looks from a pixel of its result: rows down and columns to the right."""
        return [(0, 0)]

    def at_steps(self, plan: Any, v: int) -> tuple[int, ...]:
        """Lay the units of value ``v`` out in a ``DensePlan``, and say what its loop does: a kind and up to six numbers
        (``advance_block``)."""
        require(False, f"{self.name} has no rule for a degree schedule")
        raise AssertionError

    def at_pixels(self, out: Type, members: Any, kinds: list[Any], tensors: Tensors) -> Callable[[Any], np.ndarray]:
        """The rule for some channels of the result at the pixels of a front.

        members: which channels, a slice or indices; kinds: the type of floats of each value of the network. The rule
        takes a ``Front`` and returns (pixels, members).
        """
        raise AssertionError(f"no rule for {self.name}")

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"op": self.name}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                record[field.name] = list(value) if isinstance(value, tuple) else value
        return record


def tensor_of(tensors: Tensors, name: str, rank: int) -> np.ndarray:
    require(name in tensors, f"it names a tensor {name!r} that it does not hold")
    tensor = tensors[name]
    require(tensor.ndim == rank, f"tensor {name!r} has {tensor.ndim} axes where {rank} are needed")
    return tensor


def vector_of(tensors: Tensors, name: str, length: int) -> np.ndarray:
    vector = tensor_of(tensors, name, 1)
    require(len(vector) == length, f"tensor {name!r} has {len(vector)} entries where {length} are needed")
    return vector


def degrees_of(tensors: Tensors, name: str, length: int) -> np.ndarray:
    degrees = vector_of(tensors, name, length)
    require(bool((degrees >= 0).all()), f"tensor {name!r} holds a negative degree")
    return degrees


def joint_degrees(a: Type, b: Type) -> np.ndarray | None:
    if a.degrees is None or b.degrees is None:
        require(a.degrees is None and b.degrees is None, "a scheduled value meets one without a schedule")
        return None
    return np.maximum(a.degrees, b.degrees)


def known_degrees(value: Type) -> np.ndarray:
    require(value.degrees is not None, "a scheduled value meets one without a schedule")
    assert value.degrees is not None
    return value.degrees


def context_degrees(x: Type, channels: int) -> np.ndarray | None:
    """Degrees of a result that moves elements between channels, which only context may."""
    require(x.degrees is None or not x.degrees.any(), "elements of the item move between channels under a schedule")
    return None if x.degrees is None else np.zeros(channels, np.int64)
