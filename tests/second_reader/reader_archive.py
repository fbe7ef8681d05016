"""The container of docs/format.md: an archive's header, directory, blocks and entries."""

from __future__ import annotations

import hashlib
import io
import lzma
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from reader_coding import Bytes, Refused, check, parse_json
from reader_program import KNOWN_FEATURES, Model

HEADER_KEYS = {"features", "kind", "memory", "model", "name", "arrays", "members"}
FROM_MODEL, KEPT_ITEMS, FILES, METADATA = range(4)


def digest(data: bytes, size: int = 8) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


class Source(Bytes):
    """The building blocks of the container."""

    def uint(self) -> int:
        begin = self.at
        value = self.varint()
        check(value < 2**63, "a number of more than 63 bits")
        check(self.at - begin == 1 or self.data[self.at - 1], "a number with superfluous bytes")
        return value

    def sint(self) -> int:
        value = self.uint()
        return -(value + 1 >> 1) if value & 1 else value >> 1

    def text(self) -> str:
        data = self.take(self.uint())
        check(all(0x20 <= byte <= 0x7E for byte in data), "text beyond ASCII")
        return data.decode("ascii")

    def uints(self) -> list[int]:
        return [self.uint() for _ in range(self.uint())]

    def packed(self) -> bytes:
        codec, length = self.uint(), self.uint()
        return unpack(codec, self.take(self.uint()), length)


def unpack(codec: int, data: bytes, length: int) -> bytes:
    if codec == 1:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2**27)
        data = unpacker.decompress(data, length + 1)
        check(unpacker.eof and not unpacker.unused_data, "an .xz stream of another length")
    else:
        check(codec == 0, f"unknown codec {codec}")
    check(len(data) == length, "packed bytes of another length")
    return data


