"""Quality bypass: a file that is good already passes unchanged, because a restoring network can only harm it.

Where the bitrate is known that is easy. Where it is not, LAME's low-pass tells: at 44.1 kHz it ends at 17.8 kHz for
160 kbit/s and at 19.2 kHz for 192, and nothing passes it. Any energy between, in a few frames of some seconds, is
proof; the mean power would not do, because most music has hardly any there, most of the time.

In 71 songs at least 9 % of the frames of a song had some at 192 kbit/s, and at most 1 % at 160.

Shapes: B clips, T samples, F bins, N frames.
"""

import torch
from torch import Tensor, nn

from upscale.models.layers.moving_average import moving_average
from upscale.models.layers.stft import TightStft

GOOD_BITRATE = 176  # kbit/s from which a file passes unchanged: the possible gain does not outweigh the risk
LOWEST_HZ, HIGHEST_HZ = 17_850, 18_500
# Mean power per bin that proves nothing: of the level, leakage of the window; of full scale, 16-bit dither times 8.
LEAKAGE, DITHER = 1e-8, 4e-7
SHARE_OF_FRAMES = 0.03  # with treble, from which the bypass opens; at twice that a passage is unchanged


class QualityBypass(nn.Module):
    """The share of each sample that passes unchanged, 0 to 1: wav [B, 2, T], kbit/s [B] -> [B, 1, T]."""

    def __init__(self, average_frames: int = 130, level_frames: int = 24, window_size: int = 2048) -> None:
        super().__init__()
        self.stft = TightStft(window_size)
        self.stride, self.average_frames, self.level_frames = self.stft.hop, average_frames, level_frames
        self.context = (average_frames + level_frames + 6) * self.stride

    def forward(self, wav: Tensor, bitrate: Tensor | None = None) -> Tensor:
        share = self.good_treble(wav)
        if bitrate is not None:
            known = bitrate.to(wav)[:, None, None]
            share = torch.where(known > 0, (known >= GOOD_BITRATE).to(wav), share)
        ramp = torch.arange(self.stride, device=wav.device, dtype=wav.dtype) / self.stride
        before, after = share[:, :, :-1, None], share[:, :, 1:, None]
        return (before + (after - before) * ramp).flatten(2)[..., : wav.shape[-1]]

    def good_treble(self, wav: Tensor) -> Tensor:
        """0 to 1 per frame [B, 1, N]: has treble survived that no low bitrate lets through?"""
        real, imaginary = self.stft.analyse(wav)
        level = moving_average((real**2 + imaginary**2).mean(dim=(1, 2))[:, None], self.level_frames)
        first, last = (round(hz / 44_100 * self.stft.window_size) for hz in (LOWEST_HZ, HIGHEST_HZ))
        real, imaginary = (hann(part[:, :, first - 1 : last + 1]) for part in (real, imaginary))
        treble = (real**2 + imaginary**2).mean(dim=(1, 2))[:, None]
        found = (torch.log10((treble + 1e-10) / (LEAKAGE * level + DITHER)) / 0.3).clamp(0, 1)
        # Where a clip begins and ends in the midst of sound, the edge itself has treble.
        frame = torch.arange(found.shape[-1], device=wav.device)
        found = torch.where((frame >= 1) & (frame < found.shape[-1] - 3), found, torch.zeros_like(found))
        return ((moving_average(found, self.average_frames) - SHARE_OF_FRAMES) / SHARE_OF_FRAMES).clamp(0, 1)


def apply_bypass(wav: Tensor, restored: Tensor, share: Tensor) -> Tensor:
    """`restored` [B, 2, T] where the share [B, 1, T] is 0, the unchanged `wav` where it is 1, a blend between."""
    return wav + (1 - share) * (restored - wav)


def hann(spectrum: Tensor) -> Tensor:
    """Spectrum [B, C, F, N] to [B, C, F - 2, N] as if the frames had a Hann window on top: hardly any leakage."""
    return 0.5 * spectrum[:, :, 1:-1] - 0.25 * (spectrum[:, :, :-2] + spectrum[:, :, 2:])
