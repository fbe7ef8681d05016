"""What a trainable model says that it is."""

from __future__ import annotations

from typing import Any


class Described:
    """For a torch module with a ``space``: a ``repr`` of one line. ``print(model.networks)`` still shows layers."""

    def __repr__(self) -> str:
        this: Any = self
        numbers = sum(parameter.numel() for parameter in this.parameters())
        leaf = str(getattr(this.leaf, "family", type(this.leaf).__name__))
        return f"<{type(self).__name__} {leaf}: {this.space}, {numbers:,} parameters>"
