"""Arrays in files: ``.npy``, ``.npz`` and IDX, as they lie there; nothing in them is executed."""

from __future__ import annotations

import gzip
import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np

from codelength.archive.layout import IDX_TYPES, NPY_MAGIC
from codelength.errors import CodelengthError, DataError
from codelength.files import open_regular
from codelength.machine import free_memory

_TYPES_OF_IDX = {code: dtype for dtype, code in IDX_TYPES.items()}

_MAPPED_ABOVE = 64 * 2**20
# Bytes of the header of an array (numpy refuses more than 10,000), and items that no bytes stand for.
_MAX_HEADER = 2**16
_MAX_EMPTY = 2**24
# Axes that an array of every numpy may have.
_MAX_RANK = 32
# Deflate makes a byte out of no less than so many.
_LARGEST_RATIO = 1032


def read_npy(path: Path) -> np.ndarray:
    """The array in an ``.npy`` file; large ones are mapped, not loaded. Raises DataError."""
    try:
        with open_regular(path, "an array file") as stream:
            size = os.fstat(stream.fileno()).st_size
            _check_size(stream, size, str(path))
            if size > _MAPPED_ABOVE:
                mapped = np.lib.format.open_memmap(path, mode="r")
                follows = size - mapped.offset - mapped.nbytes
                array: np.ndarray = mapped
            else:
                array = np.lib.format.read_array(stream, allow_pickle=False)
                follows = len(stream.read())
    except CodelengthError:
        raise
    except Exception as error:  # numpy given a damaged file may raise anything
        raise DataError(_array_sentence(path, error)) from None
    if follows:
        raise DataError(f"expected one array in {path}, but {follows} bytes follow it")
    return array


