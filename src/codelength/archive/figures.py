"""The sizes and rates of an archive."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figures:
    """What an archive cost.

    items, dims: items, and elements of all items (original sub-pixels).
    archive_bytes: the file; model_bytes: the embedded model; payload_bytes: all but the model.
    names_bytes, fallback_bytes: what names take, and what is kept by general codecs (items, files, metadata).
    fallback_items: items not coded by the model.
    code_length_bits: the frozen model's promise for the items it coded (its parallel pass), rounded up.
    startup_bits: bits of blocks that buy no information, rounded up.
    """

    items: int
    dims: int
    archive_bytes: int
    model_bytes: int
    names_bytes: int
    fallback_bytes: int
    fallback_items: int
    code_length_bits: int
    startup_bits: int
    blocks: int
    format_version: int
    model_sha256: str
    data_sha256: str

    @property
    def payload_bytes(self) -> int:
        return self.archive_bytes - self.model_bytes

    @property
    def bits_per_dim(self) -> float | None:
        """Of the payload; None without elements."""
        return 8 * self.payload_bytes / self.dims if self.dims else None

    @property
    def bits_per_dim_with_model(self) -> float | None:
        return 8 * self.archive_bytes / self.dims if self.dims else None

    @property
    def overhead(self) -> float | None:
        """How much more than the promise the model's share of the payload takes; None without a promise."""
        if not self.code_length_bits:
            return None
        return 8 * (self.payload_bytes - self.names_bytes - self.fallback_bytes) / self.code_length_bits - 1

    def to_json(self) -> dict[str, Any]:
        derived = ("payload_bytes", "bits_per_dim", "bits_per_dim_with_model", "overhead")
        return {**asdict(self), **{key: getattr(self, key) for key in derived}}
