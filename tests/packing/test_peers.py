"""General codecs on piles: what they come to is what the codecs come to by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from codelength.data.opened import open_data
from codelength.packing import peers
from codelength.packing.result import Peer
from codelength.packing.survey import survey
from codelength.report.codecs import STREAMS, codec_sizes, image_codecs, mosaic

RNG = np.random.default_rng(0)
GREY = np.cumsum(RNG.integers(-3, 4, (5, 12, 16)), axis=2).astype(np.uint8)


def measured(data: object, **options: object) -> dict[tuple[str, str], Peer]:
    found = peers.measure(survey(open_data(data).archived), **options)  # type: ignore[arg-type]
    return {(peer.name, peer.form): peer for peer in found}


def test_every_codec_on_all_items() -> None:
    found = measured(GREY)
    sizes = {size.name: size for size in codec_sizes(GREY, 256)}
    for name in ("PNG", "WebP", *(("JPEG XL",) if "JPEG XL" in sizes else ())):
        assert found[name, "per image"].bytes == sizes[name].per_item
        assert found[name, "mosaic"].bytes == sizes[name].whole
    assert found["xz", "stream"].bytes == sizes["xz"].whole
    assert all((peer.items, peer.share) == (5, 1.0) for peer in found.values())
    order = [peer.bytes for peer in found.values()]
    assert order == sorted(order)


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_same_whatever_the_pieces_and_threads(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PIECE", 400)
    monkeypatch.setattr(peers, "AT_ONCE", 2)
    found = {key: peer.bytes for key, peer in measured(GREY, jobs=jobs).items()}
    monkeypatch.undo()
    assert found == {key: peer.bytes for key, peer in measured(GREY).items()}


def test_grey_stored_as_rgba_is_measured_as_grey() -> None:
    stored = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    plain, found = measured(GREY), measured(stored)
    assert {key: peer.bytes for key, peer in plain.items()} == {key: peer.bytes for key, peer in found.items()}


def test_black_and_white_is_measured_as_bits() -> None:
    bits = GREY > 100
    for stored in (bits, bits.astype(np.uint8), bits.astype(np.uint8) * np.uint8(255)):
        found = measured(stored)
        assert found["xz", "stream"].bytes == len(STREAMS["xz"](b"".join(np.packbits(b).tobytes() for b in bits)))
        single = bits.astype(np.uint8)[..., None] * np.uint8(255)
        assert found["PNG", "per image"].bytes == sum(len(image_codecs(2)["PNG"](image)) for image in single)


def test_sixteen_bits_and_what_is_no_image() -> None:
    deep = GREY.astype(np.uint16) * 37
    found = measured(deep)
    assert ("WebP", "per image") not in found and ("PNG", "mosaic") in found
    assert set(measured(RNG.normal(0, 1, (4, 5, 5)))) == {(name, "stream") for name in peers.STREAM_NAMES}


def test_images_of_several_sizes_have_no_mosaic_unless_all_are_in_one() -> None:
    images = [GREY[0], GREY[1], GREY[2][:7]]
    assert {form for _, form in measured(images)} == {"per image", "stream"}
    images.append(GREY[3][:7])
    found = measured(images)
    expected = sum(
        len(image_codecs(256)["PNG"](mosaic(np.stack(pair)[..., None]))) for pair in (images[:2], images[2:])
    )
    assert found["PNG", "mosaic"].bytes == expected


def test_what_is_kept_counts_for_all_of_them() -> None:
    plain, more = measured(GREY), measured(GREY, kept_bytes=1000, kept_items=3)
    for key, peer in plain.items():
        assert (more[key].bytes, more[key].items) == (peer.bytes + 1000, 8)


def test_a_part_is_scaled_and_said() -> None:
    many = np.tile(GREY, (12, 1, 1))
    whole, part = measured(many), measured(many, part=1000)
    assert set(part) <= set(whole)
    for key, peer in part.items():
        assert peer.items == 60 and 0.01 < peer.share < 0.5
        if key == ("PNG", "per image"):
            assert peer.bytes == pytest.approx(whole[key].bytes, rel=0.1)


def test_an_error_of_a_codec_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> dict[str, object]:
        def encode(image: np.ndarray) -> bytes:
            raise RuntimeError("broken")

        return {"PNG": encode}

    monkeypatch.setattr(peers, "image_codecs", broken)
    with pytest.raises(RuntimeError, match="broken"):
        measured(GREY)
