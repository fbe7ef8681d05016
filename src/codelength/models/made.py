"""MADE: masked autoencoder for distribution estimation (Germain, Gregor, Murray, Larochelle, ICML 2015).

A dense network whose masks make it autoregressive: one pass gives p(x_i given the elements before x_i) for all i, and
the product of these conditionals is an exact probability. The elements may be taken in any order, and a model may
know several: it is then the mixture of its members, in equal parts,

    p(x) = 1/K sum_k p_k(x),

which averages probabilities of whole items and never logits. Members come in two kinds.

- *Shared mask.* One network reads the item permuted into the order of the member and gives parameters in that order.
  Members differ in their order and in learned biases. Every item of a batch may have an order of its own.
- *Mask sets.* The same weights under the masks of each member: other hidden degrees (connectivity-agnostic training,
  the paper's section 4.2), another order (order-agnostic, 4.1), or both. Networks read and write the elements
  where they lie.

A model with labels is p(x given label); without a label, the exact mixture over labels in equal parts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codelength.distributions import named_leaf
from codelength.laws.contract import Law
from codelength.laws.independent import Independent
from codelength.laws.marginal import mixture
from codelength.laws.sequential import Sequential
from codelength.laws.space import Space
from codelength.laws.switch import Switch
from codelength.models import orders as ordering
from codelength.models.configs import MADEConfig as MADEConfig
from codelength.models.configs import need
from codelength.models.show import Described
from codelength.networks.conditionals import DegreeConditional, UniformIndex
from codelength.networks.masked import MaskedMLP, symbol_scale


class MADE(Described, nn.Module):
    """A mixture of K autoregressive members over the items of a space.

    leaf: distribution of one element (see codelength.distributions). orders (K, D): orders[k, t] is the row-major index
    of the element that member k codes at step t. networks: one for all members (shared mask: input and position i stand
    for the i-th element of the order), or one for each member, weights in common (mask sets: they stand for element i).
    labels: how many the networks are conditioned on. practice: a network in which `resample` may change the degrees.
    """

    orders: Tensor

    def __init__(
        self,
        space: Space,
        leaf: Any,
        orders: np.ndarray,
        networks: Sequence[MaskedMLP],
        *,
        labels: int = 0,
        practice: Practice | None = None,
    ) -> None:
        super().__init__()
        if len(networks) not in (1, len(orders)):
            raise ValueError(f"expected one network or one for each of {len(orders)} orders, got {len(networks)}")
        self.space = space
        self.leaf = leaf
        self.labels = labels
        self.networks = nn.ModuleList(networks)
        self.practice = practice
        self.register_buffer("orders", torch.from_numpy(np.array(orders, np.int64)))

    @property
    def members(self) -> int:
        return len(self.orders)

    @property
    def shares_mask(self) -> bool:
        return self.members > 1 and len(self.networks) == 1

    def log_prob_order(self, x: Tensor, member: Tensor, label: Tensor | None = None) -> Tensor:
        """log p_k(x given label), nats (n,), for items x (n, *shape), members (n,) and labels (n,) if there are any."""
        x = x.reshape(len(x), -1)  # (n, D)
        if self.shares_mask:
            x = x.gather(1, self.orders[member])  # (n, D), in the order of its member
            return self._nats(self.networks[0], x, member, label)
        # Without values, which sizes are measured with, one network stands for all.
        present = [0] if member.is_meta else member.unique().tolist()
        if len(present) == 1:
            return self._nats(self.networks[present[0]], x, None, label)
        nats = x.new_zeros(len(x), dtype=torch.float32)
        for k in present:
            rows = (member == k).nonzero()[:, 0]
            some = self._nats(self.networks[k], x[rows], None, None if label is None else label[rows])
            nats = nats.index_put((rows,), some)
        return nats

    def _nats(self, network: nn.Module, x: Tensor, index: Tensor | None, label: Tensor | None) -> Tensor:
        params = network(x.float(), index, label)  # (n, D, p)
        return self.leaf.log_prob(params.float(), x).sum(1)  # (n,)

    def log_prob(self, x: Tensor, label: Tensor | None = None, members: Sequence[int] | None = None) -> Tensor:
        """log p(x) or log p(x given label), nats (n,): the exact mixture over all members, or over those named."""
        if self.labels and label is None:
            labels = [torch.full((len(x),), c, device=x.device) for c in range(self.labels)]
            each = [self.log_prob(x, given, members) for given in labels]
            return torch.logsumexp(torch.stack(each), 0) - math.log(self.labels)
        chosen = range(self.members) if members is None else members
        each = [self.log_prob_order(x, torch.full((len(x),), k, device=x.device), label) for k in chosen]
        return torch.logsumexp(torch.stack(each), 0) - math.log(len(each))

    def loss(self, x: Tensor, generator: torch.Generator | None = None, label: Tensor | None = None) -> Tensor:
        """Mean of -log p_k(x), nats; k is drawn for every item (shared mask) or for the batch (mask sets)."""
        if self.practice is not None and self.training:
            network = self.practice.draw(generator)
            return -self._nats(network, x.reshape(len(x), -1), None, label).mean()
        count = len(x) if self.shares_mask else 1
        member = torch.randint(self.members, (count,), generator=generator).to(x.device)
        return -self.log_prob_order(x, member.expand(len(x)), label).mean()

    def validation(self, x: Tensor, label: Tensor | None = None) -> dict[str, Tensor]:
        """What to follow while training, nats (n,): the mixture of at most eight members, and one of them alone."""
        if self.members == 1:
            return {"nats": self.log_prob(x, label)}
        count = min(self.members, 8)
        some = [(2 * i + 1) * self.members // (2 * count) for i in range(count)]
        name = "mixture" if count == self.members else f"mixture_of_{count}"
        return {name: self.log_prob(x, label, some), "single": self.log_prob(x, label, some[:1])}

    def law(self, given_label: bool = False) -> Law:
        """The model as an expression in the laws of probability.

        given_label: the label is in the context, under "label", where otherwise it is a latent of the law.
        """
        shape = self.space.shape
        labelled = ("label",) if self.labels else ()
        if self.members == 1 or not self.shares_mask:
            parts: list[Law] = []
            for k in range(self.members):
                network = LabelOnly(self.networks[k]) if self.labels else self.networks[k]
                row = self.orders[k : k + 1]
                parts.append(Sequential(DegreeConditional(network, self.leaf, shape, row, inputs=labelled)))  # type: ignore[arg-type]
            law = parts[0] if len(parts) == 1 else self._mixture("member", self.members, Switch("member", parts))
        else:
            inputs = ("member", *labelled)
            one = DegreeConditional(self.networks[0], self.leaf, shape, self.orders, "member", inputs)  # type: ignore[arg-type]
            law = self._mixture("member", self.members, Sequential(one))
        if self.labels and not given_label:
            law = self._mixture("label", self.labels, law)
        return law

    def member(self, k: int) -> MADE:
        """Member k alone, as a model of one order with weights of its own."""
        order = self.orders[k : k + 1].cpu().numpy()
        source = copy.deepcopy(self.networks[k if len(self.networks) > 1 else 0])
        assert isinstance(source, MaskedMLP)
        network = source.fixed_order(self.orders[k].cpu(), k) if self.shares_mask else source
        return MADE(self.space, self.leaf, order, [network], labels=self.labels).train(self.training)

    def _mixture(self, name: str, count: int, law: Law) -> Law:
        """Equal parts of the law under each value of an index."""
        return mixture(name, Independent(UniformIndex(count)), law)

    def sample(self, count: int, generator: torch.Generator | None = None, label: Tensor | None = None) -> Tensor:
        """Items (count, *shape); one pass of the network per element, as plain as can be."""
        context = {} if label is None else {"label": label.reshape(-1, 1)}
        return self.law(given_label=label is not None).sample(count, context, generator)


class LabelOnly(nn.Module):
    """A network that knows labels and no order, called without the latter."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.network(x, None, label)


