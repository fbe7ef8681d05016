"""Likelihood-based generative models that are lossless codecs.

    import codelength as cl

    data = cl.load_data("binarized-mnist:test")
    model = cl.load("made-binarized-mnist")
    model.log_prob(data)                             # nats per item
    cl.compress(data, "digits.clen", model)          # and the file that proves them
    items = cl.decompress("digits.clen", range=(100, 200))

Names are imported when they are used, so that reading an archive never imports PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codelength.api import (
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
        packaged_models,
        train,
        verify,
    )
    from codelength.errors import CodelengthError
    from codelength.laws.frozen import FrozenModel
    from codelength.laws.space import Space
    from codelength.likelihood.estimate import Comparison, Estimate, compare

_HOMES = {
    "CodelengthError": "codelength.errors",
    "Comparison": "codelength.likelihood.estimate",
    "Estimate": "codelength.likelihood.estimate",
    "compare": "codelength.likelihood.estimate",
    "FrozenModel": "codelength.laws.frozen",
    "Space": "codelength.laws.space",
}

__all__ = [
    "CodelengthError",
    "Comparison",
    "Estimate",
    "FrozenModel",
    "Space",
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
    "packaged_models",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'codelength' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "codelength.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
