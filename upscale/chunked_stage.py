"""One of the steps in which a model restores a long file."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """`function` takes [B, C, T], kbit/s [B] or None, and the slice of T to give: [B, C', that slice] and no more.

    The first stage takes the wav, others what the one before gave. All but the last give back the wav in their first
    channels, for those that follow. Each needs `context` samples on both sides of what it gives and starts at multiples
    of `stride`; stages with contexts of their own compute less over than one with the sum.
    """

    function: Callable[[Tensor, Tensor | None, slice], Tensor]
    context: int
    stride: int


def whole(model: Callable[[Tensor, Tensor | None], Tensor]) -> Callable[[Tensor, Tensor | None, slice], Tensor]:
    """The function of the only stage of a model that has but one."""
    return lambda wav, bitrate, kept: model(wav, bitrate)[..., kept]
