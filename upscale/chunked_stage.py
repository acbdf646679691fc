"""One of the stages in which a model restores a long file, for PyTorch and NumPy alike.

    wav -> [first stage] -> state -> [next stage] -> ... -> [last stage] -> wav

A state is a NamedTuple of arrays [B, ..., T]. Its field `wav` is the wav that the first stage was given.
Stages with contexts of their own compute less twice than a single one whose context is the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

State = Any  # a wav [B, C, T] or a NamedTuple of arrays [B, ..., T], Torch or NumPy


@dataclass(frozen=True)
class Stage:
    """`function` takes a state, kbit/s [B] or None, and the slice of T that is wanted; it returns that slice alone.

    It needs `context` samples on both sides of the slice, and its input starts at a multiple of `stride`.
    """

    function: Callable[[State, Any, slice], State]
    context: int
    stride: int


def single_stage(model: Callable[[Any, Any], Any], context: int, stride: int) -> Stage:
    """The only stage of a model that restores in one."""
    return Stage(lambda wav, bitrate, kept: model(wav, bitrate)[..., kept], context, stride)


def each(function: Callable[..., Any], *states: State) -> State:
    """`function` of the wavs, or field by field of the tuples."""
    first = states[0]
    return type(first)(*map(function, *states)) if isinstance(first, tuple) else function(*states)


def num_samples(state: State) -> int:
    return (state[0] if isinstance(state, tuple) else state).shape[-1]
