"""Folders of images as data sets."""

import numpy as np
import pytest
from PIL import Image

from codelength.data import load_data
from codelength.data.scan import scan
from codelength.errors import DataError, UsageError
from codelength.laws.space import Space


def save(folder, name, array, mode=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_images_of_one_size_become_one_array(tmp_path):
    for i in range(4):
        save(tmp_path, f"{3 - i}.png", noise(5, 6, seed=i))
    data = load_data(tmp_path)
    assert data.space == Space((5, 6), 256) and data.items.shape == (4, 5, 6)
    assert data.origin.files == ("0.png", "1.png", "2.png", "3.png")
    assert np.array_equal(data.items[0], noise(5, 6, seed=3))
    assert data.preprocessing == "none" and data.left_out == ()
    part = data[1:3]
    assert part.origin.files == ("1.png", "2.png") and part.origin.modes == ("L", "L")


def test_one_image(tmp_path):
    save(tmp_path, "a.png", noise(5, 6, 3))
    data = load_data(str(tmp_path / "a.png"))
    assert data.origin.kind == "image" and data.space == Space((5, 6, 3), 256) and len(data) == 1
    with pytest.raises(UsageError, match="holds images"):
        load_data(str(tmp_path / "a.png"), layout="nhwc")


def test_sizes_that_differ_are_free_and_read_when_asked_for(tmp_path):
    save(tmp_path, "a.png", noise(5, 6, 3))
    save(tmp_path, "b/c.png", noise(7, 6, 3))
    data = load_data(tmp_path)
    assert data.items is None and data.space == Space((None, 6, 3), 256)
    assert np.array_equal(data.images[1], noise(7, 6, 3))
    assert [image.shape for image in data[1:].images] == [(7, 6, 3)]
    assert data.subset(1, seed=0).origin.files[0] in ("a.png", "b/c.png")
    digest = data.sha256
    save(tmp_path, "b/c.png", noise(7, 6, 3, seed=1))
    assert load_data(tmp_path).sha256 != digest


def test_what_all_images_share_is_left_out_and_said(tmp_path):
    for i in range(3):
        grey = noise(4, 4, seed=i)
        rgba = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=2)
        save(tmp_path, f"{i}.png", rgba)
    data = load_data(tmp_path)
    assert data.space == Space((4, 4), 256) and np.array_equal(data.items[2], noise(4, 4, seed=2))
    assert data.preprocessing == "opaque alpha left out, equal colour channels as one"
    assert data.origin.modes == ("RGBA",) * 3
    save(tmp_path, "3.png", noise(4, 4))
    assert load_data(tmp_path).space == Space((4, 4), 256), "a grey one is no obstacle"
    save(tmp_path, "4.png", noise(4, 4, 3))
    data = load_data(tmp_path)
    assert data.space is None and data.items is None, "a coloured one is, and the grey one then differs"
    assert [image.shape for image in data.images] == [(4, 4, 3)] * 3 + [(4, 4), (4, 4, 3)]


def test_transparency_is_kept(tmp_path):
    save(tmp_path, "a.png", noise(4, 4, 4))
    save(tmp_path, "b.png", np.full((4, 4, 4), 255, np.uint8))
    data = load_data(tmp_path)
    assert data.space == Space((4, 4, 4), 256) and data.preprocessing == "none"


def test_one_bit_and_sixteen(tmp_path):
    save(tmp_path / "bits", "a.png", noise(4, 4), "1")
    save(tmp_path / "deep", "a.png", noise(4, 4).astype(np.uint16) * 257)
    assert load_data(tmp_path / "bits").space == Space((4, 4), 2)
    deep = load_data(tmp_path / "deep")
    assert deep.space == Space((4, 4), 65536) and np.array_equal(deep.items[0], noise(4, 4).astype(int) * 257)


def test_mixed_folders_say_what_they_leave_out(tmp_path):
    save(tmp_path, "a.png", noise(4, 4))
    (tmp_path / "notes.txt").write_text("hello")
    Image.fromarray(noise(4, 4, 3)).quantize(4).save(tmp_path / "p.png")
    data = load_data(tmp_path)
    assert len(data) == 1 and data.left_out == (("notes.txt", "not an image"), ("p.png", "it has a palette"))
    assert data.name.endswith("(2 files left out)")


def test_folders_without_images_get_a_sentence(tmp_path):
    with pytest.raises(DataError, match="expected files in the folder"):
        load_data(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"expected images in .*; notes\.txt: not an image"):
        load_data(tmp_path)


def test_an_image_that_disappears_gets_a_sentence(tmp_path):
    save(tmp_path, "a.png", noise(5, 6))
    save(tmp_path, "b.png", noise(7, 6))
    data = load_data(tmp_path)
    (tmp_path / "a.png").write_bytes(b"gone")
    with pytest.raises(DataError, match="a moment ago"):
        _ = data.images[0]


def test_empty_folders_are_named_since_they_are_not_kept(tmp_path, caplog):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_bytes(b"data")
    (tmp_path / "inner" / "empty").mkdir(parents=True)
    assert [entry.name for entry in scan(tmp_path)] == ["full/notes.txt"]
    assert "1 empty folders are not kept, such as inner/empty" in caplog.text
