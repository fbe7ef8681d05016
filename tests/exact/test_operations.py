"""Every operation: the whole-tensor rule on both executors against obvious loops; bounds that hold and are tight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow import evaluate, value_of

from codelength.errors import ProgramError
from codelength.exact import arithmetic
from codelength.exact.arithmetic import NUMPY, REFERENCE, ArithmeticFault, NumpyArithmetic, pad_for
from codelength.exact.layer import Kernel, Layer, Rounding, exact_rows
from codelength.exact.network import Network
from codelength.exact.operations import OPERATIONS, Type, accumulate_bounds

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
EDGE = 1 << 24


def network(operations: list[dict[str, Any]], inputs: tuple[str, ...] = ("a", "b")) -> Network:
    record = {"inputs": list(inputs), "operations": operations, "output": len(inputs) + len(operations) - 1}
    return Network.from_json(record)


def judge(operations: list[dict], tensors: dict, types: dict[str, Type], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Both executors give what the loops give, within the bounds that were proved. The result (n, *shape)."""
    built = network(operations, tuple(inputs))
    tensors = {name: np.asarray(t, np.int32) for name, t in tensors.items()}
    proved = built.infer(types, tensors)
    slow = []
    for i in range(len(next(iter(inputs.values())))):
        values = {name: value_of(x[i]) for name, x in inputs.items()}
        slow.append(np.array(evaluate(built.to_json(), tensors, values)[1], dtype=np.int64))
    expected = np.stack(slow).reshape(-1, *proved[-1].shape)
    for executor in (NUMPY, REFERENCE):
        got = built._run(executor, inputs, proved, tensors)
        assert np.array_equal(np.asarray(got, np.float64), expected.astype(np.float64)), executor.name
    assert expected.size == 0 or (expected.min() >= proved[-1].low and expected.max() <= proved[-1].high)
    return expected


seeds = st.integers(0, 10**6)


@QUICK
@given(seeds)
def test_linear(seed):
    rng = np.random.default_rng(seed)
    inputs, outputs = rng.integers(1, 7, 2)
    x = rng.integers(-300, 1000, (3, inputs))
    parts = sorted({int(v) for v in rng.integers(1, inputs, 2)}) if inputs > 1 and rng.integers(2) else []
    tensors = {"w": rng.integers(-1000, 1000, (outputs, inputs)), "b": rng.integers(-(10**6), 10**6, outputs)}
    judge(
        [{"op": "linear", "x": 0, "weight": "w", "bias": "b", "parts": parts}],
        tensors,
        {"a": Type((inputs,), -300, 999)},
        {"a": x},
    )


@QUICK
@given(seeds)
def test_convolution_of_any_kernel_offset_and_stride(seed):
    rng = np.random.default_rng(seed)
    inputs, outputs, kh, kw, height, width = rng.integers(1, 5, 6)
    x = rng.integers(5, 100, (2, inputs, height, width))
    tensors = {"w": rng.integers(-90, 90, (outputs, inputs, kh, kw)), "b": rng.integers(-90, 90, outputs)}
    record = {"op": "convolution", "x": 0, "weight": "w", "bias": "b"}
    record |= {"offset": rng.integers(-5, 6, 2).tolist(), "stride": int(rng.integers(1, 4))}
    if inputs > 1:
        record["parts"] = [int(rng.integers(1, inputs))]
    judge([record], tensors, {"a": Type((inputs, height, width), 5, 99)}, {"a": x})


