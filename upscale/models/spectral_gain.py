"""Spectral gain network: every time-frequency coefficient of a degraded file is turned up or down a little.

An MP3 encoder adds noise that differs from one coefficient to the next, so the network works where that shows: on the
short-time spectrum of mid and side, looking at magnitudes only, and answers with one real gain per coefficient.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.layers.stft import TightStft, mid_side


class GainBlock(nn.Module):
    """Residual block: 3x3 convolution over bin and frame, dilated along bins, GELU, 1x1 convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, kernel_size=3, padding=(dilation, 1), dilation=(dilation, 1))
        self.out = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.out(F.gelu(self.mix(hidden)))


class SpectralGain(nn.Module):
    """Real gain per bin, frame and mid/side on a short-time Fourier transform; the untrained model is the identity."""

    position: Tensor

    def __init__(self, width: int = 16, num_blocks: int = 4, window_size: int = 2048) -> None:
        super().__init__()
        self.channels, self.sample_rate = 2, 44100
        self.stft = TightStft(window_size)
        self.stride = self.stft.hop
        self.context = (num_blocks + 2) * self.stride
        num_bins = window_size // 2 + 1
        self.register_buffer("position", torch.linspace(-1, 1, num_bins).view(1, 1, -1, 1), persistent=False)
        self.head = nn.Conv2d(3, width, kernel_size=1)
        self.bin_bias = nn.Parameter(torch.zeros(1, width, num_bins, 1))
        self.blocks = nn.ModuleList([GainBlock(width=width, dilation=2**i) for i in range(num_blocks)])
        self.tail = nn.Conv2d(width, 2, kernel_size=1)
        self.equaliser = nn.Parameter(torch.zeros(1, 2, num_bins, 1))
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T] -> [B, 2, T]; the bitrate is not used."""
        real, imaginary = self.stft.analyse(mid_side(wav))
        gain = 1 + self.gain(real**2 + imaginary**2)
        return mid_side(self.stft.synthesise(gain * real, gain * imaginary, num_samples=wav.shape[-1]))

    def gain(self, power: Tensor) -> Tensor:
        """Power [B, 2, F, N] -> real [B, 2, F, N], the change of gain: 0 keeps a coefficient."""
        level = 0.5 * torch.log10(power + 1e-8)
        position = self.position.expand(level.shape[0], 1, -1, level.shape[-1])
        hidden = self.head(torch.cat([level, position], dim=1)) + self.bin_bias
        for block in self.blocks:
            hidden = block(hidden)
        return torch.tanh(self.tail(hidden)) + self.equaliser
