"""What the spectral networks are made of: a backbone over single bins, a network over whole frames, the bitrate.

Shapes: B clips, C channels, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameNetwork(nn.Module):
    """Convolutions over time on features of whole frames: [B, inputs, N] -> [B, outputs, N], zero at the start."""

    def __init__(self, num_inputs: int, width: int, num_outputs: int, num_layers: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv1d(num_inputs, width, kernel_size=1)
        self.layers = nn.ModuleList([nn.Conv1d(width, width, kernel_size=3, padding=1) for _ in range(num_layers)])
        self.tail = nn.Conv1d(width, num_outputs, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        hidden = F.gelu(self.head(frames))
        for layer in self.layers:
            hidden = hidden + F.gelu(layer(hidden))
        return self.tail(hidden)


class BackboneBlock(nn.Module):
    """Residual block: 3x3 convolution over bin and frame, an offset from the frame network, GELU, 1x1 convolution."""

    def __init__(self, width: int, bin_dilation: int, frame_dilation: int) -> None:
        super().__init__()
        dilation = (bin_dilation, frame_dilation)
        self.mix = nn.Conv2d(width, width, kernel_size=3, padding=dilation, dilation=dilation)
        self.out = nn.Conv2d(width, width, kernel_size=1)
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, hidden: Tensor, offset: Tensor) -> Tensor:
        return hidden + self.out(F.gelu(self.mix(hidden) + offset))


def bins_to_channels(features: Tensor, fold: int) -> Tensor:
    """[B, C, F, N] -> [B, C * fold, F / fold, N]: neighbouring bins become channels, last in memory: faster."""
    folded = features.unflatten(2, (-1, fold)).transpose(2, 3).flatten(1, 2)
    return folded.contiguous(memory_format=torch.channels_last)


def channels_to_bins(folded: Tensor, fold: int) -> Tensor:
    """The inverse of `bins_to_channels`."""
    return folded.unflatten(1, (-1, fold)).transpose(2, 3).flatten(2, 3)


def bitrate_features(frames: Tensor, bitrate: Tensor | None) -> Tensor:
    """Octaves from 90 kbit/s and whether that is known, for each frame of [B, ..., N]: [B, 2, N]."""
    known = torch.zeros_like(frames[:, :1, 0]) if bitrate is None else bitrate.to(frames)[:, None]
    octaves = torch.where(known > 0, torch.log2(known.clamp(min=8)) - 6.5, 0.0)
    return torch.stack([octaves, (known > 0).to(frames)], dim=1).expand(-1, -1, frames.shape[-1])
