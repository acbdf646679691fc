"""A local function over sound of any length, in overlapping chunks whose edges are thrown away.

    input    |--- context ---|------ hop ------|--- context ---|
    output                   |------ kept -----|

A function whose output at t depends only on input within `context` of t computes in the kept part exactly what it
would compute on the whole. A crossfade cannot do that: it blends two outputs that are both wrong at the edge.
Legend: B clips, C channels, T samples.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

Function = Callable[..., np.ndarray]


class Overlap:
    """Streams `function` ([B, C, T] -> [B, C, ceil(T * rate)]) over blocks of any size.

    `context`: input samples on each side that the function needs. `stride`: chunks start at its multiples (a model
    that halves time ten times has a grid of 1,024; a resampler from 160 to 147 has one of 160).
    `hop`: input samples that each chunk yields. The last two are rounded up to the grid. `narrow`: the function takes,
    beside the chunk, the slice of it that is kept, and gives that alone.
    """

    def __init__(
        self,
        function: Function,
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
        self._blocks: list[np.ndarray] = []
        self._start = 0  # where the kept input begins, a multiple of the stride
        self._end = 0  # input seen so far
        self._position = 0  # input whose output has been given away

    @property
    def latency(self) -> int:
        """Input samples: once n are pushed, the output for the first n - latency of them has been given."""
        return self.context + self.hop

    def push(self, block: np.ndarray) -> np.ndarray:
        """The output that `block` [B, C, T] makes possible; often none, then many samples at once.

        A function may give other channels than it takes: of no samples, the channels are those of `block`.
        """
        if block.shape[-1] == 0:
            return block
        self._blocks.append(block)
        self._end += block.shape[-1]
        outputs = []
        while self._end >= self._position + self.hop + self.context:
            outputs.append(self._next_chunk())
        return np.concatenate(outputs, axis=-1) if outputs else self._empty(block)

    def flush(self) -> np.ndarray:
        """The rest, after the last block. Nothing may be pushed afterwards."""
        if not self._blocks:
            return np.zeros((1, 1, 0), dtype=np.float32)
        chunk = self._gather()
        if self._end == self._position:
            return self._empty(chunk)
        output = self._apply(chunk, self._position - self._start, None)
        self._position = self._end
        return output

    def _next_chunk(self) -> np.ndarray:
        kept = self._gather()
        end = self._position + self.hop + self.context
        first = self._position - self._start
        output = self._apply(kept[..., : end - self._start], first, first + self.hop)
        self._position += self.hop
        start = max(0, self._position - self.context)
        self._blocks = [kept[..., start - self._start :]]
        self._start = start
        return output

    def _apply(self, chunk: np.ndarray, first: int, last: int | None) -> np.ndarray:
        """What belongs to the chunk's samples from `first` to `last`, or to its end."""
        if self.narrow:
            return self.function(chunk, slice(first, last))
        stop = None if last is None else self._to_output(first) + self._to_output(last - first)
        return self.function(chunk)[..., self._to_output(first) : stop]

    def _gather(self) -> np.ndarray:
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks, axis=-1)]
        return self._blocks[0]

    def _to_output(self, samples: int) -> int:
        return int(samples * self.rate)

    @staticmethod
    def _empty(block: np.ndarray) -> np.ndarray:
        return np.zeros((*block.shape[:-1], 0), dtype=np.float32)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
