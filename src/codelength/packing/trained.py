"""Packaged trained models as candidates: taken where one makes a pile smaller, itself counted, and is quick enough."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codelength.archive.fitting import find_levels, fit_stream, representable, to_events
from codelength.archive.plan import ByModel
from codelength.errors import NotRepresentable
from codelength.laws.frozen import FrozenModel
from codelength.packing.choice import Choice
from codelength.packing.result import Trial
from codelength.weights import Packaged

#: Items that a model is tried on, and the share of them that it must be able to represent.
TRIED = 64
REPRESENTED = 0.9
#: A model's file is looked into where it is no larger than this share of what is expected without it.
FILE_SHARE = 0.8


@dataclass(frozen=True)
class Trained:
    """A model that serves a pile better than what was chosen for it. number: of the pile's choice; choice: with it."""

    number: int
    name: str
    model: FrozenModel
    choice: Choice

    @property
    def saved(self) -> int:
        """Bytes, expected."""
        assert self.choice.trials[0].bytes is not None and self.choice.bytes is not None
        others = [trial.bytes for trial in self.choice.trials[1:] if trial.bytes is not None]
        return min(others, default=self.choice.bytes) - self.choice.bytes


def better(choices: Sequence[Choice], models: Mapping[str, Packaged], rate: float, deadline: float) -> Trained | None:
    """The packaged model that saves most; an archive holds one at most. None where none saves anything.

    rate: samples per second that it must code, and decode, on one core. deadline: of ``time.monotonic``, after which
    no further model is tried.
    """
    return max(_found(choices, models, rate, deadline), key=lambda one: one.saved, default=None)


def _found(
    choices: Sequence[Choice], models: Mapping[str, Packaged], rate: float, deadline: float
) -> Iterator[Trained]:
    for name, entry in models.items():
        size = entry.path.stat().st_size
        for number, choice in enumerate(choices):
            if choice.bytes is None or size > FILE_SHARE * choice.bytes or len(choice.survey.pile.classes) > 1:
                continue
            if time.monotonic() >= deadline:
                return
            model = FrozenModel.from_bytes(entry.path.read_bytes())
            trial = _try(choice, name, model, size, rate)
            if trial is not None and trial.bytes is not None and trial.bytes < choice.bytes:
                others = tuple(replace(other, chosen=False) for other in choice.trials)
                with_it = replace(
                    choice, ways=(ByModel(), *choice.ways), trials=(trial, *others), bytes=trial.bytes,
                    seconds=trial.encode_seconds or 0.0, item_seconds=trial.item_seconds or 0.0,
                    memory=max(choice.memory, trial.memory or 0),
                )  # fmt: skip
                yield Trained(number, name, model, with_it)


def _try(choice: Choice, name: str, model: FrozenModel, size: int, rate: float) -> Trial | None:
    """What a model makes of the first items of a pile; None where it does not fit them, or is too slow."""
    pile = choice.survey.pile
    one = pile.classes[0]
    stream = fit_stream(one.mode, one.dtype, one.shape, model.space, pile.source.axes)
    if stream is None:
        return None
    items = pile.source.read(one, 0, min(TRIED, pile.items))
    stream = replace(stream, levels=find_levels(items, model.space.symbols))
    good = representable(items, stream, model.space.symbols)
    if good.mean() < REPRESENTED:
        return None
    events = to_events(items[good], stream)
    lengths = model.code_length_bits(events, refuse=False)
    if np.isfinite(lengths).mean() < REPRESENTED:
        return None
    events, lengths = events[np.isfinite(lengths)], lengths[np.isfinite(lengths)]
    try:
        model.decode_block(*_swapped(model.encode_block(events[:1])), events.shape[1:])  # what is compiled is compiled
        start = time.process_time()
        sizes, words = model.encode_block(events)
        encoded = time.process_time() - start
        model.decode_block(words, sizes, events.shape[1:])
        decoded = time.process_time() - start - encoded
    except NotRepresentable:
        return None
    if events.size < rate * max(encoded, decoded):
        return None
    whole = pile.items / len(events)
    each = float(lengths.mean()) * pile.items / 8
    return Trial(
        name, True, 4 * len(words), int(size + each), encoded * whole, decoded * whole, decoded,
        model.memory_bytes(len(events), events.shape[1:]),
    )  # fmt: skip


def _swapped(block: tuple[list[int], np.ndarray]) -> tuple[np.ndarray, list[int]]:
    return block[1], block[0]
