"""Image files of every kind that common writers make, and some that only odd ones do.

``image_files`` gives names and bytes: hundreds of small files, always the same. What a file is called says what is
special about it and is nothing that a test leans on.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

HEIGHT, WIDTH = 19, 21
PILLOW_TIFF = {"none": None, "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "packbits": "packbits"}
CV_TIFF = {"none": 1, "packbits": 32773, "lzw": 5, "deflate": 8, "deflate32946": 32946}


def values(dtype: str, samples: int = 1, *, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Smooth values with noise over the whole range of a type (h, w) or (h, w, samples): compressible, and odd."""
    rng = np.random.default_rng([seed, samples, height, width])
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(samples), indexing="ij")
    wave = (x * 5 + y * 3 + c * 40) % 64 / 64 + rng.integers(0, 5, (height, width, samples)) / 64
    kind = np.dtype(dtype)
    if kind.kind == "f":
        array = (wave * 3 - 1).astype(kind)
    elif kind.kind == "b":
        array = rng.integers(0, 2, (height, width, samples)).astype(bool)
    else:
        low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        array = np.clip(low + wave * (high - low), low, high).astype(np.int64).astype(kind)
        array[0, 0], array[-1, -1] = low, high
    return array if samples > 1 else array[:, :, 0]


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


# ---- TIFF --------------------------------------------------------------------------------------------------


def by_hand(
    tags: dict[int, tuple[int, tuple[int, ...]]],
    data: bytes,
    order: str = "<",
    *,
    gap: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """A TIFF of one strip, ``data``, with tags as (type, values); offset and length of the strip are filled in."""
    codes = {1: "B", 2: "B", 3: "H", 4: "I"}
    start = 8 + len(gap)
    tags = tags | {273: (4, (start,)), 279: (4, (len(data),))}
    position = start + len(data) + len(data) % 2
    rest_at = position + 2 + 12 * len(tags) + 4
    entries, rest = b"", b""
    for number, (kind, items) in sorted(tags.items()):
        raw = struct.pack(order + codes[kind] * len(items), *items)
        entries += struct.pack(order + "HHI", number, kind, len(items))
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", rest_at + len(rest))
            rest += raw + bytes(len(raw) % 2)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, position)
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4) + rest
    return head + gap + data + bytes(len(data) % 2) + directory + tail


def packed(bits: int, samples: int, order: str) -> bytes:
    """Rows of samples of any depth, highest bit first, each row filled up to a byte."""
    rng = np.random.default_rng(bits * 10 + samples)
    rows = rng.integers(0, 2**bits, (HEIGHT, WIDTH * samples))
    if bits in (16, 32):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    spread = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()


def hand_made_tiffs() -> Iterator[tuple[str, bytes]]:
    for bits, samples, order, compression in itertools.product((1, 2, 4, 8, 12, 16, 32), (1, 2, 3, 4), "<>", (1, 8)):
        data = packed(bits, samples, order)
        photometric = 2 if samples > 2 else 1
        tags = {
            256: (3, (WIDTH,)),
            257: (3, (HEIGHT,)),
            258: (3, (bits,) * samples),
            259: (3, (compression,)),
            262: (3, (photometric,)),
            277: (3, (samples,)),
            278: (3, (HEIGHT,)),
        }
        body = zlib.compress(data) if compression == 8 else data
        name = f"hand-{bits}x{samples}{'le' if order == '<' else 'be'}-{compression}"
        yield name, by_hand(tags, body, order)
        extra = samples - (3 if photometric == 2 else 1)
        if compression == 8 and (bits, order) in ((8, "<"), (16, "<"), (16, ">")):
            for kind in range(4) if extra else ():
                yield f"{name}-extra{kind}", by_hand(tags | {338: (3, (kind,) * extra)}, body, order)
            for form in (2, 3, 4):
                yield f"{name}-format{form}", by_hand(tags | {339: (3, (form,) * samples)}, body, order)
            for number in (0, 3, 4, 5, 6, 8):
                yield f"{name}-photometric{number}", by_hand(tags | {262: (3, (number,))}, body, order)
            yield f"{name}-planes", by_hand(tags | {284: (3, (2,))}, body, order)
            yield f"{name}-reversed", by_hand(tags | {266: (3, (2,))}, body, order)
            yield f"{name}-gap", by_hand(tags, body, order, gap=b"hidden")
            yield f"{name}-aligned", by_hand(tags, body, order, gap=bytes(8))
            yield f"{name}-tail", by_hand(tags, body, order, tail=b"hidden")
            yield f"{name}-zeros", by_hand(tags, body, order, tail=bytes(5))
            yield f"{name}-behind", by_hand(tags, body + b"hidden", order)
            yield f"{name}-more", by_hand(tags, zlib.compress(data + b"hidden"), order)
            yield f"{name}-less", by_hand(tags, zlib.compress(data[:-9]), order)
            yield f"{name}-unknown", by_hand(tags | {64123: (3, (7,))}, body, order)
            yield f"{name}-sub", by_hand(tags | {330: (4, (8,))}, body, order)
            yield f"{name}-turned", by_hand(tags | {274: (3, (6,))}, body, order)
            yield f"{name}-text", by_hand(tags | {270: (2, tuple(b"odd\0"))}, body, order)
            yield f"{name}-depths", by_hand(tags | {258: (3, (bits,) * (samples - 1) + (4,))}, body, order)
            yield f"{name}-shared-depth", by_hand(tags | {258: (3, (bits,))}, body, order)
            yield f"{name}-predicted", by_hand(tags | {317: (3, (2,))}, body, order)
        if compression == 1:
            yield f"{name}-tail", by_hand(tags, body, order, tail=b"hidden")
            yield f"{name}-inverted", by_hand(tags | {262: (3, (0,))}, body, order)


