"""Maps say where the bits of items went: their sums are what evaluation says, whatever the model and the channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength.cli import main
from codelength.data.arrays import from_array
from codelength.errors import UsageError
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset
from codelength.likelihood.maps import ItemMap, item_maps
from codelength.report.colours import as_picture, coloured, enlarged, round_top
from codelength.report.maps import map_picture, write_maps


@pytest.mark.parametrize("model", ["made-digits", "fast"])
def test_the_sum_of_a_map_is_the_bits_of_its_item(model: str) -> None:
    frozen = cl.load(model) if model == "made-digits" else preset(model, 2, kind="binary")
    data = cl.load_data("threshold-digits:test")
    result = cl.evaluate(frozen, data, limit=40, seed=3)
    found = list(item_maps(frozen, data, limit=40, seed=3, size=16))
    assert [item.number for item in found] == result.item_index.tolist()
    assert np.allclose([item.total for item in found], -result.item_nats / np.log(2), atol=1e-3)
    assert all(item.bits.shape == (8, 8) and np.array_equal(item.pixels, data.items[item.number]) for item in found)


def test_each_pixel_costs_what_the_code_of_images_up_to_it_grows_by() -> None:
    frozen = cl.load("made-digits")
    items = cl.load_data("threshold-digits:test").items[:4]
    each = frozen.element_bits(items)
    law = frozen.law.conditional.parallel(items, {"shape": (8, 8)})
    _, freqs = law.intervals(items)
    order = np.broadcast_to(np.arange(64) if law.order is None else law.order, freqs.shape)
    slow = np.empty((4, 64))
    for row, places, some in zip(slow, order, freqs):
        for place, freq in zip(places, some):
            row[place] = law.leaf.bits - np.log2(freq)
    assert np.allclose(each.reshape(4, 64), slow, atol=2e-6)


def test_channels_are_added_up_and_vectors_are_shown_as_they_came() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3)).astype(np.uint8)
    frozen = preset("fast", 256, channels=3)
    found = list(item_maps(frozen, from_array(colours)))
    assert [item.bits.shape for item in found] == [(9, 7)] * 3
    bits = frozen.code_length_bits(colours)
    assert np.allclose([item.total for item in found], bits, atol=1e-2)
    assert np.array_equal(found[2].pixels, colours[2])


def test_models_that_do_not_tell_what_pixels_cost_are_refused_in_a_sentence(tmp_path: Path, capsys) -> None:
    data = cl.load_data("threshold-digits:test")
    with pytest.raises(UsageError, match=r"marginal.*no maps"):
        item_maps(cl.load("vae-mnist"), data)
    np.save(tmp_path / "zeros.npy", np.zeros((2, 28, 28), np.uint8))
    asked = ["evaluate", "vae-mnist", "--data", str(tmp_path / "zeros.npy"), "--maps", str(tmp_path / "maps")]
    assert main(asked) == 2
    said = capsys.readouterr().err
    assert "latents" in said and "Traceback" not in said and not (tmp_path / "maps").exists()


def test_evaluate_draws_them(pairs: FrozenModel, pairs_file: Path, pair_data: Path, tmp_path: Path, capsys) -> None:
    folder, numbers = tmp_path / "maps", tmp_path / "maps.npz"
    asked = ["evaluate", str(pairs_file), "--data", str(pair_data), "--limit", "5", "--maps"]
    assert main([*asked, str(folder)]) == 0
    assert "5 maps" in capsys.readouterr().out
    assert main([*asked, str(numbers)]) == 0
    with np.load(numbers) as found:
        held = {name: found[name] for name in found}
    assert {f"{name}.png" for name in held} == {path.name for path in folder.iterdir()}
    items = np.load(pair_data)
    for name, bits in held.items():
        whole = pairs.code_length_bits(items[[int(name.removeprefix("item-"))]])[0]
        assert bits.dtype == np.float32 and bits.sum() == pytest.approx(whole, abs=1e-3)
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.mode == "RGB" and picture.size[0] > 2 * 256
    before = numbers.read_bytes()
    assert main([*asked, str(numbers)]) == 0 and numbers.read_bytes() == before
    assert main([*asked, str(pair_data)]) == 2  # a file stands where the folder would be
    assert "expected a folder for maps" in capsys.readouterr().err


def test_a_map_is_drawn_pixel_by_pixel_beside_its_item() -> None:
    pixels = np.arange(12).reshape(3, 4)
    item = ItemMap(7, pixels, (pixels / 4).astype(np.float32))
    sheet = np.asarray(map_picture(item, 12, 2.0))
    left, right = enlarged(as_picture(pixels, 12), 256, 1024), enlarged(coloured(item.bits, 2.0), 256, 1024)
    tops = [y for y in range(80) if np.array_equal(sheet[y : y + len(left), 16 : 16 + left.shape[1]], left)]
    assert len(tops) == 1
    start = 16 + left.shape[1] + 16
    assert np.array_equal(sheet[tops[0] : tops[0] + len(right), start : start + right.shape[1]], right)


def test_colours_grow_lighter_and_end_where_the_scale_ends() -> None:
    shown = coloured(np.linspace(-1, 6, 300), 5.0).astype(int)
    assert (np.diff(shown @ [299, 587, 114]) >= -300).all()
    assert (shown[0] == (0, 0, 4)).all() and (shown[-1] == (252, 253, 191)).all()
    assert round_top(np.array([0.0, 0.0])) == 1.0
    assert round_top(np.full(10, 3.2)) == 4.0 and round_top(np.full(10, 0.021)) == pytest.approx(0.03)


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none"):
        write_maps(tmp_path / "maps", iter(()), 2)
    assert not (tmp_path / "maps").exists()
