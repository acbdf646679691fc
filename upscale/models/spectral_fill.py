"""Spectral fill network: the model behind the released `perceptual` weights.

It restores like `SpectralCascade`, then gives every bin of every frame the level that `LogMagnitudePredictor` says the
clean sound had: what the encoder rounded is turned up or down, and what it threw away, the region above its low-pass
and the holes below it, is filled. Where the piece plays a passage again, `RepetitionLevel` corrects the answer by what
is heard there. The phase is what the decoder gave; where it gave next to nothing, that of a fixed texture, as alike in
left and right as the network says the clean sound was.

`inversion` finds the sound that nearly has these levels.

The texture matters more than it seems. Between two spectra of independent noise the root mean square difference of
log10 power is 0.79, between noise and a spectrum without ripples only 0.56, so the texture is noise whose short-time
spectrum was made as flat as one can be (the same rounds, with all magnitudes one). It repeats after `period` samples,
counted from the start of the file, on whose multiples chunks start: they see what the whole sees.

Shapes: B clips, C channels, T samples, F bins, N frames.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.chunked_stage import Stage, single_stage
from upscale.errors import UserError
from upscale.models.layers.moving_average import frame_level, moving_average
from upscale.models.layers.stft import Spectrum, TightStft, mid_side
from upscale.models.spectral.bypass import apply_bypass
from upscale.models.spectral.inversion import analyse, extrapolate, griffin_lim, refine_log_magnitude
from upscale.models.spectral.log_magnitude import POWER_FLOOR, LogMagnitudePredictor
from upscale.models.spectral.non_local_means import NEIGHBOURS, non_local_means
from upscale.models.spectral.repetition_level import RepetitionLevel
from upscale.models.spectral_cascade import Mixed, SpectralCascade

TRUSTED = 0.1  # amplitude beside the wanted one from which on the decoder's phase is taken
SILENCE = 1e-11  # mean power per bin around a frame under which nothing is filled
LOUD = 3.0  # times the mean power of the bins around a frame: half of such a bin stays as the filters made it
MOST_ALIKE = 0.999  # correlation; at one its angle has no slope
HEARD_WINDOWS = 16  # beyond which what rounds and steps make of a level is 70 dB and more below the sound
FRAMES_BEYOND = 4  # that the transform has of a sound, beside one for each hop
NARROW = 0.01  # power of side beside mid from which on the two channels are filled independently


def flat_noise(period: int, window_size: int = 2048, num_iterations: int = 100) -> Tensor:
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
    """`SpectralCascade` (whose arguments it takes), then the level of every bin.

    `num_alike`: how many frames to both sides are looked at for those that are alike (`non_local_means`).
    `num_rounds`, `num_steps`: of `inversion`, to a sound that has the levels.
    `repeat_levels`: the levels, too, are corrected by those of the `num_matches` matches.
    """

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
        brief_window_size: int | None = None,
        level_width: int = 64,
        num_level_blocks: int = 4,
        level_fold: int = 8,
        level_frame_width: int = 512,
        num_alike: int = 256,
        num_rounds: int = 16,
        num_steps: int = 24,
        period: int = 32768,
        num_matches: int = 0,
        repeat_levels: bool = False,
    ) -> None:
        super().__init__()
        if repeat_levels and not num_matches:
            raise UserError("repeat_levels=true has no matches to look at; set num_matches to 1 or more")
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
        )
        self.level = LogMagnitudePredictor(
            level_width, num_level_blocks, level_fold, num_bands, level_frame_width, 2 * average_frames, window_size
        )
        self.repeat = RepetitionLevel(num_matches) if repeat_levels else None
        self.num_alike, self.num_rounds, self.num_steps = num_alike, num_rounds, num_steps
        self.channels, self.sample_rate = self.filter.channels, self.filter.sample_rate
        self.register_buffer("texture", flat_noise(period))

    @property
    def stages(self) -> list[Stage]:
        """What restores a file chunk by chunk: those of the filter, then the levels."""
        if self.filter.repeat is None:
            return [single_stage(self, self.context, self.stride)]
        filters = [self.filter.filter_stage, self.filter.mix_stage]
        return [*filters, Stage(self.fill_and_bypass, self.fill_context, self.fill_stride)]

    @property
    def fill_context(self) -> int:
        frames = self.repeat.reach if self.repeat else 0
        frames += self.num_alike + NEIGHBOURS if self.num_alike else 0
        return self.level.context + frames * self.stft.hop + self.inversion_reach

    @property
    def inversion_reach(self) -> int:
        """How far, in samples, a bin's level is heard: by a window each time the sound is put together, but fainter."""
        return min(self.num_rounds + 2 * self.num_steps, HEARD_WINDOWS) * self.stft.window_size

    @property
    def fill_stride(self) -> int:
        return math.lcm(len(self.texture), self.stft.hop)

    @property
    def context(self) -> int:
        return self.filter.context + self.fill_context

    @property
    def stride(self) -> int:
        return math.lcm(self.fill_stride, self.filter.stride)

    @property
    def stft(self) -> TightStft:
        return self.level.stft

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return apply_bypass(wav, self.restore(wav, bitrate), self.filter.bypass(wav, bitrate))

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The same for a file that is not good already; what is trained."""
        filtered, matches = self.filter.filtered(wav, bitrate), None
        if self.filter.repeat:
            filtered, matches = self.filter.repeat.mix(wav, filtered)
        return self.fill(wav, filtered, bitrate, matches)

    def fill(
        self,
        wav: Tensor,
        filtered_wav: Tensor,
        bitrate: Tensor | None,
        matches: Tensor | None = None,
        kept: slice | None = None,
    ) -> Tensor:
        """What is given and what the filter made of it, [B, 2, T], to the latter with the levels of the clean sound.

        `matches` [B, K, 2, T] of the latter, where there are any; `kept`: the samples that count, if not all.
        """
        degraded, filtered = (self.stft.analyse(sound) for sound in (wav, filtered_wav))
        log_power, correlation = self.level.answer(wav, degraded, filtered, bitrate)
        if self.num_alike:
            given, floor = self.level.log_power(degraded), math.log10(POWER_FLOOR)
            log_power = non_local_means(log_power, given, floor, self.num_alike)
        frames = self.frames_around(kept, wav.shape[-1]) if kept else None
        if self.repeat is not None and matches is not None:
            log_power = self.repeat(
                log_power, *self.of_matches(degraded, filtered, matches), frames=frames or slice(None)
            )
        amplitude = self.amplitude(log_power, degraded)
        return self.with_levels(filtered, amplitude, correlation, num_samples=wav.shape[-1], frames=frames)

    def frames_around(self, kept: slice, num_samples: int) -> slice:
        """Those whose levels have a part in these samples in the end."""
        first, last, _ = kept.indices(num_samples)
        edge = self.inversion_reach
        return slice(max(first - edge, 0) // self.stft.hop, (last + edge) // self.stft.hop + 1)

    def of_matches(self, degraded: Spectrum, filtered: Spectrum, matches: Tensor) -> list[Tensor]:
        """What `RepetitionLevel` sees beside the answer."""
        given, passage = (self.level.log_power(spectrum) for spectrum in (degraded, filtered))
        levels, differences = [], []
        for match in matches.unbind(1):
            real, imaginary = self.stft.analyse(match)
            levels.append(self.level.log_power(Spectrum(real, imaginary)))
            differences.append(self.level.log_power(Spectrum(real - filtered[0], imaginary - filtered[1])))
        return [
            given,
            passage,
            torch.stack(levels, dim=1),
            torch.stack(differences, dim=1),
            self.level.level_around(given),
        ]

    def fill_and_bypass(self, state: Mixed, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The last stage of three: [B, 2, kept]."""
        if bool((state.bypass[..., kept] == 1).all()):
            return state.wav[..., kept]
        filled = self.fill(state.wav, state.filtered, bitrate, state.matches, kept)
        return apply_bypass(state.wav, filled, state.bypass)[..., kept]

    def low_latency(self) -> "SpectralFill":
        """A copy without what looks seconds ahead or takes long: repetitions, non-local means, refinement."""
        if self.filter.repeat is None and self.repeat is None and not self.num_alike and not self.num_steps:
            return self
        network = copy.deepcopy(self)
        network.filter, network.repeat = network.filter.low_latency(), None
        network.num_alike = network.num_steps = 0
        return network

    def amplitude(self, log_power: Tensor, degraded: Spectrum) -> Tensor:
        """The wanted amplitude of every bin [B, 2, F - 1, N], in the transform's own scale; 0 in silence.

        `log_power` of left and right, which come nearer to their mean where `degraded` has next to no side.
        """
        centre = log_power.mean(dim=1, keepdim=True)
        log_power = centre + self.stereo_width(degraded) * (log_power - centre)
        power = (10**log_power - POWER_FLOOR).clamp(min=1e-14)
        around = (degraded[0] ** 2 + degraded[1] ** 2).mean(dim=(1, 2))[:, None] * self.level.power_scale
        around = moving_average(around, 8)[:, :, None]
        heard = (around + 1e-20) / (around + SILENCE)  # above zero: the root has no slope there
        return torch.sqrt(power * heard / self.level.power_scale)

    def stereo_width(self, spectrum: Spectrum) -> Tensor:
        """How loud side is beside mid around each frame: [B, 1, 1, N], 0 for mono, 1 from -20 dB on."""
        real, imaginary = (mid_side(part) for part in spectrum)
        mean = moving_average((real**2 + imaginary**2).mean(dim=2), self.level.average_frames)
        ratio = mean[:, 1:] / (NARROW * mean[:, :1] + 1e-12)
        return torch.sqrt(ratio.clamp(min=1e-12, max=1.0))[:, :, None]

    def with_levels(
        self,
        spectrum: Spectrum,
        amplitude: Tensor,
        correlation: Tensor,
        num_samples: int,
        frames: slice | None = None,
    ) -> Tensor:
        """A sound [B, 2, num_samples] that nearly has this amplitude [B, 2, F - 1, N], near to `spectrum` in phase.

        Where neither is `spectrum`'s, left and right have this `correlation` [B, 1, F - 1, N]. Silent but in `frames`.
        """
        angle = self.stereo_width(spectrum) * torch.acos(correlation.clamp(-MOST_ALIKE, MOST_ALIKE))
        texture_real, texture_imaginary = self.texture_spectrum(angle, num_samples)
        real, imaginary = (part[:, :, :-1] for part in spectrum)
        kept = self.kept(real, imaginary)
        given = [real * kept, imaginary * kept]
        power = real**2 + imaginary**2
        trusted = power > (TRUSTED * amplitude) ** 2
        wanted = amplitude + kept * (torch.sqrt(power + 1e-20) - amplitude)
        real, imaginary = torch.where(trusted, real, texture_real), torch.where(trusted, imaginary, texture_imaginary)
        bins = (real, imaginary, *given, amplitude, wanted, 1 - kept)
        if frames is None:
            return self.inverted(*bins, num_samples=num_samples)
        first, last, _ = frames.indices(real.shape[-1])
        start, end = first * self.stft.hop, min((last - FRAMES_BEYOND) * self.stft.hop, num_samples)
        wav = self.inverted(*(part[..., frames] for part in bins), num_samples=end - start)
        return F.pad(wav, (start, num_samples - end))

    def inverted(
        self,
        real: Tensor,
        imaginary: Tensor,
        given_real: Tensor,
        given_imaginary: Tensor,
        amplitude: Tensor,
        wanted: Tensor,
        free: Tensor,
        *,
        num_samples: int,
    ) -> Tensor:
        """The sound [B, 2, num_samples] of bins [B, 2, F - 1, N]: what is given, and as far as they are `free` of it,
        this amplitude in the phase of the first two; `wanted`: the amplitude of both together."""
        given = Spectrum(given_real, given_imaginary)
        wav = griffin_lim(self.stft, Spectrum(real, imaginary), free * amplitude, given, self.num_rounds, num_samples)
        return refine_log_magnitude(
            self.stft, wav, wanted**2, free, POWER_FLOOR / self.level.power_scale, self.num_steps
        )

    def kept(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """What share of each bin [B, 2, F - 1, N] stays as the filters made it: nearly all of one far louder than most.

        Such bins are so few that the distance hardly knows them, and hold so much that they decide the SI-SDR.
        """
        power = real**2 + imaginary**2
        around = frame_level(power, self.level.average_frames)
        return power / (power + LOUD * around + 1e-20)

    def texture_spectrum(self, angle: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
        """The texture's spectrum, left and right [B, 2, F - 1, N].

        The same texture goes to both channels, turned against each other by an angle [B, 1, F - 1, N]: flat in both
        and in their sum, identical at zero, decorrelated at a right angle.
        """
        # Positive integers and narrow: what an exported graph computes alike for any length.
        period = len(self.texture)
        repeats = (num_samples + period - 1) // period
        wav = self.texture.repeat(repeats).narrow(0, 0, num_samples).expand(1, 1, -1)
        real, imaginary = analyse(self.stft, wav)
        cosine, sine = torch.cos(angle / 2), torch.sin(angle / 2) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1).to(real)
        return real * cosine - imaginary * sine, real * sine + imaginary * cosine
