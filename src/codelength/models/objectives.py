"""What a hierarchy of latents is trained for: bounds with continuous latents, one draw or several, and their gradients.

Log-weights log p(x, z) - log q(z | x) make up all of them: their mean is the bound (Kingma and Welling 2014), the
logarithm of the mean of several weights the importance-weighted one (Burda, Grosse, Salakhutdinov 2016).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from codelength.distributions import Normal
from codelength.distributions.continuum import Continuous
from codelength.laws.space import Space
from codelength.models.configs import VAEConfig
from codelength.networks.conditionals import elements_of
from codelength.networks.residual import CausalPixels, Pixels


class LatentObjectives(nn.Module):
    """Base of a model of latents z_1 .. z_L, from below, over the items of a space.

    encoders[l](the layer below) and decoders[l](z_l) give the parameters of q(z_l | below) and of p(below | z_l), top()
    those of p(z_L); the bottom decoder, where it is ``CausalPixels``, takes the item before z_1. All take the label
    last where there are labels, and classifier(item) gives its logits. latent: the distribution of all latents, leaf:
    that of elements of an item. steps: of training so far, for the warm-up.
    """

    space: Space
    leaf: Any
    latent: Normal
    shapes: list[tuple[int, ...]]
    encoders: nn.ModuleList
    decoders: nn.ModuleList
    top: nn.Module
    classifier: nn.Module | None
    config: VAEConfig
    steps: Tensor

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
        density = Continuous(self.latent)  # what ``continuum`` makes of the law's latents
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
            below = density.sample(params, generator)
            spent.append(density.log_prob(passing, below).flatten(1).sum(1))
            drawn.append(below)
            entries.append(entry)
        costs = []
        for level, z in enumerate(drawn):
            if level + 1 < len(drawn):
                params = elements_of(self.decoders[level + 1](drawn[level + 1], *given), 2)
            else:
                params = self.top().reshape(1, -1, 2)
            costs.append(spent[level] - density.log_prob(params, z.flatten(1)).sum(1))
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


def pixel_weights(x: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Weights (n, h, w) of the pixels of images x (n, h, w) or (n, h, w, c) in an estimate of a sum over them.

    Pixels that are not 0, or have one that is not among their eight neighbours, have weight 1. Of the others a random
    ``share`` has weight 1 / share, the rest none.
    """
    lit = (x if x.ndim == 3 else x.amax(3)) > 0
    near = nn.functional.max_pool2d(lit.float()[:, None], 3, stride=1, padding=1)[:, 0] > 0
    drawn = torch.rand(near.shape, generator=generator).to(x.device) < share
    return torch.where(near, 1.0, drawn.float() / share)
