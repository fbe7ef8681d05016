# ruff: noqa: E501 (a table of lies)
"""Programs whose indices, shapes, bounds or claims lie: each is refused in one sentence, before anything is run."""

from __future__ import annotations

import re
from typing import Any

import forged
import numpy as np
import pytest

from codelength.errors import ProgramError, UnknownFeature
from codelength.laws.frozen import FrozenModel
from codelength.laws.program import build

HUGE = 2**62
BASES = {"dense": forged.dense, "image": forged.image, "flow": forged.flow, "vae": forged.vae}


@pytest.mark.parametrize("base", BASES)
def test_the_honest_programs_load_and_code(base):
    structure, tensors = BASES[base]()
    frozen = FrozenModel.from_bytes(forged.pack(structure, tensors))
    shape = tuple(4 if s is None else s for s in frozen.space.shape)
    items = frozen.sample(20, seed=1, shape=shape)
    sizes, words = frozen.encode_block(items)
    assert np.array_equal(frozen.decode_block(words, sizes, shape), items)


def put(value: Any, *path: Any) -> Any:
    """A lie: the value at a path of the law (or of the structure, where the path begins with one of its keys)."""

    def lie(structure: Any, tensors: Any) -> None:
        place = structure if path[0] in structure else structure["law"]
        for key in path[:-1]:
            place = place[key]
        if value is GONE:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return lie


GONE = object()


def under_an_image(law: Any) -> Any:
    """The likelihood of a law, given a latent ``m`` that is an image of one pixel."""
    prior = {**law["prior"], "shape": [1, 1, 1], "leaf": {"family": "bernoulli", "symbols": 2}}
    prior["network"] = {"inputs": ["count"], "operations": [], "output": 0}
    return {"law": "marginal", "latent": "m", "prior": prior, "likelihood": law["likelihood"], "posterior": prior}


def tensor(name: str, value: Any) -> Any:
    def lie(structure: Any, tensors: Any) -> None:
        tensors[name] = np.asarray(value, np.int32)
        structure["tensors"][name] = list(tensors[name].shape)

    return lie


def both(*lies: Any) -> Any:
    def lie(structure: Any, tensors: Any) -> None:
        for one in lies:
            one(structure, tensors)

    return lie


def append(operation: Any, *path: Any) -> Any:
    """An operation more at the end of a network, which becomes the output."""

    def lie(structure: Any, tensors: Any) -> None:
        network = structure["law"]
        for key in path:
            network = network[key]
        network["operations"].append(operation)
        network["output"] = len(network["inputs"]) + len(network["operations"]) - 1

    return lie


def nested_posterior(law: Any) -> Any:
    """A marginal over the latent of this one: a law without a median."""
    prior = law["prior"]
    return {"law": "marginal", "latent": "w", "prior": prior, "likelihood": law["posterior"], "posterior": prior}


LIKE, NET = ("likelihood",), ("likelihood", "network")
OPS = (*NET, "operations")
STEP = ("prior", "steps", 0)
deep: Any = {"law": "switch", "index": "k", "laws": [0, 0]}
for _ in range(17):
    deep = {"law": "switch", "index": "k", "laws": [deep, 0]}

