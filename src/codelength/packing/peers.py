"""General codecs on the same piles: the honest rivals of an archive.

Images are handed over in the form that suits the codecs: without the channels that follow from others, black and white
as one bit. Files that an archive keeps as they are, and metadata, are nobody's merit; what they take in the archive is
added to all. Names count for the archive alone.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.packing.result import Peer
from codelength.packing.survey import Survey, first_fitting, kept_channels
from codelength.progress import Advance, task
from codelength.report.codecs import STREAMS, image_codecs, mosaic

#: Streams that are worth their time.
STREAM_NAMES = tuple(name for name in ("xz", "brotli") if name in STREAMS)
#: Pixels of a mosaic, and bytes of a stream, at most: their codecs look no farther back, or would take too much memory.
MOSAIC_PIXELS = 2**24
STREAM_BYTES = 2**26
#: Bytes that are read at a time, and images that a thread takes at a time.
PIECE = 2**22
AT_ONCE = 64
WEBP_SIDE = 16383

Key = tuple[str, str]  # name and form


def measure(
    surveys: Sequence[Survey],
    *,
    jobs: int = 1,
    part: int | None = None,
    kept_bytes: int = 0,
    kept_items: int = 0,
) -> list[Peer]:
    """Every codec on the items of all piles, the smallest first.

    jobs: threads. part: stored bytes of each pile to judge it by; all is measured where None. kept_bytes, kept_items:
    what is kept as it is on either side, and how many items that are. Mosaics are of images of one shape; where most
    have shapes of their own, there are none.
    """
    totals: dict[Key, _Total] = {}
    raw = sum(found.pile.raw_bytes for found in surveys)
    count = sum(found.pile.items for found in surveys)
    measured = 0
    with task("comparing with general codecs", count) as advance, ThreadPoolExecutor(max(1, jobs)) as pool:
        for found in surveys:
            own = _Totals(pool, 2 * max(1, jobs))
            some = None if part is None else _part(found, part)
            try:
                for job in _pile_jobs(found, some, advance):
                    own.submit(job)
                own.finish()
            finally:
                own.cancel()
            seen = found.pile.raw_bytes if some is None else sum(item.nbytes for item in some)
            measured += seen
            by_bytes, by_items = (
                (1.0, 1.0) if some is None else (found.pile.raw_bytes / seen, found.pile.items / len(some))
            )
            for key, total in own.totals.items():
                totals.setdefault(key, _Total()).add(total, by_bytes, by_items)
    peers = [
        Peer(
            name,
            form,
            round(total.bytes) + kept_bytes,
            round(total.items) + kept_items,
            min(1.0, measured / raw) if raw else 1.0,
            total.seconds,
        )
        for (name, form), total in totals.items()
    ]
    peers = [peer for peer in peers if peer.form != "mosaic" or peer.items == count + kept_items]
    return sorted(peers, key=lambda peer: (peer.items != count + kept_items, peer.bytes))


@dataclass(frozen=True)
class _Job:
    """Work for one thread: bytes that a codec makes of images. items: how many these are."""

    key: Key
    run: Callable[[], int]
    items: int


@dataclass
class _Total:
    """What a codec in a form has come to so far."""

    bytes: float = 0.0
    items: float = 0.0
    seconds: float = 0.0

    def add(self, other: _Total, by_bytes: float = 1.0, by_items: float = 1.0) -> None:
        self.bytes += other.bytes * by_bytes
        self.items += other.items * by_items
        self.seconds += other.seconds


class _Totals:
    """Jobs in a pool, a few at a time so that what waits stays small, and what they come to."""

    def __init__(self, pool: ThreadPoolExecutor, most: int) -> None:
        self.totals: dict[Key, _Total] = {}
        self._pool = pool
        self._most = most
        self._running: set[Future[tuple[_Job, _Total]]] = set()

    def submit(self, job: _Job) -> None:
        while len(self._running) >= self._most:
            done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
            self._count(done)
        self._running.add(self._pool.submit(_run, job))

    def finish(self) -> None:
        running, self._running = self._running, set()
        self._count(running)

    def cancel(self) -> None:
        for future in self._running:
            future.cancel()

    def _count(self, done: set[Future[tuple[_Job, _Total]]]) -> None:
        for future in done:
            job, found = future.result()
            self.totals.setdefault(job.key, _Total()).add(found)


def _run(job: _Job) -> tuple[_Job, _Total]:
    start = time.thread_time()
    size = job.run()
    return job, _Total(size, job.items, time.thread_time() - start)


# ---- what there is to do -------------------------------------------------------------------------------------


def _pile_jobs(found: Survey, some: Sequence[np.ndarray] | None, advance: Advance) -> Iterator[_Job]:
    """The jobs of one pile, or of some of its images. advance: called with the items that have been read."""
    pictured = bool(found.images) and found.pile.dtype.str in ("|u1", "|b1", "<u2", ">u2")
    work = _Work()
    pieces = found.pile.pieces(PIECE) if some is None else iter([list(some)])
    for piece in pieces:
        if pictured:
            pictures = found.pile.pictures(piece) if some is None else piece
            for (symbols, _), run in itertools.groupby(map(_Form(found), pictures), key=lambda form: form[:2]):
                coded = [picture for *_, picture in run]
                for start in range(0, len(coded), AT_ONCE):
                    yield from work.add_pictures(coded[start : start + AT_ONCE], symbols)
        else:
            yield from work.add_stream(piece)
        advance(len(piece))
    yield from work.finish()


def _part(found: Survey, part: int) -> list[np.ndarray]:
    """About so many bytes of the images of a survey, from all over; of items that are no images, the first."""
    if not found.images:
        return found.pile.read(0, min(found.pile.items, 1 + part // (found.pile.ends[0] * found.pile.dtype.itemsize)))
    wanted = max(1, min(len(found.images), part // found.images[0].nbytes))
    chosen = [found.images[k * len(found.images) // wanted] for k in range(wanted)]
    if wanted > 1:
        return chosen
    rows = max(1, part // max(1, chosen[0][0].nbytes))
    return [chosen[0][:rows]]


class _Form:
    """Images in the form that suits codecs: symbols, number of channels, and the coded channels (h, w, c).

    Black and white ones are 0 and the largest value, and have 2 symbols.
    """

    def __init__(self, found: Survey) -> None:
        self.maps = found.maps
        self.two = None if found.symbols != 2 else sorted({int(v) for i in found.images for v in (i.min(), i.max())})

    def __call__(self, picture: np.ndarray) -> tuple[int, int, np.ndarray]:
        kept = list(kept_channels(first_fitting(self.maps, picture)))
        coded = np.ascontiguousarray(picture[..., kept])
        if coded.dtype == np.bool_:
            return 2, len(kept), coded.astype(np.uint8) * np.uint8(255)
        if self.two is not None and len(kept) == 1 and np.isin(coded, self.two).all():
            return 2, 1, (coded == self.two[-1]).astype(np.uint8) * np.uint8(255)
        return 256, len(kept), coded.astype(coded.dtype.newbyteorder("="))


class _Work:
    """The jobs that items give rise to, as they come in. Tiles of mosaics, and streams, wait until there is enough."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, tuple[int, ...]], list[np.ndarray]] = {}
        self._waiting: dict[tuple[int, tuple[int, ...]], int] = {}
        self._stream: list[bytes] = []
        self._stream_items = 0

    def add_pictures(self, pictures: Sequence[np.ndarray], symbols: int) -> Iterator[_Job]:
        """pictures: coded channels (h, w, c), all of one type and number of channels."""
        yield from self._singly(pictures, symbols)
        for picture in pictures:
            key = symbols, picture.shape
            self._tiles.setdefault(key, []).append(picture)
            self._waiting[key] = self._waiting.get(key, 0) + picture.shape[0] * picture.shape[1]
            if self._waiting[key] >= MOSAIC_PIXELS:
                yield from self._mosaic(key)
        yield from self.add_stream([picture > 0 if symbols == 2 else picture for picture in pictures])

    def add_stream(self, items: Sequence[np.ndarray]) -> Iterator[_Job]:
        for item in items:
            self._stream.append((np.packbits(item) if item.dtype == np.bool_ else np.ascontiguousarray(item)).tobytes())
            self._stream_items += 1
        if sum(map(len, self._stream)) >= STREAM_BYTES:
            yield from self._whole_stream()

    def finish(self) -> Iterator[_Job]:
        for key in list(self._tiles):
            yield from self._mosaic(key)
        if self._stream:
            yield from self._whole_stream()

    def _singly(self, pictures: Sequence[np.ndarray], symbols: int) -> Iterator[_Job]:
        for name, encode in image_codecs(symbols, pictures[0].dtype, pictures[0].shape[2]).items():
            held = [picture for picture in pictures if _holds(name, picture)]
            if held:
                yield _Job((name, "per image"), _EachOf(encode, held), len(held))

    def _mosaic(self, key: tuple[int, tuple[int, ...]]) -> Iterator[_Job]:
        tiles = self._tiles.pop(key)
        del self._waiting[key]
        if len(tiles) == 1:
            return  # that is the image by itself
        whole = mosaic(np.stack(tiles))
        for name, encode in image_codecs(key[0], whole.dtype, whole.shape[2]).items():
            if _holds(name, whole):
                yield _Job((name, "mosaic"), _EachOf(encode, [whole]), len(tiles))

    def _whole_stream(self) -> Iterator[_Job]:
        data, items = b"".join(self._stream), self._stream_items
        self._stream, self._stream_items = [], 0
        for name in STREAM_NAMES:
            yield _Job((name, "stream"), _EachOf(STREAMS[name], [data]), items)


class _EachOf:
    """Bytes that a codec makes of each of some things, together."""

    def __init__(self, encode: Callable[[Any], bytes], things: Sequence[Any]) -> None:
        self.encode, self.things = encode, things

    def __call__(self) -> int:
        return sum(len(self.encode(thing)) for thing in self.things)


def _holds(name: str, picture: np.ndarray) -> bool:
    return name != "WebP" or max(picture.shape[:2]) <= WEBP_SIDE
