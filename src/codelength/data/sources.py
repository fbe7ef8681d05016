"""Where the named data sets come from: files, hashes, licences, and one reader for each form of file.

A source may come in several forms (packed, or as its authors publish it). Each form names the files of each
part and reads a part into items (n, ...) uint8 and labels (n,) uint8 or None. Readers execute nothing:
CIFAR-10 is taken from its binary version, never from pickles.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codelength.data.array_files import read_idx, read_npz
from codelength.data.fetch import File
from codelength.data.hashes import FILES
from codelength.errors import DataError

Part = tuple["np.ndarray | list[Path]", "np.ndarray | None"]


@dataclass(frozen=True)
class Form:
    """The files of each part, and how a part is read from the paths of its files."""

    files: Mapping[str, tuple[File, ...]]
    read: Callable[[list[Path], str], Part]

    def all_files(self) -> list[File]:
        """Every file once, in order."""
        return list(dict.fromkeys(file for files in self.files.values() for file in files))


@dataclass(frozen=True)
class Source:
    """Data as its authors published it, before any split or preprocessing of ours."""

    name: str
    licence: str
    citation: str
    home: str
    forms: tuple[Form, ...]


def _file(path: str, *urls: str, basis: str = "hash of a file checked for this project") -> File:
    known = FILES.get(path)
    return File(
        path,
        f"sha256:{known}" if known else None,
        basis if known else "unverified",
        tuple(url if not url.endswith("/") else url + path.rsplit("/", 1)[1] for url in urls),
    )


# ---- digits ------------------------------------------------------------------------------------------------


def _read_digits(paths: list[Path], part: str) -> Part:
    # Its own loader would import all of scikit-learn and SciPy, a second or two, to read one table.
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError("digits come with scikit-learn, which is missing; install codelength[train]")
    table = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if not table.is_file():
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    with gzip.open(table, "rt", encoding="ascii") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].copy()


DIGITS = Source(
    "digits",
    "CC BY 4.0",
    "Alpaydin, Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; the copy in scikit-learn",
    "https://archive.ics.uci.edu/dataset/80",
    (Form({"all": ()}, _read_digits),),
)

# ---- MNIST and Fashion-MNIST -------------------------------------------------------------------------------


def _read_idx_pair(paths: list[Path], part: str) -> Part:
    return read_idx(paths[0]), read_idx(paths[1])


def _idx_form(folder: str, *urls: str) -> Form:
    names = {"train": "train", "test": "t10k"}
    return Form(
        {
            part: (
                _file(f"{folder}/{name}-images-idx3-ubyte.gz", *urls, basis="file checked; published md5"),
                _file(f"{folder}/{name}-labels-idx1-ubyte.gz", *urls, basis="file checked; published md5"),
            )
            for part, name in names.items()
        },
        _read_idx_pair,
    )


MNIST = Source(
    "mnist",
    "usually given as CC BY-SA 3.0",
    "LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document recognition",
    "http://yann.lecun.com/exdb/mnist/",
    (
        _idx_form(
            "mnist",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
)

FASHION_MNIST = Source(
    "fashion-mnist",
    "MIT (Zalando SE)",
    "Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747",
    "https://github.com/zalandoresearch/fashion-mnist",
    (_idx_form("fashion-mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),),
)

# ---- static binarized MNIST --------------------------------------------------------------------------------


def _read_packed_bits(paths: list[Path], part: str) -> Part:
    return np.unpackbits(_members(paths[0], part)[part], axis=1).reshape(-1, 28, 28), None


def _read_amat(paths: list[Path], part: str) -> Part:
    return bits_of_text(paths[0], 784).reshape(-1, 28, 28), None


def bits_of_text(path: Path, columns: int) -> np.ndarray:
    """Zeros and ones (n, columns) from text, one row a line, one character apart. Raises DataError."""
    text = np.frombuffer(path.read_bytes(), np.uint8)
    if text.size % (2 * columns):
        raise DataError(f"expected lines of {columns} zeros and ones in {path}, got {text.size} bytes in all")
    rows = text.reshape(-1, 2 * columns)
    bits = rows[:, ::2] - np.uint8(ord("0"))
    if bits.size and (bits.max() > 1 or (rows[:, -1] != ord("\n")).any()):
        raise DataError(f"expected lines of {columns} zeros and ones in {path}, got other characters")
    return bits


_PARTS = ("train", "valid", "test")
_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"

BINARIZED_MNIST = Source(
    "binarized-mnist",
    "derived from MNIST",
    "Salakhutdinov, Murray (2008), On the quantitative analysis of deep belief networks; files by Larochelle",
    _LAROCHELLE,
    (
        Form(
            {part: (_file("binarized-mnist/binarized_mnist_packed.npz"),) for part in _PARTS},
            _read_packed_bits,
        ),
        Form(
            {
                part: (
                    _file(
                        f"binarized-mnist/binarized_mnist_{part}.amat",
                        _LAROCHELLE,
                        basis="contents checked; published md5",
                    ),
                )
                for part in _PARTS
            },
            _read_amat,
        ),
    ),
)

# ---- CIFAR-10 ----------------------------------------------------------------------------------------------


def _read_cifar_npz(paths: list[Path], part: str) -> Part:
    batch = _members(paths[0], "data", "labels")
    return _cifar_items(batch["data"]), batch["labels"]


def _read_cifar_binary(paths: list[Path], part: str) -> Part:
    wanted = "test_batch.bin" if part == "test" else f"data_batch_{part}.bin"
    try:
        # Streamed: the batch is read into memory and nothing is unpacked to the disk.
        with tarfile.open(paths[0], "r|gz") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith("/" + wanted) and member.size == 10000 * 3073:
                    stream = archive.extractfile(member)
                    if stream is not None:
                        rows = np.frombuffer(stream.read(), np.uint8).reshape(-1, 3073)
                        return _cifar_items(rows[:, 1:].reshape(-1, 3, 32, 32)), rows[:, 0].copy()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"expected the binary version of CIFAR-10, but {paths[0]} is broken ({error})") from None
    raise DataError(f"expected {wanted} with 10,000 images in {paths[0]}, got no such file")


def _cifar_items(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


_CIFAR_TAR = File(
    "cifar10/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    "md5 published at https://www.cs.toronto.edu/~kriz/cifar.html",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

CIFAR10 = Source(
    "cifar10",
    "none stated",
    "Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    (
        Form(
            {
                **{str(i): (_file(f"cifar10/data_batch_{i}.npz"),) for i in range(1, 6)},
                "test": (_file("cifar10/test_batch.npz"),),
            },
            _read_cifar_npz,
        ),
        Form({part: (_CIFAR_TAR,) for part in ("1", "2", "3", "4", "5", "test")}, _read_cifar_binary),
    ),
)

# ---- MATLAB files: silhouettes and Frey faces --------------------------------------------------------------


def _read_mat(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(f"{path} needs scipy to be read; install codelength[train]") from None
    return loadmat(path)


def _read_silhouettes(paths: list[Path], part: str) -> Part:
    mat = _read_mat(paths[0])
    # The images lie column by column, as MATLAB stores them.
    items = mat["X"].reshape(-1, 28, 28).transpose(0, 2, 1)
    return np.ascontiguousarray(items), mat["Y"].ravel().astype(np.uint8)


def _read_frey(paths: list[Path], part: str) -> Part:
    return np.ascontiguousarray(_read_mat(paths[0])["ff"].T).reshape(-1, 28, 20), None


SILHOUETTES = Source(
    "silhouettes",
    "Caltech 101 is CC BY 4.0",
    "Marlin, Swersky, Chen, de Freitas (2010), Inductive principles for RBM learning",
    "https://people.cs.umass.edu/~marlin/data.shtml",
    (
        Form(
            {
                "all": (
                    _file(
                        "caltech101-silhouettes/caltech101_silhouettes_28.mat",
                        "https://people.cs.umass.edu/~marlin/data/",
                        basis="file checked; published md5",
                    ),
                )
            },
            _read_silhouettes,
        ),
    ),
)

FREY_FACES = Source(
    "frey-faces",
    "none stated (Frey, Roweis)",
    "Roweis, Saul, Hinton (2002), Global coordination of local linear models",
    "https://cs.nyu.edu/~roweis/data.html",
    (
        Form(
            {
                "all": (
                    _file(
                        "freyfaces/frey_rawface.mat",
                        "https://cs.nyu.edu/~roweis/data/",
                        basis="file checked; published md5",
                    ),
                )
            },
            _read_frey,
        ),
    ),
)

# ---- Omniglot ----------------------------------------------------------------------------------------------


def _read_omniglot(paths: list[Path], part: str) -> Part:
    """All images of both sets once (two alphabets are in both), sorted by alphabet, character and name."""
    from PIL import Image

    pictures: dict[str, np.ndarray] = {}
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                key = name.split("/", 1)[-1]
                if name.endswith(".png") and key not in pictures:
                    with Image.open(io.BytesIO(archive.read(name))) as image:
                        pictures[key] = 1 - np.asarray(image, dtype=np.uint8)
    return np.stack([pictures[key] for key in sorted(pictures)]), None


OMNIGLOT_SMALL = Source(
    "omniglot-small",
    "MIT (Lake)",
    "Lake, Salakhutdinov, Tenenbaum (2015), Human-level concept learning",
    "https://github.com/brendenlake/omniglot",
    (
        Form(
            {
                "all": tuple(
                    _file(
                        f"omniglot-small/images_background_small{i}.zip",
                        "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
                    )
                    for i in (1, 2)
                )
            },
            _read_omniglot,
        ),
    ),
)

# ---- Kodak -------------------------------------------------------------------------------------------------

_KODAK_CHECKED = (1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23)


def _kodak(name: str, numbers: tuple[int, ...]) -> Source:
    return Source(
        name,
        "released by Kodak for unrestricted use",
        "Kodak Lossless True Color Image Suite (PhotoCD PCD0992)",
        "https://r0k.us/graphics/kodak/",
        (
            Form(
                {
                    "test": tuple(
                        _file(f"kodak/kodim{i:02}.png", "https://r0k.us/graphics/kodak/kodak/") for i in numbers
                    )
                },
                lambda paths, part: (paths, None),
            ),
        ),
    )


KODAK = _kodak("kodak", _KODAK_CHECKED)
KODAK24 = _kodak("kodak24", tuple(range(1, 25)))

# ---- binary density estimation -----------------------------------------------------------------------------

# Variables, then items in train, valid and test.
DEBD_SHAPES: dict[str, tuple[int, int, int, int]] = {
    "nltcs": (16, 16181, 2157, 3236),
    "baudio": (100, 15000, 2000, 3000),
    "bnetflix": (100, 15000, 2000, 3000),
    "mushrooms": (112, 2000, 500, 5624),
    "pumsb_star": (163, 12262, 1635, 2452),
    "dna": (180, 1600, 400, 1186),
    "nips": (500, 400, 100, 1240),
    "moviereview": (1001, 1600, 150, 250),
    "bbc": (1058, 1670, 225, 330),
    "voting": (1359, 1214, 200, 350),
}


def debd(name: str) -> Source:
    """One of the binary density estimation sets."""
    columns = DEBD_SHAPES[name][0]
    address = f"https://raw.githubusercontent.com/arranger1044/DEBD/master/datasets/{name}/"
    return Source(
        f"debd/{name}",
        "none stated",
        "Lowd, Davis (2010); Van Haaren, Davis (2012); Bekker et al. (2015); Larochelle, Murray (2011)",
        "https://github.com/arranger1044/DEBD",
        (
            Form(
                {part: (_file(f"debd/{name}.npz"),) for part in _PARTS},
                lambda paths, part: (_members(paths[0], part)[part], None),
            ),
            Form(
                {part: (_file(f"debd/{name}.{part}.data", address, basis="contents checked"),) for part in _PARTS},
                lambda paths, part: (bits_of_text(paths[0], columns), None),
            ),
        ),
    )


def _members(path: Path, *names: str) -> dict[str, np.ndarray]:
    arrays = read_npz(path, only=names)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"expected the array {missing[0]!r} in {path}, got {', '.join(arrays) or 'none'}")
    return arrays
