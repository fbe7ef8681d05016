"""Random harm to programs: in their structure, in their tensors, and in the bytes of their files."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

VALUES: list[Any] = [
    0,
    1,
    2,
    3,
    5,
    7,
    16,
    33,
    -1,
    -7,
    2**24,
    2**31,
    2**62,
    -(2**62),
    None,
    True,
    "x",
    "",
    [],
    {},
    [0],
    [1, 2],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a structure."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in [(*path, k), *places(v, (*path, k))]]
    if isinstance(value, list):
        return [p for k, v in enumerate(value) for p in [(*path, k), *places(v, (*path, k))]]
    return []


def at(structure: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        structure = structure[key]
    return structure


def harm_structure(structure: Any, rng: np.random.Generator) -> None:
    """One change somewhere in the law, the space or the list of tensors."""
    paths = [p for p in places(structure) if p[0] != "features"]
    path = paths[int(rng.integers(len(paths)))]
    parent, key = at(structure, path[:-1]), path[-1]
    old = parent[key]
    kind = int(rng.integers(7))
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(old))
    elif kind in (2, 3) and type(old) is int:
        parent[key] = old + int(rng.choice([-1, 1, 2, -old, old]))
    elif kind == 4:
        alike = [p for p in paths if type(at(structure, p)) is type(old)]
        parent[key] = copy.deepcopy(at(structure, alike[int(rng.integers(len(alike)))]))
    elif kind == 5 and isinstance(parent, list):
        order = rng.permutation(len(parent))
        parent[:] = [parent[k] for k in order]
    else:
        parent[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])


def harm_tensors(tensors: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """One change to the values or the shape of one tensor."""
    name = sorted(tensors)[int(rng.integers(len(tensors)))]
    tensor = tensors[name].copy()
    kind = int(rng.integers(5))
    if kind < 3 and tensor.size:
        where = int(rng.integers(tensor.size))
        extreme = [0, 1, -1, 3, 2**24, -(2**24), 2**31 - 1, -(2**31), int(rng.integers(-50, 50))]
        tensor.reshape(-1)[where] = extreme[int(rng.integers(len(extreme)))]
    elif kind == 3 and tensor.ndim:
        tensor = np.repeat(tensor, 2, axis=int(rng.integers(tensor.ndim)))
    elif tensor.ndim:
        tensor = tensor[: int(rng.integers(len(tensor) + 1))]
    tensors[name] = np.ascontiguousarray(tensor)


def harm_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes overwritten, removed or repeated."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        where = int(rng.integers(len(out)))
        match int(rng.integers(5)):
            case 0:
                out[where] ^= 1 << int(rng.integers(8))
            case 1:
                out[where] = int(rng.choice([0, 1, 127, 128, 255, *b'0129,:[]{}"-']))
            case 2:
                del out[where : where + int(rng.integers(1, 9))]
            case 3:
                out[where:where] = out[where : where + int(rng.integers(1, 9))]
            case _:
                out[where : where + 4] = int(rng.choice([0, 1, 2**31, 2**32 - 1])).to_bytes(4, "little")
        out = out or bytearray(1)
    return bytes(out)
