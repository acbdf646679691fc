"""Two spectrograms on one scale, as bare pictures: the page draws axes and the moving cursor over them."""

from pathlib import Path

import numpy as np
from PIL import Image

from upscale.audio import spectrogram
from upscale.web.preview import FULL_SCALE, open_preview

WIDTH, HEIGHT = 1400, 256  # pixels
NUM_FFT = 4096  # 2,048 bins make 256 rows of 8


def draw_spectrograms(preview: Path, channels: int, before: Path, after: Path) -> tuple[float, float]:
    """Write both PNGs; returns the levels of the darkest and the brightest colour, in dB of a full-scale sine."""
    frames = open_preview(preview, channels)
    sides = (slice(0, channels), slice(channels, 2 * channels))
    levels = [_levels(frames[:, side]) for side in sides]
    _, loudest = spectrogram.full_range(levels)
    top = float(np.ceil(loudest / 10) * 10)
    scale = (top - spectrogram.RANGE_DB, top)
    for path, level in zip((before, after), levels, strict=True):
        Image.fromarray(spectrogram.pixels(level, scale)).save(path)
    return scale


def _levels(frames: np.ndarray) -> np.ndarray:
    """Of int16 frames `[T, C]` on disk, which are read where they are used."""

    def read(start: int, stop: int) -> np.ndarray:
        return frames[start:stop].T.astype(np.float32) / FULL_SCALE

    return spectrogram.levels(read, len(frames), num_fft=NUM_FFT, num_rows=HEIGHT, max_columns=WIDTH)
