"""How large blocks get: for random access, for what starting one costs, for the memory that decoding may need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codelength.archive.encoders import (
    Clock,
    CodecEncoder,
    Encoder,
    ModelEncoder,
    ProgramEncoder,
    encode_with_model,
)
from codelength.archive.fitting import find_levels, fit_stream, learned_stream, representable, to_events
from codelength.archive.layout import ITEMS, LEARNED, Stream, model_block_memory, plain_block_memory, values_memory
from codelength.archive.learned import events_of
from codelength.archive.model import Model
from codelength.archive.plan import ByCodecs, ByModel, ByProgram, Plan, Way
from codelength.archive.read_cost import TRIAL_ITEMS, ReadTimes
from codelength.archive.sources import ItemClass, Source
from codelength.errors import NotRepresentable, UsageError

BLOCK_ITEMS = 1024
BLOCK_BYTES = 4 * 2**20
#: Where blocks are as large as they need to be, starting them may cost this share of what the items cost ...
STARTUP_SHARE = 0.004
#: ... as judged by so many items, and no block grows beyond so many times the usual size.
JUDGED_ITEMS = 16
LARGEST_BLOCK = 16 * BLOCK_ITEMS
MEMORY = 256 * 2**20


@dataclass
class Encoders:
    """Makes the encoders of plans.

    items, seconds, size: what blocks hold at most, where a way does not say; items are 1,024, or what the seconds or
    the start of a block ask for, where None. max_memory: bytes that decoding may need; None: 256 MiB unless one item
    needs more.
    """

    source: Source
    model: Model | None
    items: int | None
    seconds: float | None
    size: int
    max_memory: int | None
    verify: bool
    clock: Clock
    _rate: float | None = None  # elements decoded in a second, as soon as it has been measured

    @property
    def limit(self) -> int:
        return MEMORY if self.max_memory is None else self.max_memory

    def stream_of(self, item_class: ItemClass) -> Stream | None:
        """How the trained model codes items of a class, if it does."""
        if self.model is None:
            return None
        return fit_stream(item_class.mode, item_class.dtype, item_class.shape, self.model.space, self.source.axes)

    def of_plan(self, plan: Plan, skip: int = 0) -> list[tuple[int, Encoder]]:
        """Encoders of the ways of a plan from number ``skip`` on, with the numbers; ways that do not fit its items are
        left out. The last takes every item."""
        made = [(number, self._make(plan, way)) for number, way in enumerate(plan.all_ways) if number >= skip]
        return [(number, encoder) for number, encoder in made if encoder is not None]

    def _make(self, plan: Plan, way: Way) -> Encoder | None:
        if isinstance(way, ByCodecs):
            return self._codecs(plan, way)
        if isinstance(way, ByProgram):
            return self._program(plan, way)
        return self._model(plan.classes[0], way)

    # ---- general codecs

    def _codecs(self, plan: Plan, way: ByCodecs) -> CodecEncoder:
        first, shape = plan.classes[0], plan.shape
        each = math.prod(plan.largest) * first.dtype.itemsize
        items = self._plain_items(way.block_items or self.items, way.block_bytes or self.size, each)
        if 0 not in shape:
            stream = Stream(ITEMS, first.mode, first.dtype.str, shape)
            return CodecEncoder(stream, items, items * each, plain_block_memory(items * each))
        stream = Stream(LEARNED, first.mode, first.dtype.str, shape, tuple(range(len(shape))), shape)
        items = way.block_items or self.items or BLOCK_ITEMS
        size = max(each, min(way.block_bytes or self.size, self.limit // plain_block_memory(1)))
        return CodecEncoder(stream, items, size, plain_block_memory(min(size, plan.bytes)))

    def _plain_items(self, items: int | None, size: int, each: int) -> int:
        return max(1, min(items or BLOCK_ITEMS, size // each, self.limit // plain_block_memory(each)))

    # ---- programs

    def _program(self, plan: Plan, way: ByProgram) -> ProgramEncoder | None:
        first, space = plan.classes[0], way.program.space
        stream = learned_stream(
            first.mode, first.dtype, plan.shape, space,
            axes=way.axes or self.source.axes or (), event=way.event, levels=way.levels, channels=way.channels,
        )  # fmt: skip
        if stream is None:
            return None
        (largest,) = events_of(stream, [plan.largest])
        learners = (2 if way.taught else 1) * way.program.learner_bytes(largest)
        width = first.dtype.itemsize
        each, of_an_element = math.prod(plan.largest), values_memory(1, first.dtype.str)
        needed = learners + values_memory(each, first.dtype.str)
        if self.max_memory is not None and needed > self.max_memory:
            raise too_much_memory(plan.largest, needed, self.max_memory)
        # Without a limit of the caller's, large states of programs do not make blocks smaller.
        room = self.limit - learners if self.max_memory is not None else max(self.limit - learners, MEMORY // 2)
        size = max(each * width, min(way.block_bytes or self.size, room // of_an_element * width))
        items = way.block_items or self.items or BLOCK_ITEMS
        elements = min(size, plan.bytes, items * each * width) // width
        return ProgramEncoder(
            way.program, stream, items, size, learners + values_memory(elements, first.dtype.str),
            taught=way.taught, verify=self.verify,
        )  # fmt: skip

    # ---- the trained model

    def _model(self, item_class: ItemClass, way: ByModel) -> ModelEncoder | None:
        stream = self.stream_of(item_class)
        if stream is None:
            return None
        assert self.model is not None
        size, items = way.block_bytes or self.size, way.block_items or self.items
        each = math.prod(item_class.shape) * item_class.dtype.itemsize
        count = self._plain_items(items, size, each)
        decodable = self._decodable(item_class, stream)
        if decodable is not None:
            count = max(1, min(decodable, size // each))
        elif items is None:
            count = max(count, min(self._started(item_class, stream), size // each))
        while count > 1 and self._model_memory(stream, count) > self.limit:
            count = -(-count // 2)
        needed = self._model_memory(stream, count)
        if self.max_memory is not None and needed > self.max_memory:
            raise too_much_memory(item_class.shape, needed, self.max_memory)
        return ModelEncoder(
            self.model, stream, count, count * each, needed, verify=self.verify, clock=self.clock
        )  # fmt: skip

    def _started(self, item_class: ItemClass, stream: Stream) -> int:
        """Items of a block whose start costs little enough, judged by the first items; 1 where that cannot be told."""
        model = self.model
        assert model is not None
        if not getattr(model, "latents", True):
            return 1
        events = self._first_events(item_class, stream, JUDGED_ITEMS)
        lengths = model.code_length_bits(events, refuse=False)
        events, lengths = events[np.isfinite(lengths)], lengths[np.isfinite(lengths)]
        if not len(events):
            return 1
        try:
            startup = float(model.startup_bits(events))
        except NotRepresentable:
            return 1
        each = float(np.mean(lengths)) if startup > 0 else math.inf
        return min(LARGEST_BLOCK, math.ceil(startup / (STARTUP_SHARE * max(each, 1e-9))))

    def _decodable(self, item_class: ItemClass, stream: Stream) -> int | None:
        """Items that are decoded in the seconds of a block; None where there is no such limit, or nothing to tell by.

        The rate is that of a trial block of the first class of which the model can code something.
        """
        model = self.model
        if self.seconds is None or model is None:
            return None
        if self._rate is None:
            found = encode_with_model(model, self._first_events(item_class, stream, TRIAL_ITEMS))
            if found is None:
                return None
            times = ReadTimes(self.clock)
            for _ in range(2):
                times.decode(lambda: model.decode_block(found.words, list(found.sizes), found.events.shape[1:]))
            cost = times.cost()
            assert cost is not None
            # A clock that stands still has seen no time pass: the block is as large as any may be.
            self._rate = found.events.size / cost.seconds if cost.seconds > 0 else math.inf
        items = self.seconds * self._rate / max(1, math.prod(item_class.shape))
        return max(1, int(min(items, LARGEST_BLOCK)))

    def _first_events(self, item_class: ItemClass, stream: Stream, count: int) -> np.ndarray:
        assert self.model is not None
        symbols = self.model.space.symbols
        values = self.source.read(item_class, 0, min(count, len(item_class.entries)))
        stream = replace(stream, levels=find_levels(values, symbols))
        return to_events(values[representable(values, stream, symbols)], stream)

    def _model_memory(self, stream: Stream, count: int) -> int:
        assert self.model is not None
        limit = getattr(self.model, "group_limit", None)
        group = count if limit is None else min(count, limit(stream.event))
        return model_block_memory(stream, count, self.model.memory_bytes(group, stream.event))


def too_much_memory(shape: Sequence[int], needed: int, allowed: int) -> UsageError:
    """The refusal to code items that take more memory to decode than is allowed, to be raised."""
    return UsageError(
        f"decoding one item of {' x '.join(map(str, shape))} with this model needs {needed:,} bytes, more than the "
        f"{allowed:,} that are allowed; allow as many, or choose a smaller model"
    )
