"""The whole promise on one page: pack images smaller than any general codec does, then train a model, report its
likelihood, and prove it with a file; each file gives every pixel back where nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import codelength
from codelength import api
from codelength.errors import CodelengthError
from codelength.packing.result import PackResult
from codelength.packing.text import show_look, show_packed, show_peers
from codelength.report.codecs import CodecSize, codec_sizes
from codelength.report.pictures import save_items
from codelength.report.text import show_archive, show_estimate, table

RECIPE = "made-digits"
DATA = "threshold-digits"
PACKED = "digits"
SAMPLES = 64

# Runs in a process of its own, in an empty folder and with an empty home, that hold the archive and nothing else.
# Whatever asks for the network, for torch or for a data set's source fails.
_DECODE = """
import sys

BLOCKED = {"torch", "sklearn", "scipy", "pooch", "requests"}

def guard(event, arguments):
    if event.startswith("socket."):
        raise PermissionError("the network is blocked in this process")
    if event == "import" and arguments[0].split(".")[0] in BLOCKED:
        raise ImportError(arguments[0] + " is blocked in this process")

sys.addaudithook(guard)
sys.path.insert(0, sys.argv[1])
from codelength.cli import main

status = main(["decompress", sys.argv[2], "decoded.npy", "--quiet"])
assert not BLOCKED & set(sys.modules)
sys.exit(status)
"""

# Runs in another process, which never sees the archive: what was decoded against what was loaded.
_COMPARE = """
import json, sys
import numpy as np

sys.path.insert(0, sys.argv[1])
from codelength.data import load_data

original, decoded = load_data(sys.argv[2]).items, np.load(sys.argv[3])
same = original.shape == decoded.shape and original.dtype == decoded.dtype and bool((original == decoded).all())
print(json.dumps({"same": same, "pixels": int(original.size)}))
"""


def demo(out: Path, *, say: Callable[[str], None] = print, quiet: bool = True, device: str = "cpu") -> dict[str, Any]:
    """Pack the digits of scikit-learn; train a MADE on them thresholded, and prove its likelihood with a file.

    Leaves in ``out``: ``all-digits.npy`` and ``all-digits.clen``, which is it packed; the run folder, ``digits.clen``,
    and the pictures ``samples.png`` and ``digits.png``.
    Returns the figures: ``pack`` (those of ``pack --json``), those of ``evaluate`` for the test items, ``round_trip``
    (whether processes that held an archive alone gave back every pixel of both), ``archive`` (those of ``compress``),
    and ``codecs``.

    Raises CodelengthError if a decoding process fails.
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    packed, same = _pack(out, say)
    test = f"{DATA}:test"
    say(f"\nNow a model that is trained. Training {RECIPE} on {DATA} ...")
    run = out / "run"
    if run.exists():
        shutil.rmtree(run)  # of an earlier demonstration
    api.train(RECIPE, DATA, run, quiet=quiet, device=device)
    trained = time.monotonic()
    model = api.load(run)
    data = api.load_data(test)
    assert data.items is not None
    result = api.evaluate(model, data)
    float_nats = api.evaluate(run, data, arithmetic="float").nats
    say(f"\nOn items that it has not seen:\n{show_estimate(test, result)}")
    say(f"the same in floating point: {float_nats:.4f} nats")

    archive = out / "digits.clen"
    written = api.compress(data, archive, model, force=True)
    say(f"\nThose items as a file, {archive}:\n{show_archive(written)}")
    round_trip = _proved(archive, test, say)

    sizes = codec_sizes(data.items, data.space.symbols if data.space else 256)
    say(f"\nBytes for the same {len(data):,} items:\n{codec_table(written, sizes)}\n{verdict(written, sizes)}")
    save_items(model.sample(SAMPLES, seed=0), model.space, out / "samples.png")
    save_items(data.items[:SAMPLES], model.space, out / "digits.png")
    say(f"\nPictures: {out / 'samples.png'} (drawn by the model), {out / 'digits.png'} (real)")
    seconds = time.monotonic() - start
    say(f"{seconds:.0f} seconds, {trained - start:.0f} of them training")
    return {
        "round_trip": round_trip and same,
        "pack": packed,
        "model": RECIPE,
        "data": test,
        **result.to_json(),
        "float_nats": float_nats,
        "archive": {k: v for k, v in written.items() if k not in ("seed", "version", "command")},
        "codecs": [
            {
                "name": size.name,
                "whole_bytes": size.whole,
                "per_item_bytes": size.per_item,
                "whole_bits_per_dim": 8 * size.whole / data.items.size,
                "per_item_bits_per_dim": 8 * size.per_item / data.items.size,
            }
            for size in sizes
        ],
        "seconds": round(seconds, 1),
        "model_sha256": model.sha256,
        "data_sha256": data.sha256,
        **api.about("demo", 0),
    }


