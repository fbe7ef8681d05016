"""Data of every form is opened in one place, and says the same of the same items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from written_arrays import write_arrays

import codelength as cl
from codelength.data.opened import open_data
from codelength.errors import DataError, UsageError

ITEMS = np.random.default_rng(0).integers(0, 256, (6, 5, 4)).astype(np.uint8)
SIZES = ((5, 4), (3, 7), (5, 4), (6, 6, 3))


def pictures() -> list[np.ndarray]:
    """Images of several sizes, grey and in colour."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, size).astype(np.uint8) for size in SIZES]


def forms(folder: Path) -> dict[str, object]:
    """The same items as files and in memory."""
    for name in ("items.npy", "items.npz", "items-idx3-ubyte", "items-idx3-ubyte.gz"):
        write_arrays(folder / name, {"items": ITEMS})
    (folder / "images").mkdir()
    for number, item in enumerate(ITEMS):
        Image.fromarray(item).save(folder / "images" / f"{number}.png")
    np.savez(folder / "two.npz", labels=np.arange(3), items=ITEMS)
    found: dict[str, object] = {path.name: path for path in folder.iterdir()}
    found |= {f"text {name}": str(path) for name, path in found.items()}
    found["member"] = f"{folder / 'two.npz'}:items"
    found["range"] = f"{folder / 'items.npy'}[0:6]"
    return found | {"array": ITEMS, "list": list(ITEMS), "lists": ITEMS.tolist(), "data set": cl.load_data(ITEMS)}


def test_every_form_gives_the_same_items_to_models_and_to_archives(tmp_path):
    for name, data in forms(tmp_path).items():
        opened = open_data(data)
        assert np.array_equal(opened.data_set.items, ITEMS), name
        assert opened.data_set.sha256 == cl.load_data(ITEMS).sha256, name
        assert opened.sha256 in (None, opened.data_set.sha256), name
        source = opened.archived
        read = [source.read(kind, 0, len(kind.entries)) for kind in source.classes()]
        assert np.array_equal(np.concatenate(read), ITEMS), name
        assert opened.size >= ITEMS.nbytes or "gz" in name or "npz" in name, name


def test_nothing_is_looked_at_before_it_is_asked_for(tmp_path, monkeypatch):
    forms(tmp_path)
    monkeypatch.setattr("codelength.data.scan.read_pieces", None)  # every read of an image goes through it
    opened = open_data(tmp_path / "images")
    with pytest.raises(TypeError):
        _ = opened.data_set


def test_what_is_known_of_an_item_needs_no_reading(tmp_path):
    for number, image in enumerate(pictures()):
        Image.fromarray(image).save(tmp_path / f"{number}.png", dpi=(72, 72))
    data = open_data(tmp_path).data_set
    for path in tmp_path.iterdir():
        path.unlink()
    for number, image in enumerate(pictures()):
        item = data.item(number)
        assert (item.name, item.shape, item.dtype) == (f"{number}.png", image.shape, image.dtype)
        assert item.mode == ("RGB" if image.ndim == 3 else "L") and item.metadata
    assert open_data(ITEMS).data_set.item(3).shape == (5, 4)


def test_an_image_that_got_another_size_is_named(tmp_path):
    for number, image in enumerate(pictures()):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    data = open_data(tmp_path).data_set
    Image.fromarray(pictures()[0]).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"1\.png changed"):
        _ = data.images[1]


def test_images_of_several_sizes_may_be_a_list(tmp_path, pairs):
    images = pictures()
    data = open_data(images).data_set
    assert all(np.array_equal(one, two) for one, two in zip(data.images, images, strict=True))
    figures = cl.compress(images, tmp_path / "list.clen", pairs)
    assert figures["items"] == len(images)
    back = cl.decompress(tmp_path / "list.clen")
    assert all(np.array_equal(one, two) for one, two in zip(back, images, strict=True))
    with cl.open(tmp_path / "list.clen") as archive:
        again = open_data(archive).data_set
        assert again.sha256 == data.sha256 and again.origin.files == data.origin.files
        cl.compress(archive, tmp_path / "again.clen", pairs)
    assert (tmp_path / "again.clen").read_bytes() == (tmp_path / "list.clen").read_bytes()
    assert cl.verify(tmp_path / "again.clen", images)["sound"]


def test_open_archives_of_one_size_are_arrays(tmp_path, pairs, pair_items):
    cl.compress(pair_items[:9], tmp_path / "a.clen", pairs)
    with cl.open(tmp_path / "a.clen") as archive:
        assert cl.evaluate(pairs, archive).nats == cl.evaluate(pairs, pair_items[:9]).nats
        source = open_data(archive).archived
        assert np.array_equal(source.read(source.classes()[0], 2, 5), pair_items[2:5])


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (3, UsageError, "int 3"),
        ({"a": ITEMS}, UsageError, "dict"),
        (b"bytes", UsageError, "bytes"),
        ([np.zeros((2, 2)), np.zeros((3, 2))], DataError, r"float64 \(2, 2\) for item 0"),
        ([b"a", b"b"], DataError, "got bytes for item 0"),
        ([(np.zeros(2), np.zeros(3))], DataError, "got tuple for item 0"),
        ("no-such-thing", DataError, "neither a data set"),
        ("digits:nothing", UsageError, "no split 'nothing'"),
    ],
)
def test_what_is_no_data_is_named(data, error, words):
    with pytest.raises(error, match=words):
        open_data(data)


def test_layouts_belong_to_arrays(tmp_path):
    forms(tmp_path)
    for data in (tmp_path / "images", pictures(), "threshold-digits:test"):
        with pytest.raises(UsageError, match="layout"):
            open_data(data, layout="nhw")
