"""Every error that codelength raises on purpose.

    CodelengthError
    ├── UsageError            the request itself is wrong (exit status 2)
    ├── DataError             data that cannot be read, found or understood
    │   ├── UntrustedDownload     a download whose hash nobody has vouched for
    │   └── NotRepresentable      a value outside the model's space
    ├── StackExhausted        a pop asked a stack for bits that it does not hold
    ├── ProgramError          a frozen model that is malformed, or whose bounds do not hold
    │   └── UnknownFeature        it needs an operation or law that this reader does not know
    ├── FreezeError           a module that cannot be frozen, or whose frozen rate is too much worse
    ├── NotFrozen             push or pop asked of a model in floating point
    ├── EvaluationError       NaN or infinity in a likelihood
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


class CodelengthError(Exception):
    """Base of all errors that the command line turns into one sentence and a non-zero exit status."""

    exit_status = 1


class UsageError(CodelengthError):
    exit_status = 2


class DataError(CodelengthError):
    pass


class UntrustedDownload(DataError):
    pass


class NotRepresentable(DataError):
    pass


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


class RecipeError(CodelengthError):
    exit_status = 2


class CheckpointError(CodelengthError):
    pass


class ArchiveError(CodelengthError):
    pass


class NotAnArchive(ArchiveError):
    pass


class NewerVersion(ArchiveError):
    pass


class Truncated(ArchiveError):
    pass


class CorruptHeader(ArchiveError):
    pass


class CorruptBlock(ArchiveError):
    pass


class WrongModel(ArchiveError):
    pass


class UnsafeName(ArchiveError):
    pass


class TooLarge(ArchiveError):
    pass
