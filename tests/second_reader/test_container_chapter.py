"""The chapter for whoever writes a reader of the container alone: its dump is an archive, and its program reads all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from golden_manifest import GOLDEN, Golden

from second_reader import open_archive

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "format.md").read_text()


def part(name: str) -> str:
    (found,) = re.findall(rf"<!-- {name} -->\n```\w*\n(.*?)```\n<!-- /{name} -->", TEXT, re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def contents() -> Any:
    scope: dict[str, Any] = {}
    exec(part("reader"), scope)
    return scope["contents"]


def test_the_dump_is_the_archive_byte_by_byte() -> None:
    data = b""
    for line in part("dump:empty").splitlines():
        offset, bytes_ = re.fullmatch(r" *(\d+)  ((?:[0-9a-f]{2} ?)+)(?: .*)?", line).groups()  # type: ignore[union-attr]
        assert int(offset) == len(data)
        data += bytes.fromhex(bytes_)
    assert data == (ROOT / "tests" / "golden" / "empty.clen").read_bytes()


#: But for programs that learn, which the slow reader takes long for: test_container_of_programs has these streams.
@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.name != "learned"], ids=str)
def test_the_program_of_the_document_reads_every_golden_archive(golden: Golden, contents: Any) -> None:
    header, entries = contents(golden.path.read_bytes())
    expected = open_archive(golden.path, golden.model_path)
    assert header == expected.header
    truth = expected.entries()
    assert [name for name, _, _ in entries] == [entry.name for entry in truth]
    for (_, what, found), entry in zip(entries, truth, strict=True):
        assert (what == "file") == (entry.values is None)
        if found is not None:
            assert found == (entry.data if entry.values is None else entry.values.tobytes())
        else:
            assert entry.values is not None


def test_the_program_of_the_document_refuses_damage(contents: Any) -> None:
    data = (ROOT / "tests" / "golden" / "empty.clen").read_bytes()
    for place in range(len(data)):
        with pytest.raises((AssertionError, ValueError, IndexError, KeyError, OverflowError)):
            contents(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
