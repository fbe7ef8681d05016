"""From names in an archive, which nobody should trust, to paths below a folder (docs/format.md, "Files,
names and modes").
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from codelength.errors import UnsafeName

MAX_PART = 255
MAX_NAME = 4000
_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:")
_ALWAYS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\\\\\ud800-\udfff]")
_ON_WINDOWS = re.compile('[<>:"|?*]|[. ]$')


def show(name: str, most: int = 120) -> str:
    """A name for a message: no control characters, not too long."""
    text = _ALWAYS.sub(lambda match: _escape(match[0]), name)
    return repr(text if len(text) <= most else text[:most] + "...")


def safe_name(name: str, *, windows: bool = os.name == "nt") -> str:
    """A relative path with ``/`` between parts that is safe to create below a folder.

    Raises UnsafeName for names that are refused; escapes characters as the format describes.
    """
    if not name or name.startswith(("/", "\\")):
        raise UnsafeName(f"expected a relative name, got {show(name)}; nothing was written")
    if _DRIVE.match(name):
        raise UnsafeName(f"expected a name without a drive, got {show(name)}; nothing was written")
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or re.fullmatch(r"\.\.?[. ]*", part):
            raise UnsafeName(f"expected a name that stays in its folder, got {show(name)}; nothing was written")
    safe = "/".join(_safe_part(part, windows) for part in parts)
    if len(safe.encode()) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in safe.split("/")):
        raise UnsafeName(f"expected a name that file systems can hold, got one that is too long, {show(name)}")
    return safe


def _safe_part(part: str, windows: bool) -> str:
    part = _ALWAYS.sub(lambda match: _escape(match[0]), part)
    if windows:
        part = _ON_WINDOWS.sub(lambda match: _escape(match[0]), part)
    if _DEVICES.fullmatch(part):
        part = _escape(part[0]) + part[1:]
    return part


def _escape(character: str) -> str:
    return "".join(
        f"%{byte:02X}"
        for byte in character.encode(
            "utf-8", "surrogateescape" if ord(character) in range(0xDC80, 0xDD00) else "surrogatepass"
        )
    )


def exact(name: str) -> str:
    """The key under which a file system that tells all names apart files a name."""
    return name


def file_system_key(folder: Path) -> Callable[[str], str]:
    """Maps names that the file system of ``folder`` (which exists) takes for the same to the same key."""
    probe = folder / f".codelength-{os.getpid()}-a\u00e9.tmp"
    folds_case = folds_form = False
    try:
        with open(probe, "xb"):
            pass
        folds_case = os.path.lexists(folder / probe.name.upper())
        folds_form = os.path.lexists(folder / unicodedata.normalize("NFD", probe.name))
    except (OSError, UnicodeError):
        folds_case = folds_form = True  # not to be found out: assume the worst
    finally:
        probe.unlink(missing_ok=True)

    def key(name: str) -> str:
        if folds_form:
            name = unicodedata.normalize("NFC", name)
        return name.casefold() if folds_case else name

    return key


def place(names: Iterable[str], key: Callable[[str], str], *, windows: bool = os.name == "nt") -> list[str]:
    """Safe relative paths for all ``names``, in order, no two of them the same for the file system.

    Raises UnsafeName for names that are refused, that are given twice, or that need a folder where another
    is a file.
    """
    names = list(names)
    if len(set(names)) != len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise UnsafeName(f"expected different names, got {show(twice)} twice; nothing was written")
    taken: set[str] = set()
    folders: set[str] = set()
    placed = []
    for name in names:
        safe = safe_name(name, windows=windows)
        candidate, number = safe, 0
        while key(candidate) in taken:
            number += 1
            stem, extension = os.path.splitext(safe)
            candidate = f"{stem}%{number}{extension}"
        taken.add(key(candidate))
        placed.append(candidate)
        parts = candidate.split("/")
        folders.update(key("/".join(parts[:depth])) for depth in range(1, len(parts)))
    clash = folders & taken
    if clash:
        raise UnsafeName(f"expected {show(min(clash))} to be a file or a folder, got both; nothing was written")
    return placed


def make_parents(root: Path, relative: str) -> Path:
    """The path of ``relative`` below ``root``, with its folders made; raises UnsafeName rather than pass
    through a link.
    """
    here = root
    parts = relative.split("/")
    for part in parts[:-1]:
        here = here / part
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            here.mkdir()
            continue
        if stat.S_ISLNK(mode):
            raise UnsafeName(
                f"expected a folder at {show(str(here))}, got a link, which is never written through; remove it"
            )
        if not stat.S_ISDIR(mode):
            raise UnsafeName(
                f"expected a folder at {show(str(here))}, got a file; remove it or choose another destination"
            )
    return here / parts[-1]
