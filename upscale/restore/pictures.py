"""Spectrograms of a file before and after it was restored."""

from pathlib import Path

import numpy as np

from upscale import atomic, audio
from upscale.audio import spectrogram
from upscale.restore.library import Job

BLOCK_SAMPLES = 2**16


def draw_before_after(job: Job) -> None:
    """Write `TARGET.png` with both spectrograms on one scale."""
    draw(job.source, job.target, job.target.with_suffix(".png"))


def draw(before: Path, after: Path, picture: Path) -> None:
    """Write both spectrograms to `picture`, one above the other. Memory does not grow with the length of the files."""
    info = audio.probe(after)
    num_samples = info.num_samples or 0  # a restored file is as long as its input
    levels = {name: _levels(path, num_samples) for name, path in (("before", before), ("after", after))}
    figure = spectrogram.figure(levels, num_samples, info.sample_rate)
    with atomic.replacing(picture) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _levels(path: Path, num_samples: int) -> np.ndarray:
    return spectrogram.levels(spectrogram.read_blocks(audio.blocks(path, BLOCK_SAMPLES)), num_samples)
