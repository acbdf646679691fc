"""One pass over a track before it is cut: which clips are worth keeping, and whether the music was once lossy."""

from dataclasses import dataclass

import numpy as np

from upscale.audio.cutoff import CutoffMeter
from upscale.corpus.track import Track
from upscale.errors import UserError

LOWEST_SAMPLE_RATE = 40_000
FULL_BAND_HZ = 20_100.0  # the highest cut-off of AAC, Opus and LAME


@dataclass(frozen=True)
class Cut:
    """How tracks are cut. Seconds; `silence_db` is the RMS level (dB of full scale) below which a clip is left out."""

    segment_seconds: float
    min_seconds: float
    silence_db: float


@dataclass(frozen=True)
class Report:
    """What a track holds: (start, length) of each clip worth keeping, in samples at its own rate.

    `cutoff_hz` is set where a hard low-pass was found; `error` where the track cannot be read to its end.
    """

    sample_rate: int = 0
    clips: tuple[tuple[int, int], ...] = ()
    num_silent: int = 0
    cutoff_hz: float | None = None
    error: str | None = None


def analyse(track: Track, cut: Cut) -> Report:
    """Never raises for a damaged file: the reason is in the report."""
    try:
        return _analyse(track, cut)
    except (UserError, OSError, RuntimeError, EOFError) as error:
        return Report(error=" ".join(str(error).split()))


def _analyse(track: Track, cut: Cut) -> Report:
    sample_rate, num_samples = track.info()
    clips = clip_bounds(sample_rate, num_samples, cut)
    if track.is_composed:
        return Report(sample_rate, tuple(clips))
    if not clips:
        return Report(error=f"is too short: {num_samples} samples at {sample_rate} Hz")
    meter = CutoffMeter(sample_rate)
    loud = []
    for start, length in clips:
        wav = track.read(start, length)
        if wav.shape[1] < length:
            return Report(error=f"ends after {start + wav.shape[1]} of {num_samples} samples")
        if not np.isfinite(wav).all():
            return Report(error="holds samples that are not numbers")
        if 10 * np.log10(np.mean(wav.astype(np.float64) ** 2) + 1e-20) >= cut.silence_db:
            loud.append((start, length))
            meter.add(wav)
    return Report(sample_rate, tuple(loud), len(clips) - len(loud), lossy_cutoff(meter))


def lossy_cutoff(meter: CutoffMeter) -> float | None:
    """Where the music was cut off by a codec, in Hz, at most `FULL_BAND_HZ`; None where it was not.

    A sample rate too low for 20 kHz is a cut-off of its own: half of it.
    """
    if meter.sample_rate < LOWEST_SAMPLE_RATE:
        return meter.sample_rate / 2
    found = meter.cutoff_hz()
    return None if found is None else min(found, FULL_BAND_HZ)


def clip_bounds(sample_rate: int, num_samples: int, cut: Cut) -> list[tuple[int, int]]:
    """(start, length) of clips laid end to end; the rest at the end counts from `min_seconds` on."""
    edges: list[tuple[int, int]] = []
    number = 0
    while True:
        start = round(number * cut.segment_seconds * sample_rate)
        stop = min(round((number + 1) * cut.segment_seconds * sample_rate), num_samples)
        if stop - start < cut.min_seconds * sample_rate:
            return edges
        edges.append((start, stop - start))
        number += 1
