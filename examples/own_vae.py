"""A variational autoencoder of one's own, from two networks to an archive that anybody can read.

    python examples/own_vae.py [FOLDER] [STEPS]

What makes it a codec is ``law()``: p(z), p(x given z) and q(z given x), put together by ``Marginal``. Latents are
coded on a grid of bins; the decoder is given them in units of a standard normal, whatever the grid (an argument
``units="bins"`` of its conditional would hand on 0 to 4095). ``loss`` draws them as continuous variables in bins, and
does with ``to_standard`` what the law does by itself.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import codelength as cl
from codelength.distributions import Bernoulli, Normal
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.networks.conditionals import NetworkConditional

LATENTS, HIDDEN, BITS, REACH = 8, 128, 12, 8


class StandardNormal(nn.Module):
    """Parameters of the prior: zeros stand for a standard normal."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(1, 2 * LATENTS))

    def forward(self) -> torch.Tensor:
        return self.zeros


class OwnVAE(nn.Module):
    def __init__(self, space: cl.Space) -> None:
        super().__init__()
        self.space = space
        self.leaf = Bernoulli()
        self.latent = Normal(1 << BITS, reach=REACH)  # 4096 bins, eight deviations to either side
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(space.dims, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENTS)
        )
        self.decoder = nn.Sequential(nn.Linear(LATENTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, space.dims))
        self.prior = StandardNormal()

    def law(self) -> Marginal:
        prior = NetworkConditional(self.prior, self.latent, (LATENTS,), ())
        likelihood = NetworkConditional(self.decoder, self.leaf, self.space.shape, ("z",))
        posterior = NetworkConditional(self.encoder, self.latent, (LATENTS,), ("x",))
        return Marginal("z", Independent(prior), Independent(likelihood), Independent(posterior))

    def loss(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Minus the bound, nats per item, with latents as continuous variables, through which gradients pass."""
        q = self.encoder(x.float()).reshape(len(x), LATENTS, 2)
        p = self.prior().reshape(1, LATENTS, 2)
        z = self.latent.draw(q, torch.randn(len(x), LATENTS, generator=generator).to(q))
        fit = self.leaf.log_prob(self.decoder(self.latent.to_standard(z))[..., None], x.flatten(1)).sum(1)
        cost = (self.latent.log_density(q, z) - self.latent.log_density(p, z)).sum(1)
        return (cost - fit).mean()


def main(folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    train, test = cl.load_data("threshold-digits:train"), cl.load_data("threshold-digits:test")
    changes = [f"training.steps={steps}", "training.batch=64", "training.learning_rate=3e-3"]
    run = cl.train(OwnVAE(train.space), train, folder / "run", changes=changes)
    print("bound", cl.evaluate(run.frozen, test))
    figures = cl.compress(test, folder / "digits.clen", run.frozen, force=True)
    assert np.array_equal(cl.decompress(folder / "digits.clen"), test.items)
    print(
        f"{figures['items']} digits in {figures['payload_bytes']} bytes, {figures['bits_per_dim']:.3f} bits/dim; "
        "every pixel came back"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0] if arguments else "out/own_vae"), int(arguments[1]) if len(arguments) > 1 else 1000)
