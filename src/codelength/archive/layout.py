"""The frame of an archive, its header and its streams (docs/format.md, "The file", "Header", "Entries").

Whatever a ``parse`` function returns has been checked against itself, but not against a model.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codelength.archive.wire import CHECK_BYTES, Cursor, packed, sint, text, uint, uints
from codelength.errors import CorruptHeader, UnknownFeature
from codelength.exact import canonical

MAGIC = b"\x8fCLEN\r\n\x1a"
END = b"NELC"
VERSION = 1
TRAILER_BYTES = 8 + CHECK_BYTES + 16 + len(END)
FILE_DIGEST_BYTES = 16
DATA_DIGEST_BYTES = 32
MODEL_DIGEST_BYTES = 32
#: In the place of a model's SHA-256, where the writer had none.
NO_MODEL = bytes(MODEL_DIGEST_BYTES).hex()
MAX_HEADER = 2**24
MAX_ELEMENTS = 2**48  # of one item; keeps every later product within 64 bits
MAX_AXES = 32
#: How arrays that are kept as files begin.
NPY_MAGIC = b"\x93NUMPY"
# The third byte of an IDX file by the type of its elements, which are big-endian (LeCun's MNIST page).
IDX_TYPES = {"|u1": 0x08, "|i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}

MODEL, ITEMS, FILES, METADATA, LEARNED = 0, 1, 2, 3, 4
#: The number in a header's features that says that streams of type LEARNED occur.
PROGRAMS_FEATURE = 64
#: The number in a header's features that says that metadata of a kind occurs which the first readers did not know.
FILES_FEATURE = 65
#: Numbers in a header's features that are the container's own, and no model's.
CONTAINER_FEATURES = frozenset({PROGRAMS_FEATURE, FILES_FEATURE})
MAX_LEVELS = 2**16
KINDS = ("array", "npz", "idx", "folder")
_DTYPE = re.compile(r"[|]([bui]1)|[<>]([ui][248]|f[248])")

# Mode: dtype of a channel, number of channels (0: no axis for them).
MODES = {
    "1": ("|b1", 0),
    "L": ("|u1", 0),
    "LA": ("|u1", 2),
    "RGB": ("|u1", 3),
    "RGBA": ("|u1", 4),
    "I;16": ("<u2", 0),
    "LA;16": ("<u2", 2),
    "RGB;16": ("<u2", 3),
    "RGBA;16": ("<u2", 4),
}


def is_item_dtype(dtype: np.dtype) -> bool:
    """Whether items of this type can lie in a block; arrays of other types are kept as whole files."""
    return dtype.names is None and _DTYPE.fullmatch(dtype.str) is not None


@dataclass(frozen=True)
class ArrayInfo:
    """One array whose rows are items."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    fortran: bool = False


@dataclass(frozen=True)
class Header:
    kind: str
    memory: int
    features: tuple[int, ...]
    model_bytes: int
    model_name: str
    model_sha256: str
    name: str = ""
    arrays: tuple[ArrayInfo, ...] = ()
    members: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """The JSON part; the digest of the model follows it in the file."""
        return canonical.dumps(
            _without_defaults(
                arrays=[
                    _without_defaults(dtype=a.dtype, fortran=a.fortran, name=a.name, shape=list(a.shape))
                    for a in self.arrays
                ],
                features=list(self.features),
                kind=self.kind,
                members=list(self.members),
                memory=self.memory,
                model=_without_defaults(bytes=self.model_bytes, name=self.model_name),
                name=self.name,
            )
        )

    @staticmethod
    def parse(data: bytes, digest: bytes) -> Header:
        """digest: the 32 bytes of the model's SHA-256. Raises CorruptHeader."""
        try:
            value = _object(canonical.loads(data), "arrays features kind members memory model name")
            model = _object(value.get("model", {}), "bytes name")
            header = Header(
                kind=_string(value.get("kind", "")),
                memory=_natural(value.get("memory", 0)),
                features=tuple(_natural(number) for number in _list(value.get("features", []))),
                model_bytes=_natural(model.get("bytes", 0)),
                model_name=_string(model.get("name", "")),
                model_sha256=digest.hex(),
                name=_string(value.get("name", "")),
                arrays=tuple(_array_info(entry) for entry in _list(value.get("arrays", []))),
                members=tuple(_string(name) for name in _list(value.get("members", []))),
            )
            _require(header.to_bytes() == data, "it states a value that goes without saying")
            header._check()
        except ValueError as error:
            raise CorruptHeader(
                f"the header of this archive is corrupt: {error}; get a fresh copy of the file"
            ) from None
        return header

    def _check(self) -> None:
        _require(self.kind in KINDS, f"it states an unknown kind of data, {self.kind!r:.40}")
        _require(list(self.features) == sorted(set(self.features)), "its feature numbers are not sorted")
        if self.kind == "folder":
            _require(not self.arrays and not self.name, "it describes arrays for a folder")
        elif self.kind != "npz":
            _require(len(self.arrays) <= 1, "it describes several arrays where one may stand")
        if self.kind == "npz":
            names = [array.name for array in self.arrays]
            _require(len(set(self.members)) == len(self.members), "two members have the same name")
            _require(
                len(set(names)) == len(names) and set(names) <= set(self.members),
                "its arrays are not members",
            )
            known = set(names)
            _require(names == [name for name in self.members if name in known], "its arrays are out of order")
        else:
            _require(not self.members, "it names members outside an npz")
        _require(
            len({(array.dtype, array.shape[1:]) for array in self.arrays}) <= 1,
            "its arrays have different items",
        )
        _require(not self.arrays or 0 < self.items < 2**62, "its arrays hold no items, or too many")

    @property
    def model_features(self) -> tuple[int, ...]:
        """The feature numbers that the model needs; the others are the container's own."""
        return tuple(number for number in self.features if number not in CONTAINER_FEATURES)

    @property
    def container_features(self) -> tuple[int, ...]:
        """The container's own feature numbers, but that of programs, which follows from what the archive holds."""
        return tuple(n for n in self.features if n in CONTAINER_FEATURES and n != PROGRAMS_FEATURE)

    @property
    def items(self) -> int:
        """Number of items that the arrays hold."""
        return sum(array.shape[0] for array in self.arrays)

    @property
    def item_shape(self) -> tuple[int, ...]:
        return self.arrays[0].shape[1:] if self.arrays else ()

    @property
    def kept_members(self) -> tuple[str, ...]:
        """Names of the arrays that are kept as whole files."""
        coded = {array.name for array in self.arrays}
        return tuple(name for name in self.members if name not in coded)


