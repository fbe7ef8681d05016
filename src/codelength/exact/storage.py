"""How the integer tensors of a program are stored: bit-packed or entropy-coded by our own coder.

A tensor's bytes begin with a method number (docs/format.md, "Tensor storage"):

0  packed: the least value and a width, then every value less the least in that many bits
1  differences: along the last axis, each value less the one before it; then packed
2  coded: rows of small numbers around zero, each with its own scale, under a mixture of two logistics

The writer takes the shortest. A model's name is the hash of the decoded values, so better methods never rename it.
"""

from __future__ import annotations

import math

import numpy as np

from codelength.coding.frequencies import Leaf, intervals, pop_elements
from codelength.coding.stack import Stack, push_intervals
from codelength.errors import ProgramError, StackExhausted

_CHUNK = 1 << 18
_SCALE_STEP = 32  # a row's scale is stored in units of 2^-8 * 32 = 1/8 nat


def encode_tensor(tensor: np.ndarray) -> bytes:
    """The shortest of the methods, for an integer tensor of any shape with values of at most 32 bits."""
    # Counted by hand: of a tensor without numbers numpy cannot tell how many rows it has.
    rows = tensor.reshape(math.prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.ndim else 1)
    rows = rows.astype(np.int64)
    candidates = [b"\x00" + _pack(rows.reshape(-1)), b"\x01" + _pack(_differences(rows).reshape(-1))]
    if rows.size >= 64 and rows.min() <= 0 <= rows.max() and int(rows.max()) - int(rows.min()) < 1 << 15:
        grouped = tensor.reshape(tensor.shape[0], -1).astype(np.int64) if tensor.ndim > 1 else rows
        candidates.append(b"\x02" + _code(grouped))
    return min(candidates, key=len)


