"""A loss of what is heard: auditory spectrograms, compared as ViSQOL compares them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from upscale.losses.ratios import check_shapes

# What the opinion score of ViSQOL 3 in audio mode gains per NSIM of one in each of its 32 bands, from 50 Hz to 24 kHz:
# the slope of its regression (`libsvm_nu_svr_model.txt`), which is all but a plane. It hears little below 7 kHz.
VISQOL_SLOPES = (
    *(0.06, 0.02, 0.0, 0.0, 0.0, 0.01, 0.03, 0.04, 0.03, 0.03, 0.03, 0.03, 0.03, 0.02, 0.02, 0.02),
    *(0.02, 0.02, 0.02, 0.0, 0.0, 0.01, 0.02, 0.08, 0.31, 0.37, 0.46, 0.55, 0.56, 0.44, 0.37, 0.25),
)


class NeurogramSimilarity(nn.Module):
    """1 - NSIM of the mean channel: how unlike two auditory spectrograms are, 0 where restored equals clean.

    A differentiable relative of what ViSQOL compares (Hines et al., ViSQOLAudio, 2015; Chinen et al., 2020): 32 bands
    of a gammatone filter on the ERB scale from 50 Hz, here as weights on the power spectrum of 80 ms frames every
    20 ms, in 10 log10 of amplitude, no lower than 45 under each frame's loudest band, compared by mean and by
    correlation in neighbourhoods of 3 x 3 (structural similarity). A clip must have `num_fft` samples.

    `band_slopes`: how much each band counts beside the others (`VISQOL_SLOPES` for the opinion score); all the same if
    left out. `highest_hz`: where the bands end, half the sample rate if left out; 24,000 in ViSQOL.
    """

    weights: Tensor
    window: Tensor
    kernel: Tensor
    shares: Tensor

    def __init__(
        self,
        sample_rate: int = 44_100,
        num_bands: int = 32,
        num_fft: int = 4096,
        highest_hz: float | None = None,
        band_slopes: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        slopes = torch.tensor(band_slopes or [1.0] * num_bands)
        if len(slopes) != num_bands:
            raise ValueError(f"there are {num_bands} bands, but {len(slopes)} slopes")
        self.register_buffer("shares", slopes / slopes.sum(), persistent=False)
        self.num_fft, self.hop = num_fft, round(0.02 * sample_rate)
        self.register_buffer("window", torch.ones(round(0.08 * sample_rate)), persistent=False)
        frequencies = torch.linspace(0, sample_rate / 2, num_fft // 2 + 1)
        weights = gammatone_weights(frequencies, num_bands, highest_hz or sample_rate / 2)
        self.register_buffer("weights", weights, persistent=False)
        row = torch.tensor([0.08383, 0.61949, 0.08383])
        kernel = torch.cat([0.13532 * row, row, 0.13532 * row])
        self.register_buffer("kernel", (kernel / kernel.sum())[:, None], persistent=False)

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        if restored.shape[-1] < self.num_fft:
            raise ValueError(f"clips of {restored.shape[-1]} samples are too short: {self.num_fft} are needed")
        return (1 - self.similarity(self.bands(restored), self.bands(clean))).mean()

    def bands(self, wav: Tensor) -> Tensor:
        """Power per band and frame of `[B, C, T]`: `[B, bands, frames]`."""
        window, length = self.window, len(self.window)
        mono = wav.mean(dim=1)
        spectrum = torch.stft(mono, self.num_fft, self.hop, length, window=window, center=False, return_complex=True)
        return self.weights @ torch.view_as_real(spectrum).square().sum(dim=-1) / (self.num_fft * length)

    def similarity(self, power: Tensor, other: Tensor) -> Tensor:
        """NSIM of two band powers `[B, bands, frames]`: `[B]`."""
        levels = [5 * torch.log10(values + 1e-12) for values in (power, other)]
        loudest = torch.maximum(*(level.amax(dim=1, keepdim=True) for level in levels)).detach()
        levels = [torch.maximum(level, loudest - 45) for level in levels]
        lowest = torch.minimum(*(level.amin(dim=(1, 2), keepdim=True) for level in levels)).detach()
        one, two = (neighbourhoods(level - lowest) for level in levels)
        mean_one, mean_two = (self.kernel * one).sum(dim=1), (self.kernel * two).sum(dim=1)
        # From differences: the squares of levels are too large for float32 to subtract them.
        one, two = one - mean_one[:, None], two - mean_two[:, None]
        variances = [(self.kernel * image.square()).sum(dim=1) + 4.5e-4 for image in (one, two)]
        covariance = (self.kernel * one * two).sum(dim=1) + 4.5e-4
        intensity = (2 * mean_one * mean_two + 1e-4) / (mean_one**2 + mean_two**2 + 1e-4)
        similarity = intensity * covariance / (variances[0] * variances[1]).sqrt()
        return similarity.unflatten(1, power.shape[1:]).mean(dim=2) @ self.shares


def neighbourhoods(image: Tensor) -> Tensor:
    """`[B, H, W] -> [B, 9, H * W]`: each pixel and those around it, edges repeated."""
    return functional.unfold(functional.pad(image[:, None], (1, 1, 1, 1), mode="replicate"), kernel_size=3)


def gammatone_weights(frequencies: Tensor, num_bands: int, highest_hz: float, lowest_hz: float = 50.0) -> Tensor:
    """Power responses `[bands, bins]` of fourth-order gammatone filters, spaced and as wide as Glasberg and Moore say.

    `frequencies` are those of the bins, in Hz; centre frequencies as in Slaney's Auditory Toolbox (1998).
    """
    quality, narrowest_hz = 9.26449, 24.7
    corner = quality * narrowest_hz
    step = math.log((lowest_hz + corner) / (highest_hz + corner)) / num_bands
    centres = (torch.exp(torch.arange(1, num_bands + 1) * step) * (highest_hz + corner) - corner).flip(0)[:, None]
    bandwidth = 1.019 * (centres / quality + narrowest_hz)
    return (1 + ((frequencies - centres) / bandwidth) ** 2) ** -4
