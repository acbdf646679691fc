"""What follows a convolution, run by run: LayerNorm with GELU, and gates, each as one operation.

Shapes: frames [..., C], worked on as rows [n, C]; weights of a gate are [C, C].

PyTorch's own operations compute the same, one pass over memory for each. Here a run of rows goes through all of them
while it lies in the cache, and what is computed again on the way back is not kept:

- GELU through a sigmoid, gelu(z) = z * sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3)), keeps only LayerNorm's input.
- A pair of gates, cat(x * sigmoid(W x + b), y * sigmoid(V y + c)), keeps only x and y; a LayerNorm may follow.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

RUN = 2**17  # values: a few buffers of this size fit the cache of a core
CUBIC = 0.044715
SCALE = 2 * math.sqrt(2 / math.pi)

Gradients = tuple[Tensor | None, ...]


def runs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of each [..., C] at a time; tensors to write into must be contiguous."""
    rows = [tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors]
    step = max(RUN // max(tensor.shape[-1] for tensor in tensors), 1)
    return zip(*(tensor.split(step) for tensor in rows), strict=True)


class NormGelu(torch.autograd.Function):
    """frames, weight [C], bias [C], eps -> gelu(layer_norm(frames))."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(frames, weight, bias)
        ctx.eps = eps
        output = torch.empty(frames.shape, dtype=frames.dtype)
        for rows, target in runs(frames, output):
            normal = torch.native_layer_norm(rows, weight.shape, weight, bias, eps)[0]
            torch.mul(normal, gelu_gate(normal), out=target)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        frames, weight, bias = ctx.saved_tensors
        grad_frames = torch.empty(frames.shape, dtype=frames.dtype)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for rows, grad_rows, target in runs(frames, grad, grad_frames):
            normal, mean, rstd = torch.native_layer_norm(rows, weight.shape, weight, bias, ctx.eps)
            gate = gelu_gate(normal)
            # d gelu = gate + z * SCALE * (1 + 3 CUBIC z^2) * gate * (1 - gate)
            slope = torch.addcmul(normal, normal * normal, normal, value=3 * CUBIC)
            slope.mul_(torch.addcmul(gate, gate, gate, value=-1))
            grad_normal = torch.add(gate, slope, alpha=SCALE, out=slope).mul_(grad_rows)
            norm_gradients(rows, grad_normal, mean, rstd, weight, bias, (target, grad_weight, grad_bias))
        return grad_frames, grad_weight, grad_bias, None


class GatePair(torch.autograd.Function):
    """x, its gate's weight and bias, y, its gate's weight and bias, norm weight and bias or None, eps -> [..., 2C]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        x_weight: Tensor,
        x_bias: Tensor,
        y: Tensor,
        y_weight: Tensor,
        y_bias: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, x_weight, x_bias, y, y_weight, y_bias, weight, bias)
        ctx.eps = eps
        C = x.shape[-1]
        output = torch.empty((*x.shape[:-1], 2 * C), dtype=x.dtype)
        for x_rows, y_rows, target in runs(x, y, output):
            both = target if weight is None else torch.empty_like(target)
            torch.mul(x_rows, torch.addmm(x_bias, x_rows, x_weight.t()).sigmoid_(), out=both[:, :C])
            torch.mul(y_rows, torch.addmm(y_bias, y_rows, y_weight.t()).sigmoid_(), out=both[:, C:])
            if weight is not None:
                target.copy_(torch.native_layer_norm(both, weight.shape, weight, bias, eps)[0])
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, x_weight, x_bias, y, y_weight, y_bias, weight, bias = ctx.saved_tensors
        C = x.shape[-1]
        grad_x, grad_y = (torch.empty(side.shape, dtype=side.dtype) for side in (x, y))
        totals = [torch.zeros_like(value) for value in (x_weight, x_bias, y_weight, y_bias)]
        norm_totals = [None if value is None else torch.zeros_like(value) for value in (weight, bias)]
        for x_rows, y_rows, grad_rows, x_target, y_target in runs(x, y, grad, grad_x, grad_y):
            x_gate = torch.addmm(x_bias, x_rows, x_weight.t()).sigmoid_()
            y_gate = torch.addmm(y_bias, y_rows, y_weight.t()).sigmoid_()
            if weight is not None:
                both = torch.cat([x_rows * x_gate, y_rows * y_gate], dim=-1)
                _, mean, rstd = torch.native_layer_norm(both, weight.shape, weight, bias, ctx.eps)
                grad_both = torch.empty_like(both)
                norm_gradients(both, grad_rows.contiguous(), mean, rstd, weight, bias, (grad_both, *norm_totals))
                grad_rows = grad_both
            gate_gradients(x_rows, x_gate, grad_rows[:, :C], x_weight, (x_target, *totals[:2]))
            gate_gradients(y_rows, y_gate, grad_rows[:, C:], y_weight, (y_target, *totals[2:]))
        return grad_x, totals[0], totals[1], grad_y, totals[2], totals[3], *norm_totals, None


def gelu_gate(frames: Tensor) -> Tensor:
    """What GELU multiplies its input with."""
    square = frames * frames
    return torch.addcmul(frames, square, frames, value=CUBIC, out=square).mul_(SCALE).sigmoid_()


def norm_gradients(
    rows: Tensor, grad: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, into: tuple[Any, ...]
) -> None:
    """LayerNorm's gradients by rows (written), weight and bias (added)."""
    target, total_weight, total_bias = into
    found = torch.ops.aten.native_layer_norm_backward(
        grad, rows, weight.shape, mean, rstd, weight, bias, [True, True, True]
    )
    target.copy_(found[0])
    total_weight.add_(found[1])
    total_bias.add_(found[2])


def gate_gradients(rows: Tensor, gate: Tensor, grad: Tensor, weight: Tensor, into: tuple[Any, ...]) -> None:
    """A gate's gradients by rows (written), weight and bias (added)."""
    target, total_weight, total_bias = into
    grad_logits = torch.ops.aten.sigmoid_backward(grad * rows, gate)
    torch.addmm(grad * gate, grad_logits, weight, out=target)
    total_weight.addmm_(grad_logits.t(), rows)
    total_bias.add_(grad_logits.sum(0))


def plain_norm_gelu(frames: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.gelu(F.layer_norm(frames, weight.shape, weight, bias, eps), approximate="tanh")


def plain_gate_pair(
    x: Tensor,
    x_weight: Tensor,
    x_bias: Tensor,
    y: Tensor,
    y_weight: Tensor,
    y_bias: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    gated = [
        x * torch.sigmoid(F.linear(x, x_weight, x_bias)),
        y * torch.sigmoid(F.linear(y, y_weight, y_bias)),
    ]
    both = torch.cat(gated, dim=-1)
    return both if weight is None else F.layer_norm(both, weight.shape, weight, bias, eps)
