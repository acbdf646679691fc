"""Restoring as a stream: blocks of any size in, restored blocks out. Restoring a whole array is the same code.

What the model changes is computed at the model's own rate and added to the untouched input:

    restored = dry + mix * to_input_rate(model(x) - x),   x = to_model_rate(dry)

At the model's rate that is the model's output; at any other, nothing above the model's Nyquist frequency is lost,
and a model that changes nothing gives the input back bit by bit.
"""

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from upscale.audio.convert import FILTER_WIDTH, resample
from upscale.chunked_stage import Stage, State
from upscale.restore.backends import Backend
from upscale.restore.chunks import Overlap, joined

# Twice the half width of the resampling filter, in samples of the lower rate.
RESAMPLE_CONTEXT = 2 * FILTER_WIDTH
RESAMPLE_HOP = 16_384  # long enough for the filter's set-up not to count, short beside a model's context
MIN_HOP_SECONDS = 0.1  # shorter chunks cost more in calls than they save in delay


class Stream:
    """`push` blocks [C, T] or [B, C, T] at `sample_rate`, then `flush`; everything returned, in order, is the result.

    The output is not shifted: its sample n belongs to input sample n. It lags by at most `latency` samples
    (of the input's rate) behind what was pushed; a block may therefore return nothing, or more than it brought.
    """

    def __init__(
        self, backend: Backend, *, sample_rate: int, hop: int | None, bitrate: float | None = None, mix: float = 1.0
    ) -> None:
        self.bitrate = bitrate
        self.mix = mix
        self.sample_rate = sample_rate
        self._backend = backend
        self._stages = self._build_stages(hop)
        self._dry: list[np.ndarray] = []
        self._batched = True
        self._unfit: partial[np.ndarray] = partial(np.asarray)

    @property
    def latency(self) -> int:
        """Samples at the input's rate by which the output may lag."""
        factor = self.sample_rate / self._backend.traits.sample_rate
        at_input = [factor] * len(self._stages)
        if self.sample_rate != self._backend.traits.sample_rate:
            at_input[0] = 1.0
        # One sample for each change of rate: lengths are rounded there.
        rounding = 2 * (len(self._stages) - 1)
        lags = (stage.latency * scale for stage, scale in zip(self._stages, at_input, strict=True))
        return int(np.ceil(sum(lags))) + rounding

    def push(self, block: np.ndarray) -> np.ndarray:
        self._batched = block.ndim == 3
        block = np.asarray(block if self._batched else block[None], dtype=np.float32)
        self._dry.append(block)
        change: State | None = block
        for stage in self._stages:
            change = None if change is None else stage.push(change)
        return self._mix_in(change)

    def flush(self) -> np.ndarray:
        """The last samples; the stream is finished after this."""
        change: State | None = None
        for stage in self._stages:
            parts = [None if change is None else stage.push(change), stage.flush()]
            change = joined([part for part in parts if part is not None])
        return self._mix_in(change)

    def _mix_in(self, change: np.ndarray | None) -> np.ndarray:
        dry = np.concatenate(self._dry, axis=-1) if self._dry else np.zeros((1, 1, 0), dtype=np.float32)
        # Resampling there and back may add a sample at the end.
        length = 0 if change is None else min(change.shape[-1], dry.shape[-1])
        self._dry = [dry[..., length:]]
        output = dry[..., :length]
        if change is not None:
            output = output + np.float32(self.mix) * change[..., :length]
        return output if self._batched else output[0]

    def _build_stages(self, hop: int | None) -> list[Overlap]:
        """`hop` is that of all; without it, half the context of each."""
        traits = self._backend.traits
        stages = self._backend.stages
        functions = [partial(self._run, stage, first=stage is stages[0], last=stage is stages[-1]) for stage in stages]
        model = [
            Overlap(
                function, context=stage.context, stride=stage.stride, hop=hop or self._short_hop(stage), narrow=True
            )
            for function, stage in zip(functions, stages, strict=True)
        ]
        if self.sample_rate == traits.sample_rate:
            return model
        resampled = max(hop or min(map(self._short_hop, stages)), traits.stride)
        there, back = (
            _resampling(self.sample_rate, traits.sample_rate, resampled),
            _resampling(traits.sample_rate, self.sample_rate, resampled),
        )
        return [there, *model, back]

    def _short_hop(self, stage: Stage) -> int:
        return max(stage.context // 2, round(MIN_HOP_SECONDS * self._backend.traits.sample_rate))

    def _run(self, stage: Stage, state: State, kept: slice, *, first: bool, last: bool) -> State:
        """One stage: the first takes a wav of any number of channels, the last gives model(x) - x of as many."""
        if first:
            state, self._unfit = fit_channels(state, self._backend.traits.channels)
        wav: Any = getattr(state, "wav", state)
        condition = None if self.bitrate is None else np.full(len(wav), self.bitrate, dtype=np.float32)
        output = stage.function(state, condition, kept)
        return self._unfit(output - wav[..., kept]) if last else output


def fit_channels(wav: np.ndarray, channels: int) -> tuple[np.ndarray, "partial[np.ndarray]"]:
    """`wav` [B, C, T] as the model takes it, and the way back.

    A mono model takes the channels one by one; a stereo model takes mono twice and gives the mean;
    more than two channels are restored one by one.
    """
    num_clips, num_channels, num_samples = wav.shape
    if num_channels == channels:
        return wav, partial(np.asarray)
    single = wav.reshape(num_clips * num_channels, 1, num_samples)
    return np.repeat(single, channels, axis=1), partial(_from_single, num_clips=num_clips)


def _from_single(wav: np.ndarray, num_clips: int) -> np.ndarray:
    return wav.mean(axis=1).reshape(num_clips, -1, wav.shape[-1])


def _resampling(orig_rate: int, new_rate: int, hop: int) -> Overlap:
    rate = Fraction(new_rate, orig_rate)
    convert = partial(resample, orig_rate=orig_rate, new_rate=new_rate)
    context = RESAMPLE_CONTEXT * max(1, -(-orig_rate // new_rate))
    return Overlap(convert, context=context, stride=rate.denominator, hop=min(hop, RESAMPLE_HOP), rate=rate)
