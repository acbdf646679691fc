"""Spectral filter network: the model behind the released `fidelity` weights.

An MP3 encoder rounds each coefficient, so its error differs from one time-frequency coefficient to the next and the
network works where that shows: on the short-time spectrum of mid and side. Three parts answer, from cheap to fine:

- the frame network sees each frame in coarse bands, with seconds of context and the bitrate where it is known, and
  says per band how far the others may go (at 320 kbit/s: hardly at all);
- the backbone sees single bins and says, per bin and frame, how much to turn the coefficient up or down;
- the coefficient of the other channel may be added where mid and side are coherent, because joint stereo often
  leaves one of the two with holes.

Everything is relative to the local level, so that a quiet file is treated like a loud one.

Shapes: B clips, C channels, T samples, F bins, N frames, K bands.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.layers.backbone import (
    BackboneBlock,
    FrameNetwork,
    bins_to_channels,
    bitrate_features,
    channels_to_bins,
)
from upscale.models.layers.moving_average import (
    RELATIVE_FLOOR,
    SILENT_POWER,
    frame_level,
    local_average,
    moving_average,
)
from upscale.models.layers.stft import TightStft, mid_side


class SpectralFilter(nn.Module):
    """Gains and a mid/side cross term per bin and frame; the untrained model is the identity.

    `fold`: neighbouring bins that share one position of the backbone. `average_frames`: the level and the slow features
    are averaged over as many frames on each side.
    """

    def __init__(
        self,
        width: int = 32,
        num_blocks: int = 4,
        fold: int = 4,
        num_bands: int = 64,
        frame_width: int = 128,
        average_frames: int = 24,
        window_size: int = 2048,
    ) -> None:
        super().__init__()
        self.channels, self.sample_rate = 2, 44100
        self.stft = TightStft(window_size)
        self.stride = self.stft.hop
        self.num_bins = window_size // 2  # the bin at half the sample rate is passed through
        self.width, self.fold, self.num_bands, self.average_frames = width, fold, num_bands, average_frames

        frame_dilations = [2 if block == 2 else 1 for block in range(num_blocks)]
        # In frames: an average of features relative to an average, the frame network, the backbone, two transforms.
        self.context = (2 * average_frames + 2 + sum(frame_dilations) + 4) * self.stride

        self.frame_network = FrameNetwork(8 * num_bands + 2, frame_width, num_blocks * width + 5 * num_bands)
        self.head = nn.Conv2d(5 * fold, width, kernel_size=1)
        self.bin_bias = nn.Parameter(torch.zeros(1, width, self.num_bins // fold, 1))
        self.blocks = nn.ModuleList(
            [
                BackboneBlock(width, bin_dilation=1 + block % 3, frame_dilation=d)
                for block, d in enumerate(frame_dilations)
            ]
        )
        self.tail = nn.Conv2d(width, 4 * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]."""
        real, imaginary = self.stft.analyse(mid_side(wav))
        real, imaginary = self.restore_spectrum(real, imaginary, bitrate)
        return mid_side(self.stft.synthesise(real, imaginary, num_samples=wav.shape[-1]))

    def restore_spectrum(self, real: Tensor, imaginary: Tensor, bitrate: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mid/side spectrum [B, 2, F, N], real and imaginary part, in and out."""
        nyquist = real[:, :, self.num_bins :], imaginary[:, :, self.num_bins :]
        real, imaginary = real[:, :, : self.num_bins], imaginary[:, :, : self.num_bins]
        power = real**2 + imaginary**2
        level = frame_level(power, self.average_frames) + SILENT_POWER
        log_power = torch.log10(power / level + RELATIVE_FLOOR)
        other_real, other_imaginary, coherence, mismatch = self.from_other_channel(real, imaginary, power, level)

        frames = self.frame_network(self.frame_features(log_power, power / level, bitrate))
        offsets, bands = frames[:, : -5 * self.num_bands], frames[:, -5 * self.num_bands :]
        bands = bands.unflatten(1, (5, self.num_bands)).repeat_interleave(self.num_bins // self.num_bands, dim=2)
        hidden = self.backbone(torch.cat([0.5 * log_power + 1, coherence, mismatch], dim=1), offsets)
        fine = channels_to_bins(self.tail(hidden), self.fold)

        freedom = torch.exp(bands[:, 2:4].clamp(-8, 2))
        gain = 1 + torch.tanh(fine[:, :2] * freedom) + 0.1 * bands[:, :2]
        cross = torch.tanh(fine[:, 2:] * torch.exp(bands[:, 4:].clamp(-8, 2)))
        real = gain * real + cross * other_real
        imaginary = gain * imaginary + cross * other_imaginary
        return torch.cat([real, nyquist[0]], dim=2), torch.cat([imaginary, nyquist[1]], dim=2)

    def from_other_channel(
        self, real: Tensor, imaginary: Tensor, power: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each of mid and side predicted from the other by their local cross spectrum, and how well that does.

        Returns the prediction [B, 2, F, N] (real, imaginary), the coherence [B, 1, F, N] in 0..1, and the log10 power
        of prediction minus coefficient relative to the coefficient [B, 2, F, N].
        """
        cross_real = local_average(real[:, :1] * real[:, 1:] + imaginary[:, :1] * imaginary[:, 1:])
        cross_imaginary = local_average(imaginary[:, :1] * real[:, 1:] - real[:, :1] * imaginary[:, 1:])
        average = local_average(power) + RELATIVE_FLOOR * level
        swapped = average.flip(1)  # mid = <mid side*> / <|side|^2> side, and the other way round
        slope_real = cross_real / swapped
        slope_imaginary = torch.cat([cross_imaginary, -cross_imaginary], dim=1) / swapped
        other_real, other_imaginary = real.flip(1), imaginary.flip(1)
        predicted_real = slope_real * other_real - slope_imaginary * other_imaginary
        predicted_imaginary = slope_real * other_imaginary + slope_imaginary * other_real
        coherence = (slope_real.prod(dim=1, keepdim=True) - slope_imaginary.prod(dim=1, keepdim=True)).clamp(0, 1)
        error = (predicted_real - real) ** 2 + (predicted_imaginary - imaginary) ** 2
        mismatch = torch.log10((error + RELATIVE_FLOOR * level) / (power + RELATIVE_FLOOR * level)).clamp(-2, 2)
        return predicted_real, predicted_imaginary, coherence, mismatch

    def frame_features(self, log_power: Tensor, power: Tensor, bitrate: Tensor | None) -> Tensor:
        """Mean log power and log mean power per band, now and on average, and the bitrate: [B, 8 K + 2, N]."""
        size = (self.num_bins // self.num_bands, 1)
        mean_log = F.avg_pool2d(log_power, size).flatten(1, 2)
        log_mean = torch.log10(F.avg_pool2d(power, size) + RELATIVE_FLOOR).flatten(1, 2)
        now = torch.cat([mean_log, log_mean - mean_log], dim=1) * 0.5
        slow = moving_average(now, self.average_frames)
        return torch.cat([now, slow, bitrate_features(now, bitrate)], dim=1)

    def backbone(self, features: Tensor, offsets: Tensor) -> Tensor:
        """[B, 5, F, N] and [B, blocks * width, N] -> [B, width, F / fold, N]."""
        hidden = self.head(bins_to_channels(features, self.fold)) + self.bin_bias
        for block, offset in zip(self.blocks, offsets.split(self.width, dim=1), strict=True):
            hidden = block(hidden, offset[:, :, None])
        return hidden
