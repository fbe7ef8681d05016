"""Loops over bytes that neither numpy nor zlib has: the filters of PNG, two compressions of TIFF, and that of DICOM.

All of them write into an array that they are given, and never beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codelength.coding.compiled import kernel


@kernel
def unfilter(rows: np.ndarray, step: int) -> int:
    """Undo the filters of PNG in place.

    rows: (h, 1 + bytes of a row) uint8, the first byte of each row being its filter.
    step: bytes of a pixel, at least 1.

    Returns -1, or the number of the first row with an unknown filter.
    """
    height, width = rows.shape
    for y in range(height):
        kind = rows[y, 0]
        if kind > 4:
            return y
        if kind == 0:
            continue
        for x in range(1, width):
            left: Any = np.int64(rows[y, x - step]) if x > step else 0
            up: Any = np.int64(rows[y - 1, x]) if y > 0 else 0
            corner: Any = np.int64(rows[y - 1, x - step]) if y > 0 and x > step else 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) >> 1
            else:
                straight, down, both = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                guess = left if straight <= down and straight <= both else (up if down <= both else corner)
            rows[y, x] = (np.int64(rows[y, x]) + guess) & 255
    return -1


@kernel
def unpack_runs(data: np.ndarray, out: np.ndarray, row: int) -> bool:
    """PackBits. data, out: uint8. row: bytes of a row, over whose end no run may go.

    Returns whether ``data`` was exactly ``out``, with no byte left over.
    """
    at: Any = 0
    used: Any = 0
    while at < len(data):
        head = np.int64(data[at])
        at += 1
        if head == 128:
            continue
        count = head + 1 if head < 128 else 257 - head
        if used + count > len(out) or used % row + count > row:
            return False
        if head < 128:
            if at + count > len(data):
                return False
            for i in range(count):
                out[used + i] = data[at + i]
            at += count
        else:
            if at >= len(data):
                return False
            for i in range(count):
                out[used + i] = data[at]
            at += 1
        used += count
    return used == len(out)


@kernel
def pack_runs(rows: np.ndarray, out: np.ndarray) -> int:
    """PackBits, as DICOM has it. rows: (h, w) uint8, each for itself: two equal bytes or more are a run.

    out: uint8, at least h (2 w + 2). Returns how many bytes of it are used.
    """
    height, width = rows.shape
    used: Any = 0
    for y in range(height):
        at: Any = 0
        while at < width:
            # What is not followed by itself, as far as it goes.
            end = at
            while end < width and (end + 1 == width or rows[y, end] != rows[y, end + 1]):
                end += 1
            while at < end:
                count = min(end - at, 128)
                out[used] = count - 1
                for i in range(count):
                    out[used + 1 + i] = rows[y, at + i]
                used += 1 + count
                at += count
            end = at
            while end < width and rows[y, end] == rows[y, at]:
                end += 1
            while at < end:
                count = min(end - at, 128)
                out[used] = 257 - count if count > 1 else 0
                out[used + 1] = rows[y, at]
                used += 2
                at += count
    return used


@kernel
def unpack_lzw(data: np.ndarray, out: np.ndarray, place: np.ndarray, length: np.ndarray) -> bool:
    """The LZW of TIFF 6: codes of 9 to 12 bits, highest bit first, 256 to clear and 257 to end.

    data, out: uint8. place, length: (4096,) int64, scratch: where in ``out`` the text of a code stands.

    Returns whether ``data`` begins with a clearing, ends with its end code, and was exactly ``out``.
    """
    bits: Any = 0
    total, at, width, used, known, previous = 0, 0, 9, 0, 258, -1
    first = True
    while True:
        while total < width:
            if at >= len(data):
                return False
            bits = ((bits << 8) | np.int64(data[at])) & 0xFFFFFFF
            at += 1
            total += 8
        code = (bits >> (total - width)) & ((1 << width) - 1)
        total -= width
        if first and code != 256:
            return False
        first = False
        if code == 257:
            # Some writers begin another byte where the end code has filled the last one.
            return used == len(out) and (at == len(data) or (at == len(data) - 1 and data[at] == 0))
        if code == 256:
            width, known, previous = 9, 258, -1
            continue
        start = used
        if code < 256:
            if used >= len(out):
                return False
            out[used] = code
            used += 1
        else:
            if previous < 0 or code > known or code >= 4096:
                return False
            # A code that is only just being defined is the previous text and its own first byte.
            source = place[code] if code < known else previous
            count = length[code] if code < known else start - previous + 1
            if used + count > len(out):
                return False
            for i in range(count):
                out[used + i] = out[source + i]
            used += count
        if previous >= 0 and known < 4096:
            place[known] = previous
            length[known] = start - previous + 1
            known += 1
        previous = start
        # The encoder widens its codes one entry early.
        if known >= 2047:
            width = 12
        elif known >= 1023:
            width = 11
        elif known >= 511:
            width = 10