class Practice(nn.Module):
    """The weights of a model under masks that are drawn anew for every batch: endlessly many mask sets."""

    def __init__(self, network: MaskedMLP, sizes: Sequence[int], random_order: bool) -> None:
        super().__init__()
        self.network = network
        self.sizes = tuple(sizes)
        self.random_order = random_order

    def draw(self, generator: torch.Generator | None) -> nn.Module:
        """The network under fresh hidden degrees and, with `random_order`, a fresh order."""
        dims = self.network.positions
        seed = int(torch.randint(2**62, (1,), generator=generator))
        fresh = np.random.default_rng(seed)
        rank = torch.from_numpy(fresh.permutation(dims) if self.random_order else np.arange(dims))
        degrees = _random_hidden_degrees(self.sizes, dims, fresh, ordered=False)
        self.network.set_degrees(rank + 1, rank, degrees)
        return self.network


def build_made(config: MADEConfig, space: Space, frequencies: np.ndarray | None = None) -> MADE:
    """A fresh model.

    frequencies (D, symbols): how often each element takes each symbol in the training data, positive; they set the
    first biases and "information" degrees. None: as if all symbols were as frequent (for models about to be loaded).

    Raises RecipeError for a configuration that makes no sense for the space.
    """
    config.check()
    need(not space.is_free, f"expected items of one size for made, got images of any size ({space.shape})")
    dims = space.dims
    if frequencies is None:  # a view: models that only say how large they are take no memory
        shares = np.broadcast_to(1.0 / space.symbols, (dims, space.symbols))
    else:
        shares = np.asarray(frequencies, np.float64)
        shares = shares / shares.sum(1, keepdims=True)
    leaf = named_leaf(config.leaf, space.symbols, config.components)
    rng = np.random.default_rng(config.seed)
    torch_rng = torch.Generator().manual_seed(config.seed)
    shared = config.orders == "symmetries"
    factors: tuple[int, ...] = ()
    if shared:
        height, width = ordering.image_size(space.shape, "orders = 'symmetries'")  # type: ignore[arg-type]
        sides = ordering.symmetries(np.arange(dims).reshape(height, width))
        orders = np.stack([roll.ravel() for side in sides for roll in ordering.rolls(side, config.rolls)])
        factors = (8, (2 * config.rolls + 1) ** 2) if config.rolls else (8,)
    elif config.orders == "random":
        orders = np.stack([rng.permutation(dims) for _ in range(config.masks)])
    else:
        orders = np.broadcast_to(np.arange(dims), (config.masks, dims))
    if frequencies is None:
        entropy = np.full(dims, np.log(space.symbols))
    else:
        entropy = -(shares * np.log(shares)).sum(1)  # (D,), of each element alone

    networks: list[MaskedMLP] = []
    for order in orders[:1] if shared else orders:
        positions = np.arange(dims) if shared else np.argsort(order)  # of each input and output, in the order
        if config.degrees == "random":
            hidden = _random_hidden_degrees(config.hidden, dims, rng, ordered=config.masks == 1)
        else:
            told = (
                entropy[orders if shared else order[None]].mean(0) if config.degrees == "information" else np.ones(dims)
            )
            hidden = [torch.from_numpy(ordering.degrees_by_information(n, told)) for n in config.hidden]
        networks.append(_network(config, space, leaf, torch.from_numpy(positions), hidden, factors))
    first = networks[0]
    first.reset_parameters(torch_rng)
    assert first.output.bias is not None
    if not first.output.bias.is_meta:
        _start_at(first, leaf, shares[orders].mean(0) if shared else shares)
    for network in networks[1:]:
        share_parameters(first, network)
    practice = None
    if config.resample:
        network = _network(config, space, leaf, torch.arange(dims), hidden, factors)
        share_parameters(first, network)
        practice = Practice(network, config.hidden, config.orders == "random")
    return MADE(space, leaf, orders, networks, labels=config.labels, practice=practice)


