"""Stored tensors come back, whatever the method; bytes that do not hold a tensor are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelength.errors import ProgramError
from codelength.exact import storage
from codelength.exact.storage import decode_tensor, encode_tensor, read_varint, write_varint

QUICK = settings(max_examples=80, deadline=None, derandomize=True)


def some_tensor(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0 if seed % 5 == 0 else 1, 9, int(rng.integers(0, 5))))
    reach = [0, 1, 40, 3000, 1 << 20, (1 << 31) - 1][seed % 6]
    low = -reach - (reach == (1 << 31) - 1)
    tensor = np.asarray(rng.integers(low, reach + 1, shape), np.int32)
    if seed % 3 == 0 and tensor.ndim:
        tensor = np.sort(tensor, axis=-1)
    if seed % 4 == 0 and tensor.ndim:
        tensor[..., tensor.shape[-1] // 2 :] = 0
    return tensor


def every_method(tensor: np.ndarray) -> list[bytes]:
    rows = tensor.reshape(-1, tensor.shape[-1]) if tensor.ndim > 1 else tensor.reshape(1, -1)
    rows = rows.astype(np.int64)
    ways = [b"\0" + storage._pack(rows.reshape(-1)), b"\1" + storage._pack(storage._differences(rows).reshape(-1))]
    if rows.size and rows.min() <= 0 <= rows.max() and int(rows.max()) - int(rows.min()) < 1 << 15:
        grouped = tensor.reshape(tensor.shape[0], -1).astype(np.int64) if tensor.ndim > 1 else rows
        ways.append(b"\2" + storage._code(grouped))
    return ways


@QUICK
@given(st.integers(0, 10**6))
def test_every_method_gives_the_tensor_back_and_the_writer_takes_the_shortest(seed):
    tensor = some_tensor(seed)
    if not tensor.size:
        assert decode_tensor(encode_tensor(tensor), tensor.shape).shape == tensor.shape
        return
    ways = every_method(tensor)
    for data in ways:
        assert np.array_equal(decode_tensor(data, tensor.shape), tensor)
    shortest = encode_tensor(tensor)
    assert np.array_equal(decode_tensor(shortest, tensor.shape), tensor)
    assert len(shortest) <= min(len(ways[0]), len(ways[1]))


def test_weights_cost_about_their_entropy():
    rng = np.random.default_rng(0)
    scale = rng.uniform(3, 40, (64, 1))
    weights = np.round(rng.laplace(size=(64, 512)) * scale).astype(np.int32)
    entropy = weights.size * np.log2(2 * np.e) + 512 * np.log2(scale).sum()
    assert 8 * len(encode_tensor(weights)) < 1.02 * entropy


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_coded_tensors_do_not_depend_on_the_pieces_they_are_coded_in(chunk, monkeypatch):
    tensor = np.random.default_rng(0).integers(-20, 20, (9, 11)).astype(np.int32)
    whole = every_method(tensor)[2]
    monkeypatch.setattr(storage, "_CHUNK", chunk)
    assert every_method(tensor)[2] == whole
    assert np.array_equal(decode_tensor(whole, tensor.shape), tensor)


@QUICK
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_damaged_bytes_give_a_tensor_of_the_shape_or_a_sentence(seed, harm):
    rng = np.random.default_rng(harm)
    tensor = some_tensor(seed)
    if not tensor.size:
        return
    ways = every_method(tensor)
    data = bytearray(ways[harm % len(ways)])
    match harm % 3:
        case 0:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case 1:
            del data[int(rng.integers(len(data))) :]
        case _:
            data[int(rng.integers(len(data)))] = int(rng.choice([0, 127, 128, 255]))
    try:
        assert decode_tensor(bytes(data), tensor.shape).shape == tensor.shape
    except ProgramError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\3" + bytes(20),
        b"\0" + b"\xff" * 11,  # a number that does not end
        b"\0\0" + write_varint(34) + bytes(99),  # too wide
        b"\0" + write_varint(1 << 34) + write_varint(0),  # too low
        b"\0" + write_varint(2 << 31) + write_varint(0),  # 2^31
        b"\0\0" + write_varint(2) + bytes(1),  # one byte too few
        b"\0\0" + write_varint(2) + bytes(3),  # one too many
        b"\1" + write_varint(2 << 31) + write_varint(0),  # sums that leave 32 bits
        b"\2" + write_varint(0) + write_varint(1 << 16) + bytes(30),  # an alphabet that is too large
        b"\2" + write_varint(9) + write_varint(3) + bytes(30),  # zero outside of the alphabet
        b"\2\0\5" + bytes(3) + b"\4\2\3\xff\xff" + b"\2\0\0" + bytes(8),  # rows longer than they are
    ],
)
def test_bytes_that_hold_no_tensor_are_refused(data):
    with pytest.raises(ProgramError):
        decode_tensor(data, (2, 4))


def test_variable_numbers():
    for value in (0, 1, 127, 128, 300, 2**40, 2**62):
        assert read_varint(write_varint(value) + b"\5", 0) == (value, len(write_varint(value)))


def test_tensors_without_numbers_keep_their_shape():
    for shape in [(0,), (2, 0), (0, 4), (3, 2, 0)]:
        tensor = np.zeros(shape, np.int32)
        assert decode_tensor(encode_tensor(tensor), shape).shape == shape
