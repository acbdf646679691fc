"""Convolutions of few channels as convolutions of many: what fills the matrix units of a GPU.

Shapes: B batch, T time, C channels in, O channels out, K taps, S samples in a block, P taps between blocks. Frames are
[B, T, C].

S samples of C channels lie in memory as one sample of S * C channels. Between such blocks a convolution with K taps is
one with about K / S taps, whose weights are the old ones, shifted by a sample from row to row, with zeros around: a
Toeplitz matrix. It multiplies by those zeros, too, 1 + S / K times as much in all, but 16 channels leave most of a
matrix unit idle and 128 do not. A convolution of one tap becomes a block diagonal matrix.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

WIDE, WIDEST = 192, 256  # channels of the narrower and of the wider side of a convolution, up to which blocks pay
LONGEST = 8  # samples of a block
NARROW_MATRIX, MATRIX_BLOCK = 16, 4  # channels up to which a convolution of one tap goes by blocks, and of how many


class Places(NamedTuple):
    """`forward` [S * O, P, S * C]: which weight of [O, C, K] stands where, counted from 1, 0 for none; `backward` the
    S places [O * C * K, S] of each weight."""

    forward: Tensor
    backward: Tensor


def block_size(in_channels: int, out_channels: int) -> int:
    """S: a power of two, 1 where there are channels enough."""
    narrow, wide = sorted((in_channels, out_channels))
    size = 1
    while 2 * size <= LONGEST and 2 * size * narrow <= WIDE and 2 * size * wide <= WIDEST:
        size *= 2
    return size


@cache
def places(O: int, C: int, K: int, size: int, device: torch.device) -> Places:  # noqa: E741
    """As many blocks before the own one as after it, so that a convolution pads both sides alike."""
    before, around = (K - 1) // 2, -(-(K // 2) // size)
    first, width = around * size - before, (2 * around + 1) * size
    numbers = torch.arange(1, O * C * K + 1).view(O, C, K)
    rows = torch.stack([F.pad(numbers, (first + shift, width - K - first - shift)) for shift in range(size)])
    rows = rows.unflatten(-1, (-1, size)).permute(0, 1, 3, 4, 2).contiguous()
    forward = rows.view(size * O, 2 * around + 1, size * C)
    order = forward.flatten().argsort(stable=True)
    backward = order[-O * C * K * size :].view(-1, size)
    return Places(forward.to(device), backward.to(device))


def toeplitz(weight: Tensor, size: int) -> Tensor:
    """[O, C, K] -> [S * O, S * C, 1, P], channels last: the same convolution between blocks, as an image's."""
    table = F.pad(weight.flatten(), (1, 0))
    return table[places(*weight.shape, size, weight.device).forward].permute(0, 2, 1).unsqueeze(2)


def from_toeplitz(grad: Tensor, weight: Tensor, size: int) -> Tensor:
    """The transpose: [S * O, S * C, 1, P] -> [O, C, K], each weight's places summed up, as exact as the weight."""
    in_order = grad.squeeze(2).permute(0, 2, 1).flatten()
    return in_order[places(*weight.shape, size, weight.device).backward].sum(-1, dtype=weight.dtype).view(weight.shape)


class Toeplitz(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size = size
        return toeplitz(weight, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return from_toeplitz(grad, ctx.saved_tensors[0], ctx.size), None


def as_blocks(frames: Tensor, size: int) -> Tensor:
    """[B, T, C] -> the image [B, S * C, 1, blocks], channels last; zeros fill up the last block."""
    B, T, C = frames.shape
    if T % size:
        frames = F.pad(frames, (0, 0, 0, -T % size))
    return frames.reshape(B, -1, size * C).transpose(1, 2).unsqueeze(2)


def as_frames(image: Tensor, channels: int) -> Tensor:
    """Back to [B, T, channels], T with what filled the last block."""
    return image.squeeze(2).transpose(1, 2).reshape(len(image), -1, channels)


def conv_in_blocks(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[B, T, C], [O, C, K] -> [B, T, O], padded as `same_conv` does."""
    size = block_size(*weight.shape[1::-1])
    kernel = Toeplitz.apply(weight, size)
    image = F.conv2d(as_blocks(frames, size), kernel, bias.repeat(size), padding=(0, kernel.shape[-1] // 2))
    return as_frames(image, len(weight))[:, : frames.shape[1]]


def matrix_block(num_rows: int, channels: int) -> int:
    """S for a convolution of one tap, of rows that need not be neighbours."""
    return MATRIX_BLOCK if channels <= NARROW_MATRIX and num_rows % MATRIX_BLOCK == 0 else 1
