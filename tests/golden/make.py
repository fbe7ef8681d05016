"""Writes the golden archives that are not there yet, and their manifest.

    python tests/golden/make.py            adds missing archives
    python tests/golden/make.py --all      writes all anew: for archives that no released version has written

Archives of released versions stay as they are for ever: readers must decode them, and writers must still write them.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from golden_digest import contents_of, digest
from golden_models import MODELS, integers
from golden_plans import write_planned
from PIL import Image

import codelength as cl
from codelength.data import dicom

HERE = Path(__file__).parent
MANIFEST = HERE / "manifest.json"


def draw(name: str, count: int, shape: tuple[int, ...] | None = None, seed: int = 1) -> np.ndarray:
    return MODELS[name]().sample(count, seed=seed, shape=shape)


# ---- data: each function writes a file or a folder, and gives its path -----------------------------------------


def binary_rows(folder: Path) -> Path:
    np.save(folder / "digits.npy", draw("bernoulli_order", 50).astype(np.uint8))
    return folder / "digits.npy"


def levels(folder: Path) -> Path:
    """Two-byte big-endian elements of two odd levels, in column-major order and of another shape than the model's."""
    values = np.where(draw("bernoulli_order", 50, seed=2), 7, -300).reshape(50, 12)
    np.save(folder / "levels.npy", np.asfortranarray(values.astype(">i2")))
    return folder / "levels.npy"


def zeros(folder: Path) -> Path:
    """Numbers of floating point that are zero and one, but for negative zeros and what is no number."""
    values = draw("bernoulli_order", 40, seed=3).astype("<f4")
    values[::2, 0, 0] = -0.0
    values[5, 1, 1] = np.nan
    np.save(folder / "zeros.npy", values)
    return folder / "zeros.npy"


def misfits(folder: Path) -> Path:
    values = draw("categorical_images", 24).astype(np.uint8)
    values[[3, 4, 17], 1, 2] = 99
    np.save(folder / "misfits.npy", values)
    return folder / "misfits.npy"


def strangers(folder: Path) -> Path:
    """Not one item that the model could represent."""
    values = draw("categorical_images", 24).astype(np.uint8)
    values[:, 1, 2] += 99
    np.save(folder / "strangers.npy", values)
    return folder / "strangers.npy"


def channels_first(folder: Path) -> Path:
    np.save(folder / "colours.npy", draw("raster_colours", 12).astype(np.uint8).transpose(0, 3, 1, 2))
    return folder / "colours.npy"


def members(folder: Path) -> Path:
    rows = draw("mixture_of_orders", 60).astype(np.uint8)
    np.savez(
        folder / "members.npz",
        train=rows[:40],
        weights=np.array([0.5, -2.25]),
        test=rows[40:],
        none=np.zeros((0, 6), np.uint8),
        year=np.int32(1987),
    )
    return folder / "members.npz"


def booleans(folder: Path) -> Path:
    np.save(folder / "booleans.npy", draw("bernoulli_order", 40).astype(bool))
    return folder / "booleans.npy"


def whole_floats(folder: Path) -> Path:
    np.save(folder / "floats.npy", draw("flow", 64).astype("<f4"))
    return folder / "floats.npy"


def plain(name: str, count: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / f"{name}.npy", draw(name, count).astype(np.uint8))
        return folder / f"{name}.npy"

    return write


def idx(folder: Path) -> Path:
    images = draw("labelled", 12).astype(np.uint8)
    header = bytes([0, 0, 8, images.ndim]) + struct.pack(f">{images.ndim}I", *images.shape)
    (folder / "images-idx3-ubyte").write_bytes(header + images.tobytes())
    return folder / "images-idx3-ubyte"


def nothing(folder: Path) -> Path:
    np.save(folder / "empty.npy", np.zeros((0, 3, 4), np.uint8))
    return folder / "empty.npy"


