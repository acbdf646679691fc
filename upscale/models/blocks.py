"""Building blocks of the convolutional models.

Between blocks, activations are `[B, T, C]`: normalisation over channels then reads contiguous memory, and the very same
memory is a channels-last image `[B, C, 1, T]` to the convolution kernels of oneDNN and cuDNN, so nothing is transposed.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-3  # Keras' default, which the original trained with


class Conv(nn.Conv1d):
    """Convolution over time of [B, T, C], the length kept: Keras' 'same', (k-1)//2 zeros before and k//2 after."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        self.before, self.after = (kernel_size - 1) // 2, kernel_size // 2

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, frames: Tensor) -> Tensor:
        if self.kernel_size[0] == 1:
            return F.linear(frames, self.weight[..., 0], self.bias)
        padded = F.pad(frames, (0, 0, self.before, self.after))
        image = padded.transpose(1, 2).unsqueeze(2)
        return F.conv2d(image, self.weight.unsqueeze(2), self.bias).squeeze(2).transpose(1, 2)


def tanh_gelu(frames: Tensor) -> Tensor:
    return F.gelu(frames, approximate="tanh")


class ConvNormGelu(nn.Module):
    """[B, T, in_channels] -> [B, T, out_channels]: convolution, LayerNorm over channels, GELU (tanh form)."""

    gelu: Callable[[Tensor], Tensor] = staticmethod(tanh_gelu)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, kernel_size)
        self.norm = nn.LayerNorm(out_channels, eps=NORM_EPS)

    def forward(self, frames: Tensor) -> Tensor:
        return self.gelu(self.norm(self.conv(frames)))


class Gate(nn.Module):
    """[B, T, C] -> the same, each value weighted by a sigmoid of all channels at its own time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        return frames * torch.sigmoid(self.conv(frames))


class BandProcess(nn.Module):
    """Approx and detail, the two halves of the channels, each filtered and gated alone, then mixed.

    Of an odd number of channels detail has one more going in, and both have the same coming out.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        half = in_channels // 2
        self.approx = nn.Sequential(ConvNormGelu(half, half, kernel_size), Gate(half))
        self.detail = nn.Sequential(ConvNormGelu(in_channels - half, half, kernel_size), Gate(half))
        self.merge = ConvNormGelu(2 * half, out_channels)

    def forward(self, frames: Tensor) -> Tensor:
        half = frames.shape[-1] // 2
        approx, detail = frames[..., :half], frames[..., half:]
        return self.merge(torch.cat([self.approx(approx), self.detail(detail)], dim=-1))


class GatedSkip(nn.Module):
    """Decoder and encoder frames [B, T, C] each -> [B, T, 2C]: both gated, side by side, normalised together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.decoder_gate = Gate(channels)
        self.encoder_gate = Gate(channels)
        self.norm = nn.LayerNorm(2 * channels, eps=NORM_EPS)

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return self.norm(torch.cat([self.decoder_gate(decoded), self.encoder_gate(encoded)], dim=-1))
