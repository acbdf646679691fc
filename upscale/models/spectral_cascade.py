"""Spectral filters in a row: the model behind the released `fidelity` weights.

The first works at the resolution of MP3's own long blocks. The second has four times finer bins: between the partials
of a held note there is only coding noise, and the finer the bins, the more of it can be told from the note. The third
has eight times shorter frames: before an attack there is only noise, too, and the shorter the frame, the less of the
attack is in it. After the first two, a local gain chosen with knowledge of the original still wins 0.7 dB in frames of
256 samples, more than in frames of 512 to 2,048.

Behind them a passage may be mixed with the places where the piece plays it again (`SpectralRepeat`).
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.chunked_stage import Stage, whole
from upscale.models.spectral.bypass import Guard, spare
from upscale.models.spectral.repetition_mixer import SpectralRepeat
from upscale.models.spectral_filter import SpectralFilter


class SpectralCascade(nn.Module):
    """`SpectralFilter` (its arguments first), then others with finer bins and with shorter frames (None: without).

    All look as far in seconds. `num_matches`: places that each passage is mixed with (0: without).
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
        self.repeat = SpectralRepeat(num_matches=num_matches) if num_matches else None
        self.channels, self.sample_rate = self.coarse.channels, self.coarse.sample_rate
        self.guard = Guard()

    @property
    def filters(self) -> list[SpectralFilter]:
        return [self.coarse, self.fine, *([self.brief] if self.brief else [])]

    @property
    def stages(self) -> list[Stage]:
        """What restores a file chunk by chunk: each with a context and a stride of its own."""
        if self.repeat is None:
            return [Stage(whole(self), self.filter_context, self.filter_stride)]
        first, second = self.hidden_stages
        return [first, replace(second, function=self.repeat_and_spare)]

    @property
    def hidden_stages(self) -> list[Stage]:
        """The same up to what is to be left alone: the first gives [B, 5, T], the second [B, 5 + 2 K, T]."""
        first = Stage(self.filter_and_guard, self.filter_context, self.filter_stride)
        if self.repeat is None:
            return [first]
        return [first, Stage(self.mix_repeats, self.repeat.context, self.repeat.stride)]

    @property
    def filter_context(self) -> int:
        return max(sum(filter_.context for filter_ in self.filters), self.guard.context)

    @property
    def filter_stride(self) -> int:
        return max(filter_.stride for filter_ in self.filters)

    @property
    def context(self) -> int:
        return sum(stage.context for stage in self.stages)

    @property
    def stride(self) -> int:
        return max(stage.stride for stage in self.stages)

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return self.guard.spare(self.restore, wav, bitrate)

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The same for a file that is not good already; what is trained."""
        return self.mixed(wav, bitrate)[0]

    def mixed(self, wav: Tensor, bitrate: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The same and the matches that it was mixed with, [B, K, 2, T], where it looks for any."""
        filtered = self.filtered(wav, bitrate)
        return self.repeat.mix(wav, filtered) if self.repeat else (filtered, None)

    def filtered(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """What the filters make of it, repetitions or not."""
        wav = self.fine(self.coarse(wav, bitrate), bitrate)
        return self.brief(wav, bitrate) if self.brief else wav

    def filter_and_guard(self, wav: Tensor, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The first stage of two, [B, 2, T] -> [B, 5, kept]: given, filtered, and how much is to be left alone."""
        return torch.cat([wav, self.filtered(wav, bitrate), self.guard(wav, bitrate)], dim=1)[..., kept]

    def mix_repeats(self, hidden: Tensor, bitrate: Tensor | None, kept: slice) -> Tensor:
        """[B, 5, T] -> [B, 5 + 2 K, kept]: what is filtered mixed with its repetitions, and these behind it."""
        assert self.repeat is not None
        wav, filtered, spared = hidden.split([2, 2, 1], dim=1)
        if bool((spared[..., kept] == 1).all()):  # nothing of it would be heard
            return F.pad(hidden[..., kept], (0, 0, 0, 2 * self.repeat.num_matches))
        mixed, matches = self.repeat.mix(wav, filtered, kept)
        return torch.cat([wav[..., kept], mixed, spared[..., kept], matches.flatten(1, 2)], dim=1)

    def repeat_and_spare(self, hidden: Tensor, bitrate: Tensor | None, kept: slice) -> Tensor:
        """The last stage, [B, 5, T] -> [B, 2, kept]."""
        wav, restored, spared = self.mix_repeats(hidden, bitrate, kept)[:, :5].split([2, 2, 1], dim=1)
        return spare(wav, restored, spared)
