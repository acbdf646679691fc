"""Building blocks of the convolutional models.

Between blocks, activations are `[B, T, C]`: normalisation over channels then reads contiguous memory, and the very same
memory is a channels-last image `[B, C, 1, T]` to the convolution kernels of oneDNN and cuDNN, so nothing is transposed.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.ops import fused
from upscale.models.ops.dispatch import gate_pair, norm_gelu, same_conv

NORM_EPS = 1e-3  # Keras' default, which the original trained with


class Conv(nn.Conv1d):
    """Convolution over time of [B, T, C], the length kept: Keras' 'same', (k-1)//2 zeros before and k//2 after."""

    bias: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        # [O, C, K] in shape, [O, K, C] in memory: what kernels for channels-last images want.
        self.weight.data = self.weight.data.transpose(1, 2).contiguous().transpose(1, 2)

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, frames: Tensor) -> Tensor:
        if self.kernel_size[0] == 1:
            return F.linear(frames, self.weight[..., 0], self.bias)
        return same_conv(frames, self.weight, self.bias)


def normalize_and_gelu(frames: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm_gelu(frames, norm.weight, norm.bias, norm.eps)


class ConvNormGelu(nn.Module):
    """[B, T, in_channels] -> [B, T, out_channels]: convolution, LayerNorm over channels, GELU (tanh form)."""

    activate: Callable[[Tensor, nn.LayerNorm], Tensor] = staticmethod(normalize_and_gelu)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, kernel_size)
        self.norm = nn.LayerNorm(out_channels, eps=NORM_EPS)

    def forward(self, frames: Tensor) -> Tensor:
        if self.activate is normalize_and_gelu and fused.runs_fused(frames):
            return fused.conv_norm_gelu(frames, self.conv, self.norm)
        return self.activate(self.conv(frames), self.norm)


class Gate(nn.Module):
    """[B, T, C] -> the same, each value weighted by a sigmoid of all channels at its own time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        return frames * torch.sigmoid(self.conv(frames))


class BandProcess(nn.Module):
    """Approx and detail, the two halves of the channels, each filtered and gated alone, then mixed.

    Of an odd number of channels detail has one more going in, and both have as many coming out.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        half = in_channels // 2
        self.approx = nn.Sequential(ConvNormGelu(half, half, kernel_size), Gate(half))
        self.detail = nn.Sequential(ConvNormGelu(in_channels - half, half, kernel_size), Gate(half))
        self.merge = ConvNormGelu(2 * half, out_channels)

    def forward(self, approx: Tensor, detail: Tensor) -> Tensor:
        approx_gate, detail_gate = self.approx[1].conv, self.detail[1].conv
        return self.merge(gate_pair(self.approx[0](approx), approx_gate, self.detail[0](detail), detail_gate))


class GatedSkip(nn.Module):
    """Decoder and encoder frames [B, T, C] each -> [B, T, 2C]: both gated, side by side, normalised together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.decoder_gate = Gate(channels)
        self.encoder_gate = Gate(channels)
        self.norm = nn.LayerNorm(2 * channels, eps=NORM_EPS)

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return gate_pair(decoded, self.decoder_gate.conv, encoded, self.encoder_gate.conv, self.norm)
