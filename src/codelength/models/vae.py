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
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import Marginal
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.models.configs import VAEConfig as VAEConfig
from codelength.models.configs import need
from codelength.models.objectives import LatentObjectives
from codelength.models.show import Described
from codelength.networks.conditionals import NetworkConditional, RasterConditional, UniformIndex
from codelength.networks.hierarchy import (
    Hierarchy,
    StandardNormal,
    convolutional,
    convolutional_classifier,
    dense,
    dense_classifier,
)
from codelength.networks.residual import CausalPixels, Pixels

#: The networks bring latents to standard units themselves: training gives them latents that stand in no context.
_UNITS = "bins"


class VAE(Described, LatentObjectives):
    """A hierarchy of latents over the items of a space.

    leaf: distribution of one element of an item. networks: encoders and decoders, see ``LatentObjectives``. With
    labels the model is that of Kingma, Mohamed, Rezende, Welling (2014, "M2"), and the classifier gives the logits of
    q(label | x).
    """

    def __init__(
        self,
        space: Space,
        leaf: Any,
        networks: Hierarchy,
        config: VAEConfig,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.leaf = leaf
        self.latent = _latent(config)
        self.shapes = networks.shapes
        self.encoders = nn.ModuleList(networks.encoders)
        self.decoders = nn.ModuleList(networks.decoders)
        self.config = config
        self.labels = config.labels
        self.classifier = classifier
        self.top = StandardNormal(math.prod(networks.shapes[-1]))
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

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The one-sample bound with latents on their grid, as files are coded: nats (n,)."""
        return self.law().log_prob(x, {"shape": tuple(x.shape[1:]), "generator": generator})

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Items (count, *shape)."""
        return self.law().sample(count, {"shape": self.space.shape}, generator)


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
        networks, classifier = _networks(config, space, leaf.parameters)
    if not next(networks.decoders[0].parameters()).is_meta:
        _start_at(networks.decoders[0], leaf, space, frequencies)
    model = VAE(space, leaf, networks, config, classifier)
    if config.strides:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _networks(config: VAEConfig, space: Space, parameters: int) -> tuple[Hierarchy, nn.Module | None]:
    """Encoders, decoders and, where there are labels, their classifier."""
    standard, labels, symbols = _latent(config).standard, config.labels, space.symbols
    assert standard is not None
    given: Any = {"latents": config.latents, "standard": standard, "labels": labels}
    if not config.strides:
        found = dense(space.dims, symbols, parameters, hidden=config.hidden, **given)
        return found, dense_classifier(space.dims, symbols, labels, config.hidden) if labels else None
    shape: Any = space.shape  # without free sizes, which _check has refused
    channels, blocks = config.channels, config.blocks
    given |= {"strides": config.strides, "head": config.head, "neighbourhood": config.neighbourhood}
    found = convolutional(shape, symbols, parameters, channels=channels, blocks=blocks, **given)
    return found, convolutional_classifier(shape, symbols, labels, channels, blocks) if labels else None


def _latent(config: VAEConfig) -> Normal:
    """The distribution of a latent, on the grid that all share."""
    return Normal(1 << config.latent_bits, reach=config.reach)


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


def _check(config: VAEConfig, space: Space) -> None:
    config.check()
    need(not space.is_free, f"expected items of one size for vae, got images of any size ({space.shape})")
    if not config.strides:
        return
    shape = space.shape
    need(len(shape) in (2, 3), f"expected images for convolutional networks, got items of shape {shape}")
    sizes: Any = shape[:2]
    factor = 1 << (len(config.channels) - 1)
    need(
        all(size % factor == 0 for size in sizes),
        f"expected sizes that can be divided by {factor}, got images of {shape[0]} x {shape[1]}",
    )
