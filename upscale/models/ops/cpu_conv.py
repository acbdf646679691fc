"""Convolution over time on a CPU, forwards and backwards, each in the form that is fastest there.

Shapes: B batch, T time, C channels in, O channels out, K taps. Frames are [B, T, C].

A convolution goes by blocks (`winograd.correlate`) where that takes half the multiplications, and by oneDNN otherwise.
But the weight gradient of a long kernel is oneDNN's slow path (no fast kernel beyond 14 taps), a tenth of the forward's
rate, and K matrix products over shifted views of the input run at half of it and more.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from upscale.models.ops.winograd import correlate, correlate_frames, share_of_work

OUTPUT_GAIN, WEIGHT_GAIN = 0.5, 0.75  # shares of the multiplications, below which `correlate` is faster than oneDNN


def pad(frames: Tensor, num_taps: int) -> Tensor:
    return F.pad(frames, (0, 0, (num_taps - 1) // 2, num_taps // 2))


def image_conv(padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Frames are a channels-last image of height 1 in memory, so that nothing is transposed."""
    image = padded.transpose(1, 2).unsqueeze(2)
    return F.conv2d(image, weight.unsqueeze(2), bias).squeeze(2).transpose(1, 2)


class SameConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        start = (weight.shape[-1] - 1) // 2
        work = share_of_work(frames, weight)
        ctx.by_blocks, ctx.weight_by_blocks = work < OUTPUT_GAIN, work < WEIGHT_GAIN
        if ctx.by_blocks:
            ctx.save_for_backward(frames, weight)
            return correlate(frames, weight, start, bias)
        padded = pad(frames, weight.shape[-1])
        ctx.save_for_backward(padded, weight)
        return image_conv(padded, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        frames, weight = ctx.saved_tensors  # padded ones where the forward pass was direct
        grad, num_taps = grad.contiguous(), weight.shape[-1]
        grad_frames = grad_weight = None
        if ctx.needs_input_grad[0] and ctx.by_blocks:
            grad_frames = correlate(grad, weight.flip(-1).transpose(0, 1), start=num_taps // 2)
        elif ctx.needs_input_grad[0]:
            grad_frames = data_gradient(grad, frames, weight)
        if ctx.needs_input_grad[1] and ctx.weight_by_blocks:
            grad_weight = correlate_frames(frames, grad, num_taps, start=(num_taps - 1) // 2 if ctx.by_blocks else 0)
        elif ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad, frames, num_taps)
        return grad_frames, grad_weight, grad.sum((0, 1)) if ctx.needs_input_grad[2] else None


def data_gradient(grad: Tensor, padded: Tensor, weight: Tensor) -> Tensor:
    """[B, T, O] -> [B, T, C]: oneDNN's own, which is fast in this layout."""
    images = (grad.transpose(1, 2).unsqueeze(2), padded.transpose(1, 2).unsqueeze(2), weight.unsqueeze(2))
    whole, _, _ = torch.ops.aten.convolution_backward(
        *images, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
    )
    before = (weight.shape[-1] - 1) // 2
    return whole.squeeze(2).transpose(1, 2)[:, before : before + grad.shape[1]]


def weight_gradient(grad: Tensor, padded: Tensor, num_taps: int) -> Tensor:
    """[B, T, O], [B, T + K - 1, C] -> [O, C, K]: per tap, the product of the gradient and the input shifted by it."""
    B, T, O = grad.shape  # noqa: E741
    C = padded.shape[-1]
    total = grad.new_zeros(num_taps, O, C)
    for clip in range(B):
        shifted = padded[clip].as_strided((num_taps, T, C), (C, C, 1))
        total.baddbmm_(grad[clip].t().expand(num_taps, O, T), shifted)
    return total.permute(1, 2, 0)
