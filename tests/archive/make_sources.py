"""Small sources and image writers for the tests of the archive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codelength.archive.sources import FolderSource


@dataclass
class File:
    """A file of a folder that lies in memory."""

    name: str
    mode: str = ""
    pixels: np.ndarray | None = None
    data: bytes = b""
    is_image: bool = True
    metadata: bytes = b""
    features: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.pixels is None else self.pixels.shape

    def read_pixels(self) -> np.ndarray:
        return self.pixels

    def read_again(self):
        return self.pixels

    def read_bytes(self):
        return [self.data[:5], self.data[5:]]


def mixed_files(seed: int = 0) -> list[File]:
    """Images of several sizes and modes in no order of sizes, files kept whole, some with metadata."""
    rng = np.random.default_rng(seed)
    files = []
    for k in range(23):
        size = [(3, 5), (4, 4), (2, 7)][int(rng.integers(3))]
        name = f"a/{k:02}.png" if k % 2 else f"b {k}.png"
        if k % 5 == 4:
            files.append(File(name, "RGBA", rng.integers(0, 256, (*size, 4)).astype(np.uint8)))
        elif k == 7:
            files.append(File("strange.jpg", data=bytes(rng.integers(0, 256, 700).astype(np.uint8))))
        elif k == 8:
            files.append(File("empty.gif"))
        else:
            pixels = rng.integers(0, 16, size).astype(np.uint8)
            if k % 7 == 3:
                pixels[0, 0] = 200  # beyond a model of 16 symbols
            files.append(File(name, "L", pixels, metadata=b"P" * k if k % 3 == 0 else b""))
    files.append(File("notes/readme.txt", data=b"words " * 2000, is_image=False))
    files.append(File("notes/nothing", is_image=False))
    return files


def mixed_source(seed: int = 0) -> FolderSource:
    return FolderSource(mixed_files(seed))


class RawImages:
    """Writes pixels, mode and metadata one behind the other; `.jpg` cannot hold pixels."""

    def written_name(self, name: str, mode: str, metadata: bytes = b"") -> str:
        return name if name.endswith(".png") else name + ".png"

    def encode(self, values: np.ndarray, mode: str, metadata: bytes, name: str) -> bytes:
        return mode.encode() + repr(values.shape).encode() + values.tobytes() + metadata
