"""The ten lines of Python: models, data, archives, and what is refused."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength.errors import CodelengthError, NotFrozen, NotRepresentable, UsageError, WrongModel
from codelength.laws.frozen import FrozenModel
from codelength.weights import MOST_BYTES, MOST_BYTES_TOGETHER


def test_every_public_name_is_there() -> None:
    for name in cl.__all__:
        assert getattr(cl, name) is not None
    assert set(cl.__all__) <= set(dir(cl))
    with pytest.raises(AttributeError, match="no attribute 'pack_everything'"):
        cl.pack_everything  # noqa: B018


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing ``codelength.NAME`` would put the module in the place of what ``NAME`` stands for."""
    assert not {module.name for module in pkgutil.iter_modules(cl.__path__)} & set(cl.__all__)


def test_a_data_set_goes_through(pairs: FrozenModel, tmp_path: Path) -> None:
    data = cl.load_data("threshold-digits:test")
    figures = cl.compress(data, tmp_path / "digits.clen", pairs)
    assert figures["data_sha256"] == data.sha256 and figures["fallback_items"] == 0
    assert np.array_equal(cl.decompress(tmp_path / "digits.clen"), data.items)
    assert np.array_equal(pairs.log_prob(data), pairs.log_prob(data.items))
    assert np.array_equal(cl.decompress(tmp_path / "digits.clen", range=(100, 200)), data.items[100:200])
    again = cl.compress("threshold-digits:test", tmp_path / "again.clen", pairs)
    assert (tmp_path / "again.clen").read_bytes() == (tmp_path / "digits.clen").read_bytes()
    assert again == figures
    assert cl.inspect(tmp_path / "again.clen")["bits_per_dim"] == figures["bits_per_dim"]
    assert cl.verify(tmp_path / "again.clen", data)["items"] == 360


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", ">f4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(
    dtype: str, order: str, pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path
) -> None:
    original = np.array(pair_items[:50], dtype=dtype, order=order)  # type: ignore[call-overload]
    cl.compress(original, tmp_path / "a.clen", pairs)
    cl.decompress(tmp_path / "a.clen", tmp_path / "a.npy")
    back = np.load(tmp_path / "a.npy")
    assert back.dtype.str == original.dtype.str and np.array_equal(back, original)
    assert back.flags.f_contiguous == original.flags.f_contiguous


def test_a_layout_says_which_axis_is_which(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    planes = pair_items[:40, None]  # (n, 1, h, w)
    figures = cl.compress(planes, tmp_path / "a.clen", pairs, layout="nchw")
    assert figures["fallback_items"] == 0
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), planes)
    assert cl.evaluate(pairs, planes, layout="nchw").nats == pytest.approx(cl.evaluate(pairs, pair_items[:40]).nats)
    with pytest.raises(UsageError, match="axes"):
        cl.compress(pair_items, tmp_path / "b.clen", pairs, layout="nhwc")


