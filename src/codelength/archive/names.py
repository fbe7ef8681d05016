"""From names in an archive, which nobody should trust, to paths below a folder (docs/format.md, "Files,
names and modes").
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codelength.errors import UnsafeName

MAX_PART = 255
MAX_NAME = 4000
MAX_MEMBER = 65000  # of a zip file, whose names have a length of 16 bits

_DEVICES = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
_ALWAYS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ON_WINDOWS = re.compile(r'[<>:"|?*\\]|[. ]\Z')
# What a zip file's name may not have: an absolute path, empty parts, and parts that climb.
_IN_MEMBERS = re.compile(r"\A/|(?<=/)/|(?:\A|(?<=/))\.(?=\.?(?:/|\Z))")
_HEX = re.compile("%([0-9A-F]{2})")
_AMBIGUOUS = re.compile("%(?=[0-9A-F]{2})")
# Names that were escaped more often than this are escaped once more without looking further.
_LEVELS = 8


def show(name: str, most: int = 120) -> str:
    """A name for a message: no control characters, not too long."""
    text = printable(name[: most + 1])
    return repr(text if len(text) <= most else text[:most] + "...")


def printable(name: str) -> str:
    """A name for a listing: control characters and the like escaped, all else as it is."""
    return _ALWAYS.sub(lambda match: _escape(match[0]), name)


def _escape(character: str) -> str:
    return "".join(
        f"%{byte:02X}"
        for byte in character.encode(
            "utf-8", "surrogateescape" if ord(character) in range(0xDC80, 0xDD00) else "surrogatepass"
        )
    )


# ---- escaping, so that it can be undone ----------------------------------------------------------------------
#
# A text that holds nothing to escape stays as it is; in one that does, each "%" before two hexadecimal digits is
# escaped as well. So that no two texts become the same, a harmless text that reads like an escaped one (and only
# such a text) is escaped too.


def _safe_part(part: str, windows: bool) -> str:
    """A part of a path with what is unsafe in it escaped."""
    part = _ALWAYS.sub(lambda match: _escape(match[0]), part)
    if windows:
        part = _ON_WINDOWS.sub(lambda match: _escape(match[0]), part)
        if _DEVICES.fullmatch(part):
            part = _escape(part[0]) + part[1:]
    return part


def _safe_member(name: str, windows: bool) -> str:
    """The name of a member of an ``.npz`` with what is unsafe in it escaped."""
    name = _IN_MEMBERS.sub(lambda match: _escape(match[0]), name)
    name = _ALWAYS.sub(lambda match: _escape(match[0]), name)
    return name.replace("\\", "%5C") if windows else name


def _unescape(text: str) -> str:
    pieces = _HEX.split(text)
    data = b"".join(
        bytes.fromhex(piece) if number % 2 else piece.encode("utf-8", "surrogateescape")
        for number, piece in enumerate(pieces)
    )
    return data.decode("utf-8", "surrogateescape")


def _reversible(text: str, escape: Callable[[str], str]) -> str:
    """``text`` as it is, or escaped so that ``_original`` gives it back; never the same for two texts."""

    def strictly(text: str) -> str:
        return escape(_AMBIGUOUS.sub("%25", text))

    current = text
    for _ in range(_LEVELS):
        if escape(current) != current:
            return strictly(text)
        if not _HEX.search(current):
            return text
        before = _unescape(current)
        if strictly(before) != current:
            return text
        current = before
    return strictly(text)


def _original(text: str, escape: Callable[[str], str]) -> str:
    before = _unescape(text) if _HEX.search(text) else text
    return before if _reversible(before, escape) == text else text


def safe_name(name: str, *, windows: bool = os.name == "nt") -> str:
    """A relative path with ``/`` between parts that is safe to create below a folder.

    What is unsafe in it is escaped such that ``original_name`` gives it back, and parts that are too long then are
    cut short. Raises UnsafeName for names that are refused.
    """
    if not name or name.startswith("/"):
        raise UnsafeName(f"expected a relative name, got {show(name)}")
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", ".."):
            raise UnsafeName(f"expected a name that stays in its folder, got {show(name)}")
    if len(name) > MAX_NAME:  # before any work is done for it
        raise UnsafeName(f"expected a name of at most {MAX_NAME:,} bytes, got {show(name)}")
    safe = "/".join(_fitting_part(part, windows) for part in parts)
    if len(safe.encode()) > MAX_NAME:
        raise UnsafeName(f"expected a name of at most {MAX_NAME:,} bytes, got {show(name)}")
    return safe


def original_name(path: str, *, windows: bool = os.name == "nt") -> str:
    """The name in the archive of a file that was written as ``path``, unless it was cut short or got a number."""
    escape = functools.partial(_safe_part, windows=windows)
    return "/".join(_original(part, escape) for part in path.split("/"))


def _fitting_part(part: str, windows: bool) -> str:
    safe = _reversible(part, functools.partial(_safe_part, windows=windows))
    if len(safe.encode()) <= MAX_PART:
        return safe
    digest = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return _insert(safe, f"%~{digest}")


def _insert(part: str, mark: str) -> str:
    """``mark`` before the extension of a safe part, which is cut short if it would be too long."""
    stem, extension = os.path.splitext(part)
    if len(extension.encode()) > 16:
        stem, extension = part, ""
    room = MAX_PART - len((mark + extension).encode())
    if len(stem.encode()) > room:
        stem = re.sub("%[0-9A-F]?\\Z", "", stem.encode()[:room].decode("utf-8", "ignore"))
    return stem + mark + extension


def safe_member(name: str, *, windows: bool = os.name == "nt") -> str:
    """The name of a member of an ``.npz`` (with its ``.npy``) that is safe wherever somebody unpacks it.

    Escaped like names of files where it has to be, but never cut short. Raises UnsafeName if it is empty or too long.
    """
    if 0 < len(name) <= MAX_MEMBER:
        safe = _reversible(name, functools.partial(_safe_member, windows=windows))
        if len(safe.encode()) <= MAX_MEMBER:
            return safe
    raise UnsafeName(f"expected a name of 1 to {MAX_MEMBER:,} bytes for a member, got {show(name)}")


def original_member(name: str, *, windows: bool = os.name == "nt") -> str:
    """The name in the archive of a member that was written as ``name``."""
    return _original(name, functools.partial(_safe_member, windows=windows))


# ---- places --------------------------------------------------------------------------------------------------


def exact(name: str) -> str:
    """The key under which a file system that tells all names apart files a name."""
    return name


@dataclass(frozen=True)
class Rules:
    """What a file system makes of names.

    key: maps parts of paths that it takes for the same to the same. windows: whether it refuses what Windows does.
    """

    key: Callable[[str], str] = exact
    windows: bool = os.name == "nt"


def rules_of(folder: Path) -> Rules:
    """The rules of the file system of ``folder``, which exists; found out by making empty files there."""
    name = f".codelength-{os.getpid()}-a\u00e9.tmp"
    probe = folder / on_disk(name)
    strange = folder / f".codelength-{os.getpid()}-a:?.tmp"
    folds_case = folds_form = False
    windows = os.name == "nt"
    try:
        with open(probe, "xb"):
            pass
        folds_case = os.path.lexists(folder / on_disk(name.upper()))
        folds_form = os.path.lexists(folder / on_disk(unicodedata.normalize("NFD", name)))
        if not windows:
            windows = not _can_make(strange)
    except (OSError, UnicodeError):
        folds_case = folds_form = True  # not to be found out: assume the worst
    finally:
        probe.unlink(missing_ok=True)

    def key(name: str) -> str:
        if folds_form:
            name = unicodedata.normalize("NFC", name)
        return name.casefold() if folds_case else name

    return Rules(key, windows)


def _can_make(path: Path) -> bool:
    try:
        with open(path, "xb"):
            pass
    except OSError:
        return False
    path.unlink(missing_ok=True)
    return True


def place(names: Sequence[str], rules: Rules | None = None, wanted: Sequence[str] | None = None) -> list[str | None]:
    """Safe relative paths for all ``names``, in order, no two of them the same for the file system.

    wanted: the names with the extensions that they are to be written with; ``names`` themselves where None.

    A name that is refused gets None (``safe_name`` says why). Where two would be the same file, or one a file and a
    folder of another, those that need no other name keep theirs, and the later ones get a number.
    """
    rules = rules or Rules()
    wanted = names if wanted is None else wanted
    paths: list[list[str] | None] = []
    for name, want in zip(names, wanted, strict=True):
        try:
            safe_name(name, windows=rules.windows)  # before an extension makes a harmless name of it
            paths.append(safe_name(want, windows=rules.windows).split("/"))
        except UnsafeName:
            paths.append(None)
    # A tree of (number of the folder, key of the part) keeps the cost linear in the bytes of the names.
    nodes: dict[tuple[int, str], int] = {}
    parents = []
    for path in paths:
        node = 0
        for part in path[:-1] if path else ():
            node = nodes.setdefault((node, rules.key(part)), len(nodes) + 1)
        parents.append(node)
    numbers: dict[tuple[int, str], int] = {}
    placed: list[str | None] = [None] * len(paths)
    own = [path is not None and "/".join(path) == name for path, name in zip(paths, names)]
    for first_turn in (True, False):
        for index, path in enumerate(paths):
            if path is None or placed[index] is not None or (first_turn and not own[index]):
                continue
            last, first_place = path[-1], (parents[index], rules.key(path[-1]))
            where = first_place
            if first_turn and where in nodes:
                continue
            while where in nodes:
                numbers[first_place] = numbers.get(first_place, 0) + 1
                last = _insert(path[-1], f"%~{numbers[first_place]}")
                where = parents[index], rules.key(last)
            nodes[where] = len(nodes) + 1
            placed[index] = "/".join([*path[:-1], last])
    return placed


def on_disk(path: str) -> str:
    """A path whose names are UTF-8 whatever encoding of file names the process assumes (ASCII in some locales)."""
    return path if os.name == "nt" else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def make_parents(root: Path, relative: str) -> Path:
    """The path of ``relative`` below ``root``, with its folders made; raises UnsafeName rather than pass
    through a link.
    """
    here = root
    parts = on_disk(relative).split("/")
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
