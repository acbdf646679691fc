"""Long convolutions with fewer multiplications: short blocks, transformed, multiplied channel by channel, and back.

Shapes: B batch, T time, C channels in, O channels out, K taps. Frames are [B, T, C].

A block of N = 2K samples gives M = N - K + 1 outputs of a correlation with K taps. In the frequency domain that is one
complex product per frequency instead of K * M real ones per pair of channels. Written for real numbers, with three
real products for a complex one, a block is

    output = after @ ((before @ block) * (taps @ kernel))        R = 3K - 1 products: 47 instead of 272 for K = 16

where the products are a matrix product over channels. The transforms cost as much as 135 / C multiplications each, so
this pays from some 24 channels on; all of it is batched matrix products on views, at the rate of the machine.

Source: Winograd, "Arithmetic Complexity of Computations" (1980): a bilinear algorithm, here the discrete Fourier
transform, which is exact to rounding (a few 1e-6 of the output's own size in float32).
"""

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WORKING_SET = 2**18  # values of one transformed run of blocks: a core's own cache
MIN_BLOCKS = 16  # fewer do not repay the transform of the kernels


class Bilinear(NamedTuple):
    before: Tensor  # [R, N]
    taps: Tensor  # [R, K]
    after: Tensor  # [M, R]


@cache
def bilinear(num_taps: int, dtype: torch.dtype) -> Bilinear:
    """The three matrices for K taps. Product 0 is that of the blocks' sums: a constant added there is added to all."""
    N = 2 * num_taps
    times = torch.arange(N, dtype=torch.float64)
    angles = torch.arange(1, num_taps, dtype=torch.float64)[:, None] * times * (2 * math.pi / N)
    cos, sin = angles.cos(), angles.sin()
    ends = torch.stack([torch.ones_like(times), 1 - 2 * (times % 2)])  # the two frequencies that are real
    before = torch.cat([ends, cos, -sin, cos - sin])
    taps = torch.cat([ends, cos, sin, cos + sin])[:, :num_taps]
    after = torch.cat([ends, 2 * (cos + sin), 2 * (sin - cos), -2 * sin])[:, : N - num_taps + 1].t() / N
    return Bilinear(*(matrix.to(dtype).contiguous() for matrix in (before, taps, after)))


def share_of_work(frames: Tensor, weight: Tensor) -> float:
    """Multiplications of this form over those of the direct one; infinite where it cannot or should not be used."""
    O, C, K = weight.shape  # noqa: E741
    if frames.shape[1] < MIN_BLOCKS * (K + 1) or frames.dtype not in (torch.float32, torch.float64):
        return math.inf
    products, outputs = 3 * K - 1, K + 1
    return products * (2 * K * C + outputs * O + C * O) / (outputs * K * C * O)


def correlate(frames: Tensor, weight: Tensor, start: int, bias: Tensor | None = None) -> Tensor:
    """[B, T, C], [O, C, K] -> [B, T, O]: output t sums weight[k] * frames[t - start + k], with silence around."""
    (B, T, C), (O, _, K) = frames.shape, weight.shape  # noqa: E741
    matrices, size = bilinear(K, frames.dtype), K + 1
    R = len(matrices.before)
    kernels = (matrices.taps @ weight.permute(2, 1, 0).reshape(K, C * O)).view(R, C, O)
    num_blocks = -(-T // size)
    # A clip's last block may go on beyond its end, where the next clip then writes.
    output = frames.new_empty((B - 1) * T + num_blocks * size, O)
    run = max(WORKING_SET // (R * max(C, O)), 1)
    for clip in range(B):
        for first in range(0, num_blocks, run):
            n = min(run, num_blocks - first)
            blocks = overlapping(frames[clip], first * size - start, n, hop=size, size=2 * K)
            spectra = torch.bmm(matrices.before.expand(n, R, 2 * K), blocks)
            products = torch.bmm(spectra.transpose(0, 1), kernels)
            if bias is not None:
                products[0] += 2 * K * bias
            place = clip * T + first * size
            target = output[place : place + n * size].view(n, size, O)
            torch.bmm(matrices.after.expand(n, size, R), products.transpose(0, 1), out=target)
    return output[: B * T].view(B, T, O)


def correlate_frames(frames: Tensor, grad: Tensor, num_taps: int, start: int) -> Tensor:
    """[B, T, C], [B, T, O] -> [O, C, K], the gradient of `correlate` by its weight: the same steps transposed."""
    (B, T, C), O, K = frames.shape, grad.shape[-1], num_taps  # noqa: E741
    matrices, size = bilinear(K, frames.dtype), K + 1
    R = len(matrices.before)
    num_blocks = -(-T // size)
    total = frames.new_zeros(R, C, O)
    run = max(WORKING_SET // (R * max(C, O)), 1)
    for clip in range(B):
        for first in range(0, num_blocks, run):
            n = min(run, num_blocks - first)
            blocks = overlapping(frames[clip], first * size - start, n, hop=size, size=2 * K)
            wanted = overlapping(grad[clip], first * size, n, hop=size, size=size)
            spectra = torch.bmm(matrices.before.expand(n, R, 2 * K), blocks)
            errors = torch.bmm(matrices.after.t().expand(n, R, size), wanted)
            total.baddbmm_(spectra.permute(1, 2, 0), errors.transpose(0, 1))
    return (matrices.taps.t() @ total.view(R, C * O)).view(K, C, O).permute(2, 1, 0)


def overlapping(clip: Tensor, start: int, count: int, hop: int, size: int) -> Tensor:
    """[T, C] -> [count, size, C], blocks from `start` on, `hop` apart; silence before the first and after the last."""
    T, C = clip.shape
    stop = start + (count - 1) * hop + size
    if start < 0 or stop > T:
        clip = F.pad(clip[max(start, 0) : stop], (0, 0, max(-start, 0), max(stop - T, 0)))
        start = 0
    row = clip.stride(0)
    return clip.as_strided((count, size, C), (hop * row, row, 1), clip.storage_offset() + start * row)
