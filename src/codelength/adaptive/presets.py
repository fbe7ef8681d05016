"""Programs of three sizes for three kinds of images, and what they were chosen by: see docs/packing.md.

Features by name, so that a context reads like what it is; a number behind a name drops as many low bits.
"""

from __future__ import annotations

from typing import NamedTuple

from codelength.adaptive.program import KIND, OWN_CLASS, RELATIVE, RELATIVE_CLASS, Predictor, Program
from codelength.errors import UsageError

SIZES = ("fast", "balanced", "small")
KINDS = ("photo", "drawn", "binary")

_NAMES = {
    "w": 1, "n": 2, "nw": 3, "ne": 4, "ww": 5, "nn": 6, "nne": 7, "plane": 8, "w+ne-n": 10, "n+ne-nne": 9, "2w-ww": 11,
    "2n-nn": 12, "median": 13, "w~n": 14, "w~ne": 15, "guess": 16, "activity": 17, "error-w": 18, "error-n": 19,
    "channel": 20, "x": 21, "y": 22, "below": 23, "below-error": 24, "below2": 25, "below2-error": 26, "previous": 27,
    "previous-e": 28, "linear0": 29, "linear1": 30, "linear2": 31, "bits6": 32, "bits12": 33, "bits19": 34,
    "bits27": 35,
    "coarse6": 36, "fraction": 37, "coarse10": 38, "horizontal": 39, "vertical": 40, "scale": 41, "w+below": 42,
    "n+below": 43, "plane+below": 44, "texture": 45, "nww": 46, "nnw": 47, "nee": 48, "www": 49, "nnn": 50,
}  # fmt: skip
_MARKS = {"": 0, "-": RELATIVE, "~": RELATIVE_CLASS, "|": OWN_CLASS}


