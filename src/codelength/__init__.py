"""Likelihood-based generative models that are lossless codecs.

    import codelength as cl

    data = cl.load_data("binarized-mnist:test")
    model = cl.load("made-binarized-mnist")
    model.log_prob(data)                             # nats per item
    cl.compress(data, "digits.clen", model)          # and the file that proves them
    items = cl.decompress("digits.clen", range=(100, 200))
    cl.open("digits.clen")[123]                      # one item, and nothing decoded but its block

Names are imported when they are used, so that reading an archive never imports PyTorch.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from typing import Any

    from codelength.api import (
        append,
        compress,
        datasets,
        decompress,
        evaluate,
        freeze,
        inpaint,
        inspect,
        load,
        load_data,
        load_run,
        open,
        pack,
        packaged_models,
        train,
        verify,
    )
    from codelength.archive.opened import ArchiveItems
    from codelength.data.dataset import DataSet
    from codelength.errors import CodelengthError
    from codelength.laws.frozen import FrozenModel
    from codelength.laws.space import Space
    from codelength.likelihood.comparison import Comparison, compare
    from codelength.likelihood.result import Estimate
    from codelength.packing.result import PackResult

_HOMES = {
    "ArchiveItems": "codelength.archive.opened",
    "CodelengthError": "codelength.errors",
    "Comparison": "codelength.likelihood.comparison",
    "DataSet": "codelength.data.dataset",
    "Estimate": "codelength.likelihood.result",
    "compare": "codelength.likelihood.comparison",
    "FrozenModel": "codelength.laws.frozen",
    "PackResult": "codelength.packing.result",
    "Space": "codelength.laws.space",
}

__all__ = [
    "ArchiveItems",
    "CodelengthError",
    "Comparison",
    "DataSet",
    "Estimate",
    "FrozenModel",
    "PackResult",
    "Space",
    "append",
    "compare",
    "compress",
    "datasets",
    "decompress",
    "evaluate",
    "freeze",
    "inpaint",
    "inspect",
    "load",
    "load_data",
    "load_run",
    "open",
    "pack",
    "packaged_models",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'codelength' has no attribute {name!r}")
    value = getattr(_importlib.import_module(_HOMES.get(name, "codelength.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # What it takes to make them is no part of the interface.
    return sorted([*__all__, *(name for name in globals() if name.startswith("__") and name != "__getattr__")])
