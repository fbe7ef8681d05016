"""Zip and tar files are read where they lie; what they hold comes back as a folder, or a sentence says why not."""

import io
import os
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codelength as cl
from codelength.archive.writer import write_archive
from codelength.cli import main
from codelength.data.bundles import bundle_kind, read_bundle
from codelength.data.opened import open_data
from codelength.errors import DataError

KINDS = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


def image(seed: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(values).save(stream, form)
    return stream.getvalue()


# Not in the order of their names.
FILES = {
    "z/last first.png": image(0),
    "a.bmp": image(1, "BMP"),
    "note.txt": b"a note",
    "empty": b"",
    "z/é \u4e2d.pgm": image(2, "PPM"),
}


def bundle(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for number, (name, data) in enumerate(files.items()):
                methods = [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
                out.writestr(name, data, methods[number % 4])
        return path
    kind = bundle_kind(path.name)
    with tarfile.open(path, f"w:{kind}") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("ending", KINDS)
def test_members_are_the_files_of_a_folder_in_their_order(tmp_path, ending):
    path = bundle(tmp_path / f"pile{ending}", FILES)
    entries = read_bundle(path)
    assert [entry.name for entry in entries] == list(FILES)
    assert [entry.read_whole()[0] for entry in entries] == list(FILES.values())
    assert [entry.size for entry in entries] == [len(data) for data in FILES.values()]
    for entry in entries[::-1] * 2:  # in any order, and again
        assert entry.read_whole(entry.stamp())[0] == FILES[entry.name]


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_an_archive_of_one_gives_the_files_back(tmp_path, ending, capsys):
    path = bundle(tmp_path / f"pile{ending}", FILES)
    opened = open_data(path)
    assert opened.size == path.stat().st_size
    assert opened.promise.files == 5 and opened.promise.exact == 4 and "as a folder" in opened.promise.notes[0]
    figures = cl.compress(path, tmp_path / "pile.clen", "made-digits")
    assert figures["items"] == 3 and figures["source_bytes"] == opened.size
    assert cl.verify(tmp_path / "pile.clen", path)["sound"]
    cl.decompress(tmp_path / "pile.clen", tmp_path / "out")
    for name, data in FILES.items():
        back = (tmp_path / "out" / name).read_bytes()
        if name.endswith(".png"):
            assert np.array_equal(Image.open(io.BytesIO(back)), Image.open(io.BytesIO(data)))
        else:
            assert back == data
    assert main(["inspect", str(tmp_path / "pile.clen"), "--list"]) == 0
    listing = capsys.readouterr().out.splitlines()[-len(FILES) :]
    assert listing[0].split() == ["0", "general", "codec", "L", "8x8", "z/last", "first.png"]
    assert listing[-1].split() == ["4", "file", "0", "bytes", "empty"]
    with cl.open(tmp_path / "pile.clen") as items:
        assert items.names == [name for name in FILES if name.endswith(("png", "bmp", "pgm"))]
    assert len(cl.load_data(str(path))) == 3


def test_names_of_any_bytes(tmp_path):
    names = [b"caf\xe9.txt", b"line\nfeed", "été".encode()]
    with tarfile.open(tmp_path / "a.tar", "w", encoding="utf-8", errors="surrogateescape") as out:
        for name in names:
            out.addfile(tarfile.TarInfo(os.fsdecode(name)))
    assert [os.fsencode(entry.name) for entry in read_bundle(tmp_path / "a.tar")] == names

    # In a zip that does not say that its names are UTF-8, they are all the same where they read like it.
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("XXXX", b"1")
        out.writestr("YYYY", b"2")
    data = (tmp_path / "a.zip").read_bytes().replace(b"XXXX", "é\u00e9".encode()).replace(b"YYYY", b"a\x82.b")
    (tmp_path / "a.zip").write_bytes(data)
    assert [entry.name for entry in read_bundle(tmp_path / "a.zip")] == ["éé", "aé.b"]


def test_a_leading_dot_links_and_folders(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        out.addfile(folder := tarfile.TarInfo("./sub"))
        folder.type = tarfile.DIRTYPE
        info = tarfile.TarInfo("./sub/one")
        info.size = 3
        out.addfile(info, io.BytesIO(b"one"))
        for name, kind, target in [("./sub/soft", tarfile.SYMTYPE, "one"), ("hard", tarfile.LNKTYPE, "./sub/one")]:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            out.addfile(link)
    # The first is no folder in the file, since its type was changed after it had been written.
    entries = read_bundle(tmp_path / "a.tar")
    assert {entry.name: entry.read_whole()[0] for entry in entries} == {
        "sub": b"",
        "sub/one": b"one",
        "sub/soft": b"one",
        "hard": b"one",
    }


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        for entry in open_data(path).archived.entries:
            list(entry.read_bytes())
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def tar_of(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as out:
        for info in infos:
            out.addfile(info)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "infos, words",
    [
        ([member("/etc/passwd")], ["/etc/passwd"]),
        ([member("../up")], ["../up"]),
        ([member("a/../../b")], ["a/../../b"]),
        ([member("fifo", tarfile.FIFOTYPE)], ["'fifo'", "neither a file"]),
        ([member("dev", tarfile.CHRTYPE)], ["'dev'"]),
        ([member("soft", tarfile.SYMTYPE, "../../etc/passwd")], ["'soft'", "link"]),
        ([member("hard", tarfile.LNKTYPE, "/etc/passwd")], ["'hard'", "link"]),
        ([member("loop", tarfile.SYMTYPE, "loop")], ["'loop'", "link"]),
        ([member("twice"), member("./twice")], ["'twice'", "twice"]),
        ([member("folder", tarfile.DIRTYPE)], ["got none"]),
        ([member("a"), member("a/b")], ["a/b"]),
    ],
    ids=lambda value: value[0].name if isinstance(value[0], tarfile.TarInfo) else "",
)
def test_tars_that_would_lose_something_are_refused_by_name(tmp_path, infos, words):
    if words == ["a/b"]:  # a file and a folder of one name: both come back, under names of their own
        path = tar_of(tmp_path / "a.tar", *infos)
        cl.compress(path, tmp_path / "a.clen", "made-digits")
        report = cl.decompress(tmp_path / "a.clen", tmp_path / "out")
        assert report.files == 2
        return
    refuse(tar_of(tmp_path / "a.tar", *infos), *words)


def test_zips_that_would_lose_something_are_refused_by_name(tmp_path):
    path = tmp_path / "a.zip"

    def zipped(*names: str, change=lambda info: None) -> bytes:
        with zipfile.ZipFile(path, "w") as out:
            for name in names:
                info = zipfile.ZipInfo(name)
                change(info)
                out.writestr(info, b"some bytes" * 10)
        return path.read_bytes()

    def as_link(info: zipfile.ZipInfo) -> None:
        info.create_system, info.external_attr = 3, 0o120777 << 16

    zipped("../up")
    refuse(path, "../up")
    zipped("link", change=as_link)
    refuse(path, "'link'", "link")
    with pytest.warns(UserWarning):
        zipped("twice", "twice")
    refuse(path, "twice")
    data = bytearray(zipped("secret"))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    refuse(path, "'secret'", "encrypted")
    data = bytearray(zipped("odd"))
    data[data.index(b"PK\1\2") + 10] = 97
    path.write_bytes(data)
    refuse(path, "'odd'", "method")
    data = zipped("one", "two")
    at = data.rindex(b"PK\1\2")
    path.write_bytes(data[: at + 42] + struct.pack("<I", 0) + data[at + 46 :])
    refuse(path, "over another")
    data = zipped("damaged")
    path.write_bytes(data.replace(b"some bytes", b"some bites", 1))
    refuse(path, "'damaged'", "CRC")
    for length in (0, 10, len(data) - 1):
        path.write_bytes(data[:length])
        refuse(path, "a.zip")


def test_bombs_are_refused_before_they_go_off(tmp_path, monkeypatch):
    monkeypatch.setattr("codelength.data.bundles._SMALL", 2**16)
    zeros = bytes(2**24)
    for ending in (".zip", ".tar.xz", ".tar.bz2"):
        path = tmp_path / f"bomb{ending}"
        if ending == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as out:
                out.writestr("zeros", zeros)
        else:
            bundle(path, {"zeros": zeros})
        refuse(path, "unpacks to")
    bundle(tmp_path / "fair.tar.gz", {"zeros": zeros})  # deflate cannot be so dense
    assert read_bundle(tmp_path / "fair.tar.gz")[0].size == len(zeros)


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    path = bundle(tmp_path / "a.tar.gz", {"some": bytes(2**20)})
    usage = tempfile.gettempdir(), type("Usage", (), {"free": 2**28 + 2**19})()
    monkeypatch.setattr("codelength.data.bundles.shutil.disk_usage", lambda folder: usage[1])
    refuse(path, "make room", "TMPDIR")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_cut_and_changed_files_get_a_sentence(tmp_path, ending):
    whole = bundle(tmp_path / f"a{ending}", FILES).read_bytes()
    path = tmp_path / f"a{ending}"
    rng = np.random.default_rng(0)
    for length in rng.integers(0, len(whole), 12):
        path.write_bytes(whole[:length])
        try:
            found = {entry.name: entry.read_whole()[0] for entry in read_bundle(path)}
        except DataError:
            continue
        # A tar may end anywhere between two members: nothing in it says how many there are.
        assert ending == ".tar" and all(FILES[name] == data for name, data in found.items())
    path.write_bytes(whole)
    entries = read_bundle(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(DataError, match="changed"):
        entries[0].read_whole()
    path.unlink()
    with pytest.raises(DataError, match="not there"):
        entries[0].read_whole()


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_flipped_bytes_give_files_or_a_sentence(tmp_path, ending):
    whole = bundle(tmp_path / f"a{ending}", FILES).read_bytes()
    path = tmp_path / f"a{ending}"
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(whole), 60):
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            for entry in open_data(path).archived.entries:
                list(entry.read_bytes())
        except DataError as error:
            assert "\n" not in str(error)


def test_bytes_of_everything_are_kept_where_that_is_asked(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    opened = open_data(folder, keep_files=True)
    assert opened.promise.exact == opened.promise.files == 5 and not opened.promise.anew
    assert opened.archived.items == 3 and not opened.archived.classes()
    assert sum(opened.kept.values()) == 3
    assert {e.name: b"".join(e.read_bytes()) for e in opened.archived.entries} == FILES

    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(3))
    for path in [bundle(tmp_path / "a.zip", FILES), tmp_path / "a.npz"]:
        source = open_data(str(path), keep_files=True).archived
        assert source.kind == "folder" and source.names == [path.name]
        assert b"".join(source.read_file(0)) == path.read_bytes()
    assert "npz" in " ".join(open_data(tmp_path / "a.npz").promise.sentences())
    with pytest.raises(cl.CodelengthError, match="part of a data set"):
        open_data("digits:test", keep_files=True)
    with pytest.raises(cl.CodelengthError, match="in memory"):
        open_data(np.zeros((3, 3)), keep_files=True)


def test_what_does_not_come_back_is_said(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(image(number))
    (folder / "a.bmp").write_bytes(image(5, "BMP"))
    (folder / "a.jpg").write_bytes(image(5, "JPEG"))
    lines = open_data(folder).promise.sentences()
    assert lines[0].startswith("3 files: PNG") and "1 file kept byte for byte: JPEG" in lines[1]
    assert lines[2].startswith("2 of 5 files come back byte for byte")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_what_changes_while_it_is_compressed_leaves_no_archive(tmp_path, ending):
    path, archive, model = bundle(tmp_path / f"pile{ending}", FILES), tmp_path / "a.clen", cl.load("made-digits")
    source = open_data(path).archived
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="changed"):
        write_archive(archive, source, model)
    path.unlink()
    with pytest.raises(DataError, match="not there"):
        write_archive(archive, source, model)
    assert os.listdir(tmp_path) == []


def test_files_that_are_kept_are_verified_as_such(tmp_path):
    path = bundle(tmp_path / "pile.zip", FILES)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.bmp").write_bytes(FILES["a.bmp"])
    (folder / "b.png").write_bytes(image(8))
    for number, data in enumerate([path, folder]):
        archive = tmp_path / f"{number}.clen"
        write_archive(archive, open_data(data, keep_files=True).archived, cl.load("made-digits"))
        assert cl.verify(archive, data)["sound"]
        cl.decompress(archive, tmp_path / f"out{number}")
    assert (tmp_path / "out0/pile.zip").read_bytes() == path.read_bytes()
    assert (tmp_path / "out1/b.png").read_bytes() == image(8)
    (folder / "b.png").write_bytes(image(9))
    with pytest.raises(DataError, match="does not hold this data"):
        cl.verify(archive, folder)
