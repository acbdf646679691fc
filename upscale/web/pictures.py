"""Two spectrograms on one scale, as bare pictures: the page draws axes and the moving cursor over them."""

from pathlib import Path

import matplotlib
import numpy as np
import scipy.fft
from PIL import Image

from upscale.web.preview import open_preview

WIDTH, HEIGHT = 1400, 256  # pixels
WINDOW = 4096
FRAMES_PER_COLUMN = 4
RANGE_DB = 100.0
COLORMAP = "magma"


def draw_spectrograms(preview: Path, channels: int, before: Path, after: Path) -> tuple[float, float]:
    """Write both PNGs; returns the levels of the darkest and the brightest colour, in dB of a full-scale sine.

    A column averages the power of a few frames spread over its time, so that the cost does not grow with the length.
    """
    levels = 10 * np.log10(_powers(preview, channels) + 1e-14)
    top = float(np.ceil(levels.max() / 10) * 10)
    colors = matplotlib.colormaps[COLORMAP]
    for path, level in zip((before, after), levels, strict=True):
        shade = np.clip((level - top + RANGE_DB) / RANGE_DB, 0, 1)
        Image.fromarray(colors(shade[::-1], bytes=True)).save(path)
    return top - RANGE_DB, top


def _powers(preview: Path, channels: int) -> np.ndarray:
    """Mean power `[before/after, HEIGHT, columns]`, frequency upwards from 0 to half the sample rate."""
    frames = open_preview(preview, channels)
    columns = min(WIDTH, max(1, len(frames) // WINDOW * 8))
    powers = np.zeros((2, HEIGHT, columns))
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)[:, None]
    for column in range(columns):
        for part in range(FRAMES_PER_COLUMN):
            centre = (column + (part + 0.5) / FRAMES_PER_COLUMN) / columns * len(frames)
            start = max(0, min(round(centre) - WINDOW // 2, len(frames) - WINDOW))
            stretch = frames[start : start + WINDOW].astype(np.float32)
            spectrum = scipy.fft.rfft(stretch * window[: len(stretch)], n=WINDOW, axis=0)
            # The last bin, half the sample rate, is left out: 2,048 bins make 256 rows of 8.
            bins = np.abs(spectrum[:-1]) ** 2
            powers[:, :, column] += bins.reshape(HEIGHT, -1, 2, channels).mean((1, 3)).T
    full_scale = 2**15 * window.sum() / 2  # what a full-scale sine has in its bin
    return powers / FRAMES_PER_COLUMN / full_scale**2
