"""The two operations that fill nearly all of a training step, written for the speed of a CPU.

Shapes: B batch, T time, C channels in, O channels out, K taps. Frames are [B, T, C].

PyTorch's own operations compute the same; these are faster on a CPU and keep fewer activations for the way back:

- The weight gradient of a long kernel is oneDNN's slow path (no fast kernel beyond 14 taps): a tenth of the forward's
  rate. As K matrix products over shifted views of the input it runs at half of it and more.
- GELU through tanh costs four times what the same formula costs through a sigmoid,
  gelu(z) = z * sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3)); what LayerNorm gave is computed again on the way back.

The plain operations are used on other devices and under autocast, and while a model is being exported.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CUBIC = 0.044715
SCALE = 2 * math.sqrt(2 / math.pi)


def same_conv(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, T, C], [O, C, K] -> [B, T, O]. An even kernel pads (K-1)//2 before and K//2 after, as Keras' 'same'."""
    if runs_plain(frames):
        return image_conv(pad(frames, weight.shape[-1]), weight, bias)
    return SameConv.apply(frames, weight, bias)


def norm_gelu(frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """[B, T, C] -> [B, T, C]: LayerNorm over channels, then GELU (tanh form)."""
    if runs_plain(frames):
        return F.gelu(F.layer_norm(frames, weight.shape, weight, bias, eps), approximate="tanh")
    return NormGelu.apply(frames, weight, bias, eps)


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
        padded = pad(frames, weight.shape[-1])
        ctx.save_for_backward(padded, weight)
        return image_conv(padded, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        padded, weight = ctx.saved_tensors
        grad = grad.contiguous()
        needs_frames, needs_weight, needs_bias = ctx.needs_input_grad
        grad_frames = data_gradient(grad, padded, weight) if needs_frames else None
        grad_weight = weight_gradient(grad, padded, num_taps=weight.shape[-1]) if needs_weight else None
        return grad_frames, grad_weight, grad.sum((0, 1)) if needs_bias else None


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


class NormGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normal, mean, rstd = torch.native_layer_norm(frames, weight.shape, weight, bias, eps)
        ctx.save_for_backward(frames, mean, rstd, weight, bias)
        ctx.eps = eps
        return normal.mul_(gelu_gate(normal))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        frames, mean, rstd, weight, bias = ctx.saved_tensors
        normal, _, _ = torch.native_layer_norm(frames, weight.shape, weight, bias, ctx.eps)
        gate = gelu_gate(normal)
        # d gelu = gate + z * SCALE * (1 + 3 CUBIC z^2) * gate * (1 - gate)
        slope = torch.addcmul(normal, normal * normal, normal, value=3 * CUBIC)
        slope.mul_(torch.addcmul(gate, gate, gate, value=-1))
        grad_normal = torch.add(gate, slope, alpha=SCALE, out=slope).mul_(grad)
        needed = list(ctx.needs_input_grad[:3])
        gradients = torch.ops.aten.native_layer_norm_backward(
            grad_normal, frames, weight.shape, mean, rstd, weight, bias, needed
        )
        return (*gradients, None)


def gelu_gate(frames: Tensor) -> Tensor:
    """What GELU multiplies its input with."""
    square = frames * frames
    return torch.addcmul(frames, square, frames, value=CUBIC, out=square).mul_(SCALE).sigmoid_()
