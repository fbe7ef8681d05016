"""Masked layers: dense networks whose dependencies are fixed by degrees.

One rule everywhere (MADE, Germain et al. 2015, equations 8 and 9, with degrees shifted so that one sign serves
all layers): a unit of degree d may look at units of degree at most d. The input at position i of the schedule has
degree i + 1 and the parameters of position t have degree t, so they depend on positions 0 .. t - 1 and on nothing
else. A hidden unit has a degree from 0 (sees only biases) to D - 1.

Where units lie in order of degree a mask is a staircase. The products are then evaluated in a few blocks of rows
that read only the prefix of inputs which their mask lets through, forward and backward: about 40% fewer
multiplications than the dense product, with the same result up to the order of summation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Four blocks measure best at a thousand units: more would save operations and lose them to smaller products.
STAIRS = 4
# Below this many weights the bookkeeping of blocks costs more than it saves.
SMALL = 1 << 17


class _StaircaseProduct(torch.autograd.Function):
    """x (n, in) @ (weight * mask).T + bias, evaluated block by block.

    `masked` (out, in) is a buffer for weight * mask; only what the blocks read is ever written. It is kept by the
    layer, because fresh memory of this size costs more (in page faults) than filling it.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mask, masked, rows):
        y = x.new_empty(x.shape[0], weight.shape[0])
        for start, stop, full, end in rows:
            masked[start:stop, :full] = weight[start:stop, :full]
            torch.mul(weight[start:stop, full:end], mask[start:stop, full:end], out=masked[start:stop, full:end])
            torch.mm(x[:, :end], masked[start:stop, :end].t(), out=y[:, start:stop])
        if bias is not None:
            y += bias
        ctx.save_for_backward(x, masked, mask)
        ctx.rows, ctx.has_bias = rows, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, masked, mask = ctx.saved_tensors
        gradient = gradient.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # What block i reads beyond block i - 1 is read by all rows from its start on, and by no row above.
            grad_x = torch.empty_like(x)
            read = 0
            for start, _, _, end in ctx.rows:
                if end > read:
                    torch.mm(gradient[:, start:], masked[start:, read:end], out=grad_x[:, read:end])
                    read = end
            grad_x[:, read:] = 0
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(masked)
            for start, stop, full, end in ctx.rows:
                torch.mm(gradient[:, start:stop].t(), x[:, :end], out=grad_weight[start:stop, :end])
                grad_weight[start:stop, full:end] *= mask[start:stop, full:end]
                grad_weight[start:stop, end:] = 0
        if ctx.has_bias:
            grad_bias = gradient.sum(0)
        return grad_x, grad_weight, grad_bias, None, None, None


