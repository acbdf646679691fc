"""Level repeat network: how loud each bin was, from the places where the piece plays the passage again.

What an encoder rounds to nothing here it may have kept there: it meets the same sound elsewhere within its frames, with
other bits to spare. `SpectralRepeat` mixes such places into the sound, which says little of what is quiet; here their
levels are mixed, bin by bin in log10 power, with what `SpectralLevel` answered. Where neither the passage nor a match
has anything, above the low-pass, there is nothing to learn from them, and the answer stays.

Shapes: B clips, F bins, N frames, K matches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscale.models.spectral_filter import TrunkBlock, through_trunk

FIRST_SHARE = -3.0  # log share of a match beside the answer itself, before training
FRAME_DILATIONS = (1, 2, 1)  # of the trunk
NEARBY = (9, 3)  # bins and frames over which what is around a bin is averaged
NOTHING, SOMETHING = -9.5, -9.0  # log10 power around a bin, of the loudest; the floor is -10


class LevelRepeat(nn.Module):
    """Log10 powers of left and right to a better answer; the untrained model nearly gives what it is given."""

    def __init__(self, num_matches: int = 4, num_bins: int = 1024, width: int = 64, fold: int = 4) -> None:
        super().__init__()
        self.fold = fold
        num_features = 2 * (3 + 3 * num_matches + 2) + 1
        self.head = nn.Conv2d(num_features * fold, width, kernel_size=1)
        self.position = nn.Parameter(torch.zeros(1, width, num_bins // fold, 1))
        self.blocks = nn.ModuleList(
            [TrunkBlock(width, 1 + block % 2, dilation) for block, dilation in enumerate(FRAME_DILATIONS)]
        )
        self.reach = sum(FRAME_DILATIONS) + NEARBY[1] // 2  # in frames
        self.tail = nn.Conv2d(width, 2 * (2 + num_matches) * fold, kernel_size=1)
        nn.init.zeros_(self.tail.weight)
        bias = torch.full((2 + num_matches, 2, fold), FIRST_SHARE)
        bias[0] = 0  # of what is added to the answer
        self.tail.bias = nn.Parameter(bias.flatten())

    def forward(
        self,
        answer: Tensor,
        degraded: Tensor,
        passage: Tensor,
        matches: Tensor,
        differences: Tensor,
        level: Tensor,
    ) -> Tensor:
        """Log10 powers [B, 2, F, N]: the answer, the file, what the filters made of it (`passage`) -> a better answer.

        Of the matches, and of what each differs from the passage by: [B, K, 2, F, N]; around a frame: [B, 1, 1, N].
        """
        nearby = average(differences.flatten(1, 2)).view_as(differences)
        nearest, least = matches[:, 0], nearby[:, 0]
        for match, unlike in zip(matches.unbind(1)[1:], nearby.unbind(1)[1:], strict=True):  # argmin is slower
            nearest, least = torch.where(unlike < least, match, nearest), torch.minimum(unlike, least)
        seen = [answer, degraded, passage]
        seen += [several.flatten(1, 2) for several in (matches, differences, nearby)]
        seen += [nearest, least]
        features = torch.cat(seen, dim=1).sub_(level).mul_(0.5).add_(1)  # in place: it is large
        loud = (level * 0.3 + 1).expand(-1, -1, features.shape[2], -1)
        features = torch.cat([features, loud], dim=1)
        said = through_trunk(features, self.fold, self.head, self.position, self.blocks, self.tail)
        said = said.unflatten(1, (-1, 2))
        shares = F.pad(said[:, 1:], (0, 0, 0, 0, 0, 0, 1, 0)).softmax(dim=1)[:, 1:]  # beside 0 for the answer
        candidates = torch.cat([passage[:, None], matches], dim=1)
        known = ((average(candidates.amax(dim=1)) - NOTHING) / (SOMETHING - NOTHING)).clamp(0, 1)
        return answer + known * (said[:, 0] + (shares * (candidates - answer[:, None])).sum(dim=1))


def average(values: Tensor) -> Tensor:
    """Mean over what is `NEARBY`: [B, C, F, N] -> [B, C, F, N]."""
    return F.avg_pool2d(values, NEARBY, stride=1, padding=[size // 2 for size in NEARBY], count_include_pad=False)
