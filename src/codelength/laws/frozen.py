"""A frozen model: a program and its tensors, with the three readings and the coding of blocks.

Stack discipline of a block (docs/format.md, "Blocks"): items are laid down from the last to the first, in groups
that advance together, so that a reader gets them in order. A program with latents starts with a group of one item
whose latents are chosen rather than popped; later groups grow as far as the stack can pay.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from typing import Any

import numpy as np

from codelength.coding.stack import Stack
from codelength.errors import NotRepresentable, ProgramError, StackExhausted, UnknownFeature, UsageError
from codelength.exact import arithmetic as executors
from codelength.exact import canonical
from codelength.exact.network import is_integer, read_object
from codelength.exact.operations import OPERATIONS, Tensors, require
from codelength.exact.schedule import DegreeSchedule, RasterSchedule
from codelength.exact.storage import decode_tensor, encode_tensor
from codelength.laws.program import FEATURES, LEAF_FEATURES, STEPS, Built, build
from codelength.laws.space import Space

MAGIC = b"\x8eCLM\r\n\x1a\n"
VERSION = 1
MAX_STRUCTURE = 1 << 22
MAX_TENSORS = 65536
MAX_ELEMENTS = 1 << 27
#: A short file must not claim large tensors: it may hold so many elements, and so many more per byte.
FREE_ELEMENTS = 1 << 22
ELEMENTS_PER_BYTE = 256
#: Elements of all tensors, counted as often as the program uses them.
MAX_USES = 1 << 28
#: Multiplications that finding out why a golden vector differs may cost: the reference executor takes a pass a step.
MAX_SECOND_THOUGHT = 1 << 32
GROUP_MEMORY = 192 << 20
KNOWN_FEATURES = frozenset(
    [
        *LEAF_FEATURES.values(),
        *FEATURES.values(),
        DegreeSchedule.feature,
        RasterSchedule.feature,
    ]
    + [kind.feature for kind in OPERATIONS.values()]
    + [kind.feature for kind in STEPS.values()]
)
_FREE_PROBE = 6  # rows and columns of the golden items of a model for images of any size


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
        _check_use(structure["law"], tensors)
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
        self.sha256 = _digest(structure, tensors)
        self._bytes: bytes | None = None
        if check_golden and "golden" in structure:
            self._check_golden(structure["golden"])

    # -------------------------------------------------------------------------------------------- making and storing

    @classmethod
    def create(cls, space: Space, law: dict[str, Any], tensors: Tensors) -> FrozenModel:
        """A model from the parts of a program; computes its features and its golden vector."""
        tensors = {name: _narrowed(name, t) for name, t in tensors.items()}
        features = sorted(build(law, tensors, {}).features)
        structure: dict[str, Any] = {
            "features": features,
            "law": law,
            "space": {"shape": list(space.shape), "symbols": space.symbols},
            "tensors": {name: list(t.shape) for name, t in tensors.items()},
        }
        model = cls(structure, tensors)
        structure["golden"] = model._golden()
        return cls(structure, tensors)

    def _golden(self) -> dict[str, Any]:
        """Two items drawn from seed 0 and the digest of these items and of the stack that codes them."""
        shape = [_FREE_PROBE if s is None else s for s in self.space.shape]
        items = self.sample(2, seed=0, shape=tuple(shape))
        sizes, words = self.encode_block(items, lanes=4, limit=1)
        digest = hashlib.blake2b(digest_size=16)
        digest.update(items.astype("<i4").tobytes() + np.array(sizes, "<i4").tobytes() + words.astype("<u4").tobytes())
        return {"digest": digest.hexdigest(), "shape": shape}

    def _check_golden(self, golden: Any) -> None:
        read_object(golden, {"digest", "shape"}, "a golden vector")
        try:
            mine = self._golden()
        except (NotRepresentable, StackExhausted) as error:
            raise ProgramError(f"the model's golden items cannot be coded: {error}") from None
        if mine == golden:
            return
        if self._work * math.prod(mine["shape"]) <= MAX_SECOND_THOUGHT:
            with executors.using(executors.REFERENCE):
                right = self._golden() == golden
            require(not right, "this machine's fast arithmetic does not reproduce the model's golden vector")
        require(False, "its golden vector is not what its program gives")

    def to_bytes(self) -> bytes:
        """The model file: structure, tensors, checksum."""
        if self._bytes is None:
            structure = canonical.dumps(self.structure)
            parts = [MAGIC, struct.pack("<HI", VERSION, len(structure)), structure]
            for name in sorted(self.tensors):
                data = encode_tensor(self.tensors[name])
                parts += [struct.pack("<I", len(data)), data]
            body = b"".join(parts)
            self._bytes = body + hashlib.blake2b(body, digest_size=16).digest()
        return self._bytes

    @staticmethod
    def from_bytes(data: bytes, *, check_golden: bool = True) -> FrozenModel:
        """Read a model file. Raises ProgramError or UnknownFeature; believes nothing in it."""
        if data[: len(MAGIC)] != MAGIC:
            raise ProgramError("this is not a codelength model file")
        if len(data) < len(MAGIC) + 6 + 16:
            raise ProgramError("this model file is truncated")
        version, length = struct.unpack_from("<HI", data, len(MAGIC))
        if version < 1:
            raise ProgramError(f"this model file has version {version}, which never was")
        if version > VERSION:
            raise ProgramError(f"this model file has version {version}; this program reads up to {VERSION}")
        if hashlib.blake2b(data[:-16], digest_size=16).digest() != data[-16:]:
            raise ProgramError("this model file is damaged: its checksum does not match")
        at = len(MAGIC) + 6
        require(length <= MAX_STRUCTURE and at + length <= len(data) - 16, "its structure is longer than the file")
        try:
            structure = canonical.loads(data[at : at + length])
        except ValueError as error:
            raise ProgramError(f"this program is not valid: it has {error}") from None
        at += length
        require(isinstance(structure, dict) and isinstance(structure.get("tensors"), dict), "it lists no tensors")
        _require_features(structure.get("features"))
        require(len(structure["tensors"]) <= MAX_TENSORS, "it has too many tensors")
        tensors: Tensors = {}
        total, room = 0, FREE_ELEMENTS + ELEMENTS_PER_BYTE * len(data)
        for name in sorted(structure["tensors"]):
            shape = structure["tensors"][name]
            fine = isinstance(shape, list) and len(shape) <= 4
            require(fine and all(is_integer(s) and 0 <= s <= MAX_ELEMENTS for s in shape), "a tensor of odd shape")
            total += math.prod(shape)
            require(total <= min(MAX_ELEMENTS, room), "its tensors are larger than allowed")
            require(at + 4 <= len(data) - 16, "a tensor is missing")
            (size,) = struct.unpack_from("<I", data, at)
            at += 4
            require(at + size <= len(data) - 16, "a tensor is longer than the file")
            tensors[name] = decode_tensor(data[at : at + size], tuple(shape))
            at += size
        require(at == len(data) - 16, "bytes are left over")
        model = FrozenModel(structure, tensors, check_golden)
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
        step = self.group_limit(items.shape[1:])
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

    def _drawn_bits(self, items: np.ndarray, seeds: list[int]) -> np.ndarray:
        context = {"shape": items.shape[1:]}
        if self.law.kind == "exact":
            return self.law.log_prob(items, context) / -math.log(2.0)
        # Fresh random bits for each item: what the one before has pushed would not be a fair draw.
        stack = Stack.each_seeded(seeds, lanes=1)
        stack.begin([1] * len(items))
        self.law.push(stack, items, context)
        return stack.stream_bits()

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
        limit = most if limit is None else limit
        most = max(limit, most)  # of the first group, which may have to be larger than is asked for
        first = 1 if self.latents else limit
        while True:
            try:
                return self._encode_block(items, lanes, limit, min(first, most))
            except StackExhausted:
                # The first group holds less than one item's latents take back. A larger one holds more; one of all
                # items pops nothing at all.
                if first >= len(items):
                    raise
                if first >= most:
                    raise NotRepresentable(
                        f"{most} items, as many as fit into memory, do not pay for the latents of the next"
                    ) from None
                first *= 4

    def _encode_block(self, items: np.ndarray, lanes: int, limit: int, first: int) -> tuple[list[int], np.ndarray]:
        context = {"shape": items.shape[1:]}
        stack, left = Stack(lanes), np.arange(len(items))
        sizes: list[int] = []
        refused: list[NotRepresentable] = []
        need = 1.0  # words that an item has been seen to take back at least, for its latents
        while len(left):
            start = self.latents and not sizes
            want = min(len(left), first if start else limit)
            words, before = int(stack.count.sum()), need
            if self.latents and sizes:
                want = min(want, max(1, int(0.9 * words / need)))
            while True:
                attempt, group = stack.copy(), left[-want:]
                try:
                    self.law.push(attempt, items[group], context, start)
                except StackExhausted:
                    if want > 1 and not start:
                        need = max(need, words / want)
                        want //= 2
                        continue
                    if not refused:
                        raise
                    raise NotRepresentable.joined(refused) from None  # without them it may well be enough
                except NotRepresentable as error:
                    if not error.items:
                        raise
                    # Go on as if they had not been there: so all of the block are named at once, and what is left is
                    # coded with these very latents when it comes again.
                    refused.append(error.placed(group))
                    left = np.delete(left, len(left) - want + np.array(error.items))
                    need = before
                else:
                    stack, left = attempt, left[:-want]
                    sizes.append(want)
                break
        if refused:
            raise NotRepresentable.joined(refused)
        return sizes[::-1], stack.to_words()

    def decode_block(
        self, words: np.ndarray, sizes: list[int], shape: tuple[int, ...], *, lanes: int | None = None
    ) -> np.ndarray:
        """The items of a block. Raises StackExhausted or ProgramError where the words are not those of a block."""
        if not self.space.admits(shape):
            raise ProgramError(f"a block of items of shape {shape}, where {self.space.shape} was expected")
        try:
            stack = Stack.from_words([np.asarray(words, np.uint32)], self.block_lanes if lanes is None else lanes)
        except ValueError as error:
            raise ProgramError(f"the words of a block are not a stack: {error}") from None
        context = {"shape": shape}
        parts = [np.zeros((0, *shape), np.int32)]
        for k, size in enumerate(sizes):
            if size < 1:
                raise ProgramError(f"a group of {size} items, where at least one was expected")
            start = self.latents and k == len(sizes) - 1
            try:
                parts.append(self.law.pop(stack, size, context, start))
            except NotRepresentable as error:
                raise ProgramError(f"the words of a block contradict its model: {error}") from None
        if not stack.is_empty():
            raise ProgramError("bits are left over at the end of a block")
        return np.concatenate(parts)

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


def _narrowed(name: str, tensor: np.ndarray) -> np.ndarray:
    """The tensor as int32. Raises ProgramError for values that do not fit."""
    narrow = np.ascontiguousarray(tensor, np.int32)
    require(bool((narrow == tensor).all()), f"tensor {name!r} holds values of more than 32 bits")
    return narrow


def _check_use(record: Any, tensors: Tensors) -> None:
    """Refuse programs that use large tensors over and over: each use is checked, some are copied."""
    uses, rest = 0, [record]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, str) and value in tensors:
            uses += tensors[value].size
    require(uses <= MAX_USES, "it uses larger tensors than allowed, or uses them too often")


def _digest(structure: dict[str, Any], tensors: Tensors) -> str:
    """SHA-256 of the canonical structure and of every tensor's values as 32-bit little-endian integers, by name."""
    digest = hashlib.sha256(canonical.dumps(structure))
    for name in sorted(tensors):
        digest.update(tensors[name].astype("<i4").tobytes())
    return digest.hexdigest()


def _require_features(features: Any) -> None:
    require(isinstance(features, list) and all(is_integer(f) for f in features), "it lists no features")
    unknown = sorted(set(features) - KNOWN_FEATURES)
    if unknown:
        raise UnknownFeature(
            f"this model needs feature {', '.join(map(str, unknown))}, which this version does not know; "
            "a newer version of codelength will read it"
        )
