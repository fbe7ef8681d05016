"""The reader that was written from the document alone, against the package and the document's examples."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reader_coding as coding
import tifffile
from golden_digest import content_of, digest
from golden_manifest import GOLDEN, Golden
from golden_models import MODELS
from odd_programs import ODD
from reader_archive import FROM_MODEL, Archive, Block

import codelength as cl
from codelength.errors import CorruptBlock
from second_reader import Model, Refused, open_archive, original_file, pages, tiff_tags

HERE = Path(__file__).parent
golden_archives = pytest.mark.parametrize("golden", GOLDEN, ids=str)


def opened(golden: Golden) -> Archive:
    return open_archive(golden.path, golden.model_path)


def by_name(name: str) -> Golden:
    return next(golden for golden in GOLDEN if golden.name == name)


# ---- examples of the document ------------------------------------------------------------------------------


def test_tables_of_the_document() -> None:
    begins = {
        name: hashlib.sha256(np.array(entries, "<i8").tobytes()).hexdigest()[:16]
        for name, entries in coding.tables().items()
    }
    assert begins == {
        "LOGISTIC": "6a340af14cbf4a65",
        "DECAY": "89a3d93c8d128fac",
        "NORMAL": "410e8f69df2ae3bf",
        "INVERSE_SCALE": "617cb583e1e9c03e",
        "LOG2": "908cc337ada6eb91",
        "EXP2": "0b7df3e93b350ba1",
    }


def test_stacks_of_the_document() -> None:
    stack = coding.Stack(2)
    for lane, start, freq in [(1, 1, 9), (0, 0, 7), (1, 5, 1), (0, 3, 2)]:
        stack.push(lane, start, freq, 4)
    assert stack.states == [78536544803, 122167958613]
    words = coding.write_stack(stack)
    assert np.frombuffer(words, "<u4").tolist() == [0x49249223, 0x71C71C55, 0x00030884]
    assert coding.read_stack(words, 2).states == stack.states
    seeded = coding.SeededStack(0, 4)
    assert seeded.states == [0xECA2D10A2A099683, 0xD2C713BE09D32355, 0xD68272A42B4A1687, 0x95D8FFD775CD34F7]
    assert [seeded.more() for _ in range(3)] == [0x81A5A35D, 0xE446695C, 0x5D084BAD]


@pytest.mark.parametrize(
    ("record", "parameters", "intervals"),
    [
        ({"family": "bernoulli", "symbols": 2}, [700], {1: (5628108, 11149108)}),
        ({"family": "bernoulli", "symbols": 2}, [-300], {0: (0, 9608680)}),
        (
            {"family": "categorical", "symbols": 3},
            [700, -300, 5],
            {0: (0, 8905573), 1: (8905573, 3353972), 2: (12259545, 4517671)},
        ),
        (
            {"family": "logistic_mixture", "symbols": 256, "components": 2},
            [10, -10, 6400, 7000, 300, 500],
            {0: (0, 2), 100: (5615140, 862825), 255: (16777214, 2)},
        ),
        (
            {"family": "gaussian", "symbols": 16, "bits": 16},
            [510, 256],
            {0: (0, 197), 7: (19301, 8981), 8: (28282, 9563), 15: (65001, 535)},
        ),
        (
            {"family": "beta_binomial", "symbols": 256},
            [1500, 2200],
            {0: (0, 353), 90: (7631077, 140323), 255: (16777214, 2)},
        ),
        (
            {"family": "beta_binomial", "symbols": 5, "bits": 16},
            [-3000, 700],
            {0: (0, 54110), 1: (54110, 6168), 4: (64763, 773)},
        ),
    ],
)
def test_leaves_of_the_document(record: dict, parameters: list[int], intervals: dict[int, tuple[int, int]]) -> None:
    C = coding.Leaf(record).cumulative(parameters)
    assert {x: (C(x), C(x + 1) - C(x)) for x in intervals} == intervals


def test_logarithms_of_the_document() -> None:
    assert [coding.log2_fixed(v) for v in (1, 3, 1000, 2**40 + 12345678901)] == [0, 1661954, 10449882, 41959931]
    distances = (0, 1, 123456, 20 * 2**20 + 7)
    assert [coding.exp2_fixed(d) for d in distances] == [1073741824, 1073741115, 989595203, 1023]
    lengths = [5 << 20, (5 << 20) + 300000, 40 << 20]
    assert coding.responsibilities(lengths) == [9217669, 7559546, 1]


# ---- golden archives ---------------------------------------------------------------------------------------


def test_what_stands_around_frames_is_that_of_the_document(tmp_path: Path) -> None:
    golden = by_name("stacks")
    cl.decompress(golden.path, tmp_path / "out")
    seen = {}
    for name, images in pages(opened(golden).entries()).items():
        data = images[0].data
        if data[:1] == b"D":
            length = int.from_bytes(data[2:6], "little")
            head, tail = data[6 : 6 + length], data[6 + length :]
            file = (tmp_path / "out" / name).read_bytes()
            table = int.from_bytes(file[length + 4 : length + 8], "little")
            assert file.startswith(head) and file.endswith(tail) and table == (4 * len(images) if data[1] & 2 else 0)
            seen[name] = len(images)
    assert seen == {"rle.dcm": 2, "one.dcm": 1}


@golden_archives
def test_it_decodes_every_golden_archive(golden: Golden) -> None:
    archive = opened(golden)
    assert archive.intact
    if archive.header["kind"] != "folder":
        assert digest(archive.arrays().items()) == golden.contents
        return
    contents = {}
    for name, images in pages(archive.entries()).items():
        first = images[0]
        whole = first.data if first.values is None else first.values
        if first.values is not None and first.data[:1] == b"R":
            whole = original_file(*images)
        if not isinstance(whole, bytes) and len(images) > 1:
            whole = np.stack([image.values for image in images])
        contents[name] = content_of(name, whole) if isinstance(whole, bytes) else whole
    assert digest(sorted(contents.items())) == golden.contents


def test_tags_of_the_document_are_those_of_the_files_that_come_back(tmp_path: Path) -> None:
    golden = by_name("microscopy")
    cl.decompress(golden.path, tmp_path / "out")
    seen = {}
    for entry in opened(golden).entries():
        if entry.values is None or entry.data[:1] == b"R":
            continue
        order, big, tags = tiff_tags(entry)
        with tifffile.TiffFile(tmp_path / "out" / entry.name.decode()) as file:
            assert (file.byteorder, file.is_bigtiff) == (order, big)
            found = {tag.code: tag for tag in file.pages[0].tags}
            for number, (kind, count, values) in tags.items():
                assert (found[number].dtype, found[number].count) == (kind, count)
                file.filehandle.seek(found[number].valueoffset)
                assert file.filehandle.read(len(values)) == values
        seen[entry.name] = set(tags)
    assert 270 in seen[b"four.tif"] and {282, 283} <= seen[b"colour.tif"]
    assert opened(golden).entries()[0].mode == "LA", "the plainest file of two samples has a tag of its alpha only"


@golden_archives
def test_any_entry_can_be_read_alone(golden: Golden) -> None:
    archive = opened(golden)
    entries = archive.entries()
    # Programs that learn take the slow reader a second and more for a block.
    for number in range(0, len(entries), 7) if golden.name != "learned" else (len(entries) - 1,):
        alone = archive.entry(number)
        if alone.values is None:
            assert alone.data == entries[number].data
        else:
            np.testing.assert_array_equal(alone.values, entries[number].values)


@golden_archives
def test_it_writes_the_words_of_every_block(golden: Golden) -> None:
    archive = opened(golden)
    for block in archive.blocks:
        stream = archive.streams[block.stream]
        if stream.kind == FROM_MODEL:
            data = archive.data[block.at : block.at + block.length]
            symbols = archive.model.decode_block(data, block.sizes, stream.event)
            assert archive.model.encode_block(symbols, block.sizes) == data


@pytest.mark.parametrize("name", MODELS | ODD)
def test_both_draw_the_same_samples_and_write_the_same_words(name: str) -> None:
    model = (MODELS | ODD)[name]()
    second = Model(model.to_bytes())
    shape = tuple(second.structure["golden"]["shape"])
    items = model.sample(9, seed=2, shape=shape)
    np.testing.assert_array_equal(second.sample(9, 2, shape), items)
    if name != "wide_flow":  # its draws are clamped, and so lie outside of what it can code
        sizes, words = model.encode_block(items)
        assert second.encode_block(items, list(sizes)) == words.astype("<u4").tobytes()
        np.testing.assert_array_equal(second.decode_block(words.astype("<u4").tobytes(), list(sizes), shape), items)


def test_it_runs_alone() -> None:
    golden = by_name("channels")
    script = [sys.executable, "-I", "-c", ISOLATED, str(HERE), str(golden.path)]
    assert subprocess.run(script, capture_output=True, text=True, check=True).stdout == opened(golden).sha256() + "\n"


ISOLATED = """
import sys
sys.path.insert(0, sys.argv[1])
from second_reader import open_archive
print(open_archive(sys.argv[2]).sha256())
assert not {"codelength", "numba", "torch", "PIL"} & set(sys.modules)
"""


# ---- one unit ----------------------------------------------------------------------------------------------


def one_unit_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The intervals of odd symbols begin one unit later: frequencies differ by one unit, totals stay."""
    true = coding.Leaf.cumulative

    def cumulative(self: coding.Leaf, parameters: list[int]) -> coding.Cumulative:
        C = true(self, parameters)
        return lambda x: C(x) + (x % 2 == 1 and x < self.symbols and C(x + 1) - C(x) > 1)

    monkeypatch.setattr(coding.Leaf, "cumulative", cumulative)


