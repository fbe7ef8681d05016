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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS

Show = Callable[[Any], str]

# Benchmarks whose figures are sizes only: other work on the machine does not change them.
UNTIMED = {"headline", "likelihoods", "overhead"}

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


# key, heading, and how to show the value
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
        ("nats", "nats per item", _digits(2)),
        ("nats_se", "standard error", _digits(2)),
        ("bits_per_dim", "bits/dim", _digits(4)),
        ("kind", "kind", str),
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
    "float_tables": [
        ("configuration", "configuration", str),
        ("float_tables", "float tables that differ", _percent(3)),
        ("float_images", "float images lost", _percent(1)),
        ("frozen_tables", "frozen tables", _percent(0)),
        ("frozen_images", "frozen images", _percent(0)),
    ],
    "overhead": [
        ("data", "data", str),
        ("law", "model", str),
        ("items", "items", _digits(0)),
        ("blocks", "blocks", _digits(0)),
        ("payload_bytes", "payload, bytes", _digits(0)),
        ("nats", "nats per item", _digits(2)),
        ("overhead", "overhead", _percent(2)),
        ("frozen_loss", "frozen over float", _percent(3)),
    ],
}


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
    """The Markdown table of a report or of its file, and a line about how it was made.

    Columns without any figure are left out; a row that was not measured says why in its last cell.
    """
    if not isinstance(report, dict):
        report = load(report)
    rows = report["results"]
    columns = [c for c in COLUMNS[report["benchmark"]] if any(row.get(c[0]) is not None for row in rows)]
    right = ["--:" if any(isinstance(row.get(key), int | float) for row in rows) else ":--" for key, _, _ in columns]
    lines = [_line([heading for _, heading, _ in columns]), _line(right)]
    for row in rows:
        cells = ["" if row.get(key) is None else show(row[key]) for key, _, show in columns]
        if "note" in row:
            cells[-1] = row["note"]
        lines.append(_line(cells))
    return "\n".join([*lines, "", _made(report)]) + "\n"


def insert(text: str, read: Callable[[str], dict[str, Any]] = load) -> str:
    """A document with its tables renewed."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{table(read(match[2]))}\n{match[3]}", text)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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
        "**timed while other work was running**" if report.get("loaded") and report["benchmark"] not in UNTIMED else "",
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
            if load(path).get("benchmark") in COLUMNS:
                print(f"### {path.stem}\n\n{table(path)}")


if __name__ == "__main__":
    main()
