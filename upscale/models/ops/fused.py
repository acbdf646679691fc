"""What the convolutional models are made of, for GPUs: convolutions by blocks, and one kernel for all that follows one.

Shapes: B batch, T time, C channels in, O channels out, K taps. Frames are [B, T, C]; under autocast they and the
convolutions are of its type, while norms, gates and sums are computed in float32 inside the kernels.

PyTorch's own operations pass over memory a dozen times between two convolutions, and that, not arithmetic, is where the
time of these models goes on a GPU. `torch.compile` fuses them as well, but takes minutes for a model of ten levels
whose shapes all differ; these kernels take seconds. They need Triton, which PyTorch brings along where it is built for
GPUs.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from upscale.models.ops.blocked_conv import as_blocks, as_frames, block_size, from_toeplitz, matrix_block, toeplitz

try:
    import triton

    from upscale.models.ops import triton_kernels as kernels
except ImportError:  # PyTorch for CPUs
    triton = None

TILE = 4096  # values that a program works on at a time
NUM_PROGRAMS = 1056  # of a kernel that sums up gradients: eight for each multiprocessor of a large GPU
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

Gradients = tuple[Tensor | None, ...]


def runs_fused(frames: Tensor) -> bool:
    return (
        triton is not None
        and frames.device.type == "cuda"
        and frames.dtype in DTYPES
        and not torch.compiler.is_compiling()
    )


def working_dtype(frames: Tensor) -> torch.dtype:
    device = frames.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else frames.dtype


def block_diagonal(matrix: Tensor, size: int) -> Tensor:
    """[O, C] -> [S * O, S * C]."""
    return toeplitz(matrix[..., None], size).reshape(size * matrix.shape[0], size * matrix.shape[1])


def tile(channels: int, num_buffers: int = 1) -> dict[str, int]:
    """ROWS and WIDTH for a kernel, and how it counts the channels."""
    width, align = triton.next_power_of_2(channels), math.gcd(channels, 16)
    return {"units": channels // align, "ALIGN": align, "ROWS": max(TILE // num_buffers // width, 1), "WIDTH": width}


def num_tiles(num_rows: int, sizes: dict[str, int]) -> int:
    return -(-num_rows // sizes["ROWS"])


def strided(frames: Tensor) -> tuple[Tensor, int]:
    """Frames, copied unless nothing but rows between clips is left out, and the rows from one clip to the next."""
    _, T, C = frames.shape
    rows, rest = divmod(frames.stride(0), C)
    if frames.is_contiguous() or (frames.stride()[1:] == (C, 1) and rest == 0):
        return frames, rows
    return frames.contiguous(), T


class FusedConvNormGelu(torch.autograd.Function):
    """frames, weight [O, C, K], its bias, the norm's weight and bias [O], eps -> [B, T, O]."""

    @staticmethod
    def forward(
        ctx: Any, frames: Tensor, weight: Tensor, shift: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float
    ) -> Tensor:
        (B, T, C), (O, _, K) = frames.shape, weight.shape  # noqa: E741
        dtype = working_dtype(frames)
        with torch.autocast(frames.device.type, enabled=False):
            if K == 1:
                size = matrix_block(B * T, min(C, O))
                inputs = frames.to(dtype).reshape(B * T // size, size * C)
                matrix = block_diagonal(weight[..., 0].to(dtype), size)
                hidden = (inputs @ matrix.t()).view(B, T, O)
            else:
                size = block_size(C, O)
                inputs = as_blocks(frames.to(dtype), size)
                matrix = toeplitz(weight.to(dtype), size)
                image = F.conv2d(inputs, matrix, padding=(0, matrix.shape[-1] // 2))
                hidden = as_frames(image, O)
        output = torch.empty(B, T, O, dtype=dtype, device=frames.device)
        sizes = tile(O)
        kernels.norm_gelu[(num_tiles(B * T, sizes),)](
            hidden, shift, norm_weight, norm_bias, output, B * T, T, hidden.shape[1], eps=eps, **sizes
        )
        ctx.save_for_backward(inputs, hidden, matrix, weight, shift, norm_weight, norm_bias)
        ctx.size, ctx.eps, ctx.shape, ctx.dtype = size, eps, frames.shape, frames.dtype
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        inputs, hidden, matrix, weight, shift, norm_weight, norm_bias = ctx.saved_tensors
        (B, T, C), (O, _, K), size = ctx.shape, weight.shape, ctx.size  # noqa: E741
        grad, grad_stride = strided(grad)
        by_hidden, stride = torch.empty_like(hidden), hidden.shape[1]
        partial = torch.empty(NUM_PROGRAMS, 3, O, device=grad.device)
        kernels.norm_gelu_backward[(NUM_PROGRAMS,)](
            *(hidden, shift, norm_weight, norm_bias, grad, by_hidden, partial, B * stride, T, stride, grad_stride),
            eps=ctx.eps,
            **tile(O, num_buffers=2),
        )
        by_norm_weight, by_norm_bias, by_shift = partial.sum(0)
        by_frames = None
        if K == 1:
            by_rows = by_hidden.view(B * T // size, size * O)
            if ctx.needs_input_grad[0]:
                by_frames = (by_rows @ matrix).view(B, T, C)
            by_matrix = (by_rows.t() @ inputs)[..., None, None]
        else:
            image = by_hidden.view(B, -1, size * O).transpose(1, 2).unsqueeze(2)
            by_inputs, by_matrix, _ = torch.ops.aten.convolution_backward(
                *(image, inputs, matrix, None, [1, 1], [0, matrix.shape[-1] // 2], [1, 1], False, [0, 0], 1),
                [ctx.needs_input_grad[0], True, False],
            )
            if ctx.needs_input_grad[0]:
                by_frames = as_frames(by_inputs, C)[:, :T]
        by_weight = from_toeplitz(by_matrix, weight, size)
        by_frames = None if by_frames is None else by_frames.to(ctx.dtype)
        return by_frames, by_weight, by_shift, by_norm_weight, by_norm_bias, None


class FusedGatePair(torch.autograd.Function):
    """x, its gate's weight [C, C] and bias, y, its gate's, norm weight and bias [2C] or None, eps -> [B, T, 2C]."""

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
        B, T, C = x.shape
        dtype = working_dtype(x)
        size = matrix_block(B * T, C)
        with torch.autocast(x.device.type, enabled=False):
            x_rows, y_rows = (side.to(dtype).reshape(-1, size * C) for side in (x, y))
            x_matrix, y_matrix = (block_diagonal(gate.to(dtype), size) for gate in (x_weight, y_weight))
            x_logits, y_logits = x_rows @ x_matrix.t(), y_rows @ y_matrix.t()
        output = torch.empty(B, T, 2 * C, dtype=dtype, device=x.device)
        sizes = tile(C, num_buffers=2)
        kernels.gate_pair[(num_tiles(B * T, sizes),)](
            *(x_rows, x_logits, x_bias, y_rows, y_logits, y_bias, weight, bias, output, B * T),
            eps=eps,
            NORM=weight is not None,
            **sizes,
        )
        sides = (x_rows, x_logits, x_matrix, x_weight, x_bias, y_rows, y_logits, y_matrix, y_weight, y_bias)
        ctx.save_for_backward(*sides, weight)
        ctx.size, ctx.eps, ctx.shape, ctx.dtypes = size, eps, x.shape, (x.dtype, y.dtype)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, x_logits, x_matrix, x_weight, x_bias, y, y_logits, y_matrix, y_weight, y_bias, weight = ctx.saved_tensors
        (B, T, C), size = ctx.shape, ctx.size
        grad, grad_stride = strided(grad)
        by_x, by_x_logits, by_y, by_y_logits = (torch.empty_like(x) for _ in range(4))
        partial = torch.empty(NUM_PROGRAMS, 6, C, device=grad.device)
        kernels.gate_pair_backward[(NUM_PROGRAMS,)](
            *(x, x_logits, x_bias, y, y_logits, y_bias, weight, grad, by_x, by_x_logits, by_y, by_y_logits, partial),
            *(B * T, T, grad_stride),
            eps=ctx.eps,
            NORM=weight is not None,
            **tile(C, num_buffers=4),
        )
        sums = partial.sum(0)
        results = []
        x_side, y_side = (x, by_x, by_x_logits, x_matrix, x_weight), (y, by_y, by_y_logits, y_matrix, y_weight)
        for rows, by_rows, by_logits, matrix, gate in (x_side, y_side):
            by_gate = from_toeplitz((by_logits.t() @ rows)[..., None, None], gate[..., None], size)[..., 0]
            results.append((torch.addmm(by_rows, by_logits, matrix).view(B, T, C), by_gate))
        (whole_x, by_x_weight), (whole_y, by_y_weight) = results
        norms = (None, None) if weight is None else (sums[2:4].flatten(), sums[4:6].flatten())
        whole_x, whole_y = whole_x.to(ctx.dtypes[0]), whole_y.to(ctx.dtypes[1])
        return whole_x, by_x_weight, sums[0], whole_y, by_y_weight, sums[1], *norms, None


def conv_norm_gelu(frames: Tensor, conv: nn.Conv1d, norm: nn.LayerNorm) -> Tensor:
    assert conv.bias is not None
    return FusedConvNormGelu.apply(frames, conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)
