"""An archive as a sequence: the same items as ``decompress`` gives, and no block decoded more often than it must."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_manifest import GOLDEN, Golden
from PIL import Image

import codelength as cl
from codelength.archive.reader import Archive
from codelength.errors import CorruptBlock, DataError, TooLarge, UsageError, WrongModel
from codelength.laws.frozen import FrozenModel


def same(left: Any, right: Any) -> bool:
    if isinstance(left, bytes) or isinstance(right, bytes):
        return bool(left == right)
    left, right = np.asarray(left), np.asarray(right)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.fixture
def pairs_archive(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> Path:
    """Three hundred items in fifteen blocks."""
    cl.compress(pair_items, tmp_path / "pairs.clen", pairs, block=20)
    return tmp_path / "pairs.clen"


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
def test_golden_archives_are_sequences_of_what_decompress_gives(golden: Golden) -> None:
    expected = cl.decompress(golden.path, model=golden.model_path)
    with cl.open(golden.path, golden.model_path) as items:
        assert len(items) == len(expected)
        for all_items in (list(items), [items[k] for k in range(len(items))], items[:]):
            assert len(all_items) == len(expected) and all(map(same, all_items, expected))
        assert all(map(same, items[::-2], expected[::-2]))
        if len(items):
            assert same(items[-1], expected[-1]) and same(items[[0, -1]][1], expected[-1])
        if isinstance(expected, np.ndarray):
            whole = np.asarray(items)
            assert same(whole, expected) and whole.flags.f_contiguous == expected.flags.f_contiguous
        for name, item in zip(items.names, expected):
            assert name in items and same(items[name], item)


def test_members_and_files_are_found_by_name(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", labels=np.arange(80, dtype=">i2"), a=pair_items[:30], b=pair_items[30:80])
    cl.compress(tmp_path / "all.npz", tmp_path / "all.clen", pairs)
    with cl.open(tmp_path / "all.clen") as items, np.load(tmp_path / "all.npz") as arrays:
        assert items.files == arrays.files and items.names == [] and len(items) == 80
        assert all(same(items[name], arrays[name]) for name in arrays.files)
        assert "b" in items and "c" not in items
    folder = tmp_path / "folder"
    (folder / "more").mkdir(parents=True)
    for k in range(3):
        Image.fromarray(pair_items[k] * np.uint8(255)).save(folder / "more" / f"{k}.png")
    (folder / "notes.txt").write_bytes(b"kept as it is")
    cl.compress(folder, tmp_path / "folder.clen", pairs)
    with cl.open(tmp_path / "folder.clen") as items:
        assert items.names == [f"more/{k}.png" for k in range(3)] and items.files == ["notes.txt"]
        assert same(items["more/1.png"], pair_items[1] * np.uint8(255)) and items["notes.txt"] == b"kept as it is"
        assert np.asarray(items).shape == (3, 8, 8) and isinstance(items[:2], list)
        with pytest.raises(KeyError, match="nothing of the name"):
            items["more/9.png"]


def test_blocks_are_decoded_once_and_only_where_needed(pairs_archive: Path, decoded: Counter[int]) -> None:
    with cl.open(pairs_archive) as items:
        assert not decoded
        items[45], items[59], items[-260], items[40:60]
        assert decoded == {2: 1}
        items[[299, 41, 298]]
        assert decoded == {2: 1, 14: 1}
        assert len(list(items)) == 300 and len(list(items)) == 300
        np.asarray(items)
        assert set(decoded.values()) == {1} and len(decoded) == items.decoded == 15


def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago(pairs_archive: Path, decoded: Counter[int]) -> None:
    with cl.open(pairs_archive, cache=3 * 20 * 64) as items:
        for number in (0, 20, 40, 0, 60, 0):  # block 1 goes when block 3 comes
            items[number]
        assert decoded == {0: 1, 1: 1, 2: 1, 3: 1}
        items[45], items[25]
        assert decoded == {0: 1, 1: 2, 2: 1, 3: 1}
        assert len(items._blocks) == 3
    decoded.clear()
    with cl.open(pairs_archive, cache=0) as items:
        assert len(list(items)) == 300 and set(decoded.values()) == {1}
    with pytest.raises(UsageError, match="cache"):
        cl.open(pairs_archive, cache=-1)


def test_items_are_the_callers_own(pairs_archive: Path, pair_items: np.ndarray) -> None:
    with cl.open(pairs_archive) as items:
        for taken in (items[3], items[3:4], next(iter(items)), np.asarray(items)):
            taken[...] = 7
        assert same(items[:], pair_items)


def test_what_is_not_there_is_refused(pairs_archive: Path, tmp_path: Path) -> None:
    items = cl.open(pairs_archive)
    assert len(items[5:5]) == 0 and items[5:5].shape == (0, 8, 8) and items[:10_000].shape == (300, 8, 8)
    for number in (300, -301):
        with pytest.raises(IndexError, match="300 items"):
            items[number]
        with pytest.raises(IndexError, match="300 items"):
            items[[0, number]]
    for odd in (1.5, None, [[1]], [0.5]):
        with pytest.raises(TypeError, match="expected"):
            items[odd]
    with pytest.raises(TypeError, match="name"):
        5 in items  # noqa: B015
    assert "300 items of 8x8, uint8" in repr(items) and "15 blocks" in repr(items)
    items.close()
    assert "closed" in repr(items)
    for use in (lambda: items[0], lambda: list(items), lambda: np.asarray(items), lambda: pickle.dumps(items)):
        with pytest.raises(UsageError, match="has been closed"):
            use()


def test_a_damaged_block_costs_itself_only(pairs_archive: Path, pair_items: np.ndarray) -> None:
    with Archive.open(pairs_archive) as archive:
        block = archive.directory.blocks[4]
    data = bytearray(pairs_archive.read_bytes())
    data[block.offset + 5] ^= 0xFF
    pairs_archive.write_bytes(data)
    with cl.open(pairs_archive) as items:
        for _ in range(2):
            with pytest.raises(CorruptBlock, match="block 4"):
                items[85]
        assert same(items[79], pair_items[79]) and same(items[100:], pair_items[100:])


def test_suspiciously_large_output_is_refused(
    pairs_archive: Path, decoded: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codelength.archive.reader.OUTPUT_BYTES", 100 * 64)
    monkeypatch.setattr("codelength.archive.reader.OUTPUT_RATIO", 0)
    with cl.open(pairs_archive) as items:
        for use in (lambda: np.asarray(items), lambda: items[:101]):
            with pytest.raises(TooLarge, match="limit"):
                use()
        assert not decoded and len(items[:100]) == 100


def test_models_are_found_as_by_decompress(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    cl.compress(pair_items, tmp_path / "named.clen", pairs, embed_model=False)
    with cl.open(tmp_path / "named.clen") as items, pytest.raises(WrongModel):
        items[0]
    with cl.open(tmp_path / "named.clen", pairs) as items:
        assert same(items[0], pair_items[0]) and items.model is pairs
        with pickle.loads(pickle.dumps(items)) as copied:
            assert same(copied[7], pair_items[7])
    digits = np.asarray(cl.load_data("threshold-digits:valid[:6]"))
    cl.compress(digits, tmp_path / "digits.clen", "made-digits", embed_model=False)
    with cl.open(tmp_path / "digits.clen") as items:
        assert same(items[5], digits[5])


def test_eight_threads_share_an_archive(pairs_archive: Path, pair_items: np.ndarray, decoded: Counter[int]) -> None:
    wrong: list[Any] = []
    with cl.open(pairs_archive) as items:

        def work(seed: int) -> None:
            try:
                order = np.random.default_rng(seed).permutation(len(items)).tolist()
                wrong.extend(number for number in order if not same(items[number], pair_items[number]))
                if not same(items[::-1], pair_items[::-1]):
                    wrong.append("slice")
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong and set(decoded.values()) == {1} and len(decoded) == 15


def take(items: Any, numbers: list[int]) -> list[bytes]:
    return [item.tobytes() for item in items.__getitems__(numbers)]


@pytest.mark.parametrize("method", [m for m in ("spawn", "fork") if m in multiprocessing.get_all_start_methods()])
def test_it_stands_for_a_data_set_in_other_processes(
    method: str, pairs_archive: Path, pair_items: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a loader of batches does: lengths and items, in workers that got the data set by pickling or by forking."""
    numbers = [3, 250, 4]
    with cl.open(pairs_archive) as items:
        items[0]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        with multiprocessing.get_context(method).Pool(2) as pool:
            batches = pool.starmap(take, [(items, numbers), (items, numbers[::-1])], chunksize=1)
    assert batches[0] == batches[1][::-1] == [pair_items[k].tobytes() for k in numbers]


def test_a_copy_in_another_process_refuses_another_file(
    pairs_archive: Path, pairs: FrozenModel, pair_items: np.ndarray
) -> None:
    with cl.open(pairs_archive) as items:
        copied = pickle.dumps(items)
    cl.compress(pair_items[:10], pairs_archive, pairs, force=True)
    with pytest.raises(DataError, match="not the file that it was"):
        pickle.loads(copied)


def test_no_torch_is_imported(pairs_archive: Path) -> None:
    code = f"import sys, codelength as cl; cl.open({str(pairs_archive)!r})[5]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
