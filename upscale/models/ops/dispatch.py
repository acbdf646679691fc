"""The operations that fill nearly all of a training step, in the form that is fastest where they run.

Shapes: B batch, T time, C channels in, O channels out, K taps. Frames are [B, T, C].

PyTorch's own operations compute the same, and are used under autocast and while a model is compiled or exported. A GPU
has forms of its own (`fused`). On a CPU a convolution is one of three: by blocks (`correlate`) where that takes half
the multiplications, oneDNN's otherwise; but the weight gradient of a long kernel is oneDNN's slow path (no fast kernel
beyond 14 taps), a tenth of the forward's rate, and K matrix products over shifted views of the input run at half of it
and more.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from upscale.models.ops import fused
from upscale.models.ops.blocked_conv import conv_in_blocks
from upscale.models.ops.pointwise import GatePair, NormGelu, plain_gate_pair, plain_norm_gelu
from upscale.models.ops.winograd import correlate, correlate_frames, share_of_work

OUTPUT_GAIN, WEIGHT_GAIN = 0.5, 0.75  # shares of the multiplications, below which `correlate` is faster than oneDNN


def same_conv(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, T, C], [O, C, K] -> [B, T, O]. An even kernel pads (K-1)//2 before and K//2 after, as Keras' 'same'."""
    if fused.runs_fused(frames):
        return conv_in_blocks(frames, weight, bias)
    if runs_plain(frames):
        return image_conv(pad(frames, weight.shape[-1]), weight, bias)
    return SameConv.apply(frames, weight, bias)


def norm_gelu(frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """[B, T, C] -> [B, T, C]: LayerNorm over channels, then GELU (tanh form)."""
    return (plain_norm_gelu if runs_plain(frames) else NormGelu.apply)(frames, weight, bias, eps)


def gate_pair(x: Tensor, x_conv: Any, y: Tensor, y_conv: Any, norm: nn.LayerNorm | None = None) -> Tensor:
    """[B, T, C] twice -> [B, T, 2C]: each times a sigmoid of its own 1x1 convolution, then LayerNorm over all."""
    last = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    gates = (x, x_conv.weight[..., 0], x_conv.bias, y, y_conv.weight[..., 0], y_conv.bias)
    if fused.runs_fused(x):
        return fused.FusedGatePair.apply(*gates, *last)
    return (plain_gate_pair if runs_plain(x) else GatePair.apply)(*gates, *last)


def runs_plain(frames: Tensor) -> bool:
    on_cpu = frames.device.type == "cpu"
    return not on_cpu or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")


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
