"""Frames that are alike: what a level network says of all of them together is nearer than what it says of each.

A note that is held, or struck again within seconds, gets another answer in every frame, as the encoder left more or
less of it there. Non-local means (Buades, Coll and Morel, 2005) along time put that right: the answer in a frame
becomes the mean of those around it, weighted by how alike the whole answers are. A frame that is like no other keeps
its own, so attacks stay as short as they are. That is for bands in which the file has nothing, those above the
encoder's low-pass. In the others holes are of the moment, and a mean of other moments knows less.

Shapes: B clips, F bins, N frames.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.models.layers.moving_average import moving_average

ALIKE = 0.15  # root mean square difference, in log10 power of bands, at which a frame counts exp(-1/2) as much
BAND = 16  # bins
NEIGHBOURS = 1  # frames to both sides that are compared along with each
NOTHING = 0.5  # how far above the floor the mean of a band and the frames around is at most where there is nothing
BLOCK = 256  # frames at a time


def non_local_means(log_power: Tensor, given: Tensor, floor: float, reach: int) -> Tensor:
    """The answer and what the file has, log10 power [B, 2, F, N] each, to the answer [B, 2, F, N] averaged over frames.

    `floor`: that of both; `reach`: how many frames to both sides are looked at.
    """
    described = descriptions(log_power.detach())
    values = log_power.flatten(1, 2).transpose(1, 2)
    frames = torch.arange(log_power.shape[-1], device=log_power.device)
    means = []
    for here in frames.split(BLOCK):
        around = slice(max(int(here[0]) - reach, 0), int(here[-1]) + reach + 1)
        unlike = torch.cdist(described[:, here], described[:, around]).square() / described.shape[-1]
        near = (here[:, None] - frames[around]).abs() <= reach
        weights = torch.exp(unlike / (-2 * ALIKE**2)) * near
        means.append(weights / weights.sum(dim=2, keepdim=True) @ values[:, around])
    mean = torch.cat(means, dim=1).transpose(1, 2).unflatten(1, log_power.shape[1:3])
    return torch.where(is_empty(given, floor, reach), mean, log_power)


def descriptions(log_power: Tensor) -> Tensor:
    """What frames are compared by: the means of bands in each and in its neighbours, [B, 2, F, N] -> [B, N, _]."""
    bands = F.avg_pool2d(log_power, (BAND, 1)).flatten(1, 2)
    padded = F.pad(bands, (NEIGHBOURS, NEIGHBOURS), mode="replicate")
    return padded.unfold(-1, 2 * NEIGHBOURS + 1, 1).transpose(1, 2).flatten(2)


def is_empty(given: Tensor, floor: float, reach: int) -> Tensor:
    """Whether a bin lies in a band in which, in the frames around, there is nothing: [B, 2, F, N], as `given`."""
    bands = F.avg_pool2d(given, (BAND, 1))
    around = moving_average(bands.flatten(1, 2), reach).unflatten(1, bands.shape[1:3])
    return (around < floor + NOTHING).repeat_interleave(BAND, dim=2)
