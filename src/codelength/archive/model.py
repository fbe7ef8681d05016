"""What an archive asks of a frozen model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np

from codelength.laws.space import Space


class Model(Protocol):
    """A frozen model: ``codelength.laws.frozen.FrozenModel``, or anything that keeps these promises.

    Two more methods are used where they exist: ``group_limit(shape)``, how many items ``encode_block`` puts into a
    group at most, and ``agrees(items)``, whether another way to evaluate the model gives the same for some of them.

    sha256: 64 hexadecimal digits, of the decoded canonical form.
    features: sorted feature numbers that decoding needs.
    """

    @property
    def space(self) -> Space: ...

    @property
    def sha256(self) -> str: ...

    @property
    def features(self) -> tuple[int, ...]: ...

    def to_bytes(self) -> bytes:
        """The model file, embedded as it is."""
        ...

    def encode_block(self, items: np.ndarray) -> tuple[list[int], np.ndarray]:
        """Group sizes, whose sum is n, and the uint32 words of the final stack for ``items`` (n, *event).

        Raises NotRepresentable for items that the model refuses, and names as many of them as it can at once; if it
        names none, no item of the block can be coded.
        """
        ...

    def decode_block(self, words: np.ndarray, sizes: list[int], shape: tuple[int, ...]) -> np.ndarray:
        """The integers (n, *shape) of a block; raises StackExhausted or ProgramError on malformed words."""
        ...

    def code_length_bits(self, items: np.ndarray, *, refuse: bool = True) -> np.ndarray:
        """Bits promised for each of ``items`` (n, *event), as (n,) float64.

        Raises NotRepresentable for items that the model refuses; with ``refuse`` false, they cost infinitely much.
        """
        ...

    def startup_bits(self, items: np.ndarray) -> float:
        """Bits of the block of ``items`` that buy no information, because it starts from an empty stack.

        Raises NotRepresentable where the model refuses the item that starts it.
        """
        ...

    def memory_bytes(self, items: int, shape: tuple[int, ...]) -> int:
        """Bytes needed to decode a group of that many items of that event shape."""
        ...


class Learner(Protocol):
    """A program and what it has learned from the images that it has coded so far. One thread at a time."""

    def encode(self, images: Sequence[np.ndarray], lengths: np.ndarray | None = None) -> np.ndarray:
        """The words (uint32) of integer images (H, W) or (H, W, C), one after another; ``lengths`` (n,), float64, is
        given the bits of each."""
        ...

    def decode(self, words: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> Sequence[np.ndarray]:
        """The images of these shapes; raises StackExhausted or ProgramError on malformed words."""
        ...

    def copy(self) -> Learner:
        """An independent one that knows the same."""
        ...


class Program(Protocol):
    """A model that learns while it codes: ``codelength.laws.frozen.FrozenModel`` of an adaptive law, or anything that
    keeps these promises.

    space: (None, None) or (None, None, C). sha256: 64 hexadecimal digits.
    """

    @property
    def space(self) -> Space: ...

    @property
    def sha256(self) -> str: ...

    def to_bytes(self) -> bytes:
        """The model file."""
        ...

    def learner(self) -> Learner:
        """One that has learned nothing."""
        ...

    def learner_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of memory that a learner takes for images of this shape and smaller ones. Raises UsageError for a model
        that does not learn."""
        ...


# From the bytes of a model file to a validated program.
ProgramLoader = Callable[[bytes], Program]

# From the bytes of a model file to a validated model.
ModelLoader = Callable[[bytes], Model]

# From (sha256, name) to the model that an archive names without holding it; None if it is not known.
ModelResolver = Callable[[str, str], Model | None]


def load_model(data: bytes) -> Model:
    """The default loader: ``FrozenModel.from_bytes``."""
    from codelength.laws.frozen import FrozenModel

    return FrozenModel.from_bytes(data)


def load_program(data: bytes) -> Program:
    """The default loader of programs: ``FrozenModel.from_bytes``."""
    from codelength.laws.frozen import FrozenModel

    return FrozenModel.from_bytes(data)


def known_features() -> Collection[int]:
    """Feature numbers that the default loader knows."""
    from codelength.laws.model_file import KNOWN_FEATURES

    return KNOWN_FEATURES
