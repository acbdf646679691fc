"""A residual network on wavelet packets: every band split again and again, so that all work happens at a low rate.

Shapes: B batch, C audio channels, T samples; after n levels 2^n * C bands at about T / 2^n, as frames [B, time, bands].

    wav -> packets -> 1x1 -> residual blocks -> 1x1 (starts at zero) -> inverse packets -> + wav

Source: Coifman and Wickerhauser, "Entropy-based algorithms for best basis selection" (the full packet tree).
"""

from torch import Tensor, nn

from upscale.models.layers.blocks import Conv, ConvNormGelu
from upscale.models.layers.receptive_field import Interval, reads_through, receptive_field
from upscale.models.layers.wavelet import DWT, IDWT


class ResidualBlock(nn.Module):
    """[B, T, features] -> the same, added to."""

    def __init__(self, features: int, kernel_size: int) -> None:
        super().__init__()
        self.hidden = ConvNormGelu(features, features, kernel_size)
        self.out = Conv(features, features, kernel_size)

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.out(self.hidden(frames))

    def reads(self, span: Interval) -> Interval:
        return self.hidden.reads(self.out.reads(span))


class WaveletPacketNet(nn.Module):
    """[B, channels, T] -> [B, channels, T] for any T; an untrained model returns its input.

    `context` and `stride` as in WaveletUNet.
    """

    def __init__(
        self,
        channels: int = 1,
        num_levels: int = 5,
        num_features: int = 96,
        num_blocks: int = 5,
        kernel_size: int = 9,
        wavelet: str = "db8",
        sample_rate: int = 44100,
    ) -> None:
        super().__init__()
        self.channels, self.sample_rate, self.num_levels = channels, sample_rate, num_levels
        self.stride = 2**num_levels
        num_bands = channels * 2**num_levels
        self.dwt, self.idwt = DWT(wavelet, mode="zero"), IDWT(wavelet, mode="zero")
        self.head = Conv(num_bands, num_features)
        self.blocks = nn.Sequential(*(ResidualBlock(num_features, kernel_size) for _ in range(num_blocks)))
        self.residual = Conv(num_features, num_bands)
        nn.init.zeros_(self.residual.weight)
        self.context = max(receptive_field(self.reads, self.stride))

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """`bitrate` is there for every model's sake; this one ignores it."""
        bands, lengths = wav, []
        for _ in range(self.num_levels):
            lengths.append(bands.shape[-1])
            bands = self.dwt(bands)
        frames = self.residual(self.blocks(self.head(bands.transpose(1, 2))))
        residual = frames.transpose(1, 2)
        for length in reversed(lengths):
            residual = self.idwt(residual, length=length)
        return wav + residual

    def reads(self, span: Interval) -> Interval:
        """The input samples that output samples depend on (`receptive_field`)."""
        for _ in range(self.num_levels):
            span = self.idwt.reads(span)
        span = reads_through(self.blocks, span)
        for _ in range(self.num_levels):
            span = self.dwt.reads(span)
        return span
