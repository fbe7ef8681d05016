"""Names from an archive touch nothing outside the destination, and no file is left half-written."""

from __future__ import annotations

import errno
import os
import resource
import unicodedata

import numpy as np
import pytest
from fake_model import UniformModel, loader
from forge import Parts
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sources import RawImages, mixed_files, mixed_source

from codelength.archive import names as naming
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource
from codelength.archive.writer import write_archive
from codelength.errors import ArchiveError, CodelengthError, CorruptBlock, DataError, UnsafeName, UsageError
from codelength.laws.space import Space

MODEL = UniformModel(Space((None, None), 16))


def pack(path, source, model=MODEL, **options):
    return write_archive(path, source, model, model_loader=loader, block_items=4, **options)


def forged(tmp_path, *names):
    """An archive of images with exactly these names."""
    files = [file for file in mixed_files() if file.mode == "L"][: len(names)]
    pack(tmp_path / "honest", FolderSource(files))
    encoded = tuple(name.encode("utf-8", "surrogateescape") for name in names)
    return Parts(tmp_path / "honest").lie(names=encoded).write(tmp_path / "archive")


def unpack(path, dest, **options):
    with Archive.open(path, model_loader=loader) as archive:
        return archive.extract(dest, images=RawImages(), **options)


REFUSED = [
    "../x.png", "a/../../x.png", "/etc/x.png", "\\x.png", "C:x.png", "c:/x.png", "..", ".", "a//x.png", "a/",
    "a/./x.png", "", "x" * 300 + ".png", "/".join(["abcdefgh"] * 600) + ".png", ".. /x.png",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_refused(tmp_path, name):
    (tmp_path / "work").mkdir()
    before = sorted(tmp_path.rglob("*"))
    path = forged(tmp_path, "good.png", name)
    with pytest.raises(UnsafeName) as info:
        unpack(path, tmp_path / "work" / "out")
    assert "\n" not in str(info.value) and len(str(info.value)) < 400
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "archive", tmp_path / "honest"])


@pytest.mark.parametrize(
    "name, windows, expected",
    [
        ("a\nb.png", False, "a%0Ab.png"),
        ("a\x1b[31m.png", False, "a%1B[31m.png"),
        ("a\x7f\u0085.png", False, "a%7F%C2%85.png"),
        ("\u202egnp.exe.png", False, "%E2%80%AEgnp.exe.png"),
        ("a\\b.png", False, "a%5Cb.png"),
        ("b\udcff.png", False, "b%FF.png"),
        ("con.png", False, "%63on.png"),
        ("d/NUL", False, "d/%4EUL"),
        ("COM1 .txt.png", False, "%43OM1 .txt.png"),
        ("console.png", False, "console.png"),
        ("12:30?.png", False, "12:30?.png"),
        ("12:30?.png", True, "12%3A30%3F.png"),
        ("a. /b", True, "a.%20/b"),
        ("ü/日本.png", True, "ü/日本.png"),
    ],
)
def test_names_that_are_escaped(name, windows, expected):
    assert naming.safe_name(name, windows=windows) == expected


@settings(max_examples=300, deadline=None)
@given(
    name=st.text(st.sampled_from("./\\:aC\0\n \ud800\udc80é*%") | st.characters(), max_size=12), windows=st.booleans()
)
def test_no_name_leaves_its_folder(name, windows):
    try:
        safe = naming.safe_name(name, windows=windows)
    except UnsafeName as error:
        assert str(error).isprintable()
        return
    assert safe.isprintable() or not any(c in safe for c in "\0\n\r\x1b\\")
    assert not os.path.isabs(safe)
    normal = os.path.normpath(os.path.join("/somewhere/dest", safe))
    assert normal.startswith("/somewhere/dest/")
    safe.encode("utf-8")
    assert naming.safe_name(safe, windows=windows) == safe


def test_collisions_get_numbers_in_their_order():
    def fold(name):
        return unicodedata.normalize("NFC", name).casefold()

    names = ["a.png", "A.png", "e\u0301", "\u00e9", "A%1.png", "b/x", "B/x"]
    assert naming.place(names, fold) == ["a.png", "A%1.png", "e\u0301", "\u00e9%1", "A%1%1.png", "b/x", "B/x%1"]
    assert naming.place(names, naming.exact) == names
    with pytest.raises(UnsafeName, match="twice"):
        naming.place(["a", "b", "a"], naming.exact)
    with pytest.raises(UnsafeName, match="both"):
        naming.place(["a/b", "a"], naming.exact)


def test_escaped_names_are_reported(tmp_path):
    report = unpack(forged(tmp_path, "a\nb.png", "fine.png", "x.jpg"), tmp_path / "out")
    assert report.renamed == {"a\nb.png": "a%0Ab.png", "x.jpg": "x.jpg.png"}
    assert sorted(os.listdir(tmp_path / "out")) == ["a%0Ab.png", "fine.png", "x.jpg.png"]