def _start_at(network: MaskedMLP, leaf: Any, shares: np.ndarray) -> None:
    """Let a network begin at these shares (D, symbols) of the symbols, by position."""
    assert network.output.bias is not None
    with torch.no_grad():
        biases = leaf.initial_parameters(torch.from_numpy(np.array(shares)))  # (D, p)
        network.output.bias.copy_(biases.reshape(-1))


def share_parameters(source: nn.Module, target: nn.Module) -> None:
    """Make the parameters of `target` those of `source`, a module of the same build."""
    modules = dict(target.named_modules())
    for path, parameter in list(source.named_parameters()):
        owner, _, name = path.rpartition(".")
        holder = modules[owner]
        if isinstance(holder, nn.ParameterList):
            holder[int(name)] = parameter
        else:
            setattr(holder, name, parameter)


def _network(
    config: MADEConfig,
    space: Space,
    leaf: Any,
    positions: Tensor,
    hidden: Sequence[Tensor],
    factors: tuple[int, ...],
) -> MaskedMLP:
    return MaskedMLP(
        positions + 1,
        positions,
        hidden,
        leaf.parameters,
        residual_blocks=config.residual_blocks,
        direct=config.direct,
        dropout=config.dropout,
        orders=factors,
        labels=config.labels,
        scale=symbol_scale(space.symbols),
    )


def _random_hidden_degrees(sizes: Sequence[int], dims: int, rng: np.random.Generator, *, ordered: bool) -> list[Tensor]:
    """Degrees of each hidden layer, uniform from the least degree of the layer below (the paper's section 4.2)."""
    degrees, least = [], 1
    for size in sizes:
        drawn = ordering.random_degrees(size, dims, least, rng)
        least = int(drawn.min())
        degrees.append(torch.from_numpy(np.sort(drawn) if ordered else drawn))
    return degrees
