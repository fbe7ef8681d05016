"""Pictures of where bits went: the item, what each of its pixels costs, and the scale."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codelength.errors import DataError, UsageError
from codelength.files import atomic_file, refusal, write_atomically
from codelength.likelihood.maps import ItemMap
from codelength.report.colours import as_picture, coloured, enlarged, png, round_top

#: Maps that the scale of all is chosen from: those that are drawn first.
_FOR_SCALE = 64
_GAP = 16
_BAR = 14
_TEXT = 13
_INK, _PAPER, _FAINT = (32, 32, 32), (255, 255, 255), (96, 96, 96)


def map_picture(item: ItemMap, symbols: int, top: float, name: str = "") -> Image.Image:
    """The item beside its map, which is coloured from 0 to ``top`` bits per pixel, with a legend below and a title
    above."""
    left = enlarged(as_picture(item.pixels, symbols), 256, 1024)
    right = enlarged(coloured(item.bits, top), 256, 1024)
    side_by_side = left.shape[1] <= 4 * left.shape[0]  # strips stand one above the other
    height, width = left.shape[:2]
    font = ImageFont.load_default(_TEXT)
    small = ImageFont.load_default(_TEXT - 1)
    title = f"{name or f'item {item.number}'}: {item.total:,.1f} bits, {item.total / item.bits.size:.4f} per pixel"
    inner = width * 2 + _GAP if side_by_side else width
    inner = max(inner, int(font.getlength(title)) + 1, 288)
    tall = height if side_by_side else 2 * height + _GAP
    sheet = Image.new("RGB", (inner + 2 * _GAP, tall + 3 * _GAP + 3 * _TEXT + _BAR + 22), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP - 4), title, _INK, font)
    below = _GAP + _TEXT + 8
    sheet.paste(Image.fromarray(left), (_GAP, below))
    place = (_GAP + width + _GAP, below) if side_by_side else (_GAP, below + height + _GAP)
    sheet.paste(Image.fromarray(right), place)
    bar = below + tall + _GAP // 2 + 4
    long = min(inner, 288)
    scale = coloured(np.linspace(0.0, top, long)[None].repeat(_BAR, axis=0), top)
    sheet.paste(Image.fromarray(scale), (_GAP, bar))
    draw.rectangle((_GAP, bar, _GAP + long - 1, bar + _BAR - 1), outline=_FAINT)
    under = bar + _BAR + 2
    draw.text((_GAP, under), "0", _INK, small)
    draw.text((_GAP + long / 2, under), f"{top / 2:g}", _INK, small, anchor="ma")
    draw.text((_GAP + long, under), f"{top:g}", _INK, small, anchor="ra")
    draw.text((_GAP, under + _TEXT + 5), f"bits per pixel; what costs more is shown as {top:g}", _FAINT, small)
    return sheet


def write_maps(
    path: str | os.PathLike[str],
    maps: Iterator[ItemMap],
    symbols: int,
    *,
    names: Callable[[int], str] = lambda number: "",
    progress: Callable[[int], None] | None = None,
) -> str:
    """Maps as files: a folder of pictures ``item-000012.png``, all on one scale, or their numbers alone if ``path``
    ends in ``.npz`` (arrays ``item-000012``, float32 (h, w), bits per pixel). Returns a sentence about them.

    symbols: of the model's space. names: of items, by number, for the titles. progress: is told how many more are done.

    Raises UsageError where there are no items, or ``path`` is a file; DataError where the system refuses to write.
    """
    path = Path(path)
    maps = iter(maps)
    first = list(itertools.islice(maps, _FOR_SCALE))
    if not first:
        raise UsageError("expected items to draw maps of, got none")
    told = progress or (lambda count: None)
    every = itertools.chain(first, maps)
    if path.suffix == ".npz":
        return _write_numbers(path, every, told)
    top = round_top(np.concatenate([item.bits.ravel() for item in first]))
    count = 0
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"expected a folder for maps, or a name that ends in .npz, got the file {path}") from None
    except OSError as error:
        raise DataError(f"cannot make the folder {path}: {refusal(error)}") from None
    for item in every:
        count += 1
        picture = map_picture(item, symbols, top, names(item.number))
        write_atomically(path / f"item-{item.number:06d}.png", png(picture))
        told(1)
    return f"wrote {count:,} map{'s' * (count != 1)} to {path}, on a scale from 0 to {top:g} bits per pixel"


def _write_numbers(path: Path, maps: Iterator[ItemMap], told: Callable[[int], None]) -> str:
    import zipfile

    count = 0
    with atomic_file(path) as (file, _), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in maps:
            count += 1
            entry = zipfile.ZipInfo(f"item-{item.number:06d}.npy")  # without the time of day
            with archive.open(entry, "w", force_zip64=True) as member:
                np.save(member, item.bits)
            told(1)
    return f"wrote the bits per pixel of {count:,} item{'s' * (count != 1)} to {path}"
