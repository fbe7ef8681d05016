"""The page about packing: whole in itself, true to the record and the archive, and seen in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codelength.archive.plan import ByProgram, Plan
from codelength.archive.sources import ArraySource
from codelength.archive.writer import write_archive
from codelength.data.opened import open_data
from codelength.laws.presets import preset
from codelength.packing.findings import Finding
from codelength.packing.page import render, write_page
from codelength.packing.result import PackResult, Peer, Pile, Trial
from codelength.packing.surprise import find_surprise

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = '<script>alert("x")</script>\'&\u202egnp.\udcff\x00\n' + "long" * 60


def images(channels: int = 1) -> np.ndarray:
    """Soft blobs, and noise that grows from image to image: (24, 20, 30[, C]) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :30]
    soft = 128 + 100 * np.sin(x / 5 + np.arange(24)[:, None, None]) * np.cos(y / 4)
    noisy = soft[..., None] + rng.normal(0, 1, (24, 20, 30, channels)) * np.arange(24)[:, None, None, None]
    return np.clip(noisy, 0, 255).astype(np.uint8).reshape(24, 20, 30, *([channels] * (channels > 1)))


def packed(folder: Path, data: np.ndarray, **options: Any) -> tuple[Path, np.ndarray]:
    source = ArraySource(data)
    way = ByProgram(preset("fast", 256, channels=1 if data.ndim == 3 else data.shape[3]), **options)
    write_archive(folder / "a.clen", source, plans=[Plan(tuple(source.classes()), (way,))])
    return folder / "a.clen", data


