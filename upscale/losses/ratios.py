"""Powers and ratios that every loss of waveforms is made of, and the check of shapes at its door."""

import torch
from torch import Tensor

from upscale.metrics.waveform import project

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


def scaled_error(wav: Tensor, clean: Tensor, noise_power: float) -> Tensor:
    """1 / SI-SDR as a ratio of powers, `noise_power` added to both: `[B, C, T] -> [B]`."""
    target = project(clean, wav, noise_energy=noise_power * clean[0].numel())
    return (power(wav - target) + noise_power) / (power(target) + noise_power)


def plain_error(wav: Tensor, clean: Tensor, noise_power: float) -> Tensor:
    """1 / SDR as a ratio of powers, `noise_power` added to both: `[B, C, T] -> [B]`."""
    return (power(wav - clean) + noise_power) / (power(clean) + noise_power)
