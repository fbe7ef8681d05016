"""Results files as Markdown tables.

    python -m benchmarks.tables               prints the table of every results file
    python -m benchmarks.tables README.md     puts them into a document

In a document, a table stands between the lines ``<!-- benchmarks:NAME -->`` and ``<!-- /benchmarks:NAME -->``, NAME
being that of the results file; what stood between them is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS

Show = Callable[[Any], str]

# Benchmarks whose figures are sizes only: other work on the machine does not change them.
UNTIMED = {"headline", "likelihoods", "overhead"}
UNTIMED_PARTS = {"precision", "frequencies", "clean"}

_BLOCK = re.compile(r"(<!-- benchmarks:([\w-]+) -->\n).*?(<!-- /benchmarks:\2 -->)", re.DOTALL)


def _digits(count: int) -> Show:
    return lambda value: f"{value:,.{count}f}"


def _percent(count: int) -> Show:
    return lambda value: f"{value:.{count}%}"


def _significant(value: float) -> str:
    """Three digits that mean something, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.5f}"


# By benchmark, and by part where rows of several kinds stand in one file: key, heading, and how to show the value.
COLUMNS: dict[str, list[tuple[str, str, Show]]] = {
    "headline": [
        ("data", "data", str),
        ("what", "", str),
        ("bytes", "bytes", _digits(0)),
        ("bits_per_dim", "bits/dim", _digits(4)),
    ],
    "likelihoods": [
        ("data", "data", str),
        ("model", "model", str),
        ("estimator", "estimator", str),
        ("samples", "draws or chains", _digits(0)),
        ("proposal", "proposal", str),
        ("temperatures", "temperatures", _digits(0)),
        ("items", "items", _digits(0)),
        ("nats", "nats per item", _digits(2)),
        ("nats_se", "standard error", _digits(2)),
        ("bits_per_dim", "bits/dim", _digits(4)),
        ("kind", "kind", str),
    ],
    "startup": [
        ("package", "package", str),
        ("command", "command", str),
        ("kernels", "kernels", str),
        ("processor_seconds", "processor seconds", _digits(2)),
        ("elapsed_seconds", "elapsed", _digits(2)),
    ],
    "coder": [
        ("job", "job", str),
        ("codelength_push_ns", "push, ns/symbol", _digits(1)),
        ("codelength_pop_ns", "pop, ns/symbol", _digits(1)),
        ("constriction_push_ns", "constriction push", _digits(1)),
        ("constriction_pop_ns", "constriction pop", _digits(1)),
    ],
    "sampling": [
        ("system", "system", str),
        ("batch", "batch", _digits(0)),
        ("density_ms", "density evaluation, ms", _digits(1)),
        ("sample_ms", "drawing, ms", _digits(1)),
        ("sample_ratio", "drawing / density", _digits(1)),
        ("decode_ratio", "decoding / density", _digits(1)),
    ],
    "codecs": [
        ("data", "data", str),
        ("codec", "codec", str),
        ("form", "form", str),
        ("bits_per_dim", "bits/dim", _digits(4)),
        ("bits_per_dim_with_model", "with the model", _digits(4)),
        ("encode_mb_s", "compress, MB/s", _significant),
        ("decode_mb_s", "decompress, MB/s", _significant),
    ],
    "pack": [
        ("data", "data", str),
        ("codec", "codec", str),
        ("form", "form", str),
        ("items", "items", _digits(0)),
        ("bytes", "bytes", _digits(0)),
        ("of_best_codec", "of the best codec", _digits(3)),
        ("encode_mb_s", "compress, MB/s", _significant),
        ("decode_mb_s", "decompress, MB/s", _significant),
    ],
    "float_tables": [
        ("configuration", "configuration", str),
        ("float_tables", "float tables that differ", _percent(3)),
        ("float_images", "float images lost", _percent(1)),
        ("frozen_tables", "frozen tables", _percent(0)),
        ("frozen_images", "frozen images", _percent(0)),
    ],
    "bits_back/precision": [
        ("data", "data", str),
        ("model", "model", str),
        ("latent_bits", "latent bits", _digits(0)),
        ("bound_bits_per_dim", "frozen bound", _digits(4)),
        ("bits_per_dim", "archive", _digits(4)),
        ("overhead", "overhead", _percent(2)),
        ("startup_bits", "start-up bits", _digits(0)),
        ("outright_bits_per_dim", "latents sent outright", _digits(4)),
        ("frozen_loss", "frozen over float", _percent(3)),
    ],
    "bits_back/frequencies": [
        ("data", "data", str),
        ("model", "model", str),
        ("total_bits", "bits of totals", _digits(0)),
        ("changed_leaves", "leaves with them", _digits(0)),
        ("leaves", "of", _digits(0)),
        ("bound_bits_per_dim", "code length", _digits(4)),
        ("bits_per_dim", "archive", _digits(4)),
        ("loss", "beyond the model's own", _percent(3)),
        ("loss_se", "standard error", _percent(3)),
    ],
    "bits_back/clean": [
        ("data", "data", str),
        ("model", "model", str),
        ("items", "items", _digits(0)),
        ("orders", "orders", _digits(0)),
        ("fresh_bits", "bits per item, fresh random bits", _digits(2)),
        ("chained_bits", "chained", _digits(2)),
        ("difference_bits", "difference", _digits(3)),
        ("difference_se", "standard error", _digits(3)),
    ],
    "bits_back/speed": [
        ("data", "data", str),
        ("codec", "codec", str),
        ("form", "form", str),
        ("bits_per_dim", "bits/dim", _digits(4)),
        ("encode_mb_s", "compress, MB/s", _significant),
        ("decode_mb_s", "decompress, MB/s", _significant),
        ("encode_ms", "encode, ms/item", _digits(2)),
        ("encode_beyond_ms", "beyond the networks", _digits(2)),
        ("decode_ms", "decode, ms/item", _digits(2)),
        ("decode_beyond_ms", "beyond the networks", _digits(2)),
        ("network_share_of_product", "networks over matrix product", _percent(0)),
    ],
    "importance": [
        ("data", "data", str),
        ("model", "model", str),
        ("system", "system", str),
        ("items", "items", _digits(0)),
        ("draws_s", "draws/s", _digits(0)),
        ("multiply_adds", "multiply-adds a draw", _digits(0)),
        ("share_of_product", "over matrix product", _percent(0)),
        ("many", "draws of an item", _digits(0)),
        ("peak_mib", "peak, MiB", _digits(0)),
        ("growth_mib", "growth, MiB", _digits(0)),
    ],
    "overhead": [
        ("data", "data", str),
        ("model", "model", str),
        ("law", "taken", str),
        ("items", "items", _digits(0)),
        ("blocks", "blocks", _digits(0)),
        ("payload_bytes", "payload, bytes", _digits(0)),
        ("bits_per_dim", "bits/dim", _digits(4)),
        ("nats", "nats per item", _digits(2)),
        ("overhead", "overhead", _percent(2)),
        ("frozen_loss", "frozen over float", _percent(3)),
    ],
}