@QUICK
@given(seeds, st.booleans())
def test_requantise_rounds_halves_up_and_clamps(seed, wide):
    rng = np.random.default_rng(seed)
    reach = 1 << (40 if wide else 18)
    x = np.concatenate(
        [rng.integers(-reach, reach + 1, (3, 4)), np.full((1, 4), -reach), np.arange(-8, 8).reshape(4, 4)]
    )
    low = int(rng.integers(-(1 << 24), 1 << 24))
    record = {"op": "requantise", "x": 0, "shift": "s", "low": low, "high": int(rng.integers(low, (1 << 24) + 1))}
    built = network([record], ("a",))
    types = [Type((4,), -reach, reach)]
    tensors = {"s": rng.integers(-3, 12, 4).astype(np.int32)}
    proved = built.operations[0].infer(types, tensors)
    slow = [evaluate(built.to_json(), tensors, {"a": value_of(row)})[1] for row in x]
    for executor, values in ((NUMPY, x.astype(np.float64 if wide else np.float32)), (REFERENCE, x)):
        got = built.operations[0].run(executor, [values], tensors, proved)
        assert np.array_equal(np.asarray(got, np.int64), np.array(slow))
    assert np.min(slow) >= proved.low and np.max(slow) <= proved.high


@QUICK
@given(seeds)
def test_pointwise_operations(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), *rng.integers(1, 4, int(rng.integers(0, 3))).tolist())
    x, y = rng.integers(-60, 90, (2, 3, *shape))
    tensors = {"t": rng.integers(-(1 << 24), 1 << 24, int(rng.integers(1, 40)))}
    types, inputs = {"a": Type(shape, -60, 89), "b": Type(shape, -60, 89)}, {"a": x, "b": y}
    for operation in (
        {"op": "relu", "x": 0},
        {"op": "offset", "x": 1, "value": int(rng.integers(-99, 99))},
        {"op": "table", "x": 0, "table": "t", "low": int(rng.integers(-99, 99))},
        {"op": "add", "a": 0, "b": 1, "shift_a": int(rng.integers(0, 9)), "shift_b": int(rng.integers(0, 9))},
        {"op": "product", "a": 0, "b": 1},
        {"op": "concat", "xs": [1, 0, 1]},
        {"op": "slice", "x": 0, "start": 0, "stop": int(rng.integers(1, shape[0] + 1))},
        {"op": "reshape", "x": 0, "shape": [int(np.prod(shape)), 1]},
    ):
        judge([operation], tensors, types, inputs)


@QUICK
@given(seeds)
def test_operations_on_images_and_indices(seed):
    rng = np.random.default_rng(seed)
    factor = int(rng.integers(1, 4))
    shape = (factor * factor * int(rng.integers(1, 3)), *rng.integers(1, 4, 2).tolist())
    image, vector, index = rng.integers(3, 90, (2, *shape)), rng.integers(-9, 9, (2, 3)), rng.integers(0, 5, (2,))
    tensors = {"t": rng.integers(-99, 99, (5, 2)), "v": rng.integers(-99, 99, 4)}
    even = (2, *(size * factor for size in shape[1:]))
    types = {"i": Type(shape, 3, 89), "v": Type((3,), -9, 8), "k": Type((), 0, 4), "e": Type(even, -3, 89)}
    inputs = {"i": image, "v": vector, "k": index, "e": rng.integers(-3, 90, (2, *even))}
    for operation in (
        {"op": "upsample", "x": 0, "factor": factor},
        {"op": "upsample", "x": 0, "factor": factor, "zeros": True},
        {"op": "depth_to_space", "x": 0, "factor": factor},
        {"op": "space_to_depth", "x": 3, "factor": factor},
        {"op": "sum_pool", "x": 3, "factor": factor},
        {"op": "permute", "x": 0, "axes": rng.permutation(3).tolist()},
        {"op": "spread", "x": 1, "like": 0},
        {"op": "embed", "x": 2, "table": "t"},
        {"op": "constant", "x": 2, "values": "v"},
    ):
        judge([operation], tensors, types, inputs)


def test_every_operation_is_judged_here():
    here = Path(__file__).read_text()
    for name in OPERATIONS:
        assert f'"op": "{name}"' in here
    numbers = [kind.feature for kind in OPERATIONS.values()]
    assert len(set(numbers)) == len(numbers)


# ------------------------------------------------------------------------------------------------- bounds


