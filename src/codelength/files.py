"""Files opened for reading, and files that appear under their name only when they are complete.

Every reader of a file that a user names goes through ``open_regular``, every writer through ``atomic_file`` or
``write_atomically``: pipes, sockets and devices are refused in a sentence, as inputs before they are opened (a pipe
would wait for a writer), as outputs before they are replaced (a device of a system's own, by whoever may do so).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from codelength.errors import DataError, UsageError

try:
    import fcntl
except ImportError:  # Windows: left-overs stay there until somebody removes them
    fcntl = None  # type: ignore[assignment]

#: Names of files that are being written: a digest of the target's name, and a random part, or of their journals.
_TEMPORARY = re.compile(r"\.codelength-[0-9a-f]{16}-([0-9a-f]{12}|journal)\.tmp")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
#: Where the system keeps nodes of its own, but no files.
_SYSTEM = ("/dev", "/dev/fd", "/proc", "/sys")


def show_path(path: str | os.PathLike[str]) -> str:
    """A path for a message, whatever its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def kind_of(mode: int) -> str:
    """What a file of this ``st_mode`` is, in words; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for test, words in _KINDS if test(mode)), "no regular file")


# ---- reading -----------------------------------------------------------------------------------------------


def require_regular(path: str | os.PathLike[str], what: str = "a file") -> None:
    """Raise DataError if ``path`` is there and is no regular file; where it cannot be looked at, do nothing."""
    try:
        kind = kind_of(os.stat(path).st_mode)
    except (OSError, ValueError):
        return
    if kind:
        raise DataError(
            f"expected {what}, but {show_path(path)} is {kind}; name a file, or copy what it gives into one first"
        )


def open_regular(path: str | os.PathLike[str], what: str = "a file") -> BinaryIO:
    """A regular file, open for reading. what: the kind of file that is expected, for messages.

    Raises DataError for anything else, without opening it, and for a file that cannot be read.
    """
    require_regular(path, what)
    try:
        # What is there may have changed since: opened like this, a pipe does not wait.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = os.fdopen(number, "rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"expected {what}, but {show_path(path)} cannot be read ({reason})") from None
    kind = kind_of(os.fstat(number).st_mode)
    if kind:
        file.close()
        raise DataError(f"expected {what}, but {show_path(path)} is {kind}; name a file")
    return file


def read_regular(path: str | os.PathLike[str], what: str = "a file", most: int | None = None) -> bytes:
    """The bytes of a regular file. most: how many it may have.

    Raises DataError as ``open_regular`` does, and for a file that is longer.
    """
    with open_regular(path, what) as file:
        try:
            data = file.read(-1 if most is None else most + 1)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"expected {what}, but {show_path(path)} cannot be read ({reason})") from None
    if most is not None and len(data) > most:
        raise DataError(f"expected {what} of at most {most:,} bytes, but {show_path(path)} is longer")
    return data


def refusal(error: OSError) -> str:
    """Why the system refused to write, and what to do about it, for the end of a sentence."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no space left ({reason}); make room, and run the command again"
    if error.errno == errno.EFBIG:
        return f"the file would be larger than the system allows ({reason}); raise the limit, or choose another place"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"writing is not allowed there ({reason}); choose another place"
    return reason


# ---- writing -----------------------------------------------------------------------------------------------


def check_destination(path: str | os.PathLike[str]) -> None:
    """Raise UsageError where writing ``path`` would replace something that is no regular file.

    A link to a file, or to nothing, is replaced and not followed; a link to a device counts as the device.
    """
    path = Path(path)
    try:
        kind = kind_of(path.stat().st_mode)
        folder = os.path.realpath(path.parent)
    except (OSError, ValueError):
        return  # it is not there, or the writer will hear why
    if kind == "a folder":
        raise UsageError(f"expected a file name, got the folder {show_path(path)}; name a file in it")
    if kind or folder in _SYSTEM or folder.startswith(("/proc/", "/sys/")):
        raise UsageError(
            f"expected a file to write to, but {show_path(path)} is {kind or 'a name of the system'}, which is never "
            f"replaced; choose another name, or - for standard output where the command takes it"
        )


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[tuple[BinaryIO, Path]]:
    """A file open for writing and reading, with a temporary name beside ``path``.

    At the end of the block it is flushed to the disk and renamed; a link at ``path`` is replaced, not followed. If
    the block raises, an interrupt included, the temporary file is removed and ``path`` stays as it was. What writers
    of the same name have left behind when they were killed is removed first.

    replace: whether a file that is at ``path`` by then is replaced; where not, UsageError is raised, however late that
    file appeared.

    Raises UsageError as ``check_destination`` does, OSError.
    """
    check_destination(path)
    rename = os.replace if replace else _rename_to_nothing
    _remove_left_overs(path)
    file, temporary = _temporary_beside(path)
    try:
        with file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
            check_destination(path)
            if fcntl is not None:  # while it is still locked
                rename(temporary, path)
        if fcntl is None:
            rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def journal_path(path: Path) -> Path:
    """Where notes are kept of what has been done for the file ``path`` that is not whole yet."""
    return path.with_name(f"{left_over_prefix(path)}journal.tmp")


def open_journal(path: Path) -> BinaryIO:
    """The journal of ``path``, open for reading and writing, and made if it is not there. It is locked while it is
    open, and removed as a left-over by whoever writes ``path`` without it.

    Raises UsageError where another process has it open, OSError.
    """
    check_destination(path)
    while True:
        descriptor = os.open(journal_path(path), os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        file = os.fdopen(descriptor, "rb+")
        if _lock(file) is False:
            file.close()
            raise UsageError(
                f"{show_path(path)} is being written by another process; wait for it, or choose another name"
            )
        if os.fstat(descriptor).st_nlink:
            return file
        file.close()  # it was removed before it was locked


def exists_already(path: str | os.PathLike[str]) -> UsageError:
    """The refusal to overwrite a file, to be raised."""
    return UsageError(
        f"{show_path(path)} exists and is not overwritten; remove it, choose another name, or use --force (in Python "
        f"force=True)"
    )


def _rename_to_nothing(temporary: Path, path: Path) -> None:
    """Rename without replacing, and without a moment between looking and acting."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise exists_already(path) from None
    except OSError:
        # A file system without hard links: the name is taken first, by an empty file of our own.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise exists_already(path) from None
        os.replace(temporary, path)
    else:
        temporary.unlink()


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file by ``atomic_file``."""
    with atomic_file(Path(path)) as (file, _):
        file.write(data)


def is_left_over(name: str) -> bool:
    """Whether this is the name of a file that ``atomic_file`` was writing."""
    return _TEMPORARY.fullmatch(name) is not None


def left_over_prefix(path: Path) -> str:
    """How the names of files begin that are being written for ``path``."""
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".codelength-{digest}-"


def _temporary_beside(path: Path) -> tuple[BinaryIO, Path]:
    """A new file, locked as long as it is open, so that others know that its writer is alive."""
    while True:
        temporary = path.with_name(f"{left_over_prefix(path)}{secrets.token_hex(6)}.tmp")
        file = open(temporary, "xb+")  # noqa: SIM115 - closed by the caller
        # Another writer of the same name may have taken it for a left-over before it was locked.
        if _lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return file, temporary
        file.close()
        temporary.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool | None:
    """Lock a file while it is open: True; False where somebody else holds it; None where it cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_left_overs(path: Path) -> None:
    beginning = left_over_prefix(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(beginning) and is_left_over(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    if _lock(file):
                        os.unlink(entry.path)


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself durable; not every platform lets a folder be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
