"""Torch modules as densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from codelength.errors import UsageError

KINDS = ("exact", "lower_bound", "unchecked")


def density_of(module: Any, device: str = "cpu") -> FloatDensity | StatedDensity:
    """A torch module as a density: by its ``law()`` where it has one and a ``space``, else by its ``log_prob(x)``."""
    if isinstance(module, torch.nn.Module):
        if hasattr(module, "space") and callable(getattr(module, "law", None)):
            return FloatDensity(module, device)
        if callable(getattr(module, "log_prob", None)):
            return StatedDensity(module, device)
    raise UsageError(
        "expected a model (a frozen one, a name, a run folder, or a torch module with space and law(), or with "
        f"log_prob(x)), got a {type(module).__name__}"
    )


class StatedDensity:
    """A torch module that says what its items' log-likelihoods are, and nothing of how it comes by them.

    Its ``log_prob(x)`` takes integers (n, *shape), int64, and gives nats (n,); what draws it makes come from torch's
    own generators. kind: what its attribute ``kind`` states, ``unchecked`` where it has none. Raises UsageError for
    another kind, and for a device that is not there.
    """

    arithmetic = "float"
    stated = True

    def __init__(self, module: Any, device: str = "cpu", batch: int = 256) -> None:
        self.device, self.module = _placed(module, device)
        self.batch = batch
        self.kind: str = getattr(module, "kind", "unchecked")
        if self.kind not in KINDS:
            raise UsageError(
                f"expected {type(module).__name__}.kind to be 'exact' or 'lower_bound', got {self.kind!r}; state one "
                "of these, or leave it out"
            )

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        parts = []
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(cuda):
            torch.manual_seed(seed)
            for start in range(0, len(items), self.batch):
                x = torch.from_numpy(np.ascontiguousarray(items[start : start + self.batch], np.int64))
                nats = self.module.log_prob(x.to(self.device))
                if not isinstance(nats, torch.Tensor) or nats.shape != (len(x),):
                    got = f"a tensor {tuple(nats.shape)}" if isinstance(nats, torch.Tensor) else type(nats).__name__
                    raise UsageError(
                        f"expected {type(self.module).__name__}.log_prob to give nats ({len(x)},) for {len(x)} items, "
                        f"got {got}; sum over the elements of each item"
                    )
                parts.append(nats.double().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros(0)


def _placed(module: Any, name: str) -> tuple[torch.device, Any]:
    try:
        device = torch.device(name)
        return device, module.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"cannot use the device {name!r}: {str(error).splitlines()[0]}") from None


class FloatDensity:
    """A torch module that states its ``law()``, evaluated in floating point, without gradients and dropout.

    batch: items of one pass at most. Raises UsageError for a device that is not there.
    """

    arithmetic = "float"

    def __init__(self, module: Any, device: str = "cpu", batch: int = 256) -> None:
        self.device, self.module = _placed(module, device)
        self.law = self.module.law()
        self.batch = batch
        self.kind: str = self.law.kind

    def log_prob(self, items: np.ndarray, seed: int) -> np.ndarray:
        generator = torch.Generator(self.device).manual_seed(seed)
        context = {"shape": tuple(items.shape[1:]), "generator": generator}
        parts = []
        with torch.inference_mode():
            for start in range(0, len(items), self.batch):
                part = np.ascontiguousarray(items[start : start + self.batch], np.int64)
                parts.append(self.law.log_prob(torch.from_numpy(part).to(self.device), context).double().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros(0)
