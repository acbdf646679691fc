"""Spectrograms before and after, drawn at constant memory."""

from pathlib import Path

import numpy as np
from scipy import signal

from upscale import atomic, audio
from upscale.restore.library import Job

NUM_FFT = 2048
MAX_COLUMNS = 1200
RANGE_DB = 100.0
FLOOR = 1e-16


def draw_before_after(job: Job) -> None:
    """Write `TARGET.png` with both spectrograms on one scale."""
    draw(job.source, job.target, job.target.with_suffix(".png"))


def draw(before: Path, after: Path, picture: Path) -> None:
    """Both spectrograms above each other in decibels; the loudest point of the two is 0 dB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = [spectrogram(path) for path in (before, after)]
    info = audio.probe(after)
    seconds = (info.num_samples or 0) / info.sample_rate
    top = max(float(level.max()) for level in levels)
    figure = Figure(figsize=(12, 7), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no global state: pictures are drawn in the jobs' threads
    axes = figure.subplots(2, 1, sharex=True)
    for axis, level, title in zip(axes, levels, ("before", "after"), strict=True):
        image = axis.imshow(
            level - top,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-RANGE_DB,
            vmax=0,
            extent=(0, seconds, 0, info.sample_rate / 2000),
        )
        axis.set(title=title, ylabel="kHz")
    axes[1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB")
    with atomic.replacing(picture) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def spectrogram(path: Path) -> np.ndarray:
    """Mean level in dB, [bins, columns], of at most about `MAX_COLUMNS` equal pieces of a file."""
    info = audio.probe(path)
    piece = max(NUM_FFT // 2, (info.num_samples or 0) // MAX_COLUMNS)
    columns = [_mean_power(block) for block in audio.blocks(path, piece)]
    return 10 * np.log10(np.stack(columns, axis=1) + FLOOR)


def _mean_power(block: np.ndarray) -> np.ndarray:
    missing = max(0, NUM_FFT - block.shape[-1])
    padded = np.pad(block, ((0, 0), (0, missing)))
    _, _, spectrum = signal.stft(padded, window="hann", nperseg=NUM_FFT, boundary=None, padded=False)
    return np.square(np.abs(spectrum)).mean(axis=(0, 2))
