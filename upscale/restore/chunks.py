"""A local function over sound of any length, in overlapping chunks whose edges are thrown away.

    input    |--- context ---|------ hop ------|--- context ---|
    output                   |------ kept -----|

A function whose output at t depends only on input within `context` of t computes in the kept part exactly what it
would compute on the whole. A crossfade cannot do that: it blends two outputs that are both wrong at the edge.
Legend: B clips, C channels, T samples. A state is a wav [B, C, T] or a named tuple of arrays [B, ..., T].
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from upscale.chunked_stage import State, each, num_samples


class Overlap:
    """Streams `function` (state of T samples -> state of ceil(T * rate)) over blocks of any size.

    `context`: input samples on each side that the function needs. `stride`: chunks start at its multiples (a model
    that halves time ten times has a grid of 1,024; a resampler from 160 to 147 has one of 160).
    `hop`: input samples that each chunk yields. The last two are rounded up to the grid. `narrow`: the function takes,
    beside the chunk, the slice of it that is kept, and gives that alone.
    """

    def __init__(
        self,
        function: Callable[..., State],
        *,
        context: int,
        stride: int = 1,
        hop: int,
        rate: Fraction = Fraction(1),
        narrow: bool = False,
    ) -> None:
        self.function = function
        self.rate = rate
        self.narrow = narrow
        self.context = _round_up(context, stride)
        self.hop = _round_up(max(hop, 1), stride)
        self._blocks: list[State] = []
        self._start = 0  # where the kept input begins, a multiple of the stride
        self._end = 0  # input seen so far
        self._position = 0  # input whose output has been given away

    @property
    def latency(self) -> int:
        """Input samples: once n are pushed, the output for the first n - latency of them has been given."""
        return self.context + self.hop

    def push(self, block: State) -> State | None:
        """The output that `block` makes possible; often none, then many samples at once."""
        if num_samples(block) == 0:
            return None
        self._blocks.append(block)
        self._end += num_samples(block)
        outputs = []
        while self._end >= self._position + self.hop + self.context:
            outputs.append(self._next_chunk())
        return joined(outputs)

    def flush(self) -> State | None:
        """The rest, after the last block. Nothing may be pushed afterwards."""
        if self._end == self._position:
            return None
        output = self._apply(self._gather(), self._position - self._start, None)
        self._position = self._end
        return output

    def _next_chunk(self) -> State:
        gathered = self._gather()
        end = self._position + self.hop + self.context
        first = self._position - self._start
        output = self._apply(cut(gathered, 0, end - self._start), first, first + self.hop)
        self._position += self.hop
        start = max(0, self._position - self.context)
        self._blocks = [cut(gathered, start - self._start, None)]
        self._start = start
        return output

    def _apply(self, chunk: State, first: int, last: int | None) -> State:
        """What belongs to the chunk's samples from `first` to `last`, or to its end."""
        if self.narrow:
            return self.function(chunk, slice(first, last))
        stop = None if last is None else self._to_output(first) + self._to_output(last - first)
        return cut(self.function(chunk), self._to_output(first), stop)

    def _gather(self) -> State:
        self._blocks = [joined(self._blocks)]
        return self._blocks[0]

    def _to_output(self, samples: int) -> int:
        return int(samples * self.rate)


def joined(states: list[State]) -> State | None:
    """States one after the other, as one; None where there is none."""
    if len(states) < 2:
        return states[0] if states else None
    return each(lambda *parts: np.concatenate(parts, axis=-1), *states)


def cut(state: State, first: int, last: int | None) -> State:
    return each(lambda part: part[..., first:last], state)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
