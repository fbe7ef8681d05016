"""Wrong usage is told before PyTorch, numba or scipy are imported, and help before numpy is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codelength import api

# Runs commands in one process, in which some modules cannot be imported; prints statuses and sentences as JSON.
_RUN = """
import contextlib, io, json, sys

blocked = set(sys.argv[1].split(","))

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise AssertionError("imported " + name)

sys.meta_path.insert(0, Block())
from codelength.cli import main

results = []
for arguments in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    results.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


def run_blocked(blocked: str, commands: list[list[str]], folder: Path) -> list[tuple[int, str, str]]:
    text = json.dumps(commands)
    done = subprocess.run([sys.executable, "-c", _RUN, blocked, text], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [tuple(result) for result in json.loads(done.stdout)]


COMMANDS = [
    "demo",
    "train",
    "evaluate",
    "sample",
    "pack",
    "append",
    "compress",
    "decompress",
    "unpack",
    "inspect",
    "verify",
    "models",
    "datasets",
]


def test_help_and_version_import_neither_numpy_nor_anything_larger(tmp_path: Path) -> None:
    commands = [["--help"], ["-h"], ["--version"], []] + [[name, "--help"] for name in COMMANDS]
    for (status, out, err), command in zip(
        run_blocked("numpy,numba,scipy,torch", commands, tmp_path), commands, strict=True
    ):
        assert (status, err) == (0, "") and out, command


DATA = "threshold-digits:test"
MODEL = "made-digits"

# Command lines, and words of the sentence that answers them.
WRONG = {
    "compress no/data x.clen --model made-digits": "neither a data set",
    f"compress {DATA} x.clen --model no-model": "neither a packaged model",
    "compress digits:tets x.clen --model made-digits": "no split 'tets'",
    "compress items.npy held.npy --model made-digits": "is no archive",
    "compress items.npy x.clen --model made-digits --device cuda --no-such": "no such option",
    "compress no/data x.clen --model made-digits --device cuda": "neither a data set",
    "compress items.npy folder --model made-digits": "got the folder",
    "compress items.npy x.clen --no-such": "no such option",
    "pack items.npy": "expected ARCHIVE",
    "append no.clen items.npy": "codelength pack makes one",
    "pack no/data x.clen": "neither a data set",
    "pack items.npy held.npy": "is no archive",
    "pack items.npy x.clen --profile quick": "profiles fast, balanced, small",
    "pack items.npy x.clen --max-minutes soon": "--max-minutes",
    "pack items.npy x.clen --block 0": "at least one item",
    "compress items.npy x.clen --model made-digits --max-memory lots": "lots",
    "decompress no.clen x.npy": "cannot be read",
    "decompress items.npy x.npy": "archive",
    "decompress no.clen held.npy": "exists and is not overwritten",
    "decompress no.clen x.npy --model no-model --device cuda": "neither a packaged model",
    "inspect no.clen": "cannot be read",
    "verify no.clen": "cannot be read",
    "verify no.clen no/data": "neither a data set",
    "verify no.clen --model no-model --device cuda": "neither a packaged model",
    "evaluate no-model --data items.npy": "neither a packaged model",
    "evaluate made-digits --data no/data --device cuda": "neither a data set",
    "evaluate made-digits --data items.npy --against no-model": "neither a packaged model",
    "evaluate made-digits --data items.npy --estimator magic": "estimators",
    "evaluate made-digits --data items.npy --limit 0": "at least one item",
    "evaluate made-digits --data items.npy --arithmetic exact": "float or frozen",
    "evaluate made-digits --data items.npy --per-item x.txt": ".csv",
    "sample no-model --count 1 -o x.png": "neither a packaged model",
    "sample made-digits --count 0 -o x.png": "count of at least 1",
    "sample made-digits --count 1 -o x.gif": ".npy",
    "sample made-digits --count 1 -o x.png --inpaint a.png": "--mask",
    "sample made-digits --count 1 -o x.png --inpaint no.png --mask no.png": "neither a data set",
    "train no-recipe -o run": "name or the file of a recipe",
    "train -o run": "recipe",
    "train broken.toml -o run": "TOML",
    "train made-digits -o run --set training.stepz=3": "stepz",
    "train made-digits -o run --set training.steps=0": "at least 1",
    "train made-digits -o run --data no/data": "neither a data set",
    "train made-digits -o run --data digits:tets": "no split",
    "train made-digits -o items.npy": "is a file",
    "train made-digits -o begun": "holds a run already",
    "train made-digits -o run --start folder": "finished run",
    "train made-digits -o run --resume": "to resume",
    "train made-digits -o run --seed -1": "at least 0",
    "models --no-such": "no such option",
    "datasets --no-such": "no such option",
    "demo --no-such": "no such option",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("items.npy", "held.npy"):
        np.save(tmp_path / name, np.zeros((3, 8, 8), np.uint8))
    for name in ("folder", "begun"):
        (tmp_path / name).mkdir()
    (tmp_path / "begun" / "checkpoint.pt").write_bytes(b"")
    (tmp_path / "broken.toml").write_text("model = ")
    return tmp_path


def test_wrong_usage_is_told_before_heavy_imports(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    commands = [line.split() for line in WRONG]
    for (line, words), (status, out, err) in zip(
        WRONG.items(), run_blocked("numba,scipy,torch", commands, folder), strict=True
    ):
        assert status in (1, 2) and out == "", (line, err)
        assert err.startswith("codelength: ") and err.count("\n") == 1 and words in err, (line, err)
    assert sorted(folder.rglob("*")) == before


# The same where what is wrong shows only beside a model or an archive that is right.
WRONG_BESIDE = {
    "decompress a.clen x.npy --range 60:70": "within 0:3",
    "decompress a.clen x.npy --name foo": "names select files of a folder",
    "decompress a.clen held.npy": "exists and is not overwritten",
    "decompress a.clen x.npy --max-output 10": "more than the limit of 10",
    "decompress a.clen x.npy --model vae-mnist": "needs the model",
    "verify a.clen other.npy": "does not hold this data",
    "evaluate made-digits --data other.npy": "items of shape 8x8, got 9x9",
    "evaluate made-digits --data items.npy --arithmetic float": "needs a run folder",
    "evaluate other.npy --data items.npy": "not a codelength model file",
    "sample made-digits --count 1 -o x.png --shape 9x9": "no --shape",
    "compress items.npy x.clen --model other.npy": "not a codelength model file",
    "compress items.npy x.clen --model made-digits --layout zz": "layouts",
}


def test_wrong_usage_beside_what_is_right_is_told_before_torch(folder: Path) -> None:
    np.save(folder / "other.npy", np.zeros((3, 9, 9), np.uint8))
    api.compress(folder / "items.npy", folder / "a.clen", "made-digits", embed_model=False)
    before = sorted(folder.rglob("*"))
    results = run_blocked("torch", [line.split() for line in WRONG_BESIDE], folder)
    for (line, words), (status, out, err) in zip(WRONG_BESIDE.items(), results, strict=True):
        assert status in (1, 2) and out == "", (line, err)
        # Before it, a busy machine without ready kernels may say what it is doing.
        assert err.splitlines()[-1].startswith("codelength: ") and words in err.splitlines()[-1], (line, err)
    assert sorted(folder.rglob("*")) == before
