"""A second, slow reader of archives, written from docs/format.md alone: numpy and Python integers.

    python tests/second_reader/second_reader.py ARCHIVE [MODEL]

prints a digest of all that the archive holds. It shares no line with the package, so that an archive which both read
alike is what the document says.
"""

from __future__ import annotations

import sys

from reader_archive import Archive, Item, open_archive, original_file, pages, tiff_tags
from reader_coding import Refused
from reader_program import Model

__all__ = ["Archive", "Item", "Model", "Refused", "open_archive", "original_file", "pages", "tiff_tags"]

if __name__ == "__main__":
    print(open_archive(*sys.argv[1:3]).sha256())
