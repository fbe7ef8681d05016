"""Training on squares cut out of images of several sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import codelength as cl
from codelength.data.dataset import items_sha256
from codelength.data.load import load_data
from codelength.errors import CheckpointError, DataError
from codelength.training import loop
from codelength.training.config import TrainingConfig
from codelength.training.data import load_split
from codelength.training.draws import Binarized, Crops, Items
from codelength.training.run import train

RECIPE = """
model = "made"
[made]
hidden = [8]
[training]
steps = 6
batch = 8
crop = 4
validate_every = 3
learning_rate = 1e-2
"""
SIZES = ((4, 4), (5, 9), (8, 4), (6, 6), (7, 5))


@pytest.fixture
def folder(tmp_path):
    """Images of five sizes, of zeros and ones."""
    rng = np.random.default_rng(0)
    path = tmp_path / "images"
    path.mkdir()
    for number in range(20):
        picture = rng.random(SIZES[number % len(SIZES)]) < 0.3
        Image.fromarray(picture).save(path / f"{number:02}.png")
    return path


def places(crops: np.ndarray, columns: int) -> np.ndarray:
    """Top left corners of crops of an image whose pixels are their numbers."""
    return np.stack(np.divmod(crops[:, 0, 0], columns), 1)


def test_every_window_is_drawn_equally_often():
    image = np.arange(30).reshape(5, 6)
    crops = Crops([np.zeros((3, 3), int), image], 3, "a")
    drawn = crops(torch.ones(6000, dtype=torch.long), torch.Generator().manual_seed(0)).numpy()
    for crop, (top, left) in zip(drawn, places(drawn, 6)):
        assert np.array_equal(crop, image[top : top + 3, left : left + 3])
    counts = np.unique(places(drawn, 6), axis=0, return_counts=True)[1]
    assert len(counts) == 12
    expected = 6000 / 12
    assert ((counts - expected) ** 2 / expected).sum() < 31.3  # chi-square of 11 degrees of freedom, one in a thousand


def test_fixed_crops_are_the_same_every_time_and_lie_in_their_images():
    images = [100 * k + np.arange(5 * (6 + k)).reshape(5, 6 + k) for k in range(3)]
    crops = Crops(images, 3, "a").only(np.array([0, 2]))
    found = crops.fixed(np.arange(2))
    assert np.array_equal(found, crops.fixed(np.arange(2))) and found.shape == (2, *crops.shape) == (2, 3, 3)
    assert np.array_equal(found, Crops(images, 3, "a").fixed(np.array([0, 2])))
    assert np.array_equal(crops.only(np.array([1])).fixed(np.array([0])), found[1:])
    for crop, image in zip(found, (images[0], images[2])):
        row, column = np.argwhere(image == crop[0, 0])[0]
        assert np.array_equal(crop, image[row : row + 3, column : column + 3])


def test_images_of_several_sizes_are_trained_on(folder, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    runs = [train(recipe, folder, tmp_path / name, seed=1) for name in "ab"]
    assert runs[0].frozen is not None and runs[0].frozen.space.shape == (4, 4)
    assert runs[0].frozen.space.symbols == 2
    assert runs[0].frozen.sha256 == runs[1].frozen.sha256


def test_a_run_on_crops_is_resumed_bit_for_bit_and_only_on_its_images(folder, tmp_path, monkeypatch):
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    whole = train(recipe, folder, tmp_path / "whole")
    original = loop._Run._step

    def stopping(self, rate):
        self.stopping = self.step + 1 == 3
        return original(self, rate)

    monkeypatch.setattr(loop._Run, "_step", stopping)
    assert train(recipe, folder, tmp_path / "part").reason == "interrupted"
    monkeypatch.setattr(loop._Run, "_step", original)
    # What crops may show of an image is a part of the data, and not only what those show that validate or calibrate.
    name = "01.png"  # of 5x9 pixels, of which a crop shows 16
    before = (folder / name).read_bytes()
    picture = np.array(Image.open(folder / name))
    picture[_hidden(folder, name)] ^= True
    Image.fromarray(picture).save(folder / name)
    with pytest.raises(CheckpointError, match="now have"):
        train(None, None, tmp_path / "part", resume=True)
    (folder / name).write_bytes(before)
    resumed = train(None, None, tmp_path / "part", resume=True)
    assert resumed.reason == "done" and resumed.frozen.sha256 == whole.frozen.sha256


def _hidden(folder, name):
    """A pixel of an image that no fixed crop shows."""
    number = int(name[:2])
    shown = np.arange(45).reshape(5, 9)
    images = [shown if k == number else np.zeros((9, 9), int) for k in range(20)]
    crop = Crops(images, 4, load_data(folder).name).fixed(np.array([number]))
    left = np.setdiff1d(shown, crop)
    return np.unravel_index(left[0], shown.shape)


def test_grey_crops_are_binarized_anew():
    grey = np.random.default_rng(1).integers(0, 256, (40, 6, 7)).astype(np.uint8)
    split = load_split(grey, TrainingConfig(crop=4, binarize="dynamic"))
    assert (len(split.items), len(split.valid_items)) == (36, 4)
    assert split.items.shape == split.valid_items.shape == (4, 4)
    assert split.space.symbols == 2 and split.binarize == "dynamic" and split.valid_items.fixed(np.arange(4)).max() == 1
    assert isinstance(split.items, Crops)
    assert split.items(torch.arange(36), torch.Generator().manual_seed(0)).max() > 1  # grey until the loop draws them


def test_images_smaller_than_a_crop_are_named(folder):
    with pytest.raises(DataError, match=r"at least 5x5 pixels .* 00\.png of images has 4x4"):
        load_split(folder, TrainingConfig(crop=5))
    with pytest.raises(DataError, match=r"training\.crop"):
        load_split(folder, TrainingConfig())
    with pytest.raises(DataError, match="images of one mode"):
        load_split(load_data(np.zeros((9, 5), np.uint8)), TrainingConfig(crop=2))


def test_items_are_read_when_they_are_drawn_and_known_by_their_values(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (50, 3, 2)).astype(np.uint8)
    np.save(tmp_path / "items.npy", values)
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    some = np.array([4, 30, 7])
    items = Items(mapped).only(some)
    assert items.values is mapped and items.sha256 == items_sha256(values[some])
    drawn = items(torch.tensor([2, 0]), torch.Generator())
    assert np.array_equal(drawn.numpy(), values[[7, 4]]) and np.array_equal(items.fixed(np.arange(3)), values[some])


def test_pieces_are_all_items_in_their_order(monkeypatch):
    monkeypatch.setattr("codelength.training.draws.PIECE", 4 * 6)
    values = np.arange(66, dtype=np.uint8).reshape(11, 3, 2)
    pieces = list(Items(values).pieces())
    assert [start for start, _ in pieces] == [0, 4, 8]
    assert np.array_equal(np.concatenate([piece for _, piece in pieces]), values)


def test_binarized_draws_are_ones_as_often_as_they_are_bright():
    grey = np.tile(np.array([0, 51, 204, 255], np.uint8), (4000, 1))
    draws = Binarized(Items(grey))
    drawn = draws(torch.arange(4000), torch.Generator().manual_seed(0)).numpy()
    for found in (drawn, draws.fixed(np.arange(4000))):
        assert np.abs(found.mean(0) - grey[0] / 255).max() < 4 * 0.4 / np.sqrt(4000)
    assert np.array_equal(draws.fixed(np.arange(9)), draws.fixed(np.arange(9)))


def test_images_are_drawn_alike_from_a_folder_from_a_list_and_from_an_archive(folder, pairs, tmp_path):
    config = TrainingConfig(crop=4)
    images = [np.array(Image.open(path)) for path in sorted(folder.iterdir())]
    cl.compress(folder, tmp_path / "images.clen", pairs)
    with cl.open(tmp_path / "images.clen") as archive:
        splits = [load_split(data, config) for data in (folder, images, archive)]
        drawn = [split.items(torch.arange(18), torch.Generator().manual_seed(0)).numpy() for split in splits]
    assert all(np.array_equal(found, drawn[0]) for found in drawn)
    assert len({split.images_sha256 for split in splits}) == 1
    assert all(str(split.space) == str(splits[0].space) for split in splits)
