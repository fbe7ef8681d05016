"""Bytes and speed of ``pack`` beside general codecs, on the same piles in the same process.

    python -m benchmarks.pack --case mnist:test --profile fast balanced
    python -m benchmarks.pack --case 'cifar10:test[:200]' --compare

A case is data as every command takes it, or one of the names below, whose files lie in ``CODELENGTH_DATA``. A row per
case and profile ("codelength"), everything counted: the archive is written, read back and compared. With ``--compare``
a row per codec and form as well (``packing/peers.py``), and the archives are put beside the smallest of them. MB/s are
megabytes of coded samples (grey stored as RGBA has one to a pixel) over seconds of the processor, of one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Benchmark, Row, limit_threads, parser
from codelength.archive.reader import Archive
from codelength.archive.verify import verify
from codelength.data.opened import open_data
from codelength.packing.pack import Packing, Settings
from codelength.packing.result import PackResult
from codelength.packing.survey import kept_channels

PILES = {
    "fluorescence": "dsb2018/dsb2018-fluo-grey-in-rgba-256x256-150.zip",
    "he": "dsb2018/dsb2018-he-colour-320x256-56.zip",
    "bbbc039": "bbbc039/bbbc039-30.zip",
    "kodak": "kodak",
    "cifar10": "cifar10:test",
    "mnist": "mnist:test",
    "binarized-mnist": "binarized-mnist:test",
}
PROFILES = ("fast", "balanced", "small")


def spec_of(case: str) -> str:
    """The data of a case: of a name of ``PILES``, with a range if it has one, or the case itself."""
    name, bracket, rest = case.partition("[")
    if name not in PILES:
        return case
    place = PILES[name]
    if ":" not in place:
        place = str(Path(os.environ.get("CODELENGTH_DATA", "data")) / place)
    return place + bracket + rest


def coded_bytes(packing: Packing) -> int:
    """Bytes of the samples that are coded, as the first map of channels of each pile has them."""
    total = 0
    for found in packing.surveys:
        share = len(kept_channels(found.maps[0])) / len(found.maps[0]) if found.maps else 1.0
        total += math.ceil(found.pile.raw_bytes * share)
    return total


def decode(path: Path) -> float:
    """Seconds of the processor for reading every item of an archive."""
    with Archive.open(path, max_memory=None) as archive:
        start = time.process_time()
        for block in archive.directory.blocks:
            archive.decode_block(block)
        return time.process_time() - start


def archive_row(
    case: str, profile: str, arguments: argparse.Namespace, folder: Path
) -> tuple[Row, Packing, PackResult]:
    path = folder / "pile.clen"
    settings = Settings(profile=profile, compare=False, verify=False, force=True, max_minutes=arguments.max_minutes)
    packing = Packing(open_data(spec_of(case)), case, settings)
    found = packing.look()
    start = time.process_time()
    result = packing.write(path)
    encoding = time.process_time() - start
    decoding = decode(path)
    with Archive.open(path, max_memory=None) as archive:
        verify(archive, open_data(spec_of(case)).archived)
    raw = coded_bytes(packing)
    row = {
        "data": case,
        "codec": "codelength",
        "form": profile,
        "chosen": "; ".join(pile.chosen.name for pile in result.piles if pile.chosen is not None),
        "items": result.items,
        "raw_bytes": raw,
        "source_bytes": result.source_bytes,
        "bytes": result.archive_bytes,
        "expected_bytes": found.expected_bytes,
        "encode_mb_s": raw / encoding / 1e6,
        "decode_mb_s": raw / decoding / 1e6,
        "choose_s": result.seconds["look"] + result.seconds["choose"],
        "blocks": result.figures["blocks"],
        "memory": result.memory,
    }
    return row, packing, result


def rows_of(case: str, arguments: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for profile in arguments.profile or PROFILES:
            row, packing, result = archive_row(case, profile, arguments, Path(folder))
            rows.append(row)
        if arguments.compare:
            raw = coded_bytes(packing)
            for peer in packing.compare(result).peers:
                rows.append(
                    {
                        "data": case,
                        "codec": peer.name,
                        "form": peer.form,
                        "items": peer.items,
                        "raw_bytes": raw,
                        "bytes": peer.bytes,
                        "encode_mb_s": raw / max(peer.encode_seconds, 1e-9) / 1e6,
                    }
                )
    best = min((row["bytes"] for row in rows if row["codec"] != "codelength"), default=None)
    for row in rows:
        if best is not None and row["codec"] == "codelength":
            row["of_best_codec"] = row["bytes"] / best
    return rows


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("pack", __doc__)
    options.add_argument("--case", nargs="+", metavar="DATA", help=f"default: {', '.join(PILES)}")
    options.add_argument("--profile", nargs="+", choices=PROFILES, help="default: all three")
    options.add_argument("--compare", action="store_true", help="measure general codecs as well")
    options.add_argument("--max-minutes", type=float, default=1.0, help="that choosing may take")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("pack", arguments)
    for case in arguments.case or PILES:
        for row in rows_of(case, arguments):
            benchmark.add(row)
    return benchmark.write(("numpy", "numba", "pillow", "imagecodecs"), cases=list(arguments.case or PILES))


if __name__ == "__main__":
    main()