LIES: dict[str, list[tuple[str, Any, str]]] = {
    "dense": [
        ("operand of the future", put(7, *OPS, 3, "x"), "before it exists"),
        ("operand of itself", put(5, *OPS, 3, "x"), "before it exists"),
        ("negative operand", put(-1, *OPS, 3, "x"), "before it exists"),
        ("huge operand", put(HUGE, *OPS, 0, "x"), "before it exists"),
        ("cycle", put(6, *OPS, 2, "a"), "before it exists"),
        ("output of the future", put(8, *NET, "output"), "does not exist"),
        ("negative output", put(-1, *NET, "output"), "does not exist"),
        ("output that is an input", put(0, *NET, "output"), "coded later"),
        ("operand that is a string", put("0", *OPS, 3, "x"), "not an integer"),
        ("operand that is true", put(True, *OPS, 3, "x"), "not an integer"),
        ("operand that is null", put(None, *OPS, 3, "x"), "not an integer"),
        ("operand that is a list", put([5], *OPS, 3, "x"), "not an integer"),
        ("missing field", put(GONE, *OPS, 3, "low"), "lacks the field 'low'"),
        ("unknown field", put(1, *OPS, 3, "lower"), "unknown field 'lower'"),
        ("unknown operation", put("softmax", *OPS, 3, "op"), "operation 'softmax'"),
        ("operation without a name", put(GONE, *OPS, 3, "op"), "without a name"),
        ("operation that is no object", put(3, *OPS, 3), "without a name"),
        ("operations that are no list", put({}, *OPS), "not a short list"),
        ("inputs that are no names", put([0, 1], *NET, "inputs"), "not names"),
        ("inputs twice", put(["x", "x"], *NET, "inputs"), "twice"),
        ("unknown input", put(["x", "y"], *NET, "inputs"), "asks for 'y'"),
        ("the shape as an input", put(["x", "shape"], *NET, "inputs"), "asks for 'shape'"),
        ("tensor that is not there", put("w9", *OPS, 0, "weight"), "does not hold"),
        ("tensor of another rank", put("b1", *OPS, 0, "weight"), "axes"),
        ("weights for other inputs", tensor("w1", np.ones((4, 2))), "takes 2 inputs, not 3"),
        ("biases that are too few", tensor("b1", [1, 2, 3]), "3 entries where 4"),
        ("shifts that are too few", tensor("s", [1, 2, 3]), "3 entries where 4"),
        ("degrees that are too few", tensor("d1", [0, 1, 2]), "3 entries where 4"),
        ("negative degree", tensor("d1", [-1, 0, 0, 0]), "negative degree"),
        ("output degree one too high", tensor("d2", [0, 1, 3]), "coded later"),
        ("output degree of the wrong place", tensor("d2", [1, 0, 2]), "coded later"),
        ("layer without degrees", put(GONE, *OPS, 0, "degrees"), "every position"),
        ("skip past the mask", append({"op": "add", "a": 7, "b": 0}, *NET), "coded later"),
        ("weights above 2^24", tensor("w1", np.full((4, 3), 2**24)), "above the exact range"),
        ("bias above 2^24", tensor("b1", [2**24 + 1, 0, 0, 0]), "above the exact range"),
        ("part above 2^24", tensor("w2", np.full((3, 4), 2**24 // 8)), "above 2\\^24"),
        ("parts that do not increase", put([2, 2], *OPS, 5, "parts"), "not increasing"),
        ("parts that go back", put([3, 1], *OPS, 5, "parts"), "not increasing"),
        ("part at zero", put([0], *OPS, 5, "parts"), "not increasing"),
        ("negative part", put([-1], *OPS, 5, "parts"), "not increasing"),
        ("part at the end", put([4], *OPS, 5, "parts"), "not increasing"),
        ("huge part", put([HUGE], *OPS, 5, "parts"), "not increasing"),
        ("part that is no number", put(["2"], *OPS, 5, "parts"), "list of integers"),
        ("enormous shift", tensor("s", [0, 0, 0, 2**31 - 1]), "out of bounds"),
        ("enormous left shift", tensor("s", [0, 0, 0, -(2**31)]), "out of bounds"),
        ("shift that leaves the range", tensor("s", [0, 0, 0, 25]), "rounding"),
        ("left shift that leaves the range", tensor("s", [0, 0, 0, -23]), "left shift"),
        ("clamp in the wrong order", put(51, *OPS, 3, "low"), "wrong order"),
        ("clamp above 2^24", put(2**24 + 1, *OPS, 3, "high"), "clamps above"),
        ("huge clamp", put(2**63 - 1, *OPS, 3, "high"), "clamps above"),
        ("shifts of a sum", put(41, *OPS, 2, "shift_a"), "out of bounds"),
        ("negative shift of a sum", put(-1, *OPS, 2, "shift_a"), "out of bounds"),
        ("sum that leaves the range", put(20, *OPS, 2, "shift_a"), "leaves the exact range"),
        ("empty table", tensor("t", np.zeros(0)), "empty"),
        ("table entries above 2^24", tensor("t", [2**24 + 1]), "above 2\\^24"),
        ("table that begins far away", put(-(2**24) - 1, *OPS, 4, "low"), "within 2\\^24"),
        ("embedding that is too short", tensor("e", [[1, 2, 3, 4]]), "leave the 1 rows"),
        ("embedding of a vector", put(0, *OPS, 1, "x"), "single index"),
        ("embedding of another width", tensor("e", np.ones((2, 5))), "shapes"),
        ("orders that are too few", tensor("o", [[0, 1, 2]]), "leave the orders"),
        ("order that repeats", tensor("o", [[0, 1, 2], [0, 0, 1]]), "once"),
        ("order that leaves the item", tensor("o", [[0, 1, 2], [3, 0, 1]]), "once"),
        ("negative order", tensor("o", [[0, 1, 2], [-1, 0, 1]]), "once"),
        ("orders of another length", tensor("o", [[0, 1], [1, 0]]), "wrong shape"),
        ("no orders", tensor("o", np.zeros((0, 3))), "wrong shape"),
        ("orders of another rank", put("b2", *LIKE, "schedule", "orders"), "wrong shape"),
        ("orders that are not there", put("oo", *LIKE, "schedule", "orders"), "does not hold"),
        ("orders that have no name", put(3, *LIKE, "schedule", "orders"), "not a name"),
        ("index that is unknown", put("j", *LIKE, "schedule", "index"), "not known"),
        ("index that is null", put(None, *LIKE, "schedule", "index"), "not a name"),
        ("orders without an index", put(GONE, *LIKE, "schedule", "index"), "no index"),
        ("schedule of an unknown kind", put("spiral", *LIKE, "schedule", "kind"), "unknown kind"),
        ("schedule that is no object", put([], *LIKE, "schedule"), "not an object"),
        ("a raster over vectors", put({"kind": "raster"}, *LIKE, "schedule"), "images"),
        ("reshape in a scheduled network", append({"op": "reshape", "x": 7, "shape": [3]}, *NET), "move between channels"),
        ("slice that leaves", append({"op": "slice", "x": 7, "start": 0, "stop": 4}, *NET), "leaves"),
        ("slice backwards", append({"op": "slice", "x": 7, "start": 2, "stop": 2}, *NET), "leaves"),
        ("negative slice", append({"op": "slice", "x": 7, "start": -1, "stop": 2}, *NET), "leaves"),
        ("too many parameters", append({"op": "concat", "xs": [7, 7]}, *NET), "6"),
        ("empty concatenation", append({"op": "concat", "xs": []}, *NET), "of nothing"),
        ("concatenation of an index", append({"op": "concat", "xs": [7, 1]}, *NET), "do not match"),
        ("spread of a vector over itself", append({"op": "spread", "x": 7, "like": 7}, *NET), "over an image"),
        ("convolution of a vector", append({"op": "convolution", "x": 7, "weight": "w1", "bias": "b1", "offset": [0, 0]}, *NET), "axes"),
        ("constant above 2^24", both(tensor("p", [2**24 + 1, 0])), "above 2\\^24"),
        ("unknown leaf", put("poisson", *LIKE, "leaf", "family"), "leaf 'poisson'"),
        ("leaf of another alphabet", put(3, *LIKE, "leaf", "symbols"), "2 symbols"),
        ("leaf of too many bits", put(40, "prior", "leaf", "bits"), "2 to 28 bits"),
        ("leaf of a huge alphabet", put(HUGE, "prior", "leaf", "symbols"), "symbols"),
        ("leaf with an unknown field", put(3, "prior", "leaf", "scale"), "unknown field"),
        ("leaf that is no object", put("bernoulli", *LIKE, "leaf"), "not an object"),
        ("components of a leaf without", put(2, *LIKE, "leaf", "components"), "components"),
        ("shape of no size", put([0], *LIKE, "shape"), "odd size"),
        ("negative shape", put([-3], *LIKE, "shape"), "odd size"),
        ("huge shape", put([2**40], *LIKE, "shape"), "odd size"),
        ("shape whose product overflows", put([2**22, 2**22, 2**22], *LIKE, "shape"), "more elements"),
        ("shape of many axes", put([1, 1, 1, 3], *LIKE, "shape"), "short list"),
        ("shape of another product", put([4], *LIKE, "shape"), "wrong shape"),
        ("free shape under degrees", put([None], *LIKE, "shape"), "one size"),
        ("unknown law", put("attention", *LIKE, "law"), "law 'attention'"),
        ("law without a name", put(GONE, *LIKE, "law"), "without a name"),
        ("law that is a list", put([], "likelihood"), "without a name"),
        ("law with an unknown field", put(1, *LIKE, "temperature"), "unknown field"),
        ("laws nested too deeply", put(deep, "likelihood"), "nested too deeply"),
        ("latent of a reserved name", put("x", "latent"), "proper name"),
        ("latent without a name", put(0, "latent"), "proper name"),
        ("responsibilities of several indices", put([2], "prior", "shape"), "1|2"),
        ("responsibilities with a field", put({"law": "responsibilities", "k": 2}, "posterior"), "unknown field"),
        ("responsibilities at the top", put({"law": "responsibilities"}, "law"), "law 'responsibilities'"),
        ("posterior over another latent", put({"law": "cell", "bits": 0}, "posterior"), "same latent"),
        ("more components than orders", both(put(3, "prior", "leaf", "symbols"), tensor("p", [1, 2, 3])), "leave"),
        ("features that are not used", put([1, 2, 16, 17, 18, 21, 22, 24, 31, 32, 33, 34, 35, 48], "features"), "list the features"),
        ("features that are missing", put([1, 2], "features"), "list the features"),
        ("features out of order", put([2, 1, 16, 18, 21, 22, 24, 31, 32, 33, 34, 35, 48], "features"), "list the features"),
        ("features twice", put([1, 1, 2, 16, 18, 21, 22, 24, 31, 32, 33, 34, 35, 48], "features"), "list the features"),
        ("unknown feature", put([1, 2, 16, 18, 21, 22, 24, 31, 32, 33, 34, 35, 48, 99], "features"), "feature 99"),
        ("feature that is no number", put(["1"], "features"), "lists no features"),
        ("no features", put(None, "features"), "lists no features"),
        ("space of another shape", put([4], "space", "shape"), "in a space of"),
        ("space of another alphabet", put(3, "space", "symbols"), "cover its space"),
        ("space of a huge alphabet", put(HUGE, "space", "symbols"), "odd alphabet"),
        ("space of one symbol", put(1, "space", "symbols"), "odd alphabet"),
        ("space of no shape", put(None, "space", "shape"), "short list"),
        ("space of a free size", put([None], "space", "shape"), "free sizes"),
        ("space that is no object", put([3], "space"), "not an object"),
        ("structure with an unknown key", lambda s, t: s.update(extra=1), "unknown field 'extra'"),
        ("golden vector that is wrong", lambda s, t: s.update(golden={"digest": "0" * 32, "shape": [3]}), "golden vector"),
        ("golden vector of a list", lambda s, t: s.update(golden=[]), "not an object"),
        ("golden vector of another shape", lambda s, t: s.update(golden={"digest": "0" * 32, "shape": [10**9]}), "golden"),
    ],
    "image": [
        ("weights of channels past the degrees", tensor("d2", [1, 1, 2]), "coded later"),
        ("kernel that is too large", tensor("w1", np.zeros((4, 3, 1, 129))), "odd size"),
        ("kernel of no size", tensor("w1", np.zeros((4, 3, 0, 2))), "odd size"),
        ("offset far away", put([-129, 0], *("network", "operations", 0), "offset"), "offset"),
        ("offset of three", put([0, 0, 0], *("network", "operations", 0), "offset"), "offset"),
        ("huge offset", put([HUGE, 0], *("network", "operations", 0), "offset"), "offset"),
        ("stride in a causal network", put(2, *("network", "operations", 0), "stride"), "stride"),
        ("stride of zero", put(0, *("network", "operations", 0), "stride"), "stride"),
        ("huge stride", put(HUGE, *("network", "operations", 0), "stride"), "stride"),
        ("convolution without degrees", put(GONE, *("network", "operations", 3), "degrees"), "every position"),
        (
            "free convolution of what has seen earlier pixels",
            both(tensor("d1", [0] * 4), put(GONE, *("network", "operations", 3), "degrees")),
            "sees the item",
        ),
        ("slope that is too flat for a kernel", both(put(1, "schedule", "slope"), put([-1, 0], "network", "operations", 0, "offset")), "same front"),
        ("slope of zero", put(0, "schedule", "slope"), "slope"),
        ("huge slope", put(HUGE, "schedule", "slope"), "slope"),
        ("slope that is no number", put("2", "schedule", "slope"), "not a number"),
        ("channels of another number", put([None, None, 2], "shape"), "takes 3 channels, not 2"),
        ("a free number of channels", put([None, None, None], "shape"), "other free size|another free size"),
        ("sizes fixed here, free there", put([8, 8, 3], "shape"), "free sizes"),
        ("upsampling in a scheduled network", append({"op": "upsample", "x": 4, "factor": 1}, "network"), "move between channels"),
        ("reshape of what depends on earlier pixels", both(tensor("d1", [0] * 4), append({"op": "reshape", "x": 1, "shape": [4, 8, 8]}, "network")), "depend on the item"),
        ("channels that are too few", append({"op": "slice", "x": 4, "start": 0, "stop": 2}, "network"), "parameters of shape"),
        (
            "parameters that are a vector",
            both(
                put([None, None], "shape"),
                put([None, None], "space", "shape"),
                tensor("v", [0] * 64),
                lambda s, t: s["law"]["network"].update(
                    inputs=["count"], operations=[{"op": "constant", "x": 0, "values": "v"}], output=1
                ),
            ),
            "do not fit the schedule",
        ),
        ("a relu of nothing", append({"op": "relu", "x": 9}, "network"), "before it exists"),
        ("an image as a vector", append({"op": "linear", "x": 4, "weight": "w1", "bias": "b1"}, "network"), "axes"),
    ],
    "flow": [
        ("moves that are no zeros and ones", tensor("m", [0, 2]), "zeros and ones"),
        ("moves of another length", tensor("m", [0, 1, 1]), "zeros and ones"),
        ("moves that are not there", put("mm", *STEP, "moves"), "does not hold"),
        ("moves without a name", put(3, *STEP, "moves"), "expected the name of a tensor"),
        ("scale of zero", tensor("sc", [0, 5]), "scale is out"),
        ("negative scale", tensor("sc", [-5, 5]), "scale is out"),
        ("scale that is too large", tensor("sc", [2**20 + 1]), "scale is out"),
        ("no scales", tensor("sc", np.zeros(0)), "not a list"),
        ("scales of two axes", tensor("sc", [[5]]), "not a list"),
        ("denominator that is too large", put(21, *STEP, "denominator"), "denominator"),
        ("negative denominator", put(-1, *STEP, "denominator"), "denominator"),
        ("denominator that is no number", put("10", *STEP, "denominator"), "denominator is out of bounds"),
        ("network of another width", tensor("m", [1, 1]), "gives \\(2,\\) numbers"),
        ("unknown step", put("spline", *STEP, "step"), "step 'spline'"),
        ("step that is no object", put(3, *STEP), "not an object"),
        ("no steps", put([], "prior", "steps"), "not a short list"),
        ("very many steps", put([{"step": "offset", "value": 1}] * 257, "prior", "steps"), "not a short list"),
        ("huge offset", put(HUGE, "prior", "steps", 1, "value"), "offset is out"),
        ("bounds in the wrong order", put(-1, "prior", "high"), "odd bounds"),
        ("bounds above 2^24", put(2**24 + 1, "prior", "high"), "odd bounds"),
        ("bounds that are no numbers", put(None, "prior", "low"), "odd bounds"),
        ("bounds below the cells", put(100, "prior", "high"), "same latent"),
        ("cells of too many bits", put(21, "posterior", "bits"), "bits of a cell"),
        ("cells that leave the prior", put(7, "posterior", "bits"), "same latent|leaves"),
        ("cells of negative bits", put(-1, "posterior", "bits"), "bits of a cell"),
        ("floor of an unknown latent", put("v", "likelihood", "latent"), "unknown latent"),
        ("floor of many bits", put(64, "likelihood", "bits"), "bits of a floor"),
        ("floor that leaves too little", put(7, "likelihood", "bits"), "cover|same latent"),
        ("a floor as a posterior", put({"law": "floor", "latent": "x", "bits": 0}, "posterior"), "cannot choose|same latent"),
        ("a cell at the top", put({"law": "cell", "bits": 1}, "law"), "no item"),
        (
            "responsibilities of a floor",
            put({"law": "responsibilities"}, "posterior"),
            "single index|exact components",
        ),
    ],
    "vae": [
        ("posterior that leaves the prior", put({"family": "gaussian", "symbols": 8, "bits": 16}, "posterior", "leaf"), "same latent"),
        ("posterior of another shape", put([1], "posterior", "shape"), "the network of 'x' gives"),
        (
            "chain of what cannot choose",
            lambda s, t: s["law"].update(
                posterior={
                    "law": "chain",
                    "shape": s["law"]["prior"]["shape"],
                    "parts": [{"group": "g", "places": "pp", "law": nested_posterior(s["law"])}],
                }
            )
            or tensor("pp", list(range(s["law"]["prior"]["shape"][0])))(s, t),
            "cannot choose",
        ),
        (
            "posterior that cannot choose",
            lambda s, t: s["law"].update(posterior=nested_posterior(s["law"])),
            "cannot choose",
        ),
        (
            "parameters that are an image under a degree schedule",
            both(
                tensor("oo", [[1, 0]]),
                tensor("vv", [0, 0]),
                put([1, 1, 2], *LIKE, "shape"),
                put([1, 1, 2], "space", "shape"),
                put("sequential", *LIKE, "law"),
                put({"kind": "degrees", "orders": "oo"}, *LIKE, "schedule"),
                tensor("k", np.ones((2, 1, 1, 1))),
                put(
                    {
                        "inputs": ["m"],
                        "operations": [{"op": "convolution", "x": 0, "weight": "k", "bias": "vv", "offset": [0, 0]}],
                        "output": 1,
                    },
                    *NET,
                ),
                lambda s, t: s.update(law=under_an_image(s["law"])),
            ),
            "do not fit the schedule",
        ),
        ("latent that shadows another", lambda s, t: s["law"].update(likelihood=dict(s["law"])), "share the name"),
        ("degrees outside of a schedule", put("b", *OPS, 0, "degrees"), "without a schedule"),
        ("network without inputs", put({"inputs": [], "operations": [], "output": 0}, "prior", "network"), "an input|exist"),
        ("count in a step", put(["z", "count", "count"], *NET, "inputs"), "twice"),
        ("reshape to nothing", append({"op": "reshape", "x": 1, "shape": []}, *NET), "impossible"),
        ("reshape to zero", append({"op": "reshape", "x": 1, "shape": [0]}, *NET), "impossible"),
        ("reshape to more", append({"op": "reshape", "x": 1, "shape": [3]}, *NET), "reshape of"),
        ("reshape that overflows", append({"op": "reshape", "x": 1, "shape": [2**32, 2**32]}, *NET), "reshape of"),
        ("reshape of many axes", append({"op": "reshape", "x": 1, "shape": [1, 1, 1, 2]}, *NET), "impossible"),
        ("upsampling of a vector", append({"op": "upsample", "x": 1, "factor": 2}, *NET), "cannot be"),
        ("huge offset", append({"op": "offset", "x": 1, "value": 2**63 - 1}, *NET), "leaves 2\\^24"),
        (
            "upsampling without end",
            both(append({"op": "reshape", "x": 1, "shape": [2, 1, 1]}, *NET), *[append({"op": "upsample", "x": k, "factor": 64}, *NET) for k in range(2, 8)]),
            "larger than any",
        ),
        (
            "upsampling by zero",
            both(append({"op": "reshape", "x": 1, "shape": [2, 1, 1]}, *NET), append({"op": "upsample", "x": 2, "factor": 0}, *NET)),
            "cannot be",
        ),
        (
            "depth to space of too few channels",
            both(append({"op": "reshape", "x": 1, "shape": [2, 1, 1]}, *NET), append({"op": "depth_to_space", "x": 2, "factor": 2}, *NET)),
            "cannot be",
        ),
        (
            "space to depth of an odd size",
            both(append({"op": "reshape", "x": 1, "shape": [2, 1, 1]}, *NET), append({"op": "space_to_depth", "x": 2, "factor": 2}, *NET)),
            "of an image",
        ),
        (
            "pooling of an odd size",
            both(append({"op": "reshape", "x": 1, "shape": [1, 2, 1]}, *NET), append({"op": "sum_pool", "x": 2, "factor": 2}, *NET)),
            "of an image",
        ),
        (
            "pooling that leaves the range",
            both(
                tensor("b", [2**22, 1]),
                append({"op": "reshape", "x": 1, "shape": [2, 1, 1]}, *NET),
                append({"op": "upsample", "x": 2, "factor": 4}, *NET),
                append({"op": "sum_pool", "x": 3, "factor": 4}, *NET),
            ),
            "leaves 2\\^24",
        ),
        ("product of different shapes", append({"op": "product", "a": 1, "b": 0}, "posterior", "network"), "shapes"),
        (
            "product that leaves the range",
            both(tensor("b", [4000, 1]), append({"op": "product", "a": 1, "b": 1}, *NET), tensor("b", [4097, 1])),
            "leaves 2\\^24",
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "lie", "sentence"),
    [
        pytest.param(base, lie, sentence, id=f"{base}-{name}")
        for base, lies in LIES.items()
        for name, lie, sentence in lies
    ],
)
def test_each_lie_is_refused_with_its_sentence(base, lie, sentence):
    structure, tensors = BASES[base]()
    lie(structure, tensors)
    with pytest.raises(ProgramError, match=sentence) as caught:
        FrozenModel.from_bytes(forged.pack(structure, tensors))
    assert "\n" not in str(caught.value)
    needed = re.search(r"needs (feature|the (operation|law|leaf|step))", str(caught.value))
    assert isinstance(caught.value, UnknownFeature) == bool(needed)


def test_frequencies_that_are_summed_over_the_alphabet_count_as_work():
    """Two parameters per element, but as much work as symbols: an item must not take hours to decode."""
    elements = 1 << 14

    def law(family, symbols, parameters):
        net = {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "v"}], "output": 1}
        leaf = {"family": family, "symbols": symbols}
        record = {"law": "independent", "leaf": leaf, "network": net, "shape": [elements]}
        return build(record, {"v": np.zeros(elements * parameters, np.int32)}, {})

    assert law("beta_binomial", 65536, 2).work - law("gaussian", 65536, 2).work == elements * 65536 * 16
    elements = 1 << 19
    law("gaussian", 65536, 2)
    with pytest.raises(ProgramError, match="more work than allowed"):
        law("beta_binomial", 65536, 2)