def model_blocks(archive: Archive) -> list[Block]:
    return [block for block in archive.blocks if archive.streams[block.stream].kind == FROM_MODEL]


#: Archives without blocks of a model, or with programs that learn, which have no leaves.
WITHOUT_LEAVES = ("empty", "strangers", "learned", "learning", "learning_values")


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.name not in WITHOUT_LEAVES], ids=str)
def test_a_reader_with_one_frequency_off_by_one_reports_blocks(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = opened(golden)
    whole = [archive.read_block(block) for block in model_blocks(archive)]
    one_unit_more(monkeypatch)
    refused = 0
    for block, items in zip(model_blocks(archive), whole):
        try:
            np.testing.assert_array_equal(archive.read_block(block), items)
        except Refused:
            refused += 1
    assert refused
    with pytest.raises(Refused):
        Model(archive.model_file or b"")


def test_a_table_entry_off_by_a_unit_of_frequency_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = opened(by_name("blocks"))
    assert archive.model.symbols == 2
    entries = list(coding.tables()["LOGISTIC"])
    entries[10] += 2 ** (30 - 24)
    monkeypatch.setitem(coding.tables(), "LOGISTIC", entries)
    with pytest.raises(Refused):
        archive.entries()


def test_the_package_reports_blocks_of_a_writer_with_one_frequency_off_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror image: words that were written with another frequency, under checksums that hold."""
    archive = opened(by_name("blocks"))
    whole, block = archive.arrays()[""], archive.blocks[1]
    data = archive.data[block.at : block.at + block.length]
    symbols = archive.model.decode_block(data, block.sizes, (3, 4))
    one_unit_more(monkeypatch)
    words = archive.model.encode_block(symbols, block.sizes)
    assert len(words) == block.length and words != data
    forged = archive.data[: block.at] + words + archive.data[block.at + block.length : -20]
    forged += hashlib.blake2b(forged, digest_size=16).digest() + b"NELC"
    path = tmp_path / "forged.clen"
    path.write_bytes(forged)
    with pytest.raises(CorruptBlock):
        cl.decompress(path)
    np.testing.assert_array_equal(cl.decompress(path, range=(0, 20)), whole[:20])
    np.testing.assert_array_equal(cl.decompress(path, range=(40, 50)), whole[40:])


# ---- refusals ----------------------------------------------------------------------------------------------


def test_damage_is_refused() -> None:
    data = by_name("blocks").path.read_bytes()
    for at in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(Refused):
            Archive(bytes(damaged)).verify()
    for length in range(0, len(data), 211):
        with pytest.raises(Refused):
            Archive(data[:length]).verify()


def test_an_archive_that_names_its_model_wants_that_model() -> None:
    golden = by_name("named")
    with pytest.raises(Refused, match="without its model"):
        open_archive(golden.path).entries()
    other = Archive(golden.path.read_bytes(), opened(by_name("blocks")).model_file)
    assert digest(other.arrays().items()) == golden.contents
    with pytest.raises(Refused, match="another model"):
        Archive(golden.path.read_bytes(), MODELS["switched"]().to_bytes()).entries()
