"""Adaptive models ready to use: programs of ``adaptive.presets`` as frozen models."""

from __future__ import annotations

from codelength.adaptive.presets import program
from codelength.laws.frozen import FrozenModel
from codelength.laws.space import Space


def preset(size: str, symbols: int, channels: int = 1, kind: str = "photo", *, frames: bool = False) -> FrozenModel:
    """A model that learns while it codes images (H, W), or (H, W, C) of several channels, of any sizes.

    size: "fast", "balanced" or "small", by the time that it takes. symbols: 2 .. 65536. channels: 1 .. 4. kind: "photo"
    for what a camera has seen, "drawn" for few values in exact patterns, "binary" for two symbols. frames: whether
    images look like the ones before them. Raises UsageError for others.
    """
    shape = (None, None) if channels == 1 else (None, None, channels)
    law, tensors = program(size, symbols, channels, kind, frames=frames).record(shape)
    return FrozenModel.create(Space(shape, symbols), law, tensors, golden=False)
