"""Files of arrays as other programs leave them."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from codelength.archive.layout import IDX_TYPES


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a new ``.npy`` (one array), ``.npz`` or IDX file (any other ending; gzipped if it is ``.gz``). Type,
    byte order, shape and memory order are kept; the same arrays give the same bytes."""
    suffix = path.suffix.lower()
    with path.open("xb") as stream:
        if suffix == ".npz":
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, array in arrays.items():
                    # A fixed date: the format's oldest.
                    info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                    info.compress_type = zipfile.ZIP_DEFLATED
                    with archive.open(info, "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            return
        (array,) = arrays.values()
        if suffix == ".npy":
            np.lib.format.write_array(stream, array, allow_pickle=False)
        elif suffix == ".gz":
            stream.write(gzip.compress(idx_bytes(array), mtime=0))
        else:
            stream.write(idx_bytes(array))


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as an IDX file."""
    for dtype, code in IDX_TYPES.items():
        if np.dtype(dtype) == array.dtype.newbyteorder(">"):
            header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            return header + array.astype(dtype).tobytes()
    raise AssertionError(f"IDX has no {array.dtype}")
