"""Spectral filters in a row: the model behind the released `fidelity` weights.

The first works at the resolution of MP3's own long blocks. The second has four times finer bins: between the partials
of a held note there is only coding noise, and the finer the bins, the more of it can be told from the note. The third
has eight times shorter frames: before an attack there is only noise, too, and the shorter the frame, the less of the
attack is in it. After the first two, a local gain chosen with knowledge of the original still wins 0.7 dB in frames of
256 samples, more than in frames of 512 to 2,048.

Behind them a passage may be mixed with the places where the piece plays it again (`RepetitionMixer`).
"""

import copy
from typing import NamedTuple

from torch import Tensor, nn

from upscale.chunked_stage import Stage, single_stage
from upscale.models.spectral.bypass import QualityBypass, apply_bypass
from upscale.models.spectral.repetition_mixer import RepetitionMixer
from upscale.models.spectral_filter import SpectralFilter


class Filtered(NamedTuple):
    """The state after the filters: the wav as given and as filtered, [B, 2, T], and the bypass's share, [B, 1, T]."""

    wav: Tensor
    filtered: Tensor
    bypass: Tensor


class Mixed(NamedTuple):
    """The state after the repetition mixer: as `Filtered`, and the matches that were mixed in, [B, K, 2, T]."""

    wav: Tensor
    filtered: Tensor
    bypass: Tensor
    matches: Tensor


class SpectralCascade(nn.Module):
    """`SpectralFilter` (its arguments first), then others with finer bins and with shorter frames (None: without).

    All average over the same number of seconds. `num_matches`: matches that each passage is mixed with (0: no mixer).
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
    ) -> None:
        super().__init__()

        def stage(size: int) -> SpectralFilter:
            frames = -(-average_frames * window_size // size)
            return SpectralFilter(width, num_blocks, fold, num_bands, frame_width, frames, size)

        self.coarse, self.fine = stage(window_size), stage(fine_window_size)
        self.brief = stage(brief_window_size) if brief_window_size else None
        self.repeat = RepetitionMixer(num_matches=num_matches) if num_matches else None
        self.channels, self.sample_rate = self.coarse.channels, self.coarse.sample_rate
        self.bypass = QualityBypass()

    @property
    def filters(self) -> list[SpectralFilter]:
        return [self.coarse, self.fine, *([self.brief] if self.brief else [])]

    @property
    def stages(self) -> list[Stage]:
        """The stages in which a file is restored chunk by chunk."""
        if self.repeat is None:
            return [single_stage(self, self.filter_context, self.filter_stride)]
        return [self.filter_stage, Stage(self.mix_and_bypass, self.repeat.context, self.repeat.stride)]

    @property
    def filter_stage(self) -> Stage:
        """wav -> `Filtered`."""
        return Stage(self.filter_and_measure, self.filter_context, self.filter_stride)

    @property
    def mix_stage(self) -> Stage:
        """`Filtered` -> `Mixed`."""
        assert self.repeat is not None
        return Stage(self.mix, self.repeat.context, self.repeat.stride)

    @property
    def filter_context(self) -> int:
        return max(sum(filter_.context for filter_ in self.filters), self.bypass.context)

    @property
    def filter_stride(self) -> int:
        return max(filter_.stride for filter_ in self.filters)

    @property
    def context(self) -> int:
        return sum(stage.context for stage in self.stages)

    @property
    def stride(self) -> int:
        return max(stage.stride for stage in self.stages)

    def low_latency(self) -> "SpectralCascade":
        """A copy without the repetition mixer, which looks 14 s ahead; itself where there is none."""
        if self.repeat is None:
            return self
        network = copy.deepcopy(self)
        network.repeat = None
        return network

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return apply_bypass(wav, self.restore(wav, bitrate), self.bypass(wav, bitrate))

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """As `forward`, without the quality bypass; this is what training uses."""
        filtered = self.filtered(wav, bitrate)
        return self.repeat(wav, filtered) if self.repeat else filtered

    def filtered(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The filters alone, [B, 2, T] -> [B, 2, T]."""
        wav = self.fine(self.coarse(wav, bitrate), bitrate)
        return self.brief(wav, bitrate) if self.brief else wav

    def filter_and_measure(self, wav: Tensor, bitrate: Tensor | None, kept: slice) -> Filtered:
        """The first stage: the filters, and how good the wav is already."""
        parts = wav, self.filtered(wav, bitrate), self.bypass(wav, bitrate)
        return Filtered(*(part[..., kept] for part in parts))

    def mix(self, state: Filtered, bitrate: Tensor | None, kept: slice) -> Mixed:
        """The second stage: the filtered wav mixed with its repetitions."""
        assert self.repeat is not None
        wav, filtered, bypass = (part[..., kept] for part in state)
        if bool((bypass == 1).all()):  # the result would not be heard
            return Mixed(wav, filtered, bypass, wav.new_zeros(len(wav), self.repeat.num_matches, *wav.shape[1:]))
        mixed, matches = self.repeat.mix(state.wav, state.filtered, kept)
        return Mixed(wav, mixed, bypass, matches)

    def mix_and_bypass(self, state: Filtered, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The last stage: [B, 2, kept]."""
        mixed = self.mix(state, bitrate, kept)
        return apply_bypass(mixed.wav, mixed.filtered, mixed.bypass)
