"""Spectral fill network: the model behind the released `perceptual` weights.

It restores like `SpectralCascade`, then fills what the encoder threw away: the region above its low-pass and the holes
below it. What was there cannot be known, but how loud it was can be guessed from the rest of the frame, so the network
predicts a level per bin and frame, and a fixed texture gets that level.

The texture matters more than it seems. Between two spectra of independent noise the root mean square difference of
log10 power is 0.79, between noise and a spectrum without ripples only 0.56, so the texture is noise whose short-time
spectrum was made as flat as one can be (Griffin and Lim, 1984, with all magnitudes one). It repeats after `period`
samples, counted from the start of the file, which is also the stride of this model: chunks see what the whole sees.

Shapes: B clips, C channels, T samples, F bins, N frames, K bands.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.spectral_cascade import SpectralCascade
from upscale.models.spectral_filter import FLOOR, SILENCE, FrameNetwork, SpectralFilter, TrunkBlock
from upscale.models.stft import mid_side

LOWEST, HIGHEST = -5.0, 1.0  # of the fill, log10 amplitude relative to the local level


def flat_noise(period: int, window_size: int = 2048, num_iterations: int = 40) -> Tensor:
    """Periodic noise [period] of power one, its Hann spectrum (hop a quarter) nearly flat; always the same."""
    hop = window_size // 4
    window = torch.hann_window(window_size)
    generator = torch.Generator().manual_seed(0)
    wav = torch.randn(period, generator=generator)
    for _ in range(num_iterations):
        extended = torch.cat([wav[-window_size:], wav, wav[:window_size]])
        spectrum = torch.stft(extended, window_size, hop, window=window, return_complex=True, pad_mode="constant")
        spectrum = spectrum / spectrum.abs().clamp(min=1e-6)
        extended = torch.istft(spectrum, window_size, hop, window=window, length=len(extended))
        wav = extended[window_size:-window_size]
    return wav / wav.square().mean().sqrt()


class SpectralFill(nn.Module):
    """`SpectralCascade` (its arguments first) and a level for the texture per bin, frame and channel."""

    texture: Tensor

    def __init__(
        self,
        width: int = 32,
        num_blocks: int = 4,
        fold: int = 4,
        num_bands: int = 64,
        frame_width: int = 128,
        average_frames: int = 24,
        window_size: int = 2048,
        fine_window_size: int = 8192,
        fill_width: int = 24,
        num_fill_blocks: int = 2,
        fill_frame_width: int = 256,
        period: int = 32768,
    ) -> None:
        super().__init__()
        self.filter = SpectralCascade(
            width, num_blocks, fold, num_bands, frame_width, average_frames, window_size, fine_window_size
        )
        self.channels, self.sample_rate = self.filter.channels, self.filter.sample_rate
        self.stride = math.lcm(period, self.filter.stride)
        self.context = self.filter.context + (num_fill_blocks + 5) * self.coarse.stride
        self.register_buffer("texture", flat_noise(period))

        self.num_bands, self.fold, self.fill_width = num_bands, fold, fill_width
        num_outputs = num_fill_blocks * fill_width + 2 * num_bands
        self.frame_network = FrameNetwork(8 * num_bands + 2, fill_frame_width, num_outputs, num_layers=4)
        self.band_bias = nn.Parameter(torch.linspace(-1.5, -3.0, num_bands).repeat(2))
        self.head = nn.Conv2d(4 * fold, fill_width, kernel_size=1)
        self.blocks = nn.ModuleList([TrunkBlock(fill_width, 1 + block, 1) for block in range(num_fill_blocks)])
        self.tail = nn.Conv2d(fill_width, 2 * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def coarse(self) -> SpectralFilter:
        """Its transform and its view of a frame are the fill's, too."""
        return self.filter.coarse

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return wav + (1 - self.filter.guard(wav, bitrate)) * (self.restore(wav, bitrate) - wav)

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The same for a file that is not good already; what is trained."""
        filtered_wav = self.filter.restore(wav, bitrate)
        degraded, filtered = self.coarse.stft.analyse(wav), self.coarse.stft.analyse(filtered_wav)
        width = self.stereo_width((mid_side(degraded[0]), mid_side(degraded[1])))
        fill = self.fill(degraded, filtered, width, bitrate)
        texture = self.texture_spectrum(width, num_samples=wav.shape[-1])
        real, imaginary = (F.pad(fill * noise, (0, 0, 0, 1)) for noise in texture)
        return filtered_wav + self.coarse.stft.synthesise(real, imaginary, num_samples=wav.shape[-1])

    def stereo_width(self, rotated: tuple[Tensor, Tensor]) -> Tensor:
        """How loud side is beside mid around each frame: [B, 1, 1, N], 0 for mono, 1 from -9 dB on."""
        power = (rotated[0] ** 2 + rotated[1] ** 2).mean(dim=2)
        mean = self.coarse.local_mean(power) + 1e-3 * SILENCE
        ratio = mean[:, 1:] / mean[:, :1]
        return torch.sqrt((8 * ratio).clamp(min=1e-12, max=1.0))[:, :, None]

    def fill(
        self,
        degraded: tuple[Tensor, Tensor],
        filtered: tuple[Tensor, Tensor],
        width: Tensor,
        bitrate: Tensor | None,
    ) -> Tensor:
        """Amplitude of the texture [B, 2, F - 1, N] from the left/right spectra before and after the filter."""
        num_bins = self.coarse.num_bins
        power = (degraded[0] ** 2 + degraded[1] ** 2)[:, :, :num_bins]
        kept = (filtered[0] ** 2 + filtered[1] ** 2)[:, :, :num_bins]
        level = self.coarse.local_mean(power.mean(dim=(1, 2))[:, None])[:, :, None] + SILENCE
        log_power, log_kept = torch.log10(power / level + FLOOR), torch.log10(kept / level + FLOOR)

        frames = self.frame_network(self.coarse.frame_features(log_power, power / level, bitrate))
        offsets, bands = frames[:, : -2 * self.num_bands], frames[:, -2 * self.num_bands :]
        bands = (bands + self.band_bias[:, None]).unflatten(1, (2, self.num_bands))
        bands = F.interpolate(bands, size=(num_bins, bands.shape[-1]), mode="bilinear", align_corners=False)
        hidden = self.head(self.coarse.fold_bins(torch.cat([log_power, log_kept], dim=1) * 0.5 + 1))
        for block, offset in zip(self.blocks, offsets.split(self.fill_width, dim=1), strict=True):
            hidden = block(hidden, offset[:, :, None])
        log_amplitude = bands + self.coarse.unfold(self.tail(hidden))
        centre = log_amplitude.mean(dim=1, keepdim=True)
        log_amplitude = centre + width * (log_amplitude - centre)
        return 10 ** log_amplitude.clamp(LOWEST, HIGHEST) * level.sqrt()

    def texture_spectrum(self, width: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
        """The texture's spectrum, left and right [B, 2, F - 1, N], of mean power one per bin.

        The same texture goes to both channels, turned by up to 90 degrees against each other as the music gets wider:
        flat in both, decorrelated where the music is wide, identical where it is mono.
        """
        # Positive integers and narrow: what an exported graph computes alike for any length.
        repeats = (num_samples + self.stride - 1) // self.stride
        wav = self.texture.repeat(repeats).narrow(0, 0, num_samples).expand(1, 1, -1)
        real, imaginary = self.coarse.stft.analyse(wav)
        scale = self.coarse.stft.window.square().sum().rsqrt()  # white noise of power one is to have one per bin
        real, imaginary = real[:, :, :-1] * scale, imaginary[:, :, :-1] * scale
        angle = 0.25 * math.pi * width
        cosine, sine = torch.cos(angle), torch.sin(angle) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).to(real)
        return real * cosine - imaginary * sine, real * sine + imaginary * cosine
