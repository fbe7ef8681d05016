"""Finding the files of named data sets: in ``CODELENGTH_DATA``, in the user's cache, or by download.

No file is used before its hash was checked. A download whose hash nobody has vouched for is refused unless
the user says otherwise.

Environment:

- ``CODELENGTH_DATA``: a folder with one sub-folder per source (``mnist/``, ``cifar10/``), never written to.
- ``CODELENGTH_MIRROR``: address of a server with the same sub-folders, used instead of the public ones.
- ``XDG_CACHE_HOME``: where the cache lies on Linux (default ``~/.cache``), as ``codelength/``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codelength.errors import DataError, UntrustedDownload

ATTEMPTS = 4


@dataclass(frozen=True)
class File:
    """One file of a data set.

    path: below the data folder and below the cache, such as ``mnist/t10k-labels-idx1-ubyte.gz``.
    hash: ``sha256:<hex>`` or ``md5:<hex>``; None when nobody has checked the file.
    basis: who vouches for the hash.
    urls: public addresses, tried in order; empty where there is none.
    """

    path: str
    hash: str | None
    basis: str
    urls: tuple[str, ...] = ()


def data_folder() -> Path | None:
    """The folder that ``CODELENGTH_DATA`` names, or None."""
    value = os.environ.get("CODELENGTH_DATA")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """Where downloads are kept."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "codelength"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "codelength" / "Cache"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "codelength"


def present(file: File) -> Path | None:
    """Where the file lies on this machine, unchecked, or None."""
    for folder in (data_folder(), cache_folder()):
        if folder is not None and (folder / file.path).is_file():
            return folder / file.path
    return None


def obtain(file: File, *, trust_download: bool = False) -> Path:
    """The path of the file, its hash checked; downloaded first if it is not on this machine.

    Raises UntrustedDownload for a file without a hash unless ``trust_download``, DataError when the file is
    neither here nor to be had, or when its hash differs.
    """
    folder = data_folder()
    if folder is not None and not folder.is_dir():
        raise DataError(f"expected a folder in CODELENGTH_DATA, got {folder}, which is none; correct or unset it")
    if folder is not None and (folder / file.path).is_file():
        if file.hash is not None:  # without one it is the user's own file all the same: nothing was downloaded
            check(folder / file.path, file)
        return folder / file.path
    cached = cache_folder() / file.path
    if cached.is_file() and file.hash is not None:
        try:
            check(cached, file)
            return cached
        except DataError:
            if not _addresses(file):
                raise
    return _download(file, trust_download)


_checked: dict[tuple[str, int, int, str], bool] = {}


def check(path: Path, file: File) -> None:
    """Compare the hash of a file, once per process while size and time stay the same. Raises DataError."""
    if file.hash is None:
        raise DataError(f"{file.path} has no known hash to check {path} against")
    state = path.stat()
    key = (str(path), state.st_size, state.st_mtime_ns, file.hash)
    if key in _checked:
        return
    kind, _, expected = file.hash.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if found != expected:
        raise DataError(
            f"expected {kind} {expected} for {path}, got {found}; delete the file so that it is fetched again"
        )
    _checked[key] = True


def _untrusted(file: File) -> str:
    return (
        f"nobody has vouched for the hash of {file.path}, so it is not downloaded; "
        f"allow it with --trust-download (in Python trust_download=True) if you trust {_server(file)}"
    )


def _addresses(file: File) -> tuple[str, ...]:
    mirror = os.environ.get("CODELENGTH_MIRROR")
    return (f"{mirror.rstrip('/')}/{file.path}",) if mirror else file.urls


def _server(file: File) -> str:
    addresses = _addresses(file)
    return addresses[0] if addresses else "its source"


def _download(file: File, trust_download: bool) -> Path:
    addresses = _addresses(file)
    if not addresses:
        raise DataError(
            f"{file.path} is not on this machine and has no public address; "
            "put it below a folder and name that folder in CODELENGTH_DATA"
        )
    if file.hash is None and not trust_download:
        raise UntrustedDownload(_untrusted(file))
    try:
        import pooch
    except ImportError:
        raise DataError(
            f"{file.path} has to be downloaded, which needs pooch; install codelength[train], "
            "or put the file below a folder and name that folder in CODELENGTH_DATA"
        ) from None
    import requests

    target = cache_folder() / file.path
    pooch.get_logger().setLevel("ERROR")
    reasons = []
    for address in addresses:
        fetcher = pooch.create(
            path=target.parent,
            base_url="",
            registry={target.name: file.hash},
            urls={target.name: address},
            retry_if_failed=ATTEMPTS - 1,
        )
        bar = _progress(target.name)
        try:
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=60)
            fetcher.fetch(target.name, downloader=downloader)
        except ValueError:
            reasons.append(f"{address} gave a file with another hash than {file.hash}")
        except (requests.exceptions.RequestException, OSError) as error:
            reasons.append(f"{address} could not be read ({_first_line(error)})")
        else:
            if file.hash is None:
                with target.open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
                warnings.warn(f"{file.path} was trusted as downloaded; its sha256 is {found}", stacklevel=2)
            return target
        finally:
            if bar:
                bar.close()
    raise DataError(
        f"{file.path} could not be downloaded: {'; '.join(reasons)}; "
        "try again, or put the file below a folder and name that folder in CODELENGTH_DATA"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0][:200] if text else type(error).__name__


def _progress(name: str) -> Any:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return False
    from rich.console import Console
    from rich.progress import Progress

    return _Bar(name, Progress(console=Console(stderr=True), transient=True))


class _Bar:
    """What pooch asks of a progress bar, shown by rich."""

    def __init__(self, name: str, progress: Any) -> None:
        self._total = 0
        self._name = name
        self._progress = progress
        self._task: Any = None

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        """Set when an attempt begins, so that a second attempt starts at nothing."""
        self._total = value
        self.reset()

    def update(self, amount: int) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=self.total or None)
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        if self._task is not None:
            self._progress.reset(self._task, total=self._total or None)

    def close(self) -> None:
        self._progress.stop()
