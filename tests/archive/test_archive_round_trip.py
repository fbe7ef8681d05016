"""Everything that goes into an archive comes out of it, bit for bit."""

from __future__ import annotations

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from fake_model import UniformModel, loader
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from make_sources import File, RawImages, mixed_files, mixed_source

from codelength.archive.extract import extract
from codelength.archive.layout import MODEL
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource, Source
from codelength.archive.verify import verify
from codelength.archive.writer import Writer, write_archive
from codelength.errors import DataError, UsageError, WrongModel
from codelength.laws.space import Space

DIGITS = UniformModel(Space((4, 5), 16), group=7)


def digits(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 16, (count, 4, 5)).astype(np.uint8)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype.str == right.dtype.str and left.shape == right.shape and left.tobytes() == right.tobytes()


def write(path, source, model=DIGITS, **options):
    return write_archive(path, source, model, model_loader=loader, **options)


def open_(path, **options):
    return Archive.open(path, model_loader=loader, **options)


@pytest.mark.parametrize("count", [1, 2, 10, 11, 20, 37])
def test_an_array_and_all_its_ranges(tmp_path, count):
    data = digits(count)
    figures = write(tmp_path / "a", ArraySource(data), block_items=10)
    assert figures.blocks == math.ceil(count / 10) and figures.items == count and figures.dims == data.size
    assert figures.code_length_bits == 4 * data.size and figures.fallback_items == 0
    assert figures.archive_bytes == (tmp_path / "a").stat().st_size
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)
        for start, stop in [
            (0, 0),
            (0, count),
            (count // 2, count),
            (count - 1, count),
            (count // 3, 2 * count // 3),
        ]:
            assert same(archive.read((start, stop)), data[start:stop])
        assert archive.inspect() == figures == verify(archive, ArraySource(data))
        with pytest.raises(UsageError, match="range"):
            archive.read((0, count + 1))


@pytest.mark.parametrize(
    "dtype", ["|b1", "|i1", "<u2", ">u2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8", "<c8", "<U3", "<M8[s]"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_type_byte_order_and_memory_order_return(tmp_path, dtype, order):
    data = np.asarray(digits(9) & 1, order=order).astype(dtype, order=order)
    write(tmp_path / "a", ArraySource(data))
    with open_(tmp_path / "a") as archive:
        back = archive.read()
        extract(archive, tmp_path / "out.npy")
    assert same(back, data) and back.flags.f_contiguous == data.flags.f_contiguous
    buffer = io.BytesIO()
    np.save(buffer, data)
    assert (tmp_path / "out.npy").read_bytes() == buffer.getvalue()


@pytest.mark.parametrize("shape", [(0, 4, 5), (0,), (3, 0, 5), (), (3, 4, 0)])
def test_arrays_without_elements_or_axes(tmp_path, shape):
    data = np.full(shape, 7, ">i2")
    figures = write(tmp_path / "a", ArraySource(data))
    assert figures.to_json()["overhead"] is None and figures.to_json()["bits_per_dim"] is None
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)
        extract(archive, tmp_path / "out.npy")
        verify(archive, ArraySource(data))
    assert same(np.load(tmp_path / "out.npy"), data)


def test_a_row_of_numbers_and_a_huge_item(tmp_path):
    for name, data in {
        "row": np.arange(50, dtype=">u2"),
        "huge": np.zeros((1, 3000, 2000), np.uint8),
    }.items():
        model = UniformModel(Space(data.shape[1:], 16), group=7)
        write(tmp_path / name, ArraySource(data), model, block_bytes=1000)
        with open_(tmp_path / name) as archive:
            assert same(archive.read(), data)


@settings(max_examples=60, deadline=None)
@given(
    data=hnp.arrays(
        st.sampled_from(["|u1", "|i1", ">i2", "<f4", ">f8", "<u8"]),
        st.tuples(st.integers(0, 12), st.just(2), st.just(2)),
        elements=None,
        fill=st.nothing(),
    ),
    block=st.integers(1, 5),
    span=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_whatever_the_model_cannot_represent_returns_too(tmp_path_factory, data, block, span):
    path = tmp_path_factory.mktemp("any") / "a"
    figures = write(path, ArraySource(data), UniformModel(Space((2, 2), 3), group=2), block_items=block)
    start, stop = sorted(min(edge, len(data)) for edge in span)
    with open_(path) as archive:
        assert same(archive.read(), data)
        if figures.items:
            assert same(archive.read((start, stop)), data[start:stop])
    good = [item for item in data if all(v in (0, 1, 2) and not np.signbit(v) for v in item.ravel().tolist())]
    assert figures.items - figures.fallback_items in (len(good), 0)


def test_items_that_the_model_refuses_while_coding_are_kept(tmp_path):
    model = UniformModel(Space((4, 5), 16), group=7, refused=15)
    data = digits(60)
    figures = write(tmp_path / "a", ArraySource(data), model, block_items=8)
    assert figures.fallback_items == int((data == 15).any(axis=(1, 2)).sum())
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data) and same(archive.read((13, 44)), data[13:44])


@pytest.mark.parametrize("black, white", [(0, 255), (-1, 1)])
def test_two_values_of_any_size_fit_a_model_of_two_symbols(tmp_path, black, white):
    data = np.where(digits(20) % 2, white, black).astype(np.int16)
    data[11, 0, 0] = 100
    figures = write(tmp_path / "a", ArraySource(data), UniformModel(Space((20,), 2)), block_items=8)
    assert figures.fallback_items == 1
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)


@pytest.mark.parametrize("space", [(5, 6, 3), (3, 5, 6), (90,), (None, None, 3), (3, None, None)])
@pytest.mark.parametrize("shape", [(5, 6, 3), (3, 5, 6)])
def test_channels_may_come_first_or_last(tmp_path, space, shape):
    data = np.random.default_rng(1).integers(0, 9, (7, *shape)).astype(np.uint8)
    figures = write(tmp_path / "a", ArraySource(data), UniformModel(Space(space, 9)))
    assert figures.fallback_items == 0
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)
        event = archive.directory.streams[0].event
    assert event == (space if None not in space and len(space) == 3 else event) and math.prod(event) == 90


def test_the_members_of_an_npz(tmp_path):
    arrays = {
        "labels": np.arange(12.0),
        "train": digits(12),
        "empty": np.zeros((0, 3)),
        "test": digits(5, seed=1),
        "words": np.array(["ab", "c"]),
        "scalar": np.float32(3),
    }
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    figures = write(tmp_path / "a", ArraySource(arrays, name="set.npz"), block_items=5)
    assert figures.items == 17 and figures.fallback_items == 0
    with open_(tmp_path / "a") as archive:
        report = extract(archive, tmp_path / "out")
        extract(archive, tmp_path / "items.npy")
        extract(archive, tmp_path / "part.npz", (3, 14))
        verify(archive, ArraySource(arrays))
        assert same(archive.read((10, 14)), np.concatenate([arrays["train"], arrays["test"]])[10:14])
    assert report.paths == [tmp_path / "out" / "set.npz"] and report.items == 17 and report.files == 4
    with np.load(tmp_path / "out" / "set.npz") as back:
        assert back.files == list(arrays) and all(same(back[key], arrays[key]) for key in arrays)
    with np.load(tmp_path / "part.npz") as back:
        assert back.files == ["train"] and len(back["train"]) == 11
    assert same(np.load(tmp_path / "items.npy"), np.concatenate([arrays["train"], arrays["test"]]))


def test_an_idx_file(tmp_path):
    data = digits(6).astype(">i2")
    write(tmp_path / "a", ArraySource(data, kind="idx", name="t10k-images"))
    with open_(tmp_path / "a") as archive:
        extract(archive, tmp_path / "out")
        extract(archive, tmp_path / "x.npy")
    header = bytes([0, 0, 0x0B, 3]) + np.array([6, 4, 5], ">u4").tobytes()
    assert (tmp_path / "out" / "t10k-images").read_bytes() == header + data.tobytes()
    assert same(np.load(tmp_path / "x.npy"), data)


def test_a_folder_of_all_sorts(tmp_path):
    files = sorted(mixed_files(), key=lambda file: not file.is_image)
    model = UniformModel(Space((None, None), 16), group=3)
    figures = write(tmp_path / "a", mixed_source(), model, block_items=4)
    images = [file for file in files if file.is_image]
    assert figures.items == len(images) and 0 < figures.fallback_items < figures.items and figures.names_bytes
    assert figures.dims == sum(file.pixels.size for file in images if file.pixels is not None)
    with open_(tmp_path / "a") as archive:
        assert archive.names == [file.name for file in files]
        assert len({s.shape for s in archive.directory.streams if s.type == MODEL}) == 3
        everything = archive.read()
        for file, item in zip(images, everything, strict=True):
            assert (item == file.data) if file.pixels is None else same(item, file.pixels)
        for start, stop in [(0, 5), (4, 17), (22, 23)]:
            for item, other in zip(archive.read((start, stop)), everything[start:stop], strict=True):
                assert (item == other) if isinstance(item, bytes) else same(item, other)
        verify(archive, mixed_source())
        with pytest.raises(DataError, match=r"differ|shape"):
            verify(archive, mixed_source(1))
        report = extract(archive, tmp_path / "out", images=RawImages())
        some = extract(archive, tmp_path / "some", (3, 9), images=RawImages())
        named = extract(archive, tmp_path / "named", names=["a/0*", "*.txt"], images=RawImages())
    assert report.items == len(images) and report.files == 2 and not report.renamed and not report.damaged
    assert some.items == 6 and some.files == 0
    assert {path.name for path in named.paths} == {"01.png", "03.png", "05.png", "09.png", "readme.txt"}
    for file in files:
        expected = file.data
        if file.pixels is not None:
            expected = RawImages().encode(file.pixels, file.mode, file.metadata, file.name)
        assert (tmp_path / "out" / file.name).read_bytes() == expected


def test_images_of_one_size_make_an_array(tmp_path):
    files = [file for file in mixed_files() if file.mode == "L" and file.shape == (4, 4)]
    write(tmp_path / "a", FolderSource(files), UniformModel(Space((None, None), 16)))
    with open_(tmp_path / "a") as archive:
        extract(archive, tmp_path / "x.npy", (1, len(files)))
    assert same(np.load(tmp_path / "x.npy"), np.stack([file.pixels for file in files[1:]]))


def test_an_empty_folder_and_one_file_without_a_model(tmp_path):
    write(tmp_path / "a", FolderSource([]))
    write(tmp_path / "b", FolderSource([file for file in mixed_files() if not file.mode][:1]))
    for name, count in {"a": 0, "b": 1}.items():
        with open_(tmp_path / name) as archive:
            assert archive.items == count == len(archive.read())
            verify(archive)


def test_the_same_input_gives_the_same_bytes_and_options_do_not_leak(tmp_path):
    for name, options in {"a": {}, "b": {"verify": False}, "c": {}}.items():
        write(tmp_path / name, mixed_source(), UniformModel(Space((None, None), 16)), block_items=5, **options)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_files_are_cut_into_blocks_and_joined(tmp_path):
    rng = np.random.default_rng(0)
    files = mixed_files()[:3]
    for k, size in enumerate([0, 1, 999, 1000, 1001, 5000, 0]):
        file = mixed_files()[-1]
        file.name, file.data = f"f{k}", bytes(rng.integers(0, 256, size).astype(np.uint8))
        files.append(file)
    write(tmp_path / "a", FolderSource(files), UniformModel(Space((None, None), 16)), block_bytes=1000)
    with open_(tmp_path / "a") as archive:
        for number, file in enumerate(files[3:], 3):
            assert b"".join(archive.read_file(number)) == file.data and archive.file_size(number) == len(file.data)


def test_a_model_by_name(tmp_path):
    data = digits(5)
    figures = write(tmp_path / "a", ArraySource(data), embed=False, model_name="digits")
    assert figures.model_bytes == 0 and figures.payload_bytes == figures.archive_bytes
    asked = []

    def resolve(sha256, name):
        asked.append((sha256, name))
        return DIGITS

    with open_(tmp_path / "a", model_resolver=resolve) as archive:
        assert same(archive.read(), data) and asked == [(DIGITS.sha256, "digits")]
    with open_(tmp_path / "a") as archive, pytest.raises(WrongModel, match="digits"):
        archive.read()
    other = UniformModel(Space((4, 5), 17))
    with (
        open_(tmp_path / "a", model_resolver=lambda sha256, name: other) as archive,
        pytest.raises(WrongModel),
    ):
        archive.read()


def test_blocks_stay_below_the_memory_limit(tmp_path):
    data = digits(64)
    write(tmp_path / "a", ArraySource(data), max_memory=20_000)
    write(tmp_path / "b", ArraySource(data))
    with open_(tmp_path / "a", max_memory=20_000) as archive:
        assert same(archive.read(), data) and archive.header.memory <= 20_000
        assert len(archive.directory.blocks) == 4
    with open_(tmp_path / "b") as archive:
        assert archive.header.memory > 20_000 and len(archive.directory.blocks) == 1


def test_memory_that_not_even_one_item_has_enough_of_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="more than the 100 that are allowed"):
        write(tmp_path / "a", ArraySource(digits(4)), max_memory=100)
    assert not list(tmp_path.iterdir())


