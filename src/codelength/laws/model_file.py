"""The model file: structure, tensors and checksum, in bytes and back (docs/format.md, "Model files").

Nothing is built here: what a structure says is proved by ``program``.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np

from codelength.errors import ProgramError, UnknownFeature
from codelength.exact import canonical
from codelength.exact.network import is_integer
from codelength.exact.operations import OPERATIONS, Tensors, require
from codelength.exact.schedule import DegreeSchedule, RasterSchedule
from codelength.exact.storage import decode_tensor, encode_tensor
from codelength.laws.program import FEATURES, LEAF_FEATURES, STEPS

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


def to_bytes(structure: dict[str, Any], tensors: Tensors) -> bytes:
    """The file of a program."""
    text = canonical.dumps(structure)
    parts = [MAGIC, struct.pack("<HI", VERSION, len(text)), text]
    for name in sorted(tensors):
        data = encode_tensor(tensors[name])
        parts += [struct.pack("<I", len(data)), data]
    body = b"".join(parts)
    return body + hashlib.blake2b(body, digest_size=16).digest()


def from_bytes(data: bytes) -> tuple[dict[str, Any], Tensors]:
    """Structure and tensors of a file. Raises ProgramError or UnknownFeature; believes nothing in it."""
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
    return structure, tensors


def narrowed(name: str, tensor: np.ndarray) -> np.ndarray:
    """The tensor as int32. Raises ProgramError for values that do not fit."""
    narrow = np.ascontiguousarray(tensor, np.int32)
    require(bool((narrow == tensor).all()), f"tensor {name!r} holds values of more than 32 bits")
    return narrow


def check_use(record: Any, tensors: Tensors) -> None:
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


def digest_of(structure: dict[str, Any], tensors: Tensors) -> str:
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
