"""The decorators of compiled kernels: numba's ``njit`` with a cache that notices changes in other files.

numba renews a cached kernel when the kernel's own file changes, but not when a function or table that it uses
lives in another file. A coder that silently mixes two versions of its own arithmetic writes files that nobody
can read, so the cache entry of a kernel is stamped with the contents of its whole folder and of this one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from codelength.machine import notice

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
    compiled anew by each process. Compilation takes seconds, and is announced by ``machine.notice``.
    """
    try:
        dispatcher = _njit(function, cache=True)
    except RuntimeError:
        return _announced(_njit(function), "in every process, since no folder for them can be written")
    index: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        folder = Path(function.__code__.co_filename).resolve().parent
        index._source_stamp = (index._source_stamp, _fingerprint(folder))
        _mark_contents(index)
    return _announced(dispatcher, "once on this machine")


def _mark_contents(index: Any) -> None:
    """Let each file of compiled code say of which sources and signature it is, and ignore it where that differs.

    numba stamps the index only, writes it before the code, and gives the code of other sources the same file names.
    A process that is killed between the two, or another that reads meanwhile, would leave or take old code as new.
    """
    save, load, stamp, load_index = index.save, index.load, index._source_stamp, index._load_index

    def readable() -> Any:
        # Signatures are pickled, and name the classes of their tuples: another version may have none of that name.
        try:
            return load_index()
        except (AttributeError, ImportError, pickle.UnpicklingError):
            return {}

    index._load_index = readable

    def checked(key: Any) -> Any:
        found = load(key)
        marked = isinstance(found, tuple) and len(found) == 3 and found[:2] == (stamp, key)
        return found[2] if marked else None

    index.save = lambda key, data: save(key, (stamp, key, data))
    index.load = checked


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a small piece that kernels call for every symbol: it is merged into each of them, and kept there.

    Python cannot call it, which spares the compilation of a way in; see ``shared``.
    """
    dispatcher = _njit(function, forceinline=True, no_cpython_wrapper=True)

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise TypeError(f"{function.__name__} is for kernels to call, not for Python")

    # Without a way in, a call would crash; so numba's fast path must never learn of what has been compiled.
    dispatcher.add_overload = lambda result: dispatcher.overloads.update({tuple(result.signature.args): result})
    dispatcher._compile_for_args = refuse
    return dispatcher


def shared(function: Callable[..., Any]) -> Any:
    """The same for a piece that Python calls as well."""
    return _njit(function, forceinline=True)


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    options.update(error_model="numpy", nogil=True, _nrt=False, no_cfunc_wrapper=True)
    return numba.njit(**options)(function)


def _announced(dispatcher: Any, how_often: str) -> Any:
    """Say so when a kernel is not found ready; numba's way of looking for it tells."""
    kept: Any = getattr(dispatcher, "_cache", None)
    load = getattr(kept, "load_overload", None)
    if load is None:
        return dispatcher

    def announced(*signature: Any) -> Any:
        _load_numba()
        found = load(*signature)
        if found is None:
            notice(f"compiling kernels, {how_often} ...")
        return found

    kept.load_overload = announced
    return dispatcher


@cache
def _load_numba() -> None:
    """Load what numba needs for its first kernel, but for SciPy.

    Among it is a module that asks for SciPy's linear algebra while it is loaded, which takes longer than all the rest.
    Kernels need none, and whatever does asks again; so the answer, whether it is there, can be had without it.
    """
    if "numba.np.arraymath" in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    from numba.core.compiler_lock import global_compiler_lock
    from numba.np import linalg

    ensure: Any = getattr(linalg, "ensure_blas", None)
    if ensure is None:
        return
    with global_compiler_lock:  # nobody compiles anything meanwhile
        linalg.ensure_blas = lambda: None
        try:
            from numba.np import arraymath
        finally:
            linalg.ensure_blas = ensure
        arraymath.ensure_blas = ensure
