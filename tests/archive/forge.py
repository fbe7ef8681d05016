"""Takes archives apart and puts them together again, with lies in them but with honest checksums."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from fake_model import loader
from fake_program import load_fake

from codelength.archive.directory import Directory
from codelength.archive.layout import END, MAGIC, VERSION, Header
from codelength.archive.reader import Archive
from codelength.archive.wire import check_of, uint


class Parts:
    """The parts of an archive; ``write`` joins them."""

    def __init__(self, path: Path) -> None:
        with Archive.open(path, model_loader=loader, program_loader=load_fake) as archive:
            self.header: Header = archive.header
            self.directory: Directory = archive.directory
            data = path.read_bytes()
            start = archive._blocks.model_start
        self.model = data[start : start + self.header.model_bytes]
        start += len(self.model) + 8
        self.blocks = data[start : start + sum(block.length for block in self.directory.blocks)]
        self.version = VERSION
        self.header_bytes: bytes | None = None
        self.directory_bytes: bytes | None = None

    def lie(self, **changes: object) -> Parts:
        """Change fields of the directory."""
        self.directory = replace(self.directory, **changes)
        return self

    def lie_about_header(self, **changes: object) -> Parts:
        self.header = replace(self.header, **changes)
        return self

    def lie_about_block(self, number: int = 0, **changes: object) -> Parts:
        blocks = list(self.directory.blocks)
        blocks[number] = replace(blocks[number], **changes)
        return self.lie(blocks=tuple(blocks))

    def lie_about_stream(self, number: int = 0, **changes: object) -> Parts:
        streams = list(self.directory.streams)
        streams[number] = replace(streams[number], **changes)
        return self.lie(streams=tuple(streams))

    def write(self, path: Path) -> Path:
        header = self.header.to_bytes() if self.header_bytes is None else self.header_bytes
        directory = self.directory.to_bytes() if self.directory_bytes is None else self.directory_bytes
        data = (
            MAGIC
            + uint(self.version)
            + uint(len(header))
            + header
            + bytes.fromhex(self.header.model_sha256)
            + self.model
        )
        data += check_of(data) + self.blocks + directory
        length = len(directory).to_bytes(8, "little")
        data += length + check_of(directory, length)
        path.write_bytes(data + hashlib.blake2b(data, digest_size=16).digest() + END)
        return path
