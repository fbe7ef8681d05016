"""The general codec that suits a block of items best."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from codelength.archive import codecs
from codelength.archive.ragged import Ragged, Values, gather

#: Blocks of so many bytes are tried as a whole; of larger ones a part is looked at first.
LOOK_BYTES = 2**18
#: A part of a block that comes out so much larger than what another coder made of all says that the whole would, too.
LOOK_MARGIN = 1.15


@dataclass(frozen=True)
class Packed:
    """The bytes of a block as a general codec stores them."""

    codec: int
    data: bytes


def pack(values: Values, *, alone: bool, below: int | None = None) -> Packed | None:
    """Items as the codec stores them that makes the fewest bytes of them (the first of equals).

    alone: whether ``codecs.ALONE`` may be used. below: bytes of another coder, which are to be undercut; None is
    returned where a part of the items already tells that no general codec does.
    """
    if below is not None and not _may_undercut(values, below):
        return None
    if isinstance(values, np.ndarray):
        best = Packed(*codecs.pack_items(values))
    else:
        best = Packed(*codecs.pack_bytes(values.tobytes()))
    if alone and (isinstance(values, Ragged) or len(values) > 1):
        each = codecs.pack_alone(values, len(best.data))
        if each is not None:
            best = Packed(codecs.ALONE, each)
    return best


def _may_undercut(values: Values, below: int) -> bool:
    raw = values.nbytes
    if raw <= LOOK_BYTES:
        return True
    items = list(values)
    if len({hashlib.blake2b(item.tobytes(), digest_size=16).digest() for item in items}) < len(items):
        return True  # what comes again is found by xz, but not by looking at a part
    some = _part(items)
    found = pack(some, alone=True)
    assert found is not None
    return len(found.data) * raw <= LOOK_MARGIN * below * some.nbytes


def _part(items: list[np.ndarray]) -> Values:
    """About an eighth of some items: every eighth, or a band of each where they are few."""
    if len(items) >= 32:
        return _gathered(items[3::8])
    bands = []
    for item in items:
        height = max(1, len(item) // 8)
        start = (len(item) - height) // 2
        bands.append(item[start : start + height])
    return _gathered(bands)


def _gathered(items: list[np.ndarray]) -> Values:
    return gather([np.ascontiguousarray(item)[None] for item in items])
