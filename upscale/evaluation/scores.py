"""The metrics by name, as a table prints them, and what counts as an improvement in each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from upscale import metrics
from upscale.errors import UserError


@dataclass(frozen=True)
class Context:
    """What some metrics need besides the two signals."""

    sample_rate: int
    cutoff_hz: float  # the codec's, measured on this clip
    visqol_seconds: float | None = None  # of the clip's middle; None: all of it

    def visqol_excerpt(self, wav: np.ndarray) -> np.ndarray:
        """The middle of `[C, T]` that ViSQOL listens to."""
        if self.visqol_seconds is None:
            return wav
        length = min(wav.shape[1], round(self.visqol_seconds * self.sample_rate))
        start = (wav.shape[1] - length) // 2
        return wav[:, start : start + length]


@dataclass(frozen=True)
class Metric:
    title: str
    unit: str
    better: str  # "higher", "lower" or "zero": the nearer to 0, the better
    measure: Callable[[np.ndarray, np.ndarray, Context], float]

    def improvement(self, value: float, baseline: float) -> float:
        """How much better `value` is than `baseline`, in the metric's own unit; NaN where either is undefined."""
        if self.better == "higher":
            return value - baseline
        if self.better == "lower":
            return baseline - value
        return abs(baseline) - abs(value)


METRICS = {
    "si_sdr": Metric("SI-SDR", "dB", "higher", lambda x, y, _: float(metrics.si_sdr(x, y))),
    "sdr": Metric("SDR", "dB", "higher", lambda x, y, _: float(metrics.sdr(x, y))),
    "lsd": Metric("LSD", "", "lower", lambda x, y, _: float(metrics.lsd(x, y))),
    "multi_resolution_stft": Metric(
        "multi-resolution STFT", "", "lower", lambda x, y, _: float(metrics.multi_resolution_stft(x, y))
    ),
    "error_below": Metric(
        "error below cut-off",
        "dB",
        "lower",
        lambda x, y, context: float(metrics.error_below(x, y, context.cutoff_hz, context.sample_rate)),
    ),
    "error_above": Metric(
        "error above cut-off",
        "dB",
        "lower",
        lambda x, y, context: float(metrics.error_above(x, y, context.cutoff_hz, context.sample_rate)),
    ),
    "level_difference": Metric("level difference", "dB", "zero", lambda x, y, _: float(metrics.level_difference(x, y))),
    "visqol": Metric(
        "ViSQOL",
        "MOS",
        "higher",
        lambda x, y, context: metrics.visqol(context.visqol_excerpt(x), context.visqol_excerpt(y), context.sample_rate),
    ),
}


@dataclass(frozen=True)
class VisqolScope:
    """ViSQOL is slow: it may listen to some `seconds` of each clip's middle, and at some bitrates (kbit/s) only."""

    seconds: float | None = None  # None: the whole clip
    bitrates: tuple[int, ...] | None = None  # None: all of them

    def includes(self, bitrate: int) -> bool:
        return self.bitrates is None or bitrate in self.bitrates


EVERYWHERE = VisqolScope()


def check_metrics(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(f"metrics={unknown or '[]'} does not exist; choose from {', '.join(METRICS)}")


def score(clean: np.ndarray, estimate: np.ndarray, names: Sequence[str], context: Context) -> dict[str, float]:
    return {name: METRICS[name].measure(clean, estimate, context) for name in names}
