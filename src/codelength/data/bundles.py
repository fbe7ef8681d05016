"""Zip and tar files as folders: their members are read where they lie, in the order of the file.

A tar file that is compressed as a whole is unpacked once into a temporary file without a name, since its members cannot
be reached otherwise. Names are those of the original file system as far as they are known. Nothing that a header states
is believed: what states more bytes than the file can hold, lies over another member or is cut short is refused, and so
is whatever would be lost (encrypted members, links that lead to no member, devices).
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from codelength.data.scan import Entry, kind_of_name
from codelength.data.stable import Stamp
from codelength.errors import CodelengthError, DataError
from codelength.files import open_regular, show_path

_PIECE = 2**20
#: Deflate makes a byte out of no less than so many; whatever states more is no pile of images.
LARGEST_RATIO = 1032
#: Bytes that may be unpacked whatever the ratio says.
_SMALL = 64 * 2**20
#: Bytes of the temporary files' disk that are left free.
_LEFT_FREE = 256 * 2**20

_OPENERS: dict[str, Callable[..., Any]] = {
    "gz": gzip.open,
    "bz2": bz2.open,
    "xz": lzma.open,
}
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ENDINGS = {
    ".zip": "zip",
    ".tar": "",
    ".tar.gz": "gz",
    ".tgz": "gz",
    ".tar.bz2": "bz2",
    ".tbz2": "bz2",
    ".tbz": "bz2",
    ".tar.xz": "xz",
    ".txz": "xz",
}


def bundle_kind(name: str) -> str | None:
    """``zip``, or how a tar file is compressed (``gz``, ``bz2``, ``xz``, "" if not at all); None for other names."""
    lower = name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if lower.endswith(ending)), None)


@dataclass(frozen=True)
class MemberEntry(Entry):
    """A member of a zip or tar file. path: that file. opened: what reads it."""

    opened: _Bundle
    key: zipfile.ZipInfo | int

    @property
    def shown(self) -> str:
        return f"the member {_show(self.name)} of {show_path(self.path)}"

    def stamp(self) -> Stamp:
        return self.opened.stamp_of(self.size)

    def read_pieces(self, expected: Stamp | None = None) -> Iterator[tuple[bytes, Stamp]]:
        stamp = self.stamp()
        if expected is not None and stamp != expected:
            raise self.opened.changed()
        left = self.size
        try:
            for piece in self.opened.pieces(self.key, self.size):
                left -= len(piece)
                yield piece, stamp
        except CodelengthError:
            raise
        except Exception as error:  # a damaged member may raise anything
            self.opened.stamp_of(0)
            raise DataError(f"expected a readable file, but {self.shown} is not ({_first_line(error)})") from None
        if self.stamp() != stamp:
            raise self.opened.changed()
        if left:
            raise DataError(f"expected {self.size:,} bytes of {self.shown}, got {self.size - left:,}; it is damaged")
        yield b"", stamp


class _Bundle:
    """A zip or tar file that is open, and must not change. path: of it. file: what members are read from."""

    def __init__(self, path: Path) -> None:
        self._files: list[IO[bytes]] = []
        self.path = path
        self.file: IO[bytes] = open_regular(path, "a zip or tar file")
        self._files.append(self.file)
        self._stamp = Stamp.of(path, os.fstat(self.file.fileno()))
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None

    def close(self) -> None:
        for file in self._files:
            file.close()

    def __del__(self) -> None:
        self.close()

    def changed(self) -> DataError:
        shown = show_path(self.path)
        return DataError(f"{shown} changed while it was being read; start again when nothing writes to it")

    def stamp_of(self, size: int) -> Stamp:
        """The stamp of a member of so many bytes. Raises DataError if the file has changed."""
        try:
            now = Stamp.of(self.path, os.stat(self.path))
        except OSError as error:
            raise DataError(f"{show_path(self.path)} is not there any more ({error.strerror}); start again") from None
        if now != self._stamp:
            raise self.changed()
        return Stamp(size, self._stamp.modified, self._stamp.number)

    def pieces(self, key: zipfile.ZipInfo | int, size: int) -> Iterator[bytes]:
        """The bytes of a member of a zip, or those from an offset of a tar on; never more than ``size``."""
        if isinstance(key, int):
            while size:
                with self._lock:
                    self.file.seek(key)
                    piece = self.file.read(min(size, _PIECE))
                if not piece:
                    return
                key, size = key + len(piece), size - len(piece)
                yield piece
            return
        assert self._zip is not None
        with self._zip.open(key) as stream:
            while piece := stream.read(_PIECE):
                yield piece

    # ---- zip

    def zip_members(self) -> list[MemberEntry]:
        self._zip = zipfile.ZipFile(self.file)
        found, places, stated = [], [], 0
        for info in self._zip.infolist():
            name = _zip_name(info)
            if info.is_dir():
                continue
            kind = (info.external_attr >> 16) if info.create_system == 3 else 0
            if stat.S_IFMT(kind) not in (0, stat.S_IFREG):
                raise self._odd(name, "is a link or no file")
            if info.flag_bits & 1:
                raise self._odd(name, "is encrypted")
            if info.compress_type not in _ZIP_METHODS:
                raise self._odd(name, f"is compressed by a method that is not read here (number {info.compress_type})")
            # What lies before a member: its local header, of 30 bytes and its name at least.
            places.append((info.header_offset, info.header_offset + 30 + info.compress_size, name))
            stated += info.file_size
            found.append(self._member(name, info.file_size, info))
        places.sort()
        for (_, end, name), (start, _, _) in zip(places, places[1:]):
            if start < end:
                raise self._odd(name, "lies over another one")
        self._check_stated(stated)
        return found

    # ---- tar

    def tar_members(self, compression: str) -> list[MemberEntry]:
        if compression:
            self._unpack(compression)
        length = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        found: dict[str, MemberEntry] = {}
        links: list[tuple[str, str]] = []
        order: list[str] = []
        with tarfile.open(fileobj=self.file, mode="r:", encoding="utf-8", errors="surrogateescape") as listing:
            for info in listing:
                name = _plain(info.name)
                if info.isdir():
                    continue
                if name in found or name in dict(links):
                    raise self._odd(name, "occurs twice")
                order.append(name)
                if info.islnk() or info.issym():
                    base = "" if info.islnk() else posixpath.dirname(name)
                    links.append((name, posixpath.normpath(posixpath.join(base, info.linkname))))
                    continue
                if not info.isreg() or info.issparse():
                    raise self._odd(name, "is a sparse file" if info.issparse() else "is neither a file nor a folder")
                if info.offset_data + info.size > length:
                    raise self._odd(name, "is cut short")
                found[name] = self._member(name, info.size, info.offset_data)
        for name, target in links:
            original = found.get(target)
            if original is None:
                raise self._odd(name, "is a link that leads to no file before it")
            found[name] = self._member(name, original.size, original.key)
        self.file.seek(0)
        return [found[name] for name in order]

    def _unpack(self, compression: str) -> None:
        """Unpack the whole stream into a temporary file."""
        scratch = tempfile.TemporaryFile()  # noqa: SIM115 (members are read from it as long as anybody has one)
        self._files.append(scratch)
        most = _SMALL + LARGEST_RATIO * self._stamp.size
        room = shutil.disk_usage(tempfile.gettempdir()).free - _LEFT_FREE
        written = 0
        with _OPENERS[compression](self._files[0]) as stream:
            while piece := stream.read(_PIECE):
                written += len(piece)
                if written > most:
                    raise self._bomb(written)
                if written > room:
                    raise DataError(
                        f"{show_path(self.path)} must be unpacked to be read, and takes more than the {room:,} bytes "
                        f"that may be used in {tempfile.gettempdir()}; make room, or name another folder in TMPDIR"
                    )
                scratch.write(piece)
        self.stamp_of(0)
        self.file = scratch

    # ---- both

    def _member(self, name: str, size: int, key: zipfile.ZipInfo | int) -> MemberEntry:
        return MemberEntry(name, self.path, size, kind_of_name(name), self, key)

    def _check_stated(self, stated: int) -> None:
        if stated > _SMALL + LARGEST_RATIO * self._stamp.size:
            raise self._bomb(stated)

    def _bomb(self, size: int) -> DataError:
        return DataError(
            f"{show_path(self.path)} of {self._stamp.size:,} bytes unpacks to {size:,} or more, which no pile of "
            "images does; if you trust it, unpack it yourself and name the folder"
        )

    def _odd(self, name: str, what: str) -> DataError:
        return DataError(
            f"the member {_show(name)} of {show_path(self.path)} {what}; unpack the file yourself and name the folder, "
            "or make it again without that member"
        )


def read_bundle(path: Path) -> list[Entry]:
    """The files in a zip or tar file, in its order.

    Raises DataError for what is none, is damaged, or holds what would be lost (see the module).
    """
    kind = bundle_kind(path.name)
    bundle = _Bundle(path)
    try:
        members = bundle.zip_members() if kind == "zip" else bundle.tar_members(kind or "")
    except CodelengthError:
        bundle.close()
        raise
    except Exception as error:  # libraries given a damaged file may raise anything
        bundle.close()
        form = "zip" if kind == "zip" else "tar"
        raise DataError(
            f"expected a {form} file, but {show_path(path)} cannot be read ({_first_line(error)}); check that it is "
            "complete"
        ) from None
    if not members:
        raise DataError(f"expected files in {show_path(path)}, got none")
    return list[Entry](members)


def _plain(name: str) -> str:
    """A name without the dot that ``tar .`` puts before it."""
    while name.startswith("./") and len(name) > 2:
        name = name[2:]
    return name


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member: UTF-8 where that is stated or the bytes are, else in the code page of the format."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return _plain(name)


def _show(name: str) -> str:
    return repr(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
