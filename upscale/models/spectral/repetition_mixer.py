"""Repetition mixer: restores what a passage lost from the places where the piece plays it again.

`repetition_search` finds the most similar places (matches) for each block. Hardly one is identical: another voice has
come in, the pattern goes on differently, the tempo drifts. So a backbone looks at the short-time spectrum of the
difference between the passage and each match, beside the difference that coding noise explains, and gives per bin and
frame a share of each match to mix in. Shares sum to one with that of the passage: nothing comes out that was in none.

Shapes: B clips, C channels, T samples, F bins, N frames, K matches, M blocks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.layers.backbone import BackboneBlock, bins_to_channels, channels_to_bins
from upscale.models.layers.moving_average import RELATIVE_FLOOR, SILENT_POWER, frame_level, local_average
from upscale.models.layers.stft import Spectrum, TightStft, mid_side
from upscale.models.spectral.match_confidence import match_confidence
from upscale.models.spectral.repetition_search import (
    CONTEXT,
    GRID,
    HOP,
    find_repetitions,
    gather_repetitions,
)

NUM_FEATURES = 8 + 7  # per bin and frame: shared by all matches, and of each
FIRST_SHARE = -3.0  # log share of a match beside the passage itself, before training
FADE = 4096  # samples at both ends of what is mixed, over which the mix comes and goes


class RepetitionMixer(nn.Module):
    """The degraded and the filtered wav [B, 2, T] to the filtered one with its own repetitions mixed in."""

    def __init__(
        self,
        width: int = 32,
        num_blocks: int = 2,
        fold: int = 4,
        num_matches: int = 4,
        average_frames: int = 24,
        window_size: int = 2048,
        min_confidence: float = 0.0,
    ) -> None:
        super().__init__()
        self.stft = TightStft(window_size)
        self.num_bins, self.fold, self.num_matches = window_size // 2, fold, num_matches
        self.average_frames, self.frames_per_block = average_frames, HOP // self.stft.hop
        self.stride, self.min_confidence = GRID, min_confidence
        reach = sum(block.mix.dilation[1] for block in self._blocks(width, num_blocks))
        self.margin = (average_frames + 2 + reach + 4) * self.stft.hop  # the reach of all but the search
        self.context = CONTEXT + self.margin
        self.head = nn.Conv2d(NUM_FEATURES * fold, width, kernel_size=1)
        self.bin_bias = nn.Parameter(torch.zeros(1, width, self.num_bins // fold, 1))
        self.blocks = nn.ModuleList(self._blocks(width, num_blocks))
        self.tail = nn.Conv2d(width, 2 * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.constant_(self.tail.bias, FIRST_SHARE)  # type: ignore[arg-type]

    @staticmethod
    def _blocks(width: int, num_blocks: int) -> list[BackboneBlock]:
        return [BackboneBlock(width, bin_dilation=1 + block % 2, frame_dilation=1) for block in range(num_blocks)]

    def forward(self, degraded: Tensor, filtered: Tensor, kept: slice | None = None) -> Tensor:
        """[B, 2, T] each -> [B, 2, kept] (default: all); both start at a multiple of the stride.

        Passages (of `GRID` samples) that are played once stay as they are, and cost a fourth of a search.
        """
        first, last, _ = (kept or slice(None)).indices(filtered.shape[-1])
        mixed = filtered[..., first:last].clone()
        for clip, result in enumerate(mixed):
            for begin, end in self.repeated(filtered[clip], first, last):
                inner = slice(max(first, begin), min(last, end))
                here = slice(inner.start - first, inner.stop - first)
                found = self.mix(degraded[clip : clip + 1], filtered[clip : clip + 1], inner)[0]
                sample = torch.arange(inner.start, inner.stop, device=found.device)
                share = (torch.minimum(sample - begin, end - sample) / FADE).clamp(0, 1)
                result[:, here] += share * (found - result[:, here])
        return mixed

    def repeated(self, filtered: Tensor, first: int, last: int) -> list[tuple[int, int]]:
        """Where in [2, T] neighbouring passages that touch the samples are played elsewhere: their first, their last.

        Those that go on beyond the samples may end a passage beyond them.
        """
        if self.min_confidence <= 0:
            return [(first - FADE, last + FADE)]
        passages = range(first // GRID - 1, -(-last // GRID) + 1)
        found: list[tuple[int, int]] = []
        confidence = match_confidence(filtered, passages)
        for passage, repeats in zip(passages, (confidence >= self.min_confidence).tolist(), strict=True):
            begin, end = passage * GRID, (passage + 1) * GRID
            if repeats and found and found[-1][1] == begin:
                found[-1] = found[-1][0], end
            elif repeats:
                found.append((begin, end))
        return [(begin, end) for begin, end in found if begin < last and end > first]

    def mix(self, degraded: Tensor, filtered: Tensor, kept: slice) -> Tensor:
        """[B, 2, T] each -> [B, 2, kept], mixed with matches whether they are similar or not."""
        first, last = kept.start, kept.stop
        begin = max(0, first - self.margin) // GRID * GRID
        end = min(filtered.shape[-1], last + self.margin)
        inner = slice(begin, end)
        starts, similarity = find_repetitions(filtered, self.num_matches, inner)
        matches = gather_repetitions(filtered, starts, num_samples=end - begin)
        mixed = self.combine(degraded[..., inner], filtered[..., inner], matches, similarity)
        return mixed[..., first - begin : last - begin]

    def combine(self, degraded: Tensor, filtered: Tensor, matches: Tensor, similarity: Tensor) -> Tensor:
        """As `forward`, given the matches [B, K, 2, T] and their similarity block by block [B, K, M]."""
        passage, before = self.spectrum(filtered), self.spectrum(degraded)
        inner = passage.below(self.num_bins)
        removed = inner.minus(before.below(self.num_bins))
        level = frame_level(inner.power(), self.average_frames) + SILENT_POWER
        others = [self.spectrum(match).below(self.num_bins) for match in matches.unbind(1)]
        differences = [other.minus(inner) for other in others]
        around = [local_average(difference.power()) / level for difference in differences]
        shared_features = self.shared_features(inner, removed, torch.stack(around).amin(dim=0), level)
        dissimilarity = self.dissimilarity(similarity, shared_features.shape[-1]).unbind(1)
        # One match after the other: the backbone's activations are most of the memory.
        logits = [
            self.logits(shared_features, self.match_features(inner, *each, level))
            for each in zip(differences, around, dissimilarity, strict=True)
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
        return self.stft.analyse(mid_side(wav))

    def shared_features(self, passage: Spectrum, removed: Spectrum, nearest: Tensor, level: Tensor) -> Tensor:
        """Features that all matches share, [B, 8, F, N]: log10 powers relative to the level around a frame."""
        power = passage.power()
        powers = [power / level, local_average(power) / level, local_average(removed.power()) / level, nearest]
        return torch.cat([log_ratio(ratio) for ratio in powers], dim=1)

    def match_features(
        self, passage: Spectrum, difference: Spectrum, around: Tensor, dissimilarity: Tensor, level: Tensor
    ) -> Tensor:
        """Features of one match, [B, 7, F, N]: its difference, here and around, its direction, the dissimilarity."""
        towards = local_average(difference.real * passage.real + difference.imaginary * passage.imaginary) / level
        dissimilarity = dissimilarity[:, None, None].expand(-1, 1, self.num_bins, -1)
        apart = log_ratio(difference.power() / level)
        return torch.cat(
            [apart, log_ratio(around), (towards / (around + RELATIVE_FLOOR)).clamp(-2, 2) + 0.5, dissimilarity], dim=1
        )

    def dissimilarity(self, similarity: Tensor, num_frames: int) -> Tensor:
        """Similarity [B, K, M] -> log10 of its complement [B, K, N]; frame m * frames_per_block is block m's centre."""
        value = torch.log10(1 - similarity**2 + 1e-4) * 0.5 + 1
        size = self.frames_per_block * (value.shape[-1] - 1) + 1
        value = F.interpolate(value, size=size, mode="linear", align_corners=True)
        return F.pad(value, (0, max(0, num_frames - size)), mode="replicate")[..., :num_frames]

    def logits(self, shared_features: Tensor, match_features: Tensor) -> Tensor:
        """Log share of one match in mid and side relative to the passage itself: [B, 2, F, N]."""
        features = bins_to_channels(torch.cat([shared_features, match_features], dim=1), self.fold)
        hidden = self.head(features)
        hidden = hidden + self.bin_bias.to(hidden)
        no_offset = torch.zeros(1).to(hidden)
        for block in self.blocks:
            hidden = block(hidden, no_offset)
        return channels_to_bins(self.tail(hidden), self.fold).float()


def log_ratio(ratio: Tensor) -> Tensor:
    return torch.log10(ratio + RELATIVE_FLOOR) * 0.5 + 1
