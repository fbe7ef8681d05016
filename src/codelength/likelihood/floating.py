"""Torch modules as densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from codelength.errors import UsageError


class FloatDensity:
    """A torch module that states its ``law()``, evaluated in floating point, without gradients and dropout.

    batch: items of one pass at most. Raises UsageError for a device that is not there.
    """

    arithmetic = "float"

    def __init__(self, module: Any, device: str = "cpu", batch: int = 256) -> None:
        try:
            self.device = torch.device(device)
            self.module = module.to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"cannot use the device {device!r}: {str(error).splitlines()[0]}") from None
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
