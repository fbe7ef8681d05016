"""A frozen model: a program and its tensors, with the three readings (files: ``model_file``, blocks: ``blocks``)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from codelength.adaptive.learner import Learner
from codelength.coding.logarithm import LENGTH_BITS
from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, ProgramError, UsageError
from codelength.exact import arithmetic as executors
from codelength.exact.network import is_integer, read_object
from codelength.exact.operations import Tensors, require
from codelength.laws import blocks, model_file
from codelength.laws import golden as golden_vectors
from codelength.laws.adaptive import Adaptive
from codelength.laws.blocks import GROUP_MEMORY
from codelength.laws.program import Built, build
from codelength.laws.space import Space


class FrozenModel:
    """A law with integer leaves. Evaluates, samples and codes; identical results on every machine.

    Build one with ``FrozenModel.create`` (freezing does) or ``from_bytes``. Both validate everything.
    """

    def __init__(self, structure: dict[str, Any], tensors: Tensors, check_golden: bool = True) -> None:
        read_object(structure, {"features", "law", "space", "tensors"}, "a program", {"golden"})
        space = read_object(structure["space"], {"shape", "symbols"}, "a space")
        shape = space["shape"]
        require(isinstance(shape, list) and len(shape) <= 3, "the shape of a space is not a short list")
        require(all(s is None or (is_integer(s) and s >= 1) for s in shape), "a space has an odd size")
        require(is_integer(space["symbols"]) and 2 <= space["symbols"] <= 1 << 16, "a space has an odd alphabet")
        self.space = Space(tuple(shape), space["symbols"])
        self.structure = structure
        self.tensors = tensors
        model_file.check_use(structure["law"], tensors)
        built: Built = build(structure["law"], tensors, {})
        probe = tuple(8 if s is None else s for s in shape)
        require(built.free == self.space.is_free, "a law and its space disagree about free sizes")
        require(built.item.shape == probe, f"a law over items of {built.item.shape} in a space of {probe}")
        require(built.item.low <= 0 and built.item.high >= space["symbols"] - 1, "a law does not cover its space")
        require(structure["features"] == sorted(built.features), "a program does not list the features that it uses")
        self.law = built.law
        self.latents = built.latents
        self._work = built.work
        self.features: tuple[int, ...] = tuple(structure["features"])
        self.sha256 = model_file.digest_of(structure, tensors)
        self._bytes: bytes | None = None
        if check_golden and "golden" in structure:
            golden_vectors.check_golden(self, structure["golden"], self._work)

    # -------------------------------------------------------------------------------------------- making and storing

    @classmethod
    def create(cls, space: Space, law: dict[str, Any], tensors: Tensors, *, golden: bool = True) -> FrozenModel:
        """A model from the parts of a program; computes its features and, where it shall have one, its golden
        vector."""
        tensors = {name: model_file.narrowed(name, t) for name, t in tensors.items()}
        features = sorted(build(law, tensors, {}).features)
        structure: dict[str, Any] = {
            "features": features,
            "law": law,
            "space": {"shape": list(space.shape), "symbols": space.symbols},
            "tensors": {name: list(t.shape) for name, t in tensors.items()},
        }
        model = cls(structure, tensors)
        if not golden:
            return model
        structure["golden"] = golden_vectors.golden_vector(model)
        return cls(structure, tensors)

    def to_bytes(self) -> bytes:
        """The model file: structure, tensors, checksum."""
        if self._bytes is None:
            self._bytes = model_file.to_bytes(self.structure, self.tensors)
        return self._bytes

    @staticmethod
    def from_bytes(data: bytes, *, check_golden: bool = True) -> FrozenModel:
        """Read a model file. Raises ProgramError or UnknownFeature; believes nothing in it."""
        model = FrozenModel(*model_file.from_bytes(data), check_golden)
        model._bytes = data
        return model

    # ------------------------------------------------------------------------------------------------- three readings

    def log_prob(self, items: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats, float64 (n,); for models with continuous latents the bound of one draw from ``seed``.

        Raises NotRepresentable for items outside the space, or that the law refuses, and names them.
        """
        return self.code_length_bits(items, seed=seed) * -math.log(2.0)

    @property
    def kind(self) -> str:
        return self.law.kind

    def code_length_bits(self, items: np.ndarray, *, seed: int = 0, refuse: bool = True) -> np.ndarray:
        """Bits per item, float64 (n,). Touches no stack where the model is exact; else pushes onto a counting one.

        Raises NotRepresentable as ``log_prob`` does; with ``refuse`` false, what the law refuses costs infinitely much
        (for latents that leave their range with some draws: with this one).
        """
        items = self.space.check(np.asarray(items))
        out = np.full(len(items), math.inf)
        step = max(1, len(items)) if self.law.prequential else self.group_limit(items.shape[1:])
        refused = []
        for start in range(0, len(items), step):
            left = np.arange(start, min(start + step, len(items)))
            while len(left):
                try:
                    out[left] = self._drawn_bits(items[left], [(seed << 32) + i for i in left.tolist()])
                    break
                except NotRepresentable as error:
                    if not error.items:
                        raise
                    refused.append(error.placed(left))
                    left = np.delete(left, error.items)
        if refused and refuse:
            raise NotRepresentable.joined(refused)
        return out

    def log_probs(self, items: np.ndarray, seeds: Sequence[int], *, rows: int | None = None) -> np.ndarray:
        """``log_prob`` for each of k seeds, nats (k, n): the same numbers to the bit, with draws and items in groups
        that are as large as memory allows, or as ``rows``. Raises NotRepresentable as it does."""
        if self.law.prequential:
            return np.tile(self.log_prob(items), (len(seeds), 1))
        items = self.space.check(np.asarray(items))
        limit = self.group_limit(items.shape[1:])
        step = limit if rows is None else max(1, min(limit, rows))
        bits = np.empty(len(seeds) * len(items))
        try:
            for start in range(0, len(bits), step):
                draw, item = np.divmod(np.arange(start, min(start + step, len(bits))), len(items))
                starts = [(seeds[k] << 32) + i for k, i in zip(draw.tolist(), item.tolist())]
                bits[start : start + step] = self._drawn_bits(items[item], starts)
        except NotRepresentable:
            return np.stack([self.log_prob(items, seed=seed) for seed in seeds])  # which says of which items
        return bits.reshape(len(seeds), len(items)) * -math.log(2.0)

    def _drawn_bits(self, items: np.ndarray, seeds: list[int]) -> np.ndarray:
        context = {"shape": items.shape[1:]}
        if self.law.kind == "exact":
            return self.law.log_prob(items, context) / -math.log(2.0)
        # Fresh random bits for each item: what the one before has pushed would not be a fair draw.
        stack = Stack.each_seeded(seeds, lanes=1)
        stack.begin([1] * len(items))
        self.law.push(stack, items, context)
        return stack.stream_bits()

    def element_bits(self, items: np.ndarray) -> np.ndarray:
        """Bits of each element of items (n, *shape), given those before it, float64 of that shape; their sums over an
        item are its ``code_length_bits`` but for rounding. A model that learns has seen nothing before the first item.

        Raises UsageError for laws that do not code every element by itself: with latents, mixtures, and flows.
        """
        self.require_element_bits()
        items = self.space.check(np.asarray(items))
        bits = np.empty(items.shape)
        if self.law.prequential:
            for row, found in zip(bits, self.learner().maps(list(items))):
                row[...] = found
            return bits
        step = self.group_limit(items.shape[1:])
        for start in range(0, len(items), step):
            part = items[start : start + step]
            bits[start : start + step] = self.law.element_lengths(part, {"shape": items.shape[1:]}) / (1 << LENGTH_BITS)
        return bits

    def require_element_bits(self) -> None:
        """Raise UsageError where ``element_bits`` does."""
        if not (self.law.prequential or self.law.has_element_lengths()):
            raise UsageError(
                f"expected a model that codes every element by itself, got one whose law is "
                f"{self.structure['law']['law']}: with latents, mixtures and flows bits belong to items as wholes, and "
                "there are no maps of them; take an independent, a sequential or an adaptive model"
            )

    def sample(self, count: int, *, seed: int = 0, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Items (count, *shape): ``pop`` from a stack of seeded random words, so the same pictures everywhere."""
        shape = shape or tuple(s for s in self.space.shape if s is not None)
        if not self.space.admits(shape):
            batch = len(shape) == len(self.space.shape) + 1 and self.space.admits(tuple(shape)[1:])
            hint = f"; give that of one item, {tuple(shape)[1:]}: the count says how many" if batch else ""
            raise NotRepresentable(f"expected a shape that fits {self.space.shape}, got {shape}{hint}")
        for what, number in (("a number of items", count), ("a seed", seed)):
            if not isinstance(number, int | np.integer) or number < 0:
                raise UsageError(f"expected {what}, a whole number of at least 0, got {number!r:.40}")
        if not count:
            return np.zeros((0, *shape), np.int32)
        items = self.law.pop(Stack.seeded(seed), count, {"shape": shape}, start=True)
        # A flow can draw values beyond the alphabet.
        return np.clip(items, 0, self.space.symbols - 1).astype(np.int32)

    # --------------------------------------------------------------------------------------------------------- blocks

    @property
    def block_lanes(self) -> int:
        """Lanes of a block's stack: with latents two, since each must be filled before it can be popped from."""
        return 2 if self.latents else 4

    def encode_block(
        self, items: np.ndarray, *, lanes: int | None = None, limit: int | None = None
    ) -> tuple[list[int], np.ndarray]:
        """Group sizes in decoding order, and the words of the stack (uint32).

        Raises NotRepresentable if there are items that the law refuses, and names all that it meets, even those whose
        latents leave their range by chance: what is left is coded with the latents that were drawn for it. It names no
        items where a block cannot go on, whatever is left out.

        limit: how many items a group may have; as many as fit into ``GROUP_MEMORY`` where None. lanes: None for those
        of blocks in archives.
        """
        lanes = self.block_lanes if lanes is None else lanes
        items = self.space.check(np.asarray(items))
        most = self.group_limit(items.shape[1:])
        return blocks.encode(self.law, self.latents, items, lanes, most if limit is None else limit, most)

    def decode_block(
        self, words: np.ndarray, sizes: list[int], shape: tuple[int, ...], *, lanes: int | None = None
    ) -> np.ndarray:
        """The items of a block. Raises StackExhausted or ProgramError where the words are not those of a block."""
        if not self.space.admits(shape):
            raise ProgramError(f"a block of items of shape {shape}, where {self.space.shape} was expected")
        lanes = self.block_lanes if lanes is None else lanes
        return blocks.decode(self.law, self.latents, words, sizes, shape, lanes)

    def verify_block(self, words: np.ndarray, sizes: list[int], items: np.ndarray, *, lanes: int | None = None) -> bool:
        """Whether the block decodes to ``items``, and the reference executor agrees on some of them.

        Decoding evaluates the networks step by step, in other matrix shapes than the encoder's parallel pass.
        """
        items = np.asarray(items)
        decoded = self.decode_block(words, sizes, items.shape[1:], lanes=lanes)
        return np.array_equal(decoded, items) and self.agrees(items)

    def agrees(self, items: np.ndarray) -> bool:
        """Whether the first and the last item have the same code lengths in plain int64, where the model is exact."""
        items = np.asarray(items)
        if self.law.kind != "exact" or not len(items):
            return True
        some = items[[0, len(items) - 1]]
        context = {"shape": items.shape[1:]}
        fast = self.law.lengths(some, context)
        with executors.using(executors.REFERENCE):
            slow = self.law.lengths(some, context)
        return bool(np.array_equal(fast, slow))

    def learner(self) -> Learner:
        """What codes images one after another, of any sizes, and learns from them. Raises UsageError for models that do
        not learn: their items are independent."""
        return Learner(self._adaptive.program)

    def learner_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that a learner takes for images of this shape, beside the images and their words."""
        return self._adaptive.learner_bytes(shape)

    @property
    def _adaptive(self) -> Adaptive:
        if not isinstance(self.law, Adaptive):
            raise UsageError(f"expected an adaptive model, got one whose law is {self.structure['law']['law']}")
        return self.law

    def startup_bits(self, items: np.ndarray) -> float:
        """What choosing the latents of a block's first item costs beyond its code length, in bits.

        Raises NotRepresentable where the law refuses that item (the last one, which is laid down first).
        """
        if not self.latents or not len(items):
            return 0.0
        last = np.asarray(items)[-1:]
        stack = Stack(1)
        try:
            self.law.push(stack, last, {"shape": last.shape[1:]}, True)
            return stack.bits() - float(self.code_length_bits(last)[0])
        except NotRepresentable as error:
            raise error.placed([len(items) - 1]) from None

    def memory_bytes(self, items: int, shape: tuple[int, ...]) -> int:
        """Bytes that decoding a group of so many items may need."""
        return max(items, 1) * self._item_bytes(shape)

    def _item_bytes(self, shape: tuple[int, ...]) -> int:
        return self.law.item_bytes(shape) + 64 * math.prod(shape)

    def group_limit(self, shape: tuple[int, ...]) -> int:
        """How many items a group may have, so that decoding stays within the memory that archives state."""
        return max(1, GROUP_MEMORY // self._item_bytes(shape))

    def __repr__(self) -> str:
        numbers = sum(tensor.size for tensor in self.tensors.values())
        size = f"{numbers:,} numbers" + ("" if self._bytes is None else f" in {len(self._bytes):,} bytes")
        law = self.structure["law"]
        leaf = f" {law['leaf']['family']}" if "leaf" in law else ""
        return f"<FrozenModel {law['law']}{leaf}: {self.space}, {self.kind}, {size}, {self.sha256[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # What a pickle holds has been proved where it was made, and would run anything that a forger likes in any case.
        return functools.partial(FrozenModel.from_bytes, check_golden=False), (self.to_bytes(),)

    def save(self, path: Any) -> None:
        """Write the model file, atomically."""
        from codelength.files import write_atomically

        write_atomically(path, self.to_bytes())
