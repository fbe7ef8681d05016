"""A model of one's own, from a torch module to an archive that anybody can read.

    python examples/own_model.py [FOLDER] [STEPS]

The model is a small causal convolutional network on the digits of scikit-learn, all 17 grey levels. What the library
asks of it: ``space`` (what an item is) and ``law()`` (how its probability is put together). Training is a plain
loop, and could be anybody's; freezing turns the result into integers that give the same file everywhere.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import codelength as cl
from codelength.distributions.categorical import Categorical
from codelength.laws.sequential import Sequential
from codelength.networks.conditionals import RasterConditional
from codelength.networks.convolution import CausalConv2d
from codelength.networks.masked import InputScale

HIDDEN = 24


class CausalNetwork(nn.Module):
    """Images (n, 1, H, W) -> parameters (n, p, H, W) of each pixel, which depend on the pixels before it only."""

    def __init__(self, parameters: int) -> None:
        super().__init__()
        pixel, hidden = torch.tensor([1]), torch.zeros(HIDDEN, dtype=torch.int64)
        self.scale = InputScale(offset=0, scale_bits=4)  # 0 .. 16 -> 0 .. 1, as integers can do it
        self.first = CausalConv2d(pixel, hidden, kernel=(3, 5), offset=(-2, -2))
        self.second = CausalConv2d(hidden, hidden, kernel=(2, 3))
        self.third = CausalConv2d(hidden, hidden, kernel=(2, 3))
        self.last = CausalConv2d(hidden, torch.zeros(parameters, dtype=torch.int64), kernel=(1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(self.scale(x)))
        h = h + torch.relu(self.second(h))
        h = h + torch.relu(self.third(h))
        return self.last(torch.relu(h))


class CausalModel(nn.Module):
    def __init__(self, space: cl.Space) -> None:
        super().__init__()
        leaf = Categorical(space.symbols)
        self.space = space
        self.conditional = RasterConditional(CausalNetwork(leaf.parameters), leaf, space.shape)

    def law(self) -> Sequential:
        """The chain rule over the pixels in raster order."""
        return Sequential(self.conditional)


def main(folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = cl.load_data("digits:train"), cl.load_data("digits:test")
    model = CausalModel(train.space)

    items = torch.from_numpy(train.items.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        loss = -model.law().log_prob(items[torch.randint(len(items), (64,))], {}).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.2f} nats")

    frozen = cl.freeze(model, calibration=train[:512])
    frozen.save(folder / "own.clm")
    print("float ", cl.evaluate(model, test))
    print("frozen", cl.evaluate(frozen, test))

    figures = cl.compress(test, folder / "digits.clen", folder / "own.clm", force=True)
    back = cl.decompress(folder / "digits.clen")
    assert np.array_equal(back, test.items)
    print(
        f"{figures['items']} digits in {figures['payload_bytes']} bytes, {figures['bits_per_dim']:.3f} bits/dim, "
        f"and {figures['model_bytes']} bytes of model; every pixel came back"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0] if arguments else "out/own_model"), int(arguments[1]) if len(arguments) > 1 else 1000)
