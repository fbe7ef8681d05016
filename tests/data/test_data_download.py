"""Downloads: hashes, retries, caching, mirrors and refusals, against a server on this machine."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from codelength.data import fetch, load_data
from codelength.data.fetch import File, obtain
from codelength.data.pinned import ITEMS
from codelength.data.registry import REGISTRY, files
from codelength.errors import DataError, UntrustedDownload

BODY = bytes(range(256)) * 400
HASH = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves ``contents``; the first ``drops`` answers break off in the middle."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = {}
        self.drops = 0
        self.requests = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        body = self.server.contents.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.drops > 0:
            self.server.drops -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    monkeypatch.setattr(fetch, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("CODELENGTH_DATA", raising=False)
    monkeypatch.delenv("CODELENGTH_MIRROR", raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(server, path="/file.bin"):
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_a_download_is_checked_and_kept(server):
    server.contents["/file.bin"] = BODY
    file = File("some/file.bin", HASH, "this test", (address(server),))
    path = obtain(file)
    assert path.read_bytes() == BODY and path == fetch.cache_folder() / "some" / "file.bin"
    assert obtain(file) == path
    assert len(server.requests) == 1, "the second time it comes from the cache"


def test_a_terminal_sees_progress(server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    server.contents["/file.bin"] = BODY
    server.drops = 1
    obtain(File("some/file.bin", HASH, "this test", (address(server),)))
    assert "file.bin" in terminal.getvalue() and "100%" in terminal.getvalue()


@pytest.mark.parametrize("hash_", [HASH, f"md5:{hashlib.md5(BODY).hexdigest()}"])
def test_a_dropped_connection_is_tried_again(server, hash_):
    server.contents["/file.bin"] = BODY
    server.drops = 2
    path = obtain(File("some/file.bin", hash_, "this test", (address(server),)))
    assert path.read_bytes() == BODY and len(server.requests) == 3


def test_attempts_end(server):
    server.contents["/file.bin"] = BODY
    server.drops = 100
    with pytest.raises(DataError, match=r"could not be downloaded: http.*could not be read.*CODELENGTH_DATA"):
        obtain(File("some/file.bin", HASH, "this test", (address(server),)))
    assert len(server.requests) == fetch.ATTEMPTS
    assert not (fetch.cache_folder() / "some" / "file.bin").exists(), "no half file under the final name"


def test_a_wrong_hash_is_refused_and_nothing_kept(server):
    server.contents["/file.bin"] = BODY + b"!"
    with pytest.raises(DataError, match="another hash"):
        obtain(File("some/file.bin", HASH, "this test", (address(server),)))
    assert not list(fetch.cache_folder().rglob("*.bin"))


def test_the_next_address_is_tried(server):
    server.contents["/good.bin"] = BODY
    file = File("some/file.bin", HASH, "test", (address(server, "/gone.bin"), address(server, "/good.bin")))
    assert obtain(file).read_bytes() == BODY


def test_a_spoilt_cache_is_replaced(server):
    server.contents["/file.bin"] = BODY
    file = File("some/file.bin", HASH, "this test", (address(server),))
    obtain(file).write_bytes(b"spoilt")
    assert obtain(file).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_spoilt_data_folder_is_an_error(server, tmp_path, monkeypatch):
    monkeypatch.setenv("CODELENGTH_DATA", str(tmp_path))
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file.bin").write_bytes(b"spoilt")
    server.contents["/file.bin"] = BODY
    with pytest.raises(DataError, match="delete the file"):
        obtain(File("some/file.bin", HASH, "this test", (address(server),)))
    assert not server.requests
    monkeypatch.setenv("CODELENGTH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="expected a folder in CODELENGTH_DATA"):
        obtain(File("some/file.bin", HASH, "this test", (address(server),)))


def test_unverified_downloads_need_consent(server):
    server.contents["/file.bin"] = BODY
    file = File("some/file.bin", None, "unverified", (address(server),))
    with pytest.raises(UntrustedDownload, match="--trust-download"):
        obtain(file)
    assert not server.requests
    with pytest.warns(UserWarning, match=HASH.partition(":")[2]):
        path = obtain(file, trust_download=True)
    assert path.read_bytes() == BODY
    with pytest.raises(UntrustedDownload):
        obtain(file)


def test_kodak24_is_refused_without_consent(server):
    with pytest.raises((UntrustedDownload, DataError)) as caught:
        obtain(next(file for file in files(REGISTRY["kodak24"].source) if file.hash is None))
    assert caught.type is UntrustedDownload


def test_files_without_address_say_where_to_put_them(server):
    with pytest.raises(DataError, match="no public address; put it below a folder"):
        obtain(File("some/file.bin", HASH, "this test"))


def test_a_missing_extra_is_named(server, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(DataError, match=r"needs pooch; install codelength\[train\]"):
        obtain(File("some/file.bin", HASH, "this test", (address(server),)))


def test_a_named_set_through_a_mirror(server, stored, monkeypatch):
    monkeypatch.setenv("CODELENGTH_MIRROR", address(server, "/mirror/"))
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        server.contents[f"/mirror/mnist/{name}"] = (stored / "mnist" / name).read_bytes()
    data = load_data("mnist:test")
    assert data.sha256 == ITEMS["mnist:test"] and len(server.requests) == 2
    load_data("mnist:test")
    assert len(server.requests) == 2


def test_sets_in_the_form_of_their_authors_give_the_same_items(server, stored, monkeypatch):
    """What is stored packed is downloaded as text; ``load_data`` compares the items with the pinned hash."""
    monkeypatch.setenv("CODELENGTH_MIRROR", address(server, ""))
    with np.load(stored / "debd" / "dna.npz") as arrays:
        bits = arrays["test"]
    text = "\n".join(",".join(map(str, row)) for row in bits.tolist()) + "\n"
    server.contents["/debd/dna.test.data"] = text.encode()
    assert np.array_equal(load_data("debd/dna:test").items, bits)
    with np.load(stored / "binarized-mnist" / "binarized_mnist_packed.npz") as arrays:
        bits = np.unpackbits(arrays["valid"], axis=1)
    text = np.full((10000, 2 * 784), ord(" "), np.uint8)
    text[:, ::2], text[:, -1] = bits + ord("0"), ord("\n")
    server.contents["/binarized-mnist/binarized_mnist_valid.amat"] = text.tobytes()
    assert load_data("binarized-mnist:valid").sha256 == ITEMS["binarized-mnist:valid"]


def test_the_binary_version_of_cifar(tmp_path):
    binary = REGISTRY["cifar10"].source.forms[1]
    labels = np.arange(10000, dtype=np.uint8) % 10
    planes = np.zeros((10000, 3, 32, 32), np.uint8)
    planes[:, 0, 2, 7], planes[:, 1, 2, 7], planes[:, 2, 31, 0] = labels, labels + 10, labels + 20
    rows = np.concatenate([labels[:, None], planes.reshape(-1, 3072)], axis=1)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, body in (("readme.html", b"hello"), ("test_batch.bin", rows.tobytes())):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    items, found = binary.read([tmp_path / "cifar.tar.gz"], "test")
    assert np.array_equal(found, labels)
    assert np.array_equal(items, planes.transpose(0, 2, 3, 1)), "channels last"
    with pytest.raises(DataError, match=r"data_batch_1\.bin"):
        binary.read([tmp_path / "cifar.tar.gz"], "1")
    (tmp_path / "cifar.tar.gz").write_bytes((tmp_path / "cifar.tar.gz").read_bytes()[:5000])
    with pytest.raises(DataError, match="is broken"):
        binary.read([tmp_path / "cifar.tar.gz"], "test")


@pytest.mark.parametrize("body", [b"0 1\n1 0", b"0 1\n1 2\n", b"0 1 1 0\n"])
def test_text_that_is_not_bits_is_refused(tmp_path, body):
    from codelength.data.sources import bits_of_text

    (tmp_path / "bits.amat").write_bytes(b"0 1\n1 0\n")
    assert bits_of_text(tmp_path / "bits.amat", 2).tolist() == [[0, 1], [1, 0]]
    (tmp_path / "bits.amat").write_bytes(body)
    with pytest.raises(DataError, match="zeros and ones"):
        bits_of_text(tmp_path / "bits.amat", 2)


def test_the_cache_lies_where_the_platform_keeps_caches(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert fetch.cache_folder().as_posix() == "/somewhere/codelength"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.cache_folder().parts[-2:] == (".cache", "codelength")
    monkeypatch.setattr("sys.platform", "darwin")
    assert fetch.cache_folder().parts[-3:] == ("Library", "Caches", "codelength")
