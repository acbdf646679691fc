"""Spectral filters in a row: the model behind the released `fidelity` weights.

The first works at the resolution of MP3's own long blocks. The second has four times finer bins: between the partials
of a held note there is only coding noise, and the finer the bins, the more of it can be told from the note. The third
has eight times shorter frames: before an attack there is only noise, too, and the shorter the frame, the less of the
attack is in it. After the first two, a local gain chosen with knowledge of the original still wins 0.7 dB in frames of
256 samples, more than in frames of 512 to 2,048.

Behind them a passage may be mixed with the places where the piece plays it again (`RepetitionMixer`).

    wav -> coarse -> fine -> brief -> repetition mixer -> quality bypass -> restored
"""

import copy
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from upscale.chunked_stage import Stage, single_stage
from upscale.models.spectral.bypass import QualityBypass, apply_bypass
from upscale.models.spectral.repetition_mixer import RepetitionMixer
from upscale.models.spectral_filter import SpectralFilter


class Filtered(NamedTuple):
    """The state between stages: the wav as given and as filtered so far, [B, 2, T], and the bypass, [B, 1, T]."""

    wav: Tensor
    filtered: Tensor
    bypass: Tensor


class SpectralCascade(nn.Module):
    """`SpectralFilter` (its arguments first), then others with finer bins and with shorter frames (None: without).

    All average over the same number of seconds. `num_matches`: matches that each passage is mixed with (0: no mixer).
    `min_match_confidence`: below this `match_confidence` a passage counts as played once and is not mixed (0: mix all).
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
        fine_window_size: int = 8192,
        brief_window_size: int | None = None,
        num_matches: int = 0,
        min_match_confidence: float = 0.0,
    ) -> None:
        super().__init__()

        def stage(size: int) -> SpectralFilter:
            frames = -(-average_frames * window_size // size)
            return SpectralFilter(width, num_blocks, fold, num_bands, frame_width, frames, size)

        self.coarse, self.fine = stage(window_size), stage(fine_window_size)
        self.brief = stage(brief_window_size) if brief_window_size else None
        self.repeat = (
            RepetitionMixer(num_matches=num_matches, min_confidence=min_match_confidence) if num_matches else None
        )
        self.channels, self.sample_rate = self.coarse.channels, self.coarse.sample_rate
        self.bypass = QualityBypass()
        self.in_one_stage = False

    @property
    def filters(self) -> list[SpectralFilter]:
        return [self.coarse, self.fine, *([self.brief] if self.brief else [])]

    @property
    def reach(self) -> int:
        """Samples on both sides that the filters and the bypass hear."""
        return max(sum(filter_.context for filter_ in self.filters), self.bypass.context)

    @property
    def stages(self) -> list[Stage]:
        """The stages in which a file is restored chunk by chunk."""
        if self.in_one_stage:
            return [single_stage(self, self.reach, max(filter_.stride for filter_ in self.filters))]
        return [*self.filter_stages, Stage(self.finish, 0, 1)]

    @property
    def filter_stages(self) -> list[Stage]:
        """wav -> `Filtered`: the bypass, one filter after the other, the repetitions."""
        stages = [Stage(self.measure, self.bypass.context, self.bypass.stride)]
        stages += [Stage(partial(self.apply_filter, part), part.context, part.stride) for part in self.filters]
        if self.repeat is not None:
            stages.append(Stage(self.mix, self.repeat.context, self.repeat.stride))
        return stages

    @property
    def context(self) -> int:
        return sum(stage.context for stage in self.stages)

    @property
    def stride(self) -> int:
        return max(stage.stride for stage in self.stages)

    def low_latency(self) -> "SpectralCascade":
        """A copy without the repetition mixer, which looks 14 s ahead, and in one stage, which looks less far."""
        if self.in_one_stage:
            return self
        network = copy.deepcopy(self)
        network.repeat, network.in_one_stage = None, True
        return network

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return apply_bypass(wav, self.restore(wav, bitrate), self.bypass(wav, bitrate))

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """As `forward`, without the quality bypass; this is what training uses."""
        filtered = self.filtered(wav, bitrate)
        return self.repeat(wav, filtered) if self.repeat else filtered

    def filtered(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The filters without repetitions, [B, 2, T] -> [B, 2, T]."""
        for part in self.filters:
            wav = part(wav, bitrate)
        return wav

    def measure(self, wav: Tensor, bitrate: Tensor | None, kept: slice) -> Filtered:
        """The first stage: how good the wav is already."""
        return Filtered(wav[..., kept], wav[..., kept], self.bypass(wav, bitrate)[..., kept])

    def apply_filter(self, part: SpectralFilter, state: Filtered, bitrate: Tensor | None, kept: slice) -> Filtered:
        """A stage of one filter."""
        return Filtered(*(value[..., kept] for value in state._replace(filtered=part(state.filtered, bitrate))))

    def mix(self, state: Filtered, bitrate: Tensor | None, kept: slice) -> Filtered:
        """The stage of the repetition mixer."""
        inner = Filtered(*(value[..., kept] for value in state))
        if self.repeat is None or bool((inner.bypass == 1).all()):  # nothing of it would be heard
            return inner
        return inner._replace(filtered=self.repeat(state.wav, state.filtered, kept))

    def finish(self, state: Filtered, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The last stage: [B, 2, kept]."""
        return apply_bypass(*state)[..., kept]
