"""Wavelet transforms for GPUs, a single pass over memory each: of the frames inside the models, and of channels.

Shapes: B batch, T samples, C channels, N coefficients per band, L filter taps. Frames are [B, T, C].

What analyses and what synthesises are each other's transpose, so each is the other's gradient.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from upscale.models.ops import fused

MOST_CLIPS = 65_535  # that a grid of programs counts beside their rows


class FusedAnalyse(torch.autograd.Function):
    """frames [B, T, C], filters [2, L], crop, N -> approx, detail [B, N, C]; no gradient by the filters."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, filters: Tensor, crop: int, num_coefficients: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(filters)
        ctx.crop, ctx.length = crop, frames.shape[1]
        frames = frames.contiguous()
        approx, detail = (frames.new_empty(len(frames), num_coefficients, frames.shape[2]) for _ in range(2))
        launch_analyse(frames, None, filters, approx, detail, crop)
        return approx, detail

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, approx: Tensor, detail: Tensor) -> fused.Gradients:
        frames = approx.new_empty(len(approx), ctx.length, approx.shape[2])
        approx, detail = approx.contiguous(), detail.contiguous()
        launch_synthesise(approx, detail, ctx.saved_tensors[0], frames, None, ctx.crop)
        return frames, None, None, None


class FusedSynthesise(torch.autograd.Function):
    """bands [B, N, 2C] (C of approx, then C of detail), filters, crop, T -> the halves of the channels [B, T, C / 2].

    There is no gradient by the filters.
    """

    @staticmethod
    def forward(ctx: Any, bands: Tensor, filters: Tensor, crop: int, length: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(filters)
        ctx.crop, ctx.shape = crop, bands.shape
        bands, C = bands.contiguous(), bands.shape[2] // 2
        first, second = bands.new_empty(len(bands), length, C // 2), bands.new_empty(len(bands), length, C - C // 2)
        launch_synthesise(bands, bands[..., C:], filters, first, second, crop)
        return first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, first: Tensor, second: Tensor) -> fused.Gradients:
        bands = first.new_empty(ctx.shape)
        C = bands.shape[2] // 2
        first, second = first.contiguous(), second.contiguous()
        launch_analyse(first, second, ctx.saved_tensors[0], bands, bands[..., C:], ctx.crop)
        return bands, None, None, None


class FusedSynthesiseApart(torch.autograd.Function):
    """approx, detail [B, N, C], filters, crop, T -> frames [B, T, C]; no gradient by the filters."""

    @staticmethod
    def forward(ctx: Any, approx: Tensor, detail: Tensor, filters: Tensor, crop: int, length: int) -> Tensor:
        ctx.save_for_backward(filters)
        ctx.crop, ctx.num_coefficients = crop, approx.shape[1]
        frames = approx.new_empty(len(approx), length, approx.shape[2])
        launch_synthesise(approx.contiguous(), detail.contiguous(), filters, frames, None, crop)
        return frames

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> fused.Gradients:
        approx, detail = (grad.new_empty(len(grad), ctx.num_coefficients, grad.shape[2]) for _ in range(2))
        launch_analyse(grad.contiguous(), None, ctx.saved_tensors[0], approx, detail, ctx.crop)
        return approx, detail, None, None, None


def launch_analyse(
    first: Tensor, second: Tensor | None, filters: Tensor, approx: Tensor, detail: Tensor, crop: int
) -> None:
    (B, T, half), N = first.shape, approx.shape[1]
    sizes = band_tile(half, split=second is not None)
    fused.kernels.analyse[(fused.num_tiles(N, sizes), B)](
        first, second, filters, approx, detail, T, N, crop, TAPS=filters.shape[-1], SPLIT=second is not None, **sizes
    )


def launch_synthesise(
    approx: Tensor, detail: Tensor, filters: Tensor, first: Tensor, second: Tensor | None, crop: int
) -> None:
    (B, T, half), N = first.shape, approx.shape[1]
    sizes = band_tile(half, split=second is not None)
    fused.kernels.synthesise[(fused.num_tiles(T, sizes), B)](
        approx, detail, filters, first, second, T, N, crop, TAPS=filters.shape[-1], SPLIT=second is not None, **sizes
    )


def band_tile(half: int, split: bool) -> dict[str, int]:
    """As `fused.tile`, but the channels are counted as those of a half."""
    sizes, counted = fused.tile(half * (1 + split), num_buffers=2), fused.tile(half)
    return {**sizes, "units": counted["units"], "ALIGN": counted["ALIGN"]}


def analyse_channels(wav: Tensor, filters: Tensor) -> Tensor:
    """[B, C, T] -> [B, 2C, N] of the ``zero`` extension, each channel a clip of its own with one."""
    B, C, T = wav.shape
    num_coefficients = (T + filters.shape[-1] - 1) // 2
    bands = FusedAnalyse.apply(wav.reshape(B * C, T, 1), filters, filters.shape[-1] - 2, num_coefficients)
    return torch.cat([band.view(B, C, num_coefficients) for band in bands], dim=1)


def synthesise_channels(bands: Tensor, filters: Tensor, length: int) -> Tensor:
    """Its inverse, [B, 2C, N] -> [B, C, T]."""
    B, C, N = len(bands), bands.shape[1] // 2, bands.shape[-1]
    approx, detail = (band.reshape(B * C, N, 1) for band in bands.chunk(2, dim=1))
    frames = FusedSynthesiseApart.apply(approx, detail, filters, filters.shape[-1] - 2, length)
    return frames.view(B, C, length)
