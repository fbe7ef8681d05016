"""Plans of golden archives that programs code which learn from their items (streams of type 4)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from golden_models import learning, learning_values

from codelength.archive.layout import Coded, Constant
from codelength.archive.plan import ByProgram, Plan
from codelength.archive.sources import Source
from codelength.archive.writer import write_archive
from codelength.data.opened import open_data

STEPS = tuple(range(3, 255, 12))


def learned(source: Source) -> list[Plan]:
    """Grey images of several sizes and of values with gaps, of which the first block teaches the others; grey stored as
    RGBA; colours. The last stream goes on with the program of the first."""
    values, colours = learning_values(), learning()
    grey = ByProgram(values, levels=STEPS, block_items=4, taught=True)
    opaque = ByProgram(values, levels=STEPS, channels=(Coded(0), Coded(0), Coded(0), Constant(255)), block_items=3)
    ways = {"L": grey, "RGBA": opaque, "RGB": ByProgram(colours, block_items=2)}
    modes = dict.fromkeys(item_class.mode for item_class in source.classes())
    return [Plan(tuple(c for c in source.classes() if c.mode == mode), (ways[mode],)) for mode in modes]


PLANS: dict[str, Callable[[Source], list[Plan]]] = {"learned": learned}


def write_planned(data: Path, archive: Path, name: str) -> None:
    """Write ``data`` by the plans of that name, in two threads."""
    source = open_data(data).archived
    write_archive(archive, source, plans=PLANS[name](source), jobs=2)
