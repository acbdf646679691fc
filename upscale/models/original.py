"""The network of upscalemp3_v2 to the letter, so that weights trained there compute here what they computed there.

Shapes: B batch, T samples; inside, frames [B, time, features]; L filter taps.

Two things differ from WaveletUNet, and both are kept because the weights have learned to live with them:

- The transforms do not reconstruct. Analysis reflects the signal at its ends, correlates with the *unflipped* filters
  and crops (L - 1) // 2 coefficients from both ends; synthesis correlates zero-stuffed coefficients with "same"
  padding. What is missing is mirrored, or cut, to fit the skip. The result is about a sample late at every level.
- The output is the last layer itself, through a tanh, and not a correction of the input.

Source: the layers, names and shapes of upscalemp3_v2's Keras model, held against its own outputs.
"""

import math

import numpy as np
import pywt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.errors import UserError
from upscale.models.layers.blocks import BandProcess, Conv, ConvNormGelu, GatedSkip
from upscale.models.layers.receptive_field import Interval, reads_through, reads_through_levels, receptive_field, union
from upscale.models.ops.dispatch import analyse, halves, norm_gelu, synthesise
from upscale.models.ops.pointwise import CUBIC

GELU_SCALE = float(np.sqrt(np.float32(2 / math.pi)))


def original_activation(frames: Tensor, norm: nn.LayerNorm) -> Tensor:
    """GELU with the original's sqrt(2 / pi), which is rounded to float32: in double precision one can tell."""
    if frames.dtype != torch.float64:
        return norm_gelu(frames, norm.weight, norm.bias, norm.eps)
    frames = norm(frames)
    return 0.5 * frames * (1 + torch.tanh(GELU_SCALE * (frames + CUBIC * frames**3)))


def original_conv(in_channels: int, out_channels: int, kernel_size: int) -> ConvNormGelu:
    return ConvNormGelu(in_channels, out_channels, kernel_size, original_activation)


class OriginalDWT(nn.Module):
    """[B, T, C] -> approx and detail, each [B, N, C] with N = T // 2 + 2 - L // 2."""

    filters: Tensor

    def __init__(self, wavelet: str) -> None:
        super().__init__()
        bank = pywt.Wavelet(wavelet)
        self.register_buffer("filters", torch.tensor([bank.dec_lo, bank.dec_hi], dtype=torch.get_default_dtype()))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        num_taps = self.filters.shape[-1]
        lines = F.pad(frames.transpose(1, 2), (num_taps - 1, num_taps - 1), mode="reflect")
        crop = (num_taps - 1) // 2
        approx, detail = (band[..., crop : band.shape[-1] - crop] for band in analyse(lines, self.filters))
        return approx.transpose(1, 2), detail.transpose(1, 2)


class OriginalIDWT(nn.Module):
    """[B, N, 2C] -> [B, 2N, C]. Of an odd number of channels the last one is not used."""

    filters: Tensor

    def __init__(self, wavelet: str) -> None:
        super().__init__()
        bank = pywt.Wavelet(wavelet)
        self.register_buffer("filters", torch.tensor([bank.rec_lo, bank.rec_hi], dtype=torch.get_default_dtype()))

    def forward(self, frames: Tensor) -> Tensor:
        C, num_taps = frames.shape[2] // 2, self.filters.shape[-1]
        bands = frames[..., : 2 * C].transpose(1, 2)
        # Correlation is the transposed convolution with reversed filters. "Same" padding puts (L - 1) // 2 zeros in
        # front; a transposed convolution would have had L - 1, so that many minus those come off its start.
        whole = synthesise(bands, self.filters.flip(-1))
        start = num_taps - 1 - (num_taps - 1) // 2
        return F.pad(whole, (0, 1))[..., start : start + 2 * frames.shape[1]].transpose(1, 2)


class FitTime(nn.Module):
    """[B, T, C] -> [B, length, C]: mirrored or cut alike at both ends, the odd sample at the end."""

    def forward(self, frames: Tensor, length: int) -> Tensor:
        missing = length - frames.shape[1]
        if missing <= 0:
            start = -missing // 2
            return frames[:, start : start + length]
        before = missing // 2
        after = missing - before
        # TensorFlow's SYMMETRIC repeats the edge sample itself; torch has no such mode.
        return torch.cat([frames[:, :before].flip(1), frames, frames[:, frames.shape[1] - after :].flip(1)], dim=1)


class OriginalDown(nn.Module):
    def __init__(self, in_features: int, features: int, kernel_size: int, wavelet: str) -> None:
        super().__init__()
        self.conv = original_conv(in_features, features, kernel_size)
        self.dwt = OriginalDWT(wavelet)
        self.bands = BandProcess(2 * features, 2 * features, kernel_size, original_activation)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv(frames)
        return self.bands(*self.dwt(skip)), skip

    def reads(self, span: Interval, skip: Interval) -> Interval:
        """Coefficient k of the transform reads samples 2k - 1 to 2k + L - 2."""
        first, last = self.bands.reads(span)
        num_taps = self.dwt.filters.shape[-1]
        return self.conv.reads(union(skip, (2 * first - 1, 2 * last + num_taps - 2)))


