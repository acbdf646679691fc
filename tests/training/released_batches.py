"""Batches for the stages of the released models without audio files: coloured noise, and what an encoder might leave.

All are drawn with NumPy from a seed, so they are the same on every machine.

Shapes: B clips, T samples, K matches, M blocks.
"""

import numpy as np
import torch
from torch import Tensor, nn

HOP = 4096  # samples of a block of `upscale.models.spectral.repetition_search`
BITRATES = (0.0, 64.0, 96.0, 128.0)  # kbit/s, 0 where it is not known


def coloured_noise(rng: np.random.Generator, size: int, num_samples: int) -> np.ndarray:
    """Stereo noise [B, 2, T] with a falling spectrum, partly alike in left and right, louder and softer by turns."""
    white = rng.standard_normal((size, 2, num_samples))
    spectrum = np.fft.rfft(white)
    slope = rng.uniform(0.3, 1.2, (size, 1, 1))
    spectrum *= (1 + np.arange(spectrum.shape[-1]) / 40) ** -slope
    wav = np.fft.irfft(spectrum, n=num_samples)
    width = rng.uniform(0.1, 0.9, (size, 1, 1))
    wav = (1 - width) * wav.mean(axis=1, keepdims=True) + width * wav
    time = np.arange(num_samples) / num_samples
    wav *= 1 + 0.8 * np.sin(2 * np.pi * (rng.uniform(2, 9, (size, 1, 1)) * time + rng.uniform(size=(size, 1, 1))))
    return 0.1 * wav / wav.std(axis=(1, 2), keepdims=True)


def encoded(rng: np.random.Generator, clean: np.ndarray, noise: float = 0.1) -> np.ndarray:
    """`clean` with noise of its own colour, softer, and in every other clip nothing above 11 kHz."""
    spectrum = np.fft.rfft(clean)
    spectrum = spectrum * (1 + noise * (rng.standard_normal(spectrum.shape) + 1j * rng.standard_normal(spectrum.shape)))
    spectrum[::2, :, spectrum.shape[-1] // 2 :] = 0
    return 0.95 * np.fft.irfft(spectrum, n=clean.shape[-1])


def wav_batch(seed: int, size: int, num_samples: int) -> dict[str, Tensor]:
    """`degraded`, `clean` [B, 2, T] and `bitrate` [B]."""
    rng = np.random.default_rng(seed)
    clean = coloured_noise(rng, size, num_samples)
    degraded = encoded(rng, clean)
    gain = 10 ** (rng.uniform(-30, 0, (size, 1, 1)) / 20) * rng.choice([-1, 1], (size, 1, 1))
    batch = {"degraded": gain * degraded, "clean": gain * clean, "bitrate": rng.choice(BITRATES, size)}
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in batch.items()}


def repetition_batch(seed: int, size: int, num_blocks: int, num_matches: int) -> dict[str, Tensor]:
    """`wav_batch` with `filtered` [B, 2, T], `matches` [B, K, 2, T] and `similarity` [B, K, M]."""
    batch = wav_batch(seed, size, num_blocks * HOP)
    rng = np.random.default_rng(seed + 1_000_000)
    clean = batch["clean"].numpy()
    filtered = encoded(rng, clean, noise=0.05)
    matches = np.stack([encoded(rng, clean, noise=0.03 * (2 + match)) for match in range(num_matches)], axis=1)
    others = {
        "filtered": filtered,
        "matches": matches,
        "similarity": rng.uniform(size=(size, num_matches, num_blocks + 1)),
    }
    return batch | {name: torch.tensor(value, dtype=torch.float32) for name, value in others.items()}


@torch.no_grad()
def set_weights(model: nn.Module) -> None:
    """Weights drawn from each parameter's name: the same in whatever order a class makes its parts."""
    for name, parameter in model.named_parameters():
        drawn = torch.tensor(np.random.default_rng(list(name.encode())).standard_normal(parameter.shape)).float()
        if parameter.ndim > 1:
            parameter.copy_(0.5 * drawn / parameter[0].numel() ** 0.5)
        elif name.endswith("band_bias"):  # the same in every new network
            parameter.add_(0.05 * drawn)
        else:
            parameter.copy_(0.05 * drawn + float(name.endswith("norm.weight")))
