"""What needs PyTorch says so, where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
import numpy as np
import codelength as cl
class Module:
    def log_prob(self, x):
        return x
try:
    {call}
except cl.CodelengthError as error:
    print(type(error).__name__, "|", error)
"""
CALLS = {
    "train": "cl.train('made-digits', None, 'run')",
    "load_run": "cl.load_run('run')",
    "freeze": "cl.freeze(Module(), np.zeros((3, 8, 8), np.uint8))",
    "evaluate": "cl.evaluate(Module(), np.zeros((3, 8, 8), np.uint8))",
    "evaluate_run": "cl.evaluate('run', np.zeros((3, 8, 8), np.uint8), arithmetic='float')",
    "annealed": "cl.evaluate('vae-dynamic-mnist', np.zeros((3, 28, 28), np.uint8), estimator='annealed')",
}


@pytest.mark.parametrize("call", CALLS)
def test_what_to_install_is_said(call: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"")
    (tmp_path / "run" / "model.clm").write_bytes(b"")
    code = BLOCKED.replace("{call}", CALLS[call])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("MissingPackage | ") and line.endswith("pip install 'codelength[train]'"), line
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
