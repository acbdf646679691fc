"""Spectral level network: how loud was each bin of each frame before MP3?

It predicts the mean of the log power that the clean sound may have had, bin by bin, on the very spectrum by which the
log-spectral distance is published (Hann 2048, hop 512, scaled to a full-scale sine, with a floor of 1e-10), so squared
error in that distance is what it minimises. Two parts answer:

- the frame network sees each frame in coarse bands, with a second of context, and says how loud each band was: it knows
  an instrument by what is left of it;
- the trunk sees single bins and says, per bin and frame, whether to believe what the decoder gave or that level.

The floor is of the publication, not of hearing: what lies under it is let be.

Shapes: B clips, C channels, T samples, F bins, N frames, K bands.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.guard import local_mean
from upscale.models.spectral_filter import TrunkBlock, bitrate_features, fold_bins, unfold_bins
from upscale.models.stft import TightStft, mid_side

POWER_FLOOR = 1e-10  # that of upscale.metrics.lsd
Spectrum = tuple[Tensor, Tensor]
DILATIONS = (1, 2, 4, 8, 16)  # of the frame network, in frames


class DilatedFrameNetwork(nn.Module):
    """Dilated convolutions over time, from what a whole frame looks like: [B, inputs, N] -> [B, outputs, N]."""

    def __init__(self, num_inputs: int, width: int, num_outputs: int) -> None:
        super().__init__()
        self.head = nn.Conv1d(num_inputs, width, kernel_size=1)
        self.layers = nn.ModuleList([nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in DILATIONS])
        outs = [nn.Conv1d(width, width, kernel_size=1) for _ in DILATIONS]
        for out in outs:
            nn.init.normal_(out.weight, std=0.02)
        self.outs = nn.ModuleList(outs)
        self.tail = nn.Conv1d(width, num_outputs, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.head(frames)
        for layer, out in zip(self.layers, self.outs, strict=True):
            hidden = hidden + out(F.gelu(layer(hidden)))
        return self.tail(F.gelu(hidden))


class SpectralLevel(nn.Module):
    """Spectra of the degraded wav and of what a filter made of it to log10 power [B, 2, F - 1, N], left and right.

    A spectrum is what `stft.analyse` gives for [B, 2, T]: real and imaginary part, [B, 2, F, N] each.
    """

    def __init__(
        self,
        width: int = 64,
        num_blocks: int = 4,
        fold: int = 8,
        num_bands: int = 64,
        frame_width: int = 384,
        average_frames: int = 48,
        window_size: int = 2048,
    ) -> None:
        super().__init__()
        self.stft = TightStft(window_size, overlap=4)
        self.power_scale = float(1 / self.stft.window.sum() ** 2)
        self.width, self.fold, self.num_bands, self.average_frames = width, fold, num_bands, average_frames
        self.num_bins = window_size // 2  # without the one at half the sample rate
        self.context = (2 * average_frames + sum(DILATIONS) + num_blocks + 8) * self.stft.hop

        self.frame_network = DilatedFrameNetwork(8 * num_bands + 3, frame_width, num_blocks * width + 4 * num_bands)
        self.head = nn.Conv2d(4 * fold, width, kernel_size=1)
        self.position = nn.Parameter(torch.zeros(1, width, self.num_bins // fold, 1))
        self.blocks = nn.ModuleList([TrunkBlock(width, 1 + block % 2, 1) for block in range(num_blocks)])
        self.tail = nn.Conv2d(width, 4 * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        falling, rising = torch.linspace(-1, -3, num_bands), torch.linspace(-2, 1, num_bands)
        self.band_bias = nn.Parameter(torch.cat([falling, falling, rising, rising]))

    def forward(self, degraded: Spectrum, filtered: Spectrum, bitrate: Tensor | None = None) -> Tensor:
        log_power = self.log_power(with_mid_side(degraded))
        level = local_mean((10 ** log_power[:, :2]).mean(dim=(1, 2))[:, None], self.average_frames)
        level = torch.log10(level)[:, :, None]
        relative = log_power - level

        frames = self.frame_network(self.frame_features(relative, level, bitrate))
        offsets, bands = frames[:, : -4 * self.num_bands], frames[:, -4 * self.num_bands :]
        bands = (bands + self.band_bias[:, None]).unflatten(1, (4, self.num_bands))
        bands = F.interpolate(bands, size=(self.num_bins, bands.shape[-1]), mode="bilinear", align_corners=False)
        hidden = self.head(fold_bins(relative * 0.5 + 1, self.fold)) + self.position
        for block, offset in zip(self.blocks, offsets.split(self.width, dim=1), strict=True):
            hidden = block(hidden, offset[:, :, None])
        answer = bands + unfold_bins(self.tail(hidden), self.fold)
        predicted, doubt = answer[:, :2] + level, torch.sigmoid(answer[:, 2:])
        given = self.log_power(filtered)
        return given + doubt * (predicted - given)

    def log_power(self, spectrum: Spectrum) -> Tensor:
        """Spectrum [B, C, F, N] -> [B, C, F - 1, N], log10 power as `upscale.metrics.lsd` takes it, with its floor."""
        real, imaginary = (part[:, :, :-1] for part in spectrum)
        return torch.log10((real**2 + imaginary**2) * self.power_scale + POWER_FLOOR)

    def frame_features(self, relative: Tensor, level: Tensor, bitrate: Tensor | None) -> Tensor:
        """Mean log power per band, now and on average, how uneven the band is, bitrate and level: [B, 8 K + 3, N]."""
        size = (self.num_bins // self.num_bands, 1)
        now = F.avg_pool2d(relative, size).flatten(1, 2)
        left_right = now[:, : 2 * self.num_bands]
        uneven = torch.log10(F.avg_pool2d(10 ** relative[:, :2], size)).flatten(1, 2) - left_right
        slow = local_mean(left_right, self.average_frames)
        features = [now * 0.5 + 1, uneven, slow * 0.5 + 1, bitrate_features(now, bitrate), level[:, :, 0] * 0.5 + 2]
        return torch.cat(features, dim=1)


def with_mid_side(spectrum: Spectrum) -> Spectrum:
    """[B, 2, F, N] -> [B, 4, F, N]: the mean and half the difference after left and right, as loud as one of them."""
    real, imaginary = (torch.cat([part, 0.5**0.5 * mid_side(part)], dim=1) for part in spectrum)
    return real, imaginary
