"""What will come back of data that is archived, told before it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Promise:
    """What comes back of the files of a folder, or of one file of arrays.

    files: how many there are. exact: how many of them come back byte for byte.
    anew: what comes back of the others, in sentences, with how many there are of each.
    kept: reasons why images are kept as files (byte for byte), with how many there are of each.
    notes: what else does not come back, in sentences.
    """

    files: int
    exact: int
    anew: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """What people should know before the archive is written; empty where every byte comes back."""
        lines = [f"{_files(count)}: {what}" for what, count in self.anew.items()]
        lines += [f"{_files(count)} kept byte for byte: {reason}" for reason, count in self.kept.items()]
        if self.anew:
            lines.append(f"{self.exact:,} of {_files(self.files)} come back byte for byte; --keep-files keeps all so")
        return [*lines, *self.notes]


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """How many there are of each, the most frequent first; empty ones are left out."""
    return dict(Counter(reason for reason in reasons if reason).most_common())
