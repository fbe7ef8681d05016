"""Encodes and decodes under the configuration of its process; prints digests. Run by test_same_everywhere.

usage: decode_here.py EXECUTOR FOLDER[,FOLDER ...] [no-torch] [no-onednn]

Each folder holds items.clen, model.clm and items.npy; each gets a line of two digests.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any


class Blocker:
    """An import hook that refuses torch."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked")


def main() -> None:
    executor, folders, *switches = sys.argv[1:]
    if "no-torch" in switches:
        sys.meta_path.insert(0, Blocker())  # type: ignore[arg-type]
    import numpy as np

    from codelength.archive.reader import Archive
    from codelength.exact import arithmetic as executors
    from codelength.laws.frozen import FrozenModel

    if executor == "torch":
        import torch

        from codelength.freezing.torch_executor import TorchArithmetic

        if "no-onednn" in switches:
            torch.backends.mkldnn.enabled = False
        executors.choose(TorchArithmetic())
    elif executor == "reference":
        executors.choose(executors.REFERENCE)
    for folder in map(Path, folders.split(",")):
        with Archive.open(folder / "items.clen") as opened:
            decoded = opened.read()
        model = FrozenModel.from_bytes((folder / "model.clm").read_bytes())
        items = np.load(folder / "items.npy")
        # Other batches: the parallel pass over all items at once, one by one, and in sevens.
        whole = model.code_length_bits(items)
        apart = np.concatenate([model.code_length_bits(items[i : i + 7]) for i in range(0, len(items), 7)])
        single = np.concatenate([model.code_length_bits(items[i : i + 1]) for i in range(4)])
        assert np.array_equal(whole, apart) and np.array_equal(whole[:4], single)
        sizes, words = model.encode_block(items)
        coded = repr(sizes).encode() + words.tobytes() + whole.tobytes()
        print(*(hashlib.sha256(data).hexdigest() for data in (decoded.tobytes(), coded)))
    assert ("torch" in sys.modules) == (executor == "torch")


if __name__ == "__main__":
    main()
