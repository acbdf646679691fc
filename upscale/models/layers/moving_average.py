"""Averages over neighbouring frames and bins, and the level of a spectrum around each frame.

Shapes: B clips, C channels, F bins, N frames.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

RELATIVE_FLOOR = 1e-9  # of the level around a frame: what is 90 dB below it does not matter
SILENT_POWER = 1e-10  # power per bin below which a passage counts as silent
LONG_WINDOW = 64  # frames from which on sums of sums are faster than pooling


def moving_average(values: Tensor, half_width: int) -> Tensor:
    """Mean over `half_width` frames on both sides, of those that exist: [B, C, N] -> [B, C, N]."""
    width = 2 * half_width + 1
    if width < LONG_WINDOW:
        return F.avg_pool1d(values, width, stride=1, padding=half_width, count_include_pad=False)
    padding = half_width, half_width
    count = moving_sum(F.pad(torch.ones_like(values[:1, :1]), padding), width)
    return moving_sum(F.pad(values, padding), width) / count


def moving_sum(values: Tensor, width: int) -> Tensor:
    """Sums of `width` neighbours, [..., N] -> [..., N - width + 1]: of 1, of 2, of 4 and so on, in few passes."""
    num_sums = values.shape[-1] - width + 1
    parts, first, size = [], 0, 1
    while True:
        if width & size:
            parts.append(values.narrow(-1, first, num_sums))
            first += size
        if 2 * size > width:
            return reduce(torch.add, parts)
        values = values[..., :-size] + values[..., size:]
        size *= 2


def frame_level(power: Tensor, half_width: int) -> Tensor:
    """Mean power per bin in the frames around each frame: [B, C, F, N] -> [B, 1, 1, N]."""
    return moving_average(power.mean(dim=(1, 2))[:, None], half_width)[:, :, None]


def local_average(values: Tensor) -> Tensor:
    """Mean over 5 bins and 5 frames: [B, C, F, N] -> [B, C, F, N]."""
    return F.avg_pool2d(values, 5, stride=1, padding=2)
