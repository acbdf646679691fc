"""Log-magnitude predictor: how loud was each bin of each frame before MP3?

It predicts the mean of the log power that the clean sound may have had, bin by bin, on the very spectrum by which the
log-spectral distance is published (Hann 2048, hop 512, scaled to a full-scale sine, with a floor of 1e-10), so squared
error in that distance is what it minimises. Two parts answer:

- the frame network sees each frame in coarse bands, its low bins one by one, and what goes on within it, with a second
  of context, and says how loud each band was: it knows an instrument by what is left of it; and how alike left and
  right were in it, which decides what is heard of both together;
- the backbone sees single bins and says, per bin and frame, whether to believe what the decoder gave or that level.

The floor is that of the publication, not of hearing: nothing below it is corrected.

Shapes: B clips, C channels, T samples, F bins, N frames, K bands.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.layers.backbone import BackboneBlock, bins_to_channels, bitrate_features, channels_to_bins
from upscale.models.layers.moving_average import frame_level, moving_average
from upscale.models.layers.stft import Spectrum, TightStft, mid_side

POWER_FLOOR = 1e-10  # that of upscale.metrics.lsd
DILATIONS = (1, 2, 4, 1, 2, 4)  # of the frame network, in frames
KERNEL, DROPOUT = 7, 0.1
LOW_BINS = (128, 384)  # bins that the frame network sees one by one, then two by two: where the pitch is
BRIEF_WINDOW, BRIEF_BANDS = 256, 32  # spectra in which an attack is as short as it was


class FrameBlock(nn.Module):
    """ConvNeXt block (Liu et al., 2022) over time, as in Vocos (Siuzdak, 2023): [B, N, width] -> the same.

    With the channels innermost all but the mixing over time is matrix products, twice as fast as convolutions of one.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(
            width, width, (1, KERNEL), padding=(0, dilation * (KERNEL // 2)), dilation=(1, dilation), groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.dropout = nn.Dropout1d(DROPOUT)  # channels of a whole clip: its frames are alike
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed = self.mix(hidden.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)
        active = F.gelu(self.up(self.norm(mixed)))
        return hidden + self.down(self.dropout(active.transpose(1, 2)).transpose(1, 2))


class DeepFrameNetwork(nn.Module):
    """What a whole frame and those around it look like: [B, inputs, N] -> [B, N, width]."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(num_inputs, width)
        self.blocks = nn.ModuleList([FrameBlock(width, dilation) for dilation in DILATIONS])
        self.norm = nn.LayerNorm(width)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.head(frames.transpose(1, 2))
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)


class LogMagnitudePredictor(nn.Module):
    """The degraded wav [B, 2, T], its spectrum and that of the filtered wav to log10 power [B, 2, F - 1, N].

    A spectrum is that of `stft.analyse`, [B, 2, F, N].
    """

    brief_window: Tensor

    def __init__(
        self,
        width: int = 64,
        num_blocks: int = 4,
        fold: int = 8,
        num_bands: int = 64,
        frame_width: int = 512,
        average_frames: int = 48,
        window_size: int = 2048,
    ) -> None:
        super().__init__()
        self.stft = TightStft(window_size, overlap=4)
        self.power_scale = float(1 / self.stft.window.sum() ** 2)
        self.width, self.fold, self.num_bands, self.average_frames = width, fold, num_bands, average_frames
        self.num_bins = window_size // 2  # without the one at half the sample rate
        reach = sum(DILATIONS) * (KERNEL // 2)
        self.context = (2 * average_frames + reach + num_blocks + 8) * self.stft.hop
        self.low_bins = [min(edge, self.num_bins) for edge in LOW_BINS]
        num_low = self.low_bins[0] + (self.low_bins[1] - self.low_bins[0]) // 2

        self.register_buffer("brief_window", torch.hann_window(BRIEF_WINDOW), persistent=False)
        self.brief_hop, self.brief_scale = self.stft.hop // 4, float(1 / self.brief_window.sum() ** 2)

        # Where in the inputs the bitrate and the bands of left and right lie, behind how uneven each band is.
        self.bitrate_inputs = slice(2 * num_bands, 2 * num_bands + 2)
        self.left_right_inputs = slice(self.bitrate_inputs.stop, self.bitrate_inputs.stop + 2 * num_bands)
        num_inputs = 8 * num_bands + num_low + 4 * BRIEF_BANDS + 3
        self.frame_network = DeepFrameNetwork(num_inputs, frame_width)
        self.offset_tail = nn.Linear(frame_width, num_blocks * width)
        self.band_tail = nn.Linear(frame_width, 4 * num_bands)
        self.correlation_tail = nn.Linear(frame_width, num_bands)
        self.head = nn.Conv2d(4 * fold, width, kernel_size=1)
        self.position = nn.Parameter(torch.zeros(1, width, self.num_bins // fold, 1))
        self.blocks = nn.ModuleList([BackboneBlock(width, 1 + block % 2, 1) for block in range(num_blocks)])
        self.tail = nn.Conv2d(width, 4 * fold, kernel_size=1)
        for tail in (self.offset_tail, self.band_tail, self.correlation_tail, self.tail):
            nn.init.zeros_(tail.weight)
            nn.init.zeros_(tail.bias)  # type: ignore[arg-type]
        falling, rising = torch.linspace(-1, -3, num_bands), torch.linspace(-2, 1, num_bands)
        self.band_bias = nn.Parameter(torch.cat([falling, falling, rising, rising]))

    def forward(self, wav: Tensor, degraded: Spectrum, filtered: Spectrum, bitrate: Tensor | None = None) -> Tensor:
        return self.answer(wav, degraded, filtered, bitrate)[0]

    def answer(
        self, wav: Tensor, degraded: Spectrum, filtered: Spectrum, bitrate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log10 power [B, 2, F - 1, N], and the correlation of left and right [B, 1, F - 1, N], -1 to 1."""
        relative, level = self.relative(degraded)
        offsets, bands, correlation = self.frames(wav, relative, level, bitrate)
        bands, correlation = map(self.per_bin, (bands, correlation[:, None]))
        hidden = self.head(bins_to_channels(relative * 0.5 + 1, self.fold))
        hidden = hidden + self.position.to(hidden)  # under autocast, the sum would be float32 and all that follows slow
        for block, offset in zip(self.blocks, offsets.split(self.width, dim=1), strict=True):
            hidden = block(hidden, offset[:, :, None])
        log_power = blend(self.log_power(filtered), bands + channels_to_bins(self.tail(hidden), self.fold), level)
        return log_power, correlation

    def per_bin(self, bands: Tensor) -> Tensor:
        """[B, C, K, N] -> [B, C, F - 1, N]."""
        return F.interpolate(bands, size=(self.num_bins, bands.shape[-1]), mode="bilinear", align_corners=False)

    def bands(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """What the frame network alone says: the mean of each band's log10 power, [B, 2, K, N]."""
        relative, level = self.relative(self.stft.analyse(wav))
        return level + self.relative_bands(self.inputs(wav, relative, level, bitrate))[:, :2]

    def relative_bands(self, inputs: Tensor) -> Tensor:
        """The same from [B, inputs, N], above the level around a frame, then the correlation of both: [B, 3, K, N]."""
        hidden = self.frame_network(inputs)
        given = 2 * (inputs[:, self.left_right_inputs] - 1)
        bands = blend(given.unflatten(1, (2, self.num_bands)), self.band_answer(hidden), level=0)
        return torch.cat([bands, self.correlation_answer(hidden)[:, None]], dim=1)

    def with_bitrate(self, inputs: Tensor, bitrate: Tensor) -> Tensor:
        """[B, inputs, N] with another bitrate: kbit/s [B], 0 for not known."""
        features = bitrate_features(inputs, bitrate)
        return torch.cat(
            [inputs[:, : self.bitrate_inputs.start], features, inputs[:, self.bitrate_inputs.stop :]], dim=1
        )

    def relative(self, degraded: Spectrum) -> tuple[Tensor, Tensor]:
        """Log10 power of left, right, mid and side [B, 4, F - 1, N] above the level around a frame [B, 1, 1, N]."""
        log_power = self.log_power(with_mid_side(degraded))
        level = self.level_around(log_power[:, :2])
        return log_power - level, level

    def level_around(self, log_power: Tensor) -> Tensor:
        """Log10 of the mean power in the frames around, from that of left and right [B, 2, F - 1, N]: [B, 1, 1, N]."""
        return torch.log10(frame_level(10**log_power, self.average_frames))

    def frames(
        self, wav: Tensor, relative: Tensor, level: Tensor, bitrate: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the frame network says: offsets for the backbone [B, blocks * width, N] and, per band, its answer
        [B, 4, K, N] and the correlation of left and right [B, K, N]."""
        hidden = self.frame_network(self.inputs(wav, relative, level, bitrate))
        return self.offset_tail(hidden).transpose(1, 2), self.band_answer(hidden), self.correlation_answer(hidden)

    def inputs(self, wav: Tensor, relative: Tensor, level: Tensor, bitrate: Tensor | None) -> Tensor:
        """All that the frame network sees: [B, inputs, N]."""
        return torch.cat([self.frame_features(relative, level, bitrate), self.brief_features(wav, level)], dim=1)

    def band_answer(self, hidden: Tensor) -> Tensor:
        """[B, N, frame_width] of the frame network to its answer per band [B, 4, K, N]."""
        bands = self.band_tail(hidden).transpose(1, 2) + self.band_bias[:, None]
        return bands.unflatten(1, (4, self.num_bands))

    def correlation_answer(self, hidden: Tensor) -> Tensor:
        """[B, N, frame_width] of the frame network to the correlation of left and right per band [B, K, N]."""
        return torch.tanh(self.correlation_tail(hidden)).transpose(1, 2)

    def correlation(self, spectrum: Spectrum) -> Tensor:
        """That of left and right [B, 2, F, N] in each band and three frames: [B, K, N], -1 to 1, 0 in silence."""
        real, imaginary = (part[:, :, :-1] for part in spectrum)
        power = real**2 + imaginary**2
        cross = real[:, :1] * real[:, 1:] + imaginary[:, :1] * imaginary[:, 1:]
        bands = self.band_mean(torch.cat([power, cross], dim=1)).flatten(1, 2)
        left, right, both = moving_average(bands, 1).unflatten(1, (3, self.num_bands)).unbind(1)
        return both / (torch.sqrt(left * right) + 1e-12)

    def band_mean(self, values: Tensor) -> Tensor:
        """[B, C, F - 1, N] -> [B, C, K, N]."""
        return F.avg_pool2d(values, (self.num_bins // self.num_bands, 1))

    def log_power(self, spectrum: Spectrum) -> Tensor:
        """Spectrum [B, C, F, N] -> [B, C, F - 1, N], log10 power as `upscale.metrics.lsd` takes it, with its floor."""
        real, imaginary = (part[:, :, :-1] for part in spectrum)
        return torch.log10((real**2 + imaginary**2) * self.power_scale + POWER_FLOOR)

    def frame_features(self, relative: Tensor, level: Tensor, bitrate: Tensor | None) -> Tensor:
        """Mean log power per band, now and on average, how uneven a band is, low bins, bitrate and level: [B, _, N]."""
        now = self.band_mean(relative).flatten(1, 2)
        left_right = now[:, : 2 * self.num_bands]
        uneven = torch.log10(self.band_mean(10 ** relative[:, :2])).flatten(1, 2) - left_right
        slow = moving_average(left_right, self.average_frames)
        first, last = self.low_bins
        middle = relative[:, 2]
        low = [middle[:, :first], F.avg_pool2d(middle[:, first:last], (2, 1))]
        features = [now, *low, slow, 2 + level[:, :, 0]]
        features = [feature * 0.5 + 1 for feature in features]
        return torch.cat([uneven, bitrate_features(now, bitrate), *features], dim=1)

    def brief_features(self, wav: Tensor, level: Tensor) -> Tensor:
        """Log power of mid in wide bands, four times a frame: [B, 4 * bands, N]."""
        num_frames = level.shape[-1]
        # Four brief frames to each frame, the third of them at its centre.
        before = self.stft.lead + 2 * self.brief_hop
        after = num_frames * self.stft.hop - before - wav.shape[-1]
        spectrum = torch.stft(
            F.pad(mid_side(wav)[:, 0], (before, after)),
            n_fft=BRIEF_WINDOW,
            hop_length=self.brief_hop,
            window=self.brief_window,
            pad_mode="constant",
            return_complex=True,
        )[:, :-1, :-1]
        power = (spectrum.real**2 + spectrum.imag**2) * self.brief_scale
        bands = torch.log10(F.avg_pool2d(power[:, None], (BRIEF_WINDOW // 2 // BRIEF_BANDS, 1))[:, 0] + POWER_FLOOR)
        quarters = bands.unflatten(-1, (num_frames, 4)) - level[:, 0, :, :, None]
        return quarters.transpose(2, 3).flatten(1, 2) * 0.5 + 1


def blend(given: Tensor, answer: Tensor, level: Tensor | float) -> Tensor:
    """What is given [B, 2, ...], or level and half of the answer [B, 4, ...] as far as its other half says."""
    predicted, doubt = answer[:, :2] + level, torch.sigmoid(answer[:, 2:])
    return given + doubt * (predicted - given)


def with_mid_side(spectrum: Spectrum) -> Spectrum:
    """[B, 2, F, N] -> [B, 4, F, N]: the mean and half the difference after left and right, as loud as one of them."""
    real, imaginary = (torch.cat([part, 0.5**0.5 * mid_side(part)], dim=1) for part in spectrum)
    return Spectrum(real, imaginary)
