"""Spectral repeat network: what a passage lost, from the places where the piece plays it again.

`repetition_search` finds for each block the places that are most like it. Hardly one is the same: another voice has
come in, the pattern goes on differently, the tempo drifts. So a trunk looks at the short-time spectrum of the
difference between the passage and each of its matches, beside what of that is to be expected of coding noise, and says
per bin and frame how much of each match to mix in. What it says are shares: nothing can come out that was in none.

Shapes: B clips, C channels, T samples, F bins, N frames, K matches, M blocks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.layers.stft import TightStft, mid_side
from upscale.models.spectral.bypass import local_mean
from upscale.models.spectral.repetition_search import CONTEXT, GRID, HOP, find_repeats, gather_repeats
from upscale.models.spectral_filter import FLOOR, SILENCE, TrunkBlock, fold_bins, local_average, unfold_bins

NUM_FEATURES = 8 + 7  # per bin and frame, of all matches and of each
FIRST_SHARE = -3.0  # log share of a match beside the passage itself, before training


@dataclass(frozen=True)
class Spectrum:
    """Of mid and side, [B, 2, F, N] each."""

    real: Tensor
    imaginary: Tensor

    def power(self) -> Tensor:
        return self.real**2 + self.imaginary**2

    def below(self, num_bins: int) -> "Spectrum":
        return Spectrum(self.real[:, :, :num_bins], self.imaginary[:, :, :num_bins])

    def minus(self, other: "Spectrum") -> "Spectrum":
        return Spectrum(self.real - other.real, self.imaginary - other.imaginary)


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
        return self.mix(degraded, filtered, kept)[0]

    def mix(self, degraded: Tensor, filtered: Tensor, kept: slice | None = None) -> tuple[Tensor, Tensor]:
        """The same and the matches that it was mixed with, [B, K, 2, kept]."""
        first, last, _ = (kept or slice(None)).indices(filtered.shape[-1])
        begin = max(0, first - self.margin) // GRID * GRID
        end = min(filtered.shape[-1], last + self.margin)
        inner = slice(begin, end)
        starts, likeness = find_repeats(filtered, self.num_matches, inner)
        matches = gather_repeats(filtered, starts, num_samples=end - begin)
        mixed = self.combine(degraded[..., inner], filtered[..., inner], matches, likeness)
        wanted = slice(first - begin, last - begin)
        return mixed[..., wanted], matches[..., wanted]

    def combine(self, degraded: Tensor, filtered: Tensor, matches: Tensor, likeness: Tensor) -> Tensor:
        """The same with the matches [B, K, 2, T] and how like they are, block by block [B, K, M]."""
        passage, before = self.spectrum(filtered), self.spectrum(degraded)
        inner = passage.below(self.num_bins)
        removed = inner.minus(before.below(self.num_bins))
        level = local_mean(inner.power().mean(dim=(1, 2))[:, None], self.average_frames)[:, :, None] + SILENCE
        others = [self.spectrum(match).below(self.num_bins) for match in matches.unbind(1)]
        differences = [other.minus(inner) for other in others]
        around = [local_average(difference.power()) / level for difference in differences]
        of_all = self.of_all(inner, removed, torch.stack(around).amin(dim=0), level)
        unlike = self.unlikeness(likeness, of_all.shape[-1]).unbind(1)
        # One match after the other: what the trunk holds is most of the memory.
        logits = [
            self.logits(of_all, self.of_match(inner, *each, level))
            for each in zip(differences, around, unlike, strict=True)
        ]
        shares = torch.stack([torch.zeros_like(logits[0]), *logits]).softmax(dim=0)[1:]
        real, imaginary = inner.real, inner.imaginary
        for share, difference in zip(shares, differences, strict=True):
            real, imaginary = real + share * difference.real, imaginary + share * difference.imaginary
        # The bin at half the sample rate is passed through.
        real = torch.cat([real, passage.real[:, :, self.num_bins :]], dim=2)
        imaginary = torch.cat([imaginary, passage.imaginary[:, :, self.num_bins :]], dim=2)
        return mid_side(self.stft.synthesise(real, imaginary, num_samples=filtered.shape[-1]))

    def spectrum(self, wav: Tensor) -> Spectrum:
        return Spectrum(*self.stft.analyse(mid_side(wav)))

    def of_all(self, passage: Spectrum, removed: Spectrum, nearest: Tensor, level: Tensor) -> Tensor:
        """What the trunk sees beside every match, [B, 8, F, N]: log10 powers beside the level around a frame."""
        power = passage.power()
        powers = [power / level, local_average(power) / level, local_average(removed.power()) / level, nearest]
        return torch.cat([log_ratio(ratio) for ratio in powers], dim=1)

    def of_match(
        self, passage: Spectrum, difference: Spectrum, around: Tensor, unlike: Tensor, level: Tensor
    ) -> Tensor:
        """What it sees of one match, [B, 7, F, N]: its difference, here and around, where that points, its likeness."""
        towards = local_average(difference.real * passage.real + difference.imaginary * passage.imaginary) / level
        unlike = unlike[:, None, None].expand(-1, 1, self.num_bins, -1)
        apart = log_ratio(difference.power() / level)
        return torch.cat([apart, log_ratio(around), (towards / (around + FLOOR)).clamp(-2, 2) + 0.5, unlike], dim=1)

    def unlikeness(self, likeness: Tensor, num_frames: int) -> Tensor:
        """[B, K, M] to its complement in log10, [B, K, N]; block m is centred on frame m * frames_per_block."""
        value = torch.log10(1 - likeness**2 + 1e-4) * 0.5 + 1
        size = self.frames_per_block * (value.shape[-1] - 1) + 1
        value = F.interpolate(value, size=size, mode="linear", align_corners=True)
        return F.pad(value, (0, max(0, num_frames - size)), mode="replicate")[..., :num_frames]

    def logits(self, of_all: Tensor, of_match: Tensor) -> Tensor:
        """Log share of one match in mid and side beside the passage itself: [B, 2, F, N]."""
        features = fold_bins(torch.cat([of_all, of_match], dim=1), self.fold)
        hidden = self.head(features)
        hidden = hidden + self.bin_bias.to(hidden)
        nothing = torch.zeros(1).to(hidden)
        for block in self.blocks:
            hidden = block(hidden, nothing)
        return unfold_bins(self.tail(hidden), self.fold).float()


def log_ratio(ratio: Tensor) -> Tensor:
    return torch.log10(ratio + FLOOR) * 0.5 + 1
