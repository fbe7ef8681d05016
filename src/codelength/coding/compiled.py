"""The decorators of compiled kernels: numba's ``njit`` with a cache that notices changes in other files.

numba renews a cached kernel when the kernel's own file changes, but not when a function or table that it uses
lives in another file. A coder that silently mixes two versions of its own arithmetic writes files that nobody
can read, so the cache entry of a kernel is stamped with the contents of its whole folder and of this one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

_HERE = Path(__file__).resolve().parent


@cache
def _fingerprint(folder: Path) -> str:
    # numba does not tell kernels compiled with and without bounds checks apart either.
    digest = hashlib.sha256(os.environ.get("NUMBA_BOUNDSCHECK", "").encode())
    for directory in sorted({_HERE, folder}):
        for path in sorted(directory.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` on first use: no fast-math, unchecked integer division, kept on disk if possible.

    Kernels borrow their arrays, they neither make nor return any: counting references would cost more than
    coding a symbol does. Where neither the package's folder nor the user's cache can be written, kernels are
    compiled anew by each process.
    """
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a small piece that other kernels call for every symbol: it is merged into each of them."""
    return _compiled(function, forceinline=True)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    options.update(error_model="numpy", _nrt=False)
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
    index: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        folder = Path(function.__code__.co_filename).resolve().parent
        index._source_stamp = (index._source_stamp, _fingerprint(folder))
    return dispatcher