def _pack(out: Path, say: Callable[[str], None]) -> tuple[dict[str, Any], bool]:
    """Pack all digits with their grey levels. Returns the figures, and whether every pixel came back."""
    parts = [api.load_data(f"{PACKED}:{split}").items for split in ("train", "valid", "test")]
    pile, archive = out / f"all-{PACKED}.npy", out / f"all-{PACKED}.clen"
    np.save(pile, np.concatenate([part for part in parts if part is not None]))
    say(f"Packing {pile}, all digits of scikit-learn, with nothing trained ...")
    result = api.pack(pile, archive, force=True, told=_telling(say))
    say(f"\n{show_peers(result)}")
    return result.to_json(), _proved(archive, str(pile), say)


def _telling(say: Callable[[str], None]) -> Callable[[PackResult], None]:
    """Says what was found and expected first, then what became of it."""
    return lambda result: say(show_look(result) if result.archive_bytes is None else show_packed(result))


def _proved(archive: Path, data: str, say: Callable[[str], None]) -> bool:
    """Whether an archive alone gives back every pixel of the data; says so."""
    same, pixels = _prove(archive, data)
    say(
        f"A process that held nothing but this file gave back all {pixels:,} pixels."
        if same
        else "A process that held nothing but this file gave back OTHER pixels. This is a fault; please report it."
    )
    return same


def _prove(archive: Path, data: str) -> tuple[bool, int]:
    """Whether processes of their own give back every pixel, and how many there are."""
    package = str(Path(codelength.__file__).parents[1])
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as home:
        (Path(here) / archive.name).write_bytes(archive.read_bytes())
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
        command = [sys.executable, "-I", "-c", _DECODE, package, archive.name]
        _run(command, cwd=here, env={**kept, "HOME": home, "USERPROFILE": home})
        decoded = str(Path(here) / "decoded.npy")
        answer = json.loads(_run([sys.executable, "-c", _COMPARE, package, data, decoded]))
    return answer["same"], answer["pixels"]


def _run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise CodelengthError(f"a process of the demonstration failed with status {done.returncode}: {last}")
    return done.stdout


def codec_table(archive: dict[str, Any], sizes: list[CodecSize]) -> str:
    """The archive beside the general codecs, as text."""
    rows = [
        ["codelength, without the model", f"{archive['payload_bytes']:,}", "-"],
        ["codelength, model counted", f"{archive['archive_bytes']:,}", "-"],
    ]
    rows += [[size.name, f"{size.whole:,}", f"{size.per_item:,}"] for size in sizes]
    return table(["", "all as one", "one file each"], rows)


def verdict(archive: dict[str, Any], sizes: list[CodecSize]) -> str:
    """Who wins, the model counted and not."""
    best = min(sizes, key=lambda size: size.whole)
    payload, whole = archive["payload_bytes"], archive["archive_bytes"]
    if whole <= best.whole:
        return f"The archive is smaller than {best.name}, the best general codec, even with its model counted."
    text = (
        f"Without its model the archive takes {payload / best.whole:.1%} of {best.name}, the best general codec here; "
        f"with the model counted it LOSES"
    )
    # What an item costs once the file is there, against what it costs in the codec's.
    saved = best.whole / archive["items"] - archive["code_length_bits"] / 8 / archive["items"]
    if saved <= 0:
        return f"{text}, and would with any number of items."
    enough = (whole - archive["code_length_bits"] / 8) / saved
    return f"{text}: it would win from about {enough:,.0f} such items on, and these are {archive['items']:,}."
