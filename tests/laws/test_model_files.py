"""Model files: what is read back, what is refused, what harm to bytes does, and what a small file may cost."""

from __future__ import annotations

import copy
import functools
import hashlib
import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import forged
import golden_models
import mutations
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import KINDS, an_item_shape, model

from codelength.coding.frequencies import intervals
from codelength.coding.stack import Stack, push_intervals
from codelength.errors import CodelengthError, NotRepresentable, ProgramError, StackExhausted, UnknownFeature
from codelength.exact import arithmetic, canonical
from codelength.exact.arithmetic import NumpyArithmetic
from codelength.exact.layer import Layer
from codelength.exact.storage import write_varint
from codelength.laws.frozen import FrozenModel
from codelength.laws.golden import golden_vector
from codelength.laws.model_file import MAGIC
from codelength.laws.program import build
from codelength.laws.space import Space

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Structure and tensors of a model of the golden archives, without its golden vector."""
    frozen = golden_models.MODELS[name]()
    structure = {key: value for key, value in frozen.structure.items() if key != "golden"}
    return copy.deepcopy(structure), dict(frozen.tensors)


BASES = {
    "dense": forged.dense,
    "image": forged.image,
    "flow": forged.flow,
    "vae": forged.vae,
    "multiscale": functools.partial(golden, "multiscale"),
    "discrete": functools.partial(golden, "discrete"),
}
#: What refusing or loading a small file may allocate.
MEMORY = 300 << 20
#: How many functions it may call; what each of them does is bounded by the memory.
CALLS = 1_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_from_its_bytes_and_under_its_name(kind):
    frozen = model(kind, 3)
    data = frozen.to_bytes()
    again = FrozenModel.from_bytes(data)
    assert again.sha256 == frozen.sha256 and again.to_bytes() == data
    items = frozen.sample(5, seed=2, shape=an_item_shape(frozen, np.random.default_rng(0)))
    assert np.array_equal(again.code_length_bits(items), frozen.code_length_bits(items))
    assert np.array_equal(again.encode_block(items)[1], frozen.encode_block(items)[1])


def test_a_name_is_the_hash_of_decoded_values_and_does_not_depend_on_how_they_are_stored():
    structure, tensors = forged.dense()
    plain = []
    for name in sorted(tensors):
        values = tensors[name].reshape(-1).astype(np.int64)
        raw = sum(int(v - values.min()) << (9 * i) for i, v in enumerate(values))
        low = int(values.min())
        head = write_varint(2 * low if low >= 0 else -2 * low - 1) + write_varint(9)
        plain.append(b"\0" + head + raw.to_bytes((9 * len(values) + 7) // 8, "little"))
    other = FrozenModel.from_bytes(forged.model_file(structure, plain))
    frozen = FrozenModel.from_bytes(forged.pack(structure, tensors))
    assert other.to_bytes() != frozen.to_bytes()
    digest = hashlib.sha256(canonical.dumps(structure))
    for name in sorted(tensors):
        digest.update(tensors[name].astype("<i4").tobytes())
    assert frozen.sha256 == other.sha256 == digest.hexdigest()


def test_the_golden_vector_is_what_the_format_says():
    frozen = model("orders", 2)
    golden = frozen.structure["golden"]
    items = frozen.sample(2, seed=0)
    sizes, words = frozen.encode_block(items, lanes=4, limit=1)
    digest = hashlib.blake2b(digest_size=16)
    for part in (items, sizes, words):
        digest.update(b"".join(int(v).to_bytes(4, "little") for v in np.asarray(part).reshape(-1)))
    assert golden == {"digest": digest.hexdigest(), "shape": [4]}


def test_a_golden_vector_notices_any_change_of_what_the_program_does():
    # What one program does to two items may well depend on no tensor of four numbers, but hardly that of sixteen.
    for frozen in (model("made", seed) for seed in range(1, 17)):
        for name, tensor in frozen.tensors.items():
            if tensor.ndim == 1 and len(tensor) == 4 and name != "orders":
                changed = {**frozen.tensors, name: tensor + 1}
                try:
                    other = FrozenModel({k: v for k, v in frozen.structure.items() if k != "golden"}, changed)
                except ProgramError:
                    continue
                if golden_vector(other) != frozen.structure["golden"]:
                    with pytest.raises(ProgramError, match="golden"):
                        FrozenModel(frozen.structure, changed)
                    return
    pytest.fail("no tensor mattered")


# ------------------------------------------------------------------------------------------------- broken files


def dense_file() -> bytes:
    return forged.pack(*forged.dense())


def test_files_that_are_cut_short_or_damaged_are_refused():
    data = dense_file()
    for size in [*range(0, 40), *range(40, len(data), 37), len(data) - 1]:
        with pytest.raises(ProgramError):
            FrozenModel.from_bytes(data[:size])
    for where in range(0, len(data), 23):
        broken = bytearray(data)
        broken[where] ^= 4
        with pytest.raises(ProgramError):
            FrozenModel.from_bytes(bytes(broken))


@pytest.mark.parametrize(
    ("structure", "sentence"),
    [
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"[]", "no tensors"),
        (b"{}", "no tensors"),
        (b'{"tensors":{}}', "no features"),
        (b'{"tensors": {}}', "canonical"),
        (b'{"tensors":{},"tensors":{}}', "canonical"),
        (b'{"tensors":{"a":1.5}}', "integers"),
        (b'{"features":[],"tensors":{"a":[1,2,3,4,5]}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":[-1]}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":["1"]}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":[true]}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":null}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":[4611686018427387904]}}', "odd shape"),
        (b'{"features":[],"tensors":{"a":[8388608]}}', "larger"),
        (b'{"features":[],"tensors":{"a":[65536,65536,65536,65536]}}', "larger"),
        (b'{"features":[],"tensors":{"a":[1]}}', "missing"),
        (b'{"features":[],"tensors":{}}', "lacks"),
        (b'{"features":[200],"tensors":{}}', "feature 200"),
        (b"[" * 3000, "nested"),
        (b'"\xff"', "ASCII"),
    ],
)
def test_structures_that_are_none_are_refused(structure, sentence):
    with pytest.raises(ProgramError, match=sentence) as caught:
        FrozenModel.from_bytes(forged.model_file(structure, []))
    assert isinstance(caught.value, UnknownFeature) == (sentence == "feature 200")


def test_headers_that_lie_are_refused():
    structure, tensors = forged.dense()
    good = forged.pack(structure, tensors)[:-16]
    raw = canonical.dumps(structure)
    for body, sentence in (
        (good.replace(MAGIC, b"\x8eCLN\r\n\x1a\n"), "not a codelength model"),
        (MAGIC, "truncated"),
        (MAGIC + struct.pack("<HI", 2, len(raw)) + raw, "version 2"),
        (MAGIC + struct.pack("<HI", 0, len(raw)) + raw, "version 0"),
        (MAGIC + struct.pack("<HI", 1, 2**32 - 1) + raw, "longer than the file"),
        (MAGIC + struct.pack("<HI", 1, len(raw) - 1) + raw, "not valid"),
        (good + b"\0", "left over"),
        (good[:-1], "longer than the file|values"),
    ):
        with pytest.raises(ProgramError, match=sentence):
            FrozenModel.from_bytes(forged.sealed(body))
    with pytest.raises(ProgramError, match="checksum"):
        FrozenModel.from_bytes(good + bytes(16))


def test_values_that_do_not_fit_are_not_stored_as_others():
    structure, tensors = forged.dense()
    with pytest.raises(ProgramError, match="32 bits"):
        FrozenModel.create(Space((3,), 2), structure["law"], {**tensors, "b1": np.array([2**31, 0, 0, 0])})


# ------------------------------------------------------------------------------------------------- random harm


@QUICK
@given(st.sampled_from(sorted(BASES)), st.integers(0, 10**6))
def test_harmed_bytes_with_a_right_checksum_load_or_give_a_sentence(base, seed):
    structure, tensors = BASES[base]()
    data = mutations.harm_bytes(forged.pack(structure, tensors)[:-16], np.random.default_rng(seed))
    tracemalloc.start()
    try:
        FrozenModel.from_bytes(forged.sealed(data))
    except ProgramError as error:
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY


@QUICK
@given(st.sampled_from(sorted(BASES)), st.integers(0, 10**6))
def test_harmed_programs_are_refused_or_code_without_loss(base, seed):
    rng = np.random.default_rng(seed)
    structure, tensors = copy.deepcopy(BASES[base]())
    if rng.integers(3):
        mutations.harm_structure(structure, rng)
    else:
        mutations.harm_tensors(tensors, rng)
        structure["tensors"] = {name: list(t.shape) for name, t in tensors.items()}
    try:
        structure["features"] = sorted(build(structure.get("law"), tensors, {}).features)
        frozen = FrozenModel.from_bytes(forged.pack(structure, tensors))
    except ProgramError as error:
        assert "\n" not in str(error)
        return
    shape = tuple(int(rng.integers(1, 4)) if s is None else s for s in frozen.space.shape)
    items = frozen.sample(5, seed=seed, shape=shape)
    try:
        sizes, words = frozen.encode_block(items)
    except NotRepresentable:
        return
    assert np.array_equal(frozen.decode_block(words, sizes, shape), items)


@QUICK
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 7), st.integers(0, 10**6))
def test_harmed_words_decode_to_something_or_give_a_sentence(kind, seed, harm):
    frozen = model(kind, seed)
    rng = np.random.default_rng(harm)
    shape = an_item_shape(frozen, rng)
    items = frozen.sample(6, seed=harm, shape=shape)
    sizes, words = frozen.encode_block(items)
    harmed = words.copy()
    harmed[int(rng.integers(len(harmed)))] ^= np.uint32(1 << int(rng.integers(32)))
    try:
        decoded = frozen.decode_block(harmed[: int(rng.integers(len(harmed) // 2, len(harmed) + 1))], sizes, shape)
    except (StackExhausted, ProgramError) as error:
        assert "\n" not in str(error)
    else:
        assert decoded.shape == items.shape and not np.array_equal(decoded, items)


def test_one_frequency_that_is_off_by_one_is_noticed():
    frozen = model("made", 7)
    items = frozen.sample(30, seed=3)
    elements = frozen.law.conditional.parallel(items, {})
    leaf = elements.leaf
    starts, freqs = (v.astype(np.int64) for v in intervals(leaf, elements.params, elements._arranged(items)))

    def block(starts: np.ndarray, freqs: np.ndarray) -> np.ndarray:
        stack = Stack(4)
        push_intervals(starts, freqs, leaf.bits, stack)
        return stack.to_words()

    words = block(starts, freqs)
    assert np.array_equal(words, frozen.encode_block(items)[1])
    noticed = 0
    for item in range(len(items)):
        for element in range(4):
            for by in (1, -1):
                wrong = freqs.copy()
                wrong[item, element] += by
                if not 1 <= wrong[item, element] <= (1 << leaf.bits) - int(starts[item, element]):
                    continue
                other = block(starts, wrong)
                if np.array_equal(other, words):
                    continue
                noticed += 1
                with suppress(ProgramError, StackExhausted):
                    assert not np.array_equal(frozen.decode_block(other, [30], (4,)), items)
    assert noticed > 100


# ------------------------------------------------------------------------------------------------- bombs


def bomb(change: Any, base: str = "vae") -> bytes:
    structure, tensors = BASES[base]()
    change(structure, tensors)
    structure["tensors"] = {name: list(t.shape) for name, t in tensors.items()}
    return forged.pack(structure, tensors)


def repeated_layer(structure: Any, tensors: Any) -> None:
    tensors["big"], tensors["zeros"] = np.zeros((2048, 2048), np.int32), np.zeros(2048, np.int32)
    tensors["in"] = np.zeros((2048, 2), np.int32)
    operations = [{"op": "linear", "x": 0, "weight": "in", "bias": "zeros"}]
    operations += [{"op": "linear", "x": k, "weight": "big", "bias": "zeros"} for k in range(1, 4000)]
    structure["law"]["likelihood"]["network"]["operations"] = operations


def doubling(structure: Any, tensors: Any) -> None:
    operations = structure["law"]["likelihood"]["network"]["operations"]
    operations += [{"op": "concat", "xs": [k, k]} for k in range(1, 60)]


def many_wide_values(structure: Any, tensors: Any) -> None:
    operations = structure["law"]["likelihood"]["network"]["operations"]
    operations += [{"op": "concat", "xs": [k, k]} for k in range(1, 18)]
    operations += [{"op": "relu", "x": k} for k in range(18, 4000)]


def nested_mixtures(structure: Any, tensors: Any) -> None:
    tensors["p"] = np.zeros(4096, np.int32)
    network = {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "p"}], "output": 1}
    leaf = {"family": "categorical", "symbols": 4096}
    prior = {"law": "independent", "leaf": leaf, "shape": [1], "network": network}
    law = structure["law"]["likelihood"]
    tensors["q"] = np.zeros(2, np.int32)
    law["network"] = {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "q"}], "output": 1}
    for depth in range(3):
        law = {"law": "marginal", "latent": f"k{depth}", "prior": prior, "likelihood": law}
        law["posterior"] = {"law": "responsibilities"}
    structure["law"] = law


def large_image(structure: Any, tensors: Any) -> None:
    structure["law"]["shape"] = structure["space"]["shape"] = [2000, 2000, 3]


def wide_kernels(structure: Any, tensors: Any) -> None:
    tensors["w1"] = np.zeros((4, 3, 128, 128), np.int32)
    tensors["w1"][:, :, 0, 0] = 1
    structure["law"]["network"]["operations"][0]["offset"] = [-128, -128]
    structure["law"]["schedule"] = {"kind": "raster"}


def long_schedule(structure: Any, tensors: Any) -> None:
    size = 1 << 21
    tensors["o"] = np.arange(size, dtype=np.int32).reshape(1, size)
    law = structure["law"]["likelihood"]
    law["shape"] = structure["space"]["shape"] = [size]
    tensors["zeros"] = np.zeros(size, np.int32)
    operations = [{"op": "constant", "x": 0, "values": "zeros"}]
    operations += [{"op": "relu", "x": 1 + k} for k in range(60)]
    law["network"] = {"inputs": ["x"], "operations": operations, "output": 61}
    law["schedule"] = {"kind": "degrees", "orders": "o"}
    structure["law"] = law


def huge_pictures(structure: Any, tensors: Any) -> None:
    operations = structure["law"]["likelihood"]["network"]["operations"]
    operations += [{"op": "reshape", "x": 1, "shape": [2, 1, 1]}]
    operations += [{"op": "upsample", "x": 2 + k, "factor": 64} for k in range(2)]
    operations += [{"op": "relu", "x": 3 + k} for k in range(1, 100)]


BOMBS = {
    "a layer of 4 million weights 4000 times": (repeated_layer, "vae", "too often"),
    "values that double": (doubling, "vae", "larger"),
    "values of a million numbers 4000 times": (many_wide_values, "vae", "larger"),
    "4096^3 components": (nested_mixtures, "vae", "work"),
    "an image of 12 million elements": (large_image, "image", "steps|larger"),
    "a schedule of 2 million steps over 60 values": (long_schedule, "dense", "larger|longer"),
    "pictures of 16 million pixels 100 times": (huge_pictures, "vae", "larger"),
    "kernels of 128 times 128": (wide_kernels, "image", None),
}


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """A list that holds, in the end, how many functions of Python and of C were called."""
    calls, before = [0], sys.getprofile()

    def count(frame: Any, event: str, argument: Any) -> None:
        calls[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_ask_for_much_are_refused_or_served_cheaply(name):
    change, base, sentence = BOMBS[name]
    data = bomb(change, base)
    assert len(data) < 400_000
    # What is imported and compiled the first time is not counted.
    FrozenModel.from_bytes(data if sentence is None else forged.pack(*BASES[base]()))
    tracemalloc.start()
    try:
        with counted_calls() as calls:
            if sentence is None:
                FrozenModel.from_bytes(data)
            else:
                with pytest.raises(ProgramError, match=sentence):
                    FrozenModel.from_bytes(data)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 0 < calls[0] < CALLS
    assert peak < MEMORY


def test_many_tensors_and_long_structures_are_refused():
    names = {f"t{k:06}": [0] for k in range(70_000)}
    structure = {"features": [], "law": {}, "space": {}, "tensors": names}
    with pytest.raises(ProgramError, match="too many tensors"):
        FrozenModel.from_bytes(forged.model_file(structure, []))
    with pytest.raises(ProgramError, match="structure is longer"):
        FrozenModel.from_bytes(forged.model_file(b"[" + b"0," * (1 << 21) + b"0]", []))


# ------------------------------------------------------------------------------------------------- other machines

SCRIPT = """
import hashlib, sys
import numpy as np
import forged, test_lying_programs as lies
from codelength.errors import ProgramError
from codelength.laws.frozen import FrozenModel

