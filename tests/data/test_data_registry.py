"""Named data sets: splits, hashes, preprocessing, and what is said about them."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from written_arrays import idx_bytes

from codelength.data import datasets, load_data
from codelength.data.dataset import items_sha256
from codelength.data.pinned import ITEMS
from codelength.data.registry import REGISTRY, SPLIT_SEED, files
from codelength.data.seeded import binarize, permutation, words
from codelength.data.spec import parse_spec
from codelength.errors import DataError, UsageError
from codelength.laws.space import Space

# One or two seconds each to unpack, and read by the same code as their test splits.
SLOW = {"cifar10:train", "cifar10:valid", "omniglot-small:train", "omniglot-small:valid"}
FOLDERS = {"kodak", "kodak24"}


def indices(entry, split):
    """(part, index) of every item, the slow and obvious way."""
    found = []
    for piece in entry.splits[split]:
        order = range(piece.stop)
        if piece.shuffled:
            total = max(p.stop for pieces in entry.splits.values() for p in pieces)
            order = [int(i) for i in permutation(f"split of {entry.source.name}", SPLIT_SEED, total)]
        found += [(piece.part, order[i]) for i in range(piece.start, piece.stop)]
    return found


@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in FOLDERS])
def test_splits_are_disjoint_and_together_everything(name):
    entry = REGISTRY[name]
    train, valid, test, both = (indices(entry, split) for split in ("train", "valid", "test", "trainvalid"))
    assert len({*train, *valid, *test}) == len(train) + len(valid) + len(test)
    assert sorted(both) == sorted(train + valid)
    assert not set(both) & set(test)


def test_derived_sets_share_the_splits_of_their_source():
    for a, b in [("digits", "threshold-digits"), ("mnist", "threshold-mnist"), ("mnist", "dynamic-mnist")]:
        assert REGISTRY[a].splits == REGISTRY[b].splits


def test_every_split_of_uniform_items_is_pinned():
    expected = {f"{n}:{s}" for n, entry in REGISTRY.items() for s in entry.splits if n not in FOLDERS}
    assert set(ITEMS) == expected


@pytest.mark.parametrize("split, count", [("train", 1257), ("valid", 180), ("test", 360), ("trainvalid", 1437)])
def test_digits_are_always_there(split, count):
    data = load_data(f"digits:{split}")
    assert len(data) == len(data.labels) == count == len(data.items)
    assert data.space == Space((8, 8), 17) and data.dims == 64
    assert data.sha256 == ITEMS[f"digits:{split}"]
    data.space.check(data.items)


def test_digits_are_split_by_the_documented_permutation():
    from sklearn.datasets import load_digits

    stream = hashlib.shake_256(b"codelength split of digits seed 0").digest(8 * 1797)
    keys = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(1797)]
    order = sorted(range(1797), key=lambda i: keys[i])
    digits = load_digits()
    data = load_data("digits:test")
    chosen = sorted(order[:360])
    assert np.array_equal(data.items, digits.images[chosen])
    assert np.array_equal(data.labels, digits.target[chosen])


def test_thresholded_digits():
    grey, data = load_data("digits:test"), load_data("threshold-digits:test")
    assert np.array_equal(data.items, grey.items >= 8) and np.array_equal(data.labels, grey.labels)
    assert data.space.symbols == 2 and data.preprocessing == "threshold at 8 of 16"


@pytest.mark.parametrize("key", [key for key in ITEMS if key not in SLOW and "trainvalid" not in key])
def test_stored_sets_are_what_they_should_be(stored, key):
    data = load_data(key)  # compares with the pinned hash
    entry = REGISTRY[key.split(":")[0]]
    assert len(data) == entry.count(key.split(":")[1])
    assert data.space == entry.space
    assert data.labels is None or len(data.labels) == len(data)
    if data.binarize is None:
        data.space.check(data.items)


def test_a_change_in_the_items_would_be_seen(stored, monkeypatch):
    monkeypatch.setitem(ITEMS, "debd/nltcs:test", "0" * 64)
    with pytest.raises(DataError, match="to have the sha256 000"):
        load_data("debd/nltcs:test")


def test_mnist_as_published(stored):
    data = load_data("mnist:test")
    assert hashlib.md5(idx_bytes(data.items)).hexdigest() == "2646ac647ad5339dbf082846283269ea"
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    thresholded = load_data("threshold-mnist:test")
    assert np.array_equal(thresholded.items, np.rint(data.items / 255).astype(int)), "rounded at one half"


def test_static_binarization_has_its_published_md5(stored):
    items = load_data("binarized-mnist:test").items.reshape(-1, 784)
    text = b"".join(b" ".join(b"%d" % bit for bit in row) + b"\n" for row in items[:2].tolist())
    whole = np.full((len(items), 2 * 784), ord(" "), np.uint8)
    whole[:, ::2] = items + ord("0")
    whole[:, -1] = ord("\n")
    assert whole[:2].tobytes() == text
    assert hashlib.md5(whole.tobytes()).hexdigest() == "14e41ae11040adba6ab8cb291eda0dd8"


def test_the_dynamic_test_set_is_drawn_once_by_the_documented_rule(stored):
    grey, drawn = load_data("mnist:test"), load_data("dynamic-mnist:test")
    count = 2000  # pixels; the rest follows the same stream
    stream = hashlib.shake_256(b"codelength dynamic-mnist test seed 0").digest(4 * count)
    expected = [
        int(int.from_bytes(stream[4 * i : 4 * i + 4], "little") % 255 < value)
        for i, value in enumerate(grey.items.ravel()[:count].tolist())
    ]
    assert drawn.items.ravel()[:count].tolist() == expected
    assert drawn.sha256 == "0193d478e835238487144189020797b75284d9df3c5d55c2b591697ebf30e4b1"
    assert drawn.binarize is None and drawn.space == Space((28, 28), 2)
    assert abs(drawn.items.mean() - grey.items.mean() / 255) < 1e-3


def test_dynamic_training_items_stay_grey_and_marked(stored):
    data = load_data("dynamic-mnist:train[:100]")
    assert data.binarize == "dynamic" and data.items.max() > 1
    assert data.space == Space((28, 28), 2), "the space of what is drawn from them"
    assert load_data("dynamic-mnist:valid").binarize is None
    assert "anew" in data.preprocessing


def test_binarization_has_the_right_probabilities():
    grey = np.repeat(np.array([0, 1, 64, 128, 254, 255], np.uint8), 40000).reshape(6, -1)
    share = binarize(grey, "a test", 0).mean(axis=1)
    p = np.array([0, 1, 64, 128, 254, 255]) / 255
    assert share[0] == 0 and share[-1] == 1
    assert (np.abs(share - p) <= 6 * np.sqrt(p * (1 - p) / 40000)).all()


def test_seeded_words_depend_on_purpose_and_seed():
    assert len({words("a", 0, 1)[0], words("a", 1, 1)[0], words("b", 0, 1)[0]}) == 3
    assert np.array_equal(words("a", 0, 5), words("a", 0, 9)[:5])
    assert sorted(permutation("a", 0, 100).tolist()) == list(range(100))


def test_silhouettes_stand_upright(stored):
    data = load_data("silhouettes:test")
    raw = (
        REGISTRY["silhouettes"]
        .source.forms[0]
        .read([stored / "caltech101-silhouettes" / "caltech101_silhouettes_28.mat"], "all")[0]
    )
    from scipy.io import loadmat

    column_major = loadmat(stored / "caltech101-silhouettes" / "caltech101_silhouettes_28.mat")["X"]
    assert np.array_equal(raw[17], column_major[17].reshape(28, 28).T)
    assert data.labels.min() >= 1 and data.labels.max() <= 101


def test_frey_faces_are_faces_not_negatives(stored):
    from scipy.io import loadmat

    raw = REGISTRY["frey-faces"].source.forms[0].read([stored / "freyfaces" / "frey_rawface.mat"], "all")[0]
    ff = loadmat(stored / "freyfaces" / "frey_rawface.mat")["ff"]
    assert np.array_equal(raw[5], ff[:, 5].reshape(28, 20))
    assert load_data("frey-faces:train").items.min() == 8


def test_kodak_is_read_when_asked_for(stored):
    data = load_data("kodak:test")
    assert len(data) == 16 and data.items is None and data.space == Space((None, None, 3), 256)
    assert data.space.admits(data.images[2].shape)
    assert data[1:3].origin.files == ("kodim02.png", "kodim04.png")
    with pytest.raises(DataError, match="different shapes"):
        _ = data.dims


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("mnist", ("mnist", None, None, None)),
        ("mnist:test", ("mnist", "test", None, None)),
        ("cifar10:train[:5000]", ("cifar10", "train", None, 5000)),
        ("debd/dna:test[10:20]", ("debd/dna", "test", 10, 20)),
        ("digits[5:]", ("digits", None, 5, None)),
        ("digits[-5:]", ("digits", None, -5, None)),
        ("some/file.npz:x[:3]", ("some/file.npz", "x", None, 3)),
        ("C:\\data\\file.npy", ("C:\\data\\file.npy", None, None, None)),
        ("C:/data/file.npy", ("C:/data/file.npy", None, None, None)),
    ],
)
def test_the_grammar_of_data(text, parsed):
    spec = parse_spec(text)
    assert (spec.name, spec.part, spec.start, spec.stop) == parsed


@pytest.mark.parametrize("text", ["mnist[5]", "mnist[a:b]", "mnist[1:2:3]", ":test", "mnist:", "[:3]", ""])
def test_what_is_not_in_the_grammar(text):
    with pytest.raises((UsageError, DataError)):
        load_data(text)


def test_an_existing_path_may_look_like_a_range(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("odd[1:2].npy", np.zeros((4, 2), np.uint8))
    assert len(load_data("odd[1:2].npy")) == 4
    assert len(load_data("odd[1:2].npy[:3]")) == 3
    (tmp_path / "digits").mkdir()
    assert load_data("digits").name == "digits:test", "names of data sets come before paths"
    with pytest.raises(DataError, match="expected files in the folder"):
        load_data("./digits")


def test_ranges_limits_and_default_splits():
    assert len(load_data("digits:test[10:20]")) == 10
    assert len(load_data("digits:test[-7:]")) == 7
    assert len(load_data("digits")) == 360
    assert len(load_data("digits", default_split="train")) == 1257
    limited = load_data("digits:test[:100]", limit=10, seed=1)
    assert len(limited) == 10 and limited.name.startswith("digits:test[:100] (10 chosen")
    assert np.array_equal(limited.items, load_data("digits:test[:100]").subset(10, 1).items)
    with pytest.raises(DataError, match="holds no items"):
        load_data("digits:test[500:600]")


def test_unknown_names_and_splits_get_a_suggestion():
    with pytest.raises(DataError, match="did you mean 'binarized-mnist'"):
        load_data("binarised-mnist:test")
    with pytest.raises(UsageError, match="no split 'testing'; choose one of train, valid, test"):
        load_data("digits:testing")
    with pytest.raises(DataError, match="neither a data set nor a file or folder"):
        load_data("no/such/place.npy")
    with pytest.raises(DataError, match="neither a data set nor"):
        load_data("x" * 5000)
    with pytest.raises(UsageError, match="has its own"):
        load_data("digits", layout="nhw")


def test_descriptions_say_what_a_reader_wants_to_know():
    table = {line.name: line for line in datasets()}
    assert set(table) == set(REGISTRY) and len(table) == len(REGISTRY)
    assert table["digits"].available and table["digits"].splits["test"] == 360
    for line in table.values():
        assert line.licence and line.citation and line.home.startswith("http") and line.title


def test_hashes_are_of_the_stated_kind_and_vouched_for():
    for entry in REGISTRY.values():
        for file in files(entry.source):
            assert file.basis
            assert (file.hash is None) == (file.basis == "unverified")
            if file.hash is not None:
                kind, _, digest = file.hash.partition(":")
                assert len(digest) == {"sha256": 64, "md5": 32}[kind]


def test_the_hash_of_every_stored_file(stored):
    listed = {file.path: file for entry in REGISTRY.values() for file in files(entry.source)}
    seen = 0
    for path, file in listed.items():
        if (stored / path).is_file() and file.hash and not path.startswith("cifar10/data"):
            with (stored / path).open("rb") as stream:
                assert f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == file.hash
            seen += 1
    assert seen


def test_the_data_layer_needs_neither_torch_nor_the_training_extra():
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'sklearn', 'pooch', 'requests'): sys.modules[name] = None\n"
        "import numpy as np, codelength.data, codelength.data.images\n"
        "assert len(codelength.data.load_data(np.zeros((3, 2), np.uint8))) == 3\n"
        "try: codelength.data.load_data('digits')\n"
        "except codelength.errors.DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "install codelength[train]" in done.stdout


def test_items_have_the_hash_of_their_parts(stored):
    whole = load_data("debd/dna:trainvalid")
    train, valid = load_data("debd/dna:train"), load_data("debd/dna:valid")
    assert whole.sha256 == items_sha256(np.concatenate([train.items, valid.items]))
