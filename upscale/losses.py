"""What training minimises: modules `loss(restored, clean, degraded) -> scalar`, wavs `[B, C, T]`, averaged over clips.

One power stabilises every ratio, so that silence costs nothing and its gradient is finite:

    NOISE_POWER = 1e-10, -100 dB full scale: the rounding noise of 16-bit samples. An error below it cannot be stored.

`sdr` and `fidelity` are in dB. Where they are zero, and how low they go, stands in each docstring.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

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
