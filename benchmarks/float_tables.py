"""How often floating point would have broken a file: frequency tables of one network under other configurations.

    python -m benchmarks.float_tables

A network is trained briefly in float32. Then processes of their own evaluate it on the same images in other
circumstances: another batch size, number of threads, instruction set, library. Each turns the float32 logits into
frequencies of 16 bits, as a learned codec in floating point does, and does the same with the frozen network. A row
per configuration: the share of frequency tables (one per pixel) and of images that differ from the first
configuration. A file is lost with its first table that differs. The frozen model must show zero throughout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Benchmark, Row, limit_threads, parser
from benchmarks.networks import OneOrder
from codelength.data import load_data

FLOAT_BITS = 16


@dataclass(frozen=True)
class Configuration:
    """Circumstances of an evaluation. library: "torch", or "numpy" for the same products by another BLAS."""

    name: str
    batch: int = 100
    threads: int = 1
    library: str = "torch"
    onednn: bool = True
    environment: dict[str, str] = field(default_factory=dict)


CONFIGURATIONS = (
    Configuration("batch 100, one thread"),
    Configuration("the same again"),
    Configuration("batch 1", batch=1),
    Configuration("batch 64", batch=64),
    Configuration("two threads", threads=2),
    Configuration("ATEN_CPU_CAPABILITY=default", environment={"ATEN_CPU_CAPABILITY": "default"}),
    Configuration("oneDNN off", onednn=False),
    Configuration("MKL held to SSE4.2", environment={"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
    Configuration("MKL held to AVX2", environment={"MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    Configuration("numpy", library="numpy"),
    Configuration("numpy, OpenBLAS for Haswell", library="numpy", environment={"OPENBLAS_CORETYPE": "Haswell"}),
)


def train(data: np.ndarray, hidden: int, steps: int, seed: int) -> OneOrder:
    """A few hundred steps of Adam: enough for logits as models have them."""
    network = OneOrder(data.shape[1], hidden, 2, seed).train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    items = torch.from_numpy(data).long()
    for _ in range(steps):
        some = items[torch.randint(0, len(items), (128,), generator=generator)]
        loss = -network.law().log_prob(some, {}).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def float_frequencies(shares: np.ndarray) -> np.ndarray:
    """The frequency of a one out of 2^16, uint16, from float32 probabilities; every symbol has at least one."""
    return (shares * np.float32((1 << FLOAT_BITS) - 2)).astype(np.uint16) + np.uint16(1)


def evaluate(folder: Path, configuration: Configuration) -> None:
    """What a process of its own does: write the frequencies (n, D) of both networks into the folder."""
    from codelength.exact import arithmetic as executors
    from codelength.freezing.torch_executor import TorchArithmetic
    from codelength.laws.frozen import FrozenModel

    limit_threads(configuration.threads)
    items = np.load(folder / "items.npy")
    frozen = FrozenModel.from_bytes((folder / "model.clm").read_bytes())
    layers = [np.load(folder / f"{k}.npz") for k in range(3)]
    weights = [(layer["weight"], layer["bias"]) for layer in layers]
    if configuration.library == "torch":
        executors.choose(TorchArithmetic("cpu"))
    parts: list[list[np.ndarray]] = [[], []]
    if not configuration.onednn:
        warnings.simplefilter("ignore")  # torch warns of the settings of other devices
        torch.backends.mkldnn.set_flags(_enabled=False)
    with torch.no_grad():
        for start in range(0, len(items), configuration.batch):
            some = items[start : start + configuration.batch]
            parts[0].append(float_frequencies(_probabilities(some, weights, configuration.library)))
            _, ones = frozen.law.conditional.parallel(some, {}).intervals(np.ones_like(some))
            parts[1].append(ones)
    for name, values in zip(("float", "frozen"), parts):
        np.save(folder / f"{name}.npy", np.concatenate(values))


def _probabilities(items: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]], library: str) -> np.ndarray:
    """The network in float32, up to the probability of a one."""
    h: Any = items.astype(np.float32)
    last = len(weights) - 1
    if library == "numpy":
        for k, (weight, bias) in enumerate(weights):
            h = h @ weight.T + bias
            h = np.maximum(h, 0) if k < last else np.float32(1) / (np.float32(1) + np.exp(-h))
        return h
    h = torch.from_numpy(h)
    for k, (weight, bias) in enumerate(weights):
        h = torch.nn.functional.linear(h, torch.from_numpy(weight), torch.from_numpy(bias))
        h = torch.relu(h) if k < last else torch.sigmoid(h)
    return h.numpy()


def run_apart(folder: Path, configuration: Configuration) -> dict[str, np.ndarray]:
    """Evaluate in a process whose libraries start under the configuration."""
    threads = str(configuration.threads)
    own = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    environment = {**os.environ, **own, **configuration.environment}
    command = [sys.executable, "-m", "benchmarks.float_tables", "--worker", str(folder)]
    subprocess.run([*command, json.dumps(asdict(configuration))], env=environment, check=True)
    return {name: np.load(folder / f"{name}.npy") for name in ("float", "frozen")}


def shares(base: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Which share of tables, and of items (rows), differ."""
    differs = base != other
    return float(differs.mean()), float(differs.any(axis=1).mean())


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser("float_tables", __doc__)
    options.add_argument("--data", default="binarized-mnist", help="binary items")
    options.add_argument("--items", type=int, default=1000)
    options.add_argument("--hidden", type=int, default=1024)
    options.add_argument("--steps", type=int, default=300, help="of training")
    options.add_argument("--worker", nargs=2, metavar=("FOLDER", "CONFIGURATION"), help="evaluate, in a process apart")
    arguments = options.parse_args(argv)
    if arguments.worker is not None:
        evaluate(Path(arguments.worker[0]), Configuration(**json.loads(arguments.worker[1])))
        return {}
    limit_threads(arguments.threads)
    benchmark = Benchmark("float_tables", arguments)
    training = np.asarray(load_data(f"{arguments.data}:train").items)
    network = train(training.reshape(len(training), -1), arguments.hidden, arguments.steps, arguments.seed)
    test = load_data(f"{arguments.data}:test").subset(arguments.items, arguments.seed)
    items = np.asarray(test.items).reshape(len(test), -1).astype(np.int32)
    with torch.no_grad():
        nats = float(-network.law().log_prob(torch.from_numpy(items).long(), {}).mean())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "items.npy", items)
        network.freeze_on(training.reshape(len(training), -1)[:1000]).save(folder / "model.clm")
        for k, layer in enumerate(m for m in network.dense() if isinstance(m, torch.nn.Linear)):
            np.savez(folder / f"{k}.npz", weight=layer.weight.numpy(), bias=layer.bias.numpy())
        base: dict[str, np.ndarray] = {}
        for configuration in CONFIGURATIONS:
            frequencies = run_apart(folder, configuration)
            base = base or frequencies
            row: Row = {"configuration": configuration.name, "library": configuration.library}
            for kind in ("float", "frozen"):
                row[f"{kind}_tables"], row[f"{kind}_images"] = shares(base[kind], frequencies[kind])
            benchmark.add(row)
    if any(row["frozen_tables"] for row in benchmark.rows):
        raise SystemExit("the frozen model gave other frequencies under another configuration")
    return benchmark.write(
        ("numpy", "numba", "torch"),
        data=test.name,
        items=len(test),
        dims=int(items.size),
        hidden=[arguments.hidden] * 2,
        training_steps=arguments.steps,
        float_nats=-nats,
        float_bits=FLOAT_BITS,
    )


if __name__ == "__main__":
    main()