def pictures(folder: Path) -> Path:
    """Images of several sizes, some of which the model cannot represent, and files that are none."""
    root = folder / "pictures"
    (root / "more").mkdir(parents=True)
    sizes = [(3, 4), (5, 2), (3, 4), (1, 1), (6, 6), (3, 4), (2, 9)]
    for k, size in enumerate(sizes):
        pixels = draw("raster_fronts", 1, size, seed=k)[0].astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{k}.png")
    smooth = (np.indices((24, 24)).sum(0) * 5 % 256).astype(np.uint8)
    for k in range(3):
        Image.fromarray(np.stack([smooth, np.roll(smooth, k), smooth.T], -1)).save(root / "more" / f"wave {k}.png")
    Image.fromarray(integers("noise", (5, 4), 0, 255).astype(np.uint8)).save(root / "more" / "noise.png")
    Image.fromarray(integers("deep", (5, 4), 0, 65535).astype(np.uint16)).save(root / "more" / "deep.png")
    Image.fromarray(integers("alpha", (3, 5, 4), 0, 255).astype(np.uint8)).save(root / "more" / "alpha.png")
    Image.fromarray(integers("bottom", (5, 3, 3), 0, 255).astype(np.uint8)).save(root / "more" / "up.bmp")
    grey = draw("raster_fronts", 1, (4, 4), seed=9)[0].astype(np.uint8)
    (root / "more" / "grey.pgm").write_bytes(b"P5\n# kept\n4 4\n255\n" + grey.tobytes())
    (root / "notes.txt").write_text("Files that are no images are kept. " * 20)
    (root / "none.dat").write_bytes(b"")
    return root


def microscopy(folder: Path) -> Path:
    """TIFFs of 16-bit colours, of two bands, of other byte orders and with tags that are to come back."""
    root = folder / "microscopy"
    root.mkdir()
    colour = integers("colour", (4, 5, 3), 0, 65535).astype(np.uint16)
    bands = integers("bands", (4, 5, 2), 0, 65535).astype(np.uint16)
    options: dict[str, Any] = {"compression": "deflate", "metadata": None, "software": False}
    for k in range(3):
        grey = draw("raster_fronts", 1, (9, 8), seed=20 + k)[0].astype(np.uint8)
        tifffile.imwrite(root / f"grey {k}.tif", grey, photometric="minisblack", **options)
    tifffile.imwrite(root / "colour.tif", colour, photometric="rgb", resolution=(300, 300), **options)
    tifffile.imwrite(root / "big.tif", colour, photometric="rgb", byteorder=">", bigtiff=True, **options)
    tifffile.imwrite(root / "stored.tif", colour, photometric="rgb", metadata=None, software=False)
    tifffile.imwrite(root / "bands.tif", bands, photometric="minisblack", extrasamples=[0], **options)
    tifffile.imwrite(root / "alpha.tif", bands.astype(np.uint8), photometric="minisblack", extrasamples=[2], **options)
    tifffile.imwrite(root / "signed.tif", bands[..., 0].astype(np.int16), photometric="minisblack", **options)
    four = np.concatenate([colour, bands[..., :1]], -1)
    tifffile.imwrite(
        root / "four.tif", four, photometric="rgb", extrasamples=[0], description="near infrared", **options
    )
    return root


def stacks(folder: Path) -> Path:
    """Files of several images, elements in every order, and DICOM."""
    root = folder / "stacks"
    root.mkdir()
    grey = [draw("raster_fronts", 1, (9, 8), seed=40 + k)[0].astype(np.uint8) for k in range(3)]
    deep = integers("deep", (2, 20, 18), 0, 65535).astype(np.uint16)
    colour = integers("colour", (2, 5, 7, 3), 0, 255).astype(np.uint8)
    plain: dict[str, Any] = {"metadata": None, "software": False}
    tifffile.imwrite(root / "pages.tif", np.stack(grey), photometric="minisblack", **plain)
    for number, page in enumerate(deep):
        text = {"description": f"page {number}", "append": number > 0, "compression": "deflate"}
        tifffile.imwrite(root / "texts.tif", page, photometric="minisblack", byteorder=">", **text, **plain)
    tifffile.imwrite(root / "tiles.tif", deep, photometric="minisblack", byteorder=">", tile=(16, 16), **plain)
    planes = colour.transpose(0, 3, 1, 2)
    tifffile.imwrite(root / "planes.tif", planes, photometric="rgb", planarconfig="separate", **plain)
    tifffile.imwrite(root / "signed.tif", deep[0].astype(np.int16), photometric="minisblack", **plain)
    rows = bytes.fromhex("123456789abcdef0fedcba9876543210")
    tags = [(256, 3, 5), (257, 3, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 2)]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*tags, (279, 4, 16)])
    header = b"II*\0" + struct.pack("<I", 24)
    (root / "twelve.tif").write_bytes(header + rows + struct.pack("<H", 9) + directory + bytes(4))
    for name, frames, syntax in (
        ("IM0001", deep.astype(np.int16), "1"),
        ("rle.dcm", colour, "5"),
        ("one.dcm", deep[:1], "5"),
    ):
        (root / name).write_bytes(dicom_file(frames, syntax))
    return root


