"""How far a network hears: which input samples an output sample depends on.

Every layer that spreads over time has a method `reads`: it maps the interval of outputs that is asked for to the
interval of inputs that those outputs are computed from. A network follows its own layers from the last to the first.
An interval (first, last) is inclusive and counts steps of a level's own rate.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Interval = tuple[Any, Any]  # whole numbers, or arrays of them: many intervals at once


def union(one: Interval, other: Interval) -> Interval:
    return np.minimum(one[0], other[0]), np.maximum(one[1], other[1])


def reads_through(layers: Iterable[Any], span: Interval) -> Interval:
    """What the first of some layers reads, each of which feeds the next."""
    for layer in reversed(list(layers)):
        span = layer.reads(span)
    return span


def reads_through_levels(downs: Sequence[Any], bottleneck: Any, ups: Sequence[Any], span: Interval) -> Interval:
    """What the first level of a U-Net reads; `ups` are in order, the coarsest first.

    `up.reads(span)` gives the intervals of its frames and of its skip, `down.reads(span, skip)` takes both.
    """
    skips = []
    for up in reversed(ups):
        span, skip = up.reads(span)
        skips.append(skip)
    span = bottleneck.reads(span)
    for down, skip in zip(reversed(downs), reversed(skips), strict=True):
        span = down.reads(span, skip)
    return span


def receptive_field(reads: Callable[[Interval], Interval], stride: int) -> tuple[int, int]:
    """Samples before and after any output sample that can reach it, by the network's `reads`.

    Where time is halved, outputs differ by their place on the grid of `stride` samples: the worst place counts.
    """
    places = np.arange(stride)
    first, last = reads((places, places))
    return int((places - first).max()), int((last - places).max())
