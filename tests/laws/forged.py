"""Model files put together by hand, so that they can lie."""

from __future__ import annotations

import copy
import hashlib
import struct
from typing import Any

import numpy as np

from codelength.exact import canonical
from codelength.exact.storage import encode_tensor

Structure = dict[str, Any]
Tensors = dict[str, np.ndarray]


def sealed(body: bytes) -> bytes:
    """With its checksum."""
    return body + hashlib.blake2b(body, digest_size=16).digest()


def model_file(structure: Structure | bytes, stored: list[bytes], version: int = 1) -> bytes:
    raw = structure if isinstance(structure, bytes) else canonical.dumps(structure)
    parts = [b"\x8eCLM\r\n\x1a\n", struct.pack("<HI", version, len(raw)), raw]
    for data in stored:
        parts += [struct.pack("<I", len(data)), data]
    return sealed(b"".join(parts))


def pack(structure: Structure, tensors: Tensors) -> bytes:
    return model_file(structure, [encode_tensor(tensors[name]) for name in sorted(tensors)])


def array(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def dense() -> tuple[Structure, Tensors]:
    """A mixture of two orders of a masked autoencoder on three bits, with an embedding and a skip connection."""
    tensors = {
        "b1": array(1, 2, 3, 4),
        "b2": array(5, 6, 7),
        "d1": array(0, 1, 1, 2),
        "d2": array(0, 1, 2),
        "e": array([1, 2, 3, 4], [5, 6, 7, 8]),
        "o": array([0, 1, 2], [2, 0, 1]),
        "p": array(7, 9),
        "s": array(0, 1, 2, 3),
        "t": array(5, 4, 3, 2, 1),
        "w1": array([0, 0, 0], [9, 0, 0], [8, 0, 0], [7, 6, 0]),
        "w2": array([3, 0, 0, 0], [3, 4, 5, 0], [6, 7, 8, 9]),
    }
    operations = [
        {"op": "linear", "x": 0, "weight": "w1", "bias": "b1", "degrees": "d1", "parts": []},
        {"op": "embed", "x": 1, "table": "e"},
        {"op": "add", "a": 2, "b": 3, "shift_a": 1, "shift_b": 0},
        {"op": "requantise", "x": 4, "shift": "s", "low": -50, "high": 50},
        {"op": "table", "x": 5, "table": "t", "low": -2},
        {"op": "linear", "x": 6, "weight": "w2", "bias": "b2", "degrees": "d2", "parts": [2]},
    ]
    law = {
        "law": "marginal",
        "latent": "k",
        "prior": {
            "law": "independent",
            "leaf": {"family": "categorical", "symbols": 2},
            "shape": [1],
            "network": {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "p"}], "output": 1},
        },
        "likelihood": {
            "law": "sequential",
            "leaf": {"family": "bernoulli", "symbols": 2},
            "shape": [3],
            "network": {"inputs": ["x", "k"], "operations": operations, "output": 7},
            "schedule": {"kind": "degrees", "orders": "o", "index": "k"},
        },
        "posterior": {"law": "responsibilities"},
    }
    features = [1, 2, 16, 18, 21, 22, 24, 31, 32, 33, 34, 35, 48]
    return finished(features, law, [3], 2, tensors)


def image() -> tuple[Structure, Tensors]:
    """A causal convolutional network on colour images of any size, with channel degrees."""
    tensors = {
        "b1": array(1, 2, 3, 4),
        "b2": array(5, 6, 7),
        "d1": array(0, 1, 2, 3),
        "d2": array(0, 1, 2),
        "s": array(0, 1, 2, 3),
        "w1": np.arange(48, dtype=np.int32).reshape(4, 3, 2, 2),
        "w2": np.arange(12, dtype=np.int32).reshape(3, 4, 1, 1),
    }
    operations = [
        {"op": "convolution", "x": 0, "weight": "w1", "bias": "b1", "degrees": "d1", "offset": [-1, -1]},
        {"op": "requantise", "x": 1, "shift": "s", "low": -50, "high": 50},
        {"op": "relu", "x": 2},
        {"op": "convolution", "x": 3, "weight": "w2", "bias": "b2", "degrees": "d2", "offset": [0, 0]},
    ]
    law = {
        "law": "sequential",
        "leaf": {"family": "bernoulli", "symbols": 2},
        "shape": [None, None, 3],
        "network": {"inputs": ["x"], "operations": operations, "output": 4},
        "schedule": {"kind": "raster", "slope": 2},
    }
    return finished([1, 17, 18, 19, 33, 49], law, [None, None, 3], 2, tensors)


