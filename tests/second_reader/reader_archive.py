"""The container of docs/format.md: an archive's header, directory, blocks and entries."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
from reader_coding import Bytes, Refused, check, parse_json
from reader_program import KNOWN_FEATURES, Model

HEADER_KEYS = {"features", "kind", "memory", "model", "name", "arrays", "members"}
FROM_MODEL, KEPT_ITEMS, FILES, METADATA, LEARNED = range(5)
CONTAINER = {64, 65}
WITH_ITEMS = (FROM_MODEL, KEPT_ITEMS, LEARNED)


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
    program: int = 0
    taught: int = 0
    first: int = 0  # items of its stream before it


@dataclass
class Stream:
    kind: int
    mode: str = ""
    dtype: np.dtype = field(default_factory=lambda: np.dtype("u1"))
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    event: tuple[int, ...] = ()
    levels: list[int] = field(default_factory=list)
    channels: list[tuple[int, int]] = field(default_factory=list)  # coded channel or -1, value
    sides: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def free(self) -> bool:
        return self.kind == LEARNED and 0 in self.shape

    def shapes(self, block: Block) -> list[tuple[int, ...]]:
        """Of the items of a block."""
        if not self.free:
            return [self.shape] * block.count
        return [(*side, *self.shape[2:]) for side in self.sides[block.first : block.first + block.count]]

    def check(self) -> None:
        """What a stream of type 4 must be."""
        check(len(self.event) in (2, 3), "an event that is no image")
        coded = self.event[2] if len(self.event) == 3 else 1
        if self.free:
            check(self.mode and self.shape[:2] == self.event[:2] == (0, 0), "sizes of which one is free")
            check(self.axes == tuple(range(len(self.shape))), "items of free sizes that are transposed")
        sizes, whole = (1, prod(self.shape[2:])) if self.free else (prod(self.event[:2]), prod(self.shape))
        check(sizes and coded and sizes * (len(self.channels) or coded) == whole, "an event of another size")
        check(all(a < b < 2**63 for a, b in zip(self.levels, self.levels[1:])), "levels that do not ascend")
        check(len(self.levels) <= 2**16, "too many levels")
        used = {number for number, _ in self.channels if number >= 0}
        check(not self.channels or used == set(range(coded)), "channels that are not coded, or not stored")


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
        unknown = set(header.get("features", [])) - KNOWN_FEATURES - CONTAINER
        check(not unknown, f"unknown features {sorted(unknown)}")
        self.model_file = embedded or model
        self._model: Model | None = None
        self._programs: dict[int, Model] = {}

    @property
    def model(self) -> Model:
        if self._model is None:
            check(self.model_file, "an archive without its model")
            self._model = Model(self.model_file)
            check(self._model.sha256 == self.model_digest.hex(), "another model")
            stated = [number for number in self.header.get("features", []) if number not in CONTAINER]
            check(self._model.structure["features"] == stated, "features of another model")
        return self._model

    def _read_directory(self, source: Source, at: int) -> None:
        self.items, self.kept = source.uint(), source.uint()
        with_programs = 64 in self.header.get("features", [])
        self.program_files = [source.packed() for _ in range(source.uint())] if with_programs else []
        self.streams = []
        for _ in range(source.uint()):
            stream = Stream(source.uint())
            check(stream.kind <= LEARNED, "a stream of an unknown type")
            if stream.kind in WITH_ITEMS:
                stream.mode, stream.dtype = source.text(), np.dtype(source.text())
                stream.shape = tuple(source.uints())
            if stream.kind in (FROM_MODEL, LEARNED):
                stream.axes, stream.event = tuple(source.uints()), tuple(source.uints())
                check(sorted(stream.axes) == list(range(len(stream.shape))), "axes that are no permutation")
            if stream.kind == FROM_MODEL:
                stream.levels = [source.sint() for _ in range(source.uint())]
                check(prod(stream.event) == prod(stream.shape), "an event of another size")
            if stream.kind == LEARNED:
                steps = Source(source.packed())
                while not steps.end():
                    stream.levels.append(stream.levels[-1] + steps.uint() if stream.levels else steps.sint())
                for _ in range(source.uint()):
                    number = source.uint()
                    stream.channels.append((number - 1, 0 if number else source.sint()))
                stream.check()
            self.streams.append(stream)
        check(with_programs == any(stream.kind == LEARNED for stream in self.streams), "feature 64 for nothing")
        self.blocks = []
        for _ in range(source.uint()):
            number, length, count = source.uint(), source.uint(), source.uint()
            check(number < len(self.streams) and count, "a block of no stream, or of nothing")
            stream = self.streams[number]
            coded = stream.kind == FROM_MODEL
            sizes = source.uints() if coded else []
            program = source.uint() if stream.kind == LEARNED else 0
            check(program <= len(self.program_files), "a program that is not there")
            codec = 0 if coded or program else source.uint()
            check(codec < 4 if stream.kind == LEARNED else codec < 3, f"unknown codec {codec}")
            taught = source.uint() if program else 0
            teachers = [other for other in stream.blocks if other.program == program]
            check(taught == 0 or (taught == 1 and bool(teachers)), "a block that nothing has taught")
            if coded:
                sizes.append(count - sum(sizes))
                check(all(size >= 1 for size in sizes), "a group without items")
            check(length % 4 == 0 or not (coded or program), "a block that is no words")
            first = sum(other.count for other in stream.blocks)
            block = Block(number, at, length, count, sizes, codec, source.take(8), program, taught, first)
            at += length
            self.blocks.append(block)
            stream.blocks.append(block)
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
            if stream.free:
                sides = Source(source.packed())
                stream.sides = [(sides.uint(), sides.uint()) for _ in range(own)]
                check(sides.end() and all(h * w for h, w in stream.sides), "sizes of other items")
        self.names = [b""] * entries
        if self.header["kind"] == "folder":
            self.names = source.packed().split(b"\0") if entries else []
            check(len(self.names) == entries, "names of other entries")
        self.figures = {name: source.uint() for name in ("code length", "start-up", "kept elements")}
        self.data_sha256 = source.take(32)
        check(source.end(), "bytes behind the directory")

    # Blocks and entries

    def read_block(self, block: Block) -> list[np.ndarray] | bytes:
        """A block's items, or its piece of joined files."""
        stream, data = self.streams[block.stream], self.data[block.at : block.at + block.length]
        if stream.kind in (FILES, METADATA):
            piece = unpack(block.codec, data, block.count)
            check(digest(piece) == block.check, "a corrupt block")
            return piece
        if stream.kind == FROM_MODEL:
            symbols = self.model.decode_block(data, block.sizes, stream.event)
            items = list(self._values(stream, symbols, stream.shape))
        elif block.program:
            images = self._learned(stream, block)
            shapes = stream.shapes(block)
            items = [self._values(stream, image[None], shape)[0] for image, shape in zip(images, shapes)]
        else:
            items = self._unpacked(stream, block, data)
        check(digest(b"".join(item.tobytes() for item in items)) == block.check, "a corrupt block")
        return items

    def _unpacked(self, stream: Stream, block: Block, data: bytes) -> list[np.ndarray]:
        shapes = stream.shapes(block)
        if block.codec == 2:
            check(len(set(shapes)) == 1, "a sheet of items of several sizes")
            piece = unpack_sheet(data, block.count, shapes[0])
        elif block.codec == 3:
            alone, piece = Bytes(data), b""
            for shape in shapes:
                piece += unpack_sheet(alone.take(alone.fixed(4)), 1, shape)
            check(alone.at == len(data), "bytes behind the last image")
        else:
            piece = unpack(block.codec, data, sum(map(prod, shapes)) * stream.dtype.itemsize)
        cut = Bytes(piece)
        parts = [cut.take(prod(shape) * stream.dtype.itemsize) for shape in shapes]
        return [np.frombuffer(part, stream.dtype).reshape(shape) for part, shape in zip(parts, shapes)]

    def _values(self, stream: Stream, symbols: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Items (count, *shape) of the symbols that a model or a program gives."""
        items = np.array(stream.levels)[symbols] if stream.levels else symbols
        if stream.channels:
            images = items.reshape(*items.shape[:3], -1)
            stored = [
                images[..., number] if number >= 0 else np.full(images.shape[:3], value)
                for number, value in stream.channels
            ]
            items = np.stack(stored, axis=-1)
        items = items.reshape(len(symbols), *(shape[axis] for axis in stream.axes))
        items = items.transpose(0, *(1 + stream.axes.index(axis) for axis in range(len(stream.axes))))
        return items.astype(stream.dtype)

    def program(self, number: int) -> Model:
        if number not in self._programs:
            self._programs[number] = Model(self.program_files[number - 1])
        return self._programs[number]

    def _learned(self, stream: Stream, block: Block) -> list[np.ndarray]:
        """The images of a block, decoded after those of the block that has taught its program."""
        learner = self.program(block.program).learner()
        teacher = next(other for other in stream.blocks if other.program == block.program)
        images: list[np.ndarray] = []
        for part in [teacher, block] if block.taught else [block]:
            events = [
                (*(shape[:2] if stream.free else stream.event[:2]), *stream.event[2:]) for shape in stream.shapes(part)
            ]
            images = learner.decode(self.data[part.at : part.at + part.length], events)
        return images

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


def pages(entries: list[Item]) -> dict[str, list[Item]]:
    """The images of each file: mostly one, or the pages of a file, whose first page is given without the `M`."""
    found: dict[str, list[Item]] = {}
    at = 0
    while at < len(entries):
        first = entries[at]
        count = int.from_bytes(first.data[1:5], "little") if first.values is not None and first.data[:1] == b"M" else 1
        file = os.fsdecode(first.name).removesuffix("/1")
        some = entries[at : at + count]
        if count > 1 and [os.fsdecode(entry.name) for entry in some] == [f"{file}/{k + 1}" for k in range(count)]:
            found[file] = [replace(first, data=first.data[5:]), *some[1:]]
            at += count
        else:
            found[os.fsdecode(first.name)] = [first]
            at += 1
    return found


def elements(values: np.ndarray, order: int, tile: tuple[int, int]) -> bytes:
    """The elements of an image as they lay in its file."""
    if order == 2:
        bottom_up = values[::-1].reshape(len(values), values.shape[1], -1)[:, :, ::-1].reshape(len(values), -1)
        return np.pad(bottom_up, ((0, 0), (0, -bottom_up.shape[1] % 4))).tobytes()
    if order < 2:
        return values.astype(values.dtype.newbyteorder("<>"[order])).tobytes()
    if order == 40:
        rows = b""
        for row in values.reshape(len(values), -1).tolist():
            bits = "".join(f"{value:012b}" for value in row)
            bits += "0" * (-len(bits) % 8)
            rows += int(bits, 2).to_bytes(len(bits) // 8, "big")
        return rows
    check(order > 9 and not order & ~(8 + 1 + 2 + 4 + 16), "an order that is not known")
    stored = values.dtype.newbyteorder("<>"[order & 1])
    if order & 2:
        middle = 1 << 8 * values.dtype.itemsize - 1
        values, stored = values.astype(np.int64) - middle, np.dtype(stored.str.replace("u", "i"))
    found = b""
    for plane in np.moveaxis(values, -1, 0) if order & 4 else [values]:
        height, width = tile if order & 16 else plane.shape[:2]
        for y in range(0, len(plane), height):
            for x in range(0, plane.shape[1], width):
                found += plane[y : y + height, x : x + width].astype(stored).tobytes()
    return found


def original_file(*images: Item) -> bytes:
    """The file of images whose pixels lay in it uncompressed, from their pixels and the metadata of the first."""
    source = Bytes(images[0].data)
    check(source.take(1) == b"R", "metadata of another kind")
    order, runs = source.fixed(1), []
    for _ in range(source.fixed(4)):
        runs.append((source.fixed(8), source.fixed(8)))
    tile = (source.fixed(4), source.fixed(4)) if order >= 8 and order & 16 else (0, 0)
    rest = Bytes(source.take(len(source.data) - source.at))
    file, source = b"", Bytes(b"".join(elements(image.values, order, tile) for image in images))
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