def _without_defaults(**values: Any) -> dict[str, Any]:
    """Zeros, False and what is empty go without saying; every byte of a header counts in small archives."""
    return {key: value for key, value in values.items() if value}


def _array_info(value: Any) -> ArrayInfo:
    value = _object(value, "dtype fortran name shape")
    shape = tuple(_natural(size) for size in _list(value.get("shape", [])))
    _require(1 <= len(shape) <= MAX_AXES, "it describes an array without axes or with too many")
    _require(shape[0] < 2**62 and 0 < math.prod(shape[1:]) <= MAX_ELEMENTS, "it describes an impossible array")
    dtype, fortran = _string(value.get("dtype", "")), value.get("fortran", False)
    _require(_DTYPE.fullmatch(dtype) is not None, "it describes an array of an unknown type")
    _require(isinstance(fortran, bool), "its description of an array is malformed")
    return ArrayInfo(_string(value.get("name", "")), dtype, shape, fortran)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def _object(value: Any, keys: str) -> dict[str, Any]:
    _require(isinstance(value, dict) and set(value) <= set(keys.split()), f"it may have the keys {keys} only")
    return value


def _list(value: Any) -> list[Any]:
    _require(isinstance(value, list), "it has something else where a list belongs")
    return value


def _string(value: Any) -> str:
    _require(isinstance(value, str), "it has something else where a text belongs")
    return value


def _natural(value: Any) -> int:
    _require(type(value) is int and value >= 0, "it has something else where a natural number belongs")
    return value


@dataclass(frozen=True)
class Coded:
    """A stored channel that is the coded channel of that number."""

    number: int


@dataclass(frozen=True)
class Constant:
    """A stored channel that has one value everywhere."""

    value: int


Channel = Coded | Constant


