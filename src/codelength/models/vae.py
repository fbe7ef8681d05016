"""VAE: variational autoencoder (Kingma and Welling, ICLR 2014; Rezende, Mohamed, Wierstra, ICML 2014).

Latents z_1 .. z_L explain the data from below: q(z_1 | x) q(z_2 | z_1) .. looks upwards, p(z_L) .. p(z_1 | z_2)
p(x | z_1) downwards. As laws this is one ``Marginal`` whose prior is the next, so bits-back coding takes and gives
the latents in the order of Bit-Swap (Kingma, Abbeel, Ho, ICML 2019) by construction.

Latents live on one uniform grid, which prior and posterior share, so the width of its bins cancels. Training sees
the continuous distributions that the grid cuts up; files and evaluation see the bins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import Categorical, Normal, named_leaf
from codelength.errors import RecipeError
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.configs import VAEConfig as VAEConfig
from codelength.models.show import Described
from codelength.networks.conditionals import NetworkConditional, RasterConditional, UniformIndex, elements_of
from codelength.networks.masked import InputScale
from codelength.networks.residual import (
    CausalPixels,
    ChannelsFirst,
    Pixels,
    downwards,
    labelled,
    last,
    upwards,
)

#: The networks bring latents to standard units themselves: training gives them latents that stand in no context.
_UNITS = "bins"


class VAE(Described, nn.Module):
    """A hierarchy of latents over the items of a space.

    leaf: distribution of one element of an item. shapes: of the latents, from below. encoders[l](the layer below) and
    decoders[l](z_l) give the parameters of q(z_l | below) and of p(below | z_l); where the bottom decoder is
    ``CausalPixels`` it takes the item, too. All take the label last where there are labels; classifier(item) gives the
    logits of q(label | x), and the model is that of Kingma, Mohamed, Rezende, Welling (2014, "M2").
    """

    steps: Tensor

    def __init__(
        self,
        space: Space,
        leaf: Any,
        shapes: list[tuple[int, ...]],
        encoders: list[nn.Module],
        decoders: list[nn.Module],
        config: VAEConfig,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.leaf = leaf
        self.latent = Normal(1 << config.latent_bits, reach=config.reach)
        self.shapes = shapes
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.config = config
        self.labels = config.labels
        self.classifier = classifier
        self.top = StandardNormal(math.prod(shapes[-1]))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # of training, for the warm-up

    def law(self, given_label: bool = False) -> Law:
        """The model as an expression in the laws of probability.

        given_label: the label is in the context, under "label", where otherwise it is a latent of the law.
        """
        with_label = ("label",) if self.labels else ()
        law: Law = Independent(NetworkConditional(self.top, self.latent, self.shapes[-1], (), _UNITS))
        for level in reversed(range(len(self.shapes))):
            name = f"z{level + 1}"
            below, leaf = (self.space.shape, self.leaf) if level == 0 else (self.shapes[level - 1], self.latent)
            decoder = self.decoders[level]
            likelihood: Law
            if isinstance(decoder, CausalPixels):
                causal = RasterConditional(decoder, leaf, below, (name, *with_label), decoder.slope, _UNITS)
                likelihood = Sequential(causal)
            else:
                plain = NetworkConditional(decoder, leaf, below, (name, *with_label), _UNITS)  # type: ignore[arg-type]
                likelihood = Independent(plain)
            inputs = ("x", *with_label)
            encoder = NetworkConditional(self.encoders[level], self.latent, self.shapes[level], inputs, _UNITS)
            law = Marginal(name, law, likelihood, Independent(encoder))
        if self.classifier is not None and not given_label:
            prior = Independent(UniformIndex(self.labels))
            guess = NetworkConditional(self.classifier, Categorical(self.labels), (1,), ("x",))
            law = Marginal("label", prior, law, Independent(guess))
        return law

    def terms(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        label: Tensor | None = None,
        *,
        count: int = 1,
        doubly: bool = False,
        background: float = 1.0,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """``count`` draws of the latents for items x (n, *shape), continuous, given labels (n,) if there are any.

        Returns log p(x | z_1), nats (count n,), draw by draw; for each layer log q(z_l | below) - log p(z_l | above),
        nats (count n,), the cost of its latents; and for each layer the parameters of q, (count n, *shape, 2), where
        the encoder's weights enter.

        doubly: weights of encoders enter by way of the draws alone: inside log q they are constants, while the layers
        below that q looks at are not (Bauer and Mnih 2021, section 4). background: share of the blank background to
        look at; log p(x | z_1) is then an unbiased estimate.
        """
        below: Tensor = x.float()
        given: tuple[Tensor, ...] = () if label is None else (label,)
        drawn: list[Tensor] = []
        spent: list[Tensor] = []  # log q of each layer
        entries: list[Tensor] = []
        for level, (encoder, shape) in enumerate(zip(self.encoders, self.shapes)):
            size = (len(below), *shape, 2)
            entry = elements_of(encoder(below.detach() if doubly else below, *given), 2).reshape(size)
            if level == 0 and count > 1:  # the items are encoded once, whatever the number of draws
                entry = entry.repeat(count, *[1] * (entry.ndim - 1))
                given = tuple(each.repeat(count) for each in given)
            passing = params = entry
            # log q sees ``passing``, the draw sees ``params``: equal numbers, and for ``doubly`` other gradients.
            if doubly and level == 0:
                passing = entry.detach()
            elif doubly:
                fixed = {name: value.detach() for name, value in encoder.state_dict().items()}
                again = torch.func.functional_call(encoder, fixed, (below, *given))
                passing = elements_of(again, 2).reshape(size)
                # The difference is zero and has the gradient of ``entry``, which goes to the encoder's weights alone;
                # ``passing`` has that towards the layers below. So one draw sends back both, but ``loss`` can weight
                # the first by itself, with a hook on ``entry``.
                params = passing + (entry - entry.detach())
            noise = torch.randn(params.shape[:-1], generator=generator).to(params)
            below = self.latent.draw(params, noise)
            spent.append(self.latent.log_density(passing, below).flatten(1).sum(1))
            drawn.append(below)
            entries.append(entry)
        costs = []
        for level, z in enumerate(drawn):
            if level + 1 < len(drawn):
                params = elements_of(self.decoders[level + 1](drawn[level + 1], *given), 2)
            else:
                params = self.top().reshape(1, -1, 2)
            costs.append(spent[level] - self.latent.log_density(params, z.flatten(1)).sum(1))
        if self.space.symbols == 2:
            x = x.to(torch.int8)  # an eighth of what the copies move
        x = x.repeat(count, *[1] * (x.ndim - 1))
        return self._fit(x, (drawn[0], *given), background, generator), costs, entries

    def _fit(
        self, x: Tensor, given: tuple[Tensor, ...], background: float, generator: torch.Generator | None
    ) -> Tensor:
        """log p(x | z_1), nats (n,), or with a part of the background only an unbiased estimate of it.

        given: z_1, and the labels if there are any.
        """
        decoder = self.decoders[0]
        if isinstance(decoder, CausalPixels):
            image = x[..., None] if x.ndim == 3 else x
            given = (image.permute(0, 3, 1, 2).float(), *given)
        if background == 1.0:
            params = elements_of(decoder(*given), self.leaf.parameters)
            return self.leaf.log_prob(params.float(), x.flatten(1)).sum(1)
        assert isinstance(decoder, Pixels)
        weight = pixel_weights(x, background, generator)
        if weight.is_meta:  # sizes are measured as if half of the pixels were background
            count = round(weight.numel() * (1 + background) / 2)
            chosen = torch.zeros(count, dtype=torch.int64, device="meta")
        else:
            chosen = weight.reshape(-1).nonzero()[:, 0]
        params = decoder.at(decoder.features(*given), chosen)  # (N, C * p)
        channels = x.shape[3] if x.ndim == 4 else 1
        symbols = x.reshape(-1, channels)[chosen]
        fits = self.leaf.log_prob(params.float().reshape(len(chosen), channels, -1), symbols).sum(1)
        pixels = x[0].numel() // channels
        spread = torch.zeros(len(x), device=x.device).index_add(
            0, torch.div(chosen, pixels, rounding_mode="floor"), fits * weight.reshape(-1)[chosen]
        )
        return spread

    def log_weights(
        self, x: Tensor, count: int, generator: torch.Generator | None = None, label: Tensor | None = None
    ) -> Tensor:
        """log p(x, z) - log q(z | x) of `count` draws for each item, with continuous latents: nats (count, n)."""
        fit, costs, _ = self.terms(x, generator, label, count=count)
        return (fit - sum(costs)).reshape(count, len(x))

    def loss(self, x: Tensor, generator: torch.Generator | None = None, label: Tensor | None = None) -> Tensor:
        """The training objective, nats per item: minus the bound, with free nats, warm-up and samples as set.

        With labels, the bound is that of p(x | label), and the classifier learns beside it.
        """
        loss = self._loss(x, generator, label)
        if self.classifier is not None:
            assert label is not None
            loss = loss + nn.functional.cross_entropy(self.classifier(x.float()), label)
        return loss

    def _loss(self, x: Tensor, generator: torch.Generator | None, label: Tensor | None) -> Tensor:
        config = self.config
        k = config.samples
        warming = config.warmup_steps and not self.steps.is_meta
        share = min(1.0, (int(self.steps) + 1) / config.warmup_steps) if warming else 1.0
        if self.training:
            self.steps += 1
        if k == 1:
            fit, costs, _ = self.terms(x, generator, label, background=config.background if self.training else 1.0)
            total = sum(cost.mean().clamp_min(config.free_nats) for cost in costs)
            return share * total - fit.mean()
        doubly = config.gradient == "doubly_reparameterised"
        fit, costs, entries = self.terms(x, generator, label, count=k, doubly=doubly)
        weights = (fit - share * sum(costs)).reshape(k, len(x))
        if not doubly:
            return math.log(k) - torch.logsumexp(weights, 0).mean()
        shares = torch.softmax(weights.detach(), 0)  # (k, n)
        # The decoders' gradient is weighted once, that of the encoders' weights, which passes through z, twice.
        for entry in entries:
            if entry.requires_grad:
                entry.register_hook(lambda gradient: gradient * shares.reshape(-1, *[1] * (gradient.ndim - 1)))
        bound = torch.logsumexp(weights.detach(), 0) - math.log(k)
        surrogate = (shares * (weights - weights.detach())).sum(0)  # zero, with the gradient
        return -(bound + surrogate).mean()

    def validation(self, x: Tensor, label: Tensor | None = None) -> dict[str, Tensor]:
        """What to follow while training, nats (n,): the bound, and the importance-weighted one where it is trained."""
        generator = torch.Generator().manual_seed(0)
        fit, costs, _ = self.terms(x, generator, label)
        figures = {"bound": fit - sum(costs)}
        if self.config.samples > 1:
            k = self.config.samples
            weighted = torch.logsumexp(self.log_weights(x, k, generator, label), 0) - math.log(k)
            figures = {f"bound_of_{k}": weighted, **figures}
        for level, cost in enumerate(costs):
            figures[f"cost_of_z{level + 1}"] = -cost
        if self.classifier is not None and label is not None:
            figures["label"] = -nn.functional.cross_entropy(self.classifier(x.float()), label, reduction="none")
        return figures

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The one-sample bound with latents on their grid, as files are coded: nats (n,)."""
        return self.law().log_prob(x, {"shape": tuple(x.shape[1:]), "generator": generator})

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Items (count, *shape)."""
        return self.law().sample(count, {"shape": self.space.shape}, generator)


class StandardNormal(nn.Module):
    """The parameters of a standard normal distribution on the grid, whatever the context."""

    values: Tensor

    def __init__(self, units: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(1, 2 * units), persistent=False)

    def forward(self) -> Tensor:
        return self.values


def pixel_weights(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Weights (n, h, w) of the pixels of images x (n, h, w) or (n, h, w, c) in an estimate of a sum over them.

    Pixels that are not 0, or have one that is not among their eight neighbours, have weight 1. Of the others a random
    ``share`` has weight 1 / share, the rest none.
    """
    lit = (x if x.ndim == 3 else x.amax(3)) > 0
    near = nn.functional.max_pool2d(lit.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0
    drawn = torch.rand(near.shape, generator=generator).to(x.device) < share
    return torch.where(near, 1.0, drawn.float() / share)


def build_vae(config: VAEConfig, space: Space, frequencies: np.ndarray | None = None) -> VAE:
    """A fresh model.

    frequencies (D, symbols): how often each element takes each symbol in the training data, positive; they set the
    biases of the decoder. None: all symbols alike (for models about to be loaded).

    Raises RecipeError for a configuration that makes no sense for the space.
    """
    _check(config, space)
    leaf = named_leaf(config.leaf, space.symbols, config.components)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.strides:
            shapes, encoders, decoders = _convolutional(config, space, leaf.parameters)
        else:
            shapes, encoders, decoders = _dense(config, space, leaf.parameters)
        classifier = _classifier(config, space) if config.labels else None
    if not next(decoders[0].parameters()).is_meta:
        _start_at(decoders[0], leaf, space, frequencies)
    model = VAE(space, leaf, shapes, encoders, decoders, config, classifier)
    if config.strides:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _start_at(bottom: nn.Module, leaf: Any, space: Space, frequencies: np.ndarray | None) -> None:
    """Let the decoder of the data begin at the frequencies (D, symbols); None for all symbols alike."""
    shares = np.full((space.dims, space.symbols), 1.0) if frequencies is None else np.asarray(frequencies, np.float64)
    with torch.no_grad():
        start = torch.from_numpy(shares / shares.sum(1, keepdims=True))
        if isinstance(bottom, Pixels):  # one bias for all pixels
            start = start.reshape(-1, bottom.channels, space.symbols).mean(0)
            _set_biases(bottom.last, leaf.initial_parameters(start))
        else:
            output = [layer for layer in bottom.modules() if isinstance(layer, nn.Linear)][-1]
            _set_biases(output, leaf.initial_parameters(start))


def _set_biases(layer: Any, values: Tensor) -> None:
    layer.bias.copy_(values.reshape(-1))


def _grid(config: VAEConfig) -> InputScale:
    """Latents as networks take them: in units of the prior's deviation."""
    return InputScale(1 << (config.latent_bits - 1), config.latent_bits - config.reach.bit_length())


def _dense(
    config: VAEConfig, space: Space, parameters: int
) -> tuple[list[tuple[int, ...]], list[nn.Module], list[nn.Module]]:
    encoders: list[nn.Module] = []
    decoders: list[nn.Module] = []
    for level, units in enumerate(config.latents):
        below = space.dims if level == 0 else config.latents[level - 1]
        outputs = space.dims * parameters if level == 0 else 2 * below
        scale = _data_scale(space.symbols) if level == 0 else _grid(config)
        encoder = _perceptron(scale, below, config.hidden, 2 * units, flatten=level == 0)
        encoders.append(labelled(encoder, config.labels))
        decoders.append(labelled(_perceptron(_grid(config), units, config.hidden[::-1], outputs), config.labels))
    return [(units,) for units in config.latents], encoders, decoders


def _convolutional(
    config: VAEConfig, space: Space, parameters: int
) -> tuple[list[tuple[int, ...]], list[nn.Module], list[nn.Module]]:
    channels, counts = config.channels, config.blocks
    size: Any = space.shape  # without free sizes, which _check has refused
    colours = size[2] if len(size) == 3 else 1
    shapes: list[tuple[int, ...]] = []
    encoders: list[nn.Module] = []
    decoders: list[nn.Module] = []
    below, level_below = tuple(size), 0  # its shape, and how often it has been halved
    for level, (units, stride) in enumerate(zip(config.latents, config.strides)):
        flat = stride == 0
        depth = len(channels) - 1 if flat else level_below + stride.bit_length() - 1
        size = tuple(s >> (depth - level_below) for s in below[:2])
        shape = (units,) if flat else (*size, units)
        widths, some = channels[level_below : depth + 1], counts[level_below : depth + 1]
        scale = _data_scale(space.symbols) if level == 0 else _grid(config)
        inputs = colours if level == 0 else below[2]
        down = [scale, ChannelsFirst(below), downwards(inputs, widths, some)]
        up: list[nn.Module] = [_grid(config)]
        if flat:
            end = nn.Linear(widths[-1] * math.prod(size), 2 * units)
            with torch.no_grad():
                end.weight.mul_(0.1)
                end.bias.zero_()
            down += [nn.Flatten(), end]
            up += [nn.Linear(units, widths[-1] * math.prod(size)), nn.Unflatten(1, (widths[-1], *size))]
        else:
            down.append(last(widths[-1], 2 * units, 3))
            up.append(ChannelsFirst(shape))
        trunk = nn.Sequential(*up, upwards(widths[-1] if flat else units, widths, some))
        if level > 0:
            top = nn.Sequential(trunk, nn.ReLU(), last(widths[0], 2 * inputs))
            decoder: nn.Module = labelled(top, config.labels)
        elif config.neighbourhood:
            kernel = config.neighbourhood[0], config.neighbourhood[1]
            decoder = CausalPixels(
                labelled(trunk, config.labels),
                widths[0],
                config.head,
                colours,
                parameters,
                _data_scale(space.symbols),
                kernel,
            )
        else:
            decoder = Pixels(labelled(trunk, config.labels), widths[0], config.head, colours, parameters)
        shapes.append(shape)
        encoders.append(labelled(nn.Sequential(*down), config.labels))
        decoders.append(decoder)
        below, level_below = shape, depth
    return shapes, encoders, decoders


def _classifier(config: VAEConfig, space: Space) -> nn.Module:
    """From items to logits of labels, as large as an encoder."""
    scale, size = _data_scale(space.symbols), space.shape
    if not config.strides:
        return _perceptron(scale, space.dims, config.hidden, config.labels, flatten=True)
    inputs: Any = size[2] if len(size) == 3 else 1
    halvings = len(config.channels) - 1
    units: Any = config.channels[-1] * math.prod(s >> halvings for s in size[:2] if s is not None)
    body = downwards(inputs, config.channels, config.blocks)
    return nn.Sequential(scale, ChannelsFirst(size), body, nn.Flatten(), nn.Linear(units, config.labels))  # type: ignore[arg-type]


def _perceptron(
    scale: nn.Module, inputs: int, hidden: tuple[int, ...], outputs: int, flatten: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [scale]
    if flatten:
        layers.append(nn.Flatten())
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    last = nn.Linear(inputs, outputs)
    # Small first outputs: posteriors begin near the prior, the decoder at the frequencies of the data.
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return nn.Sequential(*layers, last)


def _data_scale(symbols: int) -> nn.Module:
    """Zeros and ones are fine as they are; larger alphabets are brought to about -1 .. 1."""
    bits = (symbols - 1).bit_length() - 1
    return nn.Identity() if symbols == 2 else InputScale(1 << bits, bits)


def _check(config: VAEConfig, space: Space) -> None:
    def need(condition: bool, message: str) -> None:
        if not condition:
            raise RecipeError(message)

    need(not space.is_free, f"expected items of one size for vae, got images of any size ({space.shape})")
    need(
        len(config.latents) > 0 and min(config.latents) >= (1 if config.strides else 2),
        f"expected at least two units (of a grid, one channel) in each stochastic layer, got {config.latents}",
    )
    if config.strides:
        _check_grids(config, space, need)
    else:
        need(len(config.hidden) > 0 and min(config.hidden) > 0, f"expected sizes of hidden layers, got {config.hidden}")
        need(not config.neighbourhood, "a neighbourhood is for convolutional networks; give strides, too")
        need(config.background == 1.0, "a share of the background is for convolutional networks; give strides, too")
    need(5 <= config.latent_bits <= 16, f"expected 5 to 16 latent_bits, got {config.latent_bits}")
    need(
        config.reach >= 1 and not config.reach & (config.reach - 1) and 4 * config.reach <= 1 << config.latent_bits,
        f"expected a reach that is a power of two up to {1 << (config.latent_bits - 2)}, got {config.reach}",
    )
    need(config.labels != 1 and config.labels >= 0, f"expected labels = 0 or at least 2, got {config.labels}")
    need(config.samples >= 1, f"expected at least one sample, got {config.samples}")
    need(
        config.gradient in ("plain", "doubly_reparameterised"),
        f"expected gradient = 'plain' or 'doubly_reparameterised', got {config.gradient!r}",
    )
    doubly = config.gradient == "doubly_reparameterised"
    need(not doubly or config.samples > 1, "the doubly reparameterised gradient needs samples > 1")
    need(config.free_nats >= 0 and config.warmup_steps >= 0, "expected free_nats and warmup_steps of at least 0")
    need(
        config.samples == 1 or config.free_nats == 0,
        "free_nats are for one sample; the importance-weighted objective has no separate cost of latents",
    )


def _check_grids(config: VAEConfig, space: Space, need: Any) -> None:
    """What convolutional networks ask of a configuration."""
    strides, shape = config.strides, space.shape
    sizes: Any = shape[:2]
    need(len(shape) in (2, 3), f"expected images for convolutional networks, got items of shape {shape}")
    need(
        len(strides) == len(config.latents),
        f"expected a stride for each of the {len(config.latents)} stochastic layers, got {strides}",
    )
    grids = strides[:-1] if strides[-1] == 0 else strides
    need(
        all(s > 0 and s & (s - 1) == 0 for s in grids),
        f"expected strides that are powers of two (the last may be 0, for a vector), got {strides}",
    )
    depth = sum(s.bit_length() - 1 for s in grids)
    need(
        len(config.channels) == len(config.blocks) and min(config.channels, default=0) > 0,
        f"expected channels and blocks for the same resolutions, got {config.channels} and {config.blocks}",
    )
    need(min(config.blocks, default=0) >= 0, f"expected numbers of residual blocks, got {config.blocks}")
    need(
        depth < len(config.channels) and (strides[-1] == 0 or depth == len(config.channels) - 1),
        f"expected channels for {depth + 1} resolutions, as the strides {strides} make them, got {config.channels}",
    )
    factor = 1 << (len(config.channels) - 1)
    need(
        all(size % factor == 0 for size in sizes),
        f"expected sizes that can be divided by {factor}, got images of {shape[0]} x {shape[1]}",
    )
    need(0 < config.background <= 1, f"expected a share of the background above 0 and up to 1, got {config.background}")
    need(
        config.samples == 1 or config.background == 1,
        "a share of the background is for one sample: inside a logarithm of means its noise would be a bias",
    )
    near = config.neighbourhood
    need(
        not near or (len(near) == 2 and 1 <= near[0] <= 32 and 1 <= near[1] <= 63 and near[1] % 2 == 1),
        f"expected a neighbourhood of (rows, an odd number of columns), got {near}",
    )
