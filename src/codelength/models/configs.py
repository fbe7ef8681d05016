"""What a recipe says of each family: apart from the families, so that recipes are checked without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from codelength.errors import RecipeError


def need(condition: bool, message: str) -> None:
    """Raise RecipeError with the message where a configuration does not fulfil the condition."""
    if not condition:
        raise RecipeError(message)


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

    def check(self) -> None:
        """Raise RecipeError for what makes no sense whatever the items are."""
        need(len(self.hidden) > 0 and min(self.hidden) > 0, f"expected sizes of hidden layers, got {self.hidden}")
        need(
            self.residual_blocks == 0 or len(self.hidden) == 1,
            f"expected one hidden size with residual blocks, got {len(self.hidden)}",
        )
        need(0 <= self.dropout < 1, f"expected a dropout from 0 to below 1, got {self.dropout}")
        need(
            self.orders in ("natural", "random", "symmetries"),
            f"expected orders = 'natural', 'random' or 'symmetries', got {self.orders!r}",
        )
        need(
            self.degrees in ("even", "random", "information"),
            f"expected degrees = 'even', 'random' or 'information', got {self.degrees!r}",
        )
        need(self.masks >= 1 and self.rolls >= 0 and self.labels >= 0, "expected counts that are not negative")
        need(self.orders == "symmetries" or self.rolls == 0, "rolls need orders = 'symmetries'")
        shared = self.orders == "symmetries"
        need(not shared or (self.masks == 1 and not self.resample), "orders = 'symmetries' share one mask set")
        varied = self.orders == "random" or self.degrees == "random"
        need(self.masks == 1 or varied, "several mask sets need degrees = 'random' or orders = 'random'")
        need(
            not self.resample or self.degrees == "random",
            "resample draws hidden degrees anew: it needs degrees = 'random'",
        )


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

    def check(self) -> None:
        """Raise RecipeError for what makes no sense whatever the items are."""
        need(
            len(self.latents) > 0 and min(self.latents) >= (1 if self.strides else 2),
            f"expected at least two units (of a grid, one channel) in each stochastic layer, got {self.latents}",
        )
        if self.strides:
            self._check_grids()
        else:
            need(len(self.hidden) > 0 and min(self.hidden) > 0, f"expected sizes of hidden layers, got {self.hidden}")
            need(not self.neighbourhood, "a neighbourhood is for convolutional networks; give strides, too")
            need(self.background == 1.0, "a share of the background is for convolutional networks; give strides, too")
        need(5 <= self.latent_bits <= 16, f"expected 5 to 16 latent_bits, got {self.latent_bits}")
        need(
            self.reach >= 1 and not self.reach & (self.reach - 1) and 4 * self.reach <= 1 << self.latent_bits,
            f"expected a reach that is a power of two up to {1 << (self.latent_bits - 2)}, got {self.reach}",
        )
        need(self.labels != 1 and self.labels >= 0, f"expected labels = 0 or at least 2, got {self.labels}")
        need(self.samples >= 1, f"expected at least one sample, got {self.samples}")
        need(
            self.gradient in ("plain", "doubly_reparameterised"),
            f"expected gradient = 'plain' or 'doubly_reparameterised', got {self.gradient!r}",
        )
        doubly = self.gradient == "doubly_reparameterised"
        need(not doubly or self.samples > 1, "the doubly reparameterised gradient needs samples > 1")
        need(self.free_nats >= 0 and self.warmup_steps >= 0, "expected free_nats and warmup_steps of at least 0")
        need(
            self.samples == 1 or self.free_nats == 0,
            "free_nats are for one sample; the importance-weighted objective has no separate cost of latents",
        )

    def _check_grids(self) -> None:
        """What convolutional networks ask for."""
        strides = self.strides
        need(
            len(strides) == len(self.latents),
            f"expected a stride for each of the {len(self.latents)} stochastic layers, got {strides}",
        )
        grids = strides[:-1] if strides[-1] == 0 else strides
        need(
            all(s > 0 and s & (s - 1) == 0 for s in grids),
            f"expected strides that are powers of two (the last may be 0, for a vector), got {strides}",
        )
        depth = sum(s.bit_length() - 1 for s in grids)
        need(
            len(self.channels) == len(self.blocks) and min(self.channels, default=0) > 0,
            f"expected channels and blocks for the same resolutions, got {self.channels} and {self.blocks}",
        )
        need(min(self.blocks, default=0) >= 0, f"expected numbers of residual blocks, got {self.blocks}")
        need(
            depth < len(self.channels) and (strides[-1] == 0 or depth == len(self.channels) - 1),
            f"expected channels for {depth + 1} resolutions, as the strides {strides} make them, got {self.channels}",
        )
        need(0 < self.background <= 1, f"expected a share of the background above 0 and up to 1, got {self.background}")
        need(
            self.samples == 1 or self.background == 1,
            "a share of the background is for one sample: inside a logarithm of means its noise would be a bias",
        )
        near = self.neighbourhood
        need(
            not near or (len(near) == 2 and 1 <= near[0] <= 32 and 1 <= near[1] <= 63 and near[1] % 2 == 1),
            f"expected a neighbourhood of (rows, an odd number of columns), got {near}",
        )


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

    def check(self) -> None:
        """Raise RecipeError for what makes no sense whatever the items are."""
        need(self.units >= 1, f"expected at least one unit, got {self.units}")
        need(self.layers >= 0, f"expected layers of at least 0, got {self.layers}")
        need(1 <= self.reach <= 60, f"expected a reach of 1 to 60 columns, got {self.reach}")
        need(1 <= self.rows <= 120, f"expected 1 to 120 rows, got {self.rows}")
