"""``-``: standard input where a command reads a file, standard output where it writes one.

What is read is kept in a temporary file, since archives and arrays are read from many places; what is written becomes
a temporary file first, too, so that nothing is given out before it is whole. All of them are removed in the end.
"""

from __future__ import annotations

import contextlib
import contextvars
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from codelength.errors import DataError, UsageError

_PIECE = 2**20
_NPY = b"\x93NUMPY"
_scope: contextvars.ContextVar[contextlib.ExitStack] = contextvars.ContextVar("scope")


@contextlib.contextmanager
def scope() -> Iterator[None]:
    """What ``received`` and ``Output`` make in the block is removed at its end."""
    with contextlib.ExitStack() as stack:
        token = _scope.set(stack)
        try:
            yield
        finally:
            _scope.reset(token)


def is_pipe(path: str | Path | None) -> bool:
    return str(path) == "-"


def check_inputs(*paths: str | Path | None) -> None:
    """Raise UsageError where standard input is named twice, or is a terminal."""
    named = sum(map(is_pipe, paths))
    if named > 1:
        raise UsageError("expected - (standard input) once, got it twice; name a file in one of the places")
    if named and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("expected a file on standard input, but it is a terminal; redirect a file to it, or name one")


def received(path: str | Path, name: str) -> Path:
    """``path``; for ``-`` a temporary file of this name that holds what standard input gives.

    Raises DataError for a name that ends in ``.npy`` where no such array arrives.
    """
    if not is_pipe(path):
        return Path(path)
    target = _folder() / name
    source = sys.stdin.buffer
    first = source.read(_PIECE)
    if name.endswith(".npy") and not first.startswith(_NPY):
        raise DataError("expected an array in NumPy's .npy format on standard input, got something else; name a file")
    with target.open("xb") as file:
        file.write(first)
        shutil.copyfileobj(source, file, _PIECE)
    return target


class Output:
    """Where a command writes. path: as it was given, or in a new folder where that is ``-``; ``deliver`` then copies
    the only file there to standard output. Whatever else is printed from here on goes to stderr."""

    def __init__(self, path: Path, name: str, json: Path | None) -> None:
        """name: of the file in the folder. Raises UsageError where standard output is a terminal, or to hold JSON."""
        self.is_pipe = is_pipe(path)
        self.shown = "standard output" if self.is_pipe else str(path)
        self.path = path
        if not self.is_pipe:
            return
        if is_pipe(json):
            raise UsageError("expected - (standard output) once, got it for the output and for --json; name a file")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal, which cannot show this; redirect it, or name a file")
        self._stdout = sys.stdout
        self.path = _folder() / name
        _scope.get().enter_context(contextlib.redirect_stdout(sys.stderr))

    def deliver(self) -> None:
        if not self.is_pipe:
            return
        files = [path for path in self.path.parent.rglob("*") if path.is_file()]
        if len(files) == 1:  # none where all of it was damaged
            with files[0].open("rb") as file:
                shutil.copyfileobj(file, self._stdout.buffer, _PIECE)
            self._stdout.flush()


def _folder() -> Path:
    return Path(_scope.get().enter_context(tempfile.TemporaryDirectory(prefix="codelength-")))
