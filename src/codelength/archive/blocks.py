"""Decoding the blocks of an archive, without trusting them."""

from __future__ import annotations

import lzma
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from codelength.archive import codecs
from codelength.archive.directory import Block, Directory
from codelength.archive.fitting import to_items
from codelength.archive.frame import read_at
from codelength.archive.layout import (
    MODEL,
    NO_MODEL,
    Header,
    Stream,
    model_block_memory,
    plain_block_memory,
)
from codelength.archive.learned import Programs
from codelength.archive.model import Model, ModelLoader, ModelResolver, ProgramLoader
from codelength.archive.ragged import Ragged, Values, split
from codelength.archive.wire import check_of
from codelength.errors import (
    CorruptBlock,
    CorruptHeader,
    ProgramError,
    StackExhausted,
    TooLarge,
    UnknownFeature,
    WrongModel,
)


@dataclass
class Blocks:
    """The blocks of an open file, and the model and the programs that code them. Several threads may decode.

    model_start: where in the file the model lies, if it does. resolver: finds one that does not. loader: makes a model
    of its bytes, program_loader a program. max_memory: bytes that decoding a block may need.
    """

    path: Path
    file: BinaryIO
    header: Header
    directory: Directory
    model_start: int
    resolver: ModelResolver | None
    loader: ModelLoader
    program_loader: ProgramLoader
    max_memory: float
    _model: Model | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _one_model: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.programs = Programs(self.directory, self.program_loader, self._read_teacher)

    def load_model(self) -> Model:
        """The frozen model, embedded or found by the resolver; raises WrongModel, ProgramError, UnknownFeature."""
        with self._lock:
            if self._model is None:
                model = self._find_model()
                if model.sha256 != self.header.model_sha256:
                    raise WrongModel(
                        f"this archive needs the model {self._needed}, but got one with the SHA-256 "
                        f"{model.sha256[:16]}...; give the model that it was made with"
                    )
                if tuple(sorted(model.features)) != self.header.model_features:
                    raise CorruptHeader(
                        "the header of this archive names other features than its model; get a fresh copy"
                    )
                self._model = model
            return self._model

    @property
    def _needed(self) -> str:
        name = f"{self.header.model_name!r:.80} " if self.header.model_name else ""
        return f"{name}with the SHA-256 {self.header.model_sha256[:16]}..."

    def _find_model(self) -> Model:
        if self.header.model_bytes:
            return self.loader(read_at(self.file, self.model_start, self.header.model_bytes))
        if self.header.model_sha256 == NO_MODEL:
            raise WrongModel("this archive has no trained model; programs of its own code its items, or general codecs")
        found = self.resolver(self.header.model_sha256, self.header.model_name) if self.resolver else None
        if found is None:
            raise WrongModel(f"this archive needs the model {self._needed}, which it does not hold; give the model")
        return found

    def decode(self, block: Block) -> Values:
        """Original data of a block: items (n, *shape), or of several shapes, or bytes as uint8 (n,).

        Raises CorruptBlock, and whatever ``load_model`` raises.
        """
        stream = self.directory.streams[block.stream]
        if stream.type == MODEL:
            self.load_model()
        try:
            self._check_memory_of(block, stream)
            stored = self._read(block)
            if stream.type == MODEL:
                values: Values = self._decode_model_block(block, stored)
            elif block.program:
                values = self.programs.decode(block, stored)
            elif stream.holds_items:
                values = self._unpack_items(block, stream, stored)
            else:
                values = np.frombuffer(codecs.unpack_bytes(block.codec, stored, block.count), np.uint8)
        except UnknownFeature:
            raise
        except (StackExhausted, ProgramError, ValueError, lzma.LZMAError) as error:
            raise self._corrupt(block, str(error)) from error
        data = values.tobytes() if isinstance(values, Ragged) else np.ascontiguousarray(values).tobytes()
        if check_of(data) != block.check:
            raise self._corrupt(block, "it decodes to other data than it was made from")
        return values

    def _read(self, block: Block) -> bytes:
        return read_at(self.file, block.offset, block.length)

    def _read_teacher(self, block: Block) -> bytes:
        """The bytes of a block that is decoded for what it teaches, when its memory has been checked."""
        self._check_memory_of(block, self.directory.streams[block.stream])
        return self._read(block)

    def _check_memory_of(self, block: Block, stream: Stream) -> None:
        if stream.type == MODEL:
            model = self.load_model()
            if not model.space.admits(stream.event):
                raise ValueError("its items do not fit the model")
            stated = model.memory_bytes(max(block.sizes), stream.event)
            need = model_block_memory(stream, block.count, stated)
        elif block.program:
            need = self.programs.memory(block)
            stated = need - self.programs.values_memory(block)
        else:
            unpacked = block.count
            if stream.holds_items:
                unpacked = self.directory.item_bytes(block.stream, block.first, block.first + block.count)
            self.check_memory(block, plain_block_memory(unpacked))
            return
        self.check_memory(block, need - stated)
        # What a model states is an estimate, which may grow from one version of this program to the next.
        if need > max(self.header.memory, self.max_memory):
            raise TooLarge(
                f"decoding block {block.number} of {self.path} needs {need} bytes of memory, more than the limit "
                f"of {int(self.max_memory)}; raise the limit with max_memory if you trust it"
            )

    def _unpack_items(self, block: Block, stream: Stream, stored: bytes) -> Values:
        dtype, shapes = np.dtype(stream.dtype), self.directory.shapes_of(block)
        if block.codec == codecs.ALONE:
            data = codecs.unpack_alone(stored, dtype, shapes)
        elif block.codec == codecs.WEBP and len(set(shapes)) > 1:
            raise ValueError("a WebP sheet of items of several sizes")
        elif block.codec == codecs.WEBP:
            data = codecs.unpack_items(block.codec, stored, dtype, (block.count, *shapes[0]))
        else:
            length = self.directory.item_bytes(block.stream, block.first, block.first + block.count)
            data = codecs.unpack_bytes(block.codec, stored, length)
        return split(data, dtype, shapes)

    def _decode_model_block(self, block: Block, stored: bytes) -> np.ndarray:
        stream = self.directory.streams[block.stream]
        model = self.load_model()
        with self._one_model:  # it has threads of its own, and memory for one group
            events = np.asarray(model.decode_block(np.frombuffer(stored, "<u4"), list(block.sizes), stream.event))
        if events.shape != (block.count, *stream.event) or events.dtype.kind not in "iu":
            raise ValueError(f"the model returned {events.dtype} of shape {events.shape}")
        return to_items(events, stream)

    def check_memory(self, block: Block, need: int) -> None:
        """Raise CorruptBlock where a block needs more memory than the header states."""
        # The header's word has been compared with the limit when the archive was opened.
        if need > self.header.memory:
            raise self._corrupt(block, f"it needs {need} bytes of memory, more than the header states")

    def _corrupt(self, block: Block, reason: str) -> CorruptBlock:
        error = CorruptBlock(
            f"block {block.number} of this archive is corrupt: {reason}; get a fresh copy, or keep going without it"
        )
        error.block = block.number
        return error


def joined(directory: Directory, stream: int, start: int, size: int, decode: Callable[[Block], Any]) -> Iterator[bytes]:
    """The bytes ``start`` to ``start + size`` of a stream of files, in pieces; ``decode`` gives those of a block."""
    while size:
        block = directory.blocks_of[stream][int(directory.block_at(stream, start))]
        piece = decode(block)[start - block.first : start - block.first + size].tobytes()
        yield piece
        start += len(piece)
        size -= len(piece)