def pillow_tiffs() -> Iterator[tuple[str, bytes]]:
    sources = {
        "1": values("?"),
        "L": values("u1"),
        "LA": values("u1", 2),
        "RGB": values("u1", 3),
        "RGBA": values("u1", 4),
        "I;16": values("u2"),
        "I": values("i4"),
        "F": values("f4"),
    }
    images = {mode: Image.fromarray(array) for mode, array in sources.items()}
    images["P"] = images["RGB"].quantize(16)
    images["CMYK"] = images["RGB"].convert("CMYK")
    images["opaque"] = images["RGB"].convert("RGBA")
    for (mode, image), (word, compression) in itertools.product(images.items(), PILLOW_TIFF.items()):
        options = {} if compression is None else {"compression": compression}
        yield f"pillow-{mode}-{word}", saved(image, "TIFF", **options)
        yield f"pillow-{mode}-{word}-dpi", saved(image, "TIFF", dpi=(300, 300), description="a note", **options)
        yield f"pillow-{mode}-{word}-icc", saved(image, "TIFF", icc_profile=b"profile", **options)
        yield f"pillow-{mode}-{word}-big", saved(image, "TIFF", big_tiff=True, **options)
        pages = {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]}
        yield f"pillow-{mode}-{word}-pages", saved(image, "TIFF", **pages, **options)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    yield "pillow-exif", saved(images["RGB"], "TIFF", exif=exif, compression="tiff_lzw")


