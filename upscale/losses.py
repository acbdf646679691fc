"""What training minimises: modules `loss(restored, clean, degraded) -> scalar`, wavs `[B, C, T]`, averaged over clips.

One power stabilises every ratio, so that silence costs nothing and its gradient is finite:

    NOISE_POWER = 1e-10, -100 dB full scale: the rounding noise of 16-bit samples. An error below it cannot be stored.

`sdr` and `fidelity` are in dB. Where they are zero, and how low they go, stands in each docstring.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NOISE_POWER = 1e-10


def check_shapes(restored: Tensor, clean: Tensor, degraded: Tensor) -> None:
    """Raise ValueError unless all three are `[B, C, T]` of one shape: broadcasting would train on nonsense."""
    if restored.ndim != 3 or not restored.shape == clean.shape == degraded.shape:
        shapes = f"restored {list(restored.shape)}, clean {list(clean.shape)}, degraded {list(degraded.shape)}"
        raise ValueError(f"a loss compares wavs of one shape [B, C, T]; got {shapes}")


def power(wav: Tensor) -> Tensor:
    """Mean square over channels and samples: `[B, C, T] -> [B]`."""
    return wav.square().mean(dim=(1, 2))


def decibels(ratio: Tensor) -> Tensor:
    return 10 * torch.log10(ratio)


class MSE(nn.Module):
    """Mean squared error; zero where restored equals clean. The original's loss."""

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        return power(restored - clean).mean()


class SDR(nn.Module):
    """Negative signal-to-distortion ratio in dB with a soft ceiling, moved up by that ceiling so that it ends at zero.

        10 log10((error + floor) / floor),    floor = clean power / 10^(ceiling_db / 10) + NOISE_POWER

    Zero where restored equals clean; `ceiling_db` minus the SDR while the SDR is well below the ceiling.
    The soft threshold is that of Wisdom et al., Unsupervised Sound Separation Using Mixture Invariant Training (2020).
    """

    def __init__(self, ceiling_db: float = 60.0) -> None:
        super().__init__()
        self.ceiling_db = ceiling_db

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        floor = power(clean) * 10 ** (-self.ceiling_db / 10) + NOISE_POWER
        return decibels((power(restored - clean) + floor) / floor).mean()


class Fidelity(nn.Module):
    """The error in dB against the input's own error, clip by clip: below zero where restoring helped.

        10 log10((|restored - clean|^2 + NOISE_POWER) / (|degraded - clean|^2 + NOISE_POWER))

    Zero where restored equals degraded: nothing gained, nothing lost. Where restored equals clean it is at its lowest,
    10 log10(NOISE_POWER / (input's error + NOISE_POWER)): -60 dB for an input error of -40 dB full scale, and zero for
    an input that is clean already. Each clip counts alike, loud or quiet, 48 or 320 kbit/s.
    """

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        error, input_error = power(restored - clean), power(degraded - clean)
        return decibels((error + NOISE_POWER) / (input_error + NOISE_POWER)).mean()


class MultiResolutionSTFT(nn.Module):
    """Distance between spectra at several window lengths (periodic Hann, hop a quarter), averaged over them.

    magnitude: mean |log(restored magnitude) - log(clean magnitude)|, after Yamamoto et al., Parallel WaveGAN (2020)
    complex: sum |restored - clean| over sum |clean|, which also asks for the phase

    Magnitudes are sqrt(power + eps) of the spectrum scaled by 1/sum(window); eps is the magnitude of NOISE_POWER, so
    that bins below the rounding noise count little and have a finite gradient. Zero where restored equals clean.
    A clip must be longer than half the longest window.
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (512, 1024, 2048),
        magnitude_weight: float = 1.0,
        complex_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.fft_sizes = tuple(fft_sizes)
        self.magnitude_weight, self.complex_weight = magnitude_weight, complex_weight
        for size in self.fft_sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        check_shapes(restored, clean, degraded)
        if restored.shape[-1] <= max(self.fft_sizes) // 2:
            needed = max(self.fft_sizes) // 2
            raise ValueError(f"clips of {restored.shape[-1]} samples are too short: more than {needed} are needed")
        return torch.stack([self._distance(restored, clean, size) for size in self.fft_sizes]).mean()

    def _distance(self, restored: Tensor, clean: Tensor, size: int) -> Tensor:
        estimate, reference = self._spectrum(restored, size), self._spectrum(clean, size)
        magnitude = (_log_magnitude(estimate) - _log_magnitude(reference)).abs().mean()
        floor = NOISE_POWER**0.5
        error = (estimate - reference).abs().mean(dim=(1, 2, 3))
        complex_ = (error / (reference.abs().mean(dim=(1, 2, 3)) + floor)).mean()
        return self.magnitude_weight * magnitude + self.complex_weight * complex_

    def _spectrum(self, wav: Tensor, size: int) -> Tensor:
        """`[B, C, T] -> [B, C, bins, frames]`, complex."""
        window = self.get_buffer(f"window_{size}")
        batch, channels, _ = wav.shape
        spectrum = torch.stft(wav.flatten(0, 1), size, hop_length=size // 4, window=window, return_complex=True)
        return (spectrum / window.sum()).unflatten(0, (batch, channels))


def _log_magnitude(spectrum: Tensor) -> Tensor:
    """Natural log of the magnitude; adding the noise power under the root keeps the gradient finite at zero."""
    return 0.5 * torch.log(torch.view_as_real(spectrum).square().sum(dim=-1) + NOISE_POWER)


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


class Mix(nn.Module):
    """A weighted sum of losses: `losses` by name, and a weight for each name."""

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if set(losses) != set(weights):
            raise ValueError(f"losses {sorted(losses)} and weights {sorted(weights)} must have the same names")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)

    def forward(self, restored: Tensor, clean: Tensor, degraded: Tensor) -> Tensor:
        terms = [self.weights[name] * loss(restored, clean, degraded) for name, loss in self.losses.items()]
        return torch.stack(terms).sum()
