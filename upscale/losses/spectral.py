"""Losses of short-time spectra."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from upscale.losses.ratios import NOISE_POWER, check_shapes
from upscale.metrics.spectral import POWER_FLOOR, frame_distance

ROOT_FLOOR = 1e-8  # under the root of a frame's distance, whose slope would not be finite at zero


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


def log_spectral_distance(wav: Tensor, clean: Tensor, num_fft: int = 2048, hop: int = 512) -> Tensor:
    """`upscale.metrics.lsd` with a finite gradient, over the frames that lie within the clips, as one number."""
    estimate, reference = (log_power(each, num_fft, hop) for each in (wav, clean))
    return frame_distance(estimate, reference, dim=1, floor=ROOT_FLOOR).mean()


def log_power(wav: Tensor, num_fft: int, hop: int) -> Tensor:
    """`[B, C, T] -> [B * C, bins, frames]`, log10 of the power with the metric's scale and floor."""
    window = torch.hann_window(num_fft, device=wav.device)
    spectrum = torch.stft(wav.flatten(0, 1), num_fft, hop, window=window, return_complex=True, center=False)
    return torch.log10(torch.view_as_real(spectrum / window.sum()).square().sum(dim=-1) + POWER_FLOOR)