def _contexts(text: str) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Contexts from lines: features separated by blanks, with a mark before them and ":" and a shift behind them."""
    contexts = []
    for line in text.strip().splitlines():
        parts = []
        for word in line.split():
            mark = word[0] if word[0] in "-~|" else ""
            name, _, shift = word[len(mark) :].partition(":")
            parts.append((_NAMES[name] + KIND * _MARKS[mark], int(shift or 0)))
        contexts.append(tuple(parts))
    return tuple(contexts)


_GREY = _contexts("""
activity texture
~w ~n
~w ~n ~nw:1 ~ne:1
guess
guess activity:1
w n
|error-w |error-n
~linear0 activity
-median activity:1
~n ~nn ~ne
~w ~ww ~2w-ww:1
fraction:3 activity
median linear0
plane:1 guess:1 activity:2
w:2 n:2 nw:2 ne:2
-n+ne-nne -plane
horizontal vertical ~linear1
~previous activity:1
x y
w ww guess
2w-ww:1 guess:1
2n-nn:1 guess:1
~linear0 ~linear1 activity:2
~linear2 ~linear1
n+ne-nne guess
plane median
~ww ~nn ~nne
fraction:2 linear0
w n nw:1 ne:1
coarse6 activity:1
bits12 guess:2
texture ~w
""")
_COLOUR = _contexts("""
activity texture
|below-error |below2-error activity:1
~w+below ~n+below
~w ~n
~plane+below activity
guess activity:1
fraction:3 activity
|error-w |error-n |below-error
below-error activity:1
below guess
~w ~n ~nw:1 ~ne:1
~linear0 activity
guess below2:1
~w+below |below-error
~n+below ~n ~nn
horizontal vertical ~plane+below:1
below:1 below2:1 guess:1
w+below:1 n+below:1 guess:1
-median activity:1
w:1 n:1 guess
n:1 below:1 below-error:1
2w-ww:1 guess:1
2n-nn:1 guess:1
~linear0 ~linear1 activity:2
~linear2 ~linear1
n+ne-nne guess
plane:1 plane+below:1
~ww ~nn |below-error
below-error below2-error
below below2
texture |below-error
fraction:2 linear0
""")
_DRAWN = _contexts("""
w n
w n nw ne
coarse10 guess:4
bits12 guess:3
coarse6 guess:2
bits19
guess activity
w ww
n nn
w ne:1
n ne
y x
n nw w:2
w:1 n:1 nw:1 ne:1 ww:1 nn:1
plane activity:1
median linear0
w:3 n:3 nw:3 ne:3 ww:3 nn:3 nne:3
x coarse6
y coarse6
bits27
bits12
coarse10
bits19 y:1
n y
w x
w n nw ne ww nn
linear0 w:3 n:3
linear1 activity
w:1 n:1 ne:1
w:2 n:2 nw:2 ne:2 ww:2 nn:2 nww:2
guess:2 y x:1
bits27 guess:4
""")
_BINARY = _contexts("""
bits6
bits12
bits19
bits27
x y
x y bits6
bits12 y
bits19 y:1 x:1
bits12 x
bits6 x y:1
bits12 x:1 y:1
bits27 y:1
bits19 y
bits19 x
bits27 x:1 y:1
bits27 y
bits12 x y
bits6 y
bits6 x
bits27 y:2 x:2
""")

_OWN = (
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-2, -1), (-1, -2), (-1, 2), (0, -3), (-3, 0),
    (-2, 2), (-2, -2), (-1, -3), (-1, 3), (0, -4), (-3, 1), (-3, -1), (-3, 2), (-3, -2), (-2, 3), (-2, -3), (-1, 4),
    (-1, -4), (-3, 3), (-3, -3), (-2, 4), (-2, -4),
)  # fmt: skip
_OTHER = ((0, 0), (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
_PREVIOUS = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, 1), (1, -1))


class _Sizes(NamedTuple):
    """Of a predictor: taps of its own channel, of each one before it and of the image before; see ``Predictor``."""

    own: int
    other: int
    forget: int
    split: bool = False
    previous: int = 0


def _predictor(channels: int, sizes: _Sizes) -> Predictor:
    taps = [(0, *place, 0) for place in _OWN[: sizes.own]]
    for back in range(1, channels):
        taps += [(back, *place, 0) for place in _OTHER[: sizes.other]]
    taps += [(0, *place, 1) for place in _PREVIOUS[: sizes.previous]]
    return Predictor(tuple(taps[:32]), sizes.forget, sizes.split)


def program(size: str, symbols: int, channels: int, kind: str, *, frames: bool = False) -> Program:
    """The program for images of so many symbols and channels.

    size: of ``SIZES``, by what it costs in time. kind: "photo" for what a camera has seen, "drawn" for few values that
    come in exact patterns, "binary" for two symbols. frames: whether images follow each other like frames or slices, so
    that the one before is looked at.
    """
    for what, value, known in (("a size", size, SIZES), ("a kind", kind, KINDS)):
        if value not in known:
            raise UsageError(f"expected {what} of {', '.join(known)}, got {value!r:.40}")
    if not (2 <= symbols <= 1 << 16 and 1 <= channels <= 4) or (kind == "binary" and symbols != 2):
        raise UsageError(f"expected 2 to 65,536 symbols and 1 to 4 channels, got {symbols} and {channels} ({kind})")
    level, colour = SIZES.index(size), channels > 1
    chosen: list[_Sizes]
    if kind == "photo":
        contexts = (_COLOUR if colour else _GREY)[: (6, 20, 32)[level]]
        chosen = [
            [_Sizes(8, 4, 10, True)],
            [_Sizes(6, 4, 8), _Sizes(14, 6, 11, True), _Sizes(19, 6, 13)],
            [_Sizes(6, 4, 7), _Sizes(14, 6, 11, True), _Sizes(10, 6, 9, True), _Sizes(29, 1, 13)],
        ][level]
    elif kind == "drawn":
        contexts = _DRAWN[: (7, 20, 32)[level]]
        chosen = [[_Sizes(6, 4, 11)], [_Sizes(8, 4, 11)], [_Sizes(6, 4, 9), _Sizes(19, 6, 12)]][level]
    else:
        contexts = _BINARY[: (6, 12, 20)[level]]
        chosen = [[_Sizes(4, 2, 11)], [_Sizes(4, 2, 11)], [_Sizes(12, 2, 11)]][level]
    if frames:
        chosen[-1] = chosen[-1]._replace(own=min(chosen[-1].own, 16), previous=len(_PREVIOUS))
    bits = (symbols - 1).bit_length()
    return Program(
        symbols=symbols,
        order=(1, 0, 2, 3)[:channels] if channels >= 3 else tuple(range(channels)),
        tree="value" if kind == "drawn" else "residual",
        predictors=tuple(_predictor(channels, sizes) for sizes in chosen),
        contexts=contexts,
        double=level == 2 and kind != "drawn",
        maps=level > 0,
        table_bits=21 if level == 2 or (level == 1 and kind == "drawn") else 20,
        sets=3 if level == 1 and kind == "drawn" else level + 1,
        most_class=9 if bits > 8 else 4,
        class_shift=1,
        least_error=6,
        scale_rate=5,
        bias_rate=6,
        whiten=6,
        whiten_from=6 + 2 * max(0, bits - 8),
        regularise=64,
        gradient=24 << max(0, bits - 8),
        solve=4,
        counter_limit={"photo": 255, "drawn": 1020, "binary": 127}[kind],
        rate_first=60,
        rate_last=12 if kind == "binary" else 40,
        rate_final=8,
    )
