"""What freezing tells about a model: its layers, and what its items cost before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FreezeReport:
    """Per layer: parts, median rms of the integer weights, log2 of the proved bound, signal-to-noise ratio in dB.

    float_bits and frozen_bits: mean bits per item on the calibration items, the same items for both; uniform_bits: of
    symbols that are all equally likely. closed: of masked layers, by the name of their weights, how many weights that
    the float network uses are closed in integers, where inputs know more than the layer's own mask says of them.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    float_bits: float = math.nan
    frozen_bits: float = math.nan
    uniform_bits: float = math.nan
    closed: dict[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What to know of the model before it is used, a sentence each; mostly nothing."""
        found = [
            f"{name}: {count:,} weights that the float network uses are closed, since inputs of the layer know later "
            "elements than its in_degrees say; set those to the degrees of what the layer is given"
            for name, count in self.closed.items()
        ]
        if not self.frozen_bits > self.uniform_bits:
            return found
        return [
            *found,
            f"{self.frozen_bits:.4f} bits an item are more than the {self.uniform_bits:.4f} of symbols that are all "
            "equally likely: the model is worse than none on the calibration items; see whether it was trained on "
            "data of this kind",
        ]

    @property
    def loss(self) -> float:
        """Relative rate lost to integers."""
        return self.frozen_bits / self.float_bits - 1 if self.float_bits else 0.0

    def lines(self) -> list[str]:
        out = [f"{'layer':32s} {'parts':>5s} {'rms':>7s} {'bound':>7s} {'SNR dB':>7s}"]
        for r in self.layers:
            snr = r.get("snr_db", math.nan)
            out.append(f"{r['layer']:32s} {r['parts']:5d} {r['rms']:7.1f} {r['bits']:7.2f} {snr:7.1f}")
        out.append(f"float {self.float_bits:.4f} bits, frozen {self.frozen_bits:.4f} bits an item ({self.loss:+.4%})")
        return out + [f"note: {note}" for note in self.notes]