class MaskedLinear(nn.Module):
    """A linear layer that sees, for each output, only the inputs whose degree is at most the output's.

    in_degrees (in,), out_degrees (out,): integers. weight (out, in) is stored unmasked; only `masked_weight()`
    ever takes part in a product.
    """

    in_degrees: Tensor
    out_degrees: Tensor

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, bias: bool = True):
        super().__init__()
        self.register_buffer("in_degrees", torch.as_tensor(in_degrees, dtype=torch.int64).clone())
        self.register_buffer("out_degrees", torch.as_tensor(out_degrees, dtype=torch.int64).clone())
        self.weight = nn.Parameter(torch.empty(len(self.out_degrees), len(self.in_degrees)))
        self.bias = nn.Parameter(torch.zeros(len(self.out_degrees))) if bias else None
        self.register_load_state_dict_post_hook(lambda module, _: module.derive())
        self.derive()
        self.reset_parameters()

    @property
    def mask(self) -> Tensor:
        """Which input each output may see, (out, in) booleans."""
        return self.in_degrees[None, :] <= self.out_degrees[:, None]

    def set_degrees(self, in_degrees: Tensor, out_degrees: Tensor) -> None:
        """Put the layer under another mask; its weights stay."""
        self.in_degrees.copy_(in_degrees)
        self.out_degrees.copy_(out_degrees)
        self.derive()

    def derive(self) -> None:
        """Find the blocks of the staircase anew; to be called when the degrees have changed."""
        # Output rows start .. stop read all of the inputs 0 .. full and some of full .. end.
        self.rows: list[tuple[int, int, int, int]] = []
        self._mask = self._masked = torch.empty(0)
        if self.weight.is_meta:  # of a model that only says how large it is
            return
        ordered = bool((self.in_degrees.diff() >= 0).all() and (self.out_degrees.diff() >= 0).all())
        if not ordered or self.weight.numel() < SMALL:
            return
        mask = self.mask
        seen = mask.sum(1).tolist()  # inputs seen by each output: a prefix, since both sides are in order
        edges = [mask.shape[0] * i // STAIRS for i in range(STAIRS + 1)]
        self.rows = [(a, b, seen[a], seen[b - 1]) for a, b in zip(edges, edges[1:])]
        self._mask = mask.float()

    def reset_parameters(self, gain: float = 1.0, generator: torch.Generator | None = None) -> None:
        """Normal weights of variance gain^2 / (inputs seen), output by output; biases zero."""
        if self.weight.is_meta:
            return
        with torch.no_grad():
            mask = self.mask
            scale = gain / mask.sum(1, keepdim=True).clamp_min(1).sqrt()
            self.weight.normal_(generator=generator).mul_(scale).mul_(mask)
            if self.bias is not None:
                self.bias.zero_()

    def masked_weight(self) -> Tensor:
        """weight * mask, (out, in)."""
        return self.weight.masked_fill(~self.mask, 0.0)

    def forward(self, x: Tensor) -> Tensor:  # (n, in) -> (n, out)
        plain = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        if self.rows and plain and not torch.is_autocast_enabled("cpu"):
            if self._masked.shape != self.weight.shape:
                self._masked = torch.empty_like(self.weight.detach())
            return _StaircaseProduct.apply(x, self.weight, self.bias, self._mask, self._masked, self.rows)
        return nn.functional.linear(x, self.masked_weight(), self.bias)

    def extra_repr(self) -> str:
        return f"{len(self.in_degrees)} -> {len(self.out_degrees)}, bias={self.bias is not None}"


class IndexBias(nn.Module):
    """A learned bias for each value of an index that is made of one or more factors (mixed radix, last fastest).

    With factors (8, 9) the bias of index k is the sum of row k // 9 of one table and row k % 9 of another.
    """

    def __init__(self, factors: Sequence[int], units: int):
        super().__init__()
        self.factors = tuple(factors)
        self.tables = nn.ParameterList([nn.Parameter(torch.zeros(size, units)) for size in self.factors])

    def forward(self, index: Tensor) -> Tensor:  # (n,) int64 -> (n, units)
        rows = []
        for table in reversed(list(self.tables)):
            rows.append(nn.functional.embedding(index % len(table), table))
            index = index // len(table)
        return sum(rows[1:], rows[0])

    def table(self) -> Tensor:
        """The biases of all indices, (K, units)."""
        return self(torch.arange(math.prod(self.factors), device=self.tables[0].device))


class InputScale(nn.Module):
    """x -> (x - offset) * 2^-scale_bits: integers brought near [-1, 1] by a map that integers can repeat."""

    def __init__(self, offset: int, scale_bits: int):
        super().__init__()
        self.offset = offset
        self.scale_bits = scale_bits

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.offset) * 2.0**-self.scale_bits

    def extra_repr(self) -> str:
        return f"offset={self.offset}, scale_bits={self.scale_bits}"


def symbol_scale(symbols: int) -> tuple[int, int] | None:
    """Offset and scale_bits of an ``InputScale`` that brings 0 .. symbols - 1 to about -1 .. 1; None for zeros and
    ones, which are fine as they are."""
    bits = (symbols - 1).bit_length() - 1
    return None if symbols == 2 else (1 << bits, bits)


def symbol_scaling(symbols: int) -> nn.Module:
    """``symbol_scale`` as a layer."""
    scale = symbol_scale(symbols)
    return nn.Identity() if scale is None else InputScale(*scale)


class MaskedResidualBlock(nn.Module):
    """h + W2 relu(W1 relu(h)), all units keeping their degrees. Starts as the identity."""

    def __init__(self, degrees: Tensor, dropout: float = 0.0):
        super().__init__()
        self.first = MaskedLinear(degrees, degrees)
        self.second = MaskedLinear(degrees, degrees)
        self.dropout = dropout

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self.first.reset_parameters(math.sqrt(2), generator)
        self.second.reset_parameters(0.0, generator)

    def set_degrees(self, degrees: Tensor) -> None:
        self.first.set_degrees(degrees, degrees)
        self.second.set_degrees(degrees, degrees)

    def forward(self, h: Tensor) -> Tensor:  # (n, hidden) -> (n, hidden)
        update = torch.relu(self.first(torch.relu(h)))
        if self.training and self.dropout:
            update = nn.functional.dropout(update, self.dropout)
        return h + self.second(update)


