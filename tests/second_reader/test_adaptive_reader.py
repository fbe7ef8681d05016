"""The compiled law that learns against the one that was written from the document, decision by decision."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import reader_adaptive as second
from adaptive_programs import Record, random_program, trying_images
from reader_coding import Refused

from codelength.adaptive.learner import Learner
from codelength.adaptive.presets import KINDS, SIZES
from codelength.adaptive.program import Program
from codelength.adaptive.state import TABLES
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset
from codelength.laws.space import Space
from second_reader import Model


def compiled(record: Record) -> Learner:
    fields, tensors = record
    return Learner(Program.read({k: v for k, v in fields.items() if k not in ("law", "shape")}, tensors))


def plain(record: Record) -> second.Learner:
    return second.Learner(second.Program(*record))


def decisions_of(learner: Learner, images: list[np.ndarray]) -> list[tuple[int, int]]:
    return [(int(d) & 1, int(d) >> 1) for segment in learner.segments(images) for d in segment]


def model_of(record: Record, golden: bool = True) -> FrozenModel:
    fields, tensors = record
    space = Space(tuple(fields["shape"]), fields["symbols"])
    return FrozenModel.create(space, fields, tensors, golden=golden)


def test_tables_are_those_of_the_document() -> None:
    begins = {
        name: hashlib.sha256(np.array(entries, "<i8").tobytes()).hexdigest()[:16]
        for name, entries in second.tables().items()
    }
    assert begins == {
        "SQUASH": "52b8ecb39b6f8084",
        "STRETCH": "817282bd021401dd",
        "CUMULATIVE": "a4f22a7414ec3a6f",
        "CLASS": "8dc3691ca71d62ec",
        "RATE": "d375b5bb413cae63",
        "CONFIDENCE": "7c9d0d4c40bac91b",
    }
    for mine, theirs in zip(second.tables().values(), TABLES):
        assert mine == theirs.tolist()


@pytest.mark.parametrize("seed", range(25))
def test_every_decision_of_a_random_program_is_the_same(seed: int) -> None:
    record = random_program(seed)
    shape, symbols = record[0]["shape"], record[0]["symbols"]
    channels = len(record[0]["order"])
    images = [image[:3, :5] for image in trying_images(symbols, channels, seed)]
    images = images[: 9 if channels == 1 else 5]
    if channels == 1 and len(shape) == 3:
        images = [image[..., None] for image in images]
    expected = [d for segment in plain(record).segments(images) for d in segment]
    assert decisions_of(compiled(record), images) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_decision_of_the_presets_is_the_same(size: str, kind: str) -> None:
    symbols, channels = {"photo": (256, 3), "drawn": (7, 1), "binary": (2, 1)}[kind]
    data = preset(size, symbols, channels, kind).to_bytes()
    images = [image[:3, :4] for image in trying_images(symbols, channels, 7)[:4]]
    theirs, mine = FrozenModel.from_bytes(data).learner(), Model(data).learner()
    expected = [d for segment in mine.segments(images) for d in segment]
    assert decisions_of(theirs, images) == expected


@pytest.mark.parametrize("seed", [100, 101, 102, 103])
def test_blocks_segments_and_lengths_are_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record = random_program(seed)
    channels = len(record[0]["order"])
    record[0]["shape"] = [None, None, channels]
    images = [image.reshape(*image.shape[:2], channels) for image in trying_images(record[0]["symbols"], channels, 1)]
    images = [image[:2, :4] for image in images[:6]]
    model = model_of(record)
    data = model.to_bytes()
    mine = Model(data)  # with its golden vector
    monkeypatch.setattr("codelength.adaptive.learner.SEGMENT", 40)
    monkeypatch.setattr(second, "SEGMENT", 40)
    words = model.learner().encode(images)
    assert mine.learner().encode(images) == words.astype("<u4").tobytes()
    shapes = [image.shape for image in images]
    found = mine.learner()
    halves = [model.learner(), None]
    halves[0].encode(images[:3])  # type: ignore[union-attr]
    second_half = halves[0].encode(images[3:])  # type: ignore[union-attr]
    first_half = model.learner().encode(images[:3])
    again = found.decode(first_half.astype("<u4").tobytes(), shapes[:3])
    again += found.decode(second_half.astype("<u4").tobytes(), shapes[3:])
    whole = mine.learner().decode(words.astype("<u4").tobytes(), shapes)
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(images, again, whole))
    lengths = mine.learner().lengths(images)
    assert np.array_equal(np.array(lengths) / 2**20, model.learner().lengths(images))
    for broken in (words[:-1], np.append(words, np.uint32(0)), words[:1]):
        with pytest.raises(Refused):
            mine.learner().decode(broken.astype("<u4").tobytes(), shapes)


def test_groups_and_samples_are_those_of_the_document() -> None:
    record = random_program(104)
    model = model_of(record)
    mine = Model(model.to_bytes())
    shape = (3, 4) if len(record[0]["shape"]) == 2 else (3, 4, len(record[0]["order"]))
    items = model.sample(2, seed=9, shape=shape)
    assert np.array_equal(items, mine.sample(2, 9, shape))
    sizes, words = model.encode_block(items)
    assert np.array_equal(mine.decode_block(words.astype("<u4").tobytes(), list(sizes), shape), items)
    assert mine.encode_block(items, list(sizes)) == words.astype("<u4").tobytes()


def small(symbols: int, tree: str, seed: int, **more: object) -> Record:
    fields, tensors = random_program(seed)
    return {**fields, "symbols": symbols, "tree": tree, "order": [0], "shape": [None, None], **more}, tensors


@pytest.mark.parametrize(
    ("symbols", "shape", "tree", "seed"),
    [(2, (2, 2), "residual", 0), (2, (3, 3), "value", 5), (4, (1, 3), "residual", 6), (4, (2, 2), "value", 11),
     (3, (2, 2), "value", 12), (5, (1, 3), "value", 13), (7, (1, 3), "residual", 14), (6, (3, 1), "value", 15)],
)  # fmt: skip
def test_probabilities_of_all_images_have_the_sum_one(symbols: int, shape: tuple, tree: str, seed: int) -> None:
    """The product of 22-bit intervals is exact, so that nothing but a wasted or a missing decision could change it."""
    record = small(symbols, tree, seed)
    total, whole = 0, 2**22
    deepest = 0
    images = [np.array(v).reshape(shape) for v in itertools.product(range(symbols), repeat=shape[0] * shape[1])]
    found = [decisions_of(compiled(record), [image]) for image in images]
    deepest = max(map(len, found))
    for decisions in found:
        product = whole ** (deepest - len(decisions))
        for bit, chance in decisions:
            product *= chance if bit else whole - chance
        total += product
    assert total == whole**deepest
