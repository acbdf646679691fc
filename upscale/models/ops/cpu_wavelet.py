"""Wavelet transforms of signals that lie in memory sample after sample, [B, C, T] contiguous, as matrix products.

Shapes: B batch, C channels, T samples, N coefficients per band, L filter taps, M coefficients of a block.

A block of 2M samples and its neighbours, times a banded matrix of the filters, is M coefficients of each band; and the
transposed matrix gives the samples back. Most of the matrix is zeros, and still it is faster than a convolution with a
handful of taps, which leaves a CPU's multipliers idle. A few rows at a time stay in the cache from copy to copy.

`analyse_rows` and `synthesise_rows` with one `crop` are each other's transpose, so each is the other's gradient.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 16  # M
RUN = 2**17  # samples that are worked on at a time


def analyse_rows(wav: Tensor, filters: Tensor, crop: int, num_coefficients: int) -> Tensor:
    """[B, C, T] -> [B, 2C, N]: coefficient k sums tap[j] * wav[2k + j - crop]."""
    (B, C, T), N, L = wav.shape, num_coefficients, filters.shape[-1]
    bands = wav.new_empty(B, 2, C, N)
    count, size = -(-N // BLOCK), 2 * BLOCK + L - 2
    matrices = banded(filters, torch.arange(size)[:, None] - 2 * torch.arange(BLOCK))
    step = max(RUN // T, 1)
    for clip in range(B):
        for first in range(0, C, step):
            pieces = windows(wav[clip, first : first + step], -crop, count, size, hop=2 * BLOCK)
            for band, matrix in zip(bands[clip], matrices, strict=True):
                band[first : first + step] = (pieces @ matrix).view(-1, count * BLOCK)[:, :N]
    return bands.view(B, 2 * C, N)


def synthesise_rows(bands: Tensor, filters: Tensor, crop: int, length: int) -> Tensor:
    """[B, 2C, N] -> [B, C, T]: sample t sums tap[j] * coefficient k of both bands where 2k + j = t + crop."""
    (B, channels, N), L, T = bands.shape, filters.shape[-1], length
    C = channels // 2
    wav = bands.new_empty(B, C, T)
    start = (crop - L + 2) // 2  # the first coefficient that the first sample hears
    count, size = -(-T // (2 * BLOCK)), (2 * BLOCK + L) // 2
    low, high = banded(filters, torch.arange(2 * BLOCK) + crop - 2 * (start + torch.arange(size)[:, None]))
    step = max(RUN // T, 1)
    for clip, (approx, detail) in enumerate(bands.view(B, 2, C, N)):
        for first in range(0, C, step):
            place = slice(first, first + step)
            pieces = windows(approx[place], start, count, size, hop=BLOCK) @ low
            pieces.addmm_(windows(detail[place], start, count, size, hop=BLOCK), high)
            wav[clip, place] = pieces.view(-1, count * 2 * BLOCK)[:, :T]
    return wav


def banded(filters: Tensor, taps: Tensor) -> Tensor:
    """[2, L] and the numbers of taps, [rows, columns] -> [2, rows, columns]; zero where there is no such tap."""
    last = filters.shape[-1] - 1
    return filters[:, taps.clamp(0, last)] * ((taps >= 0) & (taps <= last))


def windows(rows: Tensor, start: int, count: int, size: int, hop: int) -> Tensor:
    """[R, T] -> [R * count, size]: pieces from sample `start` on, `hop` apart, with zeros around."""
    R, T = rows.shape
    stop = start + (count - 1) * hop + size
    padded = rows.new_zeros(R, stop - start)
    first, last = max(start, 0), min(stop, T)
    padded[:, first - start : last - start] = rows[:, first:last]
    return padded.unfold(-1, size, hop).reshape(R * count, size)


class AnalyseRows(torch.autograd.Function):
    """wav, filters, crop, N -> bands; no gradient by the filters."""

    @staticmethod
    def forward(ctx: Any, wav: Tensor, filters: Tensor, crop: int, num_coefficients: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.crop, ctx.length = crop, wav.shape[-1]
        return analyse_rows(wav, filters, crop, num_coefficients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return synthesise_rows(grad.contiguous(), ctx.saved_tensors[0], ctx.crop, ctx.length), None, None, None


class SynthesiseRows(torch.autograd.Function):
    """bands, filters, crop, T -> wav; no gradient by the filters."""

    @staticmethod
    def forward(ctx: Any, bands: Tensor, filters: Tensor, crop: int, length: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.crop, ctx.num_coefficients = crop, bands.shape[-1]
        return synthesise_rows(bands, filters, crop, length)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return analyse_rows(grad.contiguous(), ctx.saved_tensors[0], ctx.crop, ctx.num_coefficients), None, None, None