def palettes(folder: Path) -> Path:
    """PNGs with more than pixels, and with samples that Pillow does not write."""
    root = folder / "palettes"
    root.mkdir()

    def png(name: str, bits: int, colour: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> None:
        header = struct.pack(">IIBBBBB", 12, len(rows), bits, colour, 0, 0, 0)
        body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).astype(np.uint8).tobytes())
        parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"tEXt", b"Title\0last"), (b"IEND", b"")]
        data = b""
        for kind, body in parts:
            data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n" + data)

    table = (b"PLTE", bytes(range(48)))
    png("palette.png", 8, 3, integers("indices", (9, 12), 0, 15), table, (b"tRNS", b"\0\x80"))
    png("sixteen.png", 4, 3, integers("pairs", (9, 6), 0, 255), table)
    png("clear.png", 8, 2, integers("colours", (9, 36), 0, 255), (b"tRNS", bytes(6)))
    png("deep.png", 16, 2, integers("deep colours", (9, 72), 0, 255))
    png("deep alpha.png", 16, 6, integers("deep alpha", (9, 96), 0, 255))
    return root


def learnable(folder: Path) -> Path:
    """Images of several sizes, modes and sets of values, and one that differs from all others."""
    root = folder / "learnable"
    root.mkdir()

    def slopes(name: str, shape: tuple[int, ...], most: int, noise: int) -> np.ndarray:
        """Values that go up and down slowly, with noise."""
        rows, columns = np.indices(shape)[:2]
        waves = (rows + 2 * columns) % (2 * most - 2 * noise)
        return np.minimum(waves, 2 * most - 2 * noise - waves) + integers(name, shape, 0, noise)

    for k in range(10):
        values = slopes(f"grey {k}", [(17, 12), (9, 23), (14, 14)][k % 3], 20, 4) * 12 + 3
        if k == 6:
            values[3, 4] += 1
        Image.fromarray(values.astype(np.uint8)).save(root / f"grey {k}.png")
    for k in range(4):
        grey = slopes(f"opaque {k}", (16, 15 + k), 20, 5)[..., None] * 12 + 3
        Image.fromarray(np.concatenate([grey, grey, grey, 0 * grey + 255], 2).astype(np.uint8)).save(root / f"o{k}.png")
    for k in range(5):
        grey = slopes(f"colour {k}", (16 + k, 18), 90, 70)[..., None]
        colour = np.concatenate([grey, grey + 20, 199 - grey], 2) - integers(f"shade {k}", (16 + k, 18, 3), 0, 8)
        Image.fromarray(np.clip(colour, 0, 199).astype(np.uint8)).save(root / f"colour {k}.png")
    (root / "notes.txt").write_text("kept as it is")
    return root


def dicom_file(frames: np.ndarray, syntax: str) -> bytes:
    """A DICOM file (n, h, w[, 3]) of little-endian elements with explicit kinds; by RLE, as the package has it."""

    def element(group: int, number: int, kind: str, value: bytes | int) -> bytes:
        data = struct.pack("<H", value) if isinstance(value, int) else value
        return struct.pack("<HH2sH", group, number, kind.encode(), len(data)) + data

    name = b"1.2.840.10008.1.2." + syntax.encode() + b"\0"
    meta = element(2, 0x10, "UI", name)
    samples, bits = frames.shape[3] if frames.ndim == 4 else 1, 8 * frames.itemsize
    head = bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta
    head += element(0x10, 0x10, "PN", b"Nobody") + element(0x28, 2, "US", samples)
    head += element(0x28, 4, "CS", b"RGB " if samples == 3 else b"MONOCHROME2 ")
    head += element(0x28, 6, "US", 0) if samples == 3 else b""
    head += element(0x28, 8, "IS", b"%d " % len(frames))
    for number, value in (
        (0x10, frames.shape[1]),
        (0x11, frames.shape[2]),
        (0x100, bits),
        (0x101, bits),
        (0x102, bits - 1),
    ):
        head += element(0x28, number, "US", value)
    head += element(0x28, 0x103, "US", int(frames.dtype.kind == "i"))
    kind = b"OB" if bits == 8 else b"OW"
    tail = b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0ab"
    if syntax == "1":
        return head + struct.pack("<HH2sHI", 0x7FE0, 0x10, kind, 0, frames.nbytes) + frames.tobytes() + tail
    head += struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    flags = 2 * (samples == 3)
    metadata = b"D" + struct.pack("<BI", flags, len(head)) + head + b"\xfe\xff\xdd\xe0\0\0\0\0" + tail
    return dicom.encode(list(frames), metadata)


def colours(count: int, height: int, width: int, symbols: int = 200) -> np.ndarray:
    """Soft slopes with some noise, (count, height, width, 3) uint8, that go on from image to image."""
    image, y, x, c = np.indices((count, height, width, 3))
    noise = integers(f"colours {count} {height} {width}", image.shape, 0, 9)
    return ((9 * image + 7 * y + 5 * x * (c + 1) + 30 * c + noise) % symbols).astype(np.uint8)