def unpack_sheet(data: bytes, count: int, shape: tuple[int, ...]) -> bytes:
    """The items' bytes in a lossless WebP."""
    from PIL import Image

    H, W, channels = (*shape, 1)[:3]
    rows = min(count, 16383 // H)
    columns = -(-count // rows)
    sheet = Image.open(io.BytesIO(data))
    check(sheet.format == "WEBP" and sheet.size == (columns * W, rows * H), "a sheet of another size")
    pixels = np.asarray(sheet.convert("RGBA" if channels == 4 else "RGB"))[..., :channels]
    images = [pixels[k % rows * H :, k // rows * W :][:H, :W] for k in range(count)]
    return b"".join(image.tobytes() for image in images)


@dataclass
class Block:
    stream: int
    at: int
    length: int
    count: int
    sizes: list[int]
    codec: int
    check: bytes


@dataclass
class Stream:
    kind: int
    mode: str = ""
    dtype: np.dtype = field(default_factory=lambda: np.dtype("u1"))
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    event: tuple[int, ...] = ()
    levels: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


@dataclass
class Item:
    """An entry: pixels of a mode with metadata, or the bytes of a kept file."""

    name: bytes = b""
    mode: str = ""
    values: np.ndarray | None = None
    data: bytes = b""


class Archive:
    def __init__(self, data: bytes, model: bytes | None = None):
        self.data = data
        source = Source(data)
        check(data[:8] == b"\x8fCLEN\r\n\x1a", "not an archive")
        source.take(8)
        check(source.uint() == 1, "an archive of another version")
        check(data[-4:] == b"NELC", "an archive that is cut")
        self.header = header = parse_json(source.take(source.uint()))
        check(set(header) <= HEADER_KEYS, "unknown keys of a header")
        for record in (header, header.get("model", {}), *header.get("arrays", [])):
            check(all(record.values()), "a header that states zero, false or nothing")
        self.model_digest = source.take(32)
        embedded = source.take(header.get("model", {}).get("bytes", 0))
        check(digest(data[: source.at]) == source.take(8), "a damaged header")
        blocks_at = source.at
        trailer = Source(data[-36:])
        length = trailer.fixed(8)
        directory = data[len(data) - 36 - length : len(data) - 36]
        check(len(directory) == length, "a directory that is longer than the file")
        check(digest(directory + data[-36:-28]) == trailer.take(8), "a damaged directory")
        self.intact = digest(data[:-20], 16) == trailer.take(16)
        self._read_directory(Source(directory), blocks_at)
        ends = blocks_at + sum(block.length for block in self.blocks)
        check(ends == len(data) - 36 - length, "parts that do not add up to the file")
        unknown = set(header.get("features", [])) - KNOWN_FEATURES
        check(not unknown, f"unknown features {sorted(unknown)}")
        self.model_file = embedded or model
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        if self._model is None:
            check(self.model_file, "an archive without its model")
            self._model = Model(self.model_file)
            check(self._model.sha256 == self.model_digest.hex(), "another model")
            check(self._model.structure["features"] == self.header.get("features", []), "features of another model")
        return self._model

    def _read_directory(self, source: Source, at: int) -> None:
        self.items, self.kept = source.uint(), source.uint()
        self.streams = []
        for _ in range(source.uint()):
            stream = Stream(source.uint())
            check(stream.kind <= METADATA, "a stream of an unknown type")
            if stream.kind in (FROM_MODEL, KEPT_ITEMS):
                stream.mode, stream.dtype = source.text(), np.dtype(source.text())
                stream.shape = tuple(source.uints())
            if stream.kind == FROM_MODEL:
                stream.axes, stream.event = tuple(source.uints()), tuple(source.uints())
                stream.levels = [source.sint() for _ in range(source.uint())]
                check(sorted(stream.axes) == list(range(len(stream.shape))), "axes that are no permutation")
                check(prod(stream.event) == prod(stream.shape), "an event of another size")
            self.streams.append(stream)
        self.blocks = []
        for _ in range(source.uint()):
            number, length, count = source.uint(), source.uint(), source.uint()
            check(number < len(self.streams) and count, "a block of no stream, or of nothing")
            coded = self.streams[number].kind == FROM_MODEL
            sizes = source.uints() if coded else []
            codec = 0 if coded else source.uint()
            if coded:
                sizes.append(count - sum(sizes))
                check(all(size >= 1 for size in sizes), "a group without items")
            block = Block(number, at, length, count, sizes, codec, source.take(8))
            at += length
            self.blocks.append(block)
            self.streams[number].blocks.append(block)
        with_entries = [k for k, stream in enumerate(self.streams) if stream.kind != METADATA]
        entries = self.items + self.kept
        self.order: list[int] = []
        if len(with_entries) >= 2:
            runs = Source(source.packed())
            while not runs.end():
                k, count = runs.uint(), runs.uint()
                check(k in with_entries and len(self.order) + count <= entries, "runs of entries that are not there")
                self.order += [k] * count
        else:
            self.order = with_entries * entries
        check(len(self.order) == entries, "runs that do not hold all entries")
        for k, stream in enumerate(self.streams):
            count, own = sum(block.count for block in stream.blocks), self.order.count(k)
            if stream.kind in (FILES, METADATA):
                sizes, total = Source(source.packed()), self.items if stream.kind == METADATA else own
                stream.sizes = [sizes.uint() for _ in range(total)]
                check(sizes.end() and sum(stream.sizes) == count, "sizes that do not add up")
            else:
                check(count == own, "blocks that do not hold their entries")
        self.names = [b""] * entries
        if self.header["kind"] == "folder":
            self.names = source.packed().split(b"\0") if entries else []
            check(len(self.names) == entries, "names of other entries")
        self.figures = {name: source.uint() for name in ("code length", "start-up", "kept elements")}
        self.data_sha256 = source.take(32)
        check(source.end(), "bytes behind the directory")

    # Blocks and entries

    def read_block(self, block: Block) -> np.ndarray | bytes:
        """A block's items (count, *shape), or its piece of joined files."""
        stream, data = self.streams[block.stream], self.data[block.at : block.at + block.length]
        if stream.kind in (FILES, METADATA):
            piece = unpack(block.codec, data, block.count)
            check(digest(piece) == block.check, "a corrupt block")
            return piece
        if stream.kind == KEPT_ITEMS:
            length = block.count * prod(stream.shape) * stream.dtype.itemsize
            if block.codec == 2:
                piece = unpack_sheet(data, block.count, stream.shape)
            else:
                piece = unpack(block.codec, data, length)
            items = np.frombuffer(piece, stream.dtype).reshape(block.count, *stream.shape)
        else:
            symbols = self.model.decode_block(data, block.sizes, stream.event)
            items = symbols.reshape(block.count, *(stream.shape[axis] for axis in stream.axes))
            items = items.transpose(0, *(1 + stream.axes.index(axis) for axis in range(len(stream.axes))))
            if stream.levels:
                items = np.array(stream.levels)[items]
            items = items.astype(stream.dtype)
        check(digest(items.tobytes()) == block.check, "a corrupt block")
        return items

    def joined(self, stream: Stream) -> list[bytes]:
        """The files, or the metadata, of a stream."""
        source = Bytes(b"".join(self.read_block(block) for block in stream.blocks))
        return [source.take(size) for size in stream.sizes]

    def entry(self, number: int) -> Item:
        """One item by random access: only its block is decoded."""
        k = self.order[number]
        stream, slot = self.streams[k], self.order[:number].count(k)
        if stream.kind == FILES:
            return Item(self.names[number], data=self.joined(stream)[slot])
        for block in stream.blocks:
            if slot < block.count:
                return Item(self.names[number], stream.mode, self.read_block(block)[slot])
            slot -= block.count
        raise Refused("an entry in no block")

    def entries(self) -> list[Item]:
        """All entries, the metadata of items in ``data``."""
        contents = []
        for stream in self.streams:
            if stream.kind in (FILES, METADATA):
                contents.append(iter([Item(data=data) for data in self.joined(stream)]))
            else:
                blocks = [self.read_block(block) for block in stream.blocks]
                contents.append(iter([Item("", stream.mode, values) for items in blocks for values in items]))
        entries = [next(contents[k]) for k in self.order]
        for entry, name in zip(entries, self.names):
            entry.name = name
        for stream, content in zip(self.streams, contents):
            if stream.kind == METADATA:
                for entry, metadata in zip(entries, content):
                    entry.data = metadata.data if entry.values is not None else entry.data
        return entries

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of an archive that holds arrays, by their names in an .npz."""
        items = self.entries()
        rows, kept, arrays = iter(items[: self.items]), iter(items[self.items :]), {}
        for record in self.header.get("arrays", []):
            shape = tuple(record["shape"])
            values = np.array([next(rows).values for _ in range(shape[0])]).reshape(shape)
            order = "F" if record.get("fortran", False) else "C"
            arrays[record.get("name", "")] = values.astype(record["dtype"], order=order, copy=False)
        for name in self.header.get("members", [""]):
            if name not in arrays:
                data = next(kept).data
                is_array = data.startswith(b"\x93NUMPY")
                arrays[name] = np.load(io.BytesIO(data), allow_pickle=False) if is_array else data
        return {name: arrays[name] for name in self.header.get("members", [""])}

    def verify(self) -> None:
        check(self.intact, "a damaged archive")
        self.entries()

    def sha256(self) -> str:
        """A digest of everything that comes back, for comparing readers."""
        total = hashlib.sha256()
        for entry in self.entries():
            parts = [entry.name, entry.mode.encode(), entry.data]
            if entry.values is not None:
                parts += [entry.values.dtype.str.encode(), repr(entry.values.shape).encode(), entry.values.tobytes()]
            for part in parts:
                total.update(len(part).to_bytes(8, "little") + part)
        return total.hexdigest()


def original_file(entry: Item) -> bytes:
    """The file of an image whose pixels lay in it uncompressed, from its pixels and its metadata."""
    source = Bytes(entry.data)
    check(source.take(1) == b"R", "metadata of another kind")
    order, runs = source.fixed(1), []
    for _ in range(source.fixed(4)):
        runs.append((source.fixed(8), source.fixed(8)))
    rest, values = Bytes(source.take(len(source.data) - source.at)), entry.values
    if order == 1:
        pixels = values.astype(values.dtype.newbyteorder(">")).tobytes()
    elif order == 2:
        bottom_up = values[::-1].reshape(len(values), values.shape[1], -1)[:, :, ::-1].reshape(len(values), -1)
        pixels = np.pad(bottom_up, ((0, 0), (0, -bottom_up.shape[1] % 4))).tobytes()
    else:
        pixels = values.tobytes()
    file, source = b"", Bytes(pixels)
    for offset, length in runs:
        file += rest.take(offset - len(file)) + source.take(length)
    return file + rest.take(len(rest.data) - rest.at)


# Bytes of a value of each type of a TIFF.
TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}


def tiff_tags(entry: Item) -> tuple[str, bool, dict[int, tuple[int, int, bytes]]]:
    """Byte order, whether it is a BigTIFF, and the tags (type, count, values) of a TIFF that is to be written."""
    colour, alpha = entry.mode.startswith("RGB"), entry.mode.removesuffix(";16") in ("LA", "RGBA")
    if not entry.data:
        plain = {262: (3, 1, (2 if colour else 1).to_bytes(2, "little"))}
        return "<", False, plain | ({338: (3, 1, b"\2\0")} if alpha else {})
    source, tags = Bytes(entry.data), {}
    check(source.take(1) == b"T", "metadata of another kind")
    flags = source.fixed(1)
    while source.at < len(source.data):
        number, kind, count = source.fixed(2), source.fixed(2), source.fixed(4)
        check(number > max(tags, default=0), "tags out of order")
        tags[number] = (kind, count, source.take(count * TIFF_TYPES[kind]))
    return ">" if flags & 1 else "<", bool(flags & 2), tags


def open_archive(path: str | Path, model: str | Path | None = None) -> Archive:
    return Archive(Path(path).read_bytes(), None if model is None else Path(model).read_bytes())