class OriginalUp(nn.Module):
    def __init__(self, in_features: int, features: int, kernel_size: int, merge_kernel_size: int, wavelet: str) -> None:
        super().__init__()
        self.idwt = OriginalIDWT(wavelet)
        self.bands = BandProcess(in_features // 2, features, kernel_size, original_activation)
        self.fit = FitTime()
        self.skip = GatedSkip(features)
        self.convs = nn.Sequential(
            original_conv(2 * features, features, merge_kernel_size),
            original_conv(features, features, merge_kernel_size),
        )

    def forward(self, frames: Tensor, skip: Tensor) -> Tensor:
        wide = self.bands(*halves(self.idwt(frames)))
        return self.convs(self.skip(self.fit(wide, skip.shape[1]), skip))

    def reads(self, span: Interval) -> tuple[Interval, Interval]:
        """Of the frames, and of the skip. Synthesis reads (L - 1) // 2 samples before and L // 2 after, of which every
        second is a coefficient; fitting to the skip moves its output by (L - 4) / 2."""
        skip = reads_through(self.convs, span)
        first, last = self.bands.reads(skip)
        num_taps = self.idwt.filters.shape[-1]
        shift = (num_taps - 4) // 2
        return ((first - shift - (num_taps - 1) // 2) // 2, (last - shift + num_taps // 2 + 1) // 2), skip


class OriginalUNet(nn.Module):
    """[B, 1, T] -> [B, 1, T]. Clips too short for the reflection are continued with silence.

    `normalize_peak`: the original scaled every one-second training clip to full scale, input and target apart; with it
    each clip is scaled by its own peak and the output scaled back, so that the level of the input is kept.
    """

    channels = 1

    def __init__(
        self,
        num_layers: int = 10,
        num_filters: int = 16,
        kernel_size: int = 16,
        merge_kernel_size: int = 16,
        wavelet: str = "db4",
        normalize_peak: bool = False,
        sample_rate: int = 44100,
    ) -> None:
        super().__init__()
        if num_filters < 2:
            raise UserError(f"num_filters={num_filters} leaves bands without a channel; use 2 or more")
        self.sample_rate, self.normalize_peak = sample_rate, normalize_peak
        widths = [num_filters * (level + 1) for level in range(num_layers + 1)]
        inputs = [num_filters, *(2 * width for width in widths)]
        self.head = original_conv(1, num_filters, kernel_size)
        self.downs = nn.ModuleList(OriginalDown(inputs[i], widths[i], kernel_size, wavelet) for i in range(num_layers))
        self.bottleneck = original_conv(inputs[num_layers], widths[num_layers], kernel_size)
        self.ups = nn.ModuleList(
            OriginalUp(widths[i + 1], widths[i], kernel_size, merge_kernel_size, wavelet)
            for i in reversed(range(num_layers))
        )
        self.tail = nn.Sequential(
            original_conv(num_filters, num_filters, kernel_size), original_conv(num_filters, num_filters, kernel_size)
        )
        self.output = Conv(1 + num_filters, 1)
        self.stride = 2**num_layers
        self.context = max(receptive_field(self.reads, self.stride))
        self.shortest = shortest_input(num_layers, num_taps=pywt.Wavelet(wavelet).dec_len)

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """`bitrate` is there for every model's sake; this one ignores it."""
        T = wav.shape[-1]
        padded = F.pad(wav, (0, max(self.shortest - T, 0)))
        if not self.normalize_peak:
            return self.restore(padded)[..., :T]
        peak = padded.abs().amax(dim=-1, keepdim=True)
        gain = torch.where(peak > 0, peak, 1.0)
        return (self.restore(padded / gain) * gain)[..., :T]

    def restore(self, wav: Tensor) -> Tensor:
        samples = wav.transpose(1, 2)
        frames, skips = self.head(samples), []
        for down in self.downs:
            frames, skip = down(frames)
            skips.append(skip)
        frames = self.bottleneck(frames)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            frames = up(frames, skip)
        return torch.tanh(self.output(torch.cat([samples, self.tail(frames)], dim=-1))).transpose(1, 2)

    def reads(self, span: Interval) -> Interval:
        """The input samples that output samples depend on (`receptive_field`)."""
        span = reads_through(self.tail, span)
        span = reads_through_levels(list(self.downs), self.bottleneck, list(self.ups), span)
        return self.head.reads(span)


def shortest_input(num_layers: int, num_taps: int) -> int:
    """The fewest samples with which every level can still reflect by `num_taps` - 1 and has a coefficient left."""
    length = 1
    for _ in range(num_layers):
        length = max(2 * (length + num_taps // 2 - 2), num_taps)
    return length