def test_links_are_never_written_through(tmp_path):
    path = forged(tmp_path, "d/x.png", "y.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "y.png").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d").symlink_to(outside)
    with pytest.raises(UnsafeName, match="link"):
        unpack(path, tmp_path / "out", force=True)
    (tmp_path / "out" / "d").unlink()
    (tmp_path / "out" / "y.png").symlink_to(outside / "y.png")
    with pytest.raises(UsageError, match="exists"):
        unpack(path, tmp_path / "out")
    unpack(path, tmp_path / "out", force=True)
    assert (outside / "y.png").read_bytes() == b"mine" and os.listdir(outside) == ["y.png"]
    assert not (tmp_path / "out" / "y.png").is_symlink()


def test_existing_files_stay_unless_forced(tmp_path):
    path = forged(tmp_path, "x.png", "y.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "y.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"y\.png exists"):
        unpack(path, out)
    assert os.listdir(out) == ["y.png"] and (out / "y.png").read_bytes() == b"mine"
    unpack(path, out, force=True)
    assert sorted(os.listdir(out)) == ["x.png", "y.png"] and (out / "y.png").read_bytes() != b"mine"
    with pytest.raises(UsageError, match="got a file"):
        unpack(path, out / "y.png")


def test_names_of_arrays_and_members_are_not_trusted_either(tmp_path):
    data = np.zeros((3, 2, 2), np.uint8)
    pack(tmp_path / "a", ArraySource(data))
    pack(tmp_path / "b", ArraySource({"x": data, "y": np.arange(3)}))
    Parts(tmp_path / "a").lie_about_header(name="../../x.npy").write(tmp_path / "c")
    parts = Parts(tmp_path / "b")
    parts.lie_about_header(members=("x", "../y")).write(tmp_path / "d")
    for name in "cd":
        with pytest.raises(UnsafeName):
            unpack(tmp_path / name, tmp_path / "out")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in "abcd"]


class Interrupting(FolderSource):
    """Raises after some items were read."""

    def __init__(self, error: BaseException, after: int) -> None:
        super().__init__(mixed_files())
        self.error, self.after = error, after

    def read(self, item_class, start, stop):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().read(item_class, start, stop)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), DataError("gone"), OSError(errno.ENOSPC, "No space left on device"), SystemExit(1)]
)
def test_an_interrupted_writer_leaves_nothing(tmp_path, error, after):
    path = tmp_path / "a"
    path.write_bytes(b"older")
    with pytest.raises(ArchiveError if isinstance(error, OSError) else type(error)) as info:
        pack(path, Interrupting(error, after))
    if isinstance(error, OSError):
        assert "No space left" in str(info.value)
    assert os.listdir(tmp_path) == ["a"] and path.read_bytes() == b"older"


def limited(size, action):
    """Run ``action`` where files cannot grow beyond ``size`` bytes, and return its error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        action()
    except CodelengthError as error:
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return None


def test_a_full_disk_leaves_nothing(tmp_path):
    data = np.random.default_rng(0).integers(0, 16, (200, 9, 9)).astype(np.uint8)
    path = tmp_path / "a"
    error = limited(3000, lambda: pack(path, ArraySource(data)))
    assert isinstance(error, ArchiveError) and "cannot write" in str(error) and not os.listdir(tmp_path)
    pack(path, ArraySource(data))
    pack(tmp_path / "f", mixed_source())
    for name, dest in [("a", "x.npy"), ("a", "x.npz"), ("f", "out")]:
        error = limited(60, lambda name=name, dest=dest: unpack(tmp_path / name, tmp_path / dest))
        assert isinstance(error, ArchiveError) and "cannot write" in str(error)
        left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("a", "f")]
        assert [p for p in left if p.suffix == ".tmp" or p.stat().st_size > 60] == []


def test_a_block_that_does_not_decode_is_never_named(tmp_path, monkeypatch):
    good = UniformModel.decode_block
    monkeypatch.setattr(UniformModel, "decode_block", lambda self, w, s, shape: good(self, w, s, shape) ^ 1)
    with pytest.raises(CorruptBlock, match="block 0 did not decode"):
        pack(tmp_path / "a", mixed_source())
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(UniformModel, "verify_block", lambda self, w, s, items: False, raising=False)
    with pytest.raises(CorruptBlock):
        pack(tmp_path / "a", mixed_source())


def test_bytes_that_change_on_their_way_to_the_disk_are_noticed(tmp_path, monkeypatch):
    """The file is read back before it gets its name."""
    from codelength.archive import writer

    original = writer._Writer.write_end

    def damage(self, *arguments):
        original(self, *arguments)
        self.file.flush()
        self.file.seek(self.blocks[0].offset)
        self.file.write(b"\xff\xff")
        self.file.seek(0, 2)

    monkeypatch.setattr(writer._Writer, "write_end", damage)
    with pytest.raises(ArchiveError, match="checksum"):
        pack(tmp_path / "a", mixed_source())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("where", ["none/a", "."])
def test_destinations_that_cannot_be_written(tmp_path, where):
    with pytest.raises(ArchiveError):
        pack(tmp_path / where, mixed_source())
    assert not os.listdir(tmp_path)


def test_arrays_of_objects_are_refused():
    with pytest.raises(DataError, match="Python objects"):
        ArraySource(np.array([{}, []], dtype=object))