@QUICK
@given(seeds)
def test_the_bounds_of_a_layer_are_reached_and_not_exceeded(seed):
    rng = np.random.default_rng(seed)
    low = int(rng.integers(-9, 9))
    high = int(rng.integers(low, 12))
    weight, bias = rng.integers(-9, 10, (3, 4)), rng.integers(-50, 50, 3)
    parts = (2,) if rng.integers(2) else ()
    proved = accumulate_bounds(weight, bias, low, high, parts)
    corners = np.array(np.meshgrid(*[[low, high]] * 4)).reshape(4, -1)
    values = weight @ corners + bias[:, None]
    assert proved == (values.min(), values.max())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("weights", "bias"), [([EDGE // 4] * 4, 0), ([EDGE // 4] * 3, EDGE // 4), ([4096 * 4096], 0)])
def test_sums_of_exactly_two_to_the_24_are_exact_and_one_more_is_refused(weights, bias, sign):
    tensors = {"w": [[sign * w for w in weights]], "b": [sign * bias]}
    record = {"op": "linear", "x": 0, "weight": "w", "bias": "b"}
    ones = np.ones((1, len(weights)), np.int64)
    assert judge([record], tensors, {"a": Type((len(weights),), 0, 1)}, {"a": ones}).item() == sign * EDGE
    for name in ("w", "b"):
        worse = {
            **tensors,
            name: np.asarray(tensors[name]) + (sign if name == "b" else [sign] + [0] * (len(weights) - 1)),
        }
        with pytest.raises(ProgramError, match=r"2\^24|exact range"):
            judge([record], worse, {"a": Type((len(weights),), 0, 1)}, {"a": ones})


def test_it_is_the_largest_partial_sum_that_counts_not_the_result():
    record = {"op": "linear", "x": 0, "weight": "w", "bias": "b"}
    cancelling = {"w": [[EDGE, 1, -EDGE, -1]], "b": [0]}
    with pytest.raises(ProgramError, match="exact range"):
        judge([record], cancelling, {"a": Type((4,), 1, 1)}, {"a": np.ones((1, 4), int)})
    judge([{**record, "parts": [1, 2, 3]}], cancelling, {"a": Type((4,), 1, 1)}, {"a": np.ones((1, 4), int)})


def test_parts_reach_beyond_two_to_the_24_together_and_are_bounded_by_two_to_the_53():
    record = {"op": "linear", "x": 0, "weight": "w", "bias": "b", "parts": [1, 2]}
    tensors = {"w": [[EDGE, EDGE, EDGE]] * 2, "b": [1, 2**31 - 1]}
    values = judge([record], tensors, {"a": Type((3,), 0, 1)}, {"a": np.ones((1, 3), int)})
    assert values.tolist() == [[3 * EDGE + 1, 3 * EDGE + 2**31 - 1]]
    # Beyond 2^53 in earnest: a part can reach 2^24, so it takes 2^29 of them; here the bias does it.
    with pytest.raises(ProgramError, match="exact range"):
        accumulate_bounds(np.full((1, 2), EDGE), np.array([2**53 - 2 * EDGE]), 0, 1, (1,))
    assert accumulate_bounds(np.full((1, 2), EDGE), np.array([2**53 - 2 * EDGE - 1]), 0, 1, (1,))[1] == 2**53 - 1


def test_an_offset_that_float32_does_not_hold_is_refused_though_its_sum_fits():
    x = np.array([[-EDGE], [-EDGE + 1]])
    judge([{"op": "offset", "x": 0, "value": EDGE}], {}, {"a": Type((1,), -EDGE, -EDGE + 1)}, {"a": x})
    with pytest.raises(ProgramError, match="offset"):
        judge([{"op": "offset", "x": 0, "value": 2 * EDGE - 1}], {}, {"a": Type((1,), -EDGE, -EDGE + 1)}, {"a": x})


def test_wide_values_are_for_requantise_and_add_only():
    wide = [{"op": "linear", "x": 0, "weight": "w", "bias": "b", "parts": [1]}]
    tensors = {"w": [[EDGE, EDGE]] * 2, "b": [0, 0], "s": [20, 30], "t": [1, 2]}
    types, inputs = {"a": Type((2,), 0, 1)}, {"a": np.ones((1, 2), np.int64)}
    judge([*wide, {"op": "requantise", "x": 1, "shift": "s", "low": -9, "high": 99}], tensors, types, inputs)
    judge([*wide, {"op": "add", "a": 1, "b": 1, "shift_a": 20}], tensors, types, inputs)
    for operation in (
        {"op": "offset", "x": 1, "value": 1},
        {"op": "table", "x": 1, "table": "t", "low": 0},
        {"op": "product", "a": 1, "b": 0},
        {"op": "linear", "x": 1, "weight": "w", "bias": "b"},
        {"op": "add", "a": 1, "b": 1, "shift_a": 30},
    ):
        with pytest.raises(ProgramError):
            judge([*wide, operation], tensors, types, inputs)


@pytest.mark.parametrize(
    ("operation", "fine", "bad"),
    [
        ({"op": "product", "a": 0, "b": 1}, (4096, 4096), (4096, 4097)),
        ({"op": "add", "a": 0, "b": 1, "shift_a": 3}, (1 << 20, 1 << 23), (1 << 20, (1 << 23) + 1)),
        ({"op": "offset", "x": 0, "value": 16}, (EDGE - 16, 0), (EDGE - 15, 0)),
        ({"op": "requantise", "x": 0, "shift": "s", "low": 0, "high": 9}, (EDGE - 16, 0), (EDGE - 15, 0)),
        ({"op": "requantise", "x": 0, "shift": "l", "low": 0, "high": 9}, (EDGE >> 3, 0), ((EDGE >> 3) + 1, 0)),
    ],
)
def test_the_range_of_exactness_is_used_to_its_last_value(operation, fine, bad):
    tensors = {"s": [5], "l": [-3]}
    for reach, good in ((fine, True), (bad, False)):
        types = {"a": Type((1,), -reach[0], reach[0]), "b": Type((1,), -reach[1], reach[1])}
        inputs = {"a": np.array([[reach[0]], [-reach[0]]]), "b": np.array([[reach[1]], [reach[1]]])}
        if good:
            judge([operation], tensors, types, inputs)
        else:
            with pytest.raises(ProgramError):
                judge([operation], tensors, types, inputs)


# ---------------------------------------------------------------------------------------------- run-time checks


class Wrong(np.ndarray):
    """An array whose products in float32 are slightly wrong."""

    by = 0.0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        plain = [np.asarray(i) if isinstance(i, Wrong) else i for i in inputs]
        results = None if out is None else tuple(np.asarray(o) for o in out)
        y = getattr(ufunc, method)(*plain, **more, **({} if results is None else {"out": results}))
        if ufunc is np.matmul and y.dtype == np.float32:
            y.reshape(-1)[-1] += Wrong.by
        return y.view(Wrong) if isinstance(y, np.ndarray) else y


class Perturbed(NumpyArithmetic):
    """A machine that multiplies wrongly."""

    def enter(self, x: np.ndarray) -> np.ndarray:
        return super().enter(x).view(Wrong)


LAYERS = {
    "linear": {"op": "linear", "x": 0, "weight": "w", "bias": "b"},
    "parted": {"op": "linear", "x": 0, "weight": "w", "bias": "b", "parts": [2]},
}
CONVOLUTION = {"op": "convolution", "x": 0, "weight": "w", "bias": "b", "offset": [0, -1]}


@pytest.mark.parametrize("by", [1.0, -3.0, 0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_product_that_is_off_is_caught_and_the_reference_answers(layer, by, monkeypatch):
    rng = np.random.default_rng(0)
    tensors = {"w": rng.integers(1, 9, (4, 5)).astype(np.int32), "b": np.zeros(4, np.int32)}
    built = network([LAYERS[layer]], ("a",))
    types = built.infer({"a": Type((5,), 0, 9)}, tensors)
    x = rng.integers(0, 9, (1, 5))
    right = built._run(REFERENCE, {"a": x}, types, tensors)
    assert np.array_equal(built._run(Perturbed(), {"a": x}, types, tensors), right)
    monkeypatch.setattr(Wrong, "by", by)
    with pytest.raises(ArithmeticFault):
        built._run(Perturbed(), {"a": x}, types, tensors)
    with arithmetic.using(Perturbed()):
        assert np.array_equal(built.run({"a": x}, types, tensors), right)


@pytest.mark.parametrize("by", [1.0, 0.5, float("nan")])
def test_a_convolution_that_is_off_is_caught(by, monkeypatch):
    rng = np.random.default_rng(0)
    tensors = {"w": rng.integers(1, 9, (4, 2, 2, 2)).astype(np.int32), "b": np.zeros(4, np.int32)}
    built = network([CONVOLUTION], ("a",))
    types = built.infer({"a": Type((2, 3, 3), 0, 9)}, tensors)
    x = rng.integers(0, 9, (2, 2, 3, 3))
    right = built.run({"a": x}, types, tensors)
    product = np.matmul

    def wrong(a, b, out=None):
        y = product(a, b, out=out)
        if y.dtype == np.float32:
            y.reshape(-1)[1] += by
        return y

    monkeypatch.setattr(np, "matmul", wrong)
    with pytest.raises(ArithmeticFault):
        built._run(NUMPY, {"a": x}, types, tensors)
    assert np.array_equal(built.run({"a": x}, types, tensors), right)


def test_the_checksum_sees_every_channel_of_the_pixels_that_it_looks_at():
    rng = np.random.default_rng(0)
    for width, channels, pieces in [(1, 1, 1), (4, 4, 2), (7, 9, 4), (0, 3, 1)]:
        seen = rng.integers(-9, 9, (5, width)).astype(np.float32)
        weight = rng.integers(-9, 9, (pieces, width, channels))
        found = (seen @ weight).astype(np.float32)
        sums = weight.sum(2).astype(np.float64)
        # One piece's inputs after another's, as if a kernel had been cut.
        beside, together = np.tile(seen, (1, pieces)), sums.reshape(-1)
        assert arithmetic._adds_up(beside, together, found, 2)
        for piece, pixel, channel in np.ndindex(found.shape):
            off = found.copy()
            off[piece, pixel, channel] += 1
            assert arithmetic._adds_up(beside, together, off, 2) == (pixel % 2 == 1)


@pytest.mark.parametrize("by", [1.0, 0.5])
def test_a_product_of_the_engine_that_is_off_is_done_again(by, monkeypatch):
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-9, 9, (1, 5)).astype(np.float32), rng.integers(-9, 9, (5, 4)).astype(np.float32)
    sums = weight.sum(1, dtype=np.float64)
    monkeypatch.setattr(Wrong, "by", by)
    assert not np.array_equal(x @ weight.view(Wrong), x @ weight)
    assert np.array_equal(exact_rows(x, weight.view(Wrong), sums), x @ weight)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_convolutions_in_pieces_are_those_of_the_reference(wide, count, monkeypatch):
    rng = np.random.default_rng(count)
    weight, bias = rng.integers(-9, 9, (4, 3, 3, 2)), rng.integers(-99, 99, 4)
    weight[:, :, 1, 0] = 0
    x = rng.integers(0, 9, (count, 3, 5, 4))
    for stride, offset, bytes_ in [(1, (-1, -1), 1), (1, (0, 0), 1 << 19), (2, (-1, 0), 1 << 10), (2, (-4, 3), 1)]:
        monkeypatch.setattr(arithmetic, "UNFOLDED", bytes_)
        right = REFERENCE.convolution(x, Layer(weight, bias, (), offset, stride))
        found = NUMPY.convolution(x.astype(np.float32), Layer(weight, bias, (1,) if wide else (), offset, stride))
        assert np.array_equal(found, right) and found.dtype == (np.float64 if wide else np.float32)


@pytest.mark.parametrize("largest, count", [(80, 1), (140, 2), (230, 4), (900, 0)])
@pytest.mark.parametrize("stride", [1, 2])
def test_sums_beyond_float32_are_added_from_as_few_pieces_as_hold_them(largest, count, stride, monkeypatch):
    rng = np.random.default_rng(count)
    weight = rng.integers(2000, 4096, (5, 7, 3, 3)).astype(np.int32)
    bias = rng.integers(-9, 9, 5).astype(np.int32)
    # All of one sign and size: the bound of Cauchy and Schwarz is nearly reached. The rest of the image is dark.
    x = rng.integers(0, 2, (3, 7, 6, 5))
    x[1, :, 1:4, 1:4] = rng.integers(largest * 9 // 10, largest, (7, 3, 3))
    shift, low, high = np.array([3, 9, 0, -2, 14], np.int32), -5000, 1 << 20
    found = []
    needed = arithmetic._pieces_needed
    monkeypatch.setattr(arithmetic, "_pieces_needed", lambda *args: found.append(needed(*args)) or found[-1])
    for offset in ((-1, -1), (1, 1)):
        layer = Layer(weight, bias, (3,), offset, stride)
        right = REFERENCE.convolution(x, layer)
        wide = NUMPY.convolution(x.astype(np.float32), layer)
        assert np.array_equal(wide, right) and wide.dtype == np.float64
        rounding = Rounding(shift, low, high)
        rounded = NUMPY.convolution(x.astype(np.float32), layer, rounding)
        assert np.array_equal(rounded, REFERENCE.requantise(right, rounding)) and rounded.dtype == np.float32
    assert set(found) == {count}


def test_the_bound_that_decides_on_pieces_holds_for_every_sum():
    rng = np.random.default_rng(3)
    taps = np.argwhere(np.ones((3, 3)))
    for _ in range(40):
        scale = 2.0 ** rng.integers(4, 16)
        x = np.floor(rng.random((2, 4, 4, 3)) ** rng.integers(1, 9) * scale)
        kernel = Kernel(np.floor(rng.normal(size=(4, 3, 3, 3)) * 2.0 ** rng.integers(4, 12)).astype(np.int32))
        squares = np.square(x).sum(3).astype(np.float32)
        places = taps - 1
        seen = np.empty((32, 27), np.float32)
        arithmetic._unfold(x.astype(np.float32), 4, 4, 1, places, 0, seen)
        count = arithmetic._pieces_needed(squares, 4, 4, 1, places, 0, 32, kernel.cuts, kernel.reaches)
        for start, stop in kernel.pieces[count] if count else ():
            sums = np.abs(seen[:, start:stop]).astype(np.float64) @ np.abs(kernel.matrix[start:stop])
            assert sums.max(initial=0) <= 2**24


def test_sums_of_very_many_squares_do_not_stand_still():
    channels = 1 << 17
    weight = np.ones((1, channels, 1, 1), np.int32)
    weight[0, 0], bias = 4000, np.zeros(1, np.int32)
    x = np.ones((1, channels, 1, 1), np.float32)
    x[0, 0] = 4096
    parts = tuple(range(96, channels, 4096))
    layer = Layer(weight, bias, parts)
    assert np.array_equal(NUMPY.convolution(x, layer), REFERENCE.convolution(x.astype(np.int64), layer))
    pixels = np.moveaxis(x, 1, 3)
    exact = np.square(pixels.astype(np.float64)).sum(3)
    assert np.abs(arithmetic._squares(pixels) / exact - 1).max() < 2**-9
    many = np.ones((1, 1, 1, 1 << 25), np.float32)
    assert arithmetic._squares(many) == 1 << 25


def test_a_rounded_sum_that_is_no_integer_is_caught(monkeypatch):
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(1, 9, (4, 2, 2, 2)).astype(np.int32), np.zeros(4, np.int32)
    x = rng.integers(0, 9, (2, 2, 3, 3)).astype(np.float32)
    product = np.matmul

    def wrong(a, b, out=None):
        y = product(a, b, out=out)
        if y.dtype == np.float32:
            y.reshape(-1, 4)[1:] = np.nan  # the first pixel, which is checked, is right
        return y

    monkeypatch.setattr(np, "matmul", wrong)
    with pytest.raises(ArithmeticFault, match="not an integer"):
        NUMPY.convolution(x, Layer(weight, bias, (), (0, -1)), Rounding(np.zeros(4, np.int32), 0, 9))


@pytest.mark.parametrize("width", [28, 32, 64])
def test_checked_pixels_are_not_all_of_a_dark_border(width):
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-99, 99, (4, 3, 3, 3)).astype(np.int32), np.zeros(4, np.int32)
    x = np.zeros((2, 3, width, width), np.float32)
    x[:, :, 4:-4, 4:-4] = rng.integers(0, 999, (2, 3, width - 8, width - 8))

    layer = Layer(weight, bias, (), (-1, -1))
    kernel = layer.made("kernel", lambda: Kernel(weight))
    kernel.matrix += np.float32(1)  # sums are of the right weights
    with pytest.raises(ArithmeticFault):
        NUMPY.convolution(x, layer)


def test_a_layer_without_outputs_is_refused():
    built = network([LAYERS["linear"]], ("a",))
    with pytest.raises(ProgramError, match="without outputs"):
        built.infer({"a": Type((5,), 0, 9)}, {"w": np.zeros((0, 5), np.int32), "b": np.zeros(0, np.int32)})


def test_a_convolution_and_its_requantise_are_done_at_once_unless_others_use_it(monkeypatch):
    rng = np.random.default_rng(1)
    tensors = {
        "w": rng.integers(-9, 9, (4, 2, 2, 2)).astype(np.int32),
        "b": rng.integers(-9, 9, 4).astype(np.int32),
        "s": np.array([1, 2, 0, 3], np.int32),
    }
    rounding = {"op": "requantise", "x": 1, "shift": "s", "low": -8, "high": 8}
    alone = network([CONVOLUTION, rounding], ("a",))
    shared = network([CONVOLUTION, rounding, {"op": "add", "a": 2, "b": 1, "shift_a": 0, "shift_b": 0}], ("a",))
    roundings = []
    plain = NumpyArithmetic.convolution
    monkeypatch.setattr(
        NumpyArithmetic, "convolution", lambda *a: roundings.append(a[-1] is not None) or plain(*a)
    )  # fmt: skip
    x = rng.integers(0, 9, (2, 2, 3, 3))
    for built, fused in ((alone, [True]), (shared, [False])):
        types = built.infer({"a": Type((2, 3, 3), 0, 9)}, tensors)
        right = built._run(REFERENCE, {"a": x}, types, tensors)
        roundings.clear()
        assert np.array_equal(built._run(NUMPY, {"a": x}, types, tensors), right)
        assert roundings == fused
        assert all(value is not None for value in built.all_values({"a": x}, types, tensors))


def test_padding_reads_zeros_wherever_a_kernel_looks():
    x = np.arange(1, 13).reshape(1, 3, 4, 1)
    for offset in ((-7, 2), (5, -9), (0, 0), (-1, -1)):
        padded = pad_for(x, (3, 2), offset, 2)
        for i in range(padded.shape[1]):
            for j in range(padded.shape[2]):
                r, c = i + offset[0], j + offset[1]
                assert padded[0, i, j, 0] == (x[0, r, c, 0] if 0 <= r < 3 and 0 <= c < 4 else 0)