def test_several_arrays_in_one_file(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", labels=np.arange(80, dtype=">i2"), a=pair_items[:30], b=pair_items[30:80])
    cl.compress(tmp_path / "all.npz", tmp_path / "all.clen", pairs)
    cl.decompress(tmp_path / "all.clen", tmp_path / "back.npz")
    with np.load(tmp_path / "all.npz") as one, np.load(tmp_path / "back.npz") as two:
        assert one.files == two.files
        for name in one.files:
            assert one[name].dtype == two[name].dtype and np.array_equal(one[name], two[name])
    data = cl.load_data(str(tmp_path / "all.npz"))
    cl.compress(data, tmp_path / "loaded.clen", pairs)
    assert np.array_equal(cl.decompress(tmp_path / "loaded.clen"), pair_items[:80])


def test_a_folder_as_a_data_set(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k, item in enumerate(pair_items[:12]):
        grey = Image.fromarray(item * np.uint8(255))
        grey.convert(["1", "L", "RGB", "RGBA"][k % 4]).save(tmp_path / "images" / f"{k:02}.png")
    data = cl.load_data(str(tmp_path / "images"))
    cl.compress(data[2:9], tmp_path / "part.clen", pairs)
    back = cl.decompress(tmp_path / "part.clen")
    for k, pixels in enumerate(back, start=2):
        with Image.open(tmp_path / "images" / f"{k:02}.png") as image:
            assert np.array_equal(pixels, np.asarray(image))


def test_models_are_found_by_file_and_by_archive(
    pairs: FrozenModel, pairs_file: Path, pair_items: np.ndarray, tmp_path: Path
) -> None:
    assert cl.load(pairs_file).sha256 == pairs.sha256
    run = tmp_path / "run"
    run.mkdir()
    pairs.save(run / "model.clm")
    assert cl.load(str(run)).sha256 == pairs.sha256
    cl.compress(pair_items, tmp_path / "named.clen", run, embed_model=False)
    with pytest.raises(WrongModel):
        cl.decompress(tmp_path / "named.clen")
    assert np.array_equal(cl.decompress(tmp_path / "named.clen", model=pairs), pair_items)
    with pytest.raises(UsageError, match="codelength models"):
        cl.load("no-such-model")


@pytest.mark.parametrize("name", sorted(cl.packaged_models()))
def test_packaged_models_are_what_they_claim(name: str) -> None:
    """Loading compares the golden vector; the hash is that of the figures published with the model."""
    entry = cl.packaged_models()[name]
    assert entry.figures["model_sha256"] == cl.load(name).sha256 and entry.figures["model"] == name
    assert entry.path.stat().st_size <= MOST_BYTES


def test_a_packaged_model_is_named_not_held(tmp_path: Path) -> None:
    items = np.asarray(cl.load_data("threshold-digits:valid[:40]"))
    figures = cl.compress(items, tmp_path / "a.clen", "made-digits", embed_model=False)
    assert figures["model_bytes"] == 0
    assert np.array_equal(cl.decompress(tmp_path / "a.clen"), items)


def test_packaged_models_stay_light() -> None:
    assert sum(entry.path.stat().st_size for entry in cl.packaged_models().values()) <= MOST_BYTES_TOGETHER


def test_what_is_refused(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(NotFrozen, match="freeze it first"):
        cl.compress(pair_items, tmp_path / "a.clen", object())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="run folder"):
        cl.evaluate(pairs, pair_items, arithmetic="float")
    with pytest.raises(NotRepresentable, match="mask"):
        cl.inpaint(pairs, pair_items[0], np.ones((3, 3), bool))
    with pytest.raises(CodelengthError, match="at least one completion"):
        cl.inpaint(pairs, pair_items[0], np.ones((8, 8), bool), count=0)


def test_an_item_with_everything_known_is_returned(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    found = cl.inpaint(pairs, pair_items[0], np.ones((8, 8), bool), count=3, draws=2)
    assert np.array_equal(found, np.repeat(pair_items[:1], 3, axis=0))


def test_a_listing_shows_public_names_only() -> None:
    assert {name for name in dir(cl) if not name.startswith("__")} == set(cl.__all__)


def test_one_item_alone_is_told_to_be_a_batch(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    for use in (pairs.log_prob, pairs.code_length_bits, lambda item: cl.evaluate(pairs, item)):
        with pytest.raises(NotRepresentable, match=r"items\[None\]"):
            use(pair_items[0])
    with pytest.raises(NotRepresentable, match=r"image\[0\]"):
        cl.inpaint(pairs, pair_items[:1], np.ones((8, 8), bool))
    with pytest.raises(NotRepresentable, match=r"\(n, 8, 8\), got an array of shape \(3, 5\)"):
        pairs.log_prob(np.zeros((3, 5), np.uint8))


def test_models_and_estimates_say_what_they_are(pairs: FrozenModel, pair_items: np.ndarray) -> None:
    shown = repr(pairs)
    assert "sequential bernoulli: 8x8 of 2 symbols, exact" in shown and pairs.sha256[:12] in shown
    assert "bits/dim" in repr(cl.evaluate(pairs, pair_items)) and "8x8" in str(cl.Space((8, 8), 2))


def test_a_shape_with_a_batch_axis_is_explained(pairs: FrozenModel) -> None:
    with pytest.raises(NotRepresentable, match=r"one item, \(8, 8\): the count says how many"):
        pairs.sample(3, shape=(3, 8, 8))
    with pytest.raises(NotRepresentable, match=r"got \(7, 8\)$"):
        pairs.sample(3, shape=(7, 8))


def test_an_archive_of_a_model_worse_than_none_says_so(
    pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path
) -> None:
    flips = (np.indices((300, 8, 8)).sum(0) % 2).astype(np.uint8)
    (note,) = cl.compress(flips, tmp_path / "flips.clen", pairs)["notes"]
    assert "worse than none" in note
    assert cl.compress(pair_items, tmp_path / "pairs.clen", pairs)["notes"] == []


def test_the_examples_of_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner, examples = doctest.DocTestRunner(), 0
    for name in cl.__all__:
        value = getattr(cl, name)
        if inspect.isfunction(value) and name not in ("train", "freeze", "load_run"):  # which take long, or a run
            assert ">>> " in (value.__doc__ or ""), f"{name} has no example"
        for test in doctest.DocTestFinder(recurse=False).find(getattr(cl, name), name, globs={"cl": cl, "np": np}):
            examples += len(test.examples)
            assert not runner.run(test).failed, name
    assert examples


def test_a_range_is_two_numbers_or_one(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    cl.compress(pair_items[:9], tmp_path / "a.clen", pairs)
    assert np.array_equal(cl.decompress(tmp_path / "a.clen", range=5), pair_items[5:6])
    assert np.array_equal(cl.decompress(tmp_path / "a.clen", range=np.int64(8)), pair_items[8:9])
    for wrong in ("a", "ab", 1.5, (1,), (1, 2, 3), (0, 1.5), slice(1, 2)):
        with pytest.raises(UsageError, match="expected a range such as"):
            cl.decompress(tmp_path / "a.clen", range=wrong)  # type: ignore[arg-type]
    for outside in (9, -1):
        with pytest.raises(UsageError, match="within 0:9"):
            cl.decompress(tmp_path / "a.clen", range=outside)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: cl.load(3),
        lambda model: cl.load_data(3),
        lambda model: model.sample(-1),
        lambda model: model.sample(2.5),
        lambda model: model.sample(3, seed="a"),
        lambda model: cl.compare(cl.evaluate(model, model.sample(3)), 3),
    ],
)
def test_arguments_of_another_kind_are_named(pairs, call):
    with pytest.raises(UsageError, match="expected"):
        call(pairs)


def test_one_item_by_itself_is_pointed_out(pairs: FrozenModel, pair_items: np.ndarray, tmp_path: Path) -> None:
    notes = cl.compress(pair_items[0], tmp_path / "one.clen", pairs)["notes"]
    assert notes[0] == "each row of the array 8x8 was taken for an item; one item by itself is array[None]"
    assert not any("row" in note for note in cl.compress(pair_items[:1], tmp_path / "a.clen", pairs)["notes"])
    assert not any("row" in note for note in cl.compress(pair_items[0, :5], tmp_path / "b.clen", pairs)["notes"])


def test_a_packaged_model_is_no_run() -> None:
    with pytest.raises(UsageError, match="packaged model made-digits, of which the frozen twin"):
        cl.load_run("made-digits")
