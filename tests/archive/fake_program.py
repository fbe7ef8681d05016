"""A program for testing the container: symbols take the fewest bits that hold them, and what was seen before turns them
round, so that a block is read back by the right learner alone."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np

from codelength.errors import ProgramError, StackExhausted, UsageError
from codelength.laws.space import Space


class FakeProgram:
    """symbols, channels: of its space. salt: tells programs apart. states: bytes that a learner is said to take."""

    def __init__(self, symbols: int = 16, channels: int | None = None, salt: str = "", states: int = 1000) -> None:
        self.space = Space((None, None) if channels is None else (None, None, channels), symbols)
        self.salt, self.states = salt, states
        self.bits = max(1, (symbols - 1).bit_length())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        channels = self.space.shape[2] if len(self.space.shape) > 2 else None
        return json.dumps(["fake", self.space.symbols, channels, self.salt, self.states]).encode()

    def learner(self) -> FakeLearner:
        return FakeLearner(self)

    def learner_bytes(self, shape: tuple[int, ...]) -> int:
        if not self.states:
            raise UsageError("this program does not learn")
        return self.states + 4 * math.prod(shape)


class FakeLearner:
    def __init__(self, program: FakeProgram, seen: int = 0) -> None:
        self.program, self.seen = program, seen

    def copy(self) -> FakeLearner:
        return FakeLearner(self.program, self.seen)

    def _learn(self, image: np.ndarray) -> None:
        self.seen = (self.seen + int(image.sum()) + 1) % 2**31

    def encode(self, images, lengths=None):
        if lengths is not None:
            lengths[:] = [self.program.bits * image.size for image in images]
        symbols = self.program.space.symbols
        parts = []
        for image in images:
            assert self.program.space.admits(image.shape) and image.max() < symbols
            parts.append((image.astype(np.int64).ravel() + self.seen) % symbols)
            self._learn(image.astype(np.int64))
        values = np.concatenate(parts)
        bits = (values[:, None] >> np.arange(self.program.bits)) & 1
        data = np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()
        return np.frombuffer(data + bytes(-len(data) % 4), "<u4")

    def decode(self, words, shapes):
        program = self.program
        total = sum(math.prod(shape) for shape in shapes)
        bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), bitorder="little")
        if len(bits) < total * program.bits:
            raise StackExhausted("the stack is exhausted")
        if len(bits) - total * program.bits >= 32 or bits[total * program.bits :].any():
            raise ProgramError("the stack holds more than its items")
        values = (bits[: total * program.bits].reshape(total, -1).astype(np.int64) << np.arange(program.bits)).sum(1)
        images, at = [], 0
        for shape in shapes:
            some = values[at : at + math.prod(shape)].reshape(shape)
            images.append((some - self.seen) % program.space.symbols)
            self._learn(images[-1])
            at += math.prod(shape)
        return images


def load_fake(data: bytes) -> FakeProgram:
    try:
        name, symbols, channels, salt, states = json.loads(data)
        assert name == "fake"
        return FakeProgram(symbols, channels, salt, states)
    except (ValueError, TypeError, AssertionError):
        raise ProgramError("this model file is malformed") from None
