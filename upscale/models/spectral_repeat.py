"""Spectral repeat network: what a passage lost, from the places where the piece plays it again.

`upscale.models.repeats` finds for each block the places that are most like it. Hardly one is the same: another voice
has come in, the pattern goes on differently, the tempo drifts. So a trunk looks at the short-time spectrum of the
difference between the passage and each of its matches, beside what of that is to be expected of coding noise, and says
per bin and frame how much of each match to mix in. What it says are shares: nothing can come out that was in none.

Shapes: B clips, C channels, T samples, F bins, N frames, K matches, M blocks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.guard import local_mean
from upscale.models.repeats import CONTEXT, GRID, HOP, find_repeats, gather_repeats
from upscale.models.spectral_filter import FLOOR, SILENCE, TrunkBlock, fold_bins, local_average, unfold_bins
from upscale.models.stft import TightStft, mid_side

NUM_FEATURES = 15  # per bin, frame and match
FIRST_SHARE = -3.0  # log share of a match beside the passage itself, before training


class SpectralRepeat(nn.Module):
    """The degraded wav and what a filter made of it to the latter, with its own repetitions mixed in."""

    def __init__(
        self,
        width: int = 32,
        num_blocks: int = 2,
        fold: int = 4,
        num_matches: int = 4,
        average_frames: int = 24,
        window_size: int = 2048,
    ) -> None:
        super().__init__()
        self.stft = TightStft(window_size)
        self.num_bins, self.fold, self.num_matches = window_size // 2, fold, num_matches
        self.average_frames, self.frames_per_block = average_frames, HOP // self.stft.hop
        self.stride = GRID
        reach = sum(block.mix.dilation[1] for block in self._blocks(width, num_blocks))
        self.margin = (average_frames + 2 + reach + 4) * self.stft.hop  # all but the search looks no further
        self.context = CONTEXT + self.margin
        self.head = nn.Conv2d(NUM_FEATURES * fold, width, kernel_size=1)
        self.bin_bias = nn.Parameter(torch.zeros(1, width, self.num_bins // fold, 1))
        self.blocks = nn.ModuleList(self._blocks(width, num_blocks))
        self.tail = nn.Conv2d(width, 2 * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.constant_(self.tail.bias, FIRST_SHARE)  # type: ignore[arg-type]

    @staticmethod
    def _blocks(width: int, num_blocks: int) -> list[TrunkBlock]:
        return [TrunkBlock(width, bin_dilation=1 + block % 2, frame_dilation=1) for block in range(num_blocks)]

    def forward(self, degraded: Tensor, filtered: Tensor, kept: slice | None = None) -> Tensor:
        """[B, 2, T] each -> [B, 2, kept], all of it where nothing is named; both start at a multiple of the stride."""
        first, last, _ = (kept or slice(None)).indices(filtered.shape[-1])
        begin = max(0, first - self.margin) // GRID * GRID
        end = min(filtered.shape[-1], last + self.margin)
        inner = slice(begin, end)
        starts, likeness = find_repeats(filtered, self.num_matches, inner)
        matches = gather_repeats(filtered, starts, num_samples=end - begin)
        mixed = self.combine(degraded[..., inner], filtered[..., inner], matches, likeness)
        return mixed[..., first - begin : last - begin]

    def combine(self, degraded: Tensor, filtered: Tensor, matches: Tensor, likeness: Tensor) -> Tensor:
        """The same with the matches [B, K, 2, T] and how like they are, block by block [B, K, M]."""
        now, before = (self.stft.analyse(mid_side(wav)) for wav in (filtered, degraded))
        others = self.stft.analyse(mid_side(matches.flatten(0, 1)))
        inner = slice(self.num_bins)
        real, imaginary = (part[:, :, inner] for part in now)
        differences = [
            other[:, :, inner].unflatten(0, matches.shape[:2]) - part[:, None]
            for other, part in zip(others, (real, imaginary), strict=True)
        ]
        removed = [part - other[:, :, inner] for part, other in zip((real, imaginary), before, strict=True)]
        shares = self.shares(*self.features((real, imaginary), differences, removed, likeness))
        real, imaginary = (
            torch.cat([part + (shares * difference).sum(dim=1), whole[:, :, self.num_bins :]], dim=2)
            for part, difference, whole in zip((real, imaginary), differences, now, strict=True)
        )
        return mid_side(self.stft.synthesise(real, imaginary, num_samples=filtered.shape[-1]))

    def features(
        self, spectrum: tuple[Tensor, Tensor], differences: list[Tensor], removed: list[Tensor], likeness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the trunk sees of the passage [B, features, F, N] and of each match [B, K, features, F, N].

        All powers are in log10 beside the level around a frame.
        """
        real, imaginary = spectrum
        power = real**2 + imaginary**2
        level = local_mean(power.mean(dim=(1, 2))[:, None], self.average_frames)[:, :, None] + SILENCE
        apart = differences[0] ** 2 + differences[1] ** 2
        towards = differences[0] * real[:, None] + differences[1] * imaginary[:, None]
        around, towards = (
            local_average(part.flatten(0, 1)).unflatten(0, likeness.shape[:2]) for part in (apart, towards)
        )
        around = around / level[:, None]

        def log(ratio: Tensor) -> Tensor:
            return torch.log10(ratio + FLOOR) * 0.5 + 1

        of_all = [
            log(power / level),
            log(local_average(power) / level),
            log(local_average(removed[0] ** 2 + removed[1] ** 2) / level),
            log(around.amin(dim=1)),
        ]
        num_frames = power.shape[-1]
        of_each = [
            log(apart / level[:, None]),
            log(around),
            (towards / level[:, None] / (around + FLOOR)).clamp(-2, 2) + 0.5,
            self.unlikeness(likeness, num_frames)[:, :, None, None].expand(-1, -1, 1, self.num_bins, -1),
        ]
        return torch.cat(of_all, dim=1), torch.cat(of_each, dim=2)

    def unlikeness(self, likeness: Tensor, num_frames: int) -> Tensor:
        """[B, K, M] to its complement in log10, [B, K, N]; block m is centred on frame m * frames_per_block."""
        value = torch.log10(1 - likeness**2 + 1e-4) * 0.5 + 1
        size = self.frames_per_block * (value.shape[-1] - 1) + 1
        value = F.interpolate(value, size=size, mode="linear", align_corners=True)
        return F.pad(value, (0, max(0, num_frames - size)), mode="replicate")[..., :num_frames]

    def shares(self, of_all: Tensor, of_each: Tensor) -> Tensor:
        """What `features` gives -> of each match in mid and side [B, K, 2, F, N]; the rest is the passage's own."""
        own, others = self.head.weight.split([of_all.shape[1] * self.fold, of_each.shape[2] * self.fold], dim=1)
        hidden = F.conv2d(self.folded(of_each.flatten(0, 1)), others, self.head.bias).unflatten(0, of_each.shape[:2])
        hidden = hidden + (F.conv2d(self.folded(of_all), own) + self.bin_bias)[:, None].to(hidden)
        hidden = hidden.flatten(0, 1)
        nothing = torch.zeros(1).to(hidden)
        for block in self.blocks:
            hidden = block(hidden, nothing)
        logits = unfold_bins(self.tail(hidden), self.fold).unflatten(0, of_each.shape[:2]).float()
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1).softmax(dim=1)[:, 1:]

    def folded(self, features: Tensor) -> Tensor:
        return fold_bins(features, self.fold).contiguous(memory_format=torch.channels_last)
