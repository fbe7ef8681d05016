"""Every error that codelength raises on purpose.

    CodelengthError
    ├── UsageError            the request itself is wrong (exit status 2)
    │   └── NoMedian                a probable value asked of a law that cannot choose one
    ├── DataError             data that cannot be read, found or understood
    │   ├── UntrustedDownload     a download whose hash nobody has vouched for
    │   └── NotRepresentable      a value outside the model's space
    ├── StackExhausted        a pop asked a stack for bits that it does not hold
    ├── ProgramError          a frozen model that is malformed, or whose bounds do not hold
    │   └── UnknownFeature        it needs an operation or law that this reader does not know
    ├── FreezeError           a module that cannot be frozen, or whose frozen rate is too much worse
    ├── NotFrozen             what needs integers, such as push or pop, asked of a model in floating point
    ├── EvaluationError       NaN or infinity in a likelihood
    │   └── NotCausal             a network that sees what it is asked to predict, so that it has no likelihood
    ├── MissingPackage        a package of an extra, such as PyTorch, that is not installed
    ├── RecipeError           an unknown key or a value of the wrong kind in a recipe
    ├── CheckpointError       a run folder that cannot be resumed
    └── ArchiveError          a file that cannot be decoded
        ├── NotAnArchive
        ├── NewerVersion
        ├── Truncated
        ├── CorruptHeader
        ├── CorruptBlock
        ├── WrongModel
        ├── UnsafeName
        └── TooLarge

Messages are one sentence: what was expected, what arrived, what to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codelength.archive.damage import Damage


class CodelengthError(Exception):
    """Base of all errors that the command line turns into one sentence and a non-zero exit status."""

    exit_status = 1


class UsageError(CodelengthError):
    exit_status = 2


class NoMedian(UsageError):
    pass


class DataError(CodelengthError):
    pass


class UntrustedDownload(DataError):
    pass


class NotRepresentable(DataError):
    """A value outside the model's space.

    items: which items are refused, ascending, by their places in the array that was given to whoever raises it; empty
    where it is not for particular items (a shape, a type of numbers). The message names the first of them:
    "expected integers from 0 to 255, but item 5 holds 300 (and 2 more items are refused)".

    expected: how the message begins. found: what the first item holds. subject: who holds it, ``{}`` standing for the
    item's number.
    """

    def __init__(self, expected: str, items: Iterable[int] = (), found: str = "", subject: str = "item {}") -> None:
        self.items: tuple[int, ...] = tuple(items)
        self.expected, self.found, self.subject = expected, found, subject
        message = expected
        if self.items:
            more = len(self.items) - 1
            rest = f" (and {more} more {'items are' if more > 1 else 'item is'} refused)" if more else ""
            message = f"{expected}, but {subject.replace('{}', str(self.items[0]), 1)} holds {found}{rest}"
        super().__init__(message)

    def placed(self, places: Sequence[int] | Any) -> NotRepresentable:
        """The same for a larger array, in which the items given lie at the ascending ``places``."""
        items = [int(places[item]) for item in self.items]
        return NotRepresentable(self.expected, items, self.found, self.subject)

    def about(self, subject: str) -> NotRepresentable:
        """The same with another subject, in which ``item {}`` stands for the one so far."""
        subject = subject.replace("item {}", self.subject)
        return NotRepresentable(self.expected, self.items, self.found, subject)

    @staticmethod
    def joined(errors: Sequence[NotRepresentable]) -> NotRepresentable:
        """One for the items of several errors, each of which names some; it tells about the first of all items."""
        first = min(errors, key=lambda error: error.items[0])
        items = sorted({item for error in errors for item in error.items})
        return NotRepresentable(first.expected, items, first.found, first.subject)


class StackExhausted(CodelengthError):
    pass


class ProgramError(CodelengthError):
    pass


class UnknownFeature(ProgramError):
    pass


class FreezeError(CodelengthError):
    pass


class NotFrozen(CodelengthError):
    pass


class EvaluationError(CodelengthError):
    pass


class NotCausal(EvaluationError):
    pass


class MissingPackage(CodelengthError, ModuleNotFoundError):
    pass


@contextlib.contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Turn the absence of PyTorch, while ``what`` imports it, into MissingPackage."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch" or isinstance(error, MissingPackage):
            raise
        raise MissingPackage(
            f"{what} needs PyTorch, which is not installed; pip install 'codelength[train]'", name="torch"
        ) from None


class RecipeError(CodelengthError):
    exit_status = 2


class CheckpointError(CodelengthError):
    pass


class ArchiveError(CodelengthError):
    """damaged: what exactly cannot be given back (``codelength.archive.damage.Damage``), where that was found out."""

    damaged: Sequence[Damage] = ()


class NotAnArchive(ArchiveError):
    pass


class NewerVersion(ArchiveError):
    pass


class Truncated(ArchiveError):
    pass


class CorruptHeader(ArchiveError):
    pass


class CorruptBlock(ArchiveError):
    """block: its number; -1 where several are."""

    block: int = -1


class WrongModel(ArchiveError):
    pass


class UnsafeName(ArchiveError):
    pass


class TooLarge(ArchiveError):
    pass
