"""A stack of symbols that keeps probabilities: range asymmetric numeral systems (Duda, arXiv:1311.2540).

The arithmetic, which is the format (all numbers are unsigned integers):

* A *stream* is a stack of 32-bit words and L lanes, 1 <= L <= 4; each lane is a state x, 2^32 <= x < 2^64.
  An empty stream has no words and every state equal to 2^32.
* To *push* a symbol with the interval [start, start + freq) of a total of 2^bits onto a lane
  (0 <= bits <= 28, freq >= 1):
  1. if freq == 2^bits, do nothing;
  2. if x >= freq * 2^(64 - bits), push x mod 2^32 onto the words and set x = x div 2^32;
  3. set x = (x div freq) * 2^bits + x mod freq + start.
* To *pop* a symbol: its interval is the one that holds slot = x mod 2^bits;
  1. if freq == 2^bits, do nothing;
  2. set x = freq * (x div 2^bits) + slot - start;
  3. if x < 2^32, pop a word w and set x = x * 2^32 + w. Without a word the stream is *exhausted*.
* A group of n items is cut into consecutive runs, one for each stream. Item i of a run lies on lane i mod L.
  For each position all items take their turn before the next position does; the words of all lanes share one
  stack. Pops run over positions and items upwards, so pushes run downwards.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from codelength.coding.compiled import inlined, kernel
from codelength.errors import StackExhausted

MAX_BITS = 28
MAX_LANES = 4

EMPTY_STATE = np.uint64(1 << 32)
_WORD_BITS = np.uint64(32)
_WORD_MASK = np.uint64(0xFFFFFFFF)
_STATE_BITS = np.uint64(64)
_ONE = np.uint64(1)
_QUICK_BITS = np.uint64(14)


@inlined
def divide(dividend, divisor):
    """dividend div divisor (compiled, uint64), for 1 <= divisor and a quotient below 2^50.

    A product in double precision takes a fraction of the time of a division of 64-bit integers, and is at
    most one off: two conversions, the reciprocal and the product are each within a factor 1 +- 2^-53. The
    remainder tells (unsigned, so a negative one is large too), and then the slow division decides.
    """
    quotient = np.uint64(np.int64(np.float64(dividend) * (1.0 / np.float64(divisor))))
    if dividend - quotient * divisor >= divisor:
        return dividend // divisor
    return quotient


# Indices are made unsigned throughout: that spares the test for negative ones.


@inlined
def push_one(state, words, count, stream, lane, start, freq, bits):
    """Push the interval [start, start + freq) of 2^bits onto a lane (compiled; room must have been reserved).

    state (S, L) uint64, words (S, capacity) uint32, count (S,) int64: the arrays of a ``Stack``.
    """
    shift = np.uint64(bits)
    mass = np.uint64(freq)
    if mass >> shift:
        return
    s, l = np.uint64(stream), np.uint64(lane)
    x = state[s, l]
    if x >= mass << (_STATE_BITS - shift):
        words[s, np.uint64(count[s])] = np.uint32(x & _WORD_MASK)
        count[s] += 1
        x >>= _WORD_BITS
    # x < freq * 2^(64 - bits), so the quotient is below 2^(64 - bits).
    quotient = divide(x, mass) if shift >= _QUICK_BITS else x // mass
    # (x div freq) * 2^bits + x mod freq + start, with one product instead of two in a row
    state[s, l] = x + quotient * ((_ONE << shift) - mass) + np.uint64(start)


@inlined
def peek_one(state, stream, lane, bits):
    """The slot in [0, 2^bits) that tells which symbol is on top of a lane (compiled; int64)."""
    return np.int64(state[np.uint64(stream), np.uint64(lane)] & ((_ONE << np.uint64(bits)) - _ONE))


@inlined
def pop_one(state, words, count, stream, lane, start, freq, bits):
    """Remove the symbol whose interval holds ``peek_one`` (compiled). False if the stream is exhausted."""
    shift = np.uint64(bits)
    mass = np.uint64(freq)
    if mass >> shift:
        return True
    s, l = np.uint64(stream), np.uint64(lane)
    x = state[s, l]
    x = mass * (x >> shift) + (x & ((_ONE << shift) - _ONE)) - np.uint64(start)
    if x < EMPTY_STATE:
        if count[s] == 0:
            return False
        count[s] -= 1
        x = (x << _WORD_BITS) | np.uint64(words[s, np.uint64(count[s])])
    state[s, l] = x
    return True


@kernel
def push_rows(starts, freqs, rows, bits, state, words, count, bounds):
    """Push known intervals (compiled): starts and freqs (at least rows, at least n), position by position."""
    lanes = state.shape[1]
    for row in range(rows - 1, -1, -1):
        for stream in range(state.shape[0]):
            first = bounds[stream]
            last = bounds[stream + 1] - 1
            lane = (last - first) % lanes
            for item in range(last, first - 1, -1):
                start, freq = starts[np.uint64(row), np.uint64(item)], freqs[np.uint64(row), np.uint64(item)]
                push_one(state, words, count, stream, lane, start, freq, bits)
                lane = lanes - 1 if lane == 0 else lane - 1


class Stack:
    """S independent streams that advance together.

    Attributes (compiled kernels work on them in place, between ``reserve`` and ``check``):
        state: (S, L) uint64.
        words: (S, capacity) uint32; ``words[s, :count[s]]`` is stream s, bottom first.
        count: (S,) int64.
        bounds: (S + 1,) int64; items ``bounds[s]`` to ``bounds[s + 1] - 1`` of the group lie on stream s.

    A stack from which a pop failed holds nothing of use; work on a ``copy`` where that may happen.
    """

    def __init__(self, lanes: int = MAX_LANES, streams: int = 1) -> None:
        if not 1 <= lanes <= MAX_LANES:
            raise ValueError(f"expected 1 to {MAX_LANES} lanes, got {lanes}")
        if streams < 1:
            raise ValueError(f"expected at least one stream, got {streams}")
        self.lanes = lanes
        self.streams = streams
        self.state = np.full((streams, lanes), EMPTY_STATE, np.uint64)
        self.words = np.empty((streams, 0), np.uint32)
        self.count = np.zeros(streams, np.int64)
        self.bounds = np.zeros(streams + 1, np.int64)
        self._sources: list[tuple[int, int]] | None = None  # of random words: seed and stream
        self._supplied = np.zeros(streams, np.int64)
        self._origin = np.full(streams, 32.0 * lanes)

    @classmethod
    def seeded(cls, seed: int, lanes: int = MAX_LANES, streams: int = 1) -> Stack:
        """A stack that stands on an endless supply of random words, the same on every machine.

        The words of stream s are those of SHAKE-256 over ``b"codelength stack"``, the seed and s, both as
        eight bytes, little-endian; the output is read as 32-bit little-endian words. With the first 2 L of
        them, lane l starts at (word[2l + 1] | 2^31) * 2^32 + word[2l]; the others lie below the bottom, the
        next one uppermost. ``bits`` counts from here: it is negative when more was popped than pushed.
        """
        return cls._standing_on([(seed, stream) for stream in range(streams)], lanes)

    @classmethod
    def each_seeded(cls, seeds: Iterable[int], lanes: int = MAX_LANES) -> Stack:
        """A stack whose stream s stands on the words of the only stream of ``seeded(seeds[s])``."""
        return cls._standing_on([(seed, 0) for seed in seeds], lanes)

    @classmethod
    def _standing_on(cls, sources: list[tuple[int, int]], lanes: int) -> Stack:
        for seed, _ in sources:
            if not 0 <= seed < 1 << 64:
                raise ValueError(f"expected a seed from 0 to 2^64 - 1, got {seed}")
        stack = cls(lanes, len(sources))
        stack._sources = sources
        for stream in range(len(sources)):
            pairs = stack._random_words(stream, 0, 2 * lanes).astype(np.uint64).reshape(lanes, 2)
            stack.state[stream] = ((pairs[:, 1] | np.uint64(1 << 31)) << _WORD_BITS) | pairs[:, 0]
        stack._origin = np.log2(stack.state.astype(np.float64)).sum(axis=1)
        return stack

    @classmethod
    def from_words(cls, streams: Sequence[np.ndarray], lanes: int) -> Stack:
        """The stack whose streams ``to_words`` gave.

        Raises StackExhausted if an array is too short for its lanes, ValueError if it is no stream's array.
        """
        stack = cls(lanes, len(streams))
        arrays = [np.asarray(array, np.uint32) for array in streams]
        bodies = [_read_states(array, stack.state[stream]) for stream, array in enumerate(arrays)]
        stack.words = np.empty((len(arrays), max(map(len, bodies))), np.uint32)
        for stream, body in enumerate(bodies):
            stack.words[stream, : len(body)] = body[::-1]
            stack.count[stream] = len(body)
        return stack

    def to_words(self, stream: int = 0) -> np.ndarray:
        """One stream as 32-bit words, in the order in which a reader needs them.

        1. For each lane: the low word of its state.
        2. A string of bits, filled into words from the lowest bit upwards, the last word padded with zeros:
           for each lane k - 1 in five bits, where k is the bit length of the high word h of its state
           (1 <= k <= 32); then for each lane h - 2^(k - 1) in k - 1 bits.
        3. The words of the stream, the uppermost first.

        So a lane costs less than 38 bits beside what it holds, and a stream at most another 31.
        """
        if self._sources is not None:
            raise ValueError("a stack that stands on random words has no bottom and cannot be written")
        lows, packed, used = [], 0, 5 * self.lanes
        for lane in range(self.lanes):
            high, low = divmod(int(self.state[stream, lane]), 1 << 32)
            size = high.bit_length() - 1
            lows.append(low)
            packed |= size << (5 * lane) | (high - (1 << size)) << used
            used += size
        head = lows + [(packed >> shift) & 0xFFFFFFFF for shift in range(0, used, 32)]
        body = self.words[stream, : self.count[stream]]
        return np.concatenate([np.array(head, np.uint32), body[::-1]])

    def copy(self) -> Stack:
        """An independent copy."""
        twin = Stack(self.lanes, self.streams)
        for name in ("state", "words", "count", "bounds", "_supplied", "_origin"):
            setattr(twin, name, getattr(self, name).copy())
        twin._sources = self._sources
        return twin

    @property
    def sizes(self) -> np.ndarray:
        """(S,) int64: how many items of the group in hand lie on each stream."""
        return np.diff(self.bounds)

    def begin(self, sizes: Iterable[int]) -> None:
        """Start a group: its first ``sizes[0]`` items lie on stream 0, and so on."""
        runs = np.array(list(sizes), np.int64)
        if runs.shape != (self.streams,) or (runs < 0).any():
            raise ValueError(f"expected {self.streams} sizes, none below zero, got {runs.tolist()}")
        self.bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(runs)])

    def hold(self, items: int) -> None:
        """Make sure that the group in hand has this many items (a single stream takes any number).

        Raises ValueError if ``begin`` was told otherwise.
        """
        if self.streams == 1:
            self.bounds = np.array([0, items], np.int64)
        elif self.bounds[-1] != items:
            raise ValueError(f"expected a group of {self.bounds[-1]} items, as begun, got {items}")

    @contextlib.contextmanager
    def part(self, where: np.ndarray) -> Iterator[None]:
        """Let the items of the group in hand at the ascending places ``where`` be all of it, each on its stream."""
        whole = self.bounds
        if self.streams > 1:  # a single stream takes any number
            self.bounds = np.searchsorted(where, whole)
        try:
            yield
        finally:
            self.bounds = whole

    def reserve(self, pushes: int = 0, pops: int = 0) -> None:
        """Make room for this many pushes onto each stream, and lay down random words for so many pops.

        Every push writes, and every pop reads, one word at most. Only a seeded stack heeds ``pops``.
        """
        extra = np.zeros(self.streams, np.int64)
        if self._sources is not None:
            missing = pops - self.count
            # Twice as many each time, because the words are always generated from the first one on.
            extra = np.where(missing > 0, np.maximum(np.maximum(missing, self._supplied), 256), 0)
        needed = int((self.count + extra).max()) + pushes
        if needed <= self.words.shape[1] and not extra.any():
            return
        words = np.empty((self.streams, max(needed, self.words.shape[1])), np.uint32)
        for stream in range(self.streams):
            below, height = int(extra[stream]), int(self.count[stream])
            if below:
                position = 2 * self.lanes + int(self._supplied[stream])
                words[stream, :below] = self._random_words(stream, position, below)[::-1]
            words[stream, below : below + height] = self.words[stream, :height]
        self.words = words
        self.count = self.count + extra
        self._supplied = self._supplied + extra

    def check(self, succeeded: bool) -> None:
        """Raise StackExhausted unless a kernel's pops succeeded."""
        if not succeeded:
            raise StackExhausted(
                "expected more bits on the stack than it holds; the data is damaged, or was written by another model"
            )

    def bits(self) -> float:
        """Bits held: 32 a word and log2 of each state, less those of the stack as it was made."""
        return float(self.stream_bits().sum())

    def stream_bits(self) -> np.ndarray:
        """(S,) float64: ``bits`` of each stream."""
        held = np.log2(self.state.astype(np.float64)).sum(axis=1)
        return 32.0 * (self.count - self._supplied) + held - self._origin

    def is_empty(self) -> bool:
        """Whether every stream is as an empty stream begins: a decoder's last check."""
        return not self.count.any() and bool((self.state == EMPTY_STATE).all())

    def _random_words(self, stream: int, first: int, number: int) -> np.ndarray:
        assert self._sources is not None
        seed, number_of_stream = self._sources[stream]
        text = b"codelength stack" + seed.to_bytes(8, "little") + number_of_stream.to_bytes(8, "little")
        digest = hashlib.shake_256(text).digest(4 * (first + number))
        return np.frombuffer(digest, "<u4", number, 4 * first).astype(np.uint32)


