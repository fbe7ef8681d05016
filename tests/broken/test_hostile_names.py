"""Names from an archive touch nothing outside the destination, and no file is left half-written."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import unicodedata
import zipfile

import numpy as np
import pytest
from fake_model import UniformModel, loader
from forge import Parts
from hypothesis import given, settings
from hypothesis import strategies as st
from make_sources import File, RawImages, mixed_files, mixed_source

from codelength.archive import names as naming
from codelength.archive.extract import extract
from codelength.archive.reader import Archive
from codelength.archive.sources import ArraySource, FolderSource
from codelength.archive.verify import verify
from codelength.archive.writer import write_archive
from codelength.data.look import look
from codelength.data.scan import scan
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
        return extract(archive, dest, images=RawImages(), **options)


REFUSED = [
    "../x.png", "a/../../x.png", "/etc/x.png", "..", ".", "a//x.png", "a/", "a/./x.png", "",
    "/".join(["abcdefgh"] * 600) + ".png",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_refused_stop_no_others(tmp_path, name):
    (tmp_path / "work").mkdir()
    path = forged(tmp_path, "good.png", name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    out = tmp_path / "work" / "out"
    with pytest.raises(UnsafeName, match=r"1 entries \(1\) were left out") as info:
        unpack(path, out)
    assert "\n" not in str(info.value) and len(str(info.value)) < 400
    assert [d.entries for d in info.value.damaged] == [(1,)]
    assert os.listdir(out) == ["good.png"]
    report = unpack(path, out, force=True, keep_going=True)
    assert report.items == 1 and [d.entries for d in report.damaged] == [(1,)]
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.parent != out} == before
    with Archive.open(path, model_loader=loader) as archive, pytest.raises(UnsafeName) as info:
        verify(archive)
    assert [d.entries for d in info.value.damaged] == [(1,)]


@pytest.mark.parametrize("name", [name for name in REFUSED if name])
def test_names_that_are_refused_never_enter_an_archive(name):
    with pytest.raises(DataError, match=r"got '.*; rename"):
        FolderSource([File("good.txt", is_image=False), File(name, is_image=False)])
    with pytest.raises(DataError, match="'a\\.txt' twice"):
        FolderSource([File("a.txt", is_image=False), File("a.txt", is_image=False)])


@pytest.mark.parametrize(
    "name, windows, expected",
    [
        ("a\nb.png", False, "a%0Ab.png"),
        ("a\x1b[31m.png", False, "a%1B[31m.png"),
        ("a\x7f\u0085.png", False, "a%7F%C2%85.png"),
        ("\u202egnp.exe.png", False, "%E2%80%AEgnp.exe.png"),
        ("a\\b.png", False, "a\\b.png"),
        ("a\\b.png", True, "a%5Cb.png"),
        ("b\udcff.png", False, "b%FF.png"),
        ("con.png", False, "con.png"),
        ("con.png", True, "%63on.png"),
        ("d/NUL", True, "d/%4EUL"),
        ("COM1 .txt.png", True, "%43OM1 .txt.png"),
        ("console.png", True, "console.png"),
        ("C:x", False, "C:x"),
        ("e:dir/f", True, "e%3Adir/f"),
        ("...", False, "..."),
        ("...", True, "..%2E"),
        ("\\x.png", False, "\\x.png"),
        (".. ", True, "..%20"),
        ("12:30?.png", False, "12:30?.png"),
        ("12:30?.png", True, "12%3A30%3F.png"),
        ("a. /b", True, "a.%20/b"),
        ("ü/日本.png", True, "ü/日本.png"),
        # What only looks like an escaped name is left alone, unless it is one.
        ("50%20off.png", False, "50%20off.png"),
        ("caf%C3%A9 100%25.png", False, "caf%C3%A9 100%25.png"),
        ("a%0Ab.png", False, "a%250Ab.png"),
        ("a%250Ab.png", False, "a%25250Ab.png"),
        ("50%20\n", False, "50%2520%0A"),
    ],
)
def test_names_that_are_escaped(name, windows, expected):
    assert naming.safe_name(name, windows=windows) == expected
    assert naming.original_name(expected, windows=windows) == name


NAMES = st.text(st.sampled_from("./\\:aC\0\n \ud800\udc80é*%25D") | st.characters(), max_size=12)
PARTS = st.binary(min_size=1, max_size=12) | st.lists(
    st.sampled_from(
        [b"%", b"0A", b"25", b"%0A", b"%25", b"\n", b"\xff", b"\xc3", b"\xa9", b"a", b".", b" ", b"%C3", b"con"]
    ),
    min_size=1, max_size=9,
).map(b"".join)  # fmt: skip
LINUX = PARTS.map(lambda data: data.replace(b"\0", b"0").replace(b"/", b"\\").decode("utf-8", "surrogateescape"))
LINUX = LINUX.filter(lambda part: part not in (".", ".."))


@settings(max_examples=300, deadline=None)
@given(name=NAMES, windows=st.booleans())
def test_no_name_leaves_its_folder(name, windows):
    try:
        safe = naming.safe_name(name, windows=windows)
    except UnsafeName as error:
        assert str(error).isprintable()
        return
    assert safe.isprintable() or not any(c in safe for c in "\0\n\r\x1b")
    assert not (windows and "\\" in safe)
    assert not os.path.isabs(safe)
    normal = os.path.normpath(os.path.join("/somewhere/dest", safe))
    assert normal.startswith("/somewhere/dest/")
    safe.encode("utf-8")


@settings(max_examples=1000, deadline=None)
@given(left=LINUX, right=LINUX, windows=st.booleans())
def test_escaping_can_be_undone_and_never_makes_two_names_one(left, right, windows):
    safe = naming.safe_name(left, windows=windows)
    assert naming.original_name(safe, windows=windows) == left
    assert left == right or safe != naming.safe_name(right, windows=windows)
    # An escaped name is a name like any other, and does not collide either.
    assert safe == left or naming.safe_name(safe, windows=windows) != safe


@settings(max_examples=300, deadline=None)
@given(
    name=NAMES.filter(lambda name: not any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in name))
)
def test_members_of_an_npz_lead_nowhere_and_are_escaped_reversibly(name):
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    safe = naming.safe_member(name + ".npy", windows=False)
    assert not safe.startswith("/") and "\n" not in safe and "\0" not in safe
    assert not {"", ".", ".."} & set(safe.split("/"))
    assert naming.original_member(safe, windows=False) == name + ".npy"


def test_parts_that_are_too_long_once_escaped_are_cut_short():
    names = ["\udc81" * 200 + ".png", "\udc81" * 199 + "\udc82.png", "é" * 200 + ".png", "x" * 255]
    placed = naming.place(names, naming.Rules(windows=False))
    assert len(set(placed)) == 4 and placed[3] == names[3]
    assert all(len(part.encode()) <= 255 for path in placed for part in path.split("/"))
    assert all(path.endswith(".png") and "%~" in path for path in placed[:3])
    again = naming.place([*names, *names], naming.Rules(windows=False))
    assert again[:4] == placed and len(set(again)) == 8 and all(len(path.encode()) <= 255 for path in again)


def fold(name):
    return unicodedata.normalize("NFC", name).casefold()


def test_collisions_get_numbers_in_their_order():
    names = ["a.png", "A.png", "e\u0301", "\u00e9", "A%~1.png", "b/x", "B/x"]
    folding, telling = naming.Rules(fold, windows=False), naming.Rules(naming.exact, windows=False)
    # Names that need nothing else come first.
    assert naming.place(names, folding) == ["a.png", "A%~2.png", "e\u0301", "\u00e9%~1", "A%~1.png", "b/x", "B/x%~1"]
    assert naming.place(names, telling) == names
    assert naming.place(["a", "b", "a"], telling) == ["a", "b", "a%~1"]
    assert naming.place(["a/b", "a"], telling) == ["a/b", "a%~1"]
    assert naming.place(["x.jpg", "x.jpg.png"], telling, ["x.jpg.png"] * 2) == ["x.jpg%~1.png", "x.jpg.png"]
    assert naming.place(["../a", "b"], telling, ["../a.png", "b.png"]) == [None, "b.png"]


@pytest.mark.parametrize("names", [
    ["".join(c) + ".png" for c in itertools.product("aA", repeat=13)],
    ["x%~1.png", "X%~1.png"] + [f"x%~{n}.png" for n in range(8000)] + ["X.png"] * 1000,
    ["a/" * 1000 + "".join(c) for c in itertools.product("aA", repeat=4)],
])  # fmt: skip
def test_names_that_collide_cost_a_step_each(names):
    """Quadratic, the first would ask for thirty million keys."""
    asked = 0

    def key(part):
        nonlocal asked
        asked += 1
        return part.casefold()

    placed = naming.place(names, naming.Rules(key, windows=False))
    assert len({path.casefold() for path in placed}) == len(names)
    assert asked <= 3 * sum(name.count("/") + 1 for name in names)


def test_escaped_names_are_reported(tmp_path):
    report = unpack(forged(tmp_path, "a\nb.png", "fine.png", "x.jpg"), tmp_path / "out")
    assert report.renamed == [("a\nb.png", "a%0Ab.png"), ("x.jpg", "x.jpg.png")]
    assert sorted(os.listdir(tmp_path / "out")) == ["a%0Ab.png", "fine.png", "x.jpg.png"]


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.lists(LINUX, min_size=1, max_size=3), min_size=1, max_size=12, unique_by=tuple))
def test_a_folder_comes_back_under_its_own_names(tmp_path_factory, parts):
    """Real files of every kind of name that Linux holds: what is not dangerous keeps its name, all keep their bytes."""
    root = tmp_path_factory.mktemp("tree")
    source = root / "in"
    source.mkdir()
    contents = {}
    for number, path in enumerate(parts):
        target = source.joinpath(*path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                continue
            target.write_bytes(b"%d" % number)
        except (FileExistsError, NotADirectoryError):
            continue  # a file where another needs a folder
        contents["/".join(path)] = b"%d" % number
    pack(root / "a", FolderSource([look(entry) for entry in scan(source)]))
    unpack(root / "a", root / "out")
    back = {p.relative_to(root / "out").as_posix(): p.read_bytes() for p in (root / "out").rglob("*") if p.is_file()}
    assert {naming.original_name(path): data for path, data in back.items()} == contents
    for name, data in contents.items():
        if name.isprintable() and "%" not in name:
            assert back[name] == data


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES | st.sampled_from(REFUSED[:-1]) | LINUX, min_size=3, max_size=3))
def test_hostile_names_write_nothing_outside_and_stop_nothing(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("hostile")
    names = [
        name.encode("utf-8", "surrogatepass").replace(b"\0", b"").decode("utf-8", "surrogateescape") for name in names
    ]
    path = forged(root, *names)
    (root / "deep").mkdir()
    out = root / "deep" / "out"
    report = unpack(path, out, keep_going=True)
    lost = {number for damage in report.damaged for number in damage.entries}
    bad = {n for n, name in enumerate(names) if not name or {"", ".", ".."} & set(name.split("/"))}
    assert lost == bad and report.items == 3 - len(bad)
    written = {p for p in root.rglob("*") if not p.is_dir()} - {root / "honest", root / "archive"}
    assert written == set(report.paths) and all(p.is_relative_to(out) for p in written) and len(written) == report.items


def test_a_name_that_the_file_system_refuses_stops_no_others(tmp_path):
    deep = "/".join(["y" * 200] * 18) + ".png"
    path = forged(tmp_path, deep, "good.png")
    out = tmp_path
    while len(str(out)) < 700:
        out = out / ("d" * 100)
    report = unpack(path, out, keep_going=True)
    assert [d.entries for d in report.damaged] == [(0,)] and "too long" in report.damaged[0].reason
    assert (out / "good.png").is_file() and report.items == 1


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
    (tmp_path / "out" / "y.png").unlink()
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
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="got a file"):
        unpack(path, tmp_path / "file")


def test_names_of_arrays_are_not_trusted_either(tmp_path):
    data = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    pack(tmp_path / "a", ArraySource(data))
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(["../../x.npy", "/x.npy", "..", "a\nb.npy", "C:x.npy", "é" * 127]):
        Parts(tmp_path / "a").lie_about_header(name=name).write(tmp_path / "c")
        out = tmp_path / "deep" / str(number)
        report = unpack(tmp_path / "c", out)
        [path] = report.paths
        assert path.parent == out and np.array_equal(np.load(path), data)
    assert os.listdir(tmp_path / "deep" / "0") == ["array.npy"] and os.listdir(tmp_path / "deep" / "4") == ["C:x.npy"]
    assert os.listdir(tmp_path / "deep" / "3") == ["a%0Ab.npy"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c", "deep"]


def test_members_of_an_npz_come_back_whatever_they_are_called(tmp_path):
    names = ["x", "", "..", "../y", "/abs", "a//b", "a/", "e:dir/f", "...", "%2Fabs", "a\nb", "é", "x" * 200]
    arrays = {
        name: np.full((2, 3), number, np.uint8) if number % 2 else np.arange(number)
        for number, name in enumerate(names)
    }
    pack(tmp_path / "a", ArraySource(arrays, name="b.npz"))
    report = unpack(tmp_path / "a", tmp_path / "out")
    with np.load(tmp_path / "out" / "b.npz") as back:
        assert len(back.files) == len(names)
        for safe in back.files:
            assert np.array_equal(back[safe], arrays[naming.original_member(safe + ".npy").removesuffix(".npy")])
    assert dict(report.renamed) == {
        "../y.npy": "%2E./y.npy", "/abs.npy": "%2Fabs.npy", "%2Fabs.npy": "%252Fabs.npy",
        "a//b.npy": "a/%2Fb.npy", "a\nb.npy": "a%0Ab.npy",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "out" / "b.npz") as bundle:
        bundle.extractall(tmp_path / "unpacked")
    assert sorted(os.listdir(tmp_path)) == ["a", "out", "unpacked"]
    with pytest.raises(DataError, match="1 to 65,000 bytes for a member"):
        ArraySource({"x" * 65001: np.zeros(3)})


def test_damage_in_a_kept_member_costs_that_member_only(tmp_path):
    data = np.zeros((3, 2, 2), np.uint8)
    pack(tmp_path / "a", ArraySource({"x": data, "y": np.arange(3.0), "z": np.arange(5)}))
    parts = Parts(tmp_path / "a")
    blocks = bytearray(parts.blocks)
    blocks[-1] ^= 1
    parts.blocks = bytes(blocks)
    parts.write(tmp_path / "b")
    with pytest.raises(CorruptBlock):
        unpack(tmp_path / "b", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    report = unpack(tmp_path / "b", tmp_path / "out.npz", keep_going=True)
    lost = [number for damage in report.damaged for number in damage.entries]
    with np.load(tmp_path / "out.npz") as back:
        assert np.array_equal(back["x"], data) and set(back.files) == {"x"} | {
            "yz"[n - 3] for n in (3, 4) if n not in lost
        }
    assert lost and report.damaged[0].block >= 0


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
    monkeypatch.setattr(UniformModel, "decode_block", good)
    monkeypatch.setattr(UniformModel, "agrees", lambda self, items: False, raising=False)
    with pytest.raises(CorruptBlock):
        pack(tmp_path / "a", mixed_source())


def test_bytes_that_change_on_their_way_to_the_disk_are_noticed(tmp_path, monkeypatch):
    """The file is read back before it gets its name."""
    from codelength.archive import writer

    original = writer.Writer.write_end

    def damage(self, *arguments):
        original(self, *arguments)
        file = self.output.file
        file.flush()
        file.seek(self.output.blocks[0].offset)
        file.write(b"\xff\xff")
        file.seek(0, 2)

    monkeypatch.setattr(writer.Writer, "write_end", damage)
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