class DearStart(UniformModel):
    """Its blocks cost as much to start as 13 items of two bits an element do to code."""

    def startup_bits(self, items: np.ndarray) -> float:
        return 13 * 2.0 * items[0].size


def test_blocks_grow_until_their_start_costs_little(tmp_path):
    values = np.arange(8000, dtype=np.uint8).reshape(4000, 2) % 4
    space = Space((2,), 4)
    for model, options, blocks in [
        (UniformModel(space), {}, 4),
        (DearStart(space), {}, 2),  # 13 / 0.004 = 3,250 items
        (DearStart(space), {"block_items": 1000}, 4),
        (DearStart(space), {"block_bytes": 4000}, 2),
        (DearStart(space), {"block_bytes": 2000}, 4),
    ]:
        figures = write(tmp_path / "a", ArraySource(values), model, **options)
        assert figures.blocks == blocks, (model, options)
    assert figures.startup_bits == 4 * 52
    # Items that are beyond the model at first tell nothing about it.
    values[:16] = 9
    assert write(tmp_path / "a", ArraySource(values), DearStart(space)).blocks > 2


def test_figures_of_ten_thousand_small_images(tmp_path):
    """All framing of ten blocks takes less than 0.4% of 150 KB."""
    data = np.random.default_rng(0).integers(0, 2, (10_000, 28, 28)).astype(np.uint8)
    figures = write(tmp_path / "a", ArraySource(data, name="t10k-images-idx3-ubyte"), UniformModel(Space((784,), 2)))
    assert figures.blocks == 10
    assert figures.payload_bytes - data.size // 8 < 600
    assert figures.overhead == pytest.approx(8 * figures.payload_bytes / data.size - 1)