@dataclass(frozen=True)
class Stream:
    """Entries of one sort that lie behind each other.

    type: MODEL, ITEMS, FILES, METADATA or LEARNED. mode, dtype, shape: of an item (MODEL, ITEMS, LEARNED).
    axes, event, levels, channels: how an item becomes a model's event (MODEL, LEARNED; see ``fitting.py``).
    A shape of LEARNED that begins with two zeros is free: each item has a height and a width of its own.
    """

    type: int
    mode: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    event: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    channels: tuple[Channel, ...] = ()

    @property
    def holds_items(self) -> bool:
        return self.type in (MODEL, ITEMS, LEARNED)

    @property
    def is_free(self) -> bool:
        return self.type == LEARNED and 0 in self.shape

    @property
    def elements(self) -> int:
        """Of an item; 0 where its size is free."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        return self.elements * np.dtype(self.dtype).itemsize

    @property
    def coded_channels(self) -> int:
        """Channels of an event (LEARNED)."""
        return self.event[2] if len(self.event) > 2 else 1

    def sized(self, height: int, width: int) -> Stream:
        """The same for items of one size, where it is free."""
        if not self.is_free:
            return self
        return replace(self, shape=(height, width, *self.shape[2:]), event=(height, width, *self.event[2:]))

    def to_bytes(self) -> bytes:
        data = uint(self.type)
        if self.holds_items:
            data += text(self.mode) + text(self.dtype) + uints(self.shape)
        if self.type in (MODEL, LEARNED):
            data += uints(self.axes) + uints(self.event)
        if self.type == MODEL:
            data += uint(len(self.levels)) + b"".join(map(sint, self.levels))
        if self.type == LEARNED:
            data += packed(_levels_to_bytes(self.levels))
            data += uint(len(self.channels)) + b"".join(map(_channel_to_bytes, self.channels))
        return data

    @staticmethod
    def parse(cursor: Cursor) -> Stream:
        type_ = cursor.uint()
        if type_ > LEARNED:
            raise UnknownFeature(
                f"this archive has a stream of type {type_}, which this version does not know; upgrade codelength"
            )
        if type_ not in (MODEL, ITEMS, LEARNED):
            return Stream(type_)
        mode, dtype, shape = cursor.text(), cursor.text(), tuple(cursor.uints())
        if _DTYPE.fullmatch(dtype) is None:
            raise cursor.fail(f"it states the element type {dtype!r:.40}")
        free = type_ == LEARNED and bool(mode) and shape[:2] == (0, 0)
        if len(shape) > MAX_AXES or not 0 < math.prod(shape[2:] if free else shape) <= MAX_ELEMENTS:
            raise cursor.fail("it states an impossible item shape")
        if mode:
            expected, channels = MODES.get(mode, ("", 0))
            if dtype != expected or shape[2:] != ((channels,) if channels else ()) or len(shape) < 2:
                raise cursor.fail(f"it states items of mode {mode!r:.40} with the wrong type or shape")
        if type_ == ITEMS:
            return Stream(type_, mode, dtype, shape)
        axes, event = tuple(cursor.uints()), tuple(cursor.uints())
        if sorted(axes) != list(range(len(shape))):
            raise cursor.fail("it states axes that are no permutation")
        if type_ == MODEL:
            levels = tuple(cursor.sint() for _ in range(cursor.count()))
            if len(event) > MAX_AXES or math.prod(event) != math.prod(shape):
                raise cursor.fail("it states an event shape that does not hold an item")
            return Stream(type_, mode, dtype, shape, axes, event, levels)
        levels = _parse_levels(cursor)
        sources = tuple(_parse_channel(cursor) for _ in range(cursor.count()))
        stream = Stream(type_, mode, dtype, shape, axes, event, levels, sources)
        wrong = stream.fault()
        if wrong:
            raise cursor.fail(wrong)
        return stream

    def fault(self) -> str:
        """What is wrong with the axes, event and channels of a stream of type LEARNED; empty where nothing is."""
        sizes = self.event[:2]
        if len(self.event) not in (2, 3) or (sizes != (0, 0) if self.is_free else 0 in sizes) or 0 in self.event[2:]:
            return "it states an event shape that is no image's"
        if self.is_free and self.axes != tuple(range(len(self.shape))):
            return "it transposes items of free sizes"
        stored = len(self.channels) or self.coded_channels
        pixels = 1 if self.is_free else math.prod(sizes)
        if pixels * stored != math.prod(self.shape[2:] if self.is_free else self.shape):
            return "it states an event shape that does not hold an item"
        coded = {channel.number for channel in self.channels if isinstance(channel, Coded)}
        if self.channels and coded != set(range(self.coded_channels)):
            return "it states channels that are not those of its events"
        return ""


def _levels_to_bytes(levels: tuple[int, ...]) -> bytes:
    return b"".join([*map(sint, levels[:1]), *(uint(b - a) for a, b in itertools.pairwise(levels))])


def _parse_levels(cursor: Cursor) -> tuple[int, ...]:
    part = Cursor(cursor.packed(), cursor.what)
    levels: list[int] = []
    while part.left and len(levels) < MAX_LEVELS:
        levels.append(levels[-1] + part.uint() if levels else part.sint())
    if part.left or any(a == b for a, b in itertools.pairwise(levels)) or (levels and levels[-1] >= 2**63):
        raise cursor.fail("it states levels that are too many, too large or not ascending")
    return tuple(levels)


def _channel_to_bytes(channel: Channel) -> bytes:
    return uint(channel.number + 1) if isinstance(channel, Coded) else uint(0) + sint(channel.value)


def _parse_channel(cursor: Cursor) -> Channel:
    number = cursor.uint()
    return Coded(number - 1) if number else Constant(cursor.sint())


def model_block_memory(stream: Stream, count: int, group_memory: int) -> int:
    """Bytes of memory for decoding a block of ``count`` items; ``group_memory`` is what the model needs."""
    return group_memory + values_memory(stream.elements * count, stream.dtype)


def values_memory(elements: int, dtype: str) -> int:
    """Bytes of memory that the decoded values of a block take on their way."""
    return elements * (16 + 2 * np.dtype(dtype).itemsize)


def plain_block_memory(unpacked: int) -> int:
    """Bytes of memory for unpacking a block of that many bytes."""
    return 4 * unpacked
