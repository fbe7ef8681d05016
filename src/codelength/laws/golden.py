"""Golden vectors: what a program does to items of its own, by which a machine shows that it does the same."""

from __future__ import annotations

import hashlib
import math
from typing import Any, Protocol

import numpy as np

from codelength.errors import NotRepresentable, ProgramError, StackExhausted
from codelength.exact import arithmetic as executors
from codelength.exact.network import read_object
from codelength.exact.operations import require
from codelength.laws.space import Space

#: Multiplications that finding out why a golden vector differs may cost: the reference executor takes a pass a step.
MAX_SECOND_THOUGHT = 1 << 32
_FREE_PROBE = 6  # rows and columns of the golden items of a model for images of any size


class Coder(Protocol):
    """What a golden vector asks of a frozen model."""

    @property
    def space(self) -> Space: ...

    def sample(self, count: int, *, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        """Items (count, *shape)."""
        ...

    def encode_block(self, items: np.ndarray, *, lanes: int, limit: int) -> tuple[list[int], np.ndarray]:
        """Group sizes, and the words of the stack (uint32)."""
        ...


def golden_vector(model: Coder) -> dict[str, Any]:
    """Two items drawn from seed 0 and the digest of these items and of the stack that codes them."""
    shape = [_FREE_PROBE if s is None else s for s in model.space.shape]
    items = model.sample(2, seed=0, shape=tuple(shape))
    sizes, words = model.encode_block(items, lanes=4, limit=1)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(items.astype("<i4").tobytes() + np.array(sizes, "<i4").tobytes() + words.astype("<u4").tobytes())
    return {"digest": digest.hexdigest(), "shape": shape}


def check_golden(model: Coder, golden: Any, work: int) -> None:
    """Raise ProgramError unless the model gives this golden vector. work: multiplications of an item's parallel pass,
    which the reference executor may take for every element."""
    read_object(golden, {"digest", "shape"}, "a golden vector")
    try:
        mine = golden_vector(model)
    except (NotRepresentable, StackExhausted) as error:
        raise ProgramError(f"the model's golden items cannot be coded: {error}") from None
    if mine == golden:
        return
    if work * math.prod(mine["shape"]) <= MAX_SECOND_THOUGHT:
        with executors.using(executors.REFERENCE):
            right = golden_vector(model) == golden
        require(not right, "this machine's fast arithmetic does not reproduce the model's golden vector")
    require(False, "its golden vector is not what its program gives")