def test_reading_holds_one_block(tmp_path, monkeypatch):
    """Neither writing nor reading touches a block twice or more blocks than a range needs."""
    write(tmp_path / "a", ArraySource(digits(100)), block_items=10)
    decoded = []
    original = Archive.decode_block
    monkeypatch.setattr(Archive, "decode_block", lambda self, b: decoded.append(b.number) or original(self, b))
    with open_(tmp_path / "a") as archive:
        archive.read((35, 52))
    assert decoded == [3, 4, 5]


def test_no_torch():
    modules = "codelength.archive.writer, codelength.archive.extract, codelength.laws.frozen"
    code = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_true_that_hides_behind_another_byte_is_kept(tmp_path):
    data = (np.random.default_rng(0).integers(0, 2, (6, 4, 5)) * 255).astype(np.uint8).view(bool)
    write(tmp_path / "a", ArraySource(data), UniformModel(Space((4, 5), 2), group=7))
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)
        verify(archive)


def unrepresentable() -> dict[str, np.ndarray | FolderSource]:
    """Data of which the model codes nothing: it is not asked, seen to be of no use at once, or refuses all."""
    files = [File("notes.txt", data=b"words " * 90, is_image=False), File("none", is_image=False)]
    images = [File(f"{k}.png", "RGBA", np.full((3, 2, 4), k, np.uint8), metadata=b"P" * k) for k in range(9)]
    return {
        "files": FolderSource(files),
        "nothing": np.zeros((0, 4, 5), np.uint8),
        "another shape": FolderSource(images + files),
        "beyond the alphabet": digits(40) + np.uint8(16),
        "refused in coding": np.full((40, 4, 5), 15, np.uint8),
    }


