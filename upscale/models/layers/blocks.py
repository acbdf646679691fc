"""Building blocks of the convolutional models.

Between blocks, activations are `[B, T, C]`: normalisation over channels then reads contiguous memory, and the very same
memory is a channels-last image `[B, C, 1, T]` to the convolution kernels of oneDNN and cuDNN, so nothing is transposed.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from upscale.models.layers.receptive_field import Interval, reads_through
from upscale.models.ops.dispatch import conv_norm_gelu, gate_pair, same_conv

NORM_EPS = 1e-3  # Keras' default, which the original trained with
Activation = Callable[[Tensor, nn.LayerNorm], Tensor]


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
        return same_conv(frames, self.weight, self.bias)

    def reads(self, span: Interval) -> Interval:
        return span[0] - (self.kernel_size[0] - 1) // 2, span[1] + self.kernel_size[0] // 2


class ConvNormGelu(nn.Module):
    """[B, T, in_channels] -> [B, T, out_channels]: convolution, LayerNorm over channels, GELU (tanh form).

    `activate(frames, norm)` takes the place of the last two.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, activate: Activation | None = None
    ) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, kernel_size)
        self.norm = nn.LayerNorm(out_channels, eps=NORM_EPS)
        self.activate = activate

    def forward(self, frames: Tensor) -> Tensor:
        if self.activate is None:
            return conv_norm_gelu(frames, self.conv, self.norm)
        return self.activate(self.conv(frames), self.norm)

    def reads(self, span: Interval) -> Interval:
        return self.conv.reads(span)


class Gate(nn.Module):
    """[B, T, C] -> the same, each value weighted by a sigmoid of all channels at its own time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        return frames * torch.sigmoid(self.conv(frames))

    def reads(self, span: Interval) -> Interval:
        return span


class BandProcess(nn.Module):
    """Approx and detail, the two halves of the channels, each filtered and gated alone, then mixed.

    Of an odd number of channels detail has one more going in, and both have as many coming out.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, activate: Activation | None = None
    ) -> None:
        super().__init__()
        half = in_channels // 2
        self.approx = nn.Sequential(ConvNormGelu(half, half, kernel_size, activate), Gate(half))
        self.detail = nn.Sequential(ConvNormGelu(in_channels - half, half, kernel_size, activate), Gate(half))
        self.merge = ConvNormGelu(2 * half, out_channels, activate=activate)

    def forward(self, approx: Tensor, detail: Tensor) -> Tensor:
        approx_gate, detail_gate = self.approx[1].conv, self.detail[1].conv
        return self.merge(gate_pair(self.approx[0](approx), approx_gate, self.detail[0](detail), detail_gate))

    def reads(self, span: Interval) -> Interval:
        return reads_through(self.approx, span)


class GatedSkip(nn.Module):
    """Decoder and encoder frames [B, T, C] each -> [B, T, 2C]: both gated, side by side, normalised together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.decoder_gate = Gate(channels)
        self.encoder_gate = Gate(channels)
        self.norm = nn.LayerNorm(2 * channels, eps=NORM_EPS)

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return gate_pair(decoded, self.decoder_gate.conv, encoded, self.encoder_gate.conv, self.norm)
