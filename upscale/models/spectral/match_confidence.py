"""Match confidence: whether a passage is played elsewhere, by a few of its blocks, before anything costly is done.

How similar two passages are is no answer. Held notes are similar to any place with the same chord, and gain nothing
from it; a drum loop under a new melody is not very similar, and gains much. What tells them apart is how many
time-frequency bins agree: only where a recording itself is played again does a match meet a passage in many bins to a
tenth of their power.

Shapes: T samples, M blocks, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.models.layers.stft import mid_side
from upscale.models.spectral.repetition_search import GRID, probe_passages

WINDOW = 2048
BINS = slice(8, 744)  # from 170 Hz to the low-pass of most encoders
MET = 0.1  # share of the power, up to which a difference counts as none
AUDIBLE = 1e-7  # of the mean power per bin of a block
NEIGHBOURS = (3, 5)  # frames and bins over which powers are averaged


def match_confidence(wav: Tensor, passages: range) -> Tensor:
    """[2, T] -> 0 to 1 for each passage of `GRID` samples: the share of bins that a match meets, in the best block."""
    there = range(max(0, passages.start), min(passages.stop, -(-wav.shape[-1] // GRID)))
    own, match = probe_passages(wav, there)
    spectrum = _spectrum(own)
    power, difference = (_local_power(part) for part in (spectrum, spectrum - _spectrum(match)))
    audible = power > AUDIBLE * power.mean(dim=(1, 2, 3), keepdim=True)
    met = ((difference < MET * power) & audible).sum(dim=(1, 2, 3)) / audible.sum(dim=(1, 2, 3)).clamp(min=1)
    best = met.view(len(there), -1).amax(dim=1)
    return F.pad(best, (there.start - passages.start, passages.stop - there.stop))


def _spectrum(blocks: Tensor) -> Tensor:
    """[2, M, BLOCK] -> complex spectra of mid and side [M, 2, N, F]."""
    frames = mid_side(blocks.transpose(0, 1)).unfold(-1, WINDOW, WINDOW // 2)
    return torch.fft.rfft(frames * torch.hann_window(WINDOW, device=blocks.device))[..., BINS]


def _local_power(spectrum: Tensor) -> Tensor:
    padding = [size // 2 for size in NEIGHBOURS]
    return F.avg_pool2d(spectrum.abs() ** 2, NEIGHBOURS, stride=1, padding=padding)