def decode_tensor(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor (int32) of this shape. Raises ProgramError where the bytes do not give it."""
    size = math.prod(shape)
    try:
        method, rest = data[0], data[1:]
        columns = shape[-1] if shape else 1
        if method == 0:
            values = _unpack(rest, size)
        elif method == 1:
            rows = _unpack(rest, size).reshape(-1, columns) if columns else _unpack(rest, size)
            values = np.cumsum(rows, axis=-1).reshape(-1)
        elif method == 2:
            outer = shape[0] if len(shape) > 1 else 1
            values = _decode(rest, outer, size // outer if outer else 0).reshape(-1)
        else:
            raise ProgramError(f"a tensor is stored by method {method}, which this version does not know")
    except (IndexError, ValueError, StackExhausted, OverflowError) as error:
        raise ProgramError(f"a tensor's bytes do not hold {size} values: {error}") from None
    if values.size and (int(values.min()) < -(1 << 31) or int(values.max()) >= 1 << 31):
        raise ProgramError("a tensor holds values of more than 32 bits")
    return values.reshape(shape).astype(np.int32)


# --------------------------------------------------------------------------------------------------------------
# Numbers of variable length: seven bits a byte, lowest first; signed numbers as 2v for v >= 0 and -2v - 1 otherwise.


def write_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it). Raises ValueError past 10 bytes, IndexError at the end of the data."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that does not end")


def _signed(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unsigned(code: int) -> int:
    return code >> 1 if code & 1 == 0 else -(code >> 1) - 1


# --------------------------------------------------------------------------------------------------------------
# Methods 0 and 1


def _differences(rows: np.ndarray) -> np.ndarray:
    out = rows.copy()
    out[:, 1:] -= rows[:, :-1]
    return out


def _pack(values: np.ndarray) -> bytes:
    least = int(values.min(initial=0)) if values.size else 0
    width = (int(values.max()) - least).bit_length() if values.size else 0
    head = write_varint(_signed(least)) + write_varint(width)
    if not width or not values.size:
        return head
    shifted = (values - least).astype(np.uint64)
    bits = ((shifted[:, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8)
    return head + np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def _unpack(data: bytes, size: int) -> np.ndarray:
    code, at = read_varint(data, 0)
    width, at = read_varint(data, at)
    # Differences of values of 32 bits; sums of as many as a tensor may hold then fit 63 bits.
    if width > 33 or abs(_unsigned(code)) >= 1 << 33:
        raise ValueError(f"a width of {width} bits above {_unsigned(code)}")
    if len(data) - at != (width * size + 7) // 8:
        raise ValueError(f"{len(data) - at} bytes for {size} values of {width} bits")
    values = np.zeros(size, np.int64)
    raw = np.frombuffer(data, np.uint8, offset=at)
    for start in range(0, size if width else 0, 1 << 16):  # in pieces of whole bytes, to bound memory
        count = min(1 << 16, size - start)
        piece = raw[start * width // 8 : ((start + count) * width + 7) // 8]
        bits = np.unpackbits(piece, bitorder="little", count=count * width).reshape(count, width).astype(np.int64)
        values[start : start + count] = bits @ (np.int64(1) << np.arange(width, dtype=np.int64))
    return values + _unsigned(code)


# --------------------------------------------------------------------------------------------------------------
# Method 2


def _leaf(symbols: int) -> Leaf:
    return Leaf("logistic_mixture", max(symbols, 2), bits=24, components=2)


def _parameters(scales: np.ndarray, shape: list[int], center: int) -> np.ndarray:
    """(1, m, 6) int32: the parameters of entries in rows of these scales (m,)."""
    weight, narrow, wide = shape
    row = scales.astype(np.int32) * _SCALE_STEP
    out = np.empty((1, len(row), 6), np.int32)
    out[0, :, 0], out[0, :, 1] = weight, 0
    out[0, :, 2] = out[0, :, 3] = center * 64
    out[0, :, 4], out[0, :, 5] = row - narrow, row + wide
    return out


def _code(rows: np.ndarray) -> bytes:
    """Least value, alphabet, mixture shape, per row its length without trailing zeros and its scale, then the stack."""
    least, symbols = int(rows.min()), int(rows.max()) - int(rows.min()) + 1
    nonzero = rows != 0
    prefixes = np.where(nonzero.any(1), rows.shape[1] - np.argmax(nonzero[:, ::-1], axis=1), 0)
    size = np.maximum(prefixes, 1)
    spread = np.maximum(np.sqrt((rows.astype(np.float64) ** 2).sum(1) / size) * 0.55, 0.05)
    scales = np.clip(np.round(np.log(spread) * 256 / _SCALE_STEP), -64, 127).astype(np.int64)
    keep = np.arange(rows.shape[1])[None, :] < prefixes[:, None]
    values = (rows - least)[keep].reshape(1, -1)
    leaf = _leaf(symbols)
    spread_out = np.repeat(scales, prefixes)
    shape = _best_shape(leaf, values, spread_out, -least)
    stack = Stack(lanes=1)
    for start in range((max(values.shape[1] - 1, 0) // _CHUNK) * _CHUNK, -1, -_CHUNK):
        piece = slice(start, start + _CHUNK)
        params = _parameters(spread_out[piece], shape, -least)
        starts, freqs = intervals(leaf, params, values[:, piece])
        push_intervals(starts, freqs, leaf.bits, stack)
    head = write_varint(_signed(least)) + write_varint(symbols)
    head += b"".join(write_varint(_signed(v)) for v in shape)
    lengths = _pack(_differences(prefixes[None])[0])
    widths = _pack(scales)
    head += write_varint(len(lengths)) + lengths + write_varint(len(widths)) + widths
    return head + stack.to_words().astype("<u4").tobytes()


def _best_shape(leaf: Leaf, values: np.ndarray, scales: np.ndarray, center: int) -> list[int]:
    """The mixture's log-odds and the two log-scale offsets (2^-8 nats) that code a sample of the entries best."""
    count = values.shape[1]
    sample = np.linspace(0, max(count - 1, 0), min(count, 8192)).astype(np.int64)
    best: tuple[float, list[int]] = (math.inf, [0, 0, 0])
    for weight in (-384, 0, 384):
        for narrow in (-96, 0, 96, 192, 384):
            for wide in (-64, 0, 64, 128, 224):
                if wide < -narrow:
                    continue
                params = _parameters(scales[sample], [weight, narrow, wide], center)
                _, freqs = intervals(leaf, params, values[:, sample])
                cost = -float(np.log2(freqs).sum())
                if cost < best[0]:
                    best = (cost, [weight, narrow, wide])
    return best[1]


def _decode(data: bytes, rows: int, columns: int) -> np.ndarray:
    code, at = read_varint(data, 0)
    symbols, at = read_varint(data, at)
    if not 1 <= symbols <= 1 << 15:
        raise ValueError(f"an alphabet of {symbols}")
    least, shape = _unsigned(code), []
    for _ in range(3):
        value, at = read_varint(data, at)
        shape.append(_unsigned(value))
    if not (-(1 << 15) < least <= 0 and -least < symbols and max(map(abs, shape)) <= 4096):
        raise ValueError("parameters out of bounds")
    tables = []
    for _ in range(2):
        length, at = read_varint(data, at)
        tables.append(_unpack(data[at : at + length], rows))
        at += length
    prefixes, scales = np.cumsum(tables[0]), tables[1]
    if rows and not (prefixes.min() >= 0 and prefixes.max() <= columns and np.abs(scales).max() <= 128):
        raise ValueError("row lengths or scales out of bounds")
    if (len(data) - at) % 4:
        raise ValueError("a stack that is not made of words")
    leaf, stack = _leaf(symbols), Stack.from_words([np.frombuffer(data, "<u4", offset=at)], 1)
    out = np.zeros((rows, columns), np.int64)
    keep = np.arange(columns)[None, :] < prefixes[:, None]
    spread_out = np.repeat(scales.astype(np.int16), prefixes)
    values = np.empty(len(spread_out), np.int32)
    for start in range(0, len(values), _CHUNK):
        piece = slice(start, start + _CHUNK)
        values[piece] = pop_elements(leaf, _parameters(spread_out[piece], shape, -least), stack)[0]
    if not stack.is_empty():
        raise ValueError("words left over")
    out[keep] = values + least
    return out
