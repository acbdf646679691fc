"""Spectral inpainting: the model behind the released `perceptual` weights.

It filters like `SpectralCascade`, then gives every bin of every frame the level that `LogMagnitudePredictor` says the
clean sound had. Rounded bins are turned up or down. What the encoder threw away, the region above its low-pass and the
holes below it, is filled. The phase is the decoder's. Where the decoder gave next to nothing, the phase is that of a
fixed noise carrier, as correlated in left and right as the network says the clean sound was. `griffin_lim` then finds a
sound that nearly has these levels.

    wav -> filters -> filtered -----------> phase, loud bins --+
     |                   |                                     v
     +-------------> levels and correlation per bin -> Griffin-Lim -> restored
                                    noise carrier -------------^

Between two spectra of independent noise the root mean square difference of log10 power is 0.79, between noise and a
spectrum without ripples only 0.56. So the carrier is noise whose short-time spectrum was made as flat as possible, by
the same iterations with all magnitudes one. It repeats after `period` samples, counted from the start of the file;
chunks start at its multiples and see what the whole file sees.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

import copy
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from upscale.chunked_stage import Stage, single_stage
from upscale.models.layers.moving_average import frame_level, moving_average
from upscale.models.layers.stft import Spectrum, TightStft, mid_side
from upscale.models.spectral.bypass import apply_bypass
from upscale.models.spectral.inversion import analyse, extrapolate, griffin_lim
from upscale.models.spectral.log_magnitude import POWER_FLOOR, LogMagnitudePredictor
from upscale.models.spectral_cascade import Filtered, SpectralCascade

TRUSTED = 0.1  # amplitude relative to the wanted one from which the decoder's phase is taken
FILL_THRESHOLD = 1e-11  # mean power per bin around a frame below which nothing is filled
LOUD = 3.0  # times the mean power of the bins around a frame: half of such a bin stays as the filters made it
MOST_ALIKE = 0.999  # correlation; at one its angle has no slope
HEARD_WINDOWS = 16  # beyond which the effect of a level on the sound is 70 dB and more below it
NARROW = 0.01  # power of side relative to mid from which the two channels are filled independently


def noise_carrier(period: int, window_size: int = 2048, num_iterations: int = 100) -> Tensor:
    """Periodic noise [period] of power one, its Hann spectrum (hop a quarter) nearly flat; always the same."""
    hop = window_size // 4
    window = torch.hann_window(window_size)
    generator = torch.Generator().manual_seed(0)
    wav = torch.randn(period, generator=generator)
    before = None
    for _ in range(num_iterations):
        extended = torch.cat([wav[-window_size:], wav, wav[:window_size]])
        spectrum = torch.stft(extended, window_size, hop, window=window, return_complex=True, pad_mode="constant")
        ahead = spectrum if before is None else extrapolate(spectrum, before)
        extended = torch.istft(
            ahead / ahead.abs().clamp(min=1e-6), window_size, hop, window=window, length=len(extended)
        )
        wav, before = extended[window_size:-window_size], spectrum
    return wav / wav.square().mean().sqrt()


class SpectralFill(nn.Module):
    """`SpectralCascade` (whose arguments it takes, too), then the level of every bin.

    `num_iterations`: of Griffin and Lim. `period`: samples after which the noise carrier repeats.
    """

    # Older bundles name arguments and hold weights of parts that are no longer there (`upscale.restore.bundle`).
    renamed_arguments: ClassVar[Mapping[str, str | None]] = {
        "num_rounds": "num_iterations",
        "num_alike": None,
        "num_steps": None,
        "repeat_levels": None,
    }
    retired_weights: ClassVar[tuple[str, ...]] = ("repeat.",)

    texture: Tensor  # the noise carrier, by the name that released weights have for it

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
        brief_window_size: int | None = None,
        level_width: int = 64,
        num_level_blocks: int = 4,
        level_fold: int = 8,
        level_frame_width: int = 512,
        num_iterations: int = 8,
        period: int = 32768,
        num_matches: int = 0,
        min_match_confidence: float = 0.0,
    ) -> None:
        super().__init__()
        self.filter = SpectralCascade(
            width,
            num_blocks,
            fold,
            num_bands,
            frame_width,
            average_frames,
            window_size,
            fine_window_size,
            brief_window_size,
            num_matches,
            min_match_confidence,
        )
        self.level = LogMagnitudePredictor(
            level_width, num_level_blocks, level_fold, num_bands, level_frame_width, 2 * average_frames, window_size
        )
        self.num_iterations, self.in_one_stage = num_iterations, False
        self.channels, self.sample_rate = self.filter.channels, self.filter.sample_rate
        self.register_buffer("texture", noise_carrier(period))

    @property
    def stft(self) -> TightStft:
        return self.level.stft

    @property
    def stages(self) -> list[Stage]:
        """The stages in which a file is restored chunk by chunk: those of the filters, then the levels."""
        context = self.level.context + min(self.num_iterations, HEARD_WINDOWS) * self.stft.window_size
        stride = math.lcm(len(self.texture), self.stft.hop)
        if self.in_one_stage:
            # `lcm`: chunks start at multiples of all that has a grid.
            return [single_stage(self, self.filter.reach + context, math.lcm(stride, self.filter.stride))]
        return [*self.filter.filter_stages, Stage(self.fill_and_bypass, context, stride)]

    @property
    def context(self) -> int:
        return sum(stage.context for stage in self.stages)

    @property
    def stride(self) -> int:
        return math.lcm(*(stage.stride for stage in self.stages))

    def low_latency(self) -> "SpectralFill":
        """As that of `SpectralCascade`: a copy without repetitions, in one stage, which looks less far ahead."""
        if self.in_one_stage:
            return self
        network = copy.deepcopy(self)
        network.filter, network.in_one_stage = network.filter.low_latency(), True
        return network

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return apply_bypass(wav, self.restore(wav, bitrate), self.filter.bypass(wav, bitrate))

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """As `forward`, without the quality bypass; this is what training uses."""
        return self.fill(wav, self.filter.restore(wav, bitrate), bitrate)

    def fill_and_bypass(self, state: Filtered, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The last stage: [B, 2, kept]."""
        if bool((state.bypass[..., kept] == 1).all()):
            return state.wav[..., kept]
        filled = self.fill(state.wav, state.filtered, bitrate)
        return apply_bypass(state.wav, filled, state.bypass)[..., kept]

    def fill(self, wav: Tensor, filtered_wav: Tensor, bitrate: Tensor | None) -> Tensor:
        """The given and the filtered wav, [B, 2, T], to the filtered one with the levels of the clean sound."""
        degraded, filtered = (self.stft.analyse(sound) for sound in (wav, filtered_wav))
        log_power, correlation = self.level.answer(wav, degraded, filtered, bitrate)
        return self.with_levels(filtered, self.amplitude(log_power, degraded), correlation, num_samples=wav.shape[-1])

    def amplitude(self, log_power: Tensor, degraded: Spectrum) -> Tensor:
        """The wanted amplitude of every bin [B, 2, F - 1, N], in the transform's own scale; 0 in silence.

        `log_power` of left and right, which come nearer to their mean where `degraded` has next to no side.
        """
        centre = log_power.mean(dim=1, keepdim=True)
        log_power = centre + self.stereo_width(degraded) * (log_power - centre)
        power = (10**log_power - POWER_FLOOR).clamp(min=1e-14)
        around = frame_level(degraded.power(), 8) * self.level.power_scale
        heard = (around + 1e-20) / (around + FILL_THRESHOLD)  # above zero: the root has no slope there
        return torch.sqrt(power * heard / self.level.power_scale)

    def stereo_width(self, spectrum: Spectrum) -> Tensor:
        """How loud side is relative to mid around each frame: [B, 1, 1, N], 0 for mono, 1 from -20 dB on."""
        real, imaginary = (mid_side(part) for part in spectrum)
        mean = moving_average((real**2 + imaginary**2).mean(dim=2), self.level.average_frames)
        ratio = mean[:, 1:] / (NARROW * mean[:, :1] + 1e-12)
        return torch.sqrt(ratio.clamp(min=1e-12, max=1.0))[:, :, None]

    def with_levels(self, spectrum: Spectrum, amplitude: Tensor, correlation: Tensor, num_samples: int) -> Tensor:
        """A sound [B, 2, num_samples] that nearly has this amplitude [B, 2, F - 1, N], near to `spectrum` in phase.

        Where neither is `spectrum`'s, left and right have this `correlation` [B, 1, F - 1, N].
        """
        angle = self.stereo_width(spectrum) * torch.acos(correlation.clamp(-MOST_ALIKE, MOST_ALIKE))
        carrier = self.carrier_spectrum(angle, num_samples)
        real, imaginary = (part[:, :, :-1] for part in spectrum)
        kept = self.kept(real, imaginary)
        given = Spectrum(real * kept, imaginary * kept)
        trusted = real**2 + imaginary**2 > (TRUSTED * amplitude) ** 2
        phases = Spectrum(torch.where(trusted, real, carrier.real), torch.where(trusted, imaginary, carrier.imaginary))
        return griffin_lim(self.stft, phases, (1 - kept) * amplitude, given, self.num_iterations, num_samples)

    def kept(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """The share of each bin [B, 2, F - 1, N] that stays as the filters made it: near 1 for far louder than most.

        Such bins are so few that the distance hardly depends on them, and so loud that they decide the SI-SDR.
        """
        power = real**2 + imaginary**2
        return power / (power + LOUD * frame_level(power, self.level.average_frames) + 1e-20)

    def carrier_spectrum(self, angle: Tensor, num_samples: int) -> Spectrum:
        """The noise carrier's spectrum, left and right [B, 2, F - 1, N].

        The same carrier goes to both channels, turned against each other by an angle [B, 1, F - 1, N]: flat in both
        and in their sum, identical at zero, decorrelated at a right angle.
        """
        # Positive integers and narrow: what an exported graph computes alike for any length.
        period = len(self.texture)
        repeats = (num_samples + period - 1) // period
        wav = self.texture.repeat(repeats).narrow(0, 0, num_samples).expand(1, 1, -1)
        real, imaginary = analyse(self.stft, wav)
        cosine, sine = torch.cos(angle / 2), torch.sin(angle / 2) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).to(real)
        return Spectrum(real * cosine - imaginary * sine, real * sine + imaginary * cosine)
