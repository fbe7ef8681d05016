"""Whole runs on made piles: everything comes back, and no general codec that the format holds is much smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength.archive.codecs import pack_items
from codelength.archive.reader import Archive
from codelength.errors import DataError, UsageError
from codelength.laws.frozen import FrozenModel
from codelength.packing.result import PackResult

RNG = np.random.default_rng(0)


def waves(count: int, height: int = 48, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    shapes = [120 + 60 * np.sin(x / (7 + k % 5) + k) + 40 * np.cos(y / 9 + 2 * k) for k in range(count)]
    return np.clip(np.array(shapes) + RNG.normal(0, 4, (count, height, width)), 0, 255).astype(np.uint8)


def packed(data: object, path: Path, **options: object) -> PackResult:
    options = {"compare": False, "force": True, **options}
    return cl.pack(data, path, **options)  # type: ignore[arg-type]


def chosen(result: PackResult) -> list[str]:
    return [pile.chosen.name for pile in result.piles if pile.chosen is not None]


FEW = np.arange(4, dtype=np.uint8)
MADE = {
    "photographs": waves(12),
    "noise": RNG.integers(0, 256, (6, 40, 40)).astype(np.uint8),
    "deep noise": RNG.integers(0, 65536, (4, 40, 40)).astype(np.uint16),
    "one value": np.full((20, 32, 32), 200, np.uint8),
    "black": np.zeros((5, 16, 16, 3), np.uint8),
    "one pixel": np.full((1, 1, 1), 7, np.uint8),
    "tiny": RNG.integers(0, 4, (50, 3, 3)).astype(np.uint8),
    "tall": np.cumsum(RNG.integers(-1, 2, (1, 60000, 1)), axis=1).astype(np.uint8),
    "rows of a table": np.repeat(FEW[None], 400, axis=0),
    "bits": waves(6) > 120,
    "black and white": (waves(6) > 120).astype(np.uint8) * np.uint8(255),
    "extremes": np.where(RNG.random((4, 30, 30)) < 0.5, 0, 65535).astype(np.uint16),
    "alternating": np.tile(np.array([[0, 65535], [65535, 0]], np.uint16), (3, 16, 16)),
    "a ramp": np.arange(3 * 64 * 64).reshape(3, 64, 64).astype(np.uint16) * np.uint16(5),
    "rescaled": waves(8).astype(np.uint16) * np.uint16(257),
    "big-endian": (waves(4).astype(np.uint16) * 3).astype(">u2"),
    "signed": waves(6).astype(np.int16) - np.int16(1000),
    "whole floats": waves(4).astype(np.float32),
    "floats": RNG.normal(0, 1, (4, 20, 20)).astype(np.float32),
    "grey as RGBA": np.stack([waves(6)] * 1 + [np.zeros((6, 48, 40), np.uint8)] * 3, axis=-1),
    "planes": np.stack([waves(5)] * 3, axis=1),
    "volumes": waves(12).reshape(2, 6, 48, 40),
    "repeated later": np.tile(RNG.integers(0, 2, (300, 8, 8)).astype(np.uint8), (8, 1, 1)),
    "repeated": np.repeat(RNG.integers(0, 256, (1, 40, 40)).astype(np.uint8), 30, axis=0),
}
GREY = MADE["grey as RGBA"]
GREY[..., 1] = GREY[..., 2] = GREY[..., 0]
GREY[..., 3] = 255


@pytest.mark.parametrize("name", MADE)
def test_made_data_comes_back_in_few_bytes(name: str, tmp_path: Path) -> None:
    items = MADE[name]
    result = packed(items, tmp_path / "a.clen")
    back = cl.decompress(tmp_path / "a.clen")
    assert back.dtype == items.dtype and back.tobytes() == items.tobytes() and back.shape == items.shape
    assert result.verified and result.items == len(items) and result.dims == items.size
    general = len(pack_items(items)[1])  # all of it in one block
    frame = 300  # header, directory, checks
    assert result.archive_bytes is not None
    assert result.archive_bytes <= 1.01 * general + frame
    assert result.archive_bytes <= 1.005 * items.nbytes + frame
    assert result.expected_bytes is not None


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (0,)])
def test_arrays_without_samples(shape: tuple[int, ...], tmp_path: Path) -> None:
    result = packed(np.zeros(shape, np.uint8), tmp_path / "a.clen")
    assert cl.decompress(tmp_path / "a.clen").shape == shape
    assert result.dims == 0


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected files"):
        packed(tmp_path / "empty", tmp_path / "a.clen")


def test_photographs_are_coded_by_a_program(tmp_path: Path) -> None:
    items = waves(20, 96, 96)  # most of it noise, which no codec makes smaller
    result = packed(items, tmp_path / "a.clen")
    assert chosen(result) == ["adaptive balanced, photo"]
    assert result.archive_bytes is not None
    assert result.archive_bytes < 0.96 * len(pack_items(items)[1])


def folder_of_anything(folder: Path) -> Path:
    """Grey and colour images of several sizes, one black and white, one with a transparent pixel, and a text."""
    folder.mkdir()
    grey = waves(9)
    for k, image in enumerate(grey):
        Image.fromarray(image[: 30 + 2 * (k % 3)]).save(folder / f"{k}.png")
    for k in range(4):
        rgba = np.dstack([grey[k]] * 3 + [np.full_like(grey[k], 255)])
        if k == 3:
            rgba[5, 6] = (10, 20, 30, 40)
        Image.fromarray(rgba).save(folder / f"grey-{k}.png")
    Image.fromarray(grey[0] > 100).save(folder / "bits.png")
    (folder / "notes.txt").write_text("kept as it is " * 10)
    return folder


def test_a_folder_of_anything(tmp_path: Path) -> None:
    folder = folder_of_anything(tmp_path / "folder")
    told: list[PackResult] = []
    result = packed(folder, tmp_path / "a.clen", told=told.append)
    cl.decompress(tmp_path / "a.clen", tmp_path / "back")
    for path in folder.iterdir():
        back = tmp_path / "back" / path.name
        if path.suffix == ".png":
            with Image.open(path) as a, Image.open(back) as b:
                assert a.mode == b.mode and np.array_equal(np.asarray(a), np.asarray(b)), path.name
        else:
            assert path.read_bytes() == back.read_bytes()
    assert sorted(pile.items for pile in result.piles) == [1, 4, 9]
    assert [finding.about for finding in result.findings] == [{"files": 1}]
    assert len(told) == 2 and told[0].archive_bytes is None and told[1].archive_bytes == result.archive_bytes
    assert len(result.names) == result.items == 14
    assert all(bits is not None and bits > 0 for bits in result.item_bits)
    assert len(set(result.item_bits)) > 10  # each its own, not an equal share
    assert sum(result.item_dims) == result.dims


def test_the_bytes_do_not_depend_on_jobs(tmp_path: Path) -> None:
    folder = folder_of_anything(tmp_path / "folder")
    for jobs in (1, 3):
        packed(folder, tmp_path / f"{jobs}.clen", jobs=jobs, block=3)
    assert (tmp_path / "1.clen").read_bytes() == (tmp_path / "3.clen").read_bytes()


def test_blocks_as_asked(tmp_path: Path) -> None:
    for block, least in ((2, 6), (100, 1)):
        packed(MADE["photographs"], tmp_path / "a.clen", block=block)
        with Archive.open(tmp_path / "a.clen") as archive:
            assert len(archive.directory.blocks) == least
    packed(MADE["photographs"], tmp_path / "b.clen", block="0.001s", max_minutes=0)
    with Archive.open(tmp_path / "b.clen") as archive:
        assert len(archive.directory.blocks) > 6


def test_an_estimate_writes_nothing(tmp_path: Path) -> None:
    result = cl.pack(MADE["photographs"], estimate=True)
    assert result.archive_bytes is None and not list(tmp_path.iterdir())
    real = packed(MADE["photographs"], tmp_path / "a.clen")
    assert real.archive_bytes is not None and result.expected_bytes is not None
    assert abs(real.archive_bytes - result.expected_bytes) < 0.03 * real.archive_bytes
    assert result.peers and result.best_peer is not None and result.of_best_peer is not None


def test_codecs_beside_and_figures(tmp_path: Path) -> None:
    result = packed(MADE["photographs"], tmp_path / "a.clen", compare=True)
    assert {"PNG", "WebP", "xz"} <= {peer.name for peer in result.peers}
    assert all(peer.share == 1 and peer.items == 12 for peer in result.peers)
    assert result.best_peer is not None and result.archive_bytes is not None
    assert result.of_best_peer == result.archive_bytes / result.best_peer.bytes
    assert {"look", "choose", "code", "compare"} == set(result.seconds)
    written = result.to_json()
    assert written["best_peer"].startswith(result.best_peer.name) and written["piles"][0]["trials"][0]["chosen"]


def test_an_interrupt_while_comparing_keeps_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codelength.packing import peers

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(peers, "measure", interrupted)
    result = packed(MADE["tiny"], tmp_path / "a.clen", compare=True)
    assert result.peers == () and "interrupted" in result.notes[-1]
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), MADE["tiny"])


def test_the_first_guess_is_not_tried(tmp_path: Path) -> None:
    result = packed(MADE["photographs"], tmp_path / "a.clen", max_minutes=0)
    assert chosen(result) == ["adaptive balanced, photo"]
    assert result.expected_bytes is None
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), MADE["photographs"])


def test_compress_without_a_model_is_the_first_guess(tmp_path: Path) -> None:
    packed(MADE["photographs"], tmp_path / "a.clen", max_minutes=0)
    figures = cl.compress(MADE["photographs"], tmp_path / "b.clen")
    assert (tmp_path / "a.clen").read_bytes() == (tmp_path / "b.clen").read_bytes()
    assert figures["verified"] and figures["fallback_items"] == 0
    with pytest.raises(UsageError, match="left out"):
        cl.compress(MADE["photographs"], tmp_path / "c.clen", embed_model=False)


def test_what_a_trained_model_refuses_is_coded_by_a_program(tmp_path: Path) -> None:
    digits = np.asarray(cl.load_data("threshold-digits:test[:40]").items)
    items = np.concatenate([digits, waves(400, 8, 8)])  # the model has two symbols
    figures = cl.compress(items, tmp_path / "a.clen", "made-digits")
    assert figures["fallback_items"] == 0
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), items)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "quick"}, "profiles"),
        ({"max_minutes": -1}, "minutes"),
        ({"jobs": 0}, "one job"),
        ({"block": 0}, "at least one item"),
    ],
)
def test_wrong_options(options: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        packed(MADE["tiny"], tmp_path / "a.clen", **options)
    assert not (tmp_path / "a.clen").exists()


def test_a_place_is_needed() -> None:
    with pytest.raises(UsageError, match="expected a name"):
        cl.pack(MADE["tiny"])


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codelength.adaptive.learner import Learner

    items = waves(30, 24, 24)
    whole = packed(items, tmp_path / "whole.clen", block=3, max_minutes=0, jobs=1)
    encode, calls = Learner.encode, 0

    def stopped(self: Learner, *arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return encode(self, *arguments)

    monkeypatch.setattr(Learner, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        packed(items, tmp_path / "a.clen", block=3, max_minutes=0, jobs=1)
    assert not (tmp_path / "a.clen").exists()
    before, calls = calls, 100
    again = packed(items, tmp_path / "a.clen", block=3, max_minutes=0, jobs=1)
    assert calls - 100 < whole.figures["blocks"] and before == 6
    assert again.archive_bytes == whole.archive_bytes
    assert (tmp_path / "a.clen").read_bytes() == (tmp_path / "whole.clen").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.clen", "whole.clen"]


def test_an_array_grows(tmp_path: Path) -> None:
    items = waves(20, 24, 24)
    packed(items[:15], tmp_path / "a.clen")
    figures = cl.append(tmp_path / "a.clen", items[15:])
    assert figures["items"] == 20
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), items)
    with pytest.raises(UsageError):
        cl.append(tmp_path / "a.clen", waves(3, 5, 5))


def test_a_packaged_model_is_taken_where_it_saves_something(
    tmp_path: Path, pairs: FrozenModel, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codelength.packing import pack, trained
    from codelength.weights import Packaged

    items = pairs.sample(4000, seed=3).astype(np.uint8)
    without = packed(items, tmp_path / "a.clen")
    models = {"pairs": Packaged("pairs", pairs_file)}
    monkeypatch.setattr(pack, "packaged", lambda: models)
    assert trained.better([], models, 0.0, 1e18) is None
    monkeypatch.setattr(pack, "better", lambda *more: trained.better(*more[:2], 0.0, 1e18))
    result = packed(items, tmp_path / "b.clen")
    assert np.array_equal(cl.decompress(tmp_path / "b.clen"), items)
    assert result.archive_bytes is not None and without.archive_bytes is not None
    assert chosen(result) == ["pairs"] and chosen(without) != ["pairs"]
    assert result.archive_bytes < without.archive_bytes
    assert result.archive_bytes == pytest.approx(result.expected_bytes, rel=0.05)
    monkeypatch.setattr(pack, "better", lambda *more: trained.better(*more[:2], 1e12, 1e18))
    assert packed(items, tmp_path / "c.clen").archive_bytes == without.archive_bytes  # too slow
