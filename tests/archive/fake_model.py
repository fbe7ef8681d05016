"""A model for testing the container: every symbol equally likely, several symbols to a word."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np

from codelength.errors import NotRepresentable, ProgramError, StackExhausted
from codelength.laws.space import Space


class UniformModel:
    """Codes integers below ``space.symbols`` with a fixed number of bits each, in groups of at most
    ``group`` items.
    """

    def __init__(self, space: Space, group: int = 1000, refused: int | None = None) -> None:
        self.space = space
        self.group = group
        self.refused = refused  # items that hold this symbol "leave their range" when they are encoded
        self.features = (1, 7)
        self.bits = max(1, (space.symbols - 1).bit_length())
        self.verified = 0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        return json.dumps({"group": self.group, "shape": self.space.shape, "symbols": self.space.symbols}).encode()

    @staticmethod
    def from_bytes(data: bytes) -> UniformModel:
        try:
            value = json.loads(data)
            return UniformModel(Space(tuple(value["shape"]), value["symbols"]), value["group"])
        except (ValueError, KeyError, TypeError):
            raise ProgramError("this model file is malformed") from None

    def encode_block(self, items: np.ndarray) -> tuple[list[int], np.ndarray]:
        self.space.check(items)
        if self.refused is not None:
            bad = np.flatnonzero((items == self.refused).reshape(len(items), -1).any(axis=1))
            if len(bad):
                # One at a time, so that the writer has to come back.
                raise NotRepresentable("expected a latent within its range", bad[:1].tolist(), str(self.refused))
        sizes = [min(self.group, len(items) - start) for start in range(0, len(items), self.group)]
        bits = (items.reshape(-1, 1) >> np.arange(self.bits)) & 1
        stream = np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()
        return sizes, np.frombuffer(stream + bytes(-len(stream) % 4), "<u4")

    def decode_block(self, words: np.ndarray, sizes: list[int], shape: tuple[int, ...]) -> np.ndarray:
        n = sum(sizes) * math.prod(shape)
        data = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), bitorder="little")
        if len(data) < n * self.bits:
            raise StackExhausted("the stack is exhausted")
        if len(data) - n * self.bits >= 32 or data[n * self.bits :].any():
            raise ProgramError("the stack holds more than its items")
        values = (data[: n * self.bits].reshape(n, self.bits).astype(np.int64) << np.arange(self.bits)).sum(axis=1)
        if n and values.max() >= self.space.symbols:
            raise ProgramError("a symbol outside the alphabet")
        return values.reshape(sum(sizes), *shape)

    def code_length_bits(self, items: np.ndarray, *, refuse: bool = True) -> np.ndarray:
        return np.full(len(items), math.log2(self.space.symbols) * math.prod(items.shape[1:]))

    def startup_bits(self, items: np.ndarray) -> float:
        return 1.5

    def group_limit(self, shape: tuple[int, ...]) -> int:
        return self.group

    def memory_bytes(self, items: int, shape: tuple[int, ...]) -> int:
        return 16 * items * math.prod(shape) * self.bits


def loader(data: bytes) -> UniformModel:
    return UniformModel.from_bytes(data)
