"""Level repeat network: how loud each bin was, from the places where the piece plays the passage again.

What an encoder rounds to nothing here it may have kept there: it meets the same sound elsewhere within its frames, with
other bits to spare. `RepetitionMixer` mixes such places into the sound, which says little of what is quiet; here their
levels, and what is around each bin, correct what `LogMagnitudePredictor` answered. Where neither the passage nor a
match has anything, above the low-pass, there is nothing to learn from them, and the answer stays.

A small network for single bins, which sees what `bin_features` says of each: bins that are drawn one by one from
hundreds of songs teach it far more in a second than spectra with all their bins do.

Shapes: B clips, F bins, N frames, K matches.
"""

import torch
from torch import Tensor, nn

from upscale.models.spectral.bin_features import GRID_FRAMES, NEARBY, REACH, bin_features, box_mean, num_features

NOTHING, SOMETHING = -9.5, -9.0  # log10 power around a bin, of the loudest; the floor is -10
BLOCK_FRAMES = 256  # that are looked at at once: features of a bin are many
BINS_AT_ONCE = 2048  # as many hidden values as a processor has at hand


class RepetitionLevel(nn.Module):
    """Log10 powers of left and right to a better answer; the untrained model gives what it is given."""

    def __init__(self, num_matches: int = 4, width: int = 256) -> None:
        super().__init__()
        self.reach = -(-(REACH + NEARBY[1] // 2) // GRID_FRAMES) * GRID_FRAMES  # in frames
        self.layers = nn.Sequential(
            nn.Linear(num_features(num_matches), width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.tail = nn.Linear(width, 1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, answer: Tensor, *others: Tensor, frames: slice | None = None) -> Tensor:
        """What `bin_features` takes; [B, 2, F, N], a better answer, at least in `frames`."""
        seen = answer, *others
        start, stop, _ = (frames or slice(None)).indices(answer.shape[-1])
        start -= start % GRID_FRAMES
        corrected = [answer[..., :start]]
        for first in range(start, stop, BLOCK_FRAMES):
            begin, last = max(first - self.reach, 0), min(first + BLOCK_FRAMES, stop)
            block = [part[..., begin : last + self.reach] for part in seen]
            corrected.append(self.block(slice(first - begin, last - begin), *block))
        return torch.cat([*corrected, answer[..., stop:]], dim=-1)

    def block(self, inner: slice, answer: Tensor, *seen: Tensor) -> Tensor:
        """The better answer in the frames `inner` of a block."""
        known = torch.zeros_like(answer)
        known[..., inner] = match_confidence(*seen[1:3])[..., inner]
        heard = known.flatten().nonzero()[:, 0]
        features = bin_features(heard, answer, *seen)
        corrections = [self.correction(bins.T) for bins in features.split(BINS_AT_ONCE, dim=1)]
        better = answer.flatten().index_add(0, heard, known.flatten()[heard] * torch.cat(corrections))
        return better.view_as(answer)[..., inner]

    def correction(self, features: Tensor) -> Tensor:
        """Features [bins, features] to what is to be added to the answer: [bins]."""
        return self.tail(self.layers(0.5 * features))[:, 0]


def match_confidence(passage: Tensor, matches: Tensor) -> Tensor:
    """1 where the passage [B, 2, F, N] or a match [B, K, 2, F, N] has anything, 0 where none has: [B, 2, F, N]."""
    loudest = torch.cat([passage[:, None], matches], dim=1).amax(dim=1)
    return ((box_mean(loudest, NEARBY) - NOTHING) / (SOMETHING - NOTHING)).clamp(0, 1)
