"""Sequences of images through a law that learns: the same images back, at the length that was promised."""

import numpy as np
import pytest

from codelength.adaptive.presets import KINDS, SIZES
from codelength.errors import NotRepresentable, ProgramError, StackExhausted
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset

CASES = [(256, 1, "photo"), (256, 3, "photo"), (65536, 1, "photo"), (65536, 4, "photo"), (256, 1, "drawn"),
         (5, 2, "drawn"), (2, 1, "binary")]  # fmt: skip


def extremes(symbols: int, channels: int) -> list[np.ndarray]:
    """Noise, constants, checkerboards and ramps, in images of odd sizes."""
    rng = np.random.default_rng(5)
    top = symbols - 1
    images = [
        rng.integers(0, symbols, (5, 6, channels)),
        np.zeros((3, 11, channels), int),
        np.full((3, 11, channels), top),
        (np.indices((8, 7, channels)).sum(0) % 2) * top,
        np.linspace(0, top, 12 * 9 * channels).astype(int).reshape(12, 9, channels),
        rng.integers(0, symbols, (1, 1, channels)),
        rng.integers(0, symbols, (40, 1, channels)),
        rng.integers(0, symbols, (1, 40, channels)),
    ]
    return images if channels > 1 else [image[..., 0] for image in images]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("symbols", "channels", "kind"), CASES)
def test_images_come_back_at_the_length_promised(size: str, symbols: int, channels: int, kind: str) -> None:
    model = preset(size, symbols, channels, kind)
    images = extremes(symbols, channels)
    told = np.empty(len(images))
    words = model.learner().encode(images, told)
    found = FrozenModel.from_bytes(model.to_bytes()).learner().decode(words, [image.shape for image in images])
    assert all(np.array_equal(a, b) for a, b in zip(images, found))
    promised = model.learner().lengths(images)
    assert np.array_equal(told, promised)
    assert promised.sum() <= 32 * len(words) <= promised.sum() + 80
    maps = model.learner().maps(images)
    assert [bits.shape for bits in maps] == [image.shape for image in images]
    assert np.allclose([bits.sum() for bits in maps], promised, rtol=1e-5)


def test_every_kind_has_a_program_of_every_size() -> None:
    assert {kind for *_, kind in CASES} == set(KINDS)
    assert len({preset(size, 2, 1, kind).sha256 for size in SIZES for kind in KINDS}) == 9


def test_a_learner_goes_on_where_it_stopped_and_its_copy_too() -> None:
    model = preset("balanced", 16)
    rng = np.random.default_rng(1)
    images = list(np.minimum(rng.geometric(0.4, (6, 9, 10)) - 1, 15))
    whole = model.learner().lengths(images)
    learner = model.learner()
    assert np.array_equal(learner.lengths(images[:4]), whole[:4])
    twin = learner.copy()
    words = learner.encode(images[4:])
    assert np.array_equal(np.stack(twin.decode(words, [(9, 10)] * 2)), images[4:])
    assert twin.lengths(images[:1]) == learner.lengths(images[:1])


def test_long_sequences_are_cut_into_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    model = preset("fast", 256)
    images = list(np.random.default_rng(2).integers(0, 256, (5, 12, 8)))
    whole = 32 * len(model.learner().encode(images))
    monkeypatch.setattr("codelength.adaptive.learner.SEGMENT", 300)
    told = np.empty(5)
    words = model.learner().encode(images, told)
    assert np.array_equal(told, model.learner().lengths(images))
    assert 32 * len(words) > whole + 32 * 4
    found = model.learner().decode(words, [(12, 8)] * 5)
    assert np.array_equal(np.stack(found), images)


def test_what_is_no_image_of_the_model_is_named() -> None:
    learner = preset("fast", 16, 1).learner()
    fine = np.zeros((4, 4), int)
    with pytest.raises(NotRepresentable, match=r"from 0 to 15, but item 1 holds") as caught:
        learner.encode([fine, fine + 16, np.zeros((4, 4, 3), int), fine.astype(float), np.zeros((0, 4), int)])
    assert caught.value.items == (1, 2, 3, 4)


def test_damaged_words_are_refused_or_decode_to_something_within_the_alphabet() -> None:
    model = preset("fast", 16)
    images = list(np.random.default_rng(3).integers(0, 16, (3, 9, 9)))
    words = model.learner().encode(images)
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(40):
        broken = words.copy()
        broken[rng.integers(len(words))] ^= np.uint32(1 << int(rng.integers(32)))
        try:
            found = model.learner().decode(broken, [(9, 9)] * 3)
            assert all(image.min() >= 0 and image.max() < 16 for image in found)
        except (ProgramError, StackExhausted):
            refused += 1
    assert refused > 30
    for short in (words[:-1], words[:1], words[:0], np.append(words, np.uint32(7))):
        with pytest.raises((ProgramError, StackExhausted)):
            model.learner().decode(short, [(9, 9)] * 3)
    with pytest.raises(ProgramError, match="channels"):
        model.learner().decode(words, [(9, 9, 3)])


def test_the_law_is_a_sequence_whose_items_cost_what_its_learner_says() -> None:
    model = preset("balanced", 8, 2, "drawn")
    items = model.sample(4, seed=3, shape=(6, 5, 2))
    assert items.shape == (4, 6, 5, 2)
    assert np.array_equal(items, model.sample(4, seed=3, shape=(6, 5, 2)))
    bits = model.code_length_bits(items)
    assert np.allclose(bits, model.learner().lengths(list(items)), rtol=1e-12)
    sizes, words = model.encode_block(items)
    assert np.array_equal(model.decode_block(words, sizes, (6, 5, 2)), items)
    assert bits.sum() <= 32 * len(words) <= bits.sum() + 4 * 70