def tifffile_tiffs() -> Iterator[tuple[str, bytes]]:
    layouts: list[tuple[int, dict[str, Any]]] = [
        (1, {"photometric": "minisblack"}),
        (1, {"photometric": "miniswhite"}),
        (2, {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [0]}),
        (2, {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [2]}),
        (3, {"photometric": "rgb"}),
        (3, {"photometric": "minisblack", "planarconfig": "contig"}),
        (4, {"photometric": "rgb", "extrasamples": [0]}),
        (4, {"photometric": "rgb", "extrasamples": [1]}),
        (4, {"photometric": "rgb", "extrasamples": [2]}),
        (5, {"photometric": "rgb", "extrasamples": [0, 0]}),
    ]
    compressions = (None, "deflate", "lzw", "packbits")
    for dtype, (samples, layout), compression in itertools.product(
        ("?", "u1", "i1", "u2", "i2", "u4", "f4"), layouts, compressions
    ):
        # Signed and floating-point samples are kept as files, so a few of them will do.
        if samples > (1 if dtype == "?" else 5 if dtype[0] == "u" and dtype != "u4" else 3):
            continue
        array = values(dtype, samples)
        word = f"tifffile-{dtype.replace('?', 'b')}-{'-'.join(map(str, layout.values()))}-{compression}"
        options = {"metadata": None, "compression": compression, **layout}
        yield word, tiff(array, **options)
        if dtype not in ("u1", "u2"):
            continue
        yield f"{word}-be", tiff(array, byteorder=">", **options)
        yield f"{word}-big", tiff(array, bigtiff=True, byteorder=">", **options)
        if compression in ("deflate", "lzw"):
            yield f"{word}-strips", tiff(array, predictor=True, rowsperstrip=4, **options)
            yield f"{word}-be-predicted", tiff(array, predictor=True, byteorder=">", **options)
            yield f"{word}-tiles", tiff(array, predictor=True, tile=(16, 16), **options)
        if samples == 3:
            planes = options | {"planarconfig": "separate"}
            yield f"{word}-planes", tiff(np.moveaxis(array, -1, 0), **planes)
        if compression is None:
            yield f"{word}-tiles", tiff(array, tile=(16, 16), **options)
            yield f"{word}-strips", tiff(array, rowsperstrip=4, **options)
    grey, colour = values("u2"), values("u2", 3)
    stack = np.stack([grey, grey[::-1], grey // 3])
    for compression in (None, "deflate"):
        yield f"tifffile-plain-{compression}", tiff(grey, compression=compression)
        yield (
            f"tifffile-imagej-{compression}",
            tiff(grey, imagej=True, metadata={"unit": "um"}, compression=compression),
        )
        yield f"tifffile-imagej-stack-{compression}", tiff(stack, imagej=True, compression=compression)
        yield f"tifffile-ome-{compression}", tiff(colour, ome=True, photometric="rgb", compression=compression)
        yield f"tifffile-pages-{compression}", tiff(stack, photometric="minisblack", compression=compression)
        table = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
        yield (
            f"tifffile-palette-{compression}",
            tiff(values("u1"), photometric="palette", colormap=table, compression=compression),
        )
        geo = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (42113, "s", 0, "-9999", True)]
        yield f"tifffile-geo-{compression}", tiff(colour, photometric="rgb", extratags=geo, compression=compression)
    for compression in ("jpeg", "zstd", "lzma", "jpeg2000", "webp", "lerc"):
        yield f"tifffile-{compression}", tiff(values("u1", 3), photometric="rgb", compression=compression)
    for size in ((1, 1), (1, 40), (40, 1), (64, 70)):
        for samples, compression in itertools.product((1, 3), (None, "deflate", "lzw", "packbits")):
            array = values("u2", samples, height=size[0], width=size[1])
            photometric = "rgb" if samples == 3 else "minisblack"
            yield (
                f"tifffile-{size[0]}x{size[1]}x{samples}-{compression}",
                tiff(array, photometric=photometric, compression=compression, metadata=None),
            )


def other_tiffs() -> Iterator[tuple[str, bytes]]:
    for dtype, samples, (word, number) in itertools.product(("u1", "i1", "u2", "i2", "f4"), (1, 3, 4), CV_TIFF.items()):
        for predictor in (1, 2):
            flags = [cv2.IMWRITE_TIFF_COMPRESSION, number, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
            done, data = cv2.imencode(".tif", values(dtype, samples), flags)
            if done:
                yield f"opencv-{dtype}x{samples}-{word}-{predictor}", data.tobytes()
    for dtype, samples, compression in itertools.product(
        ("u1", "u2", "i1", "i2", "f4"), (1, 2, 3, 4), ("none", "lzw", "deflate", "packbits")
    ):
        array = values(dtype, samples)
        word = f"imagecodecs-{dtype}x{samples}-{compression}"
        yield word, bytes(imagecodecs.tiff_encode(array, compression=compression))
        if samples in (2, 4):
            yield f"{word}-alpha", bytes(imagecodecs.tiff_encode(array, compression=compression, extrasample=2))


# ---- PNG, WebP, BMP, PNM -----------------------------------------------------------------------------------


def png_by_hand(bits: int, colour: int, *, interlaced: bool = False, extra: bytes = b"", zeros: bytes = b"") -> bytes:
    """A PNG whose rows use all filters in turn, with random filtered bytes, which any filter makes pixels of."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng([bits, colour])
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        height, width = len(range(top, HEIGHT, down)), len(range(left, WIDTH, across))
        for y in range(height if width else 0):
            row = rng.integers(0, 256, (width * samples * bits + 7) // 8).astype(np.uint8)
            spare = -width * samples * bits % 8
            row[-1] &= 0xFF << spare & 0xFF
            rows += bytes([y % 5 if bits >= 8 else 0]) + row.tobytes()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    body = zlib.compress(rows + zeros)
    pixels = chunk(b"IDAT", body[:50]) + chunk(b"IDAT", body[50:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + extra + pixels + chunk(b"IEND", b"")


def pngs() -> Iterator[tuple[str, bytes]]:
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colour, bits in [(colour, bits) for colour, every in depths.items() for bits in every]:
        for interlaced in (False, True):
            yield f"hand-{bits}-{colour}-{int(interlaced)}", png_by_hand(bits, colour, interlaced=interlaced)
        yield f"hand-{bits}-{colour}-more", png_by_hand(bits, colour, zeros=b"hidden")
        yield f"hand-{bits}-{colour}-text", png_by_hand(bits, colour, extra=chunk(b"tEXt", b"Title\0odd"))
        yield f"hand-{bits}-{colour}-private", png_by_hand(bits, colour, extra=chunk(b"prVt", b"\0\1\2"))
        yield f"hand-{bits}-{colour}-critical", png_by_hand(bits, colour, extra=chunk(b"PrVt", b"\0\1\2"))
        yield (
            f"hand-{bits}-{colour}-clear",
            png_by_hand(bits, colour, extra=chunk(b"tRNS", bytes(6 if colour == 2 else 2))),
        )
    good = png_by_hand(8, 2)
    yield "tail", good + b"hidden"
    yield "zero-tail", good + b"\0"
    yield "iend-body", good[:-12] + chunk(b"IEND", b"hidden")
    at = good.index(b"IDAT") - 4
    size = 12 + int.from_bytes(good[at : at + 4], "big")
    yield "between", good[: at + size] + chunk(b"tIME", bytes(7)) + good[at + size :]
    yield "late", good[:-12] + chunk(b"tIME", bytes(7)) + good[-12:]
    behind = zlib.compress(bytes((1 + WIDTH) * HEIGHT)) + b"hidden"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0))
    yield "behind-zlib", b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", behind) + chunk(b"IEND", b"")
    info = PngInfo()
    info.add_text("Author", "someone")
    info.add_itxt("Comment", "kept", zip=True)
    for samples in (1, 2, 3, 4):
        image = Image.fromarray(values("u1", samples))
        yield f"pillow-{samples}", saved(image, "PNG")
        yield f"pillow-{samples}-chunks", saved(image, "PNG", pnginfo=info, dpi=(72, 72), icc_profile=b"profile")
        yield f"pillow-{samples}-animated", saved(image, "PNG", save_all=True, append_images=[image.rotate(180)])
        for dtype in ("u1", "u2"):
            yield f"imagecodecs-{dtype}x{samples}", bytes(imagecodecs.png_encode(values(dtype, samples)))
            if samples != 2:
                done, data = cv2.imencode(".png", values(dtype, samples))
                assert done
                yield f"opencv-{dtype}x{samples}", data.tobytes()
    opaque = Image.fromarray(values("u1", 3)).convert("RGBA")
    yield "opaque", saved(opaque, "PNG")
    yield "palette", saved(Image.fromarray(values("u1", 3)).quantize(8), "PNG")
    yield "bits", saved(Image.fromarray(values("?")), "PNG")


def webps() -> Iterator[tuple[str, bytes]]:
    for samples in (3, 4):
        array = values("u1", samples)
        for effort in (0, 3, 6):
            data = saved(Image.fromarray(array), "WEBP", lossless=True, exact=True, method=effort)
            yield f"pillow-{samples}-{effort}", data
        body = data[20 : 20 + int.from_bytes(data[16:20], "little")]

        def file(*chunks: bytes) -> bytes:
            return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WEBP" + b"".join(chunks)

        yield f"tail-{samples}", data + b"hidden!!"
        yield f"zero-tail-{samples}", data + b"\0\0"
        yield f"riff-tail-{samples}", file(riff(b"VP8L", body), b"hidden!!")
        yield f"unknown-{samples}", file(riff(b"VP8L", body), riff(b"ODDS", b"hidden"))
        for spare in (1, 2, 9):
            yield f"longer-{spare}-{samples}", file(riff(b"VP8L", body + b"\xa5" * spare))
        yield f"alpha-bit-{samples}", file(riff(b"VP8L", body[:4] + bytes([body[4] | 0x10]) + body[5:]))
        yield f"short-{samples}", data[:-8]
        image = Image.fromarray(array)
        yield f"icc-{samples}", saved(image, "WEBP", lossless=True, icc_profile=b"profile")
        exif = Image.Exif()
        exif[0x0112] = 6
        yield f"exif-{samples}", saved(image, "WEBP", lossless=True, exif=exif)
        yield f"xmp-{samples}", saved(image, "WEBP", lossless=True, xmp=b"<x/>")
        yield f"lossy-{samples}", saved(image, "WEBP")
        yield (
            f"animated-{samples}",
            saved(image, "WEBP", lossless=True, save_all=True, append_images=[image.rotate(180)]),
        )
        yield f"imagecodecs-{samples}", bytes(imagecodecs.webp_encode(array, lossless=True))
        done, data = cv2.imencode(".webp", array, [cv2.IMWRITE_WEBP_QUALITY, 101])
        assert done
        yield f"opencv-{samples}", data.tobytes()
    clear = values("u1", 4)
    clear[:, :9, 3] = 0
    yield "hidden-colours", saved(Image.fromarray(clear), "WEBP", lossless=True, exact=True)
    clear[..., 3] = 255
    yield "opaque", saved(Image.fromarray(clear), "WEBP", lossless=True, exact=True)


def bmps() -> Iterator[tuple[str, bytes]]:
    images = {mode: Image.fromarray(values("u1", n)) for mode, n in {"L": 1, "RGB": 3, "RGBA": 4}.items()}
    images["1"], images["P"] = Image.fromarray(values("?")), images["RGB"].quantize(16)
    for mode, image in images.items():
        data = saved(image, "BMP")
        yield f"pillow-{mode}", data
        yield f"pillow-{mode}-tail", data + b"hidden"
        yield f"pillow-{mode}-short", data[:-5]
        width, height = struct.unpack_from("<ii", data, 18)
        yield f"pillow-{mode}-top", data[:18] + struct.pack("<ii", width, -height) + data[26:]
        yield f"pillow-{mode}-filling", data[:-1] + b"\7"
    for samples in (1, 3, 4):
        done, data = cv2.imencode(".bmp", values("u1", samples))
        assert done
        yield f"opencv-{samples}", data.tobytes()
        if samples != 4:
            yield f"imagecodecs-{samples}", bytes(imagecodecs.bmp_encode(values("u1", samples)))


def pnms() -> Iterator[tuple[str, bytes]]:
    for samples, largest in itertools.product((1, 3), (1, 100, 255, 256, 4095, 65535)):
        array = values("u1" if largest < 256 else ">u2", samples).astype(np.int64) % (largest + 1)
        size = f"P{5 if samples == 1 else 6}\n# a comment\n{WIDTH} {HEIGHT}\n{largest}\n".encode()
        raw = array.astype("u1" if largest < 256 else ">u2").tobytes()
        yield f"hand-{samples}-{largest}", size + raw
        yield f"hand-{samples}-{largest}-tail", size + raw + b"hidden"
        yield f"hand-{samples}-{largest}-second", (size + raw) * 2
        yield f"hand-{samples}-{largest}-short", size + raw[:-3]
        text = " ".join(map(str, array.reshape(-1).tolist())).encode()
        yield f"text-{samples}-{largest}", size.replace(b"P5", b"P2").replace(b"P6", b"P3") + text
    yield "bits", saved(Image.fromarray(values("?")), "PPM")
    for dtype, samples in itertools.product(("u1", "u2"), (1, 3)):
        done, data = cv2.imencode(".pgm" if samples == 1 else ".ppm", values(dtype, samples))
        assert done
        yield f"opencv-{dtype}x{samples}", data.tobytes()


def image_files() -> dict[str, bytes]:
    """All files by name, with the extensions of their formats."""
    tiffs = itertools.chain(hand_made_tiffs(), pillow_tiffs(), tifffile_tiffs(), other_tiffs())
    every = {".tif": tiffs, ".png": pngs(), ".webp": webps(), ".bmp": bmps(), ".ppm": pnms()}
    return {name + extension: data for extension, files in every.items() for name, data in files}
