"""Spectral filters in a row: the model behind the released `fidelity` weights.

The first works at the resolution of MP3's own long blocks. The second has four times finer bins: between the partials
of a held note there is only coding noise, and the finer the bins, the more of it can be told from the note. The third
has eight times shorter frames: before an attack there is only noise, too, and the shorter the frame, the less of the
attack is in it. After the first two, a local gain chosen with knowledge of the original still wins 0.7 dB in frames of
256 samples, more than in frames of 512 to 2,048.
"""

from torch import Tensor, nn

from upscale.models.guard import Guard
from upscale.models.spectral_filter import SpectralFilter


class SpectralCascade(nn.Module):
    """`SpectralFilter` (its arguments first), then others with finer bins and with shorter frames (None: without).

    All look as far in seconds.
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
    ) -> None:
        super().__init__()

        def stage(size: int) -> SpectralFilter:
            frames = -(-average_frames * window_size // size)
            return SpectralFilter(width, num_blocks, fold, num_bands, frame_width, frames, size)

        self.coarse, self.fine = stage(window_size), stage(fine_window_size)
        self.brief = stage(brief_window_size) if brief_window_size else None
        stages = [self.coarse, self.fine, *([self.brief] if self.brief else [])]
        self.channels, self.sample_rate = self.coarse.channels, self.coarse.sample_rate
        self.guard = Guard()
        self.stride = max(filter_.stride for filter_ in stages)
        self.context = max(sum(filter_.context for filter_ in stages), self.guard.context)

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """[B, 2, T], kbit/s [B] (None or 0: not known) -> [B, 2, T]; wav starts at a multiple of the stride."""
        return self.guard.spare(self.restore, wav, bitrate)

    def restore(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        """The same for a file that is not good already; what is trained."""
        wav = self.fine(self.coarse(wav, bitrate), bitrate)
        return self.brief(wav, bitrate) if self.brief else wav
