"""Causal convolutions: each pixel sees earlier pixels of the raster order, and of itself what the degrees allow.

Van den Oord, Kalchbrenner, Kavukcuoglu (2016), "Pixel recurrent neural networks", with masks from degrees as in
``networks.masked``: channel c of the input has degree c + 1, hidden channels and parameters of channel c have degree
c at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CausalConv2d(nn.Module):
    """A convolution with kernel (kh, kw) whose tap (a, b) looks at the pixel (a + offset[0], b + offset[1]) away.

    in_degrees (in,), out_degrees (out,): of the channels. Taps on earlier pixels are open, on later ones closed; the
    tap on the pixel itself is open where the input's degree is at most the output's. Pixels outside count as zero.
    """

    in_degrees: Tensor
    out_degrees: Tensor
    mask: Tensor

    def __init__(
        self,
        in_degrees: Tensor,
        out_degrees: Tensor,
        kernel: tuple[int, int] = (3, 3),
        offset: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("in_degrees", torch.as_tensor(in_degrees, dtype=torch.int64).clone())
        self.register_buffer("out_degrees", torch.as_tensor(out_degrees, dtype=torch.int64).clone())
        self.kernel = kernel
        self.offset = (-(kernel[0] - 1), -(kernel[1] // 2)) if offset is None else offset
        shape = (len(self.out_degrees), len(self.in_degrees), *kernel)
        self.register_buffer("mask", self._mask(shape), persistent=False)
        seen = self.mask.flatten(1).sum(1).clamp_min(1)
        self.weight = nn.Parameter(torch.randn(shape) / seen.sqrt()[:, None, None, None])
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def _mask(self, shape: tuple[int, ...]) -> Tensor:
        here = self.in_degrees[None, :] <= self.out_degrees[:, None]
        mask = torch.zeros(shape, dtype=torch.bool)
        for a in range(shape[2]):
            for b in range(shape[3]):
                dy, dx = a + self.offset[0], b + self.offset[1]
                if (dy, dx) == (0, 0):
                    mask[:, :, a, b] = here
                else:
                    mask[:, :, a, b] = dy < 0 or (dy == 0 and dx < 0)
        return mask

    def masked_weight(self) -> Tensor:
        return self.weight.masked_fill(~self.mask, 0.0)

    def forward(self, x: Tensor) -> Tensor:  # (n, in, H, W) -> (n, out, H, W)
        (kh, kw), (top, left) = self.kernel, self.offset
        bottom, right = top + kh - 1, left + kw - 1  # how far the last taps lie behind the pixel; negative before it
        height, width = x.shape[2:]
        # Pixel (r, c) of the result looks at rows r + top to r + bottom and columns c + left to c + right.
        x = nn.functional.pad(x, (max(-left, 0), max(right, 0), max(-top, 0), max(bottom, 0)))
        row, column = max(top, 0), max(left, 0)
        x = x[:, :, row : row + height + kh - 1, column : column + width + kw - 1]
        return nn.functional.conv2d(x, self.masked_weight(), self.bias)

    def extra_repr(self) -> str:
        return f"{len(self.in_degrees)} -> {len(self.out_degrees)}, kernel={self.kernel}, offset={self.offset}"
