"""Checkpoints: the complete state of a run, as plain tensors, written atomically."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from codelength.errors import CheckpointError
from codelength.files import atomic_file, refusal


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write nested dictionaries of tensors, numbers and strings to `path`; a crash leaves the old file or the new.

    Raises CheckpointError where that is not possible.
    """
    try:
        with atomic_file(path) as (file, _):
            torch.save(state, file)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {refusal(error)}, and resume") from None
    except RuntimeError as error:  # as which torch may report a full disk
        raise CheckpointError(f"cannot write {path}: {error}; make room and resume") from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what save_checkpoint wrote. Executes nothing: only tensors and plain containers are accepted."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"expected a checkpoint at {path}, found none; train without --resume first") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({type(error).__name__}): start anew") from None
