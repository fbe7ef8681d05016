"""Kernels: compiled once, announced, kept, and loaded without what they do not need."""

from __future__ import annotations

import contextvars
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codelength import machine
from codelength.cli import main
from codelength.coding.compiled import inlined, kernel

MODULE = """
from codelength.coding.compiled import inlined, kernel

@inlined
def doubled(x):
    return 2 * x

@kernel
def {name}(x, flag):
    if flag is not None:
        return doubled(x) + 1
    return doubled(x)
"""


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told(call: Any) -> list[str]:
    """What is said while ``call`` is made."""
    said: list[str] = []

    def run() -> None:
        machine.tell_notices(said.append)
        call()

    contextvars.copy_context().run(run)
    return said


def test_compilation_is_announced_once_and_only_where_it_takes_place(tmp_path):
    path = tmp_path / "some_kernel.py"
    path.write_text(MODULE.format(name="some_kernel"))
    first = loaded(path).some_kernel

    def call() -> None:
        assert first(3, None) == 6 and first(3, 1) == 7

    assert told(call) == ["compiling kernels, once on this machine ..."]
    assert told(call) == []
    # As in another process: what was compiled is found on the disk.
    again = loaded(path).some_kernel
    assert told(lambda: again(3, None)) == [] and again(3, None) == 6
    assert told(lambda: again(3.5, None)) == ["compiling kernels, once on this machine ..."]


def test_code_of_earlier_sources_is_never_taken_for_that_of_the_present_ones(tmp_path, monkeypatch):
    path = tmp_path / "edited_kernel.py"
    path.write_text(MODULE.format(name="edited_kernel"))
    assert loaded(path).edited_kernel(3, None) == 6
    path.write_text(MODULE.format(name="edited_kernel").replace("2 * x", "100 * x"))
    killed = loaded(path).edited_kernel
    # Killed when the index was written and the code was not: that of the first version lies under its name.
    monkeypatch.setattr(killed._cache._cache_file, "_save_data", lambda name, data: None)
    assert killed(3, None) == 300
    assert loaded(path).edited_kernel(3, None) == 300
    assert told(lambda: loaded(path).edited_kernel(3, None)) == []


def test_a_class_that_is_gone_does_not_stop_the_kernels_that_took_it(tmp_path, monkeypatch):
    path = tmp_path / "renamed_kernel.py"
    path.write_text(
        "from typing import NamedTuple\nfrom codelength.coding.compiled import kernel\n\n"
        "class Old(NamedTuple):\n    x: int\n\n@kernel\ndef read(pair):\n    return pair.x + 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    first = importlib.import_module("renamed_kernel")
    assert first.read(first.Old(2)) == 3
    path.write_text(path.read_text().replace("Old", "Newer"))
    monkeypatch.delitem(sys.modules, "renamed_kernel")
    importlib.invalidate_caches()
    second = importlib.import_module("renamed_kernel")
    assert second.read(second.Newer(2)) == 3


def test_nobody_is_told_who_did_not_ask(tmp_path, capfd):
    path = tmp_path / "other_kernel.py"
    path.write_text(MODULE.format(name="other_kernel"))
    assert loaded(path).other_kernel(3, None) == 6
    assert capfd.readouterr() == ("", "")


def test_kernels_that_cannot_be_kept_are_announced_as_such(tmp_path, monkeypatch):
    import numba

    njit = numba.njit

    def without_folders(*arguments: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("no locator available")
        return njit(*arguments, **options)

    monkeypatch.setattr(numba, "njit", without_folders)
    unkept = kernel(lambda x: x + 1)
    said = told(lambda: unkept(1))
    assert len(said) == 1 and "in every process" in said[0]


def test_pieces_for_kernels_refuse_calls_from_python():
    @inlined
    def piece(x):
        return x + 1

    outer = kernel(lambda x: x + 1)
    assert outer(1) == 2
    with pytest.raises(TypeError, match="for kernels to call"):
        piece(1)

    import numba

    caller = numba.njit(lambda x: piece(x))
    assert caller(1) == 2
    with pytest.raises(TypeError, match="for kernels to call"):
        piece(1)


@pytest.mark.parametrize("quiet", [False, True])
def test_commands_pass_notices_on_unless_they_are_quiet(quiet, pairs, pair_items, tmp_path, capsys, monkeypatch):
    import codelength.api as api

    api.compress(pair_items[:3], tmp_path / "a.clen", pairs)
    opened = api.open_archive

    def slow(*arguments: Any, **options: Any) -> Any:
        machine.notice("compiling kernels")
        machine.notice("compiling kernels")
        return opened(*arguments, **options)

    monkeypatch.setattr(api, "open_archive", slow)
    assert main(["verify", str(tmp_path / "a.clen"), *(["--quiet"] if quiet else [])]) == 0
    assert capsys.readouterr().err == ("" if quiet else "compiling kernels\n")
    machine.notice("nobody listens any more")
    assert capsys.readouterr().err == ""


CHECK = """
import sys
from codelength.cli import main
assert main(["compress", "threshold-digits:test[:20]", sys.argv[1], "--model", "made-digits", "--quiet"]) == 0
for name in ("scipy.linalg", "sklearn", "torch"):
    assert name not in sys.modules, name
import numba, numpy as np
from numba.np import arraymath, linalg
assert arraymath.ensure_blas is linalg.ensure_blas
a = np.arange(4.0).reshape(2, 2)
assert np.array_equal(numba.njit(lambda x: np.dot(x, x))(a), a @ a)
assert "scipy.linalg" in sys.modules
"""


def test_coding_loads_no_scipy_and_leaves_it_to_those_who_need_it(tmp_path):
    pytest.importorskip("scipy")
    pytest.importorskip("sklearn")
    run = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path / "a.clen")], env=os.environ, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_digits_are_those_that_scikit_learn_gives():
    datasets = pytest.importorskip("sklearn.datasets")
    from codelength.data.sources import DIGITS

    items, labels = DIGITS.forms[0].read([], "all")
    right = datasets.load_digits()
    assert items.dtype == labels.dtype == np.uint8
    assert np.array_equal(items, right.images) and np.array_equal(labels, right.target)
