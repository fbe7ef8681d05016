"""``load_data``: from what users name to a data set."""

from __future__ import annotations

from typing import Any

from codelength.data.dataset import DataSet
from codelength.data.opened import open_data


def load_data(
    spec: Any,
    *,
    layout: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    trust_download: bool = False,
    default_split: str = "test",
    symbols: int | None = None,
) -> DataSet:
    """Load a named data set, a file or folder, or wrap arrays.

        >>> data = cl.load_data("threshold-digits:test[:100]")
        >>> data.items.shape, data.space.symbols
        ((100, 8, 8), 2)

    spec: ``name[:split][[a:b]]``; or the path of an ``.npy``, ``.npz`` (``file.npz:member`` takes one array),
        IDX file (gzipped or not), image or folder of images, with an optional ``[a:b]``; or an array, items
        first; or a sequence of arrays, one an item, which may be images of several sizes. A path with the name of a
        data set is written ``./name``.
    layout: axes of arrays, ``nd``, ``nhw``, ``nhwc`` or ``nchw``, where the guess would be wrong (an axis of
        size 1, 3 or 4 that is last, else second, of four is taken for the channels).
    limit: keep that many items, chosen at random with ``seed`` (never a prefix).
    trust_download: download files whose hash nobody has vouched for.
    default_split: of named data sets when the spec names none.
    symbols: size of the alphabet of arrays, where the least of 2, 256 and 65536 that holds them is not meant.

    Raises UsageError for a malformed spec or an unknown name or split, DataError for data that cannot be
    read, UntrustedDownload for unverified downloads.
    """
    opened = open_data(spec, layout=layout, symbols=symbols, split=default_split, trust_download=trust_download)
    return opened.data_set if limit is None else opened.data_set.subset(limit, seed)
