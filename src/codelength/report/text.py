"""Figures as text for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from codelength.sizes import show_size

#: Reasons for files kept as they are that a summary names.
REASONS = 3

if TYPE_CHECKING:
    from codelength.archive.read_cost import ReadCost
    from codelength.likelihood.comparison import Comparison
    from codelength.likelihood.result import Estimate

#: Seconds for one item from which on smaller blocks are worth a word.
LONG_READ = 0.5


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns. Columns of numbers are aligned on the right; nothing is cut off."""
    columns = list(zip(headers, *rows)) if rows else [(header,) for header in headers]
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [bool(rows) and all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = []
    for row in (headers, *rows):
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell[:1].isdigit() or (cell[:1] in "+-" and cell[1:2].isdigit())


def show_estimate(data: str, result: Estimate) -> str:
    """A few lines about an evaluation."""
    lines = [str(result)]
    if result.samples:
        error = "" if result.mc_se is None else f", ± {result.mc_se:.4f} nats from them"
        draws = "chains" if result.estimator == "annealed" else "samples"
        lines.append(f"{result.estimator} with {result.samples} {draws} per item{error}")
    if result.diagnostics is not None and result.samples > 1:
        found = result.diagnostics
        heavy = "" if found.heavy is None else f"; Pareto shape above 0.7 for {found.heavy:.1%} of the items"
        lines.append(f"effective samples per item: {found.ess.mean():.1f}, at least {found.ess.min():.1f}{heavy}")
        if "acceptance" in found.about:
            lines.append(f"transitions accepted: {found.about['acceptance']:.0%}")
    if result.two_sided is not None:
        both = result.two_sided
        error = "" if both.gap_se is None else f" ± {both.gap_se:.4f}"
        lines.append(
            f"on {both.items:,} items that the model drew, between {both.lower:.4f} and {both.upper:.4f} nats per "
            f"item: these settings leave {both.gap:.4f}{error} open"
        )
    lines.append(f"data: {data}, preprocessing: {result.preprocessing}")
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)


def show_comparison(other: str, gap: Comparison) -> str:
    """Two lines about another model on the same items."""
    error = "" if gap.nats_se is None else f" ± {gap.nats_se:.4f}"
    text = (
        f"{other}: {gap.other}\n{gap.nats:+.4f}{error} nats per item against it, item by item; more probable for "
        f"{gap.wins:.1%} of the items"
    )
    return "\n".join([text, *(f"note: {note}" for note in gap.notes)])


def show_compression(figures: dict[str, Any]) -> str:
    """What somebody who compresses wants to know: before and after, how much, and whether it was verified."""
    before, after = figures["source_bytes"], figures["archive_bytes"]
    share = f" ({after / before:.0%})" if before else ""
    verified = "all verified" if figures["verified"] else "not verified"
    lines = [f"{show_bytes(before)} -> {show_bytes(after)}{share}, {figures['items']:,} items, {verified}"]
    kept = figures["kept_files"]
    if kept:
        reasons = [f"{count:,}: {reason}" for reason, count in list(kept.items())[:REASONS]]
        more = f"; and {len(kept) - REASONS} other reasons" if len(kept) > REASONS else ""
        lines.append(f"{sum(kept.values()):,} of them are kept as files ({'; '.join(reasons)}{more})")
    return "\n".join(lines)


def show_bytes(count: int) -> str:
    """A number of bytes in the units that sizes of files are given in, with three digits."""
    for unit, power in (("GB", 3), ("MB", 2), ("kB", 1)):
        if count >= 1000**power:
            value = count / 1000**power
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{count} bytes"


def show_archive(figures: dict[str, Any]) -> str:
    """A few lines about an archive."""
    lines = [f"{show_size(figures['archive_bytes'])} for {figures['items']:,} items"]
    parts = [f"model {show_size(figures['model_bytes'])}", f"data {show_size(figures['payload_bytes'])}"]
    for name in ("names", "fallback"):
        if figures[f"{name}_bytes"]:
            parts.append(f"of that {name} {show_size(figures[f'{name}_bytes'])}")
    lines[0] += f" ({', '.join(parts)})"
    if figures["bits_per_dim"] is not None:
        lines.append(
            f"{figures['bits_per_dim']:.4f} bits/dim, {figures['bits_per_dim_with_model']:.4f} with the model"
            " (per stored sample)"
        )
    if figures["fallback_items"]:
        lines.append(f"{figures['fallback_items']:,} items are kept by general codecs")
    if figures["overhead"] is not None:
        promised = figures["code_length_bits"] / 8
        own = figures["payload_bytes"] - figures["names_bytes"] - figures["fallback_bytes"]
        lines.append(
            f"the model promises {promised:,.0f} bytes and the file takes {own - promised:,.0f} more "
            f"({figures['overhead']:+.2%}): its frame, and {figures['startup_bits']:,} bit"
            f"{'' if figures['startup_bits'] == 1 else 's'} to start blocks"
        )
    lines += [f"note: {note}" for note in figures.get("notes", ())]
    return "\n".join(lines)


def show_read_cost(cost: ReadCost) -> str:
    """A line about the time that one item of an archive costs, and what to do where that is long."""
    about = "about" if cost.warm else "at most about"
    time = f"{cost.seconds:.2g} s" if cost.seconds < 10 else f"{cost.seconds:,.0f} s"
    if cost.seconds < 0.01:
        about, time = "less than", "0.01 s"
    text = f"one item costs {about} {time} to read back (blocks of {cost.items:,} items)"
    smaller = cost.items // 16
    if cost.seconds < LONG_READ or smaller < 1:
        return text
    smaller = 1 << (smaller.bit_length() - 1)
    return f"{text}; smaller blocks (--block {smaller}) make that less and the file larger"