def words():
    for base in lies.BASES.values():
        frozen = FrozenModel.from_bytes(forged.pack(*base()))
        shape = tuple(4 if s is None else s for s in frozen.space.shape)
        items = frozen.sample(40, seed=1, shape=shape)
        sizes, words = frozen.encode_block(items, limit=16)
        again = [frozen.encode_block(items[k : k + 1])[1] for k in range(3)]
        assert np.array_equal(frozen.decode_block(words, sizes, shape), items)
        yield np.concatenate([items.reshape(-1), words, *again]).astype("<i8").tobytes()

print(hashlib.sha256(b"".join(words())).hexdigest())
for base, table in lies.LIES.items():
    for name, lie, _ in table if sys.argv[1] == "lies" else ():
        structure, tensors = lies.BASES[base]()
        lie(structure, tensors)
        try:
            FrozenModel.from_bytes(forged.pack(structure, tensors))
        except ProgramError:
            continue
        raise SystemExit(f"{base}: {name} was believed")
"""


def test_words_are_the_same_and_lies_are_refused_with_bounds_checks_and_other_threads(pytestconfig):
    # Kernels with bounds checks are other kernels: a cache of their own keeps both from being compiled anew.
    cache = pytestconfig.cache.mkdir("kernels-with-bounds-checks")
    results = []
    for environment, job in (
        ({"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}, "lies"),
        ({"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Haswell"}, "words"),
    ):
        here = Path(__file__).parent
        paths = [here, here.parent / "exact", here.parent / "coding", here.parents[1] / "src"]
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, job],
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        results.append(result.stdout)
    assert results[0] == results[1]


def test_errors_are_of_the_kind_that_the_command_line_turns_into_a_sentence():
    assert issubclass(ProgramError, CodelengthError) and issubclass(UnknownFeature, ProgramError)


@pytest.mark.parametrize("kind", ["made", "fixed", "grey"])
def test_decoding_stays_within_the_memory_that_is_stated(kind):
    frozen = model(kind, 1)
    shape = tuple(4 if size is None else size for size in frozen.space.shape)
    items = frozen.sample(800, seed=1, shape=shape)
    sizes, words = frozen.encode_block(items)
    assert max(sizes) <= frozen.group_limit(shape)
    tracemalloc.start()
    frozen.decode_block(words, sizes, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frozen.memory_bytes(max(sizes), shape) + (8 << 20)


def test_values_without_number_count_as_memory():
    structure, tensors = forged.dense()
    network = structure["law"]["likelihood"]["network"]
    usual = FrozenModel.from_bytes(forged.pack(structure, tensors)).memory_bytes(100, (3,))
    operations, last = network["operations"][:-1], network["operations"][-1]
    operations += [{"op": "requantise", "x": 6 + k, "shift": "s", "low": 0, "high": 9} for k in range(500)]
    network.update(operations=[*operations, {**last, "x": 506}], output=507)
    longer = FrozenModel.from_bytes(forged.pack(structure, tensors)).memory_bytes(100, (3,))
    assert longer >= max(usual, 100 * 500 * 4 * 4)


class WrongTable(NumpyArithmetic):
    """A machine that errs where no run-time check looks."""

    def table(self, x: np.ndarray, table: np.ndarray, low: int) -> np.ndarray:
        return super().table(x, table, low) + 100


def test_a_machine_that_errs_is_told_from_a_model_that_lies():
    structure, tensors = forged.dense()
    data = FrozenModel.create(Space((3,), 2), structure["law"], tensors).to_bytes()
    with arithmetic.using(WrongTable()), pytest.raises(ProgramError, match="this machine's fast arithmetic"):
        FrozenModel.from_bytes(data)


def test_images_of_many_sizes_share_one_set_of_masked_weights():
    frozen = FrozenModel.from_bytes(forged.pack(*forged.image()))
    conditional = frozen.law.conditional
    first, second = conditional.types_for((3, 4, 3)), conditional.types_for((7, 1, 3))
    weights = [(a.prepared.weight, b.prepared.weight) for a, b in zip(first, second) if isinstance(a.prepared, Layer)]
    assert len(weights) == 2 and all(a is b for a, b in weights)
    assert not np.array_equal(weights[0][0], frozen.tensors["w1"])  # the mask closes some
