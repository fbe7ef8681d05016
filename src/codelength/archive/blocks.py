"""Decoding the blocks of an archive, without trusting them."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from codelength.archive import codecs
from codelength.archive.directory import Block, Directory
from codelength.archive.fitting import to_items
from codelength.archive.frame import read_at
from codelength.archive.layout import ITEMS, MODEL, Header, model_block_memory, plain_block_memory
from codelength.archive.model import Model, ModelLoader, ModelResolver
from codelength.archive.wire import check_of
from codelength.errors import CorruptBlock, CorruptHeader, ProgramError, StackExhausted, TooLarge, WrongModel


@dataclass
class Blocks:
    """The blocks of an open file, and the model that codes them.

    model_start: where in the file the model lies, if it does. resolver: finds one that does not. loader: makes a model
    of its bytes. max_memory: bytes that decoding may need.
    """

    path: Path
    file: BinaryIO
    header: Header
    directory: Directory
    model_start: int
    resolver: ModelResolver | None
    loader: ModelLoader
    max_memory: float
    _model: Model | None = None

    def load_model(self) -> Model:
        """The frozen model, embedded or found by the resolver; raises WrongModel, ProgramError, UnknownFeature."""
        if self._model is None:
            self._model = self._find_model()
            if self._model.sha256 != self.header.model_sha256:
                raise WrongModel(
                    f"this archive needs the model {self._needed}, but got one with the SHA-256 "
                    f"{self._model.sha256[:16]}...; give the model that it was made with"
                )
            if tuple(sorted(self._model.features)) != self.header.features:
                raise CorruptHeader("the header of this archive names other features than its model; get a fresh copy")
        return self._model

    @property
    def _needed(self) -> str:
        name = f"{self.header.model_name!r:.80} " if self.header.model_name else ""
        return f"{name}with the SHA-256 {self.header.model_sha256[:16]}..."

    def _find_model(self) -> Model:
        if self.header.model_bytes:
            return self.loader(read_at(self.file, self.model_start, self.header.model_bytes))
        found = self.resolver(self.header.model_sha256, self.header.model_name) if self.resolver else None
        if found is None:
            raise WrongModel(f"this archive needs the model {self._needed}, which it does not hold; give the model")
        return found

    def decode(self, block: Block) -> np.ndarray:
        """Original data of a block: items (n, *shape), or bytes as uint8 (n,).

        Raises CorruptBlock, and whatever ``load_model`` raises.
        """
        stream = self.directory.streams[block.stream]
        if stream.type == MODEL:
            model = self.load_model()
            if not model.space.admits(stream.event):
                raise self._corrupt(block, "its items do not fit the model")
            group = self._group_memory(model, block)
            need = model_block_memory(stream, block.count, group)
            self.check_memory(block, need - group)
            # What a model states is an estimate, which may grow from one version of this program to the next.
            if need > max(self.header.memory, self.max_memory):
                raise TooLarge(
                    f"decoding block {block.number} of {self.path} needs {need} bytes of memory, more than the limit "
                    f"of {int(self.max_memory)}; raise the limit with max_memory if you trust it"
                )
        else:
            unpacked = block.count * (stream.item_bytes if stream.type == ITEMS else 1)
            self.check_memory(block, plain_block_memory(unpacked))
        stored = read_at(self.file, block.offset, block.length)
        try:
            if stream.type == MODEL:
                values = self._decode_model_block(block, stored)
            elif stream.type == ITEMS:
                shape = (block.count, *stream.shape)
                data = codecs.unpack_items(block.codec, stored, np.dtype(stream.dtype), shape)
                values = np.frombuffer(data, stream.dtype).reshape(shape)
            else:
                values = np.frombuffer(codecs.unpack_bytes(block.codec, stored, block.count), np.uint8)
        except (StackExhausted, ProgramError, ValueError, lzma.LZMAError) as error:
            raise self._corrupt(block, str(error)) from error
        if check_of(np.ascontiguousarray(values).tobytes()) != block.check:
            raise self._corrupt(block, "it decodes to other data than it was made from")
        return values

    def _decode_model_block(self, block: Block, stored: bytes) -> np.ndarray:
        stream = self.directory.streams[block.stream]
        model = self.load_model()
        events = np.asarray(model.decode_block(np.frombuffer(stored, "<u4"), list(block.sizes), stream.event))
        if events.shape != (block.count, *stream.event) or events.dtype.kind not in "iu":
            raise ValueError(f"the model returned {events.dtype} of shape {events.shape}")
        return to_items(events, stream)

    def _group_memory(self, model: Model, block: Block) -> int:
        return model.memory_bytes(max(block.sizes), self.directory.streams[block.stream].event)

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


def joined(
    directory: Directory, stream: int, start: int, size: int, decode: Callable[[Block], np.ndarray]
) -> Iterator[bytes]:
    """The bytes ``start`` to ``start + size`` of a stream of files, in pieces; ``decode`` gives those of a block."""
    while size:
        block = directory.blocks_of[stream][int(directory.block_at(stream, start))]
        piece = decode(block)[start - block.first : start - block.first + size].tobytes()
        yield piece
        start += len(piece)
        size -= len(piece)
