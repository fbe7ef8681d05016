"""What packing found, expects and saved, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from codelength.packing.result import PackResult, Peer, Pile
from codelength.progress import show_seconds
from codelength.report.text import show_bytes

#: Piles, and findings of a pile, that are told; JSON has all of them.
PILES = 8


def show_look(result: PackResult) -> str:
    """What was found and what is expected, before anything is written."""
    return "\n".join(_look(result))


def _look(result: PackResult) -> Iterator[str]:
    for pile in result.piles[:PILES]:
        yield from _pile(pile)
    if len(result.piles) > PILES:
        yield f"and {len(result.piles) - PILES:,} other sorts of items"
    yield from (finding.text for finding in result.findings)
    yield from result.notes
    if not result.piles:
        return
    chosen = [pile.chosen for pile in result.piles if pile.chosen is not None]
    seconds = sum(trial.encode_seconds or 0.0 for trial in chosen)
    if result.expected_bytes is None:
        yield f"nothing was tried; about {show_seconds(seconds)} of one core to code, and as much to verify"
        return
    yield (
        f"expected: {show_bytes(result.source_bytes)} -> about {show_bytes(result.expected_bytes)}, in about "
        f"{_seconds(seconds)} of one core, and as much again to verify"
    )
    if result.item_seconds is not None and result.memory is not None:
        memory = show_bytes(result.memory)
        yield f"one item is then read in about {_seconds(result.item_seconds)}, with {memory} of memory"


def _pile(pile: Pile) -> Iterator[str]:
    first, *others = pile.findings
    text = first.text if not others else f"{first.text}: {'; '.join(finding.text for finding in others)}"
    sampled = any(finding.sampled for finding in pile.findings) and pile.sample_items < pile.items
    yield text + (f" (from {pile.sample_items:,} of them)" if others and sampled else "")
    if pile.chosen is not None:
        yield f"  to be kept by: {pile.chosen.name}"


def show_packed(result: PackResult) -> str:
    """What became of it: before and after, whether it was verified, and what reading an item takes."""
    before, after = result.source_bytes, result.archive_bytes or 0
    share = f" ({after / before:.0%})" if before else ""
    verified = "all verified" if result.verified else "not verified"
    lines = [f"{show_bytes(before)} -> {show_bytes(after)}{share}, {result.items:,} items, {verified}"]
    if result.item_seconds is not None and result.memory is not None:
        reading, memory = _seconds(result.item_seconds), show_bytes(result.memory)
        lines.append(
            f"one item is read in about {reading}, with {memory} of memory; smaller blocks (--block) make that less "
            "and the archive larger"
        )
    return "\n".join(lines)


def show_peers(result: PackResult) -> str:
    """General codecs beside the size that is expected, or was reached; a word where it was interrupted."""
    interrupted = [note for note in result.notes if "interrupted" in note]
    return "\n".join([*_peers(result), *interrupted])


def _peers(result: PackResult) -> Iterator[str]:
    best: dict[str, Peer] = {}
    for peer in result.peers:
        if peer.items == result.items:
            best.setdefault(peer.name, peer)
    if not best:
        return
    about = "about " if any(peer.share < 1 for peer in best.values()) else ""
    yield f"beside: {about}" + ", ".join(
        f"{name} {show_bytes(peer.bytes)} ({peer.form})" for name, peer in best.items()
    )
    ratio, rival = result.of_best_peer, result.best_peer
    if ratio is None or rival is None:
        return
    what = f"the best of these, {rival.name}"
    if ratio < 0.9995:
        yield f"{1 - ratio:.1%} smaller than {what}"
    elif ratio <= 1.0005:
        yield f"as large as {what}"
    else:
        yield f"{ratio - 1:.1%} LARGER than {what}"


def _seconds(seconds: float) -> str:
    if seconds < 0.01:
        return "0.01 s"
    return f"{seconds:.2g} s" if seconds < 10 else show_seconds(seconds)
