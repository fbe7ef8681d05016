"""Speed and bits/dim of archives beside general lossless codecs, on the same items in the same process.

    python -m benchmarks.codecs --case threshold-digits:test=made-digits --case mnist:test

A case is a data set and, after "=", the model for its archive: a packaged name, a run folder or a model file; without
one, only the general codecs run. A row per codec and form: "per image" (a file each; a seeded random part of the
items where there are many), "mosaic" (all as the tiles of one image), "stream" (all bytes in a row), "archive" (ours,
in blocks with random access; with and without the model counted). Everything is decoded and compared. MB/s are
megabytes of items, one byte per element, over wall-clock time; an archive's include opening it and loading its model.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

import codelength as cl
from benchmarks.common import Benchmark, Row, limit_threads, parser
from codelength.errors import UsageError
from codelength.report.codecs import JPEGXL_EFFORTS, STREAMS, image_codecs, mosaic

CASES = ("threshold-digits:test=made-digits", "binarized-mnist:test=made-binarized-mnist", "mnist:test")
SHORT = 0.2  # seconds below which a run is repeated

Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes], np.ndarray]


def pillow_decode(data: bytes) -> np.ndarray:
    """Grey levels of an image file; black and white become 0 and 255."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def pictures(symbols: int) -> dict[str, tuple[Encode, Decode]]:
    """Encoders and decoders of grey images (h, w) uint8."""
    found: dict[str, tuple[Encode, Decode]] = {
        name: (encode, pillow_decode) for name, encode in image_codecs(symbols).items() if name != "JPEG XL"
    }
    if imagecodecs.JPEGLS.available:
        found["JPEG-LS"] = (lambda x: bytes(imagecodecs.jpegls_encode(x)), imagecodecs.jpegls_decode)
    if imagecodecs.JPEGXL.available:  # an effort a row: they differ in time by far more than in size
        for effort in JPEGXL_EFFORTS:
            found[f"JPEG XL effort {effort}"] = (_jpegxl(effort), lambda y: imagecodecs.jpegxl_decode(y, numthreads=1))
    return found


def _jpegxl(effort: int) -> Encode:
    return lambda x: bytes(imagecodecs.jpegxl_encode(x, lossless=True, effort=effort, numthreads=1))


