"""What the log-magnitude predictor is taught, part by part: log10 powers and correlations, not waveforms.

Shapes: B clips, F bins, N frames, K bands.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from upscale.losses.neurogram import VISQOL_SLOPES, NeurogramSimilarity, gammatone_weights
from upscale.losses.spectral import ROOT_FLOOR
from upscale.metrics.spectral import frame_distance

HIGHEST_BAND_HZ = 24_000  # of what ViSQOL hears
TREBLE_HZ, EMPTY_LOG_POWER = (12_000, 13_000), -9.9  # mean log10 power there under which an encoder left nothing


class LogMagnitude(nn.Module):
    """Log-spectral distance plus a weighted 1 - NSIM of log10 powers `[B, 2, F, N]`, hop 512 at 44.1 kHz.

    `loss(predicted, clean, degraded)`: zero but for `ROOT_FLOOR` where predicted equals clean. The bands of NSIM count
    as they do in ViSQOL. 1 - NSIM counts `dissimilarity_weight` where the degraded clip is empty from 12 to 13 kHz and
    `treble_dissimilarity_weight` where it is not (from 80 kbit/s on): there what ViSQOL hears is near enough.
    """

    weights: Tensor

    def __init__(
        self, num_bins: int = 1024, dissimilarity_weight: float = 1.0, treble_dissimilarity_weight: float = 0.25
    ) -> None:
        super().__init__()
        self.dissimilarity_weight, self.treble_dissimilarity_weight = dissimilarity_weight, treble_dissimilarity_weight
        frequencies = torch.linspace(0, 22_050, num_bins + 1)[:-1]
        weights = gammatone_weights(frequencies, num_bands=32, highest_hz=HIGHEST_BAND_HZ)
        self.register_buffer("weights", weights, persistent=False)
        self.neurogram = NeurogramSimilarity(highest_hz=HIGHEST_BAND_HZ, band_slopes=VISQOL_SLOPES)
        self.treble = slice(*(int((frequencies < edge).sum()) for edge in TREBLE_HZ))

    def forward(self, predicted: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        distance = frame_distance(predicted, clean, dim=2, floor=ROOT_FLOOR).mean()
        dissimilarity = 1 - self.neurogram.similarity(self._heard(predicted), self._heard(clean))
        empty = degraded[:, :, self.treble].mean(dim=(1, 2, 3)) < EMPTY_LOG_POWER
        weight = torch.where(empty, self.dissimilarity_weight, self.treble_dissimilarity_weight)
        return distance + (weight * dissimilarity).mean()

    def _heard(self, log_power: Tensor) -> Tensor:
        """Frames of 12 ms to what an auditory spectrogram sees in 80 ms, every 23 ms: `[B, bands, frames]`."""
        return functional.avg_pool1d(self.weights @ (10**log_power).mean(dim=1), kernel_size=5, stride=2)


class BandEnvelope(nn.Module):
    """Root mean square difference over the bands of log10 powers `[B, 2, K, N]`, averaged over frames and channels.

    `loss(predicted, target)`: bands whose target is not a number are not known and do not count.
    """

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        square = known_error(predicted, target).square().sum(dim=2) / target.isfinite().sum(dim=2)
        return square.add(ROOT_FLOOR).sqrt().mean()


class StereoCorrelation(nn.Module):
    """Mean square difference of log10 of the power that two channels of one level and this correlation have as a sum.

    `loss(predicted, target)`, correlations -1 to 1 `[B, K, N]`, in the target not a number where not known.
    `least_power`: added to a power of 1 to 2: how much quieter a sum may be without being known better.
    """

    def __init__(self, least_power: float = 0.05) -> None:
        super().__init__()
        self.least_power = least_power

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        estimate, wanted = (torch.log10(1 + self.least_power + correlation) for correlation in (predicted, target))
        return known_error(estimate, wanted).square().sum() / wanted.isfinite().sum().clamp(min=1)


def known_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Their difference, and zero where the target is not a number."""
    return torch.where(target.isfinite(), predicted - target, 0)
