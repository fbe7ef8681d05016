"""What a recipe says of each family: apart from the families, so that recipes are checked without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from codelength.errors import RecipeError


@dataclass(frozen=True)
class MADEConfig:
    """hidden: units of each hidden layer. residual_blocks: with one hidden size, blocks of two layers each on top.

    direct: connections from inputs to outputs, inside the logits. leaf: "bernoulli", "categorical",
    "beta_binomial" or "logistic_mixture" with so many `components`; empty for bernoulli on two symbols and categorical
    on more.

    orders: "natural" (row by row), "random", or "symmetries": the raster of a grey image seen from its eight sides,
    eight members with a shared mask. rolls: with symmetries, each order also rolled by up to so many pixels, edges
    wrapping round, which makes (2 rolls + 1)^2 members of each. masks: mask sets; with random orders each has an order
    of its own. resample: train under masks (and orders, if they are random) drawn anew for every batch, and keep the
    `masks` sets for evaluation.

    degrees: of the hidden units, "even", "random", or "information" (dense where each further position tells much).
    labels: how many there are to be conditioned on, 0 for none. seed: of orders, degrees and weights.
    """

    hidden: tuple[int, ...] = (512,)
    residual_blocks: int = 0
    direct: bool = True
    dropout: float = 0.0
    leaf: str = ""
    components: int = 5
    orders: str = "natural"
    rolls: int = 0
    masks: int = 1
    resample: bool = False
    degrees: str = "even"
    labels: int = 0
    seed: int = 0


@dataclass(frozen=True)
class VAEConfig:
    """latents: units of each stochastic layer, the one next to the data first. hidden: units of the hidden layers of
    each network (encoders and decoders alike, decoders in the opposite order).

    strides: for convolutional networks on images; how many times coarser the grid of each stochastic layer is than that
    of the layer below it, a power of two, and ``latents`` are then channels of that grid. A top layer of stride 0 is a
    vector without a grid. channels: of the networks at full resolution, at half, at a quarter and so on; blocks:
    residual blocks at each of these resolutions. head: hidden units of residual blocks that turn the features of each
    pixel into its distribution.

    labels: how many there are to be conditioned on, 0 for none. Items are coded without being told theirs: the label is
    a latent like the others, uniform, with a learned posterior.

    neighbourhood: (rows, columns) that the distribution of a pixel sees of the image itself besides its latents: the
    pixels that come before it of so many rows, its own the last, and so many columns with its own in the middle
    (PixelVAE: Gulrajani et al. 2017). Empty for none.

    background: share of the blank background (pixels of symbol 0 with nothing else around them) that the training
    objective looks at, drawn anew at each step and weighted up, so that the expectation stays as it is.

    latent_bits: precision of the grid on which latents are coded. reach: how far that grid goes on either side, in
    units of a standard normal, a power of two; lower layers, whose priors are learned, may go further than most.

    leaf: "bernoulli", "categorical", "beta_binomial" or "logistic_mixture" with so many `components`; empty for
    bernoulli on two symbols and categorical on more.

    samples: k of the importance-weighted objective (Burda, Grosse, Salakhutdinov 2016, equation 8), 1 for the plain
    bound. gradient: "plain", or "doubly_reparameterised" (Tucker, Lawson, Gu, Maddison 2019, equation 8; Bauer and Mnih
    2021 for several stochastic layers), which keeps the encoder's signal as k grows.

    free_nats: what each stochastic layer may cost, on average over a batch, before its cost counts (Kingma et al. 2016,
    equation 15; their lambda). warmup_steps: over which the cost of latents rises linearly from nothing. Both shape the
    training objective only; what is reported is the bound. seed: of the weights.
    """

    latents: tuple[int, ...] = (32,)
    hidden: tuple[int, ...] = (256, 256)
    strides: tuple[int, ...] = ()
    channels: tuple[int, ...] = (32, 64, 64)
    blocks: tuple[int, ...] = (1, 1, 2)
    head: tuple[int, ...] = ()
    neighbourhood: tuple[int, ...] = ()
    labels: int = 0
    background: float = 1.0
    latent_bits: int = 12
    reach: int = 8
    leaf: str = ""
    components: int = 5
    samples: int = 1
    gradient: str = "plain"
    free_nats: float = 0.0
    warmup_steps: int = 0
    seed: int = 0


@dataclass(frozen=True)
class PixelCNNConfig:
    """units: channels of each of the two stacks, at least one for each channel of an image. layers: after the first.

    reach: columns to either side that a layer sees for each row that it goes up; rows: how many it goes up. leaf:
    "bernoulli", "categorical", "beta_binomial" or "logistic_mixture" with so many `components`; empty for bernoulli on
    two symbols and categorical on more. seed: of the weights.
    """

    units: int = 32
    layers: int = 6
    reach: int = 1
    rows: int = 1
    leaf: str = ""
    components: int = 5
    seed: int = 0


def need(condition: bool, message: str) -> None:
    """Raise RecipeError with the message where a configuration does not fulfil the condition."""
    if not condition:
        raise RecipeError(message)
