"""Two spectrograms on one scale, as bare pictures: the page draws axes and the moving cursor over them."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.image import imsave

from upscale.web.preview import read_preview

WIDTH, HEIGHT = 1400, 256  # pixels
WINDOW = 4096
FRAMES_PER_COLUMN = 4
RANGE_DB = 100.0
COLORMAP = "magma"


def draw_spectrograms(preview: Path, channels: int, num_samples: int, before: Path, after: Path) -> tuple[float, float]:
    """Write both PNGs; returns the levels of the darkest and the brightest colour, in dB of a full-scale sine.

    A column averages the power of a few frames spread over its time, so that the cost does not grow with the length.
    """
    powers = _powers(preview, channels, num_samples)
    levels = 10 * np.log10(powers + 1e-14)
    top = float(np.ceil(levels.max() / 10) * 10)
    colors = matplotlib.colormaps[COLORMAP]
    for path, level in zip((before, after), levels, strict=True):
        shade = np.clip((level - top + RANGE_DB) / RANGE_DB, 0, 1)
        imsave(path, colors(shade[::-1]), format="png")
    return top - RANGE_DB, top


def _powers(preview: Path, channels: int, num_samples: int) -> np.ndarray:
    """Mean power `[before/after, HEIGHT, columns]`, frequency upwards from 0 to half the sample rate."""
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    scale = (2 / window.sum()) ** 2
    columns = min(WIDTH, max(1, num_samples // WINDOW * 8))
    powers = np.zeros((2, HEIGHT, columns))
    span = num_samples / columns
    for column in range(columns):
        for part in range(FRAMES_PER_COLUMN):
            centre = (column + (part + 0.5) / FRAMES_PER_COLUMN) * span
            start = max(0, min(round(centre) - WINDOW // 2, num_samples - WINDOW))
            for side, wav in enumerate(read_preview(preview, channels, start, WINDOW)):
                padded = np.zeros((channels, WINDOW), dtype=np.float32)
                padded[:, : wav.shape[1]] = wav
                power = np.abs(np.fft.rfft(padded * window)) ** 2 * scale
                # The last bin, half the sample rate, is left out: 2,048 bins make 256 rows of 8.
                powers[side, :, column] += power.mean(0)[:-1].reshape(HEIGHT, -1).mean(1) / FRAMES_PER_COLUMN
    return powers
