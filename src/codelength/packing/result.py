"""What packing did, as a record that commands print, JSON holds, and pages draw."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from codelength.packing.findings import Finding


@dataclass(frozen=True)
class Trial:
    """A way to keep a pile, tried on a sample of it.

    name: such as ``adaptive balanced, photo``, ``made-digits`` or ``WebP or xz``. chosen: whether the pile was written
    in this way (single blocks may still be kept by a general codec where that is smaller).
    sample_bytes: what it made of the sample, None where it was not tried for lack of time. bytes: what it is expected
    to make of the whole pile, its model counted. encode_seconds, decode_seconds: of the whole pile on one core.
    item_seconds: to read one item, its block or blocks decoded. memory: bytes that decoding needs.
    """

    name: str
    chosen: bool
    sample_bytes: int | None
    bytes: int | None
    encode_seconds: float | None
    decode_seconds: float | None
    item_seconds: float | None
    memory: int | None


@dataclass(frozen=True)
class Pile:
    """Images of one mode and dtype, of one size or of several, that are packed together.

    title: such as ``150 RGBA images of 256x256``. items, raw_bytes: how many, and the bytes of their samples.
    sample_items: how many of them were looked at. findings: what holds for them. trials: ways that were tried, the
    best first. bytes: what they took in the archive; None for an estimate.
    """

    title: str
    items: int
    raw_bytes: int
    sample_items: int
    findings: tuple[Finding, ...] = ()
    trials: tuple[Trial, ...] = ()
    bytes: int | None = None

    @property
    def chosen(self) -> Trial | None:
        return next((trial for trial in self.trials if trial.chosen), None)


@dataclass(frozen=True)
class Peer:
    """A general codec on the same items.

    name: such as ``JPEG XL``. form: ``per image`` (each a file of its own), ``mosaic`` (images of one size as tiles of
    one image) or ``stream`` (all samples in a row). bytes: of all items, files that are kept as they are counted as
    such. items: how many it holds; it is no rival where that is not all of them.
    share: of the items' bytes that it was measured on; 1 is all, and else ``bytes`` is an estimate.
    encode_seconds: of the part that was measured, on one core.
    """

    name: str
    form: str
    bytes: int
    items: int
    share: float = 1.0
    encode_seconds: float = 0.0


@dataclass(frozen=True)
class PackResult:
    """What ``pack`` found, chose and wrote.

    data, archive: as they were named; archive is empty for an estimate. profile: ``fast``, ``balanced`` or ``small``.
    items, dims: images, and stored samples of all of them. source_bytes: of the files or arrays as they came.
    raw_bytes: of the items' samples as numbers.
    archive_bytes: of the file; None for an estimate. expected_bytes: what was expected before coding. verified: every
    block was decoded and compared before the archive got its name.
    piles: with findings and trials. findings: about the data as a whole (files kept as they are, and why).
    peers: general codecs on the same items, the smallest first; empty where they were not asked for.
    item_bits: bits of each item in the archive, by number, None for files that are kept as they are; empty where they
    are not known. item_dims: stored samples of each item. names: of the items, empty for arrays.
    figures: of the archive, under the names of ``inspect --json``.
    seconds: by step: ``look``, ``choose``, ``code`` (with verification) and ``compare``.
    item_seconds: that reading one item costs, as measured; None where nothing was decoded. memory: bytes that decoding
    needs. notes: sentences that should be read before the figures are believed.
    """

    data: str
    archive: str
    profile: str
    items: int
    dims: int
    source_bytes: int
    raw_bytes: int
    archive_bytes: int | None
    expected_bytes: int | None
    verified: bool
    piles: tuple[Pile, ...] = ()
    findings: tuple[Finding, ...] = ()
    peers: tuple[Peer, ...] = ()
    item_bits: tuple[float | None, ...] = ()
    item_dims: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    item_seconds: float | None = None
    memory: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def best_peer(self) -> Peer | None:
        """The smallest general codec that holds all items; None where none was measured."""
        rivals = [peer for peer in self.peers if peer.items == self.items]
        return min(rivals, key=lambda peer: peer.bytes, default=None)

    @property
    def of_best_peer(self) -> float | None:
        """Bytes over those of the best general codec; below 1 where the archive is smaller."""
        best, own = self.best_peer, self.archive_bytes if self.archive_bytes is not None else self.expected_bytes
        return own / best.bytes if best is not None and own is not None and best.bytes else None

    def to_json(self) -> dict[str, Any]:
        """Keys as the fields are named, with ``best_peer`` (its name and form) and ``of_best_peer``."""
        best = self.best_peer
        return {
            **asdict(self),
            "best_peer": None if best is None else f"{best.name}, {best.form}",
            "of_best_peer": self.of_best_peer,
        }
