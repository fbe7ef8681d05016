"""From what users name to frozen models."""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from codelength.data.spec import check_spec
from codelength.errors import NotFrozen, ProgramError, UsageError
from codelength.files import read_regular
from codelength.weights import packaged

if TYPE_CHECKING:
    from codelength.laws.frozen import FrozenModel

    #: What users name as a model.
    Model = str | os.PathLike[str] | FrozenModel

#: The frozen model in a run folder.
FROZEN_FILE = "model.clm"
_ADAPTIVE = "adaptive-"


def load_model(spec: str | os.PathLike[str]) -> FrozenModel:
    """The frozen model of a packaged name, a run folder or a model file, or one that learns while it codes, by a name
    such as ``adaptive-balanced-photo-256x3``: size, kind, symbols and channels, see ``laws.presets``.

    Raises UsageError if it is none of these, ProgramError if the file is not a valid model.
    """
    from codelength.laws.frozen import FrozenModel

    if found := _adaptive(spec):
        from codelength.laws.presets import preset

        size, kind, symbols, channels = found
        return preset(size, symbols, channels, kind)
    path = model_path(spec)
    data = read_regular(path, "a model file")
    try:
        return FrozenModel.from_bytes(data)
    except ProgramError as error:
        raise type(error)(f"{path}: {error}") from None


def _adaptive(spec: Any) -> tuple[str, str, int, int] | None:
    """Size, kind, symbols and channels of the name of an adaptive model."""
    if not isinstance(spec, str) or not spec.startswith(_ADAPTIVE) or os.path.exists(spec):
        return None
    found = re.fullmatch(_ADAPTIVE + r"([a-z]+)-([a-z]+)-([0-9]{1,6})(?:x([0-9]))?", spec)
    if found is None:
        raise UsageError(
            "expected the name of an adaptive model to give size, kind, symbols and channels, such as "
            f"{_ADAPTIVE}balanced-photo-256x3, got {spec!r:.60}"
        )
    size, kind, symbols, channels = found.groups()
    return size, kind, int(symbols), int(channels or 1)


def model_path(spec: str | os.PathLike[str]) -> Path:
    """The file of a frozen model. A folder that has the name of a packaged model is written ``./name``."""
    if not isinstance(spec, str | os.PathLike):
        raise UsageError(
            f"expected the name of a model or the path of its file, got {type(spec).__name__} {spec!r:.40}"
        )
    known = packaged()
    if isinstance(spec, str) and spec in known:
        return known[spec].path
    path = Path(spec).expanduser()
    if path.is_dir():
        frozen = path / FROZEN_FILE
        if not frozen.is_file():
            raise UsageError(
                f"expected a run folder with a {FROZEN_FILE}, but {path} has none; "
                f"finish its training with `codelength train --resume`"
            )
        return frozen
    if path.exists():
        return path
    near = difflib.get_close_matches(str(spec), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see `codelength models` for the names"
    raise UsageError(f"{str(spec)!r} is neither a packaged model nor a run folder nor a model file; {hint}")


def run_folder(spec: str | os.PathLike[str]) -> Path:
    """The run folder that a model names; raises UsageError for models without one."""
    path = Path(spec).expanduser()
    if not path.is_dir():
        raise UsageError(f"floating-point arithmetic needs a run folder, got {str(spec)!r}; use the frozen model")
    return path


def find_packaged(sha256: str, name: str) -> FrozenModel | None:
    """The packaged model that an archive names by its SHA-256; ``name`` says where to look first."""
    known = packaged()
    for candidate in sorted(known, key=lambda key: key != name):
        if known[candidate].figures.get("model_sha256", sha256) == sha256:
            model = load_model(candidate)
            if model.sha256 == sha256:
                return model
    return None


def packaged_name(model: FrozenModel, spec: Any = None) -> str:
    """The name under which this release holds a model; empty if it does not."""
    known = packaged()
    candidates = [spec] if isinstance(spec, str) and spec in known else list(known)
    data = model.to_bytes()
    return next((name for name in candidates if known[name].path.read_bytes() == data), "")


def check_names(model: Any, data: Any = None) -> None:
    """Raise UsageError or DataError where a model or data is named that is not there; nothing is read or imported."""
    if isinstance(model, str | os.PathLike) and _adaptive(model) is None:
        model_path(model)
    if isinstance(data, str | os.PathLike):
        check_spec(data)


def is_frozen(model: Any) -> TypeGuard[FrozenModel]:
    """Whether it is one, found out without importing what that takes."""
    frozen = sys.modules.get("codelength.laws.frozen")  # without it there is no such model
    return frozen is not None and isinstance(model, frozen.FrozenModel)


def frozen_model(model: Any) -> FrozenModel:
    """A model as it is, or by what users name. Raises NotFrozen for a torch module, and as ``load_model`` does."""
    if is_frozen(model):
        return model
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    raise NotFrozen(f"expected a frozen model, got a {type(model).__name__} in floating point; freeze it first")
