"""Short-time Fourier transform as a pair of real tensors, and the mid/side rotation.

The same window is used on both ways, scaled so that its overlapping squares add up to one: analysis followed by
synthesis is the identity (Princen and Bradley, 1986), at half overlap with the root of the Hann window, at more with
Hann's own. Frames are centred on multiples of the hop, counted from the first sample: a chunk that starts at a multiple
of the hop sees the frames that the whole file sees.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Spectrum(NamedTuple):
    """Real and imaginary part, [B, C, F, N] each."""

    real: Tensor
    imaginary: Tensor

    def power(self) -> Tensor:
        return self.real**2 + self.imaginary**2

    def below(self, num_bins: int) -> "Spectrum":
        """The lowest `num_bins` bins."""
        return Spectrum(self.real[:, :, :num_bins], self.imaginary[:, :, :num_bins])

    def minus(self, other: "Spectrum") -> "Spectrum":
        return Spectrum(self.real - other.real, self.imaginary - other.imaginary)


def mid_side(wav: Tensor) -> Tensor:
    """Left/right to mid/side and back: [B, 2, ...] -> [B, 2, ...], orthonormal and its own inverse."""
    first, second = wav[:, :1], wav[:, 1:]
    return torch.cat([first + second, first - second], dim=1) * 0.5**0.5


class TightStft(nn.Module):
    """`analyse` [B, C, T] -> real and imaginary part [B, C, F, N]; `synthesise` is its inverse for any T.

    `overlap`: windows over each sample, 2 or 4. The first frame is centred `lead` samples before the first sample, so
    that this one, too, lies under as many windows as every other.
    """

    window: Tensor

    def __init__(self, window_size: int, overlap: int = 2) -> None:
        super().__init__()
        self.window_size, self.hop = window_size, window_size // overlap
        self.lead = window_size // 2 - self.hop
        window = torch.hann_window(window_size)
        self.register_buffer("window", window.sqrt() if overlap == 2 else window * (8 / 3 / overlap) ** 0.5, False)

    def analyse(self, wav: Tensor) -> Spectrum:
        spectrum = self.spectrum(wav)
        return Spectrum(spectrum.real, spectrum.imag)

    def synthesise(self, real: Tensor, imaginary: Tensor, num_samples: int) -> Tensor:
        return self.sound(torch.complex(real, imaginary), num_samples)

    def spectrum(self, wav: Tensor) -> Tensor:
        """`analyse` in one: complex [B, C, F, N]."""
        # Up to a whole hop, and a window more: the last sample lies under as many windows as every other.
        padded = F.pad(wav, (self.window_size - self.hop, -wav.shape[-1] % self.hop + self.window_size))
        frames = padded.unfold(-1, self.window_size, self.hop)
        return torch.fft.rfft(frames * self.window).transpose(2, 3)

    def sound(self, spectrum: Tensor, num_samples: int) -> Tensor:
        """`synthesise` of it."""
        frames = torch.fft.irfft(spectrum.transpose(2, 3), n=self.window_size) * self.window
        # All windows over a sample are there: nothing to divide by, as `torch.istft` would.
        parts = frames.unflatten(-1, (-1, self.hop)).unbind(3)
        last = len(parts) - 1
        shifted = [part[:, :, last - shift : part.shape[2] - shift] for shift, part in enumerate(parts)]
        return reduce(torch.add, shifted).flatten(2)[..., :num_samples]
