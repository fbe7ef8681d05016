"""Streams of type 4: images coded by programs that learn from them, of any sizes, a block or two for an item."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fake_model import UniformModel, loader
from fake_program import FakeLearner, FakeProgram, load_fake
from make_sources import File, RawImages

from codelength.archive.extract import extract
from codelength.archive.layout import ITEMS, LEARNED, MODEL, Coded, Constant
from codelength.archive.opened import ArchiveItems
from codelength.archive.pile import Written
from codelength.archive.plan import ByCodecs, ByModel, ByProgram, Plan
from codelength.archive.ragged import Ragged
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource
from codelength.archive.verify import verify
from codelength.archive.writer import write_archive
from codelength.errors import CorruptBlock, UsageError, WrongModel
from codelength.laws.space import Space

SIZES = [(9, 8), (7, 12), (10, 10)]


def write(path, source, plans, model=None, **options):
    return write_archive(path, source, model, plans=plans, model_loader=loader, program_loader=load_fake, **options)


def open_(path, **options):
    return Archive.open(path, model_loader=loader, program_loader=load_fake, **options)


def noise(size, seed, symbols=16):
    return np.random.default_rng(seed).integers(0, symbols, size).astype(np.uint8)


def folder(count: int = 20, strange: int = -1) -> FolderSource:
    """Grey images of three sizes that no general codec makes smaller than four bits for each pixel."""
    files = [File(f"{k:03}.png", "L", noise(SIZES[k * k % 3], k)) for k in range(count)]
    if strange >= 0:
        files[strange].pixels[0, 0] = 200
    files.append(File("notes.txt", data=b"words " * 9, is_image=False))
    return FolderSource(files)


def one_plan(source, *ways) -> list[Plan]:
    return [Plan(tuple(source.classes()), ways)]


def contents(archive: Archive) -> list:
    return [
        item if isinstance(item, bytes) else (item.shape, item.dtype.str, item.tobytes()) for item in archive.read()
    ]


def same_items(archive: Archive, source: FolderSource) -> bool:
    expected = [entry.pixels for entry in source.entries[: source.items]]
    return contents(archive) == [(item.shape, item.dtype.str, item.tobytes()) for item in expected]


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_images_of_several_sizes_share_blocks(tmp_path, taught, jobs):
    source = folder()
    plans = one_plan(source, ByProgram(FakeProgram(), block_items=6, taught=taught))
    figures = write(tmp_path / "a", source, plans, jobs=jobs)
    again = write(tmp_path / "b", source, plans, jobs=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() and figures == again
    assert figures.fallback_items == 0 and figures.model_bytes > 0
    with open_(tmp_path / "a", jobs=jobs) as archive:
        stream, _ = archive.directory.streams
        assert (stream.type, stream.shape, stream.event) == (LEARNED, (0, 0), (0, 0)) and stream.is_free
        blocks = [block for block in archive.directory.blocks if block.stream == 0]
        assert [block.count for block in blocks] == [6, 6, 6, 2]
        assert [block.taught for block in blocks] == ([False, True, True, True] if taught else [False] * 4)
        assert archive.header.features == (64,) and archive.dims == sum(e.pixels.size for e in source.entries[:20])
        assert same_items(archive, source)
        verify(archive, source)
        report = extract(archive, tmp_path / "out", images=RawImages())
        assert report.items == 20 and report.files == 1


def test_an_item_is_read_from_its_block_or_from_two_where_it_was_taught(tmp_path, monkeypatch):
    read: Counter[int] = Counter()
    original = FakeLearner.decode

    def counted(self, words, shapes):
        read[len(shapes)] += 1
        return original(self, words, shapes)

    source = folder()
    for taught in (False, True):
        path = tmp_path / str(taught)
        write(path, source, one_plan(source, ByProgram(FakeProgram(), block_items=7, taught=taught)))
        monkeypatch.setattr(FakeLearner, "decode", counted)
        with open_(path) as archive:
            archive.read((15, 16))
            assert dict(read) == ({6: 1, 7: 1} if taught else {6: 1})  # the last block has six, the first one seven
            read.clear()
            archive.read((16, 17))
            assert dict(read) == {6: 1}  # what the first block has taught is remembered
            read.clear()
            assert [item.tobytes() for item in archive.read(names=["003.png"])] == [source.entries[3].pixels.tobytes()]
            assert dict(read) == {7: 1}
        read.clear()
        with open_(path) as archive:
            list(archive.iter_blocks())
            assert dict(read) == {7: 2, 6: 1}  # whoever reads all decodes no block twice
        read.clear()
        monkeypatch.setattr(FakeLearner, "decode", original)


def test_an_open_archive_gives_items_of_several_sizes(tmp_path):
    source = folder()
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram(), block_items=6, taught=True)))
    with ArchiveItems(open_(tmp_path / "a"), lambda: None) as items:  # type: ignore[arg-type,return-value]
        for k in (19, 0, 7, -1):
            assert np.array_equal(items[k], source.entries[k % 20].pixels)
        assert np.array_equal(items["004.png"], source.entries[4].pixels)
        assert [item.shape for item in items[[5, 3, 11]]] == [source.entries[k].pixels.shape for k in (5, 3, 11)]
        assert all(np.array_equal(mine, entry.pixels) for mine, entry in zip(items, source.entries))


def test_grey_that_is_stored_as_rgba_is_coded_once(tmp_path):
    def rgba(grey):
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=2)

    files = [File(f"{k}.png", "RGBA", rgba(noise(SIZES[k % 3], k))) for k in range(12)]
    files[4].pixels[0, 0, 1] ^= 1
    files[9].pixels[2, 2, 3] = 254
    source = FolderSource(files)
    way = ByProgram(FakeProgram(), channels=(Coded(0), Coded(0), Coded(0), Constant(255)))
    figures = write(tmp_path / "a", source, one_plan(source, way))
    assert figures.fallback_items == 2
    with open_(tmp_path / "a") as archive:
        assert same_items(archive, source)
        assert {stream.type for stream in archive.directory.streams} == {LEARNED}
        assert archive.directory.streams[0].channels == way.channels


def test_channels_may_be_coded_in_another_order_and_left_out(tmp_path):
    colours = noise((30, 6, 5, 2), 0)
    data = np.stack([colours[..., 1], np.full((30, 6, 5), 7, np.uint8), colours[..., 0]], axis=-1)
    source = ArraySource(data)
    way = ByProgram(FakeProgram(16, 2), channels=(Coded(1), Constant(7), Coded(0)), block_items=8)
    write(tmp_path / "a", source, one_plan(source, way))
    first = ArraySource(np.ascontiguousarray(data.transpose(0, 3, 1, 2)))
    write(tmp_path / "b", first, one_plan(first, way))
    for path, expected in ((tmp_path / "a", data), (tmp_path / "b", data.transpose(0, 3, 1, 2))):
        with open_(path) as archive:
            assert archive.inspect().fallback_items == 0
            assert archive.directory.streams[0].event == (6, 5, 2)
            assert np.array_equal(archive.read(), expected)


@pytest.mark.parametrize("dtype", ["|b1", "|i1", ">u2", "<i4", "<u8", ">f4", "<f8"])
def test_values_with_gaps_and_of_any_type(tmp_path, dtype):
    levels = (0, 1) if dtype == "|b1" else (-100, -3, 0, 5, 120) if np.dtype(dtype).kind != "u" else (0, 3, 5000, 5001)
    data = np.array(levels, dtype)[noise((40, 5, 6), 1) % len(levels)]
    data = data.astype(dtype)
    if dtype == ">f4":
        data[3, 0, 0] = -0.0
    if dtype == "<f8":
        data[7, 1, 1] = np.nan
    source = ArraySource(data)
    way = ByProgram(FakeProgram(max(2, len(levels))), levels=levels, block_items=16)
    figures = write(tmp_path / "a", source, one_plan(source, way))
    assert figures.fallback_items == (dtype[1] == "f")
    with open_(tmp_path / "a") as archive:
        back = archive.read()
        assert back.dtype.str == data.dtype.str and back.tobytes() == data.tobytes()
        assert archive.directory.streams[0].levels == levels


def test_rows_of_a_table_are_images_where_that_is_said(tmp_path):
    data = noise((20, 30), 3)
    source = ArraySource(data)
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram(), event=(5, 6))))
    with open_(tmp_path / "a") as archive:
        assert np.array_equal(archive.read(), data) and archive.directory.streams[0].event == (5, 6)
    write(tmp_path / "b", source, one_plan(source, ByProgram(FakeProgram())))
    with open_(tmp_path / "b") as archive:  # no image, so general codecs keep it
        assert np.array_equal(archive.read(), data) and archive.directory.streams[0].type == ITEMS


@pytest.mark.parametrize("sizes", [[(16, 16)], SIZES])
def test_every_block_is_kept_by_whichever_is_smaller(tmp_path, sizes):
    def pixels(k):
        return np.full(sizes[k % len(sizes)], 3, np.uint8) if k // 8 in (1, 3) else noise(sizes[k % len(sizes)], k)

    source = FolderSource([File(f"{k}.png", "L", pixels(k)) for k in range(40)])
    blocks: list[Written] = []
    plans = one_plan(source, ByProgram(FakeProgram(), block_items=8, taught=True))
    figures = write(tmp_path / "a", source, plans, on_block=blocks.append)
    assert [block.coder == "adaptive" for block in blocks] == [True, False, True, False, True]
    assert figures.fallback_items == 16 and figures.fallback_bytes == blocks[1].bytes + blocks[3].bytes
    assert [block.entries.tolist() for block in blocks] == [list(range(k, k + 8)) for k in range(0, 40, 8)]
    assert {(block.plan, block.way) for block in blocks} == {(0, 0)}
    with open_(tmp_path / "a") as archive:
        assert same_items(archive, source)
        assert len({block.stream for block in archive.directory.blocks}) == 1
        verify(archive, source)


def test_a_program_that_wins_nothing_leaves_no_trace(tmp_path):
    data = np.zeros((30, 8, 8), np.uint8)
    source = ArraySource(data)
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram())))
    write(tmp_path / "b", source, one_plan(source))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_program_is_paid_for_before_it_is_taken(tmp_path):
    """What all blocks of a stream save must be more than the program itself takes."""
    long = "".join(map(chr, noise(900, 1, 26) + 97))
    for count, items, salt, wins in [
        (8, None, "", False), (8, None, long, False), (8, 4, "", True), (16, 4, long, False), (400, 4, long, True),
    ]:  # fmt: skip
        source = ArraySource(noise((count, 8, 8), 1))
        way, codecs = ByProgram(FakeProgram(salt=salt), block_items=items), ByCodecs(block_items=items)
        figures = write(tmp_path / "a", source, one_plan(source, way, codecs))
        assert (figures.fallback_items == 0) == wins
        plain = write(tmp_path / "b", source, one_plan(source, codecs))
        assert figures.archive_bytes < plain.archive_bytes if wins else figures == plain


def test_drawn_images_of_several_sizes_are_kept_as_webp_each(tmp_path):
    y, x = np.mgrid[:150, :160]
    drawn = np.stack([x * 3 % 251, y, x * y // 7 % 256], axis=2).astype(np.uint8)
    source = FolderSource([File(f"{k}.png", "RGB", drawn[: 90 + k, : 100 + k].copy()) for k in range(5)])
    blocks: list[Written] = []
    write(tmp_path / "a", source, one_plan(source, ByCodecs()), on_block=blocks.append)
    assert [block.coder for block in blocks] == ["WebP images"]
    with open_(tmp_path / "a") as archive:
        assert same_items(archive, source) and archive.header.features == (64,) and not archive.directory.programs
        (block,) = archive.directory.blocks
        assert isinstance(archive.decode_block(block), Ragged)


def test_what_a_trained_model_cannot_represent_goes_to_a_program_where_that_is_smaller(tmp_path):
    model = UniformModel(Space((4, 5), 16), group=7, refused=15)
    data = noise((600, 4, 5), 2, 32)  # most of it beyond the model's symbols
    data[::4] %= 15
    data[::16, 0] = 15  # which the model refuses when it comes to it
    data[5] = 200
    program = FakeProgram(32)
    options = dict(model_loader=loader, program_loader=load_fake, block_items=30)
    write_archive(tmp_path / "a", ArraySource(data), model, **options)
    figures = write_archive(
        tmp_path / "b", ArraySource(data), model, fallback=lambda classes: [ByProgram(program)], **options
    )
    # Of what is refused late, xz takes less than five bits for each symbol in the first block, and not in the second.
    assert figures.fallback_items == 1 + 30 and figures.archive_bytes < (tmp_path / "a").stat().st_size
    with open_(tmp_path / "b") as archive:
        assert np.array_equal(archive.read(), data)
        types = [stream.type for stream in archive.directory.streams]
        assert sorted(types) == [MODEL, ITEMS, LEARNED, LEARNED]  # what is refused late has streams of its own
        assert archive.header.features == (1, 7, 64)
        verify(archive, ArraySource(data))


def test_strangers_of_several_sizes_share_a_stream(tmp_path):
    source = folder(120)
    figures = write_archive(
        tmp_path / "a", source, UniformModel(Space((3, 3), 16)), fallback=lambda classes: [ByProgram(FakeProgram())],
        model_loader=loader, program_loader=load_fake,
    )  # fmt: skip
    assert figures.fallback_items == 0
    with open_(tmp_path / "a") as archive:
        assert same_items(archive, source) and not archive.needs_model and archive.header.features == (64,)
        assert [stream.type for stream in archive.directory.streams if stream.holds_items] == [LEARNED]


def test_items_go_to_the_first_way_that_represents_them(tmp_path):
    source = folder(30, strange=11)
    ways = ByProgram(FakeProgram(8), block_items=5), ByProgram(FakeProgram(16), block_items=4)
    for k in range(0, 30, 4):
        source.entries[k].pixels[:] //= 2
    blocks: list[Written] = []
    write(tmp_path / "a", source, one_plan(source, *ways), on_block=blocks.append)
    assert {way: sorted(entry for b in blocks if b.way == way for entry in b.entries) for way in range(3)} == {
        0: list(range(0, 30, 4)), 1: [k for k in range(30) if k % 4 and k != 11], 2: [11],
    }  # fmt: skip
    with open_(tmp_path / "a") as archive:
        assert same_items(archive, source)


def test_memory_is_bounded_and_told(tmp_path):
    source = FolderSource(folder(60).entries[:60])
    way = ByProgram(FakeProgram(states=10_000), taught=True)
    write(tmp_path / "a", source, one_plan(source, way), max_memory=40_000)
    with open_(tmp_path / "a", max_memory=40_000) as archive:
        assert archive.header.memory <= 40_000 and len(archive.directory.blocks) > 4
        assert same_items(archive, source)
    with pytest.raises(UsageError, match="more than the 20,000 that are allowed"):
        write(tmp_path / "b", source, one_plan(source, way), max_memory=20_000)
    assert not (tmp_path / "b").exists()


def test_blocks_that_do_not_decode_are_never_named(tmp_path, monkeypatch):
    original = FakeLearner.decode

    def wrong(self, words, shapes):
        return [image ^ (k == 2) for k, image in enumerate(original(self, words, shapes))]

    monkeypatch.setattr(FakeLearner, "decode", wrong)
    source = folder()
    for jobs in (1, 3):
        with pytest.raises(CorruptBlock, match="block 0 did not decode"):
            write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram())), jobs=jobs)
    assert not list(tmp_path.iterdir())


def test_plans_that_do_not_fit_the_data_are_refused(tmp_path):
    source = folder()
    one = Plan(tuple(source.classes()[:1]))
    both = FolderSource([File("a.png", "L", noise((4, 4), 0)), File("b.png", "RGB", noise((4, 4, 3), 0))])
    for data, plans, message in [
        (source, [one], "a plan for each"),
        (source, [one, *one_plan(source)], "a plan for each"),
        (both, one_plan(both), "of one mode"),
        (source, one_plan(source, ByModel()), "one shape"),
    ]:
        with pytest.raises(UsageError, match=message):
            write(tmp_path / "a", data, plans)


def test_the_number_of_blocks_in_flight_is_bounded(tmp_path, monkeypatch):
    running, most = 0, 0
    original = FakeLearner.encode

    def counted(self, images, *more):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return original(self, images, *more)
        finally:
            running -= 1

    monkeypatch.setattr(FakeLearner, "encode", counted)
    source = folder(60)
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram(), block_items=2)), jobs=3)
    assert 1 <= most <= 3


def test_an_archive_without_a_trained_model_says_so(tmp_path):
    source = folder()
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram())))
    with open_(tmp_path / "a") as archive:
        assert not archive.needs_model
        with pytest.raises(WrongModel, match="no trained model"):
            archive.load_model()


def test_a_block_that_was_taught_by_a_damaged_one_says_so(tmp_path):
    source = folder()
    write(tmp_path / "a", source, one_plan(source, ByProgram(FakeProgram(), block_items=6, taught=True)))
    data = bytearray((tmp_path / "a").read_bytes())
    with open_(tmp_path / "a") as archive:
        data[archive.directory.blocks[0].offset + 5] ^= 1
    (tmp_path / "a").write_bytes(data)
    for jobs in (1, 3):
        with open_(tmp_path / "a", jobs=jobs) as archive:
            damaged: list = []
            assert not list(archive.iter_blocks(damaged=damaged))
            assert [damage.block for damage in damaged] == [0, 1, 2, 3]
            assert all("block 0, which it needs, is corrupt" in damage.reason for damage in damaged[1:])
            assert sum(damage.count for damage in damaged) == 20