@pytest.mark.parametrize("moved", [7, 2**20])
@pytest.mark.parametrize("kind", unrepresentable())
def test_a_model_that_codes_nothing_is_not_in_the_file_and_not_asked_for(tmp_path, kind, moved, monkeypatch):
    monkeypatch.setattr("codelength.archive.output.MOVED_BYTES", moved)
    model = UniformModel(Space((4, 5), 16), group=7, refused=15)
    data = unrepresentable()[kind]
    source: Source = ArraySource(data) if isinstance(data, np.ndarray) else data
    figures = write(tmp_path / "a", source, model, block_items=8)
    assert figures.model_bytes == 0 and figures.code_length_bits == 0 and figures.startup_bits == 0
    assert figures.archive_bytes == figures.payload_bytes == (tmp_path / "a").stat().st_size
    assert figures.fallback_items == figures.items == source.items
    assert figures.model_sha256 == model.sha256
    # The same whether it was to be embedded or not, but for the name that goes with the latter.
    write(tmp_path / "b", source, model, block_items=8, embed=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write(tmp_path / "c", source, model, block_items=8, embed=False, model_name="digits")

    def asked(*of: object) -> None:
        raise AssertionError("the model was asked for")

    for path in (tmp_path / "a", tmp_path / "c"):
        with Archive.open(path, asked, model_loader=asked, features=()) as archive:
            assert not archive.needs_model
            archive.check_file()
            verify(archive, source)
            if isinstance(data, np.ndarray):
                assert same(archive.read(), data)
            else:
                extract(archive, tmp_path / f"{path.name}-out", images=RawImages())
                assert (tmp_path / f"{path.name}-out" / "notes.txt").read_bytes() == b"words " * 90


def test_a_model_that_codes_one_item_stays_in_the_file(tmp_path):
    data = digits(40) + np.uint8(16)
    data[17] = 3
    figures = write(tmp_path / "a", ArraySource(data), block_items=8)
    assert figures.model_bytes == len(DIGITS.to_bytes()) and figures.fallback_items == 39
    with open_(tmp_path / "a") as archive:
        assert archive.needs_model and same(archive.read(), data)


def test_an_archive_that_holds_its_model_in_vain_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Writer, "leave_out_model", lambda self: None)
    data = digits(40) + np.uint8(16)
    figures = write(tmp_path / "a", ArraySource(data), block_items=8)
    assert figures.model_bytes == len(DIGITS.to_bytes())
    with open_(tmp_path / "a") as archive:
        assert same(archive.read(), data)
