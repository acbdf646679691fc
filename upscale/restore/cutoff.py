"""Where a codec cut the treble off, measured from the sound alone.

A codec's low-pass leaves nothing behind: within a few hundred hertz the long-term spectrum falls by 60 dB and more.
Music and the filters of converters fall by some 20 dB at most over the same width, so a steep edge tells them apart.
"""

from collections.abc import Iterable

import numpy as np
from scipy import signal

NUM_FFT = 2048
MIN_STEP_DB = 30.0
MIN_CUTOFF_HZ = 3_000.0
FLOOR = 1e-16  # -160 dB: below the quantisation noise of 24 bit
# Levels are compared over 10 bins on both sides of a gap of 24 (517 Hz at 44.1 kHz), the width of LAME's low-pass.
SIDE_BINS, GAP_BINS = 10, 24


def measure_cutoff(blocks: Iterable[np.ndarray], sample_rate: int) -> float | None:
    """The frequency in Hz above which blocks [C, T] hold nothing, or None where the spectrum has no such edge."""
    total, num_frames = np.zeros(NUM_FFT // 2 + 1), 0
    for block in blocks:
        if block.shape[-1] < NUM_FFT:
            continue
        # Blackman-Harris: its side lobes lie 92 dB down and cannot fill the silence above an edge.
        _, _, spectrum = signal.stft(
            block, sample_rate, "blackmanharris", NUM_FFT, NUM_FFT // 2, boundary=None, padded=False
        )
        power = np.square(np.abs(spectrum)).mean(axis=0)
        total += power.sum(axis=-1)
        num_frames += power.shape[-1]
    if num_frames == 0:
        return None
    return _find_edge(10 * np.log10(total / num_frames + FLOOR), sample_rate)


def _find_edge(levels: np.ndarray, sample_rate: int) -> float | None:
    """The steepest step of the long-term spectrum (dB per bin), if it is as steep as only a codec makes it."""
    means = np.convolve(levels, np.ones(SIDE_BINS) / SIDE_BINS, mode="valid")
    steps = means[: -SIDE_BINS - GAP_BINS] - means[SIDE_BINS + GAP_BINS :]
    # Step i compares bins i .. i+9 with i+34 .. i+43; the edge lies in the gap between.
    frequencies = (np.arange(len(steps)) + SIDE_BINS + GAP_BINS / 2) * sample_rate / NUM_FFT
    steps = np.where(frequencies >= MIN_CUTOFF_HZ, steps, 0.0)
    best = int(np.argmax(steps))
    if steps[best] < MIN_STEP_DB:
        return None
    # Within the gap: the first bin that has lost half of the step, in dB.
    below = means[best]
    gap = levels[best + SIDE_BINS : best + SIDE_BINS + GAP_BINS]
    lost = int(np.argmax(gap < below - steps[best] / 2))
    return float((best + SIDE_BINS + lost) * sample_rate / NUM_FFT)