def learned_colours(folder: Path) -> Path:
    np.save(folder / "colours.npy", colours(5, 7, 6))
    return folder / "colours.npy"


def drawn(count: int, height: int, width: int) -> np.ndarray:
    """Few values in blocks, (count, height, width) below 21."""
    _, y, x = np.indices((count, height, width))
    return integers("drawn", (count, height, width), 0, 20) * (y // 3 == 1) + (x // 3) % 21 * (y // 3 != 1)


def learned_values(folder: Path) -> Path:
    np.save(folder / "values.npy", drawn(9, 8, 7).astype(np.uint8))
    return folder / "values.npy"


# ---- archives --------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[str, Callable[[Path], Path], dict[str, Any]]] = {
    "blocks": ("bernoulli_order", binary_rows, {"block": 20}),
    "levels": ("bernoulli_order", levels, {}),
    "zeros": ("bernoulli_order", zeros, {"block": 30}),
    "misfits": ("categorical_images", misfits, {"block": 8}),
    "channels": ("raster_colours", channels_first, {}),
    "folder": ("raster_fronts", pictures, {"block": 2}),
    "microscopy": ("raster_fronts", microscopy, {}),
    "palettes": ("raster_fronts", palettes, {"block": 2}),
    "stacks": ("raster_fronts", stacks, {"block": 2}),
    "members": ("mixture_of_orders", members, {"block": 25}),
    "switch": ("switched", plain("switched", 60), {"block": 30}),
    "named": ("bernoulli_order", booleans, {"embed_model": False}),
    "nested": ("nested", plain("nested", 60), {"block": 30}),
    "floats": ("flow", whole_floats, {"block": 32}),
    "labels": ("labelled", idx, {"block": 8}),
    "grids": ("grids", plain("grids", 40), {"block": 20}),
    "pooled": ("pooled", plain("pooled", 40), {"block": 20}),
    "beta_binomial": ("beta_binomial", plain("beta_binomial", 15), {"block": 8}),
    "chained": ("chained", plain("chained", 60), {"block": 30}),
    "inverse_flow": ("inverse_flow", plain("inverse_flow", 40), {"block": 20}),
    "multiscale": ("multiscale", plain("multiscale", 40), {"block": 20}),
    "discrete": ("discrete", plain("discrete", 60), {"block": 30}),
    "learning": ("learning", learned_colours, {"block": 3}),
    "learning_values": ("learning_values", learned_values, {}),
    "empty": ("bernoulli_order", nothing, {}),
    "strangers": ("categorical_images", strangers, {"block": 10}),
}
#: Archives of plans (``golden_plans``), and the features of their programs.
PLANNED: dict[str, tuple[Callable[[Path], Path], list[int]]] = {"learned": (learnable, [62])}


def write_by_plans(name: str) -> dict[str, Any]:
    data, features = PLANNED[name]
    path = HERE / f"{name}.clen"
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_planned(data(Path(folder)), path, name)
        cl.decompress(path, Path(folder) / "extracted")
        contents = digest(contents_of(Path(folder) / "extracted"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "features": features, "options": {}, "model": None, "sha256": sha256, "contents": contents, "plans": name,
    }  # fmt: skip


def write(name: str) -> dict[str, Any]:
    model_name, data, options = CASES[name]
    model, path = MODELS[model_name](), HERE / f"{name}.clen"
    path.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = data(Path(folder))
        cl.compress(source, path, model, **options)
        extracted = Path(folder) / f"extracted{source.suffix if source.suffix in ('.npy', '.npz') else ''}"
        if name == "labels":
            extracted = extracted.with_suffix(".npy")
        by_name = None if cl.inspect(path)["model_bytes"] else model
        cl.decompress(path, extracted, model=by_name)
        contents = digest(contents_of(extracted))
    if by_name is not None:
        model.save(HERE / f"{name}.clm")
    structure = json.loads(model.to_bytes()[14 : 14 + int.from_bytes(model.to_bytes()[10:14], "little")])
    return {
        "features": structure["features"],
        "options": {key: value for key, value in options.items() if key != "embed_model"},
        "model": None if by_name is None else f"{name}.clm",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "contents": contents,
    }


def main() -> None:
    manifest = {} if "--all" in sys.argv or not MANIFEST.exists() else json.loads(MANIFEST.read_text())
    for name in [*CASES, *PLANNED]:
        if name not in manifest:
            manifest[name] = write(name) if name in CASES else write_by_plans(name)
            print(name, (HERE / f"{name}.clen").stat().st_size)
    MANIFEST.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