def push_intervals(starts: np.ndarray, freqs: np.ndarray, bits: int, stack: Stack) -> None:
    """Push symbols whose intervals are known: starts and freqs (n, D) integers, totals 2^bits.

    The intervals are taken as they are: 1 <= freq and start + freq <= 2^bits is for the caller to see to.
    """
    stack.hold(starts.shape[0])
    stack.reserve(pushes=int(stack.sizes.max()) * starts.shape[1])
    arrays = stack.state, stack.words, stack.count, stack.bounds
    rows = [np.ascontiguousarray(array.T, np.uint32) for array in (starts, freqs)]
    push_rows(*rows, starts.shape[1], bits, *arrays)


def _read_states(array: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Fill the states (L,) from the head of an array of words; return the rest of it."""
    lanes = len(state)
    # A head is longest when every high word has its top bit: 36 bits a lane after the low words.
    head = [int(word) for word in array[: lanes + (36 * lanes + 31) // 32]]
    packed = sum(word << (32 * i) for i, word in enumerate(head[lanes:]))
    sizes = [(packed >> (5 * lane)) & 31 for lane in range(lanes)]
    used = 5 * lanes + sum(sizes)
    length = lanes + (used + 31) // 32
    if len(array) < length:
        raise StackExhausted(f"expected at least {length} words for {lanes} lanes, got {len(array)}")
    position = 5 * lanes
    for lane, size in enumerate(sizes):
        high = (1 << size) | ((packed >> position) & ((1 << size) - 1))
        state[lane] = np.uint64((high << 32) | head[lane])
        position += size
    if (packed & ((1 << (32 * (length - lanes))) - 1)) >> used:
        raise ValueError("expected zeros after the lanes' states")
    return array[length:]
