"""The Wavelet U-Net: a U-Net whose down- and upsampling are an orthonormal wavelet transform and its inverse.

Shapes: B batch, C audio channels, T samples; inside, frames [B, time, features].

    wav -> head -> [level 1] -> DWT -> bands -> [level 2] -> DWT -> bands ... bottleneck
                      |                           |                               |
                     skip                        skip                             v
                      v                           v                               v
    wav + residual <- tail <- [level 1] <- IDWT + bands <- [level 2] <- IDWT + bands

It keeps the layers and the size of upscalemp3_v2 (level i has `num_filters * i` features) and mends two things: the
transform reconstructs, so that the skips stay aligned, and the last layer adds to the input, starting at zero.
"""

import torch
from torch import Tensor, nn

from upscale.errors import UserError
from upscale.models.layers.blocks import BandProcess, Conv, ConvNormGelu, GatedSkip
from upscale.models.layers.receptive_field import Interval, reads_through, reads_through_levels, receptive_field, union
from upscale.models.layers.wavelet import DWT, IDWT, reconstruction_penalty


class Down(nn.Module):
    """One level of the encoder: [B, T, in] -> (half the time with 2 * features channels, the skip [B, T, features])."""

    def __init__(self, in_features: int, features: int, kernel_size: int, wavelet: str, learnable: bool) -> None:
        super().__init__()
        self.conv = ConvNormGelu(in_features, features, kernel_size)
        self.dwt = DWT(wavelet, mode="zero", learnable=learnable)
        self.bands = BandProcess(2 * features, 2 * features, kernel_size)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv(frames)
        approx, detail = self.dwt.bands(skip.transpose(1, 2))
        return self.bands(approx.transpose(1, 2), detail.transpose(1, 2)), skip

    def reads(self, span: Interval, skip: Interval) -> Interval:
        return self.conv.reads(union(skip, self.dwt.reads(self.bands.reads(span))))


class Up(nn.Module):
    """One level of the decoder: [B, about T / 2, in] and the skip [B, T, features] -> [B, T, features]."""

    def __init__(self, in_features: int, features: int, kernel_size: int, wavelet: str, learnable: bool) -> None:
        super().__init__()
        self.idwt = IDWT(wavelet, mode="zero", learnable=learnable)
        self.bands = BandProcess(in_features // 2, features, kernel_size)
        self.skip = GatedSkip(features)
        self.convs = nn.Sequential(
            ConvNormGelu(2 * features, features, kernel_size), ConvNormGelu(features, features, kernel_size)
        )

    def forward(self, frames: Tensor, skip: Tensor) -> Tensor:
        return self.convs(self.skip(self.bands(*self.idwt.halves(frames, length=skip.shape[1])), skip))

    def reads(self, span: Interval) -> tuple[Interval, Interval]:
        """Of the frames, and of the skip."""
        skip = reads_through(self.convs, span)
        return self.idwt.reads(self.bands.reads(skip)), skip


class WaveletUNet(nn.Module):
    """[B, channels, T] -> [B, channels, T] for any T; an untrained model returns its input.

    `context`: samples on each side that a chunk of a song needs so that its middle equals the whole song's.
    `stride`: chunks must start at multiples of it.
    `learnable_wavelet` makes the filters of every level parameters; training then adds `regularizer` to the loss, which
    keeps them inverse.
    """

    def __init__(
        self,
        channels: int = 1,
        num_layers: int = 10,
        num_filters: int = 16,
        kernel_size: int = 16,
        wavelet: str = "db4",
        learnable_wavelet: bool = False,
        sample_rate: int = 44100,
    ) -> None:
        super().__init__()
        if num_filters % 4:
            raise UserError(f"num_filters={num_filters} does not split into bands of bands; use a multiple of 4")
        self.channels, self.sample_rate = channels, sample_rate
        self.learnable_wavelet = learnable_wavelet
        self.stride = 2**num_layers
        widths = [num_filters * (level + 1) for level in range(num_layers + 1)]
        self.head = ConvNormGelu(channels, num_filters, kernel_size)
        inputs = [num_filters, *(2 * width for width in widths)]
        self.downs = nn.ModuleList(
            Down(inputs[i], widths[i], kernel_size, wavelet, learnable_wavelet) for i in range(num_layers)
        )
        self.bottleneck = ConvNormGelu(inputs[num_layers], widths[num_layers], kernel_size)
        self.ups = nn.ModuleList(
            Up(widths[i + 1], widths[i], kernel_size, wavelet, learnable_wavelet) for i in reversed(range(num_layers))
        )
        self.tail = nn.Sequential(
            ConvNormGelu(num_filters, num_filters, kernel_size), ConvNormGelu(num_filters, num_filters, kernel_size)
        )
        self.residual = Conv(num_filters + channels, channels)
        nn.init.zeros_(self.residual.weight)
        self.context = max(receptive_field(self.reads, self.stride))

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """`bitrate` is there for every model's sake; this one ignores it."""
        samples = wav.transpose(1, 2)
        frames, skips = self.head(samples), []
        for down in self.downs:
            frames, skip = down(frames)
            skips.append(skip)
        frames = self.bottleneck(frames)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            frames = up(frames, skip)
        frames = torch.cat([self.tail(frames), samples], dim=-1)
        return wav + self.residual(frames).transpose(1, 2)

    def regularizer(self) -> Tensor | None:
        """How far the learned transforms of all levels are from undoing each other; None for fixed filters."""
        if not self.learnable_wavelet:
            return None
        banks = (module for module in self.modules() if isinstance(module, DWT))
        inverses = reversed([module for module in self.modules() if isinstance(module, IDWT)])
        penalties = [reconstruction_penalty(dwt, idwt) for dwt, idwt in zip(banks, inverses, strict=True)]
        return torch.stack(penalties).sum()

    def reads(self, span: Interval) -> Interval:
        """The input samples that output samples depend on (`receptive_field`)."""
        span = reads_through(self.tail, span)
        span = reads_through_levels(list(self.downs), self.bottleneck, list(self.ups), span)
        return self.head.reads(span)
