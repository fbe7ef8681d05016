"""What is found in data before it is packed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: What a finding may be about, in the order in which findings are told.
KINDS = (
    "images",  # how many, of which type and sizes
    "kept",  # files and arrays that are kept byte for byte, and why
    "depth",  # fewer bits used than stored
    "levels",  # values with gaps between them
    "grey",  # colour channels that are equal
    "opaque",  # alpha that is opaque
    "constant",  # another channel, or all of an image, of one value
    "binary",  # two values
    "drawn",  # few values, or flat areas: drawn rather than taken by a camera
    "duplicates",  # images that occur more than once
    "frames",  # the previous image tells of the next
    "noise",  # nothing to be found
)


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    kind: one of ``KINDS``. text: a sentence for people, without a full stop. items: images that it holds for, of those
    that were looked at. looked_at: how many those are. sampled: whether there are more that were not looked at; what
    the finding says is then checked for each of them when it is written.
    about: figures by name, such as ``bits`` of a depth, for programs.
    """

    kind: str
    text: str
    items: int
    looked_at: int
    sampled: bool = False
    about: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
