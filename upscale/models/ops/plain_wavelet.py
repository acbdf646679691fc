"""Wavelet transforms as PyTorch's own convolutions: any device, any layout, gradients by everything.

Shapes: B batch, C channels, T samples, N coefficients per band, L filter taps.

As an image of height 1 the signal may lie in memory with channels first or last, and the bands lie alike.
"""

import torch.nn.functional as F
from torch import Tensor


def analyse_by_conv(wav: Tensor, filters: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """[B, C, T] with zeros before and after, correlated with filters [2, L], every second value: two [B, C, N]."""
    C, image = wav.shape[1], wav.unsqueeze(2)
    if before != after:
        image = F.pad(image, (0, after - before))
    weights = (taps.expand(C, 1, 1, -1) for taps in filters)
    approx, detail = (F.conv2d(image, taps, stride=(1, 2), padding=(0, before), groups=C) for taps in weights)
    return approx.squeeze(2), detail.squeeze(2)


def synthesise_by_conv(bands: Tensor, filters: Tensor, crop: int) -> Tensor:
    """The transpose: bands [B, 2C, N] -> [B, C, 2N + L - 2 - 2 * crop]."""
    C = bands.shape[1] // 2
    taps = filters[:, None].expand(2, C, -1).reshape(2 * C, 1, 1, -1)
    both = F.conv_transpose2d(bands.unsqueeze(2), taps, stride=(1, 2), padding=(0, crop), groups=2 * C).squeeze(2)
    return both[:, :C] + both[:, C:]
