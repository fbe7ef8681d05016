"""One page about what packing found, chose and wrote: a single HTML file that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from codelength.files import write_atomically
from codelength.packing.page_style import STYLE
from codelength.packing.result import PackResult, Peer, Pile, Trial
from codelength.packing.surprise import Shown, Surprise, find_surprise
from codelength.progress import show_seconds
from codelength.report.colours import as_picture, coloured, enlarged, png, round_top
from codelength.report.text import show_bytes

#: Pictures are shown at most so many pixels wide and high.
_SIDE = 384
#: Those below this are enlarged by whole factors.
_SMALL = 160
#: Images more than this much wider than high stand above their maps.
_WIDE = 2.2

#: Nothing may be fetched, and nothing may run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(
    result: PackResult, archive_path: str | os.PathLike[str] | None, page_path: str | os.PathLike[str]
) -> None:
    """Write the page of a result, as UTF-8, atomically.

    archive_path: of the archive that was written, whose cheapest and dearest images are shown; None for an estimate.

    Raises what reading the archive does, and OSError.
    """
    surprise = None if archive_path is None else find_surprise(Path(archive_path))
    write_atomically(page_path, render(result, surprise).encode("utf-8"))


def render(result: PackResult, surprise: Surprise | None) -> str:
    """The page as text."""
    name = _text(os.path.basename(result.data.rstrip("/")) or result.data)
    estimate = result.archive_bytes is None
    body = [
        f"<h1>{name} {'looked at' if estimate else 'packed'}</h1>",
        f'<p class="soft">{_text(result.data)}{_arrow(result)}; profile {_text(result.profile)}</p>',
        _facts(result),
        *_sizes(result),
        *_found(result),
        *_surprise(result, surprise),
        *_choice(result),
        *_speed(result),
        *_figures(result),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{name}: codelength pack</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{chr(10).join(body)}\n</main>\n</body>\n</html>\n"
    )


def _arrow(result: PackResult) -> str:
    return f" &rarr; {_text(result.archive)}" if result.archive else ""


# ------------------------------------------------------------------------------------------------------------ sections


def _facts(result: PackResult) -> str:
    own = _own(result)
    facts = [("images", f"{result.items:,}"), ("as they came", show_bytes(result.source_bytes))]
    if own is not None:
        facts.append(("expected" if result.archive_bytes is None else "in the archive", show_bytes(own)))
    ratio, best = result.of_best_peer, result.best_peer
    if ratio is not None and best is not None:
        facts.append((f"beside {best.name}, the best general codec", _beside(ratio)))
    if result.archive_bytes is not None:
        facts.append(("read back and compared", "all of it" if result.verified else "no"))
    cells = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{cells}</dl>'


def _beside(ratio: float) -> str:
    if abs(ratio - 1) < 0.0005:
        return "the same"
    return f"{abs(1 - ratio):.1%} {'smaller' if ratio < 1 else 'larger'}"


def _sizes(result: PackResult) -> Iterable[str]:
    own = _own(result)
    yield "<h2>Sizes</h2>"
    rows: list[tuple[str, str, int, str]] = []
    if own is not None:
        rows.append(("own", "this archive" if result.archive_bytes is not None else "expected archive", own, ""))
    best: dict[str, Peer] = {}
    for peer in sorted(result.peers, key=lambda peer: peer.bytes):
        if peer.items == result.items:
            best.setdefault(peer.name, peer)
    for peer in best.values():
        rows.append(("", f"{peer.name}, {peer.form}", peer.bytes, "" if peer.share >= 1 else "about "))
    rows.append(("raw", "as it came", result.source_bytes, ""))
    rows.sort(key=lambda row: (row[2], row[0] != "own"))
    # What came may be many times as large as codecs that are to be told apart: its bar is then cut, and says so.
    compared = max((size for kind, _, size, _ in rows if kind != "raw"), default=0) if best else 0
    longest = max((size for _, _, size, _ in rows), default=1)
    most = max(1, min(longest, 5 * compared // 4 or longest))
    cells = []
    for kind, name, size, about in rows:
        share = "" if own is None or not own else f"{size / own:.3f}"
        cut, width = (" class=cut" if size > most else ""), min(100.0, 100 * size / most)
        cells.append(
            f'<tr class="{kind}"><th scope="row">{_text(name)}</th>'
            f'<td class="bar" aria-hidden="true"><span{cut} style="width:{width:.2f}%"></span></td>'
            f'<td class="n">{about}{size:,}</td><td class="n">{share}</td></tr>'
        )
    torn = "; the bar with a torn end is cut" if longest > most else ""
    yield (
        '<div class="card"><table class="bars"><caption>Bytes, everything counted; beside them how many times the '
        f'size of the archive that is{torn}</caption><thead><tr><th scope="col">kept as</th><td></td>'
        '<th scope="col" class="n">bytes</th><th scope="col" class="n">times</th></tr></thead>'
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )
    part = [peer for peer in best.values() if peer.share < 1]
    if part:
        yield (
            f'<p class="soft">Where it says about, the codec was measured on a part of the images (at least '
            f"{min(peer.share for peer in part):.0%} of their bytes).</p>"
        )
    if not best:
        yield '<p class="soft">General codecs were not measured.</p>'
    yield from (f"<p>{_text(note)}</p>" for note in result.notes)


def _found(result: PackResult) -> Iterable[str]:
    if not result.piles and not result.findings:
        return
    yield "<h2>What was found</h2>"
    for pile in result.piles:
        looked = f", {pile.sample_items:,} of them looked at" if pile.sample_items < pile.items else ""
        yield (
            f'<section class="card"><h3>{_text(pile.title)}</h3>'
            f'<p class="soft">{show_bytes(pile.raw_bytes)} of samples{looked}</p>'
            f"{_list(finding.text for finding in pile.findings if finding.text != pile.title)}</section>"
        )
    yield _list(finding.text for finding in result.findings)


def _choice(result: PackResult) -> Iterable[str]:
    piles = [pile for pile in result.piles if pile.trials]
    if not piles:
        return
    yield "<h2>What was chosen</h2>"
    for pile in piles:
        yield _scrolling(pile.title, _trials(pile))


def _trials(pile: Pile) -> str:
    def row(trial: Trial) -> str:
        name = f"{_text(trial.name)}{' (chosen)' if trial.chosen else ''}"
        cells = [
            _or_dash(trial.bytes, "{:,}"),
            _rate(pile.raw_bytes, trial.encode_seconds),
            _rate(pile.raw_bytes, trial.decode_seconds),
            _or_dash(trial.item_seconds, "{:.2g} s"),
            "&ndash;" if trial.memory is None else show_bytes(trial.memory),
        ]
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        return f'<tr class="{"own" if trial.chosen else ""}"><th scope="row">{name}</th>{numbers}</tr>'

    heads = ("expected bytes", "MB/s to code", "MB/s to decode", "one image", "memory")
    written = "" if pile.bytes is None else f"; {pile.bytes:,} bytes were written"
    return (
        f"<table><caption>{_text(pile.title)}{written}</caption>"
        '<thead><tr><th scope="col">way</th>'
        + "".join(f'<th scope="col" class="n">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(row(trial) for trial in pile.trials)}</tbody></table>"
    )


def _surprise(result: PackResult, surprise: Surprise | None) -> Iterable[str]:
    yield "<h2>Where the bits went</h2>"
    if result.archive_bytes is None:
        yield '<p class="soft">Nothing has been written yet.</p>'
        return
    if surprise is None or not surprise.dearest:
        yield (
            '<p class="soft">No image was coded by a program that tells what single pixels cost, so there are no '
            "maps.</p>"
        )
        return
    every = (*surprise.cheapest, *surprise.dearest)
    top = round_top(np.concatenate([shown.bits.ravel() for shown in every]))
    of_each = "" if surprise.piles == 1 else " of each sort"
    taught = ""
    if surprise.taught_by:
        left_out = f"{surprise.taught_by:,} in all, {'is' if surprise.taught_by == 1 else 'are'} left out"
        taught = f"; the first{of_each}, {left_out}, since what comes first is dear whatever it shows"
    where = "the largest pile" if surprise.piles == 1 else f"{surprise.piles} sorts of images"
    yield (
        f"<p>{surprise.looked_at:,} image{'s' * (surprise.looked_at != 1)} from the beginning of {where}{taught}. "
        "A map shows the bits of each pixel, given all before it: bright is what the program did not foresee.</p>"
    )
    scale = png(coloured(np.linspace(0, 1, 256)[None], 1.0))
    yield (
        f'<div class="scale"><img alt="colours from dark to bright" src="{_uri(scale)}">'
        f"<div><span>0</span><span>bits per pixel</span><span>{top:g} or more</span></div></div>"
    )
    for title, group in (("Cheapest", surprise.cheapest), ("Dearest", surprise.dearest)):
        if group:
            figures = "".join(_figure(shown, top) for shown in group)
            yield f'<section class="card"><h3>{title}</h3><div class="shown">{figures}</div></section>'


def _figure(shown: Shown, top: float) -> str:
    height, width = shown.bits.shape
    picture = _fitted(as_picture(shown.pixels, shown.top + 1))
    bits = shown.bits if max(height, width) <= _SIDE else np.asarray(_reduced(Image.fromarray(shown.bits)))
    drawn = enlarged(coloured(bits, top), _SMALL, _SIDE)
    name = shown.name or f"image {shown.number}"
    kinds = ["pair", *(["wide"] if width > _WIDE * height else [])]
    grains = " grains" if max(height, width) <= _SMALL else ""
    return (
        f'<figure><div class="{" ".join(kinds)}{grains}">'
        f'<img alt="{_text(name)}, {width} by {height} pixels" src="{_uri(png(picture))}">'
        f'<img alt="bits per pixel of {_text(name)}, {shown.total / shown.bits.size:.3f} on average" '
        f'src="{_uri(png(drawn))}"></div>'
        f"<figcaption><bdi>{_text(name)}</bdi><br>{shown.total / 8:,.0f} bytes, {shown.per_sample:.3f} bits per sample"
        "</figcaption></figure>"
    )


def _speed(result: PackResult) -> Iterable[str]:
    steps = {
        "look": "looking",
        "choose": "choosing",
        "code": "coding and verifying",
        "compare": "measuring general codecs",
    }
    rows = [
        (words, f"{result.seconds[key]:.1f} s" if result.seconds[key] < 100 else show_seconds(result.seconds[key]))
        for key, words in steps.items()
        if result.seconds.get(key)
    ]
    if result.seconds.get("code"):
        rate = result.raw_bytes / 1e6 / result.seconds["code"]
        rows.append(("raw megabytes a second, coding and verifying", f"{rate:.2g}"))
    if result.item_seconds is not None:
        rows.append(("reading one image", f"{result.item_seconds:.2g} s"))
    if result.memory is not None:
        rows.append(("memory that reading needs", show_bytes(result.memory)))
    if rows:
        yield "<h2>Speed and memory</h2>"
        yield f'<div class="card">{_table("On the machine that packed it", rows)}</div>'


def _figures(result: PackResult) -> Iterable[str]:
    yield "<h2>Figures</h2>"
    rows = [
        ("images", f"{result.items:,}"),
        ("samples", f"{result.dims:,}"),
        ("bytes as they came", f"{result.source_bytes:,}"),
        ("bytes of the samples as numbers", f"{result.raw_bytes:,}"),
    ]
    if result.expected_bytes is not None:
        rows.append(("bytes expected before coding", f"{result.expected_bytes:,}"))
    if result.archive_bytes is not None:
        rows.append(("bytes of the archive", f"{result.archive_bytes:,}"))
        if result.dims:
            rows.append(("bits per stored sample", f"{8 * result.archive_bytes / result.dims:.4f}"))
    yield f'<div class="card">{_table("Totals", rows)}</div>'
    if result.peers:
        heads = ("codec", "bytes", "images that it holds", "share measured", "seconds to code")
        rows_of = "".join(
            f'<tr><th scope="row">{_text(f"{peer.name}, {peer.form}")}</th>'
            + "".join(
                f'<td class="n">{cell}</td>'
                for cell in (f"{peer.bytes:,}", f"{peer.items:,}", f"{peer.share:.0%}", f"{peer.encode_seconds:.1f}")
            )
            + "</tr>"
            for peer in result.peers
        )
        head = "".join(f'<th scope="col"{" class=n" if k else ""}>{name}</th>' for k, name in enumerate(heads))
        yield (
            "<details><summary>All general codecs</summary>"
            + _scrolling("All general codecs", f"<table><thead><tr>{head}</tr></thead><tbody>{rows_of}</tbody></table>")
            + "</details>"
        )
    if result.figures:
        shown = [(key, _plain(value)) for key, value in result.figures.items() if not isinstance(value, dict | list)]
        yield (
            "<details><summary>The archive, under the names of <code>inspect --json</code></summary>"
            + _scrolling("The archive", _table("", shown))
            + "</details>"
        )


# --------------------------------------------------------------------------------------------------------------- parts


def _own(result: PackResult) -> int | None:
    return result.archive_bytes if result.archive_bytes is not None else result.expected_bytes


def _table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td class="n">{_text(value)}</td></tr>' for name, value in rows
    )
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    return f"<table>{title}<tbody>{body}</tbody></table>"


def _scrolling(name: str, table: str) -> str:
    """A table that scrolls by itself where it is wider than the page, with the keyboard as well."""
    return f'<div class="card scroll" tabindex="0" role="region" aria-label="{_text(name)}">{table}</div>'


def _list(texts: Iterable[str]) -> str:
    found = "".join(f"<li>{_text(text)}</li>" for text in texts)
    return f"<ul>{found}</ul>" if found else ""


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def _or_dash(value: float | None, form: str) -> str:
    return "&ndash;" if value is None else form.format(value)


def _rate(size: int, seconds: float | None) -> str:
    return "&ndash;" if not seconds else f"{size / 1e6 / seconds:.2g}"


def _text(text: str) -> str:
    """Text for HTML, whatever its bytes and however hostile: what is no printable character is shown by its number."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    shown = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode("ascii") for c in shown)
    return html.escape(shown)


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _fitted(picture: np.ndarray) -> Image.Image:
    return _reduced(Image.fromarray(enlarged(picture, _SMALL, _SIDE)))


def _reduced(picture: Image.Image) -> Image.Image:
    """At most ``_SIDE`` wide and high, by means over boxes."""
    factor = max(picture.size) / _SIDE
    if factor <= 1:
        return picture
    size = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
    return picture.resize(size, Image.Resampling.BOX)