def read_npz(path: Path, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file (or those in ``only``), by name, in file order. Raises DataError."""
    return {name: member for name, member in read_members(path, only).items() if isinstance(member, np.ndarray)}


def read_members(path: Path, only: Collection[str] | None = None) -> dict[str, np.ndarray | bytes]:
    """All members of an ``.npz`` file (or those in ``only``) in file order: arrays by their names without ``.npy``, and
    what else lies there (notes, entries of folders) as bytes by its name as it is. Raises DataError.
    """
    members: dict[str, np.ndarray | bytes] = {}
    try:
        with open_regular(path, "an array file") as file, zipfile.ZipFile(file) as archive:
            wanted = archive.infolist()
            if only is not None:
                wanted = [info for info in wanted if info.filename.removesuffix(".npy") in only]
            _check_room(sum(info.file_size for info in wanted), path)
            for info in wanted:
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as stream:
                    if name != info.filename:
                        member: np.ndarray | bytes = _read_member(stream, info, path)
                    else:
                        member = stream.read(info.file_size + 1)
                if name in members or (isinstance(member, bytes) and member.startswith(NPY_MAGIC)):
                    raise DataError(
                        f"expected arrays of different names that end in .npy in {path}, got the member "
                        f"{info.filename!r}; rename it"
                    )
                members[name] = member
    except CodelengthError:
        raise
    except Exception as error:  # numpy given a damaged file may raise anything
        raise DataError(_array_sentence(path, error)) from None
    return members


def _check_room(size: int, path: Path) -> None:
    """Raise DataError where so many bytes are more than this machine has free."""
    free = free_memory()
    if free is not None and size > free:
        raise DataError(
            f"there is not enough memory for the members of {path}: they state {size:,} bytes, and {free:,} are free; "
            "split the file into smaller ones"
        )


def _read_member(stream: IO[bytes], info: zipfile.ZipInfo, path: Path) -> np.ndarray:
    _check_size(stream, info.file_size, f"the member {info.filename!r} of {path}")
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise DataError(f"expected one array in the member {info.filename!r} of {path}, got more")
    return array


def _check_size(stream: IO[bytes], size: int, what: str) -> None:
    """Whether ``size`` bytes can hold the array whose header ``stream`` begins with, before memory is taken for it.

    Leaves the stream at its beginning. Raises DataError if they cannot, and what numpy raises for bad headers.
    """
    version = np.lib.format.read_magic(stream)
    start = stream.tell()
    length = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if length > _MAX_HEADER:
        raise DataError(
            f"{what} cannot be read: expected a header of at most {_MAX_HEADER:,} bytes, got one of {length:,}; write "
            "the array again with numpy.save"
        )
    stream.seek(start)
    if version in ((1, 0), (2, 0)):  # the third serves structures with names beyond Latin-1, which are no items
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        expected, got = dtype.itemsize * math.prod(shape), size - stream.tell()
        if not expected and shape and shape[0] > _MAX_EMPTY:
            raise DataError(
                f"{what} cannot be read: expected at most {_MAX_EMPTY:,} items without elements, got {shape[0]:,}; its "
                "header is wrong, so write or fetch it again"
            )
        if got < expected and not dtype.hasobject:
            raise DataError(
                f"{what} cannot be read: expected {expected:,} bytes after its header, which states the shape {shape} "
                f"of {dtype.name}, got {got:,}; it is cut short or its header is wrong, so write or fetch it again"
            )
    stream.seek(0)


def _array_sentence(path: Path, error: BaseException) -> str:
    if "Object arrays" in str(error) or "Python objects in dtype" in str(error):
        return (
            f"{path} holds Python objects, which are never loaded because they can execute code; "
            "store numbers instead, for example with array.astype(float)"
        )
    first = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if isinstance(error, MemoryError):
        return f"there is not enough memory for the arrays of {path} ({first}); split the file into smaller ones"
    return f"expected an array file, but {path} cannot be read ({first}); check that it is complete"


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file (the format of MNIST), gzipped or not. Raises DataError."""
    try:
        with open_regular(path, "an array, an image or a folder") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            size = os.fstat(file.fileno()).st_size
            stream: IO[bytes] = gzip.GzipFile(fileobj=file, mode="rb") if compressed else file  # type: ignore[assignment]
            dtype, shape = _read_idx_header(stream, path)
            expected = dtype.itemsize * math.prod(shape)
            most = _LARGEST_RATIO * size if compressed else size
            if expected > most:
                raise DataError(f"expected {expected:,} bytes in {path} for the shape {shape}, got at most {most:,}")
            if not expected and shape[0] > _MAX_EMPTY:
                raise DataError(f"expected at most {_MAX_EMPTY:,} items without elements in {path}, got {shape[0]:,}")
            # One byte more tells whether something follows, without reading a stream that never ends.
            data = stream.read(expected + 1)
    except CodelengthError:
        raise
    except Exception as error:  # numpy given a damaged file may raise anything
        raise DataError(f"expected an IDX file, but {path} cannot be read ({error})") from None
    if len(data) != expected:
        header = 4 + 4 * len(shape)
        got = "more" if len(data) > expected else f"{header + len(data)}"
        raise DataError(f"expected {header + expected} bytes in {path} for the shape {shape}, got {got}")
    return np.frombuffer(data, dtype).reshape(shape)


def _read_idx_header(stream: IO[bytes], path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES_OF_IDX or start[3] == 0:
        raise DataError(f"expected .npy, .npz, an image, a folder or IDX, but {path} does not begin like an IDX file")
    rank = start[3]
    if rank > _MAX_RANK:
        raise DataError(f"expected an IDX file with at most {_MAX_RANK} axes, got {rank} in {path}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"expected an IDX file with {rank} axes, but {path} ends inside its header")
    return np.dtype(_TYPES_OF_IDX[start[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def read_arrays(path: Path) -> tuple[str, dict[str, Any]]:
    """The arrays of a file as they lie there, and its kind: ``array`` (.npy), ``npz`` or ``idx``.

    Arrays of ``.npy`` and IDX files have the name ""; what is no array in an ``.npz`` is bytes. Raises DataError.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return "npz", read_members(path)
    if suffix == ".npy":
        return "array", {"": read_npy(path)}
    return "idx", {"": read_idx(path)}
