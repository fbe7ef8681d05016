"""Steps of flows in floating point: affine couplings (Real NVP: Dinh, Sohl-Dickstein, Bengio 2017, equations 4 to 8),
scales of channels (Kingma, Dhariwal 2018), squares of pixels made channels, and additive couplings of integers
(Hoogeboom et al. 2019, equation 6).

The grid of the items stands for the continuum; frozen, the same steps are exactly invertible maps of integers
(``exact.steps``), at the same number of bits. Each has

    determinant(x (n, *shape), context) -> (y (n, *shape), log-determinant in nats, (n,) or a number)
    invert(y (n, *shape), context)      -> x (n, *shape)

and takes elements in row-major order, whatever the shape.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from codelength.networks.conditionals import NetworkInputs, not_frozen

if TYPE_CHECKING:
    from codelength.laws import protocols

#: Log-scales are frozen in units of 2^-LOG_SCALE_BITS nats, between plus and minus LOG_SCALE_LIMIT.
LOG_SCALE_BITS = 6
LOG_SCALE_LIMIT = 4.0
#: Numerators of frozen scales are over 2^DENOMINATOR_BITS.
DENOMINATOR_BITS = 12


class FloatStep(nn.Module):
    """Base of the steps in floating point: what they say to whoever wants to code, and how a draw gets its density.

    ``determinant(x, context) -> (y, log-determinant in nats)`` and ``invert(y, context) -> x`` are each step's own.
    """

    #: Whether the step scales, so that its frozen twin pushes and pops remainders.
    spends = False
    determinant: Any
    invert: Any

    def forward(self, stack: Any, x: Tensor, context: dict[str, Any], start: bool) -> Tensor:
        raise not_frozen()

    def inverse(self, stack: Any, y: Tensor, context: dict[str, Any], start: bool) -> Tensor:
        raise not_frozen()

    def drawn(self, y: Tensor, context: dict[str, Any]) -> tuple[Tensor, Any]:
        """x that y comes from, and log |dy/dx| there in nats, (n,) or a number."""
        x = self.invert(y, context)
        return x, self.determinant(x, context)[1]


class GridOffset(FloatStep):
    """y = x + value: moves the grid, changes no volume."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, float]:
        return x + self.value, 0.0

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        return y - self.value


class Permutation(FloatStep):
    """y_d = x_index[d], index (D,) being a permutation. Raises ValueError where it is none."""

    index: Tensor
    back: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        index = torch.as_tensor(index, dtype=torch.int64).reshape(-1).clone()
        if not torch.equal(index.sort().values, torch.arange(len(index))):
            raise ValueError(f"expected a permutation of 0 to {len(index) - 1}, got {index.tolist()!s:.60}")
        self.register_buffer("index", index)
        self.register_buffer("back", torch.argsort(index))

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, float]:
        return x.reshape(len(x), -1)[:, self.index].reshape(x.shape), 0.0

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        return y.reshape(len(y), -1)[:, self.back].reshape(y.shape)


