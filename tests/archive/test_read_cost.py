"""What reading one item costs, by a clock of the tests' own: each item decoded takes it so many seconds."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import UniformModel, loader

from codelength.archive.read_cost import ReadCost, ReadTimes, parse_block
from codelength.archive.reader import Archive
from codelength.archive.sizing import LARGEST_BLOCK
from codelength.archive.sources import ArraySource
from codelength.archive.writer import write_archive
from codelength.errors import UsageError
from codelength.laws.space import Space
from codelength.report.text import show_read_cost


class SlowModel(UniformModel):
    """Decoding an item takes an eighth of a second of its clock, and the first block five seconds more."""

    def __init__(self, per_item: float = 0.125, start: float = 5.0) -> None:
        super().__init__(Space((4, 5), 16), group=7)
        self.now, self.per_item, self.start = 0.0, per_item, start

    def clock(self) -> float:
        return self.now

    def decode_block(self, words: np.ndarray, sizes: list[int], shape: tuple[int, ...]) -> np.ndarray:
        self.now += self.per_item * sum(sizes) + self.start
        self.start = 0.0
        return super().decode_block(words, sizes, shape)


def items(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 16, (count, 4, 5)).astype(np.uint8)


def costs(path, data, model, **options):
    found: list[ReadCost] = []
    write_archive(
        path, ArraySource(data), model, read_cost=found.append, clock=model.clock, model_loader=loader, **options
    )
    return found


def blocks(path):
    with Archive.open(path, model_loader=loader) as archive:
        return [block.count for block in archive.directory.blocks]


def test_the_cost_of_an_item_is_that_of_its_block(tmp_path):
    (cost,) = costs(tmp_path / "a", items(40), SlowModel(), block_items=16)
    assert blocks(tmp_path / "a") == [16, 16, 8]
    # Without the first block: 16 items at 2 s, 8 items at 1 s.
    assert cost == ReadCost(pytest.approx((16 * 2 + 8 * 1) / 24), 16, True)


def test_the_only_block_is_measured_with_its_start(tmp_path):
    (cost,) = costs(tmp_path / "a", items(8), SlowModel())
    assert cost == ReadCost(6.0, 8, False)


def test_nothing_is_said_where_nothing_was_measured(tmp_path):
    assert costs(tmp_path / "unverified", items(8), SlowModel(), verify=False) == []
    assert costs(tmp_path / "fallback", items(8) + np.uint8(100), SlowModel()) == []
    assert ReadTimes(lambda: 0.0).cost() is None


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 8), (2.0, 16), (0.3, 2), (0.01, 1)])
def test_blocks_of_some_seconds(tmp_path, seconds, count):
    """The first of two decodings of a trial block does not count."""
    data = items(33)
    costs(tmp_path / "a", data, SlowModel(), block_seconds=seconds)
    found = blocks(tmp_path / "a")
    assert max(found) == count and sum(found) == 33
    with Archive.open(tmp_path / "a", model_loader=loader) as archive:
        assert np.array_equal(archive.read(), data)


def test_blocks_of_some_seconds_keep_the_other_limits(tmp_path):
    costs(tmp_path / "bytes", items(50), SlowModel(), block_seconds=100.0, block_bytes=200)
    assert blocks(tmp_path / "bytes") == [10] * 5
    costs(tmp_path / "still", items(50), SlowModel(0.0, 0.0), block_seconds=1.0)
    assert blocks(tmp_path / "still") == [50] and LARGEST_BLOCK >= 50


def test_items_beyond_the_model_are_no_part_of_the_trial(tmp_path):
    data = items(80)
    data[:30] += 100
    costs(tmp_path / "some", data, SlowModel(), block_seconds=1.0)
    costs(tmp_path / "all", items(40) + np.uint8(100), SlowModel(), block_seconds=1.0)
    for name, back in (("some", data), ("all", items(40) + np.uint8(100))):
        with Archive.open(tmp_path / name, model_loader=loader) as archive:
            assert np.array_equal(archive.read(), back)
    assert sorted(blocks(tmp_path / "some")) == [2, *[8] * 6, 30]
    assert blocks(tmp_path / "all") == [40]


def test_blocks_are_given_in_items_or_in_seconds():
    assert parse_block(None) == (None, None)
    assert parse_block(64) == parse_block("64") == (64, None)
    assert parse_block("0.5s") == parse_block(".5 s") == (None, 0.5)
    assert parse_block("2s") == (None, 2.0)
    for wrong in (0, -1, True, "0", "0s", "-1s", "s", ".s", "1m", "", "1e3s", "nans", "infs", 0.5, "9" * 40):
        with pytest.raises(UsageError, match="at least one item, such as 64"):
            parse_block(wrong)  # type: ignore[arg-type]
    for options in ({"block_seconds": 1.0, "block_items": 3}, {"block_seconds": 0.0}, {"block_seconds": np.inf}):
        with pytest.raises(UsageError, match="not both"):
            write_archive("never", ArraySource(items(3)), SlowModel(), **options)


def test_the_cost_in_words():
    assert show_read_cost(ReadCost(1.234, 1024, True)) == (
        "one item costs about 1.2 s to read back (blocks of 1,024 items); smaller blocks (--block 64) make that less "
        "and the file larger"
    )
    assert show_read_cost(ReadCost(0.31, 360, False)).endswith(
        "at most about 0.31 s to read back (blocks of 360 items)"
    )
    assert "less than 0.01 s" in show_read_cost(ReadCost(0.0, 360, True))
    assert "about 12 s" in show_read_cost(ReadCost(12.3, 1, True)) and "--block" not in show_read_cost(
        ReadCost(12.3, 1, True)
    )
