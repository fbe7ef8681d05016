"""One archive, the same pixels: whatever the threads, the instruction set, the library and the executor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codelength.archive.sources import ArraySource
from codelength.archive.writer import write_archive
from codelength.distributions import Bernoulli
from codelength.freezing import freeze
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.made import MADEConfig, build_made
from codelength.networks.conditionals import RasterConditional
from codelength.networks.convolution import CausalConv2d

SCRIPT = Path(__file__).parent / "decode_here.py"
CONFIGURATIONS = {
    "numpy, one thread": ("numpy", {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, []),
    "numpy, two threads": ("numpy", {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}, []),
    "numpy, plain instructions": ("numpy", {"OPENBLAS_CORETYPE": "Prescott"}, []),
    "numpy, torch blocked": ("numpy", {}, ["no-torch"]),
    "torch, one thread": ("torch", {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, []),
    "torch, two threads": ("torch", {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}, []),
    "torch, plain instructions": (
        "torch",
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
        [],
    ),
    "torch, without oneDNN": ("torch", {}, ["no-onednn"]),
    "reference": ("reference", {}, ["no-torch"]),
}


class Causal(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.space = Space((7, 6), 2)
        nothing = torch.zeros(24)
        layers = [CausalConv2d(torch.ones(1), nothing, (3, 5)), torch.nn.ReLU(), CausalConv2d(nothing, nothing, (2, 3))]
        layers += [torch.nn.ReLU(), CausalConv2d(nothing, torch.zeros(1), (1, 1), (0, 0))]
        self.conditional = RasterConditional(torch.nn.Sequential(*layers), Bernoulli(), (7, 6))

    def law(self) -> Sequential:
        return Sequential(self.conditional)


def _models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    config = MADEConfig(hidden=(96,), residual_blocks=1, orders="symmetries", seed=3)
    dense = build_made(config, Space((6, 6), 2))
    for parameter in dense.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return {"dense": dense, "convolutional": Causal()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder with a model, items and their archive, for each model."""
    out = []
    for name, model in _models().items():
        folder = tmp_path_factory.mktemp(name)
        shape = model.space.shape
        frozen = freeze(model, np.random.default_rng(0).integers(0, 2, (64, *shape)))
        items = frozen.sample(24, seed=1).astype(np.uint8)
        frozen.save(folder / "model.clm")
        np.save(folder / "items.npy", items)
        write_archive(folder / "items.clen", ArraySource(items), frozen)
        out.append(folder)
    return out


@pytest.fixture(scope="module")
def first(folders: list[Path]) -> list[list[str]]:
    """What one configuration makes of the folders: all others have to make the same."""
    return digests(next(iter(CONFIGURATIONS)), folders)


def digests(label: str, folders: list[Path]) -> list[list[str]]:
    """For each folder, digests of what is decoded and of what is coded."""
    executor, variables, switches = CONFIGURATIONS[label]
    environment = {**os.environ, **variables, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SCRIPT), executor, ",".join(map(str, folders)), *switches]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-800:]
    found = [line.split() for line in done.stdout.splitlines()]
    assert [len(pair) for pair in found] == [2] * len(folders)
    return found


@pytest.mark.parametrize("label", list(CONFIGURATIONS)[1:])
def test_every_configuration_gives_the_same_bytes(label: str, folders: list[Path], first: list[list[str]]) -> None:
    assert digests(label, folders) == first
