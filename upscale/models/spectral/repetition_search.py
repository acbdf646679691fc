"""Repetition search: where a piece plays a passage again, to the sample, and the sound there.

Much music is made of loops, samples and patterns. An encoder that meets the same sound again meets it elsewhere within
its frames and with other bits to spare, so what it rounded away differs, and two rough copies say more than one.

Every block of 8,192 samples is looked for within some 12 s on both sides: by normalised cross-correlation at a quarter
of the sample rate, with the treble raised (`EMPHASIS`), or else only the bass would count; then to the sample at the
full rate. Both are functions of what lies within `CONTEXT` of the block alone, and blocks lie on a grid of `GRID`
samples, so chunks that start at its multiples find what the whole finds.

Shapes: B clips, T samples, K matches, M blocks; block m begins at sample (m - 1) * HOP and is 2 * HOP long.
"""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

FACTOR = 4  # of the sample rate, for the first search
HOP = 4096
BLOCK = 2 * HOP
GROUP = 16  # blocks that are looked for in one and the same region
GRID = GROUP * HOP
REGION = 2**18  # length of a region at the lower rate
LEAD = REGION // 2 + HOP // FACTOR  # where a region begins, before the first of its blocks but one
EMPHASIS = 0.9
NEAREST = 1024  # at the lower rate: a block is like itself a moment later, which is no repetition
APART = 37  # likewise: of the places around a match, it is the best
FARTHER = 1e-3  # of similarity that a match at the far end must be better by; among equals the nearest is taken
PROBES = slice(2, GROUP, 4)  # blocks of a group that say whether it is worth the whole search
REFINE = 3  # samples on each side of what the first search found
HALF_FILTER = 64
SILENT_ENERGY = 1e-9  # energy of a block
CONTEXT = (LEAD + GROUP * HOP // FACTOR) * FACTOR + BLOCK + HALF_FILTER + REFINE + 1


def find_repetitions(wav: Tensor, num_matches: int, inner: slice | None = None) -> tuple[Tensor, Tensor]:
    """[B, 2, T] -> the first sample of each block's matches, and their similarity, 0 to 1: [B, K, M] both.

    Where there are fewer than K matches, the similarity of the others is 0. The blocks are those that touch the samples
    `inner`, which starts on the grid; without it, all.
    """
    first, last, _ = (inner or slice(None)).indices(wav.shape[-1])
    blocks = range(first // HOP, first // HOP + num_blocks(last - first))
    found = [_refined(one, _rough(one, num_matches, blocks), blocks) for one in wav]
    starts, similarity = zip(*found, strict=True)
    return torch.stack(starts), torch.stack(similarity)


def probe_passages(wav: Tensor, passages: range) -> tuple[Tensor, Tensor]:
    """[2, T] -> a few blocks of each passage and the best match of each: [2, passages * probes, BLOCK] both.

    Passage n is the `GRID` samples from n * GRID on, and must touch the wav. This costs a fourth of the whole search.
    """
    signal = _search_signal(wav)
    rough = [_group_matches(signal, passage * GROUP, PROBES, num_matches=1) for passage in passages]
    numbers = [passage * GROUP + block for passage in passages for block in range(GROUP)[PROBES]]
    padded = F.pad(wav, (0, GRID))  # the last passage may go on behind the last sample
    starts, _ = _refined(padded, torch.cat(rough, dim=1), numbers)
    own = torch.tensor(numbers, device=wav.device) * HOP - HOP
    padded = F.pad(padded, (BLOCK, 2 * BLOCK))
    return _cut(padded, own + BLOCK), _cut(padded, starts[0] + BLOCK)


def gather_repetitions(wav: Tensor, starts: Tensor, num_samples: int | None = None) -> Tensor:
    """[B, C, T] and [B, K, M] -> [B, K, C, num_samples]: each block replaced by what is at its match, crossfaded.

    `num_samples`: those that the blocks touch; all that there are where nothing is named.
    """
    _, num_matches, count = starts.shape
    padded = F.pad(wav, (BLOCK, 2 * BLOCK))
    window = torch.hann_window(BLOCK, device=wav.device)
    length = (count + 1) * HOP
    end = HOP + (wav.shape[-1] if num_samples is None else num_samples)
    matches = []
    for clip, places in zip(padded, starts, strict=True):
        blocks = _cut(clip, places.flatten() + BLOCK) * window  # [C, K M, BLOCK]
        columns = blocks.unflatten(1, (num_matches, count)).permute(1, 0, 3, 2).flatten(0, 1)
        joined = F.fold(columns, (1, length), (1, BLOCK), stride=(1, HOP))
        matches.append(joined.view(num_matches, wav.shape[1], length)[..., HOP:end])
    return torch.stack(matches)


def num_blocks(num_samples: int) -> int:
    """Blocks that touch so many samples: each sample lies in two."""
    return -(-num_samples // HOP) + 1


def _cut(wav: Tensor, starts: Tensor) -> Tensor:
    """[C, T] and [M] -> blocks [C, M, BLOCK]."""
    return wav[:, starts[:, None] + torch.arange(BLOCK, device=wav.device)]


def _emphasised(wav: Tensor) -> Tensor:
    return wav - EMPHASIS * F.pad(wav, (1, 0))[..., :-1]


def _decimated(wav: Tensor) -> Tensor:
    """[T] -> [T / FACTOR], low-passed by a windowed sinc."""
    steps = torch.arange(-HALF_FILTER, HALF_FILTER + 1, device=wav.device, dtype=wav.dtype)
    window = torch.hann_window(len(steps), periodic=False, device=wav.device, dtype=wav.dtype)
    kernel = torch.sinc(steps * (0.9 / FACTOR)) * (0.9 / FACTOR) * window
    return F.conv1d(F.pad(wav, (HALF_FILTER, HALF_FILTER))[None, None], kernel[None, None], stride=FACTOR)[0, 0]


def _search_signal(wav: Tensor) -> Tensor:
    """[C, T] -> mono at the lower rate, with zeros around, so that every group's region lies within."""
    hop, block = HOP // FACTOR, BLOCK // FACTOR
    low = _emphasised(_decimated(wav.mean(dim=0)))
    return F.pad(low, (LEAD + hop, REGION + block + GROUP * hop))


@cache
def _handicap(device: torch.device) -> Tensor:
    """What each place of a region loses for its distance from each block of the group: [GROUP, places]."""
    hop, block = HOP // FACTOR, BLOCK // FACTOR
    places = torch.arange(REGION - block + 1, device=device)
    distance = (places - LEAD - hop * torch.arange(GROUP, device=device)[:, None]).abs()
    return (-FARTHER / REGION * distance.float()).masked_fill_(distance < NEAREST, -2.0)


def _similarity(signal: Tensor, first: int, blocks: slice) -> Tensor:
    """Of those blocks of the group that begins with block `first`, to every place of its region: [M, places]."""
    hop, block = HOP // FACTOR, BLOCK // FACTOR
    begin = first * hop  # of the region, in `signal`; the first block lies LEAD behind it
    own = signal[begin + LEAD :].unfold(0, block, hop)[blocks]
    similarity = _correlation(signal[begin : begin + REGION], own).add_(_handicap(signal.device)[blocks])
    similarity[:, : max(0, LEAD + hop - begin)] = -2.0  # before the file
    return similarity


def _group_matches(signal: Tensor, first: int, blocks: slice, num_matches: int) -> Tensor:
    """Where the best matches of those blocks begin, at the lower rate: [K, M]."""
    hop = HOP // FACTOR
    return _best(_similarity(signal, first, blocks), num_matches) + first * hop - LEAD - hop


def _rough(wav: Tensor, num_matches: int, numbers: range) -> Tensor:
    """[C, T] -> where the best matches of each of those blocks begin, at the lower rate: [K, M]."""
    signal = _search_signal(wav)
    groups = [(first, slice(min(GROUP, numbers.stop - first))) for first in numbers[::GROUP]]
    return torch.cat([_group_matches(signal, *group, num_matches) for group in groups], dim=1)


def _correlation(region: Tensor, blocks: Tensor) -> Tensor:
    """Normalised cross-correlation: [REGION] and [M, block] -> [M, places]."""
    places = REGION - blocks.shape[1] + 1
    spectrum = torch.fft.rfft(region) * torch.fft.rfft(blocks, REGION).conj()
    product = torch.fft.irfft(spectrum, REGION)[:, :places]
    energy = F.pad(region.double().square().cumsum(0), (1, 0))
    energy = (energy[blocks.shape[1] :] - energy[:places]).to(region)
    own = blocks.square().sum(dim=1, keepdim=True)
    return product.mul_(torch.rsqrt(energy + SILENT_ENERGY)).mul_(torch.rsqrt(own + SILENT_ENERGY))


def _best(similarity: Tensor, num_matches: int) -> Tensor:
    """The places of the highest peaks of each row, `APART` from one another: [M, places] -> [K, M].

    Peaks are erased as they are found.
    """
    around = torch.arange(-APART, APART + 1, device=similarity.device)
    found = []
    for _ in range(num_matches):
        place = similarity.argmax(dim=1, keepdim=True)
        found.append(place[:, 0])
        taken = (place + around).clamp(0, similarity.shape[1] - 1)
        similarity.scatter_(1, taken, -2.0)
    return torch.stack(found)


def _refined(wav: Tensor, rough: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Left and right [2, T] and places at the lower rate [K, M] to places to the sample and similarity, [K, M] both."""
    margin = BLOCK + FACTOR * NEAREST
    padded = _emphasised(F.pad(wav, (margin, margin + BLOCK)))
    own = _cut(padded, torch.tensor(numbers, device=wav.device) * HOP - HOP + margin)
    own_energy = own.square().sum(dim=(0, 2))
    starts, similarity = [], []
    for places in rough:
        tried = []
        for offset in range(-REFINE, REFINE + 1):
            start = (FACTOR * places + offset).clamp(-BLOCK, wav.shape[1])
            other = _cut(padded, start + margin)
            energy = own_energy * other.square().sum(dim=(0, 2))
            tried.append((start, (own * other).sum(dim=(0, 2)) * torch.rsqrt(energy + SILENT_ENERGY**2)))
        start, value = (torch.stack(part) for part in zip(*tried, strict=True))
        best = value.argmax(dim=0, keepdim=True)
        starts.append(start.gather(0, best)[0])
        similarity.append(value.gather(0, best)[0].clamp(0, 1))
    return torch.stack(starts), torch.stack(similarity)