BENCHMARKS = {name.split("/")[0] for name in COLUMNS}


def load(name: str | Path) -> dict[str, Any]:
    """A results file by its path, or by the name of its benchmark."""
    path = Path(name)
    if path.suffix != ".json":
        path = RESULTS / f"{name}.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "jobs" in report:  # the coder keeps its rows by the names of their jobs
        report.setdefault("benchmark", "coder")
        report["results"] = [{"job": job, **figures} for job, figures in report["jobs"].items()]
    return report


def table(report: dict[str, Any] | str | Path) -> str:
    """The Markdown table of a report or of its file, one for each part that it has, and a line about how it was made.

    Columns without any figure are left out; a row that was not measured says why in its last cell.
    """
    if not isinstance(report, dict):
        report = load(report)
    tables = []
    for part in dict.fromkeys(row.get("part") for row in report["results"]):
        rows = [row for row in report["results"] if row.get("part") == part]
        name = report["benchmark"] if part is None else f"{report['benchmark']}/{part}"
        tables.append(_table(COLUMNS[name], rows))
    return "\n\n".join([*tables, _made(report)]) + "\n"


def _table(columns: list[tuple[str, str, Show]], rows: list[dict[str, Any]]) -> str:
    columns = [c for c in columns if any(row.get(c[0]) is not None for row in rows)]
    right = ["--:" if any(isinstance(row.get(key), int | float) for row in rows) else ":--" for key, _, _ in columns]
    lines = [_line([heading for _, heading, _ in columns]), _line(right)]
    for row in rows:
        cells = ["" if row.get(key) is None else show(row[key]) for key, _, show in columns]
        if "note" in row:
            cells[-1] = row["note"]
        lines.append(_line(cells))
    return "\n".join(lines)


def insert(text: str, read: Callable[[str], dict[str, Any]] = load) -> str:
    """A document with its tables renewed; those without a results file stay as they are, and are named on stderr."""

    def renewed(match: re.Match[str]) -> str:
        try:
            report = read(match[2])
        except FileNotFoundError:
            print(f"no results of {match[2]}: its table stays as it is", file=sys.stderr)
            return match[0]
        return f"{match[1]}\n{table(report)}\n{match[3]}"

    return _BLOCK.sub(renewed, text)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _timed(report: dict[str, Any]) -> bool:
    parts = {row.get("part") for row in report["results"]} - UNTIMED_PARTS
    return report["benchmark"] not in UNTIMED and bool(parts)


def _made(report: dict[str, Any]) -> str:
    machine = report.get("machine", "")
    if isinstance(machine, dict):
        machine = f"{machine['processor']}, {machine['cores']} cores"
    threads = report.get("threads")
    parts = [
        f"`{report['command']}`" if "command" in report else "",
        machine,
        f"{threads} thread{'s' if threads != 1 else ''}" if threads else "",
        ", ".join(f"{name} {number}" for name, number in report.get("versions", {}).items()),
        "**timed while other work was running**" if report.get("loaded") and _timed(report) else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def main(argv: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.tables", description="Results as Markdown tables.")
    options.add_argument("documents", nargs="*", type=Path, help="documents to renew; without any, tables are printed")
    arguments = options.parse_args(argv)
    for document in arguments.documents:
        document.write_text(insert(document.read_text(encoding="utf-8")), encoding="utf-8")
    if not arguments.documents:
        for path in sorted(RESULTS.glob("*.json")):
            if load(path).get("benchmark") in BENCHMARKS:
                print(f"### {path.stem}\n\n{table(path)}")


if __name__ == "__main__":
    main()
