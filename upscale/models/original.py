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
from upscale.models.layers.blocks import BandProcess, Conv, ConvNormGelu, GatedSkip, normalize_and_gelu
from upscale.models.layers.receptive_field import Interval, reach
from upscale.models.layers.wavelet import analyse, halves, synthesise
from upscale.models.ops.pointwise import CUBIC

GELU_SCALE = float(np.sqrt(np.float32(2 / math.pi)))


def original_activation(frames: Tensor, norm: nn.LayerNorm) -> Tensor:
    """GELU with the original's sqrt(2 / pi), which is rounded to float32: in double precision one can tell."""
    if frames.dtype != torch.float64:
        return normalize_and_gelu(frames, norm)
    frames = norm(frames)
    return 0.5 * frames * (1 + torch.tanh(GELU_SCALE * (frames + CUBIC * frames**3)))


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
        self.conv = ConvNormGelu(in_features, features, kernel_size)
        self.dwt = OriginalDWT(wavelet)
        self.bands = BandProcess(2 * features, 2 * features, kernel_size)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv(frames)
        return self.bands(*self.dwt(skip)), skip


class OriginalUp(nn.Module):
    def __init__(self, in_features: int, features: int, kernel_size: int, merge_kernel_size: int, wavelet: str) -> None:
        super().__init__()
        self.idwt = OriginalIDWT(wavelet)
        self.bands = BandProcess(in_features // 2, features, kernel_size)
        self.fit = FitTime()
        self.skip = GatedSkip(features)
        self.convs = nn.Sequential(
            ConvNormGelu(2 * features, features, merge_kernel_size), ConvNormGelu(features, features, merge_kernel_size)
        )

    def forward(self, frames: Tensor, skip: Tensor) -> Tensor:
        wide = self.bands(*halves(self.idwt(frames)))
        return self.convs(self.skip(self.fit(wide, skip.shape[1]), skip))


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
        self.head = ConvNormGelu(1, num_filters, kernel_size)
        self.downs = nn.ModuleList(OriginalDown(inputs[i], widths[i], kernel_size, wavelet) for i in range(num_layers))
        self.bottleneck = ConvNormGelu(inputs[num_layers], widths[num_layers], kernel_size)
        self.ups = nn.ModuleList(
            OriginalUp(widths[i + 1], widths[i], kernel_size, merge_kernel_size, wavelet)
            for i in reversed(range(num_layers))
        )
        self.tail = nn.Sequential(
            ConvNormGelu(num_filters, num_filters, kernel_size), ConvNormGelu(num_filters, num_filters, kernel_size)
        )
        self.output = Conv(1 + num_filters, 1)
        for module in self.modules():
            if isinstance(module, ConvNormGelu):
                module.activate = original_activation
        num_taps = pywt.Wavelet(wavelet).dec_len
        self.stride = 2**num_layers
        self.context = max(original_reach(num_layers, kernel_size, merge_kernel_size, num_taps))
        self.shortest = shortest_input(num_layers, num_taps)

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


def shortest_input(num_layers: int, num_taps: int) -> int:
    """The fewest samples with which every level can still reflect by `num_taps` - 1 and has a coefficient left."""
    length = 1
    for _ in range(num_layers):
        length = max(2 * (length + num_taps // 2 - 2), num_taps)
    return length


def original_reach(num_layers: int, kernel_size: int, merge_kernel_size: int, num_taps: int) -> Interval:
    """Samples before and after. Coefficient k reads samples 2k - 1 to 2k + L - 2; synthesis reads (L - 1) // 2 before
    and L // 2 after, and fitting to the skip moves its output by (L - 4) / 2.
    """
    shift = (num_taps - 4) // 2
    return reach(
        num_layers,
        kernel_size,
        merge_kernel_size,
        analysis=lambda span: (2 * span[0] - 1, 2 * span[1] + num_taps - 2),
        synthesis=lambda span: (
            (span[0] - shift - (num_taps - 1) // 2) // 2,
            (span[1] - shift + num_taps // 2 + 1) // 2,
        ),
    )
