"""What an archive costs beyond the likelihood: blocks of at most 1,024 items, random access, checksums, all counted.

    python -m benchmarks.overhead --case binarized-mnist:test=made-binarized-mnist

A case is a data set and a model: a packaged name, a model file, or a run folder. A row for the model as it is and,
where it is a mixture over orders, one for its member with the natural order alone. ``overhead`` is the payload (all
bytes but the model's) over the frozen code length, minus one. For run folders, ``frozen_loss`` is the frozen code
length over that of the float model on the same items, minus one.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import codelength as cl
from benchmarks.common import Benchmark, Row, limit_threads, parser
from codelength.data.dataset import DataSet
from codelength.errors import UsageError
from codelength.laws.frozen import FrozenModel

CASES = ("threshold-digits:test=made-digits", "binarized-mnist:test=made-binarized-mnist")


def natural_order(model: FrozenModel) -> tuple[FrozenModel, int] | None:
    """The member of a mixture over orders that takes the elements as they lie, as a model of its own, and its number.

    None where the model is no such mixture or has no such member.
    """
    law = model.structure["law"]
    if law["law"] != "marginal" or law["likelihood"]["law"] != "sequential":
        return None
    one = copy.deepcopy(law["likelihood"])
    index, name = one["schedule"].get("index"), one["schedule"].get("orders")
    orders = model.tensors.get(name) if name is not None else None
    network = one["network"]
    if orders is None or index != law["latent"] or network["inputs"].count(index) != 1:
        return None
    found = np.flatnonzero((orders == np.arange(orders.shape[1])).all(axis=1))
    if not len(found):
        return None
    member, place = int(found[0]), network["inputs"].index(index)
    tensors = {**model.tensors, name: orders[[member]]}
    del one["schedule"]["index"]
    network["inputs"].remove(index)
    network["operations"] = [_fixed(operation, place, member, tensors) for operation in network["operations"]]
    network["output"] -= 1
    return FrozenModel.create(model.space, one, _used(one, tensors)), member


def _fixed(operation: dict[str, Any], place: int, member: int, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """An operation of a network that has lost its input ``place``, which was always ``member``."""
    if operation["op"] == "embed" and operation["x"] == place:
        name = f"{operation['table']}.{member}"
        tensors[name] = tensors[operation["table"]][member]
        return {"op": "constant", "x": 0, "values": name}
    moved = dict(operation)
    for key in ("x", "a", "b", "like"):
        if key in moved and moved[key] > place:
            moved[key] -= 1
    if "xs" in moved:
        moved["xs"] = [value - (value > place) for value in moved["xs"]]
    return moved


def _used(record: Any, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors that a record names."""
    names: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str):
            names.add(value)

    walk(record)
    return {name: tensor for name, tensor in tensors.items() if name in names}


def measure(data: DataSet, model: FrozenModel, block: int) -> Row:
    """The figures of an archive, decoded and compared."""
    items = np.asarray(data.items)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.clen"
        figures = cl.compress(items, path, model, block=block, verify=False, force=True)
        if not np.array_equal(cl.decompress(path), items):
            raise SystemExit("the archive did not give the items back")
        middle = (len(items) // 2, min(len(items) // 2 + 10, len(items)))
        if not np.array_equal(cl.decompress(path, range=middle), items[middle[0] : middle[1]]):
            raise SystemExit("a range of the archive did not come back")
    keys = ("items", "dims", "blocks", "payload_bytes", "code_length_bits", "overhead", "startup_bits")
    more = ("bits_per_dim", "model_bytes", "bits_per_dim_with_model", "fallback_items", "model_sha256")
    row = {key: figures[key] for key in (*keys, *more)}
    return {**row, "nats": -figures["code_length_bits"] * math.log(2) / len(items)}


def float_bits(run: Path, data: DataSet, members: list[int] | None) -> float:
    """Bits of the items under the float model of a run; under some members of a mixture, where they are named."""
    import torch

    from codelength.training.run import load_run

    module: Any = load_run(run).model
    total = 0.0
    with torch.no_grad():
        for part in torch.from_numpy(np.asarray(data.items).astype(np.int64)).split(256):
            nats = module.log_prob(part) if members is None else module.log_prob(part, members=members)
            total -= float(nats.double().sum())
    return total / math.log(2)


def case(spec: str, arguments: argparse.Namespace) -> list[Row]:
    name, _, model_name = spec.partition("=")
    data = cl.load_data(name)
    if arguments.limit is not None:
        data = data.subset(arguments.limit, arguments.seed)
    frame = {"data": data.name, "model": model_name}
    try:
        model = cl.load(model_name)
    except UsageError as error:
        return [{**frame, "note": f"not measured: {error}"}]
    one = natural_order(model)
    jobs: list[tuple[str, FrozenModel, list[int] | None]] = [("as it is", model, None)]
    if one is not None:
        jobs.insert(0, ("natural order alone", one[0], [one[1]]))
    rows = []
    for what, frozen, members in jobs:
        if arguments.order_alone and members is None:
            continue  # a mixture takes as many passes as it has members, three times over
        row = {**frame, "law": what, **measure(data, frozen, arguments.block)}
        if Path(model_name).is_dir():
            row["float_code_length_bits"] = float_bits(Path(model_name), data, members)
            row["frozen_loss"] = row["code_length_bits"] / row["float_code_length_bits"] - 1
        rows.append(row)
    return rows


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("overhead", __doc__)
    options.add_argument("--case", action="append", metavar="DATA=MODEL", help=f"default: {', '.join(CASES)}")
    options.add_argument("--limit", type=int, help="items of a data set, a seeded random part; all by default")
    options.add_argument("--order-alone", action="store_true", help="of mixtures, only the member of natural order")
    options.add_argument("--block", type=int, default=1024, help="items of a block at most")
    arguments = options.parse_args(argv)
    limit_threads(arguments.threads)
    benchmark = Benchmark("overhead", arguments)
    for spec in arguments.case or CASES:
        for row in case(spec, arguments):
            benchmark.add(row)
    return benchmark.write(("numpy", "numba", "torch"), cases=list(arguments.case or CASES), block=arguments.block)


if __name__ == "__main__":
    main()