def flow() -> tuple[Structure, Tensors]:
    """Two pixels under a flow of one affine step and an offset."""
    tensors = {
        "b": array(1, 2),
        "m": array(0, 1),
        "p": array(32 * 4096, 1280, 32 * 4096, 1280),
        "s": array(4, 4),
        "sc": array(900, 1000, 1100),
        "w": array([1, 0], [2, 0]),
    }
    operations = [
        {"op": "linear", "x": 0, "weight": "w", "bias": "b"},
        {"op": "requantise", "x": 1, "shift": "s", "low": -9, "high": 9},
    ]
    base = {
        "law": "independent",
        "leaf": {"family": "gaussian", "symbols": 4096, "bits": 26},
        "shape": [2],
        "network": {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "p"}], "output": 1},
    }
    steps = [
        {
            "step": "affine",
            "network": {"inputs": ["x"], "operations": operations, "output": 2},
            "moves": "m",
            "scales": "sc",
            "denominator": 10,
        },
        {"step": "offset", "value": 2000},
    ]
    law = {
        "law": "marginal",
        "latent": "u",
        "prior": {"law": "pushforward", "base": base, "steps": steps, "low": 0, "high": 255},
        "likelihood": {"law": "floor", "latent": "u", "bits": 6},
        "posterior": {"law": "cell", "bits": 6},
    }
    return finished([4, 16, 18, 31, 32, 34, 37, 38, 39], law, [2], 4, tensors)


def vae() -> tuple[Structure, Tensors]:
    """Two bits given two latents on a grid, and context images for operations that need them."""
    tensors = {
        "b": array(1, 2),
        "b4": array(1, 2, 3, 4),
        "p": array(128, 50, 128, 50),
        "w": array([1, 2], [2, 3]),
        "w4": array([1, 0], [2, 1], [3, -1], [4, 2]),
    }
    grid = {"family": "gaussian", "symbols": 4, "bits": 16}
    law = {
        "law": "marginal",
        "latent": "z",
        "prior": {
            "law": "independent",
            "leaf": grid,
            "shape": [2],
            "network": {"inputs": ["count"], "operations": [{"op": "constant", "x": 0, "values": "p"}], "output": 1},
        },
        "likelihood": {
            "law": "independent",
            "leaf": {"family": "bernoulli", "symbols": 2},
            "shape": [2],
            "network": {
                "inputs": ["z"],
                "operations": [{"op": "linear", "x": 0, "weight": "w", "bias": "b"}],
                "output": 1,
            },
        },
        "posterior": {
            "law": "independent",
            "leaf": grid,
            "shape": [2],
            "network": {
                "inputs": ["x"],
                "operations": [{"op": "linear", "x": 0, "weight": "w4", "bias": "b4"}],
                "output": 1,
            },
        },
    }
    return finished([1, 4, 16, 31, 32, 34], law, [2], 2, tensors)


def finished(
    features: list[int], law: Any, shape: list[Any], symbols: int, tensors: Tensors
) -> tuple[Structure, Tensors]:
    structure = {
        "features": features,
        "law": law,
        "space": {"shape": shape, "symbols": symbols},
        "tensors": {name: list(t.shape) for name, t in tensors.items()},
    }
    return copy.deepcopy(structure), tensors