def streams(shape: tuple[int, ...], symbols: int) -> dict[str, tuple[Encode, Decode]]:
    """Encoders and decoders of items (n, *shape); those of two symbols are packed into bits as well."""
    opposite = {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
    opposite["brotli"] = lambda data: bytes(imagecodecs.brotli_decode(data))
    found: dict[str, tuple[Encode, Decode]] = {}
    for name, compress in STREAMS.items():
        expand = opposite[name]
        found[name] = (
            lambda x, compress=compress: compress(np.ascontiguousarray(x).tobytes()),
            lambda y, expand=expand: np.frombuffer(expand(y), np.uint8).reshape(-1, *shape),
        )
        if symbols == 2:
            found[f"{name}, bits"] = (
                lambda x, compress=compress: compress(np.packbits(x).tobytes()),
                lambda y, expand=expand: _unpacked(expand(y), shape),
            )
    return found


def _unpacked(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    size = int(np.prod(shape))
    return bits[: len(bits) // size * size].reshape(-1, *shape)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds of a run; the shortest of three where it is short."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
        if best > SHORT:
            break
    return result, best


def row_of(name: str, form: str, items: int, size: int, dims: int, encode: float, decode: float) -> Row:
    """size in bytes; encode, decode in seconds."""
    return {
        "codec": name,
        "form": form,
        "items": items,
        "bytes": size,
        "bits_per_dim": 8 * size / dims,
        "encode_mb_s": dims / encode / 1e6,
        "decode_mb_s": dims / decode / 1e6,
    }


def measured(name: str, form: str, codec: tuple[Encode, Decode], parts: Sequence[np.ndarray], original: int) -> Row:
    """A row for the parts coded one by one; original: elements of items, padding left out."""
    encode, decode = codec
    coded, there = timed(lambda: [encode(part) for part in parts])
    back, here = timed(lambda: [decode(data) for data in coded])
    if not all(np.array_equal(a.reshape(b.shape), b) for a, b in zip(back, parts)):
        raise SystemExit(f"{name} did not give the items back ({form})")
    return row_of(name, form, len(parts), sum(map(len, coded)), original, there, here)


def archive(items: np.ndarray, model: Any, folder: Path) -> Row:
    """A row for an archive with the model inside."""
    path = folder / "items.clen"
    loaded, load = timed(lambda: cl.load(model))
    loaded.log_prob(items[:2])  # compiled code is loaded before the watch starts
    figures, there = timed(lambda: cl.compress(items, path, loaded, verify=False, force=True))
    back, here = timed(lambda: cl.decompress(path))
    if not np.array_equal(back, items):
        raise SystemExit("the archive did not give the items back")
    row = row_of("codelength", "archive", len(items), figures["payload_bytes"], items.size, there, here)
    keys = ("bits_per_dim_with_model", "model_bytes", "archive_bytes", "overhead", "fallback_items", "model_sha256")
    return {**row, **{key: figures[key] for key in keys}, "model_load_s": load}


def peers(items: np.ndarray, symbols: int, few: np.ndarray) -> list[Row]:
    """Rows of the general codecs on items (n, h, w); ``few`` are those that become files of their own."""
    rows = []
    for name, codec in streams(items.shape[1:], symbols).items():
        rows.append({**measured(name, "stream", codec, [items], items.size), "items": len(items)})
    scale = np.uint8(255 if symbols == 2 else 1)
    for name, codec in pictures(symbols).items():
        whole = measured(name, "mosaic", codec, [mosaic(items * scale)], items.size)
        rows.append({**whole, "items": len(items)})
        rows.append(measured(name, "per image", codec, list(few * scale), few.size))
    return rows


def compare(rows: list[Row]) -> None:
    """Put the sizes of archives beside the best general codec over all items."""
    best = min((row["bits_per_dim"] for row in rows if row["codec"] != "codelength"), default=None)
    for row in rows:
        if row["codec"] == "codelength" and best is not None:
            row["of_best_codec"] = row["bits_per_dim"] / best
            row["of_best_codec_with_model"] = row["bits_per_dim_with_model"] / best


def case(spec: str, arguments: argparse.Namespace) -> list[Row]:
    name, _, model = spec.partition("=")
    data = cl.load_data(name)
    if arguments.limit is not None:
        data = data.subset(arguments.limit, arguments.seed)
    few = np.asarray(data.subset(arguments.per_image, arguments.seed).items)
    items = np.asarray(data.items)
    symbols = data.space.symbols
    rows = peers(items, symbols, few)
    if model:
        try:
            cl.load(model)
        except UsageError as error:
            rows.append({"codec": "codelength", "form": "archive", "note": f"not measured: {error}"})
        else:
            with tempfile.TemporaryDirectory() as folder:
                rows.append({**archive(items, model, Path(folder)), "model": model})
            compare(rows)
    return [{"data": data.name, **row} for row in rows]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("codecs", __doc__)
    options.add_argument("--case", action="append", metavar="DATA[=MODEL]", help=f"default: {', '.join(CASES)}")
    options.add_argument("--limit", type=int, help="items of a data set, a seeded random part; all by default")
    options.add_argument("--per-image", type=int, default=500, help="items that become files of their own")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("codecs", arguments)
    for spec in arguments.case or CASES:
        for row in case(spec, arguments):
            benchmark.add(row)
    return benchmark.write(("numpy", "numba", "pillow", "imagecodecs"), cases=list(arguments.case or CASES))


if __name__ == "__main__":
    main()
