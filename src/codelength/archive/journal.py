"""Blocks of an archive that is not whole yet, kept beside it so that a run that was killed can go on.

A journal begins with what it is for: a digest of the options and of what is known of the data. Behind it lie blocks as
encoders made them, each under a digest of all that its bytes depend on, the items included, and with a check of its
own. So neither a record that was cut, nor one of other data, is ever taken for a block.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import codelength
from codelength.archive.encoders import Encoded, Encoder, digest_of
from codelength.archive.general import Packed
from codelength.archive.model import Model
from codelength.archive.plan import ByProgram, Plan, Way
from codelength.archive.ragged import Values
from codelength.archive.sizing import Encoders
from codelength.archive.sources import Source
from codelength.archive.wire import CHECK_BYTES, check_of
from codelength.files import journal_path, open_journal

MAGIC = b"\x8fCLJRNL1"
DIGEST_BYTES = 16
#: A record: digest, lengths of its two parts, the parts, check.
HEAD_BYTES = DIGEST_BYTES + 4 + 8


class Journal:
    """The journal of the archive ``path``; use it in a ``with`` statement.

    When the block ends well the journal is removed; else it stays, if there is anything in it.

    identity: of data and options. note: called with sentences about what is taken from an earlier run, and what not.
    """

    def __init__(self, path: Path, identity: bytes, note: Callable[[str], None]) -> None:
        self.path, self.note = journal_path(path), note
        self.used = 0
        self._lock = threading.Lock()
        self._places: dict[bytes, tuple[int, int, int]] = {}  # where the first part begins, and both lengths
        self._file = open_journal(path)
        try:
            self._begin(MAGIC + identity)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, beginning: bytes) -> None:
        found = self._file.read(len(beginning))
        if found == beginning:
            self._end = self._find_records(len(beginning))
        else:
            if found:
                self.note("an earlier run that did not finish had other data or options, so this one begins anew")
            self._file.seek(0)
            self._file.write(beginning)
            self._end = len(beginning)
        self._file.truncate(self._end)
        self._file.flush()
        self._found = len(self._places)

    def _find_records(self, at: int) -> int:
        """Note where whole records lie from ``at`` on; where the first begins that is not whole."""
        size = os.fstat(self._file.fileno()).st_size
        while at + HEAD_BYTES <= size:
            self._file.seek(at)
            head = self._file.read(HEAD_BYTES)
            meta = int.from_bytes(head[DIGEST_BYTES : DIGEST_BYTES + 4], "little")
            body = int.from_bytes(head[DIGEST_BYTES + 4 :], "little")
            end = at + HEAD_BYTES + meta + body + CHECK_BYTES
            if end > size:
                break
            parts = self._file.read(meta + body)
            if check_of(head, parts) != self._file.read(CHECK_BYTES):
                break
            self._places[head[:DIGEST_BYTES]] = at + HEAD_BYTES, meta, body
            at = end
        return at

    def encode(self, encoder: Encoder, values: Values) -> Encoded:
        """A block as the encoder makes it, or made it in an earlier run."""
        digest = digest_of(encoder, values)
        place = self._places.get(digest)
        if place is not None:
            with self._lock:
                self._file.seek(place[0])
                meta, body = self._file.read(place[1]), self._file.read(place[2])
                self.used += 1
            return from_parts(json.loads(meta), body, values)
        block = encoder.encode(values)
        if block.sound:
            self._add(digest, *to_parts(block))
        return block

    def _add(self, digest: bytes, meta: bytes, body: bytes) -> None:
        head = digest + len(meta).to_bytes(4, "little") + len(body).to_bytes(8, "little")
        record = head + meta + body
        with self._lock:
            self._file.seek(self._end)
            self._file.write(record + check_of(record))
            self._file.flush()
            self._places[digest] = self._end + HEAD_BYTES, len(meta), len(body)
            self._end += len(record) + CHECK_BYTES

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        finished = kind is None or not self._places
        if finished and os.name != "nt":  # while it is still locked, so that nobody else's is removed
            self.path.unlink(missing_ok=True)
        self._file.close()
        if finished and os.name == "nt":
            self.path.unlink(missing_ok=True)
        if kind is None and self._found:
            lost = self._found - self.used
            self.note(
                f"{self.used:,} blocks were taken from an earlier run that did not finish"
                + (f", and {lost:,} were not, since the data have changed" if lost > 0 else "")
            )


def to_parts(block: Encoded) -> tuple[bytes, bytes]:
    """A block as JSON and bytes."""
    parts = [
        block.coded,
        None if block.packed is None else block.packed.data,
        None if block.refused is None else block.refused.tobytes(),
        None if block.lengths is None else np.asarray(block.lengths, "<f8").tobytes(),
        block.check,
    ]
    meta = {
        "parts": [None if part is None else len(part) for part in parts],
        "codec": None if block.packed is None else block.packed.codec,
        "sizes": list(block.sizes),
        "startup": block.startup,
        "seconds": block.seconds,
    }
    return json.dumps(meta).encode(), b"".join(part or b"" for part in parts)


def from_parts(meta: dict[str, Any], body: bytes, values: Values) -> Encoded:
    """The block of ``values`` that ``to_parts`` took apart."""
    parts: list[bytes | None] = []
    at = 0
    for length in meta["parts"]:
        parts.append(None if length is None else body[at : at + length])
        at += length or 0
    coded, packed, refused, lengths, check = parts
    mask = None if refused is None else np.frombuffer(refused, bool)
    return Encoded(
        values if mask is None else values[~mask],
        check or b"",
        coded,
        None if packed is None else Packed(meta["codec"], packed),
        mask,
        tuple(meta["sizes"]),
        None if lengths is None else np.frombuffer(lengths, "<f8"),
        meta["startup"],
        seconds=meta["seconds"],
    )


def identity_of(source: Source, model: Model | None, plans: Sequence[Plan], encoders: Encoders) -> bytes:
    """A digest of options and data, as far as data are known before they are read, in sixteen bytes."""
    classes = [
        [c.mode, c.dtype.str, list(c.shape), hashlib.sha256(np.asarray(c.entries, "<i8").tobytes()).hexdigest()]
        for plan in plans
        for c in plan.classes
    ]
    record = [
        codelength.__version__,
        source.kind,
        [source.name, repr(source.arrays), list(source.members), list(source.names or ())],
        None if model is None else model.sha256,
        [len(plan.classes) for plan in plans],
        classes,
        [[_way(way) for way in plan.all_ways] for plan in plans],
        [encoders.items, encoders.seconds, encoders.size, encoders.max_memory, encoders.verify],
    ]
    return hashlib.blake2b(json.dumps(record).encode(), digest_size=DIGEST_BYTES).digest()


def _way(way: Way) -> str:
    if isinstance(way, ByProgram):
        rest = way.levels, way.channels, way.axes, way.event, way.block_items, way.block_bytes, way.taught
        return f"program {way.program.sha256} {rest!r}"
    return repr(way)