def record(archive: Path) -> PackResult:
    size = archive.stat().st_size
    found = Finding("depth", "8 bits <of> 8 & more", 24, 24)
    trials = (
        Trial("adaptive balanced, photo", True, 900, size, 1.5, 1.6, 0.01, 9_000_000),
        Trial("WebP or xz", False, None, None, None, None, None, None),
    )
    pile = Pile("24 grey images of 30x20", 24, 14_400, 12, (found,), trials, size)
    peers = (
        Peer("JPEG XL", "per image", size + 900, 24, encode_seconds=1.0),
        Peer("JPEG XL", "mosaic", size + 1000, 24, encode_seconds=1.0),
        Peer("PNG", "per image", 3 * size, 24, share=0.5),
        Peer("WebP", "per image", 10, 7),
    )
    return PackResult(
        "/data/" + HOSTILE, str(archive), "balanced", 24, 14_400, 7 * size // 2, 14_400, size, size + 50, True, (pile,),
        (found,), peers, item_dims=(600,) * 24, figures={"archive_bytes": size, "bits_per_dim": None},
        seconds={"look": 0.1, "code": 3.0}, item_seconds=0.01, memory=9_000_000, notes=("a <note>",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("page"), images(3), block_items=20, taught=True)[0]


class Reading(HTMLParser):
    """Attributes that could fetch, open tags, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reading:
    reading = Reading()
    reading.feed(text)
    return reading


# ---------------------------------------------------------------------------------------------------------- surprise


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_are_those_of_the_block_as_it_was_coded(channels: int, tmp_path: Path) -> None:
    path, data = packed(tmp_path, images(channels), block_items=20)
    surprise = find_surprise(path)
    assert surprise is not None and (surprise.looked_at, surprise.taught_by, surprise.piles) == (20, 5, 1)
    bits = preset("fast", 256, channels=channels).learner().lengths(list(data[:20]))
    for shown in (*surprise.cheapest, *surprise.dearest):
        assert shown.bits.shape == (20, 30) and shown.top == 255 and np.array_equal(shown.pixels, data[shown.number])
        assert shown.total == pytest.approx(bits[shown.number], abs=0.05)
    order = [5 + k for k in np.argsort(bits[5:], kind="stable").tolist()]
    assert [shown.number for shown in surprise.cheapest] == order[:3]
    assert [shown.number for shown in surprise.dearest] == order[:-4:-1]


def test_piles_of_several_sizes_and_types_are_all_looked_at(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for k, image in enumerate(images()[:16]):
        wide = image.astype(np.uint16) * 16 if k % 2 else image
        Image.fromarray(wide[: 12 + k % 3, : 30 - k]).save(tmp_path / "folder" / f"{k:02}.png")
    source = open_data(tmp_path / "folder").archived
    ways = {
        "L": ByProgram(preset("fast", 256)),
        "I;16": ByProgram(preset("fast", 256), levels=tuple(range(0, 4096, 16))),
    }
    plans = [Plan(tuple(one for one in source.classes() if one.mode == mode), (way,)) for mode, way in ways.items()]
    write_archive(tmp_path / "a.clen", source, plans=plans)
    surprise = find_surprise(tmp_path / "a.clen")
    assert surprise is not None and (surprise.looked_at, surprise.taught_by, surprise.piles) == (16, 4, 2)
    every = (*surprise.cheapest, *surprise.dearest)
    assert {shown.number % 2 for shown in every} == {0, 1} and all(shown.number >= 4 for shown in every)
    for shown in every:
        assert shown.name == f"{shown.number:02}.png"
        assert shown.bits.shape == shown.pixels.shape == (12 + shown.number % 3, 30 - shown.number)
        assert shown.top == (shown.pixels.max() if shown.number % 2 else 255)


def test_few_images_are_on_one_side_only_and_kept_ones_have_no_maps(tmp_path: Path) -> None:
    one = np.concatenate(list(images()[:16]), axis=1)[None]  # large enough to pay for a program
    surprise = find_surprise(packed(tmp_path, one, block_items=1)[0])
    assert surprise is not None and [len(surprise.cheapest), len(surprise.dearest)] == [0, 1]
    source = ArraySource(images())
    write_archive(tmp_path / "kept.clen", source, plans=[Plan(tuple(source.classes()), ())])
    assert find_surprise(tmp_path / "kept.clen") is None
    result = replace(record(tmp_path / "kept.clen"), archive=str(tmp_path / "kept.clen"))
    write_page(result, tmp_path / "kept.clen", tmp_path / "kept.html")
    assert "there are no maps" in (tmp_path / "kept.html").read_text("utf-8")


# -------------------------------------------------------------------------------------------------------------- text


def test_the_page_is_whole_in_itself_and_escapes_what_it_is_given(archive: Path, tmp_path: Path) -> None:
    write_page(record(archive), archive, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    reading = read(text)
    assert reading.links and all(link.startswith("data:") for link in reading.links)
    assert not {"script", "iframe", "object", "note", "of"} & set(reading.tags)
    assert "url(" not in text and "@import" not in text and "\u202e" not in text and "\x00" not in text
    assert '<script>alert("x")</script>' in reading.text and "a <note>" in reading.text
    assert "\\u202egnp.\\udcff\\x00\\n" in reading.text and "8 bits <of> 8 & more" in reading.text
    write_page(record(archive), archive, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "page.html").read_bytes()


def test_bars_are_as_long_as_sizes_are_large_and_leave_out_what_holds_only_some(archive: Path) -> None:
    result = record(archive)
    text = render(result, None)
    rows = re.findall(
        r'scope="row">([^<]*)</th><td class="bar".*?width:([\d.]+)%.*?class="n">(?:about )?([\d,]+)<', text
    )
    sizes = {name: int(size.replace(",", "")) for name, _, size in rows}
    assert list(sizes) == ["this archive", "JPEG XL, per image", "PNG, per image", "as it came"]
    assert sizes["this archive"] == result.archive_bytes and sizes["as it came"] == result.source_bytes
    for name, width, _ in rows:
        assert float(width) == pytest.approx(100 * sizes[name] / max(sizes.values()), abs=0.01)
    assert "class=cut" not in text and "torn" not in text
    cut = render(replace(result, source_bytes=10**7), None)
    widths = re.findall(r"<span( class=cut)? style=\"width:([\d.]+)%", cut)
    assert [end != "" for end, _ in widths] == [False, False, False, True] and "torn" in cut
    assert [float(width) for _, width in widths[2:]] == [80.0, 100.0]
    assert float(widths[0][1]) == pytest.approx(80 / 3, abs=0.01)
    assert "class=cut" not in render(replace(result, source_bytes=10**7, peers=()), None)
    ratio = result.of_best_peer
    assert ratio is not None and f"{1 - ratio:.1%} smaller" in text


@pytest.mark.parametrize(
    "change", [{"peers": ()}, {"archive_bytes": None, "archive": ""}, {"piles": (), "findings": ()}]
)
def test_records_without_some_parts_have_pages(change: dict[str, Any], archive: Path, tmp_path: Path) -> None:
    result = replace(record(archive), **change)
    write_page(result, None if result.archive_bytes is None else archive, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert text.endswith("</html>\n")
    assert ("Nothing has been written yet" in text) == (result.archive_bytes is None)
    larger = replace(record(archive), peers=(Peer("PNG", "per image", 10, 24),))
    assert "larger" in render(larger, None)


# ----------------------------------------------------------------------------------------------------------- browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on the path")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        found = driver.chromium.launch(executable_path=path, args=options)
        yield found
        found.close()


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


SEEN = """() => {
  const box = element => element.getBoundingClientRect();
  const style = (element, name) => getComputedStyle(element)[name];
  const paper = element => { while (element && style(element, 'backgroundColor') === 'rgba(0, 0, 0, 0)')
    element = element.parentElement; return style(element || document.body, 'backgroundColor'); };
  return {
    wide: document.documentElement.scrollWidth, inner: window.innerWidth,
    outside: [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('.bars thead')
      && box(e).right > window.innerWidth + 0.5).map(e => e.tagName + '.' + e.className),
    bars: [...document.querySelectorAll('.bar span')].map(
      e => [box(e).width, box(e).height, box(e.parentElement).width]),
    images: [...document.images].map(e => [e.complete, e.naturalWidth, box(e).width, box(e).height, e.alt]),
    texts: [...document.querySelectorAll('h1, h2, p, th, td.n, li, dt, dd, figcaption, caption, summary')]
      .filter(e => e.textContent.trim() && box(e).height).map(e => [style(e, 'color'), paper(e)]),
    paper: style(document.body, 'backgroundColor'), headings: document.querySelectorAll('h1').length,
    unnamed: [...document.querySelectorAll('table')].filter(e => !e.querySelector('th[scope]')).length,
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it_all(browser: Any, archive: Path, tmp_path: Path, width: int, scheme: str) -> None:
    result = record(archive)
    write_page(result, archive, tmp_path / "page.html")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    for summary in page.query_selector_all("summary"):
        summary.click()
    seen = page.evaluate(SEEN)
    if folder := os.environ.get("CODELENGTH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"page-{scheme}-{width}.png", full_page=True)
    page.close()
    assert said == [] and [url for url in asked if not url.startswith("data:")] == [(tmp_path / "page.html").as_uri()]
    assert seen["wide"] <= width == seen["inner"] and seen["outside"] == []
    assert len(seen["bars"]) == 4
    most = max(bar for bar, _, _ in seen["bars"])
    sizes = [result.archive_bytes, result.peers[0].bytes, result.peers[2].bytes, result.source_bytes]
    for (bar, height, room), size in zip(seen["bars"], sizes):
        assert height > 8 and bar <= room + 0.5
        assert bar == pytest.approx(most * (size or 0) / max(filter(None, sizes)), abs=2.5)
    assert len(seen["images"]) == 13 and all(
        whole and kept and w > 8 and h > 8 for whole, kept, w, h, _ in seen["images"]
    )
    assert all(alt for *_, alt in seen["images"]) and len({alt for *_, alt in seen["images"]}) == 13
    assert (luminance(seen["paper"]) > 0.5) == (scheme == "light")
    for ink, paper in seen["texts"]:
        light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert seen["headings"] == 1 and seen["unnamed"] == 0
