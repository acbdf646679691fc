"""What `RepetitionLevel` sees of each bin: levels of it, of its neighbours and of its matches, and where it lies.

All are log10 powers above the answer that is to be corrected, if nothing else is said. Means over wide areas are those
of a coarse grid, for speed; it is counted from the first frame, so chunks start at multiples of `GRID_FRAMES`.

Shapes: B clips, F bins, N frames, K matches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = (5, 3)  # bins and frames that are seen one by one
NEARBY = (9, 3)  # those over which what is around a bin is averaged
WIDE = ((8, 4), (5, 5))  # cells of the grid, and how many of them are averaged
WIDEST = ((32, 8), (5, 9))
GRID_FRAMES = 8
REACH = 40  # frames to both sides that matter: those of the widest mean
HOLE = 1.0  # how far under its answer a bin of the file is one that the encoder left out
HIGHER = 4.0  # added to bins before the logarithm that says where they lie


def num_features(num_matches: int) -> int:
    return 3 * NEIGHBOURS[0] * NEIGHBOURS[1] - 1 + 20 + 5 * num_matches + 1


def bin_features(
    places: Tensor,
    answer: Tensor,
    degraded: Tensor,
    passage: Tensor,
    matches: Tensor,
    differences: Tensor,
    level: Tensor,
) -> Tensor:
    """Log10 powers [B, 2, F, N]: the answer, the file, what the filters made of it (`passage`).

    Of the matches, and of what each differs from the passage by: [B, K, 2, F, N]; around a frame: [B, 1, 1, N].
    Returns [features, bins], of those bins [B, 2, F, N] that lie at `places` once they are flat.
    """
    at = Places(places, answer)
    own, sounds = at.of(answer), (answer, degraded, passage)
    seen = [values for sound in sounds for values in at.neighbours(sound)]
    del seen[NEIGHBOURS[0] * NEIGHBOURS[1] // 2]  # the answer itself
    seen += [at.of(box_mean(sound, size)) for size in ((17, 1), (1, 9)) for sound in sounds]
    seen += [at.of(sound.flip(1)) for sound in sounds]  # of the other channel

    matches_here, nearby = [], []
    passage_around = at.wide_mean(passage, *WIDE)
    for match, difference in zip(matches.unbind(1), differences.unbind(1), strict=True):
        matches_here.append(at.of(match))
        nearby.append(at.of(box_mean(difference, NEARBY)))
        seen += [matches_here[-1], at.of(box_mean(match, (3, 3))), at.of(difference), nearby[-1]]
        seen += [own + at.wide_mean(difference, *WIDE) - passage_around]
    nearest, least = matches_here[0], nearby[0]
    for values, unlike in zip(matches_here[1:], nearby[1:], strict=True):  # argmin is slower
        nearest, least = torch.where(unlike < least, values, nearest), torch.minimum(unlike, least)
    levels = torch.stack(matches_here)
    seen += [nearest, least, levels.mean(dim=0), levels.amax(dim=0), levels.amin(dim=0)]

    holes = (answer - degraded > HOLE).to(answer)
    level_here, bins = at.of(level), at.bin.to(answer)
    others = [4 * bins / max(at.num_bins - 1, 1) - 2, torch.log2(bins + HIGHER) - HIGHER]
    others += [0.4 * own + 2, own - level_here, 0.5 * level_here + 2]
    others += [4 * at.wide_mean(holes, *WIDE), 4 * at.wide_mean(holes, *WIDEST)]
    features = torch.stack([*seen, *others])
    features[: len(seen)] -= own
    return features


class Places:
    """Some bins of spectra [B, 2, F, N], by where they lie once those are flat; what there is at each of them."""

    def __init__(self, places: Tensor, spectra: Tensor) -> None:
        self.places, self.shape = places, spectra.shape
        self.num_bins, self.num_frames = spectra.shape[-2:]
        self.row, self.frame = places // self.num_frames, places % self.num_frames  # rows of all the spectra
        self.spectrum, self.bin = self.row // self.num_bins, self.row % self.num_bins

    def of(self, values: Tensor) -> Tensor:
        """What has, or expands to, [B, 2, F, N] to [bins]."""
        return values.expand(self.shape).flatten()[self.places]

    def neighbours(self, values: Tensor) -> list[Tensor]:
        """Each of the `NEIGHBOURS`, the bin itself among them: [B, 2, F, N] to so many of [bins]."""
        rows, columns = NEIGHBOURS
        padded = F.pad(values, (columns // 2, columns // 2, rows // 2, rows // 2), mode="replicate")
        flat, width = padded.flatten(), padded.shape[-1]
        corner = (self.row + self.spectrum * (rows - 1)) * width + self.frame
        return [flat[corner + (down * width + right)] for down in range(rows) for right in range(columns)]

    def wide_mean(self, values: Tensor, cell: tuple[int, int], cells: tuple[int, int]) -> Tensor:
        """Mean over `cells` cells of a grid around each bin's own cell: [B, 2, F, N] to [bins]."""
        coarse = box_mean(F.avg_pool2d(values, cell, ceil_mode=True, count_include_pad=False), cells)
        num_rows, num_columns = coarse.shape[-2:]
        row = self.spectrum * num_rows + self.bin // cell[0]
        return coarse.flatten()[row * num_columns + self.frame // cell[1]]


def box_mean(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over odd numbers of bins and of frames: [B, C, F, N] -> [B, C, F, N]."""
    for kernel in ((size[0], 1), (1, size[1])):  # one after the other: a sum of the two sizes, not their product
        if max(kernel) > 1:
            padding = [length // 2 for length in kernel]
            values = F.avg_pool2d(values, kernel, stride=1, padding=padding, count_include_pad=False)
    return values