class MaskedMLP(nn.Module):
    """The parameters of every position from the positions before it, in one pass.

    input_degrees (D,), output_degrees (D,): of the inputs, and of the positions whose parameters come out; i + 1 and
    i for inputs in the order of the schedule. hidden_degrees: one vector per hidden layer, or one in all when
    `residual_blocks` > 0. `parameters_each`: outputs per position. `direct`: connections from the inputs to the
    outputs, added to the parameters themselves. `orders`: factors of the index that selects learned biases of the
    first layer and the outputs; `labels`: the same for a label.
    """

    def __init__(
        self,
        input_degrees: Tensor,
        output_degrees: Tensor,
        hidden_degrees: Sequence[Tensor],
        parameters_each: int,
        *,
        residual_blocks: int = 0,
        direct: bool = True,
        dropout: float = 0.0,
        orders: Sequence[int] = (),
        labels: int = 0,
        scale: tuple[int, int] | None = None,
    ):
        super().__init__()
        if residual_blocks and len(hidden_degrees) != 1:
            raise ValueError("a residual network has one vector of hidden degrees, shared by all its blocks")
        self.positions = len(output_degrees)
        self.parameters_each = parameters_each
        self.dropout = dropout
        # Parameters of one position side by side.
        outputs = torch.as_tensor(output_degrees, dtype=torch.int64).repeat_interleave(parameters_each)
        sizes = [len(degrees) for degrees in hidden_degrees]
        self.scale = InputScale(*scale) if scale is not None else None
        self.input = MaskedLinear(input_degrees, hidden_degrees[0])
        self.hidden = nn.ModuleList([MaskedLinear(a, b) for a, b in zip(hidden_degrees, hidden_degrees[1:])])
        self.blocks = nn.ModuleList([MaskedResidualBlock(hidden_degrees[0], dropout) for _ in range(residual_blocks)])
        self.output = MaskedLinear(hidden_degrees[-1], outputs)
        self.direct = MaskedLinear(input_degrees, outputs, bias=False) if direct else None
        self.order_input = IndexBias(orders, sizes[0]) if orders else None
        self.order_output = IndexBias(orders, len(outputs)) if orders else None
        self.label_input = IndexBias([labels], sizes[0]) if labels else None
        self.label_output = IndexBias([labels], len(outputs)) if labels else None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights. Parameters start at the output bias, whatever the input."""
        self.input.reset_parameters(1.0, generator)
        for layer in self.hidden:
            layer.reset_parameters(math.sqrt(2), generator)  # type: ignore[operator]
        for block in self.blocks:
            block.reset_parameters(generator)  # type: ignore[operator]
        self.output.reset_parameters(0.0, generator)
        if self.direct is not None:
            self.direct.reset_parameters(0.0, generator)

    def set_degrees(self, input_degrees: Tensor, output_degrees: Tensor, hidden_degrees: Sequence[Tensor]) -> None:
        """Put the network under other masks; its weights stay."""
        outputs = output_degrees.repeat_interleave(self.parameters_each)
        self.input.set_degrees(input_degrees, hidden_degrees[0])
        for layer, below, above in zip(self.hidden, hidden_degrees, hidden_degrees[1:]):
            layer.set_degrees(below, above)  # type: ignore[operator]
        for block in self.blocks:
            block.set_degrees(hidden_degrees[0])  # type: ignore[operator]
        self.output.set_degrees(hidden_degrees[-1], outputs)
        if self.direct is not None:
            self.direct.set_degrees(input_degrees, outputs)

    def forward(self, x: Tensor, index: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        # x (n, D) -> (n, D, parameters_each); index (n,) and label (n,) where the network knows them
        if self.scale is not None:
            x = self.scale(x)
        h = self.input(x)  # (n, hidden)
        if self.order_input is not None:
            h = h + self.order_input(index)
        if self.label_input is not None:
            h = h + self.label_input(label)
        for block in self.blocks:
            h = block(h)
        h = self._activate(h)
        for layer in self.hidden:
            h = self._activate(layer(h))
        out = self.output(h)  # (n, D * parameters_each)
        if self.direct is not None:
            out = out + self.direct(x)
        if self.order_output is not None:
            out = out + self.order_output(index)
        if self.label_output is not None:
            out = out + self.label_output(label)
        return out.reshape(-1, self.positions, self.parameters_each)

    @torch.no_grad()
    def fixed_order(self, order: Tensor, index: int) -> MaskedMLP:
        """This network, changed to read and write elements where they lie, under one order and one index for good.

        order (D,): the element that stood at each position so far. The biases of the index are added to the others.
        """
        rank = torch.argsort(order)  # the position of each element
        each = self.parameters_each
        rows = (rank[:, None] * each + torch.arange(each)).reshape(-1)  # the output that each new output was
        assert self.input.bias is not None and self.output.bias is not None
        if self.order_input is not None and self.order_output is not None:
            self.input.bias.add_(self.order_input.table()[index])
            self.output.bias.add_(self.order_output.table()[index])
        self.order_input = self.order_output = None
        self.input.weight.copy_(self.input.weight[:, rank].clone())
        self.output.weight.copy_(self.output.weight[rows].clone())
        self.output.bias.copy_(self.output.bias[rows].clone())
        self.input.set_degrees(self.input.in_degrees[rank].clone(), self.input.out_degrees)
        self.output.set_degrees(self.output.in_degrees, self.output.out_degrees[rows].clone())
        if self.direct is not None:
            self.direct.weight.copy_(self.direct.weight[rows][:, rank].clone())
            self.direct.set_degrees(self.direct.in_degrees[rank].clone(), self.direct.out_degrees[rows].clone())
        if self.label_output is not None:
            for table in self.label_output.tables:
                table.copy_(table[:, rows].clone())
        return self

    def _activate(self, h: Tensor) -> Tensor:
        h = torch.relu(h)
        if self.training and self.dropout:
            h = nn.functional.dropout(h, self.dropout)
        return h