def squeeze(shape: tuple[int, int, int], factor: int = 2) -> tuple[Permutation, tuple[int, int, int]]:
    """Squares of factor x factor pixels become the channels of one (Dinh et al. 2017, section 3.6).

    shape: (H, W, C) of the images. The step, and the shape (H / factor, W / factor, factor^2 C) after it. Raises
    ValueError for sizes that the factor does not divide.
    """
    height, width, channels = shape
    if height % factor or width % factor:
        raise ValueError(f"expected a height and a width that are multiples of {factor}, got {height} x {width}")
    places = torch.arange(height * width * channels)
    places = places.reshape(height // factor, factor, width // factor, factor, channels).transpose(1, 2)
    return Permutation(places.reshape(-1)), (height // factor, width // factor, factor**2 * channels)


def checkerboard(shape: tuple[int, int, int], parity: int) -> Tensor:
    """``moves`` (H, W, C): one where row + column has this parity, all channels of a pixel alike."""
    rows, columns = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    return ((rows + columns) % 2 == parity).long()[:, :, None].expand(shape)


def channel_mask(shape: tuple[int, int, int], last: bool) -> Tensor:
    """``moves`` (H, W, C): one for the last half of the channels, or for the first."""
    is_last = torch.arange(shape[2]) >= shape[2] // 2
    return (is_last == last).long().expand(shape)


class ChannelScale(FloatStep):
    """y = x exp(s) + t with one s and one t for each channel, which is the last axis.

    log_scales (C,) in nats, clamped to +-``limit``; shifts (C,) in units of 2^shift_bits grid steps; zero at
    first.
    """

    spends = True

    def __init__(self, channels: int, shift_bits: int = 0, limit: float = LOG_SCALE_LIMIT) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.zeros(channels))
        self.shifts = nn.Parameter(torch.zeros(channels))
        self.shift_bits = shift_bits
        self.limit = limit

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Log-scales in nats, shifts in grid steps: (C,) each."""
        return self.log_scales.clamp(-self.limit, self.limit), self.shifts * 2.0**self.shift_bits

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        scale, shift = self.scale_and_shift()
        y = _by_channel(x, len(scale)).to(_real_type(x, scale)) * scale.exp() + shift
        return y.reshape(x.shape), scale.sum() * (math.prod(x.shape[1:]) // len(scale))

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        scale, shift = self.scale_and_shift()
        return ((_by_channel(y, len(scale)) - shift) * torch.exp(-scale)).reshape(y.shape)


class _Coupling(NetworkInputs, FloatStep):
    """Base of the steps that move some elements by what a network says of the others.

    moves: of the shape of an item, or flat (D,), of zeros and ones: elements that move. shape: None, or (H, W, C).

    Without a shape the network sees vectors (n, D), zero where elements move, and gives ``each`` numbers for every
    element that moves: (n, each D'), the first number of all of them first. With a shape it sees images (n, C, H, W)
    and gives (n, each C, H, W), the first number of all channels first. inputs: names of context entries that its
    forward takes after that. units: as in ``networks.conditionals``.
    """

    each: int
    moves: Tensor
    where: Tensor

    def __init__(
        self,
        moves: Tensor,
        network: nn.Module,
        shift_bits: int = 0,
        shape: tuple[int, int, int] | None = None,
        inputs: tuple[str, ...] = (),
        units: str = "standard",
    ) -> None:
        super().__init__(inputs, units, own="x")
        self.register_buffer("moves", torch.as_tensor(moves, dtype=torch.int64).reshape(-1).clone())
        self.register_buffer("where", torch.nonzero(self.moves)[:, 0], persistent=False)
        if shape is not None and math.prod(shape) != len(self.moves):
            raise ValueError(f"expected a shape of {len(self.moves)} elements, one for each of moves, got {shape}")
        self.network = network
        self.shift_bits = shift_bits
        self.shape = None if shape is None else tuple(shape)

    def see_on_grid(self, name: str, grid: Any) -> None:
        if name != "x":  # its own elements lie on the grid of no leaf
            super().see_on_grid(name, grid)

    def kept(self, flat: Tensor) -> Tensor:
        """What the network sees of items (n, D)."""
        kept = flat * (1 - self.moves)
        return kept if self.shape is None else kept.reshape(-1, *self.shape).permute(0, 3, 1, 2)

    def _flat(self, x: Tensor) -> Tensor:
        """Items (n, D) as floats of the network's precision."""
        flat = x.reshape(len(x), -1)
        weight = next(self.network.parameters(), None)
        return (
            flat if flat.is_floating_point() else flat.to(torch.get_default_dtype() if weight is None else weight.dtype)
        )

    def numbers(self, flat: Tensor, context: dict[str, Any]) -> tuple[Tensor, ...]:
        """``each`` tensors (n, D')."""
        out = self.network(self.kept(flat), *self.all_given(context, len(flat)))
        if self.shape is None:
            return out.reshape(len(flat), self.each, -1).unbind(1)
        height, width, channels = self.shape
        image = out.reshape(len(flat), self.each, channels, height, width).permute(0, 1, 3, 4, 2)
        return image.reshape(len(flat), self.each, -1)[:, :, self.where].unbind(1)

    def _moved(self, flat: Tensor, values: Tensor) -> Tensor:
        """flat (n, D) with values (n, D') for the elements that move."""
        return flat.index_copy(1, self.where, values.to(flat.dtype))


class AffineCoupling(_Coupling):
    """y = x exp(s) + t for the elements where ``moves`` is one; s and t from the others.

    The network gives log-scales in nats, clamped to +-``limit``, and shifts in units of 2^shift_bits grid steps.
    """

    each = 2
    spends = True
    limit = LOG_SCALE_LIMIT

    def _scale_and_shift(self, flat: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        scale, shift = self.numbers(flat, context)
        return scale.clamp(-self.limit, self.limit), shift * 2.0**self.shift_bits

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, Tensor]:
        flat = self._flat(x)
        scale, shift = self._scale_and_shift(flat, context)
        y = self._moved(flat, flat[:, self.where] * scale.exp() + shift)
        return y.reshape(x.shape), scale.sum(1)

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        flat = self._flat(y)
        scale, shift = self._scale_and_shift(flat, context)
        return self._moved(flat, (flat[:, self.where] - shift) * torch.exp(-scale)).reshape(y.shape)


class AdditiveCoupling(_Coupling):
    """y = x + round(t) modulo the alphabet for the elements where ``moves`` is one; t from the others.

    A bijection of the integers from ``low`` to ``low + symbols - 1``, so no volume changes and every item has a place.
    The network gives t in units of 2^shift_bits symbols. Gradients pass rounding and the modulus as if there were none
    (straight through).
    """

    each = 1

    def __init__(self, moves: Tensor, network: nn.Module, symbols: int, low: int = 0, **more: Any) -> None:
        super().__init__(moves, network, **more)
        self.symbols = symbols
        self.low = low

    def _shifted(self, x: Tensor, context: dict[str, Any], sign: int) -> Tensor:
        flat = self._flat(x)
        (shift,) = self.numbers(flat, context)
        shift = shift * 2.0**self.shift_bits
        shift = shift + (torch.floor(shift + 0.5) - shift).detach()
        moved = self.low + torch.remainder(flat[:, self.where] + sign * shift - self.low, self.symbols)
        return self._moved(flat, moved).reshape(x.shape)

    def determinant(self, x: Tensor, context: dict[str, Any]) -> tuple[Tensor, float]:
        return self._shifted(x, context, 1), 0.0

    def invert(self, y: Tensor, context: dict[str, Any]) -> Tensor:
        return self._shifted(y, context, -1)


class UniformCell:
    """Floating-point codec of ``laws.Cell`` and ``laws.Coarse``: uniform low bits."""

    def log_prob(self, x: Tensor, bits: int) -> Tensor:
        dims = x[0].numel() if len(x) else 0
        return torch.full((len(x),), -bits * 0.6931471805599453 * dims, device=x.device)

    def sample(self, x: Tensor, bits: int, generator: torch.Generator | None) -> Tensor:
        return (x << bits) + torch.randint(1 << bits, x.shape, generator=generator).to(x.device)

    def push(self, stack: Any, values: Tensor, bits: int) -> None:
        raise not_frozen()

    def pop(self, stack: Any, shape: tuple[int, ...], bits: int) -> Tensor:
        raise not_frozen()


def _by_channel(x: Tensor, channels: int) -> Tensor:
    return x.reshape(len(x), -1, channels)


def _real_type(x: Tensor, like: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else like.dtype


if TYPE_CHECKING:  # what laws ask of these classes, which mypy holds them to
    _steps: tuple[type[protocols.FloatStep[Tensor]], ...] = (
        GridOffset,
        Permutation,
        ChannelScale,
        AffineCoupling,
        AdditiveCoupling,
    )
    _low_bits: type[protocols.LowBits[Tensor]] = UniformCell
